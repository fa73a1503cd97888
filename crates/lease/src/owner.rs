//! Who asks, when nobody says so: the session of the harness, else the ancestor process that will still be there
//! at the next call.
//!
//! Two `sh -c 'lease-lane …'` of one agent are two shells and one owner. So wrappers that live for one command are
//! passed over, from the parent upwards, until a process of another kind turns up:
//!
//! - a shell that was started for a command (`-c`, `-lc`, `--command`); an interactive one, or one that runs a
//!   script, is an owner, and its subshells are parts of it;
//! - `env`, `timeout`, `sudo`, `xargs`, `time`, `strace` and the like (`WRAPPERS`), by the name of the program.
//!
//! Init (`systemd`, `tini` and the like) ends the search as well: what it adopted has nothing to do with each
//! other. A pid 1 of any other name is the program of a container and a fine owner. When only wrappers are left up
//! to the end, or `/proc` shows no more, the nearest ancestor that could be read is the owner, whatever it is.
//!
//! The label is for telling sessions apart, not for probing. It is taken from what `/proc` shows, also where that
//! is the view of an outer pid namespace.

use std::io;

use crate::process::subshell::{ProcFs, Processes, SHELLS, shell_of};
use crate::process::{Here, Stat, self_stat};

/// Variables in which a harness names its session, in order.
const SESSION_VARIABLES: [&str; 2] = ["CLAUDE_CODE_SESSION_ID", "CODEX_THREAD_ID"];

/// Programs that run one command and live no longer than that.
const WRAPPERS: [&str; 35] = [
    "bwrap",
    "chroot",
    "chrt",
    "doas",
    "env",
    "faketime",
    "firejail",
    "flock",
    "gosu",
    "ionice",
    "ltrace",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "parallel",
    "prlimit",
    "runuser",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "unbuffer",
    "unshare",
    "valgrind",
    "xargs",
];

/// Programs that adopt orphans.
const INITS: [&str; 10] = [
    "init",
    "systemd",
    "tini",
    "docker-init",
    "catatonit",
    "s6-svscan",
    "runit",
    "openrc-init",
    "launchd",
    "dumb-init",
];

/// How far up we look. Real chains have fewer than twenty processes.
const ANCESTORS_MAX: u32 = 64;

/// Why no owner could be made up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// `/proc/self/stat` could not be read.
    #[error("could not tell who asks: could not read `/proc/self/stat`")]
    NoProc {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No ancestor can be seen.
    #[error("could not tell who asks: no parent process can be seen from here")]
    NoAncestor,
}

impl OwnerError {
    /// What the reader can do now; the command line prints it as `hint:`.
    pub fn hint(&self) -> Option<String> {
        Some("pass --owner NAME or set LEASE_LANE_OWNER".to_owned())
    }
}

/// Names the owner when neither `--owner` nor `LEASE_LANE_OWNER` does: the harness session in
/// `CLAUDE_CODE_SESSION_ID` or `CODEX_THREAD_ID`, else `PID:START@HOST` of the nearest long-lived ancestor (the
/// module says which), such as `4121:303824@vm`; `START` in clock ticks since boot, `HOST` as `uname -n`.
///
/// `env` looks a variable up; one that is empty or blank counts as missing. No system call when one is set, else
/// four for each ancestor, ten for a shell, and three for ourselves unless [`current`](crate::process::current)
/// has already looked.
///
/// ```
/// use lease::owner::default_owner;
///
/// let session = |name: &str| (name == "CODEX_THREAD_ID").then(|| "thread-7".to_owned());
/// assert_eq!(default_owner(&session)?, "thread-7");
/// # Ok::<(), lease::owner::OwnerError>(())
/// ```
///
/// # Errors
///
/// [`OwnerError`] when `/proc` shows no ancestor at all.
// Its buffers are not for the stack of a caller whose owner is known.
#[inline(never)]
pub fn default_owner(env: &dyn Fn(&str) -> Option<String>) -> Result<String, OwnerError> {
    let mut sessions = SESSION_VARIABLES.iter().filter_map(|name| env(name));
    if let Some(session) = sessions.find(|session| !session.trim().is_empty()) {
        return Ok(session);
    }
    let parent = self_stat().map_err(|source| OwnerError::NoProc { source })?.parent;
    let Stat { pid, start, .. } = nearest_long_lived(parent, &ProcFs).ok_or(OwnerError::NoAncestor)?;
    Ok(format!("{pid}:{start}@{}", Here::this().nodename()))
}

