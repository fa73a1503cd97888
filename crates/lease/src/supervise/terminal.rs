//! The terminal goes to the worker's group while it is in front, as a shell gives it to its jobs.

use std::io::{IsTerminal, stdin};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// Our terminal, and whether the worker's group has it.
#[derive(Debug)]
pub(super) struct Terminal {
    ours: Pid,
    worker: Pid,
    lent: bool,
}

impl Terminal {
    /// The terminal that is our standard input; none where it is none.
    pub(super) fn of(worker: Pid) -> Option<Terminal> {
        if !stdin().is_terminal() {
            return None;
        }
        // Who is not in front and takes the terminal is stopped by this signal, unless it is blocked.
        let mut stopping = SigSet::empty();
        stopping.add(Signal::SIGTTOU);
        stopping.thread_block().ok()?;
        Some(Terminal { ours: getpgrp(), worker, lent: false })
    }

    /// Whether our group has the terminal.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(stdin()) == Ok(self.ours)
    }

    /// Whether the worker's group was ever given it and nobody took it back.
    pub(super) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Gives it to the worker's group, if it is ours to give.
    pub(super) fn lend(&mut self) {
        if self.is_ours() {
            self.lent = tcsetpgrp(stdin(), self.worker).is_ok();
        }
    }

    /// Takes it back from the worker's group; from nobody else, such as the shell that has put us behind.
    pub(super) fn take_back(&mut self) {
        if self.lent && tcgetpgrp(stdin()) == Ok(self.worker) {
            let _hung_up = tcsetpgrp(stdin(), self.ours);
        }
        self.lent = false;
    }
}
