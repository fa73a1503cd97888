//! Those who come from the command and have left its process group: `timeout(1)`, `setsid`, a daemon.
//!
//! We are their subreaper: whoever is left of them is a child of ours, or descends from one.

use std::collections::HashSet;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};

use crate::process::{Stat, children, descendants};

/// Whether anybody is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nobody,
    Somebody,
}

#[derive(Debug)]
pub(super) struct Strays {
    us: u32,
    /// Who descended from us before the command ran: who has become us by `exec` had children of its own.
    not_the_commands: HashSet<(u32, u64)>,
    /// Who was asked to end.
    asked: HashSet<(u32, u64)>,
}

impl Strays {
    /// Those who will come from the worker, which waits to be let go.
    pub(super) fn of(worker: Pid) -> Strays {
        let us = number(getpid());
        let mut not_the_commands = HashSet::new();
        // Mostly there is nobody else, and nobody has to be looked for.
        if children(us).is_none_or(|all| all != [number(worker)]) {
            let all = descendants(us, &HashSet::from([]));
            let others = all.iter().filter(|stat| stat.pid != number(worker));
            not_the_commands.extend(others.map(name));
        }
        Strays { us, not_the_commands, asked: HashSet::new() }
    }

    /// Asks everybody who is left to end, once each; or kills them.
    pub(super) fn end(&mut self, kill: bool) -> Left {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(waitid(WaitId::All, options), Err(Errno::CHILD)) {
            return Left::Nobody;
        }
        // One that ends while we look may leave somebody behind where we have looked already. He is a child of ours then.
        for _ in 0..2 {
            let left = descendants(self.us, &self.not_the_commands);
            for stray in &left {
                let is_new = self.asked.insert(name(stray));
                if kill {
                    send(stray, &[Signal::KILL]);
                } else if is_new {
                    // Who is stopped cannot end.
                    send(stray, &[Signal::TERM, Signal::CONT]);
                }
            }
            if !left.is_empty() {
                return Left::Somebody;
            }
        }
        Left::Nobody
    }
}

fn name(stat: &Stat) -> (u32, u64) {
    (stat.pid, stat.start)
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

/// Opens the process and then looks whether it is the one that is meant: so nobody else is signalled.
fn send(stray: &Stat, signals: &[Signal]) {
    let Some(pid) = i32::try_from(stray.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Stat::read(stray.pid).is_ok_and(|now| now.start == stray.start) {
        for &signal in signals {
            let _ended = pidfd_send_signal(&fd, signal);
        }
    }
}
