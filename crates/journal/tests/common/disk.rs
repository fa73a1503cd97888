//! A disk in memory, honest about what a real one may do.
//!
//! What it models, no more: appended bytes are lost at a power cut from some point on unless the file was
//! synced; a lost end may come back as NULs; names that were not synced are lost from the latest on (file
//! systems journal them in order); a failed sync drops the bytes it was for, and the next one succeeds
//! without bringing them back. What is published is whole or not there.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use journal::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published};

use super::Rng;
use super::turns::Turns;

/// What goes wrong at a call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It fails and does nothing. A failed sync loses what it was for.
    Error(i32),
    /// It does its work and fails.
    Late(i32),
    /// An append takes this many bytes.
    Short(usize),
    /// The process dies before it.
    Die,
    /// The process dies inside an append: this many bytes, then this many NULs.
    Torn(usize, usize),
}

pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EIO: i32 = 5;
const EFBIG: i32 = 27;

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
    lost: Vec<Range<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<Name, u64>,
    /// The names as they were after each change since the last sync of a directory; the first is durable.
    pasts: Vec<BTreeMap<Name, u64>>,
    made: u64,
}

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Process {
    calls: Vec<String>,
    faults: Vec<(usize, Fault)>,
    hooks: Vec<(usize, Hook)>,
    dead: bool,
    turns: Option<(Arc<Turns>, usize)>,
}

/// A process's view of a disk. [`MemDisk::process`] is another process on the same one.
#[derive(Clone)]
pub(crate) struct MemDisk {
    shared: Arc<Mutex<Inner>>,
    process: Arc<Mutex<Process>>,
}

impl std::fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemDisk")
    }
}

/// What survives a power cut of what was not synced.
pub(crate) enum Keep<'a> {
    Nothing,
    All,
    Some(&'a mut Rng),
}

impl MemDisk {
    pub(crate) fn new() -> MemDisk {
        MemDisk::on(Inner { pasts: vec![BTreeMap::new()], ..Inner::default() })
    }

    fn on(inner: Inner) -> MemDisk {
        MemDisk { shared: Arc::new(Mutex::new(inner)), process: Arc::default() }
    }

    /// Another process on the same disk.
    pub(crate) fn process(&self) -> MemDisk {
        MemDisk { shared: Arc::clone(&self.shared), process: Arc::default() }
    }

    /// The same disk, copied: what happens here does not happen there.
    pub(crate) fn copy(&self) -> MemDisk {
        MemDisk::on(self.inner().clone())
    }

    /// The `nth` call from now on (0 is the next) meets `fault`.
    pub(crate) fn fault_at(&self, nth: usize, fault: Fault) {
        let mut process = self.me();
        let at = process.calls.len() + nth;
        process.faults.push((at, fault));
    }

    /// Before the `nth` call from now on something else happens.
    pub(crate) fn before(&self, nth: usize, hook: impl FnOnce() + Send + 'static) {
        let mut process = self.me();
        let at = process.calls.len() + nth;
        process.hooks.push((at, Box::new(hook)));
    }

    /// Every call waits for its turn.
    pub(crate) fn takes_turns(&self, turns: &Arc<Turns>, number: usize) {
        self.me().turns = Some((Arc::clone(turns), number));
    }

    pub(crate) fn calls(&self) -> usize {
        self.me().calls.len()
    }

    /// What this process asked of the disk, in words.
    pub(crate) fn log(&self) -> Vec<String> {
        self.me().calls.clone()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.me().dead
    }

    /// The disk after a power cut.
    pub(crate) fn power_cut(&self, mut keep: Keep<'_>) -> MemDisk {
        let mut inner = self.inner().clone();
        let past = match &mut keep {
            Keep::Nothing => 0,
            Keep::All => inner.pasts.len() - 1,
            Keep::Some(rng) => rng.below(inner.pasts.len()),
        };
        inner.names = inner.pasts.swap_remove(past);
        inner.pasts = vec![inner.names.clone()];
        for inode in inner.inodes.values_mut() {
            let unsynced = inode.bytes.len() - inode.synced.min(inode.bytes.len());
            let (kept, nuls) = match &mut keep {
                Keep::Nothing => (0, 0),
                Keep::All => (unsynced, 0),
                Keep::Some(rng) => {
                    let kept = rng.below(unsynced + 1);
                    (kept, if rng.one_in(3) { rng.below(unsynced - kept + 1) } else { 0 })
                }
            };
            for range in std::mem::take(&mut inode.lost) {
                inode.bytes[range].fill(0);
            }
            inode.bytes.truncate(inode.synced + kept);
            inode.bytes.resize(inode.synced + kept + nuls, 0);
            inode.synced = inode.bytes.len();
        }
        MemDisk::on(inner)
    }

