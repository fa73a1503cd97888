//! The line of those who wait: who comes first, when a ticket falls, and which waits would never end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{ClockReading, Evidence, Liveness, Observation, ProcessIdentity, TicketObservation};
use arbiter::lease::{Lease, LiveSet};
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::queue::{self, Fallen, Link, SeenFree, WaitQueue, Waiter, Wake};
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::seq::{LeaseId, Seq, Ticket};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Grant, Refusal, RefusalCode, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

const BOOT: &str = "boot";
/// What a request or a lease writes, and what it reads.
type Wants<'a> = (&'a [&'a str], &'a [&'a str]);

fn clock(up_ms: u64) -> ClockReading {
    ClockReading { boot: BOOT.into(), up_ms }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + i64::try_from(ms).unwrap())
}

fn ticket(n: u64) -> Ticket {
    Ticket::new(n).unwrap()
}

/// A request in a lane of its own.
fn request(owner: &str, lane: &str, (tree, read): Wants<'_>) -> Request {
    let mut request = Request::of(OwnerName::new(owner).unwrap());
    request.lane = LaneName::new(lane).ok();
    request.tree = Region::parse(tree).unwrap();
    request.read = Region::parse(read).unwrap();
    request.waits = true;
    request
}

fn process() -> ProcessIdentity {
    ProcessIdentity { pid: 7, start: 1, boot: BOOT.into(), pidns: 1, host: "h".into(), role: None }
}

fn waiter(n: u64, owner: &str, wants: Wants<'_>) -> Waiter {
    Waiter {
        ticket: ticket(n),
        request: request(owner, &format!("lane-{n}"), wants),
        since: at(0),
        clock: clock(0),
        budget: Some(Span::from_s(60)),
        process: Some(process()),
        wake: Wake::new(n),
        seen_free: None,
    }
}

fn lease(id: u64, owner: &str, (tree, read): Wants<'_>) -> Lease {
    let (lane, owner) = (LaneName::new(format!("lane-{id}")).unwrap(), OwnerName::new(owner).unwrap());
    let (tree, read) = (Region::parse(tree).unwrap(), Region::parse(read).unwrap());
    let bare = Lease::bare(Seq::new(id).unwrap(), lane, owner, at(0), Span::from_s(1000));
    Lease { tree, read, clock: Some(clock(0)), ..bare }
}

/// A world one second after everything in it began.
struct World {
    live: LiveSet,
    waiters: WaitQueue,
    evidence: Evidence,
    policy: Policy,
    now_ms: u64,
}

fn world(leases: Vec<Lease>, waiters: Vec<Waiter>) -> World {
    let mut world = World {
        live: LiveSet::default(),
        waiters: WaitQueue::default(),
        evidence: Evidence::at(clock(1000)),
        policy: Policy::default(),
        now_ms: 1000,
    };
    for lease in leases {
        world.live.insert(lease).unwrap();
    }
    for waiter in waiters {
        assert!(world.waiters.insert(waiter));
    }
    world
}

impl World {
    fn question<'a>(&'a self, request: &'a Request) -> Question<'a> {
        let World { live, waiters, evidence, policy, now_ms } = self;
        Question { request, live, waiters, policy, evidence, now: at(*now_ms) }
    }

    fn decide(&self, request: &Request) -> Verdict {
        arbitrate(self.question(request))
    }

    fn refusal(&self, request: &Request) -> Refusal {
        match self.decide(request) {
            Verdict::Refuse(refusal) => refusal,
            Verdict::Grant(grant) => panic!("granted: {grant:?}"),
        }
    }

    fn grant(&self, request: &Request) -> Grant {
        match self.decide(request) {
            Verdict::Grant(grant) => grant,
            Verdict::Refuse(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// The same request of the one who waits with this ticket.
    fn in_place(&self, n: u64) -> Request {
        let waiter = self.waiters.get(ticket(n)).unwrap();
        Request { ticket: Some(waiter.ticket), ..waiter.request.clone() }
    }

    fn saw(&mut self, n: u64, alive: Liveness) {
        self.evidence.tickets.push(TicketObservation { ticket: ticket(n), alive, why: "seen".into() });
    }
}

/// It becomes a part of a file's name, and a journal may be forged.
#[test]
fn a_wake_is_sixteen_digits_and_nothing_else() {
    let wake = Wake::new(0xc0ff_ee00);
    assert_eq!(json!(wake), "00000000c0ffee00");
    assert_eq!(serde_json::from_value::<Wake>(json!("00000000c0ffee00")).unwrap(), wake);
    assert_ne!(wake.without_file(), wake);
    for other in [
        "",
        "c0ffee00",
        "00000000C0FFEE00",
        "+0000000c0ffee00",
        "/etc/passwd-0000",
        "../../../../../a",
        "00000000c0ffee001",
    ] {
        assert_eq!(Wake::parse(other), None, "{other}");
        assert!(serde_json::from_value::<Wake>(json!(other)).is_err(), "{other}");
    }
}

#[test]
fn a_smaller_ticket_goes_first_among_those_that_conflict_and_nobody_else_waits_for_it() {
    let world = world(vec![], vec![waiter(5, "ann", (&["a"], &[])), waiter(8, "bob", (&["a/b"], &[]))]);
    let barging = world.refusal(&request("cid", "c", (&["a/b/c"], &[])));
    assert_eq!(barging.code, RefusalCode::QueuedBehind);
    let behind = barging.behind.unwrap();
    assert_eq!(
        (behind.ticket, behind.owner.as_str(), behind.since),
        (ticket(8), "bob", at(0)),
        "the nearest"
    );
    assert_eq!(behind.free, Some(ticket(5)), "the one at the front could go");
    assert_eq!(
        barging.reason,
        format!("`bob` (ticket 8, lane `lane-8`) has waited since {} and comes first", at(0))
    );
    world.grant(&request("dan", "d", (&["b"], &[])));
    world.grant(&world.in_place(5));
    assert_eq!(world.refusal(&world.in_place(8)).behind.unwrap().ticket, ticket(5));
}

#[test]
fn one_lane_is_one_line_whatever_the_regions() {
    let world = world(vec![], vec![waiter(5, "ann", (&["a"], &[]))]);
    assert_eq!(world.refusal(&request("bob", "LANE-5", (&["z"], &[]))).code, RefusalCode::QueuedBehind);
}

#[test]
fn readers_come_in_together_but_not_past_a_writer_that_waits() {
    let reading: Wants<'_> = (&[], &["a"]);
    let mut world = world(vec![lease(1, "ann", reading)], vec![waiter(5, "bob", reading)]);
    world.grant(&request("cid", "c", reading));
    world.waiters.insert(waiter(6, "wil", (&["a"], &[])));
    world.grant(&world.in_place(5));
    let late = world.refusal(&request("cid", "c", reading));
    assert_eq!((late.code, late.behind.unwrap().free), (RefusalCode::QueuedBehind, Some(ticket(5))));
    world.waiters.remove(ticket(5));
    let late = world.refusal(&request("cid", "c", reading));
    assert_eq!(late.behind.unwrap().free, None, "the writer is kept out by the reader");
    assert_eq!(world.refusal(&world.in_place(6)).code, RefusalCode::RegionConflict);
}

#[test]
fn a_lease_in_the_way_is_named_before_a_ticket() {
    let world = world(vec![lease(1, "ann", (&["a"], &[]))], vec![waiter(5, "bob", (&["a"], &[]))]);
    let refusal = world.refusal(&request("cid", "c", (&["a"], &[])));
    assert_eq!((refusal.code, refusal.behind), (RefusalCode::RegionConflict, None));
    assert_eq!(
        queue::nearest(world.question(&request("cid", "c", (&["a"], &[])))).unwrap().ticket,
        ticket(5)
    );
}

#[test]
fn a_ticket_falls_only_when_that_is_proven() {
    use Liveness::{No, Unknown, Yes};
    let seen = |ms| Some(SeenFree { at: at(ms), clock: clock(ms) });
    // (seen of its process, now, seen free, why it fell)
    let rows = [
        (Yes, 1_000, None, None),
        (Unknown, 65_000, None, None),
        (No, 0, None, Some(Fallen::Dead)),
        (Yes, 65_001, None, Some(Fallen::Expired)),
        (Unknown, 65_001, None, Some(Fallen::Expired)),
        (Yes, 12_000, seen(2_000), None),
        (Yes, 12_001, seen(2_000), Some(Fallen::Stalled)),
        (No, 12_001, seen(2_000), Some(Fallen::Dead)),
    ];
    for (alive, now, seen_free, why) in rows {
        let waiter = Waiter { seen_free, ..waiter(5, "ann", (&["a"], &[])) };
        assert_eq!(waiter.fallen(alive, at(now), &clock(now)), why, "{alive:?} at {now}");
    }
    let patient = Waiter { budget: None, ..waiter(5, "ann", (&["a"], &[])) };
    assert_eq!(patient.fallen(Unknown, at(1 << 40), &clock(1 << 40)), None, "it waits for ever");
    let unknown = Waiter { process: None, ..waiter(5, "ann", (&["a"], &[])) };
    assert_eq!(unknown.fallen(No, at(0), &clock(0)), None, "nothing is known of its process");
    // The wall clock counts only where no boot-time clock can.
    let here = waiter(5, "ann", (&["a"], &[]));
    assert_eq!(here.fallen(Yes, at(70_000), &clock(1_000)), None);
    let elsewhere = ClockReading { boot: "another".into(), up_ms: 1_000 };
    assert_eq!(here.fallen(Yes, at(70_000), &elsewhere), Some(Fallen::Expired));
}

#[test]
fn a_grant_says_past_whom_it_went() {
    let mut world = world(
        vec![],
        vec![
            waiter(5, "ann", (&["a"], &[])),
            waiter(7, "bob", (&["a"], &[])),
            waiter(9, "cid", (&["b"], &[])),
        ],
    );
    world.saw(5, Liveness::No);
    world.saw(9, Liveness::No);
    let dan = request("dan", "d", (&["a"], &[]));
    assert_eq!(world.refusal(&dan).behind.unwrap().ticket, ticket(7));
    let look = queue::unseen(world.question(&dan), &world.decide(&dan));
    assert_eq!((look.tickets, look.leases), (vec![ticket(7)], vec![]), "worth a look before it is believed");
    world.saw(7, Liveness::No);
    let grant = world.grant(&dan);
    let went_past: Vec<_> = grant.dropped.iter().map(|gone| (gone.ticket, gone.why)).collect();
    assert_eq!(
        went_past,
        [(ticket(5), Fallen::Dead), (ticket(7), Fallen::Dead)],
        "and not past who is not in the way"
    );
    assert!(
        grant.reason.ends_with("; went past ticket 5 of `ann` (dead), ticket 7 of `bob` (dead)"),
        "{}",
        grant.reason
    );
    let again: Verdict =
        serde_json::from_str(&serde_json::to_string(&Verdict::Grant(grant.clone())).unwrap()).unwrap();
    assert_eq!(again, Verdict::Grant(grant));
}

#[test]
fn nobody_is_slow_who_waits_for_a_lease_past_its_time_whose_holder_may_live() {
    let mut late = lease(1, "bob", (&["b"], &[]));
    (late.ttl, late.processes) = (Span::from_ms(500), vec![process()]);
    let mut world = world(vec![late], vec![waiter(5, "ann", (&["a", "b"], &[]))]);
    world.saw(5, Liveness::Yes);
    let dan = request("dan", "d", (&["a"], &[]));
    assert_eq!(world.refusal(&dan).behind.unwrap().free, Some(ticket(5)), "as far as anybody has looked");
    let look = queue::unseen(world.question(&dan), &world.decide(&dan));
    assert_eq!((look.leases, look.tickets), (vec![LeaseId::new(1).unwrap()], vec![]));
    let id = LeaseId::new(1).unwrap();
    world.evidence.observed = vec![Observation { lease: id, alive: Liveness::Yes, processes: Vec::new() }];
    assert_eq!(world.refusal(&dan).behind.unwrap().free, None);
    assert!(queue::unseen(world.question(&dan), &world.decide(&dan)).is_empty());
}

#[test]
fn a_place_that_is_lost_is_no_place() {
    let world = world(vec![], vec![waiter(5, "ann", (&["a"], &[]))]);
    let mut lost = request("bob", "b", (&["a"], &[]));
    lost.ticket = Some(ticket(3));
    assert_eq!(world.refusal(&lost).code, RefusalCode::QueuedBehind, "the line does not know ticket 3");
}

#[test]
fn a_deadlock_of_two_is_refused_and_spelled_out() {
    let mut world = world(
        vec![lease(1, "ann", (&["a"], &[])), lease(3, "bob", (&["b"], &[]))],
        vec![waiter(5, "bob", (&["a"], &[]))],
    );
    let ann = request("ann", "x", (&["b"], &[]));
    let refusal = world.refusal(&ann);
    assert_eq!(refusal.code, RefusalCode::Deadlock);
    assert_eq!(
        refusal.reason,
        "it would wait for ever: `ann` waits for lease 3 of `bob`, who waits for lease 1 of `ann`"
    );
    assert_eq!(refusal.conflicts.len(), 1, "what is in the way is still told");
    let tries_once = Request { waits: false, ..ann.clone() };
    assert_eq!(
        world.refusal(&tries_once).code,
        RefusalCode::RegionConflict,
        "who does not wait closes no cycle"
    );
    assert_eq!(world.refusal(&world.in_place(5)).code, RefusalCode::RegionConflict, "the older wait goes on");
    let look = queue::unseen(world.question(&ann), &world.decide(&ann));
    assert_eq!(look.tickets, [ticket(5)]);
    world.saw(5, Liveness::No);
    assert_eq!(world.refusal(&ann).code, RefusalCode::RegionConflict, "the dead wait for nobody");
}

#[test]
fn a_deadlock_goes_over_tickets_and_many_owners() {
    let owners = ["ann", "bob", "cid", "dan", "eve"];
    let rooms = ["a", "b", "c", "d", "e"];
    let leases: Vec<Lease> = owners
        .iter()
        .zip(&rooms)
        .zip(1..)
        .map(|((owner, room), id)| lease(id, owner, (&[room], &[])))
        .collect();
    let waits = |n: usize| waiter(10 + n as u64, owners[n], (&[rooms[(n + 1) % 5]], &[]));
    let full = world(leases.clone(), (1..5).map(waits).collect());
    let refusal = full.refusal(&request("ann", "x", (&["b"], &[])));
    assert_eq!(refusal.code, RefusalCode::Deadlock);
    assert_eq!(
        refusal.reason,
        "it would wait for ever: `ann` waits for lease 2 of `bob`, who waits for lease 3 of `cid`, \
         who waits for lease 4 of `dan`, who waits for lease 5 of `eve`, who waits for lease 1 of `ann`"
    );
    let broken = world(leases, (1..4).map(waits).collect());
    assert_eq!(broken.refusal(&request("ann", "x", (&["b"], &[]))).code, RefusalCode::RegionConflict);
    // Behind a ticket that waits for the one who asks.
    let behind = world(vec![lease(1, "ann", (&["a"], &[]))], vec![waiter(5, "bob", (&["a", "b"], &[]))]);
    let refusal = behind.refusal(&request("ann", "x", (&["b"], &[])));
    assert_eq!(
        (refusal.code, &*refusal.reason),
        (
            RefusalCode::Deadlock,
            "it would wait for ever: `ann` waits behind ticket 5 of `bob`, who waits for lease 1 of `ann`"
        )
    );
}

#[test]
fn waiting_for_oneself_or_beside_a_cycle_is_no_deadlock() {
    let own = world(vec![lease(1, "ann", (&["a"], &[]))], vec![]);
    assert_eq!(own.refusal(&request("ann", "x", (&["a"], &[]))).code, RefusalCode::RegionConflict);
    let own = world(vec![lease(1, "ann", (&["a"], &[]))], vec![waiter(5, "ann", (&["a"], &[]))]);
    assert_eq!(own.refusal(&request("ann", "x", (&["a"], &[]))).code, RefusalCode::RegionConflict);
    // Two sessions of one name: the older one of `ann` is served when cid is done, and bob after it.
    let beside = world(
        vec![lease(1, "cid", (&["a"], &[])), lease(2, "dan", (&["b"], &[])), lease(3, "ann", (&["z"], &[]))],
        vec![waiter(5, "ann", (&["a"], &[])), waiter(6, "bob", (&["a", "b"], &[]))],
    );
    assert_eq!(beside.refusal(&request("ann", "x", (&["b"], &[]))).code, RefusalCode::RegionConflict);
}

// --- against a second opinion -------------------------------------------------------------------------------------

/// Points, so that whether two claims meet can be told without the code that is tested.
#[derive(Clone, Debug)]
struct Claims {
    owner: usize,
    writes: BTreeSet<usize>,
    reads: BTreeSet<usize>,
}

const POINTS: [&str; 4] = ["lock://p", "lock://q", "lock://r", "lock://s"];
const OWNERS: [&str; 4] = ["ann", "bob", "cid", "dan"];

impl Claims {
    fn meets(&self, other: &Claims) -> bool {
        let common = |one: &BTreeSet<usize>, two: &BTreeSet<usize>| !one.is_disjoint(two);
        common(&self.writes, &other.writes)
            || common(&self.writes, &other.reads)
            || common(&self.reads, &other.writes)
    }

    fn words(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let words = |points: &BTreeSet<usize>| points.iter().map(|&point| POINTS[point]).collect();
        (words(&self.writes), words(&self.reads))
    }
}

fn claims() -> impl Strategy<Value = Claims> {
    let points = || prop::collection::btree_set(0..POINTS.len(), 0..3);
    (0..OWNERS.len(), points(), points()).prop_map(|(owner, writes, reads)| {
        let reads: BTreeSet<usize> = reads.difference(&writes).copied().collect();
        let writes = if writes.is_empty() && reads.is_empty() { BTreeSet::from([0]) } else { writes };
        Claims { owner, writes, reads }
    })
}

/// Whether the last of `line` waits for itself: every way is tried.
fn waits_for_itself(held: &[Claims], line: &[Claims]) -> bool {
    let last = line.len() - 1;
    let mut todo = vec![last];
    let mut seen = BTreeSet::new();
    while let Some(one) = todo.pop() {
        let mut next: Vec<usize> = (0..one).filter(|&other| line[one].meets(&line[other])).collect();
        for lease in held.iter().filter(|lease| lease.owner != line[one].owner && lease.meets(&line[one])) {
            next.extend((0..line.len()).filter(|&other| line[other].owner == lease.owner));
        }
        if next.contains(&last) {
            return true;
        }
        todo.extend(next.into_iter().filter(|&other| seen.insert(other)));
    }
    false
}

fn placed(held: &[Claims], line: &[Claims]) -> World {
    let leases = held.iter().zip(1..).map(|(claims, id)| {
        let (tree, read) = claims.words();
        lease(id, OWNERS[claims.owner], (&tree, &read))
    });
    let waiters = line.iter().zip(100..).map(|(claims, n)| {
        let (tree, read) = claims.words();
        waiter(n, OWNERS[claims.owner], (&tree, &read))
    });
    world(leases.collect(), waiters.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_wait_is_a_deadlock_exactly_when_some_way_leads_back_to_it(
        held in prop::collection::vec(claims(), 0..5),
        line in prop::collection::vec(claims(), 1..6),
    ) {
        let (last, waiting) = line.split_last().unwrap();
        let world = placed(&held, waiting);
        let (tree, read) = last.words();
        let asked = request(OWNERS[last.owner], "mine", (&tree, &read));
        let cycle = queue::cycle(world.question(&asked));
        prop_assert_eq!(cycle.is_some(), waits_for_itself(&held, &line));
        let Some(cycle) = cycle else { return Ok(()) };
        // The way that is told is one.
        prop_assert_eq!(&cycle[0].owner, &cycle[cycle.len() - 1].of);
        for (step, next) in cycle.iter().zip(cycle.iter().skip(1).chain(&cycle[..1])) {
            prop_assert_eq!(&step.of, &next.owner);
            match step.link {
                Link::Lease(id) => prop_assert_eq!(&world.live.get(id).unwrap().owner, &step.of),
                Link::Ticket(ticket) => prop_assert_eq!(Some(ticket), next.ticket),
            }
        }
    }

    /// Whatever happens, who comes is granted only if nobody before it wants the same, and the front of the line can
    /// always go once no lease is in its way.
    #[test]
    fn nobody_is_overtaken_by_one_who_wants_the_same(
        held in prop::collection::vec(claims(), 0..4),
        line in prop::collection::vec(claims(), 0..6),
        new in claims(),
    ) {
        let world = placed(&held, &line);
        let (tree, read) = new.words();
        let comes = request("eve", "mine", (&tree, &read));
        let blocked = held.iter().any(|lease| lease.meets(&new));
        let overtakes = line.iter().any(|other| other.meets(&new));
        let granted = matches!(world.decide(&comes), Verdict::Grant(_));
        prop_assert_eq!(granted, !blocked && !overtakes);
        for (n, one) in line.iter().enumerate() {
            let asked = world.in_place(100 + n as u64);
            let blocked = held.iter().any(|lease| lease.meets(one));
            let first = !line[..n].iter().any(|other| other.meets(one));
            let granted = matches!(world.decide(&asked), Verdict::Grant(_));
            prop_assert_eq!(granted, !blocked && first, "ticket {}", 100 + n);
            let nearest = line[..n].iter().rposition(|other| other.meets(one));
            let found = queue::nearest(world.question(&asked)).map(|waiter| waiter.ticket);
            prop_assert_eq!(found, nearest.map(|m| ticket(100 + m as u64)));
        }
    }
}

// --- with the rules of the policy ---------------------------------------------------------------------------------

fn policy(json: &Value) -> Policy {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn what_there_may_be_too_little_of_is_waited_for_in_one_line() {
    let policy = policy(&json!({
        "lanes": {
            "alone": {"exclusive": true},
            "one": {"tree": ["one/**"], "class": "heavy"},
            "two": {"tree": ["two/**"], "class": "heavy"},
            "free": {"tree": ["free/**"]},
        },
        "ladder": ["one", "free"],
        "classes": {"heavy": {"max": 1}},
        "pools": {"gpu": {"capacity": 2}},
    }));
    let bare = |lane: Option<&str>| {
        let mut request = Request::of(OwnerName::new("asker").unwrap());
        request.lane = lane.and_then(|lane| LaneName::new(lane).ok());
        request.waits = true;
        request
    };
    let pool = |lane: &str| request("asker", lane, (&["pool://gpu"], &[]));
    let waits = |request: Request| {
        let mut world = world(vec![], vec![]);
        world.policy = policy.clone();
        world.waiters.insert(Waiter { request, ..waiter(5, "ann", (&["x"], &[])) });
        world
    };
    // (who waits, who comes, whether the first comes first)
    let rows = [
        (bare(Some("alone")), request("asker", "z", (&["anything"], &[])), true),
        (request("ann", "z", (&["anything"], &[])), bare(Some("alone")), true),
        (bare(Some("one")), bare(Some("two")), true),
        (bare(Some("one")), bare(Some("free")), false),
        (pool("p"), pool("q"), true),
        (pool("p"), request("asker", "z", (&["anything"], &[])), false),
        (bare(None), bare(Some("free")), true),
        (bare(None), request("asker", "z", (&["anything"], &[])), false),
    ];
    for (first, comes, is_behind) in rows {
        let verdict = waits(first.clone()).decide(&comes);
        let refused =
            matches!(&verdict, Verdict::Refuse(refusal) if refusal.code == RefusalCode::QueuedBehind);
        assert_eq!(refused, is_behind, "{first:?} waits, {comes:?} comes: {verdict:?}");
    }
}

#[test]
fn a_full_pool_is_no_deadlock_while_another_may_give_its_share_back() {
    let mut world = world(
        vec![
            lease(1, "bob", (&["pool://gpu"], &[])),
            lease(2, "cid", (&["pool://gpu"], &[])),
            lease(3, "ann", (&["a"], &[])),
        ],
        vec![waiter(5, "bob", (&["a"], &[]))],
    );
    world.policy = policy(&json!({"pools": {"gpu": {"capacity": 2}}}));
    let refusal = world.refusal(&request("ann", "z", (&["pool://gpu"], &[])));
    assert_eq!(refusal.code, RefusalCode::PoolFull, "{refusal:?}");
}
