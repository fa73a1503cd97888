//! `CONTRACT.md`, sentence by sentence, against the real program: verbs, flags, JSON keys, outcomes, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::{Answer, BIN, DEADLINE, Lab, Sleeper, finish, keys, listing, poll, words};
use rustix::process::Signal;
use serde_json::{Value, json};

const LEASE_KEYS: &str = "lease fence lane owner tree read acquired_at heartbeat_at ttl_s expires_at alive phase \
                          halted processes run_id why labels";

// ---------------------------------------------------------------------------------------------------- acquire

#[test]
fn a_grant_has_the_keys_of_the_contract_and_is_live() {
    let lab = Lab::new();
    let granted = lab.json(&["acquire", "api", "--tree", "src/api/**"]).expect(0, "acquire");
    let expected = "outcome lease fence lane owner tree read auto_picked acquired_at ttl_s expires_at seq \
                    journaled evicted reason";
    assert_eq!(keys(&granted), words(expected));
    for (key, value) in [
        ("lane", json!("api")),
        ("owner", json!("o1")),
        ("tree", json!(["src/api/**"])),
        ("read", json!([])),
        ("auto_picked", json!(false)),
        ("ttl_s", json!(3000)),
        ("journaled", json!(true)),
        ("evicted", json!([])),
    ] {
        assert_eq!(granted[key], value, "{key}");
    }
    assert_eq!(granted["lease"], granted["seq"], "a lease is named after its record");
    for key in ["acquired_at", "expires_at"] {
        let time = granted[key].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }

    let live = lab.json(&["live"]).expect(0, "ok");
    assert_eq!(keys(&live), words("outcome seq leases waiters counters"));
    assert_eq!(live["waiters"], json!([]));
    let lease = &live["leases"][0];
    assert_eq!(keys(lease), words(LEASE_KEYS));
    for key in ["lease", "fence", "lane", "owner", "tree", "read", "acquired_at", "ttl_s", "expires_at"] {
        assert_eq!(lease[key], granted[key], "{key}");
    }
    assert_eq!(lease["alive"], "unknown", "it is bound to no process");
    assert_eq!((lease["processes"].clone(), lease["halted"].clone()), (json!([]), Value::Null));
}

