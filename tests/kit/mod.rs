//! What every test of the real binary needs: a fresh repository, an empty environment, answers as JSON, and
//! deadlines instead of sleeps.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

pub(crate) mod machine;
pub(crate) mod strace;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test.
pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_lease-lane");

/// No call of a test takes longer than this; one that does is killed and fails the test.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A directory of its own, mostly with a repository in it.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    store: PathBuf,
}

impl Lab {
    /// A fresh repository: by `git init`, or by hand where there is no git.
    pub(crate) fn new() -> Lab {
        let lab = Lab::without_repository();
        if !git(lab.path(), &["init", "-q", "."]) {
            make_git_dir(&lab.path().join(".git"));
        }
        lab
    }

    /// An empty directory that no repository encloses.
    pub(crate) fn without_repository() -> Lab {
        let dir = tempfile::Builder::new().prefix("lease-lane-test-").tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        Lab { store: path.join(".git/lease-lane"), dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the store is, or would be.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program as `o1`, in this directory, with nothing else in its environment.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(BIN);
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("LEASE_LANE_OWNER", "o1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program as `o1` and asks for text.
    pub(crate) fn text(&self, args: &[&str]) -> Answer {
        finish(self.command(args))
    }

    /// Runs the program as `o1` and asks for JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Answer {
        self.json_as("o1", args)
    }

    /// Runs the program as somebody and asks for JSON.
    pub(crate) fn json_as(&self, owner: &str, args: &[&str]) -> Answer {
        finish(self.command_as(owner, args))
    }

    pub(crate) fn command_as(&self, owner: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("LEASE_LANE_OWNER", owner).arg("--json");
        command
    }

    /// Asks for a region and must get it; the number of the lease.
    pub(crate) fn grant(&self, owner: &str, lane: &str, tree: &str) -> u64 {
        let granted = self.json_as(owner, &["acquire", lane, "--tree", tree]).expect(0, "acquire");
        granted["lease"].as_u64().unwrap()
    }

    /// The numbers of the live leases.
    pub(crate) fn live(&self) -> Vec<u64> {
        lease_numbers(&self.json(&["live"]).expect(0, "ok"))
    }

    /// Those who wait.
    pub(crate) fn waiters(&self) -> Vec<Value> {
        self.json(&["waiters"]).expect(0, "ok")["waiters"].as_array().unwrap().clone()
    }

    /// The journal is sound and every recorded verdict comes out the same again.
    pub(crate) fn assert_sound(&self) -> Value {
        let verified = self.json(&["verify"]).expect(0, "ok");
        let verdicts = self.json(&["replay", "--verdicts"]).expect(0, "ok");
        assert_eq!(verdicts["differences"], serde_json::json!([]));
        verified
    }

    /// Leaves in the mutex what a power cut makes of an entry: whoever comes next queues up, and takes it over at once.
    pub(crate) fn leave_mutex(&self) {
        let mut private = std::fs::OpenOptions::new();
        private.create(true).write(true).truncate(true).mode(0o600);
        private.open(self.store.join("mutex")).unwrap().write_all(b"{").unwrap();
    }

    /// The segment that is written to.
    pub(crate) fn active_segment(&self) -> PathBuf {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.store.join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        segments.sort();
        segments.pop().expect("a store with a segment")
    }
}

/// A git directory of the few things that make one, for machines without git.
pub(crate) fn make_git_dir(dir: &Path) {
    for sub in ["objects", "refs"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
}

/// Runs git in `dir`; false when there is none or it fails.
pub(crate) fn git(dir: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env_clear().env("PATH", path_variable()).env("HOME", dir);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.org");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(crate) fn path_variable() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// What a call came to.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Answer {
    fn of(output: Output, took: Duration) -> Answer {
        Answer {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
            took,
        }
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        assert!(self.out.ends_with('\n') && self.out.lines().count() == 1, "not one line: {self}");
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert!(value.is_object(), "{self}");
        value
    }

    /// The object, whose outcome and exit code must be these.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, outcome: &str) -> Value {
        assert_eq!(self.code, Some(code), "{self}");
        let value = self.value();
        assert_eq!(value["outcome"], outcome, "{self}");
        assert!(!self.err.contains("panicked"), "{self}");
        value
    }

    /// The outcome, whatever it is; empty when there is no object.
    pub(crate) fn outcome(&self) -> String {
        let value: Option<Value> = serde_json::from_str(&self.out).ok();
        value.and_then(|value| value["outcome"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "code {:?}, signal {:?}\nstdout: {}\nstderr: {}",
            self.code, self.signal, self.out, self.err
        )
    }
}

/// Runs a command to its end, at most to the deadline.
#[track_caller]
pub(crate) fn finish(mut command: Command) -> Answer {
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child, began)
}

/// The same command, able to hear of an interrupt and of a hangup, which those who run tests in the background ignore.
pub(crate) fn hearing(command: &Command) -> Command {
    let mut hearing = Command::new("env");
    hearing.arg("--default-signal=HUP,INT,QUIT").arg(command.get_program()).args(command.get_args());
    hearing.env_clear().stdin(Stdio::null());
    hearing.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        hearing.current_dir(dir);
    }
    hearing
}

/// The same command, told to ignore an interrupt and a hangup, as `nohup` and a script's background do.
pub(crate) fn ignoring(command: &Command) -> Command {
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]).arg(command.get_program());
    ignoring.args(command.get_args()).stdin(Stdio::null());
    ignoring.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        ignoring.current_dir(dir);
    }
    ignoring
}

