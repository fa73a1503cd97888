//! The answer to a request, complete: what was given, or what stood in the way.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize, Serializer};

use crate::evidence::Liveness;
use crate::lease::Standing;
use crate::name::{LaneName, OwnerName};
use crate::queue::Fallen;
use crate::region::Region;
use crate::request::{Labels, Note, RunId};
use crate::seq::{LeaseId, Ticket};
use crate::time::{Span, Timestamp};
use crate::worktree::WorktreeName;

/// Yes or no. Its JSON text is what the journal keeps and what a later re-decision must reproduce byte for
/// byte (features A15, S4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "outcome")]
pub enum Verdict {
    /// The request is granted.
    #[serde(rename = "acquire")]
    Grant(Grant),
    /// The request is refused.
    #[serde(rename = "refuse")]
    Refuse(Refusal),
}

/// A verdict to be written, which may be kept without the word that says which it is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "outcome")]
pub enum VerdictRef<'a> {
    /// As [`Verdict::Grant`].
    #[serde(rename = "acquire")]
    Grant(&'a Grant),
    /// As [`Verdict::Refuse`].
    #[serde(rename = "refuse")]
    Refuse(&'a Refusal),
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        VerdictRef::from(self).serialize(serializer)
    }
}

impl<'a> From<&'a Verdict> for VerdictRef<'a> {
    fn from(verdict: &'a Verdict) -> VerdictRef<'a> {
        match verdict {
            Verdict::Grant(grant) => VerdictRef::Grant(grant),
            Verdict::Refuse(refusal) => VerdictRef::Refuse(refusal),
        }
    }
}

/// What was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The lane.
    pub lane: LaneName,
    /// Who has it now.
    pub owner: OwnerName,
    /// What may be written.
    pub tree: Region,
    /// What may be read undisturbed.
    pub read: Region,
    /// Whether the lane was picked for the one who asked.
    pub auto_picked: bool,
    /// Whether it lives alone.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub exclusive: bool,
    /// The worktree that its paths are in, where the policy tells worktrees apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeName>,
    /// Since when.
    pub acquired_at: Timestamp,
    /// How long it lives after a beat.
    #[serde(rename = "ttl_s")]
    pub ttl: Span,
    /// Until when, if nobody beats.
    pub expires_at: Timestamp,
    /// The leases that ended so that this one could begin.
    pub evicted: Vec<Evicted>,
    /// The tickets that came first and no longer stood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
    /// The decision in words.
    pub reason: String,
}

/// A lease that ended because somebody needed its place and it no longer stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// The lease.
    pub lease: LeaseId,
    /// Its lane.
    pub lane: LaneName,
    /// Who held it.
    pub owner: OwnerName,
    /// Why it no longer stood.
    pub why: Standing,
}

/// A ticket that came first and no longer stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The ticket.
    pub ticket: Ticket,
    /// The lane it was for.
    pub lane: LaneName,
    /// Who waited with it.
    pub owner: OwnerName,
    /// Why it no longer stood.
    pub why: Fallen,
}

/// What stood in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// The lane that was asked for.
    pub lane: LaneName,
    /// The decision in words.
    pub reason: String,
    /// For [`RefusalCode::LaneHeld`]: whether the holder has the name of the one who asked. Two sessions may
    /// share a name, so this is still a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yours: Option<bool>,
    /// Lanes of the policy that could be had now.
    pub free_lanes: Vec<LaneName>,
    /// Every lease in the way, by number.
    pub conflicts: Vec<Conflict>,
    /// For [`RefusalCode::QueuedBehind`]: who comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// A command to paste.
    pub hint: String,
}

/// Kinds of refusal; the names are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum RefusalCode {
    /// The lane's name is held.
    LaneHeld,
    /// A live lease claims a path or resource that was asked for.
    RegionConflict,
    /// The lane was named without a region and the policy does not know it.
    UnknownLane,
    /// A live lease runs alone.
    ExclusiveLive,
    /// The lane runs alone and something lives.
    NeedsIdle,
    /// No lane of the ladder can be had.
    NoFreeLane,
    /// As many hold the pool as it has room for.
    PoolFull,
    /// As many lanes of the class live as may.
    ClassFull,
    /// A protected path would be written and the request does not insist.
    Protected,
    /// The lease that was named as the parent does not live, or no longer stands.
    ParentGone,
    /// Somebody waits for the same and came first.
    QueuedBehind,
    /// The wait would never end: somebody waits for the one who asks.
    Deadlock,
}

impl RefusalCode {
    /// The name as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::LaneHeld => "LANE_HELD",
            RefusalCode::RegionConflict => "REGION_CONFLICT",
            RefusalCode::UnknownLane => "UNKNOWN_LANE",
            RefusalCode::ExclusiveLive => "EXCLUSIVE_LIVE",
            RefusalCode::NeedsIdle => "NEEDS_IDLE",
            RefusalCode::NoFreeLane => "NO_FREE_LANE",
            RefusalCode::PoolFull => "POOL_FULL",
            RefusalCode::ClassFull => "CLASS_FULL",
            RefusalCode::Protected => "PROTECTED",
            RefusalCode::ParentGone => "PARENT_GONE",
            RefusalCode::QueuedBehind => "QUEUED_BEHIND",
            RefusalCode::Deadlock => "DEADLOCK",
        }
    }

    /// Whether the same request may be granted later without anybody changing it or the policy: whether waiting
    /// makes sense.
    pub fn may_pass(self) -> bool {
        !matches!(
            self,
            RefusalCode::UnknownLane
                | RefusalCode::Protected
                | RefusalCode::ParentGone
                | RefusalCode::Deadlock
        )
    }
}

/// The ticket behind which a request is queued (feature D2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// The nearest one that comes first.
    pub ticket: Ticket,
    /// The lane it is for.
    pub lane: LaneName,
    /// Who waits with it.
    pub owner: OwnerName,
    /// Since when.
    pub since: Timestamp,
    /// The ticket at the front that could have what it waits for at once, if its holder only took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Ticket>,
}

/// One lease in the way of a request (feature A13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The lease.
    pub lease: LeaseId,
    /// Its lane.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// Whether it writes or reads what is shown in `overlap`.
    pub mode: Mode,
    /// A path or resource that both claim; none when something else is in the way, such as the lane's name.
    pub overlap: Option<String>,
    /// When it was granted.
    pub since: Timestamp,
    /// When it expires if nobody beats.
    pub expires_at: Timestamp,
    /// What was seen of its processes.
    pub alive: Liveness,
    /// The worktree that its paths are in, if it was granted for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeName>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why its holder asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
    /// Labels of its holder's making.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Verdict {
    /// The verdict as it was worded at first: a refusal did not tell how the leases in the way are labelled.
    #[must_use]
    pub fn without_labels(mut self) -> Verdict {
        if let Verdict::Refuse(refusal) = &mut self {
            for conflict in &mut refusal.conflicts {
                (conflict.run_id, conflict.why) = (None, None);
                conflict.labels.clear();
            }
        }
        self
    }
}

/// What a lease does with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Writes it: alone.
    #[default]
    Write,
    /// Reads it: beside other readers.
    Read,
}
