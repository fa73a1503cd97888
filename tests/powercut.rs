//! The power fails under several clients, on real file systems: a few rounds of `scripts/powercut`.
//!
//! `LEASE_LANE_POWERCUTS=200 cargo test -p lease-lane --test powercut` cuts more often; `LEASE_LANE_SEED` repeats a
//! run's choices (not its timing).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::process::{Command, Stdio};

use kit::{BIN, Lab, finish, knob, path_variable, seed};

/// What the script says when this machine cannot cut the power of anything.
const SKIPPED: i32 = 77;

#[test]
fn what_was_acknowledged_before_the_power_failed_is_there_and_nothing_else_is() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/powercut");
    let told = Command::new("bash")
        .arg(script)
        .args(["-n", "-b", BIN, "-r", &knob("LEASE_LANE_POWERCUTS", 6).to_string()])
        .args(["-s", &seed().to_string()])
        .env_clear()
        .env("PATH", path_variable())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    // A file system that was left out is to be seen.
    for line in err.lines().filter(|line| line.contains("SKIPPED")) {
        eprintln!("{line}");
    }
    if told.status.code() == Some(SKIPPED) {
        return;
    }
    assert!(told.status.success(), "{:?}\n{out}{err}", told.status);
    eprint!("{out}");
    for line in out.lines() {
        let grants = line.split("acknowledged: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        assert!(grants.parse::<u64>().unwrap() > 0, "nothing was at stake: {line}");
    }
}

/// The system calls of a command that change a file or say something, in order, with the paths of their descriptors.
fn changes(lab: &Lab, args: &[&str]) -> Option<Vec<String>> {
    let trace = lab.path().join("trace");
    let calls = "trace=write,linkat,mkdirat,renameat,renameat2,unlinkat,fsync,fdatasync";
    let mut command = Command::new("strace");
    command.args(["-y", "-e", calls, "-e", "signal=none", "-o"]).arg(&trace).arg(BIN).args(args);
    command.current_dir(lab.path()).env_clear().env("PATH", path_variable()).env("LEASE_LANE_OWNER", "o1");
    let works =
        Command::new("strace").args(["-o", "/dev/null", "true"]).env("PATH", path_variable()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED: strace does not work here (package strace); the order of syncs was not looked at"
        );
        return None;
    }
    let answer = finish(command);
    assert_eq!(answer.code, Some(0), "{answer}");
    Some(std::fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect())
}

/// ext4 and xfs write names in order, so a sync of a later file brings the names before it along and a power cut there does
/// not show a missing sync of a directory. The order of the calls does.
#[test]
fn every_name_and_every_record_is_synced_before_the_answer() {
    let lab = Lab::new();
    let life: [&[&str]; 4] = [
        &["acquire", "a", "--tree", "a", "--json"],
        &["heartbeat", "a", "--json"],
        &["compact", "--keep", "none", "--json"],
        &["release", "a", "--json"],
    ];
    let (mut names, mut records) = (0, 0);
    for args in life {
        let Some(calls) = changes(&lab, args) else { return };
        let answered = calls.iter().position(|call| call.starts_with("write(1<")).expect("an answer");
        let after = |at: usize, is_sync: &dyn Fn(&str) -> bool| {
            calls[at..answered].iter().any(|call| call.contains("sync(") && is_sync(call))
        };
        for (at, call) in calls.iter().enumerate() {
            assert!(at < answered || !call.contains("journal/"), "{args:?}: after the answer: {call}");
            let target = call.split_once("</").map(|(_, path)| path);
            if call.starts_with("linkat(") && call.contains(".jsonl\"") {
                names += 1;
                assert!(calls[at - 1].starts_with("fsync("), "{args:?}: named before it was synced: {call}");
                assert!(after(at, &|sync| sync.contains("/journal>)")), "{args:?}: never synced: {call}");
            }
            if call.starts_with("mkdirat(") {
                names += 1;
                assert!(calls[at + 1].starts_with("fsync("), "{args:?}: not synced at once: {call}");
            }
            if call.starts_with("write(") && target.is_some_and(|path| path.contains(".jsonl>")) {
                records += 1;
                assert!(after(at, &|sync| sync.contains(".jsonl>)")), "{args:?}: never synced: {call}");
            }
        }
    }
    // The store, its two directories, two segments; four records.
    assert_eq!((names, records), (5, 4));
}

/// Whoever wrote the answer may have died before its sync: who gives it again syncs first.
#[test]
fn an_answer_is_synced_before_it_is_given_again() {
    let lab = Lab::new();
    let asked = ["acquire", "a", "--tree", "a", "--request-id", "once", "--json"];
    for repeated in [false, true] {
        let Some(calls) = changes(&lab, &asked) else { return };
        let answered = calls.iter().position(|call| call.starts_with("write(1<")).expect("an answer");
        let is_sync = |call: &String| call.contains("sync(") && call.contains(".jsonl>)");
        assert!(calls[..answered].iter().any(is_sync), "repeated {repeated}: {calls:?}");
        let is_record = |call: &String| call.starts_with("write(") && call.contains("/journal/");
        assert_eq!(!calls.iter().any(is_record), repeated, "{calls:?}");
    }
}
