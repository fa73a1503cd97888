//! Waiting in the line for a lease (features D1 to D6).
//!
//! Who is refused and wants to wait leaves a WAIT in place of the refusal; the number of that record is its ticket.
//! Then it sleeps in the kernel: behind others on the file of the nearest ticket before its own, so that one ticket
//! that ends wakes those directly behind it and nobody else; at the front on the bell and on the deaths of holders.
//! Every awakening is a reason to look again and nothing more: what is decided, is decided from the journal.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::time::Duration;

use arbiter::decide::{Question, may_pass};
use arbiter::evidence::{Evidence, Liveness, ProcessIdentity};
use arbiter::lease::{Lease, Standing};
use arbiter::policy::Policy;
use arbiter::queue::{self, Waiter, Wake};
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::seq::{LeaseId, Ticket};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Dropped, Refusal, Verdict};
use journal::decision::{cancel, records};
use journal::disk::{Dir, Disk as _, Name};
use journal::history;
use journal::record::{Cancel, Op, Wait, WhyCancelled};
use journal::state::State;
use journal::store::Store;

use super::acquire::{Acquired, Answer, Ask, Tried, answer_again, judge, policy_change};
use super::read::WaiterView;
use super::{Decision, LeaseError, Moment, Session, chain_of, moment_of, observe_waiter};
use crate::machine::{Awaited, Machine, Watch, Woken};
use crate::mutex::Patience;

/// How the names of the files begin whose end says that a ticket has ended.
pub(super) const TICKET: &str = "ticket-";
/// How often the front of the line looks at what nobody tells it of.
const LOOK_AGAIN: Duration = Duration::from_secs(4);
/// How often the one behind the front looks whether that is too slow. The others do so more rarely by the square of
/// their place: in a line of any length there is then not even one look a second, and one of those close to the front
/// is enough.
const LOOK_AHEAD: Duration = Duration::from_secs(2);
/// ... and how often those at the far end do.
const LOOK_AHEAD_MAX: Duration = Duration::from_mins(10);
/// How long the one at the front has for what has just become free before the one behind it looks.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long a wait that is over waits for the mutex before it goes on without.
const SHORTLY: Duration = Duration::from_secs(1);
/// How long to wait for somebody who cannot be watched.
const PAUSE: Duration = Duration::from_millis(200);

/// What one is about to wait for, to be told once (feature D6).
#[derive(Clone, Copy, Debug)]
pub struct Blocked<'a> {
    /// What stands in the way.
    pub refusal: &'a Refusal,
    /// The lease in the way, unless it is somebody in the line or none that holds.
    pub lease: Option<LeaseId>,
    /// The process of the one in the way, if it is known.
    pub pid: Option<u32>,
    /// Since when it is in the way.
    pub since: Option<Timestamp>,
    /// The time as the session sees it.
    pub now: Timestamp,
}

/// Why a ticket cannot be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// Nobody waits with it.
    NotThere,
    /// Somebody else does.
    NotYours(Box<Waiter>),
}

/// Somebody's place in the line.
#[derive(Debug)]
pub(super) struct Place<M: Machine> {
    /// None before the WAIT is on record, and after it was lost.
    ticket: Option<Ticket>,
    /// What tells this ticket from all others.
    wake: Wake,
    /// Its file, once it was tried to make it.
    sign: OnceCell<Option<M::Sign>>,
    began: Duration,
    most: Duration,
    /// How much of `most` was left when the attempt began.
    left: Duration,
}

/// What one who waits waits for.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    awaited: Awaited,
    most: Duration,
    /// The process with that ticket, if it was seen alive.
    before: Option<ProcessIdentity>,
    /// The first of the leases in the way that hold.
    lease: Option<LeaseId>,
    pid: Option<u32>,
    since: Option<Timestamp>,
}

/// What a look came to.
enum Look {
    /// There is something to be written: an attempt has to be made.
    Act,
    Waits(Turn),
}

