//! The bytes of a whole segment, and a store with such a segment in it.

use arbiter::seq::Seq;
use journal::history::survey;
use journal::mark::Mark;
use journal::repair;
use journal::segment::{self, Segment};
use journal::state::State;
use testkit::disk::MemDisk;

use crate::common::{load, operator};

/// Any bytes as the only segment of a store: sound or damaged, never a panic; what is damaged can be repaired, and what
/// can be repaired is sound from then on.
///
/// # Panics
///
/// When the journal breaks its word.
pub fn segment(bytes: &[u8]) {
    // The first byte tells whether a mark stands beside it, and which.
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let read = Segment::read(Seq::FIRST, bytes);
    // Whoever needs the outcome alone takes a short cut.
    let long_way = Segment::read_with(Seq::FIRST, bytes, |_| Ok(()));
    match (&read, &long_way) {
        (Ok(short), Ok(long)) => assert_eq!((&short.state, &short.seal), (&long.state, &long.seal)),
        (Err(short), Err(long)) => assert_eq!(short, long),
        (short, long) => {
            panic!("read in two ways, sound in one: {:?} {:?}", short.as_ref().err(), long.as_ref().err())
        }
    }
    if let Ok(segment) = &read {
        checkpoint_says_it_all(&segment.state);
    }
    let disk = MemDisk::new();
    disk.put(&segment::name(Seq::FIRST), bytes);
    let mark = match (kind % 4, &read) {
        (1, Ok(segment)) => segment.chain.head().map(|head| Mark { seq: head.seq, crc: head.crc }),
        (2, _) => Seq::new(u64::from(kind)).map(|seq| Mark { seq, crc: journal::line::Crc(7) }),
        (3, _) => Seq::new(u64::MAX).map(|seq| Mark { seq, crc: journal::line::Crc::NONE }),
        _ => None,
    };
    if let Some(mark) = mark {
        disk.put(&segment::mark_name(Seq::FIRST), mark.encode().as_bytes());
    }
    after_a_repair(&disk);
}

/// Whatever the store holds: a plan, and after the repair a store that can be read and has nothing more to repair; or
/// no repair, and nothing is moved.
pub(crate) fn after_a_repair(disk: &MemDisk) {
    let before = disk.everything();
    let process = disk.process();
    let planned = repair::plan(&process);
    assert_eq!(disk.everything(), before, "a plan changes nothing");
    match repair::repair(&process, &operator(90)) {
        Ok(done) => {
            let planned = planned.expect("what can be done can be planned");
            assert_eq!(done.is_some(), planned.is_some());
            let Ok(state) = load(disk.process()) else { panic!("what was repaired can be read") };
            checkpoint_says_it_all(&state);
            let left = survey(&process).map(|survey| survey.damage);
            assert!(left.as_ref().is_ok_and(Vec::is_empty), "after a repair nothing is damaged: {left:?}");
            if planned.is_some_and(|plan| plan.active.is_some()) {
                let hold = state.live.iter().any(|lease| lease.owner.as_str() == repair::REPAIR_OWNER);
                assert!(hold, "something stands in for what cannot be read");
            }
            let repaired = disk.everything();
            let again = repair::repair(&process, &operator(91));
            assert!(matches!(again, Ok(None)), "there is nothing more to repair: {again:?}");
            assert_eq!(disk.everything(), repaired);
        }
        // A newer version, the end of the numbers.
        Err(_) => assert_eq!(disk.everything(), before),
    }
}

/// The checkpoint of a state, written and read, is that state.
pub(crate) fn checkpoint_says_it_all(state: &State) {
    let checkpoint = state.checkpoint(true);
    let said = serde_json::to_string(&checkpoint).expect("a checkpoint has JSON");
    let again = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(checkpoint, again, "written and read");
    assert_eq!(State::restore(again).as_ref(), Ok(state), "{said}");
}
