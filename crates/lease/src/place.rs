//! Where things are: the store, the root that paths are relative to, and the policy file.
//!
//! Found by looking at `.git` and `.lease-lane`, never by running git, and without reading any environment: the
//! caller passes what flags and variables say.
//!
//! # What counts as a repository
//!
//! From the starting directory upwards, the first of these, as git has it:
//!
//! 1. `.git`, a directory (or a link to one) with a `HEAD`;
//! 2. `.git`, a regular file `gitdir: PATH`: a linked worktree or a submodule;
//! 3. the directory itself looks like a git directory (`HEAD`, `objects`, `refs`): a bare repository, or somewhere
//!    inside `.git`. The root is then the bare repository, or the parent of a directory named `.git`.
//!
//! A `.git` that is anything else (a FIFO, a device: sandboxes mask it with `/dev/null`) is passed over. One that
//! cannot be looked at is an error: going on would find another store than everybody else's. File system borders
//! are crossed; `GIT_DIR` and its relatives are not asked. A `.git` directory without a `HEAD` (a damaged
//! repository) is taken only when nothing else is found.
//!
//! The store then lies in the *common* git directory, so linked worktrees share one and each submodule has its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use arbiter::worktree::WorktreeName;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use crate::paths::canonical;

/// Name of the store inside a git directory.
const STORE_IN_GIT: &str = "lease-lane";

/// Name of the store of a project without a repository.
const STORE_DIR: &str = ".lease-lane";

/// Name of the default policy file at the root.
pub const POLICY_FILE: &str = "lease-lane.toml";

/// Where a repository keeps the git directories of its linked worktrees.
const WORKTREES: &str = "worktrees";

/// What the worktree is called that is not a linked one.
const MAIN_WORKTREE: &str = "main";

/// The longest `.git` or `commondir` file we read, in bytes: a path and a few words.
const LINK_BYTES_MAX: u64 = 8_192;

/// Where everything is. All paths are absolute as long as the starting directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory that paths are relative to.
    pub root: PathBuf,
    /// The store; it may not exist yet, and its parent is the only directory above it known to exist.
    pub store: PathBuf,
    /// Who named the store.
    pub how: StoreFrom,
    /// The policy file: the one given, whether or not it exists, or the default one, if there is one.
    pub policy: Option<PathBuf>,
}

/// What decided where the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFrom {
    /// `--store`.
    Flag,
    /// `LEASE_LANE_STORE`.
    Environment,
    /// The enclosing git repository.
    Git,
    /// The nearest `.lease-lane/` upwards.
    Directory,
    /// Nothing was there: [`init_target`] would make a `.lease-lane/` in the starting directory.
    Fresh,
}

/// What the caller was told; empty means: look.
#[derive(Clone, Debug, Default)]
pub struct PlaceArgs {
    /// `--store` or `LEASE_LANE_STORE`, relative to the starting directory.
    pub store: Option<PathBuf>,
    /// Which of the two `store` came from.
    pub store_by: GivenBy,
    /// `--root` or `LEASE_LANE_ROOT`, relative to the starting directory.
    pub root: Option<PathBuf>,
    /// `--policy` or `LEASE_LANE_POLICY`, relative to the starting directory.
    pub policy: Option<PathBuf>,
}

/// How a value was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GivenBy {
    /// By a flag.
    #[default]
    Flag,
    /// By an environment variable.
    Environment,
}

/// Why the store or the root could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Neither a repository nor a `.lease-lane/` encloses the starting directory.
    #[error("no store: neither a git repository nor a `{STORE_DIR}/` at or above `{cwd}`", cwd = cwd.display())]
    NoStore {
        /// Where the search began.
        cwd: PathBuf,
    },
    /// A `.git` file is not of the form `gitdir: PATH`, or a `commondir` file names nothing.
    #[error("`{path}` is malformed: {why}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A `.git` or `commondir` file names a directory that is not there.
    #[error("`{path}` names `{target}`, which is not a directory", path = path.display(), target = target.display())]
    Dangling {
        /// The file.
        path: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// `--root` names something that is not a directory.
    #[error("the root `{root}` is not a directory", root = root.display())]
    NoRoot {
        /// What was given.
        root: PathBuf,
    },
    /// A given path is empty.
    #[error("the {what} is empty")]
    Empty {
        /// Which one: `store`, `root` or `policy`.
        what: &'static str,
    },
    /// The file system did not let us look.
    #[error("could not {what} `{path}`", path = path.display())]
    Io {
        /// What we tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl PlaceError {
    /// What the reader can do now; the command line prints it as `hint:`.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoStore { .. } => {
                "run `lease-lane init` at the top of the project, or pass --store DIR".to_owned()
            }
            Self::Malformed { .. } => "repair it, or pass --store DIR".to_owned(),
            Self::Dangling { .. } => {
                "the repository was moved or deleted: run `git worktree repair` there, or pass --store DIR"
                    .to_owned()
            }
            Self::NoRoot { .. } => "pass an existing directory: --root DIR".to_owned(),
            Self::Empty { what } => {
                format!("pass --{what} with a path, or unset LEASE_LANE_{}", what.to_uppercase())
            }
            Self::Io { .. } => "pass --store DIR and --root DIR to skip the search".to_owned(),
        })
    }
}

