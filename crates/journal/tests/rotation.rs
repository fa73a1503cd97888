//! Seals and rotations under crashes at every disk call, failing syncs, full disks and wrong hints.

mod common;

use std::sync::{Arc, Mutex};

use arbiter::evidence::Evidence;
use arbiter::seq::Seq;
use common::script::{Made, Process, scripted};
use common::turns::play;
use common::{Client, Told, damage_of, lanes, load, release_of, seq, spawn, time, writing};
use journal::JournalError;
use journal::disk::{Access, Dir, Name};
use journal::history::{self, prune, survey};
use journal::segment;
use journal::store::{Appended, FileStore, Store};
use testkit::disk::{EIO, ENOSPC, Fault, Keep, MemDisk, What};
use testkit::rng::Rng;

fn hint() -> Name {
    Name::new(Dir::Top, "active")
}

/// A store with a few leases, one of them given back.
fn store() -> MemDisk {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    for n in 1..4 {
        ann.acquire(n, &format!("l{n}"), &[&format!("l{n}/**")]).expect("sound");
    }
    let state = load(disk.process()).expect("sound");
    let lease = state.live.in_lane(&common::lane("l2"), None).expect("it lives").clone();
    ann.write(5, &[common::release_of(&lease)]).expect("sound");
    disk.copy()
}

/// Takes a lease, seals, takes another. Returns the lanes that were acknowledged.
fn script(disk: &Process) -> Vec<String> {
    let mut acked = vec!["l1".to_owned(), "l3".to_owned()];
    let mut bob = Client::new(disk.clone(), "bob");
    let mut step = |n: u64| {
        if n == 11 {
            return bob.store.seal(writing(n)).map(|_| ());
        }
        if let Told::Granted(_) = bob.acquire(n, &format!("b{n}"), &[&format!("b{n}/**")])? {
            acked.push(format!("b{n}"));
        }
        Ok::<(), JournalError>(())
    };
    for n in 10..14 {
        if step(n).is_err() && disk.is_dead() {
            break;
        }
    }
    acked
}

/// What must hold whatever happened: everything acknowledged lives, the next writer gets on, and the history is
/// one piece.
fn check(disk: &MemDisk, acked: &[String], at: &str) {
    check_present(disk, acked, at);
    assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "{at}");
}

fn check_present(disk: &MemDisk, acked: &[String], at: &str) {
    let told = Client::new(disk.process(), "eve").acquire(50, "eve", &["eve/**"]);
    let told = told.unwrap_or_else(|error| panic!("{at}: {error}"));
    assert!(matches!(told, Told::Granted(_)), "{at}: {told:?}");
    let state = load(disk.process()).unwrap_or_else(|error| panic!("{at}: {error}"));
    let live = lanes(&state);
    for lane in acked {
        assert!(live.contains(lane), "{at}: `{lane}` was acknowledged and is lost: {live:?}");
    }
    assert!(!live.contains(&"l2".to_owned()), "{at}: what was given back lives again");
}

#[test]
fn a_process_may_die_before_any_disk_call_of_a_rotation() {
    let calls = {
        let disk = store();
        let mine = scripted(&disk);
        script(&mine);
        mine.gate().calls()
    };
    for n in 0..calls {
        let disk = store();
        let mine = scripted(&disk);
        mine.gate().fault_at(n, Fault::Die);
        let acked = script(&mine);
        check(&disk, &acked, &format!("died before call {n}: {:?}", mine.gate().log().last()));
    }
}

#[test]
fn the_power_may_fail_before_any_disk_call_of_a_rotation_and_any_part_of_what_was_not_synced_be_lost() {
    let calls = {
        let disk = store();
        let mine = scripted(&disk);
        script(&mine);
        mine.gate().calls()
    };
    for n in 0..calls {
        for seed in 0..6 {
            let disk = store();
            let mine = scripted(&disk);
            mine.gate().fault_at(n, Fault::Die);
            let acked = script(&mine);
            let mut rng = Rng::new(seed);
            let keep = match seed {
                0 => Keep::Nothing,
                1 => Keep::All,
                _ => Keep::Some(&mut rng),
            };
            let after = disk.power_cut(keep);
            check(
                &after,
                &acked,
                &format!("power cut before call {n}, seed {seed}: {:?}", mine.gate().log().last()),
            );
        }
    }
}

