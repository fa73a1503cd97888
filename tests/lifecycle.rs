//! What becomes of a lease beside its holder's release and beats: it is taken over, it is told to stop, it is ended by
//! somebody else. On the real program, with what people read of it.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kit::{Answer, BIN, DEADLINE, Lab, Sleeper, all_at_once, finish, keys, listing, poll, words};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

/// The last record.
fn last_record(lab: &Lab) -> Value {
    serde_json::from_str(&lab.json(&["tail", "-n", "1"]).out).unwrap()
}

/// The one live lease.
#[track_caller]
fn only_lease(lab: &Lab) -> Value {
    let live = lab.json(&["live"]).expect(0, "ok");
    assert_eq!(live["leases"].as_array().unwrap().len(), 1, "{live}");
    live["leases"][0].clone()
}

/// Asks as somebody, gets this answer, and nothing is written.
#[track_caller]
fn unchanged(lab: &Lab, owner: &str, args: &[&str], code: i32, outcome: &str) -> Value {
    let before = listing(lab.path());
    let answer = lab.json_as(owner, args).expect(code, outcome);
    assert_eq!(listing(lab.path()), before, "{args:?} wrote something");
    answer
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['S', 'R', 'D']))
}

// ------------------------------------------------------------------------------------------------------- adopt

#[test]
fn an_adopted_lease_is_the_same_lease_with_another_holder_and_a_higher_fence() {
    let lab = Lab::new();
    let (first, second) = (Sleeper::new(), Sleeper::new());
    let ask =
        ["acquire", "api", "--tree", "src/**", "--read", "docs/**", "--ttl", "10m", "--run-id", "run-7"];
    let more = ["--why", "a new endpoint", "--label", "team=core", "--bind", &first.pid()];
    let granted = lab.json_as("ann", &[&ask[..], &more].concat()).expect(0, "acquire");
    let id = granted["lease"].to_string();
    let before = only_lease(&lab);

    let adopted = lab.json_as("bob", &["adopt", "API", "--from", "ann", "--bind", &second.pid()]);
    let adopted = adopted.expect(0, "adopted");
    let expected = "outcome lease fence lane owner from expires_at alive halted processes seq";
    assert_eq!(keys(&adopted), words(expected));
    assert_eq!((&adopted["lease"], &adopted["lane"]), (&granted["lease"], &json!("api")));
    assert_eq!((&adopted["owner"], &adopted["from"]), (&json!("bob"), &json!("ann")));
    assert_eq!(adopted["fence"], adopted["seq"], "the fence is the number of the record");
    assert!(adopted["fence"].as_u64() > granted["fence"].as_u64(), "fences only grow");
    let record = last_record(&lab);
    assert_eq!((&record["op"], &record["seq"]), (&json!("ADOPT"), &adopted["seq"]));
    assert_eq!((&record["from"], &record["fence"]), (&json!("ann"), &granted["fence"]));

    let after = only_lease(&lab);
    for key in ["lease", "lane", "tree", "read", "acquired_at", "ttl_s", "run_id", "why", "labels", "phase"] {
        assert_eq!(after[key], before[key], "{key} stays");
    }
    assert_eq!((&after["owner"], &after["fence"]), (&json!("bob"), &adopted["fence"]));
    assert_eq!(after["expires_at"], adopted["expires_at"]);
    let pids: Vec<String> =
        after["processes"].as_array().unwrap().iter().map(|process| process["pid"].to_string()).collect();
    assert_eq!(pids, [first.pid(), second.pid()], "those that were there, and the new one");
    assert_eq!(after["alive"], "yes");

    // The former holder can neither beat nor release any more, whatever it names.
    let (old, new) = (granted["fence"].to_string(), adopted["fence"].to_string());
    for verb in ["heartbeat", "release"] {
        for owner in ["ann", "bob"] {
            let fenced = unchanged(&lab, owner, &[verb, "--lease", &id, "--fence", &old], 3, "fenced");
            assert_eq!((&fenced["fence"], &fenced["owner"]), (&adopted["fence"], &json!("bob")));
            unchanged(&lab, owner, &[verb, "api", "--fence", &old], 3, "fenced");
        }
        unchanged(&lab, "ann", &[verb, "api"], 3, "not_yours");
        unchanged(&lab, "ann", &[verb, "--lease", &id, "--fence", &new], 3, "not_yours");
    }
    unchanged(&lab, "ann", &["check", "src/x"], 1, "not_held");
    unchanged(&lab, "bob", &["check", "src/x", "--lease", &id, "--fence", &new], 0, "ok");
    unchanged(&lab, "bob", &["check", "src/x", "--lease", &id, "--fence", &old], 3, "fenced");

    // All of it survives a compaction, and the new holder goes on.
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(only_lease(&lab), after);
    unchanged(&lab, "ann", &["release", "api", "--fence", &old], 3, "fenced");
    let beat = lab.json_as("bob", &["heartbeat", "api", "--fence", &new]).expect(0, "beat");
    assert_eq!(beat["fence"], adopted["fence"]);
    lab.json_as("bob", &["release", "--lease", &id, "--fence", &new]).expect(0, "released");
    lab.assert_sound();
    assert_eq!(lab.json(&["replay"]).expect(0, "ok")["leases"], json!([]));
}

