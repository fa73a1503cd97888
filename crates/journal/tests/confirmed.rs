//! What another process wrote and died over is made durable by whoever builds on it or repeats it (safety.md, steps
//! S2.2 and S2.4).

mod common;

use arbiter::evidence::Evidence;
use arbiter::request::RequestId;
use common::script::scripted;
use common::{Client, Told, decide, heartbeat_of, lanes, load, release_of, request, writing};
use journal::disk::{Access, Dir};
use journal::store::{Appended, FileStore, Store};
use testkit::disk::{EIO, Fault, Keep, MemDisk, What};
use testkit::rng::Rng;

/// Grants a request that has a name and dies before the sync; the disk.
fn died_before_its_sync() -> MemDisk {
    let disk = MemDisk::new();
    Client::new(disk.process(), "ann").acquire(1, "old", &["old/**"]).expect("sound");
    let mut ann = FileStore::new(disk.process(), Access::Append);
    let mut asked = request("ann", "api", &["src/**"]);
    asked.request_id = RequestId::new("once").ok();
    let state = ann.prepare(writing(2)).expect("sound");
    let (_, ops) = decide(state, &asked, Evidence::at(common::clock(2)), common::time(2));
    assert!(matches!(ann.append_if(writing(2), &ops).expect("sound"), Appended::Valid { .. }));
    disk
}

#[test]
fn a_repeated_answer_survives_the_power_cut_that_its_first_writer_would_not_have() {
    let id = RequestId::new("once").expect("a name");
    let disk = died_before_its_sync();
    assert_eq!(
        lanes(&load(disk.power_cut(Keep::Nothing).process()).expect("sound")),
        ["old"],
        "nothing was synced yet"
    );

    let mut again = FileStore::new(disk.process(), Access::Append);
    let state = again.load().expect("sound").expect("begun");
    assert!(state.answer_to(&id).is_some(), "it can be read, so it can be repeated");
    again.confirm().expect("the disk works");
    let state = load(disk.power_cut(Keep::Nothing).process()).expect("sound");
    assert_eq!(lanes(&state), ["old", "api"], "what was repeated is durable");
    assert!(state.answer_to(&id).is_some());

    // A sync that fails is no confirmation, and says so.
    let disk = died_before_its_sync();
    let process = scripted(&disk);
    let mut again = FileStore::new(process.clone(), Access::Append);
    again.load().expect("sound");
    process.gate().fault_at(0, Fault::Error(EIO));
    assert!(again.confirm().is_err());
}

/// The process dies right behind each publication of a segment, before the directory is synced; somebody else finds
/// the segment and commits the first record into it.
#[test]
fn who_commits_first_into_a_segment_that_it_only_found_makes_its_name_durable() {
    // The first segment of all, and the successor in a rotation.
    for begun in [false, true] {
        let disk = MemDisk::new();
        if begun {
            Client::new(disk.process(), "ann").acquire(1, "old", &["old/**"]).expect("sound");
        }
        let disk = disk.power_cut(Keep::All);
        let publication = {
            let process = scripted(&disk.copy());
            FileStore::new(process.clone(), Access::Append).seal(writing(2)).expect("sound");
            process
                .gate()
                .log()
                .iter()
                .position(|made| made.what == What::PublishSync && made.name.dir == Dir::Journal)
                .expect("it publishes")
        };
        let process = scripted(&disk);
        process.gate().fault_at(publication, Fault::Error(EIO));
        let mut dies = FileStore::new(process, Access::Append);
        assert!(dies.seal(writing(2)).is_err(), "it dies behind the link");

        let found = Client::new(disk.process(), "bob").acquire(3, "new", &["new/**"]).expect("sound");
        assert!(matches!(found, Told::Granted(_)), "{found:?}");
        let state = load(disk.power_cut(Keep::Nothing).process()).expect("sound");
        assert!(
            lanes(&state).contains(&"new".to_owned()),
            "begun {begun}: lost with the name: {:?}",
            lanes(&state)
        );
    }
}

#[test]
fn a_beat_and_a_release_that_were_reported_survive_a_power_cut() {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    ann.acquire(1, "api", &["src/**"]).expect("sound");
    let lease = |disk: &MemDisk| load(disk.process()).expect("sound").live.iter().next().cloned();
    let granted = lease(&disk).expect("it was granted");
    ann.write(2, &[heartbeat_of(&granted, 2)]).expect("sound").expect("nobody else is there");
    let beaten = lease(&disk.power_cut(Keep::Nothing)).expect("it was granted");
    assert!(beaten.heartbeat_at > granted.heartbeat_at, "the beat is durable");
    ann.write(3, &[release_of(&granted)]).expect("sound").expect("nobody else is there");
    assert_eq!(lease(&disk.power_cut(Keep::Nothing)), None, "the release is durable");
}

/// Of a record and its mark a power cut may keep the mark alone: then the mark accuses. So it is written behind the sync.
#[test]
fn a_power_cut_before_the_sync_of_a_record_is_no_damage_whatever_it_keeps() {
    let write = |fault: Option<usize>| {
        let disk = MemDisk::new();
        Client::new(disk.process(), "ann").acquire(1, "old", &["old/**"]).expect("sound");
        let process = scripted(&disk);
        if let Some(at) = fault {
            process.gate().fault_at(at, Fault::Die);
        }
        let _told = Client::new(process.clone(), "bob").acquire(2, "api", &["src/**"]);
        (disk, process.gate().log())
    };
    let (_, log) = write(None);
    let sync = log.iter().position(|call| call.what == What::Sync).expect("a grant is synced");
    let (disk, _) = write(Some(sync));
    // Chance seldom keeps a whole mark.
    for seed in 0..4_000 {
        let after = disk.power_cut(Keep::Some(&mut Rng::new(seed)));
        let state = load(after.process()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(lanes(&state).contains(&"old".into()), "seed {seed}");
    }
}
