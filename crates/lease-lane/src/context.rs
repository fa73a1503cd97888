//! Where a command works: the one look at the environment, the directory and the files that say so.

use std::env::VarError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arbiter::name::OwnerName;
use arbiter::policy::Policy;
use arbiter::region::{Entry, PatternError, ProjectPath, Region};
use arbiter::time::Span;
use arbiter::worktree::WorktreeName;
use journal::disk::{DiskError, RealDisk};
use lease::clock::SystemClock;
use lease::machine::RealMachine;
use lease::mutex::Patience;
use lease::paths::{self, RootDir};
use lease::place::{GivenBy, POLICY_FILE, Place, PlaceArgs};
use lease::policy_file::{self, PolicyError};
use lease::regions;
use lease::session::Session;

use crate::args::Global;
use crate::reply::{Failure, Form};

/// The clocks of this machine.
pub(crate) static CLOCK: SystemClock = SystemClock;

/// What the caller's flags, environment and directory amount to.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) place: Place,
    owner: Option<String>,
    policy_is_named: bool,
    /// Whether the file system may be one that is known to be unsuitable.
    pub(crate) allow_fs: bool,
    pub(crate) patience: Patience,
    /// In which form the answer is wanted.
    pub(crate) form: Form,
}

/// What the policy file said when it was looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum PolicyText {
    #[default]
    Unread,
    Missing,
    Of(Vec<u8>),
}

impl Context {
    pub(crate) fn find(global: &Global) -> Result<Context, Failure> {
        let cwd = current_dir()?;
        let place = lease::place::find(&place_args(global)?, &cwd)?;
        Context::at(place, global)
    }

    pub(crate) fn at(place: Place, global: &Global) -> Result<Context, Failure> {
        let owner = match &global.owner {
            Some(owner) => Some(owner.clone()),
            // Nothing is not nobody: a script whose variable is unset shall not go on under another name.
            None => as_it_is_set("LEASE_LANE_OWNER")?,
        };
        let mut patience = Patience::default();
        for (name, time) in
            [("LEASE_LANE_MUTEX_TTL", &mut patience.ttl), ("LEASE_LANE_MUTEX_BUDGET", &mut patience.budget)]
        {
            if let Some(text) = variable(name)? {
                let span = Span::parse(&text).map_err(|error| Failure::flag(name, error))?;
                *time = Duration::from_millis(span.as_ms());
            }
        }
        let policy_is_named = place_args(global)?.policy.is_some();
        let allow_fs = global.allow_fs || switch("LEASE_LANE_ALLOW_FS")?;
        let form = if global.json { Form::Json } else { Form::Text };
        Ok(Context { place, owner, policy_is_named, allow_fs, patience, form })
    }

    /// Who asks: what was said, else the harness session, else the nearest long-lived ancestor process.
    pub(crate) fn owner(&self) -> Result<OwnerName, Failure> {
        let name = match &self.owner {
            Some(name) => name.clone(),
            None => lease::owner::default_owner(&|name| std::env::var(name).ok())?,
        };
        OwnerName::new(name).map_err(|error| {
            Failure::usage(
                format!("the owner's name cannot be used: {error}"),
                Some("name somebody: --owner NAME".into()),
            )
        })
    }

    /// The policy of the day; the default one where there is no file.
    pub(crate) fn policy(&self) -> Result<Policy, PolicyError> {
        match &self.place.policy {
            Some(path) => understood(path, self.policy_bytes(path)?.as_deref()),
            None => Ok(Policy::default()),
        }
    }

    /// The policy as it is now, for one that was read before; `None` when the file says what it said. One that came from
    /// a pipe is not there a second time.
    pub(crate) fn policy_again(&self, said: &mut PolicyText) -> Result<Option<Policy>, PolicyError> {
        let path = self.policy_path();
        if self.policy_is_named && !is_there_again(&path) {
            return Ok(None);
        }
        let bytes = self.policy_bytes(&path)?;
        let says = bytes.map_or(PolicyText::Missing, PolicyText::Of);
        if *said == says {
            return Ok(None);
        }
        *said = says;
        match said {
            PolicyText::Of(bytes) => understood(&path, Some(bytes)).map(Some),
            PolicyText::Unread | PolicyText::Missing => understood(&path, None).map(Some),
        }
    }

    /// The policy file for those who are started from here; none where they find it by themselves, as it was found here.
    pub(crate) fn policy_to_name(&self) -> Option<&Path> {
        self.place.policy.as_deref().filter(|path| self.policy_is_named && is_there_again(path))
    }

    /// Where the policy is, or would be.
    fn policy_path(&self) -> PathBuf {
        self.place.policy.clone().unwrap_or_else(|| self.place.root.join(POLICY_FILE))
    }

    /// What is in the policy file. One that was named has to be there; one that was only found may be gone by now.
    fn policy_bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, PolicyError> {
        if self.policy_is_named {
            return policy_file::bytes_of_named(path).map(Some);
        }
        policy_file::bytes_of_found(path)
    }

