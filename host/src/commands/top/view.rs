//! How it is drawn: a line of numbers, then a table each for workers, queues, tasks and what runs, as far as there is room.

use std::time::Instant;

use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Style, Stylize},
    text::Line,
    widgets::{Block, Borders, Cell, Paragraph, Row, Table},
};

use super::fleet::{Elsewhere, Fleet, Kind, Rates};
use crate::commands::ask::spoken;

/// What is drawn.
pub struct Screen<'a> {
    /// What was last known, if anything is.
    pub fleet: Option<&'a Fleet>,
    pub rates: &'a Rates,
    /// What is wrong at the moment.
    pub trouble: Option<&'a str>,
}

/// A table before it is drawn.
pub struct Section {
    pub title: String,
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// How wide the columns are.
    widths: Vec<Constraint>,
}

/// Border and header.
const FRAME: u16 = 2;

impl Screen<'_> {
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let top = self.numbers();
        let height = (top.len() as u16).min(area.height);
        frame.render_widget(Paragraph::new(top), Rect { height, ..area });
        let Some(fleet) = self.fleet else { return };
        let sections = sections(fleet);
        let wanted: Vec<u16> =
            sections.iter().map(|section| section.rows.len().clamp(1, 500) as u16 + FRAME).collect();
        let mut y = area.y + height;
        for (section, height) in sections.iter().zip(share(area.height - height, &wanted)) {
            if height > 0 {
                section.draw(frame, Rect { y, height, ..area });
            }
            y += height;
        }
    }

    fn numbers(&self) -> Vec<Line<'_>> {
        let now = Instant::now();
        let rate = |kind| format!("{:.1}", self.rates.of(kind, now));
        let broker = self.fleet.map_or("", |fleet| &fleet.broker);
        let first = match self.trouble {
            Some(trouble) => Line::from(trouble).red(),
            None if self.fleet.is_none() => Line::from("looking for workers …"),
            None => Line::from(format!("host top  {broker}  q quits")),
        };
        let rates = format!(
            "per second: {} received, {} succeeded, {} failed, {} retried",
            rate(Kind::Received),
            rate(Kind::Succeeded),
            rate(Kind::Failed),
            rate(Kind::Retried)
        );
        let mut lines = vec![first.bold(), Line::from(rates)];
        lines.extend(self.fleet.map(|fleet| Line::from(elsewhere(fleet.elsewhere))));
        lines
    }
}

/// The messages that are in no queue, in one line.
pub fn elsewhere(elsewhere: Elsewhere) -> String {
    let Elsewhere { held, delayed, set_aside, parked, dead } = elsewhere;
    format!(
        "messages: {held} held, {delayed} delayed, {set_aside} set aside, {parked} parked, {dead} dead letters"
    )
}

/// The tables, the most important first.
pub fn sections(fleet: &Fleet) -> [Section; 4] {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let workers = fleet.workers.iter().map(|worker| {
        vec![
            worker.node.clone(),
            number(worker.running),
            number(worker.slots),
            number(worker.processed),
            worker.uptime.map(spoken).unwrap_or_default(),
            worker.queues.join(","),
        ]
    });
    let queues = fleet
        .queues
        .iter()
        .map(|queue| vec![queue.name.clone(), queue.messages.to_string(), queue.consumers.to_string()]);
    let tasks = fleet.tasks.iter().map(|task| {
        let rate = task.rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
        vec![task.name.clone(), task.running.to_string(), rate, task.processed.to_string()]
    });
    let now = Timestamp::now().as_duration().as_secs_f64();
    let running = fleet.running.iter().map(|running| {
        let since = running.since.map(|since| (now - since).max(0.0));
        let since = since.and_then(|since| std::time::Duration::try_from_secs_f64(since).ok());
        vec![
            running.name.clone(),
            since.map(spoken).unwrap_or_default(),
            running.worker.clone(),
            running.id.clone(),
            running.arguments.clone(),
        ]
    });
    let (wide, narrow) = (Constraint::Fill(2), Constraint::Length(9));
    [
        Section {
            title: format!("workers ({})", fleet.workers.len()),
            header: vec!["worker", "running", "slots", "processed", "up", "queues"],
            rows: workers.collect(),
            widths: vec![
                wide,
                Constraint::Length(7),
                Constraint::Length(5),
                narrow,
                Constraint::Length(6),
                Constraint::Fill(1),
            ],
        },
        Section {
            title: format!("queues ({})", fleet.queues.len()),
            header: vec!["queue", "messages", "consumers"],
            rows: queues.collect(),
            widths: vec![wide, narrow, Constraint::Length(10)],
        },
        Section {
            title: format!("tasks ({})", fleet.tasks.len()),
            header: vec!["task", "running", "per s", "processed"],
            rows: tasks.collect(),
            widths: vec![wide, narrow, narrow, Constraint::Length(10)],
        },
        Section {
            title: format!("running ({})", fleet.running.len()),
            header: vec!["task", "for", "worker", "id", "arguments"],
            rows: running.collect(),
            // The whole of an id, if there is room.
            widths: vec![wide, Constraint::Length(6), Constraint::Fill(1), Constraint::Max(36), wide],
        },
    ]
}

