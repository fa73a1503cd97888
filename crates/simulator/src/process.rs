//! A simulated process: the shipped code on a stack of its own, which stops before each call it makes.

use std::cell::Cell;
use std::rc::Rc;

use arbiter::evidence::ProcessIdentity;
use arbiter::name::OwnerName;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use lease::mutex::Patience;

use crate::bells::Sleeper;
use crate::errand::{Errand, Outcome};
use crate::machine::{Asks, SimMachine, Told};
use crate::world::{Namespace, Ticket, World};

/// Enough for the deepest call of a debug build.
const STACK_BYTES: usize = 256 << 10;

/// A process that has not ended.
pub struct Process {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// What it does next if it may.
    pub asks: Asks,
    /// How many calls it has made.
    pub calls: u64,
    ticket: Ticket,
    heard: Rc<Cell<u64>>,
    world: Rc<World>,
    body: Coroutine<Told, Asks, Outcome, DefaultStack>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} before {}", self.identity.pid, self.asks)
    }
}

/// Who runs an errand, and where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// On whose behalf.
    pub owner: OwnerName,
    /// How long it waits for the mutex.
    pub patience: Patience,
    /// In which pid namespace.
    pub namespace: Namespace,
}

/// Where a process is after a call.
#[derive(Debug)]
pub enum Progress {
    /// Before another one.
    Goes(Process),
    /// It has ended and said this.
    Ended(Box<Outcome>),
}

/// Stacks to be used again.
#[derive(Default)]
pub struct Stacks(Vec<DefaultStack>);

impl std::fmt::Debug for Stacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} stacks", self.0.len())
    }
}

impl Process {
    /// Starts a process and lets it run up to its first call.
    ///
    /// # Panics
    ///
    /// When it ends without any call, or there is no memory for its stack.
    pub fn start(
        world: &Rc<World>,
        stacks: &mut Stacks,
        ticket: Ticket,
        caller: Caller,
        errand: Errand,
    ) -> Process {
        let identity = world.fork(caller.namespace);
        let stack = stacks.0.pop().map_or_else(|| DefaultStack::new(STACK_BYTES), Ok);
        let heard = Rc::new(Cell::new(0));
        let (mine, me, ear) = (Rc::clone(world), identity.clone(), Rc::clone(&heard));
        let mut body = Coroutine::with_stack(stack.expect("there is memory"), move |handover, _go: Told| {
            errand.run(&SimMachine::new(&mine, me, ticket, ear, handover), caller.owner, caller.patience)
        });
        match body.resume(Told::Go) {
            CoroutineResult::Yield(asks) => {
                Process { identity, asks, calls: 0, ticket, heard, world: Rc::clone(world), body }
            }
            CoroutineResult::Return(outcome) => panic!("ended without a call: {outcome:?}"),
        }
    }

    /// Lets it do what it asks, as far as `told` lets it. A process that dies of it ends with what it would have said
    /// if anybody could still hear it.
    pub fn resume(mut self, told: Told, stacks: &mut Stacks) -> Progress {
        self.calls += 1;
        match self.body.resume(told) {
            CoroutineResult::Yield(asks) => {
                self.asks = asks;
                Progress::Goes(self)
            }
            CoroutineResult::Return(outcome) => {
                self.world.unlock(self.ticket);
                self.world.end(&self.identity);
                stacks.0.push(self.body.into_stack());
                Progress::Ended(Box::new(outcome))
            }
        }
    }

    /// Kills it: whatever it still runs has no effect.
    ///
    /// # Panics
    ///
    /// When it goes on all the same, which the machine does not let it.
    pub fn kill(self, stacks: &mut Stacks) {
        match self.resume(Told::Die, stacks) {
            Progress::Ended(_nobody_hears) => {}
            Progress::Goes(process) => panic!("{process:?} asks for something after its death"),
        }
    }

    /// A hash of all that it was told so far: two processes of one errand and equal hashes do the same from here on.
    pub fn heard(&self) -> u64 {
        self.heard.get()
    }

    /// What it sleeps for, if it waits in the line.
    pub fn sleeper(&self) -> Option<Sleeper> {
        self.world.bells.borrow().sleeper(self.ticket).cloned()
    }

    /// Whether what it waits for has come.
    pub fn is_ready(&self) -> bool {
        match self.asks {
            Asks::Wait { until_ms, ticket, sleeps } => {
                until_ms <= self.world.clock_ms()
                    || ticket.is_some_and(|ticket| self.world.may_lock(ticket))
                    || sleeps && self.world.is_woken(self.ticket)
            }
            _ => true,
        }
    }
}
