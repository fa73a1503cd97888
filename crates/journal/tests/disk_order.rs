//! What the real disk asks of the kernel, and in which order: seen from outside, by `strace`. What is not synced is
//! there all the same until the power fails, so no other test of the real disk would miss a sync.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Client, writing};
use journal::disk::RealDisk;

/// Set for the child half: the store's directory.
const CHILD_STORE: &str = "JOURNAL_TEST_STORE";
const TEST: &str = "the_kernel_is_asked_for_every_sync_and_in_the_right_order";

/// Begins a store, takes a lease, closes the segment, takes another.
fn live_a_little(disk: &RealDisk) {
    let mut ann = Client::new(disk, "ann");
    ann.acquire(1, "api", &["src/api/**"]).expect("sound");
    ann.store.seal(writing(2)).expect("sound");
    ann.acquire(3, "docs", &["docs/**"]).expect("sound");
}

/// What must happen in `journal` and `marks`: bytes before their name, the name before anybody is told, a segment
/// before its mark and before its successor.
const WANTED: [&str; 18] = [
    "write journal/nameless",
    "sync journal/nameless",
    "name journal/1.jsonl",
    "sync journal",
    "write journal/1.jsonl",
    "sync journal/1.jsonl",
    "sync journal",
    "write marks/1",
    "write journal/1.jsonl",
    "sync journal/1.jsonl",
    "write marks/1",
    "write journal/nameless",
    "sync journal/nameless",
    "name journal/3.jsonl",
    "sync journal",
    "write marks/3",
    "write journal/3.jsonl",
    "sync journal/3.jsonl",
];

#[test]
fn the_kernel_is_asked_for_every_sync_and_in_the_right_order() {
    if let Ok(store) = std::env::var(CHILD_STORE) {
        let disk = RealDisk::open_or_create(Path::new(&store)).expect("made");
        live_a_little(&if store.ends_with("named") { disk.without_nameless_files() } else { disk });
        return;
    }
    if !has_strace() {
        eprintln!(
            "SKIPPED: no strace that may trace here (LEASE_LANE_INSTALL=1 installs it), so the order of syncs was not looked at"
        );
        return;
    }
    for store in ["nameless", "named"] {
        let temp = tempfile::tempdir().expect("a directory");
        let (store, log) = (temp.path().join(store), temp.path().join("log"));
        let told = Command::new("strace")
            .args(["-f", "-y", "-s", "0", "-e", "trace=write,fsync,fdatasync,linkat,renameat2", "-o"])
            .arg(&log)
            .arg(std::env::current_exe().expect("a test binary"))
            .args(["--exact", TEST, "--nocapture"])
            .env(CHILD_STORE, &store)
            .output()
            .expect("strace runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let log = std::fs::read_to_string(&log).expect("written");
        let prefix = format!("{}/", store.display());
        let seen: Vec<String> = log.lines().filter_map(|line| event(line, &prefix)).collect();
        let (seen, last) = seen.split_at(WANTED.len().min(seen.len()));
        assert_eq!(seen, WANTED, "{log}");
        assert_eq!(last, ["write marks/3"], "{log}");
    }
}

/// A call that succeeded on something in `journal` or `marks`, in words.
fn event(line: &str, store: &str) -> Option<String> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let (rest, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let shown = |path: &str| {
        let path = path.strip_prefix(store)?;
        let (dir, file) = path.split_once('/').unwrap_or((path, ""));
        let file = file.trim_start_matches('0');
        let is_nameless = file.starts_with('#') || file.starts_with("tmp-");
        let file = if is_nameless { "nameless" } else { file };
        let shown = if file.is_empty() { dir.to_owned() } else { format!("{dir}/{file}") };
        matches!(dir, "journal" | "marks").then_some(shown)
    };
    // `-y` writes a descriptor's path behind it: 3</store/journal>.
    let path_of = |text: &str| Some(text.split_once('<')?.1.split_once('>')?.0.to_owned());
    match name {
        "write" => Some(format!("write {}", shown(&path_of(rest)?)?)),
        "fsync" | "fdatasync" => Some(format!("sync {}", shown(&path_of(rest)?)?)),
        _ => {
            // ..., 5</store/journal>, "00000000000000000001.jsonl", FLAGS
            let (before, file) = rest.rsplit_once(">, \"")?;
            let dir = before.rsplit_once('<')?.1;
            Some(format!("name {}", shown(&format!("{dir}/{}", file.split_once('"')?.0))?))
        }
    }
}

/// Whether strace is there and may trace; with `CI` or `LEASE_LANE_INSTALL` in the environment it is installed where it
/// is missing.
fn has_strace() -> bool {
    let works = || {
        let told = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
        told.is_ok_and(|told| told.status.success())
    };
    let may_install = ["CI", "LEASE_LANE_INSTALL"].iter().any(|knob| std::env::var_os(knob).is_some());
    works()
        || may_install
            && Command::new("apt-get").args(["install", "--yes", "strace"]).output().is_ok()
            && works()
}
