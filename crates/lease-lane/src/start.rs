//! How the program starts: what has to hold before its first line, without what Rust's own start-up does besides. That is
//! a twentieth of what a call takes (`docs/adr/0021-start.md`): it looks for the end of the stack in `/proc/self/maps`, and
//! puts up a second stack to say on it that the first is used up.

use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, IntoRawFd as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd};
use rustix::stdio::{stderr, stdin, stdout};
use signal_hook::consts::signal::{SIGPIPE, SIGXFSZ};

/// What the C library calls; Rust's library has the arguments from the C library, too.
#[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
#[expect(unsafe_code, reason = "nothing else here is called `main`; the name is all that is unsafe")]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    start().into()
}

/// Begins and ends the program; gives back its exit code.
pub(crate) fn start() -> u8 {
    if open_what_is_closed().is_err() {
        // No null device: nothing here can be trusted to be what it is called.
        return crate::exit::Exit::Io as u8;
    }
    // A reader that left early and a file-size limit are errors of a write (exit 6 for a full disk), and no reasons to die
    // without a word. Handled, not ignored: what is ignored stays so in the programs that this one starts.
    for signal in [SIGPIPE, SIGXFSZ] {
        let _best_effort = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let exit = crate::run();
    let _left_early = io::stdout().flush();
    exit
}

/// Opens the null device in place of each standard stream that the caller has closed. The next file to be opened would
/// have its number, and an answer would be printed into the journal.
fn open_what_is_closed() -> Result<(), Errno> {
    let streams: [fn() -> BorrowedFd<'static>; 3] = [stdin, stdout, stderr];
    for stream in streams {
        if fcntl_getfd(stream()) == Err(Errno::BADF) {
            // The lowest number that is free: this one.
            let _stays_open = open("/dev/null", OFlags::RDWR, Mode::empty())?.into_raw_fd();
        }
    }
    Ok(())
}
