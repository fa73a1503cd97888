//! Repair as an operator meets it: what is said of every class of damage, and that nothing a lost record may have
//! granted goes to somebody else before the operator says so.
//!
//! `LEASE_LANE_ROT_STEP=1` damages every byte instead of every 211th.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use journal::DamageClass;
use journal::line::{self, Stamp};
use journal::repair::REPAIR_OWNER;
use journal::segment::SEGMENT_BYTES_MAX;
use kit::{Answer, Lab, copy_dir, finish, for_each, knob, lease_numbers, listing};

// ------------------------------------------------------------------------------------------------- what is said

/// A copy of the journal in `fixtures/journal-1.0`, whose bytes are always the same: records 1 to 18 in a sealed
/// segment, 18 to 21 in the active one, three live leases.
fn fixture(lab: &Lab) -> PathBuf {
    fn modes(dir: &Path) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                modes(&path);
            } else {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
    let store = lab.path().join("store");
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/journal-1.0"), &store);
    modes(&store);
    store
}

fn segment(store: &Path, root: u64) -> PathBuf {
    store.join("journal").join(format!("{root:020}.jsonl"))
}

/// The lines of a segment, each with its newline.
fn lines(segment: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(segment).unwrap();
    bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect()
}

/// A record with a right checksum in the place of the one on `line`, or right behind it.
fn forged(line: &[u8], behind: bool, op: &str, body: &str) -> Vec<u8> {
    let frame = line::decode(line.trim_ascii_end()).unwrap();
    let stamp = Stamp { seq: frame.seq, ts: frame.ts, nonce: 1, prev: frame.prev };
    let next = Stamp { seq: frame.seq.next().unwrap(), prev: frame.crc, ..stamp };
    (line::encode(if behind { next } else { stamp }, op, body).0 + "\n").into_bytes()
}

/// Does it to the store, and says in words what was done.
fn damage(lab: &Lab, store: &Path, class: DamageClass) -> &'static str {
    let active = segment(store, 18);
    let mut now = lines(&active);
    let last = now.len() - 1;
    let what = match class {
        DamageClass::RootMissing => {
            for line in &mut now {
                line.fill(0);
            }
            "the active segment gone to NULs"
        }
        DamageClass::NotARecord => {
            now[1][40] ^= 1;
            "a bit of record 19 flipped"
        }
        DamageClass::Followed => {
            *now[1].last_mut().unwrap() ^= 1;
            "a bit of the newline behind record 19 flipped"
        }
        DamageClass::PredecessorMissing => {
            now.remove(1);
            "record 19 taken out"
        }
        DamageClass::EndMissing => {
            now.pop();
            "the last record, a grant, cut off"
        }
        DamageClass::OtherRecord => {
            now[last] = forged(&now[last], false, "SPAWN", r#"{"lane":"api","owner":"eve"}"#);
            "another record, whole and in its place, instead of the last"
        }
        DamageClass::Impossible => {
            let body = r#"{"lane":"api","owner":"eve","lease":3,"fence":3}"#;
            now.push(forged(&now[last], true, "RELEASE", body));
            "a whole record behind the last that gives back what does not live"
        }
        DamageClass::TooLong => {
            let file = std::fs::File::options().write(true).open(&active).unwrap();
            file.set_len(SEGMENT_BYTES_MAX + 1).unwrap();
            return "the active segment half a gigabyte long";
        }
        DamageClass::SegmentMissing => {
            std::fs::remove_file(&active).unwrap();
            return "the active segment deleted";
        }
        DamageClass::HistoryMissing => {
            let args = ["--store", store.to_str().unwrap(), "compact", "--keep", "all"];
            lab.json(&args).expect(0, "ok");
            std::fs::remove_file(&active).unwrap();
            return "a segment of the history deleted";
        }
        DamageClass::HistoryCut => {
            let old = lines(&segment(store, 1));
            std::fs::write(segment(store, 1), old[..old.len() - 1].concat()).unwrap();
            std::fs::remove_file(store.join("marks").join(format!("{:020}", 1))).unwrap();
            return "a segment of the history without its end and its mark";
        }
        DamageClass::BadSuccessor => {
            now[1][40] ^= 1;
            let damaged = store.join("damaged");
            std::fs::create_dir(&damaged).unwrap();
            std::fs::set_permissions(&damaged, std::fs::Permissions::from_mode(0o700)).unwrap();
            let claim = damaged.join(format!("{:020}.successor", 18));
            std::fs::write(&claim, "garbage\n").unwrap();
            std::fs::set_permissions(&claim, std::fs::Permissions::from_mode(0o600)).unwrap();
            "a bit of record 19 flipped, and what a dead repair left to go on with garbled"
        }
    };
    std::fs::write(&active, now.concat()).unwrap();
    what
}

