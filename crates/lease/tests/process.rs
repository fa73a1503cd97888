//! Probing real processes: alive, dead, zombie, reused, hidden, and in other namespaces (feature C3, failure
//! rows 13, 14 and 28).
//!
//! The test binary starts itself: [`child_half`] runs inside a namespace, as another user, and so on, and writes
//! down what it saw.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arbiter::evidence::{Liveness, ProcessIdentity, ProcessReport, Role};
use lease::clock::{Clock as _, SystemClock};
use lease::process::{Here, ProcessError, Stat, current, of, parent, probe};

/// A process that lives until it is killed; dropped, it is killed and reaped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn identity(&self) -> ProcessIdentity {
        of(self.0.id()).unwrap()
    }

    fn kill_without_reaping(&mut self) {
        self.0.kill().unwrap();
        poll("a killed process becomes a zombie", || {
            Stat::read(self.0.id()).is_ok_and(|stat| stat.state == b'Z')
        });
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{what}: not within 5 s");
}

#[track_caller]
fn check(report: &ProcessReport, alive: Liveness, why: &str) {
    assert_eq!((report.alive, report.why.as_str()), (alive, why), "{report:?}");
}

#[test]
fn a_running_child_is_alive() {
    let child = Sleeper::new();
    check(&probe(&child.identity(), Here::this()), Liveness::Yes, "running");
}

#[test]
fn we_and_our_parent_are_alive() {
    check(&probe(&current().unwrap(), Here::this()), Liveness::Yes, "running");
    let parent = parent().unwrap();
    assert_eq!(parent.pid, std::os::unix::process::parent_id());
    check(&probe(&parent, Here::this()), Liveness::Yes, "running");
}

#[test]
fn a_reaped_child_is_gone() {
    let child = Sleeper::new();
    let identity = child.identity();
    drop(child);
    check(&probe(&identity, Here::this()), Liveness::No, "gone");
    assert!(matches!(of(identity.pid), Err(ProcessError::NoSuchProcess { pid }) if pid == identity.pid));
}

#[test]
fn a_zombie_is_dead() {
    let mut child = Sleeper::new();
    let identity = child.identity();
    child.kill_without_reaping();
    check(&probe(&identity, Here::this()), Liveness::No, "zombie");
    assert!(matches!(of(identity.pid), Err(ProcessError::NoSuchProcess { pid }) if pid == identity.pid));
}

#[test]
fn a_stopped_process_is_alive() {
    let child = Sleeper::new();
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    poll("a stopped process shows it", || Stat::read(child.0.id()).is_ok_and(|stat| stat.state == b'T'));
    check(&probe(&child.identity(), Here::this()), Liveness::Yes, "running");
}

#[test]
fn another_start_time_is_another_process() {
    let child = Sleeper::new();
    let identity = child.identity();
    for start in [identity.start - 1, identity.start + 1] {
        let former = ProcessIdentity { start, ..identity.clone() };
        check(&probe(&former, Here::this()), Liveness::No, "another start time");
    }
}

#[test]
fn other_places() {
    let child = Sleeper::new();
    let identity = child.identity();
    let rebooted = ProcessIdentity { boot: "another".to_owned(), ..identity.clone() };
    let rebooted = probe(&rebooted, Here::this());
    if identity.host.contains('/') {
        check(&rebooted, Liveness::No, "another boot");
    } else {
        check(&rebooted, Liveness::Unknown, "another boot, perhaps of another host");
    }
    let contained = ProcessIdentity { pidns: identity.pidns + 1, ..identity.clone() };
    check(&probe(&contained, Here::this()), Liveness::Unknown, "another pid namespace");
    let elsewhere = ProcessIdentity { host: "elsewhere".to_owned(), ..identity.clone() };
    check(&probe(&elsewhere, Here::this()), Liveness::Unknown, "another host");
    let made_up = Here::fixed("elsewhere", "b", 1);
    check(&probe(&identity, &made_up), Liveness::Unknown, "another host");
}

#[test]
fn pids_that_are_none_reach_no_process() {
    for pid in [0, 1 << 31, u32::MAX] {
        let nobody = ProcessIdentity { pid, ..current().unwrap() };
        check(&probe(&nobody, Here::this()), Liveness::Unknown, "not a process id");
    }
}

#[test]
fn a_name_that_imitates_the_file_format_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("a) Z 1\n(b");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let child = Sleeper(Command::new(&program).arg("600").spawn().unwrap());
    poll("the new program runs", || Stat::read(child.0.id()).is_ok_and(|stat| stat.comm == b"a) Z 1\n(b"));
    check(&probe(&child.identity(), Here::this()), Liveness::Yes, "running");
}

