//! Finding store, root and policy in real directory trees, and in repositories that git itself made.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use arbiter::worktree::WorktreeName;
use lease::place::{GivenBy, Place, PlaceArgs, PlaceError, StoreFrom, find, init_target, worktree_of};
use tempfile::TempDir;

/// A directory to build in, free of links above it.
struct Ground {
    _dir: TempDir,
    top: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        Self { _dir: dir, top }
    }

    fn dir(&self, path: &str) -> PathBuf {
        let dir = self.top.join(path);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let file = self.top.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    /// A `.git` directory as small as it may be.
    fn repository(&self, path: &str) -> PathBuf {
        self.file(&format!("{path}/.git/HEAD"), "ref: refs/heads/main\n");
        self.top.join(path)
    }
}

fn look(cwd: &Path) -> Result<Place, PlaceError> {
    find(&PlaceArgs::default(), cwd)
}

#[track_caller]
fn check(cwd: &Path, root: &Path, store: &Path, how: StoreFrom) {
    let expected = Place { root: root.to_owned(), store: store.to_owned(), how, policy: None };
    assert_eq!(look(cwd).unwrap(), expected);
}

/// Runs git; `None`, said aloud, without git.
fn git(cwd: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(cwd)
        .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: no git");
        return None;
    };
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn a_repository_from_its_top_and_from_below() {
    let ground = Ground::new();
    let top = ground.repository("p");
    let deep = ground.dir("p/a/b/c");
    for cwd in [&top, &deep] {
        check(cwd, &top, &top.join(".git/lease-lane"), StoreFrom::Git);
    }
}

#[test]
fn the_nearest_repository_wins_and_beats_a_store_directory() {
    let ground = Ground::new();
    ground.repository("outer");
    let inner = ground.repository("outer/inner");
    let cwd = ground.dir("outer/inner/x/.lease-lane").parent().unwrap().to_owned();
    check(&cwd, &inner, &inner.join(".git/lease-lane"), StoreFrom::Git);
}

#[test]
fn a_store_directory_without_a_repository() {
    let ground = Ground::new();
    let store = ground.dir("p/.lease-lane");
    let cwd = ground.dir("p/a/b");
    ground.file("p/a/.lease-lane", "a file of that name is none");
    check(&cwd, &ground.top.join("p"), &store, StoreFrom::Directory);
}

#[test]
fn a_store_directory_that_is_a_link_is_found_and_judged_elsewhere() {
    let ground = Ground::new();
    let cwd = ground.dir("p");
    symlink("/nowhere", cwd.join(".lease-lane")).unwrap();
    check(&cwd, &cwd, &cwd.join(".lease-lane"), StoreFrom::Directory);
}

#[test]
fn nothing_names_init() {
    let ground = Ground::new();
    let error = look(&ground.top).unwrap_err();
    assert!(matches!(&error, PlaceError::NoStore { cwd } if *cwd == ground.top), "{error}");
    assert!(error.to_string().contains(ground.top.to_str().unwrap()), "{error}");
    assert!(error.hint().unwrap().contains("lease-lane init"));
}

#[test]
fn a_git_file_relative_and_absolute() {
    let ground = Ground::new();
    let git_dir = ground.dir("elsewhere/git");
    let relative = ground.file("a/.git", "gitdir: ../elsewhere/git\n");
    let absolute = ground.file("b/.git", &format!("gitdir: {}\r\n", git_dir.display()));
    for file in [relative, absolute] {
        let top = file.parent().unwrap();
        check(top, top, &git_dir.join("lease-lane"), StoreFrom::Git);
    }
}

#[test]
fn a_linked_worktree_by_its_files_alone() {
    let ground = Ground::new();
    let main = ground.repository("main");
    ground.file("main/.git/worktrees/w/commondir", "../..\n");
    ground.file("w/.git", &format!("gitdir: {}/.git/worktrees/w\n", main.display()));
    let cwd = ground.dir("w/src");
    check(&cwd, &ground.top.join("w"), &main.join(".git/lease-lane"), StoreFrom::Git);

    ground.file("main/.git/worktrees/w/commondir", &format!("{}/.git", main.display()));
    check(&cwd, &ground.top.join("w"), &main.join(".git/lease-lane"), StoreFrom::Git);
}

