//! Random lives of a whole store: what it amounts to does not depend on how often it was compacted, and every
//! decision on record comes out the same again.

mod common;

use std::collections::BTreeSet;

use arbiter::evidence::{Evidence, Liveness, Observation, ProcessIdentity, Role};
use arbiter::lease::{Lease, Standing};
use arbiter::policy::Policy;
use arbiter::request::{Note, Request, RequestId};
use arbiter::seq::Seq;
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use common::{clock, decide, heartbeat_of, lane, load, owner, release_of, replay, request, time, writing};
use journal::disk::Access;
use journal::history::{Keep, Redecider, prune, survey};
use journal::record::{Adopt, Attach, Halt, Op, PolicyChange, Record, Scavenge};
use journal::segment::{self, Segment};
use journal::state::{ANSWERS_MAX, State};
use journal::store::{Appended, FileStore, Store};
use testkit::disk::MemDisk;
use testkit::rng::Rng;

fn process(n: u64) -> ProcessIdentity {
    ProcessIdentity { pid: 100, start: n, boot: "b0071d".into(), pidns: 1, host: "h1".into(), role: None }
}

/// The next write of a random life: legal, because the arbiter decides it.
fn random_ops(state: &State, n: u64, rng: &mut Rng) -> Vec<Op> {
    let some_lease = |rng: &mut Rng| -> Option<Lease> {
        let at = rng.below(state.live.len().max(1));
        state.live.iter().nth(at).cloned()
    };
    match (rng.below(14), some_lease(rng)) {
        (0, Some(lease)) => vec![release_of(&lease)],
        (1, Some(lease)) => vec![heartbeat_of(&lease, n)],
        (2, Some(lease)) => vec![Op::Adopt(Box::new(Adopt {
            lane: lease.lane.clone(),
            owner: owner("dan"),
            from: lease.owner.clone(),
            lease: lease.lease,
            fence: lease.fence,
            clock: clock(n),
            processes: vec![process(n)],
        }))],
        (11, Some(lease)) => vec![Op::Attach(Box::new(Attach {
            lane: lease.lane.clone(),
            owner: lease.owner.clone(),
            lease: lease.lease,
            fence: lease.fence,
            clock: clock(n),
            processes: vec![ProcessIdentity { role: Some(Role::Worker), ..process(n) }],
        }))],
        (3, lease) => vec![Op::Halt(Box::new(Halt {
            handle: Note::new("run").expect("text"),
            owner: owner("ann"),
            lane: lease.map(|lease| lease.lane),
            lease: None,
            command: None,
            why: None,
        }))],
        (4, _) => vec![common::spawn("coming"), Op::Unknown("NEWER".into())],
        (6, Some(lease)) => {
            let alive = [Liveness::Yes, Liveness::No, Liveness::Unknown][rng.below(3)];
            vec![unlock_of(state, &lease, n, alive)]
        }
        (5, _) => {
            let ttl = Span::from_s(10 + rng.below(50) as u64);
            let policy = Policy { ttl: Some(ttl), grace: Some(Span::from_s(3)), ..Policy::default() };
            vec![Op::Policy(Box::new(PolicyChange { policy }))]
        }
        (_, _) => {
            let who = ["ann", "bob", "eve"][rng.below(3)];
            let where_ = format!("{}/{}/**", ["a", "b", "**"][rng.below(3)], rng.below(6));
            let mut asked: Request = request(who, &format!("lane{}", rng.below(9)), &[&where_]);
            if rng.one_in(2) {
                asked.request_id = RequestId::new(format!("req{n}")).ok();
            }
            if rng.one_in(3) {
                asked.processes = vec![process(n)];
            }
            asked.force = rng.one_in(5);
            let mut evidence = Evidence::at(clock(n));
            let bound = state.live.iter().filter(|lease| !lease.processes.is_empty());
            evidence.observed = bound
                .map(|lease| {
                    let alive = [Liveness::Yes, Liveness::No, Liveness::Unknown][rng.below(3)];
                    Observation { lease: lease.lease, alive, processes: Vec::new() }
                })
                .collect();
            decide(state, &asked, evidence, time(n)).1
        }
    }
}

