//! Who is interested in some of the leases reads a large segment by its index, and decides as if it had read all.

mod common;

use arbiter::evidence::Evidence;
use arbiter::interest::Interest;
use arbiter::lease::Lease;
use arbiter::policy::Policy;
use arbiter::request::{Request, RequestId};
use common::{
    Client, clock, decide, heartbeat_of, lane, lines_after, load, owner, release_of, request, spawn, time,
    writing,
};
use journal::JournalError;
use journal::chain::Head;
use journal::disk::{Access, Disk};
use journal::history::{Keep, prune};
use journal::index;
use journal::line;
use journal::record::{Adopt, Op};
use journal::segment;
use journal::state::{ANSWERS_MAX, State};
use journal::store::{Appended, FileStore, Store};
use testkit::disk::MemDisk;
use testkit::rng::Rng;

/// A store that is read by its index however small it is.
fn by_index(disk: &MemDisk) -> FileStore<impl Disk> {
    FileStore::new(disk.process(), Access::Append).with_index_from(0)
}

fn interest(request: &Request) -> Interest {
    Interest::of(request, &Policy::default()).expect("it names its lane")
}

/// All that a decision about the request comes to, and all that it may be asked besides.
fn outcome(state: &State, asked: &Request, n: u64) -> String {
    let decided = decide(state, asked, Evidence::at(clock(n)), time(n));
    let answers: Vec<_> =
        (0..50).map(|id| state.answer_to(&RequestId::new(format!("r{id}")).expect("a name"))).collect();
    format!("{decided:?} {answers:?} {:?} {:?} {:?}", state.counters, state.policy, state.waiters)
}

/// Looks by the index and without, and says whether leases were left out.
fn compare<D: Disk>(disk: &MemDisk, store: &mut FileStore<D>, asked: &Request, n: u64, at: &str) -> bool {
    let whole = load(disk.process()).expect("sound");
    let state = store.prepare_for(writing(n), &interest(asked)).expect("sound").clone();
    assert_eq!(outcome(&state, asked, n), outcome(&whole, asked, n), "{at}");
    for lease in state.live.iter() {
        assert_eq!(Some(lease), whole.live.get(lease.lease), "{at}");
    }
    state.live.len() < whole.live.len()
}

/// One step of a life in which leases come and go in every way.
fn step(disk: &MemDisk, rng: &mut Rng, n: u64) {
    let mut store = FileStore::new(disk.process(), Access::Append);
    let state = store.prepare(writing(n)).expect("sound").clone();
    let held = state.live.iter().nth(rng.below(state.live.len().max(1))).cloned();
    let ops = match (rng.below(12), held) {
        (0 | 1, Some(lease)) => vec![release_of(&lease)],
        (2 | 3, Some(lease)) => vec![heartbeat_of(&lease, n)],
        (4, Some(lease)) => vec![Op::Adopt(Box::new(Adopt {
            lane: lease.lane.clone(),
            owner: owner("eve"),
            from: lease.owner.clone(),
            lease: lease.lease,
            fence: lease.fence,
            clock: clock(n),
            processes: Vec::new(),
        }))],
        (5, _) => vec![spawn("soon")],
        _ => {
            let mut asked = asks(rng);
            asked.request_id = rng.one_in(2).then(|| RequestId::new(format!("r{}", n % 50)).expect("a name"));
            if asked.request_id.as_ref().is_some_and(|id| state.answer_to(id).is_some()) {
                asked.request_id = None;
            }
            decide(&state, &asked, Evidence::at(clock(n)), time(n)).1
        }
    };
    let before = store.head().expect("loaded");
    store.append_if(writing(n), &ops).expect("sound");
    store.commit().expect("sound");
    let name = segment::name(store.segment().expect("loaded").root);
    match rng.below(14) {
        0 => disk.add(&name, lines_after(before, n + 10_000, &[spawn("late")]).0.concat().as_bytes()),
        1 => disk.add(&name, b"{\"seq\":12,\"ts\":\"20"),
        2 | 3 => assert!(store.seal(writing(n)).expect("sound")),
        4 => drop(prune(&disk.process(), Keep::None, time(n)).expect("sound")),
        _ => {}
    }
}

fn asks(rng: &mut Rng) -> Request {
    let tree = format!("src/{}/**", rng.below(40));
    let tree = if rng.one_in(20) { "src/**" } else { &tree };
    request("o", &format!("lane{}", rng.below(40)), &[tree])
}

