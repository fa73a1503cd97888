//! What the shell needs of the machine it runs on, as one seam: disk, clocks, processes, chance and waiting.
//!
//! [`RealMachine`] is this machine. A simulator stands another one in its place and runs the same
//! [`session`](crate::session) and [`mutex`](crate::mutex) on it, so nothing in those two may ask the operating
//! system past this seam.

mod bell;
mod flock;
mod real;
mod wake;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use journal::disk::{Dir, Disk, DiskError, Name};
use journal::index::INDEX_FROM_BYTES;

use crate::clock::Clock;

pub use bell::{Ringing, Sign};
pub use flock::FlockQueue;
pub use real::RealMachine;
pub use wake::{Interrupt, Wake};

/// The file by which those who append tell those who wait.
pub fn bell() -> Name {
    Name::new(Dir::Top, "bell")
}

/// One process's machine. A clone is the same machine seen by the same process.
pub trait Machine: Clone + Debug {
    /// The store's directory.
    type Disk: Disk + Clone + Debug;
    /// A place in the mutex's queue.
    type Queue: Queue;
    /// A ticket's file as the one who waits with it has it. Its end is told to those behind, also when it comes by the
    /// death of its process.
    type Sign: Debug;
    /// A bell that is being rung.
    type Ringing: Debug;
    /// What wakes a caller that waits.
    type Watch: Watch<Self::Sign>;

    /// The store's directory.
    fn disk(&self) -> Self::Disk;

    /// What messages call the store.
    fn store_path(&self) -> PathBuf;

    /// From how many bytes on segments are read by their index.
    fn index_from(&self) -> u64 {
        INDEX_FROM_BYTES
    }

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

    /// What will wake this caller.
    fn watch(&self) -> Self::Watch;

    /// Makes the file of a ticket that nobody knows yet; `None` where that cannot be done. There may be a file then that
    /// nobody holds.
    fn put_up(&self, ticket: &Name) -> Option<Self::Sign>;

    /// Tells those who wait for the end of somebody's ticket that it has come, and the one who has waited with it, and
    /// takes its file away.
    fn take_down(&self, ticket: &Name);

    /// Whether the file of a ticket is there and nobody on this machine holds it.
    fn is_left(&self, ticket: &Name) -> bool;

    /// Rings for those at the front. They hear it when this is dropped or its process has died, whichever comes first,
    /// and it is heard by all who listen at that moment: so it is taken before an append and dropped after it.
    fn ring(&self) -> Self::Ringing;

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

/// What one who waits wakes for, beside time, being interrupted, and the end of its own ticket.
#[derive(Clone, Debug, Default)]
pub struct Awaited {
    /// The end of the ticket of this file.
    pub ticket: Option<Name>,
    /// Any change of the journal.
    pub bell: bool,
    /// The death of any of these.
    pub processes: Vec<ProcessIdentity>,
}

/// Why one who waits woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// What it waits for may have happened.
    Perhaps,
    /// The bell has rung, and nothing else has happened.
    Rung,
    /// Time has passed.
    Time,
    /// It has not waited: nobody holds the ticket's file any more, or there is none.
    Gone,
}

/// Something that wakes when what a caller waits for may have happened.
pub trait Watch<Sign> {
    /// Listens to the bell from now on: who rings it after this call, or is at it now, wakes the next [`Watch::wait`]
    /// that is for the bell.
    fn listen(&mut self);

    /// Waits, at most for `most`. May wake without a reason. `own` is the file of the caller's own ticket.
    fn wait(&mut self, awaited: &Awaited, own: Option<&Sign>, most: Duration) -> Woken;
}
