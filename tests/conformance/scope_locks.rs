//! Scope locks: files that say "I work in this directory".

use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{BIN, Lab, Sleeper, finish, listing};
use crate::leases;

/// One works in `src/api`; who asks for this scope meets that one here, or nowhere.
#[test]
fn the_same_tree_a_parent_and_a_child_meet_and_siblings_do_not() {
    let cases = [
        ("src/api", Some("src/api")),
        ("./src//api/", Some("src/api")),
        ("src", Some("src/api")),
        (".", Some("src/api")),
        ("src/api/v1/users.rs", Some("src/api/v1/users.rs")),
        ("src/API/v1", Some("src/api/v1")),
        ("src/web", None),
        ("src/api2", None),
        ("src/ap", None),
        ("src/api.rs", None),
        ("api", None),
        ("other/src/api", None),
    ];
    let lab = Lab::new();
    let held = lab.json_as("ann", &["acquire", "--tree", "src/api"]).expect(0, "acquire")["lease"].clone();
    for (scope, meets) in cases {
        let ask = ["acquire", "--tree", scope];
        let Some(witness) = meets else {
            lab.json_as("bob", &ask).expect(0, "acquire");
            continue;
        };
        let refused = lab.json_as("bob", &ask).expect(1, "refuse");
        let conflict = &refused["conflicts"][0];
        assert_eq!((&conflict["lease"], &conflict["owner"]), (&held, &json!("ann")), "{scope}");
        let overlap = conflict["overlap"].as_str().unwrap().to_lowercase();
        assert!(overlap.starts_with(witness), "{scope}: {overlap}");
    }
    lab.assert_sound();
}

#[test]
fn no_scope_is_a_mistake_and_never_everything() {
    let lab = Lab::new();
    let held = Lab::new();
    held.grant("ann", "api", "src/api");
    for lab in [&lab, &held] {
        let before = listing(lab.path());
        for args in [
            &["acquire"][..],
            &["acquire", "--tree", ""],
            &["acquire", "--read", ""],
            &["acquire", "--lock", ""],
            &["acquire", "scope", "--tree", ""],
            &["acquire", "scope", "--tree", "docs", "--tree", ""],
            &["acquire", "--why", "no scope"],
        ] {
            let answer = lab.json(args).expect(2, "error");
            assert!(answer["error"]["hint"].is_string(), "{answer}");
            assert_eq!(listing(lab.path()), before, "{args:?} wrote something");
        }
        let ran = finish(crate::run(lab, "bob", &[], "echo up"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{ran}");
        assert_eq!(listing(lab.path()), before);
    }
}

/// No such process (ESRCH): nobody has to be asked, and nobody has to clean up.
#[test]
fn the_scope_of_a_process_that_is_gone_is_taken_by_who_needs_it_and_by_nobody_who_looks() {
    let lab = Lab::new();
    let holder = Sleeper::new();
    let ask = ["acquire", "api", "--tree", "src/api", "--bind", &holder.pid()];
    let stale = lab.json_as("ann", &ask).expect(0, "acquire")["lease"].clone();
    drop(holder);
    let before = listing(lab.store());
    for args in [&["live"][..], &["live"], &["check", "src/api/x"], &["doctor"]] {
        lab.json_as("bob", args);
        assert_eq!(listing(lab.store()), before, "{args:?} cleaned up");
    }
    let seen = leases(&lab);
    assert_eq!((&seen[0]["lease"], &seen[0]["alive"]), (&stale, &json!("no")));
    // Who does not need the place leaves it alone.
    let beside = lab.json_as("bob", &["acquire", "web", "--tree", "src/web"]).expect(0, "acquire");
    assert_eq!(beside["evicted"], json!([]));
    let next = lab.json_as("eve", &["acquire", "mine", "--tree", "src"]).expect(1, "refuse");
    assert!(next["reason"].as_str().unwrap().contains("lane `web`"), "the living is in the way: {next}");
    assert_eq!(leases(&lab).len(), 2, "who is refused cleans nothing either");
    let next = lab.json_as("eve", &["acquire", "mine", "--tree", "src/api/x"]).expect(0, "acquire");
    assert_eq!((&next["evicted"][0]["lease"], &next["evicted"][0]["why"]), (&stale, &json!("dead")));
    assert!(!leases(&lab).iter().any(|lease| lease["lease"] == stale));
    lab.assert_sound();
}

/// A process that we may not signal (EPERM) is somebody's, and alive.
#[test]
fn the_scope_of_a_process_that_is_not_ours_to_signal_is_held() {
    let lab = Lab::new();
    let program = lab.path().join("program");
    std::fs::copy(BIN, &program).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let words: &[&str] = if is_root {
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    } else {
        &["env"]
    };
    if is_root {
        for path in listing(lab.path()).keys() {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
        std::os::unix::fs::chown(lab.path(), Some(65534), Some(65534)).unwrap();
    }
    let unprivileged = |script: &str| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["sh", "-c", script]).current_dir(lab.path()).env_clear();
        command.env("PATH", crate::kit::path_variable()).env("BIN", &program);
        command
    };
    // Process 1 is somebody else's, unless this user is the one that everything here belongs to.
    let may_signal = unprivileged("kill -0 1").stderr(std::process::Stdio::null()).status();
    if !may_signal.as_ref().is_ok_and(|status| !status.success())
        || !unprivileged("test -x $BIN").status().is_ok_and(|status| status.success())
    {
        eprintln!("SKIPPED: no process here that may not be signalled ({may_signal:?}); EPERM was not tried");
        return;
    }
    let ask = |owner: &str, args: &str| {
        let mut command = unprivileged(&format!("exec $BIN --json {args}"));
        command.env("LEASE_LANE_OWNER", owner);
        finish(command)
    };
    ask("ann", "acquire api --tree src/api --bind 1 --ttl 1ms").expect(0, "acquire");
    let refused = ask("bob", "acquire mine --tree src").expect(1, "refuse");
    assert_eq!(refused["conflicts"][0]["alive"], "yes", "{refused}");
    let kept = ask("bob", "sweep").expect(0, "ok");
    assert_eq!((kept["kept"].as_array().map(Vec::len), &kept["reclaimed"]), (Some(1), &json!([])));
    let refused = ask("bob", "unlock api").expect(1, "refuse");
    assert_eq!((&refused["holder"]["alive"], &refused["journaled"]), (&json!("yes"), &Value::from(false)));
}
