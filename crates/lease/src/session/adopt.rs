//! Taking a live lease over: another holder, the same lease.

use arbiter::evidence::ProcessIdentity;
use arbiter::lease::{Halted, Lease};
use arbiter::name::OwnerName;
use arbiter::request::PROCESSES_MAX;
use arbiter::seq::{Fence, Seq};
use arbiter::worktree::WorktreeName;
use journal::record::{Adopt, Op};
use journal::state::{self, State};

use super::holder::{Miss, Which, find};
use super::{Done, LeaseError, Session, observe};
use crate::machine::Machine;

/// Who takes which lease from whom.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The lease.
    pub which: Which,
    /// Only if its fence is still this.
    pub fence: Option<Fence>,
    /// Who must hold it until now.
    pub from: OwnerName,
    /// Processes that are attached beside those that are there.
    pub processes: Vec<ProcessIdentity>,
}

/// What taking over came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The lease as it is now.
    pub lease: Lease,
    /// What can be seen of its processes, the new ones included.
    pub alive: arbiter::evidence::Liveness,
    /// Its stop decision: it was meant for the run and stays.
    pub halted: Option<Halted>,
    /// The record, whose number is the new fence.
    pub seq: Option<Seq>,
}

impl<M: Machine> Session<M> {
    /// Takes a live lease over from the one who holds it. Number, region, TTL and processes stay; the fence grows, so
    /// that the former holder can do nothing more with it. It counts as a beat.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. A [`Miss`] is an answer.
    pub fn adopt(&mut self, adoption: &Adoption) -> Result<Result<Adopted, Miss>, LeaseError> {
        let (owner, worktree) = (self.owner.clone(), self.worktree.clone());
        let machine = self.machine.clone();
        let mut policy = None;
        let done = self.on_lease(
            &adoption.which,
            |state| held_by(state, adoption, worktree.as_ref()),
            |moment, lease| {
                policy = Some(moment.state.policy.clone());
                let mut adopted = lease.clone();
                adopted.owner = owner.clone();
                adopted.heartbeat_at = lease.heartbeat_at.max(moment.now);
                state::attach(&mut adopted.processes, &adoption.processes);
                if adoption.processes.iter().any(|process| !adopted.processes.contains(process)) {
                    return Err(LeaseError::TooManyProcesses { lease: lease.lease, most: PROCESSES_MAX });
                }
                let clock = machine.clock().reading();
                adopted.clock = Some(clock.clone());
                let record = Adopt {
                    lane: lease.lane.clone(),
                    owner: owner.clone(),
                    from: adoption.from.clone(),
                    lease: lease.lease,
                    fence: lease.fence,
                    clock,
                    processes: adoption.processes.clone(),
                };
                Ok((vec![Op::Adopt(Box::new(record))], adopted))
            },
        )?;
        Ok(done.map(|Done { answer: mut lease, last: seq }| {
            lease.fence = seq.map_or(lease.fence, Fence::from);
            let alive = observe(&self.machine, &lease, &policy.unwrap_or_default()).alive;
            Adopted { alive, halted: lease.halted.clone(), lease, seq }
        }))
    }
}

/// The live lease that is meant, if it is held by whom it shall be taken from.
fn held_by<'s>(
    state: &'s State,
    adoption: &Adoption,
    worktree: Option<&WorktreeName>,
) -> Result<&'s Lease, Miss> {
    find(state, &adoption.which, adoption.fence, &adoption.from, worktree).map_err(|miss| match miss {
        // That it was evicted is said to its holder; nobody else has lost it.
        Miss::Expired(_) => Miss::NotHeld,
        miss => miss,
    })
}
