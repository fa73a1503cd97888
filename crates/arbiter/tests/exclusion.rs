//! What cannot be held at once is what the rules refuse: the two are told apart in two places and must never differ.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{ClockReading, Evidence};
use arbiter::exclusion::ended_before;
use arbiter::lease::{Lease, LiveSet};
use arbiter::policy::Policy;
use arbiter::queue::NOBODY;
use arbiter::request::Request;
use arbiter::time::Timestamp;
use arbiter::verdict::Verdict;
use proptest::prelude::*;
use serde_json::{Value, json};

fn policy() -> Policy {
    let lanes = json!({"solo": {"tree": ["solo/**"], "exclusive": true}});
    serde_json::from_value(json!({"worktrees": "separate", "lanes": lanes})).unwrap()
}

/// What the arbiter says to a request beside these leases.
fn ask(request: &Value, live: &LiveSet) -> Verdict {
    let request: Request = serde_json::from_value(request.clone()).unwrap();
    let evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
    let now = Timestamp::parse("2026-11-21T07:00:00Z").unwrap();
    let (policy, waiters) = (&policy(), &NOBODY);
    arbitrate(Question { request: &request, live, waiters, policy, evidence: &evidence, now })
}

/// The lease of a request that nobody is in the way of but those beneath which it asks.
fn lease(number: u64, request: &Value, kin: &LiveSet) -> Option<Lease> {
    let Verdict::Grant(grant) = ask(request, kin) else { return None };
    let mut lease = json!(grant);
    (lease["lease"], lease["fence"]) = (number.into(), number.into());
    lease["heartbeat_at"] = lease["acquired_at"].clone();
    lease["parent"] = request["parent"].clone();
    serde_json::from_value(lease).unwrap()
}

fn wish() -> impl Strategy<Value = Value> {
    let entry = prop::sample::select(vec!["a", "a/b", "a/*.c", "**/b", "lock://l", "lock://*", "d/**"]);
    let lane = prop::sample::select(vec!["x", "X", "y", "solo"]);
    let worktree = prop::option::of(prop::sample::select(vec!["one", "two"]));
    let region = prop::collection::vec(entry, 0..3);
    (lane, region.clone(), region, worktree).prop_filter_map(
        "it names something",
        |(lane, tree, read, worktree)| {
            let is_named = lane == "solo" || !tree.is_empty() || !read.is_empty();
            is_named.then(
                || json!({"lane": lane, "owner": "o", "tree": tree, "read": read, "worktree": worktree}),
            )
        },
    )
}

fn only(lease: Lease) -> LiveSet {
    let mut live = LiveSet::default();
    live.insert(lease).unwrap();
    live
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_lease_had_ended_exactly_if_it_would_have_been_refused_for(one in wish(), other in wish(), is_child: bool) {
        let Some(first) = lease(2, &one, &LiveSet::default()) else { return Ok(()) };
        let live = only(first);
        let mut other = other;
        let Some(alone) = lease(3, &other, &LiveSet::default()) else { return Ok(()) };
        let mut granted = alone;
        if is_child {
            other["parent"] = 2.into();
            granted.parent = live.iter().next().map(|lease| lease.lease);
        }
        let is_refused = matches!(ask(&other, &live), Verdict::Refuse(_));
        let had_ended = ended_before(&granted, &live, &policy()).count() == 1;
        prop_assert_eq!(had_ended, is_refused, "{} beside {}", other, one);
    }
}
