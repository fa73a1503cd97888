//! The README's tour is run as it stands there: every `console` block, in order, in a fresh repository.
//!
//! Times, ages and byte counts differ from run to run and count as equal; every other word must be the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_tour_in_the_readme_is_what_happens() {
    let readme = include_str!("../README.md");
    let bin = Path::new(env!("CARGO_BIN_EXE_lease-lane"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    let mut steps = 0;
    for (command, expected) in steps_of(readme) {
        let words = command.strip_prefix("lease-lane").expect("the tour runs lease-lane");
        let script = format!("'{}'{words}", bin.display());
        let ran = Command::new("sh")
            .args(["-c", &script])
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap();
        assert_eq!(normal(&said), normal(&expected), "$ {command}\nsaid:\n{said}");
        steps += 1;
    }
    assert!(steps >= 10, "the tour has {steps} steps");
}

/// The commands of all `console` blocks with what the README says they print.
fn steps_of(text: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push((command.to_owned(), String::new()));
        } else if let Some((_, output)) = steps.last_mut().filter(|_| inside) {
            output.push_str(line);
            output.push('\n');
        }
    }
    steps
}

/// The words of a text, without those that tell a time, an age or a size.
fn normal(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_end_matches([',', ':', ';']);
        let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && matches!(&bare[digits..], "ms" | "s" | "m" | "h" | "d") {
            continue;
        }
        if bare.len() == 24 && bare.starts_with("20") && bare.ends_with('Z') {
            continue;
        }
        if matches!(bare, "bytes") {
            words.pop();
        }
        words.push(word.to_owned());
    }
    words
}
