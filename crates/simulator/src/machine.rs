//! What a simulated process runs on: the shipped [`Machine`] seam over a [`World`].
//!
//! Before each call the process hands over to the scheduler, which says what becomes of it. Between two such
//! moments nothing happens in the world, so a run is an order of calls and nothing else.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use corosensei::Yielder;
use journal::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published};
use lease::clock::Clock;
use lease::machine::{Awaited, Machine, Queue, Watch, Woken, bell};
use testkit::disk::{Call, EIO, Fault, Gate, Open, Pass, Seat, What};
use testkit::rng::Rng;

use crate::bells::{By, Ear, Sleeper};
use crate::world::{Namespace, Ticket, World};

/// How often to look at processes of which the kernel gives no word.
const LOOK_AT_PROCESSES: Duration = Duration::from_secs(1);

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
        /// Whether it sleeps for something that the world knows of.
        sleeps: bool,
    },
    /// It opens a named pipe.
    Pipe,
}

impl std::fmt::Display for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Asks::Disk { what, dir, .. } => write!(f, "{what} {dir:?}"),
            Asks::Probe => f.write_str("probe"),
            Asks::Pipe => f.write_str("pipe"),
            Asks::Wait { until_ms, sleeps: true, .. } => write!(f, "sleep until {until_ms} ms"),
            Asks::Wait { until_ms, ticket: None, .. } => write!(f, "pause until {until_ms} ms"),
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
    /// Your wait is over, although no time has passed for anybody else.
    TimeIsUp,
    /// You are dead: nothing you do from here on has any effect.
    Die,
}

/// Where a process hands over.
pub type Handover = Yielder<Told, Asks>;

/// One process's machine.
#[derive(Clone, Debug)]
pub struct SimMachine<'y> {
    disk: SimDisk<'y>,
    me: Rc<Me<'y>>,
}

/// What is one process's own.
struct Me<'y> {
    world: Rc<World>,
    process: ProcessIdentity,
    ticket: Ticket,
    handover: &'y Handover,
    dead: Cell<bool>,
    /// How much further this process believes its uptime to be.
    ahead_ms: Cell<u64>,
    chance: RefCell<Rng>,
    heard: Rc<Cell<u64>>,
    /// The version of the disk in which it read the journal last.
    read: Cell<u64>,
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

    /// Whether it lives to see the pipe opened.
    fn opens_a_pipe(&self) -> bool {
        self.ask(Asks::Pipe);
        !self.dead.get()
    }

    fn uptime_ms(&self) -> u64 {
        self.world.clock.up_ms() + self.ahead_ms.get()
    }

    /// Takes note of what the process has been told: its future depends on nothing else.
    fn hear(&self, what: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.heard.get(), what).hash(&mut hasher);
        self.heard.set(hasher.finish());
    }
}

impl<'y> SimMachine<'y> {
    /// The machine as `process` sees it. `ticket` is its place in the mutex's queue should it need one, and what its
    /// random numbers come from; `heard` becomes a hash of all that it is told.
    pub fn new(
        world: &Rc<World>,
        process: ProcessIdentity,
        ticket: Ticket,
        heard: Rc<Cell<u64>>,
        handover: &'y Handover,
    ) -> SimMachine<'y> {
        let me = Rc::new(Me {
            world: Rc::clone(world),
            process,
            ticket,
            handover,
            dead: Cell::new(false),
            ahead_ms: Cell::new(0),
            chance: RefCell::new(world.chance_of(ticket)),
            heard,
            read: Cell::new(0),
        });
        let disk = SimDisk { seat: world.disk.seat(Door(Rc::clone(&me))), me: Rc::clone(&me) };
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
            Told::Go | Told::TimeIsUp => Pass::Go,
            Told::Meet(fault) => Pass::Fault(fault),
            Told::Die => Pass::Fault(Fault::Die),
        }
    }
}

impl<'y> Machine for SimMachine<'y> {
    type Disk = SimDisk<'y>;
    type Queue = SimQueue<'y>;
    type Sign = SimHeld<'y>;
    type Ringing = Option<SimHeld<'y>>;
    type Watch = SimWatch<'y>;

    fn disk(&self) -> Self::Disk {
        self.disk.clone()
    }

    fn store_path(&self) -> PathBuf {
        PathBuf::from("store")
    }

