//! The default owner of real process trees: two one-shot shells of one agent are one owner.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::process::Command;

use lease::owner::default_owner;
use lease::process::{Here, Stat};

/// Says who asks, into a file; does nothing by itself.
#[test]
#[ignore = "the child half of other tests"]
fn child_half() {
    let Ok(out) = std::env::var("OWNER_TEST_OUT") else { return };
    std::fs::write(out, default_owner(&|_| None).unwrap()).unwrap();
}

/// Runs [`child_half`] behind `wrapper` and says whom it took for the owner.
fn owner_under(wrapper: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("owner");
    let program = std::env::current_exe().unwrap();
    let half = format!("'{}' --exact child_half --ignored", program.display());
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).env("OWNER_TEST_OUT", &out);
    // The last word keeps a shell from replacing itself by its only command.
    command.arg(format!("{half}; exit $?"));
    let output = command.output().unwrap();
    std::fs::read_to_string(&out).unwrap_or_else(|_| panic!("{output:?}"))
}

fn we() -> String {
    let this = Stat::read_self().unwrap();
    format!("{}:{}@{}", this.pid, this.start, Here::this().nodename())
}

#[test]
fn two_one_shot_shells_have_the_same_owner() {
    assert_eq!(owner_under(&["sh", "-c"]), we());
    assert_eq!(owner_under(&["sh", "-ec"]), we());
}

#[test]
fn wrappers_around_a_shell_are_passed_over() {
    assert_eq!(owner_under(&["timeout", "60", "sh", "-c"]), we());
    assert_eq!(owner_under(&["env", "A=1", "nice", "timeout", "60", "sh", "-c"]), we());
}

#[test]
fn a_script_is_an_owner() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "eval \"$1\"").unwrap();
    let owner = owner_under(&["sh", script.to_str().unwrap()]);
    assert_ne!(owner, we());
    assert!(owner.ends_with(&format!("@{}", Here::this().nodename())), "{owner}");
}
