//! A lease, the set of live ones, and when one may be taken away.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::mem::take;

use serde::{Deserialize, Serialize};

use crate::evidence::{ClockReading, Liveness, Observation, ProcessIdentity};
use crate::name::{LaneKey, LaneName, OwnerName};
use crate::near::Near;
use crate::phase::Phase;
use crate::policy::{ForeignHost, Policy};
use crate::region::Region;
use crate::request::{Labels, Note, RequestId, RunId};
use crate::seq::{Fence, LeaseId, Seq};
use crate::time::{Span, Timestamp};
use crate::worktree::{WorktreeName, are_apart};

/// One grant that has not ended.
///
/// The JSON form is the one of `live`; what only the journal needs may be absent when it comes from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name: the position of the record that granted it.
    pub lease: LeaseId,
    /// The fencing token of its present holder.
    pub fence: Fence,
    /// The lane it holds.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// What it may write.
    pub tree: Region,
    /// What it may read undisturbed.
    #[serde(default)]
    pub read: Region,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// When its holder was last heard of.
    pub heartbeat_at: Timestamp,
    /// The boot-time clock at the last beat; absent for a lease that came from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReading>,
    /// How long it lives after a beat.
    #[serde(rename = "ttl_s")]
    pub ttl: Span,
    /// The processes it is bound to; empty when it is bound to none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessIdentity>,
    /// The lease beneath which it was granted; that one may have ended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<LeaseId>,
    /// Whether it was granted to live alone.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub exclusive: bool,
    /// The worktree that its lane and its paths are in, where it was granted for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeName>,
    /// The stop decision recorded against it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halted>,
    /// What its holder is at the end of, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Box<Phase>>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
    /// Labels of the caller's making.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The caller's name for the request that was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// A recorded decision to stop a holder. Nothing is ever signalled because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// What the one who decided called it.
    pub handle: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OwnerName>,
    /// The command with which it shall be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Note>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
}

/// Whether a lease still stands against a request that needs its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It holds.
    Held,
    /// Nobody has beaten for longer than TTL and grace, and nobody is seen alive.
    Expired,
    /// It was bound to processes and all of them are provably gone.
    Dead,
}

impl Standing {
    /// Spells the standing as records print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Held => "held",
            Standing::Expired => "expired",
            Standing::Dead => "dead",
        }
    }
}

impl Lease {
    /// A lease that claims nothing yet, has its first fence, and was last heard of when it was granted. The caller sets the
    /// rest.
    ///
    /// ```
    /// use arbiter::lease::Lease;
    /// use arbiter::name::{LaneName, OwnerName};
    /// use arbiter::region::Region;
    /// use arbiter::seq::Seq;
    /// use arbiter::time::{Span, Timestamp};
    ///
    /// let (lane, owner) = (LaneName::new("api")?, OwnerName::new("ann")?);
    /// let bare = Lease::bare(Seq::FIRST, lane, owner, Timestamp::from_unix_ms(0), Span::from_s(60));
    /// let lease = Lease { tree: Region::every_path(), ..bare };
    /// assert_eq!(lease.expires_at(), Timestamp::from_unix_ms(60_000));
    /// # Ok::<(), arbiter::text::TextError>(())
    /// ```
    pub fn bare(granted: Seq, lane: LaneName, owner: OwnerName, at: Timestamp, ttl: Span) -> Lease {
        Lease {
            lease: LeaseId::from(granted),
            fence: Fence::from(granted),
            lane,
            owner,
            tree: Region::default(),
            read: Region::default(),
            acquired_at: at,
            heartbeat_at: at,
            clock: None,
            ttl,
            processes: Vec::new(),
            parent: None,
            exclusive: false,
            worktree: None,
            halted: None,
            phase: None,
            run_id: None,
            why: None,
            labels: Labels::new(),
            request_id: None,
        }
    }

    /// When the lease expires if nobody beats again. Its wall-clock time is for people;
    /// [`Lease::standing`] uses the boot-time clock where it can.
    pub fn expires_at(&self) -> Timestamp {
        self.heartbeat_at.plus(self.ttl)
    }

    /// How long ago the holder was last heard of.
    ///
    /// Within one boot this is a difference of boot-time clocks, so that setting the wall clock changes
    /// nothing; across boots only the wall clock is left, and an age below zero counts as zero.
    pub fn age(&self, now: Timestamp, clock: &ClockReading) -> Span {
        age_of(self.heartbeat_at, self.clock.as_ref(), now, clock)
    }

    /// Whether the lease still stands, given what was seen of its processes (features C4 to C6).
    ///
    /// Dead: it is bound to processes and all are provably gone. Expired: its age exceeds TTL and `grace` and
    /// nobody is seen alive. Unknown is never dead; only time ends what cannot be probed.
    pub fn standing(&self, alive: Liveness, grace: Span, now: Timestamp, clock: &ClockReading) -> Standing {
        if !self.processes.is_empty() && alive == Liveness::No {
            Standing::Dead
        } else if alive != Liveness::Yes && self.age(now, clock) > self.ttl.plus(grace) {
            Standing::Expired
        } else {
            Standing::Held
        }
    }

