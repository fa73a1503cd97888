//! Laws of the algebra, on patterns nobody thought of.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod region_oracle;

use arbiter::region::{Case, Entry, ProjectPath, Region, fold_case};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use region_oracle::Oracle;

fn config() -> ProptestConfig {
    let persistence = Box::new(FileFailurePersistence::WithSource("proptest-regressions"));
    ProptestConfig { cases: 2000, failure_persistence: Some(persistence), ..ProptestConfig::default() }
}

/// Texts that are patterns more often than not.
fn pattern() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "b",
        "C",
        "É",
        "e\u{301}",
        "ſ",
        "/",
        "/",
        "*",
        "**",
        "/**/",
        "?",
        ".",
        "..",
        "./",
        "[a-c]",
        "[!a]",
        "[É-Ü]",
        "[!.]",
        "{a,b}",
        "{,C}",
        "{/a,b/}",
        "{*,?b}",
        "{a,{b,/}c}",
        "\\*",
        "\\.",
        ",",
        "-",
        "src/",
        ".rs",
        "[]x]",
    ]);
    prop::collection::vec(token, 1..8).prop_map(|tokens| tokens.concat())
}

fn entry() -> impl Strategy<Value = Entry> {
    pattern().prop_filter_map("not a pattern", |text| Entry::parse(&text).ok())
}

fn region() -> impl Strategy<Value = Region> {
    prop::collection::vec(entry(), 0..4)
        .prop_map(|entries| Region::parse(entries.iter().map(Entry::as_str)).unwrap())
}

fn path() -> impl Strategy<Value = ProjectPath> {
    "[abcCéÉ./]{1,8}".prop_filter_map("not a path", |text| ProjectPath::parse(&text).ok())
}

fn case() -> impl Strategy<Value = Case> {
    prop::sample::select(vec![Case::Fold, Case::Exact])
}

