//! From the path somebody typed to the path the arbiter sees.
//!
//! The arbiter compares text, so one file must have one spelling before it gets there (feature E3): absolute
//! paths lose the root, and symbolic links are resolved in the longest literal prefix that exists. `..` is gone by
//! then: it is resolved lexically first.
//!
//! Two spellings of one file are still taken for two files where hard links or bind mounts make them one.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::{Errno, retry_on_intr};
use unicode_normalization::UnicodeNormalization as _;

/// How many links one path may lead through; the kernel's own limit.
const LINKS_MAX: u32 = 40;

/// The characters that mean something in a pattern: a component with one of them is not literal.
const PATTERN_CHARACTERS: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Why a path could not be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The root cannot be opened.
    #[error("could not open the root `{root}`", root = root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// An absolute path does not lie beneath the root.
    #[error("`{text}` is not beneath the root `{root}`", root = root.display())]
    OutsideRoot {
        /// The path as given.
        text: String,
        /// The root.
        root: PathBuf,
    },
    /// A link leads out of the root.
    #[error("the link `{link}` leads to `{target}`, which is not beneath the root `{root}`",
        link = link.display(), target = target.display(), root = root.display())]
    LinkLeavesRoot {
        /// Where the link is.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// Links lead to each other.
    #[error("`{path}` leads through more than {LINKS_MAX} links; the last is `{link}`",
        path = path.display(), link = link.display())]
    LinkLoop {
        /// The path as given.
        path: PathBuf,
        /// The link at which we gave up.
        link: PathBuf,
    },
    /// A path that a link leads to is not UTF-8.
    #[error("the link `{link}` leads to `{target}`, which is not UTF-8",
        link = link.display(), target = target.display())]
    NotUtf8 {
        /// Where the link is.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A component is empty, `.`, `..`, or holds a `/` or a NUL.
    #[error("`{component}` is not a plain name", component = component.escape_debug())]
    NotAName {
        /// The component.
        component: String,
    },
    /// The file system did not let us look.
    #[error("could not look at `{path}`", path = path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl PathError {
    /// What the reader can do now; the command line prints it as `hint:`.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Root { .. } => "pass an existing directory: --root DIR".to_owned(),
            Self::OutsideRoot { root, .. } => {
                format!("name paths beneath `{}`, or pass --root DIR", root.display())
            }
            Self::LinkLeavesRoot { .. } => {
                "what lies outside has no path here: claim a named resource instead, such as --lock NAME"
                    .to_owned()
            }
            Self::LinkLoop { link, .. } => format!("look at the link: ls -l {}", link.display()),
            Self::NotUtf8 { .. } => "rename what it leads to".to_owned(),
            Self::NotAName { .. } => return None,
            Self::Io { .. } => {
                "a path that cannot be looked at may be another one by a link: ask as a user who may"
                    .to_owned()
            }
        })
    }
}

/// The root that paths are relative to, opened once.
#[derive(Debug)]
pub struct RootDir {
    path: PathBuf,
    dir: OwnedFd,
    canonical: OnceLock<PathBuf>,
}

impl RootDir {
    /// Opens the root. One system call, another one on drop; two where there is a link on the way.
    ///
    /// # Errors
    ///
    /// [`PathError::Root`] when it is not a directory that can be opened.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Some(dir) = open_without_links(path, flags) {
            return Ok(Self { path: path.to_owned(), dir, canonical: plain(path).into() });
        }
        let dir = retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))
            .map_err(|error| PathError::Root { root: path.to_owned(), source: error.into() })?;
        Ok(Self { path: path.to_owned(), dir, canonical: OnceLock::new() })
    }

    /// The root as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root without any link. Where there is one on the way to it, one system call for each component, once, and only
    /// when it is asked for.
    ///
    /// # Errors
    ///
    /// [`PathError::Root`] when it cannot be found out.
    pub fn canonical(&self) -> Result<&Path, PathError> {
        if let Some(path) = self.canonical.get() {
            return Ok(path);
        }
        let path = std::fs::canonicalize(&self.path)
            .map_err(|source| PathError::Root { root: self.path.clone(), source })?;
        Ok(self.canonical.get_or_init(|| path))
    }
}

