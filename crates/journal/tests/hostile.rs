//! Bytes that somebody made up: damage or a plain error in bounded time, no panic, no overflow of the stack.

mod common;

use std::time::{Duration, Instant};

use arbiter::seq::Seq;
use common::{Client, forged, genesis, lines_after, request, spawn, time};
use journal::Damage;
use journal::line;
use journal::mark::Mark;
use journal::record::Op;
use journal::segment::{self, Segment};
use proptest::prelude::*;

/// A journal of one root and `line`.
fn read_behind_root(line: &[u8]) -> Result<Segment, Damage> {
    let mut bytes = genesis().0.into_bytes();
    bytes.extend_from_slice(line);
    Segment::read(Seq::FIRST, &bytes)
}

/// A record of operation `op` that has `body` between its frame's parts, with the right checksum and predecessor.
fn record(op: &str, body: &[u8]) -> Vec<u8> {
    let (_, head) = genesis();
    let begin = format!("{{\"seq\":2,\"ts\":\"{}\",\"op\":\"{op}\"", time(1));
    let end = format!(",\"nonce\":\"{:016x}\",\"prev\":\"{}\"", 5, head.crc);
    let covered = [begin.as_bytes(), body, end.as_bytes()].concat();
    let crc = crc32fast::hash(&covered);
    [&covered[..], format!(",\"crc\":\"{crc:08x}\"}}\n").as_bytes()].concat()
}

fn within(most: Duration, what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    // Debug builds are some ten times slower; what must not happen is that twice the bytes take four times as long.
    let most = if cfg!(debug_assertions) { most * 10 } else { most };
    assert!(began.elapsed() < most, "{what} took {:?}", began.elapsed());
}

#[test]
fn two_hundred_thousand_nested_brackets_overflow_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        let unclosed = open.repeat(200_000);
        assert!(read_behind_root(format!("{deep}\n").as_bytes()).is_err());
        assert!(read_behind_root(format!("{unclosed}\n").as_bytes()).is_err());
        for op in ["ACQUIRE", "REFUSE", "CHECKPOINT", "RELEASE", "POLICY"] {
            for field in ["lane", "request", "verdict", "unknown", "leases", "policy"] {
                // Deep where it is not known counts as unknown, deep where something is expected as damage: no panic.
                let _told = read_behind_root(&record(op, format!(",\"{field}\":{deep}").as_bytes()));
            }
        }
        let newer = read_behind_root(&record("NEWER", format!(",\"deep\":{deep}").as_bytes()));
        assert!(newer.is_ok() || newer.is_err_and(|damage| damage.what.contains("NEWER")));
    }
}

#[test]
fn a_line_of_64_mib_of_garbage_is_damage_in_bounded_time() {
    let fillers: [&[u8]; 9] = [
        b"x",
        b"{",
        b"\"}",
        b",\"crc\":\"00000000\"}",
        b"{\"seq\":",
        b"{\"seq\":2,\"crc\":\"00000000\"}",
        b"~",
        b"\0{\"seq\"",
        b"{\"seq\":1",
    ];
    let bytes_max = if cfg!(debug_assertions) { 1 << 20 } else { 64 << 20 };
    for filler in fillers {
        let shown = String::from_utf8_lossy(filler).into_owned();
        for begin in [&b""[..], b"{\"seq\":2,\"ts\":"] {
            let mut line = begin.to_vec();
            line.extend_from_slice(&filler.repeat(bytes_max / filler.len()));
            let mut whole = line.clone();
            whole.push(b'\n');
            within(Duration::from_secs(2), &shown, || {
                // Unterminated it is an unfinished write, or it is damage.
                let _told = read_behind_root(&line);
            });
            within(Duration::from_secs(2), &shown, || {
                let told = read_behind_root(&whole);
                assert!(told.is_err() || filler == b"~", "{shown}");
            });
        }
    }
}

/// Checksums that hold at every step, over a frame that never is one: what a forger would write to make reading
/// quadratic.
#[test]
fn a_line_of_right_checksums_over_no_record_is_read_in_bounded_time() {
    for begin in
        ["{\"seq\":2,\"ts\":\"no time\"", "{\"seq\":2222222222222222222222222222222222222222222222222"]
    {
        let mut line = begin.as_bytes().to_vec();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&line);
        let bytes_max = if cfg!(debug_assertions) { 2 << 20 } else { 16 << 20 };
        while line.len() < bytes_max {
            let part = format!(",\"crc\":\"{:08x}\"}}", hasher.clone().finalize());
            hasher.update(part.as_bytes());
            line.extend_from_slice(part.as_bytes());
        }
        line.push(b'\n');
        within(Duration::from_secs(2), begin, || assert!(read_behind_root(&line).is_err()));
    }
}

