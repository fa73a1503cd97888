//! Worktrees that the policy tells apart (feature A7): what meets across them, what does not, and the laws of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::decide::{Question, arbitrate, contenders};
use arbiter::evidence::{ClockReading, Evidence};
use arbiter::lease::{Lease, LiveSet};
use arbiter::policy::Policy;
use arbiter::queue::{NOBODY, WaitQueue};
use arbiter::region::{Case, Region};
use arbiter::request::Request;
use arbiter::time::Timestamp;
use arbiter::verdict::{RefusalCode, Verdict};
use arbiter::worktree::are_apart;
use proptest::prelude::*;
use serde_json::{Value, json};

const SEPARATE: &str = "separate";

/// What somebody claims: a lane, what it writes, what it reads, and in which worktree.
#[derive(Clone, Debug)]
struct Wish {
    lane: &'static str,
    tree: Vec<&'static str>,
    read: Vec<&'static str>,
    worktree: Option<&'static str>,
}

fn wish(lane: &'static str, tree: &[&'static str], worktree: Option<&'static str>) -> Wish {
    Wish { lane, tree: tree.to_vec(), read: Vec::new(), worktree }
}

impl Wish {
    fn json(&self) -> Value {
        let Wish { lane, tree, read, worktree } = self;
        json!({"lane": lane, "owner": "somebody", "tree": tree, "read": read, "worktree": worktree})
    }
}

/// A policy with some of everything that is shared by all worktrees.
fn agreed(worktrees: &str) -> Policy {
    serde_json::from_value(json!({
        "worktrees": worktrees,
        "lanes": {
            "solo": {"tree": ["solo/**"], "exclusive": true},
            "red": {"tree": ["red/**"], "class": "colour"},
            "blue": {"tree": ["blue/**"], "class": "colour"},
        },
        "classes": {"colour": {"max": 1}},
        "pools": {"gpu": {"capacity": 1}},
    }))
    .unwrap()
}

/// Those who hold, each as it was granted: under a policy that does not tell worktrees apart, for none.
#[derive(Clone, Default)]
struct Project {
    live: LiveSet,
    waiters: WaitQueue,
}

impl Project {
    fn ask(&mut self, wish: &Wish, worktrees: &str) -> Verdict {
        let policy = agreed(worktrees);
        let request: Request = serde_json::from_value(wish.json()).unwrap();
        let evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
        let now = Timestamp::parse("2026-11-21T07:00:00Z").unwrap();
        let verdict = arbitrate(Question {
            request: &request,
            live: &self.live,
            waiters: &self.waiters,
            policy: &policy,
            evidence: &evidence,
            now,
        });
        match &verdict {
            Verdict::Grant(grant) => {
                let number = self.live.iter().map(|lease| lease.lease.get()).max().unwrap_or(1) + 1;
                let mut lease = json!(grant);
                (lease["lease"], lease["fence"]) = (number.into(), number.into());
                lease["heartbeat_at"] = lease["acquired_at"].clone();
                self.live.insert(serde_json::from_value(lease).unwrap()).expect("what is granted can live");
            }
            Verdict::Refuse(refusal) => {
                let worth = contenders(&request, &self.live, &policy);
                assert!(refusal.conflicts.iter().all(|conflict| worth.contains(&conflict.lease)));
            }
        }
        verdict
    }
}

/// What the second is told while the first lives; none when it is granted.
fn second(first: (&Wish, &str), then: (&Wish, &str)) -> Option<RefusalCode> {
    let mut project = Project::default();
    let one = project.ask(first.0, first.1);
    assert!(matches!(one, Verdict::Grant(_)), "{one:?}");
    match project.ask(then.0, then.1) {
        Verdict::Grant(_) => None,
        Verdict::Refuse(refusal) => Some(refusal.code),
    }
}

