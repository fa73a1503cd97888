//! Every system call that a verb makes fails, kills the process, or freezes it past the mutex's TTL: what was said is
//! so, what was held stays held, and whoever comes next goes on.
//!
//! The real program runs under `strace -e inject`. By default an acquire dies at, fails at and freezes after each of its
//! calls, and a sample is taken of the rest; `LEASE_LANE_FAULTS=all` tries everything, `LEASE_LANE_SEED` repeats a
//! sample.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::strace::{Call, Fault, Log, Strace};
use kit::{Answer, Dice, Lab, finish, make_git_dir, poll, seed, signal, start, wait};
use rustix::process::Signal;
use serde_json::Value;

/// What a fault of one caller may cost the next.
const NEXT_MAX: Duration = Duration::from_millis(1500);

const ERRORS: [Fault; 3] = [Fault::Error("EIO"), Fault::Error("ENOSPC"), Fault::Error("EINTR")];

/// What is done under faults, always by `o2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Acquire,
    /// In a project that has no store yet.
    FirstAcquire,
    /// One that makes the segment outgrow itself, so that it is sealed after the answer is decided.
    SealingAcquire,
    Release,
    Heartbeat,
    /// By another session of the same name.
    Adopt,
    /// By force.
    Unlock,
    Halt,
    Compact,
}

