//! The disk in memory does what its description says, so that tests on it prove something.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use journal::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published};
use testkit::disk::{Call, EIO, ENOSPC, Fault, Gate, Keep, MemDisk, Open, Pass, Seat, What};
use testkit::rng::Rng;

fn name(file: &str) -> Name {
    Name::new(Dir::Journal, file)
}

fn mark(file: &str) -> Name {
    Name::new(Dir::Marks, file)
}

/// Does something at every call of one kind.
#[derive(Clone)]
struct At<F>(What, F);

impl<F: Fn() -> Pass> Gate for At<F> {
    fn pass(&self, call: &Call<'_>) -> Pass {
        if call.what == self.0 { self.1() } else { Pass::Go }
    }
}

fn at(disk: &MemDisk, what: What, fault: Fault) -> Seat<At<impl Fn() -> Pass>> {
    disk.seat(At(what, move || Pass::Fault(fault)))
}

fn opened<G: Gate>(seat: &Seat<G>, name: &Name) -> Open {
    seat.open(name, Access::Append).expect("the disk works").expect("it is there")
}

fn publish<G: Gate>(seat: &Seat<G>, name: &Name) -> Result<Published, DiskError> {
    seat.publish(name, b"whole", Durability::Synced)
}

#[test]
fn others_see_a_published_file_before_its_name_is_durable() {
    let disk = MemDisk::new();
    let seen = Rc::new(RefCell::new(None));
    let (other, slot) = (disk.clone(), Rc::clone(&seen));
    let seat = disk.seat(At(What::PublishSync, move || {
        let lost = other.power_cut(Keep::Nothing).bytes(&name("a"));
        *slot.borrow_mut() = Some((other.bytes(&name("a")), lost));
        Pass::Go
    }));
    publish(&seat, &name("a")).expect("the disk works");
    assert_eq!(*seen.borrow(), Some((Some(b"whole".to_vec()), None)));
    assert_eq!(disk.power_cut(Keep::Nothing).bytes(&name("a")), Some(b"whole".to_vec()));
}

#[test]
fn a_publication_or_a_rename_that_stops_in_the_middle_is_seen_and_may_be_lost_as_a_whole() {
    for fault in [Fault::Die, Fault::Error(EIO), Fault::Torn { bytes: 1, nuls: 1 }] {
        let disk = MemDisk::new();
        publish(&at(&disk, What::PublishSync, fault), &name("a")).expect_err("it stopped");
        assert_eq!(disk.files(Dir::Journal), ["a"]);
        assert_eq!(disk.power_cut(Keep::Nothing).files(Dir::Journal), [""; 0]);

        // Who finds it there makes it durable for both.
        let found = publish(&disk.process(), &name("a")).expect("the disk works");
        assert_eq!(found, Published::Exists);
        assert_eq!(disk.power_cut(Keep::Nothing).files(Dir::Journal), ["a"]);

        let moved = Name::new(Dir::Damaged, "a");
        at(&disk, What::RenameSync, fault).rename(&name("a"), &moved).expect_err("it stopped");
        assert_eq!((disk.files(Dir::Journal), disk.files(Dir::Damaged)), (vec![], vec!["a".into()]));
        let before = disk.power_cut(Keep::Nothing);
        assert_eq!((before.files(Dir::Journal), before.files(Dir::Damaged)), (vec!["a".into()], vec![]));
    }
}

#[test]
fn a_directory_that_was_synced_keeps_its_names_and_what_came_before_them() {
    let disk = MemDisk::new();
    let seat = disk.process();
    for (dir, file) in [(Dir::Marks, "1"), (Dir::Journal, "2"), (Dir::Marks, "3")] {
        seat.publish(&Name::new(dir, file), b"", Durability::None).expect("the disk works");
    }
    seat.sync_dir(Dir::Journal).expect("the disk works");
    let after = disk.power_cut(Keep::Nothing);
    assert_eq!((after.files(Dir::Marks), after.files(Dir::Journal)), (vec!["1".into()], vec!["2".into()]));
    assert_eq!(disk.power_cut(Keep::All).files(Dir::Marks), ["1", "3"]);
}

#[test]
fn what_was_not_synced_is_lost_from_some_byte_on_or_comes_back_as_nuls() {
    let disk = MemDisk::new();
    let seat = disk.process();
    publish(&seat, &name("a")).expect("the disk works");
    seat.append(&opened(&seat, &name("a")), &name("a"), b" and more").expect("the disk works");
    let bytes = |keep: Keep<'_>| disk.power_cut(keep).bytes(&name("a")).expect("its name is durable");
    assert_eq!(bytes(Keep::Nothing), b"whole");
    assert_eq!(bytes(Keep::All), b"whole and more");
    let (mut cut, mut nuls) = (0, 0);
    for seed in 0..100 {
        let bytes = bytes(Keep::Some(&mut Rng::new(seed)));
        let kept = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        assert!(kept >= 5 && b"whole and more".starts_with(&bytes[..kept]), "{bytes:?}");
        assert!(bytes[kept..].iter().all(|&b| b == 0), "{bytes:?}");
        cut += u32::from(bytes.len() < 14);
        nuls += u32::from(kept < bytes.len());
    }
    assert!(cut > 20 && nuls > 10, "{cut} cut, {nuls} with NULs");
    seat.sync(&opened(&seat, &name("a")), &name("a")).expect("the disk works");
    assert_eq!(disk.power_cut(Keep::Nothing).bytes(&name("a")), Some(b"whole and more".to_vec()));
}

