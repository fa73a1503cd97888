//! The two clocks: wall time for people, boot time for ages.
//!
//! Neither orders anything; only the journal does. Ages within one boot come from [`Clock::reading`], which a
//! stepped wall clock does not touch; two readings of different domains say nothing about an age.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arbiter::evidence::ClockReading;
use rustix::time::{ClockId, clock_gettime};

use crate::process::Here;

/// Where the shell takes its time from.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z by the wall clock; may step either way, may be negative.
    fn wall_ms(&self) -> i64;

    /// Milliseconds since boot, suspended time included. Never steps back within a process: right for deadlines.
    fn up_ms(&self) -> u64;

    /// The boot-time clock with the domain it counts in, to be recorded.
    fn reading(&self) -> ClockReading;
}

/// The clocks of this machine.
///
/// A reading costs no system call; the first one in a process finds the vDSO (one call) and reads the domain
/// ([`Here::domain`], four calls, shared with [`process`](crate::process)).
///
/// ```
/// use lease::clock::{Clock, SystemClock};
///
/// let (early, late) = (SystemClock.reading(), SystemClock.reading());
/// assert!(early.boot == late.boot && early.up_ms <= late.up_ms);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let saturated = |ms: u128| i64::try_from(ms).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => saturated(after.as_millis()),
            Err(before) => -saturated(before.duration().as_millis()),
        }
    }

    fn up_ms(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        // A time namespace may be set back, though never to before zero.
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
    }

    fn reading(&self) -> ClockReading {
        let boot = Here::this().domain().unwrap_or_else(|| nameless_domain());
        ClockReading { boot: boot.to_owned(), up_ms: self.up_ms() }
    }
}

/// A domain of our own for a machine without a readable boot id: random, so that no other process' reading is
/// ever compared with ours. Ages then come from the wall clock.
fn nameless_domain() -> &'static str {
    static DOMAIN: OnceLock<String> = OnceLock::new();
    DOMAIN.get_or_init(|| {
        let mut noise = [0_u8; 8];
        let filled = rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty());
        assert_eq!(filled, Ok(noise.len()), "the kernel gives eight random bytes at once");
        format!("no-boot-id-{:016x}", u64::from_ne_bytes(noise))
    })
}

/// A clock that stands still until it is told: for tests and simulators.
///
/// ```
/// use lease::clock::{Clock, FixedClock};
///
/// let clock = FixedClock::new(1_000, "boot-1", 50);
/// clock.advance(7);
/// assert_eq!((clock.wall_ms(), clock.reading().up_ms), (1_007, 57));
/// clock.set_wall_ms(-5);
/// assert_eq!((clock.wall_ms(), clock.up_ms()), (-5, 57));
/// ```
#[derive(Debug)]
pub struct FixedClock {
    wall_ms: AtomicI64,
    up_ms: AtomicU64,
    boot: Mutex<String>,
}

impl FixedClock {
    /// Starts at `wall_ms` and `up_ms` in the clock domain `boot`.
    pub fn new(wall_ms: i64, boot: &str, up_ms: u64) -> Self {
        Self {
            wall_ms: AtomicI64::new(wall_ms),
            up_ms: AtomicU64::new(up_ms),
            boot: Mutex::new(boot.to_owned()),
        }
    }

    /// Lets `ms` milliseconds pass on both clocks.
    pub fn advance(&self, ms: u32) {
        self.wall_ms.fetch_add(i64::from(ms), Ordering::SeqCst);
        self.up_ms.fetch_add(u64::from(ms), Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as an operator or a time server does.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Boots again: another domain, boot time from zero, wall time as it was.
    pub fn reboot(&self, boot: &str) {
        boot.clone_into(&mut self.boot.lock().unwrap_or_else(PoisonError::into_inner));
        self.up_ms.store(0, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn up_ms(&self) -> u64 {
        self.up_ms.load(Ordering::SeqCst)
    }

    fn reading(&self) -> ClockReading {
        let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ClockReading { boot, up_ms: self.up_ms() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_agrees_with_the_kernel() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let (seconds, hundredths) = uptime.split(' ').next().unwrap().split_once('.').unwrap();
        let before_ms = seconds.parse::<u64>().unwrap() * 1_000 + hundredths.parse::<u64>().unwrap() * 10;
        let reading = SystemClock.reading();
        assert!(before_ms <= reading.up_ms && reading.up_ms < before_ms + 60_000, "{before_ms} {reading:?}");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert!(reading.boot.starts_with(boot.trim()), "{reading:?}");
    }

    #[test]
    fn the_wall_clock_is_of_this_century() {
        assert!((946_684_800_000..4_102_444_800_000).contains(&SystemClock.wall_ms()));
    }

    #[test]
    fn a_machine_without_a_boot_id_has_a_domain_of_its_own() {
        assert_eq!(nameless_domain(), nameless_domain());
        assert_eq!(nameless_domain().len(), "no-boot-id-".len() + 16);
    }

    #[test]
    fn a_reboot_starts_another_domain_at_zero() {
        let clock = FixedClock::new(9_000, "boot-1", 700);
        assert_eq!(clock.reading(), ClockReading { boot: "boot-1".to_owned(), up_ms: 700 });
        clock.reboot("boot-2");
        assert_eq!(clock.reading(), ClockReading { boot: "boot-2".to_owned(), up_ms: 0 });
        assert_eq!(clock.wall_ms(), 9_000);
    }

    #[test]
    fn clocks_are_shared_between_threads() {
        let clock: &dyn Clock = &FixedClock::new(0, "b", 3);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(clock.up_ms(), 3));
        });
    }
}
