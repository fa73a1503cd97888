//! Which live leases can matter to a claim, found without looking at the others.
//!
//! Every path that an entry names begins with the entry's literal head, so two entries can share a path only if one head
//! is the beginning of the other. Heads are kept in order: those that begin with a given one stand beside each other, and
//! those that a given one begins with are reached by as many steps as it has letters, at most. What is found is more than
//! what meets, never less: the exact algebra decides among it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::ops::Bound::{Excluded, Included, Unbounded};

use crate::lease::Lease;
use crate::region::{Entry, Region};
use crate::seq::LeaseId;

/// The live leases by what they claim. Case is folded whatever the policy says: names that are equal are equal folded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Near {
    by_head: BTreeMap<String, BTreeSet<LeaseId>>,
    by_resource: BTreeMap<String, BTreeSet<LeaseId>>,
    alone: BTreeSet<LeaseId>,
}

impl Near {
    pub(crate) fn add(&mut self, lease: &Lease) {
        for (kind, name) in names(lease) {
            let map = self.map(kind);
            if let Some(leases) = map.get_mut(name) {
                leases.insert(lease.lease);
            } else {
                map.insert(name.into(), BTreeSet::from([lease.lease]));
            }
        }
        if lease.exclusive {
            self.alone.insert(lease.lease);
        }
    }

    pub(crate) fn remove(&mut self, lease: &Lease) {
        for (kind, name) in names(lease) {
            let map = self.map(kind);
            let Some(leases) = map.get_mut(name) else { continue };
            leases.remove(&lease.lease);
            if leases.is_empty() {
                map.remove(name);
            }
        }
        self.alone.remove(&lease.lease);
    }

    fn map(&mut self, kind: Kind) -> &mut BTreeMap<String, BTreeSet<LeaseId>> {
        match kind {
            Kind::Head => &mut self.by_head,
            Kind::Resource => &mut self.by_resource,
        }
    }

    /// Those that were granted to live alone.
    pub(crate) fn alone(&self) -> impl Iterator<Item = LeaseId> {
        self.alone.iter().copied()
    }

    /// Those that have one of a pool, by its folded name.
    pub(crate) fn in_pool(&self, pool: &str) -> impl Iterator<Item = LeaseId> {
        self.by_resource.get(&Entry::folded_pool(pool)).into_iter().flatten().copied()
    }

    /// Adds every lease that an entry of the region can meet.
    pub(crate) fn meeting(&self, region: &Region, found: &mut BTreeSet<LeaseId>) {
        for entry in region.entries() {
            for head in entry.heads() {
                self.beneath(head, found);
                self.above(head, found);
            }
            let Some(name) = entry.resource_name() else { continue };
            if entry.is_every_lock() {
                found.extend(self.by_resource.values().flatten());
            }
            let every = Entry::every_lock();
            for name in [Some(name), every.resource_name()].into_iter().flatten() {
                found.extend(self.by_resource.get(name).into_iter().flatten());
            }
        }
    }

    /// Adds what begins with `head`.
    fn beneath(&self, head: &str, found: &mut BTreeSet<LeaseId>) {
        let from_here = self.by_head.range::<str, _>((Included(head), Unbounded));
        for (_, leases) in from_here.take_while(|(name, _)| name.starts_with(head)) {
            found.extend(leases);
        }
    }

    /// Adds what `head` begins with.
    fn above(&self, head: &str, found: &mut BTreeSet<LeaseId>) {
        let mut end = Excluded(head);
        while let Some((name, leases)) = self.by_head.range::<str, _>((Unbounded, end)).next_back() {
            if head.starts_with(name.as_str()) {
                found.extend(leases);
                end = Excluded(name);
            } else {
                // Whatever `head` begins with and comes before `name` is no longer than what both have in common.
                let common = name.bytes().zip(head.bytes()).take_while(|(one, other)| one == other).count();
                end = Included(&head[..head.floor_char_boundary(common)]);
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Head,
    Resource,
}

/// Under which names a lease is kept.
pub(crate) fn names(lease: &Lease) -> impl Iterator<Item = (Kind, &str)> {
    lease.tree.entries().iter().chain(lease.read.entries()).flat_map(|entry| {
        let heads = entry.heads().map(|head| (Kind::Head, head));
        heads.chain(entry.resource_name().map(|name| (Kind::Resource, name)))
    })
}
