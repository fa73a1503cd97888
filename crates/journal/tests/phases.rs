//! Phases, deferrals and reclaims in the journal: what they amount to, what a seal carries on, and that the word of a
//! sweep is decided again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::ops::ControlFlow;

use arbiter::evidence::{Liveness, Observation, ProcessIdentity, ProcessReport};
use arbiter::lease::Lease;
use arbiter::phase::PhaseName;
use arbiter::reap::{Look, Tier};
use arbiter::request::Note;
use arbiter::seq::{Fence, LeaseId};
use arbiter::time::Span;
use common::{Client, Told, clock, heartbeat_of, load, owner, request, seq, time, writing};
use journal::disk::{Access, Dir, Disk, Name};
use journal::history::{Redecider, walk};
use journal::record::{Adopt, Defer, Op, PhaseChange, Record, Scavenge};
use journal::state::State;
use journal::store::{FileStore, Store};
use testkit::disk::{Keep, MemDisk};

fn phase_of(lease: &Lease, phase: Option<&str>, budget_s: u64, n: u64) -> Op {
    Op::Phase(Box::new(PhaseChange {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        phase: phase.map(|name| PhaseName::new(name).unwrap()),
        budget: phase.map(|_| Span::from_s(budget_s)),
        clock: clock(n),
    }))
}

fn nothing_seen(lease: &Lease) -> Observation {
    Observation { lease: lease.lease, alive: Liveness::Unknown, processes: Vec::new() }
}

fn defer_of(lease: &Lease, until_s: u64, n: u64) -> Op {
    Op::Defer(Box::new(Defer {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        why: Note::new("it is finalizing").unwrap(),
        until: time(until_s),
        by: owner("eve"),
        clock: clock(n),
        observed: nothing_seen(lease),
    }))
}

fn reclaim_of(lease: &Lease, tier: Tier, observed: Observation, earlier: Option<Look>, n: u64) -> Op {
    Op::Scavenge(Box::new(Scavenge {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        why: tier.standing(),
        by: owner("eve"),
        forced: None,
        clock: clock(n),
        observed: Some(observed),
        tier: Some(tier),
        earlier,
    }))
}

/// A store in which ann holds `src/**`, and her lease.
fn store() -> (MemDisk, Lease) {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    let Told::Granted(seq) = ann.acquire(1, "api", &["src/**"]).unwrap() else { panic!("it is free") };
    let disk = disk.power_cut(Keep::All);
    let lease = load(disk.process()).unwrap().live.get(LeaseId::from(seq)).cloned().unwrap();
    (disk, lease)
}

fn write(disk: &MemDisk, n: u64, op: Op) {
    Client::new(disk.process(), "eve").write(n, &[op]).unwrap().unwrap();
}

fn decided_again(disk: &MemDisk) -> Vec<(String, String)> {
    let mut again = Redecider::default();
    walk(&disk.process(), |event| {
        again.take(event);
        ControlFlow::Continue(())
    })
    .unwrap();
    again.differences.into_iter().map(|found| (found.recorded, found.decided)).collect()
}

#[test]
fn a_phase_counts_from_its_first_entry_and_a_beat_changes_nothing_about_it() {
    let (disk, lease) = store();
    write(&disk, 5, phase_of(&lease, Some("finalizing"), 60, 5));
    write(&disk, 6, defer_of(&lease, 65, 6));
    write(&disk, 7, heartbeat_of(&lease, 7));
    write(&disk, 8, phase_of(&lease, Some("finalizing"), 90, 8));
    let phase = |disk: &MemDisk| load(disk.process()).unwrap().live.get(lease.lease).unwrap().phase.clone();
    let entered = phase(&disk).unwrap();
    assert_eq!((entered.since, &entered.clock), (time(5), &Some(clock(5))));
    assert_eq!((entered.budget, entered.deferred_at), (Some(Span::from_s(90)), Some(time(6))));
    // Over, and begun again: that is another one.
    write(&disk, 9, phase_of(&lease, None, 0, 9));
    assert_eq!(phase(&disk), None);
    write(&disk, 10, phase_of(&lease, Some("finalizing"), 60, 10));
    let begun = phase(&disk).unwrap();
    assert_eq!((begun.since, begun.deferred_at), (time(10), None));
}

