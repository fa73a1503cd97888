//! A look back at moments before, of and after a repair: what was so then, as far as it is still there.

mod common;

use arbiter::seq::Seq;
use common::{Client, lanes, operator, release_of, seq, time, writing};
use journal::history::state_at;
use journal::repair;
use journal::segment;
use journal::state::{State, Until};
use testkit::disk::{Keep, MemDisk};

/// Two segments, a record a second; with a lease given back in the first.
fn store() -> MemDisk {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    for n in 1..4 {
        ann.acquire(n, &format!("l{n}"), &[&format!("l{n}/**")]).expect("sound");
    }
    let given_back =
        common::load(disk.process()).expect("sound").live.in_lane(&common::lane("l2"), None).cloned();
    ann.write(4, &[release_of(&given_back.expect("it lives"))]).expect("sound");
    ann.store.seal(writing(5)).expect("sound");
    for n in 6..9 {
        ann.acquire(n, &format!("l{n}"), &[&format!("l{n}/**")]).expect("sound");
    }
    disk.power_cut(Keep::All)
}

fn at(disk: &MemDisk, until: Until) -> (State, Option<Seq>) {
    state_at(&disk.process(), until).expect("it is there")
}

#[test]
fn moments_before_a_repair_show_what_was_so_before_it() {
    let disk = store();
    let last = 9;
    let before: Vec<(State, Option<Seq>)> = (1..=last).map(|n| at(&disk, Until::Seq(seq(n)))).collect();
    let (root, sealed) = (6, 6);

    // The last record, a grant, is cut off.
    let active = segment::name(seq(root));
    let bytes = disk.bytes(&active).expect("there");
    let cut = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').expect("lines") + 1;
    disk.put(&active, &bytes[..cut]);
    let plan = repair::repair(&disk.process(), &operator(20)).expect("the disk works").expect("damaged");
    let highest = plan.active.expect("the active segment").highest;
    let hold = highest + 1;

    // By number and by time: what the sealed segment says is as it was, moment by moment.
    for n in 1..=sealed {
        let (state, seen) = at(&disk, Until::Seq(seq(n)));
        assert_eq!(
            (&state, seen),
            (&before[usize::try_from(n).expect("small") - 1].0, Some(seq(n))),
            "record {n}"
        );
        let ts = time(n.saturating_sub(1));
        let (by_time, _) = at(&disk, Until::Time(ts));
        assert!(by_time.live.iter().all(|lease| lease.acquired_at <= ts), "record {n}");
        assert!(by_time.live.iter().all(|lease| lease.owner.as_str() != repair::REPAIR_OWNER), "record {n}");
    }
    // What stood in the segment that was moved aside cannot be shown: the nearest older moment is, and says so.
    for n in root + 1..hold {
        let (state, seen) = at(&disk, Until::Seq(seq(n)));
        assert_eq!((lanes(&state), seen), (vec!["l1".into(), "l3".into()], Some(seq(sealed))), "record {n}");
    }
    let (state, _) = at(&disk, Until::Time(time(19)));
    assert_eq!(lanes(&state), ["l1", "l3"], "a second before the repair there was no hold");
    // From the repair on: what it kept, and the hold.
    for until in [Until::Seq(seq(hold)), Until::Time(time(20)), Until::Now] {
        let (state, _) = at(&disk, until);
        assert_eq!(lanes(&state), ["l1", "l3", "l6", "l7", &format!("repair-{hold}")], "{until:?}");
    }
}