#[test]
fn a_refusal_has_the_keys_of_the_contract_and_everything_that_is_in_the_way() {
    let lab = Lab::new();
    let api = lab.grant("o1", "api", "src/api/**");
    let doc = lab.grant("o2", "doc", "docs/**");
    let refused = lab
        .json_as("o3", &["acquire", "x", "--tree", "src/api/x.rs", "--tree", "docs/*.md"])
        .expect(1, "refuse");
    let expected = "outcome code lane reason seq journaled free_lanes conflicts hint";
    assert_eq!(keys(&refused), words(expected));
    assert_eq!(refused["code"], "REGION_CONFLICT");
    assert_eq!(refused["journaled"], true);
    let conflicts = refused["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 2, "all of them: {refused}");
    for (conflict, (id, lane, owner)) in conflicts.iter().zip([(api, "api", "o1"), (doc, "doc", "o2")]) {
        assert_eq!(keys(conflict), words("lease lane owner mode overlap since expires_at alive"));
        assert_eq!(conflict["lease"], id);
        assert_eq!((&conflict["lane"], &conflict["owner"]), (&json!(lane), &json!(owner)));
        assert_eq!((&conflict["mode"], &conflict["alive"]), (&json!("write"), &json!("unknown")));
    }
    assert_eq!(conflicts[0]["overlap"], "src/api/x.rs");
    // The hint can be pasted as it is.
    let hint = refused["hint"].as_str().unwrap();
    assert_eq!(hint, "lease-lane acquire x --tree src/api/x.rs --tree 'docs/*.md' --wait 5m");
    let script = hint.replace("lease-lane", BIN).replace("5m", "0s");
    let mut pasted = Command::new("sh");
    pasted.args(["-c", &format!("{script} --json --owner o3")]).current_dir(lab.path());
    finish(pasted).expect(124, "timeout");
    assert_eq!(lab.live(), [api, doc], "a refusal changes nothing");
}

#[test]
fn the_same_owner_is_refused_its_own_lane_and_told_so() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/api/**");
    let again = lab.json_as("o1", &["acquire", "api", "--tree", "src/api/**"]).expect(1, "refuse");
    assert_eq!((&again["code"], &again["yours"]), (&json!("LANE_HELD"), &json!(true)));
    let elsewhere = lab.json_as("o1", &["acquire", "API", "--tree", "elsewhere/**"]).expect(1, "refuse");
    assert_eq!((&elsewhere["code"], &elsewhere["yours"]), (&json!("LANE_HELD"), &json!(true)));
    let other = lab.json_as("o2", &["acquire", "api", "--tree", "elsewhere/**"]).expect(1, "refuse");
    assert_eq!((&other["code"], &other["yours"]), (&json!("LANE_HELD"), &json!(false)));
    assert_eq!(other["conflicts"][0]["overlap"], Value::Null, "only the name is in the way");
}

#[test]
fn readers_share_and_writers_do_not() {
    // (the first asks for, the second asks for, the second gets it, the mode that is in its way)
    for (first, second, mode) in [
        ("--read", "--read", None),
        ("--read", "--tree", Some("read")),
        ("--tree", "--read", Some("write")),
        ("--tree", "--tree", Some("write")),
    ] {
        let lab = Lab::new();
        lab.json_as("o1", &["acquire", "one", first, "src/**"]).expect(0, "acquire");
        let asked = lab.json_as("o2", &["acquire", "two", second, "src/a.rs"]);
        match mode {
            None => drop(asked.expect(0, "acquire")),
            Some(mode) => {
                let refused = asked.expect(1, "refuse");
                assert_eq!(refused["code"], "REGION_CONFLICT", "{first} {second}");
                assert_eq!(refused["conflicts"][0]["mode"], mode, "{first} {second}");
                assert_eq!(refused["conflicts"][0]["overlap"], "src/a.rs", "{first} {second}");
            }
        }
    }
}

#[test]
fn a_request_is_granted_as_a_whole_or_not_at_all() {
    let lab = Lab::new();
    lab.grant("o1", "held", "b/**");
    lab.json_as("o2", &["acquire", "x", "--tree", "a/**", "--tree", "b/x", "--tree", "c/**", "--lock", "l"])
        .expect(1, "refuse");
    for (lane, ask) in [("a", ["--tree", "a/**"]), ("c", ["--tree", "c/**"]), ("l", ["--lock", "l"])] {
        lab.json_as("o3", &["acquire", lane, ask[0], ask[1]]).expect(0, "acquire");
    }
}

#[test]
fn locks_and_the_whole_project() {
    let lab = Lab::new();
    let lock = lab.json_as("o1", &["acquire", "--lock", "deploy"]).expect(0, "acquire");
    assert_eq!(lock["tree"], json!(["lock://deploy"]));
    assert_eq!(lock["lane"], "lock://deploy", "without a name the lane is named after its first entry");
    let refused = lab.json_as("o2", &["acquire", "d2", "--lock", "deploy"]).expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["overlap"], "lock://deploy");
    lab.json_as("o2", &["acquire", "d3", "--lock", "deploy2"]).expect(0, "acquire");
    let refused = lab.json_as("o2", &["acquire", "d4", "--tree", "lock://deploy"]).expect(1, "refuse");
    assert_eq!(refused["code"], "REGION_CONFLICT");

    for whole in [&["--whole"][..], &["--tree", "**"], &["--tree", "."]] {
        let lab = Lab::new();
        let granted = lab.json(&[&["acquire", "all"], whole].concat()).expect(0, "acquire");
        assert_eq!(granted["tree"], json!(["**"]), "{whole:?}");
        lab.json_as("o2", &["acquire", "x", "--tree", "deep/down/x.rs"]).expect(1, "refuse");
    }
}

#[test]
fn a_lane_without_a_name_is_named_after_its_first_entry() {
    let lab = Lab::new();
    let granted = lab.json(&["acquire", "--tree", "src/b/**", "--tree", "src/a"]).expect(0, "acquire");
    assert_eq!(granted["lane"], "src/b/**");
    lab.json(&["release", "src/b/**"]).expect(0, "released");
}

#[test]
fn lane_names_are_names_and_never_files() {
    let longest = "n".repeat(256);
    for name in ["a/b", "..", ".", "x.lock", "../../escape", "/etc/passwd", "ünï", "a b", &longest] {
        let lab = Lab::new();
        let granted = lab.json(&["acquire", name, "--tree", "a"]).expect(0, "acquire");
        assert_eq!(granted["lane"], name);
        let upper = name.to_uppercase();
        let refused = lab.json_as("o2", &["acquire", &upper, "--tree", "b"]).expect(1, "refuse");
        assert_eq!(refused["code"], "LANE_HELD", "{name}: lanes are compared without regard to case");
        let live = lab.json(&["live"]).expect(0, "ok");
        assert_eq!(live["leases"][0]["lane"], name);
        lab.json(&["heartbeat", &upper]).expect(0, "beat");
        lab.json(&["release", name]).expect(0, "released");
        for path in listing(lab.path()).keys() {
            let file = path.file_name().unwrap().to_string_lossy();
            assert!(file != "x.lock" && file != "escape" && !file.contains("nnn"), "{}", path.display());
        }
    }
    let lab = Lab::new();
    let before = listing(lab.path());
    for bad in ["n".repeat(257), String::new()] {
        lab.json(&["acquire", &bad, "--tree", "a"]).expect(2, "error");
    }
    assert_eq!(listing(lab.path()), before);
}

#[test]
fn regions_come_from_the_policy_and_unknown_lanes_are_never_replaced() {
    let lab = Lab::new();
    let policy = "ttl = '10m'\n[lanes.api]\ntree = ['src/api/**']\nread = ['proto/**']\nttl = '1h'\n\
                  [lanes.docs]\ntree = ['docs/**']\n";
    lab.write("lease-lane.toml", policy);
    let api = lab.json(&["acquire", "api"]).expect(0, "acquire");
    assert_eq!((&api["tree"], &api["read"]), (&json!(["src/api/**"]), &json!(["proto/**"])));
    assert_eq!(api["ttl_s"], 3600);
    let other = lab.json(&["acquire", "other", "--tree", "x"]).expect(0, "acquire");
    assert_eq!(other["ttl_s"], 600);

    let before = lab.live();
    let refused = lab.json_as("o2", &["acquire", "dosc"]).expect(1, "refuse");
    assert_eq!(refused["code"], "UNKNOWN_LANE");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("`api`") && reason.contains("`docs`"), "{reason}");
    assert_eq!(refused["free_lanes"], json!(["docs"]), "api is taken");
    assert_eq!(lab.live(), before);
    lab.json_as("o2", &["acquire", "DOCS"]).expect(0, "acquire");

    // Another policy by flag and by variable.
    let given = lab.write("other.toml", "[lanes.web]\ntree = ['web/**']\n");
    lab.json(&["--policy", given.to_str().unwrap(), "acquire", "web"]).expect(0, "acquire");
    lab.json(&["release", "web"]).expect(0, "released");
    let mut by_variable = lab.command_as("o1", &["acquire", "web"]);
    by_variable.env("LEASE_LANE_POLICY", &given);
    finish(by_variable).expect(0, "acquire");
    lab.assert_sound();
}

#[test]
fn a_request_id_names_one_request_and_gives_its_first_verdict_again() {
    let lab = Lab::new();
    let ask = ["acquire", "api", "--tree", "src/**", "--request-id", "r1"];
    let first = lab.json(&ask).expect(0, "acquire");
    assert_eq!(first["repeated"], Value::Null);
    let before = listing(lab.store());
    let mut again = lab.json(&ask).expect(0, "acquire");
    assert_eq!(again["repeated"], true);
    assert_eq!(listing(lab.store()), before, "nothing new is written");
    again.as_object_mut().unwrap().remove("repeated");
    assert_eq!(again, first, "the first verdict, to the letter");

    let taken = lab.json(&["acquire", "api", "--tree", "docs/**", "--request-id", "r1"]).expect(2, "error");
    assert_eq!(taken["error"]["kind"], "request_id");
    assert_eq!(listing(lab.store()), before);

    // A refusal is remembered as well, also when the way is free by now.
    let refused = ["acquire", "x", "--tree", "src/x", "--request-id", "r2"];
    lab.json_as("o2", &refused).expect(1, "refuse");
    lab.json(&["release", "api"]).expect(0, "released");
    let again = lab.json_as("o2", &refused).expect(1, "refuse");
    assert_eq!(again["repeated"], true);
    // Across a compaction too.
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(lab.json_as("o2", &refused).expect(1, "refuse")["repeated"], true);
}

#[test]
fn leases_from_elsewhere_count_and_are_recorded() {
    let lab = Lab::new();
    let elsewhere = Lab::new();
    elsewhere.grant("them", "their lane", "shared/**");
    let live = elsewhere.json(&["live"]).out;
    let file = lab.write("theirs.json", &live);
    let leases: Value = serde_json::from_str(&live).unwrap();
    let list = lab.write("list.json", &leases["leases"].to_string());
    for file in [&file, &list] {
        let ask = ["acquire", "mine", "--tree", "shared/x", "--with-leases", file.to_str().unwrap()];
        let refused = lab.json(&ask).expect(1, "refuse");
        assert_eq!(refused["code"], "REGION_CONFLICT");
        assert_eq!(refused["conflicts"][0]["owner"], "them");
    }
    let granted = ["acquire", "mine", "--tree", "free", "--with-leases", file.to_str().unwrap()];
    lab.json(&granted).expect(0, "acquire");
    let record: Value = serde_json::from_str(&lab.json(&["tail", "-n", "1"]).out).unwrap();
    assert_eq!(record["evidence"]["with_leases"][0]["lane"], "their lane");
    assert_eq!(lab.live().len(), 1, "they are not brought over");
    lab.assert_sound();

    let broken = lab.write("broken.json", "[{\"lease\":");
    let before = listing(lab.store());
    for bad in [broken.to_str().unwrap(), "no/such/file"] {
        lab.json(&["acquire", "z", "--tree", "z", "--with-leases", bad]).expect(2, "error");
    }
    assert_eq!(listing(lab.store()), before);
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = Lab::new();
    let before = listing(lab.path());
    let granted = lab.json(&["acquire", "api", "--tree", "src/**", "--dry-run"]).expect(0, "acquire");
    assert_eq!((&granted["journaled"], &granted["seq"]), (&json!(false), &Value::Null));
    assert_eq!(listing(lab.path()), before, "not even a store");
    lab.grant("o1", "api", "src/**");
    let before = listing(lab.path());
    let refused = lab.json_as("o2", &["acquire", "x", "--tree", "src/x", "--dry-run"]).expect(1, "refuse");
    assert_eq!(refused["journaled"], false);
    lab.json_as("o2", &["acquire", "y", "--tree", "y", "--dry-run"]).expect(0, "acquire");
    assert_eq!(listing(lab.path()), before);
}

#[test]
fn labels_come_back() {
    let lab = Lab::new();
    let ask = ["acquire", "api", "--tree", "a", "--run-id", "run-7", "--why", "because", "--label", "k=v=w"];
    lab.json(&[&ask[..], &["--label", "team=x"]].concat()).expect(0, "acquire");
    let lease = lab.json(&["live"]).expect(0, "ok")["leases"][0].clone();
    assert_eq!((&lease["run_id"], &lease["why"]), (&json!("run-7"), &json!("because")));
    assert_eq!(lease["labels"], json!({"k": "v=w", "team": "x"}));
    let record: Value = serde_json::from_str(&lab.json(&["tail", "-n", "1"]).out).unwrap();
    assert_eq!(record["request"]["run_id"], "run-7");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(lab.json(&["live"]).expect(0, "ok")["leases"][0], lease, "a checkpoint keeps them");
    lab.json(&["acquire", "x", "--tree", "x", "--label", "novalue"]).expect(2, "error");
}

#[test]
fn waiting_ends_with_a_grant_or_with_124() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/**");
    let began = Instant::now();
    let late = lab.json_as("o2", &["acquire", "x", "--tree", "src/x", "--wait", "300ms"]);
    let timeout = late.expect(124, "timeout");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(timeout["code"], "REGION_CONFLICT");
    assert!(late.err.starts_with("Blocking waiting for"), "it says so when the wait begins: {}", late.err);
    lab.json_as("o2", &["acquire", "x", "--tree", "src/x", "--wait=0s"]).expect(124, "timeout");

    let began = Instant::now();
    let mut waiting = kit::start(lab.command_as("o2", &["acquire", "x", "--tree", "src/x", "--wait", "30s"]));
    let mut talk = BufReader::new(waiting.stderr.take().unwrap());
    let mut said = String::new();
    talk.read_line(&mut said).unwrap();
    assert!(said.starts_with("Blocking waiting for"), "{said}");
    lab.json(&["release", "api"]).expect(0, "released");
    kit::wait(waiting, began).expect(0, "acquire");
    assert!(began.elapsed() < Duration::from_secs(10));
    for bad in ["--wait=soon", "--wait="] {
        lab.json(&["acquire", "x", "--tree", "q", bad]).expect(2, "error");
    }
}

// ------------------------------------------------------------------------------------------ release, heartbeat

#[test]
fn what_a_holder_may_do_and_nobody_else() {
    let lab = Lab::new();
    lab.json(&["release", "api"]).expect(1, "not_held");
    lab.json(&["heartbeat", "api"]).expect(1, "not_held");
    assert!(!lab.store().exists(), "no answer to that needs a store");
    let lease = lab.grant("o1", "api", "src/**").to_string();
    for verb in ["release", "heartbeat"] {
        let not_yours = lab.json_as("o2", &[verb, "api"]).expect(3, "not_yours");
        assert_eq!(not_yours["owner"], "o1");
        lab.json_as("o2", &[verb, "--lease", &lease]).expect(3, "not_yours");
        lab.json(&[verb, "api", "--fence", "1"]).expect(3, "fenced");
        lab.json(&[verb, "--lease", &lease, "--fence", "99"]).expect(3, "fenced");
        lab.json(&[verb, "other"]).expect(1, "not_held");
        lab.json(&[verb, "--lease", "4711"]).expect(1, "not_held");
        lab.json(&[verb, "api", "--lease", &lease]).expect(2, "error");
        lab.json(&[verb]).expect(2, "error");
        lab.json(&[verb, "--lease", "0"]).expect(2, "error");
    }
    let beat = lab.json(&["heartbeat", "api", "--fence", &lease]).expect(0, "beat");
    assert_eq!(keys(&beat), words("outcome lease fence lane coalesced expires_at halted phase seq"));
    assert_eq!(beat["coalesced"], false);
    let before = listing(lab.store());
    let beat = lab.json(&["heartbeat", "--lease", &lease, "--coalesce", "1h"]).expect(0, "beat");
    assert_eq!((&beat["coalesced"], &beat["seq"]), (&json!(true), &Value::Null));
    assert_eq!(listing(lab.store()), before, "nothing was written");
    let beat = lab.json(&["heartbeat", "api", "--coalesce", "0s"]).expect(0, "beat");
    assert_eq!(beat["coalesced"], false);

    let released = lab.json(&["release", "--lease", &lease, "--fence", &lease]).expect(0, "released");
    assert_eq!(keys(&released), words("outcome lease fence lane owner seq"));
    lab.json(&["release", "api"]).expect(1, "not_held");
    let next = lab.grant("o1", "api", "src/**");
    assert!(next > lease.parse().unwrap(), "numbers only grow");
    lab.json(&["heartbeat", "api", "--fence", &lease]).expect(3, "fenced");
}

#[test]
fn a_holder_whose_lease_was_taken_is_told_that_it_expired() {
    let lab = Lab::new();
    let first = lab.json(&["acquire", "api", "--tree", "src/**", "--ttl", "50ms"]).expect(0, "acquire");
    let second = poll("the lease expires", Duration::from_secs(10), || {
        let asked = lab.json_as("o2", &["acquire", "x", "--tree", "src/x"]);
        (asked.code == Some(0)).then(|| asked.value())
    });
    assert_eq!(
        second["evicted"],
        json!([{"lease": first["lease"], "lane": "api", "owner": "o1", "why": "expired"}])
    );
    let id = first["lease"].to_string();
    for ask in [&["heartbeat", "api"][..], &["release", "api"], &["heartbeat", "--lease", &id]] {
        assert_eq!(lab.json(ask).expect(3, "expired")["lease"], first["lease"]);
    }
    // Nobody else is told that a lease of theirs expired.
    for ask in [["heartbeat", "--lease", &id], ["release", "--lease", &id]] {
        lab.json_as("o2", &ask).expect(1, "not_held");
    }
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------------- check

#[test]
fn check_says_who_holds_what_is_not_covered() {
    let lab = Lab::new();
    lab.json(&["check", "a"]).expect(1, "not_held");
    assert!(!lab.store().exists());
    let lease = lab.grant("o1", "api", "src/**").to_string();
    lab.grant("o2", "docs", "docs/**");
    let ok = lab.json(&["check", "src/a.rs", "src/deep/b.rs"]).expect(0, "ok");
    assert_eq!(ok["paths"].as_array().unwrap().len(), 2);
    let no = lab.json(&["check", "src/a.rs", "docs/x.md"]).expect(1, "not_held");
    assert_eq!(no["paths"][0]["covered"], true);
    assert_eq!(no["paths"][1]["covered"], false);
    assert_eq!(no["paths"][1]["holders"][0]["owner"], "o2");
    assert_eq!(keys(&no["paths"][1]["holders"][0]), words(LEASE_KEYS));
    lab.json(&["check", "src/a.rs", "--lease", &lease, "--fence", &lease]).expect(0, "ok");
    lab.json(&["check", "src/a.rs", "--lease", &lease, "--fence", "77"]).expect(3, "fenced");
    lab.json(&["check", "src/a.rs", "--lease", "77"]).expect(1, "not_held");
    lab.json(&["check", "../outside"]).expect(2, "error");
    // One file, two spellings.
    std::fs::create_dir_all(lab.path().join("src/real")).unwrap();
    std::os::unix::fs::symlink("src/real", lab.path().join("link")).unwrap();
    lab.json(&["check", "link/x.rs", "./src/../src/y", "src//z"]).expect(0, "ok");
    let refused = lab.json_as("o3", &["acquire", "l", "--tree", "link/**"]).expect(1, "refuse");
    assert_eq!(refused["code"], "REGION_CONFLICT");
}

#[test]
fn check_answers_for_locks_and_pools_too() {
    let lab = Lab::new();
    lab.json(&["check", "lock://a"]).expect(1, "not_held");
    lab.json(&["acquire", "a", "--lock", "a", "--tree", "pool://gpu", "--tree", "src"]).expect(0, "acquire");
    let ok = lab.json(&["check", "lock://a", "lock://A", "pool://gpu", "src/x"]).expect(0, "ok");
    assert_eq!((&ok["paths"][0]["path"], &ok["paths"][0]["lane"]), (&json!("lock://a"), &json!("a")));
    let no = lab.json(&["check", "lock://a", "lock://b"]).expect(1, "not_held");
    assert_eq!((&no["paths"][0]["covered"], &no["paths"][1]["covered"]), (&json!(true), &json!(false)));
    for other in ["lock://gpu", "pool://a", "lock://*", "lock:/a", "a"] {
        lab.json(&["check", other]).expect(1, "not_held");
    }
    // To another it says who holds it, and what to do.
    let no = lab.json_as("o2", &["check", "lock://a"]).expect(1, "not_held");
    assert_eq!(no["paths"][0]["holders"][0]["owner"], "o1");
    let said = lab.text(&["--owner", "o2", "check", "lock://a"]).out;
    assert!(said.contains("no   lock://a  ") && said.contains("--tree lock://a\n"), "{said}");
    lab.json(&["check", "lock://"]).expect(2, "error");
    lab.json(&["release", "a"]).expect(0, "released");
    lab.json(&["acquire", "all", "--lock", "*"]).expect(0, "acquire");
    lab.json(&["check", "lock://a", "pool://gpu", "lock://*"]).expect(0, "ok");
    lab.json(&["check", "src/x"]).expect(1, "not_held");
}

#[test]
fn what_is_said_of_who_is_in_the_way_is_true_and_said_once() {
    let lab = Lab::new();
    let sleeper = Sleeper::new();
    let bound = ["acquire", "x", "--tree", "src", "--bind", &sleeper.pid()];
    let lease = lab.json_as("bob", &bound).expect(0, "acquire")["lease"].to_string();
    let who = format!("held by `bob` (lease {lease}, pid {}) for ", sleeper.pid());
    for (lane, more) in [("x", ""), ("y", "; it writes `src/.a`")] {
        let waited = lab.text(&["acquire", lane, "--tree", "src/.a", "--wait", "10ms"]);
        let line = waited.err.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("Blocking waiting for lane `x`: {who}")), "{line}");
        assert!(line.ends_with(more) && line.matches("held by").count() == 1, "{line}");
    }
    let foreign = lab.text(&["release", "--lease", &lease]);
    assert!(
        foreign.out.starts_with(&format!("not_yours: lease {lease} belongs to `bob`, not to `o1`")),
        "{foreign}"
    );

    // Its time is over, its process lives: it holds on.
    lab.json_as("eve", &["acquire", "z", "--lock", "z", "--ttl", "1ms", "--bind", &sleeper.pid()])
        .expect(0, "acquire");
    let refused = poll("the time is over", DEADLINE, || {
        let refused = lab.text(&["acquire", "z", "--lock", "z"]);
        assert_eq!(refused.code, Some(1), "{refused}");
        refused.out.contains(" ago, processes alive").then_some(refused)
    });
    assert!(refused.out.contains(", expired ") && !refused.out.contains("expires"), "{refused}");
}

// ------------------------------------------------------------------------------------------- regions, arbitrate

#[test]
fn questions_about_patterns_need_no_store() {
    let lab = Lab::without_repository();
    let ask = |args: &[&str]| lab.json(&[&["region"], args].concat());
    assert_eq!(ask(&["overlap", "src/**", "**/a.rs"]).expect(1, "overlap")["witness"], "src/a.rs");
    assert_eq!(keys(&ask(&["overlap", "src", "src/a"]).expect(1, "overlap")), words("outcome witness"));
    assert_eq!(keys(&ask(&["overlap", "src/a", "src/b"]).expect(0, "disjoint")), words("outcome"));
    ask(&["overlap", "src/**/api", "src/api"]).expect(1, "overlap");
    ask(&["overlap", "A", "a"]).expect(1, "overlap");
    ask(&["overlap", "A", "a", "--case", "exact"]).expect(0, "disjoint");
    ask(&["overlap", "A", "a", "--case", "fold"]).expect(1, "overlap");
    ask(&["overlap", "lock://a", "a"]).expect(0, "disjoint");
    ask(&["match", "src/*.rs", "src/a.rs"]).expect(0, "match");
    ask(&["match", "src/*.rs", "src/b/a.rs"]).expect(1, "no_match");
    ask(&["match", "src", "src/b/a.rs"]).expect(0, "match");
    ask(&["match", "src/{a,b}/?[!x]", "src/a/yz"]).expect(0, "match");
    ask(&["overlap", "[a", "b"]).expect(2, "error");
    ask(&["match", "a", "../b"]).expect(2, "error");
    ask(&["overlap", "a", "b", "--case", "upper"]).expect(2, "error");
    assert_eq!(listing(lab.path()).len(), 0);
}

