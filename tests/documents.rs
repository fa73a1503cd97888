//! What the documents say of the tests and of the code is so: every test that one of them names is there, in the file it
//! names, and so is every item of the code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust files beneath these directories, with what stands in them.
fn rust_files(dirs: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut dirs: Vec<PathBuf> = dirs.iter().map(|dir| root().join(dir)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files
}

/// All Rust files with tests, by the name that a document gives them: `stem`, `tests/stem` for one in `tests/`, and
/// `stem::tests` for one of the sources.
fn sources() -> BTreeMap<String, Vec<String>> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_files(&["tests", "crates"]) {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_source = path.components().any(|part| part.as_os_str() == "src");
        if is_source {
            files.entry(format!("{stem}::tests")).or_default().push(text);
        } else {
            files.entry(format!("tests/{stem}")).or_default().push(text.clone());
            files.entry(stem).or_default().push(text);
        }
    }
    files
}

/// What stands between backquotes and looks like a test: `file::name` or `file::tests::name`, of words.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    text.split('`').skip(1).step_by(2).filter_map(move |quoted| {
        let (file, name) = quoted.rsplit_once("::")?;
        let stem = file.strip_suffix("::tests").unwrap_or(file);
        let stem = stem.strip_prefix("tests/").unwrap_or(stem);
        // Tests have sentences for names; types and functions of the code do not.
        (is_word(stem) && is_word(name) && name.matches('_').count() >= 2).then_some((file, name))
    })
}

#[test]
fn every_test_that_a_document_names_is_where_it_says() {
    let sources = sources();
    let mut count = 0;
    for document in [
        "docs/safety.md",
        "docs/format.md",
        "docs/decisions.md",
        "docs/reaper.md",
        "docs/migrating.md",
        "docs/adr/0012-run.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for (file, name) in named(&text) {
            count += 1;
            let function = format!("fn {name}(");
            let is_there =
                sources.get(file).is_some_and(|texts| texts.iter().any(|text| text.contains(&function)));
            assert!(is_there, "{document} names `{file}::{name}`, which is not there");
        }
    }
    assert!(count > 150, "{count} tests are named");
}

/// What stands between backquotes and looks like a path in the code, `a::b` or longer, as its names; `tests` is left out.
fn paths(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(is_part_of_a_name);
    text.split('`').skip(1).step_by(2).filter_map(move |quoted| {
        let names: Vec<&str> = quoted.split("::").filter(|&name| name != "tests").collect();
        (names.len() > 1 && names.iter().all(is_name)).then_some(names)
    })
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| !is_part_of_a_name(c)).any(|word| word == wanted)
}

/// Whether there is an item of this name, or a line that begins as a variant of this name does.
fn declares(text: &str, name: &str) -> bool {
    let is_item = |keyword: &&str| {
        let item = format!("{keyword} {name}");
        text.match_indices(&item).any(|(at, _)| !text[at + item.len()..].starts_with(is_part_of_a_name))
    };
    let is_variant = |line: &str| {
        let rest = line.trim_start().strip_prefix(name);
        rest.is_some_and(|rest| [",", "(", " {", " ="].iter().any(|next| rest.starts_with(next)))
    };
    ["fn", "struct", "enum", "const", "trait", "type", "mod"].iter().any(is_item)
        || text.lines().any(is_variant)
}

/// Whether `name` is declared in `parent`. The files of a type are those that speak of it; the files of a module or a
/// crate are those that are called so, and those in a directory that is.
fn is_in(files: &[(PathBuf, String)], parent: &str, name: &str) -> bool {
    let is_type = parent.starts_with(char::is_uppercase);
    files.iter().any(|(path, text)| {
        let inside = path.strip_prefix(root()).unwrap().with_extension("");
        let is_of_parent =
            if is_type { has_word(text, parent) } else { inside.iter().any(|part| part == parent) };
        is_of_parent && declares(text, name)
    })
}

/// Found when a page named a function that had been called otherwise for a while.
#[test]
fn every_item_that_a_document_names_is_where_it_says() {
    let files = rust_files(&["tests", "crates"]);
    let mut documents: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.push(root().join("ARCHITECTURE.md"));
    let mut count = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for names in paths(&text) {
            for pair in names.windows(2) {
                count += 1;
                let (parent, name) = (pair[0], pair[1]);
                let is_there = is_in(&files, parent, name);
                assert!(is_there, "{} names `{parent}::{name}`, which is not there", document.display());
            }
        }
    }
    assert!(count > 150, "{count} items are named");
}

/// Found when a refusal learned to tell labels: the snapshot changed and the page that shows its lines did not.
#[test]
fn every_line_that_the_format_shows_is_one_that_the_encoder_writes() {
    let snapshot = "crates/journal/tests/snapshots/snapshots__the_line_of_every_record.snap";
    let written = std::fs::read_to_string(root().join(snapshot)).unwrap();
    let format = std::fs::read_to_string(root().join("docs/format.md")).unwrap();
    let shown: Vec<&str> =
        format.lines().filter(|line| line.starts_with("{\"seq\":") && !line.contains(" BODY ")).collect();
    for line in &shown {
        assert!(written.lines().any(|one| one == *line), "{snapshot} has no such line: {line}");
    }
    assert!(shown.len() > 12, "{} lines are shown", shown.len());
}

/// ADR 0021: the name of `main`, and nothing else.
#[test]
fn unsafe_stands_in_one_place() {
    let lint = concat!("unsafe", "_code");
    let forbids = format!("\n#![forbid({lint})]\n");
    let (mut open, mut allowing) = (Vec::new(), Vec::new());
    for (path, text) in rust_files(&["crates", "bench", "mutants/src", "tests"]) {
        let is_root = ["src/lib.rs", "src/main.rs", "hello.rs"].iter().any(|root| path.ends_with(root));
        if is_root && !text.contains(&forbids) {
            open.push(path.clone());
        }
        // The lint is denied everywhere: without its name nothing is allowed.
        if text.replace(&forbids, "\n").contains(lint) {
            allowing.push((path, text));
        }
    }
    let [open] = &open[..] else { panic!("{open:#?}") };
    assert!(open.ends_with("crates/lease-lane/src/main.rs"), "{}", open.display());
    let [(start, text)] = &allowing[..] else { panic!("{:#?}", allowing.iter().map(|(path, _)| path)) };
    assert!(start.ends_with("crates/lease-lane/src/start.rs"), "{}", start.display());
    let expected = [
        "#[expect(THE LINT, reason = \"nothing else here is called `main`; the name is all that is unsafe\")]",
        "#[unsafe(no_mangle)]",
    ]
    .map(|line| line.replace("THE LINT", lint));
    let found: Vec<&str> = text.lines().filter(|line| line.contains("unsafe")).collect();
    assert_eq!(found, expected);
}
