//! Waiting for the journal to change without asking again and again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::disk::{Dir, RealDisk};

/// How often to look where the kernel cannot tell: on network file systems, or without descriptors to spare.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Wakes its owner when a record may have been appended. Make it before reading: what happens between the
/// reading and the waiting then wakes too.
#[derive(Debug)]
pub struct Watch {
    changes: Option<OwnedFd>,
}

impl Watch {
    /// Watches the segments of a store.
    pub fn new(disk: &RealDisk) -> Watch {
        let watch = || {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            inotify::add_watch(&fd, disk.path().join(Dir::Journal.as_str()), what).ok()?;
            Some(fd)
        };
        Watch { changes: watch() }
    }

    /// Watches the files of another directory too. Where the kernel cannot, a wait ends without them.
    pub fn add(&mut self, dir: &Path) {
        if let Some(fd) = &self.changes {
            let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            let _only_sooner = inotify::add_watch(fd, dir, what);
        }
    }

    /// Waits for a change, at most for `most`. May wake without one.
    pub fn wait(&mut self, most: Duration) {
        let Some(fd) = &self.changes else {
            std::thread::sleep(most.min(LOOK_AGAIN));
            return;
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        let mut ready = [PollFd::new(fd, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout)).is_ok_and(|n| n > 0) {
            // Many changes are one reason to look again.
            let mut buffer = [0u8; 4096];
            while rustix::io::read(fd, &mut buffer).is_ok_and(|n| n == buffer.len()) {}
        }
    }
}
