//! Process identity and probing: who is that, and does he still live? (feature C3)
//!
//! A pid alone proves nothing: it is reused within milliseconds, counts only inside its pid namespace and dies
//! with the boot. An identity is therefore pid, start time, boot, pid namespace and host, and a probe answers
//! `no` only with a proof. The conclusion is the pure function [`judge()`]; this module only looks.
//!
//! What no probe can see: clones of one running virtual machine (a restored snapshot) share every part of an
//! identity. Nothing in the journal's safety rests on a probe.

mod descendants;
mod group;
mod here;
mod judge;
pub(crate) mod procfs;
mod stat;
pub(crate) mod subshell;

use std::io;
use std::sync::OnceLock;

use arbiter::evidence::{ProcessIdentity, ProcessReport, Role};
use rustix::io::Errno;
use rustix::process::Pid;

pub(crate) use descendants::{children, descendants};
pub use group::group;
pub use here::Here;
pub use judge::{GroupSeen, Seen, Signal, StatSeen, judge, under_policy};
pub use stat::Stat;

use here::ProcView;
use procfs::read_small;
use subshell::{ProcFs, shell_of};

/// The largest process id: a `pid_t` is a signed 32-bit number.
pub const PID_MAX: u32 = i32::MAX.cast_unsigned();

/// Why a process could not be identified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The text is not a process id.
    #[error("`{text}` is not a process id (1 to {PID_MAX})")]
    NotAPid {
        /// What was given.
        text: String,
    },
    /// No process has this id, or it has ended and only waits to be reaped.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The id that was asked for.
        pid: u32,
    },
    /// The id is that of a thread, which may end long before its process.
    #[error("{pid} is a thread of process {process}")]
    Thread {
        /// The id that was asked for.
        pid: u32,
        /// The process it belongs to.
        process: u32,
    },
    /// The parent is outside of our pid namespace, or ended while we looked.
    #[error("the parent process cannot be seen from here")]
    NoParent,
    /// `/proc` shows the pids of another namespace.
    #[error("`/proc` does not show the processes of this pid namespace")]
    ForeignProc,
    /// `/proc` could not be read.
    #[error("could not read `{path}`")]
    Unreadable {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl ProcessError {
    /// What the reader can do now; the command line prints it as `hint:`.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAPid { .. } => "name a running process by its number, or say `parent`".to_owned(),
            Self::NoSuchProcess { .. } => "bind to a process that outlives this command".to_owned(),
            Self::Thread { process, .. } => format!("bind to the process: --bind {process}"),
            Self::NoParent => "name the process: --bind PID".to_owned(),
            Self::ForeignProc => {
                "mount a `/proc` of this namespace, as `unshare --mount-proc` does".to_owned()
            }
            Self::Unreadable { .. } => "lease-lane needs a readable `/proc`".to_owned(),
        })
    }
}

/// Parses the process id in `--bind PID`: plain decimal digits, 1 to [`PID_MAX`].
///
/// ```
/// use lease::process::parse_pid;
///
/// assert_eq!(parse_pid("4121").unwrap(), 4121);
/// for text in ["0", "2147483648", "-1", "+1", " 1", "", "self"] {
///     assert!(parse_pid(text).is_err());
/// }
/// ```
///
/// # Errors
///
/// [`ProcessError::NotAPid`] for anything else.
pub fn parse_pid(text: &str) -> Result<u32, ProcessError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(pid) if digits && (1..=PID_MAX).contains(&pid) => Ok(pid),
        _ => Err(ProcessError::NotAPid { text: text.to_owned() }),
    }
}

/// Identifies this process.
///
/// Costs twelve system calls the first time in a process (three for the start time, nine for [`Here`]) and none
/// again. A boot id or pid namespace that cannot be read (sandboxes without them exist) becomes empty or 0, which every probe calls
/// unknown. The pid is the kernel's, not that of a `/proc` of another namespace.
///
/// # Errors
///
/// [`ProcessError::Unreadable`] without `/proc/self/stat`.
pub fn current() -> Result<ProcessIdentity, ProcessError> {
    let stat = self_stat()
        .map_err(|source| ProcessError::Unreadable { path: "/proc/self/stat".to_owned(), source })?;
    Ok(identity(std::process::id(), stat.start))
}

