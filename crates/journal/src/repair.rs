//! Going on after damage: only when an operator says so, and never by forgetting a lease.
//!
//! The damaged segment is moved aside first: a writer that is still at it then fails its own check, so what is
//! read from the moved file afterwards is all that was ever acknowledged in it. What can be read before the
//! damage is kept, and so is what is proven to have happened behind it. A lease over everything stands in for
//! the rest, until it is released or expires. Numbers go on above every number that may have been given out.

use std::collections::HashMap;
use std::io::ErrorKind;

use arbiter::evidence::ClockReading;
use arbiter::exclusion::ended_before;
use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::queue::WaitQueue;
use arbiter::region::Region;
use arbiter::request::Note;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use serde_json::Map;

use crate::disk::{Access, Dir, Disk, Durability, Name, Published};
use crate::history::{Survey, mark_of, roots, survey, survey_and_repairs};
use crate::line::{self, Crc, Frame, RECORD_BYTES_MIN, Stamp, TOKEN};
use crate::mark::Mark;
use crate::record::{self, Op, Record, Repair};
use crate::scan::leading_record;
use crate::segment::{self, SEGMENT_BYTES_MAX, Segment};
use crate::state::{State, attach, lease_of};
use crate::store::{Appended, FileStore, Store, Writing};
use crate::{Damage, DamageClass, JournalError};

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
    /// Leases that live on because their grant is proven to have happened behind the damage.
    pub found: Vec<Lease>,
    state: State,
    last_ts: Option<Timestamp>,
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
    let mut store = FileStore::new(disk, Access::Read);
    let active = match store.load() {
        Ok(_) => None,
        Err(JournalError::Damaged(damage)) => Some(salvage(disk, root_of_damage(&damage)?, damage)?),
        Err(error) => return Err(error),
    };
    if let Some(segment) = store.segment()
        && segment::is_newer(&segment.format)
    {
        return Err(JournalError::Newer { found: segment.format.clone(), ours: record::FORMAT.into() });
    }
    let active_file = active.as_ref().map(|salvage| segment::name(salvage.root).to_string());
    let mut history: Vec<String> = Vec::new();
    for Damage { file, .. } in &damage {
        if Some(file) != active_file.as_ref() && !history.contains(file) {
            history.push(file.clone());
        }
    }
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
    if let Some(mut active) = plan.active.take() {
        // Nothing is moved where there is no number for what would take its place.
        successor_root(&active)?;
        let moved = move_aside(disk, &active)?;
        if roots(disk)?.last().is_some_and(|&last| last > active.root) {
            // Somebody was faster: it has a successor already, so it is history by now.
            plan.history.insert(0, active.damage.file);
        } else {
            // Read again what was moved: a writer that was still at it may have added to it until then.
            active = salvage(disk, active.root, active.damage)?;
            succeed(disk, &mut active, &moved, operator)?;
            plan.active = Some(active);
        }
    }
    for file in &plan.history {
        let Some(root) = file.strip_prefix("journal/").and_then(segment::root_of) else { continue };
        put_on_record(disk, root, plan.damage.iter().find(|damage| damage.file == *file), operator)?;
        let from = segment::name(root);
        if disk.len(&from)?.is_some() {
            set_aside(disk, root)?;
        }
    }
    Ok(Some(plan))
}

/// Writes down that a part of the history is lost, unless that is on record.
fn put_on_record<D: Disk>(
    disk: &D,
    root: Seq,
    damage: Option<&Damage>,
    operator: &Operator,
) -> Result<(), JournalError> {
    let body = Repair {
        owner: operator.owner.clone(),
        file: segment::name(root).to_string(),
        offset: damage.map_or(0, |damage| damage.offset),
        what: damage.map_or_else(String::new, |damage| damage.what.clone()),
        moved_to: aside_name(root, 1).to_string(),
        last_good: 0,
        highest: 0,
        holds: Vec::new(),
    };
    let mut store = FileStore::new(disk, Access::Append);
    loop {
        store.prepare(operator.writing)?;
        // Asked after loading: who repairs at the same time was seen here or makes this append a conflict.
        let (_, on_record) = survey_and_repairs(disk)?;
        if on_record.contains(&body.file) {
            return Ok(());
        }
        let op = Op::Repair(Box::new(body.clone()));
        if store.append_if(operator.writing, &[op])? != Appended::Conflict {
            store.commit()?;
            return Ok(());
        }
    }
}

