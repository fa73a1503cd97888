//! The decision.
//!
//! A request becomes a claim (what exactly would be held), the claim meets the live set, and what is in the
//! way decides. Rules compose only conjunctively: each can refuse, none can force an admission (feature A12).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use crate::evidence::{Evidence, Liveness};
use crate::lease::{Lease, LiveSet, Standing};
use crate::name::LaneName;
use crate::policy::Policy;
use crate::region::{Region, Witness};
use crate::request::Request;
use crate::seq::LeaseId;
use crate::text::shell_word;
use crate::time::{Span, Timestamp};
use crate::verdict::{Conflict, Evicted, Grant, Mode, Refusal, RefusalCode, Verdict};

/// Everything a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub request: &'a Request,
    /// The leases that live.
    pub live: &'a LiveSet,
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
}

/// A rule beside those of the arbiter. It can refuse and nothing else.
pub trait Rule {
    /// Refuses the claim, or lets the next rule speak.
    fn refuse(&self, question: &Question<'_>, claim: &Claim) -> Option<Refusal>;
}

/// Decides a request.
///
/// Costs one exact overlap test for each pair of a claimed entry and a live entry whose literal beginnings
/// agree; every other pair costs a comparison of those beginnings.
///
/// ```
/// use arbiter::decide::{Question, arbitrate};
/// use arbiter::evidence::{ClockReading, Evidence};
/// use arbiter::lease::LiveSet;
/// use arbiter::name::OwnerName;
/// use arbiter::policy::Policy;
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
///     policy: &Policy::default(),
///     evidence: &Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 }),
///     now: Timestamp::parse("2026-11-21T07:31:11.123Z").unwrap(),
/// });
/// assert!(matches!(verdict, Verdict::Grant(_)));
/// ```
pub fn arbitrate(question: Question<'_>) -> Verdict {
    arbitrate_with(question, &[])
}

/// Decides a request under more rules. They are asked in order, after the arbiter's own.
pub fn arbitrate_with(question: Question<'_>, rules: &[&dyn Rule]) -> Verdict {
    let claim = match claim_of(question.request, question.policy) {
        Ok(claim) => claim,
        Err(lane) => return Verdict::Refuse(unknown_lane(lane, question)),
    };
    let in_the_way = in_the_way(&claim, question);
    let holding = in_the_way.iter().any(|hit| hit.standing == Standing::Held);
    if holding {
        return Verdict::Refuse(conflicting(&claim, &in_the_way, question));
    }
    for rule in rules {
        if let Some(refusal) = rule.refuse(&question, &claim) {
            return Verdict::Refuse(refusal);
        }
    }
    Verdict::Grant(grant(claim, &in_the_way, question))
}

/// The live leases that a request would meet: those whose holders are worth a look before the decision.
pub fn contenders(request: &Request, live: &LiveSet, policy: &Policy) -> Vec<LeaseId> {
    let Ok(claim) = claim_of(request, policy) else { return Vec::new() };
    live.iter().filter(|lease| meets(&claim, lease, policy).is_some()).map(|lease| lease.lease).collect()
}

/// What the request would hold; `Err` with the lane when its region is the policy's to say and it does not.
fn claim_of(request: &Request, policy: &Policy) -> Result<Claim, LaneName> {
    let lane = request.lane_name();
    let ttl = request.ttl.unwrap_or_else(|| policy.ttl_of(&lane));
    if request.has_region() {
        return Ok(Claim { lane, tree: request.tree.clone(), read: request.read.clone(), ttl });
    }
    match policy.lane(&lane) {
        Some(said) => Ok(Claim { lane, tree: said.tree.clone(), read: said.read.clone(), ttl }),
        None => Err(lane),
    }
}

/// A live lease that meets the claim.
struct Hit<'a> {
    lease: &'a Lease,
    meeting: Meeting,
    standing: Standing,
    alive: Liveness,
}

/// How a lease and a claim meet.
struct Meeting {
    same_lane: bool,
    mode: Mode,
    overlap: Option<Witness>,
}

fn in_the_way<'a>(claim: &Claim, question: Question<'a>) -> Vec<Hit<'a>> {
    let Question { live, policy, evidence, now, .. } = question;
    let here = live.iter().filter_map(|lease| {
        let meeting = meets(claim, lease, policy)?;
        let alive = evidence.liveness(lease.lease);
        let seen = evidence.observation(lease.lease);
        let standing = lease.standing_under(policy, seen, now, &evidence.clock);
        Some(Hit { lease, meeting, standing, alive })
    });
    // What is kept elsewhere can be respected but not ended from here.
    let elsewhere = evidence.with_leases.iter().filter_map(|lease| {
        let meeting = meets(claim, lease, policy)?;
        Some(Hit { lease, meeting, standing: Standing::Held, alive: Liveness::Unknown })
    });
    here.chain(elsewhere).collect()
}

/// Whether a claim and a lease are incompatible: the same lane, or a common path that one of them writes
/// (feature A3). The witness is the least over all pairs; a path that the lease writes goes before one that
/// it reads.
fn meets(claim: &Claim, lease: &Lease, policy: &Policy) -> Option<Meeting> {
    let same_lane = claim.lane.same_as(&lease.lane);
    let written =
        [claim.tree.overlap(&lease.tree, policy.case), claim.read.overlap(&lease.tree, policy.case)];
    let written = written.into_iter().flatten().min();
    let (mode, overlap) = match written {
        Some(witness) => (Mode::Write, Some(witness)),
        None => match claim.tree.overlap(&lease.read, policy.case) {
            Some(witness) => (Mode::Read, Some(witness)),
            None => (Mode::Write, None),
        },
    };
    (same_lane || overlap.is_some()).then_some(Meeting { same_lane, mode, overlap })
}

