//! Every byte of a segment: cut anywhere, every bit flipped, every line dropped, doubled, moved or edited.

mod common;

use arbiter::seq::Seq;
use common::{
    Client, Told, clock, damage_of, decide, forged, genesis, lines_after, load, request, seq, spawn, time,
};
use journal::Damage;
use journal::chain::{Chain, Flow, Head};
use journal::line::{self, Crc};
use journal::mark::Mark;
use journal::record::Op;
use journal::segment::{self, Segment};
use journal::state::State;
use testkit::disk::MemDisk;

/// A segment with several grants, a refusal, a beat and a release, all of them acknowledged.
struct Sample {
    lines: Vec<String>,
    heads: Vec<Head>,
}

impl Sample {
    fn new() -> Sample {
        let disk = MemDisk::new();
        let mut ann = Client::new(disk.process(), "ann");
        ann.acquire(1, "api", &["src/api/**"]).expect("sound");
        ann.acquire(2, "docs", &["docs/**", "lock://db"]).expect("sound");
        ann.acquire(3, "clash", &["src/api/x"]).expect("sound");
        let state = load(disk.process()).expect("sound");
        let lease = state.live.in_lane(&common::lane("api"), None).expect("it lives").clone();
        ann.write(4, &[common::heartbeat_of(&lease, 4)]).expect("sound");
        ann.write(5, &[common::release_of(&lease)]).expect("sound");
        ann.acquire(6, "web", &["web/**"]).expect("sound");
        let bytes = disk.bytes(&segment::name(Seq::FIRST)).expect("it is there");
        Sample::of(&String::from_utf8(bytes).expect("text"))
    }

    fn of(text: &str) -> Sample {
        let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let head = |line: &String| {
            let frame = line::decode(line.trim_end().as_bytes()).expect("a record");
            Head { seq: frame.seq, crc: frame.crc, ts: frame.ts }
        };
        let heads = lines.iter().map(head).collect();
        Sample { lines, heads }
    }

    fn text(&self) -> String {
        self.lines.concat()
    }

    fn last(&self) -> Head {
        *self.heads.last().expect("a root")
    }

    fn mark(&self) -> Mark {
        let Head { seq, crc, .. } = self.last();
        Mark { seq, crc }
    }

    /// The acknowledged records that are whole within the first `cut` bytes.
    fn whole_within(&self, cut: usize) -> Vec<Crc> {
        let mut end = 0;
        let mut whole = Vec::new();
        for (line, head) in self.lines.iter().zip(&self.heads) {
            end += line.len();
            if end - 1 <= cut {
                whole.push(head.crc);
            }
        }
        whole
    }
}

fn read(bytes: &[u8], mark: Option<Mark>) -> Result<Segment, Damage> {
    let segment = Segment::read(Seq::FIRST, bytes)?;
    segment.check_mark(mark)?;
    Ok(segment)
}

fn valid_records(bytes: &[u8]) -> Result<Vec<Crc>, Damage> {
    let mut crcs = Vec::new();
    Segment::read_with(Seq::FIRST, bytes, |event| {
        let frame = line::decode(event.text).ok_or("no frame")?;
        crcs.push(frame.crc);
        Ok(())
    })?;
    Ok(crcs)
}

