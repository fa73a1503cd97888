//! What each refusal says, what is read, and what its normal form is.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use arbiter::region::{Case, Entry, ProjectPath, Region, Witness};

fn check_error(text: &str, expected: &str) {
    let error = Entry::parse(text).expect_err(text);
    assert_eq!(error.to_string(), expected);
    assert!(error.entry.is_char_boundary(error.at), "{error:?}");
}

#[test]
fn every_refusal_names_the_entry_and_the_place() {
    check_error("", "nothing is named at byte 0 of ``");
    check_error("{,a}", "nothing is named at byte 0 of `{,a}`");
    check_error("a\0b", "NUL at byte 1 of `a\\u{0}b`");
    check_error("/etc", "absolute path at byte 0 of `/etc`");
    check_error("{a,/b}", "absolute path at byte 3 of `{a,/b}`");
    check_error("a/../../b", "`..` leaves the root at byte 5 of `a/../../b`");
    check_error("a/{b,..}/..", "`..` leaves the root at byte 9 of `a/{b,..}/..`");
    check_error("a/**/../b", "`..` after `**` at byte 5 of `a/**/../b`");
    check_error("a[b", "`[` is never closed at byte 1 of `a[b`");
    check_error("[]", "`[` is never closed at byte 0 of `[]`");
    check_error("[!]", "`[` is never closed at byte 0 of `[!]`");
    check_error("[a-", "`[` is never closed at byte 0 of `[a-`");
    check_error("a[b/]", "`/` inside `[…]` at byte 3 of `a[b/]`");
    check_error("a[b\\/]", "`/` inside `[…]` at byte 3 of `a[b\\/]`");
    check_error("[^a]", "`[^` at byte 1 of `[^a]`");
    check_error("[az-b]", "range `z-b` is reversed at byte 2 of `[az-b]`");
    check_error("{a,{b}", "`{` is never closed at byte 0 of `{a,{b}`");
    check_error("a}", "`}` closes nothing at byte 1 of `a}`");
    check_error("a\\", "`\\` escapes nothing at byte 1 of `a\\`");
    check_error("[\\", "`\\` escapes nothing at byte 1 of `[\\`");
    check_error("http://x", "unknown scheme `http://` at byte 0 of `http://x`");
    check_error("pool://", "pool without a name at byte 7 of `pool://`");
    check_error("pool://*", "`*` names no pool at byte 7 of `pool://*`");
    check_error("pool://a\u{7}", "control character in a pool name at byte 8 of `pool://a\\u{7}`");
    check_error("lock://", "lock without a name at byte 7 of `lock://`");
    check_error("lock://a\tb", "control character in a lock name at byte 8 of `lock://a\\tb`");
    check_error(&"*/".repeat(65), &format!("more than 64 wildcards at byte 128 of `{}…`", "*/".repeat(40)));
    check_error(
        &"{a,b}".repeat(11),
        &format!("more than 1024 alternatives spelled out at byte 0 of `{}`", "{a,b}".repeat(11)),
    );
    check_error(
        &"x".repeat(4097),
        &format!("4097 bytes are more than 4096 at byte 4096 of `{}…`", "x".repeat(80)),
    );
    check_error(
        &format!("lock://{}", "x".repeat(257)),
        &format!("lock name of 257 bytes, more than 256 at byte 7 of `lock://{}…`", "x".repeat(73)),
    );
    let not_literal = Entry::parse("a/*").unwrap().with_prefix_replaced(2, &[]).unwrap_err();
    assert_eq!(
        not_literal.to_string(),
        "2 components to replace, but only 1 are literal, at byte 0 of `a/*`"
    );
    let not_a_name = Entry::parse("a/*").unwrap().with_prefix_replaced(1, &["b/c"]).unwrap_err();
    assert_eq!(not_a_name.to_string(), "no file can have this name at byte 0 of `b/c`");
}

#[test]
fn the_position_counts_bytes_and_foreign_controls_are_escaped() {
    check_error("é/\u{202e}[", "`[` is never closed at byte 6 of `é/\\u{202e}[`");
    // The text is shown composed: the position is one in what is shown.
    check_error("e\u{301}[", "`[` is never closed at byte 2 of `é[`");
}

#[test]
fn hints_say_what_to_write_instead() {
    let hint = |text: &str| Entry::parse(text).unwrap_err().hint();
    assert_eq!(
        hint("[^a]").as_deref(),
        Some("write `[!…]` for \"none of these\", or `[\\^…]` for the character itself")
    );
    assert!(hint("pool://*").unwrap().contains("lock://*"));
    assert!(hint("c://x").unwrap().contains("`./c:/…`"));
    assert!(Entry::parse("./c:/x").is_ok());
    assert_eq!(hint("a\0"), None);
}

