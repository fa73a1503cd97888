//! Runs the program under `strace`, which lists its system calls and makes any one of them fail, kill or stop it.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The one who can make calls fail, if this machine has it and lets it.
pub(crate) struct Strace {
    program: PathBuf,
}

/// One system call of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// The how manieth of this name in its process: what `when=` counts.
    pub(crate) nth: usize,
    /// Its line, without the process.
    pub(crate) text: String,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{} `{}`", self.name, self.nth, self.text)
    }
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not made and fails with this error.
    Error(&'static str),
    /// The process dies instead of making it.
    Kill,
    /// The process makes it and is stopped then.
    Stop,
    /// The process makes it and is told to end.
    Term,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fault::Error(name) => name,
            Fault::Kill => "SIGKILL",
            Fault::Stop => "SIGSTOP",
            Fault::Term => "SIGTERM",
        })
    }
}

impl Strace {
    /// Looks for it once; says loudly what is skipped where there is none. With `CI` or `LEASE_LANE_INSTALL=1` in the
    /// environment it is installed where it is missing.
    pub(crate) fn find(skipped: &str) -> Option<&'static Strace> {
        static FOUND: OnceLock<Result<Strace, String>> = OnceLock::new();
        match FOUND.get_or_init(look) {
            Ok(strace) => Some(strace),
            Err(why) => {
                eprintln!("SKIPPED: {skipped}: {why}");
                None
            }
        }
    }

    /// The same command, watched, with its calls written to `log`; at one of them something happens.
    pub(crate) fn watch(&self, command: &Command, log: &Path, fault: Option<(Fault, &Call)>) -> Command {
        self.watch_as(&["-f"], command, log, fault)
    }

    /// The same, without the threads and children of its first thread.
    pub(crate) fn watch_alone(
        &self,
        command: &Command,
        log: &Path,
        fault: Option<(Fault, &Call)>,
    ) -> Command {
        self.watch_as(&[], command, log, fault)
    }

    fn watch_as(
        &self,
        how: &[&str],
        command: &Command,
        log: &Path,
        fault: Option<(Fault, &Call)>,
    ) -> Command {
        let mut watched = Command::new(&self.program);
        // With the paths of descriptors, for whoever reads the log.
        watched.args(how).args(["-qq", "-y", "-o"]).arg(log);
        if let Some((fault, Call { name, nth, .. })) = fault {
            let what = match fault {
                Fault::Error(error) => format!("error={error}"),
                Fault::Kill => "signal=KILL".to_owned(),
                Fault::Stop => "signal=STOP".to_owned(),
                Fault::Term => "signal=TERM".to_owned(),
            };
            watched.args(["-e", &format!("inject={name}:{what}:when={nth}")]);
        }
        watched.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
        for (key, value) in command.get_envs() {
            watched.env(key, value.unwrap_or_default());
        }
        if let Some(dir) = command.get_current_dir() {
            watched.current_dir(dir);
        }
        watched
    }
}

fn look() -> Result<Strace, String> {
    let program = match in_path("strace") {
        Some(program) => program,
        None if std::env::var_os("CI").is_some() || std::env::var_os("LEASE_LANE_INSTALL").is_some() => {
            let mut install = Command::new("apt-get");
            install.args(["install", "-y", "strace"]).stdin(Stdio::null());
            install.stdout(Stdio::null()).stderr(Stdio::null());
            let _tried = install.status();
            in_path("strace").ok_or("strace is missing and `apt-get install -y strace` brought none")?
        }
        None => return Err("strace is missing (LEASE_LANE_INSTALL=1 installs it)".into()),
    };
    let mut trial = Command::new(&program);
    trial.args(["-f", "-qq", "-e", "inject=getpid:error=EIO:when=1", "-o", "/dev/null", "true"]);
    let tried = trial.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !tried.status.success() {
        let said = String::from_utf8_lossy(&tried.stderr);
        return Err(format!("strace may not watch or inject here: {}", said.trim()));
    }
    Ok(Strace { program })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = super::path_variable();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What a watched run did: all calls of its first process, and from which on they are those of `main`.
pub(crate) struct Log {
    calls: Vec<Call>,
    own: usize,
    /// The call at which an error was injected.
    injected: Option<usize>,
}

impl Log {
    pub(crate) fn read(log: &Path) -> Log {
        let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
        let (mut calls, mut own, mut injected) = (Vec::<Call>::new(), None, None);
        // Without children there is no process in front of a call.
        let first = text.split_whitespace().next().unwrap_or_default();
        let first = if first.bytes().all(|b| b.is_ascii_digit()) { first.to_owned() } else { String::new() };
        for line in text.lines() {
            // A later thread queues up on a `flock` and does nothing else.
            let Some(line) = line.strip_prefix(&first).map(str::trim_start) else { continue };
            let Some((name, _)) = line.split_once('(') else { continue };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            let nth = 1 + calls.iter().filter(|call| call.name == name).count();
            if line.contains("(INJECTED)") {
                injected = Some(calls.len());
            }
            calls.push(Call { name: name.to_owned(), nth, text: line.to_owned() });
            // One of the first things that the program does. What comes before is the work of the loader and the runtime.
            if line.starts_with("rt_sigaction(SIGXFSZ") {
                own = Some(calls.len());
            }
        }
        let own = own.unwrap_or(calls.len());
        Log { calls, own, injected }
    }

    /// The calls that the program itself makes.
    pub(crate) fn own(&self) -> &[Call] {
        &self.calls[self.own..]
    }

    /// At which call the fault hit; `None` when it hit the runtime or nothing at all.
    pub(crate) fn hit(&self, fault: Fault) -> Option<&Call> {
        let index = match fault {
            Fault::Error(_) => self.injected?,
            Fault::Kill | Fault::Stop | Fault::Term => self.calls.len().checked_sub(1)?,
        };
        (index >= self.own).then(|| &self.calls[index])
    }
}
