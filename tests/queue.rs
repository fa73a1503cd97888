//! The line of those who wait, on the real program: who is served when, who is skipped, and what it costs to stand in it.
//!
//! Longer lines: `LEASE_LANE_WAITERS=200 cargo test --test queue crowd -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use kit::machine::Shell;
use kit::strace::{Fault, Log, Strace};
use kit::{Answer, DEADLINE, Lab, Sleeper, hearing, ignoring, knob, poll, signal};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Somebody who waits, in a process of its own.
struct Waiting {
    owner: String,
    child: Child,
    began: Instant,
}

impl Waiting {
    fn end(self) -> Answer {
        kit::wait(self.child, self.began)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and waits until it is gone; what it said is lost.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn owners(waiters: &[Value]) -> Vec<&str> {
    waiters.iter().map(|waiter| waiter["owner"].as_str().unwrap()).collect()
}

/// Starts one who waits for what `args` ask, and comes back once it is in the line.
#[track_caller]
fn wait_for(lab: &Lab, owner: &str, args: &[&str]) -> Waiting {
    in_the_line(lab, owner, lab.command_as(owner, &[&["acquire"], args].concat()))
}

/// Starts this one, who waits, and comes back once it is in the line.
#[track_caller]
fn in_the_line(lab: &Lab, owner: &str, command: Command) -> Waiting {
    let began = Instant::now();
    let waiting = Waiting { owner: owner.to_owned(), child: kit::start(command), began };
    poll("it is in the line", DEADLINE, || owners(&lab.waiters()).contains(&owner).then_some(()));
    waiting
}

/// One who waits for `tree` in a lane of its own.
#[track_caller]
fn waiter(lab: &Lab, owner: &str, tree: &str) -> Waiting {
    wait_for(lab, owner, &[&format!("of-{owner}"), "--tree", tree, "--wait", "50s"])
}

fn release(lab: &Lab, owner: &str, lease: u64) {
    lab.json_as(owner, &["release", "--lease", &lease.to_string()]).expect(0, "released");
}

fn lease(granted: &Value) -> u64 {
    granted["lease"].as_u64().unwrap()
}

fn ticket_files(lab: &Lab) -> Vec<PathBuf> {
    let files = std::fs::read_dir(lab.store()).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("ticket-")).collect()
}

#[track_caller]
fn assert_nobody_waits(lab: &Lab) {
    assert_eq!(lab.waiters(), [] as [Value; 0]);
    assert_eq!(ticket_files(lab), [] as [PathBuf; 0], "no file of a ticket is left");
    lab.assert_sound();
}

/// Whoever seals takes away the files of tickets that are not on record. A first attempt without the mutex made such a
/// file before its record, and those behind it never heard of its death.
#[test]
fn who_gets_in_the_line_makes_the_file_of_its_ticket_inside_the_mutex() {
    let Some(strace) = Strace::find("what somebody does who gets in the line") else { return };
    let lab = Lab::new();
    lab.grant("o1", "api", "api/**");
    let log = lab.path().join("log");
    let waits = lab.command_as("o2", &["acquire", "b", "--tree", "api/x", "--wait", "100ms"]);
    kit::finish(strace.watch(&waits, &log, None)).expect(124, "timeout");
    let log = Log::read(&log);
    let at = |what: &str| log.own().iter().position(|call| call.text.contains(what));
    let made = log.own().iter().position(|call| call.name == "mknodat" && call.text.contains("\"ticket-"));
    let (entered, made) = (at("linkat(").expect("it enters"), made.expect("it makes a file"));
    let left =
        log.own()[made..].iter().position(|call| call.name == "unlinkat" && call.text.contains("\"mutex\""));
    assert!(entered < made && left.is_some(), "entered at {entered}, file at {made}, left {left:?}");
}

#[test]
fn those_who_want_the_same_are_served_in_order_and_a_dead_one_is_skipped_at_once() {
    let lab = Lab::new();
    let mut held = ("holder".to_owned(), lab.grant("holder", "x", "src"));
    let mut line: Vec<Waiting> = (0..8).map(|n| waiter(&lab, &format!("w{n}"), "src/deep")).collect();
    let listed = lab.waiters();
    assert_eq!(owners(&listed), ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"]);
    for (n, waiter) in listed.iter().enumerate() {
        assert_eq!(waiter["position"], n + 1, "{waiter}");
        assert_eq!((&waiter["alive"], &waiter["tree"]), (&json!("yes"), &json!(["src/deep"])));
        let expected = if n == 0 { 1 } else { 2 };
        assert_eq!(waiter["waits_for"].as_array().unwrap().len(), expected, "{waiter}");
        assert_eq!(waiter["waits_for"][0]["lease"], held.1);
    }
    assert_eq!(lab.json(&["live"]).expect(0, "ok")["waiters"], Value::from(listed));
    assert_eq!(ticket_files(&lab).len(), 8);
    lab.grant("else", "other", "docs");

    line.remove(3).kill();
    let began = Instant::now();
    poll("the dead one is off the line", DEADLINE, || {
        (!owners(&lab.waiters()).contains(&"w3")).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(5), "before anybody looks ahead: {:?}", began.elapsed());
    let began = Instant::now();
    for waiting in line {
        release(&lab, &held.0, held.1);
        let owner = waiting.owner.clone();
        let answer = waiting.end();
        assert!(
            answer.err.starts_with("Blocking waiting for lane `x`: held by `holder` (lease "),
            "{}",
            answer.err
        );
        assert!(
            !answer.err.contains(", pid"),
            "the lease has no process, only those who wait: {}",
            answer.err
        );
        assert!(answer.err.contains("\nWaited "), "{}", answer.err);
        held = (owner, lease(&answer.expect(0, "acquire")));
        let others = lab.waiters();
        assert!(others.iter().all(|other| other["owner"].as_str().unwrap() > held.0.as_str()), "in order");
    }
    // Far less than it takes to look for somebody whose end nobody tells of.
    eprintln!("7 hand-overs in {:.3} s", began.elapsed().as_secs_f32());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_nobody_waits(&lab);
    let cancelled = lab.json(&["tail", "--op", "CANCEL", "-n", "99"]);
    let cancels: Vec<Value> = cancelled.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cancels.len(), 1, "{cancels:?}");
    assert_eq!((&cancels[0]["owner"], &cancels[0]["why"]), (&json!("w3"), &json!("dead")));
    assert_eq!(cancels[0]["observed"]["alive"], "no");
}

#[test]
fn who_comes_later_does_not_barge_in_and_who_wants_something_else_passes() {
    let lab = Lab::new();
    let held = lab.grant("holder", "x", "src");
    let first = waiter(&lab, "first", "src");
    signal(first.pid(), Signal::STOP);
    release(&lab, "holder", held);
    for (tree, lane) in [("src/a", "y"), ("web", "of-first")] {
        let refused = lab.json_as("late", &["acquire", lane, "--tree", tree]).expect(1, "refuse");
        assert_eq!((&refused["code"], &refused["conflicts"]), (&json!("QUEUED_BEHIND"), &json!([])));
        assert_eq!(refused["behind"]["owner"], "first");
        assert_eq!(refused["behind"]["ticket"], lab.waiters()[0]["ticket"]);
        assert!(refused["hint"].as_str().unwrap().ends_with("--wait 5m"), "{refused}");
    }
    lab.grant("else", "z", "docs");
    signal(first.pid(), Signal::CONT);
    first.end().expect(0, "acquire");
    assert_nobody_waits(&lab);
}

#[test]
fn readers_stand_behind_a_writer_that_waits_and_are_let_in_together() {
    let lab = Lab::new();
    let args = |lane: &'static str| ["acquire", lane, "--read", "src", "--wait", "50s"];
    let reading = lease(&lab.json_as("r0", &args("r0")).expect(0, "acquire"));
    let writer = waiter(&lab, "writer", "src");
    let (one, two) = (wait_for(&lab, "r1", &args("r1")[1..]), wait_for(&lab, "r2", &args("r2")[1..]));
    release(&lab, "r0", reading);
    let written = lease(&writer.end().expect(0, "acquire"));
    assert_eq!(owners(&lab.waiters()), ["r1", "r2"], "nobody reads before it is written");
    release(&lab, "writer", written);
    one.end().expect(0, "acquire");
    two.end().expect(0, "acquire");
    assert_nobody_waits(&lab);
}

#[test]
fn a_stopped_one_delays_those_behind_it_by_its_ttl_at_most_and_then_starts_anew() {
    let lab = Lab::new();
    let held = lab.grant("holder", "x", "src");
    let stopped = waiter(&lab, "stopped", "src");
    let second = waiter(&lab, "second", "src");
    let third = waiter(&lab, "third", "src");
    signal(stopped.pid(), Signal::STOP);
    let began = Instant::now();
    release(&lab, "holder", held);
    let lease_of_second = lease(&second.end().expect(0, "acquire"));
    let waited = began.elapsed();
    eprintln!("a stopped one in front cost {:.1} s", waited.as_secs_f32());
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    signal(stopped.pid(), Signal::CONT);
    poll("it takes a new place", DEADLINE, || (owners(&lab.waiters()) == ["third", "stopped"]).then_some(()));
    release(&lab, "second", lease_of_second);
    let lease_of_third = lease(&third.end().expect(0, "acquire"));
    release(&lab, "third", lease_of_third);
    stopped.end().expect(0, "acquire");
    assert_nobody_waits(&lab);
}

#[test]
fn a_wait_that_takes_too_long_ends_with_124_and_leaves_nothing() {
    let lab = Lab::new();
    lab.grant("holder", "x", "src");
    let waits = |time: &'static str| lab.json_as("w", &["acquire", "y", "--tree", "src", "--wait", time]);
    let late = waits("300ms");
    let told = late.expect(124, "timeout");
    assert_eq!((&told["code"], &told["journaled"]), (&json!("REGION_CONFLICT"), &json!(true)));
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&late.took), "{:?}", late.took);
    assert_nobody_waits(&lab);
    // Zero tries once and stands in no line.
    let before = told["seq"].as_u64().unwrap() + 1;
    assert_eq!(waits("0s").expect(124, "timeout")["seq"], before + 1);
    let ops = lab.json(&["tail", "-n", "3"]).out;
    let ops: Vec<String> = ops
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["op"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ops, ["WAIT", "CANCEL", "REFUSE"]);
}

