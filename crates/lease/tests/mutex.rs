//! The store's mutex with real threads and processes: one at a time inside, nobody waits for the dead, nobody waits
//! for ever for the stopped, and nobody removes an entry that is not its own (failure rows 11, 12 and 18).
//!
//! The test binary starts itself: [`child_half`] goes in and out, and sometimes dies inside.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use journal::disk::RealDisk;
use lease::machine::RealMachine;
use lease::mutex::{Holder, MutexError, Patience, enter, read_holder};
use lease::process;
use rustix::process::{Pid, Signal, kill_process};

const CHILD: &str = "LEASE_TEST_MUTEX_CHILD";

/// Longer than any wait of these tests unless something is wrong.
const LONG: Duration = Duration::from_mins(1);

fn store() -> (tempfile::TempDir, RealDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open_or_create(&dir.path().join("store")).unwrap();
    (dir, disk)
}

fn open(dir: &tempfile::TempDir) -> RealDisk {
    RealDisk::open(&dir.path().join("store")).unwrap().unwrap()
}

fn on(disk: &RealDisk) -> RealMachine<'_> {
    RealMachine::new(disk)
}

fn me(nonce: &str) -> Holder {
    Holder {
        nonce: nonce.into(),
        owner: "same for all".into(),
        process: process::current().ok(),
        since: "2026-11-21T10:00:00.000Z".into(),
    }
}

fn patience(ttl: Duration, budget: Duration) -> Patience {
    Patience { ttl, budget }
}

const PATIENT: Patience = Patience { ttl: LONG, budget: LONG };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Puts an entry there as somebody would who was killed or stopped inside.
fn leave_behind(dir: &tempfile::TempDir, entry: &str) {
    let disk = open(dir);
    let guard = enter(&on(&disk), &me("to be replaced"), PATIENT).unwrap();
    let path = dir.path().join("store/mutex");
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    file.write_all(entry.as_bytes()).unwrap();
    drop(guard);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), entry, "an entry of another is left alone");
}

#[test]
fn whoever_is_inside_is_named_and_gone_afterwards() {
    let (_dir, disk) = store();
    assert_eq!(read_holder(&disk).unwrap(), None);
    let guard = enter(&on(&disk), &me("one"), PATIENT).unwrap();
    assert!(!guard.is_bypass());
    let there = read_holder(&disk).unwrap().unwrap();
    assert_eq!(there, me("one"));
    assert_eq!(there.process.unwrap().pid, std::process::id());
    drop(guard);
    assert_eq!(read_holder(&disk).unwrap(), None);
    drop(enter(&on(&disk), &me("two"), PATIENT).unwrap());
}

#[test]
fn the_same_owner_twice_is_two() {
    let (dir, disk) = store();
    let guard = enter(&on(&disk), &me("one"), PATIENT).unwrap();
    let other = open(&dir);
    let busy = enter(&on(&other), &me("two"), patience(LONG, ms(100))).unwrap_err();
    let MutexError::Busy { waited, holder, path } = &busy else { panic!("{busy}") };
    assert_eq!(holder.as_deref(), Some(&me("one")));
    assert!(*waited >= ms(100) && *waited < ms(10_000));
    assert!(path.ends_with("store"));
    let text = busy.to_string();
    assert!(text.contains(&format!("pid {}", std::process::id())) && text.contains("same for all"), "{text}");
    assert!(busy.hint().unwrap().contains("LEASE_LANE_MUTEX_BUDGET"));
    drop(guard);
    // The one who gave up does not keep the queue: its lock falls back.
    let began = Instant::now();
    assert!(!enter(&on(&other), &me("three"), PATIENT).unwrap().is_bypass());
    assert!(began.elapsed() < ms(5_000));
}

#[test]
fn the_next_one_comes_in_as_soon_as_the_mutex_is_free() {
    let (dir, disk) = store();
    let guard = enter(&on(&disk), &me("one"), PATIENT).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let disk = open(&dir);
            let guard = enter(&on(&disk), &me("two"), PATIENT).unwrap();
            (guard.is_bypass(), Instant::now())
        });
        // Until the other one blocks in the kernel on the queue: two locks, one of them waiting.
        let queue = std::fs::metadata(dir.path().join("store/queue")).unwrap();
        let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&queue));
        poll("somebody queues up", || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("->") && line.contains(&inode))
        });
        let freed = Instant::now();
        drop(guard);
        let (is_bypass, entered) = waiting.join().unwrap();
        assert!(!is_bypass);
        assert!(entered - freed < ms(1_000), "{:?}", entered - freed);
    });
}

