//! Bytes that are no longer what was written: nothing that collides is granted, no lease is lost without a word, and
//! an operator gets out of it.
//!
//! `LEASE_LANE_ROT_STEP=1` flips a bit in every byte instead of every seventh.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::{Answer, Lab, copy_dir, for_each, knob, lease_numbers as ids, listing};
use serde_json::Value;

/// A store with two live leases and some history, to make damaged copies of.
struct Specimen {
    lab: Lab,
    /// The segment as it is, and as it was before the second lease was granted.
    bytes: Vec<u8>,
    old: Vec<u8>,
    /// The live leases: `a/**` of o1 and `b/**` of o2.
    leases: [u64; 2],
    copies: AtomicUsize,
}

impl Specimen {
    /// With `sealed`, the damage meets a segment that begins with a checkpoint and has a predecessor.
    fn new(sealed: bool) -> Specimen {
        let lab = Lab::new();
        let a = lab.grant("o1", "la", "a/**");
        if sealed {
            lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
        }
        lab.grant("o3", "gone", "gone/**");
        let old = std::fs::read(lab.active_segment()).unwrap();
        let b = lab.grant("o2", "lb", "b/**");
        lab.json_as("o3", &["acquire", "x", "--tree", "a/x"]).expect(1, "refuse");
        lab.json_as("o1", &["heartbeat", "la"]).expect(0, "beat");
        lab.json_as("o3", &["release", "gone"]).expect(0, "released");
        let bytes = std::fs::read(lab.active_segment()).unwrap();
        Specimen { lab, bytes, old, leases: [a, b], copies: AtomicUsize::new(0) }
    }

    /// A copy of the store whose active segment has these bytes, or is missing.
    fn copy(&self, bytes: Option<&[u8]>) -> Copy<'_> {
        let n = self.copies.fetch_add(1, Ordering::Relaxed);
        let store = self.lab.path().join(format!("copy-{n}"));
        copy_dir(self.lab.store(), &store);
        let segment = store.join("journal").join(self.lab.active_segment().file_name().unwrap());
        match bytes {
            Some(bytes) => std::fs::write(&segment, bytes).unwrap(),
            None => std::fs::remove_file(&segment).unwrap(),
        }
        Copy { specimen: self, store, is_thorough: n.is_multiple_of(8) }
    }

    fn lines(&self) -> Vec<&[u8]> {
        self.bytes.split_inclusive(|&b| b == b'\n').collect()
    }
}

struct Copy<'s> {
    specimen: &'s Specimen,
    store: PathBuf,
    /// Whether every verb is tried, or only those that could do harm.
    is_thorough: bool,
}