fn check_normal(text: &str, expected: &str) {
    let entry = Entry::parse(text).unwrap();
    assert_eq!(entry.as_str(), expected, "from `{text}`");
    assert_eq!(Entry::parse(expected).unwrap().as_str(), expected);
}

#[test]
fn one_spelling_is_kept() {
    check_normal(".", "**");
    check_normal("./", "**");
    check_normal("a/..", "**");
    check_normal("**/", "**");
    check_normal("**/**/a", "**/a");
    check_normal("src/", "src");
    check_normal("src/**", "src/**");
    check_normal("src/**/", "src/**");
    check_normal("src/**/x/../**", "src/**");
    check_normal("src/*/", "src/*/**");
    check_normal("src/*/.", "src/*/**");
    check_normal("src/*/x/..", "src/*/**");
    check_normal("src/*/..", "src");
    check_normal("./src//a/../*.rs", "src/*.rs");
    check_normal("a**b", "a*b");
    check_normal("***", "*");
    check_normal("\\a\\*\\]\\{\\,", "a\\*]\\{,");
    check_normal("a\\/b", "a/b");
    check_normal("a/\\.\\./b", "b");
    check_normal("e\u{301}", "é");
    check_normal("e\\\u{301}", "é");
    check_normal("e{\u{301}}", "é");
    check_normal("Src/READ*", "Src/READ*");
    check_normal("[]a-]x", "[]a-]x");
    check_normal("lock://A b*", "lock://A b*");
    check_normal("lock://e\u{301}", "lock://é");
}

#[test]
fn braces_stay_and_what_is_outside_is_normalised() {
    check_normal("{a}", "a");
    check_normal("{a,a}", "a");
    check_normal("{a,./a/}/b", "a/b");
    check_normal("./x//{a,b}/./c/", "x/{a,b}/c");
    check_normal("./x{a,b}", "x{a,b}");
    check_normal("./{a,/b}", "./{a,/b}");
    check_normal("y/../{a,/b}", "./{a,/b}");
    check_normal("{a,b/c}/d/../../e", "{a,b/c}/../e");
    check_normal("{a,b}/**/**/*/", "{a,b}/**/*/**");
    check_normal("{a,*}/", "{a,*}/");
    check_normal("\\a/{b,c}", "a/{b,c}");
}

#[test]
fn literal_components_are_those_every_path_begins_with() {
    let check = |text: &str, expected: &[&str]| {
        let entry = Entry::parse(text).unwrap();
        assert_eq!(entry.literal_components().collect::<Vec<_>>(), expected, "{text}");
    };
    check("Src/api/*.rs", &["Src", "api"]);
    check("a/b", &["a", "b"]);
    check("a/\\*/**/c", &["a", "*"]);
    check("**", &[]);
    check("lock://a", &[]);
    check("a/{b,c}", &["a"]);
    check("./a/{b/x,b/y}", &["a"]);
    check("{a/b,a/c}", &[]);
    check("a/src/{..,b}/x", &["a"]);
    check("a/{..,b}/x", &[]);
}

#[test]
fn a_prefix_is_replaced_literally() {
    let check = |text: &str, n_components: usize, new: &[&str], expected: &str| {
        let entry = Entry::parse(text).unwrap().with_prefix_replaced(n_components, new).unwrap();
        assert_eq!(entry.as_str(), expected, "{text}");
    };
    check("a/b", 1, &["x", "y"], "x/y/b");
    check("a", 1, &["x*"], "x\\*");
    check("a", 1, &[], "**");
    check("a/**", 1, &["x"], "x/**");
    check("\\*/b/*", 1, &["y"], "y/b/*");
    check("a/{b,/c}", 1, &[], "./{b,/c}");
    check("a/{b,c}/*", 1, &["{"], "\\{/{b,c}/*");
    check("**", 0, &["x"], "x/**");
    check("lock://a", 0, &[], "lock://a");
    assert!(Entry::parse("lock://a").unwrap().with_prefix_replaced(0, &["x"]).is_err());
}

#[test]
fn alternatives_are_spelled_out() {
    let entry = Entry::parse("{a,b/*}/{x,}").unwrap();
    let spelled: Vec<_> = entry.spelled_out().iter().map(|one| one.as_str().to_owned()).collect();
    assert_eq!(spelled, ["a/x", "b/*/x", "a", "b/*/**"]);
}

