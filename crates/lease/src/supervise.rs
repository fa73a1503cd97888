//! Running a command under a lease (feature C7).
//!
//! Two processes hold the lease: the supervisor, which is us, and the worker, a child in a process group of its own.
//! Both are in the ACQUIRE that grants it, because the child exists before the lease is asked for: it waits at a
//! [gate](Held) that opens when the grant is durable. So there is no moment at which the command runs and is not on
//! record, and none at which the lease is bound to a dead supervisor alone while the command runs
//! (ADR 0012).
//!
//! [`Supervisor::watch_over`] stays until the group is empty: orphans of the worker are adopted by us and counted. Where
//! we were told to end the group, those who have left it are ended too.

mod gate;
mod keeper;
mod signals;
mod strays;
mod terminal;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use arbiter::lease::Halted;
use arbiter::name::OwnerName;
use arbiter::seq::{Fence, LeaseId};
use arbiter::text::shown;
use arbiter::time::Span;
use journal::disk::{DiskError, RealDisk};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_current_process_group, kill_process_group, wait};
use signal_hook::consts::signal::{SIGCONT, SIGINT, SIGKILL, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use self::keeper::{Keeper, Word};
use self::strays::{Left, Strays};
use self::terminal::Terminal;
use crate::clock::Clock;
use crate::mutex::Patience;
use crate::process::{GroupSeen, ProcessError, group};

pub use gate::{GATE, Held, NotRun, pass};
pub use keeper::lost_to;
pub use signals::{Ignored, Signals};

/// How soon to look again at a group whose leader has ended, at first and at last: a member whose parent is neither
/// dead nor of the group ends without a word to us.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Why a command could not be run under a lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The child could not be started.
    #[error("could not start a child")]
    Spawn {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The child could not be identified.
    #[error("could not tell which process the child is")]
    Identity {
        /// Why not.
        #[source]
        source: ProcessError,
    },
    /// Signals and the ends of children would not be heard of.
    #[error("could not prepare for signals")]
    Signals {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a worker was made to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody decided so.
    Halted(Halted),
    /// Its lease is no longer to be counted on, and why.
    Lost(String),
}

/// How the worker itself ended; its group ended later or at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// What became of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// How it ended.
    pub end: WorkerEnd,
    /// Why it was made to end, if it was.
    pub stop: Option<Stop>,
    /// Whether it was interrupted at the terminal that it had from us, and everybody in our group should be too.
    pub interrupted: bool,
}

/// The lease that is kept while the worker runs.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The lease.
    pub lease: LeaseId,
    /// Its fence.
    pub fence: Fence,
    /// Who holds it.
    pub owner: OwnerName,
    /// How long it lives after a beat.
    pub ttl: Span,
    /// How long to wait for the store.
    pub patience: Patience,
    /// Where time comes from.
    pub clock: &'static dyn Clock,
}

/// A lease and how to keep it.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The lease.
    pub kept: Kept,
    /// From the first request to end until the worker is killed.
    pub grace: Duration,
}

/// The one who stays with a worker until its group is empty.
#[derive(Debug)]
pub struct Supervisor {
    signals: Signals,
    words: Receiver<Word>,
    worker: Pid,
    strays: Strays,
    terminal: Option<Terminal>,
    /// From the first request to end until the worker is killed.
    grace: Duration,
}

