//! Named pipes as the kernel keeps them (fifo(7), pipe(7)), and who sleeps until one of them says something.
//!
//! Their names are files on the disk. What makes them bells is not on it: who has them open, which nobody has for longer
//! than he lives.

use std::collections::BTreeMap;

use arbiter::evidence::ProcessIdentity;
use journal::disk::Name;

use crate::world::{Namespace, Ticket};

/// The pipes that were ever opened since the machine booted.
#[derive(Clone, Debug, Default, Hash)]
pub struct Bells {
    pipes: BTreeMap<Name, Pipe>,
    sleepers: BTreeMap<Ticket, Sleeper>,
}

#[derive(Clone, Debug, Default, Hash)]
struct Pipe {
    writers: u32,
    /// How many writers have ever opened it.
    came: u64,
    has_bytes: bool,
}

/// A reader's end: it hangs up when a writer has gone that was there when it was opened, or came later.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Ear {
    /// How many had come, if none was there.
    quiet: Option<u64>,
}

/// What one who sleeps is woken by, beside time.
#[derive(Clone, Debug, Default, Hash)]
pub struct Sleeper {
    /// The end of the ticket of this file.
    pub ticket: Option<Name>,
    /// Its own ticket's file.
    pub own: Option<Name>,
    /// The store's bell.
    pub bell: Option<Ear>,
    /// The deaths of these, as far as they can be seen.
    pub processes: Vec<ProcessIdentity>,
    /// From where.
    pub namespace: Option<Namespace>,
    /// The version of the disk in which it has read the journal, for those who compare with the truth.
    pub read: u64,
}

impl Bells {
    /// Somebody opens both ends.
    pub fn hold(&mut self, name: &Name) {
        let pipe = self.pipes.entry(name.clone()).or_default();
        pipe.writers += 1;
        pipe.came += 1;
    }

    /// ... and closes them, or dies.
    pub fn let_go(&mut self, name: &Name) {
        if let Some(pipe) = self.pipes.get_mut(name) {
            pipe.writers = pipe.writers.saturating_sub(1);
            pipe.has_bytes &= pipe.writers > 0;
        }
    }

    /// Somebody writes into it.
    pub fn write(&mut self, name: &Name) {
        if let Some(pipe) = self.pipes.get_mut(name) {
            pipe.has_bytes = true;
        }
    }

    /// The reader of its own pipe takes what is in it.
    pub fn drain(&mut self, name: &Name) {
        if let Some(pipe) = self.pipes.get_mut(name) {
            pipe.has_bytes = false;
        }
    }

    /// Opens a reader's end.
    pub fn listen(&mut self, name: &Name) -> Ear {
        let pipe = self.pipes.entry(name.clone()).or_default();
        Ear { quiet: (pipe.writers == 0).then_some(pipe.came) }
    }

    /// Whether nobody holds the pipe, or something was written into it.
    pub fn has_ended(&self, name: &Name) -> bool {
        self.pipes.get(name).is_none_or(|pipe| pipe.writers == 0 || pipe.has_bytes)
    }

    fn has_bytes(&self, name: &Name) -> bool {
        self.pipes.get(name).is_some_and(|pipe| pipe.has_bytes)
    }

    /// Whether somebody has the pipe open for writing.
    pub fn is_held(&self, name: &Name) -> bool {
        self.pipes.get(name).is_some_and(|pipe| pipe.writers > 0)
    }

    /// Whether the reader's end has hung up.
    pub fn has_hung_up(&self, name: &Name, ear: Ear) -> bool {
        self.pipes.get(name).is_some_and(|pipe| pipe.writers == 0 && ear.quiet != Some(pipe.came))
    }

    /// Goes to sleep.
    pub fn sleep(&mut self, who: Ticket, sleeper: Sleeper) {
        self.sleepers.insert(who, sleeper);
    }

    /// Wakes up, or dies.
    pub fn wake(&mut self, who: Ticket) {
        self.sleepers.remove(&who);
    }

    /// What somebody sleeps for.
    pub fn sleeper(&self, who: Ticket) -> Option<&Sleeper> {
        self.sleepers.get(&who)
    }

    /// What wakes one who sleeps so, if anything has; `lives` tells who does.
    pub fn woken(&self, sleeper: &Sleeper, lives: impl Fn(&ProcessIdentity) -> bool) -> Option<By> {
        let Sleeper { ticket, own, bell, processes, namespace, .. } = sleeper;
        let is_seen = |process: &&ProcessIdentity| *namespace == Some(Namespace(process.pidns));
        if ticket.as_ref().is_some_and(|ticket| self.has_ended(ticket))
            || own.as_ref().is_some_and(|own| self.has_bytes(own))
            || processes.iter().filter(is_seen).any(|process| !lives(process))
        {
            return Some(By::More);
        }
        bell.is_some_and(|ear| self.has_hung_up(&lease::machine::bell(), ear)).then_some(By::Bell)
    }
}

/// What woke one who slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The bell alone.
    Bell,
    /// Something else.
    More,
}
