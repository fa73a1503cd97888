//! Signals as words to the one who waits, instead of an end in the middle of things.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::signal::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// What is passed on to the worker's group, as `timeout(1)` does.
const PASSED_ON: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM];

/// What mostly means an end: who is stopped is continued to hear it, as `timeout(1)` does.
pub(super) const ENDS: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGALRM];

/// Wakes its owner when a signal has come, a child has changed, or somebody with a [`Signals::waker`] wants it.
#[derive(Debug)]
pub struct Signals {
    woken: UnixStream,
    waker: UnixStream,
    seen: Vec<(i32, Arc<AtomicBool>)>,
}

impl Signals {
    /// Begins to hear of children. Before the child is started: it must not inherit that nobody wants to.
    ///
    /// # Errors
    ///
    /// When the system gives no socket.
    pub fn new() -> io::Result<Signals> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let signals = Signals { woken, waker, seen: Vec::new() };
        signal_hook::low_level::pipe::register(SIGCHLD, signals.waker()?)?;
        Ok(signals)
    }

    /// Begins to hear of everything that is passed on. What is ignored (`nohup`, a shell's background) stays ignored.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn catch(&mut self) -> io::Result<()> {
        let ignored = Ignored::now();
        for signal in PASSED_ON {
            if ignored.contains(signal) {
                continue;
            }
            let seen = Arc::new(AtomicBool::new(false));
            // The flag first: whoever is woken finds it set.
            signal_hook::flag::register(signal, Arc::clone(&seen))?;
            signal_hook::low_level::pipe::register(signal, self.waker()?)?;
            self.seen.push((signal, seen));
        }
        Ok(())
    }

    /// Something to wake the owner with: one byte written to it does.
    ///
    /// # Errors
    ///
    /// When there are no descriptors to be had.
    pub fn waker(&self) -> io::Result<UnixStream> {
        self.waker.try_clone()
    }

    /// Waits to be woken, at most for `most`.
    pub(super) fn wait(&mut self, most: Option<Duration>) {
        let timeout = most.map(|most| Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        });
        let mut ready = [PollFd::new(&self.woken, PollFlags::IN)];
        let _interrupted = poll(&mut ready, timeout.as_ref());
        let mut buffer = [0; 64];
        loop {
            match (&self.woken).read(&mut buffer) {
                Ok(length) if length == buffer.len() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
    }

    /// The signals that have come since this was asked last.
    pub(super) fn take(&self) -> Vec<i32> {
        let come = self.seen.iter().filter(|(_, seen)| seen.swap(false, Ordering::SeqCst));
        come.map(|&(signal, _)| signal).collect()
    }
}

/// The signals that this process ignores, mostly since whoever has started it wants it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored(u64);

impl Ignored {
    /// Those that it ignores now; none where that cannot be told.
    pub fn now() -> Ignored {
        Ignored::of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// The kernel's mask in `/proc/self/status`.
    fn of(status: &str) -> Ignored {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Ignored(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }

    /// Whether this signal is one of them.
    pub fn contains(self, signal: i32) -> bool {
        self.0 & (1 << (signal - 1)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let ignored = Ignored::of("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001005\n");
        assert_eq!(ignored, Ignored(0x1005));
        assert_eq!([SIGHUP, SIGINT, SIGQUIT].map(|signal| ignored.contains(signal)), [true, false, true]);
        assert_eq!(Ignored::of("Name:\tx\n"), Ignored(0));
    }
}
