//! One file, one spelling: links and absolute paths in real directory trees (feature E3).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lease::paths::{PathError, Resolved, RootDir, relative_to_root, resolve_components};
use proptest::prelude::*;
use tempfile::TempDir;

/// `TOP/root` is the root, `TOP/outside` is not, `TOP/alias` is a link to the root.
struct Ground {
    _dir: TempDir,
    top: PathBuf,
    root: RootDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("root/src/api")).unwrap();
        fs::create_dir(top.join("outside")).unwrap();
        fs::write(top.join("root/src/a.rs"), "").unwrap();
        symlink("root", top.join("alias")).unwrap();
        let root = RootDir::open(&top.join("root")).unwrap();
        Self { _dir: dir, top, root }
    }

    fn link(&self, at: &str, target: impl AsRef<Path>) {
        symlink(target, self.top.join("root").join(at)).unwrap();
    }

    fn resolve(&self, path: &str) -> Result<Resolved, PathError> {
        resolve_components(&self.root, &split(path))
    }

    /// The spelling the arbiter sees.
    fn spelled(&self, path: &str) -> String {
        let resolved = self.resolve(path).unwrap();
        let kept = split(path).into_iter().skip(resolved.consumed).map(str::to_owned);
        resolved.replacement.into_iter().chain(kept).collect::<Vec<_>>().join("/")
    }
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

#[test]
fn without_links_nothing_is_replaced() {
    let ground = Ground::new();
    for path in ["", "src", "src/a.rs", "src/api", "new", "src/new/deep.rs", "src/a.rs/below-a-file"] {
        assert_eq!(ground.resolve(path).unwrap(), Resolved::default(), "{path}");
    }
}

#[test]
fn two_spellings_of_one_file_are_one_path() {
    let ground = Ground::new();
    ground.link("code", "src");
    ground.link("src/b.rs", "a.rs");
    ground.link("src/api/up", "../..");
    ground.link("chain", "code/api");
    ground.link("here", ".");
    for (path, expected) in [
        ("code", "src"),
        ("code/a.rs", "src/a.rs"),
        ("code/b.rs", "src/a.rs"),
        ("code/new/file.rs", "src/new/file.rs"),
        ("chain", "src/api"),
        ("chain/x", "src/api/x"),
        ("src/api/up/src/b.rs", "src/a.rs"),
        ("src/api/up", ""),
        ("here/here/code", "src"),
        ("here", ""),
    ] {
        assert_eq!(ground.spelled(path), expected, "{path}");
    }
    assert_eq!(ground.resolve("here").unwrap(), Resolved { consumed: 1, replacement: Vec::new() });
}

/// To the arbiter a name is its composed form, whatever a keyboard or another system made of it on the disk.
#[test]
fn a_link_is_resolved_however_its_name_is_composed() {
    let ground = Ground::new();
    let (composed, decomposed) = ("\u{e9}", "e\u{301}");
    ground.link(decomposed, "src");
    for name in [composed, decomposed] {
        assert_eq!(ground.spelled(name), "src", "{name:?}");
        assert_eq!(ground.spelled(&format!("{name}/new/file.rs")), "src/new/file.rs", "{name:?}");
    }
    assert_eq!(ground.resolve("\u{e8}/x").unwrap(), Resolved::default(), "another letter is not there");

    let dir = format!("src/o{}", "\u{301}");
    std::fs::create_dir(ground.root.path().join(&dir)).unwrap();
    ground.link(&format!("{dir}/up"), "../api");
    assert_eq!(ground.spelled("src/\u{f3}/up/x"), "src/api/x");
    assert_eq!(ground.resolve("src/\u{f3}/new").unwrap(), Resolved::default(), "no link is on the way");
}

#[test]
fn a_link_to_what_does_not_exist_yet() {
    let ground = Ground::new();
    ground.link("out", "build/out");
    ground.link("loose", "src/../build");
    assert_eq!(ground.spelled("out/x"), "build/out/x");
    assert_eq!(ground.spelled("loose/x"), "build/x");
}

/// Found by `the_kernel_agrees`: behind a missing directory and `..` we are back where links are.
#[test]
fn a_link_through_what_does_not_exist_yet_and_back() {
    let ground = Ground::new();
    ground.link("a", "missing/..");
    ground.link("code", "src");
    assert_eq!(ground.spelled("a/code/x"), "src/x");
    assert_eq!(ground.spelled("a/a"), "");
}

