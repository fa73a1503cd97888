//! The commonest records are not made values of where nobody asks for them. Here the short cut is held against the long
//! way, which reads every record whole: the same state, or the same damage in the same words.

mod common;

use std::ops::ControlFlow;

use arbiter::evidence::{Evidence, Liveness, Observation, ProcessIdentity, ProcessReport, Role};
use arbiter::request::{Note, Request, RequestId, RunId};
use arbiter::time::Span;
use common::{clock, decide, genesis, heartbeat_of, lane, lines_after, release_of, request, seq, writing};
use journal::chain::Head;
use journal::disk::Access;
use journal::history::{roots, state_at, survey, walk};
use journal::record::Op;
use journal::segment::{self, Segment};
use journal::state::{State, Until};
use journal::store::{FileStore, Store};
use proptest::prelude::*;
use testkit::disk::MemDisk;

/// A segment under construction: its lines, each with its newline, and what they amount to.
struct History {
    lines: Vec<String>,
    head: Head,
    state: State,
}

impl History {
    fn new() -> History {
        let (line, head) = genesis();
        History { lines: vec![line], head, state: State::default() }
    }

    fn add(&mut self, n: u64, ops: &[Op]) {
        let (lines, head) = lines_after(self.head, n, ops);
        self.lines.extend(lines);
        self.head = head;
        self.state =
            Segment::read_with(seq(1), self.lines.concat().as_bytes(), |_| Ok(())).expect("sound").state;
    }

    fn ask(&mut self, n: u64, request: &Request) {
        let mut evidence = Evidence::at(clock(n));
        let bound = self.state.live.iter().filter(|lease| !lease.processes.is_empty());
        evidence.observed = bound
            .map(|lease| {
                let report = |process: &ProcessIdentity| ProcessReport {
                    process: process.clone(),
                    alive: Liveness::Yes,
                    why: "it runs".into(),
                };
                let processes = lease.processes.iter().map(report).collect();
                Observation { lease: lease.lease, alive: Liveness::Yes, processes }
            })
            .collect();
        let ops = decide(&self.state, request, evidence, common::time(n)).1;
        self.add(n, &ops);
    }

    fn end(&mut self, n: u64, name: &str) {
        let lease = self.state.live.in_lane(&lane(name), None).expect("it lives").clone();
        self.add(n, &[release_of(&lease)]);
    }

    fn beat(&mut self, n: u64, name: &str) {
        let lease = self.state.live.in_lane(&lane(name), None).expect("it lives").clone();
        self.add(n, &[heartbeat_of(&lease, n)]);
    }
}

/// Leases that come and go, stay, are beaten for, and stand in somebody's way; all as they are commonly written.
fn history() -> History {
    let mut history = History::new();
    let process = |pid, role| ProcessIdentity {
        pid,
        start: 88_112,
        boot: "b0071d".into(),
        pidns: 4_026_531_836,
        host: "vm/3d12".into(),
        role: Some(role),
    };
    let mut bound = request("o1", "api", &["src/api/**", "lock://db"]);
    bound.read = request("o1", "api", &["docs/*.md"]).tree;
    bound.ttl = Some(Span::from_s(90));
    bound.processes = vec![process(7, Role::Supervisor), process(8, Role::Worker)];
    bound.run_id = RunId::new("run-7").ok();
    bound.why = Note::new("it is my turn").ok();
    history.ask(1, &bound);
    history.beat(2, "api");
    history.ask(3, &request("o2", "web", &["src/**"]));
    let mut plain = request("o3", "Web", &["web/x.rs"]);
    plain.waits = true;
    history.ask(4, &plain);
    history.beat(5, "web");
    history.end(6, "WEB");
    history.ask(7, &request("o3", "web", &["web/x.rs"]));
    history.end(8, "api");
    history.ask(9, &request("o4", "web", &["w"]));
    let mut child = request("o4", "child", &["w/x"]);
    child.parent = history.state.live.in_lane(&lane("web"), None).map(|lease| lease.lease);
    history.ask(9, &child);
    // After what is read the long way all leases are made; these are met as such.
    history.add(10, &[common::spawn("o4")]);
    history.beat(11, "web");
    history.end(12, "web");
    history
}

