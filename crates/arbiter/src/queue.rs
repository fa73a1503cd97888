//! Who waits, and who comes first (features D2 to D4, A3).
//!
//! A request that may wait and is refused gets a ticket. Among those whose claims conflict the smaller ticket comes
//! first; who conflicts with nobody passes freely. A ticket stands until somebody *proves* otherwise: its process is
//! gone, its own time is over, or it could have had its place for [`Waiter::TTL`] and did not take it.
//!
//! The leases decide first, the line after them: what a live lease refuses is refused by that lease's name.

mod deadlock;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::decide::{Claim, Question, beside_the_queue, bound_contenders, claims_of, wait_hint};
use crate::evidence::{ClockReading, Liveness, ProcessIdentity};
use crate::exclusion::{Side, excludes};
use crate::lease::{Lease, Standing, age_of};
use crate::policy::Policy;
use crate::region::{Case, Entry};
use crate::request::Request;
use crate::seq::{LeaseId, Ticket};
use crate::time::{Span, Timestamp};
use crate::verdict::{Behind, Dropped, Grant, Refusal, RefusalCode, Verdict};

pub use deadlock::{Link, Wait, cycle};

/// One who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// The place in the line.
    pub ticket: Ticket,
    /// What is waited for.
    pub request: Request,
    /// Since when.
    pub since: Timestamp,
    /// The boot-time clock then.
    pub clock: ClockReading,
    /// How long the one who waits wants to wait; none for ever.
    #[serde(default, rename = "budget_s", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// The process that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessIdentity>,
    /// What its file is called after, which its holder closes when the ticket ends.
    pub wake: Wake,
    /// When somebody behind it saw first that nothing but its own slowness kept it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_free: Option<SeenFree>,
}

/// When a ticket was first seen to be free to take what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenFree {
    /// By the wall clock.
    pub at: Timestamp,
    /// By the boot-time clock.
    pub clock: ClockReading,
}

/// What the file of a ticket is called after: 64 bits of chance, written as 16 hex digits. No other text is one, so none
/// from outside becomes a part of a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wake(u64);

impl Wake {
    /// Digits that it is written with.
    const DIGITS: usize = 16;

    /// The one with these bits.
    pub fn new(bits: u64) -> Wake {
        Wake(bits)
    }

    /// Reads 16 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Wake> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_one = text.len() == Wake::DIGITS && is_hex;
        is_one.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Wake)
    }

    /// One that has no file, for a ticket that could make none.
    #[must_use]
    pub fn without_file(self) -> Wake {
        Wake(!self.0)
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0digits$x}", self.0, digits = Wake::DIGITS)
    }
}

impl TryFrom<String> for Wake {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Wake, &'static str> {
        Wake::parse(&text).ok_or("a wake has 16 hex digits")
    }
}

impl From<Wake> for String {
    fn from(wake: Wake) -> String {
        wake.to_string()
    }
}

/// Why a ticket no longer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallen {
    /// Its process is provably gone.
    Dead,
    /// The time it wanted to wait is over, and it has not said so itself.
    Expired,
    /// It could have had what it waits for and did not take it.
    Stalled,
}

impl Fallen {
    /// Spells it as records do.
    pub fn as_str(self) -> &'static str {
        match self {
            Fallen::Dead => "dead",
            Fallen::Expired => "expired",
            Fallen::Stalled => "stalled",
        }
    }
}

impl Waiter {
    /// How long a ticket that could have what it waits for may leave it to others to wait.
    pub const TTL: Span = Span::from_s(10);
    /// How long a ticket is left alone after the time it wanted to wait.
    pub const GRACE: Span = Span::from_s(5);

    /// Why the ticket no longer stands; none while it does. Unknown is never dead.
    pub fn fallen(&self, alive: Liveness, now: Timestamp, clock: &ClockReading) -> Option<Fallen> {
        let waited = || age_of(self.since, Some(&self.clock), now, clock);
        let free_for = |seen: &SeenFree| age_of(seen.at, Some(&seen.clock), now, clock);
        if self.process.is_some() && alive == Liveness::No {
            Some(Fallen::Dead)
        } else if self.budget.is_some_and(|budget| waited() > budget.plus(Self::GRACE)) {
            Some(Fallen::Expired)
        } else if self.seen_free.as_ref().is_some_and(|seen| free_for(seen) > Self::TTL) {
            Some(Fallen::Stalled)
        } else {
            None
        }
    }
}