#[test]
fn a_phase_goes_with_the_lease_to_who_adopts_it_and_the_former_holder_cannot_end_it() {
    let (disk, lease) = store();
    write(&disk, 5, phase_of(&lease, Some("finalizing"), 60, 5));
    let adopt = Adopt {
        lane: lease.lane.clone(),
        owner: owner("bob"),
        from: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        clock: clock(6),
        processes: Vec::new(),
    };
    write(&disk, 6, Op::Adopt(Box::new(adopt)));
    let mut state: State = load(disk.process()).unwrap();
    let adopted = state.live.get(lease.lease).cloned().unwrap();
    assert_eq!(adopted.phase.as_ref().unwrap().since, time(5), "adopting restarts no ceiling");
    assert_ne!(adopted.fence, lease.fence);
    let late = Record { seq: seq(9), ts: time(9), nonce: 9, op: phase_of(&lease, None, 0, 9) };
    assert!(state.apply(&late).unwrap_err().contains("fence"));
    let later = Lease { fence: Fence::from(seq(99)), ..lease };
    let never = Record { seq: seq(9), ts: time(9), nonce: 9, op: defer_of(&later, 65, 9) };
    assert!(state.apply(&never).is_err());
    assert_eq!(state.live.get(adopted.lease), Some(&adopted));
}

#[test]
fn a_seal_carries_phases_and_counters_on() {
    let (disk, lease) = store();
    write(&disk, 5, phase_of(&lease, Some("finalizing"), 60, 5));
    write(&disk, 6, defer_of(&lease, 65, 6));
    let mut bob = Client::new(disk.process(), "bob");
    let Told::Granted(other) = bob.acquire(7, "other", &["other"]).unwrap() else { panic!("it is free") };
    let other = load(disk.process()).unwrap().live.get(LeaseId::from(other)).cloned().unwrap();
    write(&disk, 9_000, reclaim_of(&other, Tier::Exited, nothing_seen(&other), None, 9_000));
    let before = load(disk.process()).unwrap();
    assert_eq!((before.counters.deferrals, before.counters.reclaims.exited), (1, 1));
    assert_eq!((before.counters.expired, before.counters.takeovers()), (1, 0));
    FileStore::new(disk.process(), Access::Append).seal(writing(9_001)).unwrap();
    let after = load(disk.process()).unwrap();
    assert_eq!((&after.live, &after.counters), (&before.live, &before.counters));
    assert!(after.live.get(lease.lease).unwrap().phase.is_some());
}

/// A line that is no record may come between the sealer's look and its seal. What the seal says of such lines is then
/// less than what a reader counts, and that is no contradiction.
#[test]
fn a_seal_that_has_missed_a_void_or_torn_line_is_no_damage() {
    let (disk, _) = store();
    let loaded = disk.power_cut(Keep::All);
    // Two who loaded the same: the second is void.
    let mut late = Client::new(disk.process(), "late");
    late.store.prepare(writing(2)).unwrap();
    let mut sealer = FileStore::new(disk.process(), Access::Append);
    sealer.prepare(writing(2)).unwrap();
    Client::new(disk.process(), "bob").acquire(2, "b", &["b"]).unwrap();
    assert_eq!(late.acquire_as_loaded(2, "c", &["c"]).unwrap(), Told::Lost);
    let mut store = FileStore::new(disk.process(), Access::Read);
    store.load().unwrap();
    assert_eq!(store.segment().unwrap().counters().void, 1);
    assert_eq!(store.segment().unwrap().state.counters.void, 0, "it is no record");
    FileStore::new(disk.process(), Access::Append).seal(writing(3)).unwrap();
    assert_eq!(load(disk.process()).unwrap().counters.void, 1, "the seal carries it on");

    // The seal of one who looked before the void line was there.
    let disk = loaded;
    let mut early = FileStore::new(disk.process(), Access::Append);
    early.prepare(writing(2)).unwrap();
    let unseen = early.segment().unwrap().state.checkpoint(true);
    let (name, file) = {
        let name = Name::new(Dir::Journal, "00000000000000000001.jsonl");
        let file = disk.process().open(&name, Access::Append).unwrap().unwrap();
        (name, file)
    };
    disk.process().append(&file, &name, b"{\"seq\":9,\"ts~\n").unwrap();
    let mut store = FileStore::new(disk.process(), Access::Append);
    store.prepare(writing(3)).unwrap();
    assert_eq!(store.segment().unwrap().counters().torn, 1);
    store.append_if(writing(3), &[Op::Checkpoint(Box::new(unseen))]).unwrap();
    store.commit().unwrap();
    assert_eq!(load(disk.process()).unwrap().live.len(), 1);
}

