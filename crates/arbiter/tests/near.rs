//! A decision looks only at leases near to the claim. Whatever it would find by looking at all of them, it finds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::decide::{Question, arbitrate, bound_contenders, contenders};
use arbiter::evidence::{ClockReading, Evidence, ProcessIdentity};
use arbiter::interest::{Interest, WORD_BYTES_MAX, words_of};
use arbiter::lease::{Lease, LiveSet};
use arbiter::name::LaneName;
use arbiter::policy::Policy;
use arbiter::queue::NOBODY;
use arbiter::region::{Case, Entry, ProjectPath, Region};
use arbiter::request::Request;
use arbiter::seq::LeaseId;
use arbiter::time::Timestamp;
use arbiter::verdict::{RefusalCode, Verdict};
use proptest::prelude::*;
use serde_json::json;

/// Entries with much in common: heads that are beginnings of each other, in whole names and within them.
fn entry() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "ab",
        "A",
        "é",
        "É",
        "ſ",
        "s",
        "/",
        "/",
        "/a/",
        "*",
        "**",
        "/**/",
        "?",
        ".x",
        "{a,b}",
        "{ab/,É}c",
        "[a-c]",
        "{,/b}",
    ]);
    let path = prop::collection::vec(token, 1..6).prop_map(|tokens| tokens.concat());
    let resource = prop::sample::select(vec![
        "lock://db",
        "lock://DB",
        "lock://d",
        "lock://*",
        "pool://gpu",
        "pool://g",
        "a",
        "**",
    ]);
    prop_oneof![4 => path, 1 => resource.prop_map(String::from)]
        .prop_filter("a pattern", |text| Entry::parse(text).is_ok())
}

fn region(most: usize) -> impl Strategy<Value = Region> {
    prop::collection::vec(entry(), 0..=most).prop_map(|texts| Region::parse(texts).unwrap())
}

fn lane() -> impl Strategy<Value = LaneName> {
    prop::sample::select(vec![
        "l0",
        "L0",
        "alone",
        "Alone",
        "one",
        "two",
        "x1",
        "x2",
        "x3",
        "x4",
        "x5",
        "x6",
        "pool://gpu",
        "pool://gpu",
        "pool://gpu#2",
    ])
    .prop_map(|name| LaneName::new(name).unwrap())
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(exact, alone, classes)| {
        let mut policy =
            json!({"lanes": {}, "classes": {"few": {"max": 2}}, "pools": {"gpu": {"capacity": 1}}});
        if exact {
            policy["case"] = json!("exact");
        }
        if alone {
            policy["lanes"]["alone"] = json!({"exclusive": true});
        }
        if classes {
            policy["lanes"]["one"] = json!({"class": "few"});
            policy["lanes"]["TWO"] = json!({"class": "few"});
        }
        serde_json::from_value(policy).unwrap()
    })
}

fn lease(id: u64, lane: &LaneName, tree: Region, read: Region, exclusive: bool) -> Lease {
    let mut lease: Lease = serde_json::from_value(json!({
        "lease": id, "fence": id, "lane": lane, "owner": format!("o{id}"), "tree": [],
        "acquired_at": "2026-11-21T07:00:00.000Z", "heartbeat_at": "2026-11-21T07:00:00.000Z", "ttl_s": 100,
    }))
    .unwrap();
    (lease.tree, lease.read, lease.exclusive) = (tree, read, exclusive);
    if id.is_multiple_of(2) {
        let process = json!({"pid": 7, "start": 9, "boot": "b", "pidns": 1, "host": "h"});
        lease.processes.push(serde_json::from_value::<ProcessIdentity>(process).unwrap());
    }
    lease
}

/// What the policy says of a lane, under any spelling.
fn said<'p>(policy: &'p Policy, lane: &LaneName) -> Option<&'p arbiter::policy::LanePolicy> {
    policy.lanes.iter().find(|(name, _)| name.same_as(lane)).map(|(_, said)| said)
}

fn pools(tree: &Region, read: &Region) -> Vec<String> {
    tree.entries().iter().chain(read.entries()).filter_map(Entry::pool_name).map(String::from).collect()
}

/// Whether the request, which names a lane and a region, is incompatible with the lease: by the algebra alone.
fn meets(request: &Request, lease: &Lease, policy: &Policy) -> bool {
    let lane = request.lane.as_ref().unwrap();
    let runs_alone = |lane| said(policy, lane).is_some_and(|said| said.exclusive);
    let common = |ours: &Region, theirs: &Region, case: Case| ours.overlap(theirs, case).is_some();
    lane.same_as(&lease.lane)
        || lease.exclusive
        || runs_alone(&lease.lane)
        || runs_alone(lane)
        || common(&request.tree, &lease.tree, policy.case)
        || common(&request.tree, &lease.read, policy.case)
        || common(&request.read, &lease.tree, policy.case)
}

