//! One process at a disk.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

use journal::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published};

use super::gate::{Call, Fault, Gate, Pass, What};
use super::memory::{Memory, Open};
use super::{EIO, ENOSPC, MemDisk};

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const EFBIG: i32 = 27;

/// A process's view of a disk, through its gate. A clone is the same process: it dies with it.
///
/// A process that died, by its gate or by a power cut, does nothing any more: each call fails with [`EIO`].
#[derive(Clone, Debug)]
pub struct Seat<G = ()> {
    disk: MemDisk,
    gate: G,
    dead: Arc<AtomicBool>,
    boot: u64,
}

/// A call that may be carried out now.
struct Passed<'a> {
    what: What,
    name: &'a Name,
    memory: MutexGuard<'a, Memory>,
    fault: Option<Fault>,
}

impl<G> Seat<G> {
    pub(super) fn new(disk: &MemDisk, gate: G) -> Seat<G> {
        let boot = disk.memory().boot();
        Seat { disk: disk.clone(), gate, dead: Arc::default(), boot }
    }

    /// The disk.
    pub fn disk(&self) -> &MemDisk {
        &self.disk
    }

    /// The gate.
    pub fn gate(&self) -> &G {
        &self.gate
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed) || self.disk.memory().boot() != self.boot
    }

    /// The process dies.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }
}

impl<G: Gate> Seat<G> {
    fn enter<'a>(&'a self, what: What, name: &'a Name, bytes: usize) -> Result<Passed<'a>, DiskError> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(wrong(what, name, EIO));
        }
        let fault = match self.gate.pass(&Call { what, name, bytes }) {
            Pass::Go => None,
            Pass::Fault(fault) => Some(fault),
        };
        let memory = self.disk.memory();
        // Others may have gone first while the gate decided.
        if memory.boot() != self.boot || self.dead.load(Ordering::Relaxed) {
            return Err(wrong(what, name, EIO));
        }
        let appends = matches!(what, What::Append | What::AppendOrCreate);
        match fault {
            Some(Fault::Error(errno)) if what != What::Sync => return Err(wrong(what, name, errno)),
            Some(Fault::Torn { .. }) if appends => self.die(),
            Some(Fault::Die | Fault::Torn { .. }) => {
                self.die();
                return Err(wrong(what, name, EIO));
            }
            _ => {}
        }
        Ok(Passed { what, name, memory, fault })
    }
}

impl Passed<'_> {
    fn wrong(&self, errno: i32) -> DiskError {
        wrong(self.what, self.name, errno)
    }

    /// How a call ends that has done its work.
    fn end(&self) -> Result<(), DiskError> {
        match self.fault {
            Some(Fault::Late(errno)) => Err(self.wrong(errno)),
            Some(Fault::Torn { .. }) => Err(self.wrong(EIO)),
            _ => Ok(()),
        }
    }

    /// As much of `bytes` as an append takes, and how many NULs come behind it.
    fn part<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], usize) {
        let (most, nuls) = match self.fault {
            Some(Fault::Short(most)) => (most, 0),
            Some(Fault::Torn { bytes, nuls }) => (bytes, nuls),
            _ => (bytes.len(), 0),
        };
        (&bytes[..most.min(bytes.len()).min(self.memory.room())], nuls)
    }

    fn has_room(&self, bytes: &[u8]) -> Result<(), DiskError> {
        if self.memory.room() < bytes.len() { Err(self.wrong(ENOSPC)) } else { Ok(()) }
    }
}

fn wrong(what: What, name: &Name, errno: i32) -> DiskError {
    let source = io::Error::from_raw_os_error(errno);
    DiskError { what: what.as_str(), path: name.to_string().into(), source }
}

impl<G: Gate> Disk for Seat<G> {
    type File = Open;

    fn open(&self, name: &Name, _access: Access) -> Result<Option<Open>, DiskError> {
        let passed = self.enter(What::Open, name, 0)?;
        passed.end()?;
        Ok(passed.memory.open(name))
    }

