//! Worktrees of one repository, told apart or not (feature A7): the real program in trees that git has made.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::path::{Path, PathBuf};

use kit::{Answer, Lab, finish, git};
use serde_json::{Value, json};

const POLICY: &str = "lease-lane.toml";

/// A repository with linked worktrees beside it: `wt`, and one that is called as the first one is.
struct Trees {
    lab: Lab,
    top: PathBuf,
}

impl Trees {
    /// None where git cannot be had.
    fn new(policy: &str) -> Option<Trees> {
        let lab = Lab::without_repository();
        let top = lab.path().join("project");
        std::fs::create_dir(&top).unwrap();
        let made = git(&top, &["init", "-q", "."])
            && git(&top, &["commit", "-q", "--allow-empty", "-m", "first"])
            && git(&top, &["worktree", "add", "-q", "../wt"])
            && git(&top, &["worktree", "add", "-q", "../main"]);
        if !made {
            eprintln!("SKIPPED: no usable git here; worktrees were not told apart");
            return None;
        }
        let trees = Trees { lab, top };
        trees.agree(policy);
        Some(trees)
    }

    /// The same policy in every worktree, as if it were committed.
    fn agree(&self, policy: &str) {
        for tree in ["project", "wt", "main"] {
            std::fs::write(self.at(tree).join(POLICY), policy).unwrap();
        }
    }

    fn at(&self, tree: &str) -> PathBuf {
        self.lab.path().join(tree)
    }

    fn run(&self, dir: &Path, owner: &str, args: &[&str]) -> Answer {
        let mut command = self.lab.command_as(owner, args);
        command.current_dir(dir);
        finish(command)
    }

    fn ask(&self, tree: &str, owner: &str, args: &[&str]) -> Answer {
        self.run(&self.at(tree), owner, args)
    }

    #[track_caller]
    fn grant(&self, tree: &str, owner: &str, lane: &str, region: &str) -> Value {
        self.ask(tree, owner, &["acquire", lane, "--tree", region]).expect(0, "acquire")
    }

    #[track_caller]
    fn refuse(&self, tree: &str, owner: &str, lane: &str, region: &str, code: &str) -> Value {
        let refused = self.ask(tree, owner, &["acquire", lane, "--tree", region]).expect(1, "refuse");
        assert_eq!(refused["code"], code, "{refused}");
        refused
    }

    /// The lanes that live, each with its worktree.
    fn live(&self) -> Vec<(String, Value)> {
        let live = self.ask("project", "o1", &["live"]).expect(0, "ok");
        let leases = live["leases"].as_array().unwrap();
        leases
            .iter()
            .map(|lease| (lease["lane"].as_str().unwrap().to_owned(), lease["worktree"].clone()))
            .collect()
    }

    /// The journal is sound, also behind a seal, and every verdict comes out the same again.
    fn assert_sound(&self) {
        let before = self.live();
        self.ask("wt", "o1", &["compact", "--keep", "all"]).expect(0, "ok");
        assert_eq!(self.live(), before, "a checkpoint forgets no worktree");
        self.ask("wt", "o1", &["verify"]).expect(0, "ok");
        let verdicts = self.ask("wt", "o1", &["replay", "--verdicts"]).expect(0, "ok");
        assert_eq!(verdicts["differences"], json!([]));
    }
}

const SEPARATE: &str = "worktrees = 'separate'\n";

#[test]
fn the_same_path_in_two_worktrees_is_one_path_unless_the_policy_says_otherwise() {
    let Some(trees) = Trees::new("worktrees = 'shared'\n") else { return };
    let granted = trees.grant("project", "o1", "api", "src/**");
    assert!(granted.get("worktree").is_none(), "{granted}");
    trees.refuse("wt", "o2", "x", "src/x", "REGION_CONFLICT");
    trees.refuse("wt", "o2", "api", "free", "LANE_HELD");
    let tail = trees.ask("wt", "o1", &["tail"]);
    assert!(!tail.out.contains("\"worktree\""), "nothing of it is recorded: {tail}");
    trees.assert_sound();
}

