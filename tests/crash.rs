//! Killed, stopped and sleeping processes: whoever comes next goes on at once, and never two hold one thing.
//!
//! `LEASE_LANE_TORTURE_S=120 cargo test -p lease-lane --test crash` tortures longer; `LEASE_LANE_SEED` repeats a run's
//! choices (not its timing).

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::process::Child;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kit::{Answer, Dice, Lab, Sleeper, finish, knob, poll, seed, signal, spin, start, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a crash may cost the next caller (feature E1).
const CRASH_COST_MAX: Duration = Duration::from_secs(1);

// ----------------------------------------------------------------------------------------------------- kill -9

const REGIONS: [&str; 5] = ["a/**", "a/x/**", "**/x/y", "b/**", "b/q"];
const OVERLAP: [[u8; 5]; 5] =
    [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]];

/// Surely held from `from` until `until`.
struct Held {
    region: usize,
    owner: String,
    from: Instant,
    until: Instant,
}

/// Runs a call and kills it at a random instant, or lets it end.
fn run_and_maybe_kill(lab: &Lab, dice: &mut Dice, owner: &str, args: &[&str]) -> Option<Answer> {
    let began = Instant::now();
    let child = start(lab.command_as(owner, args));
    let is_kill = dice.roll(2) == 0;
    if is_kill {
        spin(Duration::from_micros(dice.roll(12_000)));
        signal(child.id(), Signal::KILL);
    }
    let answer = wait(child, began);
    // What was said before the kill counts: the caller may have read it.
    (answer.signal.is_none() || answer.out.ends_with('\n')).then_some(answer)
}

#[test]
fn killed_at_random_instants() {
    let lab = Lab::new();
    let (seed, torture) = (seed(), Duration::from_secs(knob("LEASE_LANE_TORTURE_S", 8)));
    let stop = Instant::now() + torture;
    let held: Mutex<Vec<Held>> = Mutex::default();
    let slowest: Mutex<Duration> = Mutex::default();
    let kills: Mutex<[u64; 2]> = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (lab, held, slowest, kills) = (&lab, &held, &slowest, &kills);
            scope.spawn(move || {
                let mut dice = Dice::new(seed + client);
                for n in 0u64.. {
                    if Instant::now() >= stop {
                        break;
                    }
                    let owner = format!("o{client}-{n}");
                    if client == 0 && n % 8 == 7 {
                        run_and_maybe_kill(lab, &mut dice, &owner, &["compact", "--keep", "1h"]);
                        continue;
                    }
                    let region = usize::try_from(dice.roll(5)).unwrap();
                    let answer = run_and_maybe_kill(
                        lab,
                        &mut dice,
                        &owner,
                        &["acquire", &owner, "--tree", REGIONS[region]],
                    );
                    let from = Instant::now();
                    let granted = match &answer {
                        Some(answer) if answer.signal.is_none() => {
                            let mut slowest = slowest.lock().unwrap();
                            *slowest = answer.took.max(*slowest);
                            drop(slowest);
                            assert!(matches!(answer.code, Some(0 | 1)), "{answer}");
                            answer.code == Some(0)
                        }
                        Some(answer) => answer.outcome() == "acquire",
                        None => false,
                    };
                    kills.lock().unwrap()
                        [usize::from(answer.is_none_or(|answer| answer.signal.is_some()))] += 1;
                    if granted {
                        // It is on record, whatever became of the process.
                        lab.json_as(&owner, &["heartbeat", &owner]).expect(0, "beat");
                        held.lock().unwrap().push(Held {
                            region,
                            owner: owner.clone(),
                            from,
                            until: Instant::now(),
                        });
                    }
                    // Given back by name, also when nobody heard the answer; again until somebody hears that.
                    while !run_and_maybe_kill(lab, &mut dice, &owner, &["release", &owner])
                        .is_some_and(|answer| matches!(&*answer.outcome(), "released" | "not_held"))
                    {
                    }
                }
            });
        }
    });
    let held = held.into_inner().unwrap();
    let (slowest, [ended, killed]) = (slowest.into_inner().unwrap(), kills.into_inner().unwrap());
    eprintln!("{} grants, {ended} asked to the end, {killed} killed, slowest call {slowest:?}", held.len());
    assert!(held.len() > 10 && killed > 10, "that was no torture");
    for (i, one) in held.iter().enumerate() {
        for other in &held[i + 1..] {
            let together = one.from < other.until && other.from < one.until;
            let collide = OVERLAP[one.region][other.region] == 1;
            assert!(!(together && collide), "{} and {} held at the same time", one.owner, other.owner);
        }
    }
    assert!(slowest < 4 * CRASH_COST_MAX, "five at once on two processors, {slowest:?} each");
    lab.assert_sound();
    assert_eq!(lab.live(), [0; 0], "every lease was given back");
    // And alone, right after a kill: the crash itself costs less than a second.
    let mut dice = Dice::new(seed);
    for n in 0..40 {
        let child =
            start(lab.command_as("victim", &["acquire", &format!("v{n}"), "--tree", &format!("v{n}")]));
        spin(Duration::from_micros(dice.roll(10_000)));
        signal(child.id(), Signal::KILL);
        let next = lab.json_as("next", &["acquire", &format!("n{n}"), "--tree", &format!("n{n}")]);
        next.expect(0, "acquire");
        assert!(next.took < CRASH_COST_MAX, "{:?} after a kill", next.took);
        wait(child, Instant::now());
    }
    lab.assert_sound();
}

