//! The decision.
//!
//! A request becomes a claim (what exactly would be held), the claim meets the live set, and what is in the
//! way decides. Rules compose only conjunctively: each can refuse, none can force an admission (feature A12).
//! Their order is the list in `rules`; a request that names nothing tries one claim after the other.

mod meeting;
mod rules;
mod words;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::evidence::Evidence;
use crate::lease::{Lease, LiveSet};
use crate::name::LaneName;
use crate::policy::{ClassName, Policy, Worktrees};
use crate::queue::{self, WaitQueue};
use crate::region::{Case, Entry, Region};
use crate::request::Request;
use crate::seq::LeaseId;
use crate::time::{Span, Timestamp};
use crate::verdict::{Conflict, Evicted, Grant, Refusal, RefusalCode, Verdict};
use crate::worktree::WorktreeName;

use meeting::{Hit, Lanes, Surroundings};
use words::Refused;

/// Everything a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub request: &'a Request,
    /// The leases that live.
    pub live: &'a LiveSet,
    /// Those who wait.
    pub waiters: &'a WaitQueue,
    /// The policy of the day.
    pub policy: &'a Policy,
    /// What the shell saw.
    pub evidence: &'a Evidence,
    /// When the question is asked.
    pub now: Timestamp,
}

/// What would be held if the request were granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The lane.
    pub lane: LaneName,
    /// What would be written.
    pub tree: Region,
    /// What would be read undisturbed.
    pub read: Region,
    /// How long it would live after a beat.
    pub ttl: Span,
    /// Whether its lane runs alone.
    pub exclusive: bool,
    /// The class of its lane.
    pub class: Option<ClassName>,
    /// The worktree that its lane and its paths are in, where the policy tells worktrees apart.
    pub worktree: Option<WorktreeName>,
}

