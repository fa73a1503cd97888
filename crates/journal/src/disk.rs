//! The few things the journal asks of a file system, as a seam.
//!
//! [`Disk`] is what the store is written against; [`RealDisk`] is the directory on this machine. Files are
//! named by a [`Name`]: one of the store's own directories and a file in it, never a path from outside.

mod file_system;
mod real;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use file_system::{FileSystem, Fitness, Unsuitable};
pub use real::{RealDisk, RealFile};

/// A directory of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// The store itself: mutex, queue, bell, tickets, hint, indexes.
    Top,
    /// `journal/`: the segments.
    Journal,
    /// `marks/`: high-water marks and poison, by segment.
    Marks,
    /// `damaged/`: what a repair moved aside, and what it put in its place.
    Damaged,
}

impl Dir {
    /// All of them, the store itself first.
    pub const ALL: [Dir; 4] = [Dir::Top, Dir::Journal, Dir::Marks, Dir::Damaged];

    /// The directory's name within the store; empty for the store itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Dir::Top => "",
            Dir::Journal => "journal",
            Dir::Marks => "marks",
            Dir::Damaged => "damaged",
        }
    }
}

/// How the names of files begin that are on their way to their own name.
pub const TEMPORARY: &str = "tmp-";

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The directory it is in.
    pub dir: Dir,
    /// Its name there.
    pub file: String,
}

impl Name {
    /// Names `file` in `dir`.
    pub fn new(dir: Dir, file: impl Into<String>) -> Name {
        Name { dir, file: file.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dir.as_str() {
            "" => f.write_str(&self.file),
            dir => write!(f, "{dir}/{}", self.file),
        }
    }
}

/// Whether a file was made, or one of its name was there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It was made; all of its bytes are there.
    Created,
    /// There was one already; nothing changed.
    Exists,
}

/// How much must survive a crash of the machine when a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing.
    None,
    /// The bytes and the name.
    Synced,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and appending.
    Append,
}

/// The operations of a file system that the journal needs.
///
/// Every call may fail with [`DiskError`]; none of them retries a failed sync.
pub trait Disk {
    /// An open file. It goes on naming the same bytes when its name is taken away.
    type File: std::fmt::Debug;

    /// Opens an existing file of the store; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is not a plain file of this user with one name (feature E6).
    fn open(&self, name: &Name, access: Access) -> Result<Option<Self::File>, DiskError>;

    /// Reads from byte `from` to the end of the file.
    ///
    /// # Errors
    ///
    /// When the disk fails; of kind [`io::ErrorKind::FileTooLarge`] when the rest of the file is longer than `most`
    /// bytes.
    fn read(&self, file: &Self::File, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError>;

    /// Reads at most `len` bytes from byte `from` on; fewer only where the file ends.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn read_part(&self, file: &Self::File, name: &Name, from: u64, len: usize) -> Result<Vec<u8>, DiskError>;

    /// Appends with one write. Returns how many bytes were taken, which may be fewer than there are.
    ///
    /// # Errors
    ///
    /// When nothing could be written.
    fn append(&self, file: &Self::File, name: &Name, bytes: &[u8]) -> Result<usize, DiskError>;

    /// Makes the bytes of the file survive a crash.
    ///
    /// # Errors
    ///
    /// When the disk says that they will not.
    fn sync(&self, file: &Self::File, name: &Name) -> Result<(), DiskError>;

    /// Whether the open file is still the one of that name.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    fn is_at(&self, file: &Self::File, name: &Name) -> Result<bool, DiskError>;

    /// Makes a file with these bytes, whole or not at all, unless there is one of that name.
    ///
    /// # Errors
    ///
    /// When it cannot be made; then it is not there.
    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError>;

    /// Puts these bytes in place of the file of that name, whole or not at all. Not durable: for hints.
    ///
    /// # Errors
    ///
    /// When it cannot be made; then the old one is still there.
    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError>;

    /// Appends to a file, which is made empty first when it is missing. Not durable.
    ///
    /// # Errors
    ///
    /// When not all bytes could be written.
    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError>;

    /// Gives a file another name; durable.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed.
    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError>;

    /// Takes a file away; nothing to do when there is none. Not durable.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be removed.
    fn remove(&self, name: &Name) -> Result<(), DiskError>;

    /// Makes the names in a directory, and its own, survive a crash.
    ///
    /// # Errors
    ///
    /// When the disk says that they will not.
    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError>;

    /// The files of a directory, sorted.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError>;

    /// How long a file is; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When its directory cannot be read.
    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError>;

    /// What an error calls a file.
    fn path_of(&self, name: &Name) -> PathBuf;
}

impl<D: Disk> Disk for &D {
    type File = D::File;

    fn open(&self, name: &Name, access: Access) -> Result<Option<D::File>, DiskError> {
        (**self).open(name, access)
    }
    fn read(&self, file: &D::File, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError> {
        (**self).read(file, name, from, most)
    }
    fn read_part(&self, file: &D::File, name: &Name, from: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        (**self).read_part(file, name, from, len)
    }
    fn append(&self, file: &D::File, name: &Name, bytes: &[u8]) -> Result<usize, DiskError> {
        (**self).append(file, name, bytes)
    }
    fn sync(&self, file: &D::File, name: &Name) -> Result<(), DiskError> {
        (**self).sync(file, name)
    }
    fn is_at(&self, file: &D::File, name: &Name) -> Result<bool, DiskError> {
        (**self).is_at(file, name)
    }
    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError> {
        (**self).publish(name, bytes, durability)
    }
    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).replace(name, bytes)
    }
    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).append_or_create(name, bytes)
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError> {
        (**self).rename(from, to)
    }
    fn remove(&self, name: &Name) -> Result<(), DiskError> {
        (**self).remove(name)
    }
    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError> {
        (**self).sync_dir(dir)
    }
    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError> {
        (**self).list(dir)
    }
    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError> {
        (**self).len(name)
    }
    fn path_of(&self, name: &Name) -> PathBuf {
        (**self).path_of(name)
    }
}

/// What the disk said no to.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} `{}`", path.display())]
pub struct DiskError {
    /// What was being done.
    pub what: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// The file system that is not written to, if that is why.
    pub fn unsuitable(&self) -> Option<&FileSystem> {
        let inner = self.source.get_ref()?.downcast_ref::<Unsuitable>()?;
        Some(&inner.0)
    }

    /// A command or an act that may help.
    pub fn hint(&self) -> Option<String> {
        if self.unsuitable().is_some() {
            return Some(
                "keep the store on a local disk, the same for all who work here: --store DIR; or accept the risk: --allow-fs"
                    .into(),
            );
        }
        let path = self.path.display();
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space and run the command again: nothing was done".into())
            }
            io::ErrorKind::PermissionDenied => Some(format!("see who may write there: ls -ld {path}")),
            io::ErrorKind::OutOfMemory => {
                Some(format!("give it more memory (ulimit -v), or see what it is: ls -l {path}"))
            }
            io::ErrorKind::ReadOnlyFilesystem => Some(
                "make it writable; in a store elsewhere (--store DIR) nobody meets those who use this one"
                    .into(),
            ),
            io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData => {
                Some(format!("see what it is: ls -ld {path}; or name another store: --store DIR"))
            }
            _ => None,
        }
    }
}
