//! What another process wrote and died over is made durable by whoever builds on it or repeats it (safety.md, steps
//! S2.2 and S2.4).

mod common;

use arbiter::evidence::Evidence;
use arbiter::request::RequestId;
use common::script::scripted;
use common::{Client, Told, decide, lanes, load, request, writing};
use journal::disk::{Access, Dir};
use journal::store::{Appended, FileStore, Store};
use testkit::disk::{EIO, Fault, Keep, MemDisk, What};

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
