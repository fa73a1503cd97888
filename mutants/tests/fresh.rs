//! The mutants fit the code as it is: a stale one proves nothing, and nobody would notice.

use std::fs;
use std::path::{Path, PathBuf};

use mutants::mutant::{self, Killer, Mutant, Test};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn all() -> Vec<Mutant> {
    let mutants = mutant::all(&root()).unwrap_or_else(|error| panic!("{error}"));
    assert!(mutants.len() >= 12, "{} mutants", mutants.len());
    mutants
}

#[test]
fn every_text_to_replace_is_there_exactly_once_and_changes() {
    for mutant in all() {
        let files = mutant.applied(&root()).unwrap_or_else(|error| panic!("{error}"));
        for (file, text) in files {
            assert_ne!(
                fs::read_to_string(root().join(&file)).expect("there"),
                text,
                "{}: {file}",
                mutant.name
            );
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    for mutant in all() {
        for killer in &mutant.killer {
            let Killer::Test(Test { package, target, name }) = killer else { continue };
            let sources = match target.as_str() {
                "lib" => files_below(&root().join("crates").join(package).join("src")),
                // Tests of the whole program stand at the top.
                target if package == "lease-lane" => vec![root().join(format!("tests/{target}.rs"))],
                target => vec![root().join(format!("crates/{package}/tests/{target}.rs"))],
            };
            let texts: Vec<String> =
                sources.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
            let function = format!("fn {}(", name.rsplit("::").next().expect("a name"));
            let times: usize = texts.iter().map(|text| text.matches(&function).count()).sum();
            assert!(times > 0, "mutant {}: there is no test {killer} in crate {package}", mutant.name);
        }
    }
}

#[test]
fn the_table_in_safety_md_is_of_these_mutants() {
    let text = fs::read_to_string(root().join("docs/safety.md")).expect("there");
    let (_, section) = text.split_once("\n## Mutants\n").expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let told: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<String> = all().iter().map(Mutant::row).collect();
    for (told, wanted) in told.iter().zip(&wanted) {
        assert_eq!(told, wanted, "`scripts/mutants --list` prints the table");
    }
    assert_eq!(told.len(), wanted.len(), "`scripts/mutants --list` prints the table");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
