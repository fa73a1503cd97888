//! Which shell a subshell is a part of.
//!
//! `( … )`, `$( … | … )` and each part of a pipeline run in a copy of the shell that ends with them. To whoever wrote the
//! script it is the same shell: what is tied to the copy in `N=$(lease-lane acquire … --json | jq .lease)` is over before
//! the next line. A copy has its stack where its parent has it, since nothing was executed in between: the kernel puts it
//! at a place of chance in every program that is.

use rustix::fs::CWD;

use super::procfs::read_small;
use super::stat::Stat;

/// Shells: programs of which a copy is a part of the same script.
pub(crate) const SHELLS: [&str; 14] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "rbash", "fish", "tcsh", "csh", "yash",
    "busybox",
];

/// A subshell of a subshell, and so on: nobody nests deeper.
const NESTED_MAX: u32 = 64;

/// What is asked about processes.
pub(crate) trait Processes {
    /// The process `pid`; `None` when it cannot be read.
    fn stat(&self, pid: u32) -> Option<Stat>;

    /// Its arguments, its own name first; as many as fit a page. `None` when they cannot be read.
    fn arguments(&self, pid: u32) -> Option<Vec<String>>;

    /// The file name of its program, whatever it calls itself. `None` when it cannot be read.
    fn program(&self, pid: u32) -> Option<String>;
}

/// The processes that `/proc` shows.
pub(crate) struct ProcFs;

impl Processes for ProcFs {
    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::read(pid).ok()
    }

    fn arguments(&self, pid: u32) -> Option<Vec<String>> {
        let mut buffer = [0_u8; 4_096];
        let bytes = read_small(&format!("/proc/{pid}/cmdline"), &mut buffer).ok()?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        Some(bytes.split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    fn program(&self, pid: u32) -> Option<String> {
        let mut buffer = [0_u8; 1_024];
        let length = rustix::fs::readlinkat_raw(CWD, format!("/proc/{pid}/exe"), &mut buffer[..]).ok()?;
        let name = buffer[..length].rsplit(|&byte| byte == b'/').next()?;
        std::str::from_utf8(name).ok().map(str::to_owned)
    }
}

/// The process itself, or the shell that it is a copy of, if it is a subshell.
pub(crate) fn shell_of(process: Stat, processes: &impl Processes) -> Stat {
    let mut shell = process;
    for _ in 0..NESTED_MAX {
        match copied_from(&shell, processes) {
            Some(parent) => shell = parent,
            None => break,
        }
    }
    shell
}

/// The parent, if the process is a shell and a copy of it. What cannot be read is no copy.
fn copied_from(shell: &Stat, processes: &impl Processes) -> Option<Stat> {
    let program = processes.program(shell.pid)?;
    if shell.parent == 0 || !SHELLS.contains(&program.as_str()) {
        return None;
    }
    let parent = processes.stat(shell.parent)?;
    let is_copy = shell.stack != 0
        && (shell.stack, &shell.comm) == (parent.stack, &parent.comm)
        // Where the kernel leaves nothing to chance.
        && processes.arguments(shell.pid)? == processes.arguments(parent.pid)?;
    is_copy.then_some(parent)
}
