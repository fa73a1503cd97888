//! Those who wait, as records: what the line amounts to, through seals and repairs, and every decision about it made
//! again.

mod common;

use std::collections::BTreeSet;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{Evidence, Liveness, ProcessIdentity, TicketObservation};
use arbiter::queue::{Wake, fallen_before, nearest};
use arbiter::request::Request;
use arbiter::seq::{Seq, Ticket};
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use common::{
    clock, forged, lines_after, load, operator, owner, release_of, replay, request, seq, time, writing,
};
use journal::decision::{cancel, records};
use journal::disk::Access;
use journal::history::{Redecider, survey};
use journal::record::{Cancel, Op, Record, Wait, WhyCancelled};
use journal::repair;
use journal::segment::{self, Segment};
use journal::state::State;
use journal::store::{Appended, FileStore, Store};
use testkit::disk::MemDisk;
use testkit::rng::Rng;

fn process(n: u64) -> ProcessIdentity {
    ProcessIdentity { pid: 100, start: n, boot: "b0071d".into(), pidns: 1, host: "h1".into(), role: None }
}

fn question<'a>(state: &'a State, request: &'a Request, evidence: &'a Evidence, n: u64) -> Question<'a> {
    let State { live, waiters, policy, .. } = state;
    Question { request, live, waiters, policy, evidence, now: time(n) }
}

/// What a caller that waits writes: its grant, or a WAIT in place of the refusal; before it the end of what fell.
fn wait(state: &State, request: &Request, evidence: Evidence, n: u64, budget_s: Option<u64>) -> Vec<Op> {
    let asked = question(state, request, &evidence, n);
    let verdict = arbitrate(asked);
    let Verdict::Refuse(refusal) = &verdict else { return records(&verdict, request, evidence, &state.live) };
    let fallen = fallen_before(asked);
    let mut ops: Vec<Op> = fallen.iter().map(|gone| cancel(gone, &request.owner, &evidence)).collect();
    if !refusal.code.may_pass() || request.ticket.is_some() {
        ops.extend(records(&verdict, request, evidence, &state.live));
        return ops;
    }
    ops.push(Op::Wait(Box::new(Wait {
        lane: refusal.lane.clone(),
        owner: request.owner.clone(),
        request: request.clone(),
        evidence,
        verdict: refusal.clone(),
        budget: budget_s.map(Span::from_s),
        process: Some(process(n)),
        wake: Wake::new(n),
    })));
    ops
}

fn waiting(who: &str, lane: &str, tree: &[&str]) -> Request {
    Request { waits: true, ..request(who, lane, tree) }
}

fn record(n: u64, op: Op) -> Record {
    Record { seq: seq(n), ts: time(n), nonce: n, op }
}

/// Ann has `a`, bob waits for it with ticket 3.
fn one_waits() -> State {
    let mut state = State::default();
    for (n, who) in [(2, "ann"), (3, "bob")] {
        let asked = waiting(who, &format!("of-{who}"), &["a/**"]);
        let ops = wait(&state, &asked, Evidence::at(clock(n)), n, Some(60));
        assert_eq!(ops.len(), 1);
        state.apply(&record(n, ops[0].clone())).expect("legal");
    }
    assert_eq!(state.waiters.iter().map(|waiter| waiter.ticket.get()).collect::<Vec<_>>(), [3]);
    state
}

fn ticket(n: u64) -> Ticket {
    Ticket::from(seq(n))
}

fn cancel_of(n: u64, why: WhyCancelled) -> Op {
    Op::Cancel(Box::new(Cancel {
        lane: common::lane("of-bob"),
        owner: owner("bob"),
        ticket: ticket(n),
        why,
        by: owner("bob"),
        clock: clock(9),
        observed: None,
    }))
}

#[test]
fn a_wait_ends_with_its_grant_or_with_its_cancel_and_outlives_every_checkpoint() {
    let mut state = one_waits();
    assert_eq!(State::restore(state.checkpoint(true)).expect("sound"), state);
    let mut cancelled = state.clone();
    cancelled.apply(&record(4, cancel_of(3, WhyCancelled::Timeout))).expect("legal");
    assert!(cancelled.waiters.is_empty());
    assert!(cancelled.apply(&record(5, cancel_of(3, WhyCancelled::Timeout))).is_err(), "it has ended");

    let lease = state.live.iter().next().expect("ann's").clone();
    state.apply(&record(4, release_of(&lease))).expect("legal");
    let asked = Request { ticket: Some(ticket(3)), ..waiting("bob", "of-bob", &["a/**"]) };
    let ops = wait(&state, &asked, Evidence::at(clock(5)), 5, None);
    state.apply(&record(5, ops[0].clone())).expect("legal");
    assert!(state.waiters.is_empty() && state.live.len() == 1);
}

