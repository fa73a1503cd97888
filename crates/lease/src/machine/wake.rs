//! What wakes one who waits on this machine: the kernel, never a look now and then where the kernel can tell.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbiter::evidence::{Liveness, ProcessIdentity};
use journal::disk::{Dir, Name, RealDisk};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Awaited, Watch, Woken};
use crate::process::{self, Here};

/// How often to look where the kernel cannot tell: on network file systems, or without descriptors to spare.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often to look when nothing but the death of the one before us can be told. A user has 128 of the descriptors that
/// tell more; whoever waits in a longer line gets one as those at the front leave.
const LOOK_AT_THE_NEXT: Duration = Duration::from_secs(30);
/// How often to look at processes of which the kernel gives no word.
const LOOK_AT_PROCESSES: Duration = Duration::from_secs(1);
/// How many deaths are watched at once; a shell gives a process about 1000 descriptors.
const PROCESSES_MAX: usize = 256;

/// How a caller that waits is told to stop: by signals, mostly.
#[derive(Debug)]
pub struct Interrupt {
    /// Becomes readable when it is told to.
    pub bell: OwnedFd,
    /// Becomes other than zero before that.
    pub asked: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) != 0
    }
}

/// Watches the journal, or the file of a ticket.
///
/// One descriptor for the whole wait: closing one costs milliseconds, since the kernel waits for a grace period. Watches
/// come and go for nothing.
#[derive(Debug)]
pub struct Wake<'d> {
    disk: &'d RealDisk,
    changes: Option<Changes>,
    interrupt: Option<&'d Interrupt>,
}

#[derive(Debug)]
struct Changes {
    fd: OwnedFd,
    watched: Watched,
}

/// What is watched, with the kernel's number for the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Nothing,
    Journal(i32),
    File(i32),
}

impl<'d> Wake<'d> {
    pub(super) fn new(disk: &'d RealDisk, interrupt: Option<&'d Interrupt>) -> Wake<'d> {
        let mut wake = Wake { disk, changes: Changes::new(), interrupt };
        wake.listen();
        wake
    }
}

impl Changes {
    fn new() -> Option<Changes> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Changes { fd, watched: Watched::Nothing })
    }

    /// Forgets what has happened so far: many changes are one reason to look again.
    fn drain(&self) {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n > 0) {}
    }

    fn rest(&mut self) {
        if let Watched::Journal(watch) | Watched::File(watch) = self.watched {
            let _gone_with_its_file = inotify::remove_watch(&self.fd, watch);
        }
        self.watched = Watched::Nothing;
        self.drain();
    }

    fn journal(&mut self, disk: &RealDisk) {
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let watch = inotify::add_watch(&self.fd, disk.path().join(Dir::Journal.as_str()), what);
        self.watched = watch.map_or(Watched::Nothing, Watched::Journal);
    }

    /// Watches for the end of one file and nothing else; `None` when it is not there.
    fn only(&mut self, disk: &RealDisk, file: &Name) -> Option<()> {
        self.rest();
        // Taking the name away is a change of the file's attributes; its end comes when nobody has it open either.
        let what = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watch = inotify::add_watch(&self.fd, disk.path().join(&file.file), what).ok()?;
        self.watched = Watched::File(watch);
        Some(())
    }
}

impl Watch for Wake<'_> {
    fn listen(&mut self) -> bool {
        self.changes = self.changes.take().or_else(Changes::new);
        let Some(changes) = &mut self.changes else { return false };
        if matches!(changes.watched, Watched::Journal(_)) {
            return false;
        }
        changes.rest();
        changes.journal(self.disk);
        changes.watched != Watched::Nothing
    }

    fn rest(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.rest();
        }
    }

    fn wait(&mut self, awaited: &Awaited, most: Duration) -> Woken {
        let mut most = most;
        self.changes = self.changes.take().or_else(Changes::new);
        let is_watched = match (&mut self.changes, &awaited.file) {
            (Some(changes), Some(file)) => {
                if changes.only(self.disk, file).is_none() {
                    return Woken::NoFile;
                }
                true
            }
            (Some(changes), None) => matches!(changes.watched, Watched::Journal(_)),
            (None, _) => false,
        };
        let mut deaths = Vec::new();
        for process in &awaited.processes {
            match (deaths.len() < PROCESSES_MAX).then(|| death_of(process)) {
                Some(Death::HasCome) => return Woken::Perhaps,
                Some(Death::Watched(fd)) => deaths.push(fd),
                Some(Death::Untold) | None => most = most.min(LOOK_AT_PROCESSES),
            }
        }
        if !is_watched {
            // One who waits ends soon after its ticket.
            let is_told = awaited.file.is_some() && !deaths.is_empty();
            most = most.min(if is_told { LOOK_AT_THE_NEXT } else { LOOK_AGAIN });
        }
        let mut ready: Vec<PollFd<'_>> = deaths.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        ready.extend(self.changes.as_ref().map(|changes| PollFd::new(&changes.fd, PollFlags::IN)));
        ready.extend(self.interrupt.map(|interrupt| PollFd::new(&interrupt.bell, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        let woken = poll(&mut ready, Some(&timeout));
        if let Some(changes) = &self.changes {
            changes.drain();
        }
        match woken {
            Ok(0) => Woken::Time,
            Ok(_) | Err(Errno::INTR) => Woken::Perhaps,
            Err(_) => {
                std::thread::sleep(most.min(LOOK_AGAIN));
                Woken::Time
            }
        }
    }
}

enum Death {
    HasCome,
    Watched(OwnedFd),
    /// Nobody here is told of it: another namespace or host, or no descriptors left.
    Untold,
}

/// Opens the process and then looks whether it is the one that is meant: so it cannot be another one.
fn death_of(process: &ProcessIdentity) -> Death {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let opened = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match (opened, process::probe(process, Here::this()).alive) {
        (_, Liveness::No) => Death::HasCome,
        (Some(Ok(fd)), Liveness::Yes) => Death::Watched(fd),
        _ => Death::Untold,
    }
}
