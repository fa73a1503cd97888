//! Clocks that jump: the wall clock by libfaketime, the boot-time clock by time namespaces. Never the machine's own.
//!
//! libfaketime changes what the program reads as wall clock and as monotonic clock. The boot-time clock is read past the
//! C library and stays what it is, as it does when somebody sets the time of a machine.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

use std::path::Path;
use std::time::{Duration, Instant};

use kit::machine::Shell;
use kit::{Answer, DEADLINE, Dice, Lab, Sleeper, finish, poll, seed};
use serde_json::Value;

/// The library that Debian's package `libfaketime` installs; none, said aloud, where it is missing or has no effect.
fn faketime() -> Option<&'static str> {
    const PLACES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/faketime/libfaketime.so.1",
    ];
    if !cfg!(debug_assertions) {
        eprintln!(
            "SKIPPED: the released program is linked statically and loads no library; no wall clock jumped"
        );
        return None;
    }
    let found = PLACES.into_iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        eprintln!("SKIPPED: libfaketime is not installed (package libfaketime); no wall clock jumped");
    }
    found
}

/// A lab in which the wall clock can be `by` away from the truth, such as `+365d`.
struct Jumps {
    lab: Lab,
    library: &'static str,
}

impl Jumps {
    fn new() -> Option<Jumps> {
        // A library that changes nothing would let every test below pass.
        let year = |by| {
            let jumps = Jumps { library: faketime()?, lab: Lab::new() };
            let granted =
                jumps.ask(by, "probe", &["acquire", "probe", "--tree", "probe"]).expect(0, "acquire");
            granted["acquired_at"].as_str().and_then(|at| at.split('-').next()?.parse::<u32>().ok())
        };
        let (now, then) = (year("+0")?, year("+3650d")?);
        assert!(
            (now + 9..=now + 10).contains(&then),
            "libfaketime does not reach the program's clock: {now}, {then}"
        );
        Some(Jumps { library: faketime()?, lab: Lab::new() })
    }

    fn ask(&self, by: &str, owner: &str, args: &[&str]) -> Answer {
        let mut command = self.lab.command_as(owner, args);
        command.env("LD_PRELOAD", self.library).env("FAKETIME", by);
        finish(command)
    }

    /// Time stamps of all records, oldest first.
    fn stamps(&self) -> Vec<String> {
        let tail = self.lab.text(&["tail", "-n", "100000", "--json"]);
        let records = tail.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter_map(|record| record["ts"].as_str().map(str::to_owned)).collect()
    }

    fn assert_time_never_went_back(&self) {
        let stamps = self.stamps();
        assert!(stamps.len() > 2, "{stamps:?}");
        assert!(stamps.is_sorted(), "{stamps:?}");
        self.lab.assert_sound();
    }
}

const JUMPS: [&str; 6] = ["+365d", "-365d", "+3650d", "+2h", "-2h", "+0"];