#[test]
fn a_process_may_die_inside_any_write_of_a_rotation() {
    let log = {
        let disk = store();
        let mine = scripted(&disk);
        script(&mine);
        mine.gate().log()
    };
    for (n, call) in
        log.iter().enumerate().filter(|(_, call)| matches!(call.what, What::Append | What::AppendOrCreate))
    {
        for taken in [0, 1, 2, 5, 20, 39, 100, 300, 600] {
            for nuls in [0, 30] {
                let disk = store();
                let mine = scripted(&disk);
                mine.gate().fault_at(n, Fault::Torn { bytes: taken, nuls });
                let acked = script(&mine);
                check(&disk, &acked, &format!("died in {call:?} after {taken} bytes and {nuls} NULs"));
            }
        }
    }
}

#[test]
fn any_disk_call_of_a_rotation_may_fail_with_or_without_having_done_its_work() {
    let calls = {
        let disk = store();
        let mine = scripted(&disk);
        script(&mine);
        mine.gate().calls()
    };
    for n in 0..calls {
        for fault in [Fault::Error(ENOSPC), Fault::Error(EIO), Fault::Late(EIO)] {
            for cut in [false, true] {
                let disk = store();
                let mine = scripted(&disk);
                mine.gate().fault_at(n, fault);
                let acked = script(&mine);
                let at = format!("call {n} met {fault:?}, power cut: {cut}: {:?}", mine.gate().log().get(n));
                let lost = |call: &Made| call.what == What::Sync;
                if cut && mine.gate().log().get(n).is_some_and(lost) {
                    // What a failed sync lost may surface as a hole under records that were acknowledged later.
                    // Then it is damage, or everything acknowledged is there: never a silent loss.
                    let after = disk.power_cut(Keep::Nothing);
                    // The history may have the hole too; the present does not rest on it.
                    if damage_of(load(after.process())).is_none() {
                        check_present(&after, &acked, &at);
                    }
                    continue;
                }
                let after = if cut { disk.power_cut(Keep::Nothing) } else { disk };
                check(&after, &acked, &at);
            }
        }
    }
}

/// A store whose present has a name that a power cut takes: who published it died before it synced the directory.
fn with_a_name_that_is_not_durable() -> MemDisk {
    let disk = store().power_cut(Keep::All);
    let seal = |disk: &MemDisk, stop: Option<usize>| {
        let mine = scripted(disk);
        if let Some(stop) = stop {
            mine.gate().fault_at(stop, Fault::Die);
        }
        let _stopped = FileStore::new(mine.clone(), Access::Append).seal(writing(8));
        mine.gate().log()
    };
    let is_name = |call: &Made| call.what == What::PublishSync && call.name.dir == Dir::Journal;
    let stop = seal(&disk.copy(), None).iter().position(is_name).expect("a successor");
    seal(&disk, Some(stop));
    assert_eq!(disk.files(Dir::Journal).len(), 2);
    assert_eq!(disk.power_cut(Keep::Nothing).files(Dir::Journal).len(), 1);
    disk
}

#[test]
fn a_grant_in_a_segment_whose_name_was_not_durable_survives_a_power_cut() {
    let disk = with_a_name_that_is_not_durable();
    let told = Client::new(disk.process(), "bob").acquire(20, "bob", &["bob/**"]).expect("sound");
    assert!(matches!(told, Told::Granted(_)), "{told:?}");
    check(&disk.power_cut(Keep::Nothing), &["l1".into(), "l3".into(), "bob".into()], "after the power cut");
}

