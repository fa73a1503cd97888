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

/// Watches the journal from its making on, until it is told to wait for something nearer.
#[derive(Debug)]
pub struct Wake<'d> {
    disk: &'d RealDisk,
    changes: Option<Changes>,
    interrupt: Option<&'d Interrupt>,
}

#[derive(Debug)]
struct Changes {
    fd: OwnedFd,
    /// The watch on the journal, as long as it is wanted.
    journal: Option<i32>,
}

impl<'d> Wake<'d> {
    pub(super) fn new(disk: &'d RealDisk, interrupt: Option<&'d Interrupt>) -> Wake<'d> {
        let watch = || {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            let journal = inotify::add_watch(&fd, disk.path().join(Dir::Journal.as_str()), what).ok();
            Some(Changes { fd, journal })
        };
        Wake { disk, changes: watch(), interrupt }
    }
}

impl Changes {
    /// Forgets what has happened so far: many changes are one reason to look again.
    fn drain(&self) {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n > 0) {}
    }

    /// Watches for the end of one file instead of the journal; `None` when it is not there.
    fn only(&mut self, disk: &RealDisk, file: &Name) -> Option<()> {
        if let Some(journal) = self.journal.take() {
            let _gone_with_the_descriptor = inotify::remove_watch(&self.fd, journal);
        }
        self.drain();
        // Taking the name away is a change of the file's attributes; its end comes when nobody has it open either.
        let what = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        inotify::add_watch(&self.fd, disk.path().join(&file.file), what).ok().map(|_watch| ())
    }
}

impl Watch for Wake<'_> {
    fn wait(&mut self, awaited: &Awaited, most: Duration) -> Woken {
        let mut most = most;
        let is_watched = match (&mut self.changes, &awaited.file) {
            (Some(changes), Some(file)) => {
                if changes.only(self.disk, file).is_none() {
                    return Woken::NoFile;
                }
                true
            }
            (Some(changes), None) => changes.journal.is_some(),
            (None, _) => false,
        };
        if !is_watched {
            most = most.min(LOOK_AGAIN);
        }
        let mut deaths = Vec::new();
        for process in &awaited.processes {
            match (deaths.len() < PROCESSES_MAX).then(|| death_of(process)) {
                Some(Death::HasCome) => return Woken::Perhaps,
                Some(Death::Watched(fd)) => deaths.push(fd),
                Some(Death::Untold) | None => most = most.min(LOOK_AT_PROCESSES),
            }
        }
        let mut ready: Vec<PollFd<'_>> = deaths.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        ready.extend(self.changes.as_ref().map(|changes| PollFd::new(&changes.fd, PollFlags::IN)));
        ready.extend(self.interrupt.map(|interrupt| PollFd::new(&interrupt.bell, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        match poll(&mut ready, Some(&timeout)) {
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