#[test]
fn what_meets_across_worktrees_and_what_does_not() {
    use RefusalCode::{ClassFull, ExclusiveLive, LaneHeld, NeedsIdle, PoolFull, RegionConflict};
    let lane = |lane: &'static str| wish(lane, &[], None);
    for (one, other, apart, shared) in [
        // Paths and lanes are of one worktree.
        (wish("a", &["src/**"], None), wish("b", &["src/x"], None), None, Some(RegionConflict)),
        (wish("a", &["**"], None), wish("b", &["**"], None), None, Some(RegionConflict)),
        (wish("a", &["x"], None), wish("A", &["y"], None), None, Some(LaneHeld)),
        // All else is of everybody.
        (
            wish("a", &["x", "lock://db"], None),
            wish("b", &["x", "lock://DB"], None),
            Some(RegionConflict),
            Some(RegionConflict),
        ),
        (
            wish("a", &["lock://*"], None),
            wish("a", &["y", "pool://gpu"], None),
            Some(RegionConflict),
            Some(LaneHeld),
        ),
        (wish("a", &["pool://gpu"], None), wish("b", &["pool://gpu"], None), Some(PoolFull), Some(PoolFull)),
        (lane("red"), lane("blue"), Some(ClassFull), Some(ClassFull)),
        (lane("red"), lane("red"), Some(ClassFull), Some(LaneHeld)),
        (lane("solo"), lane("solo"), Some(ExclusiveLive), Some(LaneHeld)),
        (lane("solo"), wish("b", &["free"], None), Some(ExclusiveLive), Some(ExclusiveLive)),
        (wish("b", &["free"], None), lane("solo"), Some(NeedsIdle), Some(NeedsIdle)),
    ] {
        let within = |wish: &Wish, worktree| Wish { worktree: Some(worktree), ..wish.clone() };
        let (here, there) = (within(&one, "main"), within(&other, "wt"));
        let told = |there: &Wish, then, now| second((&here, then), (there, now));
        assert_eq!(told(&there, SEPARATE, SEPARATE), apart, "{here:?} {there:?}");
        assert_eq!(
            told(&within(&other, "main"), SEPARATE, SEPARATE),
            shared,
            "one worktree: {one:?} {other:?}"
        );
        assert_eq!(told(&there, "shared", "shared"), shared, "one policy for all: {one:?} {other:?}");
        // Who was granted under a policy that does not tell them apart is in the way everywhere, and who asks under one.
        assert_eq!(told(&there, "shared", SEPARATE), shared, "{one:?} {other:?}");
        assert_eq!(told(&there, SEPARATE, "shared"), shared, "{one:?} {other:?}");
        assert_eq!(told(&other, SEPARATE, SEPARATE), shared, "nowhere in particular: {one:?} {other:?}");
    }
}

#[test]
fn a_grant_and_a_refusal_say_the_worktree_only_where_worktrees_are_told_apart() {
    let mut project = Project::default();
    let here = wish("a", &["x"], Some("main"));
    let Verdict::Grant(grant) = project.clone().ask(&here, "shared") else { panic!("nobody is there") };
    assert_eq!(grant.worktree, None);
    assert!(json!(grant).get("worktree").is_none(), "the first journals have no such word");
    let Verdict::Grant(grant) = project.ask(&here, SEPARATE) else { panic!("nobody is there") };
    assert_eq!(json!(grant)["worktree"], "main");
    let Verdict::Refuse(refusal) = project.ask(&wish("b", &["x"], Some("main")), SEPARATE) else {
        panic!("the path is held")
    };
    assert_eq!(json!(refusal)["conflicts"][0]["worktree"], "main");
}

#[test]
fn a_lane_named_after_a_pool_gets_a_number_that_is_free_where_it_is_asked_for() {
    let mut policy = agreed(SEPARATE);
    policy.pools.values_mut().for_each(|pool| pool.capacity = 9);
    let ask = |live: &LiveSet, worktree: Option<&str>| {
        let request = json!({"owner": "o", "tree": ["pool://gpu"], "worktree": worktree});
        let request: Request = serde_json::from_value(request).unwrap();
        let evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
        let now = Timestamp::parse("2026-11-21T07:00:00Z").unwrap();
        match arbitrate(Question {
            request: &request,
            live,
            waiters: &NOBODY,
            policy: &policy,
            evidence: &evidence,
            now,
        }) {
            Verdict::Grant(grant) => grant,
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        }
    };
    let mut live = LiveSet::default();
    for (n, worktree, lane) in [
        (2, Some("main"), "pool://gpu"),
        (3, Some("wt"), "pool://gpu"),
        (4, Some("main"), "pool://gpu#2"),
        (5, None, "pool://gpu#3"),
        (6, Some("wt"), "pool://gpu#2"),
        (7, Some("wt"), "pool://gpu#4"),
    ] {
        let grant = ask(&live, worktree);
        assert_eq!(grant.lane.as_str(), lane, "{n}");
        let mut lease = json!(grant);
        (lease["lease"], lease["fence"]) = (n.into(), n.into());
        lease["heartbeat_at"] = lease["acquired_at"].clone();
        live.insert(serde_json::from_value(lease).unwrap()).unwrap();
    }
}

