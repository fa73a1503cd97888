//! A session on a real store: what a caller is told who waits, or asks again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::{Request, RequestId};
use arbiter::verdict::Verdict;
use journal::disk::RealDisk;
use lease::clock::SystemClock;
use lease::machine::RealMachine;
use lease::mutex::Patience;
use lease::session::{Ask, Session, Which};

fn ask(owner: &str, lane: &str, id: Option<&str>) -> Ask {
    let mut request = Request::of(OwnerName::new(owner).unwrap());
    request.lane = LaneName::new(lane).ok();
    request.tree = Region::parse(["src"]).unwrap();
    request.request_id = id.and_then(|id| RequestId::new(id).ok());
    Ask { request, policy: Policy::default(), with_leases: Vec::new(), dry_run: false }
}

fn session<'d>(disk: &'d RealDisk, owner: &str) -> Session<RealMachine<'d>> {
    Session::new(disk, &SystemClock, OwnerName::new(owner).unwrap(), Patience::default())
}

fn store() -> (tempfile::TempDir, RealDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open_or_create(&dir.path().join("store")).unwrap();
    (dir, disk)
}

const WAIT: Duration = Duration::from_millis(50);

#[test]
fn a_waiting_request_that_is_granted_at_once_is_found_again_by_its_name() {
    let (_dir, disk) = store();
    let mut session = session(&disk, "ann");
    let first = session
        .acquire_waiting(&ask("ann", "a", Some("r")), WAIT, |_| panic!("nothing to wait for"))
        .unwrap();
    let again = session
        .acquire_waiting(&ask("ann", "a", Some("r")), WAIT, |_| panic!("nothing to wait for"))
        .unwrap();
    assert!(!first.repeated && again.repeated);
    assert_eq!((again.seq, again.verdict), (first.seq, first.verdict));
}

#[test]
fn a_request_with_a_name_waits_although_its_own_refusal_is_on_record() {
    let (_dir, disk) = store();
    let mut ann = session(&disk, "ann");
    ann.acquire(&ask("ann", "a", None)).unwrap();
    let path = disk.path().to_owned();
    let waiting = std::thread::spawn(move || {
        let disk = RealDisk::open(&path).unwrap().unwrap();
        let most = Duration::from_mins(1);
        session(&disk, "bob").acquire_waiting(&ask("bob", "b", Some("r")), most, |_| {}).unwrap()
    });
    // Given back only once the other's refusal is on record.
    while ann.live().unwrap().seq.is_none_or(|seq| seq.get() < 3) {
        std::thread::yield_now();
    }
    ann.release(&Which::Lane(LaneName::new("a").unwrap()), None).unwrap().unwrap();
    let granted = waiting.join().unwrap();
    assert!(matches!(granted.verdict, Verdict::Grant(_)) && !granted.repeated);
    let again = session(&disk, "bob").acquire(&ask("bob", "b", Some("r"))).unwrap();
    assert!(again.repeated);
    assert_eq!(again.seq, granted.seq);
}
