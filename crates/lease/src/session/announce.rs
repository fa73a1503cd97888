//! Decisions that are put on record and do nothing by themselves: a run shall stop, a run is coming.

use arbiter::lease::{Lease, LiveSet};
use arbiter::name::LaneName;
use arbiter::request::{Note, RunId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::worktree::WorktreeName;
use journal::record::{Halt, Op, Spawn};

use super::holder::{Miss, Which, meant};
use super::{Decision, LeaseError, Session};
use crate::machine::Machine;

/// What shall stop.
#[derive(Clone, Debug)]
pub struct StopOrder {
    /// What shall stop, as the one who decided calls it.
    pub handle: Note,
    /// The lease it concerns. Without one: every lease of which the handle is the run id, the lane or the owner.
    pub which: Option<Which>,
    /// Only if the lease's fence is still this.
    pub fence: Option<Fence>,
    /// The command with which it shall be stopped.
    pub command: Option<Note>,
    /// Why.
    pub why: Option<Note>,
}

/// What a stop decision came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// The live leases that show it from now on, as they were before; none where none is called so, or nobody holds the lane.
    pub leases: Vec<Lease>,
    /// The last of its records.
    pub seq: Option<Seq>,
}

impl<M: Machine> Session<M> {
    /// Puts on record that a run shall stop: one record for each lease it concerns, or one if it concerns none. Nothing
    /// is signalled, and a lease that comes later is not concerned.
    ///
    /// A lane that nobody holds may be named; a lease that does not live may not, since it never will again.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn halt(&mut self, order: &StopOrder) -> Result<Result<Stopping, Miss>, LeaseError> {
        let (owner, worktree) = (self.owner.clone(), self.worktree.clone());
        if let Some(Which::Lease(_)) = order.which
            && let Some(miss) = self.nothing_there()?
        {
            return Ok(Err(miss));
        }
        let done = self.transact(|moment| {
            let leases = match concerned(&moment.state.live, order, worktree.as_ref()) {
                Ok(leases) => leases,
                Err(miss) => return Ok(Decision::Answer(Err(miss))),
            };
            let record = |lane: Option<&LaneName>, lease: Option<LeaseId>| {
                Op::Halt(Box::new(Halt {
                    handle: order.handle.clone(),
                    owner: owner.clone(),
                    lane: lane.cloned(),
                    lease,
                    command: order.command.clone(),
                    why: order.why.clone(),
                }))
            };
            let mut ops: Vec<Op> =
                leases.iter().map(|lease| record(Some(&lease.lane), Some(lease.lease))).collect();
            if ops.is_empty() {
                let lane = match &order.which {
                    Some(Which::Lane(lane)) => Some(lane),
                    _ => None,
                };
                ops.push(record(lane, None));
            }
            Ok(Decision::Write(ops, Ok(leases)))
        })?;
        let seq = done.last;
        Ok(done.answer.map(|leases| Stopping { leases, seq }))
    }

    /// Puts on record that a run is coming. It grants nothing and blocks nothing.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn spawn(
        &mut self,
        lane: &LaneName,
        run_id: Option<&RunId>,
        why: Option<&Note>,
    ) -> Result<Option<Seq>, LeaseError> {
        let spawn = Spawn {
            lane: lane.clone(),
            owner: self.owner.clone(),
            run_id: run_id.cloned(),
            why: why.cloned(),
        };
        Ok(self.transact(|_| Ok(Decision::Write(vec![Op::Spawn(Box::new(spawn.clone()))], ())))?.last)
    }
}

/// The live leases that a stop decision concerns.
fn concerned(live: &LiveSet, order: &StopOrder, worktree: Option<&WorktreeName>) -> Result<Vec<Lease>, Miss> {
    let leases: Vec<Lease> = match &order.which {
        Some(which @ Which::Lane(_)) => meant(live, which, worktree).into_iter().cloned().collect(),
        Some(Which::Lease(id)) => vec![live.get(*id).ok_or(Miss::NotHeld)?.clone()],
        None => live.iter().filter(|lease| is_called(lease, &order.handle)).cloned().collect(),
    };
    let Some(fence) = order.fence else { return Ok(leases) };
    match leases.iter().find(|lease| lease.fence != fence) {
        Some(other) => Err(Miss::Fenced(Box::new(other.clone()))),
        None if leases.is_empty() => Err(Miss::NotHeld),
        None => Ok(leases),
    }
}

/// Whether a handle is the run id, the lane or the owner of a lease.
fn is_called(lease: &Lease, handle: &Note) -> bool {
    lease.run_id.as_ref().is_some_and(|run_id| run_id.as_str() == handle.as_str())
        || lease.owner.as_str() == handle.as_str()
        || LaneName::new(handle.as_str()).is_ok_and(|lane| lease.lane.same_as(&lane))
}
