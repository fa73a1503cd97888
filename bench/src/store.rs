//! Stores of a size: their bytes are made here by the journal's own encoder and fold, without a sync for each record,
//! and read once by `lease-lane verify`. What lies there afterwards is what as many calls would have left.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::Evidence;
use arbiter::lease::LiveSet;
use arbiter::queue::NOBODY;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::Timestamp;
use journal::decision::records;
use journal::line::{self, Crc, Stamp};
use journal::mark::Mark;
use journal::record::{self, Op, Record, Release};
use journal::segment::{self, Segment};
use journal::state::State;
use lease::clock::{Clock as _, SystemClock};

use crate::Answer;
use crate::lane::{Lane, request};

/// As the journal seals: not before so many bytes.
const OUTGROWN_BYTES: std::ops::Range<u64> = segment::OUTGROWN_BYTES_MIN..segment::SEGMENT_BYTES_MAX / 4;

/// Fills a store with at least `records` records of leases that were taken and given back.
pub(crate) fn with_history(lane: &Lane<'_>, records: u64) -> Answer<()> {
    let start = Instant::now();
    let mut writer = Writer::behind(lane)?;
    let mut turn = 0;
    while writer.seq.get() + 2 < records {
        let id = writer.acquire("historian", &format!("chapter-{turn}/**"))?;
        writer.release(id, "historian")?;
        turn += 1;
    }
    writer.finish()?;
    // A record after the last checkpoint, by the usual way.
    lane.prime()?;
    check(lane, records, 0, start)
}

/// Fills a store with `leases` live leases on disjoint regions.
pub(crate) fn with_leases(lane: &Lane<'_>, leases: usize) -> Answer<()> {
    let start = Instant::now();
    let mut writer = Writer::behind(lane)?;
    for n in 0..leases {
        writer.acquire(&format!("branch-{n}"), &format!("src/part-{n}/**"))?;
    }
    writer.seal()?;
    writer.finish()?;
    lane.prime()?;
    check(lane, leases as u64, leases, start)
}

/// Has lease-lane itself read every byte.
fn check(lane: &Lane<'_>, records: u64, leases: usize, start: Instant) -> Answer<()> {
    let verified = lane.json(&["verify"])?;
    let found = verified["records"].as_u64().unwrap_or_default();
    let (live, _) = lane.population()?;
    if found < records || live != leases {
        return Err(format!("{live} live leases instead of {leases}, or too few records: {verified}").into());
    }
    let (bytes, segments) = (&verified["bytes"], &verified["segments"]);
    let time = start.elapsed().as_secs_f64();
    eprintln!(
        "bench: made a store of {found} records, {live} live leases, {bytes} bytes in {segments} segments ({time:.1} s)"
    );
    Ok(())
}

/// One who appends to a store in which nobody else works.
struct Writer {
    store: PathBuf,
    state: State,
    root: Seq,
    seq: Seq,
    crc: Crc,
    ts: Timestamp,
    /// The bytes of the segment that is written to, and how many of them its root has.
    bytes: Vec<u8>,
    root_bytes: u64,
    evidence: Evidence,
}

impl Writer {
    /// Begins where a store with a record or two ends.
    fn behind(lane: &Lane<'_>) -> Answer<Writer> {
        lane.prime()?;
        let path = lane.store.join(segment::name(Seq::FIRST).to_string());
        let bytes = fs::read(&path)?;
        let segment = Segment::read(Seq::FIRST, &bytes).map_err(|damage| format!("{damage:?}"))?;
        let head = segment.chain.head().ok_or("a new store has a record")?;
        Ok(Writer {
            store: lane.store.clone(),
            root: segment.root,
            seq: head.seq,
            crc: head.crc,
            ts: head.ts,
            root_bytes: segment.root_bytes as u64,
            state: segment.state,
            bytes,
            evidence: Evidence::at(SystemClock.reading()),
        })
    }

    /// Grants a lease that nothing is in the way of; so the decision needs no live set.
    fn acquire(&mut self, lane: &str, tree: &str) -> Answer<LeaseId> {
        let request = request(lane, tree)?;
        let live = LiveSet::default();
        let verdict = arbitrate(Question {
            request: &request,
            live: &live,
            waiters: &NOBODY,
            policy: &self.state.policy,
            evidence: &self.evidence,
            now: self.ts,
        });
        let ops = records(&verdict, &request, self.evidence.clone(), &live);
        let [op @ Op::Acquire(_)] = &ops[..] else { return Err(format!("no grant: {verdict:?}").into()) };
        self.push(op)?;
        let id = LeaseId::from(self.seq);
        self.seal_if_outgrown()?;
        Ok(id)
    }

    fn release(&mut self, id: LeaseId, lane: &str) -> Answer<()> {
        let request = request(lane, "x")?;
        let lane = request.lane.ok_or("it was named")?;
        let fence = Fence::from(Seq::new(id.get()).ok_or("a lease has a number")?);
        self.push(&Op::Release(Release {
            lane,
            owner: request.owner,
            lease: id,
            fence,
            why: None,
            withdrawn: false,
        }))?;
        self.seal_if_outgrown()
    }

    fn push(&mut self, op: &Op) -> Answer<()> {
        let (name, body) = record::encode(op);
        let seq = self.seq.next().ok_or("the journal is full")?;
        // No two writes share a nonce, and none of these is shared with anybody.
        let nonce = seq.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (line, crc) = line::encode(Stamp { seq, ts: self.ts, nonce, prev: self.crc }, name, &body);
        self.state.apply(&Record { seq, ts: self.ts, nonce, op: op.clone() })?;
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
        (self.seq, self.crc) = (seq, crc);
        Ok(())
    }

    fn seal_if_outgrown(&mut self) -> Answer<()> {
        let limit =
            (self.root_bytes * segment::OUTGROWN_FACTOR).clamp(OUTGROWN_BYTES.start, OUTGROWN_BYTES.end);
        if self.bytes.len() as u64 > limit { self.seal() } else { Ok(()) }
    }

    /// Closes the segment and begins the next with the same line.
    fn seal(&mut self) -> Answer<()> {
        let before = self.bytes.len();
        self.push(&Op::Checkpoint(Box::new(self.state.checkpoint(true))))?;
        let line = self.bytes[before..].to_vec();
        self.write_down()?;
        self.root = self.seq;
        self.root_bytes = line.len() as u64 - 1;
        self.bytes = line;
        Ok(())
    }

    /// Writes the segment and its mark.
    fn write_down(&self) -> Answer<()> {
        write(&self.store.join(segment::name(self.root).to_string()), &self.bytes)?;
        let mark = Mark { seq: self.seq, crc: self.crc }.encode();
        write(&self.store.join(segment::mark_name(self.root).to_string()), mark.as_bytes())
    }

    /// Writes what is left, and has the disk take it all: what is measured later shall not pay for it.
    fn finish(&self) -> Answer<()> {
        self.write_down()?;
        write(&self.store.join("active"), format!("{:020}\n", self.root.get()).as_bytes())?;
        let _synced = std::process::Command::new("sync").arg("-f").arg(&self.store).status();
        Ok(File::open(&self.store)?.sync_all()?)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Answer<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}
