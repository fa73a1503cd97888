//! What a simulated process runs on: the shipped [`Machine`] seam over a [`World`].
//!
//! Before each call the process hands over to the scheduler, which says what becomes of it. Between two such
//! moments nothing happens in the world, so a run is an order of calls and nothing else.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use corosensei::Yielder;
use journal::disk::{Dir, DiskError};
use lease::clock::Clock;
use lease::machine::{Machine, Queue, Watch};
use testkit::disk::{Call, EIO, Fault, Gate, Pass, Seat, What};

use crate::world::{Namespace, Ticket, World};

/// What a process is about to do when it hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A call to the disk.
    Disk {
        /// Which.
        what: What,
        /// In which directory.
        dir: Dir,
        /// How many bytes it would write.
        bytes: usize,
    },
    /// It looks at another process.
    Probe,
    /// It waits until this much boot time, or until it may have the lock.
    Wait {
        /// Boot time in milliseconds.
        until_ms: u64,
        /// The place in the mutex's queue, if that is what it waits for.
        ticket: Option<Ticket>,
    },
}

impl std::fmt::Display for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Asks::Disk { what, dir, .. } => write!(f, "{what} {dir:?}"),
            Asks::Probe => f.write_str("probe"),
            Asks::Wait { until_ms, ticket: None } => write!(f, "pause until {until_ms} ms"),
            Asks::Wait { until_ms, .. } => write!(f, "wait for the queue until {until_ms} ms"),
        }
    }
}

/// What the scheduler says to a process.
#[derive(Clone, Debug)]
pub enum Told {
    /// Do it.
    Go,
    /// Do it, but this goes wrong.
    Meet(Fault),
    /// You are dead: nothing you do from here on has any effect.
    Die,
}

/// Where a process hands over.
pub type Handover = Yielder<Told, Asks>;

/// One process's machine.
#[derive(Clone, Debug)]
pub struct SimMachine<'y> {
    disk: Seat<Door<'y>>,
    me: Rc<Me<'y>>,
}

/// What is one process's own.
struct Me<'y> {
    world: Rc<World>,
    process: ProcessIdentity,
    ticket: Ticket,
    handover: &'y Handover,
    dead: Cell<bool>,
}

impl std::fmt::Debug for Me<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}", self.process.pid)
    }
}

impl Me<'_> {
    fn ask(&self, asks: Asks) -> Told {
        if self.dead.get() {
            return Told::Die;
        }
        let told = self.handover.suspend(asks);
        if matches!(told, Told::Die | Told::Meet(Fault::Die | Fault::Torn { .. })) {
            self.dead.set(true);
        }
        told
    }
}

impl<'y> SimMachine<'y> {
    /// The machine as `process` sees it. `ticket` is its place in the mutex's queue should it need one.
    pub fn new(
        world: &Rc<World>,
        process: ProcessIdentity,
        ticket: Ticket,
        handover: &'y Handover,
    ) -> SimMachine<'y> {
        let me = Rc::new(Me { world: Rc::clone(world), process, ticket, handover, dead: Cell::new(false) });
        let disk = world.disk.seat(Door(Rc::clone(&me)));
        SimMachine { disk, me }
    }
}

/// The gate through which every call to the disk goes.
#[derive(Clone, Debug)]
pub struct Door<'y>(Rc<Me<'y>>);

impl Gate for Door<'_> {
    fn pass(&self, call: &Call<'_>) -> Pass {
        let asks = Asks::Disk { what: call.what, dir: call.name.dir, bytes: call.bytes };
        match self.0.ask(asks) {
            Told::Go => Pass::Go,
            Told::Meet(fault) => Pass::Fault(fault),
            Told::Die => Pass::Fault(Fault::Die),
        }
    }
}

impl<'y> Machine for SimMachine<'y> {
    type Disk = Seat<Door<'y>>;
    type Queue = SimQueue<'y>;
    type Watch = SimWatch<'y>;

    fn disk(&self) -> Self::Disk {
        self.disk.clone()
    }

    fn store_path(&self) -> PathBuf {
        PathBuf::from("store")
    }

    fn clock(&self) -> &dyn Clock {
        &self.me.world.clock
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.me.world.clock.up_ms())
    }

    fn random(&self) -> io::Result<u64> {
        if self.me.dead.get() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(self.me.world.random())
    }

    fn this_process(&self) -> Option<ProcessIdentity> {
        Some(self.me.process.clone())
    }

    fn probe(&self, process: &ProcessIdentity) -> ProcessReport {
        let _when = self.me.ask(Asks::Probe);
        self.me.world.probe(process, Namespace(self.me.process.pidns))
    }

    fn pause(&self, time: Duration) {
        wait(&self.me, time, None);
    }

    fn queue(&self) -> Result<SimQueue<'y>, DiskError> {
        Ok(SimQueue { me: Rc::clone(&self.me) })
    }

    fn watch(&self) -> SimWatch<'y> {
        SimWatch { me: Rc::clone(&self.me), version: self.me.world.disk.version() }
    }
}

fn wait(me: &Me<'_>, most: Duration, ticket: Option<Ticket>) {
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let until_ms = me.world.clock.up_ms().saturating_add(most_ms);
    let _told = me.ask(Asks::Wait { until_ms, ticket });
}

/// A place in the mutex's queue. The kernel takes it away from whoever dies.
#[derive(Debug)]
pub struct SimQueue<'y> {
    me: Rc<Me<'y>>,
}

impl Queue for SimQueue<'_> {
    fn wait(&mut self, most: Duration) -> Result<bool, DiskError> {
        let Me { world, ticket, dead, .. } = &*self.me;
        if !most.is_zero() {
            world.enlist(*ticket);
            wait(&self.me, most, Some(*ticket));
        }
        if dead.get() {
            let source = io::Error::from_raw_os_error(EIO);
            return Err(DiskError { what: "lock", path: "store/queue".into(), source });
        }
        Ok(world.try_lock(*ticket))
    }
}

impl Drop for SimQueue<'_> {
    fn drop(&mut self) {
        if !self.me.dead.get() {
            self.me.world.unlock(self.me.ticket);
        }
    }
}

/// Wakes when anything on the disk has changed.
#[derive(Debug)]
pub struct SimWatch<'y> {
    me: Rc<Me<'y>>,
    version: u64,
}

impl Watch for SimWatch<'_> {
    fn wait(&mut self, most: Duration) {
        if self.me.world.disk.version() == self.version {
            wait(&self.me, most, None);
        }
        self.version = self.me.world.disk.version();
    }
}
