//! Every pair of small patterns against an oracle that tries every short path.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod region_oracle;

use arbiter::region::{Case, Entry, Witness};
use region_oracle::{Oracle, all_paths, all_texts};

/// One pattern, read by both, and which of the paths it matches.
struct Known {
    entry: Entry,
    members: Vec<u64>,
}

fn known(texts: &[String], paths: &[String], case: Case) -> Vec<Known> {
    let mut seen = std::collections::BTreeMap::new();
    for text in texts {
        let (entry, oracle) = (Entry::parse(text), Oracle::new(text, case == Case::Fold));
        assert_eq!(entry.is_ok(), oracle.is_some(), "both read or refuse `{text}`: {entry:?}");
        let (Ok(entry), Some(oracle)) = (entry, oracle) else { continue };
        if seen.contains_key(entry.as_str()) {
            continue;
        }
        let mut members = vec![0_u64; paths.len().div_ceil(64)];
        for (idx, path) in paths.iter().enumerate() {
            if oracle.matches(path) {
                members[idx / 64] |= 1 << (idx % 64);
            }
        }
        seen.insert(entry.as_str().to_owned(), Known { entry, members });
    }
    seen.into_values().collect()
}

/// Compares one pair with the oracle: same answer, and the least path that both match.
fn check(ours: &Known, theirs: &Known, paths: &[String], case: Case) -> bool {
    let common = ours.members.iter().zip(&theirs.members).enumerate().find(|(_, (a, b))| *a & *b != 0);
    let least = common.map(|(word, (a, b))| paths[word * 64 + (a & b).trailing_zeros() as usize].as_str());
    let witness = ours.entry.overlap(&theirs.entry, case);
    let found = witness.as_ref().map(Witness::as_str);
    assert_eq!(found, least, "`{}` and `{}`", ours.entry.as_str(), theirs.entry.as_str());
    found.is_some()
}

fn check_all<'a>(pairs: impl Iterator<Item = (&'a Known, &'a Known)>, paths: &[String], case: Case) {
    let (mut n_overlaps, mut n_disjoint) = (0, 0);
    for (ours, theirs) in pairs {
        if check(ours, theirs, paths, case) {
            n_overlaps += 1;
        } else {
            n_disjoint += 1;
        }
    }
    assert!(1000 < n_overlaps && 1000 < n_disjoint, "{n_overlaps} overlap, {n_disjoint} do not");
}

/// Each pair once, in alternating order: symmetry is a property of its own.
fn pairs(all: &[Known]) -> impl Iterator<Item = (&Known, &Known)> {
    let upward =
        all.iter().enumerate().flat_map(|(idx, ours)| all[idx..].iter().map(move |theirs| (ours, theirs)));
    upward
        .enumerate()
        .map(|(idx, (ours, theirs))| if idx.is_multiple_of(2) { (ours, theirs) } else { (theirs, ours) })
}

const TOKENS: [&str; 11] = ["a", "b", "/", "*", "?", ".", "[ab]", "[!a]", "**", "{a,b}", "{,/}"];
const ALPHABET: [char; 5] = ['a', 'b', 'c', '.', '/'];

#[test]
fn every_pair_of_patterns_of_three_tokens() {
    let paths = all_paths(&ALPHABET, 6);
    let all = known(&all_texts(&TOKENS, 3), &paths, Case::Exact);
    check_all(pairs(&all), &paths, Case::Exact);
}

#[test]
fn every_ninth_pattern_of_four_tokens_with_every_one_of_two() {
    let paths = all_paths(&ALPHABET, 5);
    let short = known(&all_texts(&TOKENS, 2), &paths, Case::Exact);
    let long = all_texts(&TOKENS, 4);
    let tokens_of_four = &long[all_texts(&TOKENS, 3).len()..];
    let every_ninth: Vec<String> = tokens_of_four.iter().step_by(9).cloned().collect();
    let long = known(&every_ninth, &paths, Case::Exact);
    check_all(
        long.iter().flat_map(|ours| short.iter().map(move |theirs| (ours, theirs))),
        &paths,
        Case::Exact,
    );
}

#[test]
fn every_pair_of_patterns_with_dots_and_depth() {
    let paths = all_paths(&['a', 'b', '.', '/'], 8);
    let all = known(&all_texts(&["a", ".", "/", "?", "**/", "/**/", "[!b]"], 3), &paths, Case::Exact);
    check_all(pairs(&all), &paths, Case::Exact);
}

#[test]
fn every_pair_of_patterns_in_two_cases() {
    let paths = all_paths(&['a', 'b', 'c', 'd', '/'], 5);
    let all = known(&all_texts(&["a", "A", "B", "*", "/", "[!A]", "[A-C]", "[!b-c]"], 3), &paths, Case::Fold);
    check_all(pairs(&all), &paths, Case::Fold);
}

#[test]
fn the_normal_form_has_the_same_members_and_is_its_own() {
    let paths = all_paths(&ALPHABET, 4);
    let tokens = ["a", "/", "*", "[!a]", "**", ".", "..", "{a,b}", "{,/}", "{/a,b/..}", "\\."];
    let mut n_read = 0;
    for text in all_texts(&tokens, 3) {
        let (entry, oracle) = (Entry::parse(&text), Oracle::new(&text, false));
        if text.contains('\\') {
            // The oracle reads `\.` as a letter; the crate as the dot it is.
            let plain = Entry::parse(&text.replace('\\', ""));
            assert_eq!(entry.is_ok(), plain.is_ok(), "{text}");
            if let (Ok(entry), Ok(plain)) = (entry, plain) {
                let other = Oracle::new(plain.as_str(), false).unwrap();
                let own = Oracle::new(&entry.as_str().replace('\\', ""), false).unwrap();
                assert!(paths.iter().all(|path| own.matches(path) == other.matches(path)), "{text}");
            }
            continue;
        }
        assert_eq!(entry.is_ok(), oracle.is_some(), "{text}");
        let (Ok(entry), Some(oracle)) = (entry, oracle) else { continue };
        let normal = entry.as_str();
        let again = Entry::parse(normal).unwrap_or_else(|error| panic!("`{text}` to `{normal}`: {error}"));
        assert_eq!(again.as_str(), normal, "from `{text}`");
        let normal_oracle = Oracle::new(normal, false).unwrap();
        for path in &paths {
            assert_eq!(
                oracle.matches(path),
                normal_oracle.matches(path),
                "`{text}` to `{normal}` at `{path}`"
            );
        }
        n_read += 1;
    }
    assert!(500 < n_read);
}
