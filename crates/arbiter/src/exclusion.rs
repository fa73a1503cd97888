//! What cannot be held at once, whoever asks and however many others there are.
//!
//! The rules say the same of a claim and a lease, and with it where they meet and how (`decide::meeting`). Here is the
//! bare answer: for those who wait, of whom none is refused yet, and for a repair, which has to know which leases had
//! ended when a later one was granted.

use crate::decide::Claim;
use crate::lease::{Lease, LiveSet};
use crate::name::LaneName;
use crate::policy::Policy;
use crate::region::{Case, Region};
use crate::worktree::{WorktreeName, are_apart};

/// What one of two claims.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    lane: &'a LaneName,
    tree: &'a Region,
    read: &'a Region,
    /// Whether it runs alone.
    exclusive: bool,
    /// Where its lane and its paths are, if it is of one worktree alone.
    worktree: Option<&'a WorktreeName>,
}

impl<'a> From<&'a Claim> for Side<'a> {
    fn from(claim: &'a Claim) -> Side<'a> {
        let Claim { lane, tree, read, exclusive, worktree, .. } = claim;
        Side { lane, tree, read, exclusive: *exclusive, worktree: worktree.as_ref() }
    }
}

impl<'a> From<&'a Lease> for Side<'a> {
    fn from(lease: &'a Lease) -> Side<'a> {
        let Lease { lane, tree, read, exclusive, worktree, .. } = lease;
        Side { lane, tree, read, exclusive: *exclusive, worktree: worktree.as_ref() }
    }
}

impl<'a> Side<'a> {
    /// What a live lease keeps others from by itself: its lane may run alone by now. That pools and classes have no room
    /// is not the work of one lease.
    pub(crate) fn by_now(lease: &'a Lease, policy: &Policy) -> Side<'a> {
        let exclusive = lease.exclusive || policy.lane(&lease.lane).is_some_and(|said| said.exclusive);
        Side { exclusive, ..Side::from(lease) }
    }

    /// Whether both are of the same lane, which nobody shares, not even kin.
    fn has_lane_of(self, other: Side<'_>) -> bool {
        !are_apart(self.worktree, other.worktree) && self.lane.same_as(other.lane)
    }
}

/// Whether two claims cannot be held at once. In different worktrees only named resources are common, as to the rules.
pub(crate) fn excludes(one: Side<'_>, other: Side<'_>, case: Case) -> bool {
    let are_apart = are_apart(one.worktree, other.worktree);
    let meet = |ours: &Region, theirs: &Region| {
        if are_apart { meet(&ours.resources(), &theirs.resources(), case) } else { meet(ours, theirs, case) }
    };
    one.exclusive
        || other.exclusive
        || one.has_lane_of(other)
        || meet(one.tree, other.tree)
        || meet(one.tree, other.read)
        || meet(one.read, other.tree)
}

/// The leases of `live` that had ended when `granted` was granted under this policy, as it could not have been beside them.
/// Of those beneath which it was granted, only one in its own lane.
///
/// Where its parent does not live, nobody can say beneath whom that was: then they count like any others.
pub fn ended_before<'a>(
    granted: &'a Lease,
    live: &'a LiveSet,
    policy: &'a Policy,
) -> impl Iterator<Item = &'a Lease> {
    let kin = granted.parent.map_or_else(Default::default, |parent| live.with_ancestors(parent));
    live.iter().filter(move |lease| {
        let (one, other) = (Side::from(granted), Side::by_now(lease, policy));
        if kin.contains(&lease.lease) { one.has_lane_of(other) } else { excludes(one, other, policy.case) }
    })
}

fn meet(one: &Region, other: &Region, case: Case) -> bool {
    // Whole lines wait for the same: they need no automaton. Of a pool there are several.
    let first = one.entries().first().filter(|entry| entry.pool_name().is_none());
    (first.is_some() && first == other.entries().first()) || one.overlap(other, case).is_some()
}