#[test]
fn the_first_refusal_that_sees_a_ticket_free_sets_its_time() {
    let mut state = one_waits();
    let asked = waiting("cid", "of-cid", &["a/x"]);
    let refuse = |state: &State, n| {
        let evidence = Evidence::at(clock(n));
        records(&arbitrate(question(state, &asked, &evidence, n)), &asked, evidence.clone(), &state.live)
    };
    state.apply(&record(4, refuse(&state, 4)[0].clone())).expect("legal");
    assert_eq!(state.waiters.get(ticket(3)).expect("it waits").seen_free, None, "a lease keeps it back");
    let lease = state.live.iter().next().expect("ann's").clone();
    state.apply(&record(5, release_of(&lease))).expect("legal");
    for n in [6, 7] {
        state.apply(&record(n, refuse(&state, n)[0].clone())).expect("legal");
        let seen = state.waiters.get(ticket(3)).expect("it waits").seen_free.clone().expect("it was seen");
        assert_eq!((seen.at, seen.clock), (time(6), clock(6)));
    }
    assert_eq!(State::restore(state.checkpoint(true)).expect("sound"), state);
    // Ten seconds later it no longer stands.
    let evidence = Evidence::at(clock(17));
    let Verdict::Grant(grant) = arbitrate(question(&state, &asked, &evidence, 17)) else {
        panic!("it leaves others to wait")
    };
    assert_eq!(grant.dropped.len(), 1);
    let ops = records(&Verdict::Grant(grant), &asked, evidence, &state.live);
    assert!(matches!(&ops[..], [Op::Cancel(_), Op::Acquire(_)]), "{ops:?}");
}

#[test]
fn a_checkpoint_in_which_a_ticket_is_lost_is_damage() {
    let (root, head) = common::genesis();
    let (asked, held) = (waiting("bob", "of-bob", &["a/**"]), one_waits());
    let grant =
        wait(&State::default(), &waiting("ann", "of-ann", &["a/**"]), Evidence::at(clock(2)), 2, None);
    let mut state = State::default();
    state.apply(&record(2, grant[0].clone())).expect("legal");
    let waits = wait(&state, &asked, Evidence::at(clock(2)), 2, Some(60));
    let (lines, head) = lines_after(head, 2, &[grant[0].clone(), waits[0].clone()]);
    state.apply(&Record { ts: time(2), ..record(3, waits[0].clone()) }).expect("legal");
    assert_eq!(state.waiters.len(), held.waiters.len());
    for loses in [false, true] {
        let mut seal = state.checkpoint(true);
        if loses {
            seal.waiters.clear();
        }
        let (seal, _) = lines_after(head, 3, &[Op::Checkpoint(Box::new(seal))]);
        let told = Segment::read(Seq::FIRST, [root.as_str(), &lines.concat(), &seal[0]].concat().as_bytes());
        assert_eq!(told.is_ok(), !loses, "{told:?}");
    }
}

#[test]
fn after_a_repair_nobody_has_a_place_and_a_grant_of_a_lost_ticket_is_kept() {
    let disk = MemDisk::new();
    let mut store = FileStore::new(disk.process(), Access::Append);
    let mut write = |n, ops: &dyn Fn(&State) -> Vec<Op>| {
        let state = store.prepare(writing(n)).expect("sound").clone();
        assert!(matches!(store.append_if(writing(n), &ops(&state)).expect("sound"), Appended::Valid { .. }));
        store.commit().expect("sound");
    };
    let ask = |who: &'static str, lane: &'static str, tree: &'static str, n| {
        move |state: &State| wait(state, &waiting(who, lane, &[tree]), Evidence::at(clock(n)), n, None)
    };
    write(2, &ask("ann", "of-ann", "a/**", 2));
    write(3, &ask("bob", "of-bob", "a/**", 3));
    write(4, &ask("cid", "of-cid", "a/**", 4));
    write(5, &|state| vec![release_of(state.live.iter().next().expect("ann's"))]);
    write(6, &|state| {
        let asked = Request { ticket: Some(ticket(3)), ..waiting("bob", "of-bob", &["a/**"]) };
        wait(state, &asked, Evidence::at(clock(6)), 6, None)
    });
    // The record with bob's ticket rots.
    let name = segment::name(Seq::FIRST);
    let bytes = disk.bytes(&name).expect("a segment");
    let line = bytes.split(|&b| b == b'\n').take(2).map(|line| line.len() + 1).sum::<usize>();
    disk.flip(&name, 8 * (line + 40));
    repair::repair(&disk.process(), &operator(9)).expect("the disk works").expect("it is damaged");
    let state = load(disk.process()).expect("repaired");
    assert!(state.live.in_lane(&common::lane("of-bob"), None).is_some(), "what is proven is kept");
    assert!(state.waiters.is_empty());
}