fn grant(claim: Claim, evictable: &[Hit<'_>], question: Question<'_>) -> Grant {
    let evicted: Vec<Evicted> = evictable
        .iter()
        .map(|hit| Evicted {
            lease: hit.lease.lease,
            lane: hit.lease.lane.clone(),
            owner: hit.lease.owner.clone(),
            why: hit.standing,
        })
        .collect();
    let mut reason = String::from("nothing live is in the way");
    for (i, gone) in evicted.iter().enumerate() {
        let joint = if i == 0 { "; ended: " } else { ", " };
        let _ = write!(reason, "{joint}lease {} of `{}` ({})", gone.lease, gone.owner, gone.why.as_str());
    }
    let acquired_at =
        question.request.imported.as_ref().map_or(question.now, |imported| imported.acquired_at);
    let last_beat = question.request.imported.as_ref().map_or(question.now, |imported| imported.heartbeat_at);
    Grant {
        lane: claim.lane,
        owner: question.request.owner.clone(),
        tree: claim.tree,
        read: claim.read,
        auto_picked: false,
        acquired_at,
        ttl: claim.ttl,
        expires_at: last_beat.plus(claim.ttl),
        evicted,
        reason,
    }
}

fn conflicting(claim: &Claim, hits: &[Hit<'_>], question: Question<'_>) -> Refusal {
    let conflicts: Vec<Conflict> = hits
        .iter()
        .map(|hit| Conflict {
            lease: hit.lease.lease,
            lane: hit.lease.lane.clone(),
            owner: hit.lease.owner.clone(),
            mode: hit.meeting.mode,
            overlap: hit.meeting.overlap.as_ref().map(ToString::to_string),
            since: hit.lease.acquired_at,
            expires_at: hit.lease.expires_at(),
            alive: hit.alive,
            run_id: hit.lease.run_id.clone(),
            why: hit.lease.why.clone(),
            labels: hit.lease.labels.clone(),
        })
        .collect();
    // The first lease that holds is the one named; one in the same lane goes before the others.
    let held = |hit: &&Hit<'_>| hit.standing == Standing::Held;
    let by_lane = hits.iter().filter(held).find(|hit| hit.meeting.same_lane);
    let (code, yours, mut reason) = match (by_lane, hits.iter().find(held)) {
        (Some(hit), _) => {
            let reason = format!(
                "lane `{}` is held by `{}` (lease {}) since {}",
                hit.lease.lane, hit.lease.owner, hit.lease.lease, hit.lease.acquired_at
            );
            (RefusalCode::LaneHeld, Some(hit.lease.owner == question.request.owner), reason)
        }
        (None, hit) => (RefusalCode::RegionConflict, None, hit.map_or_else(String::new, in_words)),
    };
    match hits.len() {
        0 | 1 => {}
        2 => reason.push_str("; one more lease is in the way"),
        n => {
            let _ = write!(reason, "; {} more leases are in the way", n - 1);
        }
    }
    Refusal {
        code,
        lane: claim.lane.clone(),
        reason,
        yours,
        free_lanes: free_lanes(question),
        hint: wait_hint(claim, question.request),
        conflicts,
    }
}

fn in_words(hit: &Hit<'_>) -> String {
    let verb = match hit.meeting.mode {
        Mode::Write => "written",
        Mode::Read => "read",
    };
    let overlap = hit.meeting.overlap.as_ref().map(ToString::to_string).unwrap_or_default();
    format!(
        "`{}` is {verb} by lane `{}` (lease {}, owner `{}`) since {}",
        crate::text::shown(&overlap, 300),
        hit.lease.lane,
        hit.lease.lease,
        hit.lease.owner,
        hit.lease.acquired_at
    )
}

fn unknown_lane(lane: LaneName, question: Question<'_>) -> Refusal {
    let mut reason = format!("lane `{lane}` was asked for without a region, and the policy does not know it");
    let known = question.policy.lanes.keys();
    for (i, name) in known.enumerate() {
        let _ = write!(reason, "{}`{name}`", if i == 0 { "; it knows: " } else { ", " });
    }
    Refusal {
        code: RefusalCode::UnknownLane,
        hint: format!("lease-lane acquire {} --tree PATTERN", shell_word(lane.as_str())),
        lane,
        reason,
        yours: None,
        free_lanes: free_lanes(question),
        conflicts: Vec::new(),
    }
}

/// The lanes of the policy that could be had at this moment, in order of their names.
fn free_lanes(question: Question<'_>) -> Vec<LaneName> {
    let Question { live, policy, evidence, .. } = question;
    let free = |name: &LaneName| {
        let said = policy.lane(name)?;
        let claim =
            Claim { lane: name.clone(), tree: said.tree.clone(), read: said.read.clone(), ttl: Span::ZERO };
        let met =
            live.iter().chain(&evidence.with_leases).any(|lease| meets(&claim, lease, policy).is_some());
        (!met).then(|| name.clone())
    };
    policy.lanes.keys().filter_map(free).collect()
}

/// The same request, waiting; a region too long to paste is left to the reader.
fn wait_hint(claim: &Claim, request: &Request) -> String {
    const ENTRIES_SHOWN_MAX: usize = 8;
    let mut hint = String::from("lease-lane acquire");
    if request.lane.is_some() {
        let _ = write!(hint, " {}", shell_word(claim.lane.as_str()));
    }
    if request.tree.entries().len() + request.read.entries().len() > ENTRIES_SHOWN_MAX {
        hint.push_str(" …");
    } else {
        for (flag, region) in [("--tree", &request.tree), ("--read", &request.read)] {
            for entry in region.entries() {
                let _ = write!(hint, " {flag} {}", shell_word(entry.as_str()));
            }
        }
    }
    hint.push_str(" --wait 5m");
    hint
}