/// Found by the finer disk: who sealed a segment marked it before its name was durable, and an answer repeated from
/// it took the mark for a proof that it was.
#[test]
fn an_answer_confirmed_in_a_segment_whose_name_was_not_durable_survives_a_power_cut() {
    let begun = with_a_name_that_is_not_durable();
    // Bob dies before it can say that it was granted something.
    let mut bob = FileStore::new(begun.process(), Access::Append);
    let state = bob.prepare(writing(20)).expect("sound").clone();
    let asked = common::request("bob", "bob", &["bob/**"]);
    let (_, ops) = common::decide(&state, &asked, Evidence::at(common::clock(20)), time(20));
    assert!(matches!(bob.append_if(writing(20), &ops), Ok(Appended::Valid { .. })));
    for n in 0.. {
        let disk = begun.copy();
        let sealer = scripted(&disk);
        sealer.gate().fault_at(n, Fault::Die);
        let sealed = FileStore::new(sealer.clone(), Access::Append).seal(writing(30));
        let mut again = FileStore::new(disk.process(), Access::Append);
        let state = again.load().expect("sound").expect("there is one");
        assert!(lanes(state).contains(&"bob".to_owned()));
        again.confirm().expect("the disk works");
        let at = format!("sealer died before call {n}: {:?}", sealer.gate().log().last());
        check(&disk.power_cut(Keep::Nothing), &["l1".into(), "l3".into(), "bob".into()], &at);
        if sealed.is_ok() {
            break;
        }
    }
}

#[test]
fn a_rotation_may_be_overtaken_at_any_call_and_what_the_faster_one_was_told_survive_a_power_cut() {
    for (granted, seals) in [(false, 1), (true, 0), (true, 1), (true, 2)] {
        for n in 0.. {
            let disk = store();
            let mine = scripted(&disk);
            let other = disk.clone();
            let came = Arc::new(Mutex::new(None));
            let slot = Arc::clone(&came);
            mine.gate().before(n, move || {
                let mut dan = Client::new(other.process(), "dan");
                let mut acked = vec!["l1".to_owned(), "l3".to_owned()];
                for m in 0..seals {
                    dan.store.seal(writing(60 + m)).expect("sound");
                }
                if granted {
                    let told = dan.acquire(70, "dan", &["dan/**"]).expect("sound");
                    assert!(matches!(told, Told::Granted(_)), "{told:?}");
                    acked.push("dan".into());
                }
                *slot.lock().expect("free") = Some((acked, other.copy()));
            });
            let sealed = FileStore::new(mine.clone(), Access::Append).seal(writing(50));
            let at = format!("overtaken before call {n} by {seals} seals: {sealed:?}");
            let Some((acked, then)) = came.lock().expect("free").take() else { break };
            for disk in [then, disk] {
                for seed in 0..2 {
                    let mut rng = Rng::new(seed);
                    let keep = if seed == 0 { Keep::Nothing } else { Keep::Some(&mut rng) };
                    check(&disk.power_cut(keep), &acked, &at);
                }
            }
        }
    }
}

#[test]
fn whoever_finishes_a_rotation_makes_the_same_bytes() {
    let mut successors = Vec::new();
    for n in 0.. {
        let disk = store();
        let mine = scripted(&disk);
        mine.gate().fault_at(n, Fault::Die);
        let sealed = FileStore::new(mine.clone(), Access::Append).seal(writing(11)).is_ok();
        let name = segment::name(Seq::new(6).expect("not zero"));
        if !segment_is_sealed(&disk) {
            continue;
        }
        FileStore::new(disk.process(), Access::Append).prepare(writing(77)).expect("somebody finishes it");
        successors.push(disk.bytes(&name).expect("the successor"));
        if sealed {
            break;
        }
    }
    assert!(successors.len() > 3, "{} ends were tried", successors.len());
    successors.dedup();
    assert_eq!(successors.len(), 1);
}

fn segment_is_sealed(disk: &MemDisk) -> bool {
    let bytes = disk.bytes(&segment::name(Seq::FIRST)).expect("there");
    segment::Segment::read(Seq::FIRST, &bytes).expect("sound").seal.is_some()
}