#[test]
fn who_has_waited_for_the_ttl_goes_on_without_the_mutex() {
    let (dir, disk) = store();
    let guard = enter(&on(&disk), &me("stopped"), PATIENT).unwrap();
    let other = open(&dir);
    let began = Instant::now();
    let bypass = enter(&on(&other), &me("late"), patience(ms(200), LONG)).unwrap();
    assert!(bypass.is_bypass());
    assert!(began.elapsed() >= ms(200) && began.elapsed() < ms(5_000), "{:?}", began.elapsed());
    assert_eq!(read_holder(&disk).unwrap(), Some(me("stopped")), "it took nothing from the one inside");
    drop(bypass);
    assert_eq!(read_holder(&disk).unwrap(), Some(me("stopped")), "and does not open the door behind itself");
    drop(guard);
    assert!(!enter(&on(&other), &me("next"), PATIENT).unwrap().is_bypass());
}

#[test]
fn a_queue_that_is_held_by_nobody_inside_costs_the_ttl_as_well() {
    let (dir, disk) = store();
    drop(enter(&on(&disk), &me("first"), PATIENT).unwrap());
    // Stopped between the queue and its entry.
    let queue = File::options().read(true).write(true).open(dir.path().join("store/queue")).unwrap();
    fs4::FileExt::lock(&queue).unwrap();
    assert!(enter(&on(&disk), &me("late"), patience(ms(150), LONG)).unwrap().is_bypass());
    let busy = enter(&on(&disk), &me("hasty"), patience(LONG, ms(50))).unwrap_err();
    assert!(matches!(busy, MutexError::Busy { holder: None, .. }), "{busy}");
    drop(queue);
    assert!(!enter(&on(&disk), &me("next"), PATIENT).unwrap().is_bypass());
}

#[test]
fn an_entry_of_the_dead_is_taken_over_at_once_and_of_the_unknown_after_the_ttl() {
    let (dir, disk) = store();
    let dead = Sleeper::new();
    let gone = Holder { process: Some(process::of(dead.0.id()).unwrap()), ..me("dead") };
    let alive = serde_json::to_string(&gone).unwrap();
    leave_behind(&dir, &alive);
    // Alive as far as can be seen: nobody takes it over before the TTL.
    let busy = enter(&on(&disk), &me("hasty"), patience(LONG, ms(100))).unwrap_err();
    assert!(matches!(&busy, MutexError::Busy { holder: Some(holder), .. } if **holder == gone), "{busy}");
    drop(dead);
    let began = Instant::now();
    let guard = enter(&on(&disk), &me("next"), PATIENT).unwrap();
    assert!(began.elapsed() < ms(1_000), "{:?}", began.elapsed());
    assert_eq!(read_holder(&disk).unwrap(), Some(me("next")));
    drop(guard);

    // The same pid with another start time is another process.
    let mut reused = me("reused");
    reused.process.as_mut().unwrap().start += 1;
    leave_behind(&dir, &serde_json::to_string(&reused).unwrap());
    let began = Instant::now();
    drop(enter(&on(&disk), &me("next"), PATIENT).unwrap());
    assert!(began.elapsed() < ms(1_000));

    let mut elsewhere = me("elsewhere");
    elsewhere.process.as_mut().unwrap().host = "another host".into();
    elsewhere.process.as_mut().unwrap().boot = "another boot".into();
    let nameless = Holder { process: None, ..me("nameless") };
    let (elsewhere, nameless) =
        (serde_json::to_string(&elsewhere).unwrap(), serde_json::to_string(&nameless).unwrap());
    // Nobody who lives ever wrote these: a power cut left them (simulator seeds 200 and 300).
    for cut in ["", "{", "garbage", "\0\0\0\0"] {
        leave_behind(&dir, cut);
        let began = Instant::now();
        drop(enter(&on(&disk), &me("next"), PATIENT).unwrap());
        assert!(began.elapsed() < ms(1_000), "{cut:?}: {:?}", began.elapsed());
    }
    for unknown in [&nameless, &elsewhere] {
        leave_behind(&dir, unknown);
        let began = Instant::now();
        let guard = enter(&on(&disk), &me("next"), patience(ms(150), LONG)).unwrap();
        assert!(!guard.is_bypass());
        assert!(
            began.elapsed() >= ms(150) && began.elapsed() < ms(5_000),
            "{unknown}: {:?}",
            began.elapsed()
        );
        drop(guard);
        assert_eq!(read_holder(&disk).unwrap(), None);
    }
}