#[test]
fn which_worktree_a_directory_is_in() {
    let ground = Ground::new();
    let main = ground.repository("project");
    for (tree, names) in [("w", "../.."), ("main", "../.."), ("n", "../../../.git"), ("lost", "../../gone")] {
        ground.file(&format!("project/.git/worktrees/{tree}/commondir"), names);
        ground.file(&format!("{tree}/.git"), &format!("gitdir: ../project/.git/worktrees/{tree}\n"));
    }
    ground.file("elsewhere/commondir", main.join(".git").to_str().unwrap());
    ground.file("e/.git", "gitdir: ../elsewhere");
    ground.file("broken/.git", "nonsense");
    ground.file("sub/.git", "gitdir: ../project/.git/modules/sub");
    ground.dir("project/.git/modules/sub");
    for dir in ["project/src", "w/src/deep", "outside"] {
        ground.dir(dir);
    }
    symlink(ground.top.join("w/src"), main.join("link")).unwrap();
    for (dir, name) in [
        ("project", Some("main")),
        ("project/src", Some("main")),
        ("project/.git", Some("main")),
        ("w", Some("w")),
        ("w/src/deep", Some("w")),
        ("n", Some("n")),
        // It is called as the one that is not linked.
        ("main", Some("worktrees/main")),
        // By the files that are there, not by the way to them.
        ("project/link", Some("w")),
        ("project/link/deep", Some("w")),
        // Its store is its own.
        ("sub", Some("main")),
        // What cannot be told.
        ("lost", None),
        ("e", None),
        ("broken", None),
        ("outside", None),
        ("not-there", None),
    ] {
        let found = worktree_of(&ground.top.join(dir));
        assert_eq!(found.as_ref().map(WorktreeName::as_str), name, "{dir}");
    }
}

#[test]
fn a_link_as_git_directory() {
    let ground = Ground::new();
    let real = ground.repository("real");
    let cwd = ground.dir("linked");
    symlink(real.join(".git"), cwd.join(".git")).unwrap();
    check(&cwd, &cwd, &cwd.join(".git/lease-lane"), StoreFrom::Git);
}

#[test]
fn malformed_git_files_are_named() {
    let ground = Ground::new();
    let long = format!("gitdir: {}", "x".repeat(9_000));
    for (text, why) in [
        ("", "does not begin with `gitdir:`"),
        ("git dir: x", "does not begin with `gitdir:`"),
        ("gitdir:", "nothing follows"),
        ("gitdir: \n", "nothing follows"),
        ("gitdir: a\nb\n", "not one line"),
        ("gitdir: a\0b", "not one line"),
        (&long, "too long"),
    ] {
        let file = ground.file("p/.git", text);
        let error = look(file.parent().unwrap()).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, PlaceError::Malformed { .. }), "{text:?}: {message}");
        assert!(message.contains(file.to_str().unwrap()) && message.contains(why), "{text:?}: {message}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn dangling_git_files_name_both_ends() {
    let ground = Ground::new();
    let file = ground.file("p/.git", "gitdir: ../gone\n");
    let error = look(file.parent().unwrap()).unwrap_err();
    assert!(matches!(&error, PlaceError::Dangling { .. }), "{error}");
    assert!(error.to_string().contains("/p/.git`") && error.to_string().contains("../gone"), "{error}");

    ground.file("q/.git/HEAD", "");
    for common in ["../gone", "HEAD"] {
        let file = ground.file("q/.git/commondir", common);
        let error = look(&ground.top.join("q")).unwrap_err();
        assert!(matches!(&error, PlaceError::Dangling { path, .. } if *path == file), "{error}");
    }
    ground.file("q/.git/commondir", "\n");
    assert!(matches!(look(&ground.top.join("q")), Err(PlaceError::Malformed { .. })));
}

