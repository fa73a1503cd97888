//! What a decision costs and how much a writer may write (safety.md, C1 and S5; format.md, section 10).

mod common;

use common::script::{Made, scripted};
use common::{Client, Told, load, writing};
use journal::JournalError;
use journal::disk::{Access, Dir};
use journal::line::RECORD_BYTES_MAX;
use journal::record::Op;
use journal::store::{FileStore, Store};
use testkit::disk::{Keep, MemDisk};

/// The disk calls of one decision, in words without the numbers of segments.
fn calls_of_a_decision(disk: &MemDisk) -> Vec<String> {
    let process = scripted(disk);
    let told = Client::new(process.clone(), "bob").acquire(9_000, "new", &["new/**"]).expect("sound");
    assert!(matches!(told, Told::Granted(_)), "{told:?}");
    let wordy = |made: &Made| format!("{made:?}").chars().filter(|c| !c.is_ascii_digit()).collect();
    process.gate().log().iter().map(wordy).collect()
}

#[test]
fn a_decision_makes_the_same_disk_calls_however_long_the_history_is() {
    let after = |segments: u64| {
        let disk = MemDisk::new();
        let mut ann = Client::new(disk.process(), "ann");
        ann.acquire(1, "held", &["held/**"]).expect("sound");
        for n in 0..segments {
            ann.acquire(2 + n, "x", &["held/x"]).expect("sound");
            ann.store.seal(writing(2 + n)).expect("sound");
        }
        // Written to since it was published, as all but the first decision after a rotation find it.
        ann.acquire(8_000, "y", &["held/y"]).expect("sound");
        let disk = disk.power_cut(Keep::All);
        (disk.files(Dir::Journal).len(), calls_of_a_decision(&disk))
    };
    let ((few, short), (many, long)) = (after(1), after(300));
    assert!(few < 3 && many > 300);
    assert_eq!(short, long);
}

#[test]
fn a_record_that_no_reader_would_take_is_not_written() {
    let disk = MemDisk::new();
    Client::new(disk.process(), "ann").acquire(1, "held", &["held/**"]).expect("sound");
    let before = disk.everything();
    let mut store = FileStore::new(disk.process(), Access::Append);
    store.prepare(writing(2)).expect("sound");
    let long = Op::Unknown("X".repeat(RECORD_BYTES_MAX));
    match store.append_if(writing(2), &[long]) {
        Err(JournalError::TooLong { bytes, most }) => assert!(bytes > most && most == RECORD_BYTES_MAX),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.everything(), before, "nothing of it was written");
    // The same caller goes on, and so does everybody else.
    store.append_if(writing(3), &[common::spawn("short")]).expect("sound");
    store.commit().expect("sound");
    assert_eq!(load(disk.process()).expect("sound").live.len(), 1);
}
