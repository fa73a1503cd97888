//! The policy on the real program: what it refuses, what it picks, what it records, and how it is checked, shown and
//! begun.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::time::Instant;

use kit::{Answer, BIN, Lab, finish, git, keys, listing, words};
use serde_json::{Value, json};

const POLICY: &str = "lease-lane.toml";

fn lab(policy: &str) -> Lab {
    let lab = Lab::new();
    lab.write(POLICY, policy);
    lab
}

#[track_caller]
fn refused(answer: &Answer, code: &str) -> Value {
    let refused = answer.expect(1, "refuse");
    assert_eq!(refused["code"], code, "{refused}");
    refused
}

/// Runs the command of a refusal's hint, as somebody.
fn pasted(lab: &Lab, owner: &str, refusal: &Value) -> Answer {
    let hint = refusal["hint"].as_str().unwrap();
    let script = hint.replacen("lease-lane", BIN, 1).replace("5m", "0s");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script} --json --owner {owner}")]).current_dir(lab.path());
    finish(shell)
}

fn ops(lab: &Lab) -> Vec<String> {
    let tail = lab.json(&["tail", "-n", "1000"]);
    let op = |line: &str| serde_json::from_str::<Value>(line).unwrap()["op"].as_str().unwrap().to_owned();
    tail.out.lines().map(op).collect()
}

// --------------------------------------------------------------------------------------------------------- lanes

#[test]
fn an_exclusive_lane_runs_alone() {
    let lab = lab("[lanes.release]\nexclusive = true\ntree = ['dist/**']\n");
    lab.grant("o1", "docs", "docs/**");
    let busy = refused(&lab.json_as("o2", &["acquire", "release"]), "NEEDS_IDLE");
    assert_eq!(
        (&busy["conflicts"][0]["lane"], &busy["conflicts"][0]["overlap"]),
        (&json!("docs"), &Value::Null)
    );
    lab.json_as("o1", &["release", "docs"]).expect(0, "released");
    let granted = lab.json_as("o2", &["acquire", "RELEASE"]).expect(0, "acquire");
    assert_eq!((&granted["exclusive"], &granted["tree"]), (&json!(true), &json!(["dist/**"])));
    assert_eq!(lab.json(&["live"]).value()["leases"][0]["exclusive"], true);
    // Nothing passes it: not a reader, not a lock, not force.
    for args in [
        &["acquire", "x", "--tree", "free/**"][..],
        &["acquire", "x", "--read", "free/**"],
        &["acquire", "x", "--lock", "daemon"],
        &["acquire", "x", "--tree", "free/**", "--force"],
    ] {
        let alone = refused(&lab.json_as("o3", args), "EXCLUSIVE_LIVE");
        assert_eq!(alone["conflicts"].as_array().unwrap().len(), 1);
    }
    let again = refused(&lab.json_as("o2", &["acquire", "release"]), "LANE_HELD");
    assert_eq!(again["yours"], true);
    // Whoever has another policy, or none, is refused all the same: the grant has it on record.
    std::fs::remove_file(lab.path().join(POLICY)).unwrap();
    refused(&lab.json_as("o4", &["acquire", "x", "--tree", "free/**"]), "EXCLUSIVE_LIVE");
    lab.json_as("o2", &["release", "release"]).expect(0, "released");
    lab.grant("o4", "x", "free/**");
    lab.assert_sound();
}

#[test]
fn a_bare_acquire_picks_from_the_ladder_and_says_so() {
    let lab = lab(
        "ladder = ['api', 'web']\n[lanes.api]\ntree = ['src/api/**']\n[lanes.web]\ntree = ['src/web/**']\n",
    );
    let first = lab.json_as("o1", &["acquire"]).expect(0, "acquire");
    assert_eq!((&first["lane"], &first["auto_picked"]), (&json!("api"), &json!(true)));
    let second = lab.command_as("o2", &["acquire"]);
    assert_eq!(finish(second).expect(0, "acquire")["lane"], "web");
    let none = refused(&lab.json_as("o3", &["acquire"]), "NO_FREE_LANE");
    assert_eq!(none["conflicts"].as_array().unwrap().len(), 2);
    for said in ["`api`: lane `api` is held by `o1`", "`web`: lane `web` is held by `o2`"] {
        assert!(none["reason"].as_str().unwrap().contains(said), "{none}");
    }
    pasted(&lab, "o3", &none).expect(124, "timeout");
    lab.json_as("o1", &["release", "api"]).expect(0, "released");
    let text = lab.text(&["acquire"]);
    assert!(text.out.contains("lane api (picked from the ladder)"), "{text}");
    let named = lab.json_as("o3", &["acquire", "other", "--tree", "docs"]).expect(0, "acquire");
    assert_eq!(named["auto_picked"], false);
    lab.assert_sound();
}

#[test]
fn without_lane_region_and_ladder_there_is_nothing_to_guess() {
    for policy in ["", "ladder = []\n", "[lanes.api]\ntree = ['src/api/**']\n"] {
        let lab = lab(policy);
        let error = lab.json(&["acquire"]).expect(2, "error");
        assert!(error["error"]["hint"].as_str().unwrap().contains("--tree"), "{error}");
        assert!(!lab.store().exists(), "nothing was written");
        let mut question = lab.command(["arbitrate"]);
        let line =
            lab.write("question", "{\"request\":{\"owner\":\"o\"},\"now\":\"2026-11-21T07:00:00Z\"}\n");
        question.stdin(std::fs::File::open(line).unwrap());
        finish(question).expect(2, "error");
    }
}

