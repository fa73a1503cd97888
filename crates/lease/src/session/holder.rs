//! What a holder does with its lease: give it back, beat for it.
//!
//! Each names the lease by lane or number, is open to its owner only, and is refused for an older fence.

use arbiter::evidence::{ClockReading, ProcessIdentity};
use arbiter::interest::Interest;
use arbiter::lease::{Halted, Lease, LiveSet, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::{Phase, PhaseName};
use arbiter::request::PROCESSES_MAX;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::text::shown;
use arbiter::time::{Span, Timestamp};
use arbiter::worktree::{WorktreeName, are_apart};
use journal::record::{Attach, Ended, Heartbeat, Op, PhaseChange, Release};
use journal::state::State;
use journal::store::Store as _;

use crate::machine::Machine;

use super::{Decision, Done, LeaseError, Moment, Session};

/// Which lease is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in this lane, where the caller is.
    Lane(LaneName),
    /// The one with this number.
    Lease(LeaseId),
}

impl Which {
    /// The leases that may be meant.
    pub(super) fn interest(&self) -> Interest {
        match self {
            Which::Lane(lane) => Interest::default().in_lane(lane),
            Which::Lease(id) => Interest::default().in_lease(*id),
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Lane(lane) => write!(f, "lane `{lane}`"),
            Which::Lease(lease) => write!(f, "lease {lease}"),
        }
    }
}

/// Why the lease that was named is not the caller's to use. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No such lease lives.
    NotHeld,
    /// It belongs to somebody else.
    NotYours(Box<Lease>),
    /// It went to another holder since: the fence that was named is not the present one.
    Fenced(Box<Lease>),
    /// It was the caller's, and somebody ended it: it no longer stood, or an operator insisted.
    Expired(Box<Ended>),
}

/// How a lease ended that somebody else has ended: by whom, and why, as far as that is on record.
pub fn told_of(ended: &Ended) -> String {
    let Ended { lease, lane, at, .. } = ended;
    let why = ended.evicted.map_or("given back", Standing::as_str);
    match (&ended.by, &ended.forced) {
        (Some(by), Some(forced)) => format!(
            "lease {lease} of lane `{lane}` was ended by force by `{by}`: {} (record {at})",
            shown(forced.as_str(), 400)
        ),
        (Some(by), None) => {
            format!("lease {lease} of lane `{lane}` was {why}, and `{by}` ended it (record {at})")
        }
        (None, _) => format!(
            "lease {lease} of lane `{lane}` was {why} and ended by somebody who needed its place (record {at})"
        ),
    }
}

/// What giving back came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The lease that was.
    pub lease: Lease,
    /// The record that ended it.
    pub seq: Option<Seq>,
}

/// What a holder says of its phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhaseWish {
    /// It is in this one, and means to be for no longer than that.
    Enter(PhaseName, Option<Span>),
    /// It is in none.
    Clear,
}

/// What a beat came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// The lease.
    pub lease: LeaseId,
    /// Its fence.
    pub fence: Fence,
    /// Its lane.
    pub lane: LaneName,
    /// Until when it lives if nobody beats again.
    pub expires_at: Timestamp,
    /// Whether the last beat was recent enough and nothing was written.
    pub coalesced: bool,
    /// The stop decision on record, if any.
    pub halted: Option<Halted>,
    /// What the holder is at the end of, if it said so.
    pub phase: Option<Box<Phase>>,
    /// The record of the beat.
    pub seq: Option<Seq>,
}