    pub(crate) fn bytes(&self, name: &Name) -> Option<Vec<u8>> {
        let inner = self.inner();
        let inode = inner.names.get(name)?;
        Some(inner.inodes[inode].bytes.clone())
    }

    /// Puts a file there, whatever was there: a hand from outside.
    pub(crate) fn put(&self, name: &Name, bytes: &[u8]) {
        self.inner().make(name, bytes, true);
        self.inner().sync_names();
    }

    /// Changes the bytes of a file that stays the same file: rot.
    pub(crate) fn overwrite(&self, name: &Name, bytes: &[u8]) {
        let mut inner = self.inner();
        let number = inner.names[name];
        let inode = inner.inodes.get_mut(&number).expect("a name has a file");
        inode.bytes = bytes.to_vec();
        inode.synced = bytes.len();
    }

    /// Takes a file away: a hand from outside.
    pub(crate) fn take(&self, name: &Name) {
        let mut inner = self.inner();
        inner.names.remove(name);
        inner.sync_names();
    }

    /// Adds to a file as a process would that is not tested.
    pub(crate) fn add(&self, name: &Name, bytes: &[u8]) {
        let mut inner = self.inner();
        let number = inner.names[name];
        inner.inodes.get_mut(&number).expect("a name has a file").bytes.extend_from_slice(bytes);
    }

    pub(crate) fn files(&self, dir: Dir) -> Vec<String> {
        self.inner().names.keys().filter(|name| name.dir == dir).map(|name| name.file.clone()).collect()
    }

    /// Every file with its bytes.
    pub(crate) fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.inner();
        inner
            .names
            .iter()
            .map(|(name, inode)| (name.to_string(), inner.inodes[inode].bytes.clone()))
            .collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock().expect("no test panics while it holds the disk")
    }

    fn me(&self) -> MutexGuard<'_, Process> {
        self.process.lock().expect("no test panics while it holds a process")
    }

    fn step(&self, what: &'static str, name: &Name) -> Result<Option<Fault>, DiskError> {
        let turns = self.me().turns.clone();
        if let Some((turns, number)) = turns {
            turns.wait(number);
        }
        let hooks = {
            let mut process = self.me();
            let at = process.calls.len();
            process.calls.push(format!("{what} {name}"));
            let (due, later) = std::mem::take(&mut process.hooks).into_iter().partition(|(n, _)| *n == at);
            process.hooks = later;
            let due: Vec<(usize, Hook)> = due;
            due
        };
        for (_, hook) in hooks {
            hook();
        }
        let mut process = self.me();
        if process.dead {
            return Err(wrong("go on with", name, EIO));
        }
        let at = process.calls.len() - 1;
        let fault = process.faults.iter().find(|(n, _)| *n == at).map(|(_, fault)| fault.clone());
        match fault {
            Some(Fault::Die) => {
                process.dead = true;
                Err(wrong(what, name, EIO))
            }
            Some(Fault::Error(errno)) if what != "sync" => Err(wrong(what, name, errno)),
            fault => Ok(fault),
        }
    }

    fn late(fault: Option<&Fault>, what: &'static str, name: &Name) -> Result<(), DiskError> {
        match fault {
            Some(Fault::Late(errno)) => Err(wrong(what, name, *errno)),
            _ => Ok(()),
        }
    }
}

impl Inner {
    fn make(&mut self, name: &Name, bytes: &[u8], synced: bool) {
        self.made += 1;
        let synced = if synced { bytes.len() } else { 0 };
        self.inodes.insert(self.made, Inode { bytes: bytes.to_vec(), synced, lost: Vec::new() });
        self.names.insert(name.clone(), self.made);
        self.pasts.push(self.names.clone());
    }

    fn sync_names(&mut self) {
        self.pasts = vec![self.names.clone()];
    }
}

fn wrong(what: &'static str, name: &Name, errno: i32) -> DiskError {
    DiskError { what, path: name.to_string().into(), source: io::Error::from_raw_os_error(errno) }
}

impl Disk for MemDisk {
    type File = u64;

    fn open(&self, name: &Name, _access: Access) -> Result<Option<u64>, DiskError> {
        self.step("open", name)?;
        Ok(self.inner().names.get(name).copied())
    }

    fn read(&self, file: &u64, name: &Name, from: u64, most: u64) -> Result<Vec<u8>, DiskError> {
        self.step("read", name)?;
        let inner = self.inner();
        let bytes = &inner.inodes[file].bytes;
        let rest = bytes.get(usize::try_from(from).expect("small")..).unwrap_or_default();
        if rest.len() as u64 > most {
            return Err(wrong("read", name, EFBIG));
        }
        Ok(rest.to_vec())
    }

