//! What a process asks of a disk, and who decides what becomes of it.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use journal::disk::Name;

/// What a process asks of the disk, before it happens.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What it asks.
    pub what: What,
    /// Of which file; for a whole directory the file's name is empty.
    pub name: &'a Name,
    /// How many bytes it wants to write.
    pub bytes: usize,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.name)
    }
}

/// A kind of call: the methods of [`journal::disk::Disk`]. Those that do their work in two steps, between which
/// others may come, have a kind for each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Open a file.
    Open,
    /// Read from an open file.
    Read,
    /// Append to an open file.
    Append,
    /// Make the bytes of an open file durable.
    Sync,
    /// Ask whether an open file still has its name.
    IsAt,
    /// Make a file, whole, unless there is one.
    Publish,
    /// Make the name of what was just published durable.
    PublishSync,
    /// Put a file in place of another.
    Replace,
    /// Append to a file that may have to be made.
    AppendOrCreate,
    /// Rename a file.
    Rename,
    /// Make the new name durable.
    RenameSync,
    /// Remove a file.
    Remove,
    /// Make the names of a directory durable.
    SyncDir,
    /// List a directory.
    List,
    /// Ask for the length of a file.
    Len,
}

impl What {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Open => "open",
            What::Read => "read",
            What::Append => "append to",
            What::Sync => "sync",
            What::IsAt => "examine",
            What::Publish => "publish",
            What::PublishSync => "sync the name of",
            What::Replace => "replace",
            What::AppendOrCreate => "append to or make",
            What::Rename => "rename",
            What::RenameSync => "sync the new name of",
            What::Remove => "remove",
            What::SyncDir => "sync the directory",
            What::List => "list",
            What::Len => "measure",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is carried out.
    Go,
    /// It goes wrong.
    Fault(Fault),
}

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error number and does nothing. A failed sync of a file loses what it was for.
    Error(i32),
    /// It does its work and fails.
    Late(i32),
    /// An append takes at most this many bytes. Other calls go on as if nothing was.
    Short(usize),
    /// The process dies before it.
    Die,
    /// The process dies inside an append. At any other call it dies before it.
    Torn {
        /// As many bytes are there,
        bytes: usize,
        /// and then as many NULs.
        nuls: usize,
    },
}

/// Who decides what becomes of a process's calls: passes them on, lets them fail, kills the process. It may take
/// its time, and let others go first: the call is carried out on the disk as it is then.
pub trait Gate {
    /// Decides. It is not asked any more once the process is dead.
    fn pass(&self, call: &Call<'_>) -> Pass;
}

/// Nothing ever happens to a call.
impl Gate for () {
    fn pass(&self, _call: &Call<'_>) -> Pass {
        Pass::Go
    }
}

impl<G: Gate + ?Sized> Gate for &G {
    fn pass(&self, call: &Call<'_>) -> Pass {
        (**self).pass(call)
    }
}

impl<G: Gate + ?Sized> Gate for Arc<G> {
    fn pass(&self, call: &Call<'_>) -> Pass {
        (**self).pass(call)
    }
}

impl<G: Gate + ?Sized> Gate for Rc<G> {
    fn pass(&self, call: &Call<'_>) -> Pass {
        (**self).pass(call)
    }
}
