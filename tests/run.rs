//! `run`: a command that runs only under its lease, and a lease that is held as long as anything of the command runs.
//!
//! `LEASE_LANE_FAULTS=all` kills the supervisor at each of its system calls instead of at a sample of them.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::strace::{Call, Fault, Log, Strace};
use kit::{BIN, DEADLINE, Lab, Lines, Sleeper, all_at_once, finish, hearing, ignoring, poll, start, wait};
use lease::process::{GroupSeen, group};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// How soon a freed lane is to be had, a stop decision to be heard.
const SOON: Duration = Duration::from_secs(5);

/// `run` as `o1` with a shell script as its command.
fn run(lab: &Lab, flags: &[&str], script: &str) -> Command {
    let mut command = lab.command(["run"].iter().chain(flags));
    command.args(["--", "sh", "-c", script]).env("PATH", kit::path_variable());
    command
}

/// A `run` that goes on. Dropped, it and all of its group are killed.
struct Running {
    child: Child,
    out: Lines,
    group: Option<Pid>,
}

impl Running {
    /// Starts it; its command prints `$$` first and has done so when this returns.
    #[track_caller]
    fn start(lab: &Lab, flags: &[&str], script: &str) -> Running {
        Running::of(hearing(&run(lab, flags, &format!("echo $$; {script}"))))
    }

    #[track_caller]
    fn of(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let mut running = Running { child, out, group: None };
        let pid = running.line();
        let pid = pid.parse().unwrap_or_else(|_| panic!("`{pid}` is no pid: {}", running.said()));
        running.group = Pid::from_raw(pid);
        running
    }

    /// The next line of the command.
    #[track_caller]
    fn line(&self) -> String {
        self.out.next().unwrap_or_default()
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, signal: Signal) {
        kit::signal(self.child.id(), signal);
    }

    fn worker(&self) -> Pid {
        self.group.unwrap()
    }

