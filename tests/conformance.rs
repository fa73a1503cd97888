//! What users of older tools rely on, on the real program: one module for each kind of tool they come from.
//!
//! A scenario that another test already plays is not played again: `docs/migrating.md`, "Where each scenario is tested", says where each one is.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

#[path = "conformance/dispatch_lock.rs"]
mod dispatch_lock;
#[path = "conformance/finalizer.rs"]
mod finalizer;
#[path = "conformance/migrating.rs"]
mod migrating;
#[path = "conformance/scope_locks.rs"]
mod scope_locks;
#[path = "conformance/singleton.rs"]
mod singleton;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kit::{Answer, DEADLINE, Lab, Lines, finish, poll};
use lease::process::{GroupSeen, group};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// How soon the place of the dead is to be had.
const SOON: Duration = Duration::from_secs(5);

/// `run` as somebody, with a shell script as its command.
fn run(lab: &Lab, owner: &str, flags: &[&str], script: &str) -> Command {
    let mut command = lab.command(["run"].iter().chain(flags));
    command.args(["--", "sh", "-c", script]);
    command.env("LEASE_LANE_OWNER", owner).env("PATH", kit::path_variable());
    command
}

/// A supervisor (`run`) and its worker. What is left of them is killed at the end.
struct Supervised {
    supervisor: Child,
    worker: Pid,
}

impl Supervised {
    /// Starts both; the worker runs when this returns, and goes on.
    #[track_caller]
    fn start(lab: &Lab, owner: &str, flags: &[&str]) -> Supervised {
        let mut command = run(lab, owner, flags, "echo $$; exec sleep 600 >/dev/null");
        let mut supervisor = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let first = Lines::of(supervisor.stdout.take().unwrap()).next();
        let worker =
            first.and_then(|line| Pid::from_raw(line.parse().ok()?)).expect("the worker has started");
        Supervised { supervisor, worker }
    }

    fn kill_supervisor(&mut self) {
        self.supervisor.kill().unwrap();
        self.supervisor.wait().unwrap();
    }

    fn kill_worker(&self) {
        kill_process_group(self.worker, Signal::KILL).unwrap();
    }

    fn worker_runs(&self) -> bool {
        group(self.worker.as_raw_nonzero().get().cast_unsigned()) == GroupSeen::Runs
    }

    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        poll("run ends", DEADLINE, || self.supervisor.try_wait().unwrap()).code()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.supervisor.kill().ok();
        self.supervisor.wait().ok();
        let _gone = kill_process_group(self.worker, Signal::KILL);
    }
}

/// The live leases.
#[track_caller]
fn leases(lab: &Lab) -> Vec<Value> {
    lab.json(&["live"]).expect(0, "ok")["leases"].as_array().unwrap().clone()
}

/// The records of one operation, oldest first.
fn records(lab: &Lab, op: &str) -> Vec<Value> {
    let said = finish(lab.command_as("looker", &["tail", "-n", "1000", "--op", op]));
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asks as somebody until it is granted, which must be soon: whoever was killed needs a moment to be dead.
#[track_caller]
fn granted_soon(lab: &Lab, owner: &str, args: &[&str]) -> Value {
    let granted = |answer: Answer| (answer.code == Some(0)).then(|| answer.expect(0, "acquire"));
    poll("the dead are out of the way", SOON, || granted(lab.json_as(owner, args)))
}