    fn read(&self, file: &Open, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError> {
        let passed = self.enter(What::Read, name, 0)?;
        passed.end()?;
        let bytes = passed.memory.read(file).ok_or_else(|| passed.wrong(EIO))?;
        let rest = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        if rest.len() as u64 > most {
            return Err(passed.wrong(EFBIG));
        }
        Ok(rest.to_vec())
    }

    fn read_part(&self, file: &Open, name: &Name, from: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let passed = self.enter(What::Read, name, 0)?;
        passed.end()?;
        let bytes = passed.memory.read(file).ok_or_else(|| passed.wrong(EIO))?;
        let rest = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        Ok(rest[..rest.len().min(len)].to_vec())
    }

    fn append(&self, file: &Open, name: &Name, bytes: &[u8]) -> Result<usize, DiskError> {
        let mut passed = self.enter(What::Append, name, bytes.len())?;
        if !bytes.is_empty() && passed.memory.room() == 0 {
            return Err(passed.wrong(ENOSPC));
        }
        let (part, nuls) = passed.part(bytes);
        if !passed.memory.append(file, part, nuls) {
            return Err(passed.wrong(EIO));
        }
        passed.end()?;
        Ok(part.len())
    }

    fn sync(&self, file: &Open, name: &Name) -> Result<(), DiskError> {
        let mut passed = self.enter(What::Sync, name, 0)?;
        let failed = match passed.fault {
            Some(Fault::Error(errno)) => Some(errno),
            _ => None,
        };
        let is_durable = passed.memory.sync(file, failed.is_some());
        match failed {
            Some(errno) => Err(passed.wrong(errno)),
            None if is_durable => passed.end(),
            None => Err(passed.wrong(EIO)),
        }
    }

    fn is_at(&self, file: &Open, name: &Name) -> Result<bool, DiskError> {
        let passed = self.enter(What::IsAt, name, 0)?;
        passed.end()?;
        Ok(passed.memory.is_at(file, name))
    }

    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError> {
        let is_durable = durability == Durability::Synced;
        let mut passed = self.enter(What::Publish, name, bytes.len())?;
        // The file is made aside first, so it needs its room even where there is one of that name.
        passed.has_room(bytes)?;
        let published = if passed.memory.has(name) {
            Published::Exists
        } else {
            passed.memory.make(name, bytes, is_durable);
            Published::Created
        };
        passed.end()?;
        drop(passed);
        if is_durable {
            // Also where there was one: who made it may not have come so far.
            let mut passed = self.enter(What::PublishSync, name, 0)?;
            passed.memory.sync_dir(name.dir);
            passed.end()?;
        }
        Ok(published)
    }

    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        let mut passed = self.enter(What::Replace, name, bytes.len())?;
        passed.has_room(bytes)?;
        passed.memory.make(name, bytes, false);
        passed.end()
    }

    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        let mut passed = self.enter(What::AppendOrCreate, name, bytes.len())?;
        if !passed.memory.has(name) {
            passed.memory.make(name, &[], false);
        }
        let (part, nuls) = passed.part(bytes);
        passed.memory.append_at(name, part, nuls);
        passed.end()?;
        if part.len() < bytes.len() { Err(passed.wrong(ENOSPC)) } else { Ok(()) }
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError> {
        let mut passed = self.enter(What::Rename, from, 0)?;
        if passed.memory.has(to) {
            return Err(passed.wrong(EEXIST));
        }
        if !passed.memory.rename(from, to) {
            return Err(passed.wrong(ENOENT));
        }
        passed.end()?;
        drop(passed);
        let mut passed = self.enter(What::RenameSync, from, 0)?;
        passed.memory.sync_dir(from.dir);
        passed.memory.sync_dir(to.dir);
        passed.end()
    }

    fn remove(&self, name: &Name) -> Result<(), DiskError> {
        let mut passed = self.enter(What::Remove, name, 0)?;
        passed.memory.remove(name);
        passed.end()
    }

    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError> {
        let name = Name::new(dir, "");
        let mut passed = self.enter(What::SyncDir, &name, 0)?;
        passed.memory.sync_dir(dir);
        passed.end()
    }

    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError> {
        let name = Name::new(dir, "");
        let passed = self.enter(What::List, &name, 0)?;
        passed.end()?;
        Ok(passed.memory.list(dir))
    }

    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError> {
        let passed = self.enter(What::Len, name, 0)?;
        passed.end()?;
        Ok(passed.memory.bytes(name).map(|bytes| bytes.len() as u64))
    }

    fn path_of(&self, name: &Name) -> PathBuf {
        name.to_string().into()
    }
}