/// The next write of a random life with a line in it.
fn random_ops(state: &State, n: u64, rng: &mut Rng) -> Vec<Op> {
    let place = rng.below(state.waiters.len().max(1));
    let waiter = state.waiters.iter().nth(place).cloned();
    let mut evidence = Evidence::at(clock(n));
    let alive = [Liveness::Yes, Liveness::Yes, Liveness::Unknown, Liveness::No];
    evidence.tickets = (state.waiters.iter())
        .map(|waiter| TicketObservation {
            ticket: waiter.ticket,
            alive: alive[rng.below(4)],
            why: "seen".into(),
        })
        .collect();
    match (rng.below(10), waiter, state.live.iter().nth(rng.below(state.live.len().max(1)))) {
        (0..3, _, Some(lease)) => vec![release_of(lease)],
        (3, Some(waiter), _) => {
            let why = [WhyCancelled::Cancelled, WhyCancelled::Timeout][rng.below(2)];
            vec![cancel_of(waiter.ticket.get(), why)]
        }
        (4..7, Some(waiter), _) => {
            let asked = Request { ticket: Some(waiter.ticket), ..waiter.request };
            wait(state, &asked, evidence, n, None)
        }
        _ => {
            let who = ["ann", "bob", "eve"][rng.below(3)];
            let tree = format!("{}/{}/**", ["a", "b", "**"][rng.below(3)], rng.below(3));
            let mut asked = waiting(who, &format!("lane{n}"), &[&tree]);
            asked.waits = !rng.one_in(4);
            wait(state, &asked, evidence, n, Some(5 + rng.below(30) as u64))
        }
    }
}

#[test]
fn a_random_life_in_a_line_comes_out_the_same_and_is_decided_again_the_same() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        let mut store = FileStore::new(disk.process(), Access::Append);
        for n in 1..80u64 {
            let state = store.prepare(writing(n)).expect("sound").clone();
            let ops = random_ops(&state, n, &mut rng);
            assert!(matches!(store.append_if(writing(n), &ops).expect("sound"), Appended::Valid { .. }));
            store.commit().expect("sound");
            let after = load(disk.process());
            let after = after.unwrap_or_else(|error| panic!("seed {seed}, write {n}: {error}"));
            if let Some(Op::Acquire(grant)) = ops.last() {
                assert_not_overtaken(&state, &grant.request, &grant.evidence, n, seed);
            }
            for op in &ops {
                if let Op::Cancel(cancel) = op {
                    seen.insert(format!("{:?}", cancel.why));
                }
            }
            if rng.one_in(9) {
                assert!(store.seal(writing(n)).expect("sound"), "seed {seed}");
                assert_eq!(load(disk.process()).expect("sound"), after, "seed {seed}");
            }
        }
        let present = load(disk.process()).expect("sound");
        let (replayed, again) = replay(&disk);
        assert_eq!((replayed, again.differences), (present, vec![]), "seed {seed}");
        assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "seed {seed}");
    }
    let all = ["Cancelled", "Dead", "Expired", "Stalled", "Timeout"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all, "the lives were worth it");
}

fn assert_not_overtaken(before: &State, request: &Request, evidence: &Evidence, n: u64, seed: u64) {
    let first = nearest(question(before, request, evidence, n));
    assert!(first.is_none(), "seed {seed}, write {n}: {first:?} was overtaken by {request:?}");
}

#[test]
fn an_edited_reason_of_a_cancel_or_refusal_of_a_wait_is_found_out() {
    let mut state = one_waits();
    let lease = state.live.iter().next().expect("ann's").clone();
    state.apply(&record(4, release_of(&lease))).expect("legal");
    let asked = waiting("cid", "of-cid", &["a/x"]);
    let mut evidence = Evidence::at(clock(5));
    evidence.tickets = vec![TicketObservation { ticket: ticket(3), alive: Liveness::No, why: "gone".into() }];
    let grant = wait(&state, &asked, evidence, 5, None);
    let first =
        wait(&State::default(), &waiting("ann", "of-ann", &["a/**"]), Evidence::at(clock(2)), 2, None);
    let mut held = State::default();
    held.apply(&record(2, first[0].clone())).expect("legal");
    let waits = wait(&held, &waiting("bob", "of-bob", &["a/**"]), Evidence::at(clock(3)), 3, Some(60));
    let (root, head) = common::genesis();
    let mut lines = vec![root];
    let mut head = head;
    for (n, ops) in [(2, first), (3, waits), (4, vec![release_of(&lease)]), (5, grant)] {
        let (more, last) = lines_after(head, n, &ops);
        lines.extend(more);
        head = last;
    }
    let differences = |lines: &[String]| {
        let mut again = Redecider::default();
        let text: String = lines.concat();
        let read = Segment::read_with(Seq::FIRST, text.as_bytes(), |event| {
            again.take(&event);
            Ok(())
        });
        read.expect("its checksums are right");
        again.differences.into_iter().map(|difference| difference.seq.get()).collect::<Vec<_>>()
    };
    assert_eq!(differences(&lines), [] as [u64; 0]);
    let mut edited = lines.clone();
    // Without what was seen of its process the ticket stands; then the grant past it was none either.
    edited[4] = forged(&lines[4], "\"alive\":\"no\"", "\"alive\":\"unknown\"");
    edited.truncate(5);
    assert_eq!(differences(&edited), [5]);
    let mut edited = lines.clone();
    edited[2] = forged(&lines[2], "lease 2, owner `ann`", "lease 2, owner `eve`");
    edited.truncate(3);
    assert_eq!(differences(&edited), [3]);
}