impl Verb {
    fn args(self, mine: u64) -> Vec<String> {
        let long = "x".repeat(LONG_BYTES);
        let words = match self {
            Verb::Acquire | Verb::FirstAcquire => "acquire late --tree late/** --request-id r1".to_owned(),
            Verb::SealingAcquire => format!("acquire late --tree late/** --request-id r1 --why {long}"),
            Verb::Release => format!("release --lease {mine}"),
            Verb::Heartbeat => format!("heartbeat --lease {mine}"),
            Verb::Adopt => format!("adopt --lease {mine} --from o2"),
            Verb::Unlock => format!("unlock --lease {mine} --force --why w --yes"),
            Verb::Halt => format!("halt run-7 --lease {mine}"),
            Verb::Compact => "compact --keep none".to_owned(),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// How it comes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nobody is inside the mutex.
    Direct,
    /// Somebody died inside: it queues up and takes the place.
    Queued,
}

/// Bytes of a reason that makes a record long.
const LONG_BYTES: usize = 4000;

/// Beyond this a small segment is sealed.
const OUTGROWN_BYTES: u64 = 32 << 10;

/// A store with two segments and two leases: `early/**` of o1 and `mine/**` of o2. Or none at all.
struct Specimen {
    lab: Lab,
    early: Option<Value>,
    mine: u64,
    verb: Verb,
    way: Way,
}

impl Specimen {
    fn new(verb: Verb, way: Way) -> Specimen {
        let lab = bare_lab();
        if verb == Verb::FirstAcquire {
            return Specimen { lab, early: None, mine: 0, verb, way };
        }
        lab.grant("o1", "early", "early/**");
        lab.json(&["compact", "--keep", "all"]).expect(0, "ok");
        let mine = lab.grant("o2", "mine", "mine/**");
        let long = "x".repeat(LONG_BYTES);
        let len = || lab.active_segment().metadata().unwrap().len();
        while verb == Verb::SealingAcquire && len() + 9 * LONG_BYTES as u64 / 8 < OUTGROWN_BYTES {
            lab.json_as("o9", &["acquire", "x", "--tree", "early/x", "--why", &long]).expect(1, "refuse");
        }
        let early = lease_in(&lab, "early");
        Specimen { lab, early, mine, verb, way }
    }

    fn copy(&self) -> Lab {
        let lab = bare_lab();
        if self.lab.store().exists() {
            copy_dir(self.lab.store(), lab.store());
        }
        if self.way == Way::Queued {
            lab.leave_mutex();
        }
        lab
    }

    fn command(&self, lab: &Lab) -> Command {
        let args = self.verb.args(self.mine);
        lab.command_as("o2", &args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The calls of a run that nothing happens to.
    fn calls(&self, strace: &Strace) -> Vec<Call> {
        let lab = self.copy();
        let log = lab.path().join("log");
        let answer = finish(strace.watch(&self.command(&lab), &log, None));
        assert_eq!(answer.code, Some(0), "{answer}");
        let calls = Log::read(&log).own().to_vec();
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let of_mutex: &[&str] = match self.way {
            Way::Direct => &[],
            Way::Queued => &["flock", "linkat", "renameat", "unlinkat"],
        };
        // Whoever begins or seals a segment links it, and whoever seals queues up.
        let is_plain = !matches!(self.verb, Verb::FirstAcquire | Verb::SealingAcquire | Verb::Compact);
        if self.way == Way::Direct && is_plain {
            assert!(!names.contains(&"flock") && !names.contains(&"linkat"), "{:?}: {names:?}", self.verb);
        }
        for name in ["write", "fdatasync", "exit_group"].iter().chain(of_mutex) {
            assert!(names.contains(name), "{:?} {:?} makes no {name}: {names:?}", self.way, self.verb);
        }
        calls
    }
}

/// A directory with a `.git` that nobody had to run git for: there are hundreds of them.
fn bare_lab() -> Lab {
    let lab = Lab::without_repository();
    make_git_dir(&lab.path().join(".git"));
    lab
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn lease_in(lab: &Lab, lane: &str) -> Option<Value> {
    let live = lab.json(&["live"]).expect(0, "ok");
    live["leases"].as_array().unwrap().iter().find(|lease| lease["lane"] == lane).cloned()
}

fn is_all() -> bool {
    std::env::var("LEASE_LANE_FAULTS").is_ok_and(|which| which == "all")
}

/// Runs the trials in a few threads, all of them whatever becomes of some, and fails with the list of what failed.
fn each<T: Sync + std::fmt::Display>(threads: usize, trials: &[T], trial: impl Fn(&T) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| trial(one))) {
                        let why = panic.downcast_ref::<String>().map_or("?", String::as_str);
                        failed.lock().unwrap().push(format!("{one}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), trials.len(), failed.join("\n\n"));
}

struct Trial {
    fault: Fault,
    call: Call,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.fault, self.call)
    }
}

// ------------------------------------------------------------------------------------------- failing and dying

/// How often something was tried and what came of it.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    fn count(&self, what: impl Into<String>) {
        *self.0.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    fn of(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn assert_all(&self, wanted: &[&str]) {
        for what in wanted {
            assert!(self.of(what) > 0, "no trial was of the kind `{what}`");
        }
    }
}

fn fail_at_each_call(verb: Verb) {
    fail_on(Way::Direct, verb);
    fail_on(Way::Queued, verb);
}

fn fail_on(way: Way, verb: Verb) {
    let Some(strace) = Strace::find(&format!("faults at the calls of {verb:?}")) else { return };
    let specimen = Specimen::new(verb, way);
    let calls = specimen.calls(strace);
    let mut dice = Dice::new(seed());
    let mut trials = Vec::new();
    for call in &calls {
        let mut faults = vec![Fault::Kill];
        faults.extend(ERRORS.into_iter().filter(|_| can_fail(call)));
        faults.retain(|&fault| is_tried(verb, call, fault, &mut dice));
        trials.extend(faults.into_iter().map(|fault| Trial { fault, call: call.clone() }));
    }
    let tally = Tally::default();
    each(1, &trials, |trial| fail_once(&specimen, strace, trial, &tally));
    eprintln!(
        "{way:?} {verb:?}: {} calls, {} trials: {:?}",
        calls.len(),
        trials.len(),
        tally.0.lock().unwrap()
    );
    let missed = tally.of("missed");
    assert!(missed * 20 <= trials.len(), "{missed} of {} hit another call than meant", trials.len());
}

/// The calls that change what is on disk, or make it stay there.
const SHARP: [&str; 7] = ["fdatasync", "fsync", "linkat", "mkdirat", "renameat", "unlinkat", "write"];

/// All faults, or those at sharp calls and a sample of the others.
fn is_tried(verb: Verb, call: &Call, fault: Fault, dice: &mut Dice) -> bool {
    let is_first_choice = matches!(fault, Fault::Kill | Fault::Error("EIO"));
    let is_sharp = verb == Verb::Acquire || SHARP.contains(&call.name.as_str());
    is_all() || is_first_choice && is_sharp || dice.roll(24) == 0
}

/// Some calls never fail, by their contract; the C and Rust libraries rely on it.
fn can_fail(call: &Call) -> bool {
    // A `close` gives the descriptor back whatever it says, and one that is not made does not.
    let never = ["brk", "close", "exit_group", "geteuid", "getpid", "uname"].contains(&call.name.as_str());
    // The seed of a hash map.
    let is_seed = call.name == "getrandom" && call.text.contains("GRND_INSECURE");
    !never && !is_seed
}

fn fail_once(specimen: &Specimen, strace: &Strace, trial: &Trial, tally: &Tally) {
    let Trial { fault, call } = trial;
    let lab = specimen.copy();
    let log = lab.path().join("log");
    let answer = finish(strace.watch(&specimen.command(&lab), &log, Some((*fault, call))));
    // What the runtime does before `main` differs now and then by a call.
    let Some(hit) = Log::read(&log).hit(*fault).cloned() else { return tally.count("missed") };
    let ended = match (answer.code, answer.signal) {
        (Some(code), _) => format!("{fault} exit {code}"),
        (None, signal) => format!("{fault} signal {signal:?}"),
    };
    tally.count(ended);
    if *fault == Fault::Kill {
        assert_eq!(answer.signal, Some(9), "{answer}");
    } else {
        assert!(matches!(answer.code, Some(0 | 6)), "at {hit}: {answer}");
    }
    // What could not be made durable is not said to be done. A seal comes after the answer, and a mark is only a witness.
    let is_sync = hit.name == "fdatasync" || hit.name == "fsync";
    if *fault != Fault::Kill && is_sync && specimen.verb != Verb::SealingAcquire {
        let is_of_mark = answer.err.contains("the high-water mark was not raised");
        assert!(answer.code == Some(6) || is_of_mark, "at {hit}: {answer}");
    }
    // A signal is no reason to fail where the kernel is known to let one interrupt, but for a sync: it is never repeated.
    let retried = ["flock", "getrandom", "openat", "openat2", "pread64", "read", "write"];
    if *fault == Fault::Error("EINTR") && retried.contains(&hit.name.as_str()) {
        assert_eq!(answer.code, Some(0), "at {hit}: {answer}");
    }

    // Nothing that stood before is gone, and what was said is so.
    assert_eq!(lease_in(&lab, "early"), specimen.early, "{answer}");
    effect_is_as_said(specimen, &lab, &answer);

    // The next caller gets on, also with what is in the way of the first lease and may not be had.
    let next = lab.json_as("o3", &["acquire", "next", "--tree", "next/**"]);
    next.expect(0, "acquire");
    assert!(next.took < NEXT_MAX, "the next caller waited for {:?}", next.took);
    if let Some(early) = &specimen.early {
        let refused = lab.json_as("o4", &["acquire", "x", "--tree", "early/x"]).expect(1, "refuse");
        assert_eq!(refused["conflicts"][0]["lease"], early["lease"]);
    }
    repeats(specimen, &lab, &answer);
    lab.assert_sound();
    assert!(!lab.store().join("mutex").exists(), "somebody left the mutex behind");
}

/// What the program said, and what the journal says.
fn effect_is_as_said(specimen: &Specimen, lab: &Lab, answer: &Answer) {
    let said_yes = answer.code == Some(0);
    let late = lease_in(lab, "late");
    let mine = lease_in(lab, "mine");
    match specimen.verb {
        Verb::Acquire | Verb::FirstAcquire | Verb::SealingAcquire => {
            assert_eq!(mine.is_some(), specimen.early.is_some());
            if said_yes || answer.outcome() == "acquire" {
                let late = late.unwrap_or_else(|| panic!("a grant that is not there: {answer}"));
                assert_eq!((&late["lease"], &late["owner"]), (&answer.value()["lease"], &"o2".into()));
            } else if answer.code.is_some() && late.is_some() {
                let is_said = answer.outcome() == "io" && answer.value()["error"]["kind"] == "unknown"
                    || answer.out.is_empty() && answer.err.contains("could not write the answer");
                assert!(is_said, "it holds what it says it has not: {answer}");
            }
        }
        Verb::Release | Verb::Unlock => assert!(!said_yes || mine.is_none(), "ended and there: {answer}"),
        Verb::Adopt => {
            let mine = mine.unwrap();
            let is_adopted = mine["fence"].as_u64() > mine["lease"].as_u64();
            assert!(!said_yes || is_adopted && mine["fence"] == answer.value()["fence"], "{mine}: {answer}");
        }
        Verb::Halt => assert!(!said_yes || mine.unwrap()["halted"]["handle"] == "run-7", "{answer}"),
        Verb::Heartbeat => {
            let mine = mine.unwrap();
            let beat = mine["heartbeat_at"] != mine["acquired_at"];
            assert!(!said_yes || beat, "no beat: {answer}");
        }
        Verb::Compact => {
            assert!(mine.is_some(), "a lease was compacted away: {answer}");
            let segments = std::fs::read_dir(lab.store().join("journal")).unwrap().count();
            assert!(!said_yes || answer.value()["segments_after"] == segments, "{segments}: {answer}");
            assert!(!said_yes || segments == 1, "{segments} segments are left: {answer}");
        }
    }
}

/// Whoever does not know what became of it asks again, and then it is done once.
fn repeats(specimen: &Specimen, lab: &Lab, first: &Answer) {
    let late = lease_in(lab, "late");
    let again = finish(specimen.command(lab));
    match specimen.verb {
        Verb::Acquire | Verb::FirstAcquire | Verb::SealingAcquire => {
            let granted = again.expect(0, "acquire");
            if let Some(late) = late {
                assert_eq!((&granted["lease"], &granted["repeated"]), (&late["lease"], &true.into()));
            }
            assert_eq!(lease_in(lab, "late").unwrap()["lease"], granted["lease"]);
        }
        Verb::Release | Verb::Unlock if first.code == Some(0) => drop(again.expect(1, "not_held")),
        Verb::Release | Verb::Unlock => {
            assert!(matches!(again.code, Some(0 | 1)), "{again}");
            assert_eq!(lease_in(lab, "mine"), None);
        }
        Verb::Heartbeat => drop(again.expect(0, "beat")),
        Verb::Adopt => drop(again.expect(0, "adopted")),
        Verb::Halt => drop(again.expect(0, "halted")),
        Verb::Compact => drop(again.expect(0, "ok")),
    }
}

#[test]
fn whatever_call_of_an_acquire_fails_or_is_its_last_no_grant_is_false_and_no_lease_lost() {
    fail_at_each_call(Verb::Acquire);
}

#[test]
fn whatever_call_of_the_first_acquire_of_all_fails_or_is_its_last_no_grant_is_false() {
    fail_on(Way::Direct, Verb::FirstAcquire);
}

/// Found by reading the calls of the test above: whoever came to a directory that was there took it for durable. Its
/// maker may have died before it said so to the disk, and a reported grant would have gone with it in a power cut.
#[test]
fn whoever_finds_a_directory_whose_maker_died_at_once_makes_its_name_durable_before_it_answers() {
    let Some(strace) = Strace::find("a death between a directory and its sync") else { return };
    let specimen = Specimen::new(Verb::FirstAcquire, Way::Direct);
    let calls = specimen.calls(strace);
    for made in ["lease-lane", "journal"] {
        let is_made = |call: &Call| call.name == "mkdirat" && call.text.contains(&format!("{made}\", 0700"));
        let at = calls.iter().position(is_made).unwrap_or_else(|| panic!("nobody made {made}"));
        let sync = calls[at..].iter().find(|call| call.name == "fsync").unwrap();
        let lab = specimen.copy();
        let log = lab.path().join("log");
        let killed = finish(strace.watch(&specimen.command(&lab), &log, Some((Fault::Kill, sync))));
        assert_eq!(killed.signal, Some(9), "{killed}");
        finish(strace.watch(&specimen.command(&lab), &log, None)).expect(0, "acquire");
        let log = Log::read(&log);
        let (before, _answer) =
            log.own().split_at(log.own().iter().position(|call| call.text.starts_with("write(1<")).unwrap());
        assert!(!before.iter().any(is_made), "{made} was there already");
        for dir in [lab.store(), lab.store().parent().unwrap()] {
            let synced = format!("<{}>)", dir.display());
            let is_synced = |call: &Call| call.name == "fsync" && call.text.contains(&synced);
            assert!(
                before.iter().any(is_synced),
                "{} was not synced behind a dead maker of {made}",
                dir.display()
            );
        }
    }
}

#[test]
fn whatever_call_of_an_acquire_that_seals_fails_or_is_its_last_no_grant_is_false_and_no_lease_lost() {
    fail_at_each_call(Verb::SealingAcquire);
}

#[test]
fn whatever_call_of_a_release_fails_or_is_its_last_it_is_done_when_it_says_so() {
    fail_at_each_call(Verb::Release);
}

#[test]
fn whatever_call_of_a_heartbeat_fails_or_is_its_last_it_is_done_when_it_says_so() {
    fail_at_each_call(Verb::Heartbeat);
}

#[test]
fn whatever_call_of_an_adoption_fails_or_is_its_last_it_is_done_when_it_says_so() {
    fail_at_each_call(Verb::Adopt);
}

#[test]
fn whatever_call_of_an_unlock_fails_or_is_its_last_it_is_done_when_it_says_so() {
    fail_at_each_call(Verb::Unlock);
}

#[test]
fn whatever_call_of_a_halt_fails_or_is_its_last_it_is_on_record_when_it_says_so() {
    fail_at_each_call(Verb::Halt);
}

#[test]
fn whatever_call_of_a_compaction_fails_or_is_its_last_no_lease_is_lost() {
    // It always queues up, also where nobody is inside.
    fail_on(Way::Direct, Verb::Compact);
}

// --------------------------------------------------------------------------------------------------- freezing

/// How long a frozen process may keep others waiting.
const TTL: Duration = Duration::from_millis(150);

/// A process that was stopped right after one of its calls.
struct Frozen<'s> {
    specimen: &'s Specimen,
    call: &'s Call,
    lab: Lab,
    child: Child,
    pid: u32,
    began: Instant,
}

impl<'s> Frozen<'s> {
    /// `None` when the process ends without coming to that call.
    fn after(specimen: &'s Specimen, strace: &Strace, call: &'s Call) -> Option<Frozen<'s>> {
        let lab = specimen.copy();
        let log = lab.path().join("log");
        let began = Instant::now();
        let mut child = start(strace.watch(&specimen.command(&lab), &log, Some((Fault::Stop, call))));
        let pid = poll("it freezes or ends", kit::DEADLINE, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| line.contains("--- stopped by SIGSTOP ---")) {
                return Some(line.split_whitespace().next().unwrap().parse().ok());
            }
            child.try_wait().unwrap().map(|_| None)
        });
        let Some(pid) = pid else {
            drop(wait(child, began));
            return None;
        };
        let frozen = Frozen { specimen, call, lab, child, pid, began };
        if Log::read(&log).hit(Fault::Stop).is_none() {
            frozen.wake();
            return None;
        }
        Some(frozen)
    }