/// Our own `stat`, as it was at the first call. Three system calls, once.
pub(crate) fn self_stat() -> io::Result<&'static Stat> {
    static STAT: OnceLock<Stat> = OnceLock::new();
    match STAT.get() {
        Some(stat) => Ok(stat),
        None => Stat::read_self().map(|stat| STAT.get_or_init(|| stat)),
    }
}

/// Identifies the process `pid`, for `--bind PID`.
///
/// Six system calls beyond [`Here`]: its `stat` and `status`, plus three once for the check of `/proc` itself.
///
/// # Errors
///
/// [`ProcessError::NoSuchProcess`] when there is none or it is a zombie, [`ProcessError::Thread`] for the id of a
/// thread, [`ProcessError::NotAPid`] out of range, [`ProcessError::ForeignProc`] and [`ProcessError::Unreadable`]
/// when `/proc` does not tell: a lease bound to a process that cannot be told apart would never end, or too early.
pub fn of(pid: u32) -> Result<ProcessIdentity, ProcessError> {
    let found = running(pid)?;
    let process = thread_group(pid).unwrap_or(pid);
    if process == pid { Ok(found) } else { Err(ProcessError::Thread { pid, process }) }
}

/// Identifies the parent of this process, for `--bind parent`: the shell or program that ran us. A subshell counts as
/// the shell that it is a part of; to bind to one, name its number.
///
/// Nine system calls beyond [`Here`], twelve for a shell, ten more for each subshell, plus three once for the check of `/proc`. A parent that is already dead has
/// been replaced by its reaper (often pid 1): that one is then the answer, as nothing tells them apart.
///
/// # Errors
///
/// [`ProcessError::NoParent`] when it lies outside of our pid namespace or ended while we looked; otherwise as
/// [`of`].
pub fn parent() -> Result<ProcessIdentity, ProcessError> {
    let before = rustix::process::getppid().ok_or(ProcessError::NoParent)?;
    let pid = before.as_raw_nonzero().get().cast_unsigned();
    let found = running(Stat::read(pid).map_or(pid, |stat| shell_of(stat, &ProcFs).pid));
    if rustix::process::getppid() == Some(before) { found } else { Err(ProcessError::NoParent) }
}

/// Looks at `process` and says whether it lives; [`judge()`] lists every row.
///
/// One system call for a process that is gone, four for one that is there, none for another place; beyond those,
/// [`Here`] and the check of `/proc` are read once. A worker that is dead itself costs one more, and a walk through
/// `/proc` while its group has members.
pub fn probe(process: &ProcessIdentity, here: &Here) -> ProcessReport {
    judge(process, &look(process, here))
}

/// The thin reader in front of [`judge()`].
fn look<'here>(process: &ProcessIdentity, here: &'here Here) -> Seen<'here> {
    let mut seen = Seen {
        host: here.host(),
        domain: here.domain(),
        pidns: here.pidns(),
        signal: Signal::NotAsked,
        stat: StatSeen::NotAsked,
        group: GroupSeen::NotAsked,
    };
    if judge::judge_place(process, &seen).is_some() {
        return seen;
    }
    seen.signal = signal(process.pid);
    if matches!(seen.signal, Signal::There | Signal::NotOurs) {
        look_up(process.pid, here, &mut seen);
    }
    if judge::needs_group(process, &seen) {
        seen.group = group(process.pid);
    }
    seen
}

/// Reads what `/proc` says of a pid that is taken.
fn look_up(pid: u32, here: &Here, seen: &mut Seen<'_>) {
    seen.stat = match here.proc_view() {
        ProcView::Foreign => StatSeen::Foreign,
        ProcView::Unreadable => StatSeen::Unreadable,
        ProcView::Ours => {
            if let Ok(stat) = Stat::read(pid) {
                StatSeen::Read { start: stat.start, ended: stat.has_ended() }
            } else {
                // Hidden from us, or reaped between the two looks? Then the signal knows.
                seen.signal = signal(pid);
                StatSeen::Unreadable
            }
        }
    };
}