/// Starts a command whose answer is asked for later.
pub(crate) fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a child that was started at `began`.
#[track_caller]
pub(crate) fn wait(child: Child, began: Instant) -> Answer {
    let pid = child.id();
    let (send, receive) = channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(DEADLINE) {
        Ok(output) => Answer::of(output.unwrap(), began.elapsed()),
        Err(RecvTimeoutError::Timeout) => {
            signal(pid, Signal::KILL);
            panic!("a call did not end within {DEADLINE:?}");
        }
        Err(RecvTimeoutError::Disconnected) => panic!("nobody waits for the call any more"),
    }
}

/// Starts all commands, then waits for all of them.
pub(crate) fn all_at_once(commands: Vec<Command>) -> Vec<Answer> {
    let began = Instant::now();
    let children: Vec<Child> = commands.into_iter().map(start).collect();
    children.into_iter().map(|child| wait(child, began)).collect()
}

/// Sends a signal to a process that this test started; it may be gone.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _gone = kill_process(pid, signal);
}

/// Waits without sleeping: the moment of a kill is the point.
pub(crate) fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The lines that somebody prints, each with a deadline.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(out: impl Read + Send + 'static) -> Lines {
        let (send, receive) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Lines(receive)
    }

    /// The next line; none at the end.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}"),
        }
    }
}

/// Asks again and again until there is an answer; no answer before the deadline fails the test.
#[track_caller]
pub(crate) fn poll<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process that lives until it is dropped.
pub(crate) struct Sleeper(pub(crate) Child);

impl Sleeper {
    pub(crate) fn new() -> Sleeper {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Sleeper(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Kills it and leaves the zombie.
    pub(crate) fn kill_without_reaping(&mut self) {
        self.0.kill().unwrap();
        let stat = format!("/proc/{}/stat", self.0.id());
        poll("a killed process becomes a zombie", DEADLINE, || {
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit(')').next().unwrap().trim_start().starts_with('Z').then_some(())
        });
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The numbers of the leases that `live` shows.
#[track_caller]
pub(crate) fn lease_numbers(live: &Value) -> Vec<u64> {
    live["leases"].as_array().unwrap().iter().map(|lease| lease["lease"].as_u64().unwrap()).collect()
}

/// Copies a directory with its modes; named pipes, which hold nothing, are left out.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Does it for each of `cases`, on two threads.
pub(crate) fn for_each(cases: usize, check: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= cases {
                        break;
                    }
                    check(case);
                }
            });
        }
    });
}

/// Everything beneath a directory: names, kinds, modes and bytes. Two equal listings: nothing was written.
pub(crate) fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mut what = format!("{:o} {} {}", meta.mode(), meta.uid(), meta.len());
            if meta.is_dir() {
                what = format!("{:o} {}", meta.mode(), meta.uid());
                dirs.push(path.clone());
            } else if meta.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let sum = bytes.iter().fold(17u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
                let _ = write!(what, " {sum:x}");
            }
            all.insert(path, what);
        }
    }
    all
}

/// The keys of an object, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().map(String::as_str).collect()
}

/// The same words, sorted: what [`keys`] is compared with.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

/// Random numbers that a seed repeats (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// A number from the environment, for longer runs: `LEASE_LANE_TORTURE_S=60 cargo test --test crash`.
pub(crate) fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A seed from `LEASE_LANE_SEED`, or a new one; printed, so that a failure can be had again.
pub(crate) fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = knob("LEASE_LANE_SEED", u64::from(now.subsec_nanos()));
    eprintln!("LEASE_LANE_SEED={seed}");
    seed
}