/// The segment that a damage is of. Never asked of the directory: since the damage was seen, another repair may
/// have put a sound successor there.
fn root_of_damage(damage: &Damage) -> Result<Seq, JournalError> {
    let root = damage.file.strip_prefix("journal/").and_then(segment::root_of);
    root.ok_or_else(|| JournalError::Damaged(damage.clone()))
}

/// Where a damaged segment goes: `n` is 1, or more when its place is taken.
pub(crate) fn aside_name(root: Seq, n: u32) -> Name {
    let more = if n > 1 { format!(".{n}") } else { String::new() };
    Name::new(Dir::Damaged, format!("{:020}{more}.jsonl", root.get()))
}

/// Where the first of several repairs puts the segment that follows the damaged one.
fn claim_name(root: Seq) -> Name {
    Name::new(Dir::Damaged, format!("{:020}.successor", root.get()))
}

fn move_aside<D: Disk>(disk: &D, salvage: &Salvage) -> Result<Name, JournalError> {
    if disk.len(&segment::name(salvage.root))?.is_none() {
        return Ok(aside_name(salvage.root, 1));
    }
    // So that the store counts as damaged, not as new or as waiting for a successor, if this process or the
    // machine dies behind the next line.
    let name = segment::mark_name(salvage.root);
    if let Some(highest) = Seq::new(salvage.highest)
        && mark_of(disk, salvage.root)?.is_none()
    {
        disk.append_or_create(&name, Mark { seq: highest, crc: Crc::NONE }.encode().as_bytes())?;
    }
    // Marks are never synced otherwise.
    if let Some(file) = disk.open(&name, Access::Append)? {
        disk.sync(&file, &name)?;
    }
    // A file published there makes the mark's name durable, and says to whoever is still at it to leave.
    let told = b"this segment is damaged and was moved aside\n";
    disk.publish(&segment::poison_name(salvage.root), told, Durability::Synced)?;
    set_aside(disk, salvage.root)
}