#[test]
fn a_lease_is_adopted_from_its_present_holder_only() {
    let lab = Lab::new();
    unchanged(&lab, "bob", &["adopt", "api", "--from", "ann"], 1, "not_held");
    assert!(!lab.store().exists(), "no answer to that needs a store");
    let id = lab.grant("ann", "api", "src/**").to_string();
    let not_yours = unchanged(&lab, "bob", &["adopt", "api", "--from", "eve"], 3, "not_yours");
    assert_eq!(
        (&not_yours["owner"], &not_yours["lease"]),
        (&json!("ann"), &json!(id.parse::<u64>().unwrap()))
    );
    unchanged(&lab, "bob", &["adopt", "api", "--from", "bob"], 3, "not_yours");
    unchanged(&lab, "bob", &["adopt", "--lease", &id, "--from", "ann", "--fence", "99"], 3, "fenced");
    unchanged(&lab, "bob", &["adopt", "web", "--from", "ann"], 1, "not_held");
    unchanged(&lab, "bob", &["adopt", "--lease", "4711", "--from", "ann"], 1, "not_held");

    lab.json_as("bob", &["adopt", "--lease", &id, "--from", "ann", "--fence", &id]).expect(0, "adopted");
    // Who comes second names somebody who has it no more.
    unchanged(&lab, "eve", &["adopt", "api", "--from", "ann"], 3, "not_yours");
    lab.json_as("eve", &["adopt", "api", "--from", "bob"]).expect(0, "adopted");
    // Another session of the same name: the first one's fence is void.
    let again = lab.json_as("eve", &["adopt", "api", "--from", "eve"]).expect(0, "adopted");
    lab.json_as("eve", &["release", "api", "--fence", &again["fence"].to_string()]).expect(0, "released");
    for owner in ["ann", "bob", "eve"] {
        unchanged(&lab, owner, &["adopt", "--lease", &id, "--from", "eve"], 1, "not_held");
    }
    lab.assert_sound();
}

#[test]
fn a_lease_whose_processes_are_gone_is_kept_by_adopting_it_with_one_that_lives() {
    let lab = Lab::new();
    let mut dead = Sleeper::new();
    let ask = ["acquire", "api", "--tree", "src/**", "--bind", &dead.pid()];
    lab.json_as("ann", &ask).expect(0, "acquire");
    dead.kill_without_reaping();
    let warned = lab.json_as("bob", &["adopt", "api", "--from", "ann"]);
    warned.expect(0, "adopted");
    assert!(warned.err.contains("all processes of the lease are gone"), "{warned}");
    let living = Sleeper::new();
    let adopted = lab.json_as("bob", &["adopt", "api", "--from", "bob", "--bind", &living.pid()]);
    assert_eq!(adopted.expect(0, "adopted")["alive"], "yes");
    assert_eq!(adopted.err, "");
    let refused = lab.json_as("eve", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["owner"], "bob");
    lab.assert_sound();
}

#[test]
fn of_many_who_adopt_or_release_at_once_one_has_its_way() {
    for round in 0..8 {
        let lab = Lab::new();
        lab.grant("ann", "api", "src/**");
        let mut commands: Vec<_> =
            (0..4).map(|n| lab.command_as(&format!("heir{n}"), &["adopt", "api", "--from", "ann"])).collect();
        if round % 2 == 1 {
            commands.push(lab.command_as("ann", &["release", "api"]));
        }
        let answers = all_at_once(commands);
        let outcomes: Vec<String> = answers.iter().map(Answer::outcome).collect();
        let had_its_way = |outcome: &&String| matches!(outcome.as_str(), "adopted" | "released");
        assert_eq!(outcomes.iter().filter(had_its_way).count(), 1, "{outcomes:?}");
        let rest =
            if outcomes.iter().any(|outcome| outcome == "released") { "not_held" } else { "not_yours" };
        for outcome in outcomes.iter().filter(|outcome| !had_its_way(outcome)) {
            assert_eq!(outcome, rest, "{outcomes:?}");
        }
        assert_eq!(lab.live().len(), usize::from(rest == "not_yours"));
        lab.assert_sound();
    }
}

