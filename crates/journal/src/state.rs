//! What the records amount to: the live set and what must survive with it.
//!
//! The fold is structural: it takes each record at its word and decides nothing. A record that cannot have
//! happened (a lane granted twice, a lease given back that does not live) is damage, never skipped.

mod said;
mod short_cut;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arbiter::evidence::{ClockReading, ProcessIdentity};
use arbiter::lease::{Halted, Lease, LiveSet, Standing};
use arbiter::phase::Phase;
use arbiter::policy::Policy;
use arbiter::queue::{WaitQueue, Waiter};
use arbiter::reap::Tier;
use arbiter::request::{PROCESSES_MAX, Request, RequestId};
use arbiter::seq::{Fence, LeaseId, Seq, Ticket};
use arbiter::time::Timestamp;
use arbiter::verdict::{Refusal, Verdict};
use serde_json::{Map, Value};

pub(crate) use short_cut::Unread;

use crate::checksum::crc32;
use crate::record::{
    Acquire, Answer, Checkpoint, Counters, Ended, FORMAT, Halt, KeptLease, Op, Record, Refuse, Wait,
};

/// How many answers are kept for requests that may be repeated; those of live leases are kept beyond that.
pub const ANSWERS_MAX: usize = 128;
/// How many ended leases are remembered, so that a late holder is told what became of its lease.
pub const ENDED_MAX: usize = 64;

/// The fold of a journal up to some record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The live leases.
    pub live: LiveSet,
    /// Those who wait.
    pub waiters: WaitQueue,
    /// The policy of the day.
    pub policy: Policy,
    /// What has happened so far.
    pub counters: Counters,
    extra: BTreeMap<LeaseId, Map<String, Value>>,
    answered: VecDeque<Answer>,
    ended: VecDeque<Ended>,
    left_out: Option<LeftOut>,
}

/// The leases that live and were not read, since they do not concern the reader. Records about them are taken at their
/// word: whoever reads all of them finds out.
#[derive(Clone, Debug, PartialEq)]
struct LeftOut {
    /// Every lease up to this one that is not here may be there.
    up_to: Seq,
    /// Those of them whose answers are kept.
    answered: BTreeSet<LeaseId>,
}

impl LeftOut {
    fn may_have(&self, lease: LeaseId) -> bool {
        lease.get() <= self.up_to.get()
    }
}

impl State {
    /// Goes back to what a checkpoint says.
    ///
    /// # Errors
    ///
    /// In words, when the checkpoint contradicts itself.
    pub fn restore(checkpoint: Checkpoint) -> Result<State, String> {
        let mut state = State {
            live: LiveSet::default(),
            waiters: WaitQueue::default(),
            policy: checkpoint.policy,
            counters: checkpoint.counters,
            extra: BTreeMap::new(),
            answered: checkpoint.answered.into(),
            ended: checkpoint.ended.into(),
            left_out: None,
        };
        for KeptLease { lease, extra } in checkpoint.leases {
            state.admit(lease, extra)?;
        }
        for waiter in checkpoint.waiters {
            state.queue_up(waiter)?;
        }
        Ok(state)
    }

    /// From now on leases up to `up_to` that are not here are taken to live all the same; of those whose answers are kept,
    /// these do.
    pub(crate) fn leave_out_others(&mut self, up_to: Seq, answered: BTreeSet<LeaseId>) {
        self.left_out = Some(LeftOut { up_to, answered });
    }

