//! All segments, from the oldest that is kept to the active one: for replay, audit and pruning.
//!
//! Admission never comes here; its cost does not depend on how long the history is (promise C1).

use std::ops::ControlFlow;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{Liveness, Observation};
use arbiter::lease::{Lease, LiveSet, Standing};
use arbiter::policy::Policy;
use arbiter::queue::{Fallen, WaitQueue, Waiter};
use arbiter::reap::{Fate, Look, Tier, reap};
use arbiter::seq::{Seq, Ticket};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::Verdict;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chain::Valid;
use crate::disk::{Access, Dir, Disk};
use crate::line::Frame;
use crate::mark::Mark;
use crate::record::{self, Defer, Op, Record, Scavenge};
use crate::segment::{self, Event, Legacy, SEGMENT_BYTES_MAX, Segment};
use crate::state::{State, Until};
use crate::{Damage, DamageClass, JournalError, line};

/// Bytes of history that are kept at most: 1 GiB.
pub const HISTORY_BYTES_MAX: u64 = 1 << 30;

/// What an integrity check of all segments found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many segments there are.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first record that is still there.
    pub first: Option<Seq>,
    /// The last one.
    pub last: Option<Seq>,
    /// Valid records.
    pub records: u64,
    /// Records of late writers.
    pub void: u64,
    /// Writes that were never finished.
    pub torn: u64,
    /// What is damaged; nothing is when the history is sound.
    pub damage: Vec<Damage>,
}

/// The positions of the roots of all segments, oldest first.
///
/// # Errors
///
/// [`JournalError::Disk`].
pub fn roots<D: Disk>(disk: &D) -> Result<Vec<Seq>, JournalError> {
    let files = disk.list(Dir::Journal)?;
    Ok(files.iter().filter_map(|file| segment::root_of(file.strip_suffix(".jsonl")?)).collect())
}

/// As [`roots`], without strays: segments that a writer published again after it had slept through their pruning. A stray
/// is unsealed, as it was published, and older than all history, and nobody ever wrote to it.
fn kept_roots<D: Disk>(disk: &D) -> Result<Vec<Seq>, JournalError> {
    let mut roots = roots(disk)?;
    let mut strays = 0;
    for &root in roots.split_last().map_or(&[][..], |(_, older)| older) {
        match fold_segment(disk, root, || None, |_| {}) {
            Ok(None) => {}
            Ok(Some(segment)) if segment.seal.is_none() && segment.is_as_published() => {}
            Ok(_) | Err(JournalError::Damaged(_)) => break,
            Err(error) => return Err(error),
        }
        strays += 1;
    }
    roots.drain(..strays);
    Ok(roots)
}

