//! What a claim finds around it: the live leases that it meets, and those that it is counted with.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::evidence::Liveness;
use crate::lease::{Lease, LiveSet, Standing};
use crate::name::LaneKey;
use crate::policy::{ClassName, Policy};
use crate::region::{Case, Entry, Region, Witness};
use crate::seq::LeaseId;
use crate::verdict::Mode;
use crate::worktree::are_apart;

use super::{Claim, Question};

/// What the policy says of lanes, under any spelling; made once for a decision.
pub(super) struct Lanes {
    alone: BTreeSet<LaneKey>,
    class: BTreeMap<LaneKey, ClassName>,
}

impl Lanes {
    pub(super) fn of(policy: &Policy) -> Lanes {
        let mut lanes = Lanes { alone: BTreeSet::new(), class: BTreeMap::new() };
        for (name, said) in &policy.lanes {
            if said.exclusive {
                lanes.alone.insert(name.key());
            }
            if let Some(class) = &said.class {
                lanes.class.insert(name.key(), class.clone());
            }
        }
        lanes
    }

    /// Whether `lease` lives alone: it was granted so, or its lane runs alone by now. Whose policy is younger cannot
    /// be told, so the stricter one counts.
    pub(super) fn is_alone(&self, lease: &Lease) -> bool {
        lease.exclusive || (!self.alone.is_empty() && self.alone.contains(&lease.lane.key()))
    }

    /// Those whose lane is of the class by now.
    fn in_class<'a>(&'a self, class: &'a ClassName, live: &'a LiveSet) -> impl Iterator<Item = LeaseId> + 'a {
        let lanes = self.class.iter().filter(move |(_, its)| *its == class);
        lanes.flat_map(|(lane, _)| live.holders(lane))
    }

    fn class_of(&self, lease: &Lease) -> Option<&ClassName> {
        if self.class.is_empty() { None } else { self.class.get(&lease.lane.key()) }
    }
}

/// A live lease that matters to the claim.
#[derive(Clone)]
pub(super) struct Hit<'a> {
    pub(super) lease: &'a Lease,
    pub(super) meeting: Meeting,
    pub(super) standing: Standing,
    pub(super) alive: Liveness,
    /// Whether it is kept in this store, and so can be ended from here.
    pub(super) is_here: bool,
}

/// How a lease and a claim meet.
#[derive(Clone, Default)]
pub(super) struct Meeting {
    pub(super) same_lane: bool,
    /// The lease lives alone.
    pub(super) lease_alone: bool,
    pub(super) mode: Mode,
    pub(super) overlap: Option<Witness>,
}

/// A claim and everything around it that a rule may look at.
pub(super) struct Surroundings<'a> {
    pub(super) claim: &'a Claim,
    pub(super) question: Question<'a>,
    lanes: &'a Lanes,
    /// The parent and its ancestors, which are not in the way.
    pub(super) kin: Vec<LeaseId>,
    /// The leases that are incompatible with the claim, here by number and then elsewhere.
    pub(super) met: Vec<Hit<'a>>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(claim: &'a Claim, question: Question<'a>, lanes: &'a Lanes) -> Surroundings<'a> {
        let Question { live, request, .. } = question;
        let kin = request.parent.map_or_else(Vec::new, |parent| live.with_ancestors(parent));
        let mut around = Surroundings { claim, question, lanes, kin, met: Vec::new() };
        let meets = |lease: &Lease, is_kin| meets(claim, lease, question.policy.case, lanes, is_kin);
        around.met = around.hits(may_meet(claim, live, lanes), meets);
        around
    }

    /// Those that hold one of the pool, ancestors apart.
    pub(super) fn in_pool(&self, pool: &str) -> Vec<Hit<'a>> {
        let here = self.question.live.near().in_pool(pool).collect();
        self.hits(here, |lease, is_kin| {
            (!is_kin && pools_of(lease).any(|has| has == pool)).then(Meeting::default)
        })
    }

    /// Those whose lane is of the class, ancestors apart.
    pub(super) fn in_class(&self, class: &ClassName) -> Vec<Hit<'a>> {
        let here = self.lanes.in_class(class, self.question.live).collect();
        self.hits(here, |lease, is_kin| {
            (!is_kin && self.lanes.class_of(lease) == Some(class)).then(Meeting::default)
        })
    }

    /// A lease of the store as it is seen now.
    pub(super) fn seen(&self, lease: &'a Lease, meeting: Meeting) -> Hit<'a> {
        let Question { policy, evidence, now, .. } = self.question;
        let alive = evidence.liveness(lease.lease);
        let seen = evidence.observation(lease.lease);
        let standing = lease.standing_under(policy, seen, now, &evidence.clock);
        Hit { lease, meeting, standing, alive, is_here: true }
    }

    /// Those that meet, of the leases here that may, and of all that are kept elsewhere.
    fn hits(
        &self,
        here: BTreeSet<LeaseId>,
        meeting: impl Fn(&Lease, bool) -> Option<Meeting>,
    ) -> Vec<Hit<'a>> {
        let live = self.question.live;
        let here = here.into_iter().filter_map(|id| live.get(id)).filter_map(|lease| {
            let meeting = meeting(lease, self.kin.contains(&lease.lease))?;
            Some(self.seen(lease, meeting))
        });
        // What is kept elsewhere can be respected but not ended from here.
        let elsewhere = self.question.evidence.with_leases.iter().filter_map(|lease| {
            let meeting = meeting(lease, false)?;
            let alive = Liveness::Unknown;
            Some(Hit { lease, meeting, standing: Standing::Held, alive, is_here: false })
        });
        here.chain(elsewhere).collect()
    }
}