/// Looks from `parent` upwards for the first process that is no wrapper; the module says the rest.
fn nearest_long_lived(parent: u32, processes: &impl Processes) -> Option<Stat> {
    let mut nearest = None;
    let mut pid = parent;
    for _ in 0..ANCESTORS_MAX {
        let Some(stat) = (pid != 0).then(|| processes.stat(pid)).flatten() else { break };
        let stat = shell_of(stat, processes);
        match kind(&stat, processes) {
            Kind::LongLived => return Some(stat),
            Kind::Init => return nearest.or(Some(stat)),
            Kind::Wrapper => pid = stat.parent,
        }
        nearest.get_or_insert(stat);
    }
    nearest
}

/// What a process is to the search.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    LongLived,
    Wrapper,
    Init,
}

fn kind(stat: &Stat, processes: &impl Processes) -> Kind {
    let Ok(comm) = std::str::from_utf8(&stat.comm) else { return Kind::LongLived };
    let comm = comm.strip_prefix('-').unwrap_or(comm);
    if INITS.contains(&comm) {
        return Kind::Init;
    }
    let is_one_shot_shell = || {
        SHELLS.contains(&comm) && processes.arguments(stat.pid).is_some_and(|words| runs_a_command(&words))
    };
    if WRAPPERS.contains(&comm) || is_one_shot_shell() { Kind::Wrapper } else { Kind::LongLived }
}