/// What a segment is read as, in a form that can be compared.
fn short_and_long(bytes: &[u8]) -> [Result<(State, Option<Head>), String>; 2] {
    let short = Segment::read(seq(1), bytes);
    let long = Segment::read_with(seq(1), bytes, |_| Ok(()));
    [short, long].map(|read| {
        read.map(|segment| (segment.state, segment.chain.head())).map_err(|damage| format!("{damage:?}"))
    })
}

/// The lines with this one changed, and every checksum and predecessor from there on made right again.
fn with_line(lines: &[String], changed: usize, text: &[u8]) -> Vec<u8> {
    let mut bytes = lines[..changed].concat().into_bytes();
    let mut prev: Option<String> = None;
    for (n, line) in lines.iter().enumerate().skip(changed) {
        let line = if n == changed { text } else { line.as_bytes() };
        // Before `,"crc":"01234567"}` and the newline.
        let mut covered = line[..line.len() - 19].to_vec();
        if let Some(prev) = &prev {
            let at = covered.len() - 9;
            covered[at..at + 8].copy_from_slice(prev.as_bytes());
        }
        let crc = format!("{:08x}", crc32fast::hash(&covered));
        bytes.extend(&covered);
        bytes.extend(format!(",\"crc\":\"{crc}\"}}\n").bytes());
        prev = Some(crc);
    }
    bytes
}

#[test]
fn both_ways_lead_to_the_same_state_after_every_record() {
    let history = history();
    for end in 1..=history.lines.len() {
        let [short, long] = short_and_long(history.lines[..end].concat().as_bytes());
        assert_eq!(short, long, "{}", history.lines[end - 1]);
        assert!(short.is_ok(), "{short:?}");
    }
}

/// One byte of a line is another, is gone, or has another before it, and all checksums are right.
#[test]
fn both_ways_say_the_same_of_every_changed_byte() {
    let lines = history().lines;
    let letters = b"\"\\{}[],:01 9aZ*./~-+e\x7f\x01\xc3";
    let (mut sound, mut damaged) = (0, 0);
    for (n, line) in lines.iter().enumerate().skip(1) {
        let line = line.as_bytes();
        for at in 0..line.len() - 60 {
            // Not all letters everywhere, but each at many places.
            let letter = letters[(at * 7 + n) % letters.len()];
            let mut changed = line.to_vec();
            changed[at] = letter;
            let mut shorter = line.to_vec();
            shorter.remove(at);
            let mut longer = line.to_vec();
            longer.insert(at, letter);
            for text in [changed, shorter, longer] {
                let [short, long] = short_and_long(&with_line(&lines, n, &text));
                assert_eq!(short, long, "{}", String::from_utf8_lossy(&text));
                (sound, damaged) = (sound + u32::from(short.is_ok()), damaged + u32::from(short.is_err()));
            }
        }
    }
    assert!(sound > 500 && damaged > 500, "{sound} were sound, {damaged} were damaged");
}