fn arbitrate(lab: &Lab, questions: &str) -> (Answer, Vec<Value>) {
    let began = Instant::now();
    let mut command = lab.command(["arbitrate"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = questions.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).ok());
    let answer = kit::wait(child, began);
    writer.join().unwrap();
    let verdicts = answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (answer, verdicts)
}

#[test]
fn arbitrate_says_what_acquire_says() {
    let lab = Lab::new();
    let nowhere = Lab::without_repository();
    lab.grant("o1", "api", "src/api/**");
    lab.json_as("o2", &["acquire", "docs", "--read", "docs/**"]).expect(0, "acquire");
    let mut same = 0;
    for (owner, args) in [
        ("o3", &["acquire", "x", "--tree", "src/api/x.rs"][..]),
        ("o3", &["acquire", "y", "--tree", "web/**", "--ttl", "5m"]),
        ("o3", &["acquire", "z", "--tree", "docs/a.md"]),
        ("o3", &["acquire", "r", "--read", "docs/a.md"]),
        ("o1", &["acquire", "API", "--tree", "q"]),
        ("o1", &["acquire", "nobody-knows"]),
        ("o1", &["acquire", "--whole"]),
    ] {
        let live = lab.json(&["live"]).expect(0, "ok");
        let mut verdict = lab.json_as(owner, args).value();
        let record: Value = serde_json::from_str(&lab.json(&["tail", "-n", "1"]).out).unwrap();
        let question =
            json!({"request": record["request"], "live": live["leases"], "policy": {}, "now": record["ts"]});
        let (answer, verdicts) = arbitrate(&nowhere, &format!("{question}\n"));
        assert_eq!(answer.code, Some(0));
        for key in ["seq", "journaled", "lease", "fence"] {
            verdict.as_object_mut().unwrap().remove(key);
        }
        assert_eq!(verdicts, [verdict], "{args:?}");
        same += 1;
    }
    assert_eq!(same, 7);
    // Many questions, one answer each; one that cannot be read does not stop the others.
    let one =
        r#"{"request":{"lane":"a","owner":"o","tree":["a"]},"live":[],"now":"2026-11-21T07:31:11.123Z"}"#;
    let (answer, verdicts) = arbitrate(&nowhere, &format!("{one}\nnonsense\n\n{one}"));
    assert_eq!(answer.code, Some(2));
    let outcomes: Vec<&str> = verdicts.iter().map(|verdict| verdict["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["acquire", "error", "acquire"]);
    assert_eq!(listing(nowhere.path()).len(), 0, "pure");
}

// ------------------------------------------------------------------------------------------------ replay, tail

fn some_history() -> (Lab, Vec<u64>) {
    let lab = Lab::new();
    let a = lab.grant("o1", "a", "a/**");
    let b = lab.grant("o2", "b", "b/**");
    lab.json_as("o3", &["acquire", "c", "--tree", "a/x"]).expect(1, "refuse");
    let release = lab.json_as("o1", &["release", "a"]).expect(0, "released")["seq"].as_u64().unwrap();
    let c = lab.grant("o3", "c", "a/x");
    (lab, vec![a, b, release, c])
}

fn lanes(answer: &Value) -> Vec<&str> {
    answer["leases"].as_array().unwrap().iter().map(|lease| lease["lane"].as_str().unwrap()).collect()
}

#[test]
fn replay_shows_the_live_set_as_it_is_and_as_it_was() {
    let (lab, seqs) = some_history();
    let replayed = lab.json(&["replay"]).expect(0, "ok");
    let mut live = lab.json(&["live"]).expect(0, "ok");
    // What has happened so far is said of the present only.
    assert!(live.as_object_mut().unwrap().remove("counters").is_some_and(|counters| counters.is_object()));
    assert_eq!(keys(&replayed), keys(&live));
    assert_eq!(replayed, live);
    let at = |at: &str| lab.json(&["replay", "--at", at]).expect(0, "ok");
    assert_eq!(lanes(&at(&seqs[0].to_string())), ["a"]);
    assert_eq!(lanes(&at(&seqs[1].to_string())), ["a", "b"]);
    assert_eq!(lanes(&at(&(seqs[2] - 1).to_string())), ["a", "b"]);
    assert_eq!(lanes(&at(&seqs[2].to_string())), ["b"]);
    assert_eq!(lanes(&at("1")), [""; 0]);
    assert_eq!(lanes(&at("99999")), ["b", "c"], "what has not been written yet changes nothing");
    assert_eq!(lanes(&at("2020-01-01T00:00:00Z")), [""; 0]);
    assert_eq!(lanes(&at("2999-01-01T00:00:00.000Z")), ["b", "c"]);
    let time = at("2")["leases"][0]["acquired_at"].as_str().unwrap().to_owned();
    assert_eq!(lanes(&at(&time))[0], "a");
    for bad in ["0", "yesterday", ""] {
        lab.json(&["replay", "--at", bad]).expect(2, "error");
    }
    let verdicts = lab.json(&["replay", "--verdicts"]).expect(0, "ok");
    assert_eq!(verdicts["decisions"], 4, "three grants and a refusal");

    // The past survives a compaction that keeps it, and one that does not says so.
    live["seq"] = json!(null);
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    assert_eq!(lanes(&at(&seqs[1].to_string())), ["a", "b"]);
    assert_eq!(lab.json(&["replay", "--verdicts"]).expect(0, "ok")["decisions"], 4);
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(lab.json(&["replay", "--at", "2"]).expect(2, "error")["error"]["kind"], "pruned");
    let mut after = lab.json(&["replay"]).expect(0, "ok");
    after["seq"] = json!(null);
    assert_eq!(after, live);
}

#[test]
fn tail_shows_records_oldest_first_and_filters() {
    let (lab, _) = some_history();
    let ops = |args: &[&str]| -> Vec<String> {
        let answer = lab.json(&[&["tail"], args].concat());
        assert_eq!(answer.code, Some(0), "{answer}");
        let records = answer.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| format!("{} {}", record["seq"], record["op"].as_str().unwrap())).collect()
    };
    assert_eq!(ops(&[]), ["1 CHECKPOINT", "2 ACQUIRE", "3 ACQUIRE", "4 REFUSE", "5 RELEASE", "6 ACQUIRE"]);
    assert_eq!(ops(&["-n", "2"]), ["5 RELEASE", "6 ACQUIRE"]);
    assert_eq!(ops(&["-n", "0"]), [""; 0]);
    assert_eq!(ops(&["--lane", "A"]), ["2 ACQUIRE", "5 RELEASE"]);
    assert_eq!(ops(&["--owner", "o3"]), ["4 REFUSE", "6 ACQUIRE"]);
    assert_eq!(ops(&["--op", "refuse"]), ["4 REFUSE"]);
    assert_eq!(ops(&["--op", "ACQUIRE", "--lane", "b"]), ["3 ACQUIRE"]);
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    assert_eq!(ops(&["-n", "3"]), ["5 RELEASE", "6 ACQUIRE", "7 CHECKPOINT"], "across segments, each once");
}

#[test]
fn tail_f_shows_what_is_written_while_it_looks() {
    let lab = Lab::new();
    lab.grant("o1", "a", "a");
    let mut command = lab.command_as("o1", &["tail", "-f", "-n", "1", "--op", "acquire", "--owner", "o2"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let (send, receive) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let next = || -> Value { serde_json::from_str(&receive.recv_timeout(DEADLINE).unwrap()).unwrap() };
    lab.grant("o2", "b", "b");
    assert_eq!(next()["lane"], "b");
    lab.grant("o1", "c", "c");
    lab.json(&["compact"]).expect(0, "ok");
    lab.grant("o2", "d", "d");
    assert_eq!(next()["lane"], "d", "across a new segment, and without what is filtered");
    kit::signal(tail.id(), Signal::KILL);
    tail.wait().unwrap();
    reader.join().unwrap();
}

// -------------------------------------------------------------------------- compact, verify, doctor, init, import

#[test]
fn compact_keeps_what_lives_and_as_much_history_as_asked() {
    let (lab, _) = some_history();
    let live = |lab: &Lab| lab.json(&["live"]).expect(0, "ok")["leases"].clone();
    let before = live(&lab);
    let all = lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    assert_eq!(keys(&all), words("outcome segments_before segments_after bytes_reclaimed live"));
    assert_eq!((&all["segments_before"], &all["segments_after"]), (&json!(1), &json!(2)));
    assert_eq!((&all["bytes_reclaimed"], &all["live"]), (&json!(0), &json!(2)));
    lab.grant("o4", "d", "d");
    lab.json_as("o4", &["release", "d"]).expect(0, "released");
    let day = lab.json(&["compact", "--keep", "1d"]).expect(0, "ok");
    assert_eq!(day["segments_after"], 3, "all of it is younger than a day");
    let none = lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!(none["segments_after"], 1);
    assert!(none["bytes_reclaimed"].as_u64().unwrap() > 0);
    assert_eq!(live(&lab), before);
    let again = lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    assert_eq!((&again["segments_before"], &again["segments_after"]), (&json!(1), &json!(1)));
    lab.json(&["compact", "--keep", "some"]).expect(2, "error");
    lab.assert_sound();
    let next = lab.grant("o5", "e", "e");
    assert!(next > 6, "numbers go on: {next}");
}

#[test]
fn verify_doctor_and_repair_of_a_sound_store() {
    let (lab, _) = some_history();
    let verified = lab.json(&["verify"]).expect(0, "ok");
    assert_eq!(verified["records"], 6);
    assert_eq!((&verified["void"], &verified["torn"]), (&json!(0), &json!(0)));
    let doctor = lab.json(&["doctor"]).expect(0, "ok");
    assert_eq!(doctor["store"], lab.store().to_str().unwrap());
    assert_eq!(doctor["live"], 2);
    let before = listing(lab.store());
    for args in [&["repair"][..], &["repair", "--yes"]] {
        assert_eq!(lab.json(args).expect(0, "ok")["repaired"], false);
    }
    let lines = |path: &Path| std::fs::read(path).unwrap();
    let mut after = listing(lab.store());
    assert!(after.remove(&lab.store().join("queue")).is_some(), "whoever may change anything queues up");
    assert_eq!(after, before);
    // A torn line and stray bytes of a late writer are counted, not errors.
    let segment = lab.active_segment();
    let mut bytes = lines(&segment);
    bytes.extend_from_slice(b"{\"seq\":7,\"ts\":\"20");
    std::fs::write(&segment, bytes).unwrap();
    let verified = lab.json(&["verify"]).expect(0, "ok");
    assert_eq!((&verified["torn"], &verified["records"]), (&json!(1), &json!(6)));
    lab.grant("o9", "after", "after/**");
    lab.json(&["acquire", "again", "--tree", "after/x"]).expect(1, "refuse");
    lab.assert_sound();
    assert_eq!(lab.live().len(), 3, "the next append was not swallowed");
}

#[test]
fn reads_never_write() {
    let (lab, _) = some_history();
    let before = listing(lab.path());
    for args in [
        &["live"][..],
        &["check", "a/x"],
        &["replay"],
        &["replay", "--verdicts"],
        &["tail"],
        &["verify"],
        &["repair"],
        &["doctor"],
        &["region", "overlap", "a", "b"],
    ] {
        lab.json(args);
        assert_eq!(listing(lab.path()), before, "{args:?}");
    }
    let lab = Lab::new();
    let before = listing(lab.path());
    for args in [
        &["live"][..],
        &["check", "a"],
        &["replay"],
        &["tail"],
        &["verify"],
        &["repair"],
        &["doctor"],
        &["compact"],
    ] {
        let answer = lab.json(args);
        assert!(matches!(answer.code, Some(0 | 1)), "{args:?}: {answer}");
        assert_eq!(listing(lab.path()), before, "{args:?} made a store");
    }
}

#[test]
fn init_makes_a_store_once_and_modes_are_tight_under_any_umask() {
    for (umask, in_git) in [("0000", false), ("0777", false), ("0022", true)] {
        let lab = if in_git { Lab::new() } else { Lab::without_repository() };
        let store = lab.path().join(if in_git { ".git/lease-lane" } else { ".lease-lane" });
        let run = |args: &str| {
            let mut command = Command::new("sh");
            let script = format!("umask {umask}; exec {BIN} {args} --json");
            command.args(["-c", &script]).current_dir(lab.path()).env_clear().env("LEASE_LANE_OWNER", "o1");
            finish(command)
        };
        let made = run("init").expect(0, "ok");
        assert_eq!((&made["created"], &made["store"]), (&json!(true), &json!(store.to_str().unwrap())));
        assert_eq!(run("init").expect(0, "ok")["created"], false);
        run("acquire a --tree a").expect(0, "acquire");
        run("compact").expect(0, "ok");
        let all = listing(&store);
        assert!(all.len() > 5);
        for path in all.keys() {
            let meta = path.symlink_metadata().unwrap();
            let mode = if meta.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(meta.mode() & 0o7777, mode, "umask {umask}: {}", path.display());
        }
        assert_eq!(store.metadata().unwrap().mode() & 0o7777, 0o700);
    }
}

#[test]
fn lane_journals_of_dos_come_over() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dos");
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        seen += 1;
        let expected: Value =
            serde_json::from_slice(&std::fs::read(file.with_extension("live.json")).unwrap()).unwrap();
        let lab = Lab::new();
        let name = file.to_str().unwrap();
        let dry = lab.json(&["import", "dos", name, "--dry-run"]).expect(0, "ok");
        assert_eq!(dry["would_import"], expected, "{name}");
        assert!(!lab.store().exists());
        lab.json(&["import", "dos", name]).expect(0, "ok");
        let live = lab.json(&["live"]).expect(0, "ok");
        let (ours, theirs) = (live["leases"].as_array().unwrap(), expected.as_array().unwrap());
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (our, their) in ours.iter().zip(theirs) {
            assert_eq!(our["lane"], their["lane"]);
            assert_eq!(our["owner"], their["holder"]);
            assert_eq!(our["tree"], their["tree"]);
            assert_eq!(our["run_id"], their["run_id"]);
            let plain = |value: &Value| value.as_str().map(|text| text.replace(".000Z", "Z"));
            assert_eq!(plain(&our["acquired_at"]), plain(&their["acquired_at"]));
            let beat =
                if their["heartbeat_at"].is_null() { &their["acquired_at"] } else { &their["heartbeat_at"] };
            assert_eq!(plain(&our["heartbeat_at"]), plain(beat));
        }
        lab.assert_sound();
        // All of them come over or none does.
        let lab = Lab::new();
        let Some(last) = theirs.last() else { continue };
        let held = lab.grant("o2", "held", last["tree"][0].as_str().unwrap());
        let before = lab.live();
        let refused = lab.json(&["import", "dos", name]).expect(1, "refuse");
        assert_eq!(
            (&refused["imported"], &refused["refusal"]["conflicts"][0]["lease"]),
            (&json!(0), &json!(held))
        );
        assert_eq!(lab.live(), before);
    }
    assert_eq!(seen, 6);
}

// --------------------------------------------------------------------------------------- flags, environment, place

#[test]
fn global_flags_work_before_and_after_the_command_and_beat_the_environment() {
    let lab = Lab::new();
    let other = Lab::without_repository();
    let store = other.path().join("s");
    let store = store.to_str().unwrap();
    finish(lab.command(["--json", "--owner", "me", "--store", store, "acquire", "a", "--tree", "x"]))
        .expect(0, "acquire");
    finish(lab.command(["live", "--store", store, "--json"])).expect(0, "ok");
    let mut by_variable = lab.command(["release", "a", "--json"]);
    by_variable.env("LEASE_LANE_STORE", store).env("LEASE_LANE_OWNER", "me");
    finish(by_variable).expect(0, "released");
    let mut flag_wins =
        lab.command(["acquire", "b", "--tree", "y", "--json", "--store", store, "--owner", "flag"]);
    flag_wins.env("LEASE_LANE_STORE", "/nowhere/at/all").env("LEASE_LANE_OWNER", "variable");
    assert_eq!(finish(flag_wins).expect(0, "acquire")["owner"], "flag");
    assert!(!lab.store().exists());

    // The root: what paths are relative to.
    std::fs::create_dir_all(lab.path().join("sub/deep")).unwrap();
    for (flag, variable, cwd, tree) in
        [(None, None, "sub", "src/x"), (Some("sub"), None, "", "src/x"), (None, Some("sub"), "", "src/x")]
    {
        let mut command = lab.command(["acquire", "r", "--tree", tree, "--json", "--dry-run"]);
        command.current_dir(lab.path().join(cwd));
        if let Some(root) = flag {
            command.args(["--root", root]);
        }
        if let Some(root) = variable {
            command.env("LEASE_LANE_ROOT", root);
        }
        let granted = finish(command).expect(0, "acquire");
        assert_eq!(
            granted["tree"],
            json!(["src/x"]),
            "patterns are relative to the root, wherever one stands"
        );
    }
    let absolute = lab.path().join("sub/x");
    let granted = lab.json(&["acquire", "abs", "--tree", absolute.to_str().unwrap(), "--dry-run"]);
    assert_eq!(granted.expect(0, "acquire")["tree"], json!(["sub/x"]));
}

#[test]
fn the_owner_is_never_the_login_or_nobody() {
    let lab = Lab::new();
    let ask = |set: &[(&str, &str)]| {
        let mut command = Command::new(BIN);
        command
            .args(["acquire", "a", "--tree", "a", "--dry-run", "--json"])
            .current_dir(lab.path())
            .env_clear();
        command.env("USER", "root").env("LOGNAME", "root").env("HOSTNAME", "h");
        for (name, value) in set {
            command.env(name, value);
        }
        finish(command)
    };
    let owner = ask(&[]).expect(0, "acquire")["owner"].as_str().unwrap().to_owned();
    let (pid, rest) = owner.split_once(':').expect("pid:START@HOST");
    assert!(pid.parse::<u32>().is_ok() && rest.contains('@'), "{owner}");
    let session = ask(&[("CLAUDE_CODE_SESSION_ID", "s1")]).expect(0, "acquire")["owner"].clone();
    assert!(session.as_str().unwrap().contains("s1"), "{session}");
    let thread = ask(&[("CODEX_THREAD_ID", "t1")]).expect(0, "acquire")["owner"].clone();
    assert!(thread.as_str().unwrap().contains("t1"), "{thread}");
    assert_eq!(
        ask(&[("LEASE_LANE_OWNER", "x"), ("CODEX_THREAD_ID", "t1")]).expect(0, "acquire")["owner"],
        "x"
    );
    lab.json(&["--owner", "", "acquire", "a", "--tree", "a"]).expect(2, "error");
}

#[test]
fn linked_worktrees_share_one_store() {
    let lab = Lab::without_repository();
    let main = lab.path().join("main");
    std::fs::create_dir(&main).unwrap();
    let made = kit::git(&main, &["init", "-q", "."])
        && kit::git(&main, &["commit", "-q", "--allow-empty", "-m", "first"])
        && kit::git(&main, &["worktree", "add", "-q", "../linked"]);
    if !made {
        eprintln!("SKIPPED: no usable git here; linked worktrees were not tried");
        return;
    }
    let linked = lab.path().join("linked");
    std::fs::create_dir_all(linked.join("deep/down")).unwrap();
    let run = |dir: &Path, owner: &str, args: &[&str]| {
        let mut command = lab.command_as(owner, args);
        command.current_dir(dir);
        finish(command)
    };
    run(&main, "o1", &["acquire", "api", "--tree", "src/**"]).expect(0, "acquire");
    let refused =
        run(&linked.join("deep/down"), "o2", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["owner"], "o1", "the same path in two worktrees is the same path");
    let doctor = run(&linked, "o2", &["doctor"]).expect(0, "ok");
    assert_eq!(doctor["store"], main.join(".git/lease-lane").to_str().unwrap());
    assert_eq!(doctor["root"], linked.to_str().unwrap());
    run(&linked, "o1", &["release", "api"]).expect(0, "released");
    assert_eq!(run(&main, "o1", &["live"]).expect(0, "ok")["leases"], json!([]));
}

#[test]
fn without_a_repository_the_nearest_directory_upwards_or_a_clear_no() {
    let lab = Lab::without_repository();
    let deep = lab.path().join("a/b/c");
    std::fs::create_dir_all(&deep).unwrap();
    let run = |dir: &Path, args: &[&str]| {
        let mut command = lab.command_as("o1", args);
        command.current_dir(dir);
        finish(command)
    };
    for args in [&["acquire", "x", "--tree", "x"][..], &["live"], &["release", "x"], &["verify"], &["doctor"]]
    {
        let nothing = run(&deep, args).expect(2, "error");
        assert!(nothing["error"]["hint"].as_str().unwrap().contains("lease-lane init"), "{nothing}");
    }
    assert_eq!(listing(lab.path()).len(), 3, "only the directories");
    run(&lab.path().join("a"), &["init"]).expect(0, "ok");
    let granted = run(&deep, &["acquire", "x", "--tree", "x"]).expect(0, "acquire");
    assert_eq!(granted["tree"], json!(["x"]), "relative to the parent of .lease-lane");
    assert!(lab.path().join("a/.lease-lane/journal").is_dir());
    run(lab.path(), &["live"]).expect(2, "error");
}

#[test]
fn a_bad_variable_is_an_error_that_names_it() {
    let lab = Lab::new();
    for name in ["LEASE_LANE_MUTEX_TTL", "LEASE_LANE_MUTEX_BUDGET"] {
        let mut command = lab.command_as("o1", &["acquire", "a", "--tree", "a"]);
        command.env(name, "soon");
        let error = finish(command).expect(2, "error");
        assert!(error["error"]["message"].as_str().unwrap().contains(name), "{error}");
    }
    assert!(!lab.store().exists());
}

// ------------------------------------------------------------------------------------------------ how it talks

#[test]
fn json_is_one_object_for_every_outcome() {
    let lab = Lab::new();
    for args in [
        &["frobnicate"][..],
        &[],
        &["acquire", "--bogus"],
        &["acquire"],
        &["acquire", "x", "--tree", "[a"],
        &["acquire", "x", "--ttl"],
        &["live", "extra"],
        &["tail", "-n", "x"],
        &["region"],
        &["import", "dos", "no/such/file"],
        &["import", "cvs", "x"],
        &["--store", "", "live"],
        &["--root", "no/such/dir", "live"],
        &["--policy", "no/such/policy", "acquire", "x", "--tree", "x"],
    ] {
        let error = lab.json(args).expect(2, "error");
        assert_eq!(keys(&error), words("outcome error"), "{args:?}");
        let body = keys(&error["error"]);
        assert!(["kind", "message", "hint"].iter().all(|key| body.contains(key)), "{args:?}: {body:?}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
        // The same for people: nothing on stdout, one line and a hint on stderr.
        let text = lab.text(args);
        assert_eq!((text.code, text.out.as_str()), (Some(2), ""), "{args:?}");
    }
    assert!(!lab.store().exists());
    // `--json` behind `--` is a word like any other.
    let text = finish(lab.command(["check", "--", "--json"]));
    assert!(text.out.starts_with("no "), "{text}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let (lab, _) = some_history();
    for args in
        ["live", "tail", "acquire q --tree q", "live --json", "tail --json", "--help", "doctor", "release q"]
    {
        let script = format!("{{ {BIN} {args}; echo $? >code; }} | true; cat code");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(lab.path()).env_clear().env("LEASE_LANE_OWNER", "o1");
        command.env("PATH", kit::path_variable());
        let answer = finish(command);
        assert_eq!(answer.out, "0\n", "{args}: {answer}");
        assert_eq!(answer.err, "", "{args}");
    }
    // The reader is gone for certain before the first byte.
    let mut command = lab.command(["tail", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(kit::wait(child, Instant::now()).code, Some(0));
}

#[test]
fn what_is_closed_is_the_null_device() {
    for (closed, numbers) in [("<&-", vec![0]), (">&-", vec![1]), ("<&- >&- 2>&-", vec![0, 1, 2])] {
        let lab = Lab::new();
        lab.grant("o1", "a", "a");
        let mut command = Command::new("bash");
        let script = format!("exec {BIN} --owner o2 acquire b --tree a --wait 5m {closed}");
        let waiter =
            command.args(["-c", &script]).current_dir(lab.path()).stderr(Stdio::null()).spawn().unwrap();
        let waiter = Sleeper(waiter);
        poll("it waits", DEADLINE, || {
            let live = lab.json(&["live"]).expect(0, "ok");
            (!live["waiters"].as_array().unwrap().is_empty()).then_some(())
        });
        for number in numbers {
            let file = std::fs::read_link(format!("/proc/{}/fd/{number}", waiter.pid())).unwrap();
            assert_eq!(file, Path::new("/dev/null"), "{closed}: {number}");
        }
    }
}

#[test]
fn closed_descriptors_never_become_the_journal() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let lab = Lab::new();
        let run = |args: &str| {
            let script = format!("exec {BIN} {args} {closed}");
            let mut command = Command::new("bash");
            command.args(["-c", &script]).current_dir(lab.path()).env_clear().env("LEASE_LANE_OWNER", "o1");
            finish(command).code
        };
        assert_eq!(run("acquire a --tree a"), Some(0), "{closed}");
        assert_eq!(run("acquire b --tree a"), Some(1), "{closed}");
        // Talk on stderr while the segment is open.
        assert_eq!(run("acquire b --tree a --wait 50ms"), Some(124), "{closed}");
        assert_eq!(run("heartbeat a --json"), Some(0), "{closed}");
        assert_eq!(run("live"), Some(0), "{closed}");
        assert_eq!(run("--bogus"), Some(2), "{closed}");
        assert_eq!(run("compact"), Some(0), "{closed}");
        assert_eq!(run("release a"), Some(0), "{closed}");
        let verified = lab.assert_sound();
        assert_eq!((&verified["torn"], &verified["void"]), (&json!(0), &json!(0)), "{closed}");
        for (path, what) in listing(lab.store()) {
            // Reading the bell, a named pipe, would wait for somebody who waits.
            if path.is_file()
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                assert!(
                    !text.contains("refused") && !text.contains("granted:"),
                    "{}: {what}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn text_from_others_cannot_move_the_cursor() {
    let lab = Lab::new();
    let evil = "x\u{1b}[2J\u{202e}\r\nlease-lane: granted\u{7}";
    lab.json_as(
        evil,
        &["acquire", evil, "--tree", "src/**", "--why", evil, "--run-id", evil, "--label", "k=\u{1b}c"],
    )
    .expect(0, "acquire");
    let texts = [
        lab.text(&["live"]),
        lab.text(&["tail"]),
        lab.text(&["acquire", "z", "--tree", "src/x"]),
        lab.text(&["release", evil]),
        lab.text(&["check", "src/\u{1b}x"]),
        lab.text(&["replay"]),
        lab.text(&["doctor"]),
        lab.text(&["acquire", "z", "--tree", "[\u{1b}"]),
        lab.text(&["acquire", "z", "--tree", "src/x", "--wait", "10ms"]),
        lab.text(&[evil]),
    ];
    for text in texts {
        let all = format!("{}{}", text.out, text.err);
        assert!(!all.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{all:?}");
        assert!(!all.lines().any(|line| line.starts_with("lease-lane: granted")), "{all:?}");
    }
    // JSON keeps it as it is: it has an escape of its own.
    assert_eq!(lab.json(&["live"]).expect(0, "ok")["leases"][0]["owner"], evil);
    assert!(!lab.json(&["live"]).out.contains('\u{1b}'));
}

#[test]
fn no_colour_without_a_terminal_and_help_for_every_command() {
    let lab = Lab::new();
    for command in [
        "acquire",
        "release",
        "heartbeat",
        "live",
        "check",
        "replay",
        "tail",
        "compact",
        "verify",
        "repair",
        "arbitrate",
        "region",
        "init",
        "doctor",
        "import",
    ] {
        let help = lab.text(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{command}");
        assert!(help.out.contains("Usage: lease-lane") && !help.out.contains('\u{1b}'), "{command}: {help}");
        for flag in ["--store", "--root", "--policy", "--owner", "--json"] {
            assert!(help.out.contains(flag), "{command} {flag}");
        }
    }
    assert!(lab.text(&["--version"]).out.starts_with("lease-lane "));
}

// ------------------------------------------------------------------------------------------------------ promises

#[test]
fn a_refusal_that_cannot_be_written_is_still_a_refusal() {
    let lab = Lab::new();
    lab.grant("o1", "api", "src/**");
    // Nothing can be appended to a segment whose length is at the process' limit.
    let length = std::fs::metadata(lab.active_segment()).unwrap().len();
    let mut segment = std::fs::OpenOptions::new().append(true).open(lab.active_segment()).unwrap();
    // A torn line fills the segment up to a whole block, the unit of `ulimit -f`.
    let fill = usize::try_from(length.next_multiple_of(1024) + 1024 - length).unwrap();
    segment.write_all(&vec![b'.'; fill]).unwrap();
    let blocks = (length + fill as u64) / 1024;
    let run = |args: &str| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {BIN} {args} --json");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(lab.path()).env_clear().env("LEASE_LANE_OWNER", "o2");
        finish(command)
    };
    let refused = run("acquire x --tree src/x").expect(1, "refuse");
    assert_eq!((&refused["journaled"], &refused["seq"]), (&json!(false), &Value::Null));
    let io = run("acquire y --tree y").expect(6, "io");
    assert!(io["error"]["message"].as_str().unwrap().contains(lab.store().to_str().unwrap()), "{io}");
    assert_eq!(lab.live().len(), 1);
    lab.json_as("o2", &["acquire", "y", "--tree", "y"]).expect(0, "acquire");
    lab.assert_sound();
}

#[test]
fn bound_leases_say_whether_their_process_lives() {
    let lab = Lab::new();
    let mut sleeper = Sleeper::new();
    lab.json(&["acquire", "a", "--tree", "a", "--bind", &sleeper.pid()]).expect(0, "acquire");
    let alive = |lab: &Lab| lab.json(&["live"]).expect(0, "ok")["leases"][0]["alive"].clone();
    assert_eq!(alive(&lab), "yes");
    let processes = lab.json(&["live"]).expect(0, "ok")["leases"][0]["processes"].clone();
    assert_eq!(keys(&processes[0]), words("pid start boot pidns host"));
    sleeper.kill_without_reaping();
    assert_eq!(alive(&lab), "no", "a zombie is dead");
    for bad in ["0", "-1", "4194305", "x", ""] {
        lab.json(&["acquire", "b", "--tree", "b", &format!("--bind={bad}")]).expect(2, "error");
    }
    let by_parent = lab.json(&["acquire", "c", "--tree", "c", "--bind", "parent"]).expect(0, "acquire");
    let live = lab.json(&["live"]).expect(0, "ok");
    assert_eq!(live["leases"][1]["lease"], by_parent["lease"]);
    assert_eq!(live["leases"][1]["processes"][0]["pid"], std::process::id());
}

/// The name of a link as another system writes it, which is not the one that the arbiter compares (feature E3).
#[test]
fn a_file_behind_a_link_with_a_decomposed_name_has_one_holder() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path().join("src")).expect("a directory");
    let name = "e\u{301}";
    std::os::unix::fs::symlink("src", lab.path().join(name)).expect("a link");
    lab.json_as("ann", &["acquire", "a", "--tree", "src"]).expect(0, "acquire");
    for spelled in [name, "\u{e9}"] {
        let path = format!("{spelled}/x");
        lab.json_as("bob", &["acquire", "b", "--tree", &path]).expect(1, "refuse");
        lab.json_as("ann", &["check", &path]).expect(0, "ok");
    }
}

/// `$(… | …)` and `( … )` are the script that they stand in, to those who wrote it.
#[test]
fn a_subshell_is_its_script() {
    let lab = Lab::new();
    for (shell, lane) in [("bash", "a"), ("sh", "b")] {
        let script = format!(
            "n=$(\"$1\" acquire {lane} --tree {lane} --bind parent --json | cat)
            \"$1\" live | cat
            (\"$1\" release {lane}; true)"
        );
        let script = lab.write(&format!("{lane}.sh"), &script);
        let mut command = Command::new(shell);
        command.arg(script).arg(BIN).current_dir(lab.path()).env_clear().env("PATH", kit::path_variable());
        let said = finish(command);
        assert!(said.out.contains("processes alive: yes"), "{shell}: {said}");
        assert!(said.out.contains("released: lease"), "{shell}: {said}");
    }
}

/// `watch` and `unlock` name a lock in full, and so may `--lock`: it is the same one.
#[test]
fn a_lock_named_in_full_is_that_lock() {
    let lab = Lab::new();
    lab.json_as("ann", &["acquire", "--lock", "lock://daemon"]).expect(0, "acquire");
    lab.json_as("bob", &["acquire", "--lock", "daemon"]).expect(1, "refuse");
    let pool = lab.text(&["acquire", "--lock", "pool://gpu"]);
    assert_eq!(pool.code, Some(2), "{pool}");
    assert!(pool.err.contains("--tree pool://NAME"), "{pool}");
}

#[test]
fn an_owner_of_nothing_is_a_mistake() {
    let lab = Lab::new();
    let mut command = lab.command(["acquire", "a", "--tree", "a", "--json"]);
    command.env("LEASE_LANE_OWNER", "");
    finish(command).expect(2, "error");
    assert!(!lab.store().exists(), "nothing was written");
    let mut command = lab.command(["live", "--json"]);
    command.env("LEASE_LANE_OWNER", "");
    finish(command).expect(0, "ok");
}

#[test]
fn to_wait_for_no_time_is_to_try_once() {
    let lab = Lab::new();
    lab.grant("ann", "a", "src");
    for wait in ["--wait=0", "--wait=0s"] {
        let refused = lab.json_as("bob", &["acquire", "b", "--tree", "src", wait]);
        assert_eq!(refused.code, Some(124), "{refused}");
    }
    lab.json_as("bob", &["acquire", "c", "--tree", "docs", "--wait", "0"]).expect(0, "acquire");
}

#[test]
fn a_check_against_one_lease_or_fence_says_which_it_missed() {
    let lab = Lab::new();
    lab.grant("o1", "a", "a");
    for (flags, said) in [
        (&["--fence", "99"][..], "in no live lease of `o1` with fence 99"),
        (&["--lease", "7"][..], "not in lease 7 of `o1`"),
        (&[][..], ""),
    ] {
        let answer = lab.text(&[&["check", "a"], flags].concat());
        assert_eq!(answer.code, Some(i32::from(!flags.is_empty())), "{answer}");
        assert!(answer.out.contains(said), "{answer}");
    }
}
