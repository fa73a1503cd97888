//! `docs/migrating.md` tells people what to type: each command of ours in it is typed here.

use std::path::Path;
use std::process::Stdio;

use crate::kit::{Lab, Lines, Sleeper, copy_dir, finish};

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/migrating.md")).unwrap()
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of the tables that tell of us: all but the first of each row.
fn cells(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split(" | ").skip(1)).collect()
}

/// The names of the commands, as the help lists them.
fn verbs(lab: &Lab) -> Vec<String> {
    let help = lab.text(&["--help"]).out;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase()) && !word.is_empty();
    commands
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(is_name)
        .map(str::to_owned)
        .collect()
}

/// The commands of the tables and of the blocks between them.
fn commands(page: &str, verbs: &[String]) -> Vec<String> {
    let is_ours = |text: &&str| verbs.iter().any(|verb| text.split(' ').next() == Some(verb));
    let in_tables = cells(page).into_iter().flat_map(quoted).filter(is_ours);
    let in_blocks = page.lines().filter_map(|line| line.strip_prefix("lease-lane "));
    in_blocks
        .map(|line| line.split('#').next().unwrap().trim_end())
        .chain(in_tables)
        .map(str::to_owned)
        .collect()
}

/// A repository in which everything that the page names is there, and held by those whom it names.
struct Furnished {
    lab: Lab,
    process: Sleeper,
}

impl Furnished {
    fn new() -> Furnished {
        let (lab, process) = (Lab::new(), Sleeper::new());
        let lanes = "ladder = ['L', 'spare']\n[lanes.L]\ntree = ['l']\n[lanes.LANE]\ntree = ['lane']\n[lanes.spare]\ntree = ['spare']\n";
        lab.write("lease-lane.toml", lanes);
        lab.write("FILE", "[]\n");
        let dos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dos");
        copy_dir(&dos, &lab.path().join(".dos"));
        std::fs::rename(
            lab.path().join(".dos/dos-0.30-mixed.jsonl"),
            lab.path().join(".dos/lane-journal.jsonl"),
        )
        .unwrap();
        lab.json_as("O", &["acquire", "L"]).expect(0, "acquire");
        lab.json_as("o1", &["acquire", "LANE"]).expect(0, "acquire");
        lab.json_as("o1", &["acquire", "--tree", "src/api"]).expect(0, "acquire");
        for lock in ["archive", "daemon"] {
            lab.json_as("them", &["acquire", "--lock", lock]).expect(0, "acquire");
        }
        Furnished { lab, process }
    }

    /// What somebody would type for it.
    fn typed(&self, command: &str) -> Vec<String> {
        let mut words: Vec<String> = command
            .split_whitespace()
            .map(|word| match word {
                "PID" => self.process.pid(),
                "PATH…" => "src/api/x".to_owned(),
                "N" => "3".to_owned(),
                "CMD" | "WORKER" | "./server" => "true".to_owned(),
                word => word.to_owned(),
            })
            .collect();
        // It asks first: this is the answer.
        if words[0] == "unlock" && words.iter().any(|word| word == "--force") {
            words.push("--yes".to_owned());
        }
        words
    }
}

/// Types it in a copy of the repository, which nobody has typed in before; what is wrong with the answer.
fn trouble_with(command: &str, furnished: &Furnished) -> Option<String> {
    let words = furnished.typed(command);
    let copies = Lab::without_repository();
    let repository = copies.path().join("repository");
    copy_dir(furnished.lab.path(), &repository);
    let mut typed = copies.command(&words);
    typed.env("PATH", crate::kit::path_variable()).current_dir(repository);
    // These go on until they are told to stop.
    let (is_understood, said) =
        if words.iter().any(|word| matches!(word.as_str(), "-f" | "--every" | "watch")) {
            let mut child = Sleeper(typed.stdout(Stdio::piped()).spawn().unwrap());
            let line = Lines::of(child.0.stdout.take().unwrap()).next();
            (line.is_some(), line.unwrap_or_default())
        } else {
            let answer = finish(typed);
            (matches!(answer.code, Some(0 | 1)), answer.to_string())
        };
    let misses = ["not_held", "not_yours", "UNKNOWN_LANE"];
    let finds = !misses.iter().any(|word| said.contains(word));
    (!is_understood || !finds).then(|| format!("`{command}`: {said}"))
}

#[test]
fn every_command_of_the_page_for_newcomers_is_understood_and_finds_what_it_names() {
    let page = page();
    let furnished = Furnished::new();
    let commands = commands(&page, &verbs(&furnished.lab));
    let failed: Vec<String> =
        commands.iter().filter_map(|command| trouble_with(command, &furnished)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(commands.len() > 35, "{} commands: {commands:?}", commands.len());
}

#[test]
fn every_flag_of_the_page_for_newcomers_is_one() {
    let (page, lab) = (page(), Lab::new());
    let helps: Vec<String> = verbs(&lab).iter().map(|verb| lab.text(&[verb, "--help"]).out).collect();
    let mut count = 0;
    for flag in cells(&page).into_iter().flat_map(quoted).flat_map(str::split_whitespace) {
        if flag.starts_with("--") && flag != "--" {
            count += 1;
            let is_one = |help: &String| help.split([' ', ',', '\n', '[']).any(|word| word == flag);
            assert!(helps.iter().any(is_one), "no command has `{flag}`");
        }
    }
    assert!(count > 20, "{count} flags");
}