/// What is wrong by little, or right by little: at the edge of what a field may be.
#[test]
fn both_ways_say_the_same_at_the_edge_of_every_field() {
    let lines = history().lines;
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    let many = |item: &str, n: usize| format!("[{}]", vec![item; n].join(","));
    let process =
        r#"{"pid":7,"start":88112,"boot":"b0071d","pidns":4026531836,"host":"vm/3d12","role":"supervisor"}"#;
    let region = r#"["src/api/**","lock://db"]"#;
    let mut edges: Vec<(&str, String)> = Vec::new();
    for name in ["\"\"", "\" \"", "\"a b\"", "7", "null", "\"\u{e9}\"", "\"\\u0041\""] {
        edges.extend(
            ["\"api\"", "\"o1\"", "\"o2\"", "\"run-7\"", "\"it is my turn\"", "\"b0071d\""]
                .map(|at| (at, name.into())),
        );
    }
    for name in [long(256), long(257), long(4096), long(4097)] {
        edges.extend(["\"api\"", "\"o1\"", "\"run-7\"", "\"it is my turn\""].map(|at| (at, name.clone())));
    }
    for number in [
        "0",
        "1",
        "00",
        "01",
        "-1",
        "1.0",
        "1.5",
        "1e3",
        "4294967295",
        "4294967296",
        "315360000",
        "315360001",
        "9999999999999999999",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        for field in
            ["\"ttl_s\":90", "\"pid\":7", "\"start\":88112", "\"up_ms\":1000", "\"lease\":2", "\"fence\":2"]
        {
            let name = field.split(':').next().expect("a field");
            edges.push((field, format!("{name}:{number}")));
        }
    }
    for entry in [
        "..", "a/..", "./a", "a/", "/a", "a//b", "", "*", "a*", "[", "{a", "lock://", "lock:// ", "lock://*",
        "pool://*", "http://x", "a:b", "\\\\", "a/.b", "...",
    ] {
        edges.push((region, format!("[\"{entry}\"]")));
        edges.push(("\"docs/*.md\"", format!("\"{entry}\"")));
    }
    for n in [0, 1024, 1025] {
        edges.push((region, many("\"a\"", n)));
    }
    edges.push((region, format!("[\"{}\"]", "?".repeat(33))));
    edges.push((region, format!("[\"{}\"]", "?".repeat(65))));
    for n in [0, 64, 65] {
        edges.push((process, many(process, n).trim_matches(['[', ']']).into()));
    }
    for (from, to) in [
        ("supervisor", "boss"),
        ("worker", "supervisor"),
        ("\"outcome\":\"acquire\"", "\"outcome\":\"refuse\""),
        ("\"auto_picked\":false", "\"auto_picked\":true"),
        ("\"auto_picked\":false", "\"auto_picked\":0"),
        ("\"evicted\":[]", "\"evicted\":[{}]"),
        ("07:00:01.000Z", "07:60:01.000Z"),
        ("07:00:01.000Z", "07:00:01Z"),
        ("REGION_CONFLICT", "NOPE"),
        ("REGION_CONFLICT", "LANE_HELD"),
        ("\"alive\":\"yes\"", "\"alive\":\"maybe\""),
        ("\"mode\":\"write\"", "\"mode\":\"read\""),
        ("\"mode\":\"write\"", "\"mode\":\"both\""),
        ("\"overlap\":", "\"overlap\":null,\"x\":"),
        ("\"free_lanes\":[]", "\"free_lanes\":[\"\"]"),
        ("\"lane\":\"Web\"", "\"lane\":\"API\""),
        ("\"waits\":true", "\"waits\":1"),
        ("\"waits\":true", "\"waits\":true,\"ticket\":9"),
    ] {
        edges.push((from, to.into()));
    }
    let mut tried = 0;
    for (from, to) in &edges {
        for (n, line) in lines.iter().enumerate().skip(1) {
            for (at, _) in line.match_indices(from) {
                let text = [&line[..at], to, &line[at + from.len()..]].concat();
                let [short, long] = short_and_long(&with_line(&lines, n, text.as_bytes()));
                assert_eq!(short, long, "{text}");
                tried += 1;
            }
            let [short, long] = short_and_long(&with_line(&lines, n, line.replace(from, to).as_bytes()));
            assert_eq!(short, long, "{}", line.replace(from, to));
        }
    }
    assert!(tried > 500, "{tried} places");
}

/// A store of many segments: some late and some unfinished writes in them, answers that are kept, leases that stay.
fn store_of_many_segments() -> MemDisk {
    let disk = MemDisk::new();
    let mut store = FileStore::new(disk.process(), Access::Append);
    for n in 1..40u64 {
        let state = store.prepare(writing(n)).expect("sound").clone();
        let held = state.live.iter().find(|lease| lease.lease.get() % 3 == n % 3);
        let ops = match held {
            Some(lease) if n % 2 == 0 => vec![release_of(lease)],
            _ => {
                let mut asked = request("o", &format!("l{n}"), &[&format!("src/d{}/**", n % 7)]);
                asked.request_id = (n % 5 == 0).then(|| RequestId::new(format!("r{n}")).expect("a name"));
                decide(&state, &asked, Evidence::at(clock(n)), common::time(n)).1
            }
        };
        let before = store.head().expect("loaded");
        store.append_if(writing(n), &ops).expect("sound");
        let name = segment::name(store.segment().expect("loaded").root);
        if n % 4 == 0 {
            // Somebody who slept, and somebody who died.
            let (late, _) = lines_after(before, n + 100, &[common::spawn("late")]);
            disk.add(&name, late.concat().as_bytes());
        }
        if n % 6 == 0 {
            disk.add(&name, b"{\"seq\":9");
        }
        store.load().expect("sound");
        store.commit().expect("sound");
        if n % 3 == 0 {
            assert!(store.seal(writing(n)).expect("sound"));
        }
    }
    disk
}