    fn number(&self) -> u32 {
        self.worker().as_raw_nonzero().get().cast_unsigned()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The exit code, which must come soon.
    #[track_caller]
    fn code(&mut self) -> i32 {
        let status = poll("run ends", DEADLINE, || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| panic!("killed by signal {:?}", status.signal()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(group) = self.group {
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The number that the command has printed.
fn pid(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no pid"))
}

fn kill(pid: u32) {
    kit::signal(pid, Signal::KILL);
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Somebody else wants the resource and must be refused, now.
#[track_caller]
fn assert_held(lab: &Lab, lock: &str) {
    lab.json_as("o2", &["acquire", "--lock", lock, "--dry-run"]).expect(1, "refuse");
}

/// Somebody else wants the resource and gets it soon; what was evicted for it.
#[track_caller]
fn assert_taken_at_once(lab: &Lab, lock: &str) -> Value {
    let granted = poll("the lane is free", SOON, || {
        let asked = lab.json_as("o2", &["acquire", "--lock", lock]);
        (asked.code == Some(0)).then(|| asked.value())
    });
    granted["evicted"].clone()
}

/// Whether whoever started the tests has this signal ignored, as a shell does for what runs in its background.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}

// ------------------------------------------------------------------------------------------------ what it answers

#[test]
fn the_commands_own_code_is_the_answer() {
    let lab = Lab::new();
    for code in [0, 1, 42, 255] {
        let ran = finish(run(&lab, &["--lock", "x"], &format!("exit {code}")));
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(code), "", ""), "{ran}");
    }
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("INT", 2), ("SEGV", 11)] {
        if is_ignored(number) {
            eprintln!("SKIPPED: {signal}, which is ignored here and so by everybody we start");
            continue;
        }
        let ran = finish(run(&lab, &["--lock", "x"], &format!("kill -{signal} $$")));
        assert_eq!(ran.code, Some(128 + number), "{ran}");
    }
    assert_eq!(lab.live(), [0_u64; 0], "each has given its lease back");
    lab.assert_sound();
}

#[test]
fn what_is_not_there_is_127_and_what_cannot_be_executed_126() {
    let lab = Lab::new();
    let plain = lab.write("plain", "echo no\n");
    for (program, code) in
        [("no-such-command", 127), ("./no/such", 127), (plain.to_str().unwrap(), 126), ("/", 126)]
    {
        let ran = finish(lab.command(["run", "--lock", "x", "--", program]));
        assert_eq!(ran.code, Some(code), "{program}: {ran}");
        assert!(ran.err.contains(program), "{ran}");
    }
    assert_eq!(lab.live(), [0_u64; 0]);
}

#[test]
fn a_failure_of_ours_is_125_and_runs_nothing() {
    let lab = Lab::new();
    let ran = lab.path().join("ran");
    let script = format!("touch {}", ran.display());
    for flags in [
        &["--tree", "["][..],
        &["--bogus"],
        &["--lock", "x", "--dry-run"],
        &["--lock", "x", "--request-id", "r1"],
        &["--lock", "x", "--kill-after", "soon"],
        &["--lock", "x", "-E", "256"],
        &[],
    ] {
        let answer = finish(run(&lab, flags, &script));
        assert_eq!((answer.code, answer.out.as_str()), (Some(125), ""), "{flags:?}: {answer}");
        assert!(answer.err.contains("hint: "), "{flags:?}: {answer}");
        let mut command = lab.command(["--json", "run"].iter().chain(flags));
        command.args(["--", "sh", "-c", &script]);
        let answer = finish(command);
        let error: Value = serde_json::from_str(&answer.err).unwrap();
        assert_eq!((answer.code, &error["outcome"]), (Some(125), &json!("error")), "{flags:?}: {answer}");
    }
    let nothing = finish(lab.command(["run", "--lock", "x"]));
    assert_eq!(nothing.code, Some(125), "{nothing}");

    lab.grant("o3", "other", "other/**");
    let segment = lab.active_segment();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let answer = finish(run(&lab, &["--lock", "x"], &script));
    assert_eq!(answer.code, Some(125), "{answer}");
    assert!(answer.err.contains("damaged"), "{answer}");
    assert!(!ran.exists(), "no command has run");
}

#[test]
fn refused_means_that_the_command_never_starts() {
    let lab = Lab::new();
    let ran = lab.path().join("ran");
    let script = format!("touch {}", ran.display());
    lab.json_as("o2", &["acquire", "--lock", "x"]).expect(0, "acquire");
    for (flags, code) in [
        (&["--lock", "x"][..], 1),
        (&["-E", "77", "--lock", "x"], 77),
        (&["--lock", "x", "--conflict-exit-code=0"], 0),
        (&["--lock", "x", "--wait=150ms"], 124),
    ] {
        let refused = finish(run(&lab, flags, &script));
        assert_eq!((refused.code, refused.out.as_str()), (Some(code), ""), "{refused}");
        assert!(refused.err.contains("LANE_HELD") && refused.err.contains("o2"), "{refused}");
    }
    let mut json = lab.command(["--json", "run", "--lock", "x", "--", "sh", "-c", &script]);
    json.env("PATH", kit::path_variable());
    let refused = finish(json);
    let object: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused}");
    assert_eq!((&object["outcome"], &object["code"]), (&json!("refuse"), &json!("LANE_HELD")));
    assert!(!ran.exists(), "the command has run");
}

#[test]
fn what_to_ask_instead_is_said_in_words_of_run_and_recorded_as_ever() {
    let lab = Lab::new();
    lab.json_as("o2", &["acquire", "--lock", "a", "--lock", "b c", "--tree", "src/**"]).expect(0, "acquire");
    for (flags, code, hint) in [
        (&["--lock", "a"][..], 1, "lease-lane run --lock a --wait 5m -- CMD…"),
        (&["--lock", "a", "--wait", "50ms"], 124, "lease-lane run --lock a --wait 5m -- CMD…"),
        (&["--lock", "b c"], 1, "lease-lane run --lock 'b c' --wait 5m -- CMD…"),
        (&["api", "--tree", "src/*.rs"], 1, "lease-lane run api --tree 'src/*.rs' --wait 5m -- CMD…"),
        (&["nowhere"], 1, "lease-lane run nowhere --tree PATTERN -- CMD…"),
    ] {
        let said = finish(run(&lab, flags, "true"));
        assert_eq!(said.code, Some(code), "{said}");
        assert_eq!(said.err.lines().last(), Some(format!("hint: {hint}").as_str()), "{said}");
    }
    let mut json = lab.command(["--json", "run", "--lock", "a", "--", "true"]);
    json.env("PATH", kit::path_variable());
    let said: Value = serde_json::from_str(&finish(json).err).unwrap();
    assert_eq!(said["hint"], "lease-lane run --lock a --wait 5m -- CMD…");
    // Decided again, the recorded verdict comes out the same.
    lab.assert_sound();
}

#[test]
fn it_waits_for_the_lane_if_told_to() {
    let lab = Lab::new();
    let lease = lab.json_as("o2", &["acquire", "--lock", "x"]).expect(0, "acquire")["lease"].to_string();
    let began = Instant::now();
    let waiting = start(run(&lab, &["--lock", "x", "--wait=1m"], "echo ran"));
    poll("it has asked", DEADLINE, || lab.json(&["tail", "--op", "WAIT"]).out.contains("WAIT").then_some(()));
    lab.json_as("o2", &["release", "--lease", &lease]).expect(0, "released");
    let ran = wait(waiting, began);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "ran\n"), "{ran}");
}

/// A `run` that stands in the line for `x`, which is somebody else's lease.
#[track_caller]
fn in_the_line(lab: &Lab, command: &Command) -> Child {
    let waiting = start(hearing(command));
    poll("it is in the line", DEADLINE, || (!lab.waiters().is_empty()).then_some(()));
    waiting
}

#[test]
fn who_is_told_to_end_while_it_waits_leaves_the_line_and_runs_nothing() {
    let lab = Lab::new();
    let ran = lab.path().join("ran");
    lab.json_as("o2", &["acquire", "--lock", "x"]).expect(0, "acquire");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let command =
            run(&lab, &["--lock", "x", "--wait=1m", "-E", "77"], &format!("touch {}", ran.display()));
        let (waiting, began) = (in_the_line(&lab, &command), Instant::now());
        kit::signal(waiting.id(), signal);
        let told = wait(waiting, began);
        assert_eq!((told.code, told.out.as_str()), (Some(code), ""), "{told}");
        assert!(told.err.contains("the wait was cancelled"), "{told}");
        assert_eq!(lab.waiters(), Vec::<Value>::new(), "{signal:?}");
    }
    assert!(!ran.exists(), "the command has run");
    lab.assert_sound();
}

#[test]
fn who_has_waited_hears_and_ignores_signals_as_if_it_had_not() {
    let lab = Lab::new();
    let held = || lab.json_as("o2", &["acquire", "--lock", "x"]).expect(0, "acquire")["lease"].to_string();
    let free = |lease: &str| drop(lab.json_as("o2", &["release", "--lease", lease]).expect(0, "released"));
    let flags = ["--lock", "x", "--wait=1m"];

    // What ends a wait at the second time is the command's from the first.
    let lease = held();
    let script = "n=0; trap 'n=$((n+1)); echo heard $n' TERM; echo $$; while [ $n -lt 3 ]; do sleep 0.01; done; exit 7";
    let began = Instant::now();
    let mut waiting = in_the_line(&lab, &run(&lab, &flags, script));
    let out = Lines::of(waiting.stdout.take().unwrap());
    free(&lease);
    out.next().unwrap();
    for n in 1..=3 {
        kit::signal(waiting.id(), Signal::TERM);
        assert_eq!(out.next(), Some(format!("heard {n}")));
    }
    assert_eq!(wait(waiting, began).code, Some(7));

    // `nohup`, and a script's background: nobody means those who were told to ignore it.
    let lease = held();
    let waits = run(&lab, &flags, "trap - HUP INT; kill -HUP $$; kill -INT $$; echo lives");
    let waiting = in_the_line(&lab, &ignoring(&waits));
    kit::signal(waiting.id(), Signal::HUP);
    kit::signal(waiting.id(), Signal::INT);
    free(&lease);
    let ran = wait(waiting, began);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "lives\n"), "{ran}");
    lab.assert_sound();
}