#[test]
fn a_failed_sync_loses_its_bytes_and_the_next_one_does_not_bring_them_back() {
    let disk = MemDisk::new();
    let seat = disk.process();
    publish(&seat, &name("a")).expect("the disk works");
    let file = opened(&seat, &name("a"));
    seat.append(&file, &name("a"), b"lost").expect("the disk works");
    at(&disk, What::Sync, Fault::Error(EIO)).sync(&file, &name("a")).expect_err("it fails");
    seat.append(&file, &name("a"), b"kept").expect("the disk works");
    seat.sync(&file, &name("a")).expect("the next one says yes");
    assert_eq!(disk.bytes(&name("a")), Some(b"wholelostkept".to_vec()));
    assert_eq!(disk.power_cut(Keep::All).bytes(&name("a")), Some(b"whole\0\0\0\0kept".to_vec()));
}

#[test]
fn who_is_dead_does_nothing_any_more_and_its_gate_is_not_asked() {
    type Mortal = Seat<At<fn() -> Pass>>;
    let deaths: [fn(&MemDisk, &Mortal); 3] = [
        |_, seat| drop(seat.remove(&name("a")).expect_err("it dies")),
        |_, seat| seat.die(),
        |disk, _| disk.cut_power(Keep::All),
    ];
    for die in deaths {
        let disk = MemDisk::new();
        disk.put(&name("a"), b"x");
        let seat = disk.seat(At(What::Remove, (|| Pass::Fault(Fault::Die)) as fn() -> Pass));
        let file = opened(&seat, &name("a"));
        die(&disk, &seat);
        assert!(seat.is_dead() && seat.clone().is_dead());
        let error = seat.append(&file, &name("a"), b"y").expect_err("it is dead");
        assert_eq!(error.source.raw_os_error(), Some(EIO));
        assert!(publish(&seat, &name("b")).is_err() && seat.list(Dir::Journal).is_err());
        assert_eq!(disk.everything(), [("journal/a".to_owned(), b"x".to_vec())].into());
        assert_eq!(disk.process().list(Dir::Journal).expect("others live"), ["a"]);
    }
}

#[test]
fn a_power_cut_while_a_call_waits_at_its_gate_kills_it_there() {
    let disk = MemDisk::new();
    let other = disk.clone();
    let seat = disk.seat(At(What::Publish, move || {
        other.cut_power(Keep::Nothing);
        Pass::Go
    }));
    publish(&seat, &name("a")).expect_err("its machine is gone");
    assert_eq!(disk.files(Dir::Journal), [""; 0]);
}

#[test]
fn a_torn_append_leaves_its_beginning_and_nuls_and_a_short_one_says_how_much_it_took() {
    let disk = MemDisk::new();
    disk.put(&name("a"), b"");
    let torn = at(&disk, What::Append, Fault::Torn { bytes: 2, nuls: 3 });
    torn.append(&opened(&torn, &name("a")), &name("a"), b"long").expect_err("it died");
    assert_eq!(disk.bytes(&name("a")), Some(b"lo\0\0\0".to_vec()));
    let short = at(&disk, What::Append, Fault::Short(1));
    assert_eq!(short.append(&opened(&short, &name("a")), &name("a"), b"long").expect("a part"), 1);
    let late = at(&disk, What::Append, Fault::Late(EIO));
    late.append(&opened(&late, &name("a")), &name("a"), b"late").expect_err("late");
    assert_eq!(disk.bytes(&name("a")), Some(b"lo\0\0\0llate".to_vec()));
}

#[test]
fn an_open_file_stays_the_same_file_when_its_name_goes() {
    let disk = MemDisk::new();
    disk.put(&name("a"), b"old");
    let seat = disk.process();
    let file = opened(&seat, &name("a"));
    disk.put(&name("a"), b"new");
    assert!(!seat.is_at(&file, &name("a")).expect("the disk works"));
    assert_eq!(seat.read(&file, &name("a"), 1, 9).expect("it is open"), b"ld");
    disk.overwrite(&name("a"), b"rot");
    disk.flip(&name("a"), 0);
    assert!(seat.is_at(&opened(&seat, &name("a")), &name("a")).expect("the disk works"));
    assert_eq!(disk.bytes(&name("a")), Some(b"sot".to_vec()));
    let error = seat.read(&file, &name("a"), 0, 2).expect_err("there are three");
    assert_eq!(error.source.kind(), ErrorKind::FileTooLarge);
}

