//! The machine that all simulated processes share: disk, clocks, pids, and the mutex's queue.
//!
//! It only keeps what is so. Who goes next and what goes wrong is for the [`run`](crate::run) and the
//! [`explore`](crate::explore)r to say.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use journal::index::INDEX_FROM_BYTES;
use lease::clock::{Clock, FixedClock};
use lease::process::{GroupSeen, Seen, Signal, StatSeen, judge};
use testkit::disk::{Keep, MemDisk};
use testkit::rng::Rng;

use crate::bells::{Bells, By, Sleeper};

/// The name of the one simulated host, with a machine id, so that a reboot of it can be proven.
const HOST: &str = "host/0123456789ab";
/// A week after the epoch of all tests: when the simulated world begins, by its wall clock.
const BEGIN_WALL_MS: i64 = 1_795_244_400_000;
/// The machine has been up for a while when the world begins.
const BEGIN_UP_MS: u64 = 100_000;
/// Pids run from 2 to this and then start over, as on a machine that has few.
const PID_MAX: u32 = 40;
/// Clock ticks are hundredths of a second.
const TICK_MS: u64 = 10;

/// A pid namespace. Processes of one cannot see those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(pub u64);

/// A process that runs.
#[derive(Clone, Debug)]
struct Living {
    start: u64,
}

/// The machine.
#[derive(Debug)]
pub struct World {
    /// The disk that survives everything.
    pub disk: MemDisk,
    /// Both clocks; boot time counts since the last boot.
    pub clock: FixedClock,
    boots: Cell<u32>,
    living: RefCell<BTreeMap<(Namespace, u32), Living>>,
    last_pid: Cell<u32>,
    queue: RefCell<Queue>,
    /// Named pipes.
    pub bells: RefCell<Bells>,
    /// From how many bytes on segments are read by their index.
    pub index_from: Cell<u64>,
    seed: u64,
}

/// The lock on the mutex's queue file, as the kernel keeps it.
#[derive(Clone, Debug, Default, Hash)]
struct Queue {
    head: Option<Ticket>,
    waiting: Vec<Ticket>,
}

/// One process's place in the queue: a number that no other place ever had.
pub type Ticket = u64;

impl World {
    /// A machine with an empty disk, whose random numbers come from `seed`.
    pub fn new(seed: u64) -> Rc<World> {
        World::with_disk(seed, MemDisk::new())
    }

    /// The same with something on the disk.
    pub fn with_disk(seed: u64, disk: MemDisk) -> Rc<World> {
        Rc::new(World {
            disk,
            clock: FixedClock::new(BEGIN_WALL_MS, "boot-1", BEGIN_UP_MS),
            boots: Cell::new(1),
            living: RefCell::default(),
            last_pid: Cell::new(1),
            queue: RefCell::default(),
            bells: RefCell::default(),
            index_from: Cell::new(INDEX_FROM_BYTES),
            seed,
        })
    }

    /// Starts a process and says who it is. Pids come round again.
    pub fn fork(&self, namespace: Namespace) -> ProcessIdentity {
        let mut living = self.living.borrow_mut();
        let mut pid = self.last_pid.get();
        loop {
            pid = if pid >= PID_MAX { 2 } else { pid + 1 };
            if !living.contains_key(&(namespace, pid)) {
                break;
            }
        }
        self.last_pid.set(pid);
        let start = self.clock.up_ms() / TICK_MS;
        living.insert((namespace, pid), Living { start });
        ProcessIdentity {
            pid,
            start,
            boot: self.clock.reading().boot,
            pidns: namespace.0,
            host: HOST.into(),
            role: None,
        }
    }

    /// Whether exactly this process runs: the truth, which nobody inside can ask for.
    pub fn lives(&self, process: &ProcessIdentity) -> bool {
        let living = self.living.borrow();
        process.boot == self.clock.reading().boot
            && living
                .get(&(Namespace(process.pidns), process.pid))
                .is_some_and(|there| there.start == process.start)
    }

