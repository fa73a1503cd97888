//! The decision: tables for each rule, and laws that hold for every request and live set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::decide::{Claim, Question, Rule, arbitrate, arbitrate_with, contenders};
use arbiter::evidence::{ClockReading, Evidence, Liveness, Observation, ProcessIdentity};
use arbiter::lease::{Lease, LiveSet, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::{LanePolicy, Policy};
use arbiter::queue::NOBODY;
use arbiter::region::{Case, Entry, Region};
use arbiter::request::Request;
use arbiter::seq::{LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Mode, Refusal, RefusalCode, Verdict};
use proptest::prelude::*;

const BOOT: &str = "boot";

fn clock(up_ms: u64) -> ClockReading {
    ClockReading { boot: BOOT.into(), up_ms }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + ms)
}

fn region(entries: &[&str]) -> Region {
    Region::parse(entries).unwrap()
}

fn request(lane: Option<&str>, tree: &[&str], read: &[&str]) -> Request {
    let mut request = Request::of(OwnerName::new("asker").unwrap());
    request.lane = lane.map(|lane| LaneName::new(lane).unwrap());
    request.tree = region(tree);
    request.read = region(read);
    request
}

fn lease(id: u64, lane: &str, tree: &[&str], read: &[&str]) -> Lease {
    let (lane, owner) = (LaneName::new(lane).unwrap(), OwnerName::new("holder").unwrap());
    let bare = Lease::bare(Seq::new(id).unwrap(), lane, owner, at(0), Span::from_s(100));
    Lease { tree: region(tree), read: region(read), clock: Some(clock(0)), ..bare }
}

fn bound(mut lease: Lease) -> Lease {
    lease.processes =
        vec![ProcessIdentity { pid: 7, start: 1, boot: BOOT.into(), pidns: 1, host: "h".into(), role: None }];
    lease
}

fn live(leases: Vec<Lease>) -> LiveSet {
    let mut set = LiveSet::default();
    for lease in leases {
        set.insert(lease).expect("no lane twice");
    }
    set
}

fn decide(request: &Request, live: &LiveSet, policy: &Policy, evidence: &Evidence, now_ms: i64) -> Verdict {
    arbitrate(Question { request, live, waiters: &NOBODY, policy, evidence, now: at(now_ms) })
}

/// Decides one second after every lease was granted, with nothing seen of anybody.
fn simply(request: &Request, live: &LiveSet) -> Verdict {
    decide(request, live, &Policy::default(), &Evidence::at(clock(1000)), 1000)
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        Verdict::Grant(grant) => panic!("granted: {grant:?}"),
    }
}

#[test]
fn writers_are_alone_and_readers_are_not() {
    // (request tree, request read, live tree, live read, how the holder meets it)
    type Row = (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
        Option<Mode>,
    );
    let rows: [Row; 8] = [
        (&["a"], &[], &["a"], &[], Some(Mode::Write)),
        (&[], &["a"], &["a"], &[], Some(Mode::Write)),
        (&["a"], &[], &[], &["a"], Some(Mode::Read)),
        (&[], &["a"], &[], &["a"], None),
        (&["a"], &[], &["b"], &[], None),
        (&["lock://x"], &[], &["lock://X"], &[], Some(Mode::Write)),
        (&[], &["lock://x"], &[], &["lock://x"], None),
        (&["**"], &[], &["lock://x"], &[], None),
    ];
    for (tree, read, live_tree, live_read, met) in rows {
        let verdict =
            simply(&request(Some("mine"), tree, read), &live(vec![lease(1, "theirs", live_tree, live_read)]));
        let mode = match verdict {
            Verdict::Grant(_) => None,
            Verdict::Refuse(refusal) => {
                assert_eq!(refusal.code, RefusalCode::RegionConflict);
                Some(refusal.conflicts[0].mode)
            }
        };
        assert_eq!(mode, met, "{tree:?} {read:?} beside {live_tree:?} {live_read:?}");
    }
}