/// FAILURES 21: eight starters on a torn, half-rotated store.
#[test]
fn eight_recoverers_at_once_make_one_successor() {
    for seed in 0..60 {
        let disk = store();
        let mine = scripted(&disk);
        // The seal is there and its newline is not; nothing else was done.
        let before = disk.bytes(&segment::name(Seq::FIRST)).expect("there").len();
        FileStore::new(disk.copy().process(), Access::Append).seal(writing(11)).expect("sound");
        let whole = {
            let copy = scripted(&disk.copy());
            FileStore::new(copy.clone(), Access::Append).seal(writing(11)).expect("sound");
            copy.disk().bytes(&segment::name(Seq::FIRST)).expect("there").len() - before
        };
        let append = {
            let copy = scripted(&disk.copy());
            FileStore::new(copy.clone(), Access::Append).seal(writing(11)).expect("sound");
            copy.gate().log().iter().position(|call| call.what == What::Append).expect("it appends")
        };
        let torn = if seed % 2 == 0 { whole - 1 } else { whole / 2 };
        mine.gate().fault_at(append, Fault::Torn { bytes: torn, nuls: 7 });
        assert!(FileStore::new(mine, Access::Append).seal(writing(11)).is_err());

        let heads = play(seed, &disk, 8, |number, mine| {
            let mut store = FileStore::new(mine, Access::Append);
            store.prepare(writing(20 + number as u64)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            store.segment().expect("loaded").root
        });
        assert!(heads.iter().all(|root| *root == heads[0]), "seed {seed}: {heads:?}");
        assert_eq!(disk.files(Dir::Journal).len(), if seed % 2 == 0 { 2 } else { 1 }, "seed {seed}");
        check(&disk, &["l1".into(), "l3".into()], &format!("seed {seed}"));
    }
}

/// A store of four segments.
fn long_store() -> MemDisk {
    let disk = store();
    let mut store = FileStore::new(disk.process(), Access::Append);
    for n in 20..23 {
        store.seal(writing(n)).expect("sound");
        Client::new(disk.process(), "bob")
            .acquire(n, &format!("b{n}"), &[&format!("b{n}/**")])
            .expect("sound");
    }
    disk.copy()
}

#[test]
fn no_hint_whatever_it_says_leads_to_another_present() {
    let disk = long_store();
    let want = load(disk.process()).expect("sound");
    let roots = history::roots(&disk.process()).expect("the disk works");
    assert_eq!(roots.len(), 4);
    let mut hints: Vec<Option<Vec<u8>>> = vec![
        None,
        Some(Vec::new()),
        Some(b"garbage".to_vec()),
        Some(vec![0; 21]),
        Some(b"99999999999999999999\n".to_vec()),
        Some(b"00000000000000000000\n".to_vec()),
        Some(b"00000000000000000777\n".to_vec()),
        Some(vec![b'1'; 63]),
        Some("\u{661}".repeat(10).into_bytes()),
    ];
    hints.extend(roots.iter().map(|root| Some(format!("{:020}\n", root.get()).into_bytes())));
    for text in hints {
        let disk = disk.copy();
        match &text {
            Some(text) => disk.put(&hint(), text),
            None => disk.take(&hint()),
        }
        assert_eq!(load(disk.process()).expect("sound"), want, "{text:?}");
        check(&disk, &["l1".into(), "b22".into()], &format!("{text:?}"));
    }
}

#[test]
fn a_hint_of_any_length_is_only_a_hint() {
    let disk = long_store();
    let want = load(disk.process()).expect("sound");
    disk.put(&hint(), &vec![b'7'; 4096]);
    assert_eq!(load(disk.process()).expect("a hint is never needed"), want);
}

/// A hint is not synced, so it may name an old segment again after a power cut; and that may be an old copy.
#[test]
fn a_stale_hint_to_a_segment_that_lost_its_seal_does_not_revive_it() {
    let disk = long_store();
    let want = load(disk.process()).expect("sound");
    for root in history::roots(&disk.process()).expect("the disk works").split_last().expect("four").1 {
        let disk = disk.copy();
        let bytes = disk.bytes(&segment::name(*root)).expect("there");
        let cut = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        if cut == 0 {
            continue;
        }
        disk.put(&segment::name(*root), &bytes[..cut]);
        disk.put(&hint(), format!("{:020}\n", root.get()).as_bytes());
        assert_eq!(load(disk.process()).expect("the present is sound"), want, "segment {root}");
        assert_ne!(survey(&disk.process()).expect("the disk works").damage, [], "segment {root}");
    }
}

#[test]
fn a_deleted_active_segment_is_damage_and_not_an_empty_store() {
    for disk in [store(), long_store()] {
        let active = *history::roots(&disk.process()).expect("the disk works").last().expect("one");
        for old_hint in [false, true] {
            let disk = disk.copy();
            disk.take(&segment::name(active));
            if old_hint {
                disk.put(&hint(), format!("{:020}\n", 1).as_bytes());
            }
            let damage = damage_of(load(disk.process())).expect("it was in use");
            assert!(damage.what.contains("missing"), "{damage}");
            let told = Client::new(disk.process(), "bob").acquire(60, "new", &["new/**"]);
            assert!(damage_of(told).is_some(), "nothing is granted");
            assert_ne!(survey(&disk.process()).expect("the disk works").damage, []);
        }
    }
}

#[test]
fn a_failed_sync_is_not_reported_as_done_and_the_next_writer_leaves_for_a_synced_segment() {
    let disk = store();
    let mine = scripted(&disk);
    let mut bob = Client::new(mine.clone(), "bob");
    let sync = {
        let copy = scripted(&disk.copy());
        Client::new(copy.clone(), "bob").acquire(10, "b", &["b/**"]).expect("sound");
        copy.gate().log().iter().position(|call| call.what == What::Sync).expect("it syncs")
    };
    mine.gate().fault_at(sync, Fault::Error(EIO));
    let told = bob.acquire(10, "b", &["b/**"]);
    assert!(matches!(told, Err(JournalError::NotDurable { .. })), "{told:?}");
    assert!(disk.bytes(&segment::poison_name(Seq::FIRST)).is_some(), "a poison marker is left");
    // It is never retried: a second sync would succeed and prove nothing.
    assert!(bob.store.commit().expect("nothing to commit").is_none());

    // The next writer's own sync of the old segment may fail too: what counts is the synced checkpoint.
    for fails_again in [false, true] {
        let disk = disk.copy();
        let eve = scripted(&disk);
        if fails_again {
            let copy = scripted(&disk.copy());
            Client::new(copy.clone(), "eve").acquire(11, "eve", &["eve/**"]).expect("sound");
            let sync = copy.gate().log().iter().position(|call| call.what == What::Sync).expect("it syncs");
            eve.gate().fault_at(sync, Fault::Error(EIO));
        }
        let told = Client::new(eve, "eve").acquire(11, "eve", &["eve/**"]).expect("usable afterwards");
        assert!(matches!(told, Told::Granted(_)));
        assert_eq!(disk.files(Dir::Journal).len(), 2, "the next writer rotated");
        // What the failed sync lost is lost for good; what eve was told is not.
        for seed in 0..20 {
            for stale_hint in [false, true] {
                let at = format!("seed {seed}, fails again: {fails_again}, stale hint: {stale_hint}");
                let mut rng = Rng::new(seed);
                let after = disk.power_cut(Keep::Some(&mut rng));
                if stale_hint {
                    after.put(&hint(), format!("{:020}\n", 1).as_bytes());
                }
                let live = lanes(&load(after.process()).expect("the successor is sound"));
                assert!(
                    live.contains(&"eve".to_owned()) && live.contains(&"l1".to_owned()),
                    "{at}: {live:?}"
                );
                let told = Client::new(after.process(), "dan").acquire(12, "dan", &["eve/x"]).expect("sound");
                assert_eq!(told, Told::Refused, "{at}");
                assert_eq!(after.files(Dir::Journal).len(), 2, "{at}: nobody seals the old segment again");
            }
        }
    }
}

#[test]
fn several_writers_leave_a_poisoned_segment_together_and_make_one_successor() {
    for seed in 0..150 {
        let disk = store();
        disk.put(&segment::poison_name(Seq::FIRST), b"a sync of this segment failed\n");
        let told = play(seed, &disk, 3, |number, mine| {
            let name = ["ann", "bob", "dan"][number];
            let mut client = Client::new(mine.clone(), name);
            for n in 0..20 {
                let told = client.acquire(20 + number as u64 + 5 * n, name, &[&format!("{name}/**")]);
                assert!(mine.gate().calls() < 500, "seed {seed}: it goes round in circles");
                match told.unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
                    Told::Lost => {}
                    told => return (name, told),
                }
            }
            panic!("seed {seed}: `{name}` never wins")
        });
        let acked: Vec<String> = told.iter().map(|(name, _)| (*name).to_owned()).collect();
        check(&disk, &acked, &format!("seed {seed}"));
        let files = disk.files(Dir::Journal);
        assert_eq!(files.len(), 2, "seed {seed}: {files:?}");
    }
}