#[test]
fn the_end_of_a_holder_or_of_its_time_is_noticed_without_a_record() {
    let lab = Lab::new();
    lab.json_as("short", &["acquire", "y", "--tree", "web", "--ttl", "500ms"]).expect(0, "acquire");
    let late = waiter(&lab, "late", "web").end().expect(0, "acquire");
    assert_eq!(late["evicted"][0]["why"], "expired");
    let mut took = Vec::new();
    for _ in 0..3 {
        let mut holder = Sleeper::new();
        let bound = ["acquire", "x", "--tree", "src", "--bind", &holder.pid()];
        lab.json_as("holder", &bound).expect(0, "acquire");
        let next = waiter(&lab, "next", "src");
        let began = Instant::now();
        holder.kill_without_reaping();
        let granted = next.end().expect(0, "acquire");
        took.push(began.elapsed());
        assert_eq!(granted["evicted"][0]["why"], "dead");
        release(&lab, "next", lease(&granted));
    }
    // The front looks by itself every four seconds.
    assert!(took.iter().min().unwrap() < &Duration::from_millis(700), "{took:?}");
    assert_nobody_waits(&lab);
}

#[test]
fn a_deadlock_is_refused_at_once_and_the_others_go_on() {
    for n in [2, 5] {
        let lab = Lab::new();
        let name = |i: usize| format!("o{}", i % n);
        let room = |i: usize| format!("room{}", i % n);
        let leases: Vec<u64> = (0..n).map(|i| lab.grant(&name(i), &format!("lane{i}"), &room(i))).collect();
        let line: Vec<Waiting> = (1..n).map(|i| waiter(&lab, &name(i), &room(i + 1))).collect();
        let closes = lab.json_as("o0", &["acquire", "last", "--tree", &room(1), "--wait", "50s"]);
        let refused = closes.expect(1, "refuse");
        assert!(closes.took < Duration::from_secs(20), "{:?}", closes.took);
        let mut words = format!("it would wait for ever: `o0` waits for lease {} of `o1`", leases[1]);
        for i in 2..=n {
            words.push_str(&format!(", who waits for lease {} of `{}`", leases[i % n], name(i)));
        }
        assert_eq!((&refused["code"], &refused["reason"]), (&json!("DEADLOCK"), &json!(words)));
        assert_eq!(lab.waiters().len(), n - 1, "the others wait on");
        release(&lab, "o0", leases[0]);
        for waiting in line.into_iter().rev() {
            let owner = waiting.owner.clone();
            waiting.end().expect(0, "acquire");
            let own: usize = owner[1..].parse().unwrap();
            release(&lab, &owner, leases[own]);
        }
        assert_nobody_waits(&lab);
    }
}