    fn index_from(&self) -> u64 {
        self.me.world.index_from.get()
    }

    fn clock(&self) -> &dyn Clock {
        &self.me.world.clock
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.me.uptime_ms())
    }

    fn random(&self) -> io::Result<u64> {
        if self.me.dead.get() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(self.me.chance.borrow_mut().bits())
    }

    fn this_process(&self) -> Option<ProcessIdentity> {
        Some(self.me.process.clone())
    }

    fn probe(&self, process: &ProcessIdentity) -> ProcessReport {
        let _when = self.me.ask(Asks::Probe);
        let report = self.me.world.probe(process, Namespace(self.me.process.pidns));
        self.me.hear(&report.alive);
        report
    }

    fn pause(&self, time: Duration) {
        wait(&self.me, time, None, false);
    }

    fn queue(&self) -> Result<SimQueue<'y>, DiskError> {
        Ok(SimQueue { me: Rc::clone(&self.me) })
    }

    fn watch(&self) -> SimWatch<'y> {
        SimWatch { me: Rc::clone(&self.me), bell: None }
    }

    fn put_up(&self, ticket: &Name) -> Option<SimHeld<'y>> {
        let made = self.disk.publish(ticket, b"", Durability::None).ok()?;
        if made == Published::Exists || self.me.dead.get() {
            return None;
        }
        Some(SimHeld::new(&self.me, ticket))
    }

    fn take_down(&self, ticket: &Name) {
        if self.me.opens_a_pipe() && self.disk.seat.disk().bytes(ticket).is_some() {
            let held = SimHeld::new(&self.me, ticket);
            self.me.world.bells.borrow_mut().write(ticket);
            drop(held);
        }
        let _swept_later = self.disk.remove(ticket);
    }

    fn is_left(&self, ticket: &Name) -> bool {
        let World { disk, bells, .. } = &*self.me.world;
        let is_left =
            self.me.opens_a_pipe() && disk.bytes(ticket).is_some() && !bells.borrow().is_held(ticket);
        self.me.hear(&is_left);
        is_left
    }

    fn ring(&self) -> Option<SimHeld<'y>> {
        self.me.opens_a_pipe().then(|| SimHeld::new(&self.me, &bell()))
    }
}

fn wait(me: &Me<'_>, most: Duration, ticket: Option<Ticket>, sleeps: bool) {
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let until_ms = me.uptime_ms().saturating_add(most_ms);
    if matches!(me.ask(Asks::Wait { until_ms, ticket, sleeps }), Told::TimeIsUp) {
        me.ahead_ms.set(until_ms.saturating_sub(me.world.clock.up_ms()));
    }
}

/// Both ends of a named pipe. The kernel closes them for whoever dies.
#[derive(Debug)]
pub struct SimHeld<'y> {
    me: Rc<Me<'y>>,
    name: Name,
}

impl<'y> SimHeld<'y> {
    fn new(me: &Rc<Me<'y>>, name: &Name) -> SimHeld<'y> {
        me.world.bells.borrow_mut().hold(name);
        SimHeld { me: Rc::clone(me), name: name.clone() }
    }
}

impl Drop for SimHeld<'_> {
    fn drop(&mut self) {
        self.me.world.bells.borrow_mut().let_go(&self.name);
    }
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
            wait(&self.me, most, Some(*ticket), false);
        }
        if dead.get() {
            let source = io::Error::from_raw_os_error(EIO);
            return Err(DiskError { what: "lock", path: "store/queue".into(), source });
        }
        let locked = world.try_lock(*ticket);
        self.me.hear(&locked);
        Ok(locked)
    }
}

impl Drop for SimQueue<'_> {
    fn drop(&mut self) {
        if !self.me.dead.get() {
            self.me.world.unlock(self.me.ticket);
        }
    }
}

/// Wakes as the kernel wakes those who poll, and for nothing else.
#[derive(Debug)]
pub struct SimWatch<'y> {
    me: Rc<Me<'y>>,
    bell: Option<Ear>,
}