#[test]
fn absolute_links_and_links_that_leave_and_come_back() {
    let ground = Ground::new();
    ground.link("absolute", ground.top.join("root/src"));
    ground.link("roundabout", ground.top.join("alias/src/api"));
    ground.link("back", "../root/src");
    ground.link("back-by-alias", "../alias/src");
    assert_eq!(ground.spelled("absolute/x"), "src/x");
    assert_eq!(ground.spelled("roundabout/x"), "src/api/x");
    assert_eq!(ground.spelled("back/a.rs"), "src/a.rs");
    assert_eq!(ground.spelled("back-by-alias/a.rs"), "src/a.rs");
}

#[test]
fn a_link_out_of_the_root_names_link_and_target() {
    let ground = Ground::new();
    ground.link("leak", "../outside");
    ground.link("etc", "/etc");
    ground.link("chain", "leak");
    ground.link("gone", "../not/there");
    ground.link("sibling", "../rootless");
    for (path, link, target) in [
        ("leak", "leak", "../outside"),
        ("leak/file", "leak", "../outside"),
        ("etc/passwd", "etc", "/etc"),
        ("chain/x", "leak", "../outside"),
        ("gone/x", "gone", "../not/there"),
        ("sibling", "sibling", "../rootless"),
    ] {
        let error = ground.resolve(path).unwrap_err();
        let names = matches!(&error, PathError::LinkLeavesRoot { link: found_link, target: found_target, .. }
            if *found_link == ground.top.join("root").join(link) && found_target == Path::new(target));
        assert!(names, "{path}: {error}");
        let message = error.to_string();
        assert!(message.contains(link) && message.contains(target), "{message}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_loop_is_an_error() {
    let ground = Ground::new();
    ground.link("a", "b");
    ground.link("b", "a");
    ground.link("self", "self");
    ground.link("deeper", "deeper/x");
    for path in ["a", "a/x", "self", "deeper"] {
        let error = ground.resolve(path).unwrap_err();
        assert!(matches!(error, PathError::LinkLoop { .. }), "{path}: {error}");
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn forty_links_are_fine() {
    let ground = Ground::new();
    for number in 0..40 {
        let target = if number == 0 { "src".to_owned() } else { format!("l{}", number - 1) };
        ground.link(&format!("l{number}"), target);
    }
    ground.link("l40", "l39");
    assert_eq!(ground.spelled("l39/a.rs"), "src/a.rs");
    assert!(matches!(ground.resolve("l40"), Err(PathError::LinkLoop { .. })));
}

#[test]
fn a_target_that_is_not_utf_8_is_an_error() {
    let ground = Ground::new();
    ground.link("odd", OsStr::from_bytes(b"\xff"));
    let error = ground.resolve("odd").unwrap_err();
    assert!(matches!(&error, PathError::NotUtf8 { link, .. } if link.ends_with("odd")), "{error}");
}

#[test]
fn odd_names_stay_literal() {
    let ground = Ground::new();
    fs::create_dir(ground.top.join("root/[a]*")).unwrap();
    ground.link("plain", "[a]*");
    assert_eq!(ground.spelled("plain/x"), "[a]*/x");
    let long = "n".repeat(300);
    assert_eq!(ground.spelled(&format!("plain/{long}/x")), format!("[a]*/{long}/x"));
    assert_eq!(ground.resolve(&long).unwrap(), Resolved::default());
    let deep = vec!["d"; 3_000].join("/");
    assert_eq!(ground.resolve(&deep).unwrap(), Resolved::default());
}

#[test]
fn what_is_no_name_is_refused() {
    let ground = Ground::new();
    for name in ["", ".", "..", "a/b", "a\0b"] {
        let error = resolve_components(&ground.root, &["src", name]).unwrap_err();
        assert!(matches!(error, PathError::NotAName { .. }), "{name:?}: {error}");
    }
}

#[test]
fn the_root_may_be_a_link_itself() {
    let ground = Ground::new();
    ground.link("code", "src");
    let alias = RootDir::open(&ground.top.join("alias")).unwrap();
    let resolved = resolve_components(&alias, &["code", "x"]).unwrap();
    assert_eq!(resolved.replacement, ["src", "x"]);
}

#[test]
fn a_root_that_is_no_directory() {
    let ground = Ground::new();
    for path in ["root/src/a.rs", "missing"] {
        let error = RootDir::open(&ground.top.join(path)).unwrap_err();
        assert!(matches!(&error, PathError::Root { .. }) && error.to_string().contains(path), "{error}");
    }
}

#[test]
fn absolute_text_beneath_the_root() {
    let ground = Ground::new();
    let top = ground.top.to_str().unwrap();
    symlink("root/src", ground.top.join("into-src")).unwrap();
    symlink("root/../root/src", ground.top.join("winding")).unwrap();
    for (text, expected) in [
        ("TOP/root/src/*.rs", "src/*.rs"),
        ("TOP/root", "."),
        ("TOP/root/", "."),
        ("TOP/root/src/", "src/"),
        ("TOP/./outside/../root//src/x", "src/x"),
        ("TOP/root/../root/src", "src"),
        ("TOP/alias/src/**", "src/**"),
        ("TOP/alias", "."),
        ("TOP/alias/new/file", "new/file"),
        ("TOP/into-src/*.rs", "src/*.rs"),
        ("TOP/into-src", "src"),
        ("TOP/winding/a", "src/a"),
        ("TOP/root/*/../../x", "*/../../x"), // the arbiter says what it thinks of that
        ("src/*.rs", "src/*.rs"),
        ("../x", "../x"),
        ("lock://daemon", "lock://daemon"),
        ("", ""),
    ] {
        let text = text.replace("TOP", top);
        let relative = relative_to_root(&ground.root, &text);
        assert_eq!(relative.unwrap(), expected, "{text}");
    }
}

#[test]
fn absolute_text_through_a_link_with_odd_names_is_quoted() {
    let ground = Ground::new();
    fs::create_dir(ground.top.join("root/[a]")).unwrap();
    symlink("root/[a]", ground.top.join("odd")).unwrap();
    let text = format!("{}/odd/*.rs", ground.top.display());
    assert_eq!(relative_to_root(&ground.root, &text).unwrap(), "\\[a\\]/*.rs");
}

#[test]
fn a_root_whose_name_looks_like_a_pattern() {
    let ground = Ground::new();
    let path = ground.top.join("root/{x,y}");
    fs::create_dir(&path).unwrap();
    let root = RootDir::open(&path).unwrap();
    let text = format!("{}/src/*.rs", path.display());
    assert_eq!(relative_to_root(&root, &text).unwrap(), "src/*.rs");
}

#[test]
fn the_canonical_spelling_of_a_root_given_by_a_link() {
    let ground = Ground::new();
    let alias = RootDir::open(&ground.top.join("alias")).unwrap();
    for spelling in ["alias", "root"] {
        let text = format!("{}/{spelling}/src/x", ground.top.display());
        assert_eq!(relative_to_root(&alias, &text).unwrap(), "src/x");
    }
}

#[test]
fn absolute_text_outside_of_the_root_is_an_error() {
    let ground = Ground::new();
    let top = ground.top.to_str().unwrap();
    for text in [
        "/",
        "/etc/passwd",
        "TOP",
        "TOP/rootless",
        "TOP/root/../outside/x",
        "TOP/*/src",
        "/**",
        "TOP/missing/x",
    ] {
        let text = text.replace("TOP", top);
        let error = relative_to_root(&ground.root, &text).unwrap_err();
        assert!(matches!(error, PathError::OutsideRoot { .. }), "{text}: {error}");
        assert!(error.to_string().contains(&text) && error.hint().unwrap().contains("--root"), "{error}");
    }
}

/// A small tree with links that point at random; the kernel is the oracle.
fn links() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = || prop::sample::select(vec!["a", "b", "c", "src"]);
    let target = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", "src", "..", ".", "root", "alias"]),
        1..4,
    );
    let place =
        (prop::sample::select(vec!["", "src/"]), name()).prop_map(|(dir, name)| format!("{dir}{name}"));
    prop::collection::vec((place, target.prop_map(|names| names.join("/"))), 0..6)
}

proptest! {
    /// Where the path exists, the spelling is what the kernel resolves it to; and it is stable.
    #[test]
    fn the_kernel_agrees(links in links(), path in prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", "src", "api", "a.rs"]), 1..5)
    ) {
        let ground = Ground::new();
        for (at, target) in &links {
            symlink(target, ground.top.join("root").join(at)).ok(); // some names are taken
        }
        let resolved = resolve_components(&ground.root, &path);
        let root = ground.top.join("root");
        match (root.join(path.join("/")).canonicalize(), resolved) {
            (Ok(real), Ok(resolved)) => {
                let spelled = root.join(ground.spelled(&path.join("/")));
                prop_assert_eq!(&spelled.canonicalize().unwrap(), &real, "{:?}", resolved);
                prop_assert_eq!(spelled.components().collect::<PathBuf>(), real);
            }
            (Ok(real), Err(PathError::LinkLeavesRoot { .. })) => prop_assert!(!real.starts_with(&root)),
            (Ok(_), Err(error)) => prop_assert!(false, "{}", error),
            (Err(_), Ok(_)) => { // not there (yet): once more changes nothing
                let once = ground.spelled(&path.join("/"));
                prop_assert_eq!(ground.spelled(&once), once);
            }
            (Err(_), Err(_)) => {}
        }
    }
}
