//! `watch`: one line for each change of a lease, until there is nothing left to watch.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kit::{DEADLINE, Lab, Lines, Sleeper, poll};
use serde_json::Value;

/// A watcher that has seen the lease; dropped, it is killed.
struct Watching {
    child: Child,
    out: Lines,
}

impl Watching {
    #[track_caller]
    fn start(lab: &Lab, args: &[&str]) -> Watching {
        let mut command = lab.command(["--json", "watch"].iter().chain(args));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let watching = Watching { child, out };
        assert_eq!(watching.next()["outcome"], "held");
        watching
    }

    /// The next line; null at the end.
    #[track_caller]
    fn next(&self) -> Value {
        self.out.next().map_or(Value::Null, |line| serde_json::from_str(&line).unwrap())
    }

    #[track_caller]
    fn expect(&self, outcome: &str) -> Value {
        let next = self.next();
        assert_eq!(next["outcome"], outcome, "{next}");
        next
    }

    #[track_caller]
    fn ends(&mut self, code: i32) {
        assert_eq!(self.next(), Value::Null);
        let status = poll("it ends", DEADLINE, || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(code));
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn halt(lab: &Lab) {
    let halted = lab.json_as("operator", &["halt", "stop-1", "--lane", "api"]);
    assert_eq!(halted.code, Some(0), "{halted}");
}

#[test]
fn what_nobody_holds_is_not_watched() {
    let lab = Lab::new();
    lab.json(&["watch", "api"]).expect(1, "not_held");
    lab.grant("o2", "web", "web/**");
    lab.json(&["watch", "api"]).expect(1, "not_held");
    lab.json(&["watch", "--lease", "9"]).expect(1, "not_held");
    lab.json(&["watch"]).expect(2, "error");
    lab.json(&["watch", "web", "--timeout", "soon"]).expect(2, "error");
}

#[test]
fn each_change_is_one_line_until_it_is_given_back() {
    let lab = Lab::new();
    let lease = lab.grant("o1", "api", "src/**").to_string();
    let sleeper = Sleeper::new();
    for args in [["--lease", lease.as_str()].as_slice(), &["API"]] {
        let mut watching = Watching::start(&lab, args);
        let beat = lab.json(&["heartbeat", "api"]).expect(0, "beat");
        let seen = watching.expect("beat");
        assert_eq!((&seen["record"]["seq"], &seen["lane"]), (&beat["seq"], &Value::from("api")));
        // Of others, and of other lanes, nothing is said.
        lab.grant("o2", "web", "web/**");
        lab.json_as("o2", &["heartbeat", "web"]).expect(0, "beat");
        lab.json_as("o2", &["release", "web"]).expect(0, "released");
        lab.json_as("o2", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
        halt(&lab);
        assert_eq!(watching.expect("halted")["record"]["handle"], "stop-1");
        lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
        lab.json(&["heartbeat", "api", "--bind", &sleeper.pid()]).expect(0, "beat");
        watching.expect("attached");
        if args.len() == 1 {
            lab.json(&["release", "api"]).expect(0, "released");
            watching.expect("released");
            watching.ends(0);
        }
    }
    lab.json(&["watch", "--lease", &lease]).expect(1, "not_held");
}

#[test]
fn an_adoption_is_shown_with_the_new_holder_and_the_new_fence() {
    let lab = Lab::new();
    let lease = lab.grant("o1", "api", "src/**");
    let watching = Watching::start(&lab, &["api"]);
    let adopted = lab.json_as("o2", &["adopt", "api", "--from", "o1"]).expect(0, "adopted");
    lab.json_as("o2", &["heartbeat", "api"]).expect(0, "beat");
    for outcome in ["adopted", "beat"] {
        let seen = watching.expect(outcome);
        assert_eq!((&seen["lease"], &seen["fence"]), (&Value::from(lease), &adopted["fence"]), "{seen}");
        assert_eq!(seen["owner"], "o2", "{seen}");
    }
}

#[test]
fn text_is_one_line_a_change_too() {
    let lab = Lab::new();
    let lease = lab.grant("o1", "api", "src/**");
    let watched = lab.text(&["watch", "api", "--timeout", "50ms"]);
    assert_eq!(watched.code, Some(124), "{watched}");
    let lines: Vec<&str> = watched.out.lines().map(|line| line[24..].trim()).collect();
    let what = format!("lease {lease} · lane api · owner o1");
    assert_eq!(lines, [format!("held      {what}"), format!("timeout   {what}")]);
}

#[test]
fn time_that_runs_out_is_124() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/**");
    let mut watching = Watching::start(&lab, &["api", "--timeout", "100ms"]);
    watching.expect("timeout");
    watching.ends(124);
}

#[test]
fn an_eviction_a_death_and_an_expiry_end_it_with_1() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/**");
    let mut watching = Watching::start(&lab, &["api"]);
    let ended = lab.json_as("o2", &["unlock", "api", "--force", "--yes", "--why", "a test"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    watching.expect("evicted");
    watching.ends(1);

    let mut sleeper = Sleeper::new();
    lab.json(&["acquire", "dead", "--lock", "d", "--bind", &sleeper.pid()]).expect(0, "acquire");
    let mut watching = Watching::start(&lab, &["dead"]);
    sleeper.kill_without_reaping();
    watching.expect("dead");
    watching.ends(1);

    lab.json(&["acquire", "old", "--lock", "o", "--ttl", "50ms"]).expect(0, "acquire");
    let mut watching = Watching::start(&lab, &["old"]);
    watching.expect("expired");
    watching.ends(1);
}

/// Failure class 29: who polls once a second is late by half a second; a notification is not.
#[test]
fn a_change_is_seen_when_it_happens() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/**");
    let watching = Watching::start(&lab, &["api"]);
    // Meanwhile it sleeps, but for a look at the processes once a second.
    let slept = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", watching.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u32>().unwrap()
    };
    let before = slept();
    std::thread::sleep(Duration::from_millis(500));
    let woken = slept() - before;
    assert!(woken <= 4, "woken {woken} times without a change");
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        lab.json(&["heartbeat", "api"]).expect(0, "beat");
        let beaten = Instant::now();
        watching.expect("beat");
        fastest = fastest.min(beaten.elapsed());
    }
    eprintln!("seen {fastest:?} after the answer");
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

#[test]
fn the_status_of_a_run_is_shown_and_ends_it() {
    for (last, code) in [("done", 0), ("FAILED", 1)] {
        let lab = Lab::new();
        lab.grant("o1", "api", "src/**");
        let file = lab.path().join("status.json");
        let mut watching = Watching::start(&lab, &["api", "--status", file.to_str().unwrap()]);
        lab.write("status.json", r#"{"status":"running","step":1}"#);
        let seen = watching.expect("status");
        assert_eq!((&seen["status"], &seen["content"]["step"]), (&Value::from("running"), &Value::from(1)));
        // Half a file is no change, and the same again is none either.
        lab.write("status.json", r#"{"status":"do"#);
        lab.json(&["heartbeat", "api"]).expect(0, "beat");
        watching.expect("beat");
        lab.write("next", &format!(r#"{{"step":2,"status":"{last}"}}"#));
        std::fs::rename(lab.path().join("next"), &file).unwrap();
        let seen = watching.expect("status");
        assert_eq!(seen["content"]["step"], 2);
        watching.ends(code);
    }
}