// -------------------------------------------------------------------------------------------------- halt, spawn

#[test]
fn a_halt_shows_wherever_its_holder_looks_and_signals_nothing() {
    let lab = Lab::new();
    let holder = Sleeper::new();
    let ask = ["acquire", "api", "--tree", "src/**", "--run-id", "run-7", "--bind", &holder.pid()];
    let granted = lab.json_as("ann", &ask).expect(0, "acquire");
    let order = ["halt", "run-7", "--command", "systemctl stop api", "--why", "it writes nonsense"];
    let halted = lab.json_as("eve", &order).expect(0, "halted");
    assert_eq!(keys(&halted), words("outcome handle by command why leases seq"));
    assert_eq!(keys(&halted["leases"][0]), words("lease fence lane owner run_id"));
    assert_eq!(halted["leases"][0]["lease"], granted["lease"]);
    let record = last_record(&lab);
    assert_eq!((&record["op"], &record["seq"]), (&json!("HALT"), &halted["seq"]));
    let shown = json!({
        "handle": "run-7", "at": record["ts"], "by": "eve", "command": "systemctl stop api", "why": "it writes nonsense",
    });

    let looks = |owner: &str| {
        assert_eq!(only_lease(&lab)["halted"], shown);
        let beat = lab.json_as(owner, &["heartbeat", "api"]).expect(0, "beat");
        assert_eq!(beat["halted"], shown);
        let beat = lab.json_as(owner, &["heartbeat", "api", "--coalesce", "1h"]).expect(0, "beat");
        assert_eq!((&beat["halted"], &beat["coalesced"]), (&shown, &json!(true)));
        assert_eq!(lab.json_as(owner, &["check", "src/x"]).expect(0, "ok")["paths"][0]["halted"], shown);
        let others = lab.json_as("eve", &["check", "src/x"]).expect(1, "not_held");
        assert_eq!(others["paths"][0]["holders"][0]["halted"], shown);
        for text in [&["live"][..], &["heartbeat", "api"], &["check", "src/x"]] {
            let said = finish({
                let mut command = lab.command(text);
                command.env("LEASE_LANE_OWNER", owner);
                command
            });
            let line = "HALTED: run-7 by eve at ";
            assert!(said.out.contains(line) && said.out.contains("it writes nonsense"), "{text:?}: {said}");
        }
    };
    looks("ann");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    looks("ann");
    // It was meant for the run, whoever holds it.
    let adopted = lab.json_as("bob", &["adopt", "api", "--from", "ann"]).expect(0, "adopted");
    assert_eq!(adopted["halted"], shown);
    looks("bob");
    // A later decision takes its place.
    lab.json_as("eve", &["halt", "again", "--lane", "API"]).expect(0, "halted");
    assert_eq!(only_lease(&lab)["halted"]["handle"], "again");
    assert!(is_running(&holder.pid()), "nothing is signalled");
    // The next one in the lane is another run.
    lab.json_as("bob", &["release", "api"]).expect(0, "released");
    lab.grant("bob", "api", "src/**");
    assert_eq!(only_lease(&lab)["halted"], Value::Null);
    lab.assert_sound();
}

