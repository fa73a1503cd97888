//! Which live leases a request may have to look at, told by a few words about each lease, so that the others need not be
//! read from a store with very many.
//!
//! The words of a lease never change while it lives (see [`LiveSet::update`]), so words that were written down once stay
//! true. A search by them may find leases that do not matter, and misses none that do: the decision among those found is
//! the one that would be made among all.
//!
//! [`LiveSet::update`]: crate::lease::LiveSet::update

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::decide::{Claim, claims_at_most};
use crate::lease::Lease;
use crate::name::LaneName;
use crate::near;
use crate::policy::Policy;
use crate::region::{Entry, ProjectPath};
use crate::request::Request;
use crate::seq::LeaseId;

/// Bytes of a word; what is longer is cut here, on both sides, and so finds more.
pub const WORD_BYTES_MAX: usize = 64;

/// What a word says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It lives alone, and everybody meets it. There is no text to it.
    Alone,
    /// The lane it holds, as [`LaneName::key`] spells it.
    Lane,
    /// What the paths of one of its entries begin with, case folded.
    Head,
    /// A resource that it names, case folded.
    Resource,
}

impl Kind {
    /// The letter for it in a file.
    pub fn letter(self) -> u8 {
        match self {
            Kind::Alone => b'a',
            Kind::Lane => b'l',
            Kind::Head => b'h',
            Kind::Resource => b'r',
        }
    }

    /// The one with this letter.
    pub fn of_letter(letter: u8) -> Option<Kind> {
        [Kind::Alone, Kind::Lane, Kind::Head, Kind::Resource].into_iter().find(|kind| kind.letter() == letter)
    }
}

/// The words of a lease: all there is to know of it in order to tell whether it can concern a request.
pub fn words_of(lease: &Lease) -> BTreeSet<(Kind, Vec<u8>)> {
    let lane = lease.lane.key();
    let alone = lease.exclusive.then_some((Kind::Alone, ""));
    let named = near::names(lease).map(|(kind, name)| match kind {
        near::Kind::Head => (Kind::Head, name),
        near::Kind::Resource => (Kind::Resource, name),
    });
    let words = named.chain([(Kind::Lane, lane.as_str())]).chain(alone);
    words.map(|(kind, text)| (kind, cut(text).into())).collect()
}

/// What a request, or the holder of a lease, can come to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    leases: BTreeSet<LeaseId>,
    lanes: Words,
    heads: Vec<Vec<u8>>,
    resources: Words,
    every_resource: bool,
    anybody: bool,
    line: bool,
}

/// Words in order, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Words(Vec<Vec<u8>>);

impl Words {
    /// Up to so many words are compared one by one: most differ from a text in their length.
    const FEW: usize = 8;

    fn insert(&mut self, word: &[u8]) {
        if let Err(at) = self.0.binary_search_by(|known| known.as_slice().cmp(word)) {
            self.0.insert(at, word.into());
        }
    }

    fn contains(&self, text: &[u8]) -> bool {
        if self.0.len() <= Self::FEW {
            return self.0.iter().any(|word| word == text);
        }
        self.0.binary_search_by(|word| word.as_slice().cmp(text)).is_ok()
    }
}

impl Interest {
    /// The interest of a request under a policy. `None` when the request may look at any lease: it would live alone or wait,
    /// is beneath another lease, or is named after what others hold.
    pub fn of(request: &Request, policy: &Policy) -> Option<Interest> {
        let first = request.tree.entries().iter().chain(request.read.entries()).next();
        let is_numbered = request.lane.is_none() && first.is_some_and(|entry| entry.pool_name().is_some());
        if request.parent.is_some() || request.waits || request.ticket.is_some() || is_numbered {
            return None;
        }
        let mut interest = Interest { line: true, ..Interest::default() };
        let (asked, others) = claims_at_most(request, policy);
        if asked.iter().any(|claim| claim.exclusive) {
            return None;
        }
        // With them goes every lane of the policy: whoever is of the same class, or runs alone by now.
        for claim in asked.iter().chain(&others) {
            interest.add(claim);
        }
        Some(interest)
    }