#[test]
fn a_lane_is_held_once_whatever_the_regions_and_whatever_the_spelling() {
    let set = live(vec![lease(1, "Api", &["a"], &[])]);
    let refused = refusal(simply(&request(Some("aPI"), &["b"], &[]), &set));
    assert_eq!((refused.code, refused.yours), (RefusalCode::LaneHeld, Some(false)));
    assert_eq!(refused.conflicts[0].overlap, None);
    let mut mine = request(Some("api"), &["a"], &[]);
    mine.owner = OwnerName::new("holder").unwrap();
    let refused = refusal(simply(&mine, &set));
    assert_eq!((refused.code, refused.yours), (RefusalCode::LaneHeld, Some(true)));
    assert_eq!(refused.conflicts[0].overlap.as_deref(), Some("a"));
}

#[test]
fn every_lease_in_the_way_is_named_in_order() {
    let set = live(vec![
        lease(9, "nine", &["src/a/**"], &[]),
        lease(2, "two", &["docs"], &[]),
        lease(4, "four", &[], &["src/*.rs"]),
    ]);
    let refused = refusal(simply(&request(Some("me"), &["src"], &[]), &set));
    let named: Vec<u64> = refused.conflicts.iter().map(|conflict| conflict.lease.get()).collect();
    assert_eq!(named, [4, 9]);
    assert!(refused.hint.contains("lease-lane acquire me --tree src --wait"), "{}", refused.hint);
    assert!(refused.reason.contains("one more lease"), "{}", refused.reason);
}

#[test]
fn a_request_is_granted_whole_or_not_at_all() {
    let set = live(vec![lease(1, "theirs", &["b"], &[])]);
    refusal(simply(&request(Some("me"), &["a", "b", "c"], &["d"]), &set));
    let Verdict::Grant(grant) = simply(&request(None, &["a", "c"], &["d"]), &set) else { panic!("refused") };
    assert_eq!((grant.tree, grant.read, grant.lane.as_str()), (region(&["a", "c"]), region(&["d"]), "a"));
}

#[test]
fn an_unknown_lane_is_refused_and_the_known_ones_are_listed() {
    let mut policy = Policy::default();
    for (name, tree) in [("api", "src/api"), ("web", "src/web")] {
        let said = LanePolicy { tree: region(&[tree]), ..LanePolicy::default() };
        policy.lanes.insert(LaneName::new(name).unwrap(), said);
    }
    let set = live(vec![lease(1, "other", &["src/web/x"], &[])]);
    let evidence = Evidence::at(clock(1000));
    let refused = refusal(decide(&request(Some("nope"), &[], &[]), &set, &policy, &evidence, 1000));
    assert_eq!(refused.code, RefusalCode::UnknownLane);
    assert!(refused.reason.contains("`api`, `web`"), "{}", refused.reason);
    let free: Vec<&str> = refused.free_lanes.iter().map(LaneName::as_str).collect();
    assert_eq!(free, ["api"]);
    let known = decide(&request(Some("API"), &[], &[]), &set, &policy, &evidence, 1000);
    let Verdict::Grant(grant) = known else { panic!("{known:?}") };
    assert_eq!(grant.tree, region(&["src/api"]));
}

#[test]
fn when_a_lease_stands_and_when_it_does_not() {
    // TTL 100 s and grace 10 s: (bound, seen, age in ms, standing)
    let rows = [
        (false, Liveness::Unknown, 0, Standing::Held),
        (false, Liveness::Unknown, 110_000, Standing::Held),
        (false, Liveness::Unknown, 110_001, Standing::Expired),
        // Nothing was seen of a lease that is bound to nothing: "gone" would be a mistake of the shell.
        (false, Liveness::No, 0, Standing::Held),
        (true, Liveness::Yes, 0, Standing::Held),
        (true, Liveness::Yes, 110_001, Standing::Held),
        (true, Liveness::Unknown, 110_000, Standing::Held),
        (true, Liveness::Unknown, 110_001, Standing::Expired),
        (true, Liveness::No, 0, Standing::Dead),
        (true, Liveness::No, 110_001, Standing::Dead),
    ];
    for (is_bound, alive, age_ms, standing) in rows {
        let plain = lease(1, "l", &["a"], &[]);
        let lease = if is_bound { bound(plain) } else { plain };
        let grace = Policy::default().grace_of(&lease);
        assert_eq!(grace, Span::from_s(10));
        let got = lease.standing(alive, grace, at(0), &clock(age_ms));
        assert_eq!(got, standing, "bound {is_bound}, {alive:?}, {age_ms} ms");
    }
}

