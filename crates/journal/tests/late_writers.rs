//! Writers that nothing keeps apart. Whatever the order of their disk calls, one of those who collide wins.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arbiter::seq::Seq;
use common::script::scripted;
use common::turns::play;
use common::{Client, Told, lanes, load, spawn, time, writing};
use journal::JournalError;
use journal::disk::{Access, Dir};
use journal::history::{Keep, prune, survey};
use journal::line::{self, Stamp};
use journal::record;
use journal::segment;
use journal::store::{Appended, FileStore, Store, Writing};
use testkit::disk::{EIO, Fault, MemDisk, What};

/// A store with one grant in it.
fn store() -> MemDisk {
    let disk = MemDisk::new();
    Client::new(disk.process(), "first").acquire(1, "first", &["first/**"]).expect("sound");
    disk.copy()
}

/// Whoever was told yes has its lane, and nobody else has; the history is sound.
fn check(disk: &MemDisk, told: &[(&str, Told)], at: &str) {
    let state = load(disk.process()).unwrap_or_else(|error| panic!("{at}: {error}"));
    let granted: Vec<&str> =
        told.iter().filter(|(_, told)| matches!(told, Told::Granted(_))).map(|(name, _)| *name).collect();
    let live: Vec<String> = lanes(&state).into_iter().filter(|lane| lane != "first").collect();
    assert_eq!(live, granted, "{at}: {told:?}");
    let survey = survey(&disk.process()).expect("the disk works");
    assert_eq!(survey.damage, [], "{at}");
}

/// How many disk calls one attempt takes.
fn calls_of_one(disk: &MemDisk) -> usize {
    let mine = scripted(&disk.copy());
    Client::new(mine.clone(), "count").acquire(5, "count", &["src/**"]).expect("sound");
    mine.gate().calls()
}

#[test]
fn of_two_colliding_writers_one_wins_wherever_the_first_is_overtaken() {
    for disk in [store(), MemDisk::new()] {
        for k in 0..calls_of_one(&disk) {
            let disk = disk.copy();
            let (ann, bob) = (scripted(&disk), disk.process());
            let bobs = Arc::new(Mutex::new(None));
            let slot = Arc::clone(&bobs);
            ann.gate().before(k, move || {
                let told = Client::new(bob, "bob").acquire(7, "bob", &["src/**"]).expect("sound");
                *slot.lock().expect("free") = Some(told);
            });
            let anns = Client::new(ann, "ann").acquire(6, "ann", &["src/**"]).expect("sound");
            let bobs = bobs.lock().expect("free").take().expect("bob went");
            let told = [("ann", anns), ("bob", bobs)];
            let wins = told.iter().filter(|(_, told)| matches!(told, Told::Granted(_))).count();
            assert_eq!(wins, 1, "overtaken before call {k}: {told:?}");
            check(&disk, &told, &format!("overtaken before call {k}"));
        }
    }
}

#[test]
fn of_three_colliding_writers_one_wins_wherever_two_are_overtaken() {
    let disk = store();
    let calls = calls_of_one(&disk);
    for i in 0..calls {
        for j in 0..calls {
            let disk = disk.copy();
            let (ann, bob, eve) = (scripted(&disk), scripted(&disk), disk.process());
            let all = Arc::new(Mutex::new(Vec::new()));
            let (bobs, eves) = (Arc::clone(&all), Arc::clone(&all));
            bob.gate().before(j, move || {
                let told = Client::new(eve, "eve").acquire(8, "eve", &["src/**"]).expect("sound");
                eves.lock().expect("free").push(("eve", told));
            });
            ann.gate().before(i, move || {
                let told = Client::new(bob, "bob").acquire(7, "bob", &["src/**"]).expect("sound");
                bobs.lock().expect("free").push(("bob", told));
            });
            let told = Client::new(ann, "ann").acquire(6, "ann", &["src/**"]).expect("sound");
            let mut all = all.lock().expect("free").clone();
            all.push(("ann", told));
            let wins = all.iter().filter(|(_, told)| matches!(told, Told::Granted(_))).count();
            assert_eq!(wins, 1, "before calls {i} and {j}: {all:?}");
            check(&disk, &all, &format!("before calls {i} and {j}"));
        }
    }
}

