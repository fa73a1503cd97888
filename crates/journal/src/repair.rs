//! Going on after damage: only when an operator says so, and never by forgetting a lease.
//!
//! The damaged segment is moved aside first: a writer that is still at it then fails its own check, so what is
//! read from the moved file afterwards is all that was ever acknowledged in it. What can be read before the
//! damage is kept, every grant that can be read behind it is kept, and a lease over everything stands in for
//! what cannot be read, until it is released or expires. Numbers go on above every number that may have been
//! given out.

use arbiter::evidence::ClockReading;
use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::Note;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use serde_json::Map;

use crate::disk::{Access, Dir, Disk, Durability, Name, Published};
use crate::history::{Survey, highest_marked, mark_of, roots, survey};
use crate::line::{self, Crc, Stamp, TOKEN};
use crate::mark::Mark;
use crate::record::{self, Op, Record, Repair};
use crate::segment::{self, SEGMENT_BYTES_MAX, Segment};
use crate::state::State;
use crate::store::{FileStore, Store, Writing};
use crate::{Damage, JournalError};

/// Who holds what stands in for lost records.
pub const REPAIR_OWNER: &str = "lease-lane repair";

/// What a repair would do, or did.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// What happens to the active segment; `None` when only history is damaged.
    pub active: Option<Salvage>,
    /// Damaged segments of the history: they are moved aside and nothing else.
    pub history: Vec<String>,
}

/// What can be saved from a damaged active segment.
#[derive(Clone, Debug)]
pub struct Salvage {
    /// Its root.
    pub root: Seq,
    /// Where the damage begins.
    pub damage: Damage,
    /// The last record before the damage; 0 when not even the root can be read.
    pub last_good: u64,
    /// The highest number that may have been given out.
    pub highest: u64,
    /// Leases that live on, by what was read before the damage.
    pub kept: Vec<Lease>,
    /// Leases that live on because their grant could be read behind the damage.
    pub found: Vec<Lease>,
    /// The policy of the day.
    pub policy: Policy,
    state: State,
}

/// Looks at everything and says what a repair would do; `None` when nothing is damaged.
///
/// # Errors
///
/// [`JournalError::Disk`].
pub fn plan<D: Disk>(disk: &D) -> Result<Option<Plan>, JournalError> {
    let Survey { damage, .. } = survey(disk)?;
    if damage.is_empty() {
        return Ok(None);
    }
    let active = match FileStore::new(disk, Access::Read).load() {
        Ok(_) => None,
        Err(JournalError::Damaged(damage)) => Some(salvage(disk, active_root(disk)?, damage)?),
        Err(error) => return Err(error),
    };
    let active_file = active.as_ref().map(|salvage| segment::name(salvage.root).to_string());
    let mut history: Vec<String> = damage.iter().map(|damage| damage.file.clone()).collect();
    history.retain(|file| Some(file) != active_file.as_ref());
    history.dedup();
    Ok(Some(Plan { damage, active, history }))
}

/// Who repairs, and when.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Who.
    pub owner: OwnerName,
    /// The boot-time clock.
    pub clock: ClockReading,
    /// The time, and a number for the write.
    pub writing: Writing,
}

/// Carries out a repair. Run it again after a crash: it goes on where it was. Returns what was done.
///
/// # Errors
///
/// [`JournalError`].
pub fn repair<D: Disk>(disk: &D, operator: &Operator) -> Result<Option<Plan>, JournalError> {
    let Some(mut plan) = plan(disk)? else { return Ok(None) };
    if let Some(active) = &mut plan.active {
        let moved = move_aside(disk, active)?;
        // Read again what was moved: a writer that was still at it may have added to it until then.
        *active = salvage(disk, active.root, active.damage.clone())?;
        succeed(disk, active, &moved, operator)?;
    }
    for file in &plan.history {
        let Some(root) = file.strip_prefix("journal/").and_then(segment::root_of) else { continue };
        let from = segment::name(root);
        let to = aside_name(root);
        if disk.len(&from)?.is_some() {
            disk.rename(&from, &to)?;
        }
        let damage = plan.damage.iter().find(|damage| damage.file == *file);
        let body = Repair {
            owner: operator.owner.clone(),
            file: file.clone(),
            offset: damage.map_or(0, |damage| damage.offset),
            what: damage.map_or_else(String::new, |damage| damage.what.clone()),
            moved_to: to.to_string(),
            last_good: 0,
            highest: 0,
            holds: Vec::new(),
        };
        let mut store = FileStore::new(disk, Access::Append);
        store.prepare(operator.writing)?;
        store.append_if(operator.writing, &[Op::Repair(Box::new(body))])?;
        store.commit()?;
    }
    Ok(Some(plan))
}

