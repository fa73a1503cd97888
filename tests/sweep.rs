//! `sweep` and the phases it waits for, on the real program (features C8 and C9; failure classes 24 and 25).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kit::machine::Shell;
use kit::strace::{Call, Fault, Log, Strace};
use kit::{
    Answer, DEADLINE, Lab, Sleeper, all_at_once, finish, lease_numbers, listing, poll, signal, start, wait,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn sweep(lab: &Lab) -> Value {
    lab.json_as("sweeper", &["sweep"]).expect(0, "ok")
}

/// The leases in one list of a sweep.
#[track_caller]
fn leases(swept: &Value, list: &str) -> Vec<u64> {
    let list = swept[list].as_array().unwrap_or_else(|| panic!("no list `{list}`: {swept}"));
    list.iter().map(|one| one["lease"].as_u64().unwrap()).collect()
}

/// Sweeps until the lease is in this list; that sweep. Before that it must be kept, and nothing else.
#[track_caller]
fn sweep_until(lab: &Lab, list: &str, lease: u64) -> Value {
    poll(&format!("lease {lease} is {list}"), DEADLINE, || {
        let swept = sweep(lab);
        if leases(&swept, list).contains(&lease) {
            return Some(swept);
        }
        assert!(leases(&swept, "kept").contains(&lease), "{swept}");
        None
    })
}

fn counters(lab: &Lab) -> Value {
    lab.json(&["live"]).expect(0, "ok")["counters"].clone()
}

fn records(lab: &Lab, op: &str) -> Vec<Value> {
    let said = finish(lab.command_as("looker", &["tail", "-n", "1000", "--op", op]));
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A lease of one second that is bound to a process which is winding up for at most `budget`.
fn winding_up(lab: &Lab, process: &str, budget: &str) -> u64 {
    let args = ["acquire", "api", "--tree", "api/**", "--bind", process, "--ttl", "1s"];
    let lease = lab.json(&args).expect(0, "acquire")["lease"].as_u64().unwrap();
    let beat = lab.json(&["heartbeat", "api", "--phase", "finalizing", "--budget", budget]).expect(0, "beat");
    assert_eq!(beat["phase"]["name"], "finalizing", "{beat}");
    lease
}

// ----------------------------------------------------------------------------------------------------------- phases

#[test]
fn a_live_finalizer_past_its_time_is_put_off_and_counted_once() {
    let lab = Lab::new();
    let finalizer = Sleeper::new();
    let lease = winding_up(&lab, &finalizer.pid(), "1h");
    let swept = sweep_until(&lab, "deferred", lease);
    assert!(swept["deferred"][0]["until"].is_string() && swept["deferred"][0]["seq"].is_u64(), "{swept}");
    // It is put off again and again, and that is said; but the journal has it once, however often one looks.
    for _ in 0..5 {
        let again = sweep(&lab);
        assert_eq!(leases(&again, "deferred"), [lease]);
        assert_eq!((&again["deferred"][0]["seq"], &again["reclaimed"]), (&Value::Null, &json!([])));
    }
    assert_eq!((counters(&lab)["deferrals"].as_u64(), records(&lab, "DEFER").len()), (Some(1), 1));
    let live = lab.json(&["live"]).expect(0, "ok");
    let phase = &live["leases"][0]["phase"];
    assert_eq!((&phase["name"], &phase["budget_s"]), (&json!("finalizing"), &json!(3600)), "{live}");
    assert!(phase["since"].is_string() && phase["deferred_at"].is_string(), "{live}");
    assert!(lab.text(&["live"]).out.contains("finalizing since"));
    // Another phase later may be put off, and is counted, once more.
    lab.json(&["heartbeat", "api", "--phase", "none"]).expect(0, "beat");
    lab.json(&["heartbeat", "api", "--phase", "finalizing"]).expect(0, "beat");
    sweep_until(&lab, "deferred", lease);
    assert_eq!(counters(&lab)["deferrals"].as_u64(), Some(2));
    lab.assert_sound();
}

#[test]
fn once_the_phase_is_over_the_lease_ends_with_its_time() {
    let lab = Lab::new();
    lab.json(&["acquire", "api", "--tree", "api/**", "--ttl", "1s"]).expect(0, "acquire");
    let beat = lab.json(&["heartbeat", "api", "--phase", "finalizing"]).expect(0, "beat");
    let lease = beat["lease"].as_u64().unwrap();
    sweep_until(&lab, "deferred", lease);
    let cleared = lab.json(&["heartbeat", "api", "--phase", "clear"]).expect(0, "beat");
    assert_eq!(cleared["phase"], Value::Null);
    let swept = sweep_until(&lab, "reclaimed", lease);
    assert_eq!(swept["reclaimed"][0]["tier"], "exited", "{swept}");
    lab.json(&["heartbeat", "api"]).expect(3, "expired");
    lab.assert_sound();
}

#[test]
fn a_finalizer_that_is_killed_is_waited_for_no_longer() {
    let lab = Lab::new();
    let mut finalizer = Sleeper::new();
    let lease = winding_up(&lab, &finalizer.pid(), "1h");
    sweep_until(&lab, "deferred", lease);
    // Also while it is a zombie that nobody has reaped.
    finalizer.kill_without_reaping();
    let swept = sweep(&lab);
    assert_eq!((leases(&swept, "reclaimed"), &swept["reclaimed"][0]["tier"]), (vec![lease], &json!("dead")));
    let scavenge = &records(&lab, "SCAVENGE")[0];
    assert_eq!(
        (&scavenge["tier"], &scavenge["why"], &scavenge["by"]),
        (&json!("dead"), &json!("dead"), &json!("sweeper"))
    );
    // The evidence of both looks, process by process.
    for look in [scavenge, &scavenge["earlier"]] {
        assert_eq!(look["observed"]["processes"][0]["why"], "zombie", "{scavenge}");
    }
    let up_ms = |look: &Value| look["clock"]["up_ms"].as_u64().unwrap();
    assert!(up_ms(scavenge) - up_ms(&scavenge["earlier"]) >= 200, "{scavenge}");
    lab.assert_sound();
}

#[test]
fn a_phase_ends_at_its_ceiling_counted_from_its_beginning_whoever_lives_and_beats() {
    for by_policy in [false, true] {
        let lab = Lab::new();
        let finalizer = Sleeper::new();
        if by_policy {
            lab.write("lease-lane.toml", "ceiling = '1s'\n");
        }
        let args = ["acquire", "api", "--tree", "api/**", "--bind", &finalizer.pid()];
        let lease = lab.json(&args).expect(0, "acquire")["lease"].as_u64().unwrap();
        let budget = if by_policy { "1h" } else { "1s" };
        let enter = ["heartbeat", "api", "--phase", "finalizing", "--budget", budget];
        let entered = lab.json(&enter).expect(0, "beat");
        let since = entered["phase"]["since"].clone();
        let began = Instant::now();
        let swept = poll("the ceiling is reached", DEADLINE, || {
            let swept = sweep(&lab);
            if leases(&swept, "reclaimed") == [lease] {
                return Some(swept);
            }
            assert_eq!(leases(&swept, "kept"), [lease], "{swept}");
            // It beats, and enters again: neither moves the beginning.
            let beat = lab.json_as("o1", &["heartbeat", "api", "--phase", "finalizing"]);
            let again = beat.expect(0, "beat");
            assert_eq!(again["phase"]["since"], since, "{again}");
            None
        });
        assert!(began.elapsed() > Duration::from_millis(800), "after {:?}", began.elapsed());
        assert_eq!(swept["reclaimed"][0]["tier"], "ceiling", "{swept}");
        lab.json(&["heartbeat", "api"]).expect(3, "expired");
        assert_eq!(counters(&lab)["reclaims"], json!({"dead": 0, "exited": 0, "ceiling": 1}));
        lab.assert_sound();
    }
}

#[test]
fn a_late_word_of_a_former_holder_changes_no_phase() {
    let lab = Lab::new();
    let first = lab.grant("o1", "api", "api/**").to_string();
    lab.json(&["heartbeat", "api", "--fence", &first, "--phase", "finalizing"]).expect(0, "beat");
    lab.json(&["release", "api"]).expect(0, "released");
    // The lane has another lease of the same owner, which is winding up by now.
    lab.grant("o1", "api", "api/**");
    lab.json(&["heartbeat", "api", "--phase", "finalizing", "--budget", "9m"]).expect(0, "beat");
    let before = (listing(lab.store()), lab.json(&["live"]).expect(0, "ok")["leases"].clone());
    for phase in ["none", "clear", "finalizing"] {
        lab.json(&["heartbeat", "api", "--fence", &first, "--phase", phase]).expect(3, "fenced");
        lab.json(&["heartbeat", "--lease", &first, "--phase", phase]).expect(1, "not_held");
        lab.json_as("o2", &["heartbeat", "api", "--phase", phase]).expect(3, "not_yours");
    }
    assert_eq!((listing(lab.store()), lab.json(&["live"]).expect(0, "ok")["leases"].clone()), before);
}

#[test]
fn what_is_no_phase_is_a_mistake_of_the_caller() {
    let lab = Lab::new();
    lab.grant("o1", "api", "api/**");
    let before = listing(lab.store());
    for args in [
        &["heartbeat", "api", "--phase", "thinking"][..],
        &["heartbeat", "api", "--budget", "5m"],
        &["heartbeat", "api", "--phase", "none", "--budget", "5m"],
        &["heartbeat", "api", "--phase", "finalizing", "--budget", "0s"],
        &["heartbeat", "api", "--phase", "finalizing", "--budget", "long"],
        &["sweep", "--every", "0s"],
        &["sweep", "--every", "often"],
        &["sweep", "--lane", ""],
    ] {
        lab.json(args).expect(2, "error");
    }
    assert_eq!(listing(lab.store()), before);
}

#[test]
fn a_phase_is_written_when_it_changes_and_coalesces_with_no_beat() {
    let lab = Lab::new();
    lab.grant("o1", "api", "api/**");
    let say = |more: &[&str]| {
        lab.json(&[&["heartbeat", "api", "--coalesce", "1h"], more].concat()).expect(0, "beat")
    };
    // The last beat is recent enough; what is new is written all the same.
    let entered = say(&["--phase", "finalizing", "--budget", "5m"]);
    assert_eq!((&entered["coalesced"], entered["seq"].is_u64()), (&json!(true), true), "{entered}");
    let again = say(&["--phase", "finalizing", "--budget", "5m"]);
    assert_eq!((&again["seq"], &again["phase"]), (&Value::Null, &entered["phase"]));
    let longer = say(&["--phase", "finalizing", "--budget", "6m"]);
    assert_eq!((&longer["phase"]["since"], longer["seq"].is_u64()), (&entered["phase"]["since"], true));
    say(&["--phase", "none"]);
    assert_eq!(say(&["--phase", "none"])["seq"], Value::Null);
    assert_eq!((records(&lab, "PHASE").len(), records(&lab, "HEARTBEAT").len()), (3, 0));
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------------------ sweeps

/// A lease bound to a process that is gone.
fn dead_lease(lab: &Lab, lane: &str) -> u64 {
    let sleeper = Sleeper::new();
    let args = ["acquire", lane, "--tree", &format!("{lane}/**"), "--bind", &sleeper.pid()];
    lab.json(&args).expect(0, "acquire")["lease"].as_u64().unwrap()
}

#[test]
fn a_sweep_ends_the_dead_and_the_expired_and_nobody_else() {
    let lab = Lab::new();
    let alive = Sleeper::new();
    let dead = dead_lease(&lab, "dead");
    let over = lab.json(&["acquire", "over", "--tree", "over", "--ttl", "1s"]).expect(0, "acquire")["lease"]
        .as_u64();
    let args = ["acquire", "bound", "--tree", "bound", "--ttl", "1s", "--bind", &alive.pid()];
    let bound = lab.json(&args).expect(0, "acquire")["lease"].as_u64().unwrap();
    let fresh = lab.grant("o1", "fresh", "fresh");
    // One lane alone, and it is not in anybody's way.
    let one = lab.json(&["sweep", "--lane", "DEAD"]).expect(0, "ok");
    assert_eq!((leases(&one, "reclaimed"), leases(&one, "kept")), (vec![dead], vec![]));
    sweep_until(&lab, "reclaimed", over.unwrap());
    poll("the other one is past its time as well, and alive", DEADLINE, || {
        let swept = sweep(&lab);
        assert_eq!(leases(&swept, "kept"), [bound, fresh], "{swept}");
        swept["kept"][0]["reason"].as_str().unwrap().contains("alive").then_some(())
    });
    assert_eq!(lab.live(), [bound, fresh]);
    let nothing = sweep(&lab);
    assert_eq!((leases(&nothing, "reclaimed"), leases(&nothing, "kept")), (vec![], vec![bound, fresh]));
    let counted = counters(&lab);
    assert_eq!(counted["reclaims"], json!({"dead": 1, "exited": 1, "ceiling": 0}), "{counted}");
    assert_eq!(
        (&counted["takeovers"], &counted["dead"], &counted["expired"]),
        (&json!(0), &json!(1), &json!(1))
    );
    lab.assert_sound();
}

#[test]
fn of_many_sweeps_at_once_one_claims_each_lease_and_the_others_do_nothing() {
    let lab = Lab::new();
    let mut dead: Vec<u64> = (0..6).map(|n| dead_lease(&lab, &format!("l{n}"))).collect();
    let fresh = lab.grant("o1", "fresh", "fresh");
    let commands = (0..8).map(|n| lab.command_as(&format!("s{n}"), &["sweep"])).collect();
    let mut claimed: Vec<u64> = Vec::new();
    for answer in all_at_once(commands) {
        let swept = answer.expect(0, "ok");
        claimed.extend(leases(&swept, "reclaimed"));
        assert!(!leases(&swept, "gone").contains(&fresh) && leases(&swept, "failed").is_empty(), "{swept}");
    }
    claimed.sort_unstable();
    dead.sort_unstable();
    assert_eq!(claimed, dead, "each once, each by one");
    let mut on_record: Vec<u64> =
        records(&lab, "SCAVENGE").iter().map(|record| record["lease"].as_u64().unwrap()).collect();
    on_record.sort_unstable();
    assert_eq!(on_record, dead);
    assert_eq!(lab.live(), [fresh]);
    assert_eq!(counters(&lab)["reclaims"]["dead"], 6);
    lab.assert_sound();
}

#[test]
fn a_sweep_that_sleeps_until_another_was_faster_does_nothing() {
    let Some(strace) = Strace::find("a sweep overtaken between its look and its claim") else { return };
    let lab = Lab::new();
    let lease = dead_lease(&lab, "api");
    let log = lab.path().join("log");
    // It has looked twice and is stopped where it looks whether somebody is inside the mutex; the lane has another holder
    // when it wakes.
    let trial = lab.path().join("trial");
    kit::copy_dir(lab.store(), &trial);
    let tried = lab.command_as("slow", &["--store", trial.to_str().unwrap(), "sweep"]);
    finish(strace.watch(&tried, &log, None)).expect(0, "ok");
    let read = Log::read(&log);
    let look = read.own().iter().find(|call| call.text.contains("\"mutex\"")).expect("it looks").clone();
    let stopped = strace.watch(&lab.command_as("slow", &["sweep"]), &log, Some((Fault::Stop, &look)));
    let (began, slow) = (Instant::now(), start(stopped));
    let pid = poll("it is stopped", DEADLINE, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("--- stopped by SIGSTOP")
            .then(|| text.split_whitespace().next().unwrap().parse().unwrap())
    });
    assert_eq!(leases(&lab.json_as("fast", &["sweep"]).expect(0, "ok"), "reclaimed"), [lease]);
    let next = lab.grant("o2", "api", "api/**");
    let before = listing(&lab.store().join("journal"));
    signal(pid, Signal::CONT);
    let swept = wait(slow, began).expect(0, "ok");
    assert_eq!((leases(&swept, "gone"), leases(&swept, "reclaimed")), (vec![lease], vec![]), "{swept}");
    assert_eq!((listing(&lab.store().join("journal")), lab.live()), (before, vec![next]));
}

#[test]
fn what_fails_about_one_lease_keeps_no_other_from_being_swept() {
    let Some(strace) = Strace::find("a sweep one of whose records cannot be made durable") else { return };
    let lab = Lab::new();
    let (bad, good) = (dead_lease(&lab, "bad"), dead_lease(&lab, "good"));
    let log = lab.path().join("log");
    let first = Call { name: "fdatasync".into(), nth: 1, text: String::new() };
    let command = strace.watch(&lab.command_as("s", &["sweep"]), &log, Some((Fault::Error("EIO"), &first)));
    let swept = finish(command).expect(6, "io");
    assert_eq!((leases(&swept, "failed"), leases(&swept, "reclaimed")), (vec![bad], vec![good]), "{swept}");
    assert_eq!(swept["error"]["kind"], "not_durable", "{swept}");
    let again = sweep(&lab);
    assert_eq!(leases(&again, "failed"), [0; 0]);
    assert_eq!(lab.live(), [0; 0]);
    lab.assert_sound();
}

#[test]
fn looking_ends_nothing_and_a_dry_run_writes_nothing() {
    let lab = Lab::new();
    let dead = dead_lease(&lab, "dead");
    let over = lab.json(&["acquire", "over", "--tree", "over", "--ttl", "1ms"]).expect(0, "acquire")["lease"]
        .as_u64()
        .unwrap();
    lab.json(&["acquire", "late", "--tree", "late", "--ttl", "1ms"]).expect(0, "acquire");
    let late = lab.json(&["heartbeat", "late", "--phase", "finalizing"]).expect(0, "beat")["lease"]
        .as_u64()
        .unwrap();
    let before = listing(lab.store());
    for args in [
        &["live"][..],
        &["check", "dead/x"],
        &["replay"],
        &["replay", "--verdicts"],
        &["tail"],
        &["verify"],
        &["doctor"],
        &["acquire", "x", "--tree", "dead/x", "--dry-run"],
        &["sweep", "--dry-run"],
        &["sweep", "--dry-run", "--lane", "dead"],
    ] {
        let answer = lab.json(args);
        assert!(matches!(answer.code, Some(0 | 1)), "{args:?}: {answer}");
        assert_eq!(listing(lab.store()), before, "{args:?}");
    }
    let dry = poll("both are past their time", DEADLINE, || {
        let dry = lab.json(&["sweep", "--dry-run"]).expect(0, "ok");
        (leases(&dry, "reclaimed") == [dead, over] && leases(&dry, "deferred") == [late]).then_some(dry)
    });
    assert_eq!((&dry["dry_run"], &dry["reclaimed"][0]["seq"]), (&json!(true), &Value::Null));
    assert_eq!(listing(lab.store()), before);
    assert_eq!(lab.live(), [dead, over, late]);
    // What it said is what is done.
    let done = sweep(&lab);
    assert_eq!((leases(&done, "reclaimed"), leases(&done, "deferred")), (vec![dead, over], vec![late]));
    let nowhere = Lab::new();
    assert_eq!(leases(&sweep(&nowhere), "kept"), [0; 0]);
    assert!(!nowhere.store().exists(), "a sweep makes no store");
}

#[test]
fn a_loop_sweeps_until_it_is_told_to_stop_and_fills_no_journal() {
    let lab = Lab::new();
    let finalizer = Sleeper::new();
    let lease = winding_up(&lab, &finalizer.pid(), "1h");
    let dead = dead_lease(&lab, "dead");
    for stop in [Signal::TERM, Signal::INT] {
        let mut command = lab.command_as("loop", &["sweep", "--every", "20ms"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut put_off = 0;
        while put_off < 5 {
            let swept: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(swept["outcome"], "ok");
            put_off += usize::from(leases(&swept, "deferred") == [lease]);
        }
        signal(child.id(), stop);
        let began = Instant::now();
        let ended = wait(child, began);
        assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended}");
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
        assert!(!lab.live().contains(&dead));
    }
    assert_eq!((records(&lab, "DEFER").len(), records(&lab, "SCAVENGE").len()), (1, 1));
}

#[test]
fn a_sweep_without_a_policy_file_goes_by_the_policy_on_record() {
    let lab = Lab::new();
    let policy = lab.write("lease-lane.toml", "grace = '1h'\n");
    let lease = lab.json(&["acquire", "api", "--tree", "a", "--ttl", "1ms"]).expect(0, "acquire")["lease"]
        .as_u64()
        .unwrap();
    std::fs::remove_file(&policy).unwrap();
    let swept = sweep(&lab);
    assert_eq!(leases(&swept, "kept"), [lease], "{swept}");
    assert!(swept["kept"][0]["reason"].as_str().unwrap().contains("grace"), "{swept}");
    // With one, it goes by that, and says so on record before what was decided by it.
    lab.write("lease-lane.toml", "grace = '1ms'\n");
    sweep_until(&lab, "reclaimed", lease);
    assert_eq!(records(&lab, "POLICY").len(), 2);
    lab.assert_sound();
}

#[test]
fn the_counters_survive_a_compaction_and_tell_takeovers_from_reclaims() {
    let lab = Lab::new();
    let finalizer = Sleeper::new();
    let lease = winding_up(&lab, &finalizer.pid(), "1h");
    sweep_until(&lab, "deferred", lease);
    dead_lease(&lab, "swept");
    let in_the_way = dead_lease(&lab, "taken");
    let taken = lab.json_as("o2", &["acquire", "taken", "--tree", "taken"]).expect(0, "acquire");
    assert_eq!(taken["evicted"][0]["lease"], in_the_way);
    sweep(&lab);
    // An unfinished write is counted for as long as the store lives, also when its segment is gone.
    let segment = lab.active_segment();
    let torn = [&std::fs::read(&segment).unwrap(), &b"{\"seq\":99,\"ts"[..]].concat();
    std::fs::write(&segment, torn).unwrap();
    lab.grant("o1", "more", "more");
    let before = counters(&lab);
    for (name, count) in
        [("deferrals", 1), ("takeovers", 1), ("forces", 0), ("torn", 1), ("void", 0), ("dead", 2)]
    {
        assert_eq!(before[name], count, "{name}: {before}");
    }
    assert_eq!(before["reclaims"], json!({"dead": 1, "exited": 0, "ceiling": 0}));
    let phase = lab.json(&["live"]).expect(0, "ok")["leases"][0]["phase"].clone();
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(counters(&lab), before);
    assert_eq!(lab.json(&["doctor"]).expect(0, "ok")["counters"], before);
    assert_eq!(lab.json(&["live"]).expect(0, "ok")["leases"][0]["phase"], phase);
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(counters(&lab), before);
    lab.assert_sound();
}

#[test]
fn the_word_of_a_sweep_is_decided_again() {
    let lab = Lab::new();
    let finalizer = Sleeper::new();
    let lease = winding_up(&lab, &finalizer.pid(), "1h");
    sweep_until(&lab, "deferred", lease);
    dead_lease(&lab, "dead");
    sweep(&lab);
    let decided = lab.json(&["replay", "--verdicts"]).expect(0, "ok");
    // Two grants, one deferral, one reclaim.
    assert_eq!(decided["decisions"], 4);
}

// ------------------------------------------------------------------------------------------------------ another host

/// A holder on a host of another name, which then is gone; what a sweep and an acquire make of it under a policy.
fn under(foreign_host: &str) -> Option<(Value, Answer)> {
    let lab = Lab::new();
    lab.write("lease-lane.toml", &format!("foreign_host = '{foreign_host}'\ngrace = '1ms'\n"));
    {
        let mut shell = Shell::enter(&lab, &["unshare", "-u"], "hostname elsewhere")?;
        let pid = shell.sleeper().to_string();
        let args = ["acquire", "api", "--tree", "api/**", "--bind", &pid, "--ttl", "1ms"];
        shell.ask("o1", &args).expect(0, "acquire");
    }
    let live = lab.json(&["live"]).expect(0, "ok");
    assert_eq!(lease_numbers(&live).len(), 1);
    let is_known = foreign_host == "takeover";
    assert_eq!(live["leases"][0]["alive"], if is_known { "no" } else { "unknown" }, "{live}");
    let swept = poll("its time is over", DEADLINE, || {
        let swept = lab.json(&["sweep", "--dry-run"]).expect(0, "ok");
        let reason = swept["kept"][0]["reason"].as_str().unwrap_or_default();
        (!reason.contains("time to live")).then_some(swept)
    });
    let asked = lab.json_as("o2", &["acquire", "mine", "--tree", "api/x"]);
    lab.assert_sound();
    Some((swept, asked))
}

#[test]
fn a_holder_on_another_host_ends_as_the_policy_says() {
    let Some((swept, asked)) = under("refuse") else { return };
    assert!(swept["kept"][0]["reason"].as_str().unwrap().contains("foreign_host"), "{swept}");
    asked.expect(1, "refuse");
    let (swept, asked) = under("ttl").unwrap();
    assert_eq!(swept["reclaimed"][0]["tier"], "exited", "{swept}");
    assert_eq!(asked.expect(0, "acquire")["evicted"][0]["why"], "expired");
    let (swept, asked) = under("takeover").unwrap();
    assert_eq!(swept["reclaimed"][0]["tier"], "dead", "{swept}");
    assert_eq!(asked.expect(0, "acquire")["evicted"][0]["why"], "dead");
}