impl<M: Machine> Session<M> {
    /// Asks for a lease and, while it is refused, waits in the line, at most for `most`. Before it waits for the first
    /// time it calls `waits`, once.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]; then nothing was granted.
    pub fn acquire_waiting(
        &mut self,
        ask: &Ask,
        most: Duration,
        waits: impl FnOnce(&Blocked<'_>),
    ) -> Result<Acquired, LeaseError> {
        self.acquire_waiting_under(|| Some(ask.policy.clone()), ask, most, waits)
    }

    /// As [`Session::acquire_waiting`], but `policy` is asked for the policy of the day whenever the wait looks again:
    /// a grant at the end of a long wait is not made under rules that somebody has changed meanwhile. The first
    /// decision is made under the policy of `ask`. Nobody is woken by a change of the policy.
    ///
    /// # Errors
    ///
    /// [`LeaseError`], and [`LeaseError::NoPolicy`] as soon as `policy` has none; then nothing was granted.
    pub fn acquire_waiting_under(
        &mut self,
        policy: impl FnMut() -> Option<Policy>,
        ask: &Ask,
        most: Duration,
        waits: impl FnOnce(&Blocked<'_>),
    ) -> Result<Acquired, LeaseError> {
        if let Some(again) = self.repeated(ask)? {
            return Ok(again);
        }
        if most.is_zero() || ask.dry_run {
            let answer = self.acquire(ask)?;
            let timed_out = matches!(answer.verdict, Verdict::Refuse(_)) && !answer.repeated;
            return Ok(Acquired { timed_out, ..answer });
        }
        let began = self.machine.uptime();
        let (wake, sign) = (self.new_wake()?, OnceCell::new());
        let mut place = Place { ticket: None, wake, sign, began, most, left: most };
        let answer = self.stand_in_line(policy, ask.clone(), &mut place, waits);
        let why = match &answer {
            Ok(acquired) if acquired.timed_out => WhyCancelled::Timeout,
            _ => WhyCancelled::Cancelled,
        };
        self.leave(place, why);
        answer
    }

    fn new_wake(&self) -> Result<Wake, LeaseError> {
        self.machine.random().map(Wake::new).map_err(|source| LeaseError::Chance { source })
    }

    fn stand_in_line(
        &mut self,
        mut policy: impl FnMut() -> Option<Policy>,
        mut ask: Ask,
        place: &mut Place<M>,
        waits: impl FnOnce(&Blocked<'_>),
    ) -> Result<Acquired, LeaseError> {
        let mut watch = self.machine.watch();
        let mut waits = Some(waits);
        let mut last: Option<Acquired> = None;
        let mut may_act = true;
        let mut unheard: Option<Name> = None;
        let mut is_first = true;
        loop {
            if !std::mem::take(&mut is_first) {
                ask.policy = policy().ok_or(LeaseError::NoPolicy)?;
            }
            // Before the look: what happens between it and the wait then wakes too.
            watch.listen();
            let turn = if std::mem::take(&mut may_act) || place.ticket.is_none() {
                place.left = place.most.saturating_sub(self.waited(place.began));
                match self.attempt(&ask, Some(place))? {
                    Tried::Answered(Acquired {
                        verdict: Verdict::Refuse(refusal),
                        seq: None,
                        repeated: false,
                        ..
                    }) if refusal.code.may_pass() => {
                        // It could not be written down. Perhaps it can be a little later.
                        last = Some(Acquired::new(Verdict::Refuse(refusal), None));
                        Turn::at_the_front(PAUSE)
                    }
                    Tried::Answered(answer) => {
                        let is_new_grant = matches!(answer.verdict, Verdict::Grant(_)) && !answer.repeated;
                        if is_new_grant {
                            place.ticket = None;
                        }
                        return Ok(answer);
                    }
                    Tried::Waits(refusal, turn, seq) => {
                        if place.ticket.is_none() {
                            place.ticket = seq.map(Ticket::from);
                            last = None;
                        }
                        let seq = last.as_ref().and_then(|last| last.seq).or(seq);
                        last = Some(Acquired::new(Verdict::Refuse(*refusal), seq));
                        turn
                    }
                    Tried::Lost => {
                        let lost = place.ticket.take();
                        if let (Some(ticket), Some(last)) = (lost, &last)
                            // Where the history cannot be read, the next attempt says so if it matters.
                            && self.was_cancelled(ticket).unwrap_or_default()
                        {
                            return Ok(Acquired { cancelled: true, ..last.clone() });
                        }
                        // Whoever has ended the ticket takes its file away, sooner or later.
                        (place.wake, place.sign) = (self.new_wake()?, OnceCell::new());
                        continue;
                    }
                }
            } else {
                match self.look_ahead(&ask, place)? {
                    Look::Act => {
                        may_act = true;
                        continue;
                    }
                    Look::Waits(turn) => turn,
                }
            };
            let Some(refused) = &last else { continue };
            if let (Some(waits), Verdict::Refuse(refusal)) = (waits.take(), &refused.verdict) {
                let Turn { lease, pid, since, .. } = turn;
                waits(&Blocked { refusal, lease, pid, since, now: self.now() });
            }
            let left = place.most.saturating_sub(self.waited(place.began));
            if self.machine.interrupted() {
                return Ok(Acquired { cancelled: true, ..refused.clone() });
            }
            if left.is_zero() {
                return Ok(Acquired { timed_out: true, ..refused.clone() });
            }
            unheard = sleep::<M>(&mut watch, turn, place.sign.get().and_then(Option::as_ref), left, unheard);
        }
    }

    /// Looks without the mutex whether there is anything to do. By the store that writes: what the look has read, the
    /// attempt that follows need not read again while others wait for the mutex.
    fn look_ahead(&mut self, ask: &Ask, place: &Place<M>) -> Result<Look, LeaseError> {
        self.store.load()?;
        let moment = moment_of(&self.store, self.now())?;
        if answer_again(ask, moment.state)?.is_some() {
            return Ok(Look::Act);
        }
        match place.consider(&self.machine, ask, &self.own, &moment) {
            Some(Considered {
                verdict: Verdict::Refuse(_),
                fallen,
                is_news: false,
                turn: Some(turn),
                ..
            }) if fallen.is_empty() => Ok(Look::Waits(turn)),
            _ => Ok(Look::Act),
        }
    }

    /// Ends the wait, if it has not ended with a grant or otherwise.
    fn leave(&mut self, place: Place<M>, why: WhyCancelled) {
        if let Some(ticket) = place.ticket {
            let by = self.owner.clone();
            let machine = self.machine.clone();
            // Whoever has waited in vain is not kept waiting for the mutex: a ticket falls by itself.
            let patience = self.patience;
            self.patience =
                Patience { ttl: patience.ttl.min(SHORTLY), budget: patience.budget.min(2 * SHORTLY) };
            let ended = self.transact(|moment| {
                let Some(waiter) = moment.state.waiters.get(ticket) else { return Ok(Decision::Answer(())) };
                Ok(Decision::WriteUnsynced(vec![ended_by(waiter, why, &by, &machine)], ()))
            });
            self.patience = patience;
            if let Err(error) = ended {
                let text = format!(
                    "ticket {ticket} could not be cancelled and falls by itself: {}",
                    chain_of(&error)
                );
                self.warnings.push(text);
            }
        }
        if let Some(Some(sign)) = place.sign.into_inner() {
            let _swept_later = self.disk.remove(&ticket_file(place.wake));
            // Those behind wake from it.
            drop(sign);
        }
    }

    /// Whether the ticket ended because somebody wanted that, and not because it seemed to be dead or too slow.
    fn was_cancelled(&self, ticket: Ticket) -> Result<bool, LeaseError> {
        let mut cancelled = false;
        history::walk_back(&self.disk, ticket, |record| match &record.op {
            Op::Cancel(end) if end.ticket == ticket => {
                cancelled = end.why.fallen().is_none();
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })?;
        Ok(cancelled)
    }

    /// Ends the wait of somebody's own ticket.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]. [`Unlisted`] is an answer.
    pub fn cancel(&mut self, ticket: Ticket) -> Result<Result<Waiter, Unlisted>, LeaseError> {
        if !self.store.has_begun()? {
            return Ok(Err(Unlisted::NotThere));
        }
        let by = self.owner.clone();
        let machine = self.machine.clone();
        let done = self.transact(|moment| {
            let Some(waiter) = moment.state.waiters.get(ticket) else {
                return Ok(Decision::Answer(Err(Unlisted::NotThere)));
            };
            if waiter.request.owner != by {
                return Ok(Decision::Answer(Err(Unlisted::NotYours(Box::new(waiter.clone())))));
            }
            let end = ended_by(waiter, WhyCancelled::Cancelled, &by, &machine);
            // Somebody is told that it has ended.
            Ok(Decision::Write(vec![end], Ok(waiter.clone())))
        })?;
        if let Ok(waiter) = &done.answer {
            self.machine.take_down(&ticket_file(waiter.wake));
        }
        Ok(done.answer)
    }

    /// Those who wait, as `state` has them, each with what it waits for.
    pub(super) fn view_waiters(&self, state: &State) -> Vec<WaiterView> {
        let mut evidence = Evidence::at(self.machine.clock().reading());
        let State { live, waiters, policy, .. } = state;
        evidence.tickets = waiters.iter().map(|waiter| observe_waiter(&self.machine, waiter)).collect();
        evidence.observed = live.iter().map(|lease| super::observe(&self.machine, lease, policy)).collect();
        let view = |waiter: &Waiter| {
            let request = Request { ticket: Some(waiter.ticket), ..waiter.request.clone() };
            let question =
                Question { request: &request, live, waiters, policy, evidence: &evidence, now: self.now() };
            let (leases, ticket) = queue::kept_back_by(waiter, question);
            WaiterView {
                waiter: waiter.clone(),
                alive: evidence.waits(waiter.ticket),
                position: 1 + queue::place(question),
                leases: leases.into_iter().filter_map(|id| live.get(id).cloned()).collect(),
                behind: ticket.and_then(|ticket| waiters.get(ticket).cloned()),
            }
        };
        waiters.iter().map(view).collect()
    }
}

/// The file of the ticket of which `wake` is on record.
pub(super) fn ticket_file(wake: Wake) -> Name {
    Name::new(Dir::Top, format!("{TICKET}{wake}"))
}

/// Sleeps until there is a reason to look again. `unheard` is a ticket whose end could not be waited for the last time;
/// gives back which one it is now.
fn sleep<M: Machine>(
    watch: &mut M::Watch,
    turn: Turn,
    own: Option<&M::Sign>,
    left: Duration,
    unheard: Option<Name>,
) -> Option<Name> {
    let Turn { mut awaited, most, before, .. } = turn;
    let is_behind = awaited.ticket.is_some();
    let unheard = unheard.filter(|unheard| awaited.ticket.as_ref() == Some(unheard));
    if unheard.is_some() {
        // It was looked at since, and still stands: perhaps its process is on its way out, or it never had a file.
        awaited.ticket = None;
        awaited.processes.extend(before);
    }
    let mut woken = watch.wait(&awaited, own, most.min(left));
    if woken == Woken::Rung && is_behind {
        // Most likely the one before takes what has become free, and its end is what to wait for.
        awaited.bell = false;
        woken = watch.wait(&awaited, own, HEAD_START.min(most).min(left));
    }
    if woken == Woken::Gone { awaited.ticket } else { unheard }
}

fn ended_by<M: Machine>(
    waiter: &Waiter,
    why: WhyCancelled,
    by: &arbiter::name::OwnerName,
    machine: &M,
) -> Op {
    Op::Cancel(Box::new(Cancel {
        lane: waiter.request.lane_name(),
        owner: waiter.request.owner.clone(),
        ticket: waiter.ticket,
        why,
        by: by.clone(),
        clock: machine.clock().reading(),
        observed: None,
    }))
}

/// The files of the tickets that these records end.
pub(super) fn files_of_ended(ops: &[Op], state: &State) -> Vec<Name> {
    let ended = ops.iter().filter_map(|op| match op {
        Op::Cancel(body) => Some(body.ticket),
        _ => None,
    });
    ended.filter_map(|ticket| state.waiters.get(ticket)).map(|waiter| ticket_file(waiter.wake)).collect()
}

/// A decision from a place in the line.
struct Considered {
    verdict: Verdict,
    evidence: Evidence,
    /// The tickets before it that no longer stand.
    fallen: Vec<Dropped>,
    /// Whether nobody has said yet that the one at the front could go.
    is_news: bool,
    /// What to wait for, if it is refused and waiting makes sense.
    turn: Option<Turn>,
}

impl Turn {
    fn at_the_front(most: Duration) -> Turn {
        Turn {
            awaited: Awaited { ticket: None, bell: true, processes: Vec::new() },
            most,
            before: None,
            lease: None,
            pid: None,
            since: None,
        }
    }

    /// The same for one who is to be told of this lease.
    fn held_by(self, lease: &Lease) -> Turn {
        let pid = lease.processes.first().map(|process| process.pid);
        Turn { lease: Some(lease.lease), pid, since: Some(lease.acquired_at), ..self }
    }
}

impl<M: Machine> Place<M> {
    /// Whether the journal knows of it; before, an attempt makes the file of its ticket.
    pub(super) fn is_on_record(&self) -> bool {
        self.ticket.is_some()
    }

    /// What the one in this place is told now; `None` when the place is lost.
    fn consider(&self, machine: &M, ask: &Ask, own: &Region, moment: &Moment<'_>) -> Option<Considered> {
        let State { live, waiters, .. } = moment.state;
        if self.ticket.is_some_and(|ticket| waiters.get(ticket).is_none()) {
            return None;
        }
        let request = self.request(ask);
        let (verdict, evidence) = judge(machine, ask, own, &request, moment);
        let question = Question {
            request: &request,
            live,
            waiters,
            policy: &ask.policy,
            evidence: &evidence,
            now: moment.now,
        };
        let refusal = match &verdict {
            Verdict::Refuse(refusal) => Some(refusal),
            Verdict::Grant(_) => None,
        };
        let fallen = refusal.map_or_else(Vec::new, |_| queue::fallen_before(question));
        let free =
            refusal.and_then(|refusal| refusal.behind.as_ref()?.free).and_then(|free| waiters.get(free));
        let is_news = free.is_some_and(|front| front.seen_free.is_none());
        // Whoever waits in vain has nothing to wait for.
        let turn =
            refusal.filter(|refusal| may_pass(refusal, question)).map(|refusal| turn(refusal, question));
        Some(Considered { verdict, evidence, fallen, is_news, turn })
    }

    fn request(&self, ask: &Ask) -> Request {
        Request { waits: true, ticket: self.ticket, ..ask.request.clone() }
    }

    /// What is written down from this place.
    pub(super) fn decide(
        &self,
        machine: &M,
        ask: &Ask,
        own: &Region,
        moment: &Moment<'_>,
    ) -> Decision<Answer> {
        let State { live, waiters, .. } = moment.state;
        let Some(considered) = self.consider(machine, ask, own, moment) else {
            return Decision::Answer(Answer::Lost);
        };
        let Considered { verdict, evidence, fallen, is_news, turn } = considered;
        let request = self.request(ask);
        let mut ops = policy_change(ask, moment);
        let Verdict::Refuse(refusal) = &verdict else {
            ops.extend(records(&verdict, &request, evidence, live));
            return Decision::Write(ops, Answer::New(verdict));
        };
        let Some(turn) = turn else {
            let place = self.ticket.and_then(|ticket| waiters.get(ticket));
            ops.extend(place.map(|place| ended_by(place, WhyCancelled::Refused, &request.owner, machine)));
            ops.extend(records(&verdict, &request, evidence, live));
            return Decision::Write(ops, Answer::New(verdict));
        };
        let cancels: Vec<Op> = fallen.iter().map(|gone| cancel(gone, &request.owner, &evidence)).collect();
        let waits = Answer::Waits(Box::new(refusal.clone()), turn);
        if self.ticket.is_none() {
            // Before the ticket is known to anybody.
            let sign = self.sign.get_or_init(|| machine.put_up(&ticket_file(self.wake)));
            // A file that nobody holds must not be taken for that of one who is gone.
            let wake = if sign.is_some() { self.wake } else { self.wake.without_file() };
            ops.extend(cancels);
            ops.push(Op::Wait(Box::new(Wait {
                lane: refusal.lane.clone(),
                owner: request.owner.clone(),
                budget: self.budget(),
                process: machine.this_process(),
                wake,
                verdict: refusal.clone(),
                request,
                evidence,
            })));
            return Decision::WriteUnsynced(ops, waits);
        }
        if is_news {
            ops.extend(cancels);
            // No answer yet, so not the one to a repeated request.
            let unnamed = Request { request_id: None, ..request };
            ops.extend(records(&verdict, &unnamed, evidence, live));
            return Decision::WriteUnsynced(ops, waits);
        }
        if cancels.is_empty() { Decision::Answer(waits) } else { Decision::WriteUnsynced(cancels, waits) }
    }

    fn budget(&self) -> Option<Span> {
        let ms = u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX);
        (ms < Span::MAX.as_ms()).then(|| Span::from_ms(ms))
    }
}

/// What a refused request has to wait for.
fn turn(refusal: &Refusal, question: Question<'_>) -> Turn {
    let Question { live, policy, evidence, now, .. } = question;
    let holds = |lease: &&Lease| {
        let seen = evidence.observation(lease.lease);
        lease.standing_under(policy, seen, now, &evidence.clock) == Standing::Held
    };
    let holders = || refusal.conflicts.iter().filter_map(|conflict| live.get(conflict.lease)).filter(holds);
    if let Some(first) = queue::nearest(question) {
        let front = refusal.behind.as_ref().and_then(|behind| question.waiters.get(behind.free?));
        let place = u32::try_from(queue::place(question)).unwrap_or(u32::MAX);
        let mut most = LOOK_AHEAD.saturating_mul(place.saturating_mul(place)).min(LOOK_AHEAD_MAX);
        if let Some(seen) = front.and_then(|front| front.seen_free.as_ref()) {
            let free_for = evidence.clock.up_ms.saturating_sub(seen.clock.up_ms);
            most = most.min(until(Waiter::TTL, free_for));
        }
        let is_seen = evidence.waits(first.ticket) == Liveness::Yes;
        let turn = Turn {
            awaited: Awaited {
                ticket: Some(ticket_file(first.wake)),
                bell: place == 1,
                processes: Vec::new(),
            },
            most,
            before: first.process.clone().filter(|_| is_seen),
            lease: None,
            pid: first.process.as_ref().map(|process| process.pid),
            since: Some(first.since),
        };
        // What a lease refuses is told by that lease, also where somebody comes first in the line.
        return match holders().next() {
            Some(holder) if refusal.behind.is_none() => turn.held_by(holder),
            _ => turn,
        };
    }
    let mut turn = holders().next().into_iter().fold(Turn::at_the_front(LOOK_AGAIN), Turn::held_by);
    for lease in holders() {
        let alive = evidence.liveness(lease.lease);
        if alive == Liveness::Yes {
            turn.awaited.processes.extend(lease.processes.iter().cloned());
            continue;
        }
        // One that is held beyond its time ends in another way.
        let (most, age) = (lease.ttl.plus(policy.grace_of(lease)), lease.age(now, &evidence.clock));
        if age <= most {
            turn.most = turn.most.min(until(most, age.as_ms()));
        }
    }
    turn
}

/// How long until more than `span` has passed, of which `passed_ms` are over.
fn until(span: Span, passed_ms: u64) -> Duration {
    Duration::from_millis(span.as_ms().saturating_sub(passed_ms) + 1)
}