fn gone(process: &ProcessIdentity, lease: &Lease) -> Observation {
    let report = ProcessReport { process: process.clone(), alive: Liveness::No, why: "gone".into() };
    Observation { lease: lease.lease, alive: Liveness::No, processes: vec![report] }
}

/// A store in which ann holds a lease that is bound to a process; the lease and what was seen of its process later.
fn bound() -> (MemDisk, Lease, Observation) {
    let process =
        ProcessIdentity { pid: 7, start: 1, boot: "b0071d".into(), pidns: 1, host: "h".into(), role: None };
    let mut asked = request("ann", "api", &["src/**"]);
    asked.processes = vec![process.clone()];
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    let state = ann.store.prepare(writing(1)).unwrap().clone();
    let evidence = arbiter::evidence::Evidence::at(clock(1));
    let (_, ops) = common::decide(&state, &asked, evidence, time(1));
    let at = ann.write(1, &ops).unwrap().unwrap();
    let disk = disk.power_cut(Keep::All);
    let lease = load(disk.process()).unwrap().live.get(LeaseId::from(at)).cloned().unwrap();
    let seen = gone(&process, &lease);
    (disk, lease, seen)
}

#[test]
fn what_a_sweep_said_comes_out_the_same_again() {
    let (disk, lease, seen) = bound();
    let earlier = Look { clock: clock(3), observed: seen.clone() };
    write(&disk, 4, reclaim_of(&lease, Tier::Dead, seen, Some(earlier), 4));
    assert_eq!(decided_again(&disk), []);

    let (disk, lease) = store();
    write(&disk, 5, phase_of(&lease, Some("finalizing"), 9_000, 5));
    write(&disk, 8_000, defer_of(&lease, 9_005, 8_000));
    write(&disk, 9_006, reclaim_of(&lease, Tier::Ceiling, nothing_seen(&lease), None, 9_006));
    assert_eq!(decided_again(&disk), []);
}

#[test]
fn what_the_evidence_does_not_bear_is_told_apart() {
    // One look alone, a look without the process, a wrong tier, a tier too early.
    let (disk, lease, seen) = bound();
    write(&disk, 4, reclaim_of(&lease, Tier::Dead, seen.clone(), None, 4));
    assert_eq!(decided_again(&disk), [("dead (dead)".into(), "kept".into())]);

    let (disk, lease, seen) = bound();
    let blind = Look { clock: clock(3), observed: nothing_seen(&lease) };
    write(&disk, 4, reclaim_of(&lease, Tier::Dead, seen, Some(blind), 4));
    assert_eq!(decided_again(&disk), [("dead (dead)".into(), "kept".into())]);

    let (disk, lease) = store();
    write(&disk, 9_000, reclaim_of(&lease, Tier::Ceiling, nothing_seen(&lease), None, 9_000));
    assert_eq!(decided_again(&disk), [("ceiling (expired)".into(), "exited (expired)".into())]);

    let (disk, lease) = store();
    write(&disk, 5, phase_of(&lease, Some("finalizing"), 9_000, 5));
    write(&disk, 8_000, reclaim_of(&lease, Tier::Exited, nothing_seen(&lease), None, 8_000));
    assert_eq!(decided_again(&disk), [("exited (expired)".into(), "deferred".into())]);

    let (disk, lease) = store();
    write(&disk, 5, defer_of(&lease, 9_005, 5));
    let [(recorded, decided)] = &decided_again(&disk)[..] else { panic!("it was not waited for") };
    assert!(recorded.starts_with("deferred until") && decided == "kept", "{recorded} {decided}");
}