/// Between the wait and the command, too: whenever it is told to end, it ends, and nothing is left of it.
#[test]
fn who_is_told_to_end_at_any_of_its_calls_leaves_neither_ticket_nor_lease() {
    let Some(strace) = Strace::find("a signal at each call of a run that may wait") else { return };
    let command = |lab: &Lab| run(lab, &["--lock", "x", "--wait=1m"], "sleep 2; exit 7");
    let lab = Lab::new();
    let log = lab.path().join("log");
    assert_eq!(finish(strace.watch_alone(&command(&lab), &log, None)).code, Some(7));
    let calls = Log::read(&log).own().to_vec();
    let position = |of: &dyn Fn(&Call) -> bool| calls.iter().position(of);
    let listens = position(&|call| call.text.starts_with("rt_sigaction(SIGHUP")).expect("it listens");
    let go = position(&|call| call.name == "sendmsg").expect("the gate is opened");
    let all = std::env::var("LEASE_LANE_FAULTS").is_ok_and(|text| text == "all");
    let mut heard = 0;
    for at in (listens + 1..go).filter(|at| all || go - at < 12 || at % 9 == 0) {
        let (lab, call) = (Lab::new(), &calls[at]);
        let ended = finish(strace.watch_alone(&command(&lab), &log, Some((Fault::Term, call))));
        // Not every run makes every call as often.
        if std::fs::read_to_string(&log).unwrap().contains("--- SIGTERM") {
            assert_eq!(ended.code, Some(143), "{call}: {ended}");
            heard += 1;
        }
        assert_eq!((lab.live(), lab.waiters()), (Vec::new(), Vec::new()), "{call}");
        lab.assert_sound();
    }
    eprintln!("{heard} of {} calls", go - listens);
    assert!(heard > 10, "{heard}");
}

// ------------------------------------------------------------------------------------- what the command sees of it

#[test]
fn the_environment_names_the_lease() {
    let lab = Lab::new();
    // As somebody with a name of his own, in another directory.
    let script =
        format!("env; cd /; {BIN} check src/a.rs --lease $LEASE_LANE_LEASE --fence $LEASE_LANE_FENCE");
    let ran = finish(run(&lab, &["api", "--tree", "src/**"], &script));
    assert_eq!(ran.code, Some(0), "{ran}");
    let lease = lab.json(&["tail", "--op", "ACQUIRE"]).value()["seq"].to_string();
    for (name, value) in [
        ("LEASE", lease.as_str()),
        ("FENCE", &lease),
        ("STORE", lab.store().to_str().unwrap()),
        ("ROOT", lab.path().to_str().unwrap()),
        ("OWNER", "o1"),
    ] {
        let line = format!("LEASE_LANE_{name}={value}");
        assert!(ran.out.lines().any(|have| have == line), "{line}: {ran}");
    }
}

/// What is held is asked for by those who were started, by paths of their own: `--root` and `--policy` are for them, too.
#[test]
fn the_command_means_the_paths_and_the_policy_of_its_run() {
    let lab = Lab::new();
    for dir in ["sub", "other/.git"] {
        std::fs::create_dir_all(lab.path().join(dir)).unwrap();
    }
    kit::make_git_dir(&lab.path().join("other/.git"));
    lab.write("sub/ours.toml", "[lanes.ours]\ntree = [\"g\"]\n");
    let (top, sub) = (lab.path().display(), lab.path().join("sub"));
    let asks = format!(
        "for dir in {top} {top}/sub {top}/other /; do cd $dir
         for path in f {top}/sub/f {top}/f; do {BIN} check $path >/dev/null 2>&1; echo $dir $path $?; done
         {BIN} --json acquire ours --dry-run; done"
    );
    // Said in the words of where `run` was started.
    let mut by_variable = run(&lab, &["--tree", "f"], &asks);
    by_variable.env("LEASE_LANE_ROOT", "sub").env("LEASE_LANE_POLICY", "sub/ours.toml");
    let by_flag = run(&lab, &["--root", "sub", "--policy", "sub/ours.toml", "--tree", "f"], &asks);
    for command in [by_flag, by_variable] {
        let ran = finish(command);
        assert_eq!(ran.code, Some(0), "{ran}");
        let mut told = ran.out.lines();
        for dir in [&format!("{top}"), &format!("{top}/sub"), &format!("{top}/other"), "/"] {
            for (path, code) in [("f", 0), (&format!("{}/f", sub.display()), 0), (&format!("{top}/f"), 2)] {
                assert_eq!(told.next(), Some(format!("{dir} {path} {code}").as_str()), "{ran}");
            }
            let granted: Value = serde_json::from_str(told.next().unwrap()).unwrap();
            assert_eq!((&granted["outcome"], &granted["tree"]), (&json!("acquire"), &json!(["g"])), "{dir}");
        }
    }

    // Where nobody has named a root, it is the one that `run` has found; the policy is the one at that root.
    lab.write("lease-lane.toml", "[lanes.ours]\ntree = [\"h\"]\n");
    let asks =
        format!("cd other; {BIN} check {top}/f >/dev/null; echo $?; {BIN} --json acquire ours --dry-run");
    let ran = finish(run(&lab, &["--tree", "f"], &asks));
    let (code, granted) = ran.out.split_once('\n').unwrap();
    let granted: Value = serde_json::from_str(granted).unwrap();
    assert_eq!((code, &granted["tree"]), ("0", &json!(["h"])), "{ran}");
}

