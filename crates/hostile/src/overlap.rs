//! The exact overlap of two entries, against an oracle that tries every short path.

use std::sync::OnceLock;

use arbiter::region::{Case, Entry, PatternErrorKind, Witness};

use crate::choices::Choices;
use crate::region_oracle::{Oracle, all_paths};

/// What both the crate and the oracle can read.
const TOKENS: [&str; 20] = [
    "a",
    "b",
    "A",
    "/",
    "*",
    "**",
    "/**/",
    "?",
    ".",
    "..",
    "[a-c]",
    "[!a]",
    "[ab]",
    "{a,b}",
    "{,c}",
    "{/a,b/}",
    "{a,{b,/}c}",
    "{*,b}",
    "\\*",
    "/*/",
];
/// The oracle tries every path and every way to match it: more than this takes it long.
const TOKENS_MAX: usize = 5;
const CHARS_MAX: usize = 5;

/// Any bytes as two patterns: the oracle and the crate read or refuse the same, and find the same least path; a longer
/// witness is matched by both.
///
/// # Panics
///
/// When the region algebra and its oracle disagree.
pub fn overlap(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let case = choices.one_of(&[Case::Exact, Case::Fold]);
    let [ours, theirs] = [(); 2].map(|()| {
        let n = choices.below(TOKENS_MAX) + 1;
        (0..n).map(|_| choices.one_of(&TOKENS)).collect::<String>()
    });
    let (Some((our, ours)), Some((their, theirs))) = (known(&ours, case), known(&theirs, case)) else {
        return;
    };
    let witness = our.overlap(&their, case);
    assert_eq!(witness, their.overlap(&our, case), "overlap has no sides");
    let found = witness.as_ref().map(Witness::as_str);
    let pair = || format!("`{}` and `{}`", our.as_str(), their.as_str());
    if let Some(found) = found {
        assert!(ours.matches(found) && theirs.matches(found), "{} at `{found}`", pair());
        if found.chars().count() > CHARS_MAX || found.contains(|letter| !ALPHABET.contains(&letter)) {
            return;
        }
    }
    let least = paths().iter().find(|path| ours.matches(path) && theirs.matches(path)).map(String::as_str);
    assert_eq!(found, least, "{}", pair());
}

/// In the order in which paths of one length are compared.
const ALPHABET: [char; 5] = ['a', 'b', 'c', '.', '/'];

fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| all_paths(&ALPHABET, CHARS_MAX))
}

fn known(text: &str, case: Case) -> Option<(Entry, Oracle)> {
    let (entry, oracle) = (Entry::parse(text), Oracle::new(text, case == Case::Fold));
    // The oracle knows no limits.
    if entry.as_ref().is_err_and(|error| error.kind == PatternErrorKind::TooManyAlternatives) {
        return None;
    }
    assert_eq!(entry.is_ok(), oracle.is_some(), "both read or refuse `{text}`: {entry:?}");
    entry.ok().zip(oracle)
}
