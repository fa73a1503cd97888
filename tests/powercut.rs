//! The power fails under several clients, on real file systems: a few rounds of `scripts/powercut`.
//!
//! `LEASE_LANE_POWERCUTS=200 cargo test -p lease-lane --test powercut` cuts more often; `LEASE_LANE_SEED` repeats a
//! run's choices (not its timing).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::process::{Command, Stdio};

use kit::{BIN, knob, path_variable, seed};

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
