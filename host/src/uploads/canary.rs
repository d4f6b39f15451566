//! When a canary is rolled back by itself.
//!
//! What counts is what came after it had begun. With at least 20 calls of it, 3 of them failed, it goes when it fails more often
//! than the active version by at least 5 calls in a hundred, and by more than chance explains: by more than 2.5 standard errors
//! of the difference between two such shares. So 3 failures of 20 are enough beside a version that does not fail, and a version
//! that fails as often as the active one stays. Where nobody has called the active version since, what was counted of it before
//! stands for it.

use super::record::Runs;

/// The calls that a canary must have had.
const LEAST_CALLS: u64 = 20;

/// How many of them must have failed: one or two say nothing.
const LEAST_FAILURES: u64 = 3;

/// By how much it must fail more often.
const MARGIN: f64 = 0.05;

/// By how many standard errors.
const ERRORS: f64 = 2.5;

/// Whether a canary fails more often than the version beside it.
pub(super) fn is_worse(canary: Runs, active: Runs) -> bool {
    if canary.calls < LEAST_CALLS || canary.failures < LEAST_FAILURES {
        return false;
    }
    let share = |runs: Runs| runs.failures.min(runs.calls) as f64 / runs.calls.max(1) as f64;
    let more = share(canary) - share(active);
    let of_both = Runs {
        calls: canary.calls.saturating_add(active.calls),
        failures: canary.failures.saturating_add(active.failures),
    };
    let pooled = share(of_both);
    let calls = 1.0 / canary.calls as f64 + 1.0 / active.calls.max(1) as f64;
    // A version of which nothing is known counts as one that does not fail, and cannot be measured against.
    let error = if active.calls == 0 { 0.0 } else { (pooled * (1.0 - pooled) * calls).sqrt() };
    more >= MARGIN && more > ERRORS * error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_worse_when_it_fails_more_often_than_chance_explains() {
        for (canary, active, expected) in [
            ((19, 19), (1_000, 0), false),
            ((20, 20), (180, 0), true),
            ((20, 5), (180, 0), true),
            ((20, 3), (180, 0), true),
            ((20, 1), (180, 0), false),
            ((20, 0), (180, 0), false),
            ((20, 13), (180, 90), false),
            ((20, 20), (180, 90), true),
            ((1_000, 520), (9_000, 4_500), false),
            ((1_000, 600), (9_000, 4_500), true),
            ((100_000, 4_000), (900_000, 0), false),
            ((100_000, 6_000), (900_000, 0), true),
            ((20, 20), (20, 20), false),
            ((20, 2), (0, 0), false),
            ((20, 3), (0, 0), true),
            ((20, 0), (0, 0), false),
            ((20, u64::MAX), (20, 0), true),
        ] {
            let runs = |(calls, failures)| Runs { calls, failures };
            assert_eq!(is_worse(runs(canary), runs(active)), expected, "{canary:?} {active:?}");
        }
    }
}