/// Ends a lease as an operator does: by force where it stands.
fn unlock_of(state: &State, lease: &Lease, n: u64, alive: Liveness) -> Op {
    let why = lease.standing(alive, state.policy.grace_of(lease), time(n), &clock(n));
    let forced = (why == Standing::Held).then(|| Note::new("it is in my way").expect("text"));
    Op::Scavenge(Box::new(Scavenge {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        why,
        by: owner("eve"),
        forced,
        clock: clock(n),
        observed: Some(Observation { lease: lease.lease, alive, processes: Vec::new() }),
        tier: None,
        earlier: None,
    }))
}

#[test]
fn a_random_life_comes_out_the_same_through_compaction_and_pruning_and_is_decided_again_the_same() {
    let (mut decisions, mut forced) = (0, 0);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        let mut store = FileStore::new(disk.process(), Access::Append);
        let mut last = Seq::FIRST;
        let mut fences = BTreeSet::new();
        for n in 1..60u64 {
            let state = store.prepare(writing(n)).expect("sound").clone();
            let ops = random_ops(&state, n, &mut rng);
            let told = store.append_if(writing(n), &ops).expect("sound");
            let Appended::Valid { first, head } = told else { panic!("seed {seed}: nobody else is here") };
            store.commit().expect("sound");
            assert!(first > last, "seed {seed}: numbers grow");
            last = head.seq;
            let after =
                load(disk.process()).unwrap_or_else(|error| panic!("seed {seed}, write {n}: {error}"));
            for lease in after.live.iter().filter(|lease| lease.fence.get() >= first.get()) {
                assert!(fences.insert(lease.fence), "seed {seed}: fence {} twice", lease.fence);
                assert_eq!(fences.last(), Some(&lease.fence), "seed {seed}: fences grow");
            }
            if rng.one_in(9) {
                assert!(store.seal(writing(n)).expect("sound"), "seed {seed}");
                assert_eq!(
                    load(disk.process()).expect("sound"),
                    after,
                    "seed {seed}: replay(compact(E)) = replay(E)"
                );
                last = store.head().expect("loaded").seq;
            }
        }
        let present = load(disk.process()).expect("sound");
        let (replayed, again) = replay(&disk);
        assert_eq!(replayed, present, "seed {seed}");
        assert_eq!(again.differences, [], "seed {seed}");
        decisions += again.decisions;
        assert_eq!(again.forced, present.counters.forces, "seed {seed}");
        forced += again.forced;
        prune(&disk.process(), Keep::None, time(100)).expect("sound");
        let (replayed, again) = replay(&disk);
        assert_eq!((replayed, again.differences), (present, Vec::new()), "seed {seed}: pruned");
        assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "seed {seed}");
    }
    assert!(decisions > 500, "{decisions} decisions were made again");
    assert!(forced > 20, "{forced} of them were forced");
}

/// Lines whose checksums and predecessors are made right again, from the first on.
fn chained_again(lines: &[String]) -> String {
    let mut prev: Option<String> = None;
    let mut text = String::new();
    for line in lines {
        let mut covered = line[..line.rfind(",\"crc\":").expect("a record")].to_owned();
        if let Some(prev) = &prev {
            let at = covered.len() - 9;
            covered.replace_range(at..at + 8, prev);
        }
        let crc = format!("{:08x}", crc32fast::hash(covered.as_bytes()));
        text.push_str(&format!("{covered},\"crc\":\"{crc}\"}}\n"));
        prev = Some(crc);
    }
    text
}