impl Section {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = usize::from(area.height.saturating_sub(FRAME));
        let hidden = self.rows.len().saturating_sub(room);
        let title = match hidden {
            0 => self.title.clone(),
            hidden => format!("{}, {hidden} not shown", self.title),
        };
        let table = Table::new(self.rows.iter().take(room).map(|cells| row(cells)), self.widths.clone())
            .header(Row::new(self.header.clone()).style(Style::new().dim()))
            .block(Block::new().borders(Borders::TOP).title(title.bold()));
        frame.render_widget(table, area);
    }
}

fn row(cells: &[String]) -> Row<'_> {
    Row::new(cells.iter().map(|cell| Cell::from(cell.as_str())))
}

/// How many lines each gets of so many: first each the least with which it shows anything, in their order, then what they want.
fn share(mut room: u16, wanted: &[u16]) -> Vec<u16> {
    let mut shares: Vec<u16> = wanted
        .iter()
        .map(|wanted| {
            let least = (FRAME + 1).min(*wanted);
            let share = if room >= least { least } else { 0 };
            room -= share;
            share
        })
        .collect();
    while room > 0 {
        let mut given = false;
        for (share, wanted) in shares.iter_mut().zip(wanted) {
            if room > 0 && *share > 0 && *share < *wanted {
                *share += 1;
                room -= 1;
                given = true;
            }
        }
        if !given {
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;

    use super::{
        super::fleet::{QueueRow, Replies},
        *,
    };

    fn fleet() -> Fleet {
        let replies = |value: serde_json::Value| -> Replies { vec![("celery@box".to_owned(), value)] };
        let stats =
            json!({"total": {"app.add": 42}, "pool": {"max-concurrency": 100}, "uptime": 185, "pid": 7});
        let active: Vec<_> = (0..30)
            .map(|n| json!({"id": format!("id-{n}"), "name": "app.add", "args": "(1, 2)", "time_start": 5.0}))
            .collect();
        let queues = json!([{"name": "celery"}]);
        let mut fleet = Fleet::of(&replies(stats), &replies(json!(active)), &replies(queues), None);
        fleet.queues = vec![QueueRow { name: "celery".to_owned(), messages: 12_345, consumers: 1 }];
        fleet
    }

    fn drawn(width: u16, height: u16) -> Vec<String> {
        let (fleet, rates) = (fleet(), Rates::default());
        let screen = Screen { fleet: Some(&fleet), rates: &rates, trouble: None };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let text = terminal.backend().to_string();
        text.lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect()
    }

    #[test]
    fn all_is_on_a_usual_screen() {
        let screen = drawn(100, 30).join("\n");
        for expected in [
            "workers (1)",
            "celery@box",
            "3m05s",
            "queues (1)",
            "12345",
            "tasks (1)",
            "42",
            "running (30), ",
            "id-0",
            "(1, 2)",
        ] {
            assert!(screen.contains(expected), "{expected}:\n{screen}");
        }
    }

    #[test]
    fn a_small_screen_shows_what_matters_most() {
        let screen = drawn(50, 8).join("\n");
        assert!(screen.contains("workers (1)") && screen.contains("celery@box"), "{screen}");
        assert!(!screen.contains("running ("), "{screen}");
        for (width, height) in [(1, 1), (3, 2), (200, 3), (10, 60)] {
            drawn(width, height);
        }
    }

    #[test]
    fn room_is_shared_in_order() {
        for (room, wanted, expected) in [
            (20, &[3, 4, 30][..], &[3, 4, 13][..]),
            (8, &[3, 30, 30], &[3, 5, 0]),
            (2, &[3, 3], &[0, 0]),
            (9, &[9, 9, 9], &[3, 3, 3]),
            (100, &[3, 4], &[3, 4]),
        ] {
            assert_eq!(share(room, wanted), expected, "{room} among {wanted:?}");
        }
    }
}
