//! Journals of every format version that was ever written must read, replay and re-decide as on their first day.
//!
//! `fixtures/journal-1.0` is a whole store: grants, refusals of every kind, beats, evictions by time and by death,
//! a policy change, a compaction and an import. The snapshots hold what it amounts to and every verdict in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A private copy, as a store must be: git keeps no modes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::write(&to, fs::read(&path).unwrap()).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn run(store: &Path, words: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_lease-lane"))
        .args(["--json", "--owner", "reader", "--store"])
        .arg(store)
        .args(words)
        .current_dir(store)
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/journal-1.0"), &store);
    (dir, store)
}

#[test]
fn a_journal_of_format_1_0_replays_to_what_it_was() {
    let (_dir, store) = fixture();
    assert_eq!(json(&run(&store, &["verify"]))["outcome"], "ok");
    insta::assert_json_snapshot!("journal_1_0_live", json(&run(&store, &["replay"])));
    insta::assert_json_snapshot!("journal_1_0_at_12", json(&run(&store, &["replay", "--at", "12"])));
}

#[test]
fn every_verdict_of_format_1_0_is_decided_again_to_the_byte() {
    let (_dir, store) = fixture();
    let decided = json(&run(&store, &["replay", "--verdicts"]));
    assert_eq!((&decided["outcome"], &decided["decisions"]), (&Value::from("ok"), &Value::from(14)));
    let records = run(&store, &["tail", "-n", "1000"]);
    let verdicts: Vec<Value> = records
        .lines()
        .map(json)
        .filter(|record| !record["verdict"].is_null())
        .map(|record| record["verdict"].clone())
        .collect();
    insta::assert_json_snapshot!("journal_1_0_verdicts", verdicts);
}