/// Whether the two are counted together: of one class, or in one pool.
fn counted(request: &Request, lease: &Lease, policy: &Policy) -> bool {
    let class = |lane| said(policy, lane).and_then(|said| said.class.clone());
    let ours = class(request.lane.as_ref().unwrap());
    let theirs = pools(&lease.tree, &lease.read);
    ours.is_some() && ours == class(&lease.lane)
        || pools(&request.tree, &request.read).iter().any(|pool| theirs.contains(pool))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_near_is_all_that_matters(
        leases in prop::collection::vec((lane(), region(3), region(2), prop::bool::weighted(0.05)), 0..10),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        (asked_lane, tree, read) in (lane(), region(3), region(2)),
        policy in policy(),
    ) {
        let mut live = LiveSet::default();
        for (id, (lane, tree, read, exclusive)) in (1..).zip(leases) {
            let _lane_is_taken = live.insert(lease(id, &lane, tree, read, exclusive));
        }
        let ids: Vec<LeaseId> = live.iter().map(|lease| lease.lease).collect();
        for gone in gone.iter().filter(|_| !ids.is_empty()) {
            live.remove(ids[gone.index(ids.len())]);
        }
        let mut request: Request = serde_json::from_value(json!({"owner": "asker"})).unwrap();
        (request.lane, request.tree, request.read) = (Some(asked_lane), tree, read);
        prop_assume!(request.has_region());

        let matters = |lease: &&Lease| meets(&request, lease, &policy) || counted(&request, lease, &policy);
        let expected: Vec<LeaseId> = live.iter().filter(matters).map(|lease| lease.lease).collect();
        prop_assert_eq!(&contenders(&request, &live, &policy), &expected);
        let bound: Vec<LeaseId> =
            expected.into_iter().filter(|id| !live.get(*id).unwrap().processes.is_empty()).collect();
        prop_assert_eq!(bound_contenders(&request, &live, &policy), bound);

        let evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
        let now = Timestamp::parse("2026-11-21T07:00:01.000Z").unwrap();
        let question = Question { request: &request, live: &live, waiters: &NOBODY, policy: &policy, evidence: &evidence, now };
        let expected: Vec<LeaseId> =
            live.iter().filter(|lease| meets(&request, lease, &policy)).map(|lease| lease.lease).collect();
        match arbitrate(question) {
            Verdict::Grant(_) => prop_assert_eq!(expected, []),
            Verdict::Refuse(refusal) if matches!(refusal.code, RefusalCode::PoolFull | RefusalCode::ClassFull) => {
                prop_assert_eq!(expected, []);
                prop_assert!(refusal.conflicts.iter().all(|one| counted(&request, live.get(one.lease).unwrap(), &policy)));
            }
            Verdict::Refuse(refusal) => {
                let named: Vec<LeaseId> = refusal.conflicts.iter().map(|conflict| conflict.lease).collect();
                prop_assert_eq!(named, expected);
            }
        }
    }
}

