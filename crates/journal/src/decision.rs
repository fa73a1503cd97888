//! A decision as records.

use arbiter::evidence::Evidence;
use arbiter::lease::LiveSet;
use arbiter::name::OwnerName;
use arbiter::request::Request;
use arbiter::verdict::{Dropped, Verdict};
use serde_json::Map;

use crate::record::{Acquire, Cancel, Op, Refuse, Scavenge};

/// The records that a verdict is made of: a correct history after every prefix. The last one is the verdict itself.
///
/// `live` and `evidence` are those that the verdict was found by.
pub fn records(verdict: &Verdict, request: &Request, evidence: Evidence, live: &LiveSet) -> Vec<Op> {
    let mut ops = Vec::new();
    match verdict {
        Verdict::Grant(grant) => {
            for gone in &grant.evicted {
                let Some(lease) = live.get(gone.lease) else { continue };
                ops.push(Op::Scavenge(Box::new(Scavenge {
                    lane: gone.lane.clone(),
                    owner: gone.owner.clone(),
                    lease: gone.lease,
                    fence: lease.fence,
                    why: gone.why,
                    by: request.owner.clone(),
                    forced: None,
                    clock: evidence.clock.clone(),
                    observed: evidence.observed.iter().find(|seen| seen.lease == gone.lease).cloned(),
                    tier: None,
                    earlier: None,
                })));
            }
            ops.extend(grant.dropped.iter().map(|gone| cancel(gone, &request.owner, &evidence)));
            ops.push(Op::Acquire(Box::new(Acquire {
                lane: grant.lane.clone(),
                owner: grant.owner.clone(),
                request: request.clone(),
                evidence,
                verdict: grant.clone(),
                extra: Map::new(),
            })));
        }
        Verdict::Refuse(refusal) => ops.push(Op::Refuse(Box::new(Refuse {
            lane: refusal.lane.clone(),
            owner: request.owner.clone(),
            request: request.clone(),
            evidence,
            verdict: refusal.clone(),
        }))),
    }
    ops
}

/// The record that ends a ticket that no longer stands, with the evidence that it fell by.
pub fn cancel(gone: &Dropped, by: &OwnerName, evidence: &Evidence) -> Op {
    Op::Cancel(Box::new(Cancel {
        lane: gone.lane.clone(),
        owner: gone.owner.clone(),
        ticket: gone.ticket,
        why: gone.why.into(),
        by: by.clone(),
        clock: evidence.clock.clone(),
        observed: evidence.tickets.iter().find(|seen| seen.ticket == gone.ticket).cloned(),
    }))
}