/// The path of something that is there, without any link. Two system calls where there is none on the way.
///
/// # Errors
///
/// As [`std::fs::canonicalize`].
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    match open_without_links(path, OFlags::PATH | OFlags::CLOEXEC) {
        Some(_) => Ok(plain(path)),
        None => std::fs::canonicalize(path),
    }
}

/// Opens what an absolute path names if there is no link on the way, nor at its end.
fn open_without_links(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    let leads_straight_on = path.is_absolute() && !path.components().any(|name| name == Component::ParentDir);
    if !leads_straight_on {
        return None;
    }
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()
}

/// The path without `.` and without separators that say nothing.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// What resolving the links of a literal prefix came to: the first `consumed` components are to be replaced by
/// `replacement`.
///
/// `consumed` is 0, and `replacement` empty, when nothing is a link. An empty `replacement` for a `consumed`
/// above 0 means that the prefix is the root itself. The names in `replacement` are literal: they may hold
/// characters that mean something in a pattern, so quote them when putting them back into one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// How many components of the input are replaced.
    pub consumed: usize,
    /// What replaces them, relative to the root and free of links as far as it exists.
    pub replacement: Vec<String>,
}

/// Resolves the symbolic links in `literal`, the components of a path beneath `root` before its first wildcard.
///
/// The last component is followed as well. Components beyond what exists are kept as they are, also behind a link
/// whose target does not exist yet: creating a file by either spelling creates the same one. A link may lead out
/// of the root and back in.
///
/// One system call when `literal` does not exist whole and holds no link, two when it exists. Otherwise one for
/// each component met, after those of the root itself. A name beyond ASCII that is not there is looked for in its
/// directory, where it may be spelled in another normal form.
///
/// ```
/// use lease::paths::{RootDir, resolve_components};
///
/// let root = tempfile::tempdir()?;
/// std::fs::create_dir(root.path().join("src"))?;
/// std::os::unix::fs::symlink("src", root.path().join("code"))?;
/// let resolved = resolve_components(&RootDir::open(root.path())?, &["code", "new.rs"])?;
/// assert_eq!((resolved.consumed, resolved.replacement), (2, vec!["src".to_owned(), "new.rs".to_owned()]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`PathError::LinkLeavesRoot`], [`PathError::LinkLoop`], [`PathError::NotUtf8`] for what a link leads to;
/// [`PathError::NotAName`] for a component that is none; [`PathError::Io`] when a directory on the way cannot be
/// searched, as the path may then be another one.
pub fn resolve_components(root: &RootDir, literal: &[&str]) -> Result<Resolved, PathError> {
    for name in literal {
        if matches!(*name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(PathError::NotAName { component: (*name).to_owned() });
        }
    }
    if literal.is_empty() || has_no_link(root, &literal.join("/")) {
        return Ok(Resolved::default());
    }

    let base = root.canonical()?;
    let mut walk = Walk::new(base.to_owned(), literal.iter().map(|name| Step::typed(name)));
    while walk.step(|link| link.starts_with(base))? {}
    let Ok(beneath) = walk.real.strip_prefix(base) else {
        let (link, target) = walk.last_link.unwrap_or_default();
        return Err(PathError::LinkLeavesRoot { link, target, root: root.path.clone() });
    };
    if !walk.any_link {
        return Ok(Resolved::default()); // the one call gave up for another reason
    }
    let replacement = beneath.components().map(|name| name.as_os_str().to_str().map(str::to_owned));
    let Some(replacement) = replacement.collect::<Option<Vec<_>>>() else {
        let (link, target) = walk.last_link.unwrap_or_default();
        return Err(PathError::NotUtf8 { link, target });
    };
    Ok(Resolved { consumed: literal.len(), replacement })
}

