//! The journal's rules as a random model, byte by byte, without any mutex, on the real codec and chain.
//!
//! Several clients read, decide, append in one write, re-read and acknowledge only what became valid. They sleep
//! anywhere, die in the middle of a write (leaving cut text, or cut text and NULs), seal segments and finish each
//! other's rotations. Checked after every run: every acknowledged record is in the one total order, nothing is in it
//! twice, no rotation loses anything, no false alarm. Then every bit of every acknowledged record of the last segment
//! is flipped, and every line dropped: that must raise damage, be caught by the high-water mark, or change nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::seq::Seq;
use arbiter::time::Timestamp;
use journal::chain::{Chain, Flow, Head};
use journal::line::{Crc, Stamp, decode, encode};
use journal::scan::CLOSING;

const SEEDS: u64 = 300;
const CLIENTS: usize = 4;
const STEPS: u64 = 300;

/// A small generator: the seed in a failure's message gives the same run again.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }
}

type Name = (u64, Crc);

/// What a segment's bytes come to: the valid records and the chain.
fn fold(root: u64, bytes: &[u8]) -> Result<(Vec<Name>, Chain), String> {
    let mut valid = Vec::new();
    let mut chain = Chain::new("segment", Seq::new(root).expect("as the model made it"));
    let fed = chain.feed(bytes, |record| {
        valid.push((record.frame.seq.get(), record.frame.crc));
        Ok(if record.frame.op == "CHECKPOINT" { Flow::Seals } else { Flow::Goes })
    });
    fed.map(|()| (valid, chain)).map_err(|damage| damage.to_string())
}

fn record(seq: Seq, prev: Crc, nonce: u64, seal: bool, body: &str) -> (String, Crc) {
    let ts = Timestamp::parse("2026-11-21T07:31:11.123Z").expect("as the model made it");
    encode(Stamp { seq, ts, nonce, prev }, if seal { "CHECKPOINT" } else { "NOTE" }, body)
}

/// Where a client is between two steps.
enum At {
    Start,
    Chose { segment: usize },
    Read { segment: usize, bytes: Vec<u8> },
    Rotates { segment: usize, seal: Vec<u8>, next: u64 },
    Writes { segment: usize, blob: Vec<u8>, batch: Vec<Name> },
    Wrote { segment: usize, batch: Vec<Name> },
}

#[derive(Default)]
struct World {
    /// Root and bytes of every segment.
    segments: Vec<(u64, Vec<u8>)>,
    acknowledged: Vec<Name>,
    mark: Option<Name>,
    nonce: u64,
    void: u64,
    torn: u64,
}

impl World {
    fn new() -> World {
        let (line, _) = record(Seq::FIRST, Crc::NONE, 0, false, "{}");
        World { segments: vec![(1, format!("{line}\n").into_bytes())], ..World::default() }
    }

    fn step(&mut self, at: At, chance: &mut Chance) -> Result<At, String> {
        Ok(match at {
            At::Start => At::Chose { segment: self.segments.len() - 1 },
            At::Chose { segment } => At::Read { segment, bytes: self.segments[segment].1.clone() },
            At::Read { segment, bytes } => self.decide(segment, &bytes, chance)?,
            At::Rotates { segment, seal, next } => {
                if self.segments.len() == segment + 1 {
                    self.segments.push((next, [seal, b"\n".to_vec()].concat()));
                } else if !self.segments[segment + 1].1.starts_with(&seal) {
                    return Err("two different successors".into());
                }
                At::Start
            }
            At::Writes { segment, blob, batch } => {
                let bytes = &mut self.segments[segment].1;
                if chance.percent(12) {
                    let cut = usize::try_from(chance.below(blob.len() as u64)).expect("as the model made it");
                    bytes.extend_from_slice(&blob[..cut]);
                    if chance.percent(33) && !blob[..cut].ends_with(b"\n") {
                        bytes.extend(std::iter::repeat_n(
                            0,
                            usize::try_from(chance.below(40)).expect("as the model made it"),
                        ));
                    }
                    self.torn += 1;
                    At::Start
                } else {
                    bytes.extend_from_slice(&blob);
                    At::Wrote { segment, batch }
                }
            }
            At::Wrote { segment, batch } => {
                let (root, bytes) = &self.segments[segment];
                let (valid, _) = fold(*root, bytes)?;
                let ours = batch.iter().filter(|name| valid.contains(name)).count();
                if ours == batch.len() {
                    self.mark = self.mark.max(batch.last().copied());
                    self.acknowledged.extend(batch);
                } else if ours == 0 {
                    self.void += batch.len() as u64;
                } else {
                    return Err("half a batch is valid".into());
                }
                At::Start
            }
        })
    }