#[test]
fn wall_clock_jumps_do_not_age_a_lease_within_one_boot() {
    let held = lease(1, "l", &["a"], &[]);
    let year_ms = 365 * 86_400_000;
    for wall in [-year_ms, 0, year_ms] {
        assert_eq!(held.age(at(wall), &clock(5)), Span::from_ms(5));
    }
    let elsewhere = ClockReading { boot: "another".into(), up_ms: 0 };
    assert_eq!(held.age(at(7), &elsewhere), Span::from_ms(7));
    assert_eq!(held.age(at(-7), &elsewhere), Span::ZERO);
}

#[test]
fn what_no_longer_stands_is_evicted_only_when_everything_in_the_way_is() {
    let set = live(vec![bound(lease(1, "one", &["a"], &[])), lease(2, "two", &["b"], &[])]);
    let mut evidence = Evidence::at(clock(1000));
    evidence.observed.push(Observation {
        lease: LeaseId::new(1).unwrap(),
        alive: Liveness::No,
        processes: Vec::new(),
    });
    let policy = Policy::default();
    let Verdict::Grant(grant) = decide(&request(Some("me"), &["a"], &[]), &set, &policy, &evidence, 1000)
    else {
        panic!("the dead lease still stands")
    };
    assert_eq!(grant.evicted.len(), 1);
    assert_eq!((grant.evicted[0].lease.get(), grant.evicted[0].why), (1, Standing::Dead));
    let refused = refusal(decide(&request(Some("me"), &["a", "b"], &[]), &set, &policy, &evidence, 1000));
    assert_eq!(refused.conflicts.len(), 2);
    assert!(refused.reason.contains("lease 2"), "the one that holds is the reason: {}", refused.reason);
}

#[test]
fn leases_kept_elsewhere_count_and_are_never_ended_from_here() {
    let mut evidence = Evidence::at(clock(u64::MAX));
    evidence.with_leases.push(lease(77, "far", &["a"], &[]));
    let verdict = decide(
        &request(Some("me"), &["a"], &[]),
        &LiveSet::default(),
        &Policy::default(),
        &evidence,
        i64::MAX / 2,
    );
    assert_eq!(refusal(verdict).conflicts[0].lease.get(), 77);
}

#[test]
fn more_rules_can_refuse_and_nothing_else() {
    struct Never;
    impl Rule for Never {
        fn refuse(&self, _: &Question<'_>, claim: &Claim) -> Option<Refusal> {
            Some(Refusal {
                code: RefusalCode::RegionConflict,
                lane: claim.lane.clone(),
                reason: "never".into(),
                yours: None,
                free_lanes: Vec::new(),
                conflicts: Vec::new(),
                behind: None,
                hint: String::new(),
            })
        }
    }
    struct Always;
    impl Rule for Always {
        fn refuse(&self, _: &Question<'_>, _: &Claim) -> Option<Refusal> {
            None
        }
    }
    let policy = Policy::default();
    let evidence = Evidence::at(clock(1000));
    let asked = request(Some("me"), &["a"], &[]);
    let (empty, full) = (LiveSet::default(), live(vec![lease(1, "x", &["a"], &[])]));
    let question = |live| Question {
        request: &asked,
        live,
        waiters: &NOBODY,
        policy: &policy,
        evidence: &evidence,
        now: at(1000),
    };
    assert!(matches!(arbitrate_with(question(&empty), &[&Always]), Verdict::Grant(_)));
    assert_eq!(refusal(arbitrate_with(question(&empty), &[&Always, &Never])).reason, "never");
    assert_eq!(
        arbitrate_with(question(&full), &[&Always]),
        arbitrate(question(&full)),
        "no rule forces an admission"
    );
}

/// Patterns that meet often.
fn pattern() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "**", "a", "a/**", "a/b", "a/*", "a/*.rs", "*.rs", "**/x", "b/**", "{a,b}/c", "A/B", "lock://l",
        "lock://m", "c",
    ])
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(pattern(), 0..3)
}

/// At least one: a request for nothing is about its lane alone.
fn some_patterns() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(pattern(), 1..3)
}