/// Turns an absolute path or pattern beneath the root into a relative one; other text comes back as it is.
///
/// Literal components are compared after resolving `.` and `..` lexically: with the root as given, then with the
/// root without links, then, following links, with whatever the text leads to. What lies beneath the root is not
/// touched: wildcards stay, a trailing `/` stays, links are for [`resolve_components`]. The root itself is `.`.
/// Text that begins with the root as given means that directory, even if its name looks like a pattern.
///
/// No system call for relative text or when the text begins with the root as given.
///
/// ```
/// use lease::paths::{RootDir, relative_to_root};
///
/// let root = RootDir::open(std::path::Path::new("/proc"))?;
/// assert_eq!(relative_to_root(&root, "/proc/sys/*.d/")?, "sys/*.d/");
/// assert_eq!(relative_to_root(&root, "sys/*.d")?, "sys/*.d");
/// assert!(relative_to_root(&root, "/etc/passwd").is_err());
/// # Ok::<(), lease::paths::PathError>(())
/// ```
///
/// # Errors
///
/// [`PathError::OutsideRoot`] when the path does not lie beneath the root; [`PathError::LinkLoop`] and
/// [`PathError::Io`] when that cannot be told.
pub fn relative_to_root(root: &RootDir, text: &str) -> Result<String, PathError> {
    if !text.starts_with('/') {
        return Ok(text.to_owned());
    }
    if let Some(relative) = strip_text(&root.path, text) {
        return Ok(relative.to_owned());
    }
    let (names, rest) = split_literal(text);
    if let Some(relative) = strip(&root.path, &names, rest) {
        return Ok(relative);
    }
    let base = root.canonical()?;
    if let Some(relative) = strip(base, &names, rest) {
        return Ok(relative);
    }
    let mut walk = Walk::new(PathBuf::from("/"), names.iter().map(|name| Step::typed(name)));
    let is_there = |walk: &Walk| walk.real == base && walk.todo.iter().all(|step| step.name != "..");
    while !is_there(&walk) && walk.step(|_| true)? {}
    if !is_there(&walk) {
        return Err(PathError::OutsideRoot { text: text.to_owned(), root: root.path.clone() });
    }
    let mut beneath = Vec::new();
    for step in walk.todo {
        let not_utf8 = |name: &OsStr| {
            let (link, _) = walk.last_link.clone().unwrap_or_default();
            PathError::NotUtf8 { link, target: PathBuf::from(name) }
        };
        let name = step.name.to_str().ok_or_else(|| not_utf8(&step.name))?;
        beneath.push(if step.typed { name.to_owned() } else { quoted(name) });
    }
    Ok(joined(&beneath.iter().map(String::as_str).collect::<Vec<_>>(), rest))
}

/// Whether no link lies in the part of `path` that exists. One system call, two when all of it exists.
///
/// The kernel walks in order and stops at the first trouble, so "there is no such thing" means that nothing before
/// it was a link. `false` when there is a link or we cannot tell.
fn has_no_link(root: &RootDir, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(&root.dir, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(_) => true,
        // A name that is not there as it is spelled here may be there in another normal form.
        Err(Errno::NOENT | Errno::NOTDIR) => path.is_ascii(),
        Err(_) => false,
    }
}

/// Splits an absolute pattern into the names before its first wildcard, `.` and `..` resolved, and the rest as it
/// is, with the `/` in front of it; the rest of a literal path is `/` or nothing.
fn split_literal(text: &str) -> (Vec<&str>, &str) {
    let mut names = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let from = at + 1; // behind the `/`
        let end = text[from..].find('/').map_or(text.len(), |length| from + length);
        match &text[from..end] {
            "" if end == text.len() => return (names, &text[at..]),
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name if name.contains(PATTERN_CHARACTERS) => return (names, &text[at..]),
            name => names.push(name),
        }
        at = end;
    }
    (names, "")
}