/// Who seals behind its own append and loses that race still owes the sync of what it appended.
#[test]
fn what_was_appended_before_a_lost_seal_is_durable_once_it_is_committed() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = store().power_cut(Keep::All);
        let acked = play(seed, &disk, 2, |number, mine| {
            let mut client = Client::new(mine, "bob");
            if number == 1 {
                for n in 30..34 {
                    client.store.prepare(writing(n)).expect("sound");
                    client.store.append_if(writing(n), &[spawn("more")]).expect("sound");
                }
                return None;
            }
            let state = client.store.prepare(writing(20)).expect("sound");
            let asked = common::request("bob", "b", &["b/**"]);
            let ops = common::decide(state, &asked, Evidence::at(common::clock(20)), time(20)).1;
            let appended = client.store.append_if(writing(20), &ops).expect("sound");
            if appended == Appended::Conflict {
                return None;
            }
            let sealed = client.store.seal(writing(21)).expect("sound");
            client.store.commit().expect("the disk works");
            Some(sealed)
        });
        let Some(sealed) = acked[0] else { continue };
        lost += u32::from(!sealed);
        let after = load(disk.power_cut(Keep::Nothing).process()).expect("sound");
        assert!(lanes(&after).contains(&"b".to_owned()), "seed {seed}, sealed: {sealed}");
    }
    assert!(lost > 10, "the race was lost {lost} times");
}

