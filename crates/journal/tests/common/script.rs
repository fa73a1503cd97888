//! What happens to the calls of a process, written down beforehand.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use journal::disk::Name;
use testkit::disk::{Call, Fault, Gate, MemDisk, Pass, Seat, What};

use super::turns::Turns;

/// A process whose calls go by a script.
pub(crate) type Process = Seat<Arc<Script>>;

/// A process at `disk` to whose calls nothing happens until its script says so.
pub(crate) fn scripted(disk: &MemDisk) -> Process {
    disk.seat(Arc::default())
}

/// A call that a process made.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) what: What,
    pub(crate) name: Name,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.name)
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// What happens at which call. Calls are counted from 0; a dead process makes none.
#[derive(Default)]
pub(crate) struct Script {
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    log: Vec<Made>,
    faults: Vec<(usize, Fault)>,
    hooks: Vec<(usize, Hook)>,
    turns: Option<(Arc<Turns>, usize)>,
}

impl Script {
    /// The `nth` call from now on (0 is the next) meets `fault`.
    pub(crate) fn fault_at(&self, nth: usize, fault: Fault) {
        let mut pages = self.pages();
        let at = pages.log.len() + nth;
        pages.faults.push((at, fault));
    }

    /// Before the `nth` call from now on something else happens.
    pub(crate) fn before(&self, nth: usize, hook: impl FnOnce() + Send + 'static) {
        let mut pages = self.pages();
        let at = pages.log.len() + nth;
        pages.hooks.push((at, Box::new(hook)));
    }

    /// Every call waits for its turn.
    pub(crate) fn takes_turns(&self, turns: &Arc<Turns>, number: usize) {
        self.pages().turns = Some((Arc::clone(turns), number));
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.pages().log.len()
    }

    /// What was called.
    pub(crate) fn log(&self) -> Vec<Made> {
        self.pages().log.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no test panics while it holds a script")
    }
}

impl Gate for Script {
    fn pass(&self, call: &Call<'_>) -> Pass {
        let turns = self.pages().turns.clone();
        if let Some((turns, number)) = turns {
            turns.wait(number);
        }
        let (at, due) = {
            let mut pages = self.pages();
            let at = pages.log.len();
            pages.log.push(Made { what: call.what, name: call.name.clone() });
            let (due, later) = std::mem::take(&mut pages.hooks).into_iter().partition(|(n, _)| *n == at);
            pages.hooks = later;
            let due: Vec<(usize, Hook)> = due;
            (at, due)
        };
        for (_, hook) in due {
            hook();
        }
        match self.pages().faults.iter().find(|(n, _)| *n == at) {
            Some((_, fault)) => Pass::Fault(*fault),
            None => Pass::Go,
        }
    }
}
