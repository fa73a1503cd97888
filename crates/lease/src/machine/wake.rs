//! What wakes one who waits on this machine: the kernel, never a look now and then where the kernel can tell.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbiter::evidence::{Liveness, ProcessIdentity};
use journal::disk::RealDisk;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::bell::{self, Before};
use super::{Awaited, Sign, Watch, Woken};
use crate::process::{self, Here};

/// How often to look where there is no bell: on file systems without named pipes, or without descriptors to spare.
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

/// Watches the bell, the file of a ticket, and processes.
#[derive(Debug)]
pub struct Wake<'d> {
    disk: &'d RealDisk,
    bell: Option<OwnedFd>,
    interrupt: Option<&'d Interrupt>,
}

impl<'d> Wake<'d> {
    pub(super) fn new(disk: &'d RealDisk, interrupt: Option<&'d Interrupt>) -> Wake<'d> {
        Wake { disk, bell: None, interrupt }
    }
}

impl Watch<Sign> for Wake<'_> {
    fn listen(&mut self) {
        self.bell = bell::listen(self.disk);
    }

    fn wait(&mut self, awaited: &Awaited, own: Option<&Sign>, most: Duration) -> Woken {
        let mut most = most;
        let ticket = match awaited.ticket.as_ref().map(|ticket| Before::look(self.disk, ticket)) {
            None => None,
            Some(Before::Held(fd)) => Some(fd),
            Some(_) => return Woken::Gone,
        };
        let mut deaths = Vec::new();
        for process in &awaited.processes {
            match (deaths.len() < PROCESSES_MAX).then(|| death_of(process)) {
                Some(Death::HasCome) => return Woken::Perhaps,
                Some(Death::Watched(fd)) => deaths.push(fd),
                Some(Death::Untold) | None => most = most.min(LOOK_AT_PROCESSES),
            }
        }
        if !awaited.bell {
            self.bell = None;
        } else if self.bell.is_none() {
            most = most.min(LOOK_AGAIN);
        }
        let mut ready: Vec<PollFd<'_>> = deaths.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        ready.extend(ticket.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        ready.extend(own.map(|own| PollFd::new(own.fd(), PollFlags::IN)));
        ready.extend(self.interrupt.map(|interrupt| PollFd::new(&interrupt.bell, PollFlags::IN)));
        // Not for bytes, which anybody may leave in it: only for a writer that has gone.
        ready.extend(self.bell.iter().map(|bell| PollFd::new(bell, PollFlags::empty())));
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        let woken = poll(&mut ready, Some(&timeout));
        let is_rung = self.bell.is_some() && ready.last().is_some_and(|bell| !bell.revents().is_empty());
        if let Some(own) = own {
            own.drain();
        }
        match woken {
            Ok(0) => Woken::Time,
            Ok(1) if is_rung => Woken::Rung,
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