/// What came from a pipe is not there a second time: nobody is sent there for it.
#[test]
fn a_policy_from_a_pipe_is_not_named_to_the_command() {
    let lab = Lab::new();
    let mut command = run(&lab, &["--policy", "/dev/stdin", "ours"], "echo ${LEASE_LANE_POLICY-unset}");
    command.stdin(Stdio::piped());
    let began = Instant::now();
    let mut child = start(command);
    child.stdin.take().unwrap().write_all(b"[lanes.ours]\ntree = [\"f\"]\n").unwrap();
    let ran = wait(child, began);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "unset\n"), "{ran}");
}

#[test]
fn its_standard_input_output_and_descriptors_are_the_callers() {
    let lab = Lab::new();
    let mut command = run(&lab, &["--lock", "x"], "cat; echo to stderr >&2");
    command.stdin(Stdio::piped());
    let began = Instant::now();
    let mut child = start(command);
    child.stdin.take().unwrap().write_all(b"to stdin\n").unwrap();
    let ran = wait(child, began);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "to stdin\n", "to stderr\n"));

    let list = "for fd in /proc/self/fd/*; do echo $fd; done";
    let mut plain = Command::new("sh");
    plain.args(["-c", list]).stdin(Stdio::null());
    assert_eq!(finish(run(&lab, &["--lock", "x"], list)).out, finish(plain).out, "nothing is handed down");
}

#[test]
fn both_processes_are_on_record_with_their_roles() {
    let lab = Lab::new();
    let go = lab.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 3", go.display());
    let mut running = Running::start(&lab, &["--lock", "x", "--why", "a test"], &script);
    let live = lab.json(&["live"]).expect(0, "ok");
    let lease = &live["leases"][0];
    let roles: Vec<(Value, Value)> = lease["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| (process["role"].clone(), process["pid"].clone()))
        .collect();
    let worker = running.worker().as_raw_nonzero().get();
    let expected = [(json!("supervisor"), json!(running.child.id())), (json!("worker"), json!(worker))];
    assert_eq!(roles, expected, "{live}");
    assert_eq!((&lease["alive"], &lease["why"]), (&json!("yes"), &json!("a test")));
    std::fs::write(go, "").unwrap();
    assert_eq!(running.code(), 3);
}

// ---------------------------------------------------------------------------------------------------------- signals

#[test]
fn signals_go_to_the_whole_group() {
    let lab = Lab::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
    ] {
        // The grandchild is in front: the child goes on to its own trap when it has ended.
        let grandchild = format!(
            "trap 'echo grandchild heard {name}; exit' {name}; echo up; while :; do sleep 0.01; done"
        );
        let script =
            format!("trap 'echo child heard {name}; exit 7' {name}; sh -c \"{grandchild}\"; echo no; exit 8");
        let mut running = Running::start(&lab, &["--lock", "x"], &script);
        assert_eq!(running.line(), "up");
        running.signal(signal);
        assert_eq!(running.line(), format!("grandchild heard {name}"));
        assert_eq!(running.line(), format!("child heard {name}"));
        assert_eq!(running.code(), 7, "{name}");
    }
}

#[test]
fn a_stopped_command_hears_that_it_has_to_end() {
    let lab = Lab::new();
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1)] {
        if is_ignored(number) {
            eprintln!("SKIPPED: {signal:?}, which is ignored here and so by everybody we start");
            continue;
        }
        // Nothing that forks: a shell whose child is stopped inside vfork is not stopped but waits.
        let script = "echo up; exec sleep 60";
        let mut running = Running::start(&lab, &["--lock", "x"], script);
        assert_eq!(running.line(), "up");
        let _stopped = kill_process_group(running.worker(), Signal::STOP);
        poll("it is stopped", SOON, || {
            let stat = lease::process::Stat::read(running.number()).unwrap();
            (stat.state == b'T').then_some(())
        });
        running.signal(signal);
        assert_eq!(running.code(), 128 + number);
    }
}

/// A script's background ignores interrupts: one that is not meant for it must not begin its end.
#[test]
fn what_is_ignored_from_above_stays_ignored() {
    let lab = Lab::new();
    let mut command = Command::new("sh");
    let inner = "trap 'echo heard USR1' USR1; echo $$; while :; do sleep 0.01; done";
    let script = format!("trap '' INT; exec {BIN} run --lock x --kill-after 1ms -- sh -c \"$INNER\"");
    command.args(["-c", &script]).current_dir(lab.path()).env("INNER", inner).env("LEASE_LANE_OWNER", "o1");
    let mut running = Running::of(command);
    for _ in 0..50 {
        running.signal(Signal::INT);
        running.signal(Signal::USR1);
        assert_eq!(running.line(), "heard USR1");
    }
    assert!(!running.has_ended());
}

/// Failure class 27: Ctrl-C frees the lease while the worker lives.
#[test]
fn a_stubborn_command_is_killed_after_its_grace_and_the_lease_held_until_then() {
    let lab = Lab::new();
    for signal in [Signal::INT, Signal::TERM] {
        let script = "trap '' INT TERM; echo up; while :; do sleep 0.01; done";
        let mut running = Running::start(&lab, &["--lock", "x", "--kill-after", "700ms"], script);
        assert_eq!(running.line(), "up");
        let began = Instant::now();
        running.signal(signal);
        let mut looks = 0;
        // Not every init reaps at once: what has ended there is none of the group any more.
        let runs = || group(running.number()) == GroupSeen::Runs;
        while runs() {
            assert!(began.elapsed() < DEADLINE, "nobody kills it");
            let held = lab.json_as("o2", &["acquire", "--lock", "x", "--dry-run"]).code == Some(1);
            assert!(held || !runs(), "free while the worker lives");
            looks += 1;
        }
        assert!(began.elapsed() >= Duration::from_millis(700) && looks > 0, "{looks} looks");
        assert_eq!(running.code(), 128 + 9);
        assert_eq!(lab.live(), [0_u64; 0]);
    }
}