#[test]
fn both_ways_lead_to_the_same_state_through_many_segments() {
    let disk = store_of_many_segments();
    let walked = walk(&disk.process(), |_| ControlFlow::Continue(())).expect("sound").expect("it began");
    assert!(walked.counters.void > 0 && walked.counters.torn > 0, "{:?}", walked.counters);
    let (folded, last) = state_at(&disk.process(), Until::Now).expect("sound");
    assert_eq!(folded, walked);
    assert_eq!(survey(&disk.process()).expect("the disk works").last, last);
    for n in 1..=last.expect("it began").get() {
        let mut then = None;
        let walked = walk(&disk.process(), |event| {
            if event.record.seq.get() <= n {
                return ControlFlow::Continue(());
            }
            then = Some(event.before.clone());
            ControlFlow::Break(())
        });
        let walked = then.or(walked.expect("sound"));
        assert_eq!(
            Some(state_at(&disk.process(), Until::Seq(seq(n))).expect("sound").0),
            walked,
            "record {n}"
        );
    }
}

/// What the segment before it amounts to is not what counts where the root says something else: that is another history,
/// and `verify` says so.
#[test]
fn a_root_that_is_not_the_seal_before_it_is_read() {
    let disk = store_of_many_segments();
    let last = *roots(&disk.process()).expect("the disk works").last().expect("it began");
    let name = segment::name(last);
    let root = String::from_utf8(disk.bytes(&name).expect("it is there")).expect("text");
    assert_eq!(root.lines().count(), 1, "{root}");
    disk.put(&name, common::forged(root.trim_end(), "\"heartbeats\":0", "\"heartbeats\":77").as_bytes());
    disk.take(&segment::mark_name(last));
    let walked = walk(&disk.process(), |_| ControlFlow::Continue(())).expect("sound").expect("it began");
    assert_eq!(walked.counters.heartbeats, 77);
    assert_eq!(state_at(&disk.process(), Until::Now).expect("sound").0, walked);
    assert_eq!(survey(&disk.process()).expect("the disk works").damage.len(), 1);
}

/// Pieces of JSON that may stand in a record, in its place or not.
const PIECES: [&str; 25] = [
    "\"lane\":",
    "\"owner\":",
    "\"tree\":[]",
    "\"read\":[\"a/b\"]",
    "\"request_id\":\"r\"",
    "\"ticket\":3",
    "\"parent\":2",
    "\"force\":true",
    "\"worktree\":\"w\"",
    "\"exclusive\":true",
    "\"ttl_s\":1.5",
    "\"ttl_s\":0",
    "\"x\":{}",
    "\"lease\":2",
    "\"fence\":2",
    "\"withdrawn\":true",
    "null",
    "00",
    "99999999999999999999",
    "\"\"",
    "\" \"",
    "\"..\"",
    "\"a//b\"",
    "\"[\"",
    ",",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// A piece of a line is put in the place of another, or a piece of JSON is.
    #[test]
    fn both_ways_say_the_same_of_every_line_put_together_anew(
        n in 1usize..13, from in any::<prop::sample::Index>(), length in 0usize..40,
        piece in prop::option::of(prop::sample::select(&PIECES[..])),
        other in any::<prop::sample::Index>(), other_length in 0usize..40,
    ) {
        let lines = history().lines;
        let line = lines[n].as_bytes();
        let from = from.index(line.len() - 60);
        let to = (from + length).min(line.len() - 60);
        let other = other.index(line.len() - 60);
        let put = piece.map_or(&line[other..(other + other_length).min(line.len())], str::as_bytes);
        let text = [&line[..from], put, &line[to..]].concat();
        let [short, long] = short_and_long(&with_line(&lines, n, &text));
        prop_assert_eq!(short, long, "{}", String::from_utf8_lossy(&text));
    }
}
