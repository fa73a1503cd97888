//! The rules of the policy, each alone and in pairs, and the laws of their composition.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::decide::{Question, aimed_at, arbitrate, contenders};
use arbiter::evidence::{ClockReading, Evidence, Liveness, Observation};
use arbiter::lease::{Lease, LiveSet, Standing};
use arbiter::name::LaneName;
use arbiter::policy::Policy;
use arbiter::region::{Case, Region};
use arbiter::request::Request;
use arbiter::seq::LeaseId;
use arbiter::time::Timestamp;
use arbiter::verdict::{Grant, Refusal, RefusalCode, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Everything a decision rests on, as JSON; one second after every lease was granted.
#[derive(Clone, Debug)]
struct Scene {
    request: Value,
    live: Vec<Value>,
    policy: Value,
    seen: Vec<(u64, Liveness)>,
    own: Vec<&'static str>,
}

impl Scene {
    /// `asker` wants `work/**` in lane `me`; nothing lives and nothing is agreed.
    fn new() -> Scene {
        Scene {
            request: json!({"lane": "me", "owner": "asker", "tree": ["work/**"]}),
            live: Vec::new(),
            policy: json!({}),
            seen: Vec::new(),
            own: Vec::new(),
        }
    }

    /// A lease with the next number; fresh, and bound to nothing.
    fn live(mut self, lane: &str, tree: &[&str]) -> Scene {
        let id = self.live.len() + 1;
        self.live.push(json!({
            "lease": id, "fence": id, "lane": lane, "owner": format!("o{id}"), "tree": tree, "read": [],
            "acquired_at": "2026-11-21T07:00:00.000Z", "heartbeat_at": "2026-11-21T07:00:00.000Z", "ttl_s": 100,
        }));
        self
    }

    /// The last lease, with something more.
    fn with(mut self, key: &str, value: Value) -> Scene {
        self.live.last_mut().unwrap()[key] = value;
        self
    }

    /// The last lease has not been heard of for long.
    fn expired(self) -> Scene {
        self.with("heartbeat_at", json!("2026-11-20T07:00:00.000Z"))
    }

    /// The last lease is bound to a process that is gone.
    fn dead(mut self) -> Scene {
        self.seen.push((self.live.len() as u64, Liveness::No));
        self.with("processes", json!([{"pid": 7, "start": 1, "boot": "b", "pidns": 1, "host": "h"}]))
    }

    fn asks(mut self, key: &str, value: Value) -> Scene {
        self.request[key] = value;
        self
    }

    fn agreed(mut self, path: &str, value: Value) -> Scene {
        *path.split('/').fold(&mut self.policy, |at, key| &mut at[key]) = value;
        self
    }

    fn policy(&self) -> Policy {
        serde_json::from_value(self.policy.clone()).unwrap()
    }

    fn request(&self) -> Request {
        serde_json::from_value(self.request.clone()).unwrap()
    }

    fn set(&self) -> LiveSet {
        let mut set = LiveSet::default();
        for lease in &self.live {
            set.insert(serde_json::from_value(lease.clone()).unwrap()).expect("no lane twice");
        }
        set
    }

    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::at(ClockReading { boot: "b".into(), up_ms: 0 });
        for &(id, alive) in &self.seen {
            let lease = LeaseId::new(id).unwrap();
            evidence.observed.push(Observation { lease, alive, processes: Vec::new() });
        }
        let own = Region::parse(&self.own).unwrap();
        evidence.protected = aimed_at(&self.request(), &own, &self.policy());
        evidence
    }

    fn decide(&self) -> Verdict {
        let (request, policy, live, evidence) = (self.request(), self.policy(), self.set(), self.evidence());
        let now = Timestamp::parse("2026-11-21T07:00:01Z").unwrap();
        let verdict = arbitrate(Question {
            request: &request,
            live: &live,
            waiters: &arbiter::queue::NOBODY,
            policy: &policy,
            evidence: &evidence,
            now,
        });
        // Whoever is in the way or ended is among those worth a look.
        let worth = contenders(&request, &live, &policy);
        let named: Vec<LeaseId> = match &verdict {
            Verdict::Grant(grant) => grant.evicted.iter().map(|gone| gone.lease).collect(),
            Verdict::Refuse(refusal) => refusal.conflicts.iter().map(|conflict| conflict.lease).collect(),
        };
        assert!(named.iter().all(|lease| worth.contains(lease)), "{named:?} of {worth:?}");
        verdict
    }

    #[track_caller]
    fn granted(&self) -> Grant {
        match self.decide() {
            Verdict::Grant(grant) => grant,
            Verdict::Refuse(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    #[track_caller]
    fn refused(&self) -> Refusal {
        match self.decide() {
            Verdict::Refuse(refusal) => refusal,
            Verdict::Grant(grant) => panic!("granted: {grant:?}"),
        }
    }

    fn code(&self) -> Option<RefusalCode> {
        match self.decide() {
            Verdict::Grant(_) => None,
            Verdict::Refuse(refusal) => Some(refusal.code),
        }
    }
}

/// A reason to refuse, added to any scene.
type Trouble = (RefusalCode, fn(Scene) -> Scene);

/// In the order of docs/decisions.md.
const TROUBLES: [Trouble; 9] = [
    (RefusalCode::UnknownLane, |scene| scene.asks("lane", json!("nobody")).asks("tree", json!([]))),
    (RefusalCode::ParentGone, |scene| scene.asks("parent", json!(99))),
    (RefusalCode::Protected, |scene| scene.agreed("protect", json!({"paths": ["work/secret"]}))),
    (RefusalCode::LaneHeld, |scene| scene.live("ME", &["elsewhere"])),
    (RefusalCode::ExclusiveLive, |scene| scene.live("solo", &["solo"]).with("exclusive", json!(true))),
    (RefusalCode::NeedsIdle, |scene| {
        let scene = scene.live("other", &["other"]).agreed("lanes/me/tree", json!(["work"]));
        scene.agreed("lanes/me/exclusive", json!(true))
    }),
    (RefusalCode::RegionConflict, |scene| scene.live("rival", &["work/x"])),
    (RefusalCode::PoolFull, |scene| {
        scene.asks("tree", json!(["work/**", "pool://gpu"])).live("user", &["pool://GPU"])
    }),
    (RefusalCode::ClassFull, |scene| {
        let scene = scene.live("Peer", &["peer"]).agreed("lanes/me/tree", json!(["work"]));
        let scene = scene.agreed("lanes/peer/tree", json!(["peer"])).agreed("lanes/peer/class", json!("c"));
        scene.agreed("lanes/me/class", json!("c")).agreed("classes/c/max", json!(1))
    }),
];

#[test]
fn each_rule_alone_refuses_by_its_code_and_shows_everything_in_the_way() {
    assert_eq!(Scene::new().code(), None);
    let mut said = String::new();
    for (code, trouble) in TROUBLES {
        let refused = trouble(Scene::new()).refused();
        assert_eq!(refused.code, code);
        said.push_str(&format!("{}\n  {}\n  hint: {}\n", code.as_str(), refused.reason, refused.hint));
        for conflict in &refused.conflicts {
            said.push_str(&format!("  {}\n", serde_json::to_string(conflict).unwrap()));
        }
        let json = serde_json::to_string(&Verdict::Refuse(refused.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), Verdict::Refuse(refused), "{json}");
    }
    insta::assert_snapshot!("each_rule_alone", said);
}

#[test]
fn of_two_rules_the_earlier_one_is_reported() {
    for (i, (first, earlier)) in TROUBLES.iter().enumerate() {
        for (second, later) in &TROUBLES[i + 1..] {
            // What takes the region away goes last.
            let both = earlier(later(Scene::new()));
            assert_eq!(both.code(), Some(*first), "{first:?} and {second:?}");
        }
    }
}

#[test]
fn force_passes_protected_paths_and_nothing_else() {
    for (code, trouble) in TROUBLES {
        let forced = trouble(Scene::new()).asks("force", json!(true));
        match code {
            RefusalCode::Protected => {
                let grant = forced.granted();
                assert!(grant.reason.ends_with("; forced: `work/secret` is protected"), "{}", grant.reason);
            }
            code => assert_eq!(forced.code(), Some(code)),
        }
    }
    let unneeded = Scene::new().asks("force", json!(true)).granted();
    assert_eq!(unneeded.reason, "nothing live is in the way");
}

#[test]
fn waiting_helps_where_others_are_in_the_way() {
    for (code, trouble) in TROUBLES {
        // With everybody gone.
        let mut later = trouble(Scene::new());
        later.live.clear();
        assert_eq!(later.code().is_none(), code.may_pass(), "{code:?}");
    }
    assert!(RefusalCode::NoFreeLane.may_pass());
}

// ------------------------------------------------------------------------------------------------ exclusive lanes

#[test]
fn a_lane_runs_alone_by_its_grant_or_by_the_policy_of_today() {
    let granted = Scene::new().agreed("lanes/me/exclusive", json!(true)).granted();
    assert!(granted.exclusive && serde_json::to_string(&granted).unwrap().contains("\"exclusive\":true"));
    let by_policy = Scene::new().live("Solo", &["solo"]).agreed("lanes/solo/exclusive", json!(true));
    assert_eq!(by_policy.code(), Some(RefusalCode::ExclusiveLive));
    // Without any region of its own it has the whole project.
    let bare = Scene::new().asks("tree", json!([])).agreed("lanes/me/exclusive", json!(true));
    assert_eq!(bare.granted().tree, Region::every_path());
    // Also an exclusive lane that is asked for with another region, and beside what is kept elsewhere.
    let mut elsewhere = Scene::new().live("far", &["far"]).agreed("lanes/me/exclusive", json!(true));
    let far: Lease = serde_json::from_value(elsewhere.live.remove(0)).unwrap();
    let (request, policy, mut evidence) = (elsewhere.request(), elsewhere.policy(), elsewhere.evidence());
    evidence.with_leases.push(far);
    let now = Timestamp::parse("2026-11-21T07:00:01Z").unwrap();
    let live = LiveSet::default();
    let verdict = arbitrate(Question {
        request: &request,
        live: &live,
        waiters: &arbiter::queue::NOBODY,
        policy: &policy,
        evidence: &evidence,
        now,
    });
    assert!(matches!(verdict, Verdict::Refuse(Refusal { code: RefusalCode::NeedsIdle, .. })), "{verdict:?}");
}

#[test]
fn what_runs_alone_ends_all_that_no_longer_stands() {
    let scene = Scene::new().agreed("lanes/me/exclusive", json!(true));
    let scene = scene.live("old", &["old"]).expired().live("gone", &["gone"]).dead();
    let evicted: Vec<(u64, Standing)> =
        scene.granted().evicted.iter().map(|gone| (gone.lease.get(), gone.why)).collect();
    assert_eq!(evicted, [(1, Standing::Expired), (2, Standing::Dead)]);
    // And is ended itself by anybody once it does not stand.
    let solo = Scene::new().live("solo", &["solo"]).with("exclusive", json!(true)).expired();
    assert_eq!(solo.granted().evicted.len(), 1);
}

// ---------------------------------------------------------------------------------------------- pools and classes

#[test]
fn a_pool_has_room_for_as_many_as_the_policy_says() {
    let holders =
        |n: usize| (0..n).fold(Scene::new(), |scene, i| scene.live(&format!("l{i}"), &["pool://gpu"]));
    // (capacity in the policy, holders, granted)
    for (capacity, n, fits) in
        [(None, 0, true), (None, 1, false), (Some(1), 1, false), (Some(3), 2, true), (Some(3), 3, false)]
    {
        for request in [json!(["pool://GPU"]), json!(["pool://gpu", "pool://Gpu"])] {
            let mut scene = holders(n).asks("tree", request);
            if let Some(capacity) = capacity {
                scene = scene.agreed("pools/Gpu/capacity", json!(capacity));
            }
            assert_eq!(scene.code(), (!fits).then_some(RefusalCode::PoolFull), "{capacity:?} {n}");
            if !fits {
                let refused = scene.refused();
                assert_eq!(refused.conflicts.len(), n, "every holder is named");
                assert_eq!(refused.conflicts[0].overlap.as_deref(), Some("pool://gpu"));
            }
        }
    }
    let read = holders(1).asks("tree", json!([])).asks("read", json!(["pool://gpu"]));
    assert_eq!(read.code(), Some(RefusalCode::PoolFull), "one that is read is one that is taken");
    let other = holders(1).asks("tree", json!(["pool://cpu", "lock://gpu", "gpu"]));
    assert_eq!(other.code(), None);
    let everything = holders(1).asks("tree", json!(["lock://*"]));
    assert_eq!(everything.code(), Some(RefusalCode::RegionConflict));
    let hold = Scene::new().live("hold", &["**", "lock://*"]).asks("tree", json!(["pool://gpu"]));
    assert_eq!(
        hold.code(),
        Some(RefusalCode::RegionConflict),
        "what stands in for lost records holds pools too"
    );
}

#[test]
fn a_lane_named_after_a_pool_is_numbered_so_that_each_holder_has_one() {
    let scene = Scene::new().asks("lane", Value::Null).asks("tree", json!(["pool://Gpu", "x"]));
    let scene = scene.agreed("pools/gpu/capacity", json!(9));
    assert_eq!(scene.granted().lane.as_str(), "pool://Gpu");
    let scene = scene.live("pool://gpu", &["pool://gpu"]).live("POOL://GPU#3", &["a"]);
    assert_eq!(scene.granted().lane.as_str(), "pool://Gpu#2");
    let scene = scene.live("pool://gpu#2", &["b"]);
    assert_eq!(scene.granted().lane.as_str(), "pool://Gpu#4");
    let long = format!("pool://{}", "é".repeat(124));
    let scene = Scene::new().asks("lane", Value::Null).asks("tree", json!([long]));
    let scene = scene.agreed("pools", json!({"é".repeat(124): {"capacity": 2}})).live(&long, &[&long]);
    assert!(scene.granted().lane.as_str().ends_with("é#2"));
    let named = Scene::new().live("pool://gpu", &["a"]).asks("lane", json!("pool://gpu"));
    assert_eq!(named.code(), Some(RefusalCode::LaneHeld), "a name that was given is kept");
}

#[test]
fn as_many_end_as_are_too_many_and_no_longer_stand() {
    let pool =
        |scene: Scene| scene.asks("tree", json!(["pool://gpu"])).agreed("pools/gpu/capacity", json!(2));
    let two = || pool(Scene::new().live("a", &["pool://gpu"]).expired().live("b", &["pool://gpu"]).dead());
    let ended =
        |scene: &Scene| scene.granted().evicted.iter().map(|gone| gone.lease.get()).collect::<Vec<u64>>();
    assert_eq!(ended(&two()), [1], "the oldest makes room, the other may come back");
    assert_eq!(ended(&two().live("c", &["pool://gpu"])), [1, 2]);
    let full = two().live("c", &["pool://gpu"]).live("d", &["pool://gpu"]).refused();
    assert_eq!((full.code, full.conflicts.len()), (RefusalCode::PoolFull, 4));
    // One that ends for its region has made room already.
    assert_eq!(
        ended(&two().asks("tree", json!(["pool://gpu", "x"])).with("tree", json!(["pool://gpu", "x"]))),
        [2]
    );

    let class = |scene: Scene| {
        let lane = json!({"tree": ["x"], "class": "c"});
        let lanes = json!({"me": lane, "a": lane, "b": lane, "c": lane});
        scene.agreed("lanes", lanes).agreed("classes", json!({"c": {"max": 2}}))
    };
    let live = |scene: Scene| scene.live("A", &["a"]).expired().live("b", &["b"]);
    assert_eq!(ended(&class(live(Scene::new()))), [1]);
    let full = class(Scene::new().live("a", &["a"]).live("b", &["b"]).live("else", &["c"])).refused();
    assert_eq!((full.code, full.conflicts.len()), (RefusalCode::ClassFull, 2));
    assert!(full.conflicts.iter().all(|conflict| conflict.overlap.is_none()));
    let other = class(Scene::new().live("a", &["a"]).live("b", &["b"])).asks("lane", json!("ad hoc"));
    assert_eq!(other.code(), None, "a lane of no class is not counted");
}

// ------------------------------------------------------------------------------------------------------- ladders

fn ladder() -> Scene {
    let scene = Scene::new().asks("lane", Value::Null).asks("tree", json!([]));
    let scene = scene.agreed("ladder", json!(["api", "Web", "ops"]));
    let scene = scene.agreed("lanes/api", json!({"tree": ["src/api/**"]}));
    let scene = scene.agreed("lanes/web", json!({"tree": ["src/web/**"]}));
    scene.agreed("lanes/ops", json!({"tree": ["infra/**"], "exclusive": true, "ttl": "7s"}))
}

#[test]
fn the_first_lane_of_the_ladder_that_can_be_had_is_picked() {
    let first = ladder().granted();
    assert_eq!(
        (first.lane.as_str(), first.auto_picked, &first.tree),
        ("api", true, &Region::parse(["src/api/**"]).unwrap())
    );
    assert_eq!(first.reason, "nothing live is in the way; picked from the ladder");
    let second = ladder().live("x", &["src/api/login.rs"]).granted();
    assert_eq!(second.lane.as_str(), "Web");
    assert!(
        second.reason.ends_with("picked from the ladder, after `api` (REGION_CONFLICT)"),
        "{}",
        second.reason
    );
    let dead = ladder().live("x", &["src/api/login.rs"]).dead().granted();
    assert_eq!((dead.lane.as_str(), dead.evicted.len()), ("api", 1), "what no longer stands does not count");
    let last = ladder().live("x", &["src"]).expired().agreed("protect/paths", json!(["src"])).granted();
    assert_eq!((last.lane.as_str(), last.exclusive, last.ttl.as_ms()), ("ops", true, 7000));
    let named = ladder().asks("lane", json!("web")).granted();
    assert!(!named.auto_picked);
}

#[test]
fn without_a_free_lane_each_lane_says_why() {
    let refused = ladder().live("one", &["src/**"]).agreed("protect/paths", json!(["src/web/x"])).refused();
    assert_eq!((refused.code, refused.lane.as_str()), (RefusalCode::NoFreeLane, "api"));
    assert_eq!(refused.conflicts.len(), 1, "a lease in the way of several lanes is named once");
    insta::assert_snapshot!("no_free_lane", format!("{}\nhint: {}", refused.reason, refused.hint));
    let none = ladder().agreed("ladder", json!([])).refused();
    assert_eq!((none.code, none.conflicts.len()), (RefusalCode::NoFreeLane, 0));
}

#[test]
fn free_lanes_are_those_that_would_be_granted_without_ending_anything() {
    let names = |scene: Scene| {
        let free = scene.asks("lane", json!("nobody")).refused().free_lanes;
        free.iter().map(|lane| lane.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(ladder()), "api ops web");
    assert_eq!(names(ladder().live("x", &["docs"])), "api web", "one that runs alone needs quiet");
    assert_eq!(names(ladder().live("x", &["docs"]).expired()), "api web", "what may come back counts");
    assert_eq!(names(ladder().live("x", &["docs"]).with("exclusive", json!(true))), "");
    assert_eq!(names(ladder().agreed("protect/paths", json!(["src/api/x"]))), "ops web");
    let full = ladder().agreed("lanes/api/tree", json!(["pool://p"])).live("x", &["pool://p"]);
    assert_eq!(names(full), "web");
    let class = ladder()
        .agreed("lanes/api/class", json!("c"))
        .agreed("lanes/x", json!({"tree": ["x"], "class": "c"}));
    assert_eq!(names(class.agreed("classes/c/max", json!(1)).live("x", &["x"])), "web");
}

#[test]
fn an_unknown_lane_is_offered_its_neighbour() {
    let refused = ladder().asks("lane", json!("wbe")).refused();
    assert!(
        refused.reason.ends_with("it knows: `api`, `ops`, `web`; did you mean `web`?"),
        "{}",
        refused.reason
    );
    assert_eq!(refused.hint, "lease-lane acquire web");
    assert!(!ladder().asks("lane", json!("database")).refused().reason.contains("did you mean"));
}

// ------------------------------------------------------------------------------------------------------- protected

#[test]
fn what_the_program_rests_on_is_protected_against_aim_and_not_against_sweeps() {
    for (tree, aims) in [
        ("lease-lane.toml", true),
        ("LEASE-LANE.toml", true),
        ("lease-lane.t*", true),
        ("[l]ease-lane.toml", true),
        ("?ease-lane.toml", true),
        ("lease-lane.tom?", true),
        (".gi[t]/**", true),
        ("[.]git/lease-lane/**", true),
        ("{docs,.gi?/lease-lane}/x", true),
        ("{*,src}/journal", false),
        ("{*,?git}/lease-lane", true),
        ("?**", true),
        ("*", false),
        ("***", false),
        ("*/lease-lane/**", false),
        ("\\\\*/lease-lane", false),
        ("[s]rc/**", false),
        (".git/lease-lane/journal/x", true),
        (".git/**", true),
        (".git/*/journal", true),
        ("{docs,.git/lease-lane}/x", true),
        ("**", false),
        ("*.toml", true),
        ("**/*.toml", false),
        ("**/journal", false),
        (".git/config", false),
        ("src/**", false),
    ] {
        let mut scene = Scene::new().asks("tree", json!(["free", tree]));
        scene.own = vec!["lease-lane.toml", ".git/lease-lane"];
        assert_eq!(scene.code(), aims.then_some(RefusalCode::Protected), "{tree}");
        assert_eq!(scene.clone().asks("force", json!(true)).code(), None, "{tree}");
        let read = scene.asks("tree", json!([])).asks("read", json!([tree]));
        assert_eq!(read.code(), None, "reading {tree}");
    }
}

#[test]
fn a_listed_path_is_protected_against_everything_that_could_write_it() {
    for (tree, touches) in [
        ("infra/x", true),
        ("**", true),
        ("*/x.tf", true),
        ("infra", true),
        ("src/**", false),
        ("lock://deploy", true),
    ] {
        let paths = json!(["infra/**", "lock://deploy"]);
        let scene = Scene::new().asks("tree", json!([tree])).agreed("protect/paths", paths);
        assert_eq!(scene.code(), touches.then_some(RefusalCode::Protected), "{tree}");
        let read = scene.asks("tree", json!([])).asks("read", json!([tree]));
        assert_eq!(read.code(), None, "reading {tree}");
    }
}

// -------------------------------------------------------------------------------------------------------- parents

#[test]
fn a_child_overlaps_its_ancestors_and_nobody_else() {
    let family = || {
        let scene = Scene::new().live("grandparent", &["work/**"]);
        let scene = scene.live("parent", &["work/a/**"]).with("parent", json!(1));
        scene.live("sibling", &["work/a/x/**"]).with("parent", json!(2))
    };
    let child = |tree: &str| family().asks("parent", json!(2)).asks("tree", json!([tree]));
    let granted = child("work/a/y/**").granted();
    assert_eq!(granted.reason, "nothing live is in the way; beneath lease 2");
    assert!(granted.evicted.is_empty());
    let refused = child("work/**").refused();
    assert_eq!(refused.code, RefusalCode::RegionConflict);
    assert_eq!(refused.conflicts.iter().map(|c| c.lease.get()).collect::<Vec<_>>(), [3], "siblings conflict");
    assert_eq!(refused.hint, "lease-lane acquire me --tree 'work/**' --parent 2 --wait 5m");
    // A lane is held once, by whomever.
    let same = child("work/a/y").asks("lane", json!("PARENT")).refused();
    assert_eq!(same.code, RefusalCode::LaneHeld);
    // Without the line to the grandparent it is in the way like anybody.
    let mut orphans = child("work/a/y").with("tree", json!(["else"]));
    orphans.live.remove(1);
    assert_eq!(orphans.clone().code(), Some(RefusalCode::ParentGone));
    assert_eq!(orphans.asks("parent", json!(3)).code(), Some(RefusalCode::RegionConflict));
}

#[test]
fn a_parent_has_to_live_and_to_stand() {
    let gone = Scene::new().asks("parent", json!(7)).refused();
    assert_eq!(gone.reason, "lease 7 was named as the parent and does not live");
    assert_eq!(gone.hint, "lease-lane acquire me --tree 'work/**'");
    let late = Scene::new().live("parent", &["work"]).expired().asks("parent", json!(1)).refused();
    assert_eq!((late.code, late.hint.as_str()), (RefusalCode::ParentGone, "lease-lane heartbeat --lease 1"));
    let dead = Scene::new().live("parent", &["work"]).dead().asks("parent", json!(1)).refused();
    assert!(dead.reason.ends_with("no longer stands: dead"), "{}", dead.reason);
}

#[test]
fn limits_that_the_ancestors_fill_do_not_stop_their_children() {
    let child = |scene: Scene| scene.asks("parent", json!(1));
    let alone = Scene::new().live("parent", &["work"]).with("exclusive", json!(true));
    assert_eq!(child(alone.clone()).code(), None);
    assert_eq!(child(alone.agreed("lanes/me/exclusive", json!(true))).code(), None);
    let pool = Scene::new().live("parent", &["pool://gpu"]).asks("tree", json!(["pool://gpu"]));
    assert_eq!(child(pool.clone()).code(), None);
    assert_eq!(child(pool.live("other", &["pool://gpu"])).code(), Some(RefusalCode::PoolFull));
    let lane = json!({"tree": ["x"], "class": "c"});
    let class = Scene::new().live("parent", &["x"]).agreed("classes/c/max", json!(1));
    let class = class.agreed("lanes", json!({"me": lane, "parent": lane}));
    assert_eq!((class.code(), child(class.clone()).code()), (Some(RefusalCode::ClassFull), None));
}

// ----------------------------------------------------------------------------------------------------------- laws

/// Patterns that meet often.
fn patterns(least: usize) -> impl Strategy<Value = Vec<&'static str>> {
    let pattern = prop::sample::select(vec![
        "**", "a", "a/b", "*.rs", "b/**", "lock://l", "lock://*", "pool://p", "pool://q", "c",
    ]);
    prop::collection::vec(pattern, least..3)
}

/// Lanes `l0` to `l3` may live, each in some state; whoever asks wants one of `l0` to `l5`.
fn any_scene() -> impl Strategy<Value = Scene> {
    let lease = (any::<bool>(), patterns(0), patterns(0), 0..5u8, prop::option::of(1..4u64));
    let request = (0..6usize, patterns(0), patterns(0), 0..4u8, prop::option::weighted(0.3, 1..5u64));
    (prop::collection::vec(lease, 4), request, any_policy()).prop_map(
        |(leases, (lane, tree, read, how, parent), policy)| {
            let mut scene = Scene { policy, ..Scene::new() };
            for (i, (lives, tree, read, state, parent)) in leases.into_iter().enumerate() {
                scene = scene.live(&format!("l{i}"), &tree).with("read", json!(read));
                if let Some(parent) = parent.filter(|parent| *parent <= i as u64) {
                    scene = scene.with("parent", json!(parent));
                }
                scene = match state {
                    0 => scene.expired(),
                    1 => scene.dead(),
                    2 if lives => scene.with("exclusive", json!(true)),
                    _ => scene,
                };
            }
            scene = scene
                .asks("lane", json!(format!("L{lane}")))
                .asks("tree", json!(tree))
                .asks("read", json!(read));
            scene = scene.asks("force", json!(how & 1 == 1)).asks("parent", json!(parent));
            if how & 2 == 2 {
                scene = scene.asks("lane", Value::Null).asks("tree", json!([])).asks("read", json!([]));
            }
            scene
        },
    )
}

/// Regions and a ladder are there; limits are drawn.
fn any_policy() -> impl Strategy<Value = Value> {
    let lane = (patterns(1), any::<bool>(), prop::option::of(0..2u8));
    let protect = patterns(0);
    (prop::collection::vec(lane, 6), 1..3u32, 1..3u32, 1..3u32, protect).prop_map(
        |(lanes, max, p, q, protect)| {
            let mut policy = json!({
                "ladder": ["l1", "l4", "l5"], "classes": {"c0": {"max": max}, "c1": {"max": 1}},
                "pools": {"p": {"capacity": p}, "q": {"capacity": q}}, "protect": {"paths": protect},
            });
            for (i, (tree, exclusive, class)) in lanes.into_iter().enumerate() {
                let class = class.map(|class| format!("c{class}"));
                policy["lanes"][format!("l{i}")] =
                    json!({"tree": tree, "exclusive": exclusive && i % 2 == 0, "class": class});
            }
            policy
        },
    )
}

/// The scene with one limit less.
fn without_a_limit(scene: &Scene, which: usize) -> Scene {
    let mut fewer = scene.clone();
    match which {
        0 => fewer.policy["protect"] = json!({}),
        1 => fewer.policy["classes"] = json!({}),
        2 => fewer.policy["pools"] = json!({"p": {"capacity": 9}, "q": {"capacity": 9}}),
        3 => fewer.policy["classes"]["c0"]["max"] = json!(9),
        n => {
            let lane = &mut fewer.policy["lanes"][format!("l{}", (n - 4) % 6)];
            lane[if n < 10 { "exclusive" } else { "class" }] =
                if n < 10 { json!(false) } else { Value::Null };
        }
    }
    fewer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    /// A limit that is added never turns a refusal into a grant: rules compose only conjunctively (feature A12).
    #[test]
    fn one_more_limit_never_helps(scene in any_scene(), which in 0..16usize) {
        if without_a_limit(&scene, which).code().is_some() {
            prop_assert!(scene.code().is_some(), "limit {which}: {} {} {:?}", scene.policy, scene.request, scene.live);
        }
    }

    /// Whatever is granted lives beside the rest as every rule says.
    #[test]
    fn a_grant_keeps_every_limit(scene in any_scene()) {
        let Verdict::Grant(grant) = scene.decide() else { return Ok(()) };
        let (policy, set, request) = (scene.policy(), scene.set(), scene.request());
        let kin = request.parent.map_or_else(Vec::new, |parent| set.with_ancestors(parent));
        let stays = |lease: &&Lease| grant.evicted.iter().all(|gone| gone.lease != lease.lease);
        let others: Vec<&Lease> = set.iter().filter(stays).filter(|lease| !kin.contains(&lease.lease)).collect();
        let alone = |lane: &LaneName| policy.lane(lane).is_some_and(|said| said.exclusive);
        for lease in &others {
            let meets = |a: &Region, b: &Region| a.overlap(b, Case::Fold).is_some();
            prop_assert!(!meets(&grant.tree, &lease.tree) && !meets(&grant.read, &lease.tree) && !meets(&grant.tree, &lease.read));
            prop_assert!(!lease.exclusive && !alone(&lease.lane) && !alone(&grant.lane));
        }
        prop_assert!(request.force || grant.tree.overlap(&policy.protect.paths, Case::Fold).is_none());
        let takes = |tree: &Region, read: &Region, pool: &str| {
            tree.entries().iter().chain(read.entries()).any(|entry| entry.pool_name() == Some(pool))
        };
        for pool in ["p", "q"] {
            let holders = others.iter().filter(|lease| takes(&lease.tree, &lease.read, pool)).count();
            prop_assert!(!takes(&grant.tree, &grant.read, pool) || holders < policy.capacity_of(pool) as usize);
        }
        let class_of = |lane: &LaneName| policy.lane(lane).and_then(|said| said.class.clone());
        if let Some(class) = class_of(&grant.lane) {
            let members = others.iter().filter(|lease| class_of(&lease.lane).as_ref() == Some(&class)).count();
            prop_assert!(members < policy.classes[&class].max as usize);
        }
        for gone in &grant.evicted {
            let lease = set.get(gone.lease).unwrap();
            let alive = scene.evidence().liveness(lease.lease);
            let now = Timestamp::parse("2026-11-21T07:00:01Z").unwrap();
            prop_assert_ne!(lease.standing(alive, policy.grace_of(lease), now, &scene.evidence().clock), Standing::Held);
        }
    }
}
