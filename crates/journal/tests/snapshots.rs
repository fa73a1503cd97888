//! What a change of the format or of a message looks like: the line of every record, what is said of every class
//! of damage, and what a repair would do about it.

mod common;

use std::fmt::Write;

use arbiter::evidence::{Evidence, Liveness, Observation, ProcessIdentity, ProcessReport};
use arbiter::lease::Standing;
use arbiter::request::{Note, Request, RequestId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::Span;
use common::{
    Client, clock, decide, genesis, lane, lines_after, load, operator, owner, request, seq, time, writing,
};
use journal::disk::Dir;
use journal::history::survey;
use journal::record::{
    Adopt, Checkpoint, Halt, Heartbeat, Op, PolicyChange, Record, Release, Repair, Scavenge, Spawn,
};
use journal::repair::{self, Plan};
use journal::segment;
use journal::state::State;
use serde_json::json;
use testkit::disk::{Keep, MemDisk};

fn process() -> ProcessIdentity {
    ProcessIdentity {
        pid: 4121,
        start: 88_112,
        boot: "b0071d".into(),
        pidns: 4_026_531_836,
        host: "h1".into(),
    }
}

fn full_request() -> Request {
    let mut asked = request("ann", "api", &["src/api/**", "lock://db"]);
    asked.read = arbiter::region::Region::parse(["docs/**"]).expect("a region");
    asked.ttl = Some(Span::from_ms(90_500));
    asked.processes = vec![process()];
    asked.run_id = RequestId::new("run-7").ok();
    asked.why = Note::new("a \"quoted\" reason,\nwith {\"seq\":1} in it \u{1f980}").ok();
    asked.labels = serde_json::from_value(json!({"seq": "1", "team": "core"})).expect("labels");
    asked.request_id = RequestId::new("req-1").ok();
    asked
}

fn number(n: u64) -> (LeaseId, Fence) {
    (LeaseId::from(seq(n)), Fence::from(seq(n)))
}

#[test]
fn the_line_of_every_record() {
    let mut evidence = Evidence::at(clock(1));
    evidence.observed = vec![Observation {
        lease: number(7).0,
        alive: Liveness::No,
        processes: vec![ProcessReport { process: process(), alive: Liveness::No, why: "gone".into() }],
    }];
    let (_, grant) = decide(&State::default(), &full_request(), evidence.clone(), time(1));
    let mut held = State::default();
    held.apply(&Record { seq: seq(2), ts: time(1), nonce: 1, op: grant[0].clone() }).expect("it fits");
    let (_, refusal) = decide(&held, &request("bob", "web", &["src/**"]), Evidence::at(clock(2)), time(2));
    let (lease, fence) = number(2);
    let mut repaired: Checkpoint = held.checkpoint(true);
    repaired.repaired_after = Some(41);
    let ops: Vec<(&str, Op)> = vec![
        ("acquire", grant[0].clone()),
        ("refuse", refusal[0].clone()),
        (
            "heartbeat",
            Op::Heartbeat(Heartbeat {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                clock: clock(9),
            }),
        ),
        (
            "adopt",
            Op::Adopt(Box::new(Adopt {
                lane: lane("api"),
                owner: owner("bob"),
                from: owner("ann"),
                lease,
                fence,
                clock: clock(9),
                processes: vec![process()],
            })),
        ),
        (
            "halt",
            Op::Halt(Box::new(Halt {
                handle: Note::new("run-7").expect("text"),
                owner: owner("ann"),
                lane: Some(lane("api")),
                lease: Some(lease),
                command: Note::new("kill 4121").ok(),
                why: Note::new("stuck").ok(),
            })),
        ),
        (
            "spawn",
            Op::Spawn(Box::new(Spawn { lane: lane("api"), owner: owner("ann"), run_id: None, why: None })),
        ),
        (
            "scavenge",
            Op::Scavenge(Box::new(Scavenge {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                why: Standing::Dead,
                by: owner("bob"),
                clock: clock(9),
                observed: evidence.observed.first().cloned(),
            })),
        ),
        (
            "release",
            Op::Release(Release {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                why: Note::new("done").ok(),
                withdrawn: false,
            }),
        ),
        (
            "policy",
            Op::Policy(Box::new(PolicyChange {
                policy: serde_json::from_value(
                    json!({"lanes": {"api": {"tree": ["src/api/**"], "ttl": "9h"}}, "grace": "5m"}),
                )
                .expect("a policy"),
            })),
        ),
        ("checkpoint", Op::Checkpoint(Box::new(held.checkpoint(true)))),
        ("checkpoint of a repair", Op::Checkpoint(Box::new(repaired))),
        (
            "repair",
            Op::Repair(Box::new(Repair {
                owner: owner("ann"),
                file: "journal/00000000000000000001.jsonl".into(),
                offset: 315,
                what: "a whole line is not a record".into(),
                moved_to: "damaged/00000000000000000001.jsonl".into(),
                last_good: 41,
                highest: 44,
                holds: vec![number(45).0],
            })),
        ),
        ("an operation of a newer version", Op::Unknown("WAIT".into())),
    ];
    let (root, head) = genesis();
    let mut shown = format!("# genesis\n{root}");
    for (what, op) in ops {
        let (lines, _) = lines_after(head, 1, std::slice::from_ref(&op));
        write!(shown, "\n# {what}\n{}", lines[0]).expect("memory");
        // What was written reads back as it was meant.
        let frame = journal::line::decode(lines[0].trim_end().as_bytes()).expect(what);
        assert_eq!(
            journal::record::decode(&frame, lines[0].trim_end().as_bytes()).expect(what),
            op,
            "{what}"
        );
    }
    insta::assert_snapshot!(shown);
}

fn store() -> MemDisk {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    ann.acquire(1, "old", &["old/**"]).expect("sound");
    ann.store.seal(writing(2)).expect("sound");
    for n in 3..6 {
        ann.acquire(n, &format!("l{n}"), &[&format!("l{n}/**")]).expect("sound");
    }
    disk.power_cut(Keep::All)
}

/// Every class of damage, by name.
fn classes() -> Vec<(&'static str, MemDisk)> {
    let whole = store();
    let active = segment::name(seq(3));
    let bytes = whole.bytes(&active).expect("there");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
    let starts: Vec<usize> =
        lines.iter().scan(0, |at, line| Some(std::mem::replace(at, *at + line.len()))).collect();
    let edit = |change: &dyn Fn(&mut Vec<u8>)| {
        let disk = whole.copy();
        let mut bytes = bytes.clone();
        change(&mut bytes);
        disk.put(&active, &bytes);
        disk
    };
    let history = |change: &dyn Fn(&MemDisk)| {
        let disk = whole.copy();
        change(&disk);
        disk
    };
    let old = segment::name(Seq::FIRST);
    vec![
        ("the root changed", edit(&|bytes| bytes[30] ^= 1)),
        ("a record changed", edit(&|bytes| bytes[starts[2] + 30] ^= 1)),
        ("the last record changed", edit(&|bytes| bytes[starts[3] + 30] ^= 1)),
        ("a newline changed", edit(&|bytes| bytes[starts[2] - 1] ^= 1)),
        ("a line dropped", edit(&|bytes| drop(bytes.drain(starts[1]..starts[2])))),
        ("the end cut off", edit(&|bytes| bytes.truncate(starts[3]))),
        ("the end cut off within a line", edit(&|bytes| bytes.truncate(starts[3] + 50))),
        ("a stray line", edit(&|bytes| drop(bytes.splice(starts[2]..starts[2], *b"a stray line\n")))),
        ("all of it gone to NULs", edit(&|bytes| bytes.fill(0))),
        ("empty", edit(&Vec::clear)),
        ("the active segment deleted", history(&|disk| disk.take(&active))),
        (
            "a segment of the history changed",
            history(&|disk| {
                let mut bytes = disk.bytes(&old).expect("there");
                bytes[40] ^= 1;
                disk.put(&old, &bytes);
            }),
        ),
        (
            "a segment of the history cut",
            history(&|disk| {
                let bytes = disk.bytes(&old).expect("there");
                let cut = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').expect("lines") + 1;
                disk.put(&old, &bytes[..cut]);
                disk.take(&segment::mark_name(Seq::FIRST));
            }),
        ),
    ]
}

#[test]
fn what_is_said_of_every_class_of_damage() {
    let mut shown = String::new();
    for (what, disk) in classes() {
        writeln!(shown, "# {what}").expect("memory");
        match load(disk.process()) {
            Ok(state) => writeln!(shown, "the present is sound: {} leases live", state.live.len()),
            Err(error) => writeln!(shown, "{error}\nhint: {}", error.hint().unwrap_or_default()),
        }
        .expect("memory");
        for damage in survey(&disk.process()).expect("the disk works").damage {
            writeln!(shown, "survey: {damage}").expect("memory");
        }
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_a_repair_would_do_about_every_class_of_damage() {
    let mut shown = String::new();
    for (what, disk) in classes() {
        let plan = repair::plan(&disk.process()).expect("the disk works").expect(what);
        let Plan { active, history, .. } = &plan;
        writeln!(shown, "# {what}").expect("memory");
        if let Some(salvage) = active {
            let list = |leases: &[arbiter::lease::Lease]| {
                leases
                    .iter()
                    .map(|lease| format!("{} {}", lease.lease, lane_of(lease)))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            writeln!(
                shown,
                "segment {}: last good {}, highest {}\nkept: {}\nfound: {}",
                salvage.root,
                salvage.last_good,
                salvage.highest,
                list(&salvage.kept),
                list(&salvage.found),
            )
            .expect("memory");
        }
        for file in history {
            writeln!(shown, "history: {file}").expect("memory");
        }
        repair::repair(&disk.process(), &operator(100)).expect("the disk works").expect(what);
        for dir in [Dir::Journal, Dir::Damaged] {
            writeln!(shown, "{}: {}", dir.as_str(), disk.files(dir).join(" ")).expect("memory");
        }
        let state = load(disk.process()).expect("repaired");
        for lease in state.live.iter() {
            writeln!(shown, "lives: {lease} {}", serde_json::to_string(&lease.tree).expect("text"))
                .expect("memory");
        }
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

fn lane_of(lease: &arbiter::lease::Lease) -> &str {
    lease.lane.as_str()
}