#[test]
fn a_halt_concerns_what_it_names_and_lives() {
    let lab = Lab::new();
    let owners =
        [("ann", "api", "run-1"), ("ann", "web", "run-2"), ("bob", "docs", "run-1"), ("run-2", "x", "y")];
    let mut ids = Vec::new();
    for (n, (owner, lane, run)) in owners.iter().enumerate() {
        let tree = format!("t{n}/**");
        let granted = lab.json_as(owner, &["acquire", lane, "--tree", &tree, "--run-id", run]);
        ids.push(granted.expect(0, "acquire")["lease"].as_u64().unwrap());
    }
    let third = ids[2].to_string();
    let cases: [(&[&str], &[usize]); 10] = [
        (&["run-1"], &[0, 2]),
        (&["ann"], &[0, 1]),
        (&["API"], &[0]),
        (&["run-2"], &[1, 3]),
        (&["RUN-1"], &[]),
        (&["nobody"], &[]),
        (&["ann", "--lane", "Docs"], &[2]),
        (&["ann", "--lane", "free"], &[]),
        (&["ann", "--lease", &third], &[2]),
        (&["api", "--lane", "docs", "--fence", &third], &[2]),
    ];
    for (n, (args, concerned)) in cases.iter().enumerate() {
        // Each is told from those before it by its reason.
        let why = format!("case {n}");
        let halted = lab.json_as("eve", &[&["halt"], *args, &["--why", &why]].concat()).expect(0, "halted");
        let expected: Vec<u64> = concerned.iter().map(|&i| ids[i]).collect();
        assert_eq!(numbers(&halted["leases"]), expected, "{args:?}");
        let live = lab.json(&["live"]).expect(0, "ok");
        let showing = live["leases"].as_array().unwrap().iter().filter(|one| one["halted"]["why"] == why);
        assert_eq!(numbers(&showing.cloned().collect()), expected, "{args:?}");
        // On record also where it concerns nothing.
        let records = lab.json(&["tail", "--op", "halt", "-n", &concerned.len().max(1).to_string()]).out;
        assert!(
            records.lines().all(|line| line.contains(&format!("\"why\":\"{why}\""))),
            "{args:?}: {records}"
        );
    }
    let seen = listing(lab.store());
    for (args, code, outcome) in [
        (&["halt", "x", "--lease", "4711"][..], 1, "not_held"),
        (&["halt", "x", "--lease", &third, "--fence", "99"], 3, "fenced"),
        (&["halt", "x", "--lane", "docs", "--fence", "99"], 3, "fenced"),
        (&["halt", "x", "--lane", "free", "--fence", "99"], 1, "not_held"),
    ] {
        lab.json_as("eve", args).expect(code, outcome);
    }
    assert_eq!(listing(lab.store()), seen, "nothing was written");
    // Who comes later is not concerned.
    lab.json_as("ann", &["acquire", "late", "--tree", "late", "--run-id", "run-1"]).expect(0, "acquire");
    let live = lab.json(&["live"]).expect(0, "ok");
    assert_eq!(live["leases"][4]["halted"], Value::Null);
    lab.assert_sound();

    // A store is made for a decision, not for the lack of a lease.
    let empty = Lab::new();
    empty.json(&["halt", "x", "--lease", "3"]).expect(1, "not_held");
    assert!(!empty.store().exists());
    empty.json(&["halt", "x"]).expect(0, "halted");
    assert_eq!(last_record(&empty)["handle"], "x");
}

fn numbers(leases: &Value) -> Vec<u64> {
    leases.as_array().unwrap().iter().map(|lease| lease["lease"].as_u64().unwrap()).collect()
}