#[test]
fn three_writers_in_any_order_of_their_disk_calls_make_one_history() {
    for seed in 0..400 {
        let disk = if seed % 2 == 0 { store() } else { MemDisk::new() };
        let told = play(seed, &disk, 3, |number, mine| {
            let name = ["ann", "bob", "eve"][number];
            let mut client = Client::new(mine, name);
            loop {
                let told = client.acquire(6 + number as u64, name, &["src/**"]);
                match told.unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
                    Told::Lost => {}
                    told => return (name, told),
                }
            }
        });
        let wins = told.iter().filter(|(_, told)| matches!(told, Told::Granted(_))).count();
        assert_eq!(wins, 1, "seed {seed}: {told:?}");
        check(&disk, &told, &format!("seed {seed}"));
    }
}

#[test]
fn writers_and_sealers_in_any_order_of_their_disk_calls_lose_nothing_and_raise_no_alarm() {
    for seed in 0..250 {
        let disk = store();
        let told = play(seed, &disk, 4, |number, mine| {
            let name = ["ann", "bob", "seal", "more"][number];
            let mut client = Client::new(mine, name);
            let mut told = Vec::new();
            for n in 0..3u64 {
                let at = 6 + number as u64 + 10 * n;
                if name == "seal" {
                    let sealed = client.store.seal(writing(at));
                    sealed.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    continue;
                }
                let lane = format!("{name}{n}");
                let answer = client.acquire(at, &lane, &[&format!("{lane}/**")]);
                if let Told::Granted(seq) = answer.unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
                    told.push((seq, lane));
                }
            }
            told
        });
        let mut granted: Vec<(Seq, String)> = told.into_iter().flatten().collect();
        granted.sort();
        let state = load(disk.process()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let live: Vec<(Seq, String)> = state
            .live
            .iter()
            .filter(|lease| lease.lane.as_str() != "first")
            .map(|lease| (common::seq(lease.lease.get()), lease.lane.to_string()))
            .collect();
        assert_eq!(live, granted, "seed {seed}");
        assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "seed {seed}");
    }
}

#[test]
fn a_sleeper_across_a_seal_gets_a_conflict_before_and_after_the_rotation_is_finished() {
    // `stop` is the call at which the sealer dies; the last one lets it finish.
    for stop in 0.. {
        let disk = store();
        let mut sleeper = Client::new(disk.process(), "ann");
        sleeper.store.prepare(writing(5)).expect("sound");
        let sealer = scripted(&disk);
        sealer.gate().fault_at(stop, Fault::Die);
        let sealed = FileStore::new(sealer.clone(), Access::Append).seal(writing(6));
        let has_seal = sealer.gate().log().iter().any(|call| call.what == What::Append)
            && !(sealer.is_dead()
                && sealer.gate().log().last().is_some_and(|call| call.what == What::Append));
        let told = sleeper.acquire_as_loaded(7, "ann", &["src/**"]).expect("sound");
        assert_eq!(told == Told::Lost, has_seal, "stopped at {stop}: {sealed:?} {:?}", sealer.gate().log());
        if !has_seal {
            continue;
        }
        let finished = !sealer.is_dead();
        // Asking again without loading is still no: what was decided on is gone.
        assert_eq!(sleeper.store.append_if(writing(8), &[spawn("late")]).expect("sound"), Appended::Conflict);
        let told = Client::new(disk.process(), "bob").acquire(9, "bob", &["src/**"]).expect("sound");
        assert!(matches!(told, Told::Granted(_)), "stopped at {stop}");
        check(&disk, &[("bob", told)], "after the sleeper");
        if finished {
            break;
        }
    }
}