/// Those who wait, by their tickets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitQueue {
    by_ticket: BTreeMap<Ticket, Waiter>,
}

/// The line in which nobody stands.
pub static NOBODY: WaitQueue = WaitQueue { by_ticket: BTreeMap::new() };

impl WaitQueue {
    /// Adds one who waits; `false` when the ticket is taken.
    pub fn insert(&mut self, waiter: Waiter) -> bool {
        let is_new = !self.by_ticket.contains_key(&waiter.ticket);
        if is_new {
            self.by_ticket.insert(waiter.ticket, waiter);
        }
        is_new
    }

    /// Takes one out.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        self.by_ticket.remove(&ticket)
    }

    /// The one with this ticket.
    pub fn get(&self, ticket: Ticket) -> Option<&Waiter> {
        self.by_ticket.get(&ticket)
    }

    /// Notes that a ticket was seen to be free, if nobody has noted it before.
    pub fn was_seen_free(&mut self, ticket: Ticket, at: Timestamp, clock: &ClockReading) {
        if let Some(waiter) = self.by_ticket.get_mut(&ticket) {
            waiter.seen_free.get_or_insert_with(|| SeenFree { at, clock: clock.clone() });
        }
    }

    /// All of them, the smallest ticket first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Waiter> {
        self.by_ticket.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_ticket.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    /// Those that came before `ticket`, the nearest first; all of them for one who has no place in this line.
    fn before(&self, ticket: Option<Ticket>) -> impl Iterator<Item = &Waiter> {
        let place = ticket.filter(|ticket| self.by_ticket.contains_key(ticket));
        let end = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_ticket.range((Bound::Unbounded, end)).rev().map(|(_, waiter)| waiter)
    }
}

/// What the line makes of a verdict that the leases have given.
pub(crate) fn in_turn(question: Question<'_>, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Grant(grant) if question.waiters.is_empty() => Verdict::Grant(grant),
        Verdict::Grant(grant) => match dropped(question, &grant) {
            Ok(dropped) => Verdict::Grant(past(grant, dropped)),
            Err(first) => {
                let refusal = queued_behind(first, &grant, question);
                Verdict::Refuse(deadlock::or_else(refusal, question))
            }
        },
        Verdict::Refuse(refusal) => Verdict::Refuse(deadlock::or_else(refusal, question)),
    }
}

/// The tickets before it that conflict and no longer stand; the nearest one that does, if any does.
fn dropped<'q>(question: Question<'q>, grant: &Grant) -> Result<Vec<Dropped>, &'q Waiter> {
    let mut dropped = Vec::new();
    let ours = [claim_of_grant(grant, question)];
    for waiter in before(question.request.ticket, &ours, question) {
        let why = fallen(waiter, question).ok_or(waiter)?;
        dropped.push(Dropped {
            ticket: waiter.ticket,
            lane: waiter.request.lane_name(),
            owner: waiter.request.owner.clone(),
            why,
        });
    }
    dropped.reverse();
    Ok(dropped)
}

/// Exactly what would be granted: of several lanes that could be asked for, the one that was picked.
fn claim_of_grant(grant: &Grant, question: Question<'_>) -> Claim {
    let picked = |claim: &Claim| claim.lane == grant.lane;
    let claim = claims_of(question.request, question.live, question.policy).into_iter().find(picked);
    claim.expect("what is granted is one of the things that were asked for")
}

fn past(mut grant: Grant, dropped: Vec<Dropped>) -> Grant {
    for (i, gone) in dropped.iter().enumerate() {
        let joint = if i == 0 { "; went past" } else { "," };
        let _ = write!(
            grant.reason,
            "{joint} ticket {} of `{}` ({})",
            gone.ticket,
            gone.owner,
            gone.why.as_str()
        );
    }
    grant.dropped = dropped;
    grant
}