    /// Whether it is inside the mutex.
    fn is_inside(&self) -> bool {
        let entry = std::fs::read_to_string(self.lab.store().join("mutex")).unwrap_or_default();
        entry.contains(&format!("\"pid\":{},", self.pid))
    }

    /// Somebody else's call. One who is frozen while it queues up costs it the TTL, and one who does not costs nothing.
    fn meanwhile(&self, owner: &str, args: &[&str]) -> Answer {
        let Specimen { way, verb, .. } = *self.specimen;
        let queues = way == Way::Queued || matches!(verb, Verb::SealingAcquire | Verb::Compact);
        let mut command = self.lab.command_as(owner, args);
        if queues {
            command.env("LEASE_LANE_MUTEX_TTL", "150ms").env("LEASE_LANE_MUTEX_BUDGET", "20s");
        }
        let answer = finish(command);
        let most = if queues { TTL + NEXT_MAX } else { NEXT_MAX };
        assert!(answer.took < most, "somebody else waited for {:?}", answer.took);
        answer
    }

    fn wake(self) -> (Answer, Lab) {
        signal(self.pid, Signal::CONT);
        let answer = wait(self.child, self.began);
        assert!(matches!(answer.code, Some(0 | 1 | 3)), "a freeze is no error: {answer}");
        assert_eq!(lease_in(&self.lab, "early"), self.specimen.early, "{answer}");
        (answer, self.lab)
    }
}