/// Feature A15: whoever edits a verdict and makes every checksum right is still found out.
#[test]
fn no_byte_of_a_recorded_verdict_can_be_edited_without_a_difference() {
    let disk = MemDisk::new();
    let mut store = FileStore::new(disk.process(), Access::Append);
    let expire = |state: &State| {
        decide(state, &request("bob", "web", &["src/x"]), Evidence::at(clock(9000)), time(9000)).1
    };
    for n in 1..4u64 {
        let state = store.prepare(writing(n)).expect("sound").clone();
        let ops = match n {
            1 => decide(&state, &request("ann", "api", &["src/**"]), Evidence::at(clock(1)), time(1)).1,
            2 => decide(&state, &request("bob", "web", &["src/x"]), Evidence::at(clock(2)), time(2)).1,
            _ => expire(&state),
        };
        let n = if n == 3 { 9000 } else { n };
        assert!(matches!(store.append_if(writing(n), &ops).expect("sound"), Appended::Valid { .. }));
    }
    let name = segment::name(Seq::FIRST);
    let text = String::from_utf8(disk.bytes(&name).expect("there")).expect("text");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(chained_again(&lines), text, "the edit below is the only one");
    assert_eq!(replay(&disk).1.differences, []);
    assert_eq!(lines.len(), 5, "genesis, grant, refusal, eviction, grant");

    let mut tried = 0;
    for (i, line) in lines.iter().enumerate() {
        let (from, to) = match line.find("\"verdict\":") {
            Some(at) => (at + 10, line.find(",\"nonce\"").expect("a frame")),
            None if line.contains("SCAVENGE") => {
                let at = line.find("\"why\":\"").expect("why") + 7;
                (at, at + 7)
            }
            None => continue,
        };
        for at in from..to {
            if !line.is_char_boundary(at) || !line.is_char_boundary(at + 1) {
                continue;
            }
            for new in ["x", "0", " "] {
                let mut edited = lines.clone();
                edited[i].replace_range(at..=at, new);
                if edited[i] == *line {
                    continue;
                }
                let mut again = Redecider::default();
                let told = Segment::read_with(Seq::FIRST, chained_again(&edited).as_bytes(), |event| {
                    again.take(&event);
                    Ok(())
                });
                assert!(
                    told.is_err() || !again.differences.is_empty(),
                    "line {i}, byte {at} made {new:?}: {}",
                    edited[i]
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 1500, "{tried} edits");
}

/// The answers of live leases outlast any number of later ones; a grant's own answer is never the one that goes.
#[test]
fn the_answer_to_a_request_is_kept_while_its_lease_lives_and_lately_after() {
    let mut state = State::default();
    let mut n = 1u64;
    let mut ask = |state: &mut State, lane_name: &str, tree: &str, id: String| {
        n += 1;
        let mut asked = request("ann", lane_name, &[tree]);
        asked.request_id = RequestId::new(id).ok();
        let (_, ops) = decide(state, &asked, Evidence::at(clock(1)), time(1));
        let op = ops.into_iter().next_back().expect("a verdict");
        state.apply(&Record { seq: common::seq(n), ts: time(1), nonce: n, op }).expect("legal");
    };
    let id = |text: &str| RequestId::new(text).expect("text");
    for k in 0..ANSWERS_MAX + 20 {
        ask(&mut state, &format!("l{k}"), &format!("l{k}/**"), format!("grant{k}"));
        assert!(state.answer_to(&id(&format!("grant{k}"))).is_some(), "the newest answer is there, {k}");
    }
    ask(&mut state, "clash", "l0/x", "refusal".into());
    assert!(state.answer_to(&id("refusal")).is_some(), "a refusal among many live leases");
    for k in 0..3 * ANSWERS_MAX {
        ask(&mut state, "clash", "l0/x", format!("refusal{k}"));
    }
    for k in 0..ANSWERS_MAX + 20 {
        assert!(state.answer_to(&id(&format!("grant{k}"))).is_some(), "lease {k} lives");
    }
    assert!(state.answer_to(&id("refusal")).is_none(), "what is long ago is forgotten");
    // And through a checkpoint.
    assert_eq!(State::restore(state.checkpoint(true)).expect("sound"), state);
}

#[test]
fn a_record_that_cannot_have_happened_leaves_the_state_as_it_was() {
    let mut state = State::default();
    let (_, grant) = decide(&state, &request("ann", "api", &["src/**"]), Evidence::at(clock(1)), time(1));
    let record = |n, op| Record { seq: common::seq(n), ts: time(1), nonce: n, op };
    state.apply(&record(2, grant[0].clone())).expect("legal");
    let lease = state.live.in_lane(&lane("api"), None).expect("it lives").clone();
    let mut stranger = lease.clone();
    stranger.lease = arbiter::seq::LeaseId::from(common::seq(99));
    let mut wrong_fence = lease.clone();
    wrong_fence.fence = arbiter::seq::Fence::from(common::seq(99));
    for op in [
        grant[0].clone(),
        release_of(&stranger),
        release_of(&wrong_fence),
        heartbeat_of(&stranger, 3),
        heartbeat_of(&wrong_fence, 3),
    ] {
        let before = state.clone();
        assert!(state.apply(&record(3, op)).is_err());
        assert_eq!(state, before);
    }
}

/// An operation that a newer minor version knows may change what its checkpoint says; and an older one may have
/// written a checkpoint without knowing it.
#[test]
fn a_checkpoint_of_another_minor_version_is_taken_at_its_word_and_one_of_ours_is_not() {
    let (root, head) = common::genesis();
    let (_, grant) =
        decide(&State::default(), &request("ann", "api", &["src/**"]), Evidence::at(clock(1)), time(1));
    let (first, head) = common::lines_after(head, 1, &[grant[0].clone(), Op::Unknown("NEWER".into())]);
    for (format, sound) in [("1.1", false), ("1.0", true), ("1.2", true)] {
        let mut forgets = State::default().checkpoint(true);
        forgets.format = format.into();
        let (seal, _) = common::lines_after(head, 2, &[Op::Checkpoint(Box::new(forgets))]);
        let told = Segment::read(Seq::FIRST, [root.as_str(), &first.concat(), &seal[0]].concat().as_bytes());
        assert_eq!(told.is_ok(), sound, "{format}: {told:?}");
    }
    let mut repaired = State::default().checkpoint(true);
    repaired.repaired_after = Some(1);
    let (seal, _) = common::lines_after(head, 2, &[Op::Checkpoint(Box::new(repaired))]);
    let told = Segment::read(Seq::FIRST, [root.as_str(), &first.concat(), &seal[0]].concat().as_bytes());
    assert!(told.is_err(), "the excuse of a repair holds for a root alone");
}

/// A state in which ann holds `src/**` since the first second, bound to a process.
fn held_by_ann() -> (State, Lease) {
    let mut state = State::default();
    let mut asked = request("ann", "api", &["src/**"]);
    asked.processes = vec![process(1)];
    let (_, grant) = decide(&state, &asked, Evidence::at(clock(1)), time(1));
    take(&mut state, 2, grant[0].clone());
    let lease = state.live.in_lane(&lane("api"), None).expect("it lives").clone();
    (state, lease)
}

fn take(state: &mut State, n: u64, op: Op) {
    state.apply(&Record { seq: common::seq(n), ts: time(n), nonce: n, op }).expect("legal");
}

#[test]
fn who_ended_a_lease_by_force_and_why_outlives_a_checkpoint() {
    let (mut state, lease) = held_by_ann();
    let op = unlock_of(&state, &lease, 3, Liveness::Yes);
    take(&mut state, 3, op);
    assert!(state.live.is_empty());
    assert_eq!((state.counters.forces, state.counters.expired, state.counters.dead), (1, 0, 0));
    let again = State::restore(state.checkpoint(true)).expect("sound");
    assert_eq!(again, state);
    let ended = again.ended_lately().next().expect("it ended");
    assert_eq!((ended.lease, ended.evicted), (lease.lease, Some(Standing::Held)));
    assert_eq!(ended.by, Some(owner("eve")));
    assert_eq!(ended.forced.as_ref().map(Note::as_str), Some("it is in my way"));

    // Where it no longer stood, nobody had to insist.
    let (mut state, lease) = held_by_ann();
    let op = unlock_of(&state, &lease, 3, Liveness::No);
    take(&mut state, 3, op);
    assert_eq!((state.counters.forces, state.counters.dead), (0, 1));
    let ended = state.ended_lately().next().expect("it ended");
    assert_eq!((ended.evicted, &ended.forced), (Some(Standing::Dead), &None));
}

#[test]
fn a_checkpoint_from_before_force_was_counted_is_read() {
    let (state, _) = held_by_ann();
    let checkpoint = serde_json::to_value(state.checkpoint(true)).expect("it has JSON");
    assert_eq!(checkpoint["counters"].get("forces"), None, "so that the first journals keep their bytes");
    let old = serde_json::from_value(checkpoint).expect("a checkpoint");
    assert_eq!(State::restore(old), Ok(state));
}

#[test]
fn a_stop_decision_concerns_what_lives_then_and_outlives_a_checkpoint_and_an_adoption() {
    let halt = |lane_name: Option<&str>, lease| {
        Op::Halt(Box::new(Halt {
            handle: Note::new("run-7").expect("text"),
            owner: owner("eve"),
            lane: lane_name.map(lane),
            lease,
            command: Note::new("kill 7").ok(),
            why: Note::new("stuck").ok(),
        }))
    };
    let (unhalted, lease) = held_by_ann();
    for (op, concerns) in [
        (halt(None, Some(lease.lease)), true),
        (halt(Some("API"), None), true),
        (halt(None, None), false),
        (halt(Some("web"), None), false),
        (halt(None, Some(arbiter::seq::LeaseId::from(common::seq(99)))), false),
    ] {
        let mut state = unhalted.clone();
        take(&mut state, 3, op.clone());
        assert_eq!(state.counters.halts, 1);
        let mut state = State::restore(state.checkpoint(true)).expect("sound");
        let adopted = Op::Adopt(Box::new(Adopt {
            lane: lane("api"),
            owner: owner("dan"),
            from: owner("ann"),
            lease: lease.lease,
            fence: lease.fence,
            clock: clock(4),
            processes: Vec::new(),
        }));
        take(&mut state, 4, adopted);
        let held = state.live.get(lease.lease).expect("it lives").clone();
        assert_eq!((held.fence.get(), held.owner.as_str(), held.processes.len()), (4, "dan", 1));
        let said = held.halted.as_ref().map(|halted| {
            let text = |note: &Option<Note>| note.as_ref().map(|note| note.as_str().to_owned());
            (halted.handle.clone(), halted.at, halted.by.clone(), text(&halted.command), text(&halted.why))
        });
        let all = ("run-7".into(), time(3), Some(owner("eve")), Some("kill 7".into()), Some("stuck".into()));
        assert_eq!(said, concerns.then_some(all), "{op:?}");

        // The next one in the lane is another run.
        take(&mut state, 5, release_of(&held));
        let (_, grant) = decide(&state, &request("bob", "api", &["src/**"]), Evidence::at(clock(6)), time(6));
        take(&mut state, 6, grant[0].clone());
        assert_eq!(state.live.in_lane(&lane("api"), None).expect("it lives").halted, None);
    }
}

/// Feature A15 for evictions: what was seen decides again, and what an operator insisted on says so.
#[test]
fn an_eviction_is_judged_again_by_what_was_seen() {
    // (what was seen, at which second, what the record says, whether it says that it was forced, whether it differs)
    let cases = [
        (Liveness::No, 3, Standing::Dead, false, None),
        (Liveness::Unknown, 9_000, Standing::Expired, false, None),
        (Liveness::Yes, 3, Standing::Held, true, None),
        (Liveness::Yes, 9_000, Standing::Held, true, None),
        (Liveness::Yes, 3, Standing::Held, false, Some("held, and so not to be evicted")),
        (Liveness::Unknown, 3, Standing::Dead, false, Some("held, and so not to be evicted")),
        (Liveness::Yes, 9_000, Standing::Expired, false, Some("held, and so not to be evicted")),
        (Liveness::No, 9_000, Standing::Expired, false, Some("dead")),
        (Liveness::Unknown, 9_000, Standing::Held, true, Some("expired")),
        (Liveness::Unknown, 3, Standing::Expired, true, Some("held")),
    ];
    for (alive, at, why, forced, differs) in cases {
        let disk = MemDisk::new();
        let mut store = FileStore::new(disk.process(), Access::Append);
        let mut asked = request("ann", "api", &["src/**"]);
        asked.processes = vec![process(1)];
        let state = store.prepare(writing(1)).expect("sound").clone();
        let (_, grant) = decide(&state, &asked, Evidence::at(clock(1)), time(1));
        store.append_if(writing(1), &grant).expect("sound");
        let state = store.prepare(writing(at)).expect("sound").clone();
        let lease = state.live.in_lane(&lane("api"), None).expect("it lives");
        let Op::Scavenge(mut body) = unlock_of(&state, lease, at, alive) else { panic!("an eviction") };
        body.why = why;
        body.forced = forced.then(|| Note::new("so be it").expect("text"));
        store.append_if(writing(at), &[Op::Scavenge(body)]).expect("sound");
        let (_, again) = replay(&disk);
        let case = format!("{alive:?} at {at}, recorded as {why:?}, forced: {forced}");
        let found: Vec<&str> = again.differences.iter().map(|found| found.decided.as_str()).collect();
        assert_eq!(found, Vec::from_iter(differs), "{case}");
        assert_eq!((again.decisions, again.forced), (2, u64::from(forced)), "{case}");
    }
}

/// The first journals did not tell in a refusal how the leases in the way are labelled. That is no difference.
#[test]
fn a_refusal_in_the_first_wording_is_decided_again_the_same() {
    for (wording, same) in [("today's", true), ("the first", true), ("neither", false)] {
        let disk = MemDisk::new();
        let mut store = FileStore::new(disk.process(), Access::Append);
        let mut asked = request("ann", "api", &["src/**"]);
        asked.why = Note::new("a new endpoint").ok();
        asked.labels = serde_json::from_value(serde_json::json!({"team": "core"})).expect("labels");
        let state = store.prepare(writing(1)).expect("sound").clone();
        let (_, grant) = decide(&state, &asked, Evidence::at(clock(1)), time(1));
        store.append_if(writing(1), &grant).expect("sound");
        let state = store.prepare(writing(2)).expect("sound").clone();
        let (verdict, ops) =
            decide(&state, &request("bob", "web", &["src/x"]), Evidence::at(clock(2)), time(2));
        let Verdict::Refuse(told) = &verdict else { panic!("ann has it") };
        assert_eq!((&told.conflicts[0].why, told.conflicts[0].labels.len()), (&asked.why, 1));
        let Op::Refuse(mut refuse) = ops[0].clone() else { panic!("a refusal") };
        match wording {
            "the first" => {
                let Verdict::Refuse(first) = verdict.clone().without_labels() else { panic!("a refusal") };
                assert_ne!(first, *told);
                refuse.verdict = first;
            }
            "neither" => refuse.verdict.conflicts[0].labels.clear(),
            _ => {}
        }
        store.append_if(writing(2), &[Op::Refuse(refuse)]).expect("sound");
        assert_eq!(replay(&disk).1.differences.is_empty(), same, "{wording}");
    }
}