#[test]
fn a_lost_answer_is_had_again_by_its_request_id() {
    let lab = Lab::new();
    let mut dice = Dice::new(seed());
    let mut lost = 0;
    for n in 0..60 {
        let (id, tree) = (format!("r{n}"), format!("t{n}"));
        let args = ["acquire", &tree, "--tree", &tree, "--request-id", &id];
        let child = start(lab.command_as("o1", &args));
        spin(Duration::from_micros(2_000 + dice.roll(8_000)));
        signal(child.id(), Signal::KILL);
        let first = wait(child, Instant::now());
        let again = lab.json_as("o1", &args).expect(0, "acquire");
        lost += u64::from(again["repeated"] == true && first.out.is_empty());
        if first.outcome() == "acquire" {
            assert_eq!(again["lease"], first.value()["lease"]);
        }
    }
    eprintln!("{lost} answers were lost after the record was written");
    assert_eq!(lab.live().len(), 60, "each request was granted once");
    lab.assert_sound();
}

// -------------------------------------------------------------------------------------------- inside the mutex

/// A store so full that deciding takes a while, which is spent inside the mutex.
fn slow_lab() -> Lab {
    let lab = Lab::new();
    let mut journal = String::new();
    for n in 0..400 {
        journal.push_str(&acquire_of_dos(n));
    }
    let file = lab.write("many.jsonl", &journal);
    let imported = lab.json(&["import", "dos", file.to_str().unwrap()]).expect(0, "ok");
    assert_eq!(imported["imported"], 400);
    lab
}

fn acquire_of_dos(n: u32) -> String {
    let fixture = include_str!("../fixtures/dos/dos-0.30-mixed.jsonl");
    let line = fixture.lines().find(|line| line.contains("\"ACQUIRE\"")).unwrap();
    let mut record: Value = serde_json::from_str(line).unwrap();
    record["seq"] = json!(n);
    rename(&mut record, n);
    format!("{record}\n")
}

/// Gives the lease of the record a lane and a tree of its own, wherever the record says them.
fn rename(value: &mut Value, n: u32) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "lane" => *value = json!(format!("many-{n}")),
                    "tree" => *value = json!([format!("many/{n}/**")]),
                    _ => rename(value, n),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, n)),
        _ => {}
    }
}