#[test]
fn an_interrupted_wait_is_taken_off_the_line() {
    let lab = Lab::new();
    lab.grant("holder", "x", "src");
    let waits = lab.command_as("w", &["acquire", "of-w", "--tree", "src", "--wait", "50s"]);
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let waiting = in_the_line(&lab, "w", hearing(&waits));
        let began = Instant::now();
        signal(waiting.pid(), sent);
        let told = waiting.end().expect(code, "cancelled");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert_eq!(told["code"], "REGION_CONFLICT");
        assert_nobody_waits(&lab);
    }
}

/// Who hangs up does not mean those who were told to live on; Ctrl-C, and who kills it by name, mean the wait itself.
#[test]
fn a_wait_that_ignores_hangups_is_still_to_be_interrupted() {
    let lab = Lab::new();
    lab.grant("holder", "x", "src");
    let waits = lab.command_as("w", &["acquire", "of-w", "--tree", "src", "--wait", "50s"]);
    let waiting = in_the_line(&lab, "w", ignoring(&waits));
    signal(waiting.pid(), Signal::HUP);
    signal(waiting.pid(), Signal::INT);
    waiting.end().expect(130, "cancelled");
    assert_nobody_waits(&lab);
}

#[test]
fn a_ticket_is_cancelled_by_its_owner_and_by_nobody_else() {
    let lab = Lab::new();
    lab.grant("holder", "x", "src");
    let waiting = waiter(&lab, "w", "src");
    let ticket = lab.waiters()[0]["ticket"].to_string();
    let told = lab.json_as("thief", &["cancel", &ticket]).expect(3, "not_yours");
    assert_eq!(told["owner"], "w");
    lab.json_as("w", &["cancel", "1"]).expect(1, "not_held");
    lab.json_as("w", &["cancel", "0"]).expect(2, "error");
    let began = Instant::now();
    let told = lab.json_as("w", &["cancel", &ticket]).expect(0, "cancelled");
    assert_eq!((told["ticket"].to_string(), &told["lane"]), (ticket.clone(), &json!("of-w")));
    waiting.end().expect(1, "cancelled");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    lab.json_as("w", &["cancel", &ticket]).expect(1, "not_held");
    assert_nobody_waits(&lab);
    let nowhere = Lab::new();
    nowhere.json(&["cancel", "7"]).expect(1, "not_held");
    assert_eq!(nowhere.json(&["waiters"]).expect(0, "ok")["waiters"], json!([]));
}