#[test]
fn a_long_run_of_digits_or_capitals_is_read_in_bounded_time() {
    for begin in ["{\"seq\":", &format!("{{\"seq\":2,\"ts\":\"{}\",\"op\":\"", time(1))] {
        let filler = if begin.ends_with(':') { b"7" } else { b"X" };
        let mut line = begin.as_bytes().to_vec();
        line.extend_from_slice(&filler.repeat(4 << 20));
        line.push(b'\n');
        within(Duration::from_secs(1), begin, || assert!(read_behind_root(&line).is_err()));
    }
}

#[test]
fn text_that_is_not_utf8_is_damage_where_it_is_read() {
    for bad in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"] {
        let body = [&b",\"lane\":\""[..], bad, b"\",\"owner\":\"o\""].concat();
        let damage = read_behind_root(&record("SPAWN", &body)).expect_err("not text");
        assert_eq!((damage.seq, damage.offset), (Some(2), genesis().0.len() as u64), "{damage}");
    }
}

/// Our own writers write none of it. A newer version may, and an older reader has to pass over what it does not know.
#[test]
fn text_that_is_not_utf8_is_passed_over_where_nobody_reads_it() {
    for (op, body) in
        [("SPAWN", &b",\"lane\":\"l\",\"owner\":\"o\",\"x\":\"\xff\""[..]), ("FUTURE", b",\"x\":\"\xff\"")]
    {
        read_behind_root(&record(op, body)).unwrap_or_else(|damage| panic!("{op}: {damage}"));
    }
}

