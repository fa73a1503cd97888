//! Looking without writing: the live set, and whether a path is covered.

use arbiter::evidence::Liveness;
use arbiter::interest::Interest;
use arbiter::lease::{Lease, Standing};
use arbiter::policy::Policy;
use arbiter::queue::Waiter;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::Timestamp;
use arbiter::worktree::{WorktreeName, are_apart};
use journal::record::{Counters, Ended};
use journal::segment::Segment;
use journal::state::State;
use journal::store::Store;

use super::holder::meant;
use super::{LeaseError, Session, Which, observe};
use crate::machine::Machine;
use crate::regions::Target;

/// The live set as it is now.
#[derive(Clone, Debug)]
pub struct View {
    /// The last record; `None` while there is none.
    pub seq: Option<Seq>,
    /// The live leases, in order of first acquisition.
    pub leases: Vec<LeaseView>,
    /// What has happened so far.
    pub counters: Counters,
    /// Those who wait, in order.
    pub waiters: Vec<WaiterView>,
}

/// One who waits, with what it waits for.
#[derive(Clone, Debug)]
pub struct WaiterView {
    /// Who waits, and for what.
    pub waiter: Waiter,
    /// Whether its process lives.
    pub alive: Liveness,
    /// Its place among those who want the same: 1 is the front.
    pub position: usize,
    /// The leases that keep it back.
    pub leases: Vec<Lease>,
    /// The nearest of those who come first.
    pub behind: Option<Waiter>,
}

/// A live lease with what can be seen of its holder.
#[derive(Clone, Debug)]
pub struct LeaseView {
    /// The lease.
    pub lease: Lease,
    /// Whether its processes live.
    pub alive: Liveness,
}

/// How a lease stands.
#[derive(Clone, Debug)]
pub struct Stood {
    /// The last record; `None` while there is none.
    pub seq: Option<Seq>,
    /// The lease, while it lives, and whether it would be evicted by one who needs its place.
    pub held: Option<(LeaseView, Standing)>,
    /// How it ended, for a lease that was named by its number and ended lately.
    pub ended: Option<Ended>,
}

/// Whether one path or resource is covered.
#[derive(Clone, Debug)]
pub struct PathCheck {
    /// What was asked about.
    pub target: Target,
    /// The caller's lease that covers it for writing.
    pub by: Option<Lease>,
    /// The leases of others that claim it.
    pub others: Vec<LeaseView>,
}

/// What a check of paths came to.
#[derive(Clone, Debug)]
pub enum Checked {
    /// Each path or resource with its answer.
    Paths(Vec<PathCheck>),
    /// The lease that was named has another fence by now.
    Fenced(Box<Lease>),
}

impl<M: Machine> Session<M> {
    /// The live set. Never writes.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn live(&mut self) -> Result<View, LeaseError> {
        let mut store = self.reading();
        let (leases, waiters) = store.load()?.map_or_else(Default::default, |state| {
            let leases = state.live.iter().map(|lease| view(&self.machine, lease, &state.policy)).collect();
            (leases, self.view_waiters(state))
        });
        let counters = store.segment().map(Segment::counters).unwrap_or_default();
        Ok(View { seq: store.head().map(|head| head.seq), leases, waiters, counters })
    }

    /// The live lease with this number. Never writes, and does not look at its processes.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn lease(&mut self, id: LeaseId) -> Result<Option<Lease>, LeaseError> {
        let mut store = self.reading();
        let interest = Interest::default().in_lease(id);
        Ok(store.load_for(&interest)?.and_then(|state| state.live.get(id).cloned()))
    }

    /// How the lease stands that is meant, whoever holds it. Never writes.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn stand(&mut self, which: &Which) -> Result<Stood, LeaseError> {
        let mut store = self.reading();
        let empty = State::default();
        let state = store.load()?.unwrap_or(&empty);
        let lease = meant(&state.live, which, self.worktree.as_ref());
        let held = lease.map(|lease| {
            let seen = observe(&self.machine, lease, &state.policy);
            let clock = self.machine.clock().reading();
            let standing = lease.standing_under(&state.policy, Some(&seen), self.now(), &clock);
            (LeaseView { lease: lease.clone(), alive: seen.alive }, standing)
        });
        let ended = match which {
            Which::Lease(id) => state.ended_lately().find(|ended| ended.lease == *id).cloned(),
            Which::Lane(_) => None,
        };
        Ok(Stood { seq: store.head().map(|head| head.seq), held, ended })
    }

    /// Whether each path or resource lies in the write region of a live lease of the caller, or of the one lease named;
    /// a path of a lease that is of one worktree alone counts only there. Never writes.
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    pub fn check(
        &mut self,
        targets: Vec<Target>,
        lease: Option<LeaseId>,
        fence: Option<Fence>,
    ) -> Result<Checked, LeaseError> {
        let mut store = self.reading();
        let empty = State::default();
        let mut interest = Interest::default();
        for target in &targets {
            interest = match target {
                Target::Path(path) => interest.in_path(path),
                Target::Resource(resource) => interest.in_resource(resource),
            };
        }
        if let Some(lease) = lease {
            interest = interest.in_lease(lease);
        }
        let state = store.load_for(&interest)?.unwrap_or(&empty);
        let named = lease.and_then(|id| state.live.get(id));
        if let (Some(named), Some(fence)) = (named, fence)
            && named.fence != fence
        {
            return Ok(Checked::Fenced(Box::new(named.clone())));
        }
        let is_mine = |held: &Lease| {
            held.owner == self.owner
                && lease.is_none_or(|id| held.lease == id)
                && fence.is_none_or(|fence| held.fence == fence)
        };
        let here = self.worktree.as_ref();
        Ok(Checked::Paths(
            targets.into_iter().map(|target| check(&self.machine, state, target, here, is_mine)).collect(),
        ))
    }

    /// The time as this session sees it.
    pub fn time(&self) -> Timestamp {
        self.now()
    }
}

fn check<M: Machine>(
    machine: &M,
    state: &State,
    target: Target,
    here: Option<&WorktreeName>,
    is_mine: impl Fn(&Lease) -> bool,
) -> PathCheck {
    let case = state.policy.case;
    let is_path = matches!(target, Target::Path(_));
    // Who cannot tell where it is may be anywhere: then a lease of one worktree alone covers no path for it. Locks and
    // pools are those of all worktrees.
    let is_of_here = |lease: &Lease| !is_path || lease.worktree.is_none() || lease.worktree.as_ref() == here;
    let is_apart = |lease: &Lease| is_path && are_apart(lease.worktree.as_ref(), here);
    let covers = |lease: &&Lease| is_mine(lease) && is_of_here(lease) && target.is_in(&lease.tree, case);
    let by = state.live.iter().find(covers).cloned();
    let claims = |lease: &&Lease| target.is_in(&lease.tree, case) || target.is_in(&lease.read, case);
    let others = state
        .live
        .iter()
        .filter(|lease| !is_mine(lease) && !is_apart(lease))
        .filter(claims)
        .map(|lease| view(machine, lease, &state.policy))
        .collect();
    PathCheck { target, by, others }
}

fn view<M: Machine>(machine: &M, lease: &Lease, policy: &Policy) -> LeaseView {
    LeaseView { lease: lease.clone(), alive: observe(machine, lease, policy).alive }
}