#[test]
fn an_unknown_lane_is_never_replaced() {
    let lab =
        lab("ladder = ['api']\n[lanes.api]\ntree = ['src/api/**']\n[lanes.web]\ntree = ['src/web/**']\n");
    let refusal = refused(&lab.json(&["acquire", "wbe", "--wait", "1h"]), "UNKNOWN_LANE");
    assert!(refusal["reason"].as_str().unwrap().contains("`api`, `web`; did you mean `web`?"), "{refusal}");
    assert_eq!(refusal["free_lanes"], json!(["api", "web"]));
    assert_eq!(pasted(&lab, "o2", &refusal).expect(0, "acquire")["lane"], "web");
}

#[test]
fn a_class_is_full_when_as_many_live_as_may() {
    let lab = lab("[lanes.a]\ntree = ['a']\nclass = 'heavy'\n[lanes.b]\ntree = ['b']\nclass = 'heavy'\n\
         [lanes.c]\ntree = ['c']\nclass = 'heavy'\n[lanes.light]\ntree = ['d']\n[classes.heavy]\nmax = 2\n");
    lab.json_as("o1", &["acquire", "a"]).expect(0, "acquire");
    lab.json_as("o2", &["acquire", "b"]).expect(0, "acquire");
    let full = refused(&lab.json_as("o3", &["acquire", "c"]), "CLASS_FULL");
    assert_eq!(full["conflicts"].as_array().unwrap().len(), 2);
    assert_eq!(full["free_lanes"], json!(["light"]));
    pasted(&lab, "o3", &full).expect(124, "timeout");
    lab.json_as("o3", &["acquire", "light"]).expect(0, "acquire");
    lab.json_as("o1", &["release", "a"]).expect(0, "released");
    lab.json_as("o3", &["acquire", "c"]).expect(0, "acquire");
    lab.assert_sound();
}

