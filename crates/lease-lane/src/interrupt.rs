//! Ctrl-C and TERM for those who wait: the wait ends on record, then the process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lease::machine::Interrupt;
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::exit::Exit;

/// From now on the first of these signals asks the one who waits to stop. The second ends the process as ever.
pub(crate) fn listen() -> io::Result<Interrupt> {
    let (bell, ring) = UnixStream::pair()?;
    let asked = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal must not find what it sets itself.
        flag::register_conditional_default(signal, Arc::clone(&again))?;
        flag::register(signal, Arc::clone(&again))?;
        flag::register_usize(signal, Arc::clone(&asked), usize::try_from(signal).unwrap_or(1))?;
        low_level::pipe::register(signal, ring.try_clone()?)?;
    }
    Ok(Interrupt { bell: OwnedFd::from(bell), asked })
}

/// The exit code that a shell gives to such a signal; none if nobody asked.
pub(crate) fn exit(interrupt: &Interrupt) -> Option<Exit> {
    match interrupt.asked.load(Ordering::SeqCst) {
        0 => None,
        asked if i32::try_from(asked) == Ok(SIGTERM) => Some(Exit::Terminated),
        _ => Some(Exit::Interrupted),
    }
}
