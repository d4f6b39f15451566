//! Rate limits that hold for all workers together: a bucket of tokens for each task, and a place for the messages that wait for
//! one.
//!
//! A bucket is one number: the time from which on the next token is there. Whoever takes it moves the time on by the limit's
//! interval, so a bucket does not know its limit, and a limit that changes counts from the next question on.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{StoreError, Tag};
use crate::task::{OwnedTask, RateLimit, TaskName};

/// So much time's worth of tokens may be saved up by a task that is seldom called: messages are taken many at a time, and of a
/// task that may run hundreds of times a second not each is worth setting aside. Below ten a second that is no token beyond the
/// one that Celery's bucket holds.
pub const BURST: Duration = Duration::from_millis(100);

/// So late may whoever releases what waits be without a token being lost.
pub const CATCH_UP: Duration = Duration::from_millis(200);

/// A token that messages wait for and nobody takes for so long: then no worker offers the task any more.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Limited tasks.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Asks whether a held message of a limited task may be run. It may when there is a token and no other message of the task
    /// waits for one; else the message is set aside in the same step, behind the others, and is not held any more. After an error
    /// it may have been; asking again is safe.
    async fn admit(&self, candidate: &Candidate) -> Result<Admission, StoreError>;

    /// The tasks of which messages are set aside, with their number.
    async fn set_aside(&self) -> Result<Vec<(OwnedTask, u64)>, StoreError>;

    /// Puts messages of this task that were set aside to the heads of their queues, as many as `pace` allows: of the most urgent
    /// priority first, and the one that was set aside first being first in line. Where one that was put back like this is still the
    /// next to be taken, none follows it: the workers have their hands full, and would catch up with all of them at once.
    async fn release_set_aside(&self, task: &OwnedTask, pace: &Pace) -> Result<Released, StoreError>;
}

/// A held message that asks to be run.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its delivery.
    pub tag: Tag,
    /// Its task: of the tenant of its queue.
    pub task: TaskName,
    /// The task's limit.
    pub limit: RateLimit,
    /// What is put back, once its turn has come, in place of the message that was delivered.
    pub message: Bytes,
}

/// Whether a message may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may, now.
    Admitted,
    /// It waits for its turn, where no worker's death matters.
    SetAside,
    /// The delivery is not held any more: it was given to another worker.
    NotHeld,
    /// The store can neither count it nor set it aside, and says why; it is still held.
    Refused(String),
}

/// How fast messages that were set aside are released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// As fast as there are tokens.
    Limited(RateLimit),
    /// All at once: the task is not limited any more.
    Unlimited,
    /// All at once, but only if nobody has taken a token for [`PATIENCE`]: whoever asks does not offer the task, and nor
    /// does anybody else.
    Abandoned,
}

/// What was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// How many.
    pub count: u64,
    /// In what time to ask again; never if no more are set aside.
    pub next: Option<Duration>,
}

/// How soon to ask again where workers have their hands full.
pub const HANDS_FULL: Duration = Duration::from_millis(100);

/// A bucket, for engines that count here; Redis has the same in a script. All times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// From when on the next token is there.
    pub next: i64,
}

impl Bucket {
    /// Takes a token if there is one, or if one was there within `slack` and was not taken.
    pub fn take(&mut self, now: i64, interval: i64, slack: i64) -> bool {
        self.fit(now, interval);
        if self.next > now {
            return false;
        }
        self.next = self.next.max(now - slack) + interval;
        true
    }

    /// The next token is there within an interval at the latest: the limit may have been raised, or the clock set back, since the
    /// last was taken. Answers whether this was so.
    pub fn fit(&mut self, now: i64, interval: i64) -> bool {
        let latest = now + interval;
        let late = self.next > latest;
        self.next = self.next.min(latest);
        late
    }
}

/// Whole intervals within [`BURST`], in microseconds: a token comes early only together with others.
pub fn burst(limit: &RateLimit) -> i64 {
    let (interval, burst) = (micros(limit.interval()), micros(BURST));
    burst / interval * interval
}

/// A time of at most some years.
pub fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens there are at each of these times, in milliseconds.
    fn tokens(limit: &str, slack: Duration, times: impl IntoIterator<Item = i64>) -> Vec<usize> {
        let limit: RateLimit = limit.parse().unwrap();
        let (interval, slack) = (micros(limit.interval()), micros(slack));
        let mut bucket = Bucket { next: 0 };
        let at = |millis: i64| {
            let now = (1_000_000 + millis) * 1_000;
            std::iter::from_fn(|| bucket.take(now, interval, slack).then_some(())).count()
        };
        times.into_iter().map(at).collect()
    }

    #[test]
    fn a_bucket_has_one_token_for_each_interval() {
        assert_eq!(tokens("10/m", Duration::ZERO, [0, 1, 5_999, 6_000, 6_001, 20_000]), [1, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn tokens_are_saved_up_for_a_short_time() {
        let burst_of = |limit: &str| micros_as_duration(burst(&limit.parse().unwrap()));
        for (limit, most) in [("10/m", 1), ("9", 1), ("20", 3), ("1000", 101)] {
            assert_eq!(tokens(limit, burst_of(limit), [0, 100_000]), [most, most], "{limit}");
        }
        // One that comes a little late every time misses none, as long as it is not too late.
        let late = (0..1_000).map(|n| n * 90 + 7 * (n % 5));
        assert_eq!(tokens("20", CATCH_UP, late).iter().sum::<usize>(), 5 + 999 * 90 / 50);
    }

    #[test]
    fn never_more_come_than_the_limit_allows() {
        for limit in ["20", "7.3", "1000/m", "900000"] {
            let mut random = fastrand::Rng::with_seed(1);
            let mut time = 0;
            let times: Vec<i64> = std::iter::repeat_with(|| {
                time += random.i64(0..300);
                time
            })
            .take(500)
            .collect();
            let limit_: RateLimit = limit.parse().unwrap();
            let count: usize = tokens(limit, CATCH_UP, times.iter().copied()).iter().sum();
            let elapsed = Duration::from_millis(times[499] as u64) + CATCH_UP;
            let most = elapsed.as_secs_f64() / limit_.interval().as_secs_f64() + 1.0;
            assert!(count as f64 <= most, "{limit}: {count} of {most}");
        }
    }

    #[test]
    fn a_limit_that_is_raised_and_a_clock_that_is_set_back_count_at_once() {
        let (second, hour) = (1_000_000, 3_600_000_000);
        let mut bucket = Bucket { next: 0 };
        assert!(bucket.take(10 * hour, hour, 0));
        assert!(!bucket.fit(10 * hour, hour));
        assert!(!bucket.take(10 * hour, second, 0));
        assert!(bucket.take(10 * hour + second, second, 0));
        assert!(!bucket.take(hour, second, 0), "nine hours ago");
        assert!(bucket.take(hour + second, second, 0));
    }

    fn micros_as_duration(micros: i64) -> Duration {
        Duration::from_micros(micros.unsigned_abs())
    }
}