/// What is left of `text` behind the root as it is spelled; `None` also when `..` has the last word.
fn strip_text<'text>(root: &Path, text: &'text str) -> Option<&'text str> {
    let rest = text.strip_prefix(root.to_str()?.trim_end_matches('/'))?;
    let relative = rest.trim_start_matches('/');
    let whole_name = rest.is_empty() || relative.len() < rest.len();
    let plain = whole_name && relative.split('/').all(|name| name != "..");
    plain.then_some(if relative.is_empty() { "." } else { relative })
}

/// What is left of `names` and `rest` beneath `base`, by text alone.
fn strip(base: &Path, names: &[&str], rest: &str) -> Option<String> {
    let mut left = names.iter();
    for part in base.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) if left.next().map(|name| OsStr::new(*name)) == Some(name) => {}
            _ => return None,
        }
    }
    Some(joined(left.as_slice(), rest))
}

/// Spells a relative pattern: names, then the rest that [`split_literal`] left.
fn joined(names: &[&str], rest: &str) -> String {
    match (names, rest.trim_start_matches('/')) {
        ([], "") => ".".to_owned(),
        ([], rest) => rest.to_owned(),
        (names, _) => names.join("/") + rest,
    }
}

/// Quotes a name so that a pattern means it literally.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        if PATTERN_CHARACTERS.contains(&character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A walk along a path that follows links itself, one component at a time.
struct Walk {
    /// Where we are: absolute and free of links.
    real: PathBuf,
    /// What is still ahead.
    todo: VecDeque<Step>,
    /// The first directory on the way that does not exist; beneath it there are no links.
    missing: Option<PathBuf>,
    any_link: bool,
    n_links: u32,
    /// The last link met that the caller counts as his own, and its target.
    last_link: Option<(PathBuf, PathBuf)>,
    /// The path as given, for messages.
    start: PathBuf,
}

/// One component ahead.
struct Step {
    name: OsString,
    /// Whether it was typed; otherwise it comes from a link.
    typed: bool,
}

impl Step {
    fn typed(name: &str) -> Self {
        Self { name: OsString::from(name), typed: true }
    }
}

impl Walk {
    fn new(real: PathBuf, steps: impl Iterator<Item = Step>) -> Self {
        let todo: VecDeque<Step> = steps.collect();
        let mut start = real.clone();
        start.extend(todo.iter().map(|step| &step.name));
        Self { real, todo, missing: None, any_link: false, n_links: 0, last_link: None, start }
    }

    /// Goes one component further; `false` at the end. At most one system call, but for a name beyond ASCII that is not
    /// there as it is spelled: then its directory is read.
    fn step(&mut self, is_ours: impl Fn(&Path) -> bool) -> Result<bool, PathError> {
        let Some(Step { name, typed }) = self.todo.pop_front() else { return Ok(false) };
        if name == ".." {
            self.real.pop();
            self.missing.take_if(|missing| !self.real.starts_with(missing));
            return Ok(true);
        }
        let mut next = self.real.join(&name);
        let exists_so_far = self.missing.is_none();
        let mut target = if exists_so_far { self.link_target(&next)? } else { None };
        if exists_so_far
            && typed
            && self.missing.is_some()
            && let Some(spelled) = self.spelled_on_disk(&name)?
        {
            self.missing = None;
            next = self.real.join(spelled);
            target = self.link_target(&next)?;
        }
        let Some(target) = target else {
            self.real = next;
            return Ok(true);
        };
        self.any_link = true;
        self.n_links += 1;
        if LINKS_MAX < self.n_links {
            return Err(PathError::LinkLoop { path: self.start.clone(), link: next });
        }
        if is_ours(&next) {
            self.last_link = Some((next, target.clone()));
        }
        for part in target.components().rev() {
            match part {
                Component::RootDir => self.real = PathBuf::from("/"),
                Component::CurDir | Component::Prefix(_) => {}
                part => self.todo.push_front(Step { name: part.as_os_str().to_owned(), typed: false }),
            }
        }
        Ok(true)
    }