#[test]
fn what_an_operator_reads_of_every_class_of_damage() {
    let mut said = String::new();
    for class in DamageClass::all() {
        let lab = Lab::without_repository();
        let store = fixture(&lab);
        let what = damage(&lab, &store, class);
        let _ = writeln!(said, "==== {class:?}: {what}\n");
        let mut say = |args: &[&str]| -> Answer {
            let mut command = lab.command([&["--store", store.to_str().unwrap()], args].concat());
            command.env("LEASE_LANE_OWNER", "op");
            let answer = finish(command);
            assert_eq!(answer.signal, None, "{answer}");
            let code = answer.code.unwrap();
            let _ = write!(said, "$ lease-lane {}\n{}{}[{code}]\n\n", args.join(" "), answer.out, answer.err);
            answer
        };
        assert_eq!(say(&["verify"]).code, Some(5), "{class:?}");
        // The listing sums up every byte, and half a gigabyte of holes are a lot of bytes.
        let look = || if class == DamageClass::TooLong { BTreeMap::new() } else { listing(&store) };
        let before = look();
        assert_eq!(say(&["repair"]).code, Some(5), "{class:?}");
        assert_eq!(look(), before, "{class:?}: a plan writes nothing");
        let mut done = say(&["repair", "--yes"]);
        if class == DamageClass::BadSuccessor {
            assert_eq!(done.code, Some(5));
            // As the hint says.
            std::fs::remove_file(store.join("damaged").join(format!("{:020}.successor", 18))).unwrap();
            done = say(&["repair", "--yes"]);
        }
        assert_eq!(done.code, Some(0), "{class:?}: {done}");
        assert_eq!(say(&["verify"]).code, Some(0), "{class:?}");
        // Nothing is granted over what may be lost, and everything is as before where nothing was.
        let is_history = matches!(class, DamageClass::HistoryMissing | DamageClass::HistoryCut);
        assert_eq!(say(&["acquire", "x", "--tree", "new/x", "--dry-run"]).code, Some(i32::from(!is_history)));
    }
    insta::assert_snapshot!("what_an_operator_reads_of_every_class_of_damage", masked(&said));
}

/// Without what differs from run to run and from machine to machine: times, and the length of what names them.
fn masked(said: &str) -> String {
    let mut masked = String::new();
    for line in said.lines() {
        let times = ["since ", "expires in "].iter().find_map(|word| Some((line.split_once(word)?.0, *word)));
        match (times, line.split_once(" segments, ")) {
            (Some((before, word)), _) => masked.push_str(&format!("{before}{word}...")),
            (None, Some((before, after))) => {
                let (_, after) = after.split_once(" bytes").unwrap();
                masked.push_str(&format!("{before} segments, ... bytes{after}"));
            }
            (None, None) => masked.push_str(line),
        }
        masked.push('\n');
    }
    masked
}

// ------------------------------------------------------------------------------------------- what cannot be had

/// A lease that was granted and reported: its owner, its lane, and a request of somebody else that meets it.
const HELD: [(&str, &str, &[&str], &[&str]); 5] = [
    ("o1", "sealed", &["--tree", "a/**"], &["--tree", "a/deep/x"]),
    ("o2", "early", &["--tree", "b/*.rs", "--read", "shared/**"], &["--tree", "shared/y"]),
    ("o3", "lock", &["--lock", "db"], &["--lock", "db"]),
    ("o4", "bound", &["--tree", "c/{x,y}/**", "--bind", "1"], &["--tree", "c/*/z"]),
    ("o5", "last", &["--tree", "d"], &["--tree", "d/e/f"]),
];

struct Specimen {
    lab: Lab,
    bytes: Vec<u8>,
    leases: Vec<u64>,
    /// A lease that had ended.
    given_back: u64,
    copies: AtomicUsize,
}

