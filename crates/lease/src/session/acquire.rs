//! Asking for a lease.

use arbiter::decide::{Question, aimed_at, arbitrate, bound_contenders};
use arbiter::evidence::Evidence;
use arbiter::interest::Interest;
use arbiter::lease::Lease;
use arbiter::policy::Policy;
use arbiter::queue;
use arbiter::region::Region;
use arbiter::request::{Note, Request};
use arbiter::seq::{LeaseId, Seq};
use arbiter::verdict::{Refusal, Verdict};
use journal::JournalError;
use journal::decision::records;
use journal::record::{Op, PolicyChange, Release};
use journal::state::{State, fingerprint};
use journal::store::Store;

use super::wait::{self, Place, Turn};
use super::{Decision, LeaseError, Moment, Session, chain_of, moment_of, observe, observe_waiter};
use crate::machine::Machine;
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
    /// Whether somebody ended the wait.
    pub cancelled: bool,
}

/// An answer before it has a record, or the first answer to a repeated request.
pub(super) enum Answer {
    New(Verdict),
    Again(Verdict, Seq),
    /// No answer yet, and what to wait for.
    Waits(Box<Refusal>, Turn),
    /// The ticket has ended.
    Lost,
}

/// What became of an attempt.
pub(super) enum Tried {
    Answered(Acquired),
    /// It waits, in the line since this record if it is new.
    Waits(Box<Refusal>, Turn, Option<Seq>),
    Lost,
}

impl Acquired {
    pub(super) fn new(verdict: Verdict, seq: Option<Seq>) -> Acquired {
        Acquired { verdict, seq, repeated: false, timed_out: false, cancelled: false }
    }

    fn again(self) -> Acquired {
        Acquired { repeated: true, ..self }
    }
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
        match self.attempt(ask, None)? {
            Tried::Answered(acquired) => Ok(acquired),
            Tried::Waits(..) | Tried::Lost => unreachable!("only who stands in the line waits"),
        }
    }

    /// The answer that was given to this request before, if it has a name and was.
    pub(super) fn repeated(&mut self, ask: &Ask) -> Result<Option<Acquired>, LeaseError> {
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
        Ok(Some(Acquired::new(verdict, Some(at)).again()))
    }

    /// Asks once; from a place in the line, if the caller has one or wants one.
    pub(super) fn attempt(&mut self, ask: &Ask, place: Option<&Place<M>>) -> Result<Tried, LeaseError> {
        if ask.dry_run {
            return self.decide_only(ask).map(Tried::Answered);
        }
        let (machine, own) = (self.machine.clone(), self.own.clone());
        let mut refused = None;
        let mut ended = Vec::new();
        // Whoever stands in the line looks at all leases.
        let interest = place.is_none().then(|| Interest::of(&ask.request, &ask.policy)).flatten();
        let decide = |moment: Moment<'_>| {
            refused = None;
            ended.clear();
            if let Some(again) = answer_again(ask, moment.state)? {
                // The one who got it first may have died before it was durable.
                return Ok(Decision::Confirm(again));
            }
            let decision = match place {
                Some(place) => place.decide(&machine, ask, &own, &moment),
                None => {
                    let (verdict, ops) = decide(&machine, ask, &own, &moment);
                    Decision::Write(ops, Answer::New(verdict))
                }
            };
            let (Decision::Write(ops, answer) | Decision::WriteUnsynced(ops, answer)) = &decision else {
                return Ok(decision);
            };
            ended = wait::files_of_ended(ops, moment.state);
            refused = match answer {
                Answer::New(verdict @ Verdict::Refuse(_)) => Some(verdict.clone()),
                Answer::Waits(refusal, _) => Some(Verdict::Refuse((**refusal).clone())),
                _ => None,
            };
            Ok(decision)
        };
        let done = match place {
            // The file of a ticket is made before the ticket is on record, and whoever sweeps such files is inside.
            Some(place) if !place.is_on_record() => self.transact_inside(decide),
            _ => self.transact_on(interest.as_ref(), decide),
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => return self.after_failure(ask, error, refused).map(Tried::Answered),
        };
        for ticket in ended {
            self.machine.take_down(&ticket);
        }
        Ok(match done.answer {
            Answer::Again(verdict, at) => Tried::Answered(Acquired::new(verdict, Some(at)).again()),
            // The verdict is the last record of its write.
            Answer::New(verdict) => Tried::Answered(Acquired::new(verdict, done.last)),
            Answer::Waits(refusal, turn) => Tried::Waits(refusal, turn, done.last),
            Answer::Lost => Tried::Lost,
        })
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
        Ok(Acquired::new(verdict, None))
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

    pub(super) fn decide_only(&mut self, ask: &Ask) -> Result<Acquired, LeaseError> {
        let mut store = self.reading();
        store.load()?;
        let moment = moment_of(&store, self.now())?;
        if let Some(Answer::Again(verdict, at)) = answer_again(ask, moment.state)? {
            return Ok(Acquired::new(verdict, Some(at)).again());
        }
        let (verdict, _) = decide(&self.machine, ask, &self.own, &moment);
        Ok(Acquired::new(verdict, None))
    }
}

/// The first answer, when the caller asks for it again by the name it gave its request.
pub(super) fn answer_again(ask: &Ask, state: &State) -> Result<Option<Answer>, LeaseError> {
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
    let (verdict, evidence) = judge(machine, ask, own, &ask.request, moment);
    let mut ops = policy_change(ask, moment);
    ops.extend(records(&verdict, &ask.request, evidence, &moment.state.live));
    (verdict, ops)
}

/// The record of the policy of the one who asks, where it is another than the one in force.
pub(super) fn policy_change(ask: &Ask, moment: &Moment<'_>) -> Vec<Op> {
    if moment.state.policy == ask.policy {
        return Vec::new();
    }
    vec![Op::Policy(Box::new(PolicyChange { policy: ask.policy.clone() }))]
}

/// The verdict, and what was seen for it: whatever it rests on is looked at before it counts.
pub(super) fn judge<M: Machine>(
    machine: &M,
    ask: &Ask,
    own: &Region,
    request: &Request,
    moment: &Moment<'_>,
) -> (Verdict, Evidence) {
    let State { live, waiters, .. } = moment.state;
    let policy = &ask.policy;
    let mut evidence = Evidence::at(machine.clock().reading());
    evidence.with_leases.clone_from(&ask.with_leases);
    evidence.protected = aimed_at(request, own, policy);
    let bound = bound_contenders(request, live, policy).into_iter().filter_map(|id| live.get(id));
    evidence.observed = bound.map(|lease| observe(machine, lease, policy)).collect();
    loop {
        let question = Question { request, live, waiters, policy, evidence: &evidence, now: moment.now };
        let verdict = arbitrate(question);
        let unseen = queue::unseen(question, &verdict);
        if unseen.is_empty() {
            return (verdict, evidence);
        }
        let leases = unseen.leases.iter().filter_map(|&id| live.get(id));
        let leases: Vec<_> = leases.map(|lease| observe(machine, lease, policy)).collect();
        let tickets = unseen.tickets.iter().filter_map(|&ticket| waiters.get(ticket));
        let tickets: Vec<_> = tickets.map(|waiter| observe_waiter(machine, waiter)).collect();
        evidence.observed.extend(leases);
        evidence.tickets.extend(tickets);
    }
}