#[test]
fn a_line_outlives_compactions_and_the_files_of_the_dead_are_swept() {
    let lab = Lab::new();
    let held = lab.grant("holder", "x", "src");
    let (first, dead) = (waiter(&lab, "first", "src"), waiter(&lab, "dead", "src"));
    dead.kill();
    std::fs::write(lab.store().join("ticket-00000000deadbeef"), "").unwrap();
    for _ in 0..2 {
        lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    }
    assert_eq!(owners(&lab.waiters()), ["first", "dead"]);
    assert_eq!(ticket_files(&lab).len(), 2, "the stray is swept, those in the line are not");
    release(&lab, "holder", held);
    let own = lease(&first.end().expect(0, "acquire"));
    release(&lab, "first", own);
    lab.grant("late", "x", "src");
    assert_nobody_waits(&lab);
}

/// How soon one who was told is served: sooner than it looks by itself, on a busy machine too.
const TOLD: Duration = Duration::from_secs(3);

#[test]
fn a_ticket_that_is_cancelled_in_the_middle_ends_at_once_for_all_whom_it_concerns() {
    let lab = Lab::new();
    let held = lab.grant("holder", "x", "src");
    let mut line: Vec<Waiting> = (0..6).map(|n| waiter(&lab, &format!("w{n}"), "src")).collect();
    let ticket = |n: usize| lab.waiters()[n]["ticket"].to_string();
    // By itself one in this place looks after half a minute.
    let began = Instant::now();
    lab.json_as("w4", &["cancel", &ticket(4)]).expect(0, "cancelled");
    line.remove(4).end().expect(1, "cancelled");
    assert!(began.elapsed() < TOLD, "{:?}", began.elapsed());
    // One that is stopped cannot say it. Whoever cancels its ticket does.
    signal(line[3].pid(), Signal::STOP);
    lab.json_as("w3", &["cancel", &ticket(3)]).expect(0, "cancelled");
    let began = Instant::now();
    release(&lab, "holder", held);
    let stopped = line.remove(3);
    for waiting in line {
        let owner = waiting.owner.clone();
        let granted = waiting.end().expect(0, "acquire");
        release(&lab, &owner, lease(&granted));
    }
    assert!(began.elapsed() < 2 * TOLD, "{:?}", began.elapsed());
    signal(stopped.pid(), Signal::CONT);
    stopped.end().expect(1, "cancelled");
    assert_nobody_waits(&lab);
}