/// Finds store, root and policy for a command that runs in `cwd`, an absolute path.
///
/// The store: as given; else `lease-lane` in the common git directory of the enclosing repository; else the
/// nearest `.lease-lane/` upwards. The root: as given; else the top of the enclosing worktree; else the parent of
/// the enclosing `.lease-lane/`; else `cwd`. The policy: as given; else `lease-lane.toml` at the root, if there.
///
/// Costs, at the top of an ordinary repository, three system calls: `.git/HEAD`, `commondir` and the policy; two
/// more for each level below the top. Nothing at all is searched when both store and root are given. A linked
/// worktree adds about ten.
///
/// # Errors
///
/// [`PlaceError::NoStore`] when nothing was given and nothing found; the others when what was found cannot be
/// used. A malformed `.git` file still marks the top of a worktree, so it is no error when the store was given.
pub fn find(args: &PlaceArgs, cwd: &Path) -> Result<Place, PlaceError> {
    let given_store = given("store", args.store.as_deref(), cwd)?;
    let given_root = given("root", args.root.as_deref(), cwd)?;
    if let Some(root) = &given_root
        && !is_dir(root)?
    {
        return Err(PlaceError::NoRoot { root: root.clone() });
    }
    let given_policy = given("policy", args.policy.as_deref(), cwd)?;
    let how = match args.store_by {
        GivenBy::Flag => StoreFrom::Flag,
        GivenBy::Environment => StoreFrom::Environment,
    };

    let (store, how, root) = match (given_store, given_root) {
        (Some(store), Some(root)) => (store, how, root),
        (Some(store), None) => {
            let top = match search(cwd)? {
                Some(Found::Repository(repository)) => repository.top,
                Some(Found::Directory { parent }) => parent,
                None => cwd.to_owned(),
            };
            (store, how, top)
        }
        (None, given_root) => {
            let found = search(cwd)?.ok_or_else(|| PlaceError::NoStore { cwd: cwd.to_owned() })?;
            let (store, how, top) = found.store()?;
            (store, how, given_root.unwrap_or(top))
        }
    };
    let policy = if given_policy.is_some() { given_policy } else { default_policy(&root) };
    Ok(Place { root, store, how, policy })
}

/// Says where `lease-lane init`, run in `cwd`, makes the store: in the common git directory inside a repository,
/// else as `.lease-lane/` in `cwd` itself, whatever lies above (as `git init` does).
///
/// # Errors
///
/// As [`find`], without [`PlaceError::NoStore`].
pub fn init_target(cwd: &Path) -> Result<Place, PlaceError> {
    let repository = match search_repository(cwd)? {
        Some(repository) => Some(repository),
        None => search_damaged_repository(cwd)?,
    };
    let (store, how, root) = match repository {
        Some(repository) => Found::Repository(repository).store()?,
        None => (cwd.join(STORE_DIR), StoreFrom::Fresh, cwd.to_owned()),
    };
    let policy = default_policy(&root);
    Ok(Place { root, store, how, policy })
}