    /// Whether all live leases are here.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_none()
    }

    /// The checkpoint that says what this state is.
    ///
    /// # Panics
    ///
    /// When leases were left out: they would be lost.
    pub fn checkpoint(&self, seal: bool) -> Checkpoint {
        assert!(self.is_whole(), "only who has read every lease can write them all down");
        let leases = self.live.iter().filter_map(|lease| self.kept(lease.lease)).collect();
        Checkpoint { seal, leases, ..self.rest() }
    }

    /// A live lease with whatever is kept with it.
    pub(crate) fn kept(&self, lease: LeaseId) -> Option<KeptLease> {
        let extra = self.extra.get(&lease).cloned().unwrap_or_default();
        Some(KeptLease { lease: self.live.get(lease)?.clone(), extra })
    }

    /// What a checkpoint says beside the leases.
    pub(crate) fn rest(&self) -> Checkpoint {
        Checkpoint {
            format: FORMAT.into(),
            seal: false,
            repaired_after: None,
            leases: Vec::new(),
            waiters: self.waiters.iter().cloned().collect(),
            policy: self.policy.clone(),
            counters: self.counters.clone(),
            answered: self.answered.iter().cloned().collect(),
            ended: self.ended.iter().cloned().collect(),
        }
    }

    /// Takes one more record into account.
    ///
    /// # Errors
    ///
    /// In words, when it cannot have happened after what came before. The state is then what it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), String> {
        let Record { seq, ts, ref op, .. } = *record;
        match op {
            Op::Checkpoint(_) | Op::Unknown(_) => {}
            Op::Acquire(body) => {
                self.admit(lease_of(seq, body), KeptLease::extra_of(&body.extra))?;
                // The wait ends with the grant. Where the record of the wait was lost, there is none to end.
                body.request.ticket.and_then(|ticket| self.waiters.remove(ticket));
                self.counters.grants += 1;
                self.counters.forced += u64::from(body.request.force);
                let verdict = || Verdict::Grant(body.verdict.clone());
                self.answer(&body.request, seq, verdict);
            }
            Op::Refuse(body) => {
                let Refuse { request, verdict, evidence, .. } = &**body;
                self.hear(verdict, ts, &evidence.clock);
                self.counters.refusals += 1;
                self.answer(request, seq, || Verdict::Refuse(verdict.clone()));
            }
            Op::Wait(body) => {
                self.queue_up(waiter_of(seq, ts, body))?;
                self.hear(&body.verdict, ts, &body.evidence.clock);
            }
            Op::Cancel(body) => {
                let ticket = body.ticket;
                let ended = self.waiters.remove(ticket);
                ended.ok_or_else(|| format!("it names ticket {ticket}, with which nobody waits"))?;
            }
            Op::Release(body) => {
                self.end(body.lease, body.fence, seq, |_| {})?;
                if body.withdrawn {
                    // Its grant was never reported, so it must not be found as the answer to a repeated request.
                    self.answered.retain(|answer| LeaseId::from(answer.at) != body.lease);
                }
                self.counters.releases += 1;
            }
            Op::Scavenge(body) => {
                self.end(body.lease, body.fence, seq, |ended| {
                    ended.evicted = Some(body.why);
                    ended.by = Some(body.by.clone());
                    ended.forced.clone_from(&body.forced);
                })?;
                let reclaims = &mut self.counters.reclaims;
                match body.tier {
                    Some(Tier::Dead) => reclaims.dead += 1,
                    Some(Tier::Exited) => reclaims.exited += 1,
                    Some(Tier::Ceiling) => reclaims.ceiling += 1,
                    None => {}
                }
                match body.why {
                    _ if body.forced.is_some() => self.counters.forces += 1,
                    Standing::Dead => self.counters.dead += 1,
                    Standing::Expired | Standing::Held => self.counters.expired += 1,
                }
            }
            Op::Heartbeat(body) => {
                self.change(body.lease, body.fence, |lease| {
                    lease.heartbeat_at = lease.heartbeat_at.max(ts);
                    lease.clock = Some(body.clock.clone());
                })?;
                self.counters.heartbeats += 1;
            }
            Op::Phase(body) => self.change(body.lease, body.fence, |lease| {
                let before = lease.phase.as_deref();
                let after = |name| Phase::entered(before, name, body.budget, ts, &body.clock);
                lease.phase = body.phase.as_ref().map(after).map(Box::new);
            })?,
            Op::Defer(body) => {
                self.change(body.lease, body.fence, |lease| {
                    if let Some(phase) = &mut lease.phase {
                        phase.deferred_at = phase.deferred_at.or(Some(ts));
                    }
                })?;
                self.counters.deferrals += 1;
            }
            Op::Adopt(body) => {
                self.change(body.lease, body.fence, |lease| {
                    lease.owner = body.owner.clone();
                    lease.fence = Fence::from(seq);
                    lease.heartbeat_at = lease.heartbeat_at.max(ts);
                    lease.clock = Some(body.clock.clone());
                    attach(&mut lease.processes, &body.processes);
                })?;
                self.counters.adopts += 1;
            }
            Op::Attach(body) => self.change(body.lease, body.fence, |lease| {
                lease.heartbeat_at = lease.heartbeat_at.max(ts);
                lease.clock = Some(body.clock.clone());
                attach(&mut lease.processes, &body.processes);
            })?,
            Op::Halt(body) => {
                self.counters.halts += 1;
                halt(&mut self.live, body, ts);
            }
            Op::Spawn(_) => self.counters.spawns += 1,
            Op::Policy(body) => self.policy = body.policy.clone(),
            Op::Repair(_) => self.counters.repairs += 1,
        }
        Ok(())
    }

    /// The answer to a request that the caller gave this name.
    pub fn answer_to(&self, request_id: &RequestId) -> Option<&Answer> {
        self.answered.iter().rev().find(|answer| answer.request_id == *request_id)
    }

    /// The leases that ended lately, the latest first.
    pub fn ended_lately(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().rev()
    }

    /// Lets a lease live that no record granted: one that stands in for what a repair could not read.
    pub(crate) fn admit(&mut self, lease: Lease, extra: Map<String, Value>) -> Result<(), String> {
        let id = lease.lease;
        self.live.insert(lease).map_err(|lease| {
            format!("it grants lane `{}` or number {} a second time", lease.lane, lease.lease)
        })?;
        if !extra.is_empty() {
            self.extra.insert(id, extra);
        }
        Ok(())
    }

    fn queue_up(&mut self, waiter: Waiter) -> Result<(), String> {
        let ticket = waiter.ticket;
        let is_new = self.waiters.insert(waiter);
        is_new.then_some(()).ok_or_else(|| format!("it gives ticket {ticket} a second time"))
    }

    /// A refusal may say that a ticket could have what it waits for: from then on it has to hurry.
    fn hear(&mut self, refusal: &Refusal, at: Timestamp, clock: &ClockReading) {
        if let Some(free) = refusal.behind.as_ref().and_then(|behind| behind.free) {
            self.waiters.was_seen_free(free, at, clock);
        }
    }

    fn end(
        &mut self,
        id: LeaseId,
        fence: Fence,
        at: Seq,
        how: impl FnOnce(&mut Ended),
    ) -> Result<(), String> {
        if self.may_be_left_out(id) {
            self.ends_for_answers(id);
            return Ok(());
        }
        self.known(id, fence)?;
        self.ends_for_answers(id);
        if let Some(lease) = self.live.remove(id) {
            self.extra.remove(&id);
            let Lease { lane, owner, worktree, .. } = lease;
            let mut ended =
                Ended { lease: id, fence, lane, owner, worktree, evicted: None, by: None, forced: None, at };
            how(&mut ended);
            self.remember(ended);
        }
        Ok(())
    }

    /// Leaves out a lease of which nobody knows how it ended.
    pub(crate) fn forget(&mut self, id: LeaseId) {
        self.live.remove(id);
        self.extra.remove(&id);
    }

    fn remember(&mut self, ended: Ended) {
        self.ended.push_back(ended);
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    fn change(&mut self, id: LeaseId, fence: Fence, change: impl FnOnce(&mut Lease)) -> Result<(), String> {
        if self.may_be_left_out(id) {
            return Ok(());
        }
        self.known(id, fence)?;
        self.live.update(id, change);
        Ok(())
    }

    /// Whether the lease may be among those that were left out.
    fn may_be_left_out(&self, id: LeaseId) -> bool {
        let is_here = self.live.get(id).is_some();
        self.left_out.as_ref().is_some_and(|others| !is_here && others.may_have(id))
    }

    /// The answer that the lease was is no longer that of a live one. `answered` has it also where the lease was read.
    fn ends_for_answers(&mut self, id: LeaseId) {
        if let Some(others) = &mut self.left_out {
            others.answered.remove(&id);
        }
    }

    fn known(&self, id: LeaseId, fence: Fence) -> Result<(), String> {
        match self.live.get(id) {
            Some(lease) if lease.fence == fence => Ok(()),
            Some(lease) => Err(format!("it names lease {id} with fence {fence}, which is {}", lease.fence)),
            None => Err(format!("it names lease {id}, which does not live")),
        }
    }

    fn answer(&mut self, request: &Request, at: Seq, verdict: impl FnOnce() -> Verdict) {
        let Some(request_id) = request.request_id.clone() else { return };
        self.answered.push_back(Answer { request_id, at, asked: fingerprint(request), verdict: verdict() });
        // Those of live leases stay beyond the limit, and so does the latest of the others.
        if let Some(over @ 1..) = self.answered.len().checked_sub(ANSWERS_MAX) {
            let State { live, left_out, answered, .. } = self;
            let lives = |answer: &Answer| {
                let lease = LeaseId::from(answer.at);
                live.get(lease).is_some()
                    || left_out.as_ref().is_some_and(|others| others.answered.contains(&lease))
            };
            let others = answered.iter().filter(|answer| !lives(answer)).count();
            let mut too_many = over.min(others.saturating_sub(1));
            answered.retain(|answer| {
                let goes = too_many > 0 && !lives(answer);
                too_many -= usize::from(goes);
                !goes
            });
        }
    }
}

