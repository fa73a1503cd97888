//! What the store lies on: a file system that may lose grants is not written to unless somebody takes the risk.
//! A real FUSE mount in a namespace of its own; skipped aloud where there can be none.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::process::{Command, Stdio};

use kit::machine::Shell;
use kit::{Lab, keys, listing, words};
use serde_json::json;

/// A shell that has `under` also as `over`, through FUSE; what is written to `over` goes to `upper`.
fn shell_with_fuse(lab: &Lab) -> Option<Shell> {
    const PROGRAM: &str = "fuse-overlayfs";
    let is_there = || {
        let mut version = Command::new(PROGRAM);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok()
    };
    if !is_there() && (std::env::var_os("CI").is_some() || std::env::var_os("LEASE_LANE_INSTALL").is_some()) {
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", PROGRAM]).stdin(Stdio::null());
        let _tried = install.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    if !is_there() {
        eprintln!("SKIPPED: FUSE was not tried: {PROGRAM} is missing (LEASE_LANE_INSTALL=1 installs it)");
        return None;
    }
    let prepare = "mkdir -p under && mkdir upper work over && \
                   { fuse-overlayfs -f -o lowerdir=under,upperdir=upper,workdir=work over </dev/null >/dev/null 2>&1 & } && \
                   until grep -q \"$PWD/over .* fuse\" /proc/self/mountinfo; do kill -0 $! || break; done && kill -0 $!";
    Shell::enter(lab, &["unshare", "-m"], prepare)
}

#[test]
fn on_fuse_everything_can_be_read_and_nothing_is_written_unless_it_is_allowed() {
    let lab = Lab::without_repository();
    for (lane, tree) in [("theirs", "src/**"), ("more", "more/**")] {
        lab.json_as("them", &["--store", "under/store", "acquire", lane, "--tree", tree])
            .expect(0, "acquire");
    }
    let Some(mut shell) = shell_with_fuse(&lab) else { return };
    let written = || (listing(&lab.path().join("under")), listing(&lab.path().join("upper")));
    let before = written();

    shell.run("STORE=$PWD/over/store");
    assert_eq!(shell.live().len(), 2);
    shell.ask("them", &["check", "src/x"]).expect(0, "ok");
    shell.ask("me", &["acquire", "mine", "--tree", "free", "--dry-run"]).expect(0, "acquire");
    shell.ask("me", &["acquire", "mine", "--tree", "src/x", "--dry-run"]).expect(1, "refuse");
    shell.assert_sound();
    let doctor = shell.ask("me", &["doctor"]).expect(0, "ok");
    let file_system = &doctor["file_system"];
    assert_eq!(keys(file_system), words("type verdict note allowed"));
    assert_eq!(file_system["verdict"], "unsuitable", "{file_system}");
    assert!(file_system["type"].as_str().unwrap().starts_with("fuse"), "{file_system}");
    assert_eq!((&file_system["allowed"], &doctor["warnings"]), (&false.into(), &json!(["file_system"])));
    for verb in [
        &["acquire", "mine", "--tree", "free"][..],
        &["acquire", "mine", "--tree", "src/x"],
        &["acquire", "mine", "--tree", "src/x", "--wait", "50s"],
        &["release", "theirs"],
        &["heartbeat", "theirs"],
        &["adopt", "theirs", "--from", "them"],
        &["halt", "why", "--lane", "theirs"],
        &["spawn", "theirs"],
        &["unlock", "theirs", "--force", "--why", "x", "--yes"],
        &["compact", "--keep", "none"],
        &["repair", "--yes"],
        &["init"],
    ] {
        let said = shell.ask("them", verb).expect(6, "io");
        assert_eq!(said["error"]["kind"], "file_system", "{verb:?}: {said}");
        let message = said["error"]["message"].as_str().unwrap();
        assert!(message.contains("fuse") && message.contains("/over/store"), "{verb:?}: {said}");
        assert!(said["error"]["hint"].as_str().unwrap().contains("--allow-fs"), "{verb:?}: {said}");
    }
    assert_eq!(written(), before);

    let mine = shell.ask("me", &["acquire", "mine", "--tree", "free", "--allow-fs"]).expect(0, "acquire");
    shell.ask_with("LEASE_LANE_ALLOW_FS=1", "them", &["release", "theirs"]).expect(0, "released");
    shell.ask_with("LEASE_LANE_ALLOW_FS=0", "them", &["release", "more"]).expect(6, "io");
    let doctor = shell.ask("me", &["--allow-fs", "doctor"]).expect(0, "ok");
    assert_eq!(doctor["file_system"]["allowed"], true);
    assert!(shell.live().contains(&mine["lease"].as_u64().unwrap()));
    shell.assert_sound();
}

#[test]
fn a_run_on_fuse_that_is_allowed_keeps_its_lease() {
    let lab = Lab::without_repository();
    let Some(mut shell) = shell_with_fuse(&lab) else { return };
    shell.run("STORE=$PWD/over/store");
    // For some of its times, each of which needs beats.
    let run = "\"$BIN\" --store \"$STORE\" --allow-fs --owner me run --lock x --ttl 600ms -- sh -c 'sleep 2; exit 7'";
    assert_eq!(shell.run(&format!("{run}; echo $?")), "7");
    shell.assert_sound();
}

#[test]
fn on_fuse_no_store_begins_and_no_directory_is_left_behind() {
    let lab = Lab::without_repository();
    let Some(mut shell) = shell_with_fuse(&lab) else { return };
    shell.run("STORE=$PWD/over/deep/er/store");
    let doctor = shell.ask("me", &["doctor"]).expect(0, "ok");
    assert_eq!(doctor["file_system"]["verdict"], "unsuitable", "{doctor}");
    for verb in [&["acquire", "x", "--tree", "x"][..], &["init"]] {
        let said = shell.ask("me", verb).expect(6, "io");
        assert_eq!(said["error"]["kind"], "file_system", "{verb:?}: {said}");
    }
    assert!(listing(&lab.path().join("upper")).is_empty());
    shell.ask("me", &["acquire", "x", "--tree", "x", "--allow-fs"]).expect(0, "acquire");
    shell.assert_sound();
}

#[test]
fn a_disk_in_memory_is_good_and_said_to_be_in_memory() {
    let lab = Lab::without_repository();
    let prepare = "mkdir disk && mount -t tmpfs -o size=4m,mode=700 none disk && STORE=$PWD/disk/store";
    let Some(mut shell) = Shell::enter(&lab, &["unshare", "-Urm"], prepare) else { return };
    for _ in 0..2 {
        let doctor = shell.ask("me", &["doctor"]).expect(0, "ok");
        assert_eq!(doctor["file_system"]["type"], "tmpfs", "{doctor}");
        assert_eq!(doctor["file_system"]["verdict"], "good", "{doctor}");
        assert!(doctor["file_system"]["note"].as_str().unwrap().contains("reboot"), "{doctor}");
        shell.ask("me", &["acquire", "--tree", "x"]);
    }
}

#[test]
fn a_word_that_is_neither_yes_nor_no_is_not_taken_for_either() {
    let lab = Lab::new();
    for (word, code) in [("1", 0), ("0", 0), ("", 0), ("maybe", 2)] {
        let mut command = lab.command(["init"]);
        command.env("LEASE_LANE_ALLOW_FS", word);
        let answer = kit::finish(command);
        assert_eq!(answer.code, Some(code), "{word:?}: {answer}");
        assert_eq!(answer.err.contains("LEASE_LANE_ALLOW_FS"), code == 2, "{answer}");
    }
}
