//! Waits that would never end.
//!
//! A ticket waits for the tickets before it that conflict, and for the held leases that keep it out. A lease ends when
//! its owner ends it, and an owner that waits is taken to end nothing until it has been served. So: ticket to lease to
//! owner to each ticket of that owner. A way from a request back to itself is a deadlock, and the request that closes
//! it is refused; so is one that asks beneath a lease for the lane of that lease. What an owner's own lease keeps from it is no such way: another session of that owner may end it.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use super::{any_conflict, fallen, holds, keeps_out};
use crate::decide::{Claim, Question, claims_of};
use crate::lease::Lease;
use crate::name::OwnerName;
use crate::request::Request;
use crate::seq::{LeaseId, Ticket};
use crate::verdict::{Refusal, RefusalCode};

/// One step of a cycle: somebody waits for something of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waits.
    pub owner: OwnerName,
    /// With which ticket; none for the request that is being decided.
    pub ticket: Option<Ticket>,
    /// For what.
    pub link: Link,
    /// Whose it is.
    pub of: OwnerName,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The end of a lease.
    Lease(LeaseId),
    /// That somebody goes first.
    Ticket(Ticket),
}

/// One who waits or is about to.
struct Node<'q> {
    owner: &'q OwnerName,
    /// None for a request that has no place in the line: it comes last.
    ticket: Option<Ticket>,
    request: &'q Request,
    claims: Vec<Claim>,
}

/// The refusal, or a deadlock where the one who asks would wait and never be served.
pub(super) fn or_else(refusal: Refusal, question: Question<'_>) -> Refusal {
    if !question.request.waits || !refusal.code.may_pass() {
        return refusal;
    }
    if let Some(above) = own_ancestor(&refusal, question) {
        return Refusal {
            code: RefusalCode::Deadlock,
            reason: format!(
                "it would wait for ever: lane `{}` is that of lease {} of `{}`, beneath which it asks",
                above.lane, above.lease, above.owner
            ),
            yours: None,
            behind: None,
            hint: format!(
                "lease-lane acquire LANE --parent {} (another lane than `{}`)",
                above.lease, above.lane
            ),
            ..refusal
        };
    }
    let Some(cycle) = cycle(question) else { return refusal };
    Refusal {
        code: RefusalCode::Deadlock,
        reason: format!("it would wait for ever: {}", in_words(&cycle)),
        yours: None,
        behind: None,
        hint: String::from("lease-lane release LANE (what the others wait for), then ask again"),
        ..refusal
    }
}

/// The lease above the request whose lane it wants. It stands as long as those beneath it have something to do.
fn own_ancestor<'q>(refusal: &Refusal, question: Question<'q>) -> Option<&'q Lease> {
    let Question { request, live, .. } = question;
    if refusal.code != RefusalCode::LaneHeld {
        return None;
    }
    // Of those above it only the one that has the lane is in the way.
    let above = live.with_ancestors(request.parent?);
    let mut met = refusal.conflicts.iter().map(|conflict| conflict.lease);
    live.get(met.find(|lease| above.contains(lease))?)
}

/// The shortest way from the request over those who wait back to it, if there is one and the request is the newest on
/// it: of those who make a cycle one is refused, not all.
pub fn cycle(question: Question<'_>) -> Option<Vec<Wait>> {
    let Question { request, live, waiters, policy, .. } = question;
    // Nobody waits for one who holds nothing but those behind it.
    if !live.iter().any(|lease| lease.owner == request.owner) {
        return None;
    }
    let place = request.ticket.filter(|&ticket| waiters.get(ticket).is_some());
    let mut nodes = vec![Node {
        owner: &request.owner,
        ticket: place,
        request,
        claims: claims_of(request, live, policy),
    }];
    let older = waiters.iter().filter(|other| place.is_none_or(|place| other.ticket < place));
    nodes.extend(older.filter(|other| fallen(other, question).is_none()).map(|other| Node {
        owner: &other.request.owner,
        ticket: Some(other.ticket),
        request: &other.request,
        claims: claims_of(&other.request, live, policy),
    }));
    let held: Vec<&Lease> = live.iter().filter(|lease| holds(lease, question)).collect();
    let way =
        shortest_way_round(nodes.len(), |one, other| waits_for(&nodes[one], &nodes[other], &held, question))?;
    Some(
        way.into_iter()
            .map(|(one, link, other)| Wait {
                owner: nodes[one].owner.clone(),
                ticket: nodes[one].ticket.filter(|_| one != 0),
                link,
                of: nodes[other].owner.clone(),
            })
            .collect(),
    )
}

