//! Verdicts in words. Every text here is part of recorded verdicts (ADR 0005): a better sentence makes old records
//! differ.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use crate::lease::Standing;
use crate::name::LaneName;
use crate::region::Witness;
use crate::request::Request;
use crate::seq::LeaseId;
use crate::text::{nearest, shell_word, shown};
use crate::verdict::{Conflict, Evicted, Grant, Mode, Refusal, RefusalCode};

use super::meeting::{Hit, Surroundings};
use super::{Question, all_conflicts};

/// How many holders are named in a sentence; `conflicts` has them all.
const NAMED_MAX: usize = 8;

/// A refusal, and whether the lanes that are free are in it already.
pub(super) struct Refused {
    pub(super) refusal: Box<Refusal>,
    pub(super) is_whole: bool,
}

impl Refused {
    /// One that somebody else's rule made.
    pub(super) fn whole(refusal: Refusal) -> Refused {
        Refused { refusal: Box::new(refusal), is_whole: true }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { refusal: Box::new(refusal), is_whole: false }
    }
}

/// Why it was granted.
pub(super) fn granted(evicted: &[Evicted], forced: Option<&str>, request: &Request) -> String {
    let mut reason = String::from("nothing live is in the way");
    for (i, gone) in evicted.iter().enumerate() {
        let joint = if i == 0 { "; ended: " } else { ", " };
        let _ = write!(reason, "{joint}lease {} of `{}` ({})", gone.lease, gone.owner, gone.why.as_str());
    }
    if let Some(parent) = request.parent {
        let _ = write!(reason, "; beneath lease {parent}");
    }
    if let Some(path) = forced {
        let _ = write!(reason, "; forced: `{}` is protected", shown(path, 300));
    }
    reason
}

/// A grant of a lane that was picked, and what was passed over.
pub(super) fn picked(mut grant: Grant, passed: &[Refusal]) -> Grant {
    grant.auto_picked = true;
    let _ = write!(grant.reason, "; picked from the ladder");
    for (i, refusal) in passed.iter().enumerate() {
        let joint = if i == 0 { ", after " } else { ", " };
        let _ = write!(grant.reason, "{joint}`{}` ({})", refusal.lane, refusal.code.as_str());
    }
    grant
}

/// No lane of the ladder can be had, and why each cannot.
pub(super) fn no_free_lane(refused: &[Refusal], question: Question<'_>) -> Refusal {
    let mut reason = String::from("no lane of the ladder can be had");
    for (i, refusal) in refused.iter().enumerate() {
        let joint = if i == 0 { ": " } else { " | " };
        let _ = write!(reason, "{joint}`{}`: {}", refusal.lane, refusal.reason);
    }
    if refused.is_empty() {
        reason = "neither a lane nor a region was asked for, and the policy has no ladder".into();
    }
    let lane = refused.first().map_or_else(|| question.request.lane_name(), |first| first.lane.clone());
    Refusal {
        code: RefusalCode::NoFreeLane,
        lane,
        reason,
        yours: None,
        behind: None,
        free_lanes: Vec::new(),
        conflicts: all_conflicts(refused),
        hint: again(question.request, "--wait 5m"),
    }
}

/// The lane's region is the policy's to say, and it does not.
pub(super) fn unknown_lane(lane: LaneName, question: Question<'_>) -> Refusal {
    let mut reason = format!("lane `{lane}` was asked for without a region, and the policy does not know it");
    let known = question.policy.lanes.keys();
    for (i, name) in known.clone().enumerate() {
        let _ = write!(reason, "{}`{name}`", if i == 0 { "; it knows: " } else { ", " });
    }
    let meant = nearest(lane.as_str(), known.map(LaneName::as_str));
    let force = if question.request.force { " --force" } else { "" };
    if let Some(meant) = meant {
        let _ = write!(reason, "; did you mean `{}`?", shown(meant, 100));
    }
    Refusal {
        code: RefusalCode::UnknownLane,
        hint: match meant {
            Some(meant) => format!("lease-lane acquire {}{force}", shell_word(meant)),
            None => format!("lease-lane acquire {} --tree PATTERN{force}", shell_word(lane.as_str())),
        },
        lane,
        reason,
        yours: None,
        behind: None,
        free_lanes: Vec::new(),
        conflicts: Vec::new(),
    }
}

/// The lease that was named as the parent does not live, or does not stand.
pub(super) fn parent_gone(around: &Surroundings<'_>, parent: LeaseId, seen: Option<&Hit<'_>>) -> Refused {
    let request = around.question.request;
    let (reason, hint) = match seen {
        Some(hit) => (
            format!("{} was named as the parent and no longer stands: {}", hit.lease, hit.standing.as_str()),
            format!("lease-lane heartbeat --lease {parent}"),
        ),
        None => (
            format!("lease {parent} was named as the parent and does not live"),
            again(&Request { parent: None, ..request.clone() }, ""),
        ),
    };
    refused(around, RefusalCode::ParentGone, reason, hint)
}