/// What tells one request from another under the same name: who asked for which lane and region, in which worktree, and
/// what else makes another lease of it. Why it is asked for may differ when a request is repeated.
///
/// Answers are recorded with it: whatever is not asked for must not change it.
pub fn fingerprint(request: &Request) -> u32 {
    let Request { owner, lane, tree, read, worktree, ttl, processes, parent, force, .. } = request;
    let asked = (owner, lane, tree, read);
    let asked = match worktree {
        // As before there were any.
        None => serde_json::to_vec(&asked),
        Some(worktree) => serde_json::to_vec(&(asked, worktree)),
    };
    let mut bytes = asked.unwrap_or_default();
    if ttl.is_some() || !processes.is_empty() || parent.is_some() || *force {
        bytes.extend(serde_json::to_vec(&(ttl, processes, parent, force)).unwrap_or_default());
    }
    crc32(&bytes)
}

/// What tells one policy from another at a glance: eight digits.
pub fn policy_hash(policy: &Policy) -> String {
    format!("{:08x}", crc32(&serde_json::to_vec(policy).unwrap_or_default()))
}

/// The lease that an ACQUIRE brought into being.
pub(crate) fn lease_of(seq: Seq, body: &Acquire) -> Lease {
    let Acquire { request, evidence, verdict, .. } = body;
    let imported = request.imported.as_ref();
    Lease {
        lease: LeaseId::from(seq),
        fence: Fence::from(seq),
        lane: verdict.lane.clone(),
        owner: verdict.owner.clone(),
        tree: verdict.tree.clone(),
        read: verdict.read.clone(),
        acquired_at: verdict.acquired_at,
        heartbeat_at: imported.map_or(verdict.acquired_at, |imported| imported.heartbeat_at),
        clock: imported.is_none().then(|| evidence.clock.clone()),
        ttl: verdict.ttl,
        processes: request.processes.clone(),
        parent: request.parent,
        exclusive: verdict.exclusive,
        worktree: verdict.worktree.clone(),
        halted: None,
        phase: None,
        run_id: request.run_id.clone(),
        why: request.why.clone(),
        labels: request.labels.clone(),
        request_id: request.request_id.clone(),
    }
}

