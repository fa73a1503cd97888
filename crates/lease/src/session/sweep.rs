//! Ending leases that nobody holds any more, although nobody needs their place yet.
//!
//! The rules are [`arbiter::reap`]'s. Each lease is claimed by its own compare-and-append: of two sweeps at once, one
//! writes the SCAVENGE, and the other finds the lease gone and does nothing. The record is all there is to it: no
//! process is signalled and no file touched.

use std::time::Duration;

use arbiter::lease::Lease;
use arbiter::name::LaneName;
use arbiter::policy::Policy;
use arbiter::reap::{Fate, LOOKS_APART, Look, Tier, reap};
use arbiter::request::Note;
use arbiter::seq::{LeaseId, Seq};
use arbiter::time::Timestamp;
use journal::JournalError;
use journal::record::{Defer, Op, PolicyChange, Scavenge};
use journal::store::Store;

use super::{Decision, LeaseError, Moment, Session, moment_of, observe};
use crate::machine::Machine;
use crate::mutex::MutexError;

/// What shall be swept, and how.
#[derive(Clone, Debug, Default)]
pub struct Sweeping {
    /// Only the lease in this lane.
    pub lane: Option<LaneName>,
    /// Decide and write nothing.
    pub dry_run: bool,
    /// The policy of the one who sweeps; none: the one on record.
    pub policy: Option<Policy>,
}

/// What a sweep came to. Every lease that was looked at is in one of the lists.
#[derive(Debug, Default)]
pub struct Swept {
    /// Those that ended, and by which rule.
    pub reclaimed: Vec<(SweptLease, Tier)>,
    /// Those whose time is over and which are waited for, and until when.
    pub deferred: Vec<(SweptLease, Timestamp)>,
    /// Those that stay.
    pub kept: Vec<SweptLease>,
    /// Those that somebody else ended or changed hands of first. Nothing was done about them.
    pub gone: Vec<SweptLease>,
    /// Those about which nothing could be done. The others were swept all the same.
    pub failed: Vec<(LeaseId, LeaseError)>,
}

/// One lease of a sweep.
#[derive(Clone, Debug)]
pub struct SweptLease {
    /// The lease as it was found.
    pub lease: Lease,
    /// Why, in words.
    pub reason: String,
    /// The record that was written for it.
    pub seq: Option<Seq>,
}

/// What was decided about one lease in the end; none when it is no longer the one that was looked at.
struct Outcome {
    fate: Option<Fate>,
    reason: String,
    /// Whether the record that says so is there already, or none is needed.
    settled: bool,
    look: Look,
}

