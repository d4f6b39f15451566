//! When a task that failed is run again, and after what time: Celery's retry options, by Celery's names.

use std::time::Duration;

use super::{Exception, LONGEST_DELAY};

/// The retry options of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The exceptions after which the task is retried though it did not ask for it, by the names of their classes. A class
    /// stands for its subclasses too, as in Python.
    pub autoretry_for: Vec<String>,
    /// How often it is retried; `None` is without end.
    pub max_retries: Option<u32>,
    /// The time before a retry for which nothing else was said.
    pub default_retry_delay: Duration,
    /// The time before the first automatic retry; each further one waits twice as long. `None` waits
    /// `default_retry_delay` before each.
    pub retry_backoff: Option<Duration>,
    /// The longest wait that comes of doubling.
    pub retry_backoff_max: Duration,
    /// Whether a doubled wait is cut down to a random part of itself, so that what failed together does not come back
    /// together.
    pub retry_jitter: bool,
}

impl Default for RetryPolicy {
    /// Celery's own.
    fn default() -> Self {
        Self {
            autoretry_for: Vec::new(),
            max_retries: Some(3),
            default_retry_delay: Duration::from_secs(180),
            retry_backoff: None,
            retry_backoff_max: Duration::from_secs(600),
            retry_jitter: true,
        }
    }
}

impl RetryPolicy {
    /// Whether a task that failed with `exception` is retried without having asked for it. One that was stopped at its
    /// hard time limit never is: it would most likely take all of that time again.
    pub fn retries_for(&self, exception: &Exception) -> bool {
        !exception.is_hard_limit() && self.autoretry_for.iter().any(|kind| exception.is_a(kind))
    }

    /// The time before the automatic retry of a task that was retried `retries` times before. `random` is from 0 to 1.
    pub fn countdown(&self, retries: u32, random: f64) -> Duration {
        let Some(first) = self.retry_backoff else { return self.default_retry_delay.min(LONGEST_DELAY) };
        let longest = self.retry_backoff_max.min(LONGEST_DELAY);
        let doubled = 2u32.checked_pow(retries).and_then(|factor| first.checked_mul(factor));
        let countdown = doubled.map_or(longest, |doubled| doubled.min(longest));
        if self.retry_jitter { countdown.mul_f64(random.clamp(0.0, 1.0)) } else { countdown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn retrying(kinds: &[&str]) -> RetryPolicy {
        let autoretry_for = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        RetryPolicy { autoretry_for, ..RetryPolicy::default() }
    }

    #[test]
    fn a_class_stands_for_its_subclasses() {
        let refused = Exception::builtin("ConnectionRefusedError", "no");
        let own = Exception::named_by_guest("CardDeclined", "no");
        let soft = Exception::new("billiard.exceptions", "SoftTimeLimitExceeded", vec![]);
        let hard = Exception::new("billiard.exceptions", "TimeLimitExceeded", vec![1.into()]);
        for (kinds, exception, expected) in [
            (&[][..], &refused, false),
            (&["OSError"][..], &refused, true),
            (&["ValueError", "OSError"][..], &refused, true),
            (&["ValueError"][..], &refused, false),
            (&["CardDeclined"][..], &own, true),
            (&["OSError"][..], &own, false),
            (&["Exception"][..], &own, true),
            (&["Exception"][..], &soft, true),
            (&["Exception"][..], &hard, false),
            (&["TimeLimitExceeded"][..], &hard, false),
        ] {
            assert_eq!(retrying(kinds).retries_for(exception), expected, "{kinds:?} {exception:?}");
        }
        let look_alike = Exception::named_by_guest("TimeLimitExceeded", "a guest's own");
        assert!(retrying(&["Exception"]).retries_for(&look_alike));
    }

    #[test]
    fn without_backoff_every_wait_is_the_same() {
        let policy = RetryPolicy { default_retry_delay: seconds(7), ..RetryPolicy::default() };
        for retries in [0, 1, 50, u32::MAX] {
            assert_eq!(policy.countdown(retries, 0.1), seconds(7));
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let policy = RetryPolicy {
            retry_backoff: Some(seconds(2)),
            retry_backoff_max: seconds(100),
            retry_jitter: false,
            ..RetryPolicy::default()
        };
        for (retries, expected) in [(0, 2), (1, 4), (2, 8), (5, 64), (6, 100), (31, 100), (u32::MAX, 100)] {
            assert_eq!(policy.countdown(retries, 0.5), seconds(expected), "{retries}");
        }
        let endless = RetryPolicy { retry_backoff_max: Duration::MAX, ..policy };
        assert_eq!(endless.countdown(u32::MAX, 0.5), LONGEST_DELAY);
    }

    #[test]
    fn jitter_takes_any_part_of_the_wait() {
        let policy = RetryPolicy { retry_backoff: Some(seconds(4)), ..RetryPolicy::default() };
        for (random, expected) in [(0.0, 0.0), (0.25, 2.0), (0.5, 4.0), (1.0, 8.0), (7.0, 8.0), (-1.0, 0.0)] {
            assert_eq!(policy.countdown(1, random), Duration::from_secs_f64(expected), "{random}");
        }
    }
}