/// The entry that names `path` and nothing beneath it: its last letter is a class of one.
fn exactly(path: &str) -> Entry {
    let mut text: String = path.chars().flat_map(|letter| ['\\', letter]).collect();
    let last = text.split_off(text.rfind('\\').unwrap());
    Entry::parse(&format!("{text}[{last}]")).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_panics(text in any::<String>(), other in "[a-c/*?{},\\[\\]!^.\\\\-]{0,24}", path in any::<String>()) {
        let paths = ProjectPath::parse(&path);
        let entries: Vec<Entry> = [&text, &other].into_iter().filter_map(|text| Entry::parse(text).ok()).collect();
        for entry in &entries {
            prop_assert_eq!(&Entry::parse(entry.as_str()).unwrap(), entry);
            for theirs in &entries {
                prop_assert_eq!(entry.overlap(theirs, Case::Fold), theirs.overlap(entry, Case::Fold));
            }
            if let Ok(path) = &paths {
                entry.covers(path, Case::Fold);
            }
        }
        for text in [&text, &other] {
            if let Err(error) = Entry::parse(text) {
                prop_assert!(error.entry.is_char_boundary(error.at), "{:?}", error);
                prop_assert!(!error.to_string().contains(char::is_control));
                error.hint();
            }
        }
    }

    #[test]
    fn overlap_is_symmetric_and_both_cover_the_witness(ours in entry(), theirs in entry(), case in case()) {
        let witness = ours.overlap(&theirs, case);
        prop_assert_eq!(&theirs.overlap(&ours, case), &witness);
        if let Some(witness) = witness {
            let path = ProjectPath::parse(witness.as_str()).unwrap();
            prop_assert_eq!(path.as_str(), witness.as_str());
            prop_assert!(ours.covers(&path, case) && theirs.covers(&path, case), "{}", witness);
        }
    }

    #[test]
    fn covering_is_overlapping_with_exactly_that_path(entry in entry(), path in path(), case in case()) {
        prop_assume!(!path.is_root());
        let witness = entry.overlap(&exactly(path.as_str()), case);
        prop_assert_eq!(entry.covers(&path, case), witness.is_some());
        if let Some(witness) = witness {
            let spelled = if case == Case::Fold { fold_case(path.as_str()) } else { path.as_str().to_owned() };
            prop_assert_eq!(witness.as_str(), spelled);
        }
    }

    #[test]
    fn a_common_member_is_never_missed(ours in entry(), theirs in entry(), path in path(), case in case()) {
        if !path.is_root() && ours.covers(&path, case) && theirs.covers(&path, case) {
            let witness = ours.overlap(&theirs, case).expect("the path is common");
            prop_assert!(witness.as_str().chars().count() <= path.as_str().chars().count());
        }
    }

    #[test]
    fn membership_is_the_oracles(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "/", "*", "**", "/**/", "?", ".", "..", "[a-c]", "[!a]", "{a,b}", "{,c}", "{/a,b/}", "{a,{b,/}c}", "\\*",
        ]), 1..8),
        path in "[abc./]{1,8}",
    ) {
        let text = tokens.concat();
        let (entry, oracle) = (Entry::parse(&text), Oracle::new(&text, false));
        prop_assert_eq!(entry.is_ok(), oracle.is_some());
        if let (Ok(entry), Some(oracle), Ok(path)) = (entry, oracle, ProjectPath::parse(&path))
            && !path.is_root()
        {
            prop_assert_eq!(entry.covers(&path, Case::Exact), oracle.matches(path.as_str()));
        }
    }

    #[test]
    fn the_normal_form_is_its_own_and_means_the_same(text in pattern(), path in path(), case in case()) {
        if let Ok(entry) = Entry::parse(&text) {
            let again = Entry::parse(entry.as_str()).unwrap();
            prop_assert_eq!(&again, &entry);
            prop_assert_eq!(again.covers(&path, case), entry.covers(&path, case));
            prop_assert!(again.literal_components().eq(entry.literal_components()));
        }
    }

    #[test]
    fn spelled_out_entries_are_the_union(entry in entry(), path in path(), case in case()) {
        let spelled = entry.spelled_out();
        prop_assert!(spelled.iter().all(|one| Entry::parse(one.as_str()).as_ref() == Ok(one)));
        prop_assert_eq!(spelled.iter().any(|one| one.covers(&path, case)), entry.covers(&path, case));
    }

    #[test]
    fn literal_components_begin_every_member_and_can_be_put_back(entry in entry(), path in path()) {
        let literal: Vec<&str> = entry.literal_components().collect();
        if entry.covers(&path, Case::Exact) {
            prop_assert!(path.components().take(literal.len()).eq(literal.iter().copied()));
        }
        for n_replaced in 0..=literal.len() {
            let same = entry.with_prefix_replaced(n_replaced, &literal[..n_replaced]).unwrap();
            prop_assert_eq!(&same, &entry);
        }
        let moved = entry.with_prefix_replaced(literal.len(), &["x*", "y"]).unwrap();
        prop_assert_eq!(moved.literal_components().take(2).collect::<Vec<_>>(), ["x*", "y"]);
    }

    /// A negated class leaves out more when case is folded (`[!a]` leaves out `A`), so it is left out here.
    #[test]
    fn folding_only_adds_overlaps_between_patterns_without_negation(ours in entry(), theirs in entry()) {
        let [ours, theirs] = [ours, theirs].map(|entry| Entry::parse(&entry.as_str().replace("[!", "[")).unwrap());
        if ours.overlap(&theirs, Case::Exact).is_some() {
            prop_assert!(ours.overlap(&theirs, Case::Fold).is_some());
        }
    }

    #[test]
    fn a_region_that_grows_keeps_overlapping(ours in region(), theirs in region(), more in entry(), case in case()) {
        let texts = ours.entries().iter().map(Entry::as_str);
        let larger = Region::parse(texts.chain([more.as_str()])).unwrap();
        let (before, after) = (ours.overlap(&theirs, case), larger.overlap(&theirs, case));
        prop_assert_eq!(&theirs.overlap(&larger, case), &after);
        if let Some(before) = before {
            prop_assert!(after.expect("it grew") <= before);
        }
    }

    #[test]
    fn a_region_comes_back_from_json(region in region()) {
        let json = serde_json::to_string(&region).unwrap();
        prop_assert_eq!(serde_json::from_str::<Region>(&json).unwrap(), region);
    }
}