impl<'y> Watch<SimHeld<'y>> for SimWatch<'y> {
    fn listen(&mut self) {
        let Me { world, .. } = &*self.me;
        let opens = self.me.opens_a_pipe();
        self.bell = opens.then(|| world.bells.borrow_mut().listen(&bell()));
    }

    fn wait(&mut self, awaited: &Awaited, own: Option<&SimHeld<'y>>, most: Duration) -> Woken {
        let Me { world, process, ticket: who, .. } = &*self.me;
        if let Some(ticket) = &awaited.ticket {
            let is_held = self.me.opens_a_pipe()
                && world.disk.bytes(ticket).is_some()
                && !world.bells.borrow().has_ended(ticket);
            self.me.hear(&is_held);
            if !is_held {
                return Woken::Gone;
            }
        }
        let own = own.map(|own| own.name.clone());
        let sleeper = Sleeper {
            ticket: awaited.ticket.clone(),
            own: own.clone(),
            bell: self.bell.filter(|_| awaited.bell),
            processes: awaited.processes.clone(),
            namespace: Some(Namespace(process.pidns)),
            read: self.me.read.get(),
        };
        let is_untold = awaited.processes.iter().any(|other| other.pidns != process.pidns);
        let most = if is_untold { most.min(LOOK_AT_PROCESSES) } else { most };
        if !self.me.dead.get() {
            world.bells.borrow_mut().sleep(*who, sleeper.clone());
            wait(&self.me, most, None, true);
            world.bells.borrow_mut().wake(*who);
        }
        let woken = match world.woken(&sleeper) {
            None => Woken::Time,
            Some(By::Bell) => Woken::Rung,
            Some(By::More) => Woken::Perhaps,
        };
        if let Some(own) = own {
            world.bells.borrow_mut().drain(&own);
        }
        self.me.hear(&[woken == Woken::Time, woken == Woken::Rung]);
        woken
    }
}

/// The disk as one process sees it: what it is told is taken note of.
#[derive(Clone, Debug)]
pub struct SimDisk<'y> {
    seat: Seat<Door<'y>>,
    me: Rc<Me<'y>>,
}

impl SimDisk<'_> {
    fn hear<T>(
        &self,
        result: Result<T, DiskError>,
        hash: impl FnOnce(&T, &mut DefaultHasher),
    ) -> Result<T, DiskError> {
        let mut hasher = DefaultHasher::new();
        match &result {
            Ok(told) => hash(told, &mut hasher),
            Err(error) => error.source.raw_os_error().hash(&mut hasher),
        }
        self.me.hear(&hasher.finish());
        result
    }
}

impl Disk for SimDisk<'_> {
    type File = Open;

    fn open(&self, name: &Name, access: Access) -> Result<Option<Open>, DiskError> {
        self.hear(self.seat.open(name, access), |told, hash| told.as_ref().map(Open::number).hash(hash))
    }
    fn read(&self, file: &Open, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError> {
        let read = self.seat.read(file, name, from, most);
        if name.dir == Dir::Journal {
            self.me.read.set(self.seat.disk().version());
        }
        self.hear(read, Hash::hash)
    }
    fn read_part(&self, file: &Open, name: &Name, from: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        self.hear(self.seat.read_part(file, name, from, len), Hash::hash)
    }
    fn append(&self, file: &Open, name: &Name, bytes: &[u8]) -> Result<usize, DiskError> {
        self.hear(self.seat.append(file, name, bytes), Hash::hash)
    }
    fn sync(&self, file: &Open, name: &Name) -> Result<(), DiskError> {
        self.hear(self.seat.sync(file, name), |(), _| {})
    }
    fn is_at(&self, file: &Open, name: &Name) -> Result<bool, DiskError> {
        self.hear(self.seat.is_at(file, name), Hash::hash)
    }
    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError> {
        let published = self.seat.publish(name, bytes, durability);
        self.hear(published, |told, hash| (*told == Published::Created).hash(hash))
    }
    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        self.hear(self.seat.replace(name, bytes), |(), _| {})
    }
    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        self.hear(self.seat.append_or_create(name, bytes), |(), _| {})
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError> {
        self.hear(self.seat.rename(from, to), |(), _| {})
    }
    fn remove(&self, name: &Name) -> Result<(), DiskError> {
        self.hear(self.seat.remove(name), |(), _| {})
    }
    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError> {
        self.hear(self.seat.sync_dir(dir), |(), _| {})
    }
    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError> {
        self.hear(self.seat.list(dir), Hash::hash)
    }
    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError> {
        self.hear(self.seat.len(name), Hash::hash)
    }
    fn path_of(&self, name: &Name) -> PathBuf {
        self.seat.path_of(name)
    }
}