/// The live leases that the claim may be incompatible with: all that it is, and few others.
fn may_meet(claim: &Claim, live: &LiveSet, lanes: &Lanes) -> BTreeSet<LeaseId> {
    if claim.exclusive {
        return live.iter().map(|lease| lease.lease).collect();
    }
    let mut found: BTreeSet<LeaseId> = live.near().alone().collect();
    found.extend(lanes.alone.iter().chain([&claim.lane.key()]).flat_map(|lane| live.holders(lane)));
    live.near().meeting(&claim.tree, &mut found);
    live.near().meeting(&claim.read, &mut found);
    found
}

/// The live leases that may matter to the claim: all that do, and few others.
pub(super) fn may_matter(claim: &Claim, live: &LiveSet, lanes: &Lanes) -> BTreeSet<LeaseId> {
    let mut found = may_meet(claim, live, lanes);
    found.extend(claim.class.iter().flat_map(|class| lanes.in_class(class, live)));
    for pool in pools(claim) {
        found.extend(live.near().in_pool(&pool));
    }
    found
}

/// Whether what is seen of the lease's holder can make a difference to the claim.
pub(super) fn matters(claim: &Claim, lease: &Lease, case: Case, lanes: &Lanes, kin: &[LeaseId]) -> bool {
    let counted = || {
        let same_class = claim.class.is_some() && lanes.class_of(lease) == claim.class.as_ref();
        same_class || pools(claim).iter().any(|pool| pools_of(lease).any(|has| has == pool))
    };
    meets(claim, lease, case, lanes, kin.contains(&lease.lease)).is_some() || counted()
}

/// The pools of which the claim takes one each, by folded name.
pub(super) fn pools(claim: &Claim) -> BTreeSet<String> {
    pools_in(&claim.tree).chain(pools_in(&claim.read)).map(Into::into).collect()
}

fn pools_of(lease: &Lease) -> impl Iterator<Item = &str> {
    pools_in(&lease.tree).chain(pools_in(&lease.read))
}

fn pools_in(region: &Region) -> impl Iterator<Item = &str> {
    region.entries().iter().filter_map(Entry::pool_name)
}

/// Whether a claim and a lease are incompatible: the same lane, one of them runs alone, or a common path that one of
/// them writes (feature A3). Of kin only the lane counts. In different worktrees lanes and paths have nothing in common,
/// named resources have.
///
/// The witness is the least over all pairs; a path that the lease writes goes before one that it reads.
fn meets(claim: &Claim, lease: &Lease, case: Case, lanes: &Lanes, is_kin: bool) -> Option<Meeting> {
    let are_apart = are_apart(claim.worktree.as_ref(), lease.worktree.as_ref());
    let same_lane = !are_apart && claim.lane.same_as(&lease.lane);
    if is_kin {
        return same_lane.then(|| Meeting { same_lane, ..Meeting::default() });
    }
    let lease_alone = lanes.is_alone(lease);
    let common = |ours: &Region, theirs: &Region| {
        if are_apart { ours.resources().overlap(theirs, case) } else { ours.overlap(theirs, case) }
    };
    let written = [common(&claim.tree, &lease.tree), common(&claim.read, &lease.tree)];
    let written = written.into_iter().flatten().min();
    let (mode, overlap) = match written {
        Some(witness) => (Mode::Write, Some(witness)),
        None => match common(&claim.tree, &lease.read) {
            Some(witness) => (Mode::Read, Some(witness)),
            None => (Mode::Write, None),
        },
    };
    let incompatible = same_lane || lease_alone || claim.exclusive || overlap.is_some();
    incompatible.then_some(Meeting { same_lane, lease_alone, mode, overlap })
}