    /// The same, and this lease too.
    #[must_use]
    pub fn in_lease(mut self, lease: LeaseId) -> Interest {
        self.leases.insert(lease);
        self
    }

    /// The same, and every lease that holds this lane.
    #[must_use]
    pub fn in_lane(mut self, lane: &LaneName) -> Interest {
        self.add_lane(lane);
        self
    }

    /// The same, and every lease that claims this path.
    #[must_use]
    pub fn in_path(mut self, path: &ProjectPath) -> Interest {
        self.heads.push(cut(path.head()).into());
        self
    }

    /// The same, and every lease that claims this resource.
    #[must_use]
    pub fn in_resource(mut self, resource: &Entry) -> Interest {
        self.add_resource(resource);
        self
    }

    fn add_lane(&mut self, lane: &LaneName) {
        self.lanes.insert(cut(lane.key().as_str()));
    }

    fn add_resource(&mut self, resource: &Entry) {
        let every = Entry::every_lock();
        for name in [resource.resource_name(), every.resource_name()].into_iter().flatten() {
            self.resources.insert(cut(name));
        }
        self.every_resource |= resource.is_every_lock();
    }

    fn add(&mut self, claim: &Claim) {
        self.add_lane(&claim.lane);
        // A claim that would live alone is free if no lease lives, whatever it claims. It mostly claims everything, and
        // every lease would have a word in common with that.
        if claim.exclusive {
            self.anybody = true;
            return;
        }
        for entry in claim.tree.entries().iter().chain(claim.read.entries()) {
            self.heads.extend(entry.heads().map(|head| cut(head).into()));
            if entry.is_resource() {
                self.add_resource(entry);
            }
        }
    }

    /// Whether a lease of which this is said can matter.
    pub fn may_concern(&self, kind: Kind, text: &[u8]) -> bool {
        match kind {
            Kind::Alone => true,
            Kind::Lane => self.lanes.contains(text),
            Kind::Head => self.heads.iter().any(|head| begin_alike(head, text)),
            Kind::Resource => self.every_resource || self.resources.contains(text),
        }
    }

    /// Whether it is about the lease with this number.
    pub fn names(&self, lease: LeaseId) -> bool {
        self.leases.contains(&lease)
    }

    /// Whether it also looks at those who wait; if there are any, every lease matters.
    pub fn is_in_the_line(&self) -> bool {
        self.line
    }

    /// Whether it also matters if any lease lives at all, whichever it is.
    pub fn is_in_anybody(&self) -> bool {
        self.anybody
    }
}

/// Whether one begins with the other. Most differ in their first byte.
fn begin_alike(one: &[u8], other: &[u8]) -> bool {
    let both = one.len().min(other.len());
    both == 0 || (one[0] == other[0] && one[..both] == other[..both])
}

fn cut(text: &str) -> &[u8] {
    let text = text.as_bytes();
    &text[..text.len().min(WORD_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_words_and_many_are_found_alike() {
        for count in [0, 1, Words::FEW, Words::FEW + 1, 40] {
            let mut words = Words::default();
            // Each twice, and not in order.
            for n in (0..2 * count).map(|n| n * 7 % count) {
                words.insert(&[b'w'; 40][..n]);
            }
            assert_eq!(words.0.len(), count);
            let known: BTreeSet<&[u8]> = words.0.iter().map(Vec::as_slice).collect();
            assert_eq!(known.len(), words.0.len());
            assert!(words.0.is_sorted());
            for text in (0..45).map(|n| [b'w'; 45][..n].to_vec()).chain([b"x".to_vec()]) {
                assert_eq!(words.contains(&text), known.contains(&*text), "{count}: {text:?}");
            }
        }
    }

    #[test]
    fn one_begins_with_the_other() {
        for one in ["", "a", "ab", "b", "abc", "abd"] {
            for other in ["", "a", "ab", "b", "abc", "abd"] {
                let expected = one.starts_with(other) || other.starts_with(one);
                assert_eq!(begin_alike(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            }
        }
    }
}
