//! Many real processes at once: nobody is let in beside another, nobody is turned away for nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kit::{Dice, Lab, all_at_once, finish, knob, seed};
use serde_json::Value;

const CROWD: usize = 64;

fn outcomes(answers: &[kit::Answer], outcome: &str) -> usize {
    answers.iter().filter(|answer| answer.outcome() == outcome).count()
}

#[test]
fn sixty_four_at_once_on_disjoint_regions_are_all_admitted() {
    for begun in [false, true] {
        let lab = Lab::new();
        if begun {
            lab.json(&["init"]).expect(0, "ok");
        }
        let ask = |i: usize| {
            let (owner, lane, tree) = (format!("o{i}"), format!("l{i}"), format!("src/m{i}/**"));
            lab.command_as(&owner, &["acquire", &lane, "--tree", &tree])
        };
        let answers = all_at_once((0..CROWD).map(ask).collect());
        let mut ids: Vec<u64> = Vec::new();
        for answer in &answers {
            ids.push(answer.expect(0, "acquire")["lease"].as_u64().unwrap());
        }
        ids.sort_unstable();
        assert_eq!(lab.live(), ids, "every grant is live, each with a number of its own");
        ids.dedup();
        assert_eq!(ids.len(), CROWD);
        lab.assert_sound();
    }
}

#[test]
fn sixty_four_at_once_on_one_region_leave_exactly_one() {
    let lab = Lab::new();
    for round in 0..10 {
        let ask = |i: usize| {
            let (owner, lane) = (format!("o{i}"), format!("l{i}"));
            // The same files in four spellings.
            let tree = ["src/api/**", "src/api", "src/*/x.rs", "**/x.rs"][i % 4];
            lab.command_as(&owner, &["acquire", &lane, "--tree", tree])
        };
        let answers = all_at_once((0..CROWD).map(ask).collect());
        assert_eq!(outcomes(&answers, "acquire"), 1, "round {round}");
        assert_eq!(outcomes(&answers, "refuse"), CROWD - 1, "round {round}: nobody is told anything but no");
        let winner = answers.iter().find(|answer| answer.code == Some(0)).unwrap().value();
        assert_eq!(lab.live(), [winner["lease"].as_u64().unwrap()]);
        for answer in answers.iter().filter(|answer| answer.code == Some(1)) {
            assert_eq!(answer.value()["conflicts"][0]["lease"], winner["lease"], "each is told who");
        }
        let lane = winner["lane"].as_str().unwrap();
        lab.json_as(winner["owner"].as_str().unwrap(), &["release", lane]).expect(0, "released");
    }
    lab.assert_sound();
}

#[test]
fn eight_of_one_name_race_and_one_wins() {
    let lab = Lab::new();
    for round in 0..10 {
        let ask = |_| lab.command_as("shared", &["acquire", "api", "--tree", "src/**"]);
        let answers = all_at_once((0..8).map(ask).collect());
        assert_eq!(outcomes(&answers, "acquire"), 1, "round {round}");
        for answer in answers.iter().filter(|answer| answer.code != Some(0)) {
            let refused = answer.expect(1, "refuse");
            assert_eq!((&refused["code"], &refused["yours"]), (&"LANE_HELD".into(), &true.into()));
        }
        lab.json_as("shared", &["release", "api"]).expect(0, "released");
    }
    // One request id is one request, however many ask.
    let ask = |_| lab.command_as("shared", &["acquire", "api", "--tree", "src/**", "--request-id", "r"]);
    let answers = all_at_once((0..8).map(ask).collect());
    let leases: Vec<Value> =
        answers.iter().map(|answer| answer.expect(0, "acquire")["lease"].clone()).collect();
    assert!(leases.iter().all(|lease| *lease == leases[0]), "{leases:?}");
    assert_eq!(answers.iter().filter(|answer| answer.value()["repeated"] == true).count(), 7);
}

#[test]
fn readers_come_in_together_and_a_writer_alone() {
    let lab = Lab::new();
    let ask = |i: usize| {
        let (owner, lane) = (format!("o{i}"), format!("l{i}"));
        lab.command_as(&owner, &["acquire", &lane, "--read", "src/**"])
    };
    let answers = all_at_once((0..16).map(ask).collect());
    assert_eq!(outcomes(&answers, "acquire"), 16);
    lab.json_as("w", &["acquire", "w", "--tree", "src/x"]).expect(1, "refuse");
}

/// A region that was surely held: from the answer to its acquire until its release was asked for.
struct Held {
    region: usize,
    lease: u64,
    from: Instant,
    until: Instant,
}

/// Regions of the storm, and which of them have a file in common.
const REGIONS: [&[&str]; 6] = [
    &["--tree", "a/**"],
    &["--tree", "a/x/**", "--tree", "b/y"],
    &["--tree", "b/**"],
    &["--tree", "**/z", "--lock", "l"],
    &["--lock", "l"],
    &["--tree", "c"],
];
const OVERLAP: [[u8; 6]; 6] = [
    [1, 1, 0, 1, 0, 0],
    [1, 1, 1, 1, 0, 0],
    [0, 1, 1, 1, 0, 0],
    [1, 1, 1, 1, 1, 1],
    [0, 0, 0, 1, 1, 0],
    [0, 0, 0, 1, 0, 1],
];

