//! Asking for a lease.

use std::time::Duration;

use arbiter::decide::{Question, aimed_at, arbitrate, contenders};
use arbiter::evidence::Evidence;
use arbiter::lease::Lease;
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::{Note, Request};
use arbiter::seq::{LeaseId, Seq};
use arbiter::verdict::{Refusal, Verdict};
use journal::JournalError;
use journal::decision::records;
use journal::record::{Op, PolicyChange, Release};
use journal::state::{State, fingerprint};
use journal::store::Store;

use super::{Decision, LeaseError, Moment, Session, chain_of, moment_of, observe};
use crate::machine::{Machine, Watch};
use crate::mutex::MutexError;

/// A request with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is asked.
    pub request: Request,
    /// The policy of the one who asks.
    pub policy: Policy,
    /// Leases kept elsewhere that count as live.
    pub with_leases: Vec<Lease>,
    /// Decide and write nothing.
    pub dry_run: bool,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub struct Acquired {
    /// The verdict.
    pub verdict: Verdict,
    /// The record with the verdict; `None` when none was written.
    pub seq: Option<Seq>,
    /// Whether this is the first verdict given again.
    pub repeated: bool,
    /// Whether a wait came to its end without a grant.
    pub timed_out: bool,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusing {
    /// It is written down, and is the answer to the request of that name.
    OnRecord,
    /// It is written down and is no answer yet: the caller waits.
    OnRecordWithoutName,
    /// It was written down before.
    OffRecord,
}

/// An answer before it has a record, or the first answer to a repeated request.
enum Answer {
    New(Verdict),
    Again(Verdict, Seq),
}

impl<M: Machine> Session<M> {
    /// Asks for a lease.
    ///
    /// A refusal that could not be written is still a refusal, with `seq` none.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]; then nothing was granted.
    pub fn acquire(&mut self, ask: &Ask) -> Result<Acquired, LeaseError> {
        self.attempt(ask, Refusing::OnRecord)
    }

    /// Asks for a lease and, while it is refused, waits for the journal to change, at most for `most`. Before it
    /// waits for the first time it calls `waits`, once.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]; then nothing was granted.
    pub fn acquire_waiting(
        &mut self,
        ask: &Ask,
        most: Duration,
        waits: impl FnOnce(&Refusal),
    ) -> Result<Acquired, LeaseError> {
        // Processes end and leases expire without a record, so look now and then even if nothing is written.
        const LOOK_AGAIN: Duration = Duration::from_millis(200);
        let began = self.machine.uptime();
        let mut watch = self.machine.watch();
        let mut answer = match self.repeated(ask)? {
            Some(answer) => return Ok(answer),
            None if most.is_zero() => self.attempt(ask, Refusing::OnRecord)?,
            None => self.attempt(ask, Refusing::OnRecordWithoutName)?,
        };
        if let Verdict::Refuse(refusal) = &answer.verdict
            && !refusal.code.may_pass()
        {
            return Ok(answer);
        }
        if let Verdict::Refuse(refusal) = &answer.verdict
            && !most.is_zero()
        {
            waits(refusal);
        }
        loop {
            if matches!(answer.verdict, Verdict::Grant(_)) || answer.repeated {
                return Ok(answer);
            }
            let left = most.saturating_sub(self.waited(began));
            if left.is_zero() {
                answer.timed_out = true;
                return Ok(answer);
            }
            watch.wait(left.min(LOOK_AGAIN));
            let seq = answer.seq;
            answer = self.attempt(ask, Refusing::OffRecord)?;
            answer.seq = answer.seq.or(seq);
        }
    }

    /// The answer that was given to this request before, if it has a name and was.
    fn repeated(&mut self, ask: &Ask) -> Result<Option<Acquired>, LeaseError> {
        if ask.request.request_id.is_none() {
            return Ok(None);
        }
        self.store.load()?;
        if self.store.is_poisoned() {
            // A sync here proves nothing; an attempt goes to a new segment first.
            return Ok(None);
        }
        let moment = moment_of(&self.store, self.now())?;
        let Some(Answer::Again(verdict, at)) = answer_again(ask, moment.state)? else { return Ok(None) };
        self.store.confirm()?;
        Ok(Some(Acquired { verdict, seq: Some(at), repeated: true, timed_out: false }))
    }

    fn attempt(&mut self, ask: &Ask, refusing: Refusing) -> Result<Acquired, LeaseError> {
        if ask.dry_run {
            return self.decide_only(ask);
        }
        let (machine, own) = (self.machine.clone(), self.own.clone());
        let mut refused = None;
        let done = self.transact(|moment| {
            refused = None;
            if let Some(again) = answer_again(ask, moment.state)? {
                // The one who got it first may have died before it was durable.
                return Ok(Decision::Confirm(again));
            }
            let (verdict, mut ops) = decide(&machine, ask, &own, &moment);
            if let Verdict::Refuse(_) = verdict {
                refused = Some(verdict.clone());
                match (refusing, ops.last_mut()) {
                    (Refusing::OffRecord, _) => return Ok(Decision::Answer(Answer::New(verdict))),
                    (Refusing::OnRecordWithoutName, Some(Op::Refuse(body))) => body.request.request_id = None,
                    _ => {}
                }
            }
            Ok(Decision::Write(ops, Answer::New(verdict)))
        });
        match done {
            Ok(done) => Ok(match done.answer {
                Answer::Again(verdict, at) => {
                    Acquired { verdict, seq: Some(at), repeated: true, timed_out: false }
                }
                // The verdict is the last record of its write.
                Answer::New(verdict) => {
                    Acquired { verdict, seq: done.last, repeated: false, timed_out: false }
                }
            }),
            Err(error) => self.after_failure(ask, error, refused),
        }
    }

    /// What can still be said when nothing could be written: no, if that is what the journal says.
    fn after_failure(
        &mut self,
        ask: &Ask,
        error: LeaseError,
        refused: Option<Verdict>,
    ) -> Result<Acquired, LeaseError> {
        if let Some(lost) = self.undurable.take()
            // The record is there and may go with the next power cut. Its lease must not stand in anybody's way.
            && !self.withdraw(lost)
        {
            // It does, and whoever decides again now is refused by it. That would be no answer.
            return Err(error);
        }
        let wrote_nothing = matches!(
            error,
            LeaseError::Journal(JournalError::Disk(_) | JournalError::NotDurable { .. })
                | LeaseError::Mutex(MutexError::Disk(_))
        );
        let refused = match refused {
            Some(verdict) if wrote_nothing => Some(verdict),
            None if wrote_nothing => match self.decide_only(ask) {
                Ok(Acquired { verdict: verdict @ Verdict::Refuse(_), .. }) => Some(verdict),
                _ => None,
            },
            _ => None,
        };
        let Some(verdict) = refused else { return Err(error) };
        self.warnings.push(format!("the refusal is not in the journal: {}", chain_of(&error)));
        Ok(Acquired { verdict, seq: None, repeated: false, timed_out: false })
    }

    /// Takes back a grant that was not reported. `false`: it still lives, and a warning says so.
    fn withdraw(&mut self, lost: Seq) -> bool {
        let id = LeaseId::from(lost);
        let withdrawn = self.transact(|moment| {
            let Some(lease) = moment.state.live.get(id) else { return Ok(Decision::Answer(())) };
            let release = Release {
                lane: lease.lane.clone(),
                owner: lease.owner.clone(),
                lease: id,
                fence: lease.fence,
                why: Note::new("its grant could not be made durable").ok(),
                withdrawn: true,
            };
            Ok(Decision::Write(vec![Op::Release(release)], ()))
        });
        if let Err(error) = &withdrawn {
            let text =
                format!("lease {id} could not be withdrawn and ends with its time: {}", chain_of(error));
            self.warnings.push(text);
        }
        withdrawn.is_ok()
    }

    fn decide_only(&mut self, ask: &Ask) -> Result<Acquired, LeaseError> {
        let mut store = self.reading();
        store.load()?;
        let moment = moment_of(&store, self.now())?;
        if let Some(Answer::Again(verdict, at)) = answer_again(ask, moment.state)? {
            return Ok(Acquired { verdict, seq: Some(at), repeated: true, timed_out: false });
        }
        let (verdict, _) = decide(&self.machine, ask, &self.own, &moment);
        Ok(Acquired { verdict, seq: None, repeated: false, timed_out: false })
    }
}

/// The first answer, when the caller asks for it again by the name it gave its request.
fn answer_again(ask: &Ask, state: &State) -> Result<Option<Answer>, LeaseError> {
    let Some(id) = &ask.request.request_id else { return Ok(None) };
    let Some(answer) = state.answer_to(id) else { return Ok(None) };
    if answer.asked != fingerprint(&ask.request) {
        return Err(LeaseError::RequestIdTaken { id: id.to_string(), at: answer.at.get() });
    }
    Ok(Some(Answer::Again(answer.verdict.clone(), answer.at)))
}

/// The verdict, and the records that it is made of: a correct history after every prefix.
pub(super) fn decide<M: Machine>(
    machine: &M,
    ask: &Ask,
    own: &Region,
    moment: &Moment<'_>,
) -> (Verdict, Vec<Op>) {
    let Ask { request, policy, with_leases, .. } = ask;
    let live = &moment.state.live;
    let mut evidence = Evidence::at(machine.clock().reading());
    evidence.with_leases.clone_from(with_leases);
    evidence.protected = aimed_at(request, own, policy);
    let bound = contenders(request, live, policy).into_iter().filter_map(|id| live.get(id));
    let bound = bound.filter(|lease| !lease.processes.is_empty());
    evidence.observed = bound.map(|lease| observe(machine, lease, policy)).collect();
    let verdict = arbitrate(Question {
        request,
        live,
        waiters: &arbiter::queue::NOBODY,
        policy,
        evidence: &evidence,
        now: moment.now,
    });

    let mut ops = Vec::new();
    if moment.state.policy != *policy {
        ops.push(Op::Policy(Box::new(PolicyChange { policy: policy.clone() })));
    }
    ops.extend(records(&verdict, request, evidence, live));
    (verdict, ops)
}