/// A rule beside those of the arbiter. It can refuse and nothing else.
pub trait Rule {
    /// Refuses the claim, or lets the next rule speak.
    fn refuse(&self, question: &Question<'_>, claim: &Claim) -> Option<Refusal>;
}

/// Decides a request.
///
/// With n live leases, looking up a claimed entry costs O(l × log n) for the l letters it literally begins with, and one
/// exact overlap test for each live entry whose literal beginning agrees with it. The other leases are looked at only for a
/// claim that runs alone, since all leases are in its way, and for the line ([`crate::queue`]).
///
/// ```
/// use arbiter::decide::{Question, arbitrate};
/// use arbiter::evidence::{ClockReading, Evidence};
/// use arbiter::lease::LiveSet;
/// use arbiter::name::OwnerName;
/// use arbiter::policy::Policy;
/// use arbiter::queue::NOBODY;
/// use arbiter::region::Region;
/// use arbiter::request::Request;
/// use arbiter::time::Timestamp;
/// use arbiter::verdict::Verdict;
///
/// let mut request = Request::of(OwnerName::new("o1").unwrap());
/// request.tree = Region::parse(["src/api/**"]).unwrap();
/// let verdict = arbitrate(Question {
///     request: &request,
///     live: &LiveSet::default(),
///     waiters: &NOBODY,
///     policy: &Policy::default(),
///     evidence: &Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 }),
///     now: Timestamp::parse("2026-11-21T07:31:11.123Z").unwrap(),
/// });
/// assert!(matches!(verdict, Verdict::Grant(_)));
/// ```
pub fn arbitrate(question: Question<'_>) -> Verdict {
    arbitrate_with(question, &[])
}

/// Decides a request under more rules. They are asked in order, after the arbiter's own and before the queue.
pub fn arbitrate_with(question: Question<'_>, rules: &[&dyn Rule]) -> Verdict {
    queue::in_turn(question, beside_the_queue(question, rules))
}

/// Decides a request as if nobody waited.
pub(crate) fn beside_the_queue(question: Question<'_>, rules: &[&dyn Rule]) -> Verdict {
    let lanes = Lanes::of(question.policy);
    let decided = if question.request.is_bare() {
        pick(question, &lanes, rules)
    } else {
        match claim_of(question.request, question.live, question.policy) {
            Ok(claim) => decide(&claim, question, &lanes, rules),
            Err(lane) => Err(words::unknown_lane(lane, question).into()),
        }
    };
    match decided {
        Ok(grant) => Verdict::Grant(grant),
        Err(Refused { mut refusal, is_whole }) => {
            if !is_whole {
                refusal.free_lanes = free_lanes(question, &lanes);
            }
            Verdict::Refuse(*refusal)
        }
    }
}

/// The same request, waiting.
pub(crate) fn wait_hint(request: &Request) -> alloc::string::String {
    words::again(request, "--wait 5m")
}

/// The live leases that a request would meet or be counted with: those whose holders are worth a look before the
/// decision.
pub fn contenders(request: &Request, live: &LiveSet, policy: &Policy) -> Vec<LeaseId> {
    contenders_among(request, live, policy, |_| true)
}

/// Those of [`contenders`] that have a process to look at. The overlap test, which is the dear part, is not made for the
/// others.
pub fn bound_contenders(request: &Request, live: &LiveSet, policy: &Policy) -> Vec<LeaseId> {
    contenders_among(request, live, policy, |lease| !lease.processes.is_empty())
}

fn contenders_among(
    request: &Request,
    live: &LiveSet,
    policy: &Policy,
    counts: impl Fn(&Lease) -> bool,
) -> Vec<LeaseId> {
    let lanes = Lanes::of(policy);
    let parent = request.parent;
    let kin = parent.map_or_else(Vec::new, |parent| live.with_ancestors(parent));
    let claims = claims_of(request, live, policy);
    let mut near: BTreeSet<LeaseId> = parent.into_iter().collect();
    near.extend(claims.iter().flat_map(|claim| meeting::may_matter(claim, live, &lanes)));
    let matters = |lease: &&Lease| {
        parent == Some(lease.lease)
            || claims.iter().any(|claim| meeting::matters(claim, lease, policy.case, &lanes, &kin))
    };
    let near = near.into_iter().filter_map(|id| live.get(id)).filter(|lease| counts(lease));
    near.filter(matters).map(|lease| lease.lease).collect()
}

/// The paths of `own`, on which the program itself rests, that the request aims at: it writes an entry that names such a
/// path and is no sweep. A sweep is an entry whose first name is `*` or `**`: any name will do there, so the entry says
/// nothing of this one. A wildcard inside the first name (`[l]ease-lane.toml`) makes no sweep (feature A11).
pub fn aimed_at(request: &Request, own: &Region, policy: &Policy) -> Region {
    let claims = claims_of(request, &LiveSet::default(), policy);
    let written = || claims.iter().flat_map(|claim| claim.tree.entries());
    let aims = |path: &&Entry| written().any(|entry| aims_at(entry, path, policy.case));
    Region::parse(own.entries().iter().filter(aims).map(Entry::as_str)).unwrap_or_else(|_| own.clone())
}

fn aims_at(entry: &Entry, path: &Entry, case: Case) -> bool {
    let sweeps = |one: &Entry| matches!(one.as_str().split('/').next(), Some("*" | "**"));
    let leads = |one: &Entry| !sweeps(one) && one.overlap(path, case).is_some();
    entry.overlap(path, case).is_some() && entry.spelled_out().iter().any(leads)
}

/// Every claim that the request may come to: those of the ladder for one that names nothing.
pub(crate) fn claims_of(request: &Request, live: &LiveSet, policy: &Policy) -> Vec<Claim> {
    if request.is_bare() {
        return policy.ladder.iter().filter_map(|lane| policys_claim(lane, request, policy)).collect();
    }
    claim_of(request, live, policy).into_iter().collect()
}

/// Every claim that deciding the request may come to, however it is decided: those that are asked for, and those of the
/// policy's lanes, which a refusal says to be free or not.
pub(crate) fn claims_at_most(request: &Request, policy: &Policy) -> (Vec<Claim>, Vec<Claim>) {
    let others = policy.lanes.keys().filter_map(|lane| policys_claim(lane, request, policy));
    (claims_of(request, &LiveSet::default(), policy), others.collect())
}

/// What the request would hold; `Err` with the lane when its region is the policy's to say and it does not.
fn claim_of(request: &Request, live: &LiveSet, policy: &Policy) -> Result<Claim, LaneName> {
    let lane = lane_of(request, live, policy);
    if !request.has_region() {
        return policys_claim(&lane, request, policy).ok_or(lane);
    }
    let said = policy.lane(&lane);
    Ok(Claim {
        ttl: request.ttl.unwrap_or_else(|| policy.ttl_of(&lane)),
        tree: request.tree.clone(),
        read: request.read.clone(),
        exclusive: said.is_some_and(|said| said.exclusive),
        class: said.and_then(|said| said.class.clone()),
        worktree: worktree_of(request, policy).cloned(),
        lane,
    })
}

/// The lane that is asked for. One that is named after a pool gets the first number that is not taken: under one name the
/// pool could be had once, however large it is.
fn lane_of(request: &Request, live: &LiveSet, policy: &Policy) -> LaneName {
    let plain = request.lane_name();
    let first = request.tree.entries().iter().chain(request.read.entries()).next();
    if request.lane.is_some() || first.is_none_or(|entry| entry.pool_name().is_none()) {
        return plain;
    }
    let worktree = worktree_of(request, policy);
    let numbered = (2..=live.len() + 1).map(|n| plain.numbered(n));
    let free = core::iter::once(plain.clone()).chain(numbered).find(|lane| live.has_lane_for(lane, worktree));
    free.unwrap_or(plain)
}

/// The worktree that the request is about; none where the policy does not tell worktrees apart.
fn worktree_of<'a>(request: &'a Request, policy: &Policy) -> Option<&'a WorktreeName> {
    request.worktree.as_ref().filter(|_| policy.worktrees == Worktrees::Separate)
}