/// The segment that would be active if it were whole.
fn active_root<D: Disk>(disk: &D) -> Result<Seq, JournalError> {
    let highest = roots(disk)?.last().copied();
    let marked = highest_marked(disk)?;
    Ok(highest.max(marked).unwrap_or(Seq::FIRST))
}

fn aside_name(root: Seq) -> Name {
    Name::new(Dir::Damaged, format!("{:020}.jsonl", root.get()))
}

/// Where the first of several repairs puts the segment that follows the damaged one.
fn claim_name(root: Seq) -> Name {
    Name::new(Dir::Damaged, format!("{:020}.successor", root.get()))
}

fn move_aside<D: Disk>(disk: &D, salvage: &Salvage) -> Result<Name, JournalError> {
    let (from, to) = (segment::name(salvage.root), aside_name(salvage.root));
    if disk.len(&from)?.is_some() {
        // So that the store counts as damaged, not as new, if this process dies behind the next line.
        if let Some(highest) = Seq::new(salvage.highest) {
            let mark = Mark { seq: highest, crc: Crc::NONE };
            disk.append_or_create(&segment::mark_name(salvage.root), mark.encode().as_bytes())?;
        }
        disk.rename(&from, &to)?;
    }
    Ok(to)
}

/// The damaged bytes: still in place, or moved aside by an earlier attempt.
fn damaged_bytes<D: Disk>(disk: &D, root: Seq) -> Result<Vec<u8>, JournalError> {
    for name in [segment::name(root), aside_name(root)] {
        if let Some(file) = disk.open(&name, Access::Read)? {
            return Ok(disk.read(&file, &name, 0, SEGMENT_BYTES_MAX)?);
        }
    }
    Ok(Vec::new())
}

