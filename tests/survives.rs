//! What has broken other tools of this kind, done to the real program: torn tails, storms of thieves and of
//! compactors, odd names, no descriptors, late holders, eager cleaners. `docs/safety.md` lists the classes.
//!
//! `LEASE_LANE_ROT_STEP=1` cuts at every byte instead of every seventh; `LEASE_LANE_STORM_S` storms for longer.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::{
    Answer, BIN, Dice, Lab, Sleeper, all_at_once, copy_dir, finish, for_each, knob, lease_numbers, listing,
    poll, seed, signal, spin, start, wait,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Nobody is kept for longer by a death, however many try at once.
const SOON: Duration = Duration::from_secs(5);

/// Whether a storm goes on: for its time, and on a busy machine until it was one.
fn storms(began: Instant, was_one: bool) -> bool {
    let time = Duration::from_secs(knob("LEASE_LANE_STORM_S", 2));
    began.elapsed() < time || (!was_one && began.elapsed() < time + Duration::from_secs(20))
}

/// Asks another store than the one of the lab.
fn ask(lab: &Lab, store: &Path, owner: &str, args: &[&str]) -> Answer {
    lab.json_as(owner, &[&["--store", store.to_str().unwrap()], args].concat())
}

fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store.join("journal")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

// ------------------------------------------------------------------------------------------------- failure class 2

#[test]
fn a_last_write_cut_at_any_byte_swallows_nothing_that_comes_after_it() {
    let lab = Lab::new();
    let kept = lab.grant("o1", "kept", "kept/**");
    let before = lab.path().join("before");
    copy_dir(lab.store(), &before);
    let told = std::fs::read(lab.active_segment()).unwrap().len();
    // Nobody was told of this one: its mark is not in the copy.
    lab.grant("o2", "torn", "torn/**");
    let bytes = std::fs::read(lab.active_segment()).unwrap();
    let file = lab.active_segment().file_name().unwrap().to_owned();
    let step = usize::try_from(knob("LEASE_LANE_ROT_STEP", 7)).unwrap();
    let mut cuts: BTreeSet<usize> = (told..bytes.len()).step_by(step).collect();
    cuts.extend([bytes.len() - 2, bytes.len() - 1, bytes.len()]);
    let cases: Vec<(usize, usize)> = cuts.iter().flat_map(|&cut| [(cut, 0), (cut, 9)]).collect();
    for_each(cases.len(), |case| {
        let (cut, nuls) = cases[case];
        let what = format!("cut at {cut} of {told}..{}, {nuls} NULs", bytes.len());
        let store = lab.path().join(format!("cut-{case}"));
        copy_dir(&before, &store);
        let left = [&bytes[..cut], &vec![0; nuls]].concat();
        std::fs::write(store.join("journal").join(&file), left).unwrap();
        let ask = |owner: &str, args: &[&str]| ask(&lab, &store, owner, args);

        let next = ask("o3", &["acquire", "next", "--tree", "next/**"]).expect(0, "acquire");
        ask("o4", &["acquire", "x", "--tree", "next/x"]).expect(1, "refuse");
        ask("o4", &["acquire", "x", "--tree", "kept/x"]).expect(1, "refuse");
        // The whole record counts, with or without its newline; a part of it counts for nothing.
        let is_whole = cut + 1 >= bytes.len();
        let torn = ask("o4", &["acquire", "x", "--tree", "torn/x"]);
        assert_eq!(torn.code, Some(i32::from(is_whole)), "{what}: {torn}");
        let live = lease_numbers(&ask("o4", &["live"]).expect(0, "ok"));
        assert!(live.contains(&kept) && live.contains(&next["lease"].as_u64().unwrap()), "{what}: {live:?}");
        let verified = ask("o4", &["verify"]).expect(0, "ok");
        let is_torn = (cut > told || nuls > 0) && !is_whole;
        assert!(!is_torn || verified["torn"].as_u64() > Some(0), "{what}: {verified}");
        std::fs::remove_dir_all(&store).unwrap();
    });
}