/// What the request would hold in a lane whose region the policy says.
fn policys_claim(lane: &LaneName, request: &Request, policy: &Policy) -> Option<Claim> {
    let said = policy.lane(lane)?;
    Some(Claim {
        lane: lane.clone(),
        tree: said.written(),
        read: said.read.clone(),
        ttl: request.ttl.unwrap_or_else(|| policy.ttl_of(lane)),
        exclusive: said.exclusive,
        class: said.class.clone(),
        worktree: worktree_of(request, policy).cloned(),
    })
}

/// Whether waiting makes sense: whether what was refused may be granted later, although neither the request nor the policy
/// changes. For a ladder it makes sense if it does for one of its lanes.
pub fn may_pass(refusal: &Refusal, question: Question<'_>) -> bool {
    if refusal.code != RefusalCode::NoFreeLane {
        return refusal.code.may_pass();
    }
    let lanes = Lanes::of(question.policy);
    let may = |lane: &LaneName| {
        let claim = policys_claim(lane, question.request, question.policy);
        claim.is_some_and(|claim| match rules::ask(&Surroundings::of(&claim, question, &lanes)) {
            Ok(_) => true,
            Err(Refused { refusal, .. }) => refusal.code.may_pass(),
        })
    };
    question.policy.ladder.iter().any(may)
}

/// Decides about one claim.
fn decide(
    claim: &Claim,
    question: Question<'_>,
    lanes: &Lanes,
    more: &[&dyn Rule],
) -> Result<Grant, Refused> {
    let around = Surroundings::of(claim, question, lanes);
    let evicted = rules::ask(&around)?;
    for rule in more {
        if let Some(refusal) = rule.refuse(&question, claim) {
            return Err(Refused::whole(refusal));
        }
    }
    let forced = rules::forced(&around);
    Ok(grant(claim, &evicted, forced.as_deref(), question))
}

/// The first lane of the ladder that can be had (feature A9).
fn pick(question: Question<'_>, lanes: &Lanes, more: &[&dyn Rule]) -> Result<Grant, Refused> {
    let mut refused: Vec<Refusal> = Vec::new();
    for lane in &question.policy.ladder {
        let decided = match policys_claim(lane, question.request, question.policy) {
            Some(claim) => decide(&claim, question, lanes, more),
            None => Err(words::unknown_lane(lane.clone(), question).into()),
        };
        match decided {
            Ok(grant) => return Ok(words::picked(grant, &refused)),
            Err(Refused { refusal, .. }) => refused.push(*refusal),
        }
    }
    Err(words::no_free_lane(&refused, question).into())
}

fn grant(claim: &Claim, evicted: &[Hit<'_>], forced: Option<&str>, question: Question<'_>) -> Grant {
    let evicted: Vec<Evicted> = evicted
        .iter()
        .map(|hit| Evicted {
            lease: hit.lease.lease,
            lane: hit.lease.lane.clone(),
            owner: hit.lease.owner.clone(),
            why: hit.standing,
        })
        .collect();
    let request = question.request;
    let reason = words::granted(&evicted, forced, request);
    let imported = request.imported.as_ref();
    let acquired_at = imported.map_or(question.now, |imported| imported.acquired_at);
    let last_beat = imported.map_or(question.now, |imported| imported.heartbeat_at);
    Grant {
        lane: claim.lane.clone(),
        owner: request.owner.clone(),
        tree: claim.tree.clone(),
        read: claim.read.clone(),
        auto_picked: false,
        exclusive: claim.exclusive,
        worktree: claim.worktree.clone(),
        acquired_at,
        ttl: claim.ttl,
        expires_at: last_beat.plus(claim.ttl),
        evicted,
        dropped: Vec::new(),
        reason,
    }
}

/// The lanes of the policy that could be had at this moment without ending anything, in order of their names.
fn free_lanes(question: Question<'_>, lanes: &Lanes) -> Vec<LaneName> {
    let free = |lane: &&LaneName| {
        policys_claim(lane, question.request, question.policy).is_some_and(|claim| {
            let around = Surroundings::of(&claim, question, lanes);
            rules::ask(&around).is_ok_and(|evicted| evicted.is_empty())
        })
    };
    question.policy.lanes.keys().filter(free).cloned().collect()
}

/// The leases in the way of several claims, each once, by number.
fn all_conflicts(refusals: &[Refusal]) -> Vec<Conflict> {
    let mut all: Vec<Conflict> = Vec::new();
    for conflict in refusals.iter().flat_map(|refusal| &refusal.conflicts) {
        if all.iter().all(|known| known.lease != conflict.lease || known.lane != conflict.lane) {
            all.push(conflict.clone());
        }
    }
    all.sort_by_key(|conflict| conflict.lease);
    all
}
