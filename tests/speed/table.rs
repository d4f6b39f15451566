//! How a line of the table looks.

/// One line: what was measured, beside what, and how it should be.
pub struct Line {
    /// What it is about.
    pub what: String,
    /// What `host` does: a number with its unit.
    pub host: String,
    /// What it is compared with, with its own figure; empty if the target is a figure of its own.
    pub beside: String,
    /// The figure that the target is about.
    pub figure: String,
    /// What it should be.
    pub target: String,
    /// Whether it is; nothing if it could not be compared.
    pub met: Option<bool>,
}

impl Line {
    /// A figure that should be at least so many times that of something else.
    pub fn at_least(what: &str, [host, other]: [f64; 2], unit: &str, beside: &str, target: f64) -> Self {
        Self {
            what: what.to_owned(),
            host: number(host, unit),
            beside: format!("{beside}: {}", number(other, unit)),
            figure: format!("{:.2} x", host / other),
            target: format!(">= {target} x"),
            met: Some(host >= target * other),
        }
    }

    /// A figure that should be at most so many times that of something else.
    pub fn at_most_times(what: &str, [host, other]: [f64; 2], unit: &str, beside: &str, target: f64) -> Self {
        Self {
            target: format!("<= {target} x"),
            met: Some(host <= target * other),
            ..Self::at_least(what, [host, other], unit, beside, target)
        }
    }

    /// A figure that should not be above a limit.
    pub fn at_most(what: &str, host: f64, unit: &str, target: f64) -> Self {
        Self {
            what: what.to_owned(),
            host: number(host, unit),
            beside: String::new(),
            figure: number(host, unit),
            target: format!("<= {}", number(target, unit)),
            met: Some(host <= target),
        }
    }

    /// What is told beside and has no target.
    pub fn told(what: &str, host: f64, unit: &str) -> Self {
        Self { target: String::new(), met: None, ..Self::at_most(what, host, unit, 0.0) }
    }

    pub fn print(&self) {
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let Self { what, host, beside, figure, target, .. } = self;
        println!("| {what} | {host} | {beside} | {figure} | {target} | {met} |");
    }
}

pub fn print_head() {
    println!("| what | host | beside | figure | target | met |\n|---|---|---|---|---|---|");
}

/// With three digits that count.
fn number(value: f64, unit: &str) -> String {
    let text = match value {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => {
            let whole = format!("{value:.0}");
            let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            groups.join(",")
        }
    };
    format!("{text} {unit}")
}