/// Asks the kernel whether `pid` exists: `kill(pid, 0)`, one system call. `NotAsked` for what is no pid: 0 and
/// negative numbers would mean whole groups.
fn signal(pid: u32) -> Signal {
    let Some(pid) = i32::try_from(pid).ok().filter(|&pid| 0 < pid).and_then(Pid::from_raw) else {
        return Signal::NotAsked;
    };
    match rustix::process::test_kill_process(pid) {
        Ok(()) => Signal::There,
        Err(Errno::SRCH) => Signal::Gone,
        Err(Errno::PERM) => Signal::NotOurs,
        Err(_) => Signal::Unclear,
    }
}

/// Identifies a child that has been started as the leader of a process group and has not been waited for.
///
/// # Errors
///
/// As [`of`].
pub fn worker(pid: u32) -> Result<ProcessIdentity, ProcessError> {
    Ok(ProcessIdentity { role: Some(Role::Worker), ..running(pid)? })
}

/// Identifies a process that must be running.
fn running(pid: u32) -> Result<ProcessIdentity, ProcessError> {
    if pid == 0 || PID_MAX < pid {
        return Err(ProcessError::NotAPid { text: pid.to_string() });
    }
    if Here::this().proc_view() == ProcView::Foreign {
        return Err(ProcessError::ForeignProc);
    }
    match Stat::read(pid) {
        Ok(stat) if stat.has_ended() => Err(ProcessError::NoSuchProcess { pid }),
        Ok(stat) => Ok(identity(pid, stat.start)),
        Err(_) if signal(pid) == Signal::Gone => Err(ProcessError::NoSuchProcess { pid }),
        Err(source) => Err(ProcessError::Unreadable { path: format!("/proc/{pid}/stat"), source }),
    }
}

fn identity(pid: u32, start: u64) -> ProcessIdentity {
    let here = Here::this();
    ProcessIdentity {
        pid,
        start,
        boot: here.domain().unwrap_or_default().to_owned(),
        pidns: here.pidns().unwrap_or(0),
        host: here.host().to_owned(),
        role: None,
    }
}

/// The process that the thread `pid` belongs to; `None` when `/proc` does not tell.
fn thread_group(pid: u32) -> Option<u32> {
    let mut buffer = [0_u8; 1_024]; // `Tgid` is the fourth line
    let status = read_small(&format!("/proc/{pid}/status"), &mut buffer).ok()?;
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_at_the_door() {
        for (text, expected) in [("1", 1), ("4121", 4_121), ("007", 7), ("2147483647", PID_MAX)] {
            assert_eq!(parse_pid(text).unwrap(), expected, "{text}");
        }
        let bad =
            ["", "0", "00", "-1", "+1", " 1", "1 ", "1.0", "0x1", "2147483648", "4294967297", "self", "١"];
        for text in bad {
            let error = parse_pid(text).unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is not a process id (1 to 2147483647)"));
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn ids_out_of_range_are_never_asked_about() {
        for pid in [0, 1 << 31, u32::MAX] {
            assert!(matches!(of(pid), Err(ProcessError::NotAPid { .. })), "{pid}");
            assert_eq!(signal(pid), Signal::NotAsked, "{pid}");
        }
    }

    #[test]
    fn this_process_by_two_ways() {
        assert_eq!(current().unwrap(), of(std::process::id()).unwrap());
    }

    #[test]
    fn a_thread_is_not_a_process() {
        let found = std::thread::spawn(|| {
            // Here `stat` is the thread's own: its first field is the thread id.
            let mut buffer = [0_u8; 64];
            let line = read_small("/proc/thread-self/stat", &mut buffer).unwrap();
            let tid = std::str::from_utf8(line).unwrap().split(' ').next().unwrap().parse().unwrap();
            (tid, of(tid))
        });
        let (tid, found) = found.join().unwrap();
        let ours = std::process::id();
        assert!(
            matches!(found, Err(ProcessError::Thread { pid, process }) if pid == tid && process == ours),
            "{found:?}"
        );
    }
}