impl Copy<'_> {
    fn ask(&self, owner: &str, args: &[&str]) -> Answer {
        let store = ["--store", self.store.to_str().unwrap()];
        self.specimen.lab.json_as(owner, &[&store[..], args].concat())
    }

    /// The two sentences that hold whatever happened to the bytes. True: it counts as damaged.
    fn assert_safe(&self, what: &str) -> bool {
        let live = self.ask("o9", &["live"]);
        let is_damaged = match live.code {
            Some(5) => {
                let error = live.expect(5, "damaged")["error"].clone();
                assert!(error["file"].is_string() && error["offset"].is_u64(), "{what}: {error}");
                assert!(error["hint"].as_str().unwrap().contains("lease-lane repair"), "{what}: {error}");
                true
            }
            _ => {
                let lives = live.expect(0, "ok");
                let ids = ids(&lives);
                assert!(
                    self.specimen.leases.iter().all(|id| ids.contains(id)),
                    "{what}: a lease is lost: {lives}"
                );
                false
            }
        };
        for tree in ["a/x", "b/x"] {
            let asked = self.ask("o9", &["acquire", "mine", "--tree", tree]);
            match asked.code {
                Some(5) => drop(asked.expect(5, "damaged")),
                _ => drop(asked.expect(1, "refuse")),
            }
        }
        if is_damaged && self.is_thorough {
            let free = self.ask("o9", &["acquire", "free", "--tree", "free/**"]);
            assert_eq!(free.outcome(), "damaged", "{what}: nothing at all is granted until it is repaired");
            self.ask("o1", &["heartbeat", "la"]).expect(5, "damaged");
            self.ask("o1", &["release", "la"]).expect(5, "damaged");
            let verified = self.ask("o9", &["verify"]).expect(5, "damaged");
            assert!(verified["damage"][0]["file"].is_string(), "{what}");
            let doctor = self.ask("o9", &["doctor"]).expect(5, "damaged");
            assert_eq!(doctor["damage"], verified["damage"]);
        }
        is_damaged
    }

    /// An operator repairs, gives back what stands in for the loss, and everything is normal again.
    fn assert_repairable(&self, what: &str) {
        let before = listing(&self.store);
        let shown = self.ask("op", &["repair"]).expect(5, "damaged");
        assert_eq!(shown["repaired"], false, "{what}");
        assert_eq!(listing(&self.store), before, "{what}: a look changes nothing");
        let repaired = self.ask("op", &["repair", "--yes"]).expect(0, "ok");
        assert_eq!(repaired["repaired"], true, "{what}");
        assert_eq!(repaired["damage"], shown["damage"], "{what}");
        self.ask("op", &["verify"]).expect(0, "ok");
        for moved in repaired["moved_aside"].as_array().unwrap() {
            assert!(moved.is_string());
        }

        // Nothing collides, nothing is granted at all, until the hold is given back.
        let live = self.ask("op", &["live"]).expect(0, "ok");
        let holds: Vec<&Value> = live["leases"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|lease| lease["owner"] == "lease-lane repair")
            .collect();
        assert!(!holds.is_empty(), "{what}: {live}");
        for tree in ["a/x", "b/x", "free/x", "gone/x", "deep/down/here"] {
            self.ask("o9", &["acquire", "mine", "--tree", tree]).expect(1, "refuse");
        }
        self.ask("o9", &["acquire", "mine", "--lock", "some"]).expect(1, "refuse");
        let highest = ids(&live).into_iter().max().unwrap();
        for hold in &holds {
            let id = hold["lease"].to_string();
            self.ask("o9", &["release", "--lease", &id]).expect(3, "not_yours");
            self.ask("lease-lane repair", &["release", "--lease", &id]).expect(0, "released");
        }

        // Normal: free things are granted, what was kept is kept, numbers go on.
        let free = self.ask("o9", &["acquire", "free", "--tree", "free/**"]).expect(0, "acquire");
        assert!(free["lease"].as_u64().unwrap() > highest.max(self.specimen.leases[1]), "{what}: {free}");
        let left = ids(&self.ask("op", &["live"]).expect(0, "ok"));
        for (lease, tree) in self.specimen.leases.iter().zip(["a/x", "b/x"]) {
            let code = i32::from(left.contains(lease));
            let asked = self.ask("o9", &["acquire", tree, "--tree", tree]);
            assert_eq!(asked.code, Some(code), "{what}: lease {lease} of {left:?}: {asked}");
        }
        self.ask("op", &["verify"]).expect(0, "ok");
        assert_eq!(self.ask("op", &["repair"]).expect(0, "ok")["repaired"], false);
        self.ask("op", &["replay", "--verdicts"]).expect(0, "ok");
        self.ask("op", &["compact", "--keep", "none"]).expect(0, "ok");
        self.ask("o9", &["acquire", "y", "--tree", "free/y"]).expect(1, "refuse");
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.store).ok();
    }
}