/// The one who waits since this WAIT.
fn waiter_of(seq: Seq, since: Timestamp, body: &Wait) -> Waiter {
    Waiter {
        ticket: Ticket::from(seq),
        request: body.request.clone(),
        since,
        clock: body.evidence.clock.clone(),
        budget: body.budget,
        process: body.process.clone(),
        wake: body.wake,
        seen_free: None,
    }
}

/// Lets the lease that a stop decision concerns show it, if it lives.
pub(crate) fn halt(live: &mut LiveSet, body: &Halt, at: Timestamp) {
    let in_lane = || body.lane.as_ref().and_then(|lane| live.in_lane(lane, None)).map(|lease| lease.lease);
    let Some(id) = body.lease.or_else(in_lane) else { return };
    let halted = Halted {
        handle: body.handle.as_str().into(),
        at,
        by: Some(body.owner.clone()),
        command: body.command.clone(),
        why: body.why.clone(),
    };
    live.update(id, |lease| lease.halted = Some(halted));
}

/// Adds processes to those of a lease, each once, as long as there is room ([`PROCESSES_MAX`]).
pub fn attach(processes: &mut Vec<ProcessIdentity>, more: &[ProcessIdentity]) {
    for process in more {
        if !processes.contains(process) && processes.len() < PROCESSES_MAX {
            processes.push(process.clone());
        }
    }
}

/// The moment after which nothing is taken into account: for looking back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Up to and with this record.
    Seq(Seq),
    /// Up to and with the last record that is not later than this.
    Time(Timestamp),
    /// Everything.
    Now,
}

impl Until {
    /// Whether a record comes after the moment.
    pub fn is_past(self, seq: Seq, ts: Timestamp) -> bool {
        match self {
            Until::Seq(last) => seq > last,
            Until::Time(last) => ts > last,
            Until::Now => false,
        }
    }
}