#[test]
fn locks_are_points() {
    let check = |ours: &str, theirs: &str, expected: Option<&str>| {
        let (ours, theirs) = (Entry::parse(ours).unwrap(), Entry::parse(theirs).unwrap());
        for case in [Case::Fold, Case::Exact] {
            let witness = ours.overlap(&theirs, case);
            assert_eq!(witness.as_ref().map(Witness::as_str), expected);
            assert_eq!(theirs.overlap(&ours, case), witness);
        }
    };
    check("lock://Db", "lock://dB", Some("lock://db"));
    check("lock://a*", "lock://ab", None);
    check("lock://a", "**", None);
    check("lock://lock:/a", "lock:/a", None);
}

#[test]
fn region_limits_and_leniency() {
    let too_many = vec!["a"; Region::ENTRIES_MAX + 1];
    let error = Region::parse(&too_many).unwrap_err();
    assert_eq!(error.to_string(), "more than 1024 entries in one region at byte 0 of `a`");
    assert_eq!(Region::parse_or_everything(&too_many), Region::everything());
    assert_eq!(Region::parse_or_everything(["a", "[", "b"]), Region::everything());

    let large = format!("{}{}", "{a,b}".repeat(10), "x".repeat(2000));
    let error = Region::parse([&large, &large, &large]).unwrap_err();
    assert!(error.to_string().starts_with("more than 4194304 bytes in one region"), "{error}");
    let long = "x".repeat(Entry::BYTES_MAX);
    assert!(Region::parse(vec![long; Region::ENTRIES_MAX]).is_ok());

    let kept = ["b", "a", "b"];
    let region = Region::parse(kept).unwrap();
    assert!(region.entries().iter().map(Entry::as_str).eq(kept));
}

#[test]
fn a_region_overlaps_in_the_least_of_all_pairs() {
    let ours = Region::parse(["lock://x", "longer/**", "c/*"]).unwrap();
    let theirs = Region::parse(["lock://X", "**/d", "longer"]).unwrap();
    assert_eq!(ours.overlap(&theirs, Case::Fold).unwrap().as_str(), "c/d");
    let ours = Region::parse(["lock://x"]).unwrap();
    assert_eq!(ours.overlap(&theirs, Case::Fold).unwrap().as_str(), "lock://x");
    assert_eq!(ours.overlap(&Region::everything(), Case::Fold).unwrap().as_str(), "lock://x");
    assert_eq!(Region::default().overlap(&Region::everything(), Case::Fold), None);
}

#[test]
fn paths_are_read_literally() {
    let check = |text: &str, expected: &str| assert_eq!(ProjectPath::parse(text).unwrap().as_str(), expected);
    check(".", ".");
    check("a/../", ".");
    check("./a//b/./../c*/", "a/c*");
    check("e\u{301}", "é");
    let check_error = |text: &str, expected: &str| {
        assert_eq!(ProjectPath::parse(text).unwrap_err().to_string(), expected);
    };
    check_error("", "nothing is named at byte 0 of ``");
    check_error("/a", "absolute path at byte 0 of `/a`");
    check_error("a/../..", "`..` leaves the root at byte 5 of `a/../..`");
}

#[test]
fn documented_examples_hold() {
    let overlap = |ours: &str, theirs: &str| {
        let witness = Entry::parse(ours).unwrap().overlap(&Entry::parse(theirs).unwrap(), Case::Fold);
        witness.map(|witness| witness.as_str().to_owned())
    };
    assert_eq!(overlap("src/**/api", "src/api").as_deref(), Some("src/api"));
    assert_eq!(overlap("src/*.rs", "src/*.md"), None);
    assert_eq!(overlap("src/**", "src").as_deref(), Some("src"));
    assert_eq!(overlap("src/*", "src"), Some("src/a".to_owned()));
    assert_eq!(overlap(".", "**/*").as_deref(), Some("a"));
    assert_eq!(overlap(".?", "?."), None);
    assert_eq!(overlap(".??", "??.").as_deref(), Some(".a."));
    assert_eq!(overlap("[.]", "?"), None);
    assert_eq!(overlap("...", "*").as_deref(), Some("..."));
    assert_eq!(overlap("ÉCOLE", "e\u{301}cole").as_deref(), Some("école"));
    assert_eq!(overlap("[--0]", "a*"), None);
    assert_eq!(overlap("a[--0]b", "a/b"), None);
}