/// Whether a shell started with `words` (its own name first) runs a command given there.
fn runs_a_command(words: &[String]) -> bool {
    let mut words = words.iter().map(String::as_str).skip(1).peekable();
    if words.peek().is_some_and(|word| SHELLS.contains(word)) {
        words.next(); // `busybox sh -c …`
    }
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix(['-', '+']) else { return false };
        match letters {
            "" | "-" => return false, // what follows is a script
            "-command" => return true,
            "-rcfile" | "-init-file" | "-init-command" | "-features" => {
                words.next();
            }
            long if long.starts_with("-command=") => return true,
            long if long.starts_with('-') => {}
            "C" => {
                words.next(); // fish: a command to run before; elsewhere a flag, and then `-c` was first
            }
            short if word.starts_with('-') && short.contains('c') => return true,
            short if short.ends_with(['o', 'O']) => {
                words.next(); // `-o pipefail`
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// One process: pid, parent, program, arguments behind its name.
    type Row = (u32, u32, &'static str, &'static [&'static str]);

    struct Table(BTreeMap<u32, Row>);

    impl Table {
        fn new(rows: &[Row]) -> Self {
            Self(rows.iter().map(|row| (row.0, *row)).collect())
        }
    }

    impl Processes for Table {
        fn stat(&self, pid: u32) -> Option<Stat> {
            let &(pid, parent, comm, _) = self.0.get(&pid)?;
            let start = u64::from(pid) * 10;
            Some(Stat {
                pid,
                comm: comm.as_bytes().to_vec(),
                state: b'S',
                parent,
                group: pid,
                n_threads: 1,
                start,
                // Each has executed a program of its own, but for copies of 900.
                stack: u64::from(if pid > 900 { 900 } else { pid }),
            })
        }

        fn arguments(&self, pid: u32) -> Option<Vec<String>> {
            let &(_, _, comm, arguments) = self.0.get(&pid)?;
            let readable = arguments != ["unreadable"];
            readable.then(|| [comm].iter().chain(arguments).map(|&word| word.to_owned()).collect())
        }

        fn program(&self, pid: u32) -> Option<String> {
            let &(_, _, comm, _) = self.0.get(&pid)?;
            // A script that is run by its name is called like it.
            Some(comm.strip_suffix(".sh").map_or(comm, |_| "bash").to_owned())
        }
    }

    /// Rows from the parent of `lease-lane` upwards; the expected owner's pid.
    #[track_caller]
    fn check(rows: &[Row], expected: Option<u32>) {
        let parent = rows.first().map_or(0, |row| row.0);
        let found = nearest_long_lived(parent, &Table::new(rows));
        assert_eq!(found.map(|stat| (stat.pid, stat.start)), expected.map(|pid| (pid, u64::from(pid) * 10)));
    }

    const AGENT: Row = (50, 1, "node", &["agent.js"]);
    const INIT: Row = (1, 0, "systemd", &[]);

    #[test]
    fn the_agent_itself() {
        check(&[AGENT, INIT], Some(50));
    }

    #[test]
    fn two_shells_of_one_agent_have_one_owner() {
        check(&[(60, 50, "sh", &["-c", "lease-lane live"]), AGENT, INIT], Some(50));
        check(&[(61, 50, "bash", &["-lc", "lease-lane live"]), AGENT, INIT], Some(50));
    }

    #[test]
    fn wrappers_on_wrappers() {
        let rows = [
            (90, 80, "xargs", &["lease-lane"][..]),
            (80, 70, "timeout", &["5", "sh"]),
            (70, 65, "sudo", &["-u", "x"]),
            (65, 60, "sudo", &["-u", "x"]),
            (60, 50, "bash", &["--norc", "-o", "pipefail", "-ec", "x"]),
            AGENT,
            INIT,
        ];
        check(&rows, Some(50));
    }

    #[test]
    fn an_interactive_shell_and_a_script_are_owners() {
        check(&[(60, 50, "bash", &[]), AGENT, INIT], Some(60));
        check(&[(60, 50, "bash", &["-l"]), AGENT, INIT], Some(60));
        check(&[(60, 50, "sh", &["build.sh", "-c", "x"]), AGENT, INIT], Some(60));
        check(&[(60, 50, "build.sh", &["-c", "x"]), AGENT, INIT], Some(60));
    }

    #[test]
    fn a_subshell_is_a_part_of_its_shell() {
        let script = (900, 50, "build.sh", &["all"][..]);
        check(&[(910, 900, "build.sh", &["all"]), script, AGENT, INIT], Some(900));
        check(
            &[(920, 910, "build.sh", &["all"]), (910, 900, "build.sh", &["all"]), script, AGENT],
            Some(900),
        );
        check(&[(910, 900, "bash", &[]), (900, 50, "bash", &[]), AGENT, INIT], Some(900));
        // A shell within it that was started for a script of its own, and a worker that some program made of itself.
        check(&[(60, 900, "build.sh", &["all"]), script, AGENT, INIT], Some(60));
        check(&[(910, 900, "python3", &["x"]), (900, 50, "python3", &["x"]), AGENT], Some(910));
        check(&[(910, 900, "build.sh", &["one"]), script, AGENT, INIT], Some(910));
    }

    #[test]
    fn only_wrappers_up_to_init_take_the_nearest() {
        check(&[(60, 55, "sh", &["-c", "x"]), (55, 1, "nohup", &[]), INIT], Some(60));
        check(&[(60, 55, "sh", &["-c", "x"]), (55, 1, "systemd", &["--user"]), INIT], Some(60));
        check(&[(60, 1, "timeout", &[]), (1, 0, "sh", &["-c", "x"])], Some(60));
        check(&[INIT], Some(1));
    }

    #[test]
    fn pid_1_of_a_container_is_an_owner() {
        check(&[(60, 1, "sh", &["-c", "x"]), (1, 0, "node", &["agent.js"])], Some(1));
        check(&[(60, 1, "sh", &["-c", "x"]), (1, 0, "tini", &["--", "node"])], Some(60));
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        check(&[], None);
        check(&[(60, 50, "sh", &["-c", "x"])], Some(60)); // 50 is hidden
        check(&[(60, 0, "sh", &["-c", "x"])], Some(60)); // entered from outside of the namespace
        check(&[(60, 50, "sh", &["unreadable"]), AGENT], Some(60));
    }

    #[test]
    fn a_circle_ends() {
        check(&[(60, 61, "nice", &[]), (61, 60, "nice", &[])], Some(60));
    }

    #[test]
    fn shells_that_run_a_command() {
        for (line, expected) in [
            ("sh -c x", true),
            ("bash -lc x", true),
            ("bash -c -l x", true),
            ("-bash -c x", true),
            ("bash --login -c x", true),
            ("bash --rcfile f -c x", true),
            ("bash -o pipefail -c x", true),
            ("bash -eo pipefail -c x", true),
            ("bash +x -c x", true),
            ("zsh -fc x", true),
            ("fish --command x", true),
            ("fish --command=x", true),
            ("fish -C init", false),
            ("busybox sh -c x", true),
            ("busybox httpd", false),
            ("bash", false),
            ("bash -", false),
            ("bash -l", false),
            ("bash -i", false),
            ("bash -s", false),
            ("bash -- -c", false),
            ("bash script -c x", false),
            ("bash --rcfile -c", false),
            ("bash --noprofile", false),
            ("bash --norc script -c", false),
            ("", false),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(runs_a_command(&words), expected, "{line}");
        }
    }

    #[test]
    fn the_session_comes_first() {
        let both = |name: &str| Some(format!("value of {name}"));
        assert_eq!(default_owner(&both).unwrap(), "value of CLAUDE_CODE_SESSION_ID");
        let blank = |name: &str| Some(if name == "CODEX_THREAD_ID" { "t1" } else { " " }.to_owned());
        assert_eq!(default_owner(&blank).unwrap(), "t1");
    }

    #[test]
    fn without_a_session_it_is_a_process() {
        for value in [None, Some(String::new()), Some(" \t".to_owned())] {
            let owner = default_owner(&|_| value.clone()).unwrap();
            let (pid, rest) = owner.split_once(':').unwrap();
            let (start, host) = rest.split_once('@').unwrap();
            let found = Stat::read(pid.parse().unwrap()).unwrap();
            assert_eq!((found.start, host), (start.parse().unwrap(), Here::this().nodename()));
        }
    }
}