impl<M: Machine> Session<M> {
    /// Ends what nobody holds any more (feature C9).
    ///
    /// # Errors
    ///
    /// [`LeaseError`] when nothing can be decided about any lease. What concerns one lease is in [`Swept::failed`].
    pub fn sweep(&mut self, sweeping: &Sweeping) -> Result<Swept, LeaseError> {
        let mut store = self.reading();
        let Some(state) = store.load()? else { return Ok(Swept::default()) };
        let policy = sweeping.policy.as_ref().unwrap_or(&state.policy).clone();
        let is_meant = |lease: &&Lease| sweeping.lane.as_ref().is_none_or(|lane| lease.lane.same_as(lane));
        let leases: Vec<Lease> = state.live.iter().filter(is_meant).cloned().collect();
        let earlier: Vec<Look> = leases.iter().map(|lease| self.look(lease, &policy)).collect();
        if earlier.iter().any(|look| look.observed.alive == arbiter::evidence::Liveness::No) {
            // A little more than is asked for: the clock that tells counts in milliseconds.
            self.machine.pause(Duration::from_millis(LOOKS_APART.as_ms() + 50));
        }
        let mut swept = Swept::default();
        for (lease, earlier) in leases.into_iter().zip(earlier) {
            let moment = moment_of(&store, self.now())?;
            let mut outcome = decide(&self.machine, moment, &lease, &earlier, &policy);
            let mut seq = None;
            if !outcome.settled && !sweeping.dry_run {
                match self.claim(&lease, &earlier, sweeping) {
                    Ok((claimed, last)) => (outcome, seq) = (claimed, last),
                    Err(error) if is_of_one_lease(&error) => {
                        swept.failed.push((lease.lease, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            swept.take(SweptLease { lease, reason: outcome.reason, seq }, outcome.fate);
        }
        Ok(swept)
    }

    /// Decides again on the present state and writes that down, if the lease is still the one that was looked at.
    fn claim(
        &mut self,
        lease: &Lease,
        earlier: &Look,
        sweeping: &Sweeping,
    ) -> Result<(Outcome, Option<Seq>), LeaseError> {
        let (machine, by) = (self.machine.clone(), self.owner.clone());
        let done = self.transact(|moment| {
            let policy = sweeping.policy.as_ref().unwrap_or(&moment.state.policy);
            let outcome = decide(&machine, moment, lease, earlier, policy);
            let (false, Some(lease), Some(fate)) =
                (outcome.settled, moment.state.live.get(lease.lease), outcome.fate)
            else {
                return Ok(Decision::Answer(outcome));
            };
            let mut ops = Vec::new();
            if moment.state.policy != *policy {
                ops.push(Op::Policy(Box::new(PolicyChange { policy: policy.clone() })));
            }
            ops.push(match fate {
                Fate::Reclaim(tier) => Op::Scavenge(Box::new(Scavenge {
                    lane: lease.lane.clone(),
                    owner: lease.owner.clone(),
                    lease: lease.lease,
                    fence: lease.fence,
                    why: tier.standing(),
                    by: by.clone(),
                    forced: None,
                    clock: outcome.look.clock.clone(),
                    observed: Some(outcome.look.observed.clone()),
                    tier: Some(tier),
                    earlier: (tier == Tier::Dead).then(|| earlier.clone()),
                })),
                Fate::Defer { until } => Op::Defer(Box::new(Defer {
                    lane: lease.lane.clone(),
                    owner: lease.owner.clone(),
                    lease: lease.lease,
                    fence: lease.fence,
                    why: Note::new(&outcome.reason).expect("a reason is short"),
                    until,
                    by: by.clone(),
                    clock: outcome.look.clock.clone(),
                    observed: outcome.look.observed.clone(),
                })),
                Fate::Keep(_) => return Ok(Decision::Answer(outcome)),
            });
            Ok(Decision::Write(ops, outcome))
        })?;
        Ok((done.answer, done.last))
    }

    fn look(&self, lease: &Lease, policy: &Policy) -> Look {
        look(&self.machine, lease, policy)
    }
}

impl Swept {
    fn take(&mut self, lease: SweptLease, fate: Option<Fate>) {
        match fate {
            Some(Fate::Reclaim(tier)) => self.reclaimed.push((lease, tier)),
            Some(Fate::Defer { until }) => self.deferred.push((lease, until)),
            Some(Fate::Keep(_)) => self.kept.push(lease),
            None => self.gone.push(lease),
        }
    }
}

fn look<M: Machine>(machine: &M, lease: &Lease, policy: &Policy) -> Look {
    // The processes first: what is seen dead was dead at the time on the clock.
    let observed = observe(machine, lease, policy);
    Look { clock: machine.clock().reading(), observed }
}

/// What becomes of the lease that was `found` before, as the state is now.
fn decide<M: Machine>(
    machine: &M,
    moment: Moment<'_>,
    found: &Lease,
    earlier: &Look,
    policy: &Policy,
) -> Outcome {
    let present = moment.state.live.get(found.lease).filter(|lease| lease.fence == found.fence);
    let Some(lease) = present else {
        let reason = "somebody else ended it, or has it now".to_owned();
        return Outcome { fate: None, reason, settled: true, look: earlier.clone() };
    };
    let look = look(machine, lease, policy);
    let fate = reap(lease, Some(earlier), &look, policy, moment.now);
    let settled = match fate {
        Fate::Keep(_) => true,
        Fate::Defer { .. } => lease.phase.as_ref().is_some_and(|phase| phase.deferred_at.is_some()),
        Fate::Reclaim(_) => false,
    };
    Outcome { fate: Some(fate), reason: fate.reason(lease.phase.as_deref()), settled, look }
}

/// Whether another lease may fare better.
fn is_of_one_lease(error: &LeaseError) -> bool {
    !matches!(
        error,
        LeaseError::Mutex(MutexError::Busy { .. })
            | LeaseError::Journal(JournalError::Damaged(_) | JournalError::Newer { .. } | JournalError::Full)
    )
}
