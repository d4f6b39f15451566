//! How often a task may be begun: Celery's `rate_limit`.

use std::{fmt, str::FromStr, time::Duration};

use super::LONGEST_DELAY;

/// The shortest time between two runs: the clock of a store counts in microseconds.
const SHORTEST: Duration = Duration::from_micros(1);

/// A limit as it was written, such as `10/m`: so often, evenly spread over the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    text: String,
    interval: Duration,
}

/// A text that is no rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no rate limit: write a number of runs per second, or per minute or hour as in \"10/m\" and \"100/h\", \
    or 0 for none"
)]
pub struct InvalidRateLimit {
    text: String,
}

impl RateLimit {
    /// Reads a limit as Celery writes it: a number, and behind a slash `s`, `m` or `h`; without it `s`. Zero is no limit.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRateLimit> {
        let wrong = || InvalidRateLimit { text: text.to_owned() };
        let (count, period) = match text.split_once('/') {
            None => (text, 1.0),
            Some((count, "" | "s")) => (count, 1.0),
            Some((count, "m")) => (count, 60.0),
            Some((count, "h")) => (count, 3600.0),
            Some(_) => return Err(wrong()),
        };
        let count: f64 = count.trim().parse().map_err(|_| wrong())?;
        if count == 0.0 {
            return Ok(None);
        }
        let interval = Duration::try_from_secs_f64(period / count).map_err(|_| wrong())?;
        match (SHORTEST..=LONGEST_DELAY).contains(&interval) {
            true => Ok(Some(Self { text: text.trim().to_owned(), interval })),
            false => Err(wrong()),
        }
    }

    /// The time between two runs.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

/// As it was written.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// For places where there must be a limit.
impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        Self::parse(text)?.ok_or_else(|| InvalidRateLimit { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_celery_reads_them() {
        for (text, millis) in [
            ("5", 200.0),
            ("2.5/s", 400.0),
            ("10/m", 6_000.0),
            ("100/h", 36_000.0),
            (" 4 /s", 250.0),
            ("4/", 250.0),
            ("1e3", 1.0),
        ] {
            let limit: RateLimit = text.parse().unwrap();
            assert_eq!(limit.interval(), Duration::from_secs_f64(millis / 1e3), "{text}");
            assert_eq!(limit.to_string(), text.trim());
        }
        for none in ["0", "0/m", "0.0", "-0"] {
            assert_eq!(RateLimit::parse(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let wrong = ["", "/m", "x", "ten/m", "10/d", "10/M", "10 per m", "-1", "nan", "inf", "1/m/m"];
        // One in two years, and more than one in a microsecond.
        let extreme = ["0.00005/h", "2000000"];
        for text in wrong.iter().chain(&extreme) {
            let error = RateLimit::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no rate limit: ")), "{error}");
        }
    }
}