    fn append(&self, file: &u64, name: &Name, bytes: &[u8]) -> Result<usize, DiskError> {
        let fault = self.step("append", name)?;
        let mut inner = self.inner();
        let there = &mut inner.inodes.get_mut(file).expect("an open file").bytes;
        match fault {
            Some(Fault::Short(most)) => {
                let taken = most.min(bytes.len());
                there.extend_from_slice(&bytes[..taken]);
                return Ok(taken);
            }
            Some(Fault::Torn(most, nuls)) => {
                there.extend_from_slice(&bytes[..most.min(bytes.len())]);
                there.resize(there.len() + nuls, 0);
                self.me().dead = true;
                return Err(wrong("append", name, EIO));
            }
            _ => there.extend_from_slice(bytes),
        }
        MemDisk::late(fault.as_ref(), "append", name)?;
        Ok(bytes.len())
    }

    fn sync(&self, file: &u64, name: &Name) -> Result<(), DiskError> {
        let fault = self.step("sync", name)?;
        let mut inner = self.inner();
        let inode = inner.inodes.get_mut(file).expect("an open file");
        let unsynced = inode.synced..inode.bytes.len();
        inode.synced = inode.bytes.len();
        match fault {
            Some(Fault::Error(errno)) => {
                inode.lost.push(unsynced);
                Err(wrong("sync", name, errno))
            }
            fault => MemDisk::late(fault.as_ref(), "sync", name),
        }
    }

    fn is_at(&self, file: &u64, name: &Name) -> Result<bool, DiskError> {
        self.step("is_at", name)?;
        Ok(self.inner().names.get(name) == Some(file))
    }

    fn publish(&self, name: &Name, bytes: &[u8], durability: Durability) -> Result<Published, DiskError> {
        let fault = self.step("publish", name)?;
        let mut inner = self.inner();
        let synced = durability == Durability::Synced;
        let published = if inner.names.contains_key(name) {
            Published::Exists
        } else {
            inner.make(name, bytes, synced);
            Published::Created
        };
        MemDisk::late(fault.as_ref(), "publish", name)?;
        if synced {
            inner.sync_names();
        }
        Ok(published)
    }

    fn replace(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        let fault = self.step("replace", name)?;
        self.inner().make(name, bytes, false);
        MemDisk::late(fault.as_ref(), "replace", name)
    }

    fn append_or_create(&self, name: &Name, bytes: &[u8]) -> Result<(), DiskError> {
        let fault = self.step("append_or_create", name)?;
        let mut inner = self.inner();
        let (taken, dies) = match fault {
            Some(Fault::Short(most)) => (most.min(bytes.len()), false),
            Some(Fault::Torn(most, _)) => (most.min(bytes.len()), true),
            _ => (bytes.len(), false),
        };
        match inner.names.get(name).copied() {
            Some(number) => {
                let inode = inner.inodes.get_mut(&number).expect("a name has a file");
                inode.bytes.extend_from_slice(&bytes[..taken]);
            }
            None => inner.make(name, &bytes[..taken], false),
        }
        self.me().dead |= dies;
        if taken < bytes.len() {
            return Err(wrong("append to", name, ENOSPC));
        }
        MemDisk::late(fault.as_ref(), "append to", name)
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), DiskError> {
        let fault = self.step("rename", from)?;
        let mut inner = self.inner();
        if inner.names.contains_key(to) {
            return Err(wrong("rename", from, 17));
        }
        let Some(number) = inner.names.remove(from) else { return Err(wrong("rename", from, 2)) };
        inner.names.insert(to.clone(), number);
        let names = inner.names.clone();
        inner.pasts.push(names);
        MemDisk::late(fault.as_ref(), "rename", from)?;
        inner.sync_names();
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), DiskError> {
        let fault = self.step("remove", name)?;
        let mut inner = self.inner();
        if inner.names.remove(name).is_some() {
            let names = inner.names.clone();
            inner.pasts.push(names);
        }
        MemDisk::late(fault.as_ref(), "remove", name)
    }

    fn sync_dir(&self, dir: Dir) -> Result<(), DiskError> {
        let name = Name::new(dir, "");
        let fault = self.step("sync_dir", &name)?;
        MemDisk::late(fault.as_ref(), "sync_dir", &name)?;
        self.inner().sync_names();
        Ok(())
    }

    fn list(&self, dir: Dir) -> Result<Vec<String>, DiskError> {
        self.step("list", &Name::new(dir, ""))?;
        Ok(self.files(dir))
    }

    fn len(&self, name: &Name) -> Result<Option<u64>, DiskError> {
        self.step("len", name)?;
        Ok(self.bytes(name).map(|bytes| bytes.len() as u64))
    }
}
