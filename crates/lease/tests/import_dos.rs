//! The dos importer's reader against real journals and against hostile ones.
//!
//! `fixtures/dos` holds journals written by two releases of dos-kernel, and what those releases replay them to.
//! [`reference`] is a second fold, written without looking at the reader's code paths: plain values, a vector,
//! linear search. It is itself checked against the fixtures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use lease::import::dos::{DosError, DosJournal, DosLease, FILE_BYTES_MAX, LINE_BYTES_MAX, read, read_file};
use proptest::prelude::*;
use serde_json::{Value, json};

const FIXTURES: [&str; 6] = [
    "dos-0.22-compacted",
    "dos-0.22-mixed",
    "dos-0.22-torn",
    "dos-0.30-compacted",
    "dos-0.30-mixed",
    "dos-0.30-torn",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dos").join(name)
}

fn fixture(name: &str) -> (Vec<u8>, Vec<Value>) {
    let text = fs::read(path(&format!("{name}.jsonl"))).unwrap();
    let live = fs::read(path(&format!("{name}.live.json"))).unwrap();
    (text, serde_json::from_slice(&live).unwrap())
}

fn live(journal: &DosJournal) -> Vec<Value> {
    journal.live.iter().map(DosLease::to_json).collect()
}

/// What dos-kernel 0.30 replays sound records to.
fn reference(text: &[u8]) -> Vec<Value> {
    let mut leases: Vec<(Value, Value, Value)> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
        let (lane, loop_ts) = (record["lane"].clone(), record["loop_ts"].clone());
        let found = leases.iter().position(|lease| (&lease.0, &lease.1) == (&lane, &loop_ts));
        match (record["op"].as_str(), found) {
            (Some("CHECKPOINT"), _) => {
                leases = record["leases"].as_array().unwrap().iter().cloned().map(named).collect();
            }
            (Some("ACQUIRE"), None) => leases.push(named(record["lease"].clone())),
            (Some("ACQUIRE"), Some(at)) => leases[at] = named(record["lease"].clone()),
            (Some("RELEASE" | "SCAVENGE"), Some(at)) => drop(leases.remove(at)),
            (Some("HEARTBEAT"), Some(at)) => leases[at].2["heartbeat_at"] = record["heartbeat_at"].clone(),
            (Some("ADOPT"), Some(at)) => {
                let lease = leases[at].2.as_object_mut().unwrap();
                for name in ["holder", "pid", "host_id", "heartbeat_at"] {
                    lease.insert(name.to_owned(), record[name].clone());
                }
                lease.remove("proc_starttime");
            }
            _ => {}
        }
    }
    leases.into_iter().map(|lease| lease.2).collect()
}

fn named(lease: Value) -> (Value, Value, Value) {
    (lease["lane"].clone(), lease["loop_ts"].clone(), lease)
}