#[test]
fn a_full_disk_is_reported_and_the_store_is_usable_once_there_is_room() {
    let disk = store();
    let calls = {
        let mine = scripted(&disk.copy());
        Client::new(mine.clone(), "bob").acquire(10, "b", &["b/**"]).expect("sound");
        mine.gate().calls()
    };
    for n in 0..calls {
        for fault in [Fault::Error(ENOSPC), Fault::Short(0), Fault::Short(60)] {
            let disk = disk.copy();
            let mine = scripted(&disk);
            mine.gate().fault_at(n, fault);
            let told = Client::new(mine, "bob").acquire(10, "b", &["b/**"]);
            if let Err(error) = &told {
                assert!(!error.to_string().is_empty());
            }
            let told_yes = matches!(told, Ok(Told::Granted(_)));
            let acked = if told_yes { vec!["b".to_owned()] } else { Vec::new() };
            check(&disk, &acked, &format!("call {n}"));
        }
    }
}

#[test]
fn pruning_may_stop_anywhere_and_leaves_one_piece_that_ends_in_the_present() {
    let whole = long_store();
    let want = load(whole.process()).expect("sound");
    for n in 0.. {
        let mut ended = true;
        for cut in [false, true] {
            let disk = whole.copy();
            let mine = scripted(&disk);
            mine.gate().fault_at(n, Fault::Die);
            let done = prune(&mine, history::Keep::None, time(90)).is_ok();
            let after = if cut { disk.power_cut(Keep::Some(&mut Rng::new(n as u64))) } else { disk };
            assert_eq!(load(after.process()).expect("sound"), want, "stopped at {n}");
            assert_eq!(
                survey(&after.process()).expect("the disk works").damage,
                [],
                "stopped at {n}, cut: {cut}"
            );
            prune(&after.process(), history::Keep::None, time(91)).expect("sound");
            assert_eq!(after.files(Dir::Journal).len(), 1, "stopped at {n}");
            ended &= done;
        }
        if ended {
            break;
        }
    }
}

