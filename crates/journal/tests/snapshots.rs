//! What a change of the format or of a message looks like: the line of every record, what is said of every class
//! of damage, and what a repair would do about it.

mod common;

use std::fmt::Write;

use arbiter::evidence::{
    Evidence, Liveness, Observation, ProcessIdentity, ProcessReport, Role, TicketObservation,
};
use arbiter::lease::Standing;
use arbiter::phase::PhaseName;
use arbiter::queue::Wake;
use arbiter::reap::{Look, Tier};
use arbiter::request::{Note, Request, RequestId};
use arbiter::seq::{Fence, LeaseId, Seq, Ticket};
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use common::{
    Client, clock, decide, forged, genesis, heartbeat_of, lane, lines_after, load, operator, owner,
    release_of, request, seq, time, writing,
};
use journal::chain::Head;
use journal::disk::{Access, Dir, Name};
use journal::history::survey;
use journal::line::{self, Crc, Stamp};
use journal::record::{
    self, Adopt, Attach, Cancel, Checkpoint, Defer, Halt, Heartbeat, Op, PhaseChange, PolicyChange, Record,
    Release, Repair, Scavenge, Spawn, Wait, WhyCancelled,
};
use journal::repair::{self, Plan};
use journal::segment;
use journal::state::State;
use journal::store::{FileStore, Store};
use journal::{DamageClass, JournalError};
use serde_json::json;
use testkit::disk::{Keep, MemDisk};

