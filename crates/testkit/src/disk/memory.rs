//! What is on a disk, and what of it would survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::disk::{Dir, Name};

use super::Keep;

/// An open file. It goes on naming the same bytes when its name is taken away.
#[derive(Clone, Debug)]
pub struct Open {
    number: u64,
    /// How many failures to write the file back this descriptor has told of, or came after.
    told: Arc<AtomicU64>,
    /// Never read: the file knows by it that it is open.
    _held: Arc<()>,
}

impl Open {
    /// Which file of the disk it is: no other ever has this number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
    /// What failed syncs were for: it can be read and will not survive.
    lost: Vec<Range<usize>>,
    /// How often a sync has failed.
    failures: u64,
    held: Arc<()>,
    /// The hash of all of the above, as long as nothing of it changes.
    hash: Option<u64>,
}

impl Inode {
    fn new(bytes: &[u8], synced: bool) -> Inode {
        let synced = if synced { bytes.len() } else { 0 };
        Inode { bytes: bytes.to_vec(), synced, ..Inode::default() }
    }

    fn is_open(&self) -> bool {
        Arc::strong_count(&self.held) > 1
    }

    fn copy(&self) -> Inode {
        let Inode { bytes, synced, lost, failures, hash, .. } = self;
        Inode {
            bytes: bytes.clone(),
            synced: *synced,
            lost: lost.clone(),
            failures: *failures,
            hash: *hash,
            held: Arc::default(),
        }
    }

    fn append(&mut self, bytes: &[u8], nuls: usize) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len() + nuls, 0);
        self.hash = None;
    }

    fn sync(&mut self, fails: bool) {
        let unsynced = self.synced..self.bytes.len();
        if fails && !unsynced.is_empty() {
            self.lost.push(unsynced);
        }
        self.failures += u64::from(fails);
        self.synced = self.bytes.len();
        self.hash = None;
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.bytes);
        self.synced = self.bytes.len();
        self.lost.clear();
        self.hash = None;
    }

    fn cut_power(&mut self, keep: &mut Keep<'_>) {
        let unsynced = self.bytes.len() - self.synced;
        let (kept, nuls) = match keep {
            Keep::Nothing => (0, 0),
            Keep::All => (unsynced, 0),
            Keep::Some(rng) => {
                let kept = rng.below(unsynced + 1);
                (kept, if rng.one_in(3) { rng.below(unsynced - kept + 1) } else { 0 })
            }
        };
        for range in std::mem::take(&mut self.lost) {
            self.bytes[range].fill(0);
        }
        self.bytes.truncate(self.synced + kept);
        self.bytes.resize(self.synced + kept + nuls, 0);
        self.synced = self.bytes.len();
        self.held = Arc::default();
        self.hash = None;
    }

    fn hash(&mut self) -> u64 {
        let Inode { bytes, synced, lost, failures, hash, .. } = self;
        *hash.get_or_insert_with(|| {
            let mut said = Hash::new();
            said.bytes(bytes);
            said.number(*synced as u64);
            said.number(*failures);
            for range in lost {
                said.number(range.start as u64);
                said.number(range.end as u64);
            }
            said.0
        })
    }
}

type Names = BTreeMap<Name, u64>;

/// A change of names that is whole or not there: which file each of them names from then on.
#[derive(Clone, Debug)]
struct Change(Vec<(Name, Option<u64>)>);

impl Change {
    fn is_in(&self, dir: Dir) -> bool {
        self.0.iter().any(|(name, _)| name.dir == dir)
    }

    fn apply(&self, names: &mut Names) {
        for (name, file) in &self.0 {
            match file {
                Some(number) => names.insert(name.clone(), *number),
                None => names.remove(name),
            };
        }
    }
}

/// What is on a disk.
#[derive(Debug, Default)]
pub(super) struct Memory {
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    /// The names that survive whatever happens.
    durable: Names,
    /// What became of them since, in order: the first of these survive, however many.
    changes: Vec<Change>,
    made: u64,
    limit: Option<u64>,
    version: u64,
    boot: u64,
}