// -------------------------------------------------------------------------------------------- who holds, and how long

/// Failure class 28: grandchildren keep writing.
#[test]
fn an_orphaned_grandchild_keeps_the_lease_and_run_waits_for_it() {
    let lab = Lab::new();
    let mut running = Running::start(&lab, &["--lock", "x"], "sleep 600 >/dev/null 2>&1 & echo $!; exit 4");
    let orphan = pid(&running.line());
    poll("the worker itself has ended", SOON, || {
        let worker = format!("/proc/{}", running.worker().as_raw_nonzero());
        (!Path::new(&worker).exists()).then_some(())
    });
    for _ in 0..5 {
        assert_held(&lab, "x");
    }
    assert!(!running.has_ended());
    kill(orphan);
    assert_eq!(running.code(), 4, "the command's own");
    assert_eq!(lab.live(), [0_u64; 0]);
}

/// Failure class 26, and feature C11: what a killed supervisor leaves behind still holds the lane.
#[test]
fn a_second_run_never_starts_while_anything_of_the_first_lives() {
    let lab = Lab::new();
    let marker = lab.path().join("second");
    let script = format!("echo ran >> {}", marker.display());
    let second = || finish(run(&lab, &["--lock", "daemon"], &script)).code;
    let mut first = Running::start(&lab, &["--lock", "daemon"], "sleep 600 >/dev/null 2>&1 & echo $!; wait");
    let orphan = pid(&first.line());
    assert_eq!(second(), Some(1));
    first.signal(Signal::KILL);
    first.child.wait().unwrap();
    for _ in 0..5 {
        assert_eq!(second(), Some(1), "the supervisor is dead, its worker lives");
    }
    kill(first.number());
    poll("the worker is dead", SOON, || {
        let live = lab.json(&["live"]).value();
        let worker = first.worker().as_raw_nonzero().get();
        (live["leases"][0]["processes"][1]["pid"] == worker && !is_running(worker)).then_some(())
    });
    for _ in 0..5 {
        assert_eq!(second(), Some(1), "a grandchild lives");
    }
    assert!(!marker.exists());
    kill(orphan);
    let began = Instant::now();
    poll("the next one runs", SOON, || (second() == Some(0)).then_some(()));
    eprintln!("taken over {:?} after the last of the group was killed", began.elapsed());
    assert_eq!(lines(&marker), ["ran"]);
    let evicted = lab.json(&["tail", "--op", "SCAVENGE"]).value();
    assert_eq!(evicted["why"], "dead");
    lab.assert_sound();
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Failure class 26: wherever the supervisor dies, the command has run only if its lease is on record, and nothing is
/// left that keeps the next one out.
#[test]
fn a_supervisor_killed_at_any_of_its_calls_leaves_no_command_without_a_lease() {
    let Some(strace) = Strace::find("the death of a supervisor at each of its calls") else { return };
    let lab = Lab::new();
    let command = |lab: &Lab| {
        let marker = lab.path().join("ran");
        run(lab, &["--lock", "x"], &format!("echo $LEASE_LANE_LEASE >> {}", marker.display()))
    };
    let log = lab.path().join("log");
    assert_eq!(finish(strace.watch_alone(&command(&lab), &log, None)).code, Some(0));
    let calls = Log::read(&log).own().to_vec();
    let go = calls.iter().position(|call| call.name == "sendmsg").expect("the gate is opened");
    assert!(calls[..go].iter().any(|call| call.name == "fdatasync"), "the grant is durable before that");
    let all = std::env::var("LEASE_LANE_FAULTS").is_ok_and(|text| text == "all");
    let step = if all { 1 } else { 9 };
    let near_the_gate = go.saturating_sub(3)..go + 4;
    let (mut ran_without, mut ran) = (0, 0);
    for (at, call) in calls.iter().enumerate() {
        if at % step != 0 && !near_the_gate.contains(&at) {
            continue;
        }
        let lab = Lab::new();
        let marker = lab.path().join("ran");
        let killed = finish(strace.watch_alone(&command(&lab), &log, Some((Fault::Kill, call))));
        // Whatever was let go ends by itself: then nobody is in the way any more.
        let next = poll("the next one gets it", SOON, || {
            let asked = lab.json_as("o2", &["acquire", "--lock", "x"]);
            (asked.code == Some(0)).then(|| asked.value())
        });
        let granted = lab.json(&["tail", "-n", "100", "--op", "ACQUIRE"]).out;
        let granted: Vec<Value> =
            granted.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone()).collect();
        let told = lines(&marker);
        assert!(told.len() <= 1, "{call}: {told:?}");
        if let Some(lease) = told.first() {
            assert!(
                granted.iter().any(|seq| seq.as_u64() == lease.parse().ok()),
                "{call}: {lease} of {granted:?}"
            );
            assert_ne!(next["lease"].to_string(), *lease, "{call}");
            ran += 1;
        }
        // Until the gate is opened, the command cannot have run.
        if killed.signal == Some(9) && at < go {
            assert_eq!(told, [""; 0], "{call}");
            ran_without += 1;
        }
        lab.assert_sound();
    }
    eprintln!("{ran_without} deaths before the gate, {ran} commands that ran");
    assert!(ran_without > 5 && ran > 0, "{ran_without} {ran}");
}

#[test]
fn of_twelve_at_once_one_runs() {
    let lab = Lab::new();
    let (marker, go) = (lab.path().join("ran"), lab.path().join("go"));
    let script =
        format!("echo ran >> {}; while [ ! -e {} ]; do sleep 0.01; done", marker.display(), go.display());
    let began = Instant::now();
    let all: Vec<Child> = (0..12).map(|_| start(run(&lab, &["--lock", "daemon"], &script))).collect();
    poll("all others are refused", DEADLINE, || {
        let records = lab.json(&["tail", "-n", "100", "--op", "REFUSE"]).out;
        (records.lines().count() == 11).then_some(())
    });
    std::fs::write(go, "").unwrap();
    let mut codes: Vec<Option<i32>> = all.into_iter().map(|child| wait(child, began).code).collect();
    codes.sort_unstable();
    let mut expected = vec![Some(1); 12];
    expected[0] = Some(0);
    assert_eq!(codes, expected);
    assert_eq!(lines(&marker), ["ran"]);
}

