//! Records in an order and with contents that nobody thought of, chained and checksummed as they should be.

use std::fmt::Write as _;

use arbiter::evidence::{Evidence, Liveness, Observation, ProcessIdentity};
use arbiter::lease::Lease;
use arbiter::region::Region;
use arbiter::request::{Note, Request};
use arbiter::seq::Seq;
use arbiter::text::Text;
use arbiter::time::{Span, Timestamp};
use journal::chain::Head;
use journal::line::{self, Stamp};
use journal::mark::Mark;
use journal::record::{self, Adopt, Halt, Op};
use journal::segment::{self, Segment};
use journal::state::State;
use testkit::disk::MemDisk;

use crate::choices::Choices;
use crate::common;
use crate::segment::{after_a_repair, checkpoint_says_it_all};

/// Any bytes as the steps of several writers: by the rules, or as a forger would write.
///
/// # Panics
///
/// When the fold, the chain or the arbiter breaks its word.
pub fn history(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    if choices.one_in(2) {
        forged(choices);
    } else {
        by_the_rules(choices);
    }
}

/// More steps than this teach nothing new.
const STEPS_MAX: usize = 48;
const OWNERS: [&str; 3] = ["ann", "bob", "Ann"];
const LANES: [&str; 5] = ["api", "API", "web", "../x", "\u{1b}[2J"];
const TREES: [&str; 12] = [
    "src/**",
    "src/api",
    "src/*/a.rs",
    "**/*.rs",
    "docs/{a,b}/",
    "docs/b/x",
    "lock://db",
    "lock://*",
    "SRC/API",
    "?",
    "[a-c]*",
    "**",
];

/// Records that writers make who decide first, some of them by an old state; and what crashes leave between them.
///
/// All of it must be read, no two leases may meet, and the state must be the one that the records add up to.
fn by_the_rules(mut choices: Choices<'_>) {
    let mut store = Written::begin();
    let mut second = 1;
    for _step in 0..STEPS_MAX {
        if !choices.are_left() {
            break;
        }
        second += choices.below(5) as u64 * 700;
        // A late writer has loaded an earlier state, extends its head, and so must come to nothing.
        let at = if choices.one_in(4) { choices.below(store.past.len()) } else { store.past.len() - 1 };
        let (head, state) = store.past[at].clone();
        let now = common::time(second).max(head.ts);
        let ops = match choices.below(12) {
            0..=3 => asked(&mut choices, &state, now, second),
            4 => held(&mut choices, &state, |lease, _| common::release_of(lease)),
            5 => held(&mut choices, &state, |lease, _| common::heartbeat_of(lease, second)),
            6 => held(&mut choices, &state, |lease, choices| adopted(lease, choices, second)),
            7 => held(&mut choices, &state, halted),
            8 => vec![common::spawn(choices.one_of(&LANES))],
            9 => vec![Op::Checkpoint(Box::new(state.checkpoint(choices.one_in(2))))],
            10 => vec![Op::Unknown("NEWER".into())],
            _ => {
                store.crash(&mut choices);
                continue;
            }
        };
        store.append(head, &state, now, second, &ops);
    }
    let Segment { state, chain, .. } = Segment::read(store.root, &store.bytes)
        .unwrap_or_else(|damage| panic!("{damage}\n{}", store.shown()));
    let (head, expected) = store.past.last().expect("there is a root");
    assert_eq!(chain.head(), Some(*head), "{}", store.shown());
    assert_eq!(&state, expected, "{}", store.shown());
    no_two_meet(&state);
    checkpoint_says_it_all(&state);
}

/// A request, decided by `state` as the shell does it.
fn asked(choices: &mut Choices<'_>, state: &State, now: Timestamp, second: u64) -> Vec<Op> {
    let mut request =
        common::request(choices.one_of(&OWNERS), choices.one_of(&LANES), &[choices.one_of(&TREES)]);
    if choices.one_in(3) {
        request.read = Region::parse([choices.one_of(&TREES)]).expect("patterns");
    }
    if choices.one_in(3) {
        request.ttl = Some(Span::from_s(1 + choices.below(90) as u64));
    }
    if choices.one_in(3) {
        request.request_id = Text::new(choices.one_of(&OWNERS)).ok();
    }
    if choices.one_in(3) {
        request.processes = vec![process(choices)];
    }
    request.force = choices.one_in(5);
    let mut evidence = Evidence::at(common::clock(second));
    for lease in state.live.iter() {
        let alive = choices.one_of(&[Liveness::Unknown, Liveness::Yes, Liveness::No]);
        evidence.observed.push(Observation { lease: lease.lease, alive, processes: Vec::new() });
    }
    common::decide(state, &request, evidence, now).1
}

