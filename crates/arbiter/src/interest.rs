//! Which live leases a request can come to look at, told by a few words about each: so that a store with very many need
//! not read the others.
//!
//! What is told of a lease never changes while it lives (see [`LiveSet::update`]), so words that were written down once
//! stay true. They find more leases than matter, never fewer: the decision is made among what was found, and is the one
//! that would have been made among all.
//!
//! [`LiveSet::update`]: crate::lease::LiveSet::update

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::decide::{Claim, claims_at_most};
use crate::lease::Lease;
use crate::name::LaneName;
use crate::near::{self, heads_meet};
use crate::policy::Policy;
use crate::region::Entry;
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

/// All there is to know of a lease in order to tell whether it can concern a request.
pub fn words_of(lease: &Lease) -> BTreeSet<(Kind, String)> {
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
    lease: Option<LeaseId>,
    lanes: BTreeSet<String>,
    heads: Vec<String>,
    resources: BTreeSet<String>,
    every_resource: bool,
    anybody: bool,
}

impl Interest {
    /// Of a request under a policy. `None` when it may look at any lease: it would live alone or wait, is beneath another
    /// lease, or is named after what others hold.
    ///
    /// Whoever stands in a line looks at more than this as well.
    pub fn of(request: &Request, policy: &Policy) -> Option<Interest> {
        let first = request.tree.entries().iter().chain(request.read.entries()).next();
        let is_numbered = request.lane.is_none() && first.is_some_and(|entry| entry.pool_name().is_some());
        if request.parent.is_some() || request.waits || request.ticket.is_some() || is_numbered {
            return None;
        }
        let mut interest = Interest::default();
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

    /// Of the holder of this lease.
    pub fn in_lease(lease: LeaseId) -> Interest {
        Interest { lease: Some(lease), ..Interest::default() }
    }

    /// Of whoever holds this lane.
    pub fn in_lane(lane: &LaneName) -> Interest {
        Interest { lanes: BTreeSet::from([cut(lane.key().as_str()).into()]), ..Interest::default() }
    }

    fn add(&mut self, claim: &Claim) {
        // One that would live alone is told apart from the others by whether anybody lives.
        self.anybody |= claim.exclusive;
        self.lanes.insert(cut(claim.lane.key().as_str()).into());
        for entry in claim.tree.entries().iter().chain(claim.read.entries()) {
            self.heads.extend(entry.heads().map(|head| cut(head).into()));
            if let Some(name) = entry.resource_name() {
                self.every_resource |= entry.is_every_lock();
                let every = Entry::every_lock();
                self.resources.extend(
                    [Some(name), every.resource_name()].into_iter().flatten().map(|name| cut(name).into()),
                );
            }
        }
    }

    /// Whether a lease of which this is said can matter.
    pub fn may_concern(&self, kind: Kind, text: &str) -> bool {
        match kind {
            Kind::Alone => true,
            Kind::Lane => self.lanes.contains(text),
            Kind::Head => self.heads.iter().any(|head| heads_meet(head, text)),
            Kind::Resource => self.every_resource || self.resources.contains(text),
        }
    }

    /// Whether it is about the lease with this number.
    pub fn names(&self, lease: LeaseId) -> bool {
        self.lease == Some(lease)
    }

    /// Whether it also matters that anybody lives at all, whoever it is.
    pub fn is_in_anybody(&self) -> bool {
        self.anybody
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(WORD_BYTES_MAX)]
}