#[test]
fn one_killed_in_another_pid_namespace_is_off_the_line_at_once() {
    let lab = Lab::new();
    let namespace = ["unshare", "-pf", "--mount-proc", "--kill-child"];
    let Some(mut there) = Shell::enter(&lab, &namespace, "true") else { return };
    let held = lab.grant("holder", "x", "src");
    let wait = r#"LEASE_LANE_OWNER=dead "$BIN" --store "$STORE" acquire y --tree src --wait >/dev/null 2>&1 </dev/null & echo $!"#;
    let pid: u32 = there.run(wait).parse().unwrap();
    poll("it is in the line", DEADLINE, || (owners(&lab.waiters()) == ["dead"]).then_some(()));
    assert_eq!(lab.waiters()[0]["alive"], "unknown", "nobody here can tell");
    let next = waiter(&lab, "next", "src");
    let began = Instant::now();
    there.kill(pid);
    poll("the dead one is off the line", DEADLINE, || (owners(&lab.waiters()) == ["next"]).then_some(()));
    assert!(began.elapsed() < TOLD, "{:?}", began.elapsed());
    let cancel = lab.json(&["tail", "--op", "CANCEL", "-n", "1"]).value();
    assert_eq!((&cancel["why"], &cancel["by"]), (&json!("dead"), &json!("next")));
    assert_eq!(cancel["observed"]["why"], "nobody holds the file of its ticket");
    release(&lab, "holder", held);
    next.end().expect(0, "acquire");
    assert_nobody_waits(&lab);
}

/// Puts something else in the place of a file of the store.
fn put_in_place_of(file: &Path, what: &str, outside: &Path) {
    std::fs::remove_file(file).ok();
    match what {
        "file" => std::fs::write(file, "x").unwrap(),
        "directory" => std::fs::create_dir(file).unwrap(),
        "link" => symlink(outside, file).unwrap(),
        "dangling link" => symlink("nowhere", file).unwrap(),
        _ => {}
    }
}

#[test]
fn with_anything_in_place_of_a_bell_the_line_goes_on_and_sleeps() {
    for what in ["file", "directory", "link", "dangling link", "nothing"] {
        let lab = Lab::new();
        let outside = lab.path().join("outside");
        std::fs::write(&outside, "kept").unwrap();
        let held = lab.grant("holder", "x", "src");
        let bell = lab.store().join("bell");
        put_in_place_of(&bell, what, &outside);
        let first = waiter(&lab, "first", "src");
        let ticket = ticket_files(&lab).pop().unwrap();
        put_in_place_of(&ticket, what, &outside);
        if what == "nothing" {
            put_in_place_of(&bell, what, &outside);
        }
        let second = waiter(&lab, "second", "src");
        let third = waiter(&lab, "third", "src");
        let line = [&first, &second, &third];
        let ticks = || line.iter().map(|one| cpu_ticks(one.pid())).sum::<u64>();
        let before = ticks();
        std::thread::sleep(Duration::from_secs(1));
        let used = ticks() - before;
        assert!(used < 25, "{what}: three sleepers used {used} hundredths of a second in one");
        release(&lab, "holder", held);
        for waiting in [first, second, third] {
            let owner = waiting.owner.clone();
            let granted = waiting.end().expect(0, "acquire");
            release(&lab, &owner, lease(&granted));
        }
        assert_eq!(std::fs::read(&outside).unwrap(), b"kept", "{what}");
        assert_eq!(lab.waiters(), [] as [Value; 0], "{what}");
        lab.assert_sound();
    }
}

#[test]
fn where_there_are_no_named_pipes_the_line_is_served_by_looks() {
    let Some(_) = Strace::find("a line without named pipes") else { return };
    let lab = Lab::new();
    let held = lab.grant("holder", "x", "src");
    let start = |owner: &str| {
        let asked = lab.command_as(owner, &["acquire", owner, "--tree", "src", "--wait", "50s"]);
        let mut command = std::process::Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=mknodat",
            "-e",
            "inject=mknodat:error=EPERM",
        ]);
        command.arg(asked.get_program()).args(asked.get_args()).env_clear().current_dir(lab.path());
        command.envs(asked.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let waiting = Waiting { owner: owner.into(), child: kit::start(command), began: Instant::now() };
        poll("it is in the line", DEADLINE, || owners(&lab.waiters()).contains(&owner).then_some(()));
        waiting
    };
    let line = ["w0", "w1", "w2"].map(start);
    assert_eq!((ticket_files(&lab).len(), lab.store().join("bell").exists()), (0, false));
    let began = Instant::now();
    release(&lab, "holder", held);
    for waiting in line {
        let owner = waiting.owner.clone();
        let granted = waiting.end().expect(0, "acquire");
        release(&lab, &owner, lease(&granted));
    }
    assert!(began.elapsed() < 2 * TOLD, "{:?}", began.elapsed());
    assert_nobody_waits(&lab);
}