/// Found by the simulator (seed 1334, 600 steps): the segment was sealed behind a record and pruned before its writer
/// read it back. The file had no name any more, so the writer was told that it had lost, and its record counted.
#[test]
fn who_is_overtaken_by_a_seal_and_its_pruning_is_told_what_came_of_its_record() {
    let mut granted = 0;
    for k in 0.. {
        let disk = store();
        let mine = scripted(&disk);
        let mut sleeper = Client::new(mine.clone(), "ann");
        sleeper.store.prepare(writing(5)).expect("sound");
        let at = mine.gate().calls() + k;
        let other = disk.clone();
        mine.gate().before(k, move || {
            FileStore::new(other.process(), Access::Append).seal(writing(6)).expect("sound");
            prune(&other.process(), Keep::None, time(7)).expect("sound");
        });
        let told = sleeper.acquire_as_loaded(8, "ann", &["src/**"]).expect("sound");
        if mine.gate().calls() <= at {
            break;
        }
        let was_granted = matches!(told, Told::Granted(_));
        let lives = lanes(&load(disk.process()).expect("sound")).contains(&"ann".to_owned());
        assert_eq!(lives, was_granted, "overtaken before call {k}: {told:?}");
        granted += usize::from(was_granted);
        for disk in [disk.power_cut(testkit::disk::Keep::Nothing), disk] {
            check(&disk, &[("ann", told.clone())], &format!("overtaken before call {k}"));
        }
    }
    assert!(granted > 3, "{granted} times behind its append");
}

#[test]
fn who_lost_a_race_cannot_append_what_was_decided_before_without_loading_again() {
    let disk = store();
    let (mut ann, mut bob) = (Client::new(disk.process(), "ann"), Client::new(disk.process(), "bob"));
    ann.store.prepare(writing(5)).expect("sound");
    bob.acquire(6, "bob", &["src/**"]).expect("sound");
    assert_eq!(ann.acquire_as_loaded(7, "ann", &["src/**"]).expect("sound"), Told::Lost);
    assert_eq!(
        ann.acquire_as_loaded(8, "ann", &["src/**"]).expect("sound"),
        Told::Lost,
        "decided before bob's grant"
    );
    assert_eq!(ann.acquire(9, "ann", &["src/**"]).expect("sound"), Told::Refused);
    check(&disk, &[("bob", Told::Granted(common::seq(3)))], "in the end");
}

#[test]
fn who_won_cannot_append_again_over_somebody_who_came_after_without_loading_again() {
    let disk = store();
    let ann = scripted(&disk);
    let bob = disk.process();
    let mut store = FileStore::new(ann.clone(), Access::Append);
    store.prepare(writing(5)).expect("sound");
    // Bob comes between the append and the reading back of it.
    ann.gate().before(1, move || {
        let told = Client::new(bob, "bob").acquire(6, "bob", &["src/**"]).expect("sound");
        assert!(matches!(told, Told::Granted(_)));
    });
    assert!(matches!(store.append_if(writing(7), &[spawn("ann's")]).expect("sound"), Appended::Valid { .. }));
    assert_eq!(store.append_if(writing(8), &[spawn("by the old state")]).expect("sound"), Appended::Conflict);
    store.commit().expect("sound");
    check(&disk, &[("bob", Told::Granted(common::seq(4)))], "in the end");
}

#[test]
fn one_writer_may_append_twice_to_what_it_loaded_once() {
    let disk = store();
    let mut store = FileStore::new(disk.process(), Access::Append);
    store.prepare(writing(5)).expect("sound");
    for n in 6..9 {
        assert!(matches!(
            store.append_if(writing(n), &[spawn("mine")]).expect("sound"),
            Appended::Valid { .. }
        ));
    }
    store.commit().expect("sound");
    assert_eq!(load(disk.process()).expect("sound").counters.spawns, 3);
}

