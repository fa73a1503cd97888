//! An eviction and whatever else can be done with the same lease, one inside the other at each disk call: what came
//! second never counts beside what came first (safety.md, step S1.8).

mod common;

use std::sync::{Arc, Mutex};

use arbiter::seq::{LeaseId, Seq};
use common::script::scripted;
use common::{Client, Told, heartbeat_of, load, release_of, writing};
use journal::disk::Disk;
use journal::history::{Redecider, survey, walk};
use journal::record::Op;
use journal::store::{Appended, Store};
use testkit::disk::{Keep, MemDisk};

/// By now every lease of the first hour has expired.
const LATE: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Somebody who needs the place evicts the holder.
    Evict(&'static str),
    Beat,
    Release,
}

const ACTS: [Act; 4] = [Act::Evict("eve"), Act::Evict("bob"), Act::Beat, Act::Release];

/// A store in which ann holds `src/**`, and has not been heard of for long; her lease.
fn store() -> (MemDisk, LeaseId) {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    ann.acquire(1, "other", &["other/**"]).expect("sound");
    let Told::Granted(seq) = ann.acquire(2, "api", &["src/**"]).expect("sound") else { panic!("it is free") };
    (disk.power_cut(Keep::All), LeaseId::from(seq))
}

/// One attempt, as the shell makes it: `Refused` when the lease is no longer there to be used.
fn attempt(disk: impl Disk, act: Act, lease: LeaseId, n: u64) -> Told {
    let change = match act {
        Act::Evict(who) => {
            return Client::new(disk, who).acquire(LATE + n, who, &["src/x", "src/y/**"]).expect("sound");
        }
        Act::Beat => heartbeat_of,
        Act::Release => |lease: &_, _| release_of(lease),
    };
    let mut ann = Client::new(disk, "ann");
    let state = ann.store.prepare(writing(LATE + n)).expect("sound");
    let Some(held) = state.live.get(lease) else { return Told::Refused };
    let op = change(held, LATE + n);
    match ann.store.append_if(writing(LATE + n), &[op]).expect("sound") {
        Appended::Conflict => Told::Lost,
        Appended::Valid { head, .. } => {
            ann.store.commit().expect("sound");
            Told::Granted(head.seq)
        }
    }
}

/// What the journal says became of the lease, in order.
fn fate(disk: &MemDisk, lease: LeaseId) -> Vec<(Seq, &'static str)> {
    let (mut fate, mut redecider) = (Vec::new(), Redecider::default());
    let walked = walk(&disk.process(), |event| {
        redecider.take(event);
        let seq = event.record.seq;
        match &event.record.op {
            Op::Scavenge(body) if body.lease == lease => fate.push((seq, "evicted")),
            Op::Release(body) if body.lease == lease => fate.push((seq, "released")),
            Op::Heartbeat(body) if body.lease == lease => fate.push((seq, "beaten")),
            Op::Acquire(_) if seq.get() > lease.get() => fate.push((seq, "taken")),
            _ => {}
        }
        std::ops::ControlFlow::Continue(())
    });
    walked.expect("sound");
    assert_eq!(redecider.differences, []);
    fate
}

#[test]
fn an_eviction_and_a_beat_a_release_or_another_eviction_of_the_same_lease_never_both_count() {
    let (whole, lease) = store();
    for (first, second) in ACTS.iter().flat_map(|first| ACTS.iter().map(move |second| (*first, *second))) {
        if first == second || !matches!((first, second), (Act::Evict(_), _) | (_, Act::Evict(_))) {
            continue;
        }
        let calls = {
            let process = scripted(&whole.copy());
            attempt(process.clone(), first, lease, 1);
            process.gate().calls()
        };
        let mut races = 0;
        for k in 0..calls {
            let at = format!("{first:?} overtaken before call {k} of {calls} by {second:?}");
            let disk = whole.copy();
            let (slow, fast) = (scripted(&disk), disk.process());
            let seconds = Arc::new(Mutex::new(None));
            let slot = Arc::clone(&seconds);
            slow.gate().before(k, move || {
                *slot.lock().expect("free") = Some(attempt(fast, second, lease, 2));
            });
            let told = attempt(slow, first, lease, 1);
            let seconds = seconds.lock().expect("free").take().expect("it went");
            races += usize::from(told == Told::Lost || seconds == Told::Lost);
            let told = [(first, told), (second, seconds)];

            let fate = fate(&disk, lease);
            assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "{at}");
            // Every yes is on record and nothing else is; an eviction and its grant are one write.
            for (act, told) in &told {
                let Told::Granted(seq) = told else { continue };
                let what = match act {
                    Act::Evict(_) => "taken",
                    Act::Beat => "beaten",
                    Act::Release => "released",
                };
                assert!(fate.contains(&(*seq, what)), "{at}: {told:?}: {fate:?}");
            }
            let many = |what: &str| fate.iter().filter(|(_, is)| *is == what).count();
            let yes = |is: fn(&Act) -> bool| {
                told.iter().filter(|(act, told)| is(act) && matches!(told, Told::Granted(_))).count()
            };
            assert_eq!(many("taken"), yes(|act| matches!(act, Act::Evict(_))), "{at}: {fate:?}");
            assert_eq!(many("beaten"), yes(|act| *act == Act::Beat), "{at}: {fate:?}");
            assert_eq!(many("released"), yes(|act| *act == Act::Release), "{at}: {fate:?}");
            assert!(many("evicted") + many("released") <= 1, "{at}: it ended twice: {fate:?}");
            assert!(many("taken") <= 1, "{at}: two have its place: {fate:?}");
            let ended = fate.iter().position(|(_, is)| matches!(*is, "evicted" | "released"));
            let beaten = fate.iter().position(|(_, is)| *is == "beaten");
            assert!(beaten.is_none() || ended.is_none(), "{at}: evicted beside a beat: {fate:?}");
            // One of them came first and had its way.
            assert!(told.iter().any(|(_, told)| matches!(told, Told::Granted(_))), "{at}: {told:?}");
            let state = load(disk.process()).expect("sound");
            assert!(state.live.iter().filter(|lease| lease.lane.as_str() != "other").count() <= 1, "{at}");
        }
        assert!(races > 0, "{first:?} and {second:?} never met");
    }
}