fn process() -> ProcessIdentity {
    ProcessIdentity {
        pid: 4121,
        start: 88_112,
        boot: "b0071d".into(),
        pidns: 4_026_531_836,
        host: "h1".into(),
        role: None,
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

/// Bob waits for what ann has.
fn wait_of(held: &State) -> Wait {
    let asked = Request { waits: true, ..request("bob", "web", &["src/**"]) };
    let (verdict, _) = decide(held, &asked, Evidence::at(clock(2)), time(2));
    let Verdict::Refuse(verdict) = verdict else { panic!("ann has it") };
    Wait {
        lane: lane("web"),
        owner: owner("bob"),
        request: asked,
        evidence: Evidence::at(clock(2)),
        verdict,
        budget: Some(Span::from_s(300)),
        process: Some(process()),
        wake: Wake::new(0xc0ff_ee00),
    }
}

/// Two wait for nothing that anybody holds; the first has died, and the second goes past it.
fn grant_past(waits: &Wait) -> Vec<Op> {
    let mut state = State::default();
    for n in [3, 4] {
        let op = Op::Wait(Box::new(waits.clone()));
        state.apply(&Record { seq: seq(n), ts: time(2), nonce: 2, op }).expect("it fits");
    }
    let ticket = Ticket::from(seq(4));
    let asked = Request { ticket: Some(ticket), ..waits.request.clone() };
    let mut evidence = Evidence::at(clock(9));
    let seen = TicketObservation { ticket: Ticket::from(seq(3)), alive: Liveness::No, why: "gone".into() };
    evidence.tickets.push(seen);
    decide(&state, &asked, evidence, time(9)).1
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
    let waits = wait_of(&held);
    let waited = grant_past(&waits);
    let mut in_line = held.clone();
    let is_waiting = Record { seq: seq(3), ts: time(2), nonce: 2, op: Op::Wait(Box::new(waits.clone())) };
    in_line.apply(&is_waiting).expect("it fits");
    let (lease, fence) = number(2);
    let mut repaired: Checkpoint = held.checkpoint(true);
    repaired.repaired_after = Some(41);
    let ops: Vec<(&str, Op)> = vec![
        ("acquire", grant[0].clone()),
        ("refuse", refusal[0].clone()),
        ("wait", Op::Wait(Box::new(waits.clone()))),
        (
            "cancel",
            Op::Cancel(Box::new(Cancel {
                lane: lane("web"),
                owner: owner("bob"),
                ticket: Ticket::from(seq(2)),
                why: WhyCancelled::Dead,
                by: owner("cid"),
                clock: clock(9),
                observed: Some(TicketObservation {
                    ticket: Ticket::from(seq(2)),
                    alive: Liveness::No,
                    why: "gone".into(),
                }),
            })),
        ),
        ("acquire of one who has waited", waited[1].clone()),
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
            "attach",
            Op::Attach(Box::new(Attach {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                clock: clock(9),
                processes: vec![ProcessIdentity { role: Some(Role::Worker), ..process() }],
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
                forced: None,
                clock: clock(9),
                observed: evidence.observed.first().cloned(),
                tier: None,
                earlier: None,
            })),
        ),
        (
            "scavenge, forced",
            Op::Scavenge(Box::new(Scavenge {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                why: Standing::Held,
                by: owner("bob"),
                forced: Note::new("ann is on holiday").ok(),
                clock: clock(9),
                observed: None,
                tier: None,
                earlier: None,
            })),
        ),
        (
            "scavenge of a sweep",
            Op::Scavenge(Box::new(Scavenge {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                why: Standing::Dead,
                by: owner("bob"),
                forced: None,
                clock: clock(10),
                observed: evidence.observed.first().cloned(),
                tier: Some(Tier::Dead),
                earlier: Some(Look { clock: clock(9), observed: evidence.observed[0].clone() }),
            })),
        ),
        (
            "phase",
            Op::Phase(Box::new(PhaseChange {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                phase: PhaseName::new("finalizing").ok(),
                budget: Some(Span::from_s(300)),
                clock: clock(9),
            })),
        ),
        (
            "phase that is over",
            Op::Phase(Box::new(PhaseChange {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                phase: None,
                budget: None,
                clock: clock(9),
            })),
        ),
        (
            "defer",
            Op::Defer(Box::new(Defer {
                lane: lane("api"),
                owner: owner("ann"),
                lease,
                fence,
                why: Note::new("it is finalizing").expect("text"),
                until: time(309),
                by: owner("bob"),
                clock: clock(9),
                observed: Observation { lease, alive: Liveness::Unknown, processes: Vec::new() },
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
        ("checkpoint with one who waits", Op::Checkpoint(Box::new(in_line.checkpoint(true)))),
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
        ("an operation of a newer version", Op::Unknown("FUTURE".into())),
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

/// A store with three segments; the last has a root with two leases, and three grants.
fn store() -> MemDisk {
    let disk = MemDisk::new();
    let mut ann = Client::new(disk.process(), "ann");
    ann.acquire(1, "old", &["old/**"]).expect("sound");
    ann.store.seal(writing(2)).expect("sound");
    ann.acquire(2, "l2", &["l2/**"]).expect("sound");
    ann.store.seal(writing(3)).expect("sound");
    for n in 3..6 {
        ann.acquire(n, &format!("l{n}"), &[&format!("l{n}/**")]).expect("sound");
    }
    disk.power_cut(Keep::All)
}

const ACTIVE: u64 = 5;

/// What the last segment of [`store`] is made of.
struct Whole {
    disk: MemDisk,
    state: State,
    head: Head,
    lines: Vec<String>,
}

impl Whole {
    fn new() -> Whole {
        let disk = store();
        let mut store = FileStore::new(disk.process(), Access::Read);
        let state = store.load().expect("sound").expect("begun").clone();
        let bytes = disk.bytes(&segment::name(seq(ACTIVE))).expect("there");
        let text = String::from_utf8(bytes).expect("text");
        let lines = text.split_inclusive('\n').map(str::to_owned).collect();
        Whole { head: store.head().expect("loaded"), disk, state, lines }
    }

    fn with(&self, bytes: &[u8]) -> MemDisk {
        let disk = self.disk.copy();
        disk.put(&segment::name(seq(ACTIVE)), bytes);
        disk
    }

    /// With line `n` (all of it, newline included) changed in place.
    fn edit(&self, n: usize, change: impl FnOnce(&mut Vec<u8>)) -> MemDisk {
        let mut lines: Vec<Vec<u8>> = self.lines.iter().map(|line| line.clone().into_bytes()).collect();
        change(&mut lines[n]);
        self.with(&lines.concat())
    }

    /// With one more record, whose checksum and place in the chain are right.
    fn and(&self, op: &Op) -> MemDisk {
        let (more, _) = lines_after(self.head, 60, std::slice::from_ref(op));
        self.with((self.lines.concat() + &more.concat()).as_bytes())
    }

    /// With this as the first record instead.
    fn rooted(&self, prev: Crc, op: &Op) -> MemDisk {
        let (name, body) = record::encode(op);
        let stamp = Stamp { seq: seq(ACTIVE), ts: time(60), nonce: 60, prev };
        self.with((line::encode(stamp, name, &body).0 + "\n").as_bytes())
    }

    fn without(&self, root: u64) -> MemDisk {
        let disk = self.disk.copy();
        disk.take(&segment::name(seq(root)));
        disk
    }

    /// What is wrong, and a store in which it is.
    fn specimens(&self, class: DamageClass) -> Vec<(&'static str, MemDisk)> {
        let flip = |at: usize| move |line: &mut Vec<u8>| line[at] ^= 1;
        let text = self.lines.concat();
        let last = self.lines.len() - 1;
        let ends_at = text.len() - self.lines[last].len();
        match class {
            DamageClass::RootMissing => vec![
                ("all of it gone to NULs", self.with(&vec![0; text.len()])),
                ("empty", self.with(b"")),
                ("the root dropped", self.edit(0, Vec::clear)),
            ],
            DamageClass::NotARecord => vec![
                ("the root changed", self.edit(0, flip(30))),
                ("a record changed", self.edit(2, flip(30))),
                ("the last record changed", self.edit(last, flip(30))),
                ("a stray line", self.edit(2, |line| drop(line.splice(0..0, *b"a stray line\n")))),
                ("a segment of the history changed", self.history(1, |bytes| bytes[40] ^= 1)),
            ],
            DamageClass::Followed => {
                vec![("a newline changed", self.edit(1, |line| *line.last_mut().expect("bytes") ^= 1))]
            }
            DamageClass::PredecessorMissing => vec![("a line dropped", self.edit(1, Vec::clear))],
            DamageClass::EndMissing => vec![
                ("the end cut off", self.with(&text.as_bytes()[..ends_at])),
                ("the end cut off within a line", self.with(&text.as_bytes()[..ends_at + 50])),
            ],
            DamageClass::OtherRecord => {
                let other = forged(&self.lines[last], "\"lane\":\"l5\"", "\"lane\":\"l6\"");
                vec![(
                    "the last record edited and its checksum made right",
                    self.edit(last, |line| {
                        *line = other.into_bytes();
                    }),
                )]
            }
            DamageClass::Impossible => self.impossible(),
            // Half a gigabyte: on a real file in `tests/repair.rs` of the whole program, where it costs nothing.
            DamageClass::TooLong => vec![],
            DamageClass::SegmentMissing => vec![("the active segment deleted", self.without(ACTIVE))],
            DamageClass::HistoryMissing => vec![("a segment of the history deleted", self.without(3))],
            DamageClass::HistoryCut => {
                let cut = self.history(1, |bytes| {
                    let end = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').expect("lines") + 1;
                    bytes.truncate(end);
                });
                cut.take(&segment::mark_name(Seq::FIRST));
                vec![("a segment of the history cut", cut)]
            }
            DamageClass::BadSuccessor => {
                let disk = self.edit(2, flip(30));
                disk.put(&Name::new(Dir::Damaged, format!("{ACTIVE:020}.successor")), b"garbage\n");
                vec![("what another repair left to go on with is garbage", disk)]
            }
        }
    }

    fn history(&self, root: u64, change: impl FnOnce(&mut Vec<u8>)) -> MemDisk {
        let (disk, name) = (self.disk.copy(), segment::name(seq(root)));
        let mut bytes = disk.bytes(&name).expect("there");
        change(&mut bytes);
        disk.put(&name, &bytes);
        disk
    }

    /// Whole records in their place of which one cannot have happened.
    fn impossible(&self) -> Vec<(&'static str, MemDisk)> {
        let lease = self.state.live.in_lane(&lane("l3"), None).expect("it lives").clone();
        let mut dead = lease.clone();
        dead.lease = LeaseId::from(seq(1));
        let mut stale = lease.clone();
        stale.fence = Fence::from(seq(1));
        let (_, again) = decide(
            &State::default(),
            &request("eve", "l3", &["elsewhere"]),
            Evidence::at(clock(60)),
            time(60),
        );
        let mut repaired = self.state.checkpoint(true);
        repaired.repaired_after = Some(1);
        let checkpoint = |checkpoint: Checkpoint| Op::Checkpoint(Box::new(checkpoint));
        let mut twice = self.state.checkpoint(true);
        twice.leases.extend(twice.leases.clone());
        let (nonsense, _) = line::encode(
            Stamp { seq: self.head.seq.next().expect("small"), ts: time(60), nonce: 60, prev: self.head.crc },
            "RELEASE",
            "{\"lane\":7}",
        );
        let root = Crc(7);
        vec![
            (
                "a record without what it should say",
                self.with((self.lines.concat() + &nonsense + "\n").as_bytes()),
            ),
            ("a lane granted twice", self.and(&again[0])),
            ("a lease given back that does not live", self.and(&release_of(&dead))),
            ("a beat with an old fence", self.and(&heartbeat_of(&stale, 60))),
            ("a seal that forgets the leases", self.and(&checkpoint(State::default().checkpoint(true)))),
            ("a checkpoint of a repair where none can be", self.and(&checkpoint(repaired))),
            ("a root that is no checkpoint", self.rooted(root, &common::spawn("no root"))),
            ("a root that continues nothing", self.rooted(root, &checkpoint(self.state.checkpoint(false)))),
            ("a root in which a lane lives twice", self.rooted(root, &checkpoint(twice))),
        ]
    }
}

#[test]
fn what_is_said_of_every_class_of_damage() {
    let whole = Whole::new();
    let mut shown = String::new();
    for class in DamageClass::all() {
        for (what, disk) in whole.specimens(class) {
            writeln!(shown, "# {class:?}: {what}").expect("memory");
            let mut found: Vec<DamageClass> = Vec::new();
            match load(disk.process()) {
                Ok(state) => writeln!(shown, "the present is sound: {} leases live", state.live.len()),
                Err(error) => {
                    found.extend(common::damage_of::<()>(Err(error)).map(|damage| {
                        let error = JournalError::Damaged(damage.clone());
                        writeln!(shown, "{error}\nhint: {}", error.hint().unwrap_or_default())
                            .expect("memory");
                        damage.class
                    }));
                    Ok(())
                }
            }
            .expect("memory");
            for damage in survey(&disk.process()).expect("the disk works").damage {
                writeln!(shown, "survey: {damage}").expect("memory");
                found.push(damage.class);
            }
            if class == DamageClass::BadSuccessor {
                let damage = common::damage_of(repair::repair(&disk.process(), &operator(100)));
                let error = JournalError::Damaged(damage.expect("a repair that cannot go on"));
                writeln!(shown, "repair: {error}\nhint: {}", error.hint().unwrap_or_default())
                    .expect("memory");
                found = vec![class];
            }
            assert!(found.iter().all(|found| *found == class) && !found.is_empty(), "{what}: {found:?}");
            shown.push('\n');
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_a_repair_would_do_about_every_class_of_damage() {
    let whole = Whole::new();
    let mut shown = String::new();
    for (class, (what, disk)) in
        DamageClass::all().flat_map(|class| whole.specimens(class).into_iter().map(move |one| (class, one)))
    {
        let plan = repair::plan(&disk.process()).expect("the disk works").expect(what);
        let Plan { active, history, .. } = &plan;
        writeln!(shown, "# {class:?}: {what}").expect("memory");
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
        if class == DamageClass::BadSuccessor {
            // As the hint says: the garbage goes, and the repair goes on.
            assert!(repair::repair(&disk.process(), &operator(100)).is_err());
            disk.take(&Name::new(Dir::Damaged, format!("{ACTIVE:020}.successor")));
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
        assert_eq!(survey(&disk.process()).expect("the disk works").damage, [], "{what}");
        shown.push('\n');
    }
    insta::assert_snapshot!(shown);
}

fn lane_of(lease: &arbiter::lease::Lease) -> &str {
    lease.lane.as_str()
}