// ------------------------------------------------------------------------------------------- failure classes 11, 12

#[test]
fn clients_of_one_owner_hold_a_lane_one_at_a_time() {
    let lab = Lab::new();
    let began = Instant::now();
    let (inside, grants) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while storms(began, grants.load(Ordering::Relaxed) > 20) {
                    let asked = lab.json_as("shared", &["acquire", "api", "--tree", "src/**"]);
                    if asked.code == Some(1) {
                        let refused = asked.expect(1, "refuse");
                        assert_eq!(
                            (&refused["code"], &refused["yours"]),
                            (&json!("LANE_HELD"), &json!(true))
                        );
                        continue;
                    }
                    let lease = asked.expect(0, "acquire")["lease"].to_string();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two of one name are inside");
                    lab.json_as("shared", &["heartbeat", "api", "--fence", &lease]).expect(0, "beat");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lab.json_as("shared", &["release", "api", "--fence", &lease]).expect(0, "released");
                    grants.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!("{} grants to one name", grants.load(Ordering::Relaxed));
    assert!(grants.into_inner() > 20, "that was no stress");
    lab.assert_sound();
    assert_eq!(lab.live(), [0; 0]);
}

/// A process that was and is no more, as leases and the mutex name one.
fn dead_process(lab: &Lab) -> Value {
    let sleeper = Sleeper::new();
    lab.json_as("was", &["acquire", "was", "--tree", "was", "--bind", &sleeper.pid()]).expect(0, "acquire");
    let live = lab.json(&["live"]).expect(0, "ok");
    lab.json_as("was", &["release", "was"]).expect(0, "released");
    live["leases"][0]["processes"][0].clone()
}

#[test]
fn sixteen_thieves_of_a_dead_holders_mutex_get_in_one_after_another() {
    let lab = Lab::new();
    let dead = dead_process(&lab);
    let mut dice = Dice::new(seed());
    let mutex = lab.store().join("mutex");
    let mut killed = 0;
    for round in 0..14 {
        let entry = json!({
            "nonce": format!("{round:016x}"), "owner": "dead", "process": dead, "since": "2026-11-21T07:00:00.000Z",
        });
        std::fs::write(&mutex, entry.to_string()).unwrap();
        std::fs::set_permissions(&mutex, std::fs::Permissions::from_mode(0o600)).unwrap();
        let began = Instant::now();
        // In every other round some thieves die, wherever they are by then.
        let thieves = (0..16).map(|i| {
            let (lane, tree) = (format!("l{round}-{i}"), format!("r{round}/g{}/**", i % 4));
            let thief = start(lab.command_as(&format!("o{i}"), &["acquire", &lane, "--tree", &tree]));
            if round % 2 == 1 && i % 3 == 0 {
                spin(Duration::from_micros(dice.roll(3_000)));
                signal(thief.id(), Signal::KILL);
            }
            thief
        });
        let thieves: Vec<_> = thieves.collect();
        let answers: Vec<Answer> = thieves.into_iter().map(|thief| wait(thief, began)).collect();
        killed += answers.iter().filter(|answer| answer.signal.is_some()).count();
        let live = lab.json(&["live"]).expect(0, "ok");
        let holders = |group: usize| {
            let tree = json!([format!("r{round}/g{group}/**")]);
            live["leases"].as_array().unwrap().iter().filter(|lease| lease["tree"] == tree).count()
        };
        for group in 0..4 {
            assert_eq!(holders(group), 1, "round {round}, group {group}: {live}");
        }
        for answer in &answers {
            assert!(answer.took < SOON, "round {round}: {answer} took {:?}", answer.took);
            if answer.signal.is_none() {
                assert!(matches!(answer.code, Some(0 | 1)), "round {round}: {answer}");
            }
            if answer.outcome() == "acquire" {
                let lease = answer.value()["lease"].as_u64().unwrap();
                assert!(lease_numbers(&live).contains(&lease), "round {round}: {answer}");
            }
        }
    }
    assert!(killed > 5, "hardly anybody died inside");
    lab.json(&["acquire", "last", "--tree", "last"]).expect(0, "acquire");
    assert!(!mutex.exists(), "whoever is inside last leaves nothing");
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------- failure classes 15, 15a

#[test]
fn three_compactors_one_without_room_lose_no_lease() {
    let lab = Lab::new();
    // A checkpoint of these is long, so a file-size limit cuts it somewhere in the middle.
    let why = "w".repeat(2_000);
    let grant = |owner: &str, lane: &str| {
        let args = ["acquire", lane, "--tree", &format!("{lane}/**"), "--why", &why];
        let granted = lab.json_as(owner, &args).expect(0, "acquire");
        granted["lease"].as_u64().unwrap()
    };
    let granted: Mutex<Vec<u64>> = Mutex::new((0..20).map(|n| grant("o", &format!("first{n}"))).collect());
    let (seed, began) = (seed(), Instant::now());
    let (compacted, cut) = (AtomicU64::new(0), AtomicU64::new(0));
    let goes_on = || {
        let was_one = compacted.load(Ordering::Relaxed) > 5 && cut.load(Ordering::Relaxed) > 5;
        storms(began, was_one && granted.lock().unwrap().len() > 25)
    };
    std::thread::scope(|scope| {
        let (lab, grant, granted, compacted, cut) = (&lab, &grant, &granted, &compacted, &cut);
        let goes_on = &goes_on;
        for keep in ["none", "all"] {
            scope.spawn(move || {
                while goes_on() {
                    lab.json_as("janitor", &["compact", "--keep", keep]).expect(0, "ok");
                    compacted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(move || {
            let mut dice = Dice::new(seed);
            while goes_on() {
                let kib = 1 + dice.roll(160);
                let script = format!("ulimit -f {kib}; exec {BIN} compact --keep all --json");
                let mut command = Command::new("bash");
                command.args(["-c", &script]).current_dir(lab.path()).env_clear();
                command.env("LEASE_LANE_OWNER", "poor");
                let answer = finish(command);
                match answer.code {
                    Some(0) => {}
                    _ => drop(answer.expect(6, "io")),
                }
                cut.fetch_add(u64::from(answer.code != Some(0)), Ordering::Relaxed);
            }
        });
        for client in 0..3 {
            scope.spawn(move || {
                let owner = format!("o{client}");
                for n in (0..).take_while(|_| goes_on()) {
                    let lane = format!("l{client}-{n}");
                    let lease = grant(&owner, &lane);
                    let inside = format!("{lane}/x");
                    lab.json_as("x", &["acquire", "x", "--tree", &inside]).expect(1, "refuse");
                    // Most are given back, so that the checkpoint does not grow without bounds.
                    if n % 4 == 0 {
                        granted.lock().unwrap().push(lease);
                    } else {
                        lab.json_as(&owner, &["release", &lane]).expect(0, "released");
                    }
                }
            });
        }
    });
    let (compacted, cut) = (compacted.into_inner(), cut.into_inner());
    let mut granted = granted.into_inner().unwrap();
    eprintln!("{} leases, {compacted} compactions, {cut} without room", granted.len());
    assert!(granted.len() > 25 && compacted > 5 && cut > 5, "that was no storm");
    granted.sort_unstable();
    assert_eq!(lab.live(), granted, "every lease that was granted and not given back lives");
    lab.assert_sound();
    lab.json_as("x", &["acquire", "x", "--tree", "first0/x"]).expect(1, "refuse");
}

// ------------------------------------------------------------------------------------------------ failure class 18

#[test]
fn who_waits_hands_no_descriptor_down_and_keeps_nobody_out_while_it_is_stopped() {
    let lab = Lab::new();
    lab.grant("o1", "held", "held/**");
    let waits = ["acquire", "late", "--tree", "held/x", "--wait=50s"];
    let (began, waiter) = (Instant::now(), start(lab.command_as("o2", &waits)));
    let proc = PathBuf::from(format!("/proc/{}", waiter.id()));
    let is_ours = |fd: &Path| std::fs::read_link(fd).is_ok_and(|to| to.starts_with(lab.store()));
    let descriptors = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(proc.join("fd")).unwrap();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let refusals = |owner: &str| lab.json_as(owner, &["tail", "--op", "WAIT"]).out.lines().count();
    poll("it has been refused and waits", SOON, || {
        (refusals("o2") > 0 && descriptors().iter().any(|fd| is_ours(fd))).then_some(())
    });
    // What this test itself was handed down, its children have as well.
    let bystander = Sleeper::new();
    let handed_down = |number: &OsStr| {
        let theirs = PathBuf::from(format!("/proc/{}/fd", bystander.pid())).join(number);
        std::fs::read_link(theirs)
            .is_ok_and(|to| std::fs::read_link(proc.join("fd").join(number)).is_ok_and(|ours| ours == to))
    };
    for fd in descriptors() {
        let number = fd.file_name().unwrap().to_owned();
        let Ok(info) = std::fs::read_to_string(proc.join("fdinfo").join(&number)) else { continue };
        if ["0", "1", "2"].iter().any(|own| number == *own) || handed_down(&number) {
            continue;
        }
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        let to = std::fs::read_link(&fd);
        assert!(flags & 0o2_000_000 != 0, "{number:?} ({to:?}) would be handed down: {info}");
    }
    // Stopped while it waits, it holds nothing that anybody needs.
    signal(waiter.id(), Signal::STOP);
    for n in 0..10 {
        let free = lab.json_as("o3", &["acquire", &format!("f{n}"), "--tree", &format!("f{n}")]);
        free.expect(0, "acquire");
        assert!(free.took < Duration::from_secs(1), "{:?}", free.took);
    }
    lab.json_as("o1", &["release", "held"]).expect(0, "released");
    signal(waiter.id(), Signal::CONT);
    wait(waiter, began).expect(0, "acquire");
}

// ------------------------------------------------------------------------------------------------ failure class 20

#[test]
fn with_hardly_a_descriptor_to_be_had_the_journal_gets_nothing_but_records() {
    let lab = Lab::new();
    lab.grant("o1", "kept", "kept/**");
    let (mut yes, mut no) = (0, 0);
    for closed in ["", "<&-", "2>&-", "<&- >&- 2>&-"] {
        for limit in 0..=14 {
            let run = |args: &str| {
                // The limit comes last: bash needs descriptors of its own for the closing.
                let script = format!("exec {closed}; ulimit -n {limit}; exec {BIN} {args}");
                let mut command = Command::new("bash");
                command
                    .args(["-c", &script])
                    .current_dir(lab.path())
                    .env_clear()
                    .env("LEASE_LANE_OWNER", "o2");
                finish(command)
            };
            let what = format!("{limit} descriptors, {closed}");
            let (lane, tree) = (format!("l{yes}"), format!("t{yes}"));
            let asked = run(&format!("acquire {lane} --tree {tree}"));
            let live = lab.json(&["live"]).expect(0, "ok");
            let lives = live["leases"].as_array().unwrap().iter().any(|lease| lease["lane"] == lane);
            if asked.code == Some(0) {
                yes += 1;
                assert!(lives, "{what}: granted and not live: {asked}");
            } else {
                no += 1;
                assert!(!lives, "{what}: not granted and live: {asked}");
            }
            assert_ne!(run("acquire x --tree kept/x").code, Some(0), "{what}");
            run("heartbeat kept --owner o1");
            run("compact");
            run("--bogus");
            let verified = lab.assert_sound();
            assert_eq!((&verified["torn"], &verified["void"]), (&json!(0), &json!(0)), "{what}");
            for file in segments(lab.store()) {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(text.lines().all(|line| line.starts_with("{\"seq\":")), "{what}: {text}");
            }
        }
    }
    assert!(yes > 5 && no > 5, "{yes} granted, {no} not: the limit was never near");
}

// ------------------------------------------------------------------------------------------------ failure class 21

/// The line that closes a segment, if it ends in one.
fn seal_of(segment: &Path) -> Option<String> {
    let bytes = std::fs::read(segment).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let last = text.split_inclusive('\n').rfind(|line| line.contains("\"op\":\"CHECKPOINT\""))?;
    (last.contains("\"seal\":true") && last.ends_with("\"}\n") && !text.starts_with(last))
        .then(|| last.to_owned())
}

#[test]
fn eight_starters_finish_what_a_killed_compaction_began_and_make_the_same_bytes() {
    let mut dice = Dice::new(seed());
    let (mut half, mut killed) = (0, 0);
    for round in 0..12 {
        let lab = Lab::new();
        lab.grant("o0", "kept", "kept/**");
        lab.grant("o1", "also", "also/**");
        let began = Instant::now();
        let compact = start(lab.command_as("janitor", &["compact", "--keep", "all"]));
        if round % 3 != 0 {
            spin(Duration::from_micros(500 + dice.roll(3_000)));
            signal(compact.id(), Signal::KILL);
        }
        killed += usize::from(wait(compact, began).signal.is_some());
        // Where it came to its end, what came last is taken back: as after a death in the middle.
        let files = segments(lab.store());
        if files.len() > 1 {
            let successor = files.last().unwrap();
            std::fs::remove_file(lab.store().join("marks").join(successor.file_stem().unwrap())).ok();
            std::fs::remove_file(successor).unwrap();
            std::fs::remove_file(lab.store().join("active")).ok();
        }
        let sealed = seal_of(&lab.active_segment());
        half += usize::from(sealed.is_some());
        if round % 2 == 0 {
            let mut bytes = std::fs::read(lab.active_segment()).unwrap();
            bytes.extend_from_slice(&b"{\"seq\":7,\"ts\":\"2026\0\0\0"[..3 + round]);
            std::fs::write(lab.active_segment(), bytes).unwrap();
        }
        // The same store three times over; in each, eight start at once.
        let stores: Vec<PathBuf> = (0..3).map(|n| lab.path().join(format!("copy-{n}"))).collect();
        for store in &stores {
            copy_dir(lab.store(), store);
            let starters = (0..8).map(|i| {
                let (lane, tree) = (format!("l{i}"), format!("t{}", i / 2));
                let args = ["--store", store.to_str().unwrap(), "acquire", &lane, "--tree", &tree];
                lab.command_as(&format!("s{i}"), &args)
            });
            let answers = all_at_once(starters.collect());
            let granted = answers.iter().filter(|answer| answer.outcome() == "acquire").count();
            let refused = answers.iter().filter(|answer| answer.outcome() == "refuse").count();
            assert_eq!((granted, refused), (4, 4), "round {round}: one of each pair");
            for answer in answers.iter().filter(|answer| answer.code == Some(1)) {
                let refusal = answer.value();
                let by = refusal["conflicts"][0]["lease"].as_u64();
                let winner = |other: &&Answer| other.value()["lease"].as_u64() == by;
                let winner =
                    answers.iter().find(winner).unwrap_or_else(|| panic!("round {round}: {refusal}"));
                assert_eq!(winner.code, Some(0), "round {round}: refused by one who was granted");
            }
            ask(&lab, store, "x", &["acquire", "x", "--tree", "kept/y"]).expect(1, "refuse");
            ask(&lab, store, "x", &["acquire", "x", "--tree", "also/y"]).expect(1, "refuse");
            assert_eq!(lease_numbers(&ask(&lab, store, "x", &["live"]).expect(0, "ok")).len(), 6);
            ask(&lab, store, "x", &["verify"]).expect(0, "ok");
            let Some(seal) = &sealed else { continue };
            let files = segments(store);
            let first_line = std::fs::read_to_string(&files[1]).unwrap();
            assert!(
                first_line.starts_with(seal.as_str()),
                "round {round}: the successor begins with the seal"
            );
        }
    }
    eprintln!("{half} of 12 were half rotated, {killed} compactions were killed");
    assert!(half > 3 && killed > 0, "nothing was half done");
}

// ------------------------------------------------------------------------------------------------ failure class 23

#[test]
fn no_name_whatever_it_is_a_name_of_becomes_a_file() {
    let names = [
        "../../x",
        "..",
        ".",
        "foo",
        "foo.lock",
        ".foo",
        "foo.",
        "foo~",
        "a/b",
        "/etc/passwd",
        "mutex",
        "queue",
        "active",
        "journal",
        "marks/x",
        "00000000000000000001",
        "00000000000000000001.jsonl",
        "-rf",
        "--json",
        "*.jsonl",
        "$(touch evil)",
        "%s%n",
        "nul:",
        "c:\\x",
        "~root",
        "\u{202e}txt",
        "é",
        "tmp-1",
    ];
    let lab = Lab::new();
    lab.json(&["init"]).expect(0, "ok");
    let outside = |lab: &Lab| -> Vec<PathBuf> {
        let all = listing(lab.path());
        all.into_keys().filter(|path| !path.starts_with(lab.store())).collect()
    };
    let before = outside(&lab);
    let mut leases = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        let run = |owner: &str, args: &[&str]| {
            let mut command = lab.command([&["--json"], args].concat());
            command.env("LEASE_LANE_OWNER", owner);
            finish(command)
        };
        let option = |flag: &str| format!("--{flag}={name}");
        let (tree, label) = (format!("t{n}"), format!("--label=k={name}"));
        let [lock, run_id, request, why] = ["lock", "run-id", "request-id", "why"].map(option);
        let owner = format!("{name}.owner");
        let args = ["acquire", "--tree", &tree, &lock, &run_id, &request, &why, &label, "--", name];
        let granted = run(&owner, &args);
        let lease = granted.expect(0, "acquire");
        assert_eq!((&lease["lane"], &lease["owner"]), (&json!(name), &json!(owner)));
        assert!(leases.insert(lease["lease"].as_u64().unwrap()), "{name}");
        // One thing by this name and not by another: the lock, the lane, the request.
        let refused = run("o9", &["acquire", &lock]).expect(1, "refuse");
        assert_eq!(refused["conflicts"][0]["lease"], lease["lease"], "{name}: {refused}");
        let held = run("o9", &["acquire", "--tree", "elsewhere", "--", name]).expect(1, "refuse");
        assert_eq!(held["code"], "LANE_HELD", "{name}");
        assert_eq!(run(&owner, &args).expect(0, "acquire")["repeated"], true, "{name}");
        run(&owner, &["heartbeat", "--", name]).expect(0, "beat");
    }
    assert_eq!(lab.live(), Vec::from_iter(leases), "each name is a name of its own");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    for name in names {
        let mut command = lab.command(["--json", "release", "--", name]);
        command.env("LEASE_LANE_OWNER", format!("{name}.owner"));
        finish(command).expect(0, "released");
    }
    lab.assert_sound();
    assert_eq!(outside(&lab), before, "nothing was made beside the store");
    let is_ours = |file: &str| {
        let stem = file.strip_suffix(".jsonl").unwrap_or(file);
        matches!(file, "journal" | "marks" | "active" | "queue")
            || (stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit()))
    };
    for path in listing(lab.store()).keys() {
        assert!(is_ours(path.file_name().unwrap().to_str().unwrap()), "{}", path.display());
    }
}

// ------------------------------------------------------------------------------------------------ failure class 24

#[test]
fn a_former_holder_ends_and_prolongs_nothing_of_its_successors() {
    let lab = Lab::new();
    for round in 0..10 {
        // Another session, of another name or of the same.
        let (former, successor) = ("former", if round % 2 == 0 { "successor" } else { "former" });
        let old = lab.json_as(former, &["acquire", "api", "--tree", "src/**", "--ttl", "5ms"]);
        let old = old.expect(0, "acquire")["lease"].to_string();
        poll("it has expired", SOON, || {
            let would = lab.json_as(successor, &["acquire", "api", "--tree", "src/**", "--dry-run"]);
            (would.code == Some(0)).then_some(())
        });
        let late: [&[&str]; 4] = [
            &["release", "--lease", &old],
            &["heartbeat", "--lease", &old],
            &["release", "api", "--fence", &old],
            &["heartbeat", "api", "--fence", &old],
        ];
        let take = ["acquire", "api", "--tree", "src/**", "--wait=10s"];
        let mut at_once = vec![lab.command_as(successor, &take)];
        // In every third round the late ones race with the take-over; then any order is right.
        let races = round % 3 == 0;
        if races {
            at_once.extend(late[..2].iter().chain(&late[2..3]).map(|args| lab.command_as(former, args)));
        }
        let new = all_at_once(at_once).remove(0).expect(0, "acquire")["lease"].to_string();
        for args in late {
            let answer = lab.json_as(former, args);
            assert!(matches!(answer.code, Some(1 | 3)), "round {round}: {args:?}: {answer}");
            let outcome = answer.outcome();
            assert!(
                matches!(&*outcome, "expired" | "fenced") || (races && outcome == "not_held"),
                "round {round}: {args:?}: {answer}"
            );
        }
        assert_eq!(lab.live(), [new.parse::<u64>().unwrap()], "round {round}");
        let since = lab.json(&["live"]).expect(0, "ok")["leases"][0]["heartbeat_at"].clone();
        assert_eq!(
            since,
            lab.json(&["live"]).expect(0, "ok")["leases"][0]["acquired_at"],
            "nobody beat for it"
        );
        lab.json_as("x", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
        lab.json_as(successor, &["heartbeat", "api", "--fence", &new]).expect(0, "beat");
        lab.json_as(successor, &["release", "api", "--fence", &new]).expect(0, "released");
    }
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------------ failure class 25

const TTL_MS: u64 = 40;

#[test]
fn no_eviction_in_a_storm_of_acquires_takes_a_lease_that_stands() {
    let lab = Lab::new();
    let (seed, began) = (seed(), Instant::now());
    let (granted, evicted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let goes_on =
        || storms(began, granted.load(Ordering::Relaxed) > 20 && evicted.load(Ordering::Relaxed) > 8);
    let regions = ["a/**", "a/x/**", "**/x/y"];
    let ttl = format!("{TTL_MS}ms");
    let bound_to = Sleeper::new();
    std::thread::scope(|scope| {
        let (lab, ttl, bound_to) = (&lab, &ttl, &bound_to);
        let (granted, evicted, goes_on) = (&granted, &evicted, &goes_on);
        for client in 0..6 {
            scope.spawn(move || {
                let mut dice = Dice::new(seed + client);
                let owner = format!("o{client}");
                while goes_on() {
                    let lane = format!("l{client}");
                    let tree = regions[usize::try_from(dice.roll(3)).unwrap()];
                    let pid = bound_to.pid();
                    // One of three is bound to a process that lives, and so never expires.
                    let bind: &[&str] = if dice.roll(3) == 0 { &["--bind", &pid] } else { &[] };
                    let args = [&["acquire", &lane, "--tree", tree, "--ttl", ttl][..], bind].concat();
                    let mut beaten = Instant::now();
                    let asked = lab.json_as(&owner, &args);
                    if asked.code == Some(1) {
                        continue;
                    }
                    let grant = asked.expect(0, "acquire");
                    granted.fetch_add(1, Ordering::Relaxed);
                    evicted.fetch_add(grant["evicted"].as_array().unwrap().len(), Ordering::Relaxed);
                    let lease = grant["lease"].to_string();
                    let call = |verb| (Instant::now(), lab.json_as(&owner, &[verb, "--lease", &lease]));
                    let mut stands = true;
                    for _ in 0..dice.roll(6) {
                        let (sent, beat) = call("heartbeat");
                        if beat.code == Some(0) {
                            beaten = sent;
                            continue;
                        }
                        beat.expect(3, "expired");
                        assert!(bind.is_empty(), "a lease of a living process was taken");
                        assert!(beaten.elapsed() > Duration::from_millis(TTL_MS), "taken before its time");
                        stands = false;
                        break;
                    }
                    // Some holders never come back; those of a living process do.
                    if stands && (!bind.is_empty() || dice.roll(3) == 0) {
                        let (_, released) = call("release");
                        if !bind.is_empty() || released.code == Some(0) {
                            released.expect(0, "released");
                        } else {
                            released.expect(3, "expired");
                            assert!(
                                beaten.elapsed() > Duration::from_millis(TTL_MS),
                                "taken before its time"
                            );
                        }
                    } else {
                        // Its lane is needed again: wait out what was left behind.
                        poll("it is taken or gives way", SOON, || {
                            let would = lab.json_as(&owner, &[&args[..], &["--dry-run"]].concat());
                            let mine = would.value()["code"] == "LANE_HELD";
                            (!mine || !goes_on()).then_some(())
                        });
                    }
                }
            });
        }
    });
    // And by what is on record: whoever was evicted had not beaten for as long as its TTL.
    let mut beats: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut grants, mut evictions) = (0, 0);
    for line in lab.json(&["tail", "-n", "1000000"]).out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let up = |clock: &Value| clock["up_ms"].as_u64().unwrap();
        let lease = record["lease"].as_u64().unwrap_or_default();
        match record["op"].as_str().unwrap() {
            "ACQUIRE" => {
                grants += 1;
                beats.insert(record["seq"].as_u64().unwrap(), up(&record["evidence"]["clock"]));
            }
            "HEARTBEAT" => drop(beats.insert(lease, up(&record["clock"]))),
            "SCAVENGE" => {
                evictions += 1;
                let age = up(&record["clock"]) - beats[&lease];
                assert!(age >= TTL_MS, "{age} ms after its last beat: {line}");
                assert_eq!(record["why"], "expired", "{line}");
                let last = beats.remove(&lease);
                assert!(last.is_some(), "evicted twice: {line}");
            }
            "RELEASE" => drop(beats.remove(&lease)),
            _ => {}
        }
    }
    eprintln!("{grants} grants, {evictions} evictions");
    assert_eq!((grants, evictions), (granted.into_inner(), evicted.into_inner()));
    assert!(grants > 20 && evictions > 8, "that was no storm");
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------ what the dead leave behind

#[test]
fn strays_of_the_dead_hurt_nobody_and_are_swept_by_whoever_seals() {
    let lab = Lab::new();
    lab.grant("o1", "kept", "kept/**");
    // As a death in `replace` leaves them, or in `publish` on a file system without nameless files.
    let strays = ["tmp-0123456789abcdef", "journal/tmp-0123456789abcdef", "marks/tmp-0123456789abcdef"];
    for stray in strays {
        let path = lab.store().join(stray);
        std::fs::write(&path, "{\"seq\":2,\"ts").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let left = || strays.map(|stray| lab.store().join(stray).exists());
    lab.assert_sound();
    lab.json_as("o2", &["acquire", "x", "--tree", "kept/x"]).expect(1, "refuse");
    lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
    // Long records, until somebody finds that the segment has outgrown its checkpoint.
    let why = "w".repeat(4_000);
    let before = segments(lab.store()).len();
    for n in 0.. {
        assert!(n < 40, "nobody ever sealed the segment");
        let lane = format!("l{n}");
        lab.json(&["acquire", &lane, "--tree", &lane, "--why", &why]).expect(0, "acquire");
        lab.json(&["release", &lane]).expect(0, "released");
        if segments(lab.store()).len() > before {
            break;
        }
    }
    assert_eq!(left(), [false, true, true], "where only the mutex and the hint are replaced, all is swept");
    lab.assert_sound();
    lab.json_as("o2", &["acquire", "x", "--tree", "kept/x"]).expect(1, "refuse");
    lab.json(&["compact", "--keep", "none"]).expect(0, "ok");
    lab.assert_sound();
}