#[test]
fn numbers_beyond_their_range_are_damage() {
    let release = |lease: &str, fence: &str| {
        format!(",\"lane\":\"l\",\"owner\":\"o\",\"lease\":{lease},\"fence\":{fence}").into_bytes()
    };
    for number in [
        "0",
        "-1",
        "1.5",
        "1e400",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "\"1\"",
        "null",
    ] {
        for body in [release(number, "1"), release("1", number)] {
            assert!(read_behind_root(&record("RELEASE", &body)).is_err(), "{number}");
        }
    }
    let (_, head) = genesis();
    for seq in ["0", "00", "18446744073709551616", "+2", "-2", "2.0", "2e0", "٢"] {
        let covered = format!(
            "{{\"seq\":{seq},\"ts\":\"{}\",\"op\":\"SPAWN\",\"lane\":\"l\",\"owner\":\"o\",\"nonce\":\"{:016x}\",\"prev\":\"{}\"",
            time(1),
            1,
            head.crc
        );
        let line = format!("{covered},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(covered.as_bytes()));
        assert!(read_behind_root(line.as_bytes()).is_err(), "{seq}");
    }
    let last = u64::MAX.to_string();
    let line = record("SPAWN", b",\"lane\":\"l\",\"owner\":\"o\"");
    let line =
        forged(std::str::from_utf8(&line).expect("text").trim_end(), "\"seq\":2", &format!("\"seq\":{last}"));
    assert!(read_behind_root(line.as_bytes()).is_err(), "its predecessor is not there");
}

#[test]
fn a_repeated_known_field_is_damage_and_a_repeated_unknown_one_is_not_read() {
    let spawn = ",\"lane\":\"l\",\"owner\":\"o\"";
    assert!(read_behind_root(&record("SPAWN", format!("{spawn},\"lane\":\"l\"").as_bytes())).is_err());
    assert!(read_behind_root(&record("SPAWN", format!("{spawn},\"new\":1,\"new\":2").as_bytes())).is_ok());
    for repeated in ["lane", "owner", "request", "evidence", "verdict"] {
        let line = grant_line();
        let key = format!(",\"{repeated}\":");
        let twice = forged(line.trim_end(), &key, &format!("{key}\"again\"{key}"));
        let damage = read_behind_root(twice.as_bytes()).expect_err(repeated);
        assert!(damage.what.contains("ACQUIRE"), "{damage}");
    }
    // The frame's own fields are read by position; the same name in the body changes nothing.
    let odd = record("SPAWN", format!("{spawn},\"seq\":99,\"prev\":\"x\",\"op\":\"ACQUIRE\"").as_bytes());
    let segment = read_behind_root(&odd).expect("sound");
    assert_eq!((segment.state.counters.spawns, segment.state.live.len()), (1, 0));
}

fn grant_line() -> String {
    let (_, ops) = common::decide(
        &journal::state::State::default(),
        &request("ann", "api", &["src/**"]),
        arbiter::evidence::Evidence::at(common::clock(1)),
        time(1),
    );
    lines_after(genesis().1, 1, &ops).0.concat()
}

/// A journal of one grant with one more field, and the seal that any writer would put behind it.
fn sealed_behind(field: &str) -> Result<Segment, Damage> {
    let line = grant_line();
    let grant = forged(line.trim_end(), ",\"nonce\":", &format!(",{field},\"nonce\":"));
    let segment = read_behind_root(grant.as_bytes())?;
    let head = segment.chain.head().expect("a root");
    let seal = Op::Checkpoint(Box::new(segment.state.checkpoint(true)));
    let (seal, _) = lines_after(head, 2, &[seal]);
    read_behind_root(format!("{grant}{}", seal.concat()).as_bytes())
}

/// Found by the fuzz target `history`: the checkpoint said `tree` twice, so nobody could read it, and every store with
/// such a grant in it was damaged by its next seal.
#[test]
fn an_unknown_field_named_like_one_of_the_lease_does_not_spoil_the_checkpoint() {
    let lease = serde_json::to_value({
        let mut lease =
            read_behind_root(grant_line().as_bytes()).expect("sound").state.live.iter().next().cloned();
        let lease = lease.as_mut().expect("granted");
        lease.processes = vec![arbiter::evidence::ProcessIdentity {
            pid: 1,
            start: 1,
            boot: "b".into(),
            pidns: 1,
            host: "h".into(),
            role: None,
        }];
        lease.halted = Some(arbiter::lease::Halted {
            handle: "h".into(),
            at: time(1),
            by: None,
            command: None,
            why: None,
        });
        lease.parent = Some(lease.lease);
        lease.exclusive = true;
        lease.worktree = arbiter::text::Text::new("t").ok();
        lease.phase = Some(Box::new(arbiter::phase::Phase::entered(
            None,
            &arbiter::phase::PhaseName::new("finalizing").expect("a name"),
            None,
            time(1),
            &common::clock(1),
        )));
        lease.run_id = arbiter::text::Text::new("r").ok();
        lease.why = arbiter::text::Text::new("w").ok();
        lease.request_id = arbiter::text::Text::new("i").ok();
        lease.labels.insert(
            arbiter::text::Text::new("k").expect("a text"),
            arbiter::text::Text::new("v").expect("a text"),
        );
        lease.clone()
    });
    let lease = lease.expect("it has JSON");
    let known = lease.as_object().expect("an object");
    assert_eq!(known.len(), 20, "every field of a lease is tried");
    for name in known.keys() {
        // Two of them are fields of the ACQUIRE itself: there, a second one is damage.
        if ["lane", "owner"].contains(&name.as_str()) {
            continue;
        }
        let segment =
            sealed_behind(&format!("\"{name}\":7")).unwrap_or_else(|damage| panic!("{name}: {damage}"));
        assert!(segment.seal.is_some(), "{name}");
    }
}

/// Found by reading, then seen: the parser was one bit off, the checkpoint said another number than the grant, and the
/// next reader took it for a checkpoint that lies.
#[test]
fn an_unknown_number_comes_out_of_a_checkpoint_as_it_went_in() {
    for number in [
        "6.934698245112694e+276",
        "8.383658838626809e-78",
        "-7.803913958627244e+173",
        "9007199254740993",
        "18446744073709551616",
        "-0.0",
        "1e-400",
    ] {
        let segment = sealed_behind(&format!("\"weight\":{number}"))
            .unwrap_or_else(|damage| panic!("{number}: {damage}"));
        assert!(segment.seal.is_some(), "{number}");
    }
}

/// A lease stands two levels deeper in a checkpoint than in its grant: what could just be read there could not be here.
#[test]
fn an_unknown_field_of_any_depth_does_not_spoil_the_checkpoint() {
    for depth in (90..140).chain([100_000]) {
        let deep = format!("\"new\":{}{}", "[".repeat(depth), "]".repeat(depth));
        let sealed = sealed_behind(&deep).unwrap_or_else(|damage| panic!("{depth}: {damage}"));
        assert!(sealed.seal.is_some(), "{depth}");
    }
}

/// 16 MiB of `{"":0},` were 6 GiB of values.
#[test]
fn unknown_fields_are_kept_up_to_a_limit_and_passed_over_beyond() {
    let kept = |field: &str| {
        let sealed = sealed_behind(field).unwrap_or_else(|damage| panic!("{damage}"));
        sealed.seal.expect("sealed").len()
    };
    let without = kept("\"x\":0");
    assert_eq!(kept(&format!("\"x\":\"{}\"", "y".repeat(60_000))), without + 60_001);
    for field in [
        format!("\"x\":\"{}\"", "y".repeat(70_000)),
        format!("\"x\":[{}0]", "{\"\":0},".repeat(100_000)),
        (0..40).map(|n| format!("\"x{n:02}\":\"{}\"", "y".repeat(2000))).collect::<Vec<_>>().join(","),
    ] {
        let bytes = kept(&field);
        assert!(bytes < without + (64 << 10) + 1000, "{bytes}");
    }
}

#[test]
fn nuls_inside_a_record_are_damage_and_at_an_open_end_they_are_not() {
    let line = grant_line();
    for at in 0..line.len() - 1 {
        let mut bytes = line.clone().into_bytes();
        bytes[at] = 0;
        let told = read_behind_root(&bytes);
        assert!(told.is_err(), "NUL at {at}");
    }
    let mut open = line.trim_end().as_bytes().to_vec();
    open.extend_from_slice(&[0; 5000]);
    assert_eq!(read_behind_root(&open).expect("sound").state.live.len(), 1);
}

#[test]
fn a_body_that_is_no_json_under_a_right_checksum_is_damage() {
    for body in
        [&b",x"[..], b",\"lane\":", b",\"lane\":\"l\",\"owner\":\"o\"}", b",", b",}", b",\"lane\":\"l\nm\""]
    {
        assert!(read_behind_root(&record("SPAWN", body)).is_err(), "{:?}", String::from_utf8_lossy(body));
        assert!(read_behind_root(&record("NEWER", body)).is_err(), "{:?}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_mark_file_of_any_bytes_is_read_without_a_panic_and_believed_only_where_it_checks() {
    let disk = testkit::disk::MemDisk::new();
    Client::new(disk.process(), "ann").acquire(1, "l", &["l/**"]).expect("sound");
    let long: Vec<Vec<u8>> = vec![
        vec![0; 100_000],
        vec![b'\n'; 100_000],
        b"9".repeat(100_000),
        b"99999999999999999999 00000000 00000000\n".to_vec(),
    ];
    for bytes in long {
        assert_eq!(Mark::highest(&bytes), None);
        disk.put(&segment::mark_name(Seq::FIRST), &bytes);
        assert_eq!(common::load(disk.process()).expect("a second witness, not the first").live.len(), 1);
    }
}

fn sample() -> Vec<u8> {
    let (root, head) = genesis();
    let (mut lines, head) = lines_after(head, 1, &[spawn("a"), Op::Unknown("NEWER".into())]);
    let (more, _) = lines_after(head, 2, &[spawn("~"), spawn("}\"")]);
    lines.extend(more);
    [root, lines.concat()].concat().into_bytes()
}

/// Fragments of the format itself find more than bytes alone.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            &b"{\"seq\":"[..],
            b"{\"seq\":2,\"ts\":\"2026-11-21T07:00:01.000Z\",\"op\":\"",
            b",\"crc\":\"00000000\"}",
            b"\"}",
            b"~\n",
            b"\n",
            b"\0\0\0",
            b",\"prev\":\"00000000\"",
            b",\"nonce\":\"0000000000000000\"",
        ])
        .prop_map(<[u8]>::to_vec),
        Just(grant_line().into_bytes()),
        Just(genesis().0.into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_a_panic(parts in proptest::collection::vec(fragment(), 0..12), behind_root: bool) {
        let bytes = parts.concat();
        let _told = if behind_root { read_behind_root(&bytes).map(|_| ()) } else { Segment::read(Seq::FIRST, &bytes).map(|_| ()) };
        let _frame = line::decode(&bytes);
        let _mark = Mark::highest(&bytes);
    }

    #[test]
    fn a_changed_segment_is_read_without_a_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..30, fragment()), 1..5),
    ) {
        let mut bytes = sample();
        for (at, gone, more) in edits {
            let at = at.index(bytes.len());
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, more);
            bytes.push(b'\n');
        }
        let _told = Segment::read(Seq::FIRST, &bytes);
    }

    #[test]
    fn a_segment_cut_and_followed_by_anything_never_gains_a_record_nobody_wrote(
        cut in any::<prop::sample::Index>(), more in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let good = sample();
        let at = cut.index(good.len());
        let bytes = [&good[..at], &more].concat();
        if let (Ok(segment), Ok(whole)) = (Segment::read(Seq::FIRST, &bytes), Segment::read(Seq::FIRST, &good)) {
            let head = segment.chain.head().expect("a root");
            prop_assert!(whole.chain.has(head.seq, head.crc));
        }
    }
}