#[test]
fn a_decision_by_the_index_is_that_of_all_leases() {
    let mut left_out = 0;
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        for n in 1..120 {
            step(&disk, &mut rng, n);
            let mut store = by_index(&disk);
            let asked = asks(&mut rng);
            left_out += u32::from(compare(&disk, &mut store, &asked, n, &format!("seed {seed}, step {n}")));
            if rng.one_in(3) {
                // Whoever has left out leases appends and seals like anybody.
                let state = store.segment().expect("loaded").state.clone();
                let ops = decide(&state, &asked, Evidence::at(clock(n)), time(n)).1;
                store.append_if(writing(20_000 + n), &ops).expect("sound");
                store.commit().expect("sound");
                let whole = load(disk.process()).expect("sound");
                assert!(!rng.one_in(4) || store.seal(writing(30_000 + n)).expect("sound"));
                let sealed = load(disk.process()).expect("sound");
                assert_eq!(sealed.live, whole.live, "seed {seed}, step {n}");
            }
            store.tend_index();
        }
    }
    assert!(left_out > 300, "leases were left out {left_out} times");
}

/// A store with `leases` leases in its root, of which a third ended later and one beat, as its index knows; and a record
/// behind what the index covers.
fn store_with_index(leases: u64) -> MemDisk {
    store_with_index_of(leases, |n| format!("src/{n}/**"))
}

fn store_with_index_of(leases: u64, tree: impl Fn(u64) -> String) -> MemDisk {
    let disk = MemDisk::new();
    let mut client = Client::new(disk.process(), "o");
    for n in 1..=leases {
        client.acquire(n, &format!("lane{n}"), &[&tree(n)]).expect("sound");
    }
    client.store.seal(writing(leases + 1)).expect("sound");
    client.acquire(leases + 2, "more", &["docs/**"]).expect("sound");
    let live = load(disk.process()).expect("sound").live;
    let (ends, others): (Vec<_>, Vec<_>) = live.iter().partition(|lease| lease.lease.get() % 3 == 0);
    client.write(leases + 3, &ends.into_iter().map(release_of).collect::<Vec<_>>()).expect("sound");
    client.write(leases + 4, &[heartbeat_of(others[1], leases + 4)]).expect("sound");
    tend(&disk);
    client.acquire(leases + 5, "behind", &["doc/**"]).expect("sound");
    disk
}

/// Somebody looks in vain, and makes what it looked for.
fn tend(disk: &MemDisk) {
    let mut store = by_index(disk);
    store.prepare_for(writing(1), &Interest::default().in_lane(&lane("x"))).expect("sound");
    store.tend_index();
}

fn root_of(disk: &MemDisk) -> arbiter::seq::Seq {
    let mut store = FileStore::new(disk.process(), Access::Read);
    store.load().expect("sound");
    store.segment().expect("begun").root
}

#[test]
fn whatever_becomes_of_an_index_changes_no_answer() {
    let disk = store_with_index(7);
    let name = index::name(root_of(&disk));
    let good = disk.bytes(&name).expect("it was made");
    let asked =
        [request("o", "new", &["src/4/x"]), request("o", "lane2", &["b"]), request("o", "new", &["free"])];
    let check = |at: &str, disk: &MemDisk| {
        asked.iter().filter(|asked| compare(disk, &mut by_index(disk), asked, 99, at)).count()
    };
    assert_eq!(check("as it is", &disk), asked.len());
    let mut used = Vec::new();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        disk.overwrite(&name, &bad);
        used.extend((check(&format!("byte {at}"), &disk) > 0).then_some(at));
        disk.overwrite(&name, &good[..at]);
        used.extend((check(&format!("cut at {at}"), &disk) > 0).then_some(at));
    }
    // What is not sound is not used; but for leases that nobody asks for here, which nobody reads.
    let first = *used.first().expect("some leases stand in the index itself");
    assert!(good[first..].starts_with(b"{\"lease\":"), "byte {first} was changed in vain");
    for (from, to) in [(40, 60), (0, 30), (first - 90, first)] {
        let mut bad = good.clone();
        bad[from..to].fill(0);
        disk.overwrite(&name, &bad);
        assert_eq!(check(&format!("NULs from {from} to {to}"), &disk), 0);
    }
}