    /// How a name that is not there as it was typed is spelled in the directory where we are: some systems decompose what
    /// they write, and to the arbiter each name is its composed form (feature A2).
    fn spelled_on_disk(&self, name: &OsStr) -> Result<Option<OsString>, PathError> {
        let Some(typed) = name.to_str().filter(|name| !name.is_ascii()) else { return Ok(None) };
        let failed = |source| PathError::Io { path: self.real.clone(), source };
        let entries = match std::fs::read_dir(&self.real) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let found = entry.map_err(failed)?.file_name();
            if found.to_str().is_some_and(|found| found.nfc().eq(typed.nfc())) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The target of the link at `path`; `None` when it is no link or not there, which ends what exists.
    fn link_target(&mut self, path: &Path) -> Result<Option<PathBuf>, PathError> {
        match readlinkat(CWD, path, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))),
            Err(Errno::INVAL) => Ok(None),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.missing = Some(path.to_owned());
                Ok(None)
            }
            // A name too long for the file system cannot exist on it.
            Err(Errno::NAMETOOLONG) if path.file_name().is_some_and(|name| 255 < name.as_bytes().len()) => {
                self.missing = Some(path.to_owned());
                Ok(None)
            }
            Err(error) => Err(PathError::Io { path: path.to_owned(), source: error.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_names_before_the_first_wildcard() {
        for (text, names, rest) in [
            ("/", &[][..], "/"),
            ("/a", &["a"], ""),
            ("/a/", &["a"], "/"),
            ("/a/b/*.rs", &["a", "b"], "/*.rs"),
            ("/a//./b", &["a", "b"], ""),
            ("/a/../b/", &["b"], "/"),
            ("/../../a", &["a"], ""),
            ("/a/{b,c}/../d", &["a"], "/{b,c}/../d"),
            ("/a/**/b/", &["a"], "/**/b/"),
            ("/a/b\\*/c", &["a"], "/b\\*/c"),
            ("/a/[bc]", &["a"], "/[bc]"),
            ("/a/..", &[], ""),
            ("/ä/ö ü", &["ä", "ö ü"], ""),
        ] {
            assert_eq!(split_literal(text), (names.to_vec(), rest), "{text}");
        }
    }

    #[test]
    fn stripping_by_text() {
        for (root, text, expected) in [
            ("/p", "/p/src/*.rs", Some("src/*.rs")),
            ("/p", "/p", Some(".")),
            ("/p", "/p/", Some(".")),
            ("/p/", "/p//src/", Some("src/")),
            ("/p", "/proj", None),
            ("/p", "/p/../q", None),
            ("/p", "/q", None),
            ("/", "/etc/x", Some("etc/x")),
            ("/[p]", "/[p]/src", Some("src")),
        ] {
            assert_eq!(strip_text(Path::new(root), text), expected, "{text} beneath {root}");
        }
    }

    #[test]
    fn stripping_by_names() {
        let base = Path::new("/p/q");
        for (text, expected) in [
            ("/p/q", Some(".")),
            ("/p/q/", Some(".")),
            ("/p/./q//src", Some("src")),
            ("/p/x/../q/src/", Some("src/")),
            ("/p/q/**", Some("**")),
            ("/p/q/a/*/b", Some("a/*/b")),
            ("/p", None),
            ("/p/qq", None),
            ("/p/*/src", None),
            ("/", None),
        ] {
            let (names, rest) = split_literal(text);
            assert_eq!(strip(base, &names, rest).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn names_from_links_are_quoted() {
        assert_eq!(quoted("a[1]{b,c}*?\\ä"), "a\\[1\\]\\{b,c\\}\\*\\?\\\\ä");
    }
}
