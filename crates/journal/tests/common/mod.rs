//! What the tests of the journal share: records, clients without any mutex, and processes whose disk calls go by
//! a script. The disk itself is `testkit::disk`.

#![allow(dead_code, reason = "each test binary uses its own part of the kit")]

pub(crate) mod script;
pub(crate) mod turns;

use std::ops::ControlFlow;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{ClockReading, Evidence};
use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::region::Region;
use arbiter::request::{Note, Request};
use arbiter::seq::Seq;
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::Verdict;
use journal::chain::Head;
use journal::decision::records;
use journal::disk::{Access, Disk};
use journal::history::{Redecider, walk};
use journal::line::{self, Crc, Stamp};
use journal::record::{self, Heartbeat, Op, Release, Spawn};
use journal::repair::Operator;
use journal::state::State;
use journal::store::{Appended, FileStore, Store, Writing};
use journal::{Damage, JournalError};
use testkit::disk::MemDisk;

/// The `n`-th second of the day on which all tests happen.
pub(crate) fn time(n: u64) -> Timestamp {
    let begin = Timestamp::parse("2026-11-21T07:00:00.000Z").expect("a time");
    begin.plus(Span::from_s(n))
}

/// The boot-time clock at the same moment.
pub(crate) fn clock(n: u64) -> ClockReading {
    ClockReading { boot: "b0071d".into(), up_ms: n * 1000 }
}

/// The write number `n`, made at the `n`-th second.
pub(crate) fn writing(n: u64) -> Writing {
    Writing { ts: time(n), nonce: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).expect("not zero")
}

pub(crate) fn owner(name: &str) -> OwnerName {
    OwnerName::new(name).expect("a name")
}

pub(crate) fn lane(name: &str) -> LaneName {
    LaneName::new(name).expect("a name")
}

pub(crate) fn request(who: &str, lane_name: &str, tree: &[&str]) -> Request {
    let mut request = Request::of(owner(who));
    request.lane = Some(lane(lane_name));
    request.tree = Region::parse(tree).expect("a region");
    request
}

pub(crate) fn operator(n: u64) -> Operator {
    Operator { owner: owner("ann"), clock: clock(n), writing: writing(n) }
}

/// Decides as the shell does: the verdict, and the records that it is made of.
pub(crate) fn decide(
    state: &State,
    request: &Request,
    evidence: Evidence,
    now: Timestamp,
) -> (Verdict, Vec<Op>) {
    let State { live, waiters, policy, .. } = state;
    let verdict = arbitrate(Question { request, live, waiters, policy, evidence: &evidence, now });
    let ops = records(&verdict, request, evidence, live);
    (verdict, ops)
}

pub(crate) fn release_of(lease: &Lease) -> Op {
    Op::Release(Release {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        why: None,
        withdrawn: false,
    })
}

pub(crate) fn heartbeat_of(lease: &Lease, n: u64) -> Op {
    Op::Heartbeat(Heartbeat {
        lane: lease.lane.clone(),
        owner: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        clock: clock(n),
    })
}

/// A record that changes nothing but the counters.
pub(crate) fn spawn(text: &str) -> Op {
    Op::Spawn(Box::new(Spawn { lane: lane("l"), owner: owner("o"), run_id: None, why: Note::new(text).ok() }))
}

/// Writes `ops` as lines, each with its newline, from `head` on.
pub(crate) fn lines_after(head: Head, n: u64, ops: &[Op]) -> (Vec<String>, Head) {
    let mut last = head;
    let mut lines = Vec::new();
    for op in ops {
        let seq = last.seq.next().expect("numbers to spare");
        let (name, body) = record::encode(op);
        let stamp = Stamp { seq, ts: time(n), nonce: writing(n).nonce, prev: last.crc };
        let (text, crc) = line::encode(stamp, name, &body);
        lines.push(text + "\n");
        last = Head { seq, crc, ts: time(n) };
    }
    (lines, last)
}