#[test]
fn a_cut_at_every_byte_keeps_what_is_before_it_and_swallows_nothing_after_it() {
    let sample = Sample::new();
    let text = sample.text();
    let root_line = sample.lines[0].len() - 1;
    for cut in 0..=text.len() {
        for nuls in [0, 1, 7, 4096] {
            let mut bytes = text.as_bytes()[..cut].to_vec();
            // What survives of a write has no newline with NULs behind it: the newline ends it.
            if cut > 0 && bytes[cut - 1] == b'\n' && nuls > 0 {
                bytes.pop();
            }
            bytes.resize(bytes.len() + nuls, 0);
            let at = format!("cut at {cut}, {nuls} NULs");
            let crcs = match valid_records(&bytes) {
                Ok(crcs) => crcs,
                Err(damage) => {
                    assert!(cut < root_line, "{at}: {damage}");
                    continue;
                }
            };
            assert_eq!(crcs, sample.whole_within(cut), "{at}");
            // Nothing that was acknowledged goes without a word.
            let marked = read(&bytes, Some(sample.mark()));
            assert_eq!(marked.is_ok(), crcs.len() == sample.lines.len(), "{at}");
            if nuls > 7 || (nuls > 0 && cut % 4 > 0) {
                continue;
            }
            // Without the mark these were never acknowledged: the next writer goes on.
            let disk = MemDisk::new();
            disk.put(&segment::name(Seq::FIRST), &bytes);
            let told = Client::new(disk.process(), "bob").acquire(50, "new", &["new/**"]).expect(&at);
            assert!(matches!(told, Told::Granted(_)), "{at}");
            let told = Client::new(disk.process(), "eve").acquire(51, "other", &["new/x"]).expect(&at);
            assert_eq!(told, Told::Refused, "{at}: the grant was swallowed");
            // The next writer starts on a line of its own, so that line tools see its record too.
            let after = disk.bytes(&segment::name(Seq::FIRST)).expect("there");
            let own_lines = after.split(|&b| b == b'\n').filter(|line| line::decode(line).is_some()).count();
            assert!(own_lines + 1 >= crcs.len() + 2, "{at}: {own_lines} records have a line of their own");
        }
    }
}

#[test]
fn a_write_torn_at_every_byte_is_closed_off_by_a_write_torn_at_every_byte() {
    // Two crashes in a row: the second one inside the write that closes the first one off.
    let sample = Sample::of(&genesis().0);
    let (first, _) = lines_after(sample.last(), 1, &[spawn("first")]);
    let (second, _) = lines_after(sample.last(), 2, &[spawn("second")]);
    let second = format!("~\n{}", second[0]);
    let cuts = |text: &str| (0..text.len()).collect::<Vec<_>>();
    for one in cuts(&first[0]) {
        for two in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, second.len() - 1] {
            for (nuls, more) in [(0, 0), (3, 0), (0, 3), (3, 3)] {
                let mut bytes = sample.text().into_bytes();
                bytes.extend_from_slice(&first[0].as_bytes()[..one]);
                bytes.resize(bytes.len() + nuls, 0);
                let has_tail = one + nuls > 0;
                bytes.extend_from_slice(
                    &second.as_bytes()[if has_tail { 0 } else { 2 }..][..two.min(second.len() - 3)],
                );
                if bytes.last() != Some(&b'\n') {
                    bytes.resize(bytes.len() + more, 0);
                }
                let at = format!("cut at {one} + {nuls} NULs, then at {two} + {more} NULs");
                let disk = MemDisk::new();
                disk.put(&segment::name(Seq::FIRST), &bytes);
                for n in 60..63 {
                    let told = Client::new(disk.process(), "bob").acquire(
                        n,
                        &format!("l{n}"),
                        &[&format!("{n}/**")],
                    );
                    assert!(matches!(told, Ok(Told::Granted(_))), "{at}: {told:?}");
                }
                assert_eq!(load(disk.process()).expect(&at).live.len(), 3, "{at}");
            }
        }
    }
}

#[test]
fn no_flipped_bit_of_an_acknowledged_record_passes_without_a_word() {
    let sample = Sample::new();
    let text = sample.text();
    let want = valid_records(text.as_bytes()).expect("sound");
    let (mut by_chain, mut by_mark, mut harmless) = (0, 0, 0);
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            match valid_records(&bytes) {
                Err(_) => by_chain += 1,
                Ok(crcs) if crcs == want => harmless += 1,
                Ok(_) => {
                    assert!(
                        read(&bytes, Some(sample.mark())).is_err(),
                        "byte {at} bit {bit}: a silent change"
                    );
                    by_mark += 1;
                }
            }
        }
    }
    assert_eq!(by_chain + by_mark + harmless, text.len() * 8);
    assert!(
        by_chain * 100 > text.len() * 8 * 99,
        "{by_chain} by the chain, {by_mark} by the mark, {harmless} harmless"
    );
}