fn salvage<D: Disk>(disk: &D, root: Seq, damage: Damage) -> Result<Salvage, JournalError> {
    let bytes = damaged_bytes(disk, root)?;
    let mut state = None;
    let mut last_good = 0;
    // Whatever was read before the reader stopped is good; where it stopped is the damage.
    let _stopped = Segment::read_with(root, &bytes, |event| {
        let mut after = event.before.clone();
        if !event.is_root {
            after.apply(event.record)?;
        }
        state = Some(after);
        last_good = event.record.seq.get();
        Ok(())
    });
    let state = match state {
        Some(state) => state,
        None => state_before(disk, root)?,
    };
    let mut highest = last_good.max(root.get());
    if let Some(mark) = mark_of(disk, root)? {
        highest = highest.max(mark.seq.get());
    }
    let mut found: Vec<Lease> = Vec::new();
    let mut unreadable = 0;
    for (at, _) in memchr::memmem::find_iter(&bytes, TOKEN).map(|at| (at, ())) {
        let rest = &bytes[at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let Some(frame) = line::decode(&rest[..end]) else {
            unreadable += 1;
            continue;
        };
        highest = highest.max(frame.seq.get());
        if frame.seq.get() <= last_good {
            continue;
        }
        let Ok(op) = record::decode(&frame, &rest[..end]) else { continue };
        if let Op::Acquire(_) = &op {
            let mut alone = State::default();
            let record = Record { seq: frame.seq, ts: frame.ts, nonce: frame.nonce, op };
            if alone.apply(&record).is_ok() {
                found.extend(alone.live.iter().cloned());
            }
        }
    }
    let kept: Vec<Lease> = state.live.iter().cloned().collect();
    found.retain(|lease| state.live.get(lease.lease).is_none());
    found.dedup_by_key(|lease| lease.lease);
    let policy = state.policy.clone();
    Ok(Salvage { root, damage, last_good, highest: highest.saturating_add(unreadable), kept, found, policy, state })
}

/// What the segment before the damaged one ended with.
fn state_before<D: Disk>(disk: &D, root: Seq) -> Result<State, JournalError> {
    let Some(before) = roots(disk)?.into_iter().rfind(|&before| before < root) else { return Ok(State::default()) };
    let segment = crate::history::read_segment(disk, before, |_| Ok(()));
    Ok(segment.ok().flatten().map(|segment| segment.state).unwrap_or_default())
}

/// Makes the segment that follows the damaged one. Of several repairs one makes it, the others use it.
fn succeed<D: Disk>(
    disk: &D,
    salvage: &mut Salvage,
    moved: &Name,
    operator: &Operator,
) -> Result<(), JournalError> {
    let claim = claim_name(salvage.root);
    let bytes = successor(salvage, moved, operator)?;
    let bytes = match disk.publish(&claim, &bytes, Durability::Synced)? {
        Published::Created => bytes,
        Published::Exists => match disk.open(&claim, Access::Read)? {
            Some(file) => disk.read(&file, &claim, 0, SEGMENT_BYTES_MAX)?,
            None => bytes,
        },
    };
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let Some(frame) = line::decode(first) else {
        let what = "the successor that a repair left here is not a segment".into();
        return Err(JournalError::Damaged(Damage { file: claim.to_string(), offset: 0, seq: None, what }));
    };
    disk.publish(&segment::name(frame.seq), &bytes, Durability::Synced)?;
    let mark = Mark { seq: frame.seq, crc: frame.crc };
    disk.append_or_create(&segment::mark_name(frame.seq), mark.encode().as_bytes())?;
    FileStore::new(disk, Access::Append).point_at(frame.seq);
    Ok(())
}

fn successor(salvage: &mut Salvage, moved: &Name, operator: &Operator) -> Result<Vec<u8>, JournalError> {
    let root = Seq::new(salvage.highest).and_then(Seq::next).ok_or(JournalError::Full)?;
    let now = operator.writing.ts;
    let mut state = salvage.state.clone();
    for lease in &salvage.found {
        // A lane that lives already is held already.
        let _held = state.admit(lease.clone(), Map::new());
    }
    // Beats may be among what was lost: everybody starts afresh.
    let ids: Vec<LeaseId> = state.live.iter().map(|lease| lease.lease).collect();
    for id in ids {
        state.live.update(id, |lease| {
            lease.heartbeat_at = lease.heartbeat_at.max(now);
            lease.clock = Some(operator.clock.clone());
        });
    }
    let hold = hold_on_everything(root, &state, operator, now);
    let holds = vec![hold.lease];
    let _never_held = state.admit(hold, Map::new());

    let mut checkpoint = state.checkpoint(true);
    checkpoint.repaired_after = Some(salvage.last_good);
    let body = Repair {
        owner: operator.owner.clone(),
        file: salvage.damage.file.clone(),
        offset: salvage.damage.offset,
        what: salvage.damage.what.clone(),
        moved_to: moved.to_string(),
        last_good: salvage.last_good,
        highest: salvage.highest,
        holds,
    };
    let mut bytes = String::new();
    let mut stamp = Stamp { seq: root, ts: now, nonce: operator.writing.nonce, prev: Crc::NONE };
    for op in [Op::Checkpoint(Box::new(checkpoint)), Op::Repair(Box::new(body))] {
        let (name, json) = record::encode(&op);
        let (line, crc) = line::encode(stamp, name, &json);
        bytes.push_str(&line);
        bytes.push('\n');
        stamp.seq = stamp.seq.next().ok_or(JournalError::Full)?;
        stamp.prev = crc;
    }
    Ok(bytes.into_bytes())
}

/// The lease that stands in for what cannot be read. It lives as long as the longest that is known, at least
/// as long as one that says nothing about it.
fn hold_on_everything(root: Seq, state: &State, operator: &Operator, now: Timestamp) -> Lease {
    let longest = state.live.iter().map(|lease| lease.ttl).max().unwrap_or(Span::ZERO);
    let lane = LaneName::new(format!("repair-{root}")).expect("a short name");
    Lease {
        lease: LeaseId::from(root),
        fence: Fence::from(root),
        lane,
        owner: OwnerName::new(REPAIR_OWNER).expect("a short name"),
        tree: Region::everything(),
        read: Region::default(),
        acquired_at: now,
        heartbeat_at: now,
        clock: Some(operator.clock.clone()),
        ttl: longest.max(state.policy.ttl.unwrap_or(Policy::TTL_DEFAULT)),
        processes: Vec::new(),
        halted: None,
        run_id: None,
        why: Note::new("stands in for records that were lost").ok(),
        labels: arbiter::request::Labels::new(),
        request_id: None,
    }
}
