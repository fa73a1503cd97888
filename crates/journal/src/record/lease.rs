//! What becomes of a lease that was granted, and what is announced: RELEASE to DEFER.

use arbiter::evidence::{ClockReading, Observation, ProcessIdentity};
use arbiter::lease::Standing;
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::PhaseName;
use arbiter::reap::{Look, Tier};
use arbiter::request::{Note, RunId};
use arbiter::seq::{Fence, LeaseId};
use arbiter::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// RELEASE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who gave it back.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why, where it was not the holder's wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
    /// Whether the grant could not be made durable and so was never reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// HEARTBEAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who beat.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The boot-time clock at the beat.
    pub clock: ClockReading,
}

/// ADOPT: id, region and TTL stay, the fence becomes the position of this record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it from now on.
    pub owner: OwnerName,
    /// Who held it until now.
    pub from: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of the earlier holder.
    pub fence: Fence,
    /// The boot-time clock of the new holder.
    pub clock: ClockReading,
    /// Processes that are attached beside those that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessIdentity>,
}

/// ATTACH: the holder has more processes. It was heard of, so this is a beat as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The boot-time clock of the holder.
    pub clock: ClockReading,
    /// Processes that are attached beside those that are there.
    pub processes: Vec<ProcessIdentity>,
}

/// HALT: a decision that is on record and signals nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// What shall stop, as the one who decided calls it.
    pub handle: Note,
    /// Who decided.
    pub owner: OwnerName,
    /// The lane it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneName>,
    /// The lease it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// The command with which it shall be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Note>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
}

/// SPAWN: grants nothing, blocks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// The lane in which a run is coming.
    pub lane: LaneName,
    /// Who says so.
    pub owner: OwnerName,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
}

/// SCAVENGE: an eviction with its evidence, or the end that an operator forced, with what was seen of the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scavenge {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who held it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why it no longer stood; that it was held, only where it was forced.
    pub why: Standing,
    /// Who needed its place, or insisted.
    pub by: OwnerName,
    /// Why an operator insisted on its end although it may have stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Note>,
    /// The boot-time clock of the one who looked.
    pub clock: ClockReading,
    /// What was seen of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observation>,
    /// By which rule a sweep ended it; absent where somebody needed its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The look before the last one, where there were two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Look>,
}

/// PHASE: a holder said what it is at the end of. No beat: that is a record of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who said so.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The phase; none when it is over.
    pub phase: Option<PhaseName>,
    /// How long it shall take.
    #[serde(default, rename = "budget_s", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// The boot-time clock of the holder. The phase counts from here if the lease was in no such phase before.
    pub clock: ClockReading,
}

/// DEFER: a sweep waits for a phase. Written once a phase, so that a sweep that looks every second fills no disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defer {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why it is put off, in words.
    pub why: Note,
    /// Until when it is put off at most, by the wall clock.
    pub until: Timestamp,
    /// Who swept.
    pub by: OwnerName,
    /// The boot-time clock of the one who looked.
    pub clock: ClockReading,
    /// What was seen of its processes.
    pub observed: Observation,
}