#[test]
fn only_its_own_entry_is_removed() {
    let (dir, disk) = store();
    let guard = enter(&on(&disk), &me("mine"), PATIENT).unwrap();
    let theirs = serde_json::to_string(&me("theirs")).unwrap();
    std::fs::write(dir.path().join("store/mutex"), &theirs).unwrap();
    drop(guard);
    assert_eq!(read_holder(&disk).unwrap(), Some(me("theirs")));
    // Nor is it an error when the entry is gone.
    std::fs::remove_file(dir.path().join("store/mutex")).unwrap();
    let guard = enter(&on(&disk), &me("mine"), PATIENT).unwrap();
    std::fs::remove_file(dir.path().join("store/mutex")).unwrap();
    drop(guard);
    assert_eq!(read_holder(&disk).unwrap(), None);
}

#[test]
fn threads_go_in_one_at_a_time() {
    let (dir, _disk) = store();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (dir, inside) = (&dir, &inside);
            scope.spawn(move || {
                let disk = open(dir);
                for round in 0..25 {
                    let guard = enter(&on(&disk), &me(&format!("{thread}-{round}")), PATIENT).unwrap();
                    assert!(!guard.is_bypass());
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
    });
}

#[test]
fn a_storm_of_sixteen_processes_that_die_inside() {
    let (dir, disk) = store();
    let mut deaths = 0;
    let mut entries = 0;
    let mut running: Vec<Child> = (0..16).map(|n| child(dir.path(), n)).collect();
    let stop = Instant::now() + Duration::from_secs(4);
    let mut seed = 16;
    while !running.is_empty() {
        // Whoever died inside is replaced, so that there are always sixteen who want in.
        let mut next = Vec::new();
        for mut one in running {
            let Some(status) = one.try_wait().unwrap() else {
                next.push(one);
                continue;
            };
            let said = BufReader::new(one.stdout.take().unwrap()).lines().map(Result::unwrap);
            entries += said.filter(|line| line.ends_with("entered")).count();
            match (status.signal(), status.code()) {
                (Some(signal), _) if signal == Signal::KILL.as_raw() => deaths += 1,
                (None, Some(0)) => {}
                _ => panic!("a child saw something wrong: {status}"),
            }
            if Instant::now() < stop {
                next.push(child(dir.path(), seed));
                seed += 1;
            }
        }
        running = next;
        std::thread::sleep(ms(2));
    }
    eprintln!("{entries} entries, {deaths} deaths inside, {seed} processes");
    assert!(deaths > 15 && entries > 50, "that was no storm: {entries} entries, {deaths} deaths");
    let began = Instant::now();
    assert!(!enter(&on(&disk), &me("last"), PATIENT).unwrap().is_bypass());
    assert!(began.elapsed() < ms(1_000), "{:?} after the last death", began.elapsed());
    assert_eq!(read_holder(&disk).unwrap(), None);
}

fn child(dir: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_half", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, dir).env("SEED", seed.to_string()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Goes in and out until it dies inside or has been there ten times. That nobody else is inside it sees by a lock
/// of another kind, which dies with its holder.
#[test]
#[ignore = "the child half of a storm"]
fn child_half() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let mut seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let disk = RealDisk::open(&dir.join("store")).unwrap().unwrap();
    let witness = File::options().create(true).append(true).open(dir.join("witness")).unwrap();
    for round in 0..10 {
        let nonce = format!("{}-{round}", std::process::id());
        let guard = enter(&on(&disk), &me(&nonce), PATIENT).unwrap();
        assert!(!guard.is_bypass());
        assert!(fs4::FileExt::try_lock(&witness).is_ok(), "two inside");
        assert_eq!(read_holder(&disk).unwrap().unwrap().nonce, nonce, "the entry is mine while I am inside");
        println!("entered");
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if seed.is_multiple_of(5) {
            let myself = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
            kill_process(myself, Signal::KILL).unwrap();
        }
        fs4::FileExt::unlock(&witness).unwrap();
        drop(guard);
    }
}

/// A process that lives until it is dropped, also by a test that fails, and keeps nobody's pipe open.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Sleeper(command.spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn poll(what: &str, mut ask: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ask() {
        assert!(began.elapsed() < LONG, "{what}: never");
        std::thread::sleep(ms(2));
    }
}
