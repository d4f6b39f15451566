//! What a fault cost, a line each, and whether that is what was promised.

use std::{fmt::Write, time::Duration};

use crate::worker::Kind;

/// How soon the tasks that a fault has hit must have their results.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// What one fault did to one kind of worker.
#[derive(Debug)]
pub struct Row {
    pub fault: String,
    pub kind: Kind,
    /// Tasks sent.
    pub sent: usize,
    /// Tasks that have no result and whose message is nowhere.
    pub lost: usize,
    /// Tasks whose message is still somewhere, and with which nothing happens any more.
    pub stuck: usize,
    /// Tasks that have ended in anything but their own result.
    pub failed: usize,
    /// Tasks that were run more than once.
    pub twice: usize,
    /// Those of them that were run again although the owner of the earlier run lived.
    pub beside_living: usize,
    /// How long the tasks that were hit waited for their results, the shortest first: since their worker died, froze or was
    /// cut off, or since Redis was back; without the time that the task itself takes. Those without a result count as stuck or
    /// lost instead.
    pub recovery: Vec<Duration>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What else was promised and not kept.
    pub broken: Vec<String>,
}

impl Row {
    /// A fault that could not be done as it was meant.
    pub fn impossible(fault: &str, kind: Kind, why: String) -> Self {
        Self {
            fault: fault.to_owned(),
            kind,
            sent: 0,
            lost: 0,
            stuck: 0,
            failed: 0,
            twice: 0,
            beside_living: 0,
            recovery: Vec::new(),
            notes: Vec::new(),
            broken: vec![why],
        }
    }

    /// What was promised and not kept. Of Celery nothing is promised here: it is there to compare with.
    pub fn missed(&self) -> Vec<String> {
        if self.kind == Kind::Celery {
            return Vec::new();
        }
        let counts = [
            (self.lost, "lost"),
            (self.stuck, "stuck"),
            (self.failed, "ended in something else"),
            (self.beside_living, "run again beside a living owner"),
        ];
        let mut missed: Vec<_> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if self.recovery.last().is_some_and(|longest| *longest > RECOVERY) {
            missed.push(format!("recovery took longer than {} s", RECOVERY.as_secs()));
        }
        missed.extend(self.broken.iter().cloned());
        missed
    }

    fn cells(&self) -> Vec<String> {
        let seconds =
            |time: Option<&Duration>| time.map_or("-".to_owned(), |t| format!("{:.1}", t.as_secs_f64()));
        let missed = self.missed();
        let verdict = match (self.kind, missed.is_empty()) {
            (Kind::Celery, _) if self.broken.is_empty() => String::new(),
            (Kind::Celery, _) => format!("({})", self.broken.join("; ")),
            (_, true) => "kept".to_owned(),
            (_, false) => format!("MISSED: {}", missed.join("; ")),
        };
        let remark = [vec![verdict], self.notes.clone()].concat();
        vec![
            self.fault.clone(),
            self.kind.name().to_owned(),
            self.sent.to_string(),
            self.lost.to_string(),
            self.stuck.to_string(),
            self.twice.to_string(),
            self.beside_living.to_string(),
            self.recovery.len().to_string(),
            seconds(self.recovery.get(self.recovery.len() / 2)),
            seconds(self.recovery.last()),
            remark.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "),
        ]
    }
}

const HEAD: [&str; 11] =
    ["fault", "worker", "sent", "lost", "stuck", "twice", "beside", "hit", "p50 s", "max s", "promise"];

/// The rows as a table.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            // Words to the left, numbers to the right, and nothing after the last word.
            let _ = match column {
                0 | 1 => write!(text, "{cell:<0$}  ", widths[column]),
                10 => writeln!(text, "{cell}"),
                _ => write!(text, "{cell:>0$}  ", widths[column]),
            };
        }
    }
    text
}