/// Says which worktree of its repository the directory `root` lies in: `main`, or the name that git has given to the
/// linked one. `None` without a repository, and where it cannot be told: the caller then has to reckon with every worktree.
///
/// By the real path of `root`: a link into another worktree leads to files of that one.
///
/// Costs, at the top of an ordinary repository, some four system calls; a linked worktree adds about ten.
pub fn worktree_of(root: &Path) -> Option<WorktreeName> {
    let root = canonical(root).ok()?;
    let Some(Found::Repository(repository)) = search(&root).ok()? else { return None };
    let (mut git_dir, mut common_dir) = (repository.git_dir().ok()?, repository.common_dir().ok()?);
    // Mostly it is one directory, by one name.
    if git_dir != common_dir {
        (git_dir, common_dir) = (canonical(&git_dir).ok()?, canonical(&common_dir).ok()?);
    }
    if git_dir == common_dir {
        return WorktreeName::new(MAIN_WORKTREE).ok();
    }
    let name = git_dir.strip_prefix(common_dir.join(WORKTREES)).ok()?.to_str()?;
    match name {
        // No name that git gives has a `/` in it, so no other worktree is called so.
        MAIN_WORKTREE => WorktreeName::new(format!("{WORKTREES}/{name}")).ok(),
        _ if name.contains('/') => None,
        _ => WorktreeName::new(name).ok(),
    }
}

/// What encloses the starting directory.
enum Found {
    Repository(Repository),
    Directory { parent: PathBuf },
}

/// An enclosing repository, before its files are read.
struct Repository {
    top: PathBuf,
    git: GitLink,
}

/// How the top of a worktree leads to its git directory.
enum GitLink {
    /// This is the git directory.
    Directory(PathBuf),
    /// This file names it.
    File(PathBuf),
}

impl Found {
    /// Store, its origin and the root that goes with it.
    fn store(self) -> Result<(PathBuf, StoreFrom, PathBuf), PlaceError> {
        Ok(match self {
            Found::Repository(repository) => {
                (repository.common_dir()?.join(STORE_IN_GIT), StoreFrom::Git, repository.top)
            }
            Found::Directory { parent } => (parent.join(STORE_DIR), StoreFrom::Directory, parent),
        })
    }
}

impl Repository {
    /// The git directory of this worktree.
    fn git_dir(&self) -> Result<PathBuf, PlaceError> {
        match &self.git {
            GitLink::Directory(git_dir) => Ok(git_dir.clone()),
            GitLink::File(file) => git_dir_of_file(file, &self.top),
        }
    }

    /// The git directory that all worktrees of the repository share.
    fn common_dir(&self) -> Result<PathBuf, PlaceError> {
        let git_dir = self.git_dir()?;
        let file = git_dir.join("commondir");
        let Some(text) = read_path_file(&file)? else { return Ok(git_dir) };
        if text.is_empty() {
            return Err(PlaceError::Malformed { path: file, why: "it names no directory" });
        }
        // Usually `../..`: the real path, as git has it, so that every worktree spells the store alike.
        match std::fs::canonicalize(git_dir.join(&text)) {
            Ok(common) if is_dir(&common)? => Ok(common),
            Ok(target) => Err(PlaceError::Dangling { path: file, target }),
            Err(error) if is_absence(&error) => {
                Err(PlaceError::Dangling { path: file, target: git_dir.join(text) })
            }
            Err(source) => Err(PlaceError::Io { what: "resolve the path in", path: file, source }),
        }
    }
}

/// The git directory that the `.git` file `file` at `top` names.
fn git_dir_of_file(file: &Path, top: &Path) -> Result<PathBuf, PlaceError> {
    let malformed = |why| PlaceError::Malformed { path: file.to_owned(), why };
    let text = read_path_file(file)?.ok_or_else(|| malformed("it disappeared"))?;
    let rest = text.as_bytes().strip_prefix(b"gitdir:");
    let path = rest.ok_or_else(|| malformed("it does not begin with `gitdir:`"))?.trim_ascii_start();
    if path.is_empty() {
        return Err(malformed("nothing follows `gitdir:`"));
    }
    let path = Path::new(OsStr::from_bytes(path));
    let target = top.join(path);
    if !is_dir(&target)? {
        return Err(PlaceError::Dangling { path: file.to_owned(), target });
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return std::fs::canonicalize(&target).map_err(|source| PlaceError::Io {
            what: "resolve",
            path: target,
            source,
        });
    }
    Ok(target)
}

/// Looks for what encloses `cwd`: a repository, else a `.lease-lane/`, else a damaged repository.
fn search(cwd: &Path) -> Result<Option<Found>, PlaceError> {
    if let Some(repository) = search_repository(cwd)? {
        return Ok(Some(Found::Repository(repository)));
    }
    for dir in cwd.ancestors() {
        // A link is taken as well: whether the store may be one is for those who open it to say.
        if matches!(kind(&dir.join(STORE_DIR))?, Some(FileType::Directory | FileType::Symlink)) {
            return Ok(Some(Found::Directory { parent: dir.to_owned() }));
        }
    }
    Ok(search_damaged_repository(cwd)?.map(Found::Repository))
}

