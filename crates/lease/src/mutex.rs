//! The store's mutex: it makes writers fast, and nothing depends on it for being right.
//!
//! Two files. `queue` is never removed; callers queue up on its `flock`, in the kernel, and a dead one leaves
//! the queue by dying. `mutex` says who is inside, is published whole or not at all, and outlives a holder
//! that was killed; only the head of the queue ever touches it, so replacing exactly the value that was judged
//! stale is a comparison and a rename.
//!
//! A caller that finds nobody inside tries once without the mutex ([`is_taken`], `docs/adr/0020-direct.md`): queueing up
//! is for those who come at the same time.
//!
//! A stopped process may keep the queue. Whoever has waited for the TTL without seeing the holder change goes
//! on without the mutex: the chain of the journal voids what a sleeper writes later.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use arbiter::evidence::{Liveness, ProcessIdentity};
use journal::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published};
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, Queue};

/// How long a holder may be inside before others go on without it.
pub const TTL_DEFAULT: Duration = Duration::from_secs(10);
/// How long a caller waits for the mutex altogether.
pub const BUDGET_DEFAULT: Duration = Duration::from_secs(30);
/// Bytes that a mutex file may have.
const HOLDER_BYTES_MAX: u64 = 16 << 10;

/// The two times that matter.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// `LEASE_LANE_MUTEX_TTL`.
    pub ttl: Duration,
    /// `LEASE_LANE_MUTEX_BUDGET`.
    pub budget: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { ttl: TTL_DEFAULT, budget: BUDGET_DEFAULT }
    }
}

/// Who is inside, as the mutex file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// A number that no other entry has.
    pub nonce: String,
    /// The owner on whose behalf.
    pub owner: String,
    /// The process.
    pub process: Option<ProcessIdentity>,
    /// Since when, by the wall clock.
    pub since: String,
}

/// Why the mutex could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MutexError {
    /// The budget ran out; nothing was decided.
    #[error("the store `{}` was busy for {} ms{}", path.display(), waited.as_millis(), by(holder.as_deref()))]
    Busy {
        /// The store.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// Who was inside last, where that could be seen.
        holder: Option<Box<Holder>>,
    },
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn by(holder: Option<&Holder>) -> String {
    let Some(holder) = holder else { return String::new() };
    let pid = holder.process.as_ref().map_or_else(|| "?".to_owned(), |process| process.pid.to_string());
    let owner = arbiter::text::shown(&holder.owner, 100);
    let since = arbiter::text::shown(&holder.since, 40);
    format!(": pid {pid} of `{owner}` has been inside since {since}")
}

impl MutexError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            MutexError::Busy { holder, .. } => {
                let process = holder.as_ref().and_then(|holder| holder.process.as_ref());
                let look = process.map_or_else(String::new, |process| {
                    format!("see what it does: ps -fp {}; or ", process.pid)
                });
                Some(format!("{look}wait longer: LEASE_LANE_MUTEX_BUDGET=2m"))
            }
            MutexError::Disk(error) => error.hint(),
        }
    }
}

/// The right to write at full speed. Given back when it is dropped.
#[derive(Debug)]
pub struct Guard<M: Machine> {
    inside: Option<Inside<M>>,
}

#[derive(Debug)]
struct Inside<M: Machine> {
    machine: M,
    /// Our own, with a number that no other has.
    entry: Entry,
    queue: M::Queue,
}

impl<M: Machine> Guard<M> {
    /// Whether this caller goes on without the mutex because a holder did not get on.
    pub fn is_bypass(&self) -> bool {
        self.inside.is_none()
    }
}

impl<M: Machine> Drop for Guard<M> {
    fn drop(&mut self) {
        let Some(Inside { machine, entry, queue }) = self.inside.take() else { return };
        let disk = machine.disk();
        // Only our own entry is removed; what cannot be removed is stale as soon as this process is gone.
        if read_entry(&disk).ok().flatten().is_some_and(|there| there == entry) {
            let _stale_later = disk.remove(&mutex_name());
        }
        drop(queue);
    }
}

fn mutex_name() -> Name {
    Name::new(Dir::Top, "mutex")
}

/// Enters the mutex, waiting in the kernel, at most for the budget.
///
/// # Errors
///
/// [`MutexError::Busy`] when the budget ran out; [`MutexError::Disk`].
pub fn enter<M: Machine>(machine: &M, me: &Holder, patience: Patience) -> Result<Guard<M>, MutexError> {
    let began = machine.uptime();
    let Some(queue) = head_of_queue(machine, patience, began)? else { return Ok(Guard { inside: None }) };
    let disk = machine.disk();
    let entry = Entry(serde_json::to_vec(me).unwrap_or_default());
    let mut seen = Unchanged::default();
    loop {
        if disk.publish(&mutex_name(), &entry.0, Durability::None)? == Published::Created {
            break;
        }
        let Some(there) = read_entry(&disk)? else { continue };
        if there.is_stale(machine) || seen.is_unchanged_for(patience.ttl, Some(&there), machine.uptime()) {
            // We are the head of the queue, so nobody else replaces it between this look and the rename.
            if read_entry(&disk)?.as_ref() == Some(&there) {
                disk.replace(&mutex_name(), &entry.0)?;
                break;
            }
            continue;
        }
        // Somebody alive is inside without being the head of the queue: a file system without `flock`.
        if machine.uptime().saturating_sub(began) >= patience.budget {
            return Err(busy(machine, began, Some(there)));
        }
        machine.pause(Duration::from_millis(20).min(patience.ttl));
    }
    Ok(Guard { inside: Some(Inside { machine: machine.clone(), entry, queue }) })
}

