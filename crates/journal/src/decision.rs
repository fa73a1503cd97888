//! A decision as records.

use arbiter::evidence::Evidence;
use arbiter::lease::LiveSet;
use arbiter::request::Request;
use arbiter::verdict::Verdict;
use serde_json::Map;

use crate::record::{Acquire, Op, Refuse, Scavenge};

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