/// The main thread leaves by `pthread_exit`, another one works on: `/proc` shows `Z`, the process lives.
#[test]
fn a_zombie_leader_with_a_live_thread_is_alive() {
    let script = "import ctypes, threading, time\n\
                  threading.Thread(target=time.sleep, args=(600,)).start()\n\
                  print('up', flush=True)\n\
                  ctypes.CDLL(None).pthread_exit(None)\n";
    let python = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn();
    let Ok(child) = python else { return skipped("no python3") };
    let mut child = Sleeper(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line != "up\n" {
        return skipped("python3 without ctypes");
    }
    poll("the leader becomes a zombie", || Stat::read(child.0.id()).is_ok_and(|stat| stat.state == b'Z'));
    let identity = child.identity();
    check(&probe(&identity, Here::this()), Liveness::Yes, "running");
    child.0.kill().unwrap();
    poll("the last thread dies", || Stat::read(child.0.id()).is_ok_and(|stat| stat.n_threads <= 1));
    check(&probe(&identity, Here::this()), Liveness::No, "zombie");
}

/// A group of two: the leader and, in the background, somebody who outlives it. The leader is dead when this
/// returns, and either reaped or not.
fn orphaned_group(reaped: bool) -> (ProcessIdentity, u32, Sleeper) {
    use std::os::unix::process::CommandExt as _;

    let script = "sleep 600 </dev/null >/dev/null 2>&1 & echo $!; read never";
    let mut command = Command::new("sh");
    command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut leader = Sleeper(command.spawn().unwrap());
    let identity = ProcessIdentity { role: Some(Role::Worker), ..leader.identity() };
    let mut line = String::new();
    BufReader::new(leader.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    leader.kill_without_reaping();
    if reaped {
        leader.0.wait().unwrap();
    }
    (identity, line.trim().parse().unwrap(), leader)
}

#[test]
fn a_worker_lives_in_its_group() {
    for reaped in [false, true] {
        let (worker, member, leader) = orphaned_group(reaped);
        check(&probe(&worker, Here::this()), Liveness::Yes, "its group is running");
        let alone = ProcessIdentity { role: None, ..worker.clone() };
        check(&probe(&alone, Here::this()), Liveness::No, if reaped { "gone" } else { "zombie" });

        let member = rustix::process::Pid::from_raw(member.cast_signed()).unwrap();
        rustix::process::kill_process(member, rustix::process::Signal::KILL).unwrap();
        poll("the group ends", || probe(&worker, Here::this()).alive == Liveness::No);
        if !reaped {
            check(&probe(&worker, Here::this()), Liveness::No, "zombie, with its group");
        }
        // Not every init reaps at once what it adopts.
        drop(leader);
        // A member that is being reaped while we look makes a look say that it cannot tell.
        poll("it is over", || {
            let report = probe(&worker, Here::this());
            let over = ["gone, with its group", "zombie, with its group"].contains(&report.why.as_str());
            assert_ne!(report.alive, Liveness::Yes, "{report:?}");
            report.alive == Liveness::No && over
        });
    }
}

/// The number of a living group is nobody's pid: what `another start time` of a worker rests on.
#[test]
fn a_pid_is_not_given_again_while_its_group_lives() {
    let Some(report) = child_under(&["unshare", "-pf", "--mount-proc"], "group-not-reused", None) else {
        return;
    };
    check(&report, Liveness::Yes, "its group is running");
}

#[test]
fn from_another_pid_namespace_unknown() {
    let child = Sleeper::new();
    let Some(report) = probe_under(&["unshare", "-pf", "--mount-proc"], &child.identity()) else { return };
    check(&report, Liveness::Unknown, "another pid namespace");
}

#[test]
fn from_another_pid_namespace_a_dead_one_is_unknown_as_well() {
    let child = Sleeper::new();
    let identity = child.identity();
    drop(child);
    let Some(report) = probe_under(&["unshare", "-pf", "--mount-proc"], &identity) else { return };
    check(&report, Liveness::Unknown, "another pid namespace");
}

/// `/proc` still shows the outer pids: whoever has our pid there must not be taken for us.
#[test]
fn with_the_proc_of_another_pid_namespace_unknown() {
    let Some(report) = child_under(&["unshare", "-pf"], "probe-self", None) else { return };
    assert_eq!(report.process.pid, 1, "the namespace begins with us");
    check(&report, Liveness::Unknown, "/proc shows another pid namespace");
}

#[test]
fn in_a_pid_namespace_with_its_own_proc_alive() {
    let Some(report) = child_under(&["unshare", "-pf", "--mount-proc"], "probe-self", None) else { return };
    check(&report, Liveness::Yes, "running");
}

#[test]
fn from_another_time_namespace_the_start_time_says_nothing() {
    let mut child = Sleeper::new();
    let identity = child.identity();
    let shifted = ["unshare", "-T", "--boottime", "100000", "-f"];
    let Some(report) = probe_under(&shifted, &identity) else { return };
    check(&report, Liveness::Unknown, "another time namespace");
    child.kill_without_reaping();
    check(&probe_under(&shifted, &identity).unwrap(), Liveness::No, "zombie");
    drop(child);
    check(&probe_under(&shifted, &identity).unwrap(), Liveness::No, "gone");
}

#[test]
fn a_time_namespace_is_a_clock_domain_of_its_own() {
    let Some(report) = child_under(&["unshare", "-T", "--boottime", "100000", "-f"], "probe-self", None)
    else {
        return;
    };
    check(&report, Liveness::Yes, "running");
    let ours = SystemClock.reading().boot;
    assert!(report.process.boot.starts_with(&format!("{ours}/time:[")), "{report:?}");
}

#[test]
fn somebody_elses_process_is_alive() {
    let child = Sleeper::new();
    let Some(report) = probe_under(
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
        &child.identity(),
    ) else {
        return;
    };
    check(&report, Liveness::Yes, "running");
}

#[test]
fn somebody_elses_hidden_process_is_unknown() {
    let child = Sleeper::new();
    let script = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let Some(report) = probe_under(&["unshare", "-m", "sh", "-c", script, "sh"], &child.identity()) else {
        return;
    };
    check(&report, Liveness::Unknown, "no permission to see it");
}

/// The same pid again, by `ns_last_pid`, in a pid namespace where nobody else takes it first.
#[test]
fn a_really_reused_pid_is_another_process() {
    let Some(report) = child_under(&["unshare", "-pf", "--mount-proc"], "reuse", None) else { return };
    check(&report, Liveness::No, "another start time");
}

/// Runs inside of what a test set up around it; does nothing by itself.
#[test]
#[ignore = "the child half of other tests"]
fn child_half() {
    let Ok(out) = std::env::var("PROCESS_TEST_OUT") else { return };
    let target = || serde_json::from_str(&std::env::var("PROCESS_TEST_TARGET").unwrap()).unwrap();
    let process = match std::env::var("PROCESS_TEST_TASK").unwrap().as_str() {
        "probe" => target(),
        "probe-self" => current().unwrap(),
        "reuse" => match reuse() {
            // The new one must live while we look at the old one.
            Some((identity, _sleeper)) => return write_report(&out, &probe(&identity, Here::this())),
            None => return,
        },
        "group-not-reused" => {
            let (worker, _, _leader) = orphaned_group(true);
            for _ in 0..200 {
                if std::fs::write("/proc/sys/kernel/ns_last_pid", (worker.pid - 1).to_string()).is_err() {
                    return;
                }
                assert_ne!(Sleeper::new().0.id(), worker.pid, "the number of a living group");
            }
            worker
        }
        task => panic!("unknown task {task}"),
    };
    write_report(&out, &probe(&process, Here::this()));
}

fn write_report(out: &str, report: &ProcessReport) {
    std::fs::write(out, serde_json::to_vec(report).unwrap()).unwrap();
}

/// Lets a process end and another one take its pid; the old one's identity and the new process.
fn reuse() -> Option<(ProcessIdentity, Sleeper)> {
    let first = Sleeper::new();
    let identity = first.identity();
    drop(first);
    for _ in 0..1_000 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (identity.pid - 1).to_string()).ok()?;
        let next = Sleeper::new();
        if next.0.id() == identity.pid && next.identity().start != identity.start {
            return Some((identity, next));
        }
    }
    None
}

fn probe_under(wrapper: &[&str], target: &ProcessIdentity) -> Option<ProcessReport> {
    child_under(wrapper, "probe", Some(target))
}

/// Runs [`child_half`] under `wrapper`. `None`, said aloud, when that does not work here.
fn child_under(wrapper: &[&str], task: &str, target: Option<&ProcessIdentity>) -> Option<ProcessReport> {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("report.json");
    // As another user: he must get at the program and leave his answer.
    let program = dir.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();

    let target = target.map(|target| serde_json::to_string(target).unwrap());
    let status = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(&program)
        .args(["--exact", "child_half", "--ignored", "--test-threads=1"])
        .env("PROCESS_TEST_TASK", task)
        .env("PROCESS_TEST_TARGET", target.unwrap_or_default())
        .env("PROCESS_TEST_OUT", &out)
        .current_dir("/")
        .output();
    read_report(&out, &format!("{wrapper:?}: {status:?}"))
}

fn read_report(out: &Path, what: &str) -> Option<ProcessReport> {
    let Ok(report) = std::fs::read(out) else {
        skipped(what);
        return None;
    };
    Some(serde_json::from_slice(&report).unwrap())
}

/// Says aloud that a test could not do its work here.
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
