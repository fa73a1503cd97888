//! One who looks again and again reads what is new. It sees what a newcomer sees, who reads everything.

mod common;

use common::{Client, load, release_of, spawn, time, writing};
use journal::JournalError;
use journal::disk::{Access, Disk};
use journal::history::{Keep, prune};
use journal::segment;
use journal::store::{FileStore, Store};
use testkit::disk::MemDisk;
use testkit::rng::Rng;

/// What a look comes to, with all that is kept of it.
fn seen<D: Disk>(store: &mut FileStore<D>) -> Result<String, String> {
    match store.load() {
        Ok(_) => {
            let what = store.segment().map(|segment| {
                let chain = (segment.chain.head(), segment.chain.bytes(), segment.chain.has_open_tail());
                let root = (segment.root, segment.root_bytes, segment.format.clone(), segment.repaired_after);
                format!("{root:?} {chain:?} {:?} {:?}", segment.checkpoint(), segment.seal)
            });
            Ok(format!("{what:?} {:?} {}", store.head(), store.is_poisoned()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn newcomer(disk: &MemDisk) -> FileStore<impl Disk> {
    FileStore::new(disk.process(), Access::Read)
}

#[test]
fn in_random_lives_with_late_and_dead_writers_rotations_and_pruning() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        let mut eyes = newcomer(&disk);
        let mut late = FileStore::new(disk.process(), Access::Append);
        for n in 1..70u64 {
            let mut client = Client::new(disk.process(), &format!("c{n}"));
            let place = format!("src/{}/**", rng.below(6));
            client.acquire(n, &format!("lane{}", rng.below(8)), &[&place]).expect("sound");
            match rng.below(12) {
                0 | 1 => drop(late.prepare(writing(1000 + n)).expect("sound")),
                // Whoever loaded long ago writes what does not count.
                2 | 3 => {
                    let _conflict = late.append_if(writing(2000 + n), &[spawn("late")]).expect("sound");
                }
                4 => assert!(client.store.seal(writing(3000 + n)).expect("sound")),
                5 => {
                    let root = client.store.segment().expect("begun").root;
                    disk.add(&segment::name(root), b"{\"seq\":12,\"ts\":\"20");
                }
                6 => drop(prune(&disk.process(), Keep::None, time(n)).expect("sound")),
                7 | 8 => {
                    let some = load(disk.process()).expect("sound").live.iter().next().cloned();
                    let ops: Vec<_> = some.iter().map(release_of).collect();
                    client.store.prepare(writing(4000 + n)).expect("sound");
                    let _nothing_else = client.store.append_if(writing(4000 + n), &ops).expect("sound");
                }
                _ => {}
            }
            if !rng.one_in(4) {
                assert_eq!(seen(&mut eyes), seen(&mut newcomer(&disk)), "seed {seed}, step {n}");
            }
        }
    }
}

#[test]
fn whatever_becomes_of_bytes_that_were_seen_before() {
    let disk = MemDisk::new();
    for n in 1..6 {
        Client::new(disk.process(), "c").acquire(n, &format!("l{n}"), &[&format!("d{n}")]).expect("sound");
    }
    let mut eyes = newcomer(&disk);
    eyes.load().expect("sound");
    let name = segment::name(eyes.segment().expect("begun").root);
    let whole = disk.bytes(&name).expect("there");
    for at in 0..whole.len() {
        eyes.load().expect("sound");
        disk.flip(&name, at * 8 + 2);
        let (again, first) = (seen(&mut eyes), seen(&mut newcomer(&disk)));
        assert!(again.is_err(), "byte {at}");
        assert_eq!(again, first, "byte {at}");
        disk.overwrite(&name, &whole);
    }
    for shorter in [whole.len() - 1, whole.len() / 2, 0] {
        eyes.load().expect("sound");
        disk.overwrite(&name, &whole[..shorter]);
        assert_eq!(seen(&mut eyes), seen(&mut newcomer(&disk)), "{shorter} bytes");
        disk.overwrite(&name, &whole);
    }
    // An older copy: what was acknowledged since is missing.
    eyes.load().expect("sound");
    Client::new(disk.process(), "c").acquire(8, "l8", &["d8"]).expect("sound");
    let whole = disk.bytes(&name).expect("there");
    let last = whole[..whole.len() - 1].iter().rposition(|&b| b == b'\n').expect("two lines");
    disk.overwrite(&name, &whole[..=last]);
    assert!(matches!(eyes.load(), Err(JournalError::Damaged(_))));
    disk.overwrite(&name, &whole);
    // Moved away, as by a repair.
    eyes.load().expect("sound");
    disk.take(&name);
    assert!(matches!(eyes.load(), Err(JournalError::Damaged(_))));
    // The same bytes in another file, and then more of them there.
    disk.put(&name, &whole);
    eyes.load().expect("sound");
    disk.take(&name);
    disk.put(&name, &whole);
    Client::new(disk.process(), "c").acquire(9, "l9", &["d9"]).expect("sound");
    assert_eq!(seen(&mut eyes), seen(&mut newcomer(&disk)));
}