impl Specimen {
    fn new() -> Specimen {
        let lab = Lab::new();
        let grant = |n: usize| {
            let (owner, lane, region, _) = HELD[n];
            let granted = lab.json_as(owner, &[&["acquire", lane], region].concat()).expect(0, "acquire");
            granted["lease"].as_u64().unwrap()
        };
        let mut leases = vec![grant(0)];
        lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
        leases.push(grant(1));
        leases.push(grant(2));
        let given_back = lab.grant("o6", "gone", "gone/**");
        leases.push(grant(3));
        lab.json_as("o6", &["release", "--lease", &given_back.to_string()]).expect(0, "released");
        lab.json_as("o7", &["acquire", "refused", "--tree", "a/x"]).expect(1, "refuse");
        lab.json_as("o2", &["heartbeat", "early"]).expect(0, "beat");
        leases.push(grant(4));
        let bytes = std::fs::read(lab.active_segment()).unwrap();
        Specimen { lab, bytes, leases, given_back, copies: AtomicUsize::new(0) }
    }

    /// Where the record ends that granted this lease; 0 for one that was granted in an earlier segment.
    fn grant_ends_at(&self, lease: u64) -> usize {
        let mut at = 0;
        for line in self.bytes.split_inclusive(|&b| b == b'\n') {
            at += line.len();
            if line.starts_with(format!("{{\"seq\":{lease},").as_bytes()) {
                return at;
            }
        }
        0
    }

    /// Puts these bytes in place of the active segment (or nothing), repairs, and says who could have what. True:
    /// it was damaged. What is `sound` at the beginning of the file is no loss.
    fn nothing_lost_can_be_had(&self, what: &str, sound: usize, bytes: Option<&[u8]>) -> bool {
        let store = self.lab.path().join(format!("copy-{}", self.copies.fetch_add(1, Ordering::Relaxed)));
        copy_dir(self.lab.store(), &store);
        let segment = store.join("journal").join(self.lab.active_segment().file_name().unwrap());
        match bytes {
            Some(bytes) => std::fs::write(&segment, bytes).unwrap(),
            None => std::fs::remove_file(&segment).unwrap(),
        }
        let ask = |owner: &str, args: &[&str]| {
            self.lab.json_as(owner, &[&["--store", store.to_str().unwrap()], args].concat())
        };
        let collides = |n: usize, why: &str| {
            let asked = ask("eve", &[&["acquire", "hers"], HELD[n].3].concat());
            assert_eq!(asked.code, Some(1), "{what}: {why}: lease {} is violated: {asked}", self.leases[n]);
        };
        let live = || lease_numbers(&ask("op", &["live"]).expect(0, "ok"));

        let said = ask("op", &["repair", "--yes"]).expect(0, "ok");
        let repaired = said["repaired"] == true;
        (0..HELD.len()).for_each(|n| collides(n, "the hold stands"));
        let kept = live();
        for lease in said["kept"].as_array().unwrap().iter().chain(said["found"].as_array().unwrap()) {
            assert!(kept.contains(&lease.as_u64().unwrap()), "{what}: said to be kept, and is not: {said}");
        }
        for lease in self.leases.iter().filter(|lease| self.grant_ends_at(**lease) <= sound) {
            assert!(kept.contains(lease), "{what}: lease {lease} could be read, and is not kept: {kept:?}");
        }
        if repaired {
            ask("eve", &["acquire", "free", "--tree", "nobody/ever"]).expect(1, "refuse");
            ask("eve", &["acquire", "free", "--lock", "nobody-ever"]).expect(1, "refuse");
            let hold = *kept.iter().max().unwrap();
            assert!(!self.leases.contains(&hold), "{what}: a number given twice: {kept:?}");
            let hold = hold.to_string();
            ask("op", &["release", "--lease", &hold]).expect(3, "not_yours");
            ask(REPAIR_OWNER, &["release", "--lease", &hold]).expect(0, "released");
        } else {
            assert!(
                self.leases.iter().all(|lease| kept.contains(lease)),
                "{what}: lost in silence: {kept:?}"
            );
        }
        // From here on what could be read stands for itself, until its own holder gives it back.
        for (n, (owner, lane, ..)) in HELD.iter().enumerate() {
            let lease = self.leases[n];
            if kept.contains(&lease) {
                collides(n, "it was kept");
                ask(owner, &["heartbeat", "--lease", &lease.to_string()]).expect(0, "beat");
                ask(owner, &["release", lane, "--fence", &lease.to_string()]).expect(0, "released");
            } else {
                // Its holder learns that it is gone, before it writes.
                ask(owner, &["heartbeat", "--lease", &lease.to_string()]).expect(1, "not_held");
            }
        }
        // A lease whose release was lost is kept too: its holder is asked once more.
        match live()[..] {
            [] => {}
            [lease] if lease == self.given_back => {
                ask("o6", &["release", "gone"]).expect(0, "released");
            }
            ref left => panic!("{what}: neither the hold's nor anybody's: {left:?}"),
        }
        for (n, (_, lane, _, theirs)) in HELD.iter().enumerate() {
            let asked = ask("eve", &[&["acquire", lane], *theirs].concat());
            assert_eq!(asked.code, Some(0), "{what}: nothing is left of lease {}: {asked}", self.leases[n]);
        }
        ask("op", &["verify"]).expect(0, "ok");
        std::fs::remove_dir_all(&store).unwrap();
        repaired
    }
}