#[test]
fn a_full_disk_takes_what_has_room_and_publishes_nothing_that_has_none() {
    let disk = MemDisk::new();
    disk.put(&name("a"), b"1234");
    disk.limit(Some(10));
    let seat = disk.process();
    let file = opened(&seat, &name("a"));
    let full = |error: DiskError| assert_eq!(error.source.raw_os_error(), Some(ENOSPC));
    full(seat.publish(&name("b"), b"7 bytes", Durability::Synced).expect_err("no room"));
    full(seat.replace(&name("b"), b"7 bytes").expect_err("no room"));
    assert_eq!(disk.files(Dir::Journal), ["a"]);
    assert_eq!(seat.append(&file, &name("a"), b"7 bytes").expect("a part"), 6);
    full(seat.append(&file, &name("a"), b"more").expect_err("no room"));
    full(seat.append_or_create(&mark("m"), b"more").expect_err("no room"));
    // The room of a removed file is free once nobody has it open.
    disk.take(&name("a"));
    full(publish(&seat, &name("b")).expect_err("no room"));
    drop(file);
    publish(&seat, &name("b")).expect("there is room");
    disk.limit(None);
    seat.append_or_create(&mark("m"), &[0; 100]).expect("there is room");
}

#[test]
fn a_fingerprint_is_of_all_that_the_future_depends_on_and_of_nothing_else() {
    // Two ways to the same disk: inodes differ in their numbers.
    let one = MemDisk::new();
    one.put(&name("a"), b"x");
    one.put(&name("b"), b"y");
    let two = MemDisk::new();
    two.put(&name("c"), b"z");
    two.put(&name("b"), b"y");
    two.put(&name("a"), b"x");
    two.take(&name("c"));
    assert_eq!(one.fingerprint(), two.fingerprint());
    assert_eq!(one.fingerprint(), one.copy().fingerprint());

    let mut seen = vec![one.fingerprint()];
    let mut version = one.version();
    let mut changed = |what: &str| {
        assert!(!seen.contains(&one.fingerprint()), "{what}");
        assert!(one.version() > version, "{what}");
        seen.push(one.fingerprint());
        version = one.version();
    };
    let seat = one.process();
    let file = opened(&seat, &name("a"));
    seat.append(&file, &name("a"), b"more").expect("the disk works");
    changed("bytes that are not synced");
    at(&one, What::Sync, Fault::Error(EIO)).sync(&file, &name("a")).expect_err("it fails");
    changed("bytes that are lost");
    seat.append(&file, &name("a"), b"end").expect("the disk works");
    changed("more bytes");
    seat.sync(&file, &name("a")).expect("the disk works");
    changed("bytes that are synced");
    seat.publish(&name("d"), b"", Durability::None).expect("the disk works");
    changed("a name that is not durable");
    seat.sync_dir(Dir::Journal).expect("the disk works");
    changed("a name that is durable");
    seat.remove(&name("a")).expect("the disk works");
    changed("a name that is gone and not for certain");
    seat.sync_dir(Dir::Journal).expect("the disk works");
    changed("an open file without a name");
    one.limit(Some(1 << 20));
    changed("a limit");
    drop(file);
    assert!(!seen.contains(&one.fingerprint()), "a file that nobody can come to any more");

    let (before, version) = (one.fingerprint(), one.version());
    seat.list(Dir::Journal).expect("the disk works");
    seat.read(&opened(&seat, &name("b")), &name("b"), 0, 9).expect("the disk works");
    seat.sync_dir(Dir::Journal).expect("the disk works");
    assert_eq!((one.fingerprint(), one.version()), (before, version), "looking changes nothing");
}

#[test]
fn two_disks_that_only_a_power_cut_tells_apart_have_different_fingerprints() {
    let of = |work: &dyn Fn(&MemDisk)| {
        let disk = MemDisk::new();
        disk.put(&name("a"), b"x");
        work(&disk);
        disk.fingerprint()
    };
    let appended = |seat: &Seat<At<fn() -> Pass>>| {
        let file = opened(seat, &name("a"));
        seat.append(&file, &name("a"), b"more").expect("the disk works");
        let _told = seat.sync(&file, &name("a"));
    };
    let synced = of(&|disk| appended(&disk.seat(At(What::Sync, || Pass::Go))));
    let lost = of(&|disk| appended(&disk.seat(At(What::Sync, || Pass::Fault(Fault::Error(EIO))))));
    assert_ne!(synced, lost);

    let published = |files: [&'static str; 2]| {
        of(&move |disk| {
            for file in files {
                let made = disk.process().publish(&name(file), b"", Durability::None);
                assert_eq!(made.expect("the disk works"), Published::Created);
            }
        })
    };
    assert_ne!(published(["b", "c"]), published(["c", "b"]), "one of them is lost first");
    assert_eq!(published(["b", "c"]), published(["b", "c"]));
}