/// Moves a segment to the first place for it that is free.
fn set_aside<D: Disk>(disk: &D, root: Seq) -> Result<Name, JournalError> {
    let from = segment::name(root);
    let mut n = 1;
    loop {
        let to = aside_name(root, n);
        match disk.rename(&from, &to) {
            Ok(()) => return Ok(to),
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => n += 1,
            // Another repair was faster.
            Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(aside_name(root, 1)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The damaged bytes: moved aside by an earlier attempt, or still in place. Where both are there, the first is
/// what was written to, and the other one what a sleeper published in its place.
fn damaged_copies<D: Disk>(disk: &D, root: Seq) -> Result<Vec<Vec<u8>>, JournalError> {
    let mut copies = Vec::new();
    let aside = (1..).map(|n| aside_name(root, n));
    for name in aside {
        let Some(file) = disk.open(&name, Access::Read)? else { break };
        copies.push(as_far_as_it_can_be_read(disk, &file, &name)?);
    }
    let name = segment::name(root);
    if let Some(file) = disk.open(&name, Access::Read)? {
        copies.push(as_far_as_it_can_be_read(disk, &file, &name)?);
    }
    Ok(copies)
}

/// The bytes of a file; none of one that is longer than any segment, which is damage as a whole.
fn as_far_as_it_can_be_read<D: Disk>(disk: &D, file: &D::File, name: &Name) -> Result<Vec<u8>, JournalError> {
    match disk.read(file, name, 0, SEGMENT_BYTES_MAX) {
        Err(error) if error.source.kind() == ErrorKind::FileTooLarge => Ok(Vec::new()),
        read => Ok(read?),
    }
}

fn salvage<D: Disk>(disk: &D, root: Seq, damage: Damage) -> Result<Salvage, JournalError> {
    let copies = damaged_copies(disk, root)?;
    let bytes = copies.first().map_or(&[][..], Vec::as_slice);
    let mark = mark_of(disk, root)?;
    let mut state: Option<State> = None;
    let mut last: Option<(Seq, Timestamp)> = None;
    // Whatever was read before the reader stopped is good; where it stopped is the damage. A record that is not
    // the one acknowledged under its number is no good either: a void one may have slipped into its place.
    let is_other = |seq: Seq, crc: Crc| {
        mark.is_some_and(|mark| mark.crc != Crc::NONE && mark.seq == seq && mark.crc != crc)
    };
    let _stopped = Segment::read_with(root, bytes, |event| {
        let crc = line::decode(event.text).map_or(Crc::NONE, |frame| frame.crc);
        if is_other(event.record.seq, crc) {
            return Err("it is not the record that was acknowledged".into());
        }
        match &mut state {
            Some(state) => state.apply(event.record)?,
            None => state = Some(event.before.clone()),
        }
        last = Some((event.record.seq, event.record.ts));
        Ok(())
    });
    let (whole, unreadable) = whole_records(bytes);
    let state = match state {
        Some(state) => state,
        // Where only what follows the root on its line is wrong, the root still says what it says.
        None => match whole.iter().find_map(|(frame, text)| root_state(root, frame, text)) {
            Some(state) => state,
            None => state_before(disk, root)?,
        },
    };
    let last_good = last.map_or(0, |(seq, _)| seq.get());
    let elsewhere = copies.iter().skip(1).flat_map(|copy| whole_records(copy).0);
    let seen = whole.iter().copied().chain(elsewhere).map(|(frame, _)| frame.seq.get()).max().unwrap_or(0);
    let marked = mark.map_or(0, |mark| mark.seq.get());
    // As many records may have stood in what cannot be read as have room there.
    let readable: usize = whole.iter().map(|(_, text)| text.len()).sum();
    let lost = (bytes.len().saturating_sub(readable) / RECORD_BYTES_MIN) as u64 + unreadable;
    let highest = last_good.max(root.get()).max(seen).max(marked).saturating_add(lost);
    let behind = proven_behind(&whole, mark, last_good);
    let mut salvage = Salvage {
        root,
        damage,
        last_good,
        highest,
        kept: Vec::new(),
        found: Vec::new(),
        state,
        last_ts: last.map(|(_, ts)| ts),
    };
    for (frame, text) in behind {
        if let Ok(op) = record::decode(&frame, text) {
            salvage.learn(&Record { seq: frame.seq, ts: frame.ts, nonce: frame.nonce, op });
        }
        salvage.last_ts = salvage.last_ts.max(Some(frame.ts));
    }
    // Where not even the root can be read, what lives by the segment before was still read before the damage.
    let is_found = |lease: &&Lease| lease.lease.get() > last_good.max(root.get());
    salvage.kept = salvage.state.live.iter().filter(|lease| !is_found(lease)).cloned().collect();
    salvage.found = salvage.state.live.iter().filter(is_found).cloned().collect();
    Ok(salvage)
}

/// Every whole record in the bytes, in file order, whatever stands between them, and how many pieces are none.
fn whole_records(bytes: &[u8]) -> (Vec<(Frame<'_>, &[u8])>, u64) {
    let (mut whole, mut unreadable) = (Vec::new(), 0);
    let mut starts = memchr::memmem::find_iter(bytes, TOKEN).peekable();
    while let Some(at) = starts.next() {
        let end = starts.peek().copied().unwrap_or(bytes.len());
        match leading_record(&bytes[at..end]) {
            Some((text, frame)) => whole.push((frame, text)),
            None => unreadable += 1,
        }
    }
    (whole, unreadable)
}

/// The records behind the damage that are history for certain: those from which the acknowledged record that
/// the mark names descends, itself included. The record of a late writer is not among them, so nothing is taken
/// for a grant that was none (promise S3).
fn proven_behind<'a>(
    whole: &[(Frame<'a>, &'a [u8])],
    mark: Option<Mark>,
    last_good: u64,
) -> Vec<(Frame<'a>, &'a [u8])> {
    let by_name: HashMap<(u64, Crc), usize> =
        whole.iter().enumerate().map(|(at, (frame, _))| ((frame.seq.get(), frame.crc), at)).collect();
    let mut proven = Vec::new();
    let mut next = mark.map(|mark| (mark.seq.get(), mark.crc));
    while let Some(at) = next.and_then(|name| by_name.get(&name)) {
        let (frame, text) = whole[*at];
        if frame.seq.get() <= last_good {
            break;
        }
        proven.push((frame, text));
        next = Some((frame.seq.get() - 1, frame.prev));
    }
    proven.reverse();
    proven
}

impl Salvage {
    /// The policy of the day.
    pub fn policy(&self) -> &Policy {
        &self.state.policy
    }

    /// Takes a record from behind the damage into account. What it says happened; what it needs may have happened in what
    /// was lost.
    fn learn(&mut self, record: &Record) {
        if let Op::Acquire(body) = &record.op {
            let granted = lease_of(record.seq, body);
            let ended = ended_before(&granted, &self.state.live, &self.state.policy);
            let ended: Vec<LeaseId> = ended.map(|lease| lease.lease).collect();
            for id in ended {
                self.state.forget(id);
            }
        }
        let Err(_something_is_missing) = self.state.apply(record) else { return };
        let live = &mut self.state.live;
        match &record.op {
            Op::Release(body) => self.state.forget(body.lease),
            Op::Scavenge(body) => self.state.forget(body.lease),
            // What it had before was lost: another adoption.
            Op::Adopt(body) => {
                live.update(body.lease, |lease| {
                    lease.owner = body.owner.clone();
                    lease.fence = Fence::from(record.seq);
                    attach(&mut lease.processes, &body.processes);
                });
            }
            Op::Attach(body) => {
                live.update(body.lease, |lease| attach(&mut lease.processes, &body.processes));
            }
            _ => {}
        }
    }
}

/// What a record says, if it is the root of the segment.
fn root_state(root: Seq, frame: &Frame<'_>, text: &[u8]) -> Option<State> {
    match record::decode(frame, text).ok()? {
        Op::Checkpoint(checkpoint) if frame.seq == root => State::restore(*checkpoint).ok(),
        _ => None,
    }
}

/// What the segment before the damaged one ended with.
fn state_before<D: Disk>(disk: &D, root: Seq) -> Result<State, JournalError> {
    let Some(before) = roots(disk)?.into_iter().rfind(|&before| before < root) else {
        return Ok(State::default());
    };
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
        let class = DamageClass::BadSuccessor;
        return Err(JournalError::Damaged(Damage {
            file: claim.to_string(),
            offset: 0,
            seq: None,
            class,
            what,
        }));
    };
    disk.publish(&segment::name(frame.seq), &bytes, Durability::Synced)?;
    let mark = Mark { seq: frame.seq, crc: frame.crc };
    disk.append_or_create(&segment::mark_name(frame.seq), mark.encode().as_bytes())?;
    FileStore::new(disk, Access::Append).point_at(frame.seq);
    Ok(())
}

/// The number of the successor's root; behind it there must be two more, for REPAIR and for whoever comes next.
fn successor_root(salvage: &Salvage) -> Result<Seq, JournalError> {
    let root = Seq::new(salvage.highest).and_then(Seq::next).ok_or(JournalError::Full)?;
    root.next().and_then(Seq::next).ok_or(JournalError::Full)?;
    Ok(root)
}

fn successor(salvage: &mut Salvage, moved: &Name, operator: &Operator) -> Result<Vec<u8>, JournalError> {
    let root = successor_root(salvage)?;
    let now = salvage.last_ts.map_or(operator.writing.ts, |last| operator.writing.ts.max(last));
    let mut state = salvage.state.clone();
    // Whoever waits finds its place gone and takes a new one.
    state.waiters = WaitQueue::default();
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
    state.admit(hold, Map::new()).expect("its number is new and its lane is free");

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

/// The lease that stands in for what cannot be read. It has the longest TTL there is: the lease it stands in for
/// may have had any.
fn hold_on_everything(root: Seq, state: &State, operator: &Operator, now: Timestamp) -> Lease {
    let mut lane = LaneName::new(format!("repair-{root}")).expect("a short name");
    while !state.live.has_lane_for(&lane, None) {
        lane = LaneName::new(format!("{}+", lane.as_str())).expect("still a short name");
    }
    let owner = OwnerName::new(REPAIR_OWNER).expect("a short name");
    Lease {
        tree: Region::everything(),
        clock: Some(operator.clock.clone()),
        why: Note::new("stands in for records that were lost").ok(),
        ..Lease::bare(root, lane, owner, now, Span::MAX)
    }
}