#[test]
fn acquires_against_compactions_and_beats() {
    let lab = Lab::new();
    let (seed, stop) = (seed(), Instant::now() + Duration::from_secs(knob("LEASE_LANE_STORM_S", 5)));
    let held: Mutex<Vec<Held>> = Mutex::default();
    let (refused, beats, compactions) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (lab, held) = (&lab, &held);
        let (refused, beats, compactions) = (&refused, &beats, &compactions);
        for client in 0..10 {
            scope.spawn(move || {
                let mut dice = Dice::new(seed + client);
                let owner = format!("o{client}");
                while Instant::now() < stop {
                    let region = usize::try_from(dice.roll(6)).unwrap();
                    let args = [&["acquire", &owner], REGIONS[region]].concat();
                    let asked = lab.json_as(&owner, &args);
                    let from = Instant::now();
                    if asked.code == Some(1) {
                        asked.expect(1, "refuse");
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let lease = asked.expect(0, "acquire")["lease"].as_u64().unwrap();
                    for _ in 0..dice.roll(3) {
                        lab.json_as(&owner, &["heartbeat", "--lease", &lease.to_string()]).expect(0, "beat");
                        beats.fetch_add(1, Ordering::Relaxed);
                    }
                    held.lock().unwrap().push(Held { region, lease, from, until: Instant::now() });
                    lab.json_as(&owner, &["release", "--fence", &lease.to_string(), &owner])
                        .expect(0, "released");
                }
            });
        }
        for keep in ["none", "all"] {
            scope.spawn(move || {
                while Instant::now() < stop {
                    lab.json_as("janitor", &["compact", "--keep", keep]).expect(0, "ok");
                    compactions.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whoever looks at any moment sees a sound store without two leases that collide.
        scope.spawn(move || {
            while Instant::now() < stop {
                let live = lab.json_as("reader", &["live"]).expect(0, "ok");
                let lanes = live["leases"].as_array().unwrap().iter();
                let trees: Vec<Value> = lanes.map(|lease| lease["tree"].clone()).collect();
                let regions: Vec<usize> = trees.iter().map(region_of).collect();
                for (i, &one) in regions.iter().enumerate() {
                    for &other in &regions[i + 1..] {
                        assert_eq!(OVERLAP[one][other], 0, "live at the same time: {live}");
                    }
                }
            }
        });
    });
    let held = held.into_inner().unwrap();
    eprintln!(
        "{} grants, {} refusals, {} beats, {} compactions",
        held.len(),
        refused.into_inner(),
        beats.into_inner(),
        compactions.load(Ordering::Relaxed)
    );
    assert!(held.len() > 20 && compactions.into_inner() > 5, "the storm was none");
    for (i, one) in held.iter().enumerate() {
        for other in &held[i + 1..] {
            let together = one.from < other.until && other.from < one.until;
            assert!(
                !together || OVERLAP[one.region][other.region] == 0,
                "leases {} and {} were held at the same time",
                one.lease,
                other.lease
            );
        }
    }
    let mut ids: Vec<u64> = held.iter().map(|held| held.lease).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), held.len(), "a number was given twice");
    lab.assert_sound();
    assert_eq!(lab.live(), [0; 0]);
    let mutex = lab.store().join("mutex");
    assert!(!mutex.exists(), "nobody is inside any more");
}

fn region_of(tree: &Value) -> usize {
    let entries: Vec<&str> = tree.as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect();
    let spelled = |args: &[&str]| -> Vec<String> {
        args.chunks(2)
            .map(|pair| if pair[0] == "--lock" { format!("lock://{}", pair[1]) } else { pair[1].into() })
            .collect()
    };
    REGIONS.iter().position(|args| spelled(args) == entries).unwrap_or_else(|| panic!("{tree}"))
}

#[test]
fn eight_starters_on_a_torn_and_half_rotated_store_agree() {
    for round in 0..6 {
        let lab = Lab::new();
        lab.grant("o0", "kept", "kept/**");
        if round % 2 == 0 {
            // Half a rotation: the seal is written, the successor is not there yet.
            lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
            let successor = lab.active_segment();
            std::fs::remove_file(lab.store().join("marks").join(successor.file_stem().unwrap())).unwrap();
            std::fs::remove_file(successor).unwrap();
            std::fs::remove_file(lab.store().join("active")).unwrap();
        }
        if round % 3 == 0 {
            let segment = lab.active_segment();
            let mut bytes = std::fs::read(&segment).unwrap();
            bytes.extend_from_slice(b"{\"seq\":");
            std::fs::write(&segment, bytes).unwrap();
        }
        let ask = |i: usize| {
            let (owner, lane, tree) = (format!("o{i}"), format!("l{i}"), format!("t{}", i / 2));
            lab.command_as(&owner, &["acquire", &lane, "--tree", &tree])
        };
        let answers = all_at_once((0..8).map(ask).collect());
        assert_eq!(outcomes(&answers, "acquire"), 4, "round {round}: one of each pair");
        assert_eq!(outcomes(&answers, "refuse"), 4, "round {round}");
        finish(lab.command_as("x", &["acquire", "x", "--tree", "kept/y"])).expect(1, "refuse");
        assert_eq!(lab.live().len(), 5);
        lab.assert_sound();
    }
}