    /// The policy file and the store, as far as they lie in the project: what the program itself rests on.
    pub(crate) fn own_paths(&self, root: &RootDir) -> Region {
        let mut own: Vec<Entry> = Vec::new();
        for path in [&self.policy_path(), &self.place.store] {
            for entry in entries_of(path, &self.place.root, root) {
                if !own.contains(&entry) {
                    own.push(entry);
                }
            }
        }
        Region::of(own.into_iter().map(Ok::<_, PatternError>)).unwrap_or_else(|_| Region::everything())
    }

    pub(crate) fn root(&self) -> Result<RootDir, Failure> {
        Ok(RootDir::open(&self.place.root)?)
    }

    /// The store if there is one, to look at.
    pub(crate) fn look(&self) -> Result<Option<RealDisk>, DiskError> {
        let disk = RealDisk::open(&self.place.store)?;
        Ok(if self.allow_fs { disk.map(RealDisk::allow_any_file_system) } else { disk })
    }

    /// The store, made where there is none, to write to.
    pub(crate) fn open(&self) -> Result<RealDisk, DiskError> {
        open_store(&self.place.store, self.allow_fs)
    }

    /// The worktree in which the paths of the caller are; none where it cannot be told.
    pub(crate) fn worktree(&self) -> Option<WorktreeName> {
        lease::place::worktree_of(&self.place.root)
    }

    /// As [`Context::session`], for one who names a lane or a path of the worktree that it is in.
    pub(crate) fn session_here<'d>(&self, disk: &'d RealDisk, owner: OwnerName) -> Session<RealMachine<'d>> {
        self.session(disk, owner).in_worktree(self.worktree())
    }

    pub(crate) fn session<'d>(&self, disk: &'d RealDisk, owner: OwnerName) -> Session<RealMachine<'d>> {
        Session::new(disk, &CLOCK, owner, self.patience)
    }
}

/// The store, made where there is none, to write to; on a file system of any kind if that is allowed.
pub(crate) fn open_store(store: &Path, allow_fs: bool) -> Result<RealDisk, DiskError> {
    if allow_fs { RealDisk::open_or_create_anywhere(store) } else { RealDisk::open_or_create(store) }
}

/// The names of a path below the root: as it is written, and as it is without links. None when it lies elsewhere.
///
/// The way to the root is no pattern and may hold any bytes, so it is taken off before anything is read as text.
fn entries_of(path: &Path, root: &Path, opened: &RootDir) -> Vec<Entry> {
    let real = |path: &Path| {
        let there = path.ancestors().find_map(|above| Some((above, paths::canonical(above).ok()?)));
        there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)))
    };
    let beneath = path
        .strip_prefix(root)
        .map(Path::to_path_buf)
        .ok()
        .or_else(|| real(path)?.strip_prefix(opened.canonical().ok()?).map(Path::to_path_buf).ok());
    let Some(beneath) = beneath else { return Vec::new() };
    // A name that is not UTF-8 can be met only by a wildcard, which meets the sign that stands for it as well.
    let text = beneath.to_string_lossy();
    let Ok(written) = ProjectPath::parse(&text) else { return Vec::new() };
    let resolved = regions::path(opened, &text).ok();
    let entry = |path: &ProjectPath| Entry::beneath(path).unwrap_or_else(|_| Entry::everything());
    let elsewhere = resolved.filter(|resolved| *resolved != written);
    std::iter::once(&written).chain(&elsewhere).map(entry).collect()
}

/// Whether who looks for the policy a second time may find it: not where it came from a pipe.
fn is_there_again(path: &Path) -> bool {
    path.metadata().map_or(true, |found| found.is_file())
}

fn understood(path: &Path, bytes: Option<&[u8]>) -> Result<Policy, PolicyError> {
    bytes.map_or_else(|| Ok(Policy::default()), |bytes| policy_file::read(path, bytes))
}

pub(crate) fn current_dir() -> Result<PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|error| Failure::because(&error, "usage", format!("no current directory: {error}"), None))
}

pub(crate) fn place_args(global: &Global) -> Result<PlaceArgs, Failure> {
    let (store, store_by) = match &global.store {
        Some(store) => (Some(store.clone()), GivenBy::Flag),
        None => (path_variable("LEASE_LANE_STORE"), GivenBy::Environment),
    };
    let root = global.root.clone().or_else(|| path_variable("LEASE_LANE_ROOT"));
    let policy = global.policy.clone().or_else(|| path_variable("LEASE_LANE_POLICY"));
    for (name, path) in [("--store", &store), ("--root", &root), ("--policy", &policy)] {
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(Failure::flag(name, "the path is empty"));
        }
    }
    Ok(PlaceArgs { store, store_by, root, policy })
}

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Whether a variable says yes; a word that is neither yes nor no is a mistake.
fn switch(name: &str) -> Result<bool, Failure> {
    match variable(name)?.as_deref() {
        Some("1" | "true" | "yes") => Ok(true),
        None | Some("0" | "false" | "no") => Ok(false),
        Some(other) => {
            let other = arbiter::text::shown(other, 40).to_string();
            Err(Failure::flag(name, format!("`{other}` is neither 1 nor 0")))
        }
    }
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    Ok(as_it_is_set(name)?.filter(|value| !value.is_empty()))
}

/// A variable, also one that is set to nothing.
fn as_it_is_set(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::flag(name, "it is not UTF-8")),
    }
}