#[test]
fn after_a_repair_no_lost_grant_can_be_had_wherever_a_bit_was_flipped() {
    let specimen = Specimen::new();
    let step = usize::try_from(knob("LEASE_LANE_ROT_STEP", 211)).unwrap();
    let damaged = AtomicUsize::new(0);
    let cases = specimen.bytes.len().div_ceil(step);
    for_each(cases, |case| {
        let (at, bit) = (case * step, (case * 3) % 8);
        let mut bytes = specimen.bytes.clone();
        bytes[at] ^= 1 << bit;
        let sound = specimen.bytes[..at].iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let was = specimen.nothing_lost_can_be_had(&format!("byte {at}, bit {bit}"), sound, Some(&bytes));
        damaged.fetch_add(usize::from(was), Ordering::Relaxed);
    });
    let damaged = damaged.into_inner();
    eprintln!("{damaged} of {cases} flips were damage");
    assert!(damaged * 20 > cases * 19, "every byte belongs to a record that was acknowledged");
}

#[test]
fn after_a_repair_no_lost_grant_can_be_had_whatever_became_of_a_line() {
    let specimen = Specimen::new();
    let lines: Vec<Vec<u8>> = specimen.bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    let mut all: Vec<(String, usize, Option<Vec<u8>>)> = vec![
        ("the file is missing".into(), 0, None),
        ("the file is empty".into(), 0, Some(Vec::new())),
        ("the file is noise".into(), 0, Some(specimen.bytes.iter().map(|b| b ^ 0x55).collect())),
        ("the file is NULs".into(), 0, Some(vec![0; specimen.bytes.len()])),
    ];
    let half = |line: &[u8]| line[..line.len() / 2].to_vec();
    for n in 0..lines.len() {
        let mut edit = |what: &str, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut edited = lines.clone();
            change(&mut edited);
            all.push((format!("line {n} {what}"), lines[..n].concat().len(), Some(edited.concat())));
        };
        edit("is missing", &|lines| drop(lines.remove(n)));
        edit("is cut in half", &|lines| lines[n] = half(&lines[n]));
        edit("has lost its newline to an `x`", &|lines| *lines[n].last_mut().unwrap() = b'x');
        edit("and all behind it is missing", &|lines| lines.truncate(n));
        edit("is cut in half and all behind it is missing", &|lines| {
            lines.truncate(n + 1);
            lines[n] = half(&lines[n]);
        });
        if n > 0 {
            let body = r#"{"lane":"x","owner":"x"}"#;
            edit("is another record", &|lines| lines[n] = forged(&lines[n], false, "SPAWN", body));
        }
    }
    let damaged = AtomicUsize::new(0);
    // Every kind at every other line: six kinds a line, so the parity changes with the line.
    let is_thorough = knob("LEASE_LANE_ROT_STEP", 211) == 1;
    let mut n = 0..;
    all.retain(|_| n.next().is_some_and(|n: usize| is_thorough || (n + n / 6).is_multiple_of(2)));
    for_each(all.len(), |case| {
        let (what, sound, bytes) = &all[case];
        let was = specimen.nothing_lost_can_be_had(what, *sound, bytes.as_deref());
        damaged.fetch_add(usize::from(was), Ordering::Relaxed);
        assert!(was, "{what}: not noticed");
    });
    eprintln!("{} kinds of damage", damaged.into_inner());
}