fn held(
    choices: &mut Choices<'_>,
    state: &State,
    op: impl FnOnce(&Lease, &mut Choices<'_>) -> Op,
) -> Vec<Op> {
    let leases: Vec<&Lease> = state.live.iter().collect();
    if leases.is_empty() {
        return Vec::new();
    }
    let lease = choices.one_of(&leases);
    vec![op(lease, choices)]
}

fn adopted(lease: &Lease, choices: &mut Choices<'_>, second: u64) -> Op {
    Op::Adopt(Box::new(Adopt {
        lane: lease.lane.clone(),
        owner: common::owner(choices.one_of(&OWNERS)),
        from: lease.owner.clone(),
        lease: lease.lease,
        fence: lease.fence,
        clock: common::clock(second),
        processes: vec![process(choices)],
    }))
}

fn halted(lease: &Lease, choices: &mut Choices<'_>) -> Op {
    let by_lane = choices.one_in(2);
    Op::Halt(Box::new(Halt {
        handle: Note::new("h").expect("a note"),
        owner: lease.owner.clone(),
        lane: by_lane.then(|| lease.lane.clone()),
        lease: (!by_lane).then_some(lease.lease),
        command: None,
        why: None,
    }))
}

fn process(choices: &mut Choices<'_>) -> ProcessIdentity {
    let pid = 1 + u32::from(choices.byte());
    ProcessIdentity { pid, start: 7, boot: "b0071d".into(), pidns: 1, host: "h".into(), role: None }
}

/// What the leases of a live set promise each other (S1).
fn no_two_meet(state: &State) {
    let leases: Vec<&Lease> = state.live.iter().collect();
    let case = state.policy.case;
    for (idx, ours) in leases.iter().enumerate() {
        for theirs in &leases[..idx] {
            let meet = ours
                .tree
                .overlap(&theirs.tree, case)
                .or_else(|| ours.tree.overlap(&theirs.read, case))
                .or_else(|| ours.read.overlap(&theirs.tree, case));
            assert_eq!(meet, None, "{ours} and {theirs} live");
            assert!(!ours.lane.same_as(&theirs.lane), "{ours} and {theirs} live");
        }
    }
}

/// The segment that is written to, and every head and state that some writer may have loaded.
struct Written {
    root: Seq,
    bytes: Vec<u8>,
    past: Vec<(Head, State)>,
    /// Whether the last line has its newline.
    open_tail: bool,
}

impl Written {
    fn begin() -> Written {
        let (line, head) = common::genesis();
        Written {
            root: head.seq,
            bytes: line.into_bytes(),
            past: vec![(head, State::default())],
            open_tail: false,
        }
    }

    /// Appends as a writer does that has loaded `head`; a tail that it saw open is closed off first.
    fn append(&mut self, head: Head, state: &State, ts: Timestamp, nonce: u64, ops: &[Op]) {
        let extends = self.past.last().is_some_and(|(last, _)| *last == head);
        if self.open_tail {
            self.bytes.extend_from_slice(journal::scan::CLOSING);
            self.open_tail = false;
        }
        let mut state = state.clone();
        let mut last = head;
        let mut seal = None;
        for op in ops {
            let Some(seq) = last.seq.next() else { return };
            let (name, body) = record::encode(op);
            // Late writers differ in their nonce from whoever was faster, as the real ones do.
            let nonce = nonce << 8 | self.bytes.len() as u64 & 0xff;
            let (text, crc) = line::encode(Stamp { seq, ts, nonce, prev: last.crc }, name, &body);
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'\n');
            let record = record::Record { seq, ts, nonce, op: op.clone() };
            state.apply(&record).expect("what was decided by a state applies to it");
            last = Head { seq, crc, ts };
            if extends {
                self.past.push((last, state.clone()));
            }
            if matches!(op, Op::Checkpoint(said) if said.seal) {
                seal = Some((seq, text));
            }
        }
        if let Some((root, text)) = seal.filter(|_| extends) {
            let before = Segment::read(self.root, &self.bytes)
                .unwrap_or_else(|damage| panic!("{damage}\n{}", self.shown()));
            assert_eq!(before.seal_seq(), Some((root, last.crc)));
            *self = Written {
                root,
                bytes: format!("{text}\n").into_bytes(),
                past: vec![(last, state)],
                open_tail: false,
            };
        }
    }

    /// What a death or a power cut leaves: the beginning of a record, NULs, both.
    fn crash(&mut self, choices: &mut Choices<'_>) {
        let fragment = b"{\"seq\":9,\"ts\":\"2026-11-21T07:00:01.000Z\",\"op\":\"SPAWN\",\"lane\":\"l\"";
        let n = choices.below(fragment.len() + 1);
        let nuls = choices.below(4);
        self.bytes.extend_from_slice(&fragment[..n]);
        self.bytes.extend(std::iter::repeat_n(0, nuls));
        self.open_tail |= n + nuls > 0;
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Records of any content under right checksums: damage or not, and what is taken at its word can be said again by a
/// checkpoint, as the root of a segment, and by a repair.
fn forged(mut choices: Choices<'_>) {
    let (root, mut head) = common::genesis();
    let mut bytes = root.into_bytes();
    for n in 2..STEPS_MAX as u64 {
        if !choices.are_left() {
            break;
        }
        let op = choices.one_of(&[
            "ACQUIRE",
            "ACQUIRE",
            "REFUSE",
            "RELEASE",
            "HEARTBEAT",
            "ADOPT",
            "HALT",
            "SPAWN",
            "SCAVENGE",
            "POLICY",
            "REPAIR",
            "CHECKPOINT",
            "NEWER",
        ]);
        let seq = if choices.one_in(16) { choices.below(4) as u64 } else { head.seq.get().saturating_add(1) };
        let Some(seq) = Seq::new(seq) else { continue };
        let mut body = written(op, &mut choices, n);
        while choices.one_in(3) {
            extra(&mut choices, &mut body);
        }
        let stamp = Stamp { seq, ts: common::time(n), nonce: n, prev: head.crc };
        let (line, crc) = line::encode(stamp, op, &format!("{{{}}}", body.trim_start_matches(',')));
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        head = Head { seq, crc, ts: stamp.ts };
    }
    if let Ok(segment) = Segment::read(Seq::FIRST, &bytes) {
        checkpoint_says_it_all(&segment.state);
        as_a_root(&segment.state, head);
    }
    let disk = MemDisk::new();
    disk.put(&segment::name(Seq::FIRST), &bytes);
    disk.put(&segment::mark_name(Seq::FIRST), Mark { seq: head.seq, crc: head.crc }.encode().as_bytes());
    after_a_repair(&disk);
}

/// A state becomes the root of the next segment, and is read from there.
fn as_a_root(state: &State, before: Head) {
    let Some(seq) = before.seq.next() else { return };
    let seal = Op::Checkpoint(Box::new(state.checkpoint(true)));
    let (name, body) = record::encode(&seal);
    let (line, _) = line::encode(Stamp { seq, ts: before.ts, nonce: 1, prev: before.crc }, name, &body);
    let read = Segment::read(seq, format!("{line}\n").as_bytes());
    match read {
        Ok(segment) => assert_eq!(&segment.state, state, "{line}"),
        Err(damage) => panic!("a seal that this program writes cannot be read by it: {damage}\n{line}"),
    }
}

/// The body of a record with the fields it must have, each of them odd at times.
fn written(op: &str, choices: &mut Choices<'_>, n: u64) -> String {
    let lane = serde_json::Value::from(choices.one_of(&LANES));
    let owner = serde_json::Value::from(choices.one_of(&OWNERS));
    let named = |choices: &mut Choices<'_>| {
        let lease = number(choices);
        let fence = if choices.one_in(4) { number(choices) } else { lease.clone() };
        format!(",\"lane\":{lane},\"owner\":{owner},\"lease\":{lease},\"fence\":{fence}")
    };
    let clock = "\"clock\":{\"boot\":\"b\",\"up_ms\":1}";
    match op {
        "ACQUIRE" | "REFUSE" => {
            let state = State::default();
            let mut request: Request =
                common::request(choices.one_of(&OWNERS), choices.one_of(&LANES), &[choices.one_of(&TREES)]);
            request.request_id = Text::new(choices.one_of(&LANES)).ok();
            let (_, ops) = common::decide(&state, &request, Evidence::at(common::clock(n)), common::time(n));
            let (_, body) = record::encode(ops.last().expect("a verdict"));
            let body = if op == "REFUSE" { refused(&body) } else { body };
            format!(",{}", body.trim_start_matches('{').strip_suffix('}').unwrap_or_default())
        }
        "RELEASE" => named(choices) + choices.one_of(&["", ",\"withdrawn\":true", ",\"why\":\"\\u202e\""]),
        "HEARTBEAT" => named(choices) + "," + clock,
        "ADOPT" => named(choices) + ",\"from\":\"x\"," + clock,
        "HALT" => {
            format!(",\"handle\":\"h\",\"owner\":{owner},\"lease\":{},\"lane\":{lane}", number(choices))
        }
        "SPAWN" => format!(",\"lane\":{lane},\"owner\":{owner}"),
        "SCAVENGE" => {
            let why = choices.one_of(&["held", "expired", "dead", "no"]);
            named(choices) + &format!(",\"why\":\"{why}\",\"by\":\"x\",{clock}")
        }
        "POLICY" => {
            let policy = choices.one_of(&[
                "{}",
                "{\"case\":\"exact\"}",
                "{\"ttl\":\"5m\"}",
                "{\"lanes\":{\"a\":{\"tree\":[\"**\"]}}}",
            ]);
            format!(",\"policy\":{policy}")
        }
        "REPAIR" => format!(
            ",\"owner\":{owner},\"file\":\"journal/{:020}.jsonl\",\"offset\":{},\"what\":\"x\",\"moved_to\":\"y\",\"last_good\":0,\"highest\":{},\"holds\":[]",
            choices.below(3),
            number(choices),
            number(choices)
        ),
        "CHECKPOINT" => {
            let format = choices.one_of(&["1.0", "1.1", "1.7", "2.0", "x", ""]);
            let more = choices.one_of(&["", ",\"repaired_after\":3", ",\"policy\":{\"case\":\"exact\"}"]);
            let seal = choices.one_in(2);
            format!(",\"format\":\"{format}\",\"seal\":{seal},\"leases\":[],\"counters\":{{}}{more}")
        }
        _ => String::new(),
    }
}

/// The body of a grant as that of a refusal.
fn refused(body: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(body).expect("it was written");
    value["verdict"] = serde_json::json!({
        "outcome": "refuse", "code": "LANE_HELD", "lane": "l", "reason": "r", "free_lanes": [], "conflicts": [], "hint": "h",
    });
    value.to_string()
}

fn number(choices: &mut Choices<'_>) -> String {
    match choices.byte() {
        byte @ 0..200 => (u64::from(byte) % 12).to_string(),
        200..220 => u64::MAX.to_string(),
        220..230 => "18446744073709551616".into(),
        230..240 => "1e400".into(),
        240..250 => "-1".into(),
        _ => "null".into(),
    }
}

/// A field that this version does not know, or does.
fn extra(choices: &mut Choices<'_>, body: &mut String) {
    const KEYS: [&str; 16] = [
        "x",
        "lease",
        "fence",
        "lane",
        "tree",
        "read",
        "acquired_at",
        "heartbeat_at",
        "clock",
        "ttl_s",
        "halted",
        "labels",
        "seq",
        "crc",
        "processes",
        "\\u0000",
    ];
    let key = choices.one_of(&KEYS);
    let _ = write!(body, ",\"{key}\":");
    match choices.below(8) {
        0 => body.push_str("1.7976931348623157e308"),
        1 => {
            // A decimal of many digits, where reading and printing may disagree.
            let digits: String = choices.bytes().iter().map(|byte| char::from(b'0' + byte % 10)).collect();
            let _ = write!(body, "0.{digits}1e{}", i16::from(choices.byte()) - 128);
        }
        2 => {
            let depth = usize::from(choices.byte());
            body.push_str(&"[".repeat(depth));
            body.push_str(&"]".repeat(depth));
        }
        3 => body.push_str("{\"seq\":1,\"a\":{\"seq\":2}}"),
        4 => body.push_str("{\"a\":1,\"a\":2}"),
        5 => body.push_str("\"\\ud800\\udc00~\\n\""),
        6 => body.push_str(choices.one_of(&[
            "null",
            "true",
            "-0.0",
            "-0",
            "9007199254740993",
            "18446744073709551616",
        ])),
        _ => body.push_str(&String::from_utf8_lossy(choices.bytes())),
    }
}