/// The nonce: without it both would write the same bytes, find them valid and believe that they are theirs.
#[test]
fn two_writers_of_the_same_words_at_the_same_moment_do_not_both_win() {
    let disk = store();
    let ops = [spawn("the same words")];
    let same_time = |nonce| Writing { ts: time(6), nonce };
    let mut one = FileStore::new(disk.process(), Access::Append);
    let mut two = FileStore::new(disk.process(), Access::Append);
    one.prepare(same_time(1)).expect("sound");
    two.prepare(same_time(2)).expect("sound");
    let told = [
        one.append_if(same_time(1), &ops).expect("sound"),
        two.append_if(same_time(2), &ops).expect("sound"),
    ];
    assert!(matches!(told, [Appended::Valid { .. }, Appended::Conflict]), "{told:?}");
    assert_eq!(load(disk.process()).expect("sound").counters.spawns, 1);
}

/// The checksum alone does not tell whose a record is: two nonces are searched that give both writers the same.
#[test]
fn two_writers_whose_records_have_one_checksum_by_chance_do_not_both_win() {
    let disk = store();
    let op = spawn("the same words");
    let mut one = FileStore::new(disk.process(), Access::Append);
    let mut two = FileStore::new(disk.process(), Access::Append);
    let writing = |nonce| Writing { ts: time(6), nonce };
    one.prepare(writing(0)).expect("sound");
    two.prepare(writing(0)).expect("sound");
    let head = one.head().expect("loaded");
    let (name, body) = record::encode(&op);
    let crc_of = |nonce| {
        let seq = head.seq.next().expect("room");
        line::encode(Stamp { seq, ts: time(6), nonce, prev: head.crc }, name, &body).1
    };
    let mut seen = HashMap::new();
    // Any odd number with many bits: nonces that differ in a few digits only never have one checksum.
    let mut nonces = (1..).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let pair = nonces.find_map(|nonce| seen.insert(crc_of(nonce), nonce).map(|other| (other, nonce)));
    let (first, second) = pair.expect("there are more nonces than checksums");

    let told = one.append_if(writing(first), std::slice::from_ref(&op)).expect("sound");
    let Appended::Valid { head: ones, .. } = told else { panic!("{told:?}") };
    assert_eq!(ones.crc, crc_of(second));
    assert_eq!(two.append_if(writing(second), &[op]).expect("sound"), Appended::Conflict);
    assert_eq!(load(disk.process()).expect("sound").counters.spawns, 1);
}

#[test]
fn a_late_writer_glued_behind_a_fragment_is_read_and_judged_by_the_chain() {
    let disk = store();
    let name = segment::name(Seq::FIRST);
    let fragments: Vec<Vec<u8>> = [
        "{\"seq\":3,\"ts\":\"2026",
        "{",
        "{\"seq\":",
        "\0\0\0",
        "{\"seq\":3\0\0",
        "~",
        "no record",
        "{\"seq\"{\"seq\"",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for fragment in &fragments {
        for overtaken in [false, true] {
            let disk = disk.copy();
            let mut ann = Client::new(disk.process(), "ann");
            ann.store.prepare(writing(5)).expect("sound");
            // After ann looked, somebody dies in a write; bob may be faster too.
            disk.add(&name, fragment);
            let bob = overtaken
                .then(|| Client::new(disk.process(), "bob").acquire(6, "bob", &["src/**"]).expect("sound"));
            let told = ann.acquire_as_loaded(7, "ann", &["src/**"]);
            if fragment == b"no record" && !overtaken {
                // Glued behind it, ann's record is still found.
                assert!(matches!(told, Ok(Told::Granted(_))), "{told:?}");
            }
            let told =
                told.unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(fragment)));
            assert_eq!(told == Told::Lost, overtaken, "{:?}", String::from_utf8_lossy(fragment));
            let mut all = vec![("ann", told)];
            all.extend(bob.map(|told| ("bob", told)));
            check(&disk, &all, &String::from_utf8_lossy(fragment));
        }
    }
}