#[test]
fn a_short_lease_is_kept_by_beats_for_as_long_as_the_command_runs() {
    let lab = Lab::new();
    let go = lab.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    let mut running = Running::start(&lab, &["--lock", "x", "--ttl", "900ms"], &script);
    let beats = || {
        let records = lab.json(&["tail", "-n", "100", "--op", "HEARTBEAT"]).out;
        let of =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["clock"]["up_ms"].as_u64().unwrap();
        records.lines().map(of).collect::<Vec<u64>>()
    };
    let seen = poll("it has beaten for two of its times", DEADLINE, || {
        let beats = beats();
        (beats.len() >= 6).then_some(beats)
    });
    assert_held(&lab, "x");
    // At a third of its time; a busy machine may be late, never early by much.
    let between: Vec<u64> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(between.iter().all(|&ms| ms >= 280), "{between:?}");
    std::fs::write(go, "").unwrap();
    assert_eq!(running.code(), 0, "{}", running.said());
    assert!(lab.json(&["tail", "-n", "100", "--op", "SCAVENGE"]).out.is_empty());
}

// -------------------------------------------------------------------------------------------------- halted and lost

fn halt(lab: &Lab, by_lane: bool) {
    let lease = lab.live()[0].to_string();
    let which = if by_lane { ["--lane", "lock://x"] } else { ["--lease", &lease] };
    let halted = lab.json_as("operator", &["halt", "stop-1", which[0], which[1]]);
    assert_eq!(halted.code, Some(0), "{halted}");
}

#[test]
fn a_stop_decision_ends_it_within_about_a_second() {
    let lab = Lab::new();
    for by_lane in [false, true] {
        let script = "trap 'echo asked; exit 9' TERM; echo up; while :; do sleep 0.01; done";
        let mut running = Running::start(&lab, &["--lock", "x"], script);
        assert_eq!(running.line(), "up");
        let began = Instant::now();
        halt(&lab, by_lane);
        assert_eq!(running.line(), "asked");
        let took = began.elapsed();
        assert_eq!(running.code(), 123);
        assert!(running.said().contains("halted: stop-1"));
        eprintln!("asked to end after {took:?}");
        assert!(took < SOON, "{took:?}");
        assert_eq!(lab.live(), [0_u64; 0], "it has given its lease back");
    }
}

/// To close a watch costs milliseconds, which the end of a short command would wait for.
#[test]
fn nothing_is_watched_until_the_command_has_run_for_a_while() {
    let lab = Lab::new();
    let script = "sleep 0.03; ls -l /proc/$PPID/fd | grep -c inotify; sleep 600";
    // A busy machine may be late.
    let running = poll("a run without a watch", SOON, || {
        let running = Running::start(&lab, &["--lock", "x"], script);
        (running.line() == "0").then_some(running)
    });
    poll("it has one later", SOON, || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.child.id())).unwrap();
        let mut files = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        files.any(|file| file.to_string_lossy().contains("inotify")).then_some(())
    });
}

#[test]
fn a_halted_command_that_does_not_end_is_killed_and_beats_until_then() {
    let lab = Lab::new();
    let script = "trap '' TERM; echo up; while :; do sleep 0.01; done";
    let flags = ["--lock", "x", "--ttl", "600ms", "--kill-after", "2s"];
    let mut running = Running::start(&lab, &flags, script);
    assert_eq!(running.line(), "up");
    halt(&lab, false);
    let halted = lab.json(&["tail", "--op", "HALT"]).value()["seq"].as_u64().unwrap();
    assert_eq!(running.code(), 123);
    let beat = lab.json(&["tail", "-n", "1", "--op", "HEARTBEAT"]).value()["seq"].as_u64().unwrap();
    assert!(beat > halted, "{beat} {halted}");
    assert_eq!(lab.live(), [0_u64; 0]);
}

#[test]
fn a_lost_lease_ends_it_with_123() {
    let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let released: fn(&Lab) = |lab| drop(lab.json(&["release", "lock://x"]).expect(0, "released"));
    let adopted: fn(&Lab) = |lab| {
        let taken = lab.json_as("thief", &["adopt", "lock://x", "--from", "o1"]);
        assert_eq!(taken.code, Some(0), "{taken}");
    };
    for why in ["it has ended", "belongs to `thief`"] {
        let lose = if why == "it has ended" { released } else { adopted };
        let lab = Lab::new();
        let mut running = Running::start(&lab, &["--lock", "x"], script);
        assert_eq!(running.line(), "up");
        lose(&lab);
        assert_eq!(running.line(), "asked", "{why}");
        assert_eq!(running.code(), 123, "{why}");
        let said = running.said();
        assert!(said.contains("the lease is lost") && said.contains(why), "{said}");
    }
}

/// By whom and why, in the words in which a beat is answered: while the command runs, and where it has ended before
/// `run` could look.
#[test]
fn who_has_lost_the_lease_to_force_is_told_by_whom_and_why() {
    for ends_first in [false, true] {
        let lab = Lab::new();
        let go = lab.path().join("go");
        let script = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
        let mut running = Running::start(&lab, &["--lock", "x"], &script);
        if ends_first {
            running.signal(Signal::STOP);
        }
        let lease = lab.live()[0].to_string();
        let force = ["unlock", "--lease", &lease, "--force", "--why", "the disk is full", "--yes"];
        lab.json_as("boss", &force).expect(0, "unlocked");
        if ends_first {
            std::fs::write(go, "").unwrap();
            poll("the command has ended", SOON, || {
                (group(running.number()) != GroupSeen::Runs).then_some(())
            });
            running.signal(Signal::CONT);
        }
        assert_eq!(running.code(), 123);
        let beat = lab.json(&["heartbeat", "--lease", &lease]).expect(3, "expired");
        let reason = beat["reason"].as_str().unwrap();
        assert!(reason.contains("by force by `boss`: the disk is full"), "{reason}");
        let said = running.said();
        assert!(said.contains("lost") && said.contains(reason), "{said}");
        assert_eq!(said.matches("by force").count(), 1, "{said}");
    }
}

