//! A disk in memory, honest about what a real one may do.
//!
//! What it models, no more:
//!
//! - Appended bytes are lost at a power cut from some point on unless the file was synced; a lost end may come
//!   back as NULs. A failed sync drops the bytes it was for, and the next one succeeds without bringing them back.
//!   Each descriptor that was open then is told once: its next sync fails too (`errseq_t` of Linux 4.13 and later).
//! - Names that were not synced are lost from the latest on (file systems journal them in order). A sync of a
//!   directory keeps the names in it, and every change of any name that was made before the last one in it.
//! - What is published is whole or not there. It is there before its name is durable: between the two others see
//!   and use it, and the process may sleep, fail or die. Likewise for a rename.
//! - A disk may be full: see [`MemDisk::limit`].
//!
//! A [`MemDisk`] is the machine's disk, a [`Seat`] one process's way to it, and a [`Gate`] decides what becomes of
//! each call of a process: that is where a test stops, kills or overtakes it.

mod gate;
mod memory;
mod seat;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use journal::disk::{Dir, Name};

pub use gate::{Call, Fault, Gate, Pass, What};
use memory::Memory;
pub use memory::Open;
pub use seat::Seat;

use crate::rng::Rng;

/// The error number of a full disk.
pub const ENOSPC: i32 = 28;
/// The error number of a disk that fails, and of every call of a process that is dead.
pub const EIO: i32 = 5;

/// What survives a power cut of what was not synced.
#[derive(Debug)]
pub enum Keep<'a> {
    /// Nothing of it.
    Nothing,
    /// All of it.
    All,
    /// Some, by chance.
    Some(&'a mut Rng),
}

/// A disk. A clone is another handle to the same one; [`MemDisk::copy`] is another disk.
#[derive(Clone)]
pub struct MemDisk {
    memory: Arc<Mutex<Memory>>,
}

impl Default for MemDisk {
    fn default() -> MemDisk {
        MemDisk::new()
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemDisk")
    }
}

impl MemDisk {
    /// An empty disk without a limit.
    pub fn new() -> MemDisk {
        MemDisk::of(Memory::default())
    }

    fn of(memory: Memory) -> MemDisk {
        MemDisk { memory: Arc::new(Mutex::new(memory)) }
    }

    /// A process at this disk, each of whose calls goes through `gate`.
    pub fn seat<G: Gate>(&self, gate: G) -> Seat<G> {
        Seat::new(self, gate)
    }

    /// A process at this disk to whose calls nothing happens.
    pub fn process(&self) -> Seat {
        self.seat(())
    }

    /// The same disk, copied: what happens here does not happen there. Nobody has a file of the copy open.
    #[must_use]
    pub fn copy(&self) -> MemDisk {
        MemDisk::of(self.memory().copy())
    }

    /// The power fails and comes back, on this disk. Every process of before is dead.
    pub fn cut_power(&self, keep: Keep<'_>) {
        self.memory().cut_power(keep);
    }

    /// A copy of the disk as it is after a power cut.
    #[must_use]
    pub fn power_cut(&self, keep: Keep<'_>) -> MemDisk {
        let after = self.copy();
        after.cut_power(keep);
        after
    }

    /// From now on the disk holds at most so many bytes, in all files that have a name or are open.
    ///
    /// An append that has no room for all is short, and fails when there is room for nothing. A file that has
    /// no room is not published.
    pub fn limit(&self, bytes: Option<u64>) {
        self.memory().limit(bytes);
    }

    /// A number that goes up with every change of the disk, syncs included.
    pub fn version(&self) -> u64 {
        self.memory().version()
    }

    /// A hash of all that the future of this disk depends on: names, bytes, what of them is durable, what was lost,
    /// which changes of names are not durable yet, and the limit. The same for two disks that differ only in the
    /// numbers of their inodes.
    ///
    /// A file without a name counts while it is open. Several of them count in the order in which they were made,
    /// so two disks that differ in nothing but this order have different fingerprints. Who has which file open is
    /// not the disk's to know.
    pub fn fingerprint(&self) -> u64 {
        self.memory().fingerprint()
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &Name) -> Option<Vec<u8>> {
        self.memory().bytes(name).map(<[u8]>::to_vec)
    }

    /// Puts a file there, whatever was there, and makes all names durable: a hand from outside.
    pub fn put(&self, name: &Name, bytes: &[u8]) {
        self.memory().put(name, bytes);
    }

    /// Changes the bytes of a file that stays the same file.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub fn overwrite(&self, name: &Name, bytes: &[u8]) {
        self.memory().change(name, |there| *there = bytes.to_vec());
    }

    /// Flips one bit of a file that stays the same file: rot. Bit 0 is the lowest of the first byte.
    ///
    /// # Panics
    ///
    /// When there is no such file, or no such bit in it.
    pub fn flip(&self, name: &Name, bit: usize) {
        self.memory().change(name, |there| there[bit / 8] ^= 1 << (bit % 8));
    }

    /// Takes a file away and makes all names durable: a hand from outside.
    pub fn take(&self, name: &Name) {
        self.memory().take(name);
    }

    /// Appends to a file as a process would that is not tested.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub fn add(&self, name: &Name, bytes: &[u8]) {
        self.memory().append_at(name, bytes, 0);
    }

    /// The files of a directory, sorted.
    pub fn files(&self, dir: Dir) -> Vec<String> {
        self.memory().list(dir)
    }

    /// Every file with its bytes.
    pub fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        self.memory().files().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nobody panics while it holds the disk")
    }
}
