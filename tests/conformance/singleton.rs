//! A pid file: one daemon at a time.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{BIN, Lab, Sleeper, finish, listing, poll};
use crate::{SOON, Supervised, leases, run};

const DAEMON: [&str; 2] = ["--lock", "daemon"];

#[test]
fn a_clean_start_runs_and_leaves_the_place_free() {
    let lab = Lab::new();
    for _ in 0..2 {
        let ran = finish(run(&lab, "ann", &DAEMON, "echo up; exit 42"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(42), "up\n"), "{ran}");
        assert_eq!(leases(&lab), [Value::Null; 0]);
    }
}

#[test]
fn a_living_one_is_named_and_its_record_stays_as_it_is() {
    let lab = Lab::new();
    let running = Supervised::start(&lab, "ann", &DAEMON);
    let before = leases(&lab);
    let segment = lab.active_segment();
    let written = std::fs::read(&segment).unwrap();
    // Its own user is refused like anybody else, and told so.
    for (owner, yours) in [("bob", false), ("ann", true)] {
        let refused = finish(run(&lab, owner, &DAEMON, "echo up"));
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused}");
        assert!(refused.err.contains("ann") && refused.err.contains("processes alive: yes"), "{refused}");
        let refused = lab.json_as(owner, &["acquire", "--lock", "daemon"]).expect(1, "refuse");
        assert_eq!((&refused["yours"], &refused["conflicts"][0]["alive"]), (&json!(yours), &json!("yes")));
    }
    assert_eq!(leases(&lab), before);
    assert_eq!(before[0]["processes"][0]["pid"], running.supervisor.id());
    assert!(std::fs::read(&segment).unwrap().starts_with(&written), "what was written is only added to");
    lab.assert_sound();
}

/// A pid file of a dead daemon keeps out nobody, and one whose pid was given again neither.
#[test]
fn a_dead_ones_place_is_free_at_once() {
    let lab = Lab::new();
    let mut dead = Supervised::start(&lab, "ann", &DAEMON);
    dead.kill_supervisor();
    dead.kill_worker();
    poll("the next one runs", SOON, || {
        (finish(run(&lab, "bob", &DAEMON, "exit 0")).code == Some(0)).then_some(())
    });
    assert_eq!(leases(&lab), [Value::Null; 0]);
    lab.assert_sound();
}

/// What is told of another host is believed, also when its pid is nobody's here.
#[test]
fn one_on_another_host_counts_as_living() {
    let (there, lab) = (Lab::new(), Lab::new());
    let mut daemon = Sleeper::new();
    there.json_as("ann", &["acquire", "--lock", "daemon", "--bind", &daemon.pid()]).expect(0, "acquire");
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    let mut live = there.json(&["live"]).expect(0, "ok");
    assert_eq!(live["leases"][0]["alive"], "no", "looked at here, it is gone");
    for key in ["host", "boot"] {
        live["leases"][0]["processes"][0][key] = json!("elsewhere");
    }
    let file = lab.write("theirs.json", &live.to_string());
    let theirs = ["--with-leases", file.to_str().unwrap()];
    let refused = finish(run(&lab, "bob", &[&DAEMON[..], &theirs[..]].concat(), "echo up"));
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused}");
    assert!(refused.err.contains("ann") && refused.err.contains("processes alive: unknown"), "{refused}");
    let other = finish(run(&lab, "bob", &[&["--lock", "other"], &theirs[..]].concat(), "echo up"));
    assert_eq!((other.code, other.out.as_str()), (Some(0), "up\n"), "{other}");
}

#[test]
fn force_is_said_twice_without_a_terminal_and_shows_whom_it_puts_out() {
    let lab = Lab::new();
    lab.json_as("ann", &["acquire", "--lock", "daemon", "--why", "the nightly one"]).expect(0, "acquire");
    let unlock = ["unlock", "lock://daemon", "--force", "--why", "it hangs"];
    let before = listing(lab.path());
    let unsure = lab.text(&unlock);
    assert_eq!((unsure.code, unsure.out.as_str()), (Some(2), ""), "{unsure}");
    assert!(unsure.err.contains("terminal") && unsure.err.contains("--yes"), "{unsure}");
    assert_eq!(listing(lab.path()), before);
    let forced = lab.text(&[&unlock[..], &["--yes"]].concat());
    assert_eq!(forced.code, Some(0), "{forced}");
    for words in ["by force: it hangs", "owner ann", "lock://daemon", "the nightly one"] {
        assert!(forced.out.contains(words), "{words}: {forced}");
    }
    assert_eq!(finish(run(&lab, "bob", &DAEMON, "exit 0")).code, Some(0));
    lab.assert_sound();
}

/// The files are the owner's alone whatever the umask, and the umask of the daemon is the caller's.
#[test]
fn a_first_start_makes_tight_files_under_any_umask_and_hands_the_umask_on() {
    for umask in ["0000", "0777", "0022"] {
        let lab = Lab::new();
        let script = format!("umask {umask}; exec {BIN} run --lock daemon -- sh -c umask");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(lab.path()).env_clear();
        command.env("LEASE_LANE_OWNER", "ann").env("PATH", crate::kit::path_variable());
        let ran = finish(command);
        assert_eq!((ran.code, ran.out.trim_end()), (Some(0), umask), "{ran}");
        let all = listing(lab.store());
        assert!(all.len() > 3, "{all:?}");
        for path in all.keys() {
            let meta = path.symlink_metadata().unwrap();
            let mode = if meta.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(meta.mode() & 0o7777, mode, "umask {umask}: {}", path.display());
        }
    }
}