/// Makes orphans of our children ours: they are reaped, and their end is heard of. Before the child is started.
pub fn adopt_orphans() {
    // Without it, groups are looked at now and then.
    let _old_kernel = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Interrupts our own process group, as the terminal does; to be called by the last of us who is able to.
pub fn interrupt_our_group() {
    let _ours = kill_current_process_group(Signal::INT);
}

impl Supervisor {
    /// Begins to keep the lease, and lets the worker go. `open` opens the store once more, for the thread that beats.
    /// `signals` are caught by now.
    ///
    /// # Errors
    ///
    /// When a thread or what wakes us cannot be had; the command has not run then.
    pub fn begin(
        signals: Signals,
        held: Held,
        environment: &[(&str, &OsStr)],
        keeping: Keeping,
        open: impl FnOnce() -> Result<RealDisk, DiskError> + Send + 'static,
    ) -> Result<Supervisor, SuperviseError> {
        let failed = |source| SuperviseError::Signals { source };
        let (send, words) = channel();
        let Keeping { kept, grace } = keeping;
        let keeper = Keeper { kept, words: send, waker: signals.waker().map_err(failed)? };
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keeper.keep(open))
            .map_err(|source| SuperviseError::Spawn { source })?;
        let mut terminal = Terminal::of(held.pid());
        if let Some(terminal) = &mut terminal {
            terminal.lend();
        }
        let strays = Strays::of(held.pid());
        let worker = held.let_go(environment);
        Ok(Supervisor { signals, words, worker, strays, terminal, grace })
    }

    /// Stays until the worker and all of its group have ended: passes signals on, and ends the group when it is told
    /// to or when the lease is lost; then also whoever has left the group and comes from the worker. What is worth knowing goes to `talk`, a line at a time.
    pub fn watch_over(mut self, talk: &mut dyn FnMut(&str)) -> Watched {
        let mut end = None;
        let mut stop = None;
        let mut interrupted = false;
        let mut kill_at: Option<Instant> = None;
        let mut orphans: Option<Orphans> = None;
        loop {
            for signal in self.signals.take() {
                self.send(signal);
                if signals::ENDS.contains(&signal) {
                    // Who is stopped cannot end.
                    self.send(SIGCONT);
                }
                if matches!(signal, SIGTERM | SIGINT) {
                    kill_at = kill_at.or(Some(Instant::now() + self.grace));
                }
            }
            if self.hear(&mut stop, talk) {
                self.send(SIGTERM);
                // Who is stopped cannot end.
                self.send(SIGCONT);
                kill_at = kill_at.or(Some(Instant::now() + self.grace));
            }
            if let Some(ended) = self.reap() {
                end = Some(ended);
                orphans = Some(Orphans::now());
                let had_terminal = self.terminal.as_ref().is_some_and(Terminal::is_lent);
                interrupted = had_terminal && ended == WorkerEnd::Killed(SIGINT);
                if let Some(terminal) = &mut self.terminal {
                    terminal.take_back();
                }
            }
            if let Some(end) = end
                && matches!(group(self.number()), GroupSeen::Empty | GroupSeen::Ended)
            {
                // The last of its zombies.
                self.reap();
                if kill_at.is_some() || interrupted {
                    self.end_strays(&mut stop, talk);
                }
                return Watched { end, stop, interrupted };
            }
            if kill_at.is_some_and(|at| at <= Instant::now()) {
                self.send(SIGKILL);
                // Again, for those that were forked meanwhile.
                kill_at = Some(Instant::now() + LOOK_AGAIN.1);
            }
            let until_kill = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
            let until_look = orphans.as_mut().map(|orphans| orphans.next_look(talk));
            self.signals.wait(until_kill.into_iter().chain(until_look).min());
        }
    }

    /// Ends whoever comes from the worker and has left its group, which is empty by now and no longer ours to signal.
    fn end_strays(&mut self, stop: &mut Option<Stop>, talk: &mut dyn FnMut(&str)) {
        let kill_at = Instant::now() + self.grace;
        let mut look_again = LOOK_AGAIN.0;
        let mut said = false;
        loop {
            let until_kill = kill_at.saturating_duration_since(Instant::now());
            if self.strays.end(until_kill.is_zero()) == Left::Nobody {
                return;
            }
            if !std::mem::replace(&mut said, true) {
                talk("the group of the command has ended; who has left it has to end too");
            }
            self.hear(stop, talk);
            let until_kill = Some(until_kill).filter(|left| !left.is_zero());
            self.signals.wait(until_kill.into_iter().chain([look_again]).min());
            look_again = (look_again * 2).min(LOOK_AGAIN.1);
            self.reap();
        }
    }

    /// Hears what the keeper says; whether it says for the first time that the worker has to end.
    fn hear(&self, stop: &mut Option<Stop>, talk: &mut dyn FnMut(&str)) -> bool {
        let mut is_new = false;
        for word in self.words.try_iter() {
            match word {
                Word::Warning(warning) => talk(&format!("warning: {warning}")),
                // The first reason is the reason.
                Word::Stop(_) if stop.is_some() => {}
                Word::Stop(why) => {
                    talk(&why.to_string());
                    *stop = Some(why);
                    is_new = true;
                }
            }
        }
        is_new
    }

    /// Takes note of every child that has ended; how the worker ended, once.
    fn reap(&mut self) -> Option<WorkerEnd> {
        let mut end = None;
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.worker => {
                    if let Some(signal) = status.stopping_signal() {
                        self.stopped(signal);
                    } else if let Some(code) = status.exit_status() {
                        end = Some(WorkerEnd::Exited(code));
                    } else if let Some(signal) = status.terminating_signal() {
                        end = Some(WorkerEnd::Killed(signal));
                    }
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return end,
            }
        }
    }

    /// The worker was stopped. If that is the terminal's doing, we stop as well, so that the shell above sees its
    /// job stopped; and go on together with it.
    fn stopped(&mut self, signal: i32) {
        let Some(terminal) = &mut self.terminal else { return };
        let wanted_terminal = matches!(signal, SIGTTIN | SIGTTOU);
        if !wanted_terminal && signal != SIGTSTP {
            return;
        }
        if !(wanted_terminal && terminal.is_ours()) {
            terminal.take_back();
            // Everybody in our group, as the terminal would have done. Returns when somebody continues us.
            let _ours = kill_current_process_group(Signal::TSTP);
        }
        terminal.lend();
        self.send(SIGCONT);
    }

    /// Signals the worker's group. It is never empty before we say so: what ended in it waits for us to reap it.
    fn send(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ended = kill_process_group(self.worker, signal);
        }
    }

    fn number(&self) -> u32 {
        self.worker.as_raw_nonzero().get().cast_unsigned()
    }
}

/// Those who live on in the group when its leader has ended.
#[derive(Debug)]
struct Orphans {
    since: Instant,
    look_again: Duration,
    said: bool,
}

impl Orphans {
    fn now() -> Orphans {
        Orphans { since: Instant::now(), look_again: LOOK_AGAIN.0, said: false }
    }

    /// When to look at them again. Says once, after a while, what we are waiting for.
    fn next_look(&mut self, talk: &mut dyn FnMut(&str)) -> Duration {
        if !self.said && self.since.elapsed() > LOOK_AGAIN.1 {
            self.said = true;
            talk("the command has ended; the lease is kept until the last process of its group has");
        }
        let next = self.look_again;
        self.look_again = (next * 2).min(LOOK_AGAIN.1);
        next
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Halted(halted) => {
                write!(f, "halted: {}; the command has to end", shown(&halted.handle, 200))
            }
            Stop::Lost(why) => write!(f, "the lease is lost: {why}; the command has to end"),
        }
    }
}