#[test]
fn a_lane_is_found_where_the_caller_is() {
    let mut project = Project::default();
    for worktree in ["main", "wt"] {
        assert!(matches!(project.ask(&wish("a", &["x"], Some(worktree)), SEPARATE), Verdict::Grant(_)));
    }
    assert!(matches!(project.ask(&wish("b", &["y"], Some("main")), "shared"), Verdict::Grant(_)));
    let find = |lane: &str, worktree: Option<&str>| {
        let lane = serde_json::from_value(json!(lane)).unwrap();
        let worktree = worktree.map(|name| serde_json::from_value(json!(name)).unwrap());
        project.live.in_lane(&lane, worktree.as_ref()).map(|lease| lease.lease.get())
    };
    assert_eq!((find("a", Some("main")), find("A", Some("wt"))), (Some(2), Some(3)));
    assert_eq!((find("a", Some("other")), find("a", None)), (None, None), "nobody's guess");
    assert_eq!(
        (find("b", Some("main")), find("b", Some("wt")), find("b", None)),
        (Some(4), Some(4), Some(4))
    );
    let mut live = project.live.clone();
    let first = live.iter().next().unwrap().lease;
    live.remove(first);
    assert_eq!((live.len(), live.iter().next().unwrap().lease.get()), (2, 3));
    let lane = serde_json::from_value(json!("a")).unwrap();
    let free = |name: &str| live.has_lane_for(&lane, serde_json::from_value(json!(name)).ok().as_ref());
    assert_eq!((free("main"), free("wt"), live.has_lane_for(&lane, None)), (true, false, false));
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let entries = || {
        let some = ["x", "x/y", "**", "*.rs", "x/**", "lock://a", "lock://*", "pool://gpu"];
        proptest::collection::vec(proptest::sample::select(some.to_vec()), 0..3)
    };
    let worktree = proptest::sample::select(vec![None, Some("main"), Some("wt"), Some("wt2")]);
    (proptest::sample::select(vec!["a", "b", "A", "solo", "red"]), entries(), entries(), worktree)
        .prop_filter("it asks for something", |(lane, tree, read, _)| {
            ["solo", "red"].contains(lane) || !tree.is_empty() || !read.is_empty()
        })
        .prop_map(|(lane, tree, read, worktree)| Wish { lane, tree, read, worktree })
}

fn collide(one: &Lease, other: &Lease) -> bool {
    let meets = |a: &Region, b: &Region| a.overlap(b, Case::Exact).is_some();
    meets(&one.tree, &other.tree) || meets(&one.read, &other.tree) || meets(&one.tree, &other.read)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of two who cannot live side by side the second is refused, whichever comes first.
    #[test]
    fn meeting_is_symmetric(one in any_wish(), other in any_wish(), policies in any::<(bool, bool)>()) {
        let under = |separate| if separate { SEPARATE } else { "shared" };
        let (one, other) = ((&one, under(policies.0)), (&other, under(policies.1)));
        prop_assert_eq!(second(one, other).is_some(), second(other, one).is_some(), "{:?} {:?}", one, other);
    }

    /// The line keeps back those whom a lease would: in another worktree nobody comes first for a path.
    #[test]
    fn who_waits_comes_first_where_a_lease_would_be_in_the_way(one in any_wish(), other in any_wish()) {
        let waiter = json!({"ticket": 9, "request": one.json(), "since": "2026-11-21T07:00:00.000Z",
            "clock": {"boot": "b", "up_ms": 0}, "wake": "00000000000000aa"});
        let mut project = Project::default();
        project.waiters.insert(serde_json::from_value(waiter).unwrap());
        let code = match project.ask(&other, SEPARATE) {
            Verdict::Grant(_) => None,
            Verdict::Refuse(refusal) => Some(refusal.code),
        };
        let meets = second((&one, SEPARATE), (&other, SEPARATE)).is_some();
        prop_assert_eq!(code, meets.then_some(RefusalCode::QueuedBehind), "{:?} {:?}", one, other);
    }

    /// However policies change in between: who shares a worktree, or is of none, never shares a path or a lane, and
    /// nobody shares a resource. Whoever is refused under `separate` would be under `shared`.
    #[test]
    fn no_two_leases_of_one_worktree_overlap(asks in proptest::collection::vec((any_wish(), any::<bool>()), 1..12)) {
        let mut project = Project::default();
        for (wish, separate) in asks {
            let told = project.clone().ask(&wish, SEPARATE);
            if matches!(told, Verdict::Refuse(_)) {
                let shared = project.clone().ask(&wish, "shared");
                prop_assert!(matches!(shared, Verdict::Refuse(_)), "{wish:?}");
            }
            project.ask(&wish, if separate { SEPARATE } else { "shared" });
        }
        let all: Vec<&Lease> = project.live.iter().collect();
        for (i, one) in all.iter().enumerate() {
            for other in &all[..i] {
                let apart = are_apart(one.worktree.as_ref(), other.worktree.as_ref());
                prop_assert!(apart || !collide(one, other) && !one.lane.same_as(&other.lane), "{one} {other}");
                let named = |lease: &Lease| Lease { tree: lease.tree.resources(), read: lease.read.resources(), ..lease.clone() };
                prop_assert!(!collide(&named(one), &named(other)), "{one} {other}");
                prop_assert!(!one.exclusive && !other.exclusive, "{one} {other}");
            }
        }
    }
}