/// Starts the call again and again until it was caught inside the mutex and got the signal there. It enters because
/// somebody else died inside.
fn catch_inside(lab: &Lab, with: Signal, call: impl Fn(u32) -> std::process::Command) -> (Child, u32) {
    let mutex = lab.store().join("mutex");
    for n in 0..200 {
        lab.leave_mutex();
        let mut child = start(call(n));
        let pid = format!("\"pid\":{},", child.id());
        let inside = || std::fs::read_to_string(&mutex).is_ok_and(|text| text.contains(&pid));
        while child.try_wait().unwrap().is_none() {
            if inside() {
                signal(child.id(), with);
                if with == Signal::STOP {
                    poll("the signal arrives", kit::DEADLINE, || {
                        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
                        stat.rsplit(')').next().unwrap().trim_start().starts_with(['T', 'Z']).then_some(())
                    });
                } else {
                    child.wait().unwrap();
                }
                if inside() {
                    return (child, n);
                }
                signal(child.id(), Signal::CONT);
                break;
            }
        }
        let asked = wait(child, Instant::now());
        if asked.code == Some(0) && asked.outcome() == "acquire" {
            let lane = asked.value()["lane"].as_str().unwrap().to_owned();
            lab.json_as("sleeper", &["release", &lane]).expect(0, "released");
        }
    }
    panic!("nobody was ever caught inside the mutex");
}

fn with_patience(mut command: std::process::Command, ttl: &str, budget: &str) -> std::process::Command {
    command.env("LEASE_LANE_MUTEX_TTL", ttl).env("LEASE_LANE_MUTEX_BUDGET", budget);
    command
}

#[test]
fn a_process_stopped_inside_the_mutex_delays_others_by_its_ttl_and_never_grants_behind_their_back() {
    let lab = slow_lab();
    let (mut both, mut voids) = (0, 0);
    for round in 0..6 {
        let sleeper = |_| lab.command_as("sleeper", &["acquire", "contested", "--tree", "contested/**"]);
        let (child, _) = catch_inside(&lab, Signal::STOP, sleeper);

        // Nobody with less patience than the TTL goes on; each is told who is inside.
        let busy = lab.command_as("hasty", &["acquire", "h", "--tree", "h"]);
        let busy = finish(with_patience(busy, "10s", "150ms"));
        let told = busy.expect(4, "busy");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("pid {}", child.id())) && message.contains("`sleeper`"),
            "{message}"
        );
        assert!(told["error"]["hint"].as_str().unwrap().contains("LEASE_LANE_MUTEX_BUDGET"), "{told}");
        assert!(busy.took >= Duration::from_millis(150) && busy.took < Duration::from_secs(5));
        let text = with_patience(lab.command(["acquire", "h", "--tree", "h"]), "10s", "50ms");
        let text = finish(text);
        assert_eq!((text.code, text.err.lines().count()), (Some(4), 2), "one line and a hint: {text}");
        // Readers do not even notice.
        lab.json(&["live"]).expect(0, "ok");

        // With the TTL behind them, others go on.
        let free = lab.command_as("free", &["acquire", "free", "--tree", "free/**"]);
        let free = finish(with_patience(free, "300ms", "20s"));
        free.expect(0, "acquire");
        assert!(free.took >= Duration::from_millis(300), "{:?}: it looked before it leapt", free.took);
        assert!(free.took < Duration::from_secs(5), "{:?}", free.took);
        let other = lab.command_as("other", &["acquire", "contested", "--tree", "contested/x"]);
        let other = finish(with_patience(other, "300ms", "20s"));
        let other_granted = other.code == Some(0);
        if !other_granted {
            assert_eq!(
                other.expect(1, "refuse")["conflicts"][0]["owner"],
                "sleeper",
                "it was on record already"
            );
        }

        // The sleeper wakes up.
        signal(child.id(), Signal::CONT);
        let woken = wait(child, Instant::now());
        match (other_granted, woken.code) {
            (true, Some(0)) => both += 1,
            (true, _) => {
                let refused = woken.expect(1, "refuse");
                assert_eq!(refused["conflicts"][0]["owner"], "other");
            }
            (false, _) => drop(woken.expect(0, "acquire")),
        }
        assert_eq!(both, 0, "two holders: {woken}\n{other}");
        let verified = lab.assert_sound();
        voids = verified["void"].as_u64().unwrap();
        for (owner, lane) in
            [("free", "free"), (if other_granted { "other" } else { "sleeper" }, "contested")]
        {
            lab.json_as(owner, &["release", lane]).expect(0, "released");
        }
        assert!(!lab.store().join("mutex").exists(), "round {round}: whoever is inside last leaves nothing");
    }
    eprintln!("{voids} records of sleepers were void");
}