#[test]
fn an_index_of_another_root_is_not_believed() {
    let disk = store_with_index(600);
    let root = root_of(&disk);
    // A store that differs in one lease, as long as the one in its place: where a reader looks beside, it is the same.
    let is_other = |n| if n == 100 { "els" } else { "src" };
    let other = store_with_index_of(600, |n| format!("{}/{n}/**", is_other(n)));
    assert_eq!(root_of(&other), root);
    let len = |disk: &MemDisk| disk.bytes(&segment::name(root)).expect("there").len();
    assert_eq!(len(&other), len(&disk));
    let asked = request("o", "new", &["els/100/x"]);
    assert!(compare(&other, &mut by_index(&other), &asked, 999, "its own"));
    other.put(&index::name(root), &disk.bytes(&index::name(root)).expect("it was made"));
    assert!(!compare(&other, &mut by_index(&other), &asked, 999, "of another store"));
    // And one that somebody makes again in its place.
    tend(&other);
    assert!(compare(&other, &mut by_index(&other), &asked, 999, "made again"));
}

/// Where no record is behind the index, no link of the chain tells it from that of another store; its stamp does.
#[test]
fn an_index_of_another_root_with_nothing_behind_it_is_not_believed() {
    let store =
        |name| store_with_index_of(600, |n| format!("{}/{n}/**", if n == 100 { name } else { "src" }));
    let (mine, other) = (store("els"), store("src"));
    let asked = request("o", "new", &["els/100/x"]);
    let name = index::name(root_of(&mine));
    // By turns another piece of what is covered is looked at, mostly one in which the stores are the same.
    for n in 900..908 {
        for disk in [&mine, &other] {
            Client::new(disk.process(), "o").write(n, &[spawn("more")]).expect("sound");
            disk.take(&name);
            tend(disk);
        }
        assert!(compare(&mine, &mut by_index(&mine), &asked, 999, "its own"), "{n}");
        let mine = mine.copy();
        mine.overwrite(&name, &other.bytes(&name).expect("it was made"));
        assert!(!compare(&mine, &mut by_index(&mine), &asked, 999, "of another store"), "{n}");
    }
}

/// Somebody has appended and is not durable yet; somebody else makes the index meanwhile.
#[test]
fn an_index_that_covers_more_than_is_marked_raises_no_alarm() {
    let disk = store_with_index(7);
    let mut slow = FileStore::new(disk.process(), Access::Append);
    slow.prepare(writing(50)).expect("sound");
    slow.append_if(writing(50), &[spawn("one"), spawn("two"), spawn("three"), spawn("four")]).expect("sound");
    disk.take(&index::name(root_of(&disk)));
    tend(&disk);
    let asked = request("o", "new", &["src/4/x"]);
    compare(&disk, &mut by_index(&disk), &asked, 99, "before it is marked");
    slow.commit().expect("sound");
    assert!(compare(&disk, &mut by_index(&disk), &asked, 99, "after"));
}

/// A lease that the index knows and nobody asks about goes on and ends without a reading of all.
#[test]
fn records_about_leases_that_were_left_out_are_no_reason_to_read_all() {
    let disk = store_with_index(7);
    let live = load(disk.process()).expect("sound").live;
    let mut client = Client::new(disk.process(), "o");
    let free = request("o", "new", &["free"]);
    let mut check = |n, op, lease: &Lease| {
        client.write(n, &[op]).expect("sound");
        assert!(compare(&disk, &mut by_index(&disk), &free, 99, "a lease"), "{lease}");
    };
    for (n, lease) in (60..).zip(live.iter()) {
        check(n, heartbeat_of(lease, n), lease);
    }
    for (n, lease) in (80..).zip(live.iter().skip(1)) {
        check(n, release_of(lease), lease);
    }
}