#[test]
fn told_apart_they_share_neither_paths_nor_lanes_but_named_resources() {
    let Some(trees) = Trees::new(SEPARATE) else { return };
    let granted = trees.grant("project", "o1", "api", "src/**");
    assert_eq!(granted["worktree"], "main");
    let deep = trees.at("wt/deep/down");
    std::fs::create_dir_all(&deep).unwrap();
    let granted = trees.run(&deep, "o2", &["acquire", "api", "--tree", "src/**"]).expect(0, "acquire");
    assert_eq!(granted["worktree"], "wt");
    let namesake = trees.grant("main", "o3", "api", "src/**");
    assert_eq!(namesake["worktree"], "worktrees/main", "a linked one that is called as the first one is");

    // In one worktree nothing has changed.
    let refused = trees.refuse("wt", "o4", "x", "src/x", "REGION_CONFLICT");
    let [conflict] = refused["conflicts"].as_array().unwrap().as_slice() else { panic!("{refused}") };
    assert_eq!((&conflict["owner"], &conflict["worktree"]), (&json!("o2"), &json!("wt")));
    trees.refuse("wt", "o4", "API", "free", "LANE_HELD");
    let text = finish({
        let mut command = trees.lab.command(["acquire", "x", "--tree", "src/x"]);
        command.current_dir(trees.at("wt"));
        command
    });
    assert!(text.out.contains("lane api · worktree wt"), "{text}");

    // A named resource is one, wherever it is asked for.
    trees.grant("project", "o1", "db", "lock://db");
    let refused = trees.refuse("wt", "o2", "db", "lock://DB", "REGION_CONFLICT");
    assert_eq!(refused["conflicts"][0]["overlap"], "lock://db");
    trees.grant("wt", "o2", "gpu", "pool://gpu");
    trees.refuse("main", "o3", "gpu", "pool://gpu", "POOL_FULL");
    trees.ask("wt", "o1", &["check", "lock://db"]).expect(0, "ok");
    let not_held = trees.ask("wt", "o1", &["check", "pool://gpu", "src/x"]).expect(1, "not_held");
    assert_eq!(not_held["paths"][0]["holders"][0]["owner"], "o2");

    let lanes: Vec<_> = trees.live();
    let names = [("api", "main"), ("api", "wt"), ("api", "worktrees/main"), ("db", "main"), ("gpu", "wt")];
    assert_eq!(lanes, names.map(|(lane, worktree)| (lane.to_owned(), json!(worktree))));
    let mut live = trees.lab.command(["live"]);
    live.current_dir(&trees.top);
    let live = finish(live);
    assert!(live.out.contains("lane api · owner o2 · worktree wt"), "{live}");
    let mut tail = trees.lab.command(["tail"]);
    tail.current_dir(&trees.top);
    let tail = finish(tail);
    assert!(tail.out.contains("owner o2  worktree wt"), "{tail}");
    trees.assert_sound();
}

#[test]
fn what_was_granted_for_all_worktrees_is_in_the_way_in_each() {
    let Some(trees) = Trees::new("") else { return };
    trees.grant("wt", "o1", "api", "src/**");
    trees.agree(SEPARATE);
    for tree in ["project", "wt", "main"] {
        trees.refuse(tree, "o2", "x", "src/x", "REGION_CONFLICT");
        trees.refuse(tree, "o2", "api", "free", "LANE_HELD");
        trees.ask(tree, "o1", &["check", "src/x"]).expect(0, "ok");
        trees.ask(tree, "o1", &["heartbeat", "api"]).expect(0, "beat");
    }
    // And who asks for all of them finds everybody in the way.
    trees.grant("wt", "o2", "docs", "docs/**");
    std::fs::remove_file(trees.at("main").join(POLICY)).unwrap();
    trees.refuse("main", "o3", "x", "docs/x", "REGION_CONFLICT");
    trees.refuse("main", "o3", "docs", "free", "LANE_HELD");
    assert_eq!(trees.live(), [("api".to_owned(), Value::Null), ("docs".to_owned(), json!("wt"))]);
    trees.assert_sound();
}

#[test]
fn a_lane_and_a_path_are_those_of_the_worktree_that_the_caller_is_in() {
    let Some(trees) = Trees::new(SEPARATE) else { return };
    trees.grant("project", "o1", "api", "src/**");
    let there = trees.grant("wt", "o1", "api", "docs/**");
    trees.ask("project", "o1", &["check", "src/x"]).expect(0, "ok");
    let no = trees.ask("wt", "o1", &["check", "src/x"]).expect(1, "not_held");
    assert_eq!(no["paths"][0]["holders"], json!([]), "{no}");
    trees.ask("wt", "o1", &["check", "docs/x"]).expect(0, "ok");
    let no = trees.ask("wt", "o2", &["check", "docs/x"]).expect(1, "not_held");
    assert_eq!(no["paths"][0]["holders"][0]["worktree"], "wt", "{no}");
    trees.ask("project", "o1", &["check", "docs/x"]).expect(1, "not_held");
    // From where it cannot be told, a lease of one worktree covers nothing.
    let store = trees.top.join(".git/lease-lane").display().to_string();
    let outside = trees.lab.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    trees.run(&outside, "o1", &["--store", &store, "check", "src/x"]).expect(1, "not_held");
    trees.run(&outside, "o1", &["--store", &store, "release", "api"]).expect(1, "not_held");

    assert_eq!(trees.ask("wt", "o1", &["heartbeat", "api"]).expect(0, "beat")["lease"], there["lease"]);
    trees.ask("main", "o1", &["release", "api"]).expect(1, "not_held");
    let halted = trees.ask("wt", "o2", &["halt", "stop", "--lane", "api"]).expect(0, "halted");
    assert_eq!(halted["leases"][0]["lease"], there["lease"], "{halted}");
    // Nobody holds the lane in this one: on record, and no lease shows it.
    let nobody = trees.ask("main", "o2", &["halt", "stop", "--lane", "api"]).expect(0, "halted");
    assert_eq!(nobody["leases"], json!([]));
    let adopted = trees.ask("wt", "o2", &["adopt", "api", "--from", "o1"]).expect(0, "adopted");
    assert_eq!(adopted["lease"], there["lease"]);
    trees.ask("wt", "o3", &["unlock", "api", "--force", "--why", "w", "--yes"]).expect(0, "unlocked");
    // Its end there is no news here.
    trees.ask("project", "o2", &["release", "api"]).expect(3, "not_yours");
    trees.ask("main", "o2", &["release", "api"]).expect(1, "not_held");
    trees.ask("wt", "o2", &["release", "api"]).expect(3, "expired");
    trees.ask("project", "o1", &["release", "api"]).expect(0, "released");
    assert_eq!(trees.live(), []);
    trees.assert_sound();
}

