//! How fast a tenant may submit.

use std::time::Duration;

/// Counts what a tenant submits against its quota `submit_rate`. Who was quiet may submit the messages of a second at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct SubmitRate {
    /// When all that was submitted is paid for, since whatever the caller counts time from.
    paid: Duration,
}

impl SubmitRate {
    /// Whether `messages` may be submitted at `now`, and if not, how long to wait before it is worth asking again. A request for
    /// more than a second's messages is admitted when nothing else is owed, and then owes the rest.
    pub fn admit(&mut self, quota: Option<u64>, messages: u64, now: Duration) -> Result<(), Duration> {
        const SECOND: Duration = Duration::from_secs(1);
        let Some(quota) = quota else { return Ok(()) };
        if quota == 0 {
            return Err(SECOND);
        }
        let price = SECOND.mul_f64(messages as f64 / quota as f64);
        let owed = self.paid.saturating_sub(now);
        let most = SECOND.saturating_sub(price);
        if owed > most {
            return Err(owed - most);
        }
        self.paid = self.paid.max(now) + price;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_s_messages_go_at_once_and_then_as_many_as_the_quota_says() {
        let (mut rate, now) = (SubmitRate::default(), Duration::from_secs(100));
        assert_eq!((0..15).filter(|_| rate.admit(Some(10), 1, now).is_ok()).count(), 10);
        assert_eq!(rate.admit(Some(10), 1, now), Err(100 * MS));
        assert_eq!(rate.admit(Some(10), 1, now + 100 * MS), Ok(()));
        let later = now + 100 * MS;
        let admitted = (0..100).filter(|n| rate.admit(Some(10), 1, later + n * 50 * MS).is_ok()).count();
        assert!((48..=50).contains(&admitted), "{admitted} of five seconds");
    }

    #[test]
    fn a_large_batch_is_admitted_once_and_paid_for_afterwards() {
        let (mut rate, now) = (SubmitRate::default(), Duration::ZERO);
        assert_eq!(rate.admit(Some(10), 50, now), Ok(()));
        assert!(rate.admit(Some(10), 1, now + 4000 * MS).is_err());
        assert_eq!(rate.admit(Some(10), 1, now + 4100 * MS), Ok(()));
    }

    #[test]
    fn no_quota_admits_all_and_a_quota_of_nothing_none() {
        let mut rate = SubmitRate::default();
        assert_eq!(rate.admit(None, u64::MAX, Duration::ZERO), Ok(()));
        assert!(rate.admit(Some(0), 1, Duration::from_secs(9)).is_err());
    }
}