#[test]
fn a_flipped_bit_is_never_a_lost_lease() {
    let step = usize::try_from(knob("LEASE_LANE_ROT_STEP", 7)).unwrap();
    for sealed in [false, true] {
        let specimen = Specimen::new(sealed);
        let (damaged, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for_each(specimen.bytes.len().div_ceil(step), |case| {
            let (at, bit) = (case * step, (case * 5) % 8);
            let mut bytes = specimen.bytes.clone();
            bytes[at] ^= 1 << bit;
            let what = format!("sealed {sealed}, byte {at}, bit {bit}");
            let count = if specimen.copy(Some(&bytes)).assert_safe(&what) { &damaged } else { &harmless };
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (damaged, harmless) = (damaged.into_inner(), harmless.into_inner());
        eprintln!("sealed {sealed}: {damaged} flips were noticed, {harmless} cost nothing");
        assert!(harmless * 20 < damaged, "every byte belongs to a record that was acknowledged");
    }
}

#[test]
fn lines_that_are_missing_doubled_swapped_or_cut_are_noticed() {
    for sealed in [false, true] {
        let specimen = Specimen::new(sealed);
        let lines = specimen.lines();
        let mut edits: Vec<(String, Vec<u8>)> = Vec::new();
        for n in 0..lines.len() {
            let mut without = lines.clone();
            without.remove(n);
            edits.push((format!("line {n} is missing"), without.concat()));
            edits.push((format!("all from line {n} on is missing"), lines[..n].concat()));
            let mut doubled = lines.clone();
            doubled.insert(n, lines[n]);
            edits.push((format!("line {n} is there twice"), doubled.concat()));
            let mut late = lines.clone();
            late.push(lines[n]);
            edits.push((format!("line {n} is there again at the end"), late.concat()));
            if n + 1 < lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(n, n + 1);
                edits.push((format!("lines {n} and {} are swapped", n + 1), swapped.concat()));
            }
            let mut half = lines.clone();
            let cut = &lines[n][..lines[n].len() / 2];
            half[n] = cut;
            edits.push((format!("line {n} is cut"), half.concat()));
            let zeros = vec![0; lines[n].len()];
            half[n] = &zeros;
            edits.push((format!("line {n} is NULs"), half.concat()));
        }
        for_each(edits.len(), |case| {
            let (what, bytes) = &edits[case];
            let what = format!("sealed {sealed}: {what}");
            let copy = specimen.copy(Some(bytes));
            let is_damaged = copy.assert_safe(&what);
            if !is_damaged {
                // What was added and belongs nowhere is void, and counted.
                let verified = copy.ask("o9", &["verify"]).expect(0, "ok");
                assert!(verified["void"].as_u64() > Some(0), "{what}: not noticed: {verified}");
                assert!(what.contains("twice") || what.contains("again"), "{what}");
            }
        });
    }
}

#[test]
fn an_operator_gets_out_of_it() {
    for sealed in [false, true] {
        let specimen = Specimen::new(sealed);
        let lines = specimen.lines();
        let last = lines.len() - 1;
        let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![
            ("the last line is missing".into(), Some(lines[..last].concat())),
            ("an old copy was put back".into(), Some(specimen.old.clone())),
            ("the segment is missing".into(), None),
            ("the segment is empty".into(), Some(Vec::new())),
            ("the segment is noise".into(), Some(specimen.bytes.iter().map(|b| b ^ 0x55).collect())),
        ];
        for n in 0..lines.len() {
            let mut bytes = specimen.bytes.clone();
            let at: usize = lines[..n].iter().map(|line| line.len()).sum();
            bytes[at + lines[n].len() / 2] ^= 4;
            damages.push((format!("a bit of line {n} is flipped"), Some(bytes)));
            let mut without = lines.clone();
            without.remove(n);
            damages.push((format!("line {n} is missing"), Some(without.concat())));
        }
        for_each(damages.len(), |case| {
            let (what, bytes) = &damages[case];
            let what = format!("sealed {sealed}: {what}");
            let mut copy = specimen.copy(bytes.as_deref());
            copy.is_thorough = true;
            assert!(copy.assert_safe(&what), "{what}: not noticed");
            copy.assert_repairable(&what);
        });
    }
}

#[test]
fn damage_to_what_only_helps_costs_nothing() {
    let specimen = Specimen::new(true);
    let damage = |file: &str, bytes: Option<&[u8]>| {
        let copy = specimen.copy(Some(&specimen.bytes));
        let path = copy.store.join(file);
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let what = format!("{file}: {bytes:?}");
        assert!(!copy.assert_safe(&what), "{what}");
        copy.ask("o9", &["acquire", "free", "--tree", "free"]).expect(0, "acquire");
        copy.ask("o9", &["verify"]).expect(0, "ok");
    };
    let marks = format!("marks/{}", specimen.lab.active_segment().file_stem().unwrap().to_string_lossy());
    for file in ["active", "queue", &marks] {
        for bytes in [
            None,
            Some(&b""[..]),
            Some(b"00000000000000000001\n"),
            Some(b"\0\xff garbage\n"),
            Some(b"99999\n"),
        ] {
            damage(file, bytes);
        }
    }
}

#[test]
fn damage_in_the_history_does_not_stop_the_present_but_is_told() {
    let specimen = Specimen::new(true);
    let copy = specimen.copy(Some(&specimen.bytes));
    let first = copy.store.join("journal").join(format!("{:020}.jsonl", 1));
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    copy.ask("o9", &["acquire", "mine", "--tree", "a/x"]).expect(1, "refuse");
    copy.ask("o9", &["acquire", "free", "--tree", "free"]).expect(0, "acquire");
    let verified = copy.ask("o9", &["verify"]).expect(5, "damaged");
    assert_eq!(verified["damage"][0]["file"], format!("journal/{:020}.jsonl", 1));
    copy.ask("op", &["repair", "--yes"]).expect(0, "ok");
    copy.ask("o9", &["verify"]).expect(0, "ok");
    let live = copy.ask("op", &["live"]).expect(0, "ok");
    assert!(!live["leases"].as_array().unwrap().iter().any(|lease| lease["owner"] == "lease-lane repair"));
    copy.ask("o9", &["acquire", "again", "--tree", "free/x"]).expect(1, "refuse");
}

#[test]
fn hostile_lines_cost_neither_time_nor_memory() {
    let lab = Lab::new();
    lab.grant("o1", "la", "a/**");
    let good = std::fs::read(lab.active_segment()).unwrap();
    let nested = format!("{{\"seq\":3,\"x\":{}1{}}}\n", "[".repeat(200_000), "]".repeat(200_000));
    let huge = format!("{{\"seq\":{}}}\n", "9".repeat(100_000));
    let doubled = "{\"seq\":3,\"seq\":3,\"op\":\"ACQUIRE\",\"op\":\"RELEASE\"}\n";
    let not_text = [b"{\"seq\":3,\"lane\":\"\xff\xfe\"}\n".to_vec(), vec![b'\n'; 5]].concat();
    let long = [vec![b'x'; 40 << 20], vec![b'\n']].concat();
    for bytes in [nested.as_bytes(), huge.as_bytes(), doubled.as_bytes(), &not_text, &long] {
        std::fs::write(lab.active_segment(), [&good[..], bytes].concat()).unwrap();
        for args in [&["live"][..], &["verify"], &["acquire", "x", "--tree", "a/x"]] {
            // 512 MB of address space.
            let script = format!("ulimit -v 524288; exec {} {} --json", kit::BIN, args.join(" "));
            let mut command = std::process::Command::new("bash");
            command.args(["-c", &script]).current_dir(lab.path()).env_clear().env("LEASE_LANE_OWNER", "o2");
            let answer = kit::finish(command);
            let damaged = answer.expect(5, "damaged");
            let place = if args[0] == "verify" { &damaged["damage"][0] } else { &damaged["error"] };
            assert_eq!(place["offset"], good.len(), "{args:?}: {place}");
            assert!(answer.took.as_secs() < 10, "{args:?} took {:?}", answer.took);
        }
    }
}