fn queued_behind(first: &Waiter, granted: &Grant, question: Question<'_>) -> Refusal {
    let lane = first.request.lane_name();
    let owner = first.request.owner.clone();
    let claim = claim_of_grant(granted, question);
    Refusal {
        code: RefusalCode::QueuedBehind,
        lane: claim.lane.clone(),
        reason: format!(
            "`{owner}` (ticket {}, lane `{lane}`) has waited since {} and comes first",
            first.ticket, first.since
        ),
        yours: None,
        free_lanes: Vec::new(),
        conflicts: Vec::new(),
        hint: wait_hint(question.request),
        behind: Some(Behind {
            ticket: first.ticket,
            lane,
            owner,
            since: first.since,
            free: free(front(first, question), question).map(|front| front.ticket),
        }),
    }
}

/// The nearest ticket that stands before the request and conflicts with it: who has to go first, whatever the leases
/// say.
pub fn nearest(question: Question<'_>) -> Option<&Waiter> {
    if question.waiters.is_empty() {
        return None;
    }
    let ours = claims_of(question.request, question.live, question.policy);
    first_before(question.request.ticket, &ours, question)
}

fn first_before<'q>(place: Option<Ticket>, ours: &[Claim], question: Question<'q>) -> Option<&'q Waiter> {
    before(place, ours, question).find(|waiter| fallen(waiter, question).is_none())
}

fn first_before_waiter<'q>(waiter: &Waiter, question: Question<'q>) -> Option<&'q Waiter> {
    first_before(Some(waiter.ticket), &claims_of(&waiter.request, question.live, question.policy), question)
}

/// How many have to go before the request, each before the next.
pub fn place(question: Question<'_>) -> usize {
    let mut place = 0;
    let mut next = nearest(question);
    while let Some(waiter) = next {
        place += 1;
        next = first_before_waiter(waiter, question);
    }
    place
}

/// What one who waits is kept back by: the held leases, and the nearest ticket that comes first.
pub fn kept_back_by(waiter: &Waiter, question: Question<'_>) -> (Vec<LeaseId>, Option<Ticket>) {
    let leases = kept_out_by(waiter, question).collect();
    (leases, first_before_waiter(waiter, question).map(|first| first.ticket))
}

/// The tickets before the request that conflict with it and no longer stand, in order.
pub fn fallen_before(question: Question<'_>) -> Vec<Dropped> {
    let ours = claims_of(question.request, question.live, question.policy);
    let mut all: Vec<Dropped> = before(question.request.ticket, &ours, question)
        .filter_map(|waiter| {
            let why = fallen(waiter, question)?;
            let Request { owner, .. } = &waiter.request;
            Some(Dropped {
                ticket: waiter.ticket,
                lane: waiter.request.lane_name(),
                owner: owner.clone(),
                why,
            })
        })
        .collect();
    all.reverse();
    all
}

/// The one at the front of those who come before `first`, and `first` itself.
fn front<'q>(first: &'q Waiter, question: Question<'q>) -> &'q Waiter {
    let mut front = first;
    while let Some(next) = first_before_waiter(front, question) {
        front = next;
    }
    front
}

/// The ticket, if nothing but its own slowness keeps it back.
fn free<'q>(front: &'q Waiter, question: Question<'_>) -> Option<&'q Waiter> {
    // What the one who asks knows of leases kept elsewhere is not what the other one knows.
    let mut evidence = question.evidence.clone();
    evidence.with_leases.clear();
    let verdict =
        beside_the_queue(Question { request: &front.request, evidence: &evidence, ..question }, &[]);
    matches!(verdict, Verdict::Grant(_)).then_some(front)
}

/// Leases and tickets at which nobody has looked and on which the verdict rests: the shell looks at them and asks again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Leases that are bound to processes.
    pub leases: Vec<LeaseId>,
    /// Tickets of known processes.
    pub tickets: Vec<Ticket>,
}

impl Unseen {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.tickets.is_empty()
    }
}

