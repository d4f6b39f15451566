//! How much was computed in the last minute.

use std::time::Duration;

/// A part of the minute, for which there is one number.
const PART: Duration = Duration::from_secs(1);

/// The parts that are remembered: the minute, and the part that has only begun.
const PARTS: usize = 61;

/// What was computed in the last minute, to the second.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// By the number of the part, and empty until something is added.
    parts: Vec<(u64, Duration)>,
}

impl Meter {
    /// Adds what was computed until `now`.
    pub fn add(&mut self, computed: Duration, now: Duration) {
        let part = now.as_secs() / PART.as_secs();
        if self.parts.is_empty() {
            self.parts = vec![(0, Duration::ZERO); PARTS];
        }
        let (number, sum) = &mut self.parts[(part % PARTS as u64) as usize];
        if *number != part {
            (*number, *sum) = (part, Duration::ZERO);
        }
        *sum += computed;
    }

    /// What was computed in the minute before `now`.
    pub fn spent(&self, now: Duration) -> Duration {
        let part = now.as_secs() / PART.as_secs();
        let is_in = |(number, _): &&(u64, Duration)| *number <= part && part - *number < PARTS as u64;
        self.parts.iter().filter(is_in).map(|(_, sum)| *sum).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let (mut meter, second) = (Meter::default(), Duration::from_secs(1));
        assert_eq!(meter.spent(5 * second), Duration::ZERO);
        for n in 100..300 {
            meter.add(second / 10, n * second);
            meter.add(second / 10, n * second);
        }
        assert_eq!(meter.spent(299 * second), second / 5 * 61);
        assert_eq!(meter.spent(329 * second), second / 5 * 31);
        assert_eq!(meter.spent(400 * second), Duration::ZERO);
        meter.add(second, 401 * second);
        assert_eq!(meter.spent(401 * second), second);
    }
}