/// Freezes the verb after each of its calls, or after each of a sample.
fn freeze_after_each_call(way: Way, verb: Verb, trial: impl Fn(Frozen<'_>, &Tally) + Sync) -> Option<Tally> {
    let strace = Strace::find(&format!("freezes at the calls of {verb:?}"))?;
    let specimen = Specimen::new(verb, way);
    let mut calls = specimen.calls(strace);
    calls.retain(|call| call.name != "exit_group");
    if !is_all() {
        let mut dice = Dice::new(seed());
        let is_sharp = |call: &Call| {
            call.name == "pread64" || SHARP.contains(&call.name.as_str()) || verb == Verb::Acquire
        };
        calls.retain(|call| is_sharp(call) || dice.roll(24) == 0);
    }
    let tally = Tally::default();
    each(4, &calls, |call| match Frozen::after(&specimen, strace, call) {
        Some(frozen) => trial(frozen, &tally),
        None => tally.count("missed"),
    });
    eprintln!("{way:?} {verb:?}: {} freezes: {:?}", calls.len(), tally.0.lock().unwrap());
    let missed = tally.of("missed");
    assert!(missed * 20 <= calls.len(), "{missed} of {} froze elsewhere than meant", calls.len());
    Some(tally)
}

/// Of both ways there were freezes of each kind: outside of the mutex by the direct one, and inside by the other.
fn assert_both_ways(freeze: impl Fn(Way) -> Option<Tally>, kinds: [&str; 2]) {
    for (way, place) in [(Way::Direct, "outside"), (Way::Queued, "inside")] {
        let Some(tally) = freeze(way) else { return };
        let wanted = kinds.map(|kind| format!("{kind} {place}"));
        tally.assert_all(&wanted.each_ref().map(String::as_str));
    }
}

fn freeze_and_go_past(way: Way, verb: Verb) -> Option<Tally> {
    freeze_after_each_call(way, verb, |frozen, tally| {
        let was_inside = frozen.is_inside();
        let other = frozen.meanwhile("o3", &["acquire", "other", "--tree", "late/x"]);
        let (woken, lab) = frozen.wake();
        let (late, others) = (lease_in(&lab, "late"), lease_in(&lab, "other"));
        match (other.code, woken.code) {
            (Some(0), Some(1)) => {
                let refused = woken.expect(1, "refuse");
                assert_eq!(refused["conflicts"][0]["lease"], other.value()["lease"]);
                assert_eq!(others.expect("it was granted")["lease"], other.value()["lease"]);
                assert_eq!(late, None);
                tally.count(if was_inside { "lost inside" } else { "lost outside" });
            }
            (Some(1), Some(0)) => {
                assert_eq!(other.value()["conflicts"][0]["lease"], woken.value()["lease"]);
                assert_eq!(late.expect("it was granted")["lease"], woken.value()["lease"]);
                assert_eq!(others, None);
                tally.count(if was_inside { "won inside" } else { "won outside" });
            }
            _ => panic!("not one of the two was granted: {woken}\n{other}"),
        }
        if lab.assert_sound()["void"].as_u64() > Some(0) {
            tally.count("void");
        }
        assert!(!lab.store().join("mutex").exists(), "somebody left the mutex behind");
    })
}

#[test]
fn an_acquirer_frozen_after_any_of_its_calls_and_one_who_goes_past_it_are_never_both_granted() {
    for (way, wanted) in [
        (Way::Direct, ["lost outside", "won outside", "void"]),
        (Way::Queued, ["lost inside", "won inside", "void"]),
    ] {
        let Some(tally) = freeze_and_go_past(way, Verb::Acquire) else { return };
        // It was frozen where it hurts: before its record, with its decision made.
        tally.assert_all(&wanted);
        freeze_and_go_past(way, Verb::SealingAcquire);
    }
    freeze_and_go_past(Way::Direct, Verb::FirstAcquire);
}

#[test]
fn a_release_frozen_after_any_of_its_calls_never_ends_the_lease_that_came_after() {
    let freeze = |way| {
        freeze_after_each_call(way, Verb::Release, |frozen, tally| {
            let (was_inside, mine) = (frozen.is_inside(), frozen.specimen.mine.to_string());
            // The same owner, the same lane, the same region: only the number tells the two leases apart.
            let other = frozen.meanwhile("o2", &["release", "--lease", &mine]);
            let successor =
                frozen.meanwhile("o2", &["acquire", "mine", "--tree", "mine/**"]).expect(0, "acquire");
            let (woken, lab) = frozen.wake();
            match (other.code, woken.code) {
                (Some(0), Some(1)) => {
                    woken.expect(1, "not_held");
                    tally.count(if was_inside { "overtaken inside" } else { "overtaken outside" });
                }
                (Some(1), Some(0)) => {
                    other.expect(1, "not_held");
                    tally.count(if was_inside { "done inside" } else { "done outside" });
                }
                _ => panic!("not one of the two released it: {woken}\n{other}"),
            }
            let mine = lease_in(&lab, "mine").expect("the successor lives");
            assert_eq!(mine["lease"], successor["lease"]);
            lab.assert_sound();
        })
    };
    assert_both_ways(freeze, ["overtaken", "done"]);
}

#[test]
fn a_heartbeat_frozen_after_any_of_its_calls_keeps_nothing_alive_that_somebody_else_has() {
    let freeze = |way| {
        freeze_after_each_call(way, Verb::Heartbeat, |frozen, tally| {
            let (was_inside, mine) = (frozen.is_inside(), frozen.specimen.mine.to_string());
            let released = frozen.meanwhile("o2", &["release", "--lease", &mine]).expect(0, "released");
            let successor =
                frozen.meanwhile("o3", &["acquire", "mine", "--tree", "mine/**"]).expect(0, "acquire");
            let (woken, lab) = frozen.wake();
            if woken.code == Some(0) {
                // Its record is before the release.
                assert!(woken.expect(0, "beat")["seq"].as_u64() < released["seq"].as_u64(), "{woken}");
                tally.count(if was_inside { "beat inside" } else { "beat outside" });
            } else {
                woken.expect(1, "not_held");
                tally.count(if was_inside { "overtaken inside" } else { "overtaken outside" });
            }
            let mine = lease_in(&lab, "mine").expect("the successor lives");
            assert_eq!((&mine["lease"], &mine["owner"]), (&successor["lease"], &"o3".into()));
            assert_eq!(mine["heartbeat_at"], mine["acquired_at"], "somebody else beat for it");
            lab.assert_sound();
        })
    };
    assert_both_ways(freeze, ["overtaken", "beat"]);
}

#[test]
fn a_compaction_frozen_after_any_of_its_calls_loses_no_lease_that_came_meanwhile() {
    let tally = freeze_after_each_call(Way::Direct, Verb::Compact, |frozen, tally| {
        let was_inside = frozen.is_inside();
        let (mine, early) =
            (frozen.specimen.mine.to_string(), frozen.specimen.early.as_ref().unwrap()["lease"].clone());
        let granted = frozen.meanwhile("o3", &["acquire", "late", "--tree", "late/**"]).expect(0, "acquire");
        let refused = frozen.meanwhile("o4", &["acquire", "x", "--tree", "early/x"]).expect(1, "refuse");
        assert_eq!(refused["conflicts"][0]["lease"], early);
        frozen.meanwhile("o2", &["release", "--lease", &mine]).expect(0, "released");
        // Either the segment that the frozen one may be about to make is there, or it has come and gone already.
        if frozen.call.nth.is_multiple_of(2) {
            let compacted = frozen.meanwhile("o5", &["compact", "--keep", "none"]).expect(0, "ok");
            assert_eq!(compacted["live"], 2);
        }
        let (woken, lab) = frozen.wake();
        woken.expect(0, "ok");
        assert_eq!(lab.live(), [early.as_u64().unwrap(), granted["lease"].as_u64().unwrap()]);
        lab.assert_sound();
        lab.grant("o6", "next", "next/**");
        tally.count(if was_inside { "inside" } else { "outside" });
    });
    let Some(tally) = tally else { return };
    assert!(tally.of("inside") > 0, "no freeze was inside the mutex");
}