#[test]
fn a_release_killed_at_any_call_wakes_the_next_or_has_not_happened() {
    let Some(strace) = Strace::find("deaths of one who releases") else { return };
    let lab = Lab::new();
    let log = lab.path().join("log");
    let held = lab.grant("holder", "x", "src");
    let first = waiter(&lab, "w", "src");
    let released = lab.command_as("holder", &["release", "--lease", &held.to_string()]);
    assert_eq!(kit::finish(strace.watch_alone(&released, &log, None)).code, Some(0));
    first.end().expect(0, "acquire");
    let calls = Log::read(&log);
    let is_append = |call: &kit::strace::Call| call.name == "write" && call.text.contains("/journal/");
    let append = calls.own().iter().position(is_append).unwrap();
    let own = calls.own();
    let (mut woken, mut slow) = (0, Vec::new());
    for call in &own[append.saturating_sub(2)..own.len().min(append + 14)] {
        let lab = Lab::new();
        let held = lab.grant("holder", "x", "src");
        let next = waiter(&lab, "w", "src");
        let released = lab.command_as("holder", &["release", "--lease", &held.to_string()]);
        kit::finish(strace.watch_alone(&released, &log, Some((Fault::Kill, call))));
        if lab.live().contains(&held) {
            release(&lab, "holder", held);
            next.end().expect(0, "acquire");
            continue;
        }
        let began = Instant::now();
        next.end().expect(0, "acquire");
        woken += 1;
        if began.elapsed() > TOLD {
            slow.push(call.to_string());
        }
        lab.assert_sound();
    }
    eprintln!("{woken} deaths behind the append");
    assert!(woken > 3, "{woken}");
    assert!(slow.len() < 2, "nobody told it: {slow:?}");
}

/// CPU time of a process so far, in clock ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_crowd_in_one_line_is_served_in_order_and_sleeps_meanwhile() {
    let n = usize::try_from(knob("LEASE_LANE_WAITERS", 24)).unwrap();
    let lab = Lab::new();
    let mut held = ("holder".to_owned(), lab.grant("holder", "x", "src"));
    let began = Instant::now();
    let mut crowd: BTreeMap<String, Waiting> = BTreeMap::new();
    for i in 0..n {
        let owner = format!("w{i:03}");
        let args = ["acquire", &format!("of-{owner}"), "--tree", "src", "--wait"];
        let child = kit::start(lab.command_as(&owner, &args));
        crowd.insert(owner.clone(), Waiting { owner, child, began: Instant::now() });
    }
    let line = poll("all are in the line", DEADLINE, || {
        let line = lab.waiters();
        (line.len() == n).then_some(line)
    });
    eprintln!("{n} stand in the line after {:.2} s", began.elapsed().as_secs_f32());
    let ticks =
        |crowd: &BTreeMap<String, Waiting>| crowd.values().map(|one| cpu_ticks(one.pid())).sum::<u64>();
    let (before, idle) = (ticks(&crowd), Instant::now());
    // Nothing happens for a while: that is what is measured.
    std::thread::sleep(Duration::from_secs(2));
    let used = Duration::from_millis(10 * (ticks(&crowd) - before));
    let share = used.as_secs_f64() / idle.elapsed().as_secs_f64();
    eprintln!("{n} that wait use {:.2} % of a core together", 100.0 * share);
    assert!(share < 0.25, "{n} sleepers used {used:?} in {:?}", idle.elapsed());

    let mut hand_overs = Vec::new();
    for next in line {
        let owner = next["owner"].as_str().unwrap();
        let began = Instant::now();
        release(&lab, &held.0, held.1);
        let granted = crowd.remove(owner).unwrap().end().expect(0, "acquire");
        hand_overs.push(began.elapsed());
        held = (owner.to_owned(), lease(&granted));
    }
    hand_overs.sort_unstable();
    eprintln!("release to answer: p50 {:?}, worst {:?}", hand_overs[n / 2], hand_overs[n - 1]);
    assert_nobody_waits(&lab);
}