    /// As [`Lease::standing`], by what was `seen` of its processes and under a policy, which may forbid to take a
    /// lease from another host by its time alone.
    pub fn standing_under(
        &self,
        policy: &Policy,
        seen: Option<&Observation>,
        now: Timestamp,
        clock: &ClockReading,
    ) -> Standing {
        let alive = seen.map_or(Liveness::Unknown, |seen| seen.alive);
        match self.standing(alive, policy.grace_of(self), now, clock) {
            Standing::Expired
                if policy.foreign_host == ForeignHost::Refuse
                    && seen.is_some_and(Observation::is_elsewhere) =>
            {
                Standing::Held
            }
            standing => standing,
        }
    }
}

/// How long ago something was that happened at `since` and at `reading` of the boot-time clock.
pub(crate) fn age_of(
    since: Timestamp,
    reading: Option<&ClockReading>,
    now: Timestamp,
    clock: &ClockReading,
) -> Span {
    match reading {
        Some(then) if then.boot == clock.boot => Span::from_ms(clock.up_ms.saturating_sub(then.up_ms)),
        _ => now.since(since),
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} (lane `{}`, owner `{}`)", self.lease, self.lane, self.owner)
    }
}

/// The live leases, in order of first acquisition, no two in one lane.
///
/// Where worktrees are told apart, a lane is one in each of them; a lease without a worktree has its lane in all.
#[derive(Clone, Debug, Default)]
pub struct LiveSet {
    by_id: BTreeMap<LeaseId, Lease>,
    /// The leases of each lane: one without a worktree, or any number in different worktrees.
    by_lane: BTreeMap<LaneKey, BTreeMap<Option<WorktreeName>, LeaseId>>,
    near: Near,
}

/// The leases are all there is to it; the rest follows from them.
impl PartialEq for LiveSet {
    fn eq(&self, other: &LiveSet) -> bool {
        self.by_id == other.by_id
    }
}

impl Eq for LiveSet {}

impl LiveSet {
    /// Adds a lease; gives it back when its number or its lane is taken.
    ///
    /// # Errors
    ///
    /// The lease itself, unchanged, when it cannot live beside the others.
    pub fn insert(&mut self, lease: Lease) -> Result<(), Box<Lease>> {
        if self.by_id.contains_key(&lease.lease) || !self.has_lane_for(&lease.lane, lease.worktree.as_ref()) {
            return Err(Box::new(lease));
        }
        self.by_lane.entry(lease.lane.key()).or_default().insert(lease.worktree.clone(), lease.lease);
        self.near.add(&lease);
        self.by_id.insert(lease.lease, lease);
        Ok(())
    }

    /// Takes a lease out.
    pub fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.near.remove(&lease);
        let lane = lease.lane.key();
        if let Some(holders) = self.by_lane.get_mut(&lane) {
            holders.remove(&lease.worktree);
            if holders.is_empty() {
                self.by_lane.remove(&lane);
            }
        }
        Some(lease)
    }

    /// The lease with this number.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Changes the lease with this number. Its number, its lane, its worktree and what it claims stay what they are;
    /// `change` finds its regions empty.
    pub fn update(&mut self, id: LeaseId, change: impl FnOnce(&mut Lease)) -> bool {
        let Some(lease) = self.by_id.get_mut(&id) else { return false };
        let (number, lane, worktree) = (lease.lease, lease.lane.clone(), lease.worktree.clone());
        let (tree, read, exclusive) = (take(&mut lease.tree), take(&mut lease.read), lease.exclusive);
        change(lease);
        (lease.lease, lease.lane, lease.worktree) = (number, lane, worktree);
        (lease.tree, lease.read, lease.exclusive) = (tree, read, exclusive);
        true
    }

    /// The live leases by what they claim.
    pub(crate) fn near(&self) -> &Near {
        &self.near
    }

    /// The leases that hold this lane, in whatever worktrees.
    pub(crate) fn holders(&self, lane: &LaneKey) -> impl Iterator<Item = LeaseId> {
        self.by_lane.get(lane).into_iter().flat_map(|holders| holders.values().copied())
    }

    /// The lease that holds this lane where the caller is: the one without a worktree, or the one of `worktree`.
    pub fn in_lane(&self, lane: &LaneName, worktree: Option<&WorktreeName>) -> Option<&Lease> {
        let holders = self.by_lane.get(&lane.key())?;
        let id = holders.get(&None).or_else(|| holders.get(&worktree.cloned()))?;
        self.by_id.get(id)
    }

    /// Whether nobody holds this lane in `worktree`; without one, in any.
    pub fn has_lane_for(&self, lane: &LaneName, worktree: Option<&WorktreeName>) -> bool {
        let holders = self.by_lane.get(&lane.key());
        holders.is_none_or(|holders| holders.keys().all(|holder| are_apart(holder.as_ref(), worktree)))
    }

    /// Whether anybody holds this lane, in whatever worktree.
    pub fn has_lane(&self, lane: &LaneKey) -> bool {
        self.by_lane.contains_key(lane)
    }

    /// All of them, in order of first acquisition.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_id.values()
    }

    /// A live lease and those above it, nearest first, as far as they live: none if it does not live itself.
    pub fn with_ancestors(&self, lease: LeaseId) -> Vec<LeaseId> {
        let mut line: Vec<LeaseId> = Vec::new();
        let mut next = Some(lease);
        while let Some(lease) = next.and_then(|id| self.get(id))
            && !line.contains(&lease.lease)
        {
            line.push(lease.lease);
            next = lease.parent;
        }
        line
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