/// A protected path would be written.
pub(super) fn protected(around: &Surroundings<'_>, witness: &Witness) -> Refused {
    let reason = format!("`{}` is protected: writing it needs --force", shown(witness.as_str(), 300));
    let hint = again(around.question.request, "--force --why TEXT");
    refused(around, RefusalCode::Protected, reason, hint)
}

/// A lease that holds is incompatible with the claim; every lease that the claim meets is named.
pub(super) fn met(around: &Surroundings<'_>, code: RefusalCode, first: &Hit<'_>) -> Refused {
    let lease = first.lease;
    let who = format!("lane `{}` (lease {}, owner `{}`)", lease.lane, lease.lease, lease.owner);
    let mut reason = match code {
        RefusalCode::LaneHeld => format!(
            "lane `{}` is held by `{}` (lease {}) since {}",
            lease.lane, lease.owner, lease.lease, lease.acquired_at
        ),
        RefusalCode::ExclusiveLive => format!("{who} runs alone since {}", lease.acquired_at),
        RefusalCode::NeedsIdle => {
            format!("lane `{}` runs alone, and {who} lives since {}", around.claim.lane, lease.acquired_at)
        }
        _ => format!(
            "`{}` is {} by {who} since {}",
            shown(&first.meeting.overlap.as_ref().map(ToString::to_string).unwrap_or_default(), 300),
            if first.meeting.mode == Mode::Read { "read" } else { "written" },
            lease.acquired_at
        ),
    };
    match around.met.len() {
        0 | 1 => {}
        2 => reason.push_str("; one more lease is in the way"),
        n => {
            let _ = write!(reason, "; {} more leases are in the way", n - 1);
        }
    }
    let mut refused = refused(around, code, reason, again(around.question.request, "--wait 5m"));
    if code == RefusalCode::LaneHeld {
        refused.refusal.yours = Some(lease.owner == around.question.request.owner);
    }
    let overlap = |hit: &Hit<'_>| hit.meeting.overlap.as_ref().map(ToString::to_string);
    refused.refusal.conflicts = around.met.iter().map(|hit| conflict(hit, overlap(hit))).collect();
    refused
}

/// As many live as may.
pub(super) fn full(
    around: &Surroundings<'_>,
    code: RefusalCode,
    what: &str,
    most: u32,
    members: &[Hit<'_>],
    overlap: Option<&str>,
) -> Refused {
    let mut reason = format!("{what}, with room for {most}");
    let held: Vec<&Hit<'_>> = members.iter().filter(|hit| hit.standing == Standing::Held).collect();
    for (i, hit) in held.iter().take(NAMED_MAX).enumerate() {
        let joint = if i == 0 { ": " } else { ", " };
        let _ = write!(reason, "{joint}lease {} of `{}`", hit.lease.lease, hit.lease.owner);
    }
    if let Some(more) = held.len().checked_sub(NAMED_MAX).filter(|&more| more > 0) {
        let _ = write!(reason, " and {more} more");
    }
    let mut refused = refused(around, code, reason, again(around.question.request, "--wait 5m"));
    refused.refusal.conflicts = members.iter().map(|hit| conflict(hit, overlap.map(Into::into))).collect();
    refused
}

fn refused(around: &Surroundings<'_>, code: RefusalCode, reason: String, hint: String) -> Refused {
    let lane = around.claim.lane.clone();
    let (free_lanes, conflicts) = (Vec::new(), Vec::new());
    Refusal { code, lane, reason, yours: None, free_lanes, conflicts, behind: None, hint }.into()
}

fn conflict(hit: &Hit<'_>, overlap: Option<String>) -> Conflict {
    Conflict {
        lease: hit.lease.lease,
        lane: hit.lease.lane.clone(),
        owner: hit.lease.owner.clone(),
        mode: hit.meeting.mode,
        overlap,
        since: hit.lease.acquired_at,
        expires_at: hit.lease.expires_at(),
        alive: hit.alive,
        worktree: hit.lease.worktree.clone(),
        run_id: hit.lease.run_id.clone(),
        why: hit.lease.why.clone(),
        labels: hit.lease.labels.clone(),
    }
}

/// The same request with something more; a region too long to paste is left to the reader.
pub(super) fn again(request: &Request, more: &str) -> String {
    const ENTRIES_SHOWN_MAX: usize = 8;
    let mut hint = String::from("lease-lane acquire");
    if let Some(lane) = &request.lane {
        let _ = write!(hint, " {}", shell_word(lane.as_str()));
    }
    if request.tree.entries().len() + request.read.entries().len() > ENTRIES_SHOWN_MAX {
        hint.push_str(" …");
    } else {
        for (flag, region) in [("--tree", &request.tree), ("--read", &request.read)] {
            for entry in region.entries() {
                // Behind a space a dash would begin the next flag.
                let joint = if entry.as_str().starts_with('-') { '=' } else { ' ' };
                let _ = write!(hint, " {flag}{joint}{}", shell_word(entry.as_str()));
            }
        }
    }
    if let Some(parent) = request.parent {
        let _ = write!(hint, " --parent {parent}");
    }
    if request.force {
        hint.push_str(" --force");
    }
    if !more.is_empty() {
        let _ = write!(hint, " {more}");
    }
    hint
}