#[test]
fn the_mutex_of_a_killed_process_is_taken_over_at_once() {
    let lab = slow_lab();
    for _ in 0..5 {
        let victim =
            |n: u32| lab.command_as("sleeper", &["acquire", &format!("v{n}"), "--tree", &format!("v{n}")]);
        let (mut child, _) = catch_inside(&lab, Signal::KILL, victim);
        child.wait().unwrap();
        assert!(lab.store().join("mutex").exists());
        let doctor = lab.json(&["doctor"]).expect(0, "ok");
        assert_eq!(doctor["mutex"]["owner"], "sleeper");
        let before = lab.json(&["live"]);
        let next = lab.json_as("next", &["acquire", "n", "--tree", "n"]);
        next.expect(0, "acquire");
        assert!(next.took < before.took + CRASH_COST_MAX, "{:?}; a look takes {:?}", next.took, before.took);
        assert!(!lab.store().join("mutex").exists());
        lab.json_as("next", &["release", "n"]).expect(0, "released");
    }
    // An entry that cannot be read was left by a power cut and costs nothing; one that does not say whose it is costs
    // the TTL.
    let nameless = "{\"nonce\":\"x\",\"owner\":\"o\",\"process\":null,\"since\":\"?\"}";
    for (entry, cost) in [("{", 0), ("not json", 0), (nameless, 300)] {
        let mutex = lab.store().join("mutex");
        std::fs::write(&mutex, entry).unwrap();
        std::fs::set_permissions(&mutex, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let next = lab.command_as("next", &["acquire", "n", "--tree", "n"]);
        let next = finish(with_patience(next, "300ms", "20s"));
        next.expect(0, "acquire");
        let cost = Duration::from_millis(cost);
        assert!(next.took >= cost && next.took < cost + Duration::from_secs(5), "{entry}: {:?}", next.took);
        assert!(!mutex.exists());
        lab.json_as("next", &["release", "n"]).expect(0, "released");
    }
    lab.assert_sound();
}

// ------------------------------------------------------------------------------------------- holders that end

#[test]
fn the_lease_of_a_killed_process_goes_at_once_and_of_a_living_one_never() {
    let lab = Lab::new();
    let acquire = |sleeper: &Sleeper| {
        let args = ["acquire", "api", "--tree", "src/**", "--ttl", "100ms", "--bind", &sleeper.pid()];
        lab.json_as("holder", &args).expect(0, "acquire")["lease"].as_u64().unwrap()
    };
    let ask = || lab.json_as("next", &["acquire", "next", "--tree", "src/x"]);

    // Alive: not even when its time has run out long ago.
    let mut sleeper = Sleeper::new();
    let lease = acquire(&sleeper);
    let expired = Instant::now() + Duration::from_millis(700);
    while Instant::now() < expired {
        let refused = ask().expect(1, "refuse");
        assert_eq!(refused["conflicts"][0]["alive"], "yes");
    }
    // A stopped process lives.
    signal(sleeper.0.id(), Signal::STOP);
    ask().expect(1, "refuse");
    // A zombie does not.
    sleeper.kill_without_reaping();
    let granted = ask().expect(0, "acquire");
    assert_eq!(
        granted["evicted"],
        json!([{"lease": lease, "lane": "api", "owner": "holder", "why": "dead"}])
    );
    let records = lab.json(&["tail", "--op", "scavenge", "-n", "1"]).value();
    assert_eq!(records["lease"], lease);
    let evidence = &records["observed"]["processes"][0];
    assert_eq!((&evidence["alive"], &evidence["why"]), (&json!("no"), &json!("zombie")));
    lab.json_as("next", &["release", "next"]).expect(0, "released");

    // Killed and reaped; the TTL is an hour and does not matter.
    let sleeper = Sleeper::new();
    let args = ["acquire", "api", "--tree", "src/**", "--ttl", "1h", "--bind", &sleeper.pid()];
    lab.json_as("holder", &args).expect(0, "acquire");
    ask().expect(1, "refuse");
    drop(sleeper);
    let granted = ask();
    assert_eq!(granted.expect(0, "acquire")["evicted"][0]["why"], "dead");
    assert!(granted.took < CRASH_COST_MAX);
    lab.json_as("holder", &["heartbeat", "api"]).expect(3, "expired");
    lab.json_as("next", &["release", "next"]).expect(0, "released");

    // Bound to two: held while any of them lives.
    let (one, two) = (Sleeper::new(), Sleeper::new());
    let args = ["acquire", "api", "--tree", "src/**", "--bind", &one.pid(), "--bind", &two.pid()];
    lab.json_as("holder", &args).expect(0, "acquire");
    drop(one);
    ask().expect(1, "refuse");
    drop(two);
    ask().expect(0, "acquire");
    lab.assert_sound();
}

#[test]
fn a_lease_outlives_its_acquirer_until_its_time_and_grace_have_run_out() {
    let lab = Lab::new();
    // Nobody of whom the store could know lives on: the acquirer ends at once.
    let began = Instant::now();
    let first =
        lab.json_as("o1", &["acquire", "api", "--tree", "src/**", "--ttl", "600ms"]).expect(0, "acquire");
    let mut refusals = 0;
    let second = poll("it expires", Duration::from_secs(20), || {
        let asked = lab.json_as("o2", &["acquire", "x", "--tree", "src/x"]);
        refusals += u32::from(asked.code == Some(1));
        (asked.code == Some(0)).then(|| asked.value())
    });
    assert!(
        began.elapsed() >= Duration::from_millis(660),
        "TTL and a tenth of it, not {:?}",
        began.elapsed()
    );
    assert!(refusals > 0, "a fresh lease is not taken because its acquirer is gone");
    assert_eq!(second["evicted"][0]["lease"], first["lease"]);
    assert_eq!(second["evicted"][0]["why"], "expired");
    assert!(second["reason"].as_str().unwrap().contains("expired"), "{second}");
    assert!(second["lease"].as_u64() > first["lease"].as_u64());

    // Beats keep it. `beat` is the only thing that does.
    lab.json_as("o2", &["release", "x"]).expect(0, "released");
    lab.json_as("o1", &["acquire", "api", "--tree", "src/**", "--ttl", "1s"]).expect(0, "acquire");
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        lab.json_as("o1", &["heartbeat", "api"]).expect(0, "beat");
        lab.json_as("o2", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
    }
    lab.assert_sound();
}

#[test]
fn who_is_not_in_the_way_is_not_evicted() {
    let lab = Lab::new();
    lab.json_as("o1", &["acquire", "old", "--tree", "old/**", "--ttl", "1ms"]).expect(0, "acquire");
    poll("it has expired", Duration::from_secs(10), || {
        let would = lab.json_as("o2", &["acquire", "x", "--tree", "old/x", "--dry-run"]);
        (would.code == Some(0)).then_some(())
    });
    let granted = lab.json_as("o2", &["acquire", "elsewhere", "--tree", "new/**"]).expect(0, "acquire");
    assert_eq!(granted["evicted"], json!([]));
    assert_eq!(lab.live().len(), 2, "an expired lease stays until somebody needs its place");
    lab.json_as("o1", &["heartbeat", "old"]).expect(0, "beat");
}