#[test]
fn a_short_write_of_a_batch_is_an_error_and_its_whole_part_a_correct_history() {
    let disk = store();
    let batch = [spawn("one"), spawn("two"), spawn("three")];
    let whole = {
        let disk = disk.copy();
        let before = disk.bytes(&segment::name(Seq::FIRST)).expect("there").len();
        Client::new(disk.process(), "ann").write(5, &batch).expect("sound");
        disk.bytes(&segment::name(Seq::FIRST)).expect("there").len() - before
    };
    for taken in 0..whole {
        let disk = disk.copy();
        let mine = scripted(&disk);
        let mut store = FileStore::new(mine.clone(), Access::Append);
        store.prepare(writing(5)).expect("sound");
        mine.gate().fault_at(0, Fault::Short(taken));
        let told = store.append_if(writing(5), &batch);
        if taken == whole - 1 {
            assert!(matches!(told, Ok(Appended::Valid { .. })), "only the newline is missing");
            continue;
        }
        let error = told.expect_err("it was short").to_string();
        assert!(error.contains("append to"), "{error}");
        let told =
            Client::new(disk.process(), "bob").acquire(6, "bob", &["src/**"]).expect("usable afterwards");
        check(&disk, &[("bob", told)], &format!("{taken} bytes taken"));
    }
}

/// All of a store's life while somebody sleeps who saw it when it was empty.
#[test]
fn who_slept_through_the_stores_beginning_and_its_pruning_begins_no_second_one() {
    let append = {
        let mine = scripted(&MemDisk::new());
        Client::new(mine.clone(), "ann").acquire(90, "ann", &["life/x"]).expect("sound");
        mine.gate().log().iter().position(|call| call.what == What::Append).expect("it appends")
    };
    for k in 0..=append {
        let disk = MemDisk::new();
        let (sleeper, busy) = (scripted(&disk), disk.clone());
        sleeper.gate().before(k, move || live_a_life(&busy));
        let told = Client::new(sleeper, "ann").acquire(90, "ann", &["life/x"]).expect("sound");
        assert!(matches!(told, Told::Refused | Told::Lost), "slept before call {k}: {told:?}");
        after_a_life(&disk, &format!("slept before call {k}"));
    }
}

#[test]
fn who_slept_while_finishing_a_rotation_that_was_pruned_since_makes_no_second_present() {
    let half = {
        let disk = store();
        // A seal without a successor.
        let dies = scripted(&disk);
        dies.gate().fault_at(dies_before_publish(&disk), Fault::Die);
        assert!(FileStore::new(dies, Access::Append).seal(writing(6)).is_err());
        disk
    };
    let append = {
        let mine = scripted(&half.copy());
        Client::new(mine.clone(), "ann").acquire(90, "ann", &["life/x"]).expect("sound");
        mine.gate().log().iter().position(|call| call.what == What::Append).expect("it appends")
    };
    for k in 0..=append {
        for stale_hint in [false, true] {
            let disk = half.copy();
            let (sleeper, busy) = (scripted(&disk), disk.clone());
            sleeper.gate().before(k, move || live_a_life(&busy));
            let told = Client::new(sleeper, "ann").acquire(90, "ann", &["life/x"]).expect("sound");
            assert!(matches!(told, Told::Refused | Told::Lost), "slept before call {k}: {told:?}");
            if stale_hint {
                let hint = journal::disk::Name::new(Dir::Top, "active");
                disk.put(&hint, format!("{:020}\n", 3).as_bytes());
            }
            after_a_life(&disk, &format!("slept before call {k}, stale hint: {stale_hint}"));
        }
    }
}