/// The first line of a new journal.
pub(crate) fn genesis() -> (String, Head) {
    let op = Op::Checkpoint(Box::new(State::default().checkpoint(false)));
    let (name, body) = record::encode(&op);
    let stamp = Stamp { seq: Seq::FIRST, ts: time(0), nonce: 1, prev: Crc::NONE };
    let (text, crc) = line::encode(stamp, name, &body);
    (text + "\n", Head { seq: Seq::FIRST, crc, ts: time(0) })
}

/// A line like this one but for its text, with its checksum made right again.
pub(crate) fn forged(line: &str, from: &str, to: &str) -> String {
    let covered = &line[..line.rfind(",\"crc\":").expect("a record")];
    assert!(covered.contains(from), "`{from}` is not in {line}");
    let covered = covered.replacen(from, to, 1);
    format!("{covered},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(covered.as_bytes()))
}

/// A caller: loads, decides, appends, commits. Nothing keeps two of them apart.
pub(crate) struct Client<D: Disk> {
    pub(crate) store: FileStore<D>,
    pub(crate) name: String,
}

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Granted(Seq),
    Refused,
    Lost,
}

impl<D: Disk> Client<D> {
    pub(crate) fn new(disk: D, name: &str) -> Client<D> {
        Client { store: FileStore::new(disk, Access::Append), name: name.into() }
    }

    /// One attempt to get a lane: a lost race is told, not repeated.
    pub(crate) fn acquire(&mut self, n: u64, lane: &str, tree: &[&str]) -> Result<Told, JournalError> {
        self.store.prepare(writing(n))?;
        self.acquire_as_loaded(n, lane, tree)
    }

    /// As [`Client::acquire`], by what was loaded before.
    pub(crate) fn acquire_as_loaded(
        &mut self,
        n: u64,
        lane: &str,
        tree: &[&str],
    ) -> Result<Told, JournalError> {
        let segment = self.store.segment().expect("it was loaded");
        let now = segment.chain.head().expect("it has a root").ts.max(time(n));
        let asked = request(&self.name, lane, tree);
        let (verdict, ops) = decide(&segment.state, &asked, Evidence::at(clock(n)), now);
        match self.store.append_if(Writing { ts: now, ..writing(n) }, &ops)? {
            Appended::Conflict => Ok(Told::Lost),
            Appended::Valid { head, .. } => {
                self.store.commit()?;
                Ok(match verdict {
                    Verdict::Grant(_) => Told::Granted(head.seq),
                    Verdict::Refuse(_) => Told::Refused,
                })
            }
        }
    }

    /// Appends and commits; `None` when somebody else was first.
    pub(crate) fn write(&mut self, n: u64, ops: &[Op]) -> Result<Option<Seq>, JournalError> {
        self.store.prepare(writing(n))?;
        match self.store.append_if(writing(n), ops)? {
            Appended::Conflict => Ok(None),
            Appended::Valid { head, .. } => {
                self.store.commit()?;
                Ok(Some(head.seq))
            }
        }
    }
}

/// The state of a store as somebody new would read it.
pub(crate) fn load<D: Disk>(disk: D) -> Result<State, JournalError> {
    let mut store = FileStore::new(disk, Access::Read);
    Ok(store.load()?.cloned().unwrap_or_default())
}

pub(crate) fn lanes(state: &State) -> Vec<String> {
    state.live.iter().map(|lease| lease.lane.to_string()).collect()
}

pub(crate) fn damage_of<T>(result: Result<T, JournalError>) -> Option<Damage> {
    match result {
        Err(JournalError::Damaged(damage)) => Some(damage),
        _ => None,
    }
}

/// Every record of a store decided again, and the state they amount to.
pub(crate) fn replay(disk: &MemDisk) -> (State, Redecider) {
    let mut again = Redecider::default();
    let state = walk(&disk.process(), |event| {
        again.take(event);
        ControlFlow::Continue(())
    });
    (state.expect("sound").unwrap_or_default(), again)
}