/// Why `one` cannot be served before `other` is, if that is so.
fn waits_for(one: &Node<'_>, other: &Node<'_>, held: &[&Lease], question: Question<'_>) -> Option<Link> {
    let policy = question.policy;
    if one.owner != other.owner {
        let theirs = held.iter().filter(|lease| lease.owner == *other.owner);
        if let Some(lease) =
            theirs.into_iter().find(|lease| keeps_out(lease, one.request, &one.claims, question))
        {
            return Some(Link::Lease(lease.lease));
        }
    }
    let ticket = other.ticket.filter(|&ticket| one.ticket.is_none_or(|ours| ticket < ours))?;
    any_conflict(&one.claims, &other.claims, policy).then_some(Link::Ticket(ticket))
}

/// The steps from node 0 back to it, searched backwards from it, since few wait for what it has.
fn shortest_way_round<L: Copy>(
    n_nodes: usize,
    edge: impl Fn(usize, usize) -> Option<L>,
) -> Option<Vec<(usize, L, usize)>> {
    let mut onward: Vec<Option<(L, usize)>> = vec![None; n_nodes];
    let mut ahead = VecDeque::from([0]);
    while let Some(to) = ahead.pop_front() {
        for from in 0..n_nodes {
            if from == to || onward[from].is_some() {
                continue;
            }
            let Some(link) = edge(from, to) else { continue };
            onward[from] = Some((link, to));
            if from == 0 {
                let mut way = Vec::new();
                let mut at = 0;
                while let Some((link, next)) = onward[at] {
                    way.push((at, link, next));
                    at = next;
                    if at == 0 {
                        break;
                    }
                }
                return Some(way);
            }
            ahead.push_back(from);
        }
    }
    None
}

fn in_words(cycle: &[Wait]) -> String {
    let mut text = String::new();
    for (i, Wait { owner, link, of, .. }) in cycle.iter().enumerate() {
        if i == 0 {
            let _ = write!(text, "`{owner}` ");
        } else {
            text.push_str(", who ");
        }
        let _ = match link {
            Link::Lease(lease) => write!(text, "waits for lease {lease} of `{of}`"),
            Link::Ticket(ticket) => write!(text, "waits behind ticket {ticket} of `{of}`"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether node 0 can reach itself, by trying every way.
    fn goes_round(edges: &[(usize, usize)], n_nodes: usize) -> Option<usize> {
        let mut reached = vec![vec![0]];
        for length in 1..=n_nodes {
            let ends = &reached[length - 1];
            let next: Vec<usize> =
                edges.iter().filter(|(from, _)| ends.contains(from)).map(|&(_, to)| to).collect();
            if next.contains(&0) {
                return Some(length);
            }
            reached.push(next);
        }
        None
    }

    #[test]
    fn the_shortest_way_round_is_found_in_every_small_graph() {
        const N: usize = 4;
        let all: Vec<(usize, usize)> =
            (0..N).flat_map(|a| (0..N).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
        for bits in 0u32..1 << all.len() {
            let edges: Vec<(usize, usize)> =
                all.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, &edge)| edge).collect();
            let way = shortest_way_round(N, |a, b| edges.contains(&(a, b)).then_some(()));
            assert_eq!(way.as_ref().map(Vec::len), goes_round(&edges, N), "{edges:?}");
            let Some(way) = way else { continue };
            assert!(way.iter().all(|&(a, (), b)| edges.contains(&(a, b))), "{way:?} of {edges:?}");
            assert!(way.windows(2).all(|pair| pair[0].2 == pair[1].0) && way[0].0 == 0);
            assert_eq!(way[way.len() - 1].2, 0);
        }
    }
}