/// Somebody who slept extends a record that an index covers, while one who read by the index appends: his record is
/// nothing to the chain, and not damage.
#[test]
fn a_late_writer_who_extends_what_is_covered_is_no_damage_to_one_who_appends() {
    let disk = store_with_index(7);
    let name = segment::name(root_of(&disk));
    let asked = request("o", "new", &["free"]);
    let mut store = by_index(&disk);
    let state = store.prepare_for(writing(70), &interest(&asked)).expect("sound").clone();
    assert!(!state.is_whole());
    let bytes = disk.bytes(&name).expect("there");
    let old =
        bytes.split(|&byte| byte == b'\n').nth(1).and_then(line::decode).expect("a record behind the root");
    let old = Head { seq: old.seq, crc: old.crc, ts: old.ts };
    disk.add(&name, lines_after(old, 71, &[spawn("late")]).0.concat().as_bytes());
    let ops = decide(&state, &asked, Evidence::at(clock(72)), time(72)).1;
    let appended = store.append_if(writing(72), &ops).expect("nothing is damaged");
    assert!(matches!(appended, Appended::Valid { .. }), "{appended:?}");
    store.commit().expect("sound");
    assert!(load(disk.process()).expect("sound").live.iter().any(|lease| lease.lane.as_str() == "new"));
}

#[test]
fn rot_in_a_small_root_refuses_every_decision() {
    let disk = store_with_index(7);
    let root = segment::name(root_of(&disk));
    let whole = disk.bytes(&root).expect("there");
    let end = whole.iter().position(|&byte| byte == b'\n').expect("a root ends");
    let asked = interest(&request("o", "new", &["free"]));
    for at in 0..=end {
        let copy = disk.copy();
        copy.flip(&root, at * 8 + at % 8);
        let refused = by_index(&copy).prepare_for(writing(99), &asked).map(drop);
        assert!(matches!(refused, Err(JournalError::Damaged(_))), "byte {at}: {refused:?}");
    }
}

/// Of a large root each decision reads what it rests on, and one piece beside it, now this one and now that, however many
/// records each call writes.
#[test]
fn rot_in_a_large_root_refuses_at_once_what_rests_on_it_and_soon_the_rest() {
    for records in 1..5 {
        rot_is_found(records);
    }
}

fn rot_is_found(records: usize) {
    let disk = store_with_index(600);
    let root = segment::name(root_of(&disk));
    let text = String::from_utf8(disk.bytes(&root).expect("there")).expect("text");
    let root_bytes = text.find('\n').expect("a root ends");
    let pieces = root_bytes.div_ceil(64 << 10) as u64;
    assert!(pieces > 2, "{root_bytes} bytes");
    let place = text.find("src/501/").expect("it is there");
    disk.flip(&root, place * 8);

    let asked = interest(&request("o", "new", &["src/501/x"]));
    let refused = by_index(&disk).prepare_for(writing(999), &asked).map(drop);
    assert!(matches!(refused, Err(JournalError::Damaged(_))), "{refused:?}");

    let mut granted = 0;
    let last = (0..20 * pieces).find_map(|n| {
        let asked = request("o", &format!("free{n}"), &[&format!("free/{n}")]);
        let mut store = by_index(&disk);
        let state = match store.prepare_for(writing(1000 + n), &interest(&asked)) {
            Ok(state) => state.clone(),
            Err(error) => return Some(error),
        };
        assert!(state.live.len() < 100, "it read by the index");
        let mut ops = vec![spawn("more"); records - 1];
        ops.extend(decide(&state, &asked, Evidence::at(clock(n)), time(1000 + n)).1);
        store.append_if(writing(1000 + n), &ops).expect("sound");
        granted += 1;
        None
    });
    assert!(matches!(last, Some(JournalError::Damaged(_))), "after {granted} grants: {last:?}");
}

#[test]
fn who_is_interested_in_everything_reads_all() {
    let disk = store_with_index(600);
    let whole = load(disk.process()).expect("sound");
    let state = by_index(&disk)
        .prepare_for(writing(1), &interest(&request("o", "new", &["docs/x"])))
        .expect("sound")
        .clone();
    assert!(state.live.len() < 10, "{}", state.live.len());
    let everything = interest(&request("o", "new", &["**"]));
    let state = by_index(&disk).prepare_for(writing(1), &everything).expect("sound").clone();
    assert_eq!(state.live, whole.live);
    let holder = whole.live.iter().nth(7).expect("there are more");
    let state = by_index(&disk)
        .prepare_for(writing(1), &Interest::default().in_lease(holder.lease))
        .expect("sound")
        .clone();
    assert_eq!(state.live.get(holder.lease), Some(holder));
    assert!(state.live.len() < 10);
}