#[test]
fn the_worktree_is_that_of_the_root_and_not_of_the_directory_one_stands_in() {
    let Some(trees) = Trees::new(SEPARATE) else { return };
    trees.grant("wt", "o1", "api", "src/**");
    let root = trees.at("wt").display().to_string();
    let refused =
        trees.ask("project", "o2", &["--root", &root, "acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
    assert_eq!(refused["code"], "REGION_CONFLICT");
    // A link in one worktree to another one's files leads to those.
    std::os::unix::fs::symlink(trees.at("wt"), trees.top.join("link")).unwrap();
    let args = ["--root", "link", "acquire", "x", "--tree", "src/x"];
    assert_eq!(trees.ask("project", "o2", &args).expect(1, "refuse")["code"], "REGION_CONFLICT");
    // Without a repository there is nothing to tell apart, so it may be anywhere.
    let outside = trees.lab.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join(POLICY), SEPARATE).unwrap();
    let store = trees.top.join(".git/lease-lane").display().to_string();
    let args = ["--store", &store, "acquire", "x", "--tree", "src/x"];
    assert_eq!(trees.run(&outside, "o2", &args).expect(1, "refuse")["code"], "REGION_CONFLICT");
    trees.assert_sound();
}

#[test]
fn a_request_that_is_repeated_from_another_worktree_is_another_one() {
    let Some(trees) = Trees::new(SEPARATE) else { return };
    let ask = ["acquire", "api", "--tree", "src/**", "--request-id", "r1"];
    let first = trees.ask("wt", "o1", &ask).expect(0, "acquire");
    let again = trees.ask("wt", "o1", &ask).expect(0, "acquire");
    assert_eq!((&again["lease"], &again["repeated"]), (&first["lease"], &json!(true)));
    trees.ask("main", "o1", &ask).expect(2, "error");
    trees.assert_sound();
}

#[test]
fn run_and_arbitrate_tell_them_apart_as_acquire_does() {
    let Some(trees) = Trees::new(SEPARATE) else { return };
    trees.grant("wt", "o1", "api", "src/**");
    let run = |tree: &str, region: &str| trees.ask(tree, "o2", &["run", "--tree", region, "--", "true"]).code;
    assert_eq!((run("project", "src/**"), run("wt", "src/**")), (Some(0), Some(1)));

    let live = trees.ask("wt", "o1", &["live"]).expect(0, "ok");
    let decide = |worktree: Option<&str>, worktrees: &str| {
        let request = json!({"owner": "o2", "lane": "x", "tree": ["src/x"], "worktree": worktree});
        let question = json!({"request": request, "live": live["leases"], "policy": {"worktrees": worktrees},
            "now": "2026-11-21T07:00:00.000Z"});
        trees.lab.write("question", &format!("{question}\n"));
        let mut command = trees.lab.command(["arbitrate"]);
        command.stdin(std::fs::File::open(trees.lab.path().join("question")).unwrap());
        finish(command).value()["outcome"].clone()
    };
    assert_eq!(decide(Some("main"), "separate"), "acquire");
    for (worktree, worktrees) in [(Some("wt"), "separate"), (None, "separate"), (Some("main"), "shared")] {
        assert_eq!(decide(worktree, worktrees), "refuse", "{worktree:?} {worktrees}");
    }

    // What is kept in another store may call its worktrees as it likes.
    let elsewhere = trees.lab.write("elsewhere.json", &live["leases"].to_string());
    trees.ask("wt", "o1", &["release", "api"]).expect(0, "released");
    let elsewhere = elsewhere.display().to_string();
    let args = ["acquire", "x", "--tree", "src/x", "--with-leases", &elsewhere];
    assert_eq!(trees.ask("project", "o2", &args).expect(1, "refuse")["code"], "REGION_CONFLICT");
    trees.assert_sound();
}
