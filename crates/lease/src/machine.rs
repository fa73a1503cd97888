//! What the shell needs of the machine it runs on, as one seam: disk, clocks, processes, chance and waiting.
//!
//! [`RealMachine`] is this machine. A simulator stands another one in its place and runs the same
//! [`session`](crate::session) and [`mutex`](crate::mutex) on it, so nothing in those two may ask the operating
//! system past this seam.

mod flock;
mod real;
mod wake;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use journal::disk::{Disk, DiskError, Name};

use crate::clock::Clock;

pub use flock::FlockQueue;
pub use real::RealMachine;
pub use wake::{Interrupt, Wake};

/// One process's machine. A clone is the same machine seen by the same process.
pub trait Machine: Clone + Debug {
    /// The store's directory.
    type Disk: Disk + Clone + Debug;
    /// A place in the mutex's queue.
    type Queue: Queue;
    /// What wakes a caller that waits for the journal to change.
    type Watch: Watch;

    /// The store's directory.
    fn disk(&self) -> Self::Disk;

    /// What messages call the store.
    fn store_path(&self) -> PathBuf;

    /// Wall time and boot time.
    fn clock(&self) -> &dyn Clock;

    /// A time that only grows, for deadlines. It may stand still while the machine is suspended.
    fn uptime(&self) -> Duration;

    /// 64 bits that nobody else has.
    ///
    /// # Errors
    ///
    /// When the system gives none.
    fn random(&self) -> io::Result<u64>;

    /// Which process this is; `None` when the system does not tell.
    fn this_process(&self) -> Option<ProcessIdentity>;

    /// Looks whether a process lives (feature C3). Unknown is never dead.
    fn probe(&self, process: &ProcessIdentity) -> ProcessReport;

    /// Lets time pass.
    fn pause(&self, time: Duration);

    /// Comes to the mutex's queue, without a place in it yet.
    ///
    /// # Errors
    ///
    /// When the queue's file cannot be opened or made.
    fn queue(&self) -> Result<Self::Queue, DiskError>;

    /// Begins to watch the journal, as [`Watch::listen`] does.
    fn watch(&self) -> Self::Watch;

    /// Whether somebody wants the one who waits to stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// A queue in which the kernel keeps the order and from which the dead are gone. Dropped, it lets the next one in.
pub trait Queue: Debug {
    /// Waits to be the head of the queue, at most for `most`; zero only looks. `true`: we are, until this is
    /// dropped.
    ///
    /// # Errors
    ///
    /// When the system cannot lock.
    fn wait(&mut self, most: Duration) -> Result<bool, DiskError>;
}

/// What one who waits wakes for, beside time and being interrupted.
#[derive(Clone, Debug, Default)]
pub struct Awaited {
    /// The end of this file of the store; where there is none, any change of the journal.
    pub file: Option<Name>,
    /// The death of any of these.
    pub processes: Vec<ProcessIdentity>,
}

/// Why one who waits woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// What it waits for may have happened.
    Perhaps,
    /// Time has passed.
    Time,
    /// It has not waited: the file is not there.
    NoFile,
}

/// Something that wakes when what a caller waits for may have happened.
pub trait Watch {
    /// Watches the journal from now on: what happens after this call is not missed by [`Watch::wait`]. `false`: it was
    /// watched already.
    fn listen(&mut self) -> bool;

    /// Watches nothing until told otherwise: what has been waited for has come, or seems to have.
    fn rest(&mut self);

    /// Waits, at most for `most`. May wake without a reason.
    fn wait(&mut self, awaited: &Awaited, most: Duration) -> Woken;
}