impl Memory {
    pub(super) fn copy(&self) -> Memory {
        let Memory { inodes, names, durable, changes, made, limit, version, boot } = self;
        Memory {
            inodes: inodes.iter().map(|(number, inode)| (*number, inode.copy())).collect(),
            names: names.clone(),
            durable: durable.clone(),
            changes: changes.clone(),
            made: *made,
            limit: *limit,
            version: *version,
            boot: *boot,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How often the power has failed.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn limit(&mut self, bytes: Option<u64>) {
        self.limit = bytes;
        self.version += 1;
    }

    /// Bytes that may still be written.
    pub(super) fn room(&self) -> usize {
        let Some(limit) = self.limit else { return usize::MAX };
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        let counts = |(number, inode): &(&u64, &Inode)| named.contains(*number) || inode.is_open();
        let used: usize = self.inodes.iter().filter(counts).map(|(_, inode)| inode.bytes.len()).sum();
        usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(used)
    }

    pub(super) fn has(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn bytes(&self, name: &Name) -> Option<&[u8]> {
        self.names.get(name).map(|number| &*self.inodes[number].bytes)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Name, &[u8])> {
        self.names.iter().map(|(name, number)| (name, &*self.inodes[number].bytes))
    }

    pub(super) fn list(&self, dir: Dir) -> Vec<String> {
        self.names.keys().filter(|name| name.dir == dir).map(|name| name.file.clone()).collect()
    }

    pub(super) fn open(&self, name: &Name) -> Option<Open> {
        let number = *self.names.get(name)?;
        let inode = &self.inodes[&number];
        let told = Arc::new(AtomicU64::new(inode.failures));
        Some(Open { number, told, _held: Arc::clone(&inode.held) })
    }

    pub(super) fn is_at(&self, file: &Open, name: &Name) -> bool {
        self.names.get(name) == Some(&file.number)
    }

    /// `None` for a file of another disk.
    pub(super) fn read(&self, file: &Open) -> Option<&[u8]> {
        self.inodes.get(&file.number).map(|inode| &*inode.bytes)
    }

    /// `false` for a file of another disk.
    pub(super) fn append(&mut self, file: &Open, bytes: &[u8], nuls: usize) -> bool {
        let Some(inode) = self.inodes.get_mut(&file.number) else { return false };
        inode.append(bytes, nuls);
        self.version += 1;
        true
    }

    pub(super) fn append_at(&mut self, name: &Name, bytes: &[u8], nuls: usize) {
        self.at(name).append(bytes, nuls);
    }

    /// `false` for a file of another disk, and when a sync has failed that this descriptor has not told of yet: this
    /// one's own, or another's since it was opened.
    pub(super) fn sync(&mut self, file: &Open, fails: bool) -> bool {
        let Some(inode) = self.inodes.get_mut(&file.number) else { return false };
        inode.sync(fails);
        self.version += 1;
        file.told.swap(inode.failures, Ordering::Relaxed) == inode.failures
    }

    /// Makes a file under a name, whatever had it.
    pub(super) fn make(&mut self, name: &Name, bytes: &[u8], synced: bool) {
        self.made += 1;
        self.inodes.insert(self.made, Inode::new(bytes, synced));
        self.change_names(vec![(name.clone(), Some(self.made))]);
    }

    /// `false` when there is no such file.
    pub(super) fn rename(&mut self, from: &Name, to: &Name) -> bool {
        let Some(&number) = self.names.get(from) else { return false };
        self.change_names(vec![(from.clone(), None), (to.clone(), Some(number))]);
        true
    }

    pub(super) fn remove(&mut self, name: &Name) {
        if self.names.contains_key(name) {
            self.change_names(vec![(name.clone(), None)]);
        }
    }

    pub(super) fn sync_dir(&mut self, dir: Dir) {
        let Some(last) = self.changes.iter().rposition(|change| change.is_in(dir)) else { return };
        for change in self.changes.drain(..=last) {
            change.apply(&mut self.durable);
        }
        self.version += 1;
        self.forget();
    }

    pub(super) fn put(&mut self, name: &Name, bytes: &[u8]) {
        self.make(name, bytes, true);
        self.sync_names();
    }

    pub(super) fn take(&mut self, name: &Name) {
        self.remove(name);
        self.sync_names();
    }

    pub(super) fn change(&mut self, name: &Name, change: impl FnOnce(&mut Vec<u8>)) {
        self.at(name).change(change);
    }

    pub(super) fn cut_power(&mut self, mut keep: Keep<'_>) {
        let survive = match &mut keep {
            Keep::Nothing => 0,
            Keep::All => self.changes.len(),
            Keep::Some(rng) => rng.below(self.changes.len() + 1),
        };
        for change in self.changes.drain(..).take(survive) {
            change.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
        for inode in self.inodes.values_mut() {
            inode.cut_power(&mut keep);
        }
        self.version += 1;
        self.boot += 1;
        self.forget();
    }

    pub(super) fn fingerprint(&mut self) -> u64 {
        let mut said = Hash::new();
        // A file is told in full where it is first come to, and by the number of that place from then on.
        let mut known: BTreeMap<u64, u64> = BTreeMap::new();
        let Memory { inodes, names, durable, changes, limit, .. } = self;
        let mut file = |said: &mut Hash, number: u64| {
            let next = known.len() as u64;
            let here = *known.entry(number).or_insert(next);
            said.number(here);
            if here == next {
                said.number(inodes.get_mut(&number).expect("a name has a file").hash());
            }
        };
        for names in [names, durable] {
            said.number(names.len() as u64);
            for (name, number) in names {
                said.name(name);
                file(&mut said, *number);
            }
        }
        for Change(sets) in changes {
            said.number(sets.len() as u64);
            for (name, number) in sets {
                said.name(name);
                match number {
                    Some(number) => file(&mut said, *number),
                    None => said.number(u64::MAX),
                }
            }
        }
        said.number(limit.map_or(0, |limit| limit.wrapping_add(1)));
        for (number, inode) in inodes {
            if !known.contains_key(number) && inode.is_open() {
                said.number(inode.hash());
            }
        }
        said.0
    }

    fn at(&mut self, name: &Name) -> &mut Inode {
        self.version += 1;
        let number = self.names.get(name).unwrap_or_else(|| panic!("there is no `{name}`"));
        self.inodes.get_mut(number).expect("a name has a file")
    }

    fn change_names(&mut self, sets: Vec<(Name, Option<u64>)>) {
        let change = Change(sets);
        change.apply(&mut self.names);
        self.changes.push(change);
        self.version += 1;
    }

    fn sync_names(&mut self) {
        self.changes.clear();
        self.durable = self.names.clone();
        self.version += 1;
        self.forget();
    }

    /// Lets go of files that nobody can come to any more.
    fn forget(&mut self) {
        let changed = self.changes.iter().flat_map(|Change(sets)| sets.iter().filter_map(|(_, file)| *file));
        let named = self.names.values().chain(self.durable.values()).copied();
        let reached: BTreeSet<u64> = named.chain(changed).collect();
        self.inodes.retain(|number, inode| reached.contains(number) || inode.is_open());
    }
}

/// A hash that is the same in every run, and fast on long texts. Not meant against anybody's malice.
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0x9e37_79b9_7f4a_7c15)
    }

    fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.0 = (mixed ^ (mixed >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(29);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    fn name(&mut self, name: &Name) {
        self.number(name.dir as u64);
        self.bytes(name.file.as_bytes());
    }
}