#[test]
fn the_lease_of_a_living_process_never_ends_by_a_jump() {
    let Some(jumps) = Jumps::new() else { return };
    let holder = Sleeper::new();
    jumps
        .lab
        .json_as("h", &["acquire", "h", "--tree", "src/**", "--bind", &holder.pid(), "--ttl", "1s"])
        .expect(0, "acquire");
    for by in JUMPS {
        let refused = jumps.ask(by, "x", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
        assert_eq!(refused["conflicts"][0]["alive"], "yes", "{by}: {refused}");
        jumps.ask(by, "h", &["check", "src/x"]).expect(0, "ok");
    }
    // Beside it lives one that is bound to nobody and was granted later with the same time. When that one has run out, so
    // has this one's time, and it lives all the same.
    let twin = ["acquire", "twin", "--tree", "twin", "--ttl", "1s"];
    jumps.lab.json_as("h", &twin).expect(0, "acquire");
    poll("the twin runs out", DEADLINE, || {
        (jumps.lab.json_as("x", &["acquire", "y", "--tree", "twin/y"]).code == Some(0)).then_some(())
    });
    jumps.lab.json_as("x", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
    jumps.assert_time_never_went_back();
}

#[test]
fn an_unbound_lease_ages_by_the_boot_time_clock_alone() {
    let Some(jumps) = Jumps::new() else { return };
    let lease = jumps.lab.grant("h", "h", "src/**");
    let mut latest = String::new();
    for by in JUMPS {
        jumps.ask(by, "x", &["acquire", "x", "--tree", "src/x"]).expect(1, "refuse");
        // Beats go forward, whatever the clock of the one who beats says.
        let beat = jumps.ask(by, "h", &["heartbeat", "h"]).expect(0, "beat");
        let expires = beat["expires_at"].as_str().unwrap().to_owned();
        assert!(latest <= expires, "{by}: {latest} then {expires}");
        latest = expires;
        let live = jumps.lab.json(&["live"]).expect(0, "ok");
        assert_eq!(live["leases"][0]["expires_at"], *latest, "{by}");
    }
    assert_eq!(jumps.lab.live(), [lease]);
    jumps.assert_time_never_went_back();
}

#[test]
fn a_grant_stamped_by_a_clock_far_ahead_ends_with_its_time_and_not_next_year() {
    let Some(jumps) = Jumps::new() else { return };
    for by in ["+365d", "-365d"] {
        let lane = format!("from{by}");
        jumps.ask(by, "ahead", &["acquire", &lane, "--tree", &lane, "--ttl", "500ms"]).expect(0, "acquire");
        let began = Instant::now();
        jumps.lab.json_as("next", &["acquire", "n", "--tree", &lane]).expect(1, "refuse");
        let granted = poll("the lease runs out", Duration::from_secs(20), || {
            let said = jumps.lab.json_as("next", &["acquire", "n", "--tree", &lane]);
            (said.code == Some(0)).then(|| said.value())
        });
        assert!(began.elapsed() > Duration::from_millis(300), "too early: {:?}", began.elapsed());
        assert_eq!(granted["evicted"][0]["why"], "expired", "{granted}");
        jumps.lab.json_as("next", &["release", "n"]).expect(0, "released");
        jumps.lab.json_as("ahead", &["heartbeat", &lane]).expect(3, "expired");
    }
    jumps.assert_time_never_went_back();
}

/// Each who is inside makes a file that nobody else may have made.
#[test]
fn clients_whose_clocks_disagree_by_years_never_hold_the_same() {
    let Some(jumps) = Jumps::new() else { return };
    let inside = jumps.lab.path().join("inside");
    let (seed, stop) = (seed(), Instant::now() + Duration::from_millis(2_500));
    let entered = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (jumps, inside, entered) = (&jumps, &inside, &entered);
            scope.spawn(move || {
                let mut dice = Dice::new(seed + client);
                let owner = format!("o{client}");
                while Instant::now() < stop {
                    let by = JUMPS[usize::try_from(dice.roll(JUMPS.len() as u64)).unwrap()];
                    let said = jumps.ask(by, &owner, &["acquire", &owner, "--tree", "src/**"]);
                    if said.code != Some(0) {
                        said.expect(1, "refuse");
                        continue;
                    }
                    let made = std::fs::File::options().write(true).create_new(true).open(inside);
                    made.unwrap_or_else(|error| panic!("{owner} is not alone: {error}"));
                    let by = JUMPS[usize::try_from(dice.roll(JUMPS.len() as u64)).unwrap()];
                    jumps.ask(by, &owner, &["heartbeat", &owner]).expect(0, "beat");
                    std::fs::remove_file(inside).unwrap();
                    jumps.ask(by, &owner, &["release", &owner]).expect(0, "released");
                    entered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    let entered = entered.into_inner();
    eprintln!("{entered} were inside, one after another");
    assert!(entered > 5, "{entered}");
    jumps.assert_time_never_went_back();
}

#[test]
fn a_shifted_boot_time_clock_ages_nobodys_lease() {
    let lab = Lab::new();
    let mut shells = Vec::new();
    for shift in [["--boottime", "100000000"], ["--boottime", "-1"], ["--monotonic", "100000000"]] {
        let wrapper = ["unshare", "-T", shift[0], shift[1], "-f", "--kill-child"];
        let Some(shell) = Shell::enter(&lab, &wrapper, "true") else { return };
        shells.push(shell);
    }
    let holder = Sleeper::new();
    lab.json_as("b", &["acquire", "b", "--tree", "bound/**", "--bind", &holder.pid()]).expect(0, "acquire");
    lab.grant("u", "u", "unbound/**");
    for (n, shell) in shells.iter_mut().enumerate() {
        // Leases of outside, seen from inside.
        for tree in ["bound/x", "unbound/x"] {
            shell.ask("in", &["acquire", "in", "--tree", tree]).expect(1, "refuse");
        }
        shell.ask("u", &["heartbeat", "u"]).expect(0, "beat");
        // And the other way round, bound and unbound.
        let (lane, pid) = (format!("in{n}"), shell.sleeper().to_string());
        shell.ask("in", &["acquire", &lane, "--tree", &lane]).expect(0, "acquire");
        let bound = format!("inbound{n}");
        shell.ask("in", &["acquire", &bound, "--tree", &bound, "--bind", &pid]).expect(0, "acquire");
        for tree in [&lane, &bound] {
            lab.json_as("out", &["acquire", "out", "--tree", tree]).expect(1, "refuse");
        }
    }
    // Those inside see each other no older either.
    for shell in &mut shells {
        for tree in ["in0", "in1", "in2", "inbound0", "inbound1", "inbound2"] {
            shell.ask("other", &["acquire", "other", "--tree", tree]).expect(1, "refuse");
        }
        // A wait is as long as it says, by whatever clock.
        let waited = shell.ask("other", &["acquire", "other", "--tree", "in0", "--wait", "300ms"]);
        assert!(
            Duration::from_millis(300) <= waited.took && waited.took < Duration::from_secs(5),
            "{waited:?}"
        );
        waited.expect(124, "timeout");
    }
    // A short lease of a shifted clock ends with its time.
    shells[0].ask("s", &["acquire", "s", "--tree", "short", "--ttl", "500ms"]).expect(0, "acquire");
    poll("it runs out", Duration::from_secs(20), || {
        (lab.json_as("out", &["acquire", "out", "--tree", "short"]).code == Some(0)).then_some(())
    });
    lab.assert_sound();
}

#[test]
fn doctor_says_how_far_the_wall_clock_was_set() {
    let Some(jumps) = Jumps::new() else { return };
    jumps.ask("+0", "me", &["acquire", "mine", "--tree", "x"]).expect(0, "acquire");
    let hour = 3_600_000;
    for (by, jumped, behind) in [("+0", 0, 0), ("+2h", 2 * hour, 0), ("-2h", -2 * hour, 2 * hour)] {
        let clock = &jumps.ask(by, "me", &["doctor"]).expect(0, "ok")["clock"];
        let far = |told: &Value, wanted: i64| (told.as_i64().unwrap() - wanted).abs() > 60_000;
        assert!(!far(&clock["jumped_ms"], jumped) && !far(&clock["behind_ms"], behind), "{by}: {clock}");
    }
}
