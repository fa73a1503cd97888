//! What operators do: compact, repair, bring another tool's leases over.

use arbiter::lease::Lease;
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::seq::{LeaseId, Seq};
use arbiter::verdict::{Refusal, Verdict};
use journal::JournalError;
use journal::history::{self, Keep};
use journal::record::Record;
use journal::repair::{self, Operator, Plan};
use journal::store::Store;

use super::acquire::{Ask, decide};
use super::{Decision, LeaseError, Moment, Session};
use crate::machine::Machine;

/// What a compaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Segments there were.
    pub segments_before: usize,
    /// Segments there are.
    pub segments_after: usize,
    /// Bytes of history that are gone.
    pub bytes_reclaimed: u64,
    /// Live leases, none of which is gone.
    pub live: usize,
}

/// What bringing leases over came to.
#[derive(Clone, Debug)]
pub enum Imported {
    /// All of them live here now.
    All(Vec<Lease>),
    /// One of them collides; none was brought over.
    Refused(Box<Refusal>),
}

impl<M: Machine> Session<M> {
    /// Makes the first record where there is none. `false`: there was one.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn init(&mut self) -> Result<bool, LeaseError> {
        if self.store.load()?.is_some() {
            return Ok(false);
        }
        let guard = self.enter()?;
        let writing = self.writing()?;
        self.store.prepare(writing)?;
        drop(guard);
        Ok(true)
    }

    /// Closes the active segment with a checkpoint and drops history.
    ///
    /// `keep` none means what the policy says.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn compact(&mut self, keep: Option<Keep>) -> Result<Compacted, LeaseError> {
        let segments_before = history::roots(&self.disk)?.len();
        let guard = self.enter()?;
        let writing = self.writing()?;
        self.store.prepare(writing)?;
        // A segment that is its checkpoint and nothing else is as compact as can be.
        let is_fresh = self.store.segment().is_some_and(|segment| {
            segment.chain.head().is_some_and(|head| head.seq == segment.root) && segment.root != Seq::FIRST
        });
        if !is_fresh {
            self.store.seal(writing)?;
        }
        let state = self.store.segment().map(|segment| &segment.state);
        let policy = state.map_or_else(Policy::default, |state| state.policy.clone());
        let live = state.map_or(0, |state| state.live.len());
        let keep = keep.unwrap_or_else(|| Keep::by_policy(&policy));
        let bytes_reclaimed = history::prune(&self.disk, keep, writing.ts)?;
        if !guard.is_bypass() {
            self.sweep_strays()?;
        }
        drop(guard);
        self.store.tend_index();
        let segments_after = history::roots(&self.disk)?.len();
        Ok(Compacted { segments_before, segments_after, bytes_reclaimed, live })
    }

    /// What a repair would do; `None` when nothing is damaged. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn plan_repair(&self) -> Result<Option<Plan>, LeaseError> {
        Ok(repair::plan(&self.disk)?)
    }

    /// Repairs; `None` when nothing is damaged.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn repair(&mut self) -> Result<Option<Plan>, LeaseError> {
        let guard = self.enter()?;
        let clock = self.machine.clock().reading();
        let operator = Operator { owner: self.owner.clone(), clock, writing: self.writing()? };
        // The line ends with what is repaired, whoever stood in it.
        let ringing = self.machine.ring();
        let plan = repair::repair(&self.disk, &operator)?;
        drop(guard);
        drop(ringing);
        Ok(plan)
    }

    /// Asks for all these leases of another tool, in one write: all of them come over or none does.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    ///
    /// # Panics
    ///
    /// When the arbiter grants a lease that cannot live beside the others, which it does not.
    pub fn import(&mut self, requests: &[Request], policy: &Policy) -> Result<Imported, LeaseError> {
        let machine = self.machine.clone();
        let done = self.transact(|moment| {
            let mut state = moment.state.clone();
            let mut next = moment.next;
            let mut ops = Vec::new();
            let mut leases = Vec::new();
            for request in requests {
                let ask = Ask {
                    request: request.clone(),
                    policy: policy.clone(),
                    with_leases: Vec::new(),
                    dry_run: false,
                };
                let (verdict, more) =
                    decide(&machine, &ask, &Region::default(), &Moment { state: &state, ..moment });
                if let Verdict::Refuse(refusal) = verdict {
                    return Ok(Decision::Answer(Imported::Refused(Box::new(refusal))));
                }
                for op in more {
                    let record = Record { seq: next, ts: moment.now, nonce: 0, op };
                    state.apply(&record).expect("the arbiter granted it beside what lives");
                    leases.extend(state.live.get(LeaseId::from(next)).cloned());
                    next = next.next().ok_or(JournalError::Full)?;
                    ops.push(record.op);
                }
            }
            Ok(if ops.is_empty() {
                Decision::Answer(Imported::All(leases))
            } else {
                Decision::Write(ops, Imported::All(leases))
            })
        })?;
        Ok(done.answer)
    }
}