/// Whether somebody is inside, or was killed there.
///
/// # Errors
///
/// [`MutexError::Disk`] when the store cannot be looked at.
pub fn is_taken<D: Disk>(disk: &D) -> Result<bool, MutexError> {
    Ok(disk.len(&mutex_name())?.is_some())
}

/// Who is inside now, for those who are told that the store is busy.
///
/// # Errors
///
/// [`DiskError`] when the mutex file cannot be read.
pub fn read_holder<D: Disk>(disk: &D) -> Result<Option<Holder>, DiskError> {
    Ok(read_entry(disk)?.map(Entry::into_holder))
}

/// Who is inside now, and whether the next caller takes the place at once: whoever took it is provably gone.
///
/// # Errors
///
/// [`DiskError`] when the mutex file cannot be read.
pub fn look<M: Machine>(machine: &M) -> Result<Option<(Holder, bool)>, DiskError> {
    Ok(read_entry(&machine.disk())?.map(|entry| {
        let is_stale = entry.is_stale(machine);
        (entry.into_holder(), is_stale)
    }))
}

/// The mutex file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry(Vec<u8>);

fn read_entry<D: Disk>(disk: &D) -> Result<Option<Entry>, DiskError> {
    let name = mutex_name();
    let Some(file) = disk.open(&name, Access::Read)? else { return Ok(None) };
    match disk.read(&file, &name, 0, HOLDER_BYTES_MAX) {
        Ok(bytes) => Ok(Some(Entry(bytes))),
        // Nobody writes so much: an entry that cannot be read, like any other.
        Err(error) if error.source.kind() == ErrorKind::FileTooLarge => {
            Ok(Some(Entry(error.source.to_string().into_bytes())))
        }
        Err(error) => Err(error),
    }
}

impl Entry {
    fn holder(&self) -> Option<Holder> {
        serde_json::from_slice(&self.0).ok()
    }

    fn into_holder(self) -> Holder {
        self.holder().unwrap_or_else(|| Holder {
            nonce: String::from_utf8_lossy(&self.0).into_owned(),
            owner: "somebody who left no readable entry".into(),
            process: None,
            since: "an unknown time".into(),
        })
    }

    /// Whether whoever made it is provably gone: it may be taken over at once.
    ///
    /// Entries are published whole, so nobody who lives has written one that cannot be read: a power cut took its
    /// bytes, which are not synced, and its writer with them.
    fn is_stale<M: Machine>(&self, machine: &M) -> bool {
        match self.holder() {
            None => true,
            Some(Holder { process: None, .. }) => false,
            Some(Holder { process: Some(process), .. }) => machine.probe(&process).alive == Liveness::No,
        }
    }
}

/// The lock on the queue; `None` when the TTL went by without the holder changing.
fn head_of_queue<M: Machine>(
    machine: &M,
    patience: Patience,
    began: Duration,
) -> Result<Option<M::Queue>, MutexError> {
    let mut queue = machine.queue()?;
    if queue.wait(Duration::ZERO)? {
        return Ok(Some(queue));
    }
    let disk = machine.disk();
    let look_again = (patience.ttl / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let mut seen = Unchanged::default();
    loop {
        let left = patience.budget.saturating_sub(machine.uptime().saturating_sub(began));
        if queue.wait(left.min(look_again))? {
            return Ok(Some(queue));
        }
        let there = read_entry(&disk)?;
        let now = machine.uptime();
        if now.saturating_sub(began) >= patience.budget {
            return Err(busy(machine, began, there));
        }
        if seen.is_unchanged_for(patience.ttl, there.as_ref(), now) {
            return Ok(None);
        }
    }
}

fn busy<M: Machine>(machine: &M, began: Duration, there: Option<Entry>) -> MutexError {
    let waited = machine.uptime().saturating_sub(began);
    MutexError::Busy {
        path: machine.store_path(),
        waited,
        holder: there.map(|there| Box::new(there.into_holder())),
    }
}

/// Since when the same holder has been seen inside. Nobody inside counts as a holder too: a process may have
/// been stopped between the queue and its entry.
#[derive(Debug, Default)]
struct Unchanged {
    seen: Option<(Option<Entry>, Duration)>,
}

impl Unchanged {
    fn is_unchanged_for(&mut self, ttl: Duration, there: Option<&Entry>, now: Duration) -> bool {
        match &self.seen {
            Some((before, since)) if before.as_ref() == there => now.saturating_sub(*since) >= ttl,
            _ => {
                self.seen = Some((there.cloned(), now));
                false
            }
        }
    }
}