/// One record a line, from `json!` values.
fn lines(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

fn acquire(lane: &str, loop_ts: &str, holder: &str) -> Value {
    let lease = json!({"lane": lane, "loop_ts": loop_ts, "holder": holder, "tree": [format!("{lane}/**")],
        "pid": 7, "proc_starttime": 9, "host_id": "h"});
    json!({"op": "ACQUIRE", "lane": lane, "loop_ts": loop_ts, "lease": lease, "ts": "2026-01-01T00:00:00Z"})
}

fn op(op: &str, lane: &str, loop_ts: &str) -> Value {
    json!({"op": op, "lane": lane, "loop_ts": loop_ts, "ts": "2026-01-01T00:00:09Z"})
}

fn holders(text: &[u8]) -> Vec<String> {
    read(text).unwrap().live.into_iter().map(|lease| lease.holder.unwrap()).collect()
}

/// The number and the offset of the line an error names.
fn place(error: &DosError) -> (u64, u64) {
    match error {
        DosError::Damaged { line, at, .. }
        | DosError::Senseless { line, at, .. }
        | DosError::LineTooLong { line, at } => (*line, *at),
        error => panic!("no place in {error}"),
    }
}

#[test]
fn every_fixture_gives_the_live_set_beside_it() {
    for name in FIXTURES {
        let (text, expected) = fixture(name);
        let journal = read(&text).unwrap();
        assert_eq!(live(&journal), expected, "{name}");
        assert_eq!(reference(&text), expected, "the reference on {name}");
        let newlines = String::from_utf8(text).unwrap().matches('\n').count() as u64;
        assert_eq!(journal.records, newlines, "{name}");
        assert_eq!((journal.unknown, journal.unmatched, journal.jumps), (0, 0, 0), "{name}");
        assert_eq!(journal.torn.is_some(), name.ends_with("torn"), "{name}");
        assert_eq!(read_file(&path(&format!("{name}.jsonl"))).unwrap(), journal, "{name}");
    }
}

#[test]
fn known_fields_are_typed_and_leave_nothing_over() {
    let (text, _) = fixture("dos-0.30-mixed");
    let journal = read(&text).unwrap();
    let docs = &journal.live[0];
    assert_eq!((docs.lane.as_str(), docs.holder.as_deref()), ("docs", Some("adopter-4")));
    assert_eq!((docs.pid, docs.proc_starttime), (Some(37_662), None));
    assert_eq!(docs.heartbeat_at.as_deref(), Some("2026-11-21T08:18:09Z"));
    let infra = &journal.live[2];
    assert_eq!(
        (infra.pid, infra.proc_starttime, infra.mode.as_deref()),
        (Some(8012), Some(303_824), Some("exclusive"))
    );
    assert!(journal.live.iter().all(|lease| lease.other.is_empty()));
}

/// A writer can die after any byte. What came whole counts, the rest is torn, nothing is an error.
#[test]
fn every_cut_of_a_real_journal_gives_the_fold_of_its_whole_records() {
    for name in ["dos-0.30-mixed", "dos-0.30-torn"] {
        let (text, _) = fixture(name);
        let ends: Vec<usize> = (0..text.len()).filter(|&at| text[at] == b'\n').map(|at| at + 1).collect();
        for (index, &end) in ends.iter().enumerate() {
            let whole = read(&text[..end]).unwrap();
            assert_eq!(live(&whole), reference(&text[..end]), "{name} cut at {end}");
            assert_eq!((whole.records, whole.torn), (index as u64 + 1, None), "{name} cut at {end}");
            // Only its newline is missing: the object is whole.
            let bare = read(&text[..end - 1]).unwrap();
            assert_eq!((bare.live, bare.torn), (whole.live, None), "{name} cut at {}", end - 1);
        }
        let mut start = 0;
        for end in ends {
            for cut in (start + 1..end - 1).step_by(1 + (end - start) / 4) {
                let journal = read(&text[..cut]).unwrap();
                assert_eq!(live(&journal), reference(&text[..start]), "{name} cut at {cut}");
                let torn = journal.torn.unwrap();
                assert_eq!(
                    (torn.at, torn.bytes),
                    (start as u64, (cut - start) as u64),
                    "{name} cut at {cut}"
                );
            }
            start = end;
        }
    }
}

#[test]
fn every_damaged_line_in_the_middle_is_named() {
    let (text, _) = fixture("dos-0.30-mixed");
    let ends: Vec<usize> = (0..text.len()).filter(|&at| text[at] == b'\n').collect();
    let mut start = 0;
    for (index, end) in ends.into_iter().enumerate() {
        for byte in [0, b'}', b'\n', 0xff] {
            let mut damaged = text.clone();
            damaged[start] = byte;
            // A newline for the brace makes an empty line, and the rest is on the next one.
            let expected = if byte == b'\n' { (index + 2, start + 1) } else { (index + 1, start) };
            let error = read(&damaged).unwrap_err();
            assert!(matches!(error, DosError::Damaged { .. }), "{error}");
            assert_eq!(place(&error), (expected.0 as u64, expected.1 as u64));
        }
        start = end + 1;
    }
}

#[test]
fn the_message_says_where_and_the_hint_what_to_do() {
    let mut text = lines(&[acquire("a", "1", "x")]);
    let at = text.len();
    text.extend_from_slice(b"{\"op\": \"ACQ\n");
    let error = read(&text).unwrap_err();
    assert_eq!(error.to_string(), format!("line 2 of the dos journal is damaged at byte {at}"));
    assert!(error.hint().unwrap().contains("sed -n 2p"), "{error}");
}

#[test]
fn a_lease_is_its_lane_and_its_loop() {
    // One loop, two lanes.
    let mut records = vec![acquire("a", "1", "x"), acquire("b", "1", "y"), op("RELEASE", "a", "1")];
    assert_eq!(holders(&lines(&records)), ["y"]);
    // A late release of an earlier loop does not end the next one's lease.
    records = vec![
        acquire("a", "1", "x"),
        op("RELEASE", "a", "1"),
        acquire("a", "2", "y"),
        op("SCAVENGE", "a", "1"),
    ];
    assert_eq!(holders(&lines(&records)), ["y"]);
    assert_eq!(read(&lines(&records)).unwrap().unmatched, 1);
    // Two loops that both hold a lane are both kept: the importer has to see it.
    records = vec![acquire("a", "1", "x"), acquire("a", "2", "y")];
    assert_eq!(holders(&lines(&records)), ["x", "y"]);
}

#[test]
fn acquiring_again_replaces_in_place_and_after_a_release_goes_last() {
    let mut records = vec![acquire("a", "1", "x"), acquire("b", "1", "y"), acquire("a", "1", "z")];
    assert_eq!(holders(&lines(&records)), ["z", "y"]);
    records.extend([op("RELEASE", "a", "1"), acquire("a", "1", "w")]);
    assert_eq!(holders(&lines(&records)), ["y", "w"]);
}

#[test]
fn an_adoption_changes_the_owner_and_nothing_else() {
    let mut adopt = op("ADOPT", "a", "1");
    adopt["holder"] = "new".into();
    adopt["pid"] = 8.into();
    adopt["host_id"] = Value::Null;
    let journal = read(&lines(&[acquire("a", "1", "x"), adopt.clone()])).unwrap();
    let lease = &journal.live[0];
    assert_eq!((lease.holder.as_deref(), lease.pid, lease.proc_starttime), (Some("new"), Some(8), None));
    assert_eq!((lease.host_id.as_deref(), lease.region()), (Some("h"), vec!["a/**"]));
    assert_eq!(lease.heartbeat_at.as_deref(), Some("2026-01-01T00:00:09Z"), "the record's own time");
    // Nothing to adopt: nothing is granted.
    let journal = read(&lines(&[adopt])).unwrap();
    assert_eq!((journal.live.len(), journal.unmatched), (0, 1));
}

#[test]
fn a_checkpoint_starts_again_from_its_leases() {
    let lease = acquire("c", "1", "kept")["lease"].clone();
    let checkpoint = json!({"op": "CHECKPOINT", "leases": [lease], "seq_watermark": 41});
    let mut next = acquire("d", "1", "later");
    next["seq"] = 42.into();
    let text = lines(&[acquire("a", "1", "x"), checkpoint, next.clone(), op("RELEASE", "a", "1")]);
    assert_eq!(holders(&text), ["kept", "later"]);
    let journal = read(&text).unwrap();
    assert_eq!((journal.jumps, journal.unmatched), (0, 1));
    next["seq"] = 44.into();
    let text = lines(&[json!({"op": "CHECKPOINT", "leases": [], "seq_watermark": 41}), next]);
    assert_eq!(read(&text).unwrap().jumps, 1);
}

#[test]
fn unknown_operations_are_counted_and_history_is_not() {
    let records = [
        acquire("a", "1", "x"),
        json!({"op": "FROBNICATE", "lane": "a", "loop_ts": "1"}),
        json!({"op": "HALT", "lane": "", "handle": "t"}),
        json!({"op": "REFUSE", "lane": "a"}),
    ];
    let journal = read(&lines(&records)).unwrap();
    assert_eq!((journal.live.len(), journal.records, journal.unknown), (1, 4, 1));
}

#[test]
fn lease_fields_may_stand_in_the_record_itself() {
    let record = json!({"op": "RECONCILE", "lane": "a", "loop_ts": "1", "tree": ["a/**"], "holder": "x",
        "ts": "2026-01-01T00:00:00Z", "reason": "r", "seq": 4, "ttl_minutes": 90});
    let journal = read(&lines(&[record])).unwrap();
    let expected = json!({"lane": "a", "loop_ts": "1", "tree": ["a/**"], "holder": "x", "ttl_minutes": 90});
    assert_eq!(live(&journal), [expected]);
}

#[test]
fn strange_fields_come_back_unchanged_and_an_unreadable_tree_is_everything() {
    for tree in [json!(null), json!([]), json!("a/**"), json!(["a/**", 1]), json!({"a": 1})] {
        let mut record = acquire("a", "1", "x");
        record["lease"]["tree"] = tree;
        record["lease"]["pid"] = json!("7976");
        record["lease"]["proc_starttime"] = json!(-1.5);
        record["lease"]["ttl_minutes"] = json!(null);
        record["lease"]["run_id"] = json!(["a"]);
        record["lease"]["children"] = json!([{"pid": 1}]);
        let journal = read(&lines(&[record.clone(), op("HEARTBEAT", "b", "1")])).unwrap();
        assert_eq!(live(&journal), [record["lease"].clone()]);
        let lease = &journal.live[0];
        assert_eq!((lease.pid, lease.region()), (None, vec!["**"]));
    }
    // A beat that can be read replaces one that could not.
    let mut record = acquire("a", "1", "x");
    record["lease"]["heartbeat_at"] = json!(5);
    let journal = read(&lines(&[record, op("HEARTBEAT", "a", "1")])).unwrap();
    assert_eq!(journal.live[0].heartbeat_at.as_deref(), Some("2026-01-01T00:00:09Z"));
    assert!(journal.live[0].other.is_empty());
    let mut record = acquire("a", "1", "x");
    record["lease"].as_object_mut().unwrap().remove("tree");
    assert_eq!(read(&lines(&[record])).unwrap().live[0].region(), ["**"]);
}

#[test]
fn what_cannot_be_understood_is_an_error_and_not_an_empty_set() {
    let mut other_lane = acquire("a", "1", "x");
    other_lane["lease"]["lane"] = "b".into();
    let mut other_loop = acquire("a", "1", "x");
    other_loop["loop_ts"] = "2".into();
    let mut no_object = acquire("a", "1", "x");
    no_object["lease"] = json!([1]);
    for record in [
        other_lane,
        other_loop,
        no_object,
        json!({"op": "ACQUIRE", "loop_ts": "1"}),
        json!({"op": "ACQUIRE", "lane": "", "loop_ts": "1"}),
        json!({"op": "ACQUIRE", "lane": 5, "loop_ts": "1"}),
        json!({"op": "RELEASE", "lane": "a", "loop_ts": 1}),
        json!({"op": "HEARTBEAT"}),
        json!({"op": "CHECKPOINT"}),
        json!({"op": "CHECKPOINT", "leases": {}}),
        json!({"op": "CHECKPOINT", "leases": [5]}),
        json!({"op": "CHECKPOINT", "leases": [{"holder": "x"}]}),
        json!({"op": 5}),
        json!({"lane": "a"}),
        json!([]),
        json!("ACQUIRE"),
        json!(null),
    ] {
        let before = acquire("z", "1", "z");
        let at = lines(std::slice::from_ref(&before)).len() as u64;
        let text = lines(&[before, record.clone(), acquire("y", "1", "y")]);
        let error = read(&text).unwrap_err();
        assert!(matches!(error, DosError::Senseless { .. }), "{record}: {error}");
        assert_eq!(place(&error), (2, at), "{record}");
        // Nor at the end, where only cut text is forgiven.
        let mut text = lines(&[acquire("z", "1", "z"), record.clone()]);
        text.pop();
        assert!(matches!(read(&text), Err(DosError::Senseless { .. })), "{record} at the end");
    }
    assert!(matches!(read(b"{\"op\":\"HALT\",\"op\":\"ACQUIRE\"}\n"), Err(DosError::Senseless { .. })));
}

#[test]
fn harmless_framing_is_tolerated() {
    let (text, expected) = fixture("dos-0.30-compacted");
    let crlf = String::from_utf8(text).unwrap().replace('\n', "\r\n");
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend_from_slice(crlf.replace("}\r\n", "}\r\n \t\r\n\r\n").as_bytes());
    let journal = read(&marked).unwrap();
    assert_eq!((live(&journal), journal.torn), (expected, None));
    for empty in ["", "\u{feff}", "\n", "\r\n\r\n", "  "] {
        assert_eq!(read(empty.as_bytes()).unwrap(), DosJournal::default(), "{empty:?}");
    }
    let error = read(b"\xef\xbb\xbf\n{]\n").unwrap_err();
    assert_eq!(place(&error), (2, 4), "offsets count from the start of the file");
}

#[test]
fn tails_that_no_writer_acknowledged_are_torn() {
    let sound = lines(&[acquire("a", "1", "x")]);
    let tails: [&[u8]; 7] = [
        b"{",
        b"{\"op\": \"ACQ",
        b"{\"op\": \"ACQUIRE\", \"lane\": \"\xc3",
        b"\0\0\0\0",
        b"{\"a\0\0",
        b"\xff\xfe",
        b"}",
    ];
    for tail in tails {
        let mut text = sound.clone();
        text.extend_from_slice(tail);
        let journal = read(&text).unwrap();
        let torn = journal.torn.unwrap();
        assert_eq!((torn.line, torn.at, torn.bytes), (2, sound.len() as u64, tail.len() as u64));
        assert_eq!((journal.live.len(), journal.records), (1, 1));
        // With its newline it is a line that somebody finished, and damage.
        text.push(b'\n');
        assert_eq!(place(&read(&text).unwrap_err()), (2, sound.len() as u64));
    }
}

#[test]
fn hostile_lines_give_an_answer_in_bounded_memory() {
    let wrap =
        |inner: &str| format!("{{\"op\":\"ACQUIRE\",\"lane\":\"a\",\"loop_ts\":\"1\",\"lease\":{inner}}}\n");
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(matches!(read(deep.as_bytes()), Err(DosError::Senseless { line: 1, at: 0, .. })));
    for text in [wrap(&deep), wrap(&format!("{{\"x\":{deep}}}")), wrap("{\"x\":\"\\ud800\"}")] {
        assert!(matches!(read(text.as_bytes()), Err(DosError::Damaged { .. })));
        // Its braces match, so nobody cut it: at the end of the file it is no torn line either.
        assert!(matches!(read(text.trim().as_bytes()), Err(DosError::Damaged { .. })));
    }
    let number = format!("{{\"lane\":\"a\",\"loop_ts\":\"1\",\"pid\":{}}}", "9".repeat(4000));
    assert!(read(wrap(&number).as_bytes()).is_err(), "not even a double");
    let number = "{\"lane\":\"a\",\"loop_ts\":\"1\",\"pid\":18446744073709551616,\"proc_starttime\":1e3}";
    assert_eq!(read(wrap(number).as_bytes()).unwrap().live[0].pid, None);

    let mut long = wrap("{}").into_bytes();
    long.splice(1..1, std::iter::repeat_n(b' ', LINE_BYTES_MAX));
    assert_eq!(place(&read(&long).unwrap_err()), (1, 0));
    let unfinished = vec![b'{'; LINE_BYTES_MAX + 1];
    assert!(matches!(read(&unfinished), Err(DosError::LineTooLong { line: 1, at: 0 })));
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    fs::File::create(&path).unwrap().set_len(4 * FILE_BYTES_MAX).unwrap();
    assert!(matches!(read_file(&path), Err(DosError::FileTooLong)));
    let missing = read_file(&dir.path().join("missing")).unwrap_err();
    assert!(missing.to_string().starts_with("could not open `"), "{missing}");
}

/// Records from a small world, so that they meet each other.
fn record() -> impl Strategy<Value = Value> {
    let lane = prop::sample::select(vec!["a", "b", "c"]);
    let loop_ts = prop::sample::select(vec!["1", "2"]);
    (lane, loop_ts, 0..8_u8, any::<u16>()).prop_map(|(lane, loop_ts, kind, n)| match kind {
        0..3 => acquire(lane, loop_ts, &format!("h{n}")),
        3 => op("RELEASE", lane, loop_ts),
        4 => op("SCAVENGE", lane, loop_ts),
        5 | 6 => {
            let mut record = op(if kind == 5 { "HEARTBEAT" } else { "ADOPT" }, lane, loop_ts);
            record["heartbeat_at"] = format!("t{n}").into();
            record["holder"] = format!("adopter-{n}").into();
            record["pid"] = n.into();
            record["host_id"] = "h2".into();
            record
        }
        _ => {
            let leases = json!([acquire(lane, loop_ts, "kept")["lease"], acquire("d", "9", "kept")["lease"]]);
            json!({"op": "CHECKPOINT", "leases": leases})
        }
    })
}

proptest! {
    #[test]
    fn random_histories_fold_like_the_reference(records in prop::collection::vec(record(), 0..60)) {
        let text = lines(&records);
        prop_assert_eq!(live(&read(&text).unwrap()), reference(&text));
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _answer = read(&bytes);
    }

    #[test]
    fn a_damaged_real_journal_gives_an_answer_and_never_an_error_without_a_place(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut text, _) = fixture("dos-0.30-mixed");
        let at = at.index(text.len());
        text[at] = byte;
        text.truncate(cut.index(text.len()) + 1);
        if let Err(error) = read(&text) {
            let (line, offset) = place(&error);
            prop_assert!(line > 0 && offset <= at as u64 + 1, "{} for a byte at {}", error, at);
        }
    }
}