    /// Ends a process; what the kernel keeps for it is the caller's to give back.
    pub fn end(&self, process: &ProcessIdentity) {
        if self.lives(process) {
            self.living.borrow_mut().remove(&(Namespace(process.pidns), process.pid));
        }
    }

    /// What a process in `namespace` finds out about another, judged by the shipped rules.
    pub fn probe(&self, process: &ProcessIdentity, namespace: Namespace) -> ProcessReport {
        let reading = self.clock.reading();
        let living = self.living.borrow();
        let there = living.get(&(namespace, process.pid));
        let (signal, stat) = match there {
            Some(there) => (Signal::There, StatSeen::Read { start: there.start, ended: false }),
            None => (Signal::Gone, StatSeen::NotAsked),
        };
        let seen = Seen {
            host: HOST,
            domain: Some(&reading.boot),
            pidns: Some(namespace.0),
            signal,
            stat,
            group: GroupSeen::NotAsked,
        };
        judge(process, &seen)
    }

    /// The random numbers of one process.
    pub fn chance_of(&self, ticket: Ticket) -> Rng {
        Rng::new(self.seed.rotate_left(32) ^ ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Boot time.
    pub fn clock_ms(&self) -> u64 {
        self.clock.up_ms()
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, ms: u64) {
        self.clock.advance(u32::try_from(ms).unwrap_or(u32::MAX));
    }

    /// The power fails and comes back: nobody lives any more, boot time starts over, and the disk may have forgotten
    /// what was not synced. Processes must have been ended by the caller.
    pub fn reboot(&self, keep: Keep<'_>) {
        self.boots.set(self.boots.get() + 1);
        self.clock.reboot(&format!("boot-{}", self.boots.get()));
        // The clock of a machine that boots starts above zero.
        self.advance(1_000);
        self.living.borrow_mut().clear();
        *self.queue.borrow_mut() = Queue::default();
        *self.bells.borrow_mut() = Bells::default();
        self.disk.cut_power(keep);
    }

    /// How often the machine has booted.
    pub fn boots(&self) -> u32 {
        self.boots.get()
    }

    /// Takes the lock if it is free and gives it to nobody else before it is given back.
    pub fn try_lock(&self, ticket: Ticket) -> bool {
        let mut queue = self.queue.borrow_mut();
        if queue.head.is_none() {
            queue.head = Some(ticket);
            queue.waiting.retain(|&other| other != ticket);
        }
        queue.head == Some(ticket)
    }

    /// Waits for the lock, behind those who wait already.
    pub fn enlist(&self, ticket: Ticket) {
        let mut queue = self.queue.borrow_mut();
        if queue.head != Some(ticket) && !queue.waiting.contains(&ticket) {
            queue.waiting.push(ticket);
        }
    }

    /// Whether the lock is free or the ticket's own.
    pub fn may_lock(&self, ticket: Ticket) -> bool {
        self.queue.borrow().head.is_none_or(|head| head == ticket)
    }

    /// Gives up the lock, or the wait for it.
    pub fn unlock(&self, ticket: Ticket) {
        let mut queue = self.queue.borrow_mut();
        queue.waiting.retain(|&other| other != ticket);
        if queue.head == Some(ticket) {
            queue.head = None;
        }
    }

    /// What wakes one who sleeps so, if anything has.
    pub fn woken(&self, sleeper: &Sleeper) -> Option<By> {
        self.bells.borrow().woken(sleeper, |process| self.lives(process))
    }

    /// The same for a process that is known to sleep.
    pub fn is_woken(&self, who: Ticket) -> bool {
        let bells = self.bells.borrow();
        let sleeper = bells.sleeper(who);
        sleeper.is_some_and(|sleeper| bells.woken(sleeper, |process| self.lives(process)).is_some())
    }

    /// What the queue looks like, for those who compare states.
    pub fn queue_fingerprint(&self) -> (Option<Ticket>, Vec<Ticket>) {
        let queue = self.queue.borrow();
        (queue.head, queue.waiting.clone())
    }
}