#[test]
fn a_git_file_of_odd_kind_is_passed_over() {
    let ground = Ground::new();
    let top = ground.repository("p");
    let cwd = ground.dir("p/sub");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, cwd.join(".git"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    check(&cwd, &top, &top.join(".git/lease-lane"), StoreFrom::Git);
    fs::remove_file(cwd.join(".git")).unwrap();
    symlink("/dev/null", cwd.join(".git")).unwrap();
    check(&cwd, &top, &top.join(".git/lease-lane"), StoreFrom::Git);
    fs::remove_file(cwd.join(".git")).unwrap();
    symlink("nowhere", cwd.join(".git")).unwrap();
    check(&cwd, &top, &top.join(".git/lease-lane"), StoreFrom::Git);
}

#[test]
fn a_git_link_to_itself_is_an_error_not_a_miss() {
    let ground = Ground::new();
    ground.repository("p");
    let cwd = ground.dir("p/sub");
    symlink(".git", cwd.join(".git")).unwrap();
    let error = look(&cwd).unwrap_err();
    assert!(matches!(&error, PlaceError::Io { path, .. } if *path == cwd.join(".git")), "{error}");
}

#[test]
fn a_git_directory_without_head_is_the_last_resort() {
    let ground = Ground::new();
    let inner = ground.dir("p/inner/.git").parent().unwrap().to_owned();
    check(&inner, &inner, &inner.join(".git/lease-lane"), StoreFrom::Git);
    assert_eq!(init_target(&inner).unwrap().store, inner.join(".git/lease-lane"));
    let outer = ground.repository("p");
    check(&inner, &outer, &outer.join(".git/lease-lane"), StoreFrom::Git);
}

#[test]
fn bare_repositories_and_the_inside_of_git_directories() {
    let ground = Ground::new();
    for git_dir in ["bare.git", "p/.git"] {
        ground.file(&format!("{git_dir}/HEAD"), "ref: refs/heads/main\n");
        ground.dir(&format!("{git_dir}/refs"));
        ground.dir(&format!("{git_dir}/objects"));
    }
    let bare = ground.top.join("bare.git");
    for cwd in [bare.clone(), ground.dir("bare.git/hooks")] {
        check(&cwd, &bare, &bare.join("lease-lane"), StoreFrom::Git);
    }
    let hooks = ground.dir("p/.git/hooks");
    check(&hooks, &ground.top.join("p"), &ground.top.join("p/.git/lease-lane"), StoreFrom::Git);
    let not_one = ground.file("q/HEAD", "just a file").parent().unwrap().to_owned();
    assert!(matches!(look(&not_one), Err(PlaceError::NoStore { .. })));
}

#[test]
fn a_given_store() {
    let ground = Ground::new();
    let cwd = ground.dir("plain/sub");
    let args =
        |store: &str, store_by| PlaceArgs { store: Some(store.into()), store_by, ..PlaceArgs::default() };
    let place = find(&args("./s", GivenBy::Flag), &cwd).unwrap();
    assert_eq!((place.root, place.store, place.how), (cwd.clone(), cwd.join("s"), StoreFrom::Flag));

    let place = find(&args("/s", GivenBy::Environment), &cwd).unwrap();
    assert_eq!((place.store, place.how), (PathBuf::from("/s"), StoreFrom::Environment));

    ground.dir("plain/.lease-lane");
    assert_eq!(find(&args("s", GivenBy::Flag), &cwd).unwrap().root, ground.top.join("plain"));

    let top = ground.repository("repository");
    let cwd = ground.dir("repository/sub");
    assert_eq!(find(&args("s", GivenBy::Flag), &cwd).unwrap().root, top);

    // The worktree's top is known even if its git directory is not.
    let worktree = ground.file("broken/.git", "nonsense").parent().unwrap().to_owned();
    assert_eq!(find(&args("s", GivenBy::Flag), &worktree).unwrap().root, worktree);
}

#[test]
fn a_given_root() {
    let ground = Ground::new();
    let top = ground.repository("p");
    let sub = ground.dir("p/sub");
    let args = |root: &str| PlaceArgs { root: Some(root.into()), ..PlaceArgs::default() };
    let place = find(&args("sub"), &top).unwrap();
    assert_eq!((place.root, place.store), (sub, top.join(".git/lease-lane")));
    let error = find(&args("missing"), &top).unwrap_err();
    assert!(matches!(&error, PlaceError::NoRoot { root } if *root == top.join("missing")), "{error}");
    ground.file("p/file", "");
    assert!(matches!(find(&args("file"), &top), Err(PlaceError::NoRoot { .. })));

    let both = PlaceArgs { store: Some("/s".into()), ..args("/") };
    let place = find(&both, Path::new("/does/not/exist")).unwrap();
    assert_eq!((place.root, place.store), (PathBuf::from("/"), PathBuf::from("/s")));
}

#[test]
fn empty_paths_are_refused() {
    let empty = || Some(PathBuf::new());
    for (args, name) in [
        (PlaceArgs { store: empty(), ..PlaceArgs::default() }, "store"),
        (PlaceArgs { root: empty(), ..PlaceArgs::default() }, "root"),
        (PlaceArgs { policy: empty(), ..PlaceArgs::default() }, "policy"),
    ] {
        let error = find(&args, Path::new("/")).unwrap_err();
        assert!(matches!(error, PlaceError::Empty { what } if what == name), "{error}");
        assert!(error.hint().unwrap().contains(&name.to_uppercase()));
    }
}

#[test]
fn the_policy() {
    let ground = Ground::new();
    let top = ground.repository("p");
    let cwd = ground.dir("p/sub");
    assert_eq!(look(&cwd).unwrap().policy, None);
    let policy = ground.file("p/lease-lane.toml", "");
    ground.file("p/sub/lease-lane.toml", "not at the root");
    assert_eq!(look(&cwd).unwrap().policy, Some(policy.clone()));
    assert_eq!(init_target(&cwd).unwrap().policy, Some(policy.clone()));
    let given = PlaceArgs { policy: Some("x.toml".into()), ..PlaceArgs::default() };
    assert_eq!(find(&given, &cwd).unwrap().policy, Some(cwd.join("x.toml")));
    // A link to nowhere is not "no policy": who opens it must say so.
    fs::remove_file(&policy).unwrap();
    symlink("nowhere", &policy).unwrap();
    assert_eq!(look(&top).unwrap().policy, Some(policy));
}

#[test]
fn where_init_makes_the_store() {
    let ground = Ground::new();
    let plain = ground.dir("plain/sub");
    ground.dir("plain/.lease-lane");
    let place = init_target(&plain).unwrap();
    let expected = (plain.join(".lease-lane"), StoreFrom::Fresh, plain);
    assert_eq!((place.store, place.how, place.root), expected);

    let top = ground.repository("p");
    let place = init_target(&ground.dir("p/sub")).unwrap();
    assert_eq!((place.store, place.how, place.root), (top.join(".git/lease-lane"), StoreFrom::Git, top));
}

/// What git made, and what git says of it.
#[test]
fn the_store_lies_where_git_says_the_common_directory_is() {
    let ground = Ground::new();
    let main = ground.dir("main");
    if git(&main, &["init", "-q", "."]).is_none() {
        return;
    }
    let run = |cwd: &Path, arguments: &[&str]| git(cwd, arguments).unwrap();
    run(&main, &["commit", "-q", "--allow-empty", "-m", "x"]);
    run(&main, &["worktree", "add", "-q", "../linked"]);
    run(&main, &["worktree", "add", "-q", "nested/linked2"]);
    run(&ground.top, &["clone", "-q", "--bare", "main", "bare.git"]);
    run(&ground.top.join("bare.git"), &["worktree", "add", "-q", "../of-bare", "-b", "b"]);
    let user = ground.dir("super");
    run(&user, &["init", "-q", "."]);
    run(&user, &["submodule", "--quiet", "add", "../main", "module"]);
    run(&ground.top, &["init", "-q", "--separate-git-dir", "apart.git", "apart"]);

    ground.dir("main/a/b");
    for cwd in [
        "main",
        "main/a/b",
        "main/.git/hooks",
        "main/.git/worktrees/linked",
        "linked",
        "main/nested/linked2",
        "bare.git",
        "bare.git/refs",
        "of-bare",
        "super",
        "super/module",
        "apart",
    ] {
        let cwd = ground.top.join(cwd);
        let common = run(&cwd, &["rev-parse", "--path-format=absolute", "--git-common-dir"]);
        let place = look(&cwd).unwrap();
        assert_eq!(place.store, Path::new(&common).join("lease-lane"), "{}", cwd.display());
        if run(&cwd, &["rev-parse", "--is-inside-work-tree"]) == "true" {
            assert_eq!(
                place.root,
                Path::new(&run(&cwd, &["rev-parse", "--show-toplevel"])),
                "{}",
                cwd.display()
            );
        }
    }
    let store = |cwd: &str| look(&ground.top.join(cwd)).unwrap().store;
    assert_eq!(store("main"), store("linked"));
    assert_ne!(store("super"), store("super/module"));
}
