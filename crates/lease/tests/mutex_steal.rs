//! A steal compares: between the look at an entry and its replacement somebody may have come, where the file system
//! has no `flock` that keeps the others in the queue.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arbiter::evidence::{Liveness, ProcessIdentity, ProcessReport};
use journal::disk::{DiskError, Name, RealDisk};
use lease::clock::Clock;
use lease::machine::{FlockQueue, Machine, RealMachine, Ringing, Sign, Wake};
use lease::mutex::{Holder, MutexError, Patience, enter, read_holder};
use lease::process;

fn holder(nonce: &str, pid: u32) -> Holder {
    let process = ProcessIdentity { pid, ..process::current().unwrap() };
    Holder {
        nonce: nonce.into(),
        owner: "same for all".into(),
        process: Some(process),
        since: "2026-11-21T10:00:00.000Z".into(),
    }
}

fn leave_behind(store: &Path, holder: &Holder) {
    std::fs::write(store.join("mutex"), serde_json::to_vec(holder).unwrap()).unwrap();
}

/// A machine on which somebody else takes over a dead one's entry just when it is found to be dead.
#[derive(Clone, Copy, Debug)]
struct Overtaken<'d> {
    real: RealMachine<'d>,
    dead: u32,
    faster: &'d Holder,
}

impl<'d> Machine for Overtaken<'d> {
    type Disk = &'d RealDisk;
    type Queue = FlockQueue;
    type Sign = Sign;
    type Ringing = Ringing;
    type Watch = Wake<'d>;

    fn probe(&self, process: &ProcessIdentity) -> ProcessReport {
        let is_dead = process.pid == self.dead;
        if is_dead {
            leave_behind(&self.store_path(), self.faster);
        }
        let alive = if is_dead { Liveness::No } else { Liveness::Yes };
        ProcessReport { process: process.clone(), alive, why: "this test says so".into() }
    }

    fn disk(&self) -> &'d RealDisk {
        self.real.disk()
    }

    fn store_path(&self) -> PathBuf {
        self.real.store_path()
    }

    fn clock(&self) -> &dyn Clock {
        self.real.clock()
    }

    fn uptime(&self) -> Duration {
        self.real.uptime()
    }

    fn random(&self) -> io::Result<u64> {
        self.real.random()
    }

    fn this_process(&self) -> Option<ProcessIdentity> {
        self.real.this_process()
    }

    fn pause(&self, time: Duration) {
        self.real.pause(time);
    }

    fn queue(&self) -> Result<FlockQueue, DiskError> {
        self.real.queue()
    }

    fn watch(&self) -> Wake<'d> {
        self.real.watch()
    }

    fn put_up(&self, ticket: &Name) -> Option<Sign> {
        self.real.put_up(ticket)
    }

    fn take_down(&self, ticket: &Name) {
        self.real.take_down(ticket);
    }

    fn is_left(&self, ticket: &Name) -> bool {
        self.real.is_left(ticket)
    }

    fn ring(&self) -> Ringing {
        self.real.ring()
    }
}

#[test]
fn who_found_an_entry_stale_does_not_replace_another_that_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open_or_create(&dir.path().join("store")).unwrap();
    let (dead, faster) = (holder("dead", 7), holder("faster", 8));
    leave_behind(disk.path(), &dead);
    let machine = Overtaken { real: RealMachine::new(&disk), dead: 7, faster: &faster };
    let hasty = Patience { ttl: Duration::from_mins(1), budget: Duration::from_millis(50) };
    let told = enter(&machine, &holder("slower", 9), hasty);
    assert!(
        matches!(&told, Err(MutexError::Busy { holder: Some(inside), .. }) if **inside == faster),
        "{told:?}"
    );
    assert_eq!(read_holder(&disk).unwrap(), Some(faster.clone()));
}