#[test]
fn no_dropped_doubled_swapped_or_moved_line_passes_without_a_word() {
    let sample = Sample::new();
    let want = valid_records(sample.text().as_bytes()).expect("sound");
    let many = sample.lines.len();
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for i in 0..many {
        let mut dropped = sample.lines.clone();
        let line = dropped.remove(i);
        cases.push((format!("without line {i}"), dropped.clone()));
        for j in 0..=many {
            let mut doubled = sample.lines.clone();
            doubled.insert(j, line.clone());
            cases.push((format!("line {i} again at {j}"), doubled));
            if j < many {
                let mut moved = dropped.clone();
                moved.insert(j, line.clone());
                cases.push((format!("line {i} moved to {j}"), moved));
                let mut swapped = sample.lines.clone();
                swapped.swap(i, j);
                cases.push((format!("lines {i} and {j} swapped"), swapped));
            }
        }
    }
    for (what, lines) in cases {
        let bytes = lines.concat().into_bytes();
        if read(&bytes, Some(sample.mark())).is_ok() {
            assert_eq!(valid_records(&bytes).expect("it was read"), want, "{what}: a silent change");
        }
    }
}

#[test]
fn a_line_edited_with_its_checksum_made_right_breaks_the_chain_or_the_mark() {
    let sample = Sample::new();
    for i in 0..sample.lines.len() {
        for (from, to) in [
            ("\"ts\":\"2026", "\"ts\":\"2025"),
            ("\"nonce\":\"", "\"nonce\":\"0"),
            ("\"op\":\"", "\"op\":\"X"),
        ] {
            let mut lines = sample.lines.clone();
            let mut line = lines[i].clone();
            if from == "\"nonce\":\"" {
                // Keep its length: one digit in, one out.
                let at = line.find(from).expect("a nonce") + from.len();
                line.replace_range(at..=at, if line.as_bytes()[at] == b'0' { "1" } else { "0" });
                lines[i] = forged(&line, "\"seq\"", "\"seq\"");
            } else {
                lines[i] = forged(&line, from, to);
            }
            assert_ne!(lines[i], sample.lines[i]);
            let got = read(lines.concat().as_bytes(), Some(sample.mark()));
            assert!(got.is_err(), "line {i}, {from} made {to}");
        }
    }
}

#[test]
fn a_forged_grant_that_the_chain_takes_is_still_no_second_lease_in_a_lane() {
    let (root, head) = genesis();
    let (_, ops) = decide(&State::default(), &request("ann", "api", &["src/**"]), evidence(1), time(1));
    let (first, head) = lines_after(head, 1, &ops);
    let (second, _) = lines_after(head, 2, &ops);
    let damage = Segment::read(Seq::FIRST, [root, first.concat(), second.concat()].concat().as_bytes());
    let damage = damage.expect_err("the lane is taken");
    assert_eq!((damage.seq, damage.what.contains("a second time")), (Some(3), true), "{damage}");
}

fn evidence(n: u64) -> arbiter::evidence::Evidence {
    arbiter::evidence::Evidence::at(clock(n))
}

#[test]
fn a_tail_cut_at_a_lines_edge_is_caught_by_the_mark() {
    for kept in 1..7 {
        let (disk, sample) = on_disk();
        assert!(kept < sample.lines.len());
        disk.put(&segment::name(Seq::FIRST), sample.lines[..kept].concat().as_bytes());
        let damage = damage_of(load(disk.process())).expect("the mark says more");
        assert!(damage.what.contains("cut off"), "{damage}");
        let told = Client::new(disk.process(), "bob").acquire(60, "new", &["new/**"]);
        assert!(damage_of(told).is_some(), "nothing is granted on {kept} lines");
    }
}