#[test]
fn a_lease_that_cannot_be_kept_for_its_whole_time_is_lost() {
    let lab = Lab::new();
    let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let mut running = Running::start(&lab, &["--lock", "x", "--ttl", "600ms"], script);
    assert_eq!(running.line(), "up");
    // Nobody can write to a journal that is damaged.
    let segment = lab.active_segment();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[30] ^= 1;
    let aside = lab.path().join("damaged");
    std::fs::write(&aside, bytes).unwrap();
    std::fs::rename(aside, segment).unwrap();
    assert_eq!(running.line(), "asked");
    assert_eq!(running.code(), 123);
    let said = running.said();
    assert!(said.contains("could not beat for its whole time") && said.contains("damaged"), "{said}");
}

#[test]
fn who_adopts_the_lease_of_a_run_is_told_that_the_command_ends_and_how_to_keep_the_lease() {
    let lab = Lab::new();
    let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let mut running = Running::start(&lab, &["--lock", "x"], script);
    assert_eq!(running.line(), "up");
    let lease = lab.live()[0];
    let adopted = lab.json_as("heir", &["adopt", "lock://x", "--from", "o1"]).expect(0, "adopted");
    let warning = adopted["warning"].as_str().unwrap_or_default();
    let bind = format!("lease-lane heartbeat --lease {lease} --bind PID");
    for part in ["run", running.child.id().to_string().as_str(), &bind] {
        assert!(warning.contains(part), "{part}: {adopted}");
    }
    assert_eq!(running.line(), "asked");
    assert_eq!(running.code(), 123);
    // Its run is gone: nobody ends anything any more.
    let again = lab.json_as("heir2", &["adopt", "lock://x", "--from", "heir"]).expect(0, "adopted");
    assert!(again.get("warning").is_none(), "{again}");

    let mut running = Running::start(&lab, &["--lock", "y"], script);
    let sleeper = Sleeper::new();
    let adopt = ["adopt", "lock://y", "--from", "o1", "--owner", "heir", "--bind", &sleeper.pid()];
    let adopted = lab.text(&adopt);
    assert!(adopted.out.contains("warning: ") && !adopted.out.contains("heartbeat"), "{adopted}");
    assert_eq!(running.code(), 123);
    assert_held(&lab, "y");
}

// ------------------------------------------------------------------------------------------- who has left the group

/// A command one of whose children makes a process group of its own, and says who that is.
const STRAY: &str = "timeout 600 sh -c 'echo $$; while :; do sleep 0.01; done' & wait";

#[test]
fn who_has_left_the_group_ends_before_the_lease_when_the_command_is_made_to_end() {
    type Way = fn(&Lab, &Running);
    let by: [(&str, i32, Way); 4] = [
        ("TERM", 143, |_, running| running.signal(Signal::TERM)),
        ("INT", 130, |_, running| running.signal(Signal::INT)),
        ("a stop decision", 123, |lab, _| halt(lab, false)),
        ("a lost lease", 123, |lab, _| drop(lab.json(&["release", "lock://x"]).expect(0, "released"))),
    ];
    for (why, code, end) in by {
        let lab = Lab::new();
        let mut running = Running::start(&lab, &["--lock", "x"], STRAY);
        let stray = pid(&running.line());
        assert_ne!(group_of(stray), running.number(), "it has left the group");
        end(&lab, &running);
        assert_eq!(running.code(), code, "{why}");
        assert!(!is_running(stray.cast_signed()), "{why}: it lives on without a lease");
        assert_eq!(lab.live(), [0_u64; 0]);
    }
}

#[test]
fn who_has_left_the_group_and_does_not_end_is_killed_and_the_lease_held_until_then() {
    let lab = Lab::new();
    let script = "setsid sh -c 'trap \"\" TERM; echo $$; for i in $(seq 3000); do sleep 0.01; done'; true";
    let flags = ["--lock", "x", "--kill-after", "700ms"];
    let mut running = Running::start(&lab, &flags, script);
    let stray = pid(&running.line());
    let began = Instant::now();
    running.signal(Signal::TERM);
    let mut looks = 0;
    while is_running(stray.cast_signed()) {
        assert!(began.elapsed() < DEADLINE, "nobody kills it");
        let held = lab.json_as("o2", &["acquire", "--lock", "x", "--dry-run"]).code == Some(1);
        assert!(held || !is_running(stray.cast_signed()), "free while it lives");
        looks += 1;
    }
    assert!(began.elapsed() >= Duration::from_millis(700) && looks > 0, "{looks} looks");
    assert_eq!(running.code(), 143, "the worker itself has ended when it was asked to");
    assert_eq!(lab.live(), [0_u64; 0]);
}

#[test]
fn who_has_left_the_group_of_a_command_that_ends_by_itself_is_left_alone() {
    let lab = Lab::new();
    let script = "setsid sleep 600 >/dev/null 2>&1 & echo $!; exit 3";
    let mut running = Running::start(&lab, &["--lock", "x"], script);
    let stray = pid(&running.line());
    poll("it has left the group", SOON, || (group_of(stray) != running.number()).then_some(()));
    assert_eq!(running.code(), 3);
    assert!(is_running(stray.cast_signed()), "a daemon is none of our business");
    kill(stray);
}

