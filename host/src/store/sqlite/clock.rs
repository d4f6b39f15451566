//! The two clocks: one for leases, one for what people call a time.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The clock of leases. Nobody can set it, all processes of a machine share it, and it stands still while the machine
/// sleeps, so that nobody is taken for dead who could not beat. It begins anew when the machine starts, which the
/// boot's name tells.
#[derive(Debug, Clone)]
pub struct LeaseClock {
    /// Names the time since the machine was started.
    pub boot: String,
}

impl LeaseClock {
    /// The clock of this machine.
    pub fn new() -> Self {
        // Where there is no such name, leases of an earlier boot are known by lying ahead: see `ALIVE` in `owners`.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { boot: boot.trim().to_owned() }
    }

    /// Milliseconds since some point in time of this boot.
    pub fn now(&self) -> i64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
    }
}

/// A time as it is stored: microseconds since 1970, and not before the time itself, so that nothing is due early.
pub fn micros(time: Timestamp) -> i64 {
    time.as_microsecond() + i64::from(time.subsec_nanosecond().rem_euclid(1_000) != 0)
}

/// The time now, as it is compared with stored ones.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

/// A stored time. One that no calendar knows can only have been written by somebody else; it becomes the nearest that
/// is known.
pub fn timestamp(micros: i64) -> Timestamp {
    let nearest = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(nearest)
}