fn any_lease(id: u64) -> impl Strategy<Value = Lease> {
    (patterns(), patterns(), 0u64..200, any::<bool>()).prop_map(move |(tree, read, beat_s, is_bound)| {
        let mut one = lease(id, &format!("lane-{id}"), &tree, &read);
        one.clock = Some(clock(beat_s * 1000));
        if is_bound { bound(one) } else { one }
    })
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    prop::collection::vec(prop::sample::select(vec![Liveness::Yes, Liveness::No, Liveness::Unknown]), 5)
        .prop_map(|seen| {
            let mut evidence = Evidence::at(clock(220_000));
            for (id, alive) in (1u64..).zip(seen) {
                evidence.observed.push(Observation {
                    lease: LeaseId::new(id).unwrap(),
                    alive,
                    processes: Vec::new(),
                });
            }
            evidence
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// One more live lease never turns a refusal into a grant.
    #[test]
    fn one_more_lease_never_helps(
        leases in (any_lease(1), any_lease(2), any_lease(3), any_lease(4)),
        more in any_lease(5),
        tree in some_patterns(),
        read in patterns(),
        evidence in any_evidence(),
    ) {
        let asked = request(Some("me"), &tree, &read);
        let leases = vec![leases.0, leases.1, leases.2, leases.3];
        let before = live(leases.clone());
        let after = live(leases.into_iter().chain([more]).collect());
        let policy = Policy::default();
        if let Verdict::Refuse(_) = decide(&asked, &before, &policy, &evidence, 0) {
            prop_assert!(matches!(decide(&asked, &after, &policy, &evidence, 0), Verdict::Refuse(_)));
        }
    }

    /// A grant shares no path in incompatible modes with anything that goes on living (promise S1), whatever was
    /// evicted no longer stood, and whoever is in the way is among those worth a look.
    #[test]
    fn a_grant_is_compatible_with_all_that_lives_on(
        leases in (any_lease(1), any_lease(2), any_lease(3), any_lease(4)),
        tree in some_patterns(),
        read in patterns(),
        evidence in any_evidence(),
    ) {
        let asked = request(Some("me"), &tree, &read);
        let set = live(vec![leases.0, leases.1, leases.2, leases.3]);
        let policy = Policy::default();
        let worth_a_look = contenders(&asked, &set, &policy);
        match decide(&asked, &set, &policy, &evidence, 0) {
            Verdict::Grant(grant) => for lease in set.iter() {
                let is_evicted = grant.evicted.iter().any(|gone| gone.lease == lease.lease);
                let clash = grant.tree.overlap(&lease.tree, Case::Fold).is_some()
                    || grant.tree.overlap(&lease.read, Case::Fold).is_some()
                    || grant.read.overlap(&lease.tree, Case::Fold).is_some();
                prop_assert_eq!(clash, is_evicted);
                if is_evicted {
                    let alive = evidence.liveness(lease.lease);
                    let standing = lease.standing(alive, policy.grace_of(lease), at(0), &evidence.clock);
                    prop_assert_ne!(standing, Standing::Held);
                    prop_assert!(worth_a_look.contains(&lease.lease));
                }
            },
            Verdict::Refuse(refusal) => {
                prop_assert!(!refusal.conflicts.is_empty());
                for conflict in &refusal.conflicts {
                    prop_assert!(worth_a_look.contains(&conflict.lease));
                    let witness = Entry::parse(conflict.overlap.as_deref().unwrap()).unwrap();
                    let ours = asked.tree.entries().iter().chain(asked.read.entries());
                    prop_assert!(ours.into_iter().any(|entry| entry.overlap(&witness, Case::Fold).is_some()));
                }
            }
        }
    }

    /// Who asked first does not matter for whether two can live together.
    #[test]
    fn two_requests_conflict_whichever_comes_first(one in (some_patterns(), patterns()), other in (some_patterns(), patterns())) {
        let blocks = |held: &(Vec<&str>, Vec<&str>), asked: &(Vec<&str>, Vec<&str>)| {
            let set = live(vec![lease(1, "held", &held.0, &held.1)]);
            matches!(simply(&request(Some("asked"), &asked.0, &asked.1), &set), Verdict::Refuse(_))
        };
        prop_assert_eq!(blocks(&one, &other), blocks(&other, &one));
    }

    /// A verdict's JSON reads back as the same verdict with the same bytes.
    #[test]
    fn verdicts_survive_their_json(lease in any_lease(1), tree in some_patterns(), read in patterns(), evidence in any_evidence()) {
        let verdict = decide(&request(Some("me"), &tree, &read), &live(vec![lease]), &Policy::default(), &evidence, 0);
        let json = serde_json::to_string(&verdict).unwrap();
        let back: Verdict = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&back, &verdict);
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
}