    fn decide(&mut self, segment: usize, bytes: &[u8], chance: &mut Chance) -> Result<At, String> {
        let (_, chain) = fold(self.segments[segment].0, bytes)?;
        let Head { mut seq, mut crc, .. } = chain.head().expect("as the model made it");
        if chain.is_sealed() {
            let end = format!(",\"crc\":\"{crc}\"}}");
            let lines = String::from_utf8_lossy(bytes).into_owned();
            let end = lines.find(&end).expect("as the model made it") + end.len();
            let begin = lines[..end].rfind("{\"seq\":").expect("as the model made it");
            let seal = lines.as_bytes()[begin..end].to_vec();
            return Ok(At::Rotates { segment, seal, next: seq.get() });
        }
        let count = 1 + chance.below(3);
        let seals = chance.percent(8);
        let mut blob = if chain.has_open_tail() { CLOSING.to_vec() } else { Vec::new() };
        let mut batch = Vec::new();
        self.nonce += 1;
        for n in 0..count {
            let texts = ["x", "~", "}~", "a\\nb", "\u{2028}", "{\\\"seq\\\":1"];
            let text = texts[usize::try_from(chance.below(6)).expect("as the model made it")];
            let body = format!("{{\"n\":{n},\"inner\":{{\"seq\":{n}}},\"text\":\"{text}\"}}");
            seq = seq.next().expect("as the model made it");
            let (line, its) = record(seq, crc, self.nonce, seals && n + 1 == count, &body);
            crc = its;
            blob.extend_from_slice(line.as_bytes());
            blob.push(b'\n');
            batch.push((seq.get(), crc));
        }
        Ok(At::Writes { segment, blob, batch })
    }

    /// The one total order over all segments.
    fn order(&self) -> Result<Vec<Name>, String> {
        let mut order = Vec::new();
        for (n, (root, bytes)) in self.segments.iter().enumerate() {
            let (valid, chain) = fold(*root, bytes)?;
            if !chain.is_sealed() && n + 1 < self.segments.len() {
                return Err("an open segment has a successor".into());
            }
            order.extend_from_slice(&valid[usize::from(n > 0)..]);
        }
        let gapless = order.iter().zip(1u64..).all(|((seq, _), n)| *seq == n);
        if !gapless {
            return Err("the order has a gap or a double".into());
        }
        match self.acknowledged.iter().find(|name| !order.contains(name)) {
            Some((seq, _)) => Err(format!("acknowledged record {seq} is lost")),
            None => Ok(order),
        }
    }
}

fn run(seed: u64) -> Result<World, String> {
    let mut chance = Chance::new(seed);
    let mut world = World::new();
    let mut clients: Vec<Option<At>> = (0..CLIENTS).map(|_| Some(At::Start)).collect();
    let mut asleep = [0; CLIENTS];
    for time in 0..STEPS {
        let who = usize::try_from(chance.below(CLIENTS as u64)).expect("as the model made it");
        if asleep[who] > time {
            continue;
        }
        if chance.percent(6) {
            asleep[who] = time + chance.below(60);
        }
        let at = clients[who].take().expect("as the model made it");
        clients[who] = Some(world.step(at, &mut chance)?);
    }
    world.order()?;
    Ok(world)
}

#[test]
fn no_acknowledged_record_is_lost_and_nothing_is_accused_wrongly() {
    let (mut acknowledged, mut void, mut torn, mut rotations) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let world = run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        acknowledged += world.acknowledged.len() as u64;
        void += world.void;
        torn += world.torn;
        rotations += world.segments.len() - 1;
    }
    // A model in which nothing happens proves nothing.
    assert!(acknowledged > 30 * SEEDS, "{acknowledged} records");
    assert!(
        void > 5 * SEEDS && torn > SEEDS && rotations > 100,
        "{void} void, {torn} torn, {rotations} rotations"
    );
}

#[test]
fn no_damage_of_acknowledged_records_changes_the_outcome_in_silence() {
    let (mut tried, mut by_chain, mut by_mark) = (0u64, 0u64, 0u64);
    for seed in (0..SEEDS).step_by(20) {
        let world = run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let Some((mark_seq, mark_crc)) = world.mark else { continue };
        let (root, good) = world.segments.last().expect("as the model made it");
        let (want, _) = fold(*root, good).expect("as the model made it");
        for copy in damaged_copies(good, &world.acknowledged) {
            tried += 1;
            match fold(*root, &copy) {
                Err(_) => by_chain += 1,
                Ok((got, _)) if got == want => {}
                Ok((got, _)) => {
                    let is_there = got.contains(&(mark_seq, mark_crc));
                    assert!(!is_there || mark_seq < *root, "seed {seed}: a silent change");
                    by_mark += 1;
                }
            }
        }
    }
    assert!(
        tried > 10_000 && by_chain > 10_000,
        "{tried} tried, {by_chain} by the chain, {by_mark} by the mark"
    );
}

/// Every bit of every line with acknowledged records flipped, and each of these lines dropped.
fn damaged_copies<'a>(good: &'a [u8], acknowledged: &'a [Name]) -> impl Iterator<Item = Vec<u8>> + 'a {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in good.split_inclusive(|&b| b == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if decode(text).is_some_and(|frame| acknowledged.contains(&(frame.seq.get(), frame.crc))) {
            lines.push(at..at + line.len());
        }
        at += line.len();
    }
    let flips = lines.clone().into_iter().flatten().flat_map(move |at| {
        (0..8).map(move |bit| {
            let mut copy = good.to_vec();
            copy[at] ^= 1 << bit;
            copy
        })
    });
    let drops = lines.into_iter().map(move |line| [&good[..line.start], &good[line.end..]].concat());
    flips.chain(drops)
}