#[test]
fn a_pool_lends_as_many_as_it_has() {
    let lab = lab("[pools.gpu]\ncapacity = 2\n");
    let take = |owner: &str, lane: &str, pool: &str| lab.json_as(owner, &["acquire", lane, "--tree", pool]);
    take("o1", "one", "pool://gpu").expect(0, "acquire");
    take("o2", "two", "pool://GPU").expect(0, "acquire");
    let full = refused(&take("o3", "three", "pool://gpu"), "POOL_FULL");
    let owners: Vec<&Value> = full["conflicts"].as_array().unwrap().iter().map(|one| &one["owner"]).collect();
    assert_eq!(owners, ["o1", "o2"]);
    assert_eq!(full["conflicts"][0]["overlap"], "pool://gpu");
    assert_eq!(keys(&full["conflicts"][0]), words("lease lane owner mode overlap since expires_at alive"));
    pasted(&lab, "o3", &full).expect(124, "timeout");
    // Without a lane each holder gets one of its own.
    lab.json_as("o2", &["release", "two"]).expect(0, "released");
    assert_eq!(lab.json_as("o2", &["acquire", "--tree", "pool://gpu"]).value()["lane"], "pool://gpu");
    assert_eq!(
        refused(&lab.json_as("o3", &["acquire", "--tree", "pool://gpu"]), "POOL_FULL")["lane"],
        "pool://gpu#2"
    );
    // One that the policy does not know is for one.
    take("o4", "four", "pool://tpu").expect(0, "acquire");
    refused(&take("o5", "five", "pool://tpu"), "POOL_FULL");
    // All or nothing: the path is not held while the pool is full.
    refused(&lab.json_as("o3", &["acquire", "--tree", "docs", "--tree", "pool://gpu"]), "POOL_FULL");
    lab.grant("o6", "docs", "docs");
    lab.json_as("o1", &["release", "one"]).expect(0, "released");
    take("o3", "three", "pool://gpu").expect(0, "acquire");
    refused(&lab.json_as("o7", &["acquire", "--lock", "*"]), "REGION_CONFLICT");
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------------ protected

#[test]
fn protected_paths_need_force_and_force_is_on_record() {
    let lab = lab("[protect]\npaths = ['infra/**']\n");
    for tree in ["infra/main.tf", "**", POLICY, ".git/lease-lane/journal", ".git/**"] {
        let refusal = refused(&lab.json(&["acquire", "x", "--tree", tree, "--wait", "1h"]), "PROTECTED");
        let hint = refusal["hint"].as_str().unwrap();
        assert!(hint.ends_with("--force --why TEXT"), "{hint}");
        let dry = lab.json(&["acquire", "x", "--tree", tree, "--dry-run"]);
        refused(&dry, "PROTECTED");
        let granted = pasted(&lab, "o2", &refusal).expect(0, "acquire");
        assert!(granted["reason"].as_str().unwrap().contains("forced: `"), "{granted}");
        let record = lab.json(&["tail", "-n", "1"]).value();
        assert_eq!((&record["request"]["force"], &record["owner"]), (&json!(true), &json!("o2")));
        assert_eq!(record["request"]["why"], "TEXT");
        lab.json_as("o2", &["release", "x"]).expect(0, "released");
    }
    lab.grant("o1", "web", "src/web/**");
    let conflict = lab.json_as("o2", &["acquire", "--tree", "src/**", "--tree", "infra/x", "--force"]);
    refused(&conflict, "REGION_CONFLICT");
    lab.json_as("o2", &["acquire", "--read", "infra/**"]).expect(0, "acquire");
    lab.assert_sound();
}

#[test]
fn what_the_program_rests_on_is_protected_without_any_policy() {
    let lab = Lab::new();
    for tree in [POLICY, ".git/lease-lane", ".git/Lease-Lane/x"] {
        refused(&lab.json(&["acquire", "x", "--tree", tree, "--dry-run"]), "PROTECTED");
        refused(&lab.json(&["acquire", "x", "--tree", tree]), "PROTECTED");
    }
    // By a link as well.
    std::os::unix::fs::symlink(".git", lab.path().join("link")).unwrap();
    refused(&lab.json(&["acquire", "x", "--tree", "link/lease-lane/**"]), "PROTECTED");
    // Nor is a wildcard in the first name a way around it.
    for tree in [
        "[l]ease-lane.toml",
        "?ease-lane.toml",
        "lease-lane.tom?",
        "*.toml",
        ".gi[t]/**",
        "[.]git/lease-lane/**",
    ] {
        refused(&lab.json(&["acquire", "x", "--tree", tree]), "PROTECTED");
    }
    // Asking for everything, or sweeping over it, is no aim.
    for args in [&["--whole"][..], &["--tree", "**/*.toml"], &["--tree", "**/journal/**"], &["--tree", "*/x"]]
    {
        let mut all = vec!["acquire", "x"];
        all.extend(args);
        lab.json(&all).expect(0, "acquire");
        lab.json(&["release", "x"]).expect(0, "released");
    }
    lab.assert_sound();
    // The policy and the store are where they are named.
    let store = lab.path().join("deep/store");
    std::fs::create_dir(lab.path().join("deep")).unwrap();
    let elsewhere = ["--store", store.to_str().unwrap(), "--policy", "deep/p.toml"];
    lab.write("deep/p.toml", "");
    for (tree, aims) in [("deep/p.toml", true), ("deep/store/x", true), (POLICY, false)] {
        let mut args = vec!["acquire", "x", "--dry-run", "--tree", tree];
        args.extend(elsewhere);
        let answer = lab.json(&args);
        if aims { drop(refused(&answer, "PROTECTED")) } else { drop(answer.expect(0, "acquire")) }
    }
}

#[test]
fn a_pool_can_be_protected_and_has_to_be_there() {
    let lab = lab("[pools.gpu]\ncapacity = 2\n[protect]\npaths = ['infra/**', 'pool://GPU']\n");
    for flag in ["--tree", "--read"] {
        let refusal = refused(&lab.json(&["acquire", "x", flag, "pool://gpu"]), "PROTECTED");
        assert!(refusal["reason"].as_str().unwrap().starts_with("`pool://"), "{refusal}");
    }
    lab.json(&["acquire", "y", "--tree", "pool://other"]).expect(0, "acquire");
    lab.json(&["acquire", "x", "--tree", "pool://gpu", "--force", "--why", "x"]).expect(0, "acquire");
    lab.assert_sound();
    lab.write(POLICY, "[pools.gpu]\ncapacity = 2\n[protect]\npaths = ['infra/**', 'pool://gpo']\n");
    let wrong = lab.json(&["policy", "check"]).expect(2, "error");
    let problem = &wrong["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&json!(4), &json!(22)), "{wrong}");
    assert_eq!(problem["hint"], "did you mean `gpu`?");
    lab.json(&["acquire", "z", "--tree", "z"]).expect(2, "error");
}

#[test]
fn what_the_program_rests_on_is_protected_whatever_the_way_to_the_project_is_called() {
    for name in [&b"r\xff\xfet"[..], b"[r]*{o,t}?", b"back\\slash", "gr\u{fc}n".as_bytes()] {
        let outer = Lab::without_repository();
        let root = outer.path().join(OsStr::from_bytes(name));
        kit::make_git_dir(&root.join(".git"));
        std::fs::write(root.join(POLICY), "").unwrap();
        std::os::unix::fs::symlink(&root, outer.path().join("link")).unwrap();
        let store = outer.path().join("link/.git/lease-lane");
        let ask = |tree: &str, more: &[&OsStr]| {
            let mut command = outer.command_as("o1", &["acquire", "x", "--dry-run", "--tree", tree]);
            command.current_dir(&root).args(more);
            finish(command)
        };
        let elsewhere = [OsStr::new("--store"), store.as_os_str()];
        for tree in [POLICY, "lease-lane.tom?", ".git/lease-lane/journal", ".git/**"] {
            refused(&ask(tree, &[]), "PROTECTED");
            refused(&ask(tree, &elsewhere), "PROTECTED");
        }
        ask("src/**", &[]).expect(0, "acquire");
    }
    // A store or a policy whose own name has signs of patterns.
    let lab = Lab::new();
    lab.write("st[o]re/p*.toml", "");
    for (tree, aims) in [("st\\[o]re/p\\*.toml", true), ("st?o?re/store", true), ("store/p.toml", false)] {
        let elsewhere = ["--store", "st[o]re/store", "--policy", "st[o]re/p*.toml"];
        let answer = lab.json(&[&["acquire", "x", "--dry-run", "--tree", tree][..], &elsewhere].concat());
        if aims { drop(refused(&answer, "PROTECTED")) } else { drop(answer.expect(0, "acquire")) }
    }
}

#[test]
fn a_hint_insists_as_the_request_did() {
    let lab = lab("[protect]\npaths = ['infra']\n[lanes.web]\ntree = ['infra/web']\n");
    let held = lab.json(&["acquire", "x", "--tree", "infra", "--force"]).expect(0, "acquire");
    let ask = ["acquire", "y", "--tree", "infra/y", "--force"];
    let refusal = refused(&lab.json_as("o2", &ask), "REGION_CONFLICT");
    assert_eq!(refusal["hint"], "lease-lane acquire y --tree infra/y --force --wait 5m");
    // It comes to the same refusal, and not to another one.
    pasted(&lab, "o2", &refusal).expect(124, "timeout");
    let beneath = [&ask[..], &["--parent", "77"]].concat();
    let gone = refused(&lab.json_as("o2", &beneath), "PARENT_GONE");
    assert_eq!(gone["hint"], "lease-lane acquire y --tree infra/y --force");
    lab.json(&["release", "--lease", &held["lease"].to_string()]).expect(0, "released");
    let unknown = refused(&lab.json_as("o2", &["acquire", "wbe", "--force"]), "UNKNOWN_LANE");
    pasted(&lab, "o2", &unknown).expect(0, "acquire");
    let plain = refused(&lab.json_as("o3", &["acquire", "z", "--tree", "infra/web"]), "PROTECTED");
    assert_eq!(plain["hint"], "lease-lane acquire z --tree infra/web --force --why TEXT");
    lab.assert_sound();
}

// -------------------------------------------------------------------------------------------------------- parents

#[test]
fn a_child_works_beneath_its_parent_and_outlives_it() {
    let lab = Lab::new();
    let parent = lab.grant("boss", "all", "src/**").to_string();
    let child = |owner: &str, lane: &str, tree: &str| {
        lab.json_as(owner, &["acquire", lane, "--tree", tree, "--parent", &parent])
    };
    let granted = child("a", "a", "src/a/**").expect(0, "acquire");
    let live = lab.json(&["live"]).value();
    assert_eq!(live["leases"][1]["parent"].to_string(), parent);
    assert!(live["leases"][0]["parent"].is_null());
    refused(&child("b", "b", "src/a/x"), "REGION_CONFLICT");
    child("b", "b", "src/b/**").expect(0, "acquire");
    let grandchild = ["acquire", "c", "--tree", "src/a/c", "--parent", &granted["lease"].to_string()];
    lab.json_as("c", &grandchild).expect(0, "acquire");
    refused(&lab.json_as("d", &["acquire", "--tree", "src/a/d"]), "REGION_CONFLICT");
    // The parent may go; what its children hold is theirs.
    lab.json_as("boss", &["release", "all"]).expect(0, "released");
    let gone = refused(&child("e", "e", "src/e"), "PARENT_GONE");
    pasted(&lab, "e", &gone).expect(0, "acquire");
    refused(&lab.json_as("boss", &["acquire", "all", "--tree", "src/**"]), "REGION_CONFLICT");
    assert_eq!(lab.live().len(), 4);
    lab.json(&["compact"]).expect(0, "ok");
    assert_eq!(
        lab.json(&["live"]).value()["leases"][0]["parent"].to_string(),
        parent,
        "after a checkpoint too"
    );
    lab.json(&["acquire", "x", "--tree", "y", "--parent", "0"]).expect(2, "error");
    lab.assert_sound();
}

#[test]
fn who_asks_beneath_a_lease_for_its_lane_does_not_wait() {
    let lab = Lab::new();
    let top = lab.grant("boss", "top", "src/**").to_string();
    let child = lab.json_as("a", &["acquire", "mid", "--tree", "src/a/**", "--parent", &top]);
    let child = child.expect(0, "acquire")["lease"].to_string();
    for (lane, parent) in [("top", &top), ("TOP", &child), ("mid", &child)] {
        let ask = ["acquire", lane, "--tree", "src/a/x", "--parent", parent];
        refused(&lab.json_as("b", &ask), "LANE_HELD");
        let answer = lab.json_as("b", &[&ask[..], &["--wait", "5s"]].concat());
        let reason = refused(&answer, "DEADLOCK")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("beneath which it asks"), "{reason}");
        assert!(answer.took < std::time::Duration::from_secs(4), "{answer}");
    }
    // A lane beside it is worth waiting for.
    lab.grant("c", "side", "docs");
    let beside = ["acquire", "side", "--tree", "src/b", "--parent", &top, "--wait", "1ms"];
    lab.json_as("b", &beside).expect(124, "timeout");
    assert_eq!(lab.json(&["waiters"]).expect(0, "ok")["waiters"], json!([]));
    lab.assert_sound();
}

#[test]
fn a_ladder_of_which_no_lane_can_ever_be_had_is_not_waited_for() {
    let policy = "ladder = ['a', 'b']\n[lanes.a]\ntree = ['infra/a']\n[lanes.b]\ntree = ['infra/b']\n";
    let lab = lab(&format!("{policy}[protect]\npaths = ['infra/**']\n"));
    let ask = ["acquire", "--wait", "5s"];
    let answer = lab.json(&ask);
    refused(&answer, "NO_FREE_LANE");
    assert!(answer.took < std::time::Duration::from_secs(4), "{answer}");
    let gone = lab.json(&["acquire", "--wait", "5s", "--force", "--parent", "77"]);
    refused(&gone, "NO_FREE_LANE");
    // One lane that may become free is enough.
    lab.write(POLICY, &format!("{policy}[protect]\npaths = ['infra/a']\n"));
    lab.json_as("o2", &["acquire", "b"]).expect(0, "acquire");
    lab.json(&["acquire", "--wait", "1ms"]).expect(124, "timeout");
    // What the policy of today takes away is not waited for either.
    let waiter = wait_for(&lab, "o3", &["--wait", "20s"]);
    lab.write(POLICY, &format!("{policy}[protect]\npaths = ['infra']\n"));
    lab.json_as("o2", &["release", "b"]).expect(0, "released");
    refused(&waiter(), "NO_FREE_LANE");
    assert_eq!(lab.json(&["waiters"]).expect(0, "ok")["waiters"], json!([]));
    lab.assert_sound();
}

#[test]
fn a_request_id_stands_for_all_that_was_asked() {
    let lab = lab("[protect]\npaths = ['infra']\n");
    let parent = lab.grant("o1", "p", "p").to_string();
    let ask = |id: &str, more: &[&str]| {
        lab.json(&[&["acquire", "x", "--tree", "infra", "--request-id", id][..], more].concat())
    };
    let pid = std::process::id().to_string();
    let others: [&[&str]; 4] = [&["--force"], &["--parent", &parent], &["--ttl", "5m"], &["--bind", &pid]];
    assert_eq!(refused(&ask("plain", &[]), "PROTECTED").get("repeated"), None);
    for more in others {
        assert_eq!(ask("plain", more).expect(2, "error")["error"]["kind"], "request_id", "{more:?}");
    }
    assert_eq!(refused(&ask("plain", &["--why", "again"]), "PROTECTED")["repeated"], true);
    let all = others.concat();
    ask("all", &all).expect(0, "acquire");
    assert_eq!(ask("all", &all).expect(0, "acquire")["repeated"], true);
    for missing in others {
        let fewer: Vec<&str> = all.iter().copied().filter(|flag| !missing.contains(flag)).collect();
        assert_eq!(ask("all", &fewer).expect(2, "error")["error"]["kind"], "request_id", "{fewer:?}");
    }
    lab.json(&["compact"]).expect(0, "ok");
    assert_eq!(ask("all", &all).expect(0, "acquire")["repeated"], true);
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------- in mid-flight

#[test]
fn a_history_under_three_policies_is_decided_again_to_the_byte() {
    let lab = lab(
        "ladder = ['api', 'web']\n[lanes.api]\ntree = ['src/api/**']\n[lanes.web]\ntree = ['src/web/**']\n",
    );
    lab.json_as("o1", &["acquire"]).expect(0, "acquire");
    lab.json_as("o2", &["acquire", "gpu", "--tree", "pool://gpu"]).expect(0, "acquire");
    refused(&lab.json_as("o3", &["acquire", "--tree", "pool://gpu"]), "POOL_FULL");
    lab.write(
        POLICY,
        "ladder = ['web', 'api']\n[lanes.api]\ntree = ['api/**']\nclass = 'c'\n[lanes.web]\ntree = ['web/**']\n\
         class = 'c'\n[classes.c]\nmax = 2\n[pools.gpu]\ncapacity = 2\n[protect]\npaths = ['infra']\n",
    );
    lab.json_as("o3", &["acquire", "--tree", "pool://gpu"]).expect(0, "acquire");
    // Lane `api` is live with its old region and counts for its class of today.
    assert_eq!(lab.json_as("o4", &["acquire"]).expect(0, "acquire")["lane"], "web");
    refused(&lab.json_as("o5", &["acquire"]), "NO_FREE_LANE");
    refused(&lab.json_as("o5", &["acquire", "--tree", "infra/x"]), "PROTECTED");
    lab.json_as("o5", &["acquire", "--tree", "infra/x", "--force", "--why", "outage"]).expect(0, "acquire");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    lab.write(POLICY, "[lanes.api]\ntree = ['api/**']\n[lanes.big]\nexclusive = true\nworktrees = 1\n");
    lab.json_as("o6", &["acquire", "big"]).expect(2, "error");
    lab.write(
        POLICY,
        "case = 'exact'\n[lanes.api]\ntree = ['api/**']\nexclusive = true\n[pools.gpu]\ncapacity = 1\n",
    );
    // What lives in lane `api` was granted to live beside others; from today on it is alone.
    refused(&lab.json_as("o6", &["acquire", "--tree", "free"]), "EXCLUSIVE_LIVE");
    lab.json_as("o1", &["release", "api"]).expect(0, "released");
    lab.json_as("o6", &["acquire", "--tree", "free"]).expect(0, "acquire");
    refused(&lab.json_as("o7", &["acquire", "--tree", "pool://gpu"]), "POOL_FULL");
    refused(&lab.json_as("o7", &["acquire", "api"]), "NEEDS_IDLE");

    let names = ops(&lab);
    assert_eq!(names.iter().filter(|op| *op == "POLICY").count(), 3, "{names:?}");
    for (before, op) in names.iter().zip(&names[1..]) {
        assert!(
            before != "POLICY" || op == "ACQUIRE" || op == "REFUSE",
            "a policy goes with a decision: {names:?}"
        );
    }
    let decided = lab.json(&["replay", "--verdicts"]).expect(0, "ok");
    assert_eq!((&decided["decisions"], &decided["differences"]), (&json!(12), &json!([])));
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    refused(&lab.json_as("o7", &["acquire", "api"]), "NEEDS_IDLE");
    lab.assert_sound();
    assert!(!ops(&lab).contains(&"POLICY".to_owned()), "the checkpoint carries it");
}

#[test]
fn arbitrate_decides_under_the_whole_policy() {
    let lab = Lab::new();
    let policy = json!({
        "ladder": ["api", "solo"], "classes": {"c": {"max": 1}}, "pools": {"gpu": {"capacity": 1}},
        "protect": {"paths": ["infra"]}, "worktrees": "separate", "foreign_host": "ttl",
        "lanes": {"api": {"tree": ["api"], "class": "c"}, "solo": {"tree": ["**"], "exclusive": true}},
    });
    let lease = |lane: &str, tree: &str| json!({"lease": 1, "lane": lane, "owner": "o", "tree": [tree]});
    let mut lines = String::new();
    let mut expected = Vec::new();
    for (request, live, code) in [
        (json!({"owner": "a"}), json!([]), "acquire api"),
        (json!({"owner": "a"}), json!([lease("api", "elsewhere")]), "NO_FREE_LANE"),
        (json!({"owner": "a", "lane": "solo"}), json!([lease("x", "x")]), "PROTECTED"),
        (json!({"owner": "a", "lane": "solo", "force": true}), json!([lease("x", "x")]), "NEEDS_IDLE"),
        (json!({"owner": "a", "lane": "x", "tree": ["x"]}), json!([lease("Solo", "y")]), "EXCLUSIVE_LIVE"),
        (
            json!({"owner": "a", "lane": "x", "tree": ["pool://gpu"]}),
            json!([lease("y", "pool://gpu")]),
            "POOL_FULL",
        ),
        (
            json!({"owner": "a", "lane": "x", "tree": ["y"], "parent": 1}),
            json!([lease("y", "y")]),
            "acquire x",
        ),
        (
            json!({"owner": "a", "lane": "x", "tree": ["y"], "parent": 2}),
            json!([lease("y", "y")]),
            "PARENT_GONE",
        ),
    ] {
        let question =
            json!({"request": request, "live": live, "policy": policy, "now": "2026-11-21T07:00:00Z"});
        lines.push_str(&format!("{question}\n"));
        expected.push(code);
    }
    let mut command = lab.command(["arbitrate"]);
    command.stdin(std::fs::File::open(lab.write("questions", &lines)).unwrap());
    let answer = finish(command);
    let got: Vec<String> = answer
        .out
        .lines()
        .map(|line| {
            let verdict: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
            if verdict["outcome"] == "refuse" { text("code") } else { format!("acquire {}", text("lane")) }
        })
        .collect();
    assert_eq!((got, answer.code), (expected.into_iter().map(str::to_owned).collect(), Some(0)));
}

// ------------------------------------------------------------------------------------- what is there and cannot be read

#[test]
fn a_policy_that_is_there_and_leads_nowhere_is_no_missing_policy() {
    let lab = Lab::new();
    let policy = lab.path().join(POLICY);
    std::os::unix::fs::symlink("gone.toml", &policy).unwrap();
    let before = listing(lab.path());
    for args in [&["acquire", "x", "--tree", "x"][..], &["policy", "check"], &["policy", "show"]] {
        let error = lab.json(args).expect(2, "error");
        assert_eq!(error["error"]["kind"], "policy", "{error}");
    }
    assert!(lab.json(&["doctor"]).expect(0, "ok")["policy_problem"].is_string());
    assert_eq!(listing(lab.path()), before, "nothing was written");
    lab.write("gone.toml", "ttl = '1m'\n");
    assert_eq!(lab.json(&["policy", "show"]).expect(0, "ok")["policy"], json!({"ttl": "1m"}));
    std::fs::remove_file(&policy).unwrap();
    assert_eq!(lab.json(&["policy", "show"]).expect(0, "ok")["policy"], json!({}));
}

#[test]
fn a_pipe_in_place_of_the_policy_holds_nobody_up_and_one_that_is_named_is_read() {
    let lab = Lab::new();
    let pipe = lab.path().join(POLICY);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for args in [&["acquire", "x", "--tree", "x"][..], &["policy", "check"], &["policy", "show"]] {
        let error = lab.json(args).expect(2, "error");
        assert!(error["error"]["message"].as_str().unwrap().contains("not a plain file"), "{error}");
    }
    assert!(lab.json(&["doctor"]).expect(0, "ok")["policy_problem"].is_string());
    let asked = lab.command(["policy", "show", "--json", "--policy", POLICY]);
    let writer = std::thread::spawn(move || std::fs::write(pipe, "ttl = '1m'\n"));
    assert_eq!(finish(asked).expect(0, "ok")["policy"], json!({"ttl": "1m"}));
    writer.join().unwrap().unwrap();
}

/// Starts one who waits for what `args` ask, and comes back once it is in the line.
fn wait_for(lab: &Lab, owner: &str, args: &[&str]) -> impl FnOnce() -> Answer + use<> {
    let began = Instant::now();
    let child = kit::start(lab.command_as(owner, &[&["acquire"], args].concat()));
    kit::poll("it is in the line", kit::DEADLINE, || {
        let waiters = lab.json(&["waiters"]).expect(0, "ok");
        waiters["waiters"].as_array().unwrap().iter().any(|one| one["owner"] == owner).then_some(())
    });
    move || kit::wait(child, began)
}

#[test]
fn a_waiter_is_not_granted_what_the_policy_of_today_refuses() {
    let lab = lab("[pools.gpu]\ncapacity = 2\n");
    let one = lab.grant("o1", "one", "pool://gpu");
    lab.grant("o2", "two", "pool://gpu");
    let waiter = wait_for(&lab, "o3", &["three", "--tree", "pool://gpu", "--wait", "3s"]);
    lab.write(POLICY, "[pools.gpu]\ncapacity = 1\n");
    lab.json(&["release", "--lease", &one.to_string()]).expect(0, "released");
    waiter().expect(124, "timeout");
    assert_eq!(lab.live().len(), 1);
    lab.assert_sound();
}

#[test]
fn a_waiter_is_granted_what_the_policy_of_today_allows() {
    let policy =
        "[lanes.a]\ntree = ['a']\nclass = 'c'\n[lanes.b]\ntree = ['b']\nclass = 'c'\n[classes.c]\nmax = ";
    let lab = lab(&format!("{policy}1\n"));
    lab.json_as("o1", &["acquire", "a"]).expect(0, "acquire");
    let waiter = wait_for(&lab, "o2", &["b", "--wait", "20s"]);
    lab.write(POLICY, &format!("{policy}2\n"));
    lab.grant("o3", "else", "else");
    assert_eq!(waiter().expect(0, "acquire")["lane"], "b");
    lab.assert_sound();
    // From no policy to one, and back.
    std::fs::remove_file(lab.path().join(POLICY)).unwrap();
    lab.grant("o4", "one", "pool://gpu");
    let waiter = wait_for(&lab, "o5", &["two", "--tree", "pool://gpu", "--wait", "20s"]);
    lab.write(POLICY, "[pools.gpu]\ncapacity = 2\n");
    lab.grant("o3", "more", "more");
    waiter().expect(0, "acquire");
    // One that is gone says nothing any more.
    let waiter = wait_for(&lab, "o6", &["three", "--tree", "pool://gpu", "--wait", "3s"]);
    std::fs::remove_file(lab.path().join(POLICY)).unwrap();
    lab.json_as("o4", &["release", "one"]).expect(0, "released");
    waiter().expect(124, "timeout");
    lab.assert_sound();
}

#[test]
fn a_wait_ends_when_the_policy_can_no_longer_be_used() {
    let lab = lab("ttl = '1h'\n");
    let held = lab.grant("o1", "x", "x");
    let waiter = wait_for(&lab, "o2", &["y", "--tree", "x", "--wait", "20s"]);
    lab.write(POLICY, "ttl = '0s'\n");
    lab.json(&["release", "--lease", &held.to_string()]).expect(0, "released");
    let error = waiter().expect(2, "error");
    assert_eq!(error["error"]["kind"], "policy");
    assert!(error["error"]["message"].as_str().unwrap().contains("line 1, column 7"), "{error}");
    assert_eq!(lab.json(&["waiters"]).expect(0, "ok")["waiters"], json!([]));
    assert_eq!(lab.live(), [] as [u64; 0]);
    lab.assert_sound();
}

#[test]
fn arbitrate_takes_no_policy_that_acquire_would_not_and_no_key_that_nobody_knows() {
    let lab = Lab::new();
    let ask = |question: &Value| {
        let mut command = lab.command(["arbitrate"]);
        command.stdin(std::fs::File::open(lab.write("question", &format!("{question}\n"))).unwrap());
        finish(command)
    };
    let question = json!({"request": {"owner": "o", "tree": ["x"]}, "now": "2026-11-21T07:00:00Z"});
    let with = |path: &[&str], value: Value| {
        let mut question = question.clone();
        *path.iter().fold(&mut question, |at, key| &mut at[*key]) = value;
        question
    };
    for (policy, said) in [
        (json!({"pools": {"gpu": {"capacity": 0}}}), "capacity"),
        (json!({"classes": {"c": {"max": 0}}}), "max"),
        (json!({"ladder": ["nowhere"]}), "nowhere"),
        (json!({"ttl": "0s"}), "ttl"),
        (json!({"lanes": {"a": {}}}), "neither `tree` nor `read`"),
        (json!({"protect": {"paths": ["pool://none"]}}), "none"),
    ] {
        let error = ask(&with(&["policy"], policy)).expect(2, "error");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{error}");
    }
    for path in [&["request", "tre"][..], &["polcy"], &["request", "evidence"]] {
        let error = ask(&with(path, json!({}))).expect(2, "error");
        assert!(error["error"]["message"].as_str().unwrap().contains(path[path.len() - 1]), "{error}");
    }
    let live = json!([{"lease": 1, "lane": "l", "owner": "o", "tree": ["y"], "of_tomorrow": 1}]);
    let granted = ask(&with(&["live"], live));
    assert_eq!((granted.code, &granted.value()["outcome"]), (Some(0), &json!("acquire")), "{granted}");
}

// ---------------------------------------------------------------------------------------- check, show and init

#[test]
fn a_policy_is_checked_with_the_place_of_every_problem() {
    let lab = lab(
        "ladder = ['api', 'wbe']\n[lanes.api]\ntree = ['src/api/**']\n[lanes.web]\ntree = ['w']\n[classes.c]\nmax = 0\n",
    );
    let before = listing(lab.path());
    let wrong = lab.json(&["policy", "check"]).expect(2, "error");
    let places: Vec<(u64, u64)> = wrong["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["line"].as_u64().unwrap(), one["column"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(1, 18), (7, 7)], "{wrong}");
    assert_eq!(wrong["problems"][0]["hint"], "did you mean `web`?");
    assert_eq!(wrong["error"]["kind"], "policy");
    let text = lab.text(&["policy", "check"]);
    assert_eq!((text.code, text.err.as_str()), (Some(2), ""), "{text}");
    let expected = "line 1, column 18: the ladder names lane `wbe`, which is not there\n  hint: did you mean `web`?\n\
                    line 7, column 7: `max` of class `c` is zero: none of its lanes could ever be had\n";
    assert_eq!(text.out, expected);
    lab.json(&["acquire", "x", "--tree", "x"]).expect(2, "error");
    lab.json(&["policy", "show"]).expect(2, "error");
    assert_eq!(listing(lab.path()), before, "nothing was written");
    lab.write("right.toml", "ladder = ['api']\n[lanes.api]\ntree = ['src/api/**']\n");
    let right = lab.json(&["policy", "check", "--policy", "right.toml"]).expect(0, "ok");
    assert!(right["source"].as_str().unwrap().ends_with("/right.toml"));
    lab.json(&["policy", "check", "--policy", "missing.toml"]).expect(2, "error");
    lab.json(&["policy"]).expect(2, "error");
}

#[test]
fn a_policy_is_checked_and_shown_where_there_is_no_store() {
    let lab = Lab::without_repository();
    assert_eq!(lab.json(&["policy", "check"]).expect(0, "ok")["source"], Value::Null);
    lab.write(POLICY, "ttl = '1m'\n");
    let checked = lab.json(&["policy", "check"]).expect(0, "ok");
    let shown = lab.json(&["policy", "show"]).expect(0, "ok");
    assert_eq!(keys(&shown), words("outcome source hash policy recorded"));
    assert_eq!((&shown["policy"], &shown["recorded"]), (&json!({"ttl": "1m"}), &Value::Null));
    assert_eq!((&shown["hash"], &shown["source"]), (&checked["hash"], &checked["source"]));
    assert_eq!(listing(lab.path()).len(), 1, "nothing was written");
}

#[test]
fn what_is_shown_is_what_the_next_decision_is_made_under() {
    let lab = lab("ttl = '1m'\n");
    lab.grant("o1", "a", "a");
    let first = lab.json(&["policy", "show"]).expect(0, "ok");
    assert_eq!(first["recorded"], json!({"hash": first["hash"], "same": true}));
    lab.write(POLICY, "ttl = '2m'\n");
    let second = lab.json(&["policy", "show"]).expect(0, "ok");
    assert_eq!(second["recorded"], json!({"hash": first["hash"], "same": false}));
    assert_ne!(second["hash"], first["hash"]);
    let text = lab.text(&["policy", "show"]).out;
    assert!(text.contains("the next one records this one") && text.ends_with("\nttl = \"2m\"\n"), "{text}");
    assert_eq!(lab.json_as("o2", &["acquire", "b", "--tree", "b"]).value()["ttl_s"], 120);
    assert_eq!(lab.json(&["policy", "show"]).value()["recorded"]["same"], true);
}

#[test]
fn init_writes_an_example_that_fits_the_project_and_changes_nothing() {
    let lab = Lab::new();
    lab.write("crates/x", "");
    lab.write("docs/y", "");
    let made = lab.json(&["init"]).expect(0, "ok");
    assert_eq!((&made["created"], &made["policy_created"]), (&json!(true), &json!(true)));
    let text = std::fs::read_to_string(lab.path().join(POLICY)).unwrap();
    assert!(text.contains("#ladder = [\"crates\", \"docs\"]"), "{text}");
    lab.json(&["policy", "check"]).expect(0, "ok");
    assert_eq!(lab.json(&["policy", "show"]).value()["policy"], json!({}), "nothing in it holds yet");
    lab.grant("o1", "a", "a");
    assert!(!ops(&lab).contains(&"POLICY".to_owned()));
    // With every line in force it is a policy.
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    lab.write(POLICY, &text.lines().map(uncommented).collect::<String>());
    lab.json(&["policy", "check"]).expect(0, "ok");
    assert_eq!(lab.json_as("o2", &["acquire"]).expect(0, "acquire")["lane"], "crates");
    // What is there is never touched.
    let mine = lab.write(POLICY, "# mine\n");
    assert_eq!(lab.json(&["init"]).expect(0, "ok")["policy_created"], false);
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "# mine\n");
}

#[test]
fn linked_worktrees_with_different_policies_meet_in_one_store() {
    let lab = lab("[pools.gpu]\ncapacity = 2\n[lanes.solo]\nexclusive = true\n");
    if !(git(lab.path(), &["commit", "-q", "--allow-empty", "-m", "x"])
        && git(lab.path(), &["worktree", "add", "-q", "wt"]))
    {
        eprintln!("SKIPPED: no git; linked worktrees with different policies were not tried");
        return;
    }
    let there = |owner: &str, args: &[&str]| {
        let mut command = lab.command_as(owner, args);
        command.current_dir(lab.path().join("wt"));
        finish(command)
    };
    lab.grant("o1", "one", "pool://gpu");
    // The other worktree has no policy: there the pool is for one.
    refused(&there("o2", &["acquire", "two", "--tree", "pool://gpu"]), "POOL_FULL");
    lab.grant("o2", "two", "pool://gpu");
    for lane in [("o1", "one"), ("o2", "two")] {
        lab.json_as(lane.0, &["release", lane.1]).expect(0, "released");
    }
    lab.json_as("o1", &["acquire", "solo"]).expect(0, "acquire");
    refused(&there("o2", &["acquire", "x", "--tree", "x"]), "EXCLUSIVE_LIVE");
    lab.assert_sound();
}