/// Reads one segment and shows each record; `None` when it is not there (any more).
///
/// # Errors
///
/// [`JournalError`].
pub fn read_segment<D: Disk>(
    disk: &D,
    root: Seq,
    show: impl FnMut(Event<'_>) -> Result<(), String>,
) -> Result<Option<Segment>, JournalError> {
    let mark = mark_of(disk, root)?;
    let name = segment::name(root);
    let Some(file) = disk.open(&name, Access::Read)? else { return Ok(None) };
    let bytes = segment::read_bytes(disk, &file, &name)?;
    let segment = segment::read_known(root, &bytes, show)?;
    segment.check_mark(mark).map_err(JournalError::Damaged)?;
    Ok(Some(segment))
}

/// As [`read_segment`], for a caller that needs only the outcome, and of each record only its line. `before` returns what
/// the segment before it left; it is called only when this segment is there.
fn fold_segment<D: Disk>(
    disk: &D,
    root: Seq,
    before: impl FnOnce() -> Option<Legacy>,
    glance: impl FnMut(&Valid<'_>),
) -> Result<Option<Segment>, JournalError> {
    let mark = mark_of(disk, root)?;
    let name = segment::name(root);
    let Some(file) = disk.open(&name, Access::Read)? else { return Ok(None) };
    let bytes = segment::read_bytes(disk, &file, &name)?;
    let segment = segment::fold_known(root, &bytes, before(), glance)?;
    segment.check_mark(mark).map_err(JournalError::Damaged)?;
    Ok(Some(segment))
}

pub(crate) fn mark_of<D: Disk>(disk: &D, root: Seq) -> Result<Option<Mark>, JournalError> {
    let name = segment::mark_name(root);
    let Some(file) = disk.open(&name, Access::Read)? else { return Ok(None) };
    Ok(Mark::highest(&disk.read(&file, &name, 0, SEGMENT_BYTES_MAX)?))
}

/// The highest segment that has ever had an acknowledged record, going by its marks.
pub(crate) fn highest_marked<D: Disk>(disk: &D) -> Result<Option<Seq>, JournalError> {
    let mut roots: Vec<Seq> =
        disk.list(Dir::Marks)?.iter().filter_map(|name| segment::root_of(name)).collect();
    roots.sort_unstable();
    for root in roots.into_iter().rev() {
        if mark_of(disk, root)?.is_some() {
            return Ok(Some(root));
        }
    }
    Ok(None)
}

/// Reads every segment and checks it, and that each continues the one before it.
///
/// # Errors
///
/// [`JournalError::Disk`]; damage is in the survey, all of it.
pub fn survey<D: Disk>(disk: &D) -> Result<Survey, JournalError> {
    survey_and_repairs(disk).map(|(survey, _)| survey)
}

/// A survey, and the files whose loss is on record.
pub(crate) fn survey_and_repairs<D: Disk>(disk: &D) -> Result<(Survey, Vec<String>), JournalError> {
    let mut survey = Survey::default();
    let mut before: Option<Segment> = None;
    let mut gaps: Vec<Damage> = Vec::new();
    let mut repaired: Vec<String> = Vec::new();
    for root in kept_roots(disk)? {
        let mut root_line = Vec::new();
        let mut records = 0;
        let name = segment::name(root);
        survey.segments += 1;
        survey.bytes += disk.len(&name)?.unwrap_or(0);
        let left = || before.as_mut().and_then(Segment::hand_over);
        let read = fold_segment(disk, root, left, |valid| {
            let is_root = valid.offset == 0;
            if is_root {
                root_line = valid.text.to_vec();
            }
            if valid.frame.op == "REPAIR"
                && let Ok(Op::Repair(repair)) = record::decode(&valid.frame, valid.text)
            {
                repaired.push(repair.file);
            }
            // The root of a segment is the last record of the one before, shown again.
            records += u64::from(!is_root || valid.frame.seq == Seq::FIRST);
        });
        let segment = match read {
            Ok(Some(segment)) => segment,
            Ok(None) => continue,
            Err(JournalError::Damaged(damage)) => {
                survey.damage.push(damage);
                before = None;
                survey.last = Some(root);
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(before) = &before
            && segment.repaired_after.is_none()
            && before.seal.as_deref() != Some(&root_line[..])
        {
            // Pruning removes the oldest segment first. What was read and is gone was pruned, with all that lay between.
            if disk.len(&segment::name(before.root))?.is_some() {
                gaps.push(gap(before, root));
            } else {
                survey.first = None;
            }
        }
        survey.first = survey.first.or(Some(root));
        survey.last = segment.chain.head().map(|head| head.seq);
        survey.records += records;
        survey.void += segment.chain.void();
        survey.torn += segment.chain.torn();
        before = Some(segment);
    }
    if let Some(marked) = missing_by_its_mark(disk)?
        && survey.last.is_none_or(|last| marked >= last)
    {
        survey.damage.push(segment::missing(marked));
    }
    // A gap that an operator has accepted is on record.
    survey.damage.extend(gaps.into_iter().filter(|damage| !repaired.contains(&damage.file)));
    Ok((survey, repaired))
}

/// The highest segment that has a mark, if it is not there.
///
/// It may have been sealed and pruned between the two looks. Then its successor has a mark by now, so a second look finds
/// that one.
fn missing_by_its_mark<D: Disk>(disk: &D) -> Result<Option<Seq>, JournalError> {
    let mut suspect = None;
    loop {
        let Some(marked) = highest_marked(disk)? else { return Ok(None) };
        if disk.len(&segment::name(marked))?.is_some() {
            return Ok(None);
        }
        if suspect == Some(marked) {
            return Ok(Some(marked));
        }
        suspect = Some(marked);
    }
}

/// What is wrong where the segment of `next` does not continue the one before it. The later one is what the
/// present rests on, so the damage is said of what lies before it.
fn gap(before: &Segment, next: Seq) -> Damage {
    let next = segment::name(next);
    let (class, root, offset, what) = match before.seal_seq() {
        Some((missing, _)) if segment::name(missing) != next => {
            let what = format!("it is missing between `{}` and `{next}`", segment::name(before.root));
            (DamageClass::HistoryMissing, missing, 0, what)
        }
        _ => {
            let what = format!("it does not end with what `{next}` begins with");
            (DamageClass::HistoryCut, before.root, before.chain.bytes(), what)
        }
    };
    Damage { file: segment::name(root).to_string(), offset, seq: Some(root.get()), class, what }
}

/// Shows every record of the history, oldest first, each once.
///
/// # Errors
///
/// [`JournalError`]: the first damage ends the walk.
pub fn walk<D: Disk>(
    disk: &D,
    mut show: impl FnMut(&Event<'_>) -> ControlFlow<()>,
) -> Result<Option<State>, JournalError> {
    let mut last = None;
    let mut stopped = false;
    for (n, root) in kept_roots(disk)?.into_iter().enumerate() {
        let segment = read_segment(disk, root, |event| {
            if !stopped && (!event.is_root || n == 0 || event.repairs()) {
                stopped = show(&event).is_break();
            }
            Ok(())
        })?;
        if let Some(segment) = segment {
            last = Some(segment.state);
        }
        if stopped {
            break;
        }
    }
    if !stopped
        && let Some(marked) = highest_marked(disk)?
        && roots(disk)?.last().is_none_or(|&last| marked > last)
    {
        return Err(JournalError::Damaged(segment::missing(marked)));
    }
    Ok(last)
}

/// Shows the records after `ticket`, those of the latest segment first and within one in order, until told to stop.
///
/// # Errors
///
/// [`JournalError`].
pub fn walk_back<D: Disk>(
    disk: &D,
    ticket: Ticket,
    mut show: impl FnMut(&Record) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    for root in kept_roots(disk)?.into_iter().rev() {
        let mut stopped = false;
        read_segment(disk, root, |event| {
            stopped = stopped || show(event.record).is_break();
            Ok(())
        })?;
        if stopped || root.get() <= ticket.get() {
            break;
        }
    }
    Ok(())
}

/// The live set as it was at some moment (feature B10).
///
/// # Errors
///
/// [`JournalError::Pruned`] when the moment lies before the oldest segment that is kept.
pub fn state_at<D: Disk>(disk: &D, until: Until) -> Result<(State, Option<Seq>), JournalError> {
    let mut at = None;
    let mut end: Option<Segment> = None;
    for (n, root) in kept_roots(disk)?.into_iter().enumerate() {
        // What was before is needed again only where the moment may lie in this segment.
        let before = if until == Until::Now { None } else { end.as_ref().map(|end| end.state.clone()) };
        let (mut is_here, mut last) = (false, at);
        let left = || end.as_mut().and_then(Segment::hand_over);
        let segment = fold_segment(disk, root, left, |valid| {
            let Frame { seq, ts, .. } = valid.frame;
            is_here = is_here || until.is_past(seq, ts);
            last = Some(seq);
        })?;
        if !is_here {
            at = last;
            end = segment.or(end);
            continue;
        }
        let Some((past, last)) = look_for(disk, root, until, before.as_ref())? else { continue };
        match past {
            // Before the first record of all there was nothing; before a later root there was something unknown.
            Past { first, state: None } if n == 0 && first > Seq::FIRST => {
                return Err(JournalError::Pruned { first: first.get() });
            }
            Past { state, .. } => return Ok((state.unwrap_or_default(), last.or(at))),
        }
    }
    Ok((end.map(|segment| segment.state).unwrap_or_default(), at))
}

/// The first record after some moment, and what those before it amount to; none if it is not known.
struct Past {
    first: Seq,
    state: Option<State>,
}

/// Looks for the moment in the segment in which it lies; and the last record that is not past it. `before` is what was
/// before the segment.
fn look_for<D: Disk>(
    disk: &D,
    root: Seq,
    until: Until,
    before: Option<&State>,
) -> Result<Option<(Past, Option<Seq>)>, JournalError> {
    let (mut past, mut last) = (None, None);
    read_segment(disk, root, |event| {
        let Record { seq, ts, .. } = *event.record;
        if past.is_none() && until.is_past(seq, ts) {
            // What a repair begins with was not so before it: there the segment before it counts.
            let state = if event.is_root { before } else { Some(event.before) }.cloned();
            past = Some(Past { first: seq, state });
        }
        if past.is_none() {
            last = Some(seq);
        }
        Ok(())
    })?;
    Ok(past.map(|past| (past, last)))
}

/// A recorded verdict that comes out differently when it is decided again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The record.
    pub seq: Seq,
    /// The verdict on record.
    pub recorded: String,
    /// The verdict now.
    pub decided: String,
}

/// Decides recorded decisions again: ACQUIRE, REFUSE and WAIT to the byte, SCAVENGE, CANCEL and DEFER by their evidence.
#[derive(Debug, Default)]
pub struct Redecider {
    nonce: Option<u64>,
    evicted: Vec<Lease>,
    cancelled: Vec<Waiter>,
    /// How many decisions were made again.
    pub decisions: u64,
    /// How many of them were an operator's: the evidence is judged again, the will is not.
    pub forced: u64,
    /// Those that came out differently.
    pub differences: Vec<Difference>,
}

impl Redecider {
    /// Takes the next record of the history.
    pub fn take(&mut self, event: &Event<'_>) {
        let record = event.record;
        if self.nonce != Some(record.nonce) {
            self.nonce = Some(record.nonce);
            self.evicted.clear();
            self.cancelled.clear();
        }
        let (request, evidence) = match &record.op {
            Op::Acquire(body) => (&body.request, &body.evidence),
            Op::Refuse(body) => (&body.request, &body.evidence),
            Op::Wait(body) => (&body.request, &body.evidence),
            Op::Cancel(_) => return self.cancel(record, event.before),
            Op::Scavenge(_) => return self.scavenge(record, event.before),
            Op::Defer(body) => return self.defer(body, record, event.before),
            _ => return,
        };
        // The evictions of a write come before its grant; the decision was made while they still lived.
        let with_evicted: LiveSet;
        let live = if self.evicted.is_empty() {
            &event.before.live
        } else {
            let mut set = event.before.live.clone();
            for lease in &self.evicted {
                let _lives_already = set.insert(lease.clone());
            }
            with_evicted = set;
            &with_evicted
        };
        // So did the tickets that the same write cancels.
        let with_cancelled: WaitQueue;
        let waiters = if self.cancelled.is_empty() {
            &event.before.waiters
        } else {
            let mut all = event.before.waiters.clone();
            for waiter in &self.cancelled {
                let _waits_already = all.insert(waiter.clone());
            }
            with_cancelled = all;
            &with_cancelled
        };
        let policy = &event.before.policy;
        let verdict = arbitrate(Question { request, live, waiters, policy, evidence, now: record.ts });
        let text = |verdict: &Verdict| serde_json::to_string(verdict).unwrap_or_default();
        let mut decided = text(&verdict);
        let recorded = recorded_verdict(event.text).unwrap_or_default();
        if decided != recorded {
            // The first journals word refusals in the first way.
            let at_first = text(&verdict.without_labels());
            decided = if at_first == recorded { at_first } else { decided };
        }
        self.compare(record.seq, recorded, decided);
        // A write may hold several decisions; what was evicted for one is gone for the next.
        self.evicted.clear();
        self.cancelled.clear();
    }

    fn cancel(&mut self, record: &Record, before: &State) {
        let Op::Cancel(body) = &record.op else { return };
        let Some(waiter) = before.waiters.get(body.ticket) else { return };
        if let Some(recorded) = body.why.fallen() {
            let alive = body.observed.as_ref().map(|seen| seen.alive).unwrap_or_default();
            let decided = waiter.fallen(alive, record.ts, &body.clock);
            self.compare(
                record.seq,
                recorded.as_str().into(),
                decided.map_or("stands", Fallen::as_str).into(),
            );
        }
        self.cancelled.push(waiter.clone());
    }

    fn scavenge(&mut self, record: &Record, before: &State) {
        let Op::Scavenge(body) = &record.op else { return };
        let Some(lease) = before.live.get(body.lease) else { return };
        if let Some(tier) = body.tier {
            return self.reclaim(body, tier, lease, record, before);
        }
        let standing = lease.standing_under(&before.policy, body.observed.as_ref(), record.ts, &body.clock);
        let decided = match (standing, &body.forced) {
            (Standing::Held, None) => "held, and so not to be evicted",
            _ => standing.as_str(),
        };
        self.forced += u64::from(body.forced.is_some());
        self.compare(record.seq, body.why.as_str().into(), decided.into());
        self.evicted.push(lease.clone());
    }

    /// What a sweep ended, by its own rules.
    fn reclaim(&mut self, body: &Scavenge, tier: Tier, lease: &Lease, record: &Record, before: &State) {
        let nothing = || Observation { lease: lease.lease, alive: Liveness::Unknown, processes: Vec::new() };
        let observed = body.observed.clone().unwrap_or_else(nothing);
        let last = Look { clock: body.clock.clone(), observed };
        let fate = reap(lease, body.earlier.as_ref(), &last, &before.policy, record.ts);
        let recorded = format!("{} ({})", tier.as_str(), body.why.as_str());
        let decided = match fate {
            Fate::Reclaim(tier) => format!("{} ({})", tier.as_str(), tier.standing().as_str()),
            kept => kept.as_str().into(),
        };
        self.compare(record.seq, recorded, decided);
    }

    fn defer(&mut self, body: &Defer, record: &Record, before: &State) {
        let Some(lease) = before.live.get(body.lease) else { return };
        let look = Look { clock: body.clock.clone(), observed: body.observed.clone() };
        let fate = reap(lease, None, &look, &before.policy, record.ts);
        let recorded = format!("deferred until {}", body.until);
        let decided = match fate {
            Fate::Defer { until } => format!("deferred until {until}"),
            other => other.as_str().into(),
        };
        self.compare(record.seq, recorded, decided);
    }

    fn compare(&mut self, seq: Seq, recorded: String, decided: String) {
        self.decisions += 1;
        if recorded != decided {
            self.differences.push(Difference { seq, recorded, decided });
        }
    }
}

/// The verdict of a line as it stands there.
fn recorded_verdict(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        verdict: &'a RawValue,
    }
    let line: Line<'_> = serde_json::from_slice(text).ok()?;
    // What keeps nested objects from looking like a record is white space, not part of the verdict.
    Some(line.verdict.get().replace("{ \"seq\":", "{\"seq\":"))
}

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    All,
    /// None of it.
    None,
    /// Segments that were sealed no longer ago than this, and no more than [`HISTORY_BYTES_MAX`].
    For(Span),
}

impl Keep {
    /// What the policy says.
    pub fn by_policy(policy: &Policy) -> Keep {
        Keep::For(policy.history.unwrap_or(Policy::HISTORY_DEFAULT))
    }
}

/// Removes history from its old end. The active segment stays whatever happens.
///
/// Oldest first, so that what is left is one piece after every step. Returns the bytes that were freed.
///
/// # Errors
///
/// [`JournalError::Disk`].
pub fn prune<D: Disk>(disk: &D, keep: Keep, now: Timestamp) -> Result<u64, JournalError> {
    if keep == Keep::All {
        return Ok(0);
    }
    let roots = roots(disk)?;
    let mut bytes = Vec::with_capacity(roots.len());
    for &root in &roots {
        bytes.push(disk.len(&segment::name(root))?.unwrap_or(0));
    }
    let mut kept: u64 = bytes.iter().sum();
    let mut freed = 0;
    for (pair, bytes) in roots.windows(2).zip(bytes) {
        let (root, next) = (pair[0], pair[1]);
        let too_old = match keep {
            Keep::All => false,
            Keep::None => true,
            Keep::For(span) => sealed_at(disk, next)?.is_some_and(|sealed| now.since(sealed) > span),
        };
        if !too_old && kept <= HISTORY_BYTES_MAX {
            break;
        }
        disk.remove(&segment::name(root))?;
        disk.remove(&segment::mark_name(root))?;
        disk.remove(&segment::poison_name(root))?;
        kept -= bytes;
        freed += bytes;
    }
    Ok(freed)
}

/// When the segment before `next` was sealed: the time of the record that both share.
fn sealed_at<D: Disk>(disk: &D, next: Seq) -> Result<Option<Timestamp>, JournalError> {
    let name = segment::name(next);
    let Some(file) = disk.open(&name, Access::Read)? else { return Ok(None) };
    let bytes = disk.read(&file, &name, 0, SEGMENT_BYTES_MAX)?;
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    Ok(line::decode(first).map(|frame| frame.ts))
}