/// A policy whose lanes have regions, some of them to be picked from.
fn policy_of_regions() -> impl Strategy<Value = Policy> {
    (policy(), prop::collection::vec((lane(), region(2), any::<bool>()), 0..3)).prop_map(
        |(mut policy, lanes)| {
            for (lane, tree, is_in_ladder) in lanes {
                let spelt = policy.lanes.keys().find(|name| name.same_as(&lane)).cloned().unwrap_or(lane);
                policy.lanes.entry(spelt.clone()).or_default().tree = tree;
                if is_in_ladder && !policy.ladder.contains(&spelt) {
                    policy.ladder.push(spelt);
                }
            }
            policy
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_of_interest_decides_as_all_would(
        leases in prop::collection::vec((lane(), region(3), region(2), prop::bool::weighted(0.05), any::<bool>()), 0..10),
        (asked_lane, tree, read) in (prop::option::of(lane()), region(3), region(2)),
        policy in policy_of_regions(),
        (force, past) in (any::<bool>(), any::<bool>()),
    ) {
        let mut live = LiveSet::default();
        for (id, (lane, tree, read, exclusive, is_short)) in (1..).zip(leases) {
            let mut lease = lease(id, &lane, tree, read, exclusive);
            if !is_short {
                lease.ttl = arbiter::time::Span::from_s(100_000);
            }
            let _lane_is_taken = live.insert(lease);
        }
        let mut request: Request = serde_json::from_value(json!({"owner": "asker", "force": force})).unwrap();
        (request.lane, request.tree, request.read) = (asked_lane, tree, read);
        prop_assume!(request.clone().check().and_then(|request| request.check_under(&policy)).is_ok());
        let Some(interest) = Interest::of(&request, &policy) else { return Ok(()) };

        let concerns = |lease: &&Lease| words_of(lease).iter().any(|(kind, text)| interest.may_concern(*kind, text));
        let mut some = LiveSet::default();
        for lease in live.iter().filter(concerns) {
            some.insert(lease.clone()).unwrap();
        }
        if interest.is_in_anybody() && some.is_empty() {
            some = live.clone();
        }
        prop_assert_eq!(contenders(&request, &some, &policy), contenders(&request, &live, &policy));
        let evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
        let now = if past { "2026-11-21T08:00:01.000Z" } else { "2026-11-21T07:00:01.000Z" };
        let now = Timestamp::parse(now).unwrap();
        let decided = |live| {
            arbitrate(Question { request: &request, live, waiters: &NOBODY, policy: &policy, evidence: &evidence, now })
        };
        prop_assert_eq!(decided(&some), decided(&live));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whoever_claims_a_path_or_a_resource_is_of_interest_to_it(
        names in prop::collection::vec(prop::sample::select(vec!["a", "A", "ab", "b", "é", "É", "ſ", "s.x"]), 0..4),
        (tree, read) in (region(3), region(3)),
        resource in prop::sample::select(vec!["lock://db", "lock://d", "lock://*", "pool://gpu"]),
    ) {
        let path = ProjectPath::parse(&format!("./{}", names.join("/"))).unwrap();
        let resource = Entry::parse(resource).unwrap();
        let held = lease(1, &LaneName::new("held").unwrap(), tree.clone(), read.clone(), false);
        let words = words_of(&held);
        let found = |interest: Interest| words.iter().any(|(kind, text)| interest.may_concern(*kind, text));
        for case in [Case::Fold, Case::Exact] {
            prop_assert!(!(tree.covers(&path, case) || read.covers(&path, case)) || found(Interest::default().in_path(&path)));
        }
        prop_assert!(!(tree.holds(&resource) || read.holds(&resource)) || found(Interest::default().in_resource(&resource)));
    }
}

/// `ſ` is folded to `s`, which a comparison that folds ASCII alone would miss.
#[test]
fn a_path_is_found_by_what_its_letters_are_folded_to() {
    for (claimed, asked) in [("ſ", "s"), ("s", "ſ"), ("ſ", "ſ"), ("É/**", "é/x")] {
        let claimed = Region::parse([claimed]).unwrap();
        let path = ProjectPath::parse(asked).unwrap();
        assert!(claimed.covers(&path, Case::Fold));
        let held = lease(1, &LaneName::new("held").unwrap(), claimed, Region::default(), false);
        let interest = Interest::default().in_path(&path);
        assert!(words_of(&held).iter().any(|(kind, text)| interest.may_concern(*kind, text)), "{asked}");
    }
}

/// Words are cut, so those of two leases may become one; whoever looks for one of them then finds both.
#[test]
fn what_is_cut_is_found_all_the_same() {
    let long = |end: &str| format!("{}{end}", "é".repeat(WORD_BYTES_MAX));
    let policy = Policy::default();
    for (asked, held) in [
        (format!("{}/**", long("a")), format!("{}/b", long("a"))),
        (format!("{}*", long("")), format!("{}/b", long("a"))),
        (format!("lock://{}", long("a")), format!("lock://{}", long("A"))),
    ] {
        let held = Region::parse([held]).unwrap();
        let held = lease(1, &LaneName::new("held").unwrap(), held, Region::default(), false);
        let mut request: Request = serde_json::from_value(json!({"owner": "asker", "lane": "x"})).unwrap();
        request.tree = Region::parse([asked]).unwrap();
        let interest = Interest::of(&request, &policy).unwrap();
        let words = words_of(&held);
        assert!(words.iter().all(|(_, text)| text.len() <= WORD_BYTES_MAX), "{words:?}");
        assert!(words.iter().any(|(kind, text)| interest.may_concern(*kind, text)), "{words:?}");
        let lane = Interest::default().in_lane(&LaneName::new("HELD").unwrap());
        assert!(words.iter().any(|(kind, text)| lane.may_concern(*kind, text)), "{words:?}");
    }
}

/// Such a lane mostly claims everything, and with many leases whoever looked at all it meets would read all of them.
#[test]
fn a_lane_of_the_policy_that_runs_alone_makes_nobody_look_at_every_lease() {
    let policy: Policy = serde_json::from_value(json!({"lanes": {"release": {"exclusive": true}}})).unwrap();
    let mut request: Request = serde_json::from_value(json!({"owner": "asker", "lane": "x"})).unwrap();
    request.tree = Region::parse(["docs/**"]).unwrap();
    let interest = Interest::of(&request, &policy).unwrap();
    let concerns = |lane: &str, tree: &str, exclusive| {
        let tree = Region::parse([tree]).unwrap();
        let held = lease(1, &LaneName::new(lane).unwrap(), tree, Region::default(), exclusive);
        words_of(&held).iter().any(|(kind, text)| interest.may_concern(*kind, text))
    };
    assert!(!concerns("held", "src/**", false));
    assert!(interest.is_in_anybody());
    assert!(
        concerns("held", "docs/a", false)
            && concerns("Release", "src/**", false)
            && concerns("held", "src/**", true)
    );
}

/// What a lease claims cannot be changed behind the back of those who look it up.
#[test]
fn a_change_leaves_what_is_claimed_as_it_is() {
    let mut live = LiveSet::default();
    let region = Region::parse(["src/api/**", "lock://db"]).unwrap();
    live.insert(lease(1, &LaneName::new("x").unwrap(), region.clone(), Region::default(), false)).unwrap();
    let before = live.clone();
    assert!(live.update(LeaseId::new(1).unwrap(), |lease| {
        (lease.tree, lease.read, lease.exclusive) = (Region::everything(), Region::everything(), true);
    }));
    assert_eq!(live, before);
}