impl<M: Machine> Session<M> {
    /// Gives a lease back.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn release(
        &mut self,
        which: &Which,
        fence: Option<Fence>,
    ) -> Result<Result<Released, Miss>, LeaseError> {
        let done = self.on_own(which, fence, |_, lease| {
            let release = Release {
                lane: lease.lane.clone(),
                owner: lease.owner.clone(),
                lease: lease.lease,
                fence: lease.fence,
                why: None,
                withdrawn: false,
            };
            Ok((vec![Op::Release(release)], lease.clone()))
        })?;
        Ok(done.map(|done| Released { lease: done.answer, seq: done.last }))
    }

    /// Says that the holder is still there. A beat younger than `coalesce` counts for this one too.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn heartbeat(
        &mut self,
        which: &Which,
        fence: Option<Fence>,
        coalesce: Option<Span>,
    ) -> Result<Result<Beaten, Miss>, LeaseError> {
        self.beat(which, fence, coalesce, None)
    }

    /// As [`Session::heartbeat`], and says what the holder is at the end of. A phase that it is in already, with the
    /// same budget, is not written again.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn beat(
        &mut self,
        which: &Which,
        fence: Option<Fence>,
        coalesce: Option<Span>,
        wish: Option<&PhaseWish>,
    ) -> Result<Result<Beaten, Miss>, LeaseError> {
        let machine = self.machine.clone();
        let done = self.on_own(which, fence, |moment, lease| {
            let reading = machine.clock().reading();
            let recent = coalesce.is_some_and(|span| lease.age(moment.now, &reading) < span);
            let mut beaten = Beaten::of(lease, (!recent).then_some(moment.now));
            let mut ops = Vec::new();
            if let Some(wish) = wish {
                let after = phase_after(lease, wish, moment.now, &reading);
                let is_new = after != lease.phase;
                beaten.phase = after;
                if is_new {
                    let (phase, budget) = match wish {
                        PhaseWish::Enter(name, budget) => (Some(name.clone()), *budget),
                        PhaseWish::Clear => (None, None),
                    };
                    ops.push(Op::Phase(Box::new(PhaseChange {
                        lane: lease.lane.clone(),
                        owner: lease.owner.clone(),
                        lease: lease.lease,
                        fence: lease.fence,
                        phase,
                        budget,
                        clock: reading.clone(),
                    })));
                }
            }
            if !recent {
                ops.push(Op::Heartbeat(Heartbeat {
                    lane: lease.lane.clone(),
                    owner: lease.owner.clone(),
                    lease: lease.lease,
                    fence: lease.fence,
                    clock: reading,
                }));
            }
            Ok((ops, beaten))
        })?;
        Ok(done.map(|done| Beaten { seq: done.last, ..done.answer }))
    }

    /// Binds the lease to more processes: it is held as long as any of them lives. Counts as a beat.
    ///
    /// # Errors
    ///
    /// [`LeaseError::TooManyProcesses`], or any other. A [`Miss`] is an answer.
    pub fn attach(
        &mut self,
        which: &Which,
        fence: Option<Fence>,
        more: &[ProcessIdentity],
    ) -> Result<Result<Beaten, Miss>, LeaseError> {
        let machine = self.machine.clone();
        let done = self.on_own(which, fence, |moment, lease| {
            // One that was left out would be the one that lives.
            if lease.processes.len() + more.len() > PROCESSES_MAX {
                return Err(LeaseError::TooManyProcesses { lease: lease.lease, most: PROCESSES_MAX });
            }
            let attach = Attach {
                lane: lease.lane.clone(),
                owner: lease.owner.clone(),
                lease: lease.lease,
                fence: lease.fence,
                clock: machine.clock().reading(),
                processes: more.to_vec(),
            };
            Ok((vec![Op::Attach(Box::new(attach))], Beaten::of(lease, Some(moment.now))))
        })?;
        Ok(done.map(|done| Beaten { seq: done.last, ..done.answer }))
    }

    /// Why a beat would be none; `None` while it would be one. Never writes.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn miss(&mut self, which: &Which, fence: Option<Fence>) -> Result<Option<Miss>, LeaseError> {
        let mut store = self.reading();
        let empty = State::default();
        let state = store.load()?.unwrap_or(&empty);
        Ok(find(state, which, fence, &self.owner, self.worktree.as_ref()).err())
    }

    /// As [`Session::on_lease`], with the one that is meant, if it is the caller's.
    fn on_own<T>(
        &mut self,
        which: &Which,
        fence: Option<Fence>,
        decide: impl FnMut(Moment<'_>, &Lease) -> Result<(Vec<Op>, T), LeaseError>,
    ) -> Result<Result<Done<T>, Miss>, LeaseError> {
        let (owner, worktree) = (self.owner.clone(), self.worktree.clone());
        self.on_lease(which, |state| find(state, which, fence, &owner, worktree.as_ref()), decide)
    }

    /// Writes what is decided about the lease that is picked, if anything is to be written.
    pub(super) fn on_lease<T>(
        &mut self,
        which: &Which,
        pick: impl Fn(&State) -> Result<&Lease, Miss>,
        mut decide: impl FnMut(Moment<'_>, &Lease) -> Result<(Vec<Op>, T), LeaseError>,
    ) -> Result<Result<Done<T>, Miss>, LeaseError> {
        if let Some(miss) = self.nothing_there()? {
            return Ok(Err(miss));
        }
        let mut attempt = |interest: Option<&Interest>| {
            self.transact_on(interest, |moment| {
                let lease = match pick(moment.state) {
                    Ok(lease) => lease,
                    // What became of it is for those to say who have read all.
                    Err(_) if !moment.state.is_whole() => return Ok(Decision::Answer(None)),
                    Err(miss) => return Ok(Decision::Answer(Some(Err(miss)))),
                };
                let (ops, answer) = decide(moment, lease)?;
                let answer = Some(Ok(answer));
                Ok(if ops.is_empty() { Decision::Answer(answer) } else { Decision::Write(ops, answer) })
            })
        };
        let interest = which.interest();
        let mut done = attempt(Some(&interest))?;
        if done.answer.is_none() {
            done = attempt(None)?;
        }
        let Done { answer, last } = done;
        Ok(answer.expect("who has read all has an answer").map(|answer| Done { answer, last }))
    }

    /// Nobody holds anything in a store without records, and asking makes none.
    pub(super) fn nothing_there(&mut self) -> Result<Option<Miss>, LeaseError> {
        Ok((!self.store.has_begun()?).then_some(Miss::NotHeld))
    }
}

impl Beaten {
    /// Of a lease as it was found; `at`: of a beat that counts from then on.
    fn of(lease: &Lease, at: Option<Timestamp>) -> Beaten {
        let heartbeat_at = at.map_or(lease.heartbeat_at, |at| lease.heartbeat_at.max(at));
        Beaten {
            lease: lease.lease,
            fence: lease.fence,
            lane: lease.lane.clone(),
            expires_at: heartbeat_at.plus(lease.ttl),
            coalesced: at.is_none(),
            halted: lease.halted.clone(),
            phase: lease.phase.clone(),
            seq: None,
        }
    }
}

/// What a lease is in once its holder has said so.
fn phase_after(
    lease: &Lease,
    wish: &PhaseWish,
    now: Timestamp,
    reading: &ClockReading,
) -> Option<Box<Phase>> {
    match wish {
        PhaseWish::Enter(name, budget) => {
            let before = lease.phase.as_deref();
            Some(Box::new(Phase::entered(before, name, *budget, now, reading)))
        }
        PhaseWish::Clear => None,
    }
}

/// The live lease that one in `worktree` means.
pub(super) fn meant<'s>(
    live: &'s LiveSet,
    which: &Which,
    worktree: Option<&WorktreeName>,
) -> Option<&'s Lease> {
    match which {
        Which::Lane(lane) => live.in_lane(lane, worktree),
        Which::Lease(id) => live.get(*id),
    }
}

/// The live lease that is meant, if it is the caller's.
pub(super) fn find<'s>(
    state: &'s State,
    which: &Which,
    fence: Option<Fence>,
    owner: &OwnerName,
    worktree: Option<&WorktreeName>,
) -> Result<&'s Lease, Miss> {
    let Some(lease) = meant(&state.live, which, worktree) else {
        let was_theirs = |ended: &&Ended| {
            let is_meant = match which {
                Which::Lane(lane) => {
                    ended.lane.same_as(lane) && !are_apart(ended.worktree.as_ref(), worktree)
                }
                Which::Lease(id) => ended.lease == *id,
            };
            is_meant && ended.owner == *owner
        };
        let last = state.ended_lately().find(was_theirs);
        return Err(match last {
            Some(ended) if ended.evicted.is_some() => Miss::Expired(Box::new(ended.clone())),
            _ => Miss::NotHeld,
        });
    };
    if fence.is_some_and(|fence| fence != lease.fence) {
        return Err(Miss::Fenced(Box::new(lease.clone())));
    }
    if lease.owner != *owner {
        return Err(Miss::NotYours(Box::new(lease.clone())));
    }
    Ok(lease)
}