#[test]
fn a_spawn_is_on_record_and_grants_and_blocks_nothing() {
    let lab = Lab::new();
    let spawned = lab.json_as("ann", &["spawn", "api", "--run-id", "run-7", "--why", "nightly"]);
    let spawned = spawned.expect(0, "spawned");
    assert_eq!(keys(&spawned), words("outcome lane owner run_id why seq"));
    let record = last_record(&lab);
    for (key, value) in
        [("op", "SPAWN"), ("lane", "api"), ("owner", "ann"), ("run_id", "run-7"), ("why", "nightly")]
    {
        assert_eq!(record[key], value, "{key}");
    }
    assert_eq!(record["seq"], spawned["seq"]);
    assert!(lab.live().is_empty());
    lab.grant("bob", "api", "src/**");
    lab.json_as("ann", &["spawn", "api"]).expect(0, "spawned");
    lab.json_as("bob", &["heartbeat", "api"]).expect(0, "beat");
    lab.json_as("ann", &["release", "api"]).expect(3, "not_yours");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    let checkpoint = last_record(&lab);
    assert_eq!(
        (&checkpoint["counters"]["spawns"], &checkpoint["counters"]["grants"]),
        (&json!(2), &json!(1))
    );
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------------- unlock

#[test]
fn unlock_ends_what_no_longer_stands_and_refuses_what_may() {
    let lab = Lab::new();
    unchanged(&lab, "eve", &["unlock", "api"], 1, "not_held");
    assert!(!lab.store().exists(), "no answer to that needs a store");
    let mut holder = Sleeper::new();
    let ask = ["acquire", "api", "--tree", "src/**", "--bind", &holder.pid()];
    let bound = lab.json_as("ann", &ask).expect(0, "acquire")["lease"].to_string();
    lab.grant("bob", "web", "web/**");

    // Alive, and unknown.
    for (args, owner, alive, word) in [
        (&["unlock", "api"][..], "ann", "yes", "its process is alive"),
        (&["unlock", "--lease", &bound, "--yes"], "ann", "yes", "its process is alive"),
        (&["unlock", "WEB"], "bob", "unknown", "bound to no process"),
    ] {
        let refused = unchanged(&lab, "eve", args, 1, "refuse");
        let expected = "outcome code lease fence lane reason holder seq journaled hint";
        assert_eq!(keys(&refused), words(expected));
        assert_eq!((&refused["code"], &refused["journaled"]), (&json!("LANE_HELD"), &json!(false)));
        assert_eq!(
            (&refused["holder"]["owner"], &refused["holder"]["alive"]),
            (&json!(owner), &json!(alive))
        );
        assert!(refused["reason"].as_str().unwrap().contains(word), "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains("--force --why TEXT"), "{refused}");
    }
    let own = unchanged(&lab, "ann", &["unlock", "api"], 1, "refuse");
    assert_eq!(own["hint"], format!("lease-lane release --lease {bound}"), "there is a better way");
    unchanged(&lab, "eve", &["unlock", "api", "--fence", "99"], 3, "fenced");
    unchanged(&lab, "eve", &["unlock", "none"], 1, "not_held");
    unchanged(&lab, "eve", &["unlock", "--lease", "4711"], 1, "not_held");

    // Dead: ended on the evidence, also where nobody needs its place.
    holder.kill_without_reaping();
    let unlocked = lab.json_as("eve", &["unlock", "api"]).expect(0, "unlocked");
    let expected = "outcome lease fence lane owner by standing forced why holder seq";
    assert_eq!(keys(&unlocked), words(expected));
    assert_eq!((&unlocked["standing"], &unlocked["forced"]), (&json!("dead"), &json!(false)));
    assert_eq!((&unlocked["owner"], &unlocked["by"]), (&json!("ann"), &json!("eve")));
    let record = last_record(&lab);
    assert_eq!(
        (&record["op"], &record["why"], &record["by"]),
        (&json!("SCAVENGE"), &json!("dead"), &json!("eve"))
    );
    assert_eq!(record["observed"]["processes"][0]["why"], "zombie");
    assert_eq!(record["forced"], Value::Null);
    let told = unchanged(&lab, "ann", &["heartbeat", "api"], 3, "expired");
    assert_eq!((&told["by"], &told["forced"]), (&json!("eve"), &Value::Null));

    // Expired, by somebody who insists where there is no need to.
    lab.json_as("ann", &["acquire", "short", "--tree", "short", "--ttl", "1ms"]).expect(0, "acquire");
    let unlocked = poll("it expires", DEADLINE, || {
        let asked = lab.json_as("eve", &["unlock", "short", "--force", "--why", "mine", "--yes"]);
        Some(asked.expect(0, "unlocked")).filter(|unlocked| unlocked["standing"] == "expired")
    });
    assert_eq!((&unlocked["forced"], &unlocked["why"]), (&json!(false), &Value::Null));
    assert_eq!(last_record(&lab)["why"], "expired");

    assert_eq!(lab.live().len(), 1, "web stands");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    let counters = last_record(&lab)["counters"].clone();
    let counted = [&counters["dead"], &counters["expired"], &counters["forces"]];
    assert_eq!(counted, [&json!(1), &json!(1), &Value::Null]);
    lab.assert_sound();
    let verdicts = lab.json(&["replay", "--verdicts"]).expect(0, "ok");
    assert_eq!((&verdicts["decisions"], &verdicts["forced"]), (&json!(5), &json!(0)), "3 grants, 2 ends");
}

#[test]
fn what_was_ended_by_force_is_on_record_and_its_holder_is_told_by_whom_and_why() {
    let lab = Lab::new();
    let holder = Sleeper::new();
    let ask = ["acquire", "api", "--tree", "src/**", "--run-id", "run-7", "--bind", &holder.pid()];
    let granted = lab.json_as("ann", &ask).expect(0, "acquire");
    let id = granted["lease"].to_string();
    let forced = lab.json_as("eve", &["unlock", "api", "--force", "--why", "ann is on holiday", "--yes"]);
    let unlocked = forced.expect(0, "unlocked");
    assert_eq!(forced.err, "", "nobody is asked who said it beforehand");
    assert_eq!((&unlocked["standing"], &unlocked["forced"]), (&json!("held"), &json!(true)));
    assert_eq!(unlocked["why"], "ann is on holiday");
    let prior = &unlocked["holder"];
    assert_eq!(
        (&prior["owner"], &prior["alive"], &prior["run_id"]),
        (&json!("ann"), &json!("yes"), &json!("run-7"))
    );
    let record = last_record(&lab);
    for (key, value) in [
        ("op", json!("SCAVENGE")),
        ("seq", unlocked["seq"].clone()),
        ("lane", json!("api")),
        ("owner", json!("ann")),
        ("lease", granted["lease"].clone()),
        ("fence", granted["fence"].clone()),
        ("why", json!("held")),
        ("by", json!("eve")),
        ("forced", json!("ann is on holiday")),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    assert_eq!(record["observed"]["alive"], "yes", "the evidence speaks against it, and is on record");
    assert!(is_running(&holder.pid()), "nothing is signalled");
    assert!(lab.live().is_empty());

    let told = |lab: &Lab| {
        for args in [&["heartbeat", "--lease", &id][..], &["release", "--lease", &id, "--fence", &id]] {
            let told = unchanged(lab, "ann", args, 3, "expired");
            assert_eq!((&told["by"], &told["forced"]), (&json!("eve"), &json!("ann is on holiday")));
            let reason = told["reason"].as_str().unwrap();
            assert!(reason.contains("by force by `eve`: ann is on holiday"), "{reason}");
        }
    };
    told(&lab);
    unchanged(&lab, "ann", &["heartbeat", "api"], 3, "expired");
    unchanged(&lab, "bob", &["heartbeat", "--lease", &id], 1, "not_held");
    unchanged(&lab, "eve", &["unlock", "--lease", &id, "--force", "--why", "w", "--yes"], 1, "not_held");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    told(&lab);
    assert_eq!(last_record(&lab)["counters"]["forces"], 1);
    // Once somebody else has the lane, it is theirs.
    let next = lab.grant("bob", "api", "src/**");
    told(&lab);
    unchanged(&lab, "ann", &["heartbeat", "api"], 3, "not_yours");
    unchanged(&lab, "ann", &["release", "api", "--fence", &id], 3, "fenced");
    assert_eq!(lab.live(), [next]);
    lab.assert_sound();
    let verdicts = lab.json(&["replay", "--verdicts"]).expect(0, "ok");
    assert_eq!((&verdicts["decisions"], &verdicts["forced"]), (&json!(3), &json!(1)));
}

/// The program, told through a terminal.
struct Conversation {
    terminal: File,
    child: Child,
    began: Instant,
}

impl Conversation {
    /// Starts it as somebody and reads until it asks; what it showed before that.
    fn begin(lab: &Lab, owner: &str, args: &[&str]) -> (Conversation, String) {
        let controller: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let user = File::options().read(true).write(true).open(name).unwrap();
        let mut command = lab.command_as(owner, args);
        command
            .stdin(Stdio::from(user.try_clone().unwrap()))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(user));
        let child = command.spawn().unwrap();
        let mut conversation = Conversation { terminal: controller.into(), child, began: Instant::now() };
        drop(command);
        let mut shown = String::new();
        while !shown.ends_with("Only `yes` does: ") {
            let mut some = [0; 4096];
            let n = conversation
                .terminal
                .read(&mut some)
                .unwrap_or_else(|error| panic!("{error} after: {shown}"));
            shown.push_str(std::str::from_utf8(&some[..n]).unwrap());
            assert!(conversation.began.elapsed() < DEADLINE, "it never asked: {shown}");
        }
        (conversation, shown.replace('\r', ""))
    }

    fn answer(mut self, text: &str) -> Answer {
        self.terminal.write_all(text.as_bytes()).unwrap();
        kit::wait(self.child, self.began)
    }
}

#[test]
fn force_shows_the_holder_and_asks_on_a_terminal() {
    let lab = Lab::new();
    lab.json_as("ann", &["acquire", "api", "--tree", "src/**", "--why", "a new endpoint"])
        .expect(0, "acquire");
    let unlock = ["unlock", "api", "--force", "--why", "so be it"];
    for answer in ["no\n", "\n", "y\n", "YES\n", "yes please\n", "\u{4}"] {
        let before = listing(lab.path());
        let (conversation, shown) = Conversation::begin(&lab, "eve", &unlock);
        for word in ["lane api", "owner ann", "writes src/**", "processes alive: unknown", "a new endpoint"] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        let refused = conversation.answer(answer).expect(1, "refuse");
        assert_eq!(refused["holder"]["owner"], "ann", "{answer:?}");
        assert_eq!(listing(lab.path()), before, "{answer:?} wrote something");
    }
    let (conversation, _) = Conversation::begin(&lab, "eve", &unlock);
    let unlocked = conversation.answer("yes\n").expect(0, "unlocked");
    assert_eq!((&unlocked["forced"], &unlocked["why"]), (&json!(true), &json!("so be it")));
    assert!(lab.live().is_empty());
    lab.assert_sound();
}

/// A terminal is slow: what ends is what was shown, and nothing that came in between.
#[test]
fn what_was_shown_on_the_terminal_is_what_ends() {
    let unlock = ["unlock", "api", "--force", "--why", "so be it"];
    for (meanwhile, code, outcome) in [
        (&["adopt", "api", "--from", "ann"][..], 3, "fenced"),
        (&["release", "api"], 1, "not_held"),
        (&["heartbeat", "api"], 0, "unlocked"),
    ] {
        let lab = Lab::new();
        lab.grant("ann", "api", "src/**");
        let (conversation, _) = Conversation::begin(&lab, "eve", &unlock);
        lab.json_as("ann", meanwhile);
        if outcome == "not_held" {
            lab.grant("bob", "api", "src/**");
        }
        let before = lab.live();
        conversation.answer("yes\n").expect(code, outcome);
        assert_eq!(lab.live().is_empty(), outcome == "unlocked", "{meanwhile:?}");
        assert!(outcome == "unlocked" || lab.live() == before, "{meanwhile:?}");
        lab.assert_sound();
    }
}

// ------------------------------------------------------------------------------------------------------- labels

/// Feature C14: what the holder says of its lease comes back to those who read it.
#[test]
fn labels_come_back_in_live_in_refusals_and_in_records() {
    let lab = Lab::new();
    let labels = ["--run-id", "run-7", "--why", "a new endpoint", "--label", "team=core", "--label", "k=v=w"];
    lab.json_as("ann", &[&["acquire", "api", "--tree", "src/**"], &labels[..]].concat()).expect(0, "acquire");
    let said = |it: &Value| {
        assert_eq!((&it["run_id"], &it["why"]), (&json!("run-7"), &json!("a new endpoint")), "{it}");
        assert_eq!(it["labels"], json!({"k": "v=w", "team": "core"}), "{it}");
    };
    said(&last_record(&lab)["request"]);
    said(&only_lease(&lab));
    // Whoever is refused reads the holder's, and its own are in the record.
    for owner in ["bob", "ann"] {
        let asked = [&["acquire", "x", "--tree", "src/x"], &labels[..]].concat();
        said(&lab.json_as(owner, &asked).expect(1, "refuse")["conflicts"][0]);
        let record = last_record(&lab);
        said(&record["verdict"]["conflicts"][0]);
        said(&record["request"]);
    }
    let text = lab.text(&["acquire", "x", "--tree", "src/x"]);
    for words in ["run run-7", "why: a new endpoint", "labels: k=v=w, team=core"] {
        assert!(text.out.contains(words), "{text}");
        assert!(lab.text(&["live"]).out.contains(words), "{words}");
    }
    // A refusal for the lane's name, one without writing, one while waiting, and the pure one.
    said(&lab.json_as("bob", &["acquire", "api", "--tree", "y"]).expect(1, "refuse")["conflicts"][0]);
    let dry = lab.json_as("bob", &["acquire", "x", "--tree", "src/x", "--dry-run"]).expect(1, "refuse");
    said(&dry["conflicts"][0]);
    let late =
        lab.json_as("bob", &["acquire", "x", "--tree", "src/x", "--wait", "1ms"]).expect(124, "timeout");
    said(&late["conflicts"][0]);
    let question = json!({
        "request": {"owner": "bob", "lane": "x", "tree": ["src/x"]}, "now": "2026-11-21T07:31:11.123Z",
        "live": lab.json(&["live"]).expect(0, "ok")["leases"],
    });
    let mut arbitrate = std::process::Command::new(BIN);
    arbitrate.arg("arbitrate").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = arbitrate.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{question}\n").as_bytes()).unwrap();
    let answer = kit::wait(child, Instant::now());
    said(&answer.expect(0, "refuse")["conflicts"][0]);
    // They stay with the lease.
    lab.json_as("bob", &["adopt", "api", "--from", "ann"]).expect(0, "adopted");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    said(&only_lease(&lab));
    said(&lab.json_as("eve", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse")["conflicts"][0]);
    lab.assert_sound();
}

// ----------------------------------------------------------------------------------------------- what people read

/// Times and spans differ from run to run.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split(' ') {
            let bare = word.trim_end_matches([',', ':', ';']);
            let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
            let is_span = digits > 0 && matches!(&bare[digits..], "ms" | "s" | "m" | "h" | "d");
            let is_time = bare.len() == 24 && bare.starts_with("20") && bare.ends_with('Z');
            match (is_span || is_time, words.last()) {
                (true, Some(&"...")) => {}
                (true, _) => words.push("..."),
                (false, _) => words.push(word),
            }
        }
        masked.push_str(&words.join(" "));
        masked.push('\n');
    }
    masked
}

#[test]
fn what_people_read() {
    let lab = Lab::new();
    let mut holder = Sleeper::new();
    let pid = holder.pid();
    let mut said = String::new();
    let mut tell = |owner: &str, args: &[&str]| {
        let mut command = lab.command(args);
        command.env("LEASE_LANE_OWNER", owner);
        let answer = finish(command);
        let shown: Vec<&str> = args.iter().map(|&arg| if arg == pid { "PID" } else { arg }).collect();
        let _ =
            writeln!(said, "{owner}$ lease-lane {}\n{}{}", shown.join(" "), masked(&answer.out), answer.err);
        let _ = writeln!(said, "(exit {})\n", answer.code.unwrap());
    };
    tell("ann", &["spawn", "api", "--run-id", "run-7", "--why", "nightly"]);
    let ask =
        ["acquire", "api", "--tree", "src/**", "--run-id", "run-7", "--why", "tests", "--label", "team=core"];
    tell("ann", &[&ask[..], &["--bind", &pid]].concat());
    tell("bob", &["acquire", "x", "--tree", "src/x"]);
    tell("bob", &["adopt", "api", "--from", "eve"]);
    tell("bob", &["adopt", "web", "--from", "ann"]);
    tell("bob", &["adopt", "api", "--from", "ann"]);
    tell("ann", &["heartbeat", "api"]);
    tell("ann", &["release", "api", "--fence", "3"]);
    tell("eve", &["halt", "run-7", "--why", "it writes nonsense", "--command", "kill \u{1b}[2J 7"]);
    tell("eve", &["halt", "web"]);
    tell("eve", &["halt", "the web", "--lane", "web"]);
    tell("bob", &["heartbeat", "api"]);
    tell("bob", &["check", "src/x"]);
    tell("bob", &["live"]);
    tell("eve", &["unlock", "api"]);
    tell("bob", &["unlock", "api"]);
    tell("eve", &["unlock", "web"]);
    tell("eve", &["unlock", "api", "--fence", "3"]);
    tell("eve", &["unlock", "api", "--force", "--why", "bob is on\nholiday", "--yes"]);
    tell("bob", &["heartbeat", "api"]);
    tell("ann", &["acquire", "docs", "--tree", "docs/**"]);
    tell("eve", &["unlock", "docs"]);
    tell("ann", &["acquire", "api", "--tree", "src/**", "--bind", &pid]);
    holder.kill_without_reaping();
    tell("eve", &["unlock", "api"]);
    tell("ann", &["release", "api"]);
    tell("eve", &["replay", "--verdicts"]);
    let _ = writeln!(said, "{}", masked(&lab.text(&["tail", "-n", "100"]).out));
    insta::assert_snapshot!("what_people_read", said);
}

/// Wrong questions: exit 2, one line and a hint, the same in JSON, and not a byte written.
#[test]
fn mistakes_of_operators() {
    let lab = Lab::new();
    lab.grant("ann", "api", "src/**");
    let empty = Lab::new();
    let long = "w".repeat(4097);
    let lines: &[&[&str]] = &[
        &["adopt"],
        &["adopt", "api"],
        &["adopt", "--from", "ann"],
        &["adopt", "api", "--from", ""],
        &["adopt", "api", "--lease", "2", "--from", "ann"],
        &["adopt", "--lease", "0", "--from", "ann"],
        &["adopt", "api", "--from", "ann", "--fence", "0"],
        &["adopt", "api", "--from", "ann", "--bind", "0"],
        &["halt"],
        &["halt", ""],
        &["halt", "x", "--lane", ""],
        &["halt", "x", "--lane", "api", "--lease", "2"],
        &["halt", "x", "--lease", "0"],
        &["halt", "x", "--fence", "2"],
        &["halt", "x", "--why", ""],
        &["halt", "x", "--why", &long],
        &["spawn"],
        &["spawn", ""],
        &["spawn", "api", "--run-id", ""],
        &["unlock"],
        &["unlock", ""],
        &["unlock", "api", "--lease", "2"],
        &["unlock", "--lease", "0"],
        &["unlock", "api", "--force"],
        &["unlock", "api", "--force", "--yes"],
        &["unlock", "api", "--why", "so be it"],
        &["unlock", "api", "--force", "--why", "", "--yes"],
        &["unlock", "api", "--force", "--why", "so be it"],
        &["unlock", "nobody", "--force", "--why", "so be it"],
    ];
    let mut said = String::new();
    for args in lines {
        for lab in [&lab, &empty] {
            let before = listing(lab.path());
            let text = lab.text(args);
            assert_eq!((text.code, text.out.as_str()), (Some(2), ""), "{args:?}: {text}");
            assert!(text.took < Duration::from_secs(10), "{args:?}");
            let told: Vec<&str> = text.err.lines().collect();
            let [line, hint] = told[..] else { panic!("{args:?}: not one line and a hint: {text}") };
            assert!(line.starts_with("lease-lane: ") && hint.starts_with("hint: "), "{text}");
            let json = lab.json(args).expect(2, "error");
            assert!(json["error"]["hint"].is_string(), "{json}");
            assert_eq!(listing(lab.path()), before, "{args:?} wrote something");
        }
        let shown: Vec<&str> = args.iter().map(|arg| if arg.len() > 60 { "(long)" } else { arg }).collect();
        let _ = writeln!(said, "$ lease-lane {}\n{}", shown.join(" "), lab.text(args).err);
    }
    insta::assert_snapshot!("mistakes_of_operators", said);
}