/// What the shell has to look at before it takes the line's word.
pub fn unseen(question: Question<'_>, verdict: &Verdict) -> Unseen {
    let mut leases = Vec::new();
    let mut tickets = Vec::new();
    if question.waiters.is_empty() {
        return Unseen::default();
    }
    if let Verdict::Refuse(refusal) = verdict {
        if let Some(behind) = &refusal.behind
            && let Some(first) = question.waiters.get(behind.ticket)
        {
            let front = front(first, question);
            tickets.push(front.ticket);
            // All that its own decision would look at: one that is past its time stands if its holder is seen alive.
            leases.extend(bound_contenders(&front.request, question.live, question.policy));
        }
        if refusal.code == RefusalCode::Deadlock {
            for Wait { link, ticket, .. } in cycle(question).unwrap_or_default() {
                tickets.extend(ticket);
                if let Link::Lease(lease) = link {
                    leases.push(lease);
                }
            }
        }
        if question.request.waits || refusal.code == RefusalCode::QueuedBehind {
            tickets.extend(nearest(question).map(|waiter| waiter.ticket));
        }
    }
    let Question { live, waiters, evidence, .. } = question;
    leases.retain(|&id| {
        let is_bound = live.get(id).is_some_and(|lease| !lease.processes.is_empty());
        is_bound && !evidence.observed.iter().any(|seen| seen.lease == id)
    });
    tickets.retain(|&ticket| {
        let is_known = waiters.get(ticket).is_some_and(|waiter| waiter.process.is_some());
        is_known && !evidence.tickets.iter().any(|seen| seen.ticket == ticket)
    });
    leases.sort_unstable();
    leases.dedup();
    tickets.sort_unstable();
    tickets.dedup();
    Unseen { leases, tickets }
}

/// The held leases that keep a ticket from what it waits for.
fn kept_out_by<'q>(waiter: &Waiter, question: Question<'q>) -> impl Iterator<Item = LeaseId> {
    let claims = claims_of(&waiter.request, question.live, question.policy);
    let request = waiter.request.clone();
    let kept =
        move |lease: &&'q Lease| holds(lease, question) && keeps_out(lease, &request, &claims, question);
    question.live.iter().filter(kept).map(|lease| lease.lease)
}

/// Those that came before the request and conflict with a claim of it, the nearest first.
fn before<'q>(
    place: Option<Ticket>,
    ours: &[Claim],
    question: Question<'q>,
) -> impl Iterator<Item = &'q Waiter> {
    let Question { live, waiters, policy, .. } = question;
    let meets = move |waiter: &&Waiter| any_conflict(ours, &claims_of(&waiter.request, live, policy), policy);
    waiters.before(place).filter(meets)
}

fn fallen(waiter: &Waiter, question: Question<'_>) -> Option<Fallen> {
    let Question { evidence, now, .. } = question;
    waiter.fallen(evidence.waits(waiter.ticket), now, &evidence.clock)
}

fn holds(lease: &Lease, question: Question<'_>) -> bool {
    let Question { policy, evidence, now, .. } = question;
    lease.standing_under(policy, evidence.observation(lease.lease), now, &evidence.clock) == Standing::Held
}

fn any_conflict(ours: &[Claim], theirs: &[Claim], policy: &Policy) -> bool {
    ours.iter().any(|one| theirs.iter().any(|other| conflict(one, other, policy.case)))
}

/// Whether a live lease keeps a request with these claims from every one of them. The leases under which it asks do not.
fn keeps_out(lease: &Lease, request: &Request, claims: &[Claim], question: Question<'_>) -> bool {
    let Question { live, policy, .. } = question;
    let is_kin = request.parent.is_some_and(|parent| live.with_ancestors(parent).contains(&lease.lease));
    let theirs = Side::by_now(lease, policy);
    !is_kin && !claims.is_empty() && claims.iter().all(|claim| excludes(claim.into(), theirs, policy.case))
}

/// The one relation of the line: whether one of two claims has to come first. They cannot be held at once, or both want
/// one of something of which there may be too few: a pool, or room in a class. Two who read can be beside each other; one
/// who reads and one who writes cannot, so readers do not starve a writer that waits (feature A3).
fn conflict(one: &Claim, other: &Claim, case: Case) -> bool {
    excludes(one.into(), other.into(), case)
        || one.class.is_some() && one.class == other.class
        || pools(one).any(|pool| pools(other).any(|theirs| theirs == pool))
}

fn pools(claim: &Claim) -> impl Iterator<Item = &str> {
    claim.tree.entries().iter().chain(claim.read.entries()).filter_map(Entry::pool_name)
}