/// The call of a seal at which the successor would be published.
fn dies_before_publish(disk: &MemDisk) -> usize {
    let mine = scripted(&disk.copy());
    FileStore::new(mine.clone(), Access::Append).seal(writing(6)).expect("sound");
    mine.gate()
        .log()
        .iter()
        .position(|call| call.what == What::Publish && call.name.dir == Dir::Journal)
        .expect("a successor")
}

fn live_a_life(disk: &MemDisk) {
    let mut client = Client::new(disk.process(), "life");
    client.acquire(20, "life", &["life/**"]).expect("sound");
    for n in 0..3 {
        client.write(30 + n, &[spawn("on")]).expect("sound");
        assert!(client.store.seal(writing(40 + n)).expect("sound"));
    }
    prune(&disk.process(), Keep::None, time(60)).expect("sound");
    client.write(70, &[spawn("on")]).expect("sound");
}

fn after_a_life(disk: &MemDisk, at: &str) {
    let told = Client::new(disk.process(), "bob").acquire(95, "bob", &["life/y"]).expect(at);
    assert_eq!(told, Told::Refused, "{at}: what was granted is forgotten");
    let state = load(disk.process()).expect(at);
    assert!(lanes(&state).contains(&"life".to_owned()), "{at}");
    assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "{at}");
}

/// A reviewer's find: the record was in, one read failed, and the writer decided again and refused itself.
#[test]
fn who_cannot_read_its_append_back_is_told_no_lie() {
    use arbiter::evidence::Evidence;
    use common::{clock, decide, request};
    use journal::store::{Appended, Store};

    let (mut looked_again, mut unknown) = (0, 0);
    for k in 0..6 {
        for lasting in [false, true] {
            let disk = store();
            let mine = scripted(&disk);
            let mut writer = FileStore::new(mine.clone(), Access::Append);
            let state = writer.prepare(writing(5)).expect("sound").clone();
            let (_, ops) = decide(&state, &request("ann", "ann", &["a"]), Evidence::at(clock(5)), time(5));
            for nth in k..if lasting { k + 40 } else { k + 1 } {
                mine.gate().fault_at(nth, Fault::Error(EIO));
            }
            let told = writer.append_if(writing(5), &ops);
            let counts = lanes(&load(disk.process()).expect("sound")).contains(&"ann".to_owned());
            match told {
                Ok(Appended::Valid { .. }) => {
                    assert!(counts, "call {k}: a yes without a record");
                    looked_again += u32::from(k > 0);
                }
                Ok(Appended::Conflict) => assert!(!counts, "call {k}: a no with a record"),
                Err(JournalError::Unknown { .. }) => unknown += 1,
                Err(error) => assert!(!counts, "call {k}: {error} with a record"),
            }
        }
    }
    assert!(looked_again > 0 && unknown > 0, "{looked_again} looked again, {unknown} unknown");
}

/// As above, and somebody seals the segment behind the record meanwhile: the look from the start then shows the
/// successor, which says nothing of records before its root.
#[test]
fn who_cannot_read_its_append_back_is_told_no_lie_by_the_segment_that_came_after() {
    for seals in 1..3 {
        for k in 1..4 {
            let disk = store();
            let mine = scripted(&disk);
            let mut writer = FileStore::new(mine.clone(), Access::Append);
            writer.prepare(writing(5)).expect("sound");
            let other = disk.clone();
            mine.gate().fault_at(1, Fault::Error(EIO));
            mine.gate().before(k, move || {
                for n in 0..seals {
                    FileStore::new(other.process(), Access::Append).seal(writing(6 + n)).expect("sound");
                }
            });
            let told = writer.append_if(writing(5), &[spawn("mine")]);
            assert_eq!(load(disk.process()).expect("sound").counters.spawns, 1, "the record counts");
            match told {
                Ok(Appended::Valid { .. }) | Err(JournalError::Unknown { .. }) => {}
                told => panic!("{seals} seals before call {k}: {told:?}"),
            }
        }
    }
}