/// Fences are compared outside of the store, by whoever the holders write to: one that was given out never comes again.
#[test]
fn numbers_go_on_where_they_were_when_nothing_is_left_and_all_history_is_pruned() {
    let disk = MemDisk::new();
    let mut last = seq(1);
    for n in 0..3 {
        let mut ann = Client::new(disk.process(), "ann");
        let told = ann.acquire(10 * n + 1, "api", &["src/**"]).expect("sound");
        let Told::Granted(fence) = told else { panic!("{told:?}") };
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        let lease = load(disk.process()).expect("sound").live.iter().next().cloned().expect("it was granted");
        ann.write(10 * n + 2, &[release_of(&lease)]).expect("sound").expect("nobody else is there");
        assert!(ann.store.seal(writing(10 * n + 3)).expect("sound"));
        // Once more where only the present is left.
        for _ in 0..2 {
            prune(&disk.process(), history::Keep::None, time(10 * n + 4)).expect("sound");
        }
    }
}

#[test]
fn a_writer_and_a_reader_get_on_while_somebody_prunes() {
    for seed in 0..100 {
        let disk = long_store();
        let told = play(seed, &disk, 3, |number, mine| match number {
            0 => prune(&mine, history::Keep::None, time(90)).map(|_| 0),
            1 => load(mine).map(|state| state.live.len()),
            _ => Client::new(mine, "eve").write(60, &[spawn("on")]).map(|_| 0),
        });
        for told in told {
            told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        check(&disk, &["l1".into(), "b22".into()], &format!("seed {seed}"));
    }
}

/// A survey lists the segments and then reads one after the other. What a pruner removes meanwhile is not missing, at
/// whichever call of the survey it begins and at whichever call of its own it is interrupted.
#[test]
fn a_survey_raises_no_alarm_while_somebody_prunes() {
    let fresh = long_store();
    FileStore::new(fresh.process(), Access::Append).seal(writing(50)).expect("sound");
    for (start, seals) in [(long_store(), 0), (long_store(), 2), (fresh, 1)] {
        for calls in 0.. {
            let mut interrupted = false;
            for n in 0.. {
                let disk = start.copy();
                let mine = scripted(&disk);
                let other = disk.clone();
                let died = Arc::new(Mutex::new(false));
                let told = Arc::clone(&died);
                mine.gate().before(n, move || {
                    for n in 0..seals {
                        FileStore::new(other.process(), Access::Append).seal(writing(60 + n)).expect("sound");
                    }
                    let pruner = scripted(&other);
                    pruner.gate().fault_at(calls, Fault::Die);
                    *told.lock().expect("free") = prune(&pruner, history::Keep::None, time(90)).is_err();
                });
                let at = format!("{calls} calls of a pruner, behind {seals} seals, before call {n}");
                let found = survey(&mine).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(found.damage, [], "{at}");
                interrupted |= *died.lock().expect("free");
                if mine.gate().calls() <= n {
                    break;
                }
            }
            if !interrupted {
                break;
            }
        }
    }
}

/// A segment that is lost from the middle is damage all the same.
#[test]
fn a_segment_that_is_lost_from_the_middle_is_missing() {
    let disk = long_store();
    let roots = history::roots(&disk.process()).expect("the disk works");
    disk.take(&journal::segment::name(roots[1]));
    let found = survey(&disk.process()).expect("the disk works").damage;
    assert_eq!(found.len(), 1, "{found:?}");
}
