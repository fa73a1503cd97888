//! What shells and `man` are given: completions that complete, and a page for every command.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use kit::{Lab, finish, path_variable};

/// The commands that `--help` lists.
fn commands(lab: &Lab) -> BTreeSet<String> {
    let help = lab.text(&["--help"]).out;
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let names: BTreeSet<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.contains("acquire") && names.len() > 10, "{names:?}");
    names
}

/// Runs a script; `None`, said aloud, where there is no such shell.
fn script(lab: &Lab, shell: &[&str], script: &str) -> Option<String> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", script]).current_dir(lab.path()).env_clear();
    command.env("PATH", path_variable()).env("HOME", lab.path()).stdin(Stdio::null());
    match command.output() {
        Ok(output) => {
            let out = String::from_utf8(output.stdout).unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && err.is_empty(), "{shell:?} {script}: {out}{err}");
            Some(out)
        }
        Err(error) => {
            eprintln!("SKIPPED: what `completions {}` prints was not tried in that shell: {error}", shell[0]);
            None
        }
    }
}

fn completions(lab: &Lab, shell: &str) -> String {
    let answer = lab.text(&["completions", shell]);
    assert_eq!((answer.code, &*answer.err), (Some(0), ""), "{shell}");
    answer.out
}

#[test]
fn every_shell_is_told_every_command() {
    let lab = Lab::without_repository();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = completions(&lab, shell);
        for name in commands(&lab) {
            assert!(text.contains(&name), "{shell}: `{name}` is missing");
        }
        let json = lab.json(&["completions", shell]).expect(0, "ok");
        assert_eq!(json["script"], text, "{shell}");
    }
    let unknown = lab.json(&["completions", "tcsh"]).expect(2, "error");
    assert!(unknown["error"]["hint"].as_str().unwrap().contains("zsh"), "{unknown}");
    assert_eq!(std::fs::read_dir(lab.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn bash_completes_commands_flags_and_commands_of_commands() {
    let lab = Lab::without_repository();
    lab.write("completions", &completions(&lab, "bash"));
    for (line, wanted) in [
        ("lease-lane acq", vec!["acquire"]),
        ("lease-lane acquire --tr", vec!["--tree"]),
        ("lease-lane --json release --f", vec!["--fence"]),
        ("lease-lane region o", vec!["overlap"]),
        ("lease-lane completions po", vec!["powershell"]),
        ("lease-lane no-such-command", vec![]),
    ] {
        let script_of = format!(
            "source ./completions; [[ $(complete -p lease-lane) =~ -F\\ ([^ ]+) ]] || exit 1; \
             COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); last=${{COMP_WORDS[-1]}}; \
             \"${{BASH_REMATCH[1]}}\" lease-lane \"$last\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             for word in \"${{COMPREPLY[@]}}\"; do echo \"$word\"; done"
        );
        let Some(out) = script(&lab, &["bash", "--norc"], &script_of) else { return };
        assert_eq!(out.lines().collect::<Vec<_>>(), wanted, "{line}");
    }
}

#[test]
fn fish_and_zsh_take_their_completions() {
    let lab = Lab::without_repository();
    lab.write("completions.fish", &completions(&lab, "fish"));
    let asked = "source ./completions.fish; complete -C 'lease-lane acq'";
    if let Some(out) = script(&lab, &["fish", "--no-config"], asked) {
        assert!(out.starts_with("acquire"), "{out}");
    }
    lab.write("functions/_lease-lane", &completions(&lab, "zsh"));
    let asked = "fpath=($PWD/functions $fpath); autoload -U compinit; compinit -D -u; \
                 echo ${_comps[lease-lane]}; autoload +X _lease-lane; zsh -n functions/_lease-lane";
    if let Some(out) = script(&lab, &["zsh", "-f"], asked) {
        assert_eq!(out, "_lease-lane\n");
    }
}

/// The long flags that the help of a command has.
fn flags(help: &str) -> impl Iterator<Item = &str> {
    help.lines().filter_map(|line| {
        let flag = line.split_whitespace().find(|word| word.starts_with("--"))?;
        line.trim_start().starts_with('-').then_some(flag.trim_end_matches(','))
    })
}

#[test]
fn every_command_has_a_page_with_everything_that_its_help_has() {
    let lab = Lab::without_repository();
    let before = kit::listing(lab.path());
    let said = lab.json(&["man", "--dir", "pages/man1"]).expect(2, "error");
    assert_eq!(said["error"]["hint"], "mkdir -p pages/man1", "{said}");
    assert_eq!(kit::listing(lab.path()), before, "no directories for a name that may be mistyped");
    std::fs::create_dir(lab.path().join("pages")).unwrap();
    let written = lab.json(&["man", "--dir", "pages/man1"]).expect(0, "ok");
    let files: BTreeSet<String> = std::fs::read_dir(lab.path().join("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written["written"].as_array().unwrap().len(), files.len());
    for name in commands(&lab) {
        assert!(files.contains(&format!("lease-lane-{name}.1")), "`{name}` has no page");
    }
    assert!(files.contains("lease-lane.1") && files.contains("lease-lane-region-overlap.1"), "{files:?}");
    for file in &files {
        let name = file.strip_prefix("lease-lane").unwrap().strip_suffix(".1").unwrap();
        let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
        let printed = lab.text(&[&["man"][..], &words].concat());
        assert_eq!((printed.code, &*printed.err), (Some(0), ""), "{words:?}");
        let page = printed.out;
        assert_eq!(std::fs::read_to_string(lab.path().join("pages/man1").join(file)).unwrap(), page);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\""] {
            let body = page.split_once(&format!(".SH {section}\n")).map(|(_, rest)| rest.trim_start());
            assert!(
                body.is_some_and(|body| !body.is_empty() && !body.starts_with(".SH")),
                "{file}: {section}"
            );
        }
        let help = lab.text(&[&words[..], &["--help"]].concat()).out;
        let mut n_flags = 0;
        for flag in flags(&help) {
            n_flags += 1;
            assert!(page.contains(&flag.replace('-', "\\-")), "{file}: `{flag}` is missing");
        }
        assert!(n_flags > 5, "{file}: {help}");
        let json = lab.json(&[&["man"][..], &words].concat()).expect(0, "ok");
        assert_eq!((json["page"].as_str(), json["roff"].as_str()), (Some(&**file), Some(&*page)));
        renders(&lab, file);
    }
}

/// No warning and the name on top, where there is a program that typesets pages.
fn renders(lab: &Lab, file: &str) {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tascii", "-ww", "-P-cbou", file]).current_dir(lab.path().join("pages/man1"));
    match groff.stdin(Stdio::null()).output() {
        Ok(output) => {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && err.is_empty(), "{file}: {err}");
            assert!(out.contains("NAME\n") && out.contains("EXIT STATUS\n"), "{file}: {out}");
        }
        Err(error) => eprintln!("SKIPPED: {file} was not typeset: groff: {error}"),
    }
}

#[test]
fn pages_that_cannot_be_had_are_a_mistake_and_ones_that_cannot_be_written_a_fault() {
    let lab = Lab::without_repository();
    let unknown = lab.json(&["man", "region", "overlapp"]).expect(2, "error");
    let said = unknown.to_string();
    assert!(said.contains("lease-lane region overlapp") && said.contains("match"), "{said}");
    let none = lab.json(&["man", "live", "x"]).expect(2, "error");
    assert!(none["error"]["hint"].is_string(), "{none}");
    lab.write("file", "");
    let said = lab.json(&["man", "--dir", "file"]).expect(6, "io").to_string();
    assert!(said.contains("file/lease-lane.1"), "{said}");
}

#[test]
fn who_has_read_enough_of_a_page_is_no_failure() {
    let lab = Lab::without_repository();
    for args in
        [&["man"][..], &["man", "acquire"], &["completions", "bash"], &["completions", "zsh", "--json"]]
    {
        let mut child = lab.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let answer = kit::wait(child, Instant::now());
        assert_eq!((answer.code, &*answer.err), (Some(0), ""), "{args:?}");
    }
    let mut full = Command::new("bash");
    full.args(["-c", &format!("{} man >/dev/full", kit::BIN)]).env_clear();
    assert_eq!(finish(full).code, Some(6));
}