/// Looks for the enclosing repository; the module says what counts.
fn search_repository(cwd: &Path) -> Result<Option<Repository>, PlaceError> {
    for dir in cwd.ancestors() {
        let git = dir.join(".git");
        // One look at `.git/HEAD` tells a repository (there), a file (ENOTDIR) and nothing (ENOENT) apart.
        match look(&git.join("HEAD")) {
            Ok(_) => return Ok(Some(Repository { top: dir.to_owned(), git: GitLink::Directory(git) })),
            Err(Errno::NOTDIR) => {
                if kind_of_target(&git)? == Some(FileType::RegularFile) {
                    return Ok(Some(Repository { top: dir.to_owned(), git: GitLink::File(git) }));
                }
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(PlaceError::Io { what: "look at", path: git, source: error.into() }),
        }
        if is_git_dir(dir)? {
            let is_dot_git = dir.file_name().is_some_and(|name| name == ".git");
            let top = dir.parent().filter(|_| is_dot_git).unwrap_or(dir).to_owned();
            return Ok(Some(Repository { top, git: GitLink::Directory(dir.to_owned()) }));
        }
    }
    Ok(None)
}

/// Looks for a `.git` directory that has lost its `HEAD`.
fn search_damaged_repository(cwd: &Path) -> Result<Option<Repository>, PlaceError> {
    for dir in cwd.ancestors() {
        let git = dir.join(".git");
        if kind_of_target(&git)? == Some(FileType::Directory) {
            return Ok(Some(Repository { top: dir.to_owned(), git: GitLink::Directory(git) }));
        }
    }
    Ok(None)
}

/// Whether `dir` itself looks like a git directory, as git judges it. One system call for most directories.
fn is_git_dir(dir: &Path) -> Result<bool, PlaceError> {
    Ok(kind(&dir.join("HEAD"))?.is_some() && is_dir(&dir.join("objects"))? && is_dir(&dir.join("refs"))?)
}

/// The default policy file of `root`. Only a clear "not there" means that there is no policy. A file that we cannot look
/// at counts as there, and whoever opens it will fail: an ignored policy would allow what it forbids.
fn default_policy(root: &Path) -> Option<PathBuf> {
    let path = root.join(POLICY_FILE);
    match look(&path) {
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        _ => Some(path),
    }
}

/// Makes a given path absolute.
fn given(what: &'static str, path: Option<&Path>, cwd: &Path) -> Result<Option<PathBuf>, PlaceError> {
    match path {
        Some(path) if path.as_os_str().is_empty() => Err(PlaceError::Empty { what }),
        Some(path) => Ok(Some(cwd.join(path).components().collect())), // drops `.`, keeps `..`
        None => Ok(None),
    }
}

/// Reads a one-line file that holds a path; `None` when there is none. Trailing line ends do not belong to it.
fn read_path_file(path: &Path) -> Result<Option<OsString>, PlaceError> {
    let io_error = |source| PlaceError::Io { what: "read", path: path.to_owned(), source };
    // Not to be held up by a FIFO somebody put there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match retry_on_intr(|| openat(CWD, path, flags, Mode::empty())) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io_error(error.into())),
    };
    let malformed = |why| PlaceError::Malformed { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    file.take(LINK_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if LINK_BYTES_MAX < bytes.len() as u64 {
        return Err(malformed("it is too long"));
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\0')) {
        return Err(malformed("it is not one line of text"));
    }
    Ok(Some(OsString::from_vec(bytes)))
}

/// Looks at `path` without following it. One system call.
fn look(path: &Path) -> Result<FileType, Errno> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

/// What `path` itself is; `None` when there is nothing.
fn kind(path: &Path) -> Result<Option<FileType>, PlaceError> {
    present(look(path), path)
}

/// What `path` leads to; `None` when there is nothing.
fn kind_of_target(path: &Path) -> Result<Option<FileType>, PlaceError> {
    let target = statat(CWD, path, AtFlags::empty()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    present(target, path)
}

fn is_dir(path: &Path) -> Result<bool, PlaceError> {
    Ok(kind_of_target(path)? == Some(FileType::Directory))
}

fn present(found: Result<FileType, Errno>, path: &Path) -> Result<Option<FileType>, PlaceError> {
    match found {
        Ok(kind) => Ok(Some(kind)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(PlaceError::Io { what: "look at", path: path.to_owned(), source: error.into() }),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
