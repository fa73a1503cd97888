//! Ctrl-C, TERM and HUP for those who wait: the wait ends on record, then the process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lease::machine::Interrupt;
use lease::supervise::Ignored;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use crate::exit::Exit;

/// Signals that are heard while somebody waits.
#[derive(Debug)]
pub(crate) struct Listening {
    /// What they ask of the one who waits.
    pub(crate) interrupt: Interrupt,
    actions: Vec<SigId>,
}

/// From now on the first of these signals asks the one who waits to stop. The second ends the process as ever. One that
/// the caller has us ignore stays ignored, unless it is one of these.
pub(crate) fn listen(even_ignored: &[i32]) -> io::Result<Listening> {
    let (bell, ring) = UnixStream::pair()?;
    let asked = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(AtomicBool::new(false));
    let ignored = Ignored::now();
    let mut actions = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored.contains(signal) && !even_ignored.contains(&signal) {
            continue;
        }
        // In this order: the first signal must not find what it sets itself.
        actions.push(flag::register_conditional_default(signal, Arc::clone(&again))?);
        actions.push(flag::register(signal, Arc::clone(&again))?);
        let number = usize::try_from(signal).unwrap_or(1);
        actions.push(flag::register_usize(signal, Arc::clone(&asked), number)?);
        actions.push(low_level::pipe::register(signal, ring.try_clone()?)?);
    }
    Ok(Listening { interrupt: Interrupt { bell: OwnedFd::from(bell), asked }, actions })
}

impl Listening {
    /// The exit code that a shell gives to the signal that came; none if nobody asked.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.asked()? {
            SIGTERM => Some(Exit::Terminated),
            SIGHUP => Some(Exit::HungUp),
            _ => Some(Exit::Interrupted),
        }
    }

    /// Leaves these signals to whoever hears them by now, and the one that came too late for the wait, too.
    pub(crate) fn hand_over(&self) {
        for &action in &self.actions {
            low_level::unregister(action);
        }
        if let Some(late) = self.asked() {
            let _heard = low_level::raise(late);
        }
    }

    fn asked(&self) -> Option<i32> {
        let asked = self.interrupt.asked.load(Ordering::SeqCst);
        i32::try_from(asked).ok().filter(|&signal| signal != 0)
    }
}