/// Behind a record of a late writer who extends what is covered the index serves nobody. One that covers it does.
#[test]
fn an_index_behind_which_a_late_writer_came_is_made_anew() {
    let disk = store_with_index(7);
    let name = segment::name(root_of(&disk));
    let bytes = disk.bytes(&name).expect("there");
    let old =
        bytes.split(|&byte| byte == b'\n').nth(1).and_then(line::decode).expect("a record behind the root");
    let old = Head { seq: old.seq, crc: old.crc, ts: old.ts };
    disk.add(&name, lines_after(old, 71, &[spawn("late")]).0.concat().as_bytes());
    let asked = request("o", "new", &["free"]);
    assert!(!compare(&disk, &mut by_index(&disk), &asked, 99, "behind a late writer"));
    tend(&disk);
    assert!(compare(&disk, &mut by_index(&disk), &asked, 99, "made anew"));
}

/// What a power cut or rot leaves of an index may begin well; whoever finds it out makes another one.
#[test]
fn an_index_of_which_a_part_is_spoilt_is_made_anew() {
    let disk = store_with_index(7);
    let name = index::name(root_of(&disk));
    let good = disk.bytes(&name).expect("it was made");
    let asked = request("o", "new", &["src/4/x"]);
    let own = good.windows(9).position(|text| text == b"{\"lease\":").expect("some leases stand in it");
    for at in [good.len() - 1, own - 1, own - 40, 100, 3] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        disk.overwrite(&name, &bad);
        let mut store = by_index(&disk);
        // One for whom all of it matters.
        let everything = interest(&request("o", "all", &["**"]));
        store.prepare_for(writing(99), &everything).expect("sound");
        store.tend_index();
        let made = disk.bytes(&name).expect("there");
        assert_ne!(made, bad, "byte {at}");
        assert!(compare(&disk, &mut by_index(&disk), &asked, 99, "made anew"), "byte {at}");
    }
}

/// The answers that are kept are those that whoever reads everything keeps: a lease that was read and has ended no longer
/// keeps its own from going.
#[test]
fn a_lease_that_was_read_and_ended_keeps_no_answer_from_those_who_repeat_their_request() {
    let disk = MemDisk::new();
    let mut client = Client::new(disk.process(), "o");
    let mut n = 1;
    let mut ask = |id: &str, lane: &str| {
        n += 1;
        client.store.prepare(writing(n)).expect("sound");
        let state = client.store.segment().expect("loaded").state.clone();
        let mut asked = request("o", lane, &["src/**"]);
        asked.request_id = Some(RequestId::new(id).expect("a name"));
        let ops = decide(&state, &asked, Evidence::at(clock(n)), time(n)).1;
        client.store.append_if(writing(n), &ops).expect("sound");
        client.store.commit().expect("sound");
    };
    ask("granted", "held");
    for id in 1..ANSWERS_MAX {
        ask(&format!("refused-{id}"), "x");
    }
    tend(&disk);
    let held = load(disk.process()).expect("sound").live.iter().next().expect("it lives").clone();
    Client::new(disk.process(), "o").write(1000, &[release_of(&held)]).expect("sound");
    ask("later", "held");
    let whole = load(disk.process()).expect("sound");
    for interest in [Interest::default().in_lane(&lane("held")), Interest::default().in_lane(&lane("else"))] {
        let state = by_index(&disk).prepare_for(writing(2000), &interest).expect("sound").clone();
        assert!(!state.is_whole(), "it read by the index");
        for id in ["granted", "refused-1", "refused-2", "later"] {
            let id = RequestId::new(id).expect("a name");
            assert_eq!(state.answer_to(&id), whole.answer_to(&id), "{id}");
        }
    }
}

/// Whose turn it is to bring the index up to date is not told by a number that some callers never meet.
#[test]
fn an_index_goes_on_however_many_records_each_call_writes() {
    for first in [1, 2] {
        let disk = store_with_index(7);
        let name = index::name(root_of(&disk));
        let mut client = Client::new(disk.process(), "o");
        client.write(100, &vec![spawn("first"); first]).expect("sound");
        let before = disk.bytes(&name).expect("it was made");
        for n in 101..140 {
            tend(&disk);
            client.write(n, &[spawn("one"), spawn("two")]).expect("sound");
        }
        assert_ne!(disk.bytes(&name).expect("there"), before, "{first} and then two at a time");
    }
}