#[test]
fn an_old_copy_of_the_segment_put_back_is_caught_by_the_mark() {
    let (disk, sample) = on_disk();
    let old = disk.bytes(&segment::name(Seq::FIRST)).expect("it is there");
    Client::new(disk.process(), "bob").acquire(60, "new", &["new/**"]).expect("sound");
    disk.put(&segment::name(Seq::FIRST), &old);
    let damage = damage_of(load(disk.process())).expect("the mark says more");
    assert_eq!(damage.seq, Some(sample.last().seq.get() + 1));
    // The same number given to somebody else on the old copy would be another record.
    let (other, _) = lines_after(sample.last(), 61, &[spawn("not what was acknowledged")]);
    disk.put(&segment::name(Seq::FIRST), &[old, other.concat().into_bytes()].concat());
    let damage = damage_of(load(disk.process())).expect("the mark says otherwise");
    assert!(damage.what.contains("not the record that was acknowledged"), "{damage}");
}

fn on_disk() -> (MemDisk, Sample) {
    let sample = Sample::new();
    let disk = MemDisk::new();
    disk.put(&segment::name(Seq::FIRST), sample.text().as_bytes());
    disk.put(&segment::mark_name(Seq::FIRST), sample.mark().encode().as_bytes());
    (disk, sample)
}

/// FAILURES 1a: without the mark the void record would extend the head: a lease forgotten, a refused one granted.
#[test]
fn a_damaged_last_record_before_a_void_one_is_caught_by_the_mark() {
    let (root, head) = genesis();
    let grant = |who: &str, n| {
        let (_, ops) = decide(&State::default(), &request(who, who, &["src/**"]), evidence(n), time(n));
        lines_after(head, n, &ops)
    };
    let ((won, last), (void, _)) = (grant("ann", 1), grant("bob", 2));
    let mark = Mark { seq: last.seq, crc: last.crc };
    let good = [root.as_str(), &won[0], &void[0]].concat();
    assert_eq!(read(good.as_bytes(), Some(mark)).expect("sound").chain.void(), 1);

    let end = root.len() + won[0].len();
    let mut silent_but_for_the_mark = 0;
    let mut cases: Vec<Vec<u8>> = vec![[root.as_str(), &void[0]].concat().into_bytes()];
    for at in root.len()..end {
        for bit in 0..8 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            cases.push(bytes);
        }
        // The record's place filled with NULs, as a lost page would.
        let mut bytes = good.clone().into_bytes();
        bytes[at..end].fill(0);
        cases.push(bytes);
    }
    for bytes in cases {
        match Segment::read(Seq::FIRST, &bytes) {
            Err(_) => {}
            Ok(segment) if segment.chain.head().map(|head| head.crc) == Some(last.crc) => {}
            Ok(segment) => {
                assert!(segment.check_mark(Some(mark)).is_err(), "a silent change");
                silent_but_for_the_mark += 1;
            }
        }
    }
    assert!(silent_but_for_the_mark > 0, "the attack is one that only the mark sees");
}