/// `run` may be what a shell has become: the shell's own children are not the command's.
#[test]
fn children_that_run_had_before_are_not_ended_with_the_command() {
    let lab = Lab::new();
    let mut command = Command::new("sh");
    let stray = r#"setsid sh -c "echo \$\$; sleep 600"; true"#;
    let inner = format!("echo $$; echo $BEFORE; {stray}");
    let before = "sleep 600 >/dev/null 2>&1 & export BEFORE=$!; exec";
    let script = format!("{before} {BIN} run --lock x -- sh -c '{inner}'");
    command.args(["-c", &script]).current_dir(lab.path()).env("LEASE_LANE_OWNER", "o1");
    let mut running = Running::of(hearing(&command));
    let before = pid(&running.line());
    let stray = pid(&running.line());
    running.signal(Signal::TERM);
    assert_eq!(running.code(), 143);
    assert!(!is_running(stray.cast_signed()));
    assert!(is_running(before.cast_signed()), "it was there before the command");
    kill(before);
}

fn group_of(pid: u32) -> u32 {
    lease::process::Stat::read(pid).unwrap().group
}

// ---------------------------------------------------------------------------------------------- bound in other ways

/// Feature C11 without `run`: the lease of a shell ends with the shell.
#[test]
fn acquire_bound_to_its_parent_is_a_singleton_of_that_parent() {
    let lab = Lab::new();
    let script = format!("{BIN} --json acquire --lock daemon --bind parent; read never");
    let shells: Vec<Command> = (0..6)
        .map(|_| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]).current_dir(lab.path()).env("LEASE_LANE_OWNER", "o1");
            command.stdin(Stdio::null());
            command
        })
        .collect();
    let granted = |text: &str| text.contains("\"outcome\":\"acquire\"");
    // Each shell ends at once: one after the other may have it, none is refused by the dead for good.
    let answers = all_at_once(shells);
    assert!(answers.iter().any(|answer| granted(&answer.out)));

    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}; echo over")]).current_dir(lab.path());
    command.env("LEASE_LANE_OWNER", "o1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = Sleeper(command.spawn().unwrap());
    let line = Lines::of(shell.0.stdout.take().unwrap()).next().unwrap();
    assert!(granted(&line), "{line}");
    for _ in 0..5 {
        assert_held(&lab, "daemon");
    }
    shell.kill_without_reaping();
    let evicted = assert_taken_at_once(&lab, "daemon");
    assert_eq!(evicted[0]["why"], "dead", "{evicted}");
}

#[test]
fn a_lease_is_held_while_any_process_attached_to_it_lives() {
    let lab = Lab::new();
    let (mut first, mut second) = (Sleeper::new(), Sleeper::new());
    lab.json(&["acquire", "--lock", "x", "--bind", &first.pid()]).expect(0, "acquire");
    let beat = lab.json(&["heartbeat", "lock://x", "--bind", &second.pid()]).expect(0, "beat");
    let record = lab.json(&["tail", "-n", "1"]).value();
    assert_eq!((&record["op"], &record["seq"]), (&json!("ATTACH"), &beat["seq"]), "{record}");
    lab.json(&["compact"]).expect(0, "ok");
    first.kill_without_reaping();
    for _ in 0..3 {
        assert_held(&lab, "x");
    }
    second.kill_without_reaping();
    let evicted = assert_taken_at_once(&lab, "x");
    assert_eq!(evicted[0]["why"], "dead", "{evicted}");
    lab.assert_sound();
}

// --------------------------------------------------------------------------------------------------------- terminal

/// A shell script at a terminal of its own; what is typed goes to `typed`.
struct AtTerminal {
    script: Child,
    out: Lines,
}

impl AtTerminal {
    fn start(lab: &Lab, script: &str) -> Option<AtTerminal> {
        let mut command = Command::new("script");
        command.args(["-qec", script, "/dev/null"]).current_dir(lab.path()).env("LEASE_LANE_OWNER", "o1");
        command.env("SHELL", "/bin/sh").env("BIN", BIN);
        command.env("PATH", kit::path_variable());
        let mut command = hearing(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut script) = command.spawn() else {
            eprintln!("SKIPPED: script(1) is missing, so nothing was run at a terminal");
            return None;
        };
        let out = Lines::of(script.stdout.take().unwrap());
        Some(AtTerminal { script, out })
    }

    #[track_caller]
    fn see(&self, what: &str) {
        while !self.out.next().unwrap_or_else(|| panic!("it ended before `{what}`")).contains(what) {}
    }

    fn say(&mut self, what: &str) {
        self.script.stdin.as_mut().unwrap().write_all(what.as_bytes()).unwrap();
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

#[test]
fn at_a_terminal_the_command_has_it_and_gives_it_back() {
    let lab = Lab::new();
    let inner = r#"echo ready; read x; echo "the command read $x""#;
    let script = format!("$BIN run --lock x -- sh -c '{inner}'; read y; echo \"the script read $y\"");
    let Some(mut terminal) = AtTerminal::start(&lab, &script) else { return };
    terminal.see("ready");
    terminal.say("one\n");
    terminal.see("the command read one");
    terminal.say("two\n");
    terminal.see("the script read two");
    poll("the script ends", DEADLINE, || terminal.script.try_wait().unwrap());
}

#[test]
fn ctrl_c_at_a_terminal_ends_the_command_and_what_called_run() {
    let lab = Lab::new();
    let script = "$BIN run --lock x -- sh -c 'echo ready; sleep 600'; echo went on; exit 33";
    let Some(mut terminal) = AtTerminal::start(&lab, script) else { return };
    terminal.see("ready");
    terminal.say("\x03");
    let status = poll("the script ends", DEADLINE, || terminal.script.try_wait().unwrap());
    assert_ne!(status.code(), Some(33), "the script goes on as if nobody had wanted it to end");
    poll("the lease is given back", SOON, || lab.live().is_empty().then_some(()));
}
