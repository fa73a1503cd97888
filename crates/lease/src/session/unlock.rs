//! Ending a lease from outside: what no longer stands on the evidence, anything else by force and on record.

use arbiter::evidence::{Liveness, Observation};
use arbiter::lease::{Lease, Standing};
use arbiter::request::Note;
use arbiter::seq::{Fence, Seq};
use arbiter::time::Timestamp;
use arbiter::worktree::WorktreeName;
use journal::record::{Op, Scavenge};
use journal::state::State;

use super::holder::{Miss, Which, meant};
use super::{LeaseError, Session, observe};
use crate::machine::Machine;

/// Which lease an operator wants ended.
#[derive(Clone, Debug)]
pub struct Unlocking {
    /// The lease, whoever holds it.
    pub which: Which,
    /// Only if its fence is still this.
    pub fence: Option<Fence>,
    /// Why it shall end even if it stands; without it, it ends only if it does not.
    pub force: Option<Note>,
}

/// What became of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// The lease as its holder had it.
    pub lease: Lease,
    /// What can be seen of its processes; unknown where it is bound to none.
    pub alive: Liveness,
    /// How it stood.
    pub standing: Standing,
    /// From when on it does not stand unless it beats or is seen alive.
    pub stands_until: Timestamp,
    /// Whether it is ended.
    pub ended: bool,
    /// Whether that took force.
    pub forced: bool,
    /// The record that ended it.
    pub seq: Option<Seq>,
}

impl<M: Machine> Session<M> {
    /// Ends a lease that is expired or dead, or, with force, any. Nothing is signalled; its holder is told when it comes
    /// back. The evidence is in the record, so that it can be judged again.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn unlock(&mut self, unlocking: &Unlocking) -> Result<Result<Unlocked, Miss>, LeaseError> {
        let Unlocking { which, fence, force } = unlocking;
        let machine = self.machine.clone();
        let (by, worktree) = (self.owner.clone(), self.worktree.clone());
        let done = self.on_lease(
            which,
            |state| named(state, which, *fence, worktree.as_ref()),
            |moment, lease| {
                let state = moment.state;
                let observed: Option<Observation> =
                    (!lease.processes.is_empty()).then(|| observe(&machine, lease, &state.policy));
                let alive = observed.as_ref().map(|seen| seen.alive).unwrap_or_default();
                let clock = machine.clock().reading();
                let grace = state.policy.grace_of(lease);
                let standing = lease.standing_under(&state.policy, observed.as_ref(), moment.now, &clock);
                let forced = force.clone().filter(|_| standing == Standing::Held);
                let unlocked = Unlocked {
                    lease: lease.clone(),
                    alive,
                    standing,
                    stands_until: lease.expires_at().plus(grace),
                    ended: standing != Standing::Held || forced.is_some(),
                    forced: forced.is_some(),
                    seq: None,
                };
                if !unlocked.ended {
                    return Ok((Vec::new(), unlocked));
                }
                let record = Scavenge {
                    lane: lease.lane.clone(),
                    owner: lease.owner.clone(),
                    lease: lease.lease,
                    fence: lease.fence,
                    why: standing,
                    by: by.clone(),
                    forced,
                    clock,
                    observed,
                    tier: None,
                    earlier: None,
                };
                Ok((vec![Op::Scavenge(Box::new(record))], unlocked))
            },
        )?;
        Ok(done.map(|done| Unlocked { seq: done.last, ..done.answer }))
    }
}

/// The live lease that is meant, whoever holds it.
fn named<'s>(
    state: &'s State,
    which: &Which,
    fence: Option<Fence>,
    worktree: Option<&WorktreeName>,
) -> Result<&'s Lease, Miss> {
    let lease = meant(&state.live, which, worktree).ok_or(Miss::NotHeld)?;
    if fence.is_some_and(|fence| fence != lease.fence) {
        return Err(Miss::Fenced(Box::new(lease.clone())));
    }
    Ok(lease)
}