#[test]
fn every_mixture_of_leftovers_behind_a_whole_record_is_closed_off_and_not_damage() {
    // What crashes in a row can leave behind a record that lost only its newline: beginnings of closing marks,
    // beginnings of records, NULs; in any order, because late writers glue.
    let (root, head) = genesis();
    let (first, head) = lines_after(head, 1, &[spawn("whole")]);
    let (second, _) = lines_after(head, 2, &[spawn("next")]);
    let leftovers = ["~", "\0\0", "{", "{\"", "{\"s", "{\"se", "{\"seq", "{\"seq\""];
    for a in leftovers {
        for b in leftovers {
            for c in leftovers {
                let text = [root.as_str(), first[0].trim_end(), a, b, c, "~\n", &second[0]].concat();
                let segment = Segment::read(Seq::FIRST, text.as_bytes());
                let segment = segment.unwrap_or_else(|damage| panic!("{a:?} {b:?} {c:?}: {damage}"));
                assert_eq!(segment.chain.head().map(|head| head.seq), Some(seq(3)), "{a:?} {b:?} {c:?}");
            }
        }
    }
    // Anything else behind a record is damage.
    for stray in ["x", "}", "\"}", "~~x", "{x", "\0x\0", " ", "{\"seq\"~:"] {
        let text = [root.as_str(), first[0].trim_end(), stray, "~\n", &second[0]].concat();
        assert!(Segment::read(Seq::FIRST, text.as_bytes()).is_err(), "{stray:?}");
    }
}

#[test]
fn a_segment_may_be_fed_in_two_parts_at_every_lines_edge() {
    let sample = Sample::new();
    for kept in 1..sample.lines.len() {
        let mut chain = Chain::new("journal", Seq::FIRST);
        let (one, two) = (sample.lines[..kept].concat(), sample.lines[kept..].concat());
        chain.feed(one.as_bytes(), |_| Ok(Flow::Goes)).expect("sound");
        chain.feed(two.as_bytes(), |_| Ok(Flow::Goes)).expect("sound");
        assert_eq!(chain.head(), Some(sample.last()));
        assert!(sample.heads.iter().all(|head| chain.has(head.seq, head.crc)));
        assert_eq!(chain.bytes(), sample.text().len() as u64);
    }
}

#[test]
fn the_root_must_be_there_and_be_the_first_thing_in_the_file() {
    let sample = Sample::new();
    let text = sample.text();
    for bytes in [
        String::new(),
        sample.lines[1..].concat(),
        format!("\n{text}"),
        format!("~\n{text}"),
        format!("\0{text}"),
    ] {
        let damage = read(bytes.as_bytes(), None).expect_err("no root");
        assert!(damage.what.contains("root"), "{damage}");
    }
    let as_another = Segment::read(seq(2), text.as_bytes()).expect_err("it is the root of another segment");
    assert!(as_another.what.contains("root"), "{as_another}");
    let ops = [Op::Unknown("NEWER_THING".into())];
    let (first, _) = lines_after(Head { crc: Crc::NONE, ..sample.heads[0] }, 1, &ops);
    assert!(Segment::read(seq(2), first[0].as_bytes()).is_err(), "a root is a checkpoint");
}

/// Where the mark is lost as well, nothing but the chain tells that a record is missing.
#[test]
fn a_dropped_line_is_damage_by_the_chain_alone_unless_it_is_the_last() {
    let sample = Sample::new();
    for dropped in 0..sample.lines.len() {
        let mut lines = sample.lines.clone();
        lines.remove(dropped);
        let read = Segment::read(Seq::FIRST, lines.concat().as_bytes());
        assert_eq!(read.is_ok(), dropped == sample.lines.len() - 1, "line {dropped}");
    }
}

/// What stands behind a seal is not in the successor, so it never counts, even if it extends the seal itself.
#[test]
fn a_record_that_extends_a_seal_in_the_sealed_segment_is_void() {
    let sample = Sample::new();
    let read = |text: &str| Segment::read(Seq::FIRST, text.as_bytes()).expect("sound");
    let seal = Op::Checkpoint(Box::new(read(&sample.text()).state.checkpoint(true)));
    let (lines, _) = lines_after(sample.last(), 7, &[seal, spawn("late")]);
    let sealed = read(&(sample.text() + &lines[0]));
    let followed = read(&(sample.text() + &lines.concat()));
    assert!(sealed.chain.is_sealed() && followed.chain.is_sealed());
    assert_eq!(followed.chain.head(), sealed.chain.head());
    assert_eq!(followed.state, sealed.state);
}
