//! An eviction, an adoption or an operator's unlock, and whatever else can be done with the same lease, one inside the
//! other at each disk call: what came second never counts beside what came first (safety.md, step S1.8).

mod common;

use std::sync::{Arc, Mutex};

use arbiter::evidence::Liveness;
use arbiter::lease::Standing;
use arbiter::request::Note;
use arbiter::seq::{LeaseId, Seq};
use common::script::scripted;
use common::{Client, Told, clock, heartbeat_of, load, owner, release_of, time, writing};
use journal::disk::Disk;
use journal::history::{Redecider, survey, walk};
use journal::record::{Adopt, Op, Scavenge};
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
    /// Somebody takes it over from ann.
    Adopt(&'static str),
    /// An operator ends it, by force where it stands.
    Unlock,
}

const ACTS: [Act; 7] = [
    Act::Evict("eve"),
    Act::Evict("bob"),
    Act::Beat,
    Act::Release,
    Act::Adopt("dan"),
    Act::Adopt("fay"),
    Act::Unlock,
];

impl Act {
    fn is_the_holders(self) -> bool {
        matches!(self, Act::Beat | Act::Release)
    }

    /// As it stands on record.
    fn word(self) -> &'static str {
        match self {
            Act::Evict(_) => "taken",
            Act::Beat => "beaten",
            Act::Release => "released",
            Act::Adopt(_) => "adopted",
            Act::Unlock => "unlocked",
        }
    }
}

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
    if let Act::Evict(who) = act {
        return Client::new(disk, who).acquire(LATE + n, who, &["src/x", "src/y/**"]).expect("sound");
    }
    let mut ann = Client::new(disk, "ann");
    let state = ann.store.prepare(writing(LATE + n)).expect("sound");
    let Some(held) = state.live.get(lease) else { return Told::Refused };
    if held.owner.as_str() != "ann" && act != Act::Unlock {
        return Told::Refused;
    }
    let op = match act {
        Act::Evict(_) | Act::Beat => heartbeat_of(held, LATE + n),
        Act::Release => release_of(held),
        Act::Adopt(heir) => Op::Adopt(Box::new(Adopt {
            lane: held.lane.clone(),
            owner: owner(heir),
            from: held.owner.clone(),
            lease,
            fence: held.fence,
            clock: clock(LATE + n),
            processes: Vec::new(),
        })),
        Act::Unlock => {
            let grace = state.policy.grace_of(held);
            let why = held.standing(Liveness::Unknown, grace, time(LATE + n), &clock(LATE + n));
            Op::Scavenge(Box::new(Scavenge {
                lane: held.lane.clone(),
                owner: held.owner.clone(),
                lease,
                fence: held.fence,
                why,
                by: owner("warden"),
                forced: (why == Standing::Held).then(|| Note::new("so be it").expect("text")),
                clock: clock(LATE + n),
                observed: None,
                tier: None,
                earlier: None,
            }))
        }
    };
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
            Op::Scavenge(body) if body.lease == lease => {
                fate.push((seq, if body.by.as_str() == "warden" { "unlocked" } else { "evicted" }));
            }
            Op::Adopt(body) if body.lease == lease => fate.push((seq, "adopted")),
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
fn an_eviction_an_adoption_or_an_unlock_and_whatever_overtakes_it_never_both_count() {
    let (whole, lease) = store();
    for (first, second) in ACTS.iter().flat_map(|first| ACTS.iter().map(move |second| (*first, *second))) {
        if first == second || (first.is_the_holders() && second.is_the_holders()) {
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
                assert!(fate.contains(&(*seq, act.word())), "{at}: {told:?}: {fate:?}");
            }
            let many = |what: &str| fate.iter().filter(|(_, is)| *is == what).count();
            for word in ACTS.map(Act::word) {
                let yes = |(act, told): &&(Act, Told)| act.word() == word && matches!(told, Told::Granted(_));
                assert_eq!(many(word), told.iter().filter(yes).count(), "{at}: {word}: {fate:?}");
            }
            assert!(
                many("evicted") + many("released") + many("unlocked") <= 1,
                "{at}: it ended twice: {fate:?}"
            );
            assert!(many("taken") <= 1, "{at}: two have its place: {fate:?}");
            assert!(many("adopted") <= 1, "{at}: two have it from one: {fate:?}");
            let place = |what: &str| fate.iter().position(|(_, is)| *is == what);
            let heard_of = place("beaten").or(place("adopted"));
            assert!(heard_of.is_none() || place("evicted").is_none(), "{at}: evicted all the same: {fate:?}");
            let last_of_anns = place("beaten").max(place("released"));
            if let (Some(adopted), Some(anns)) = (place("adopted"), last_of_anns) {
                assert!(anns < adopted, "{at}: who had it goes on: {fate:?}");
            }
            // One of them came first and had its way.
            assert!(told.iter().any(|(_, told)| matches!(told, Told::Granted(_))), "{at}: {told:?}");
            let state = load(disk.process()).expect("sound");
            assert!(state.live.iter().filter(|lease| lease.lane.as_str() != "other").count() <= 1, "{at}");
        }
        assert!(races > 0, "{first:?} and {second:?} never met");
    }
}
