//! A dispatch lock: a lock file per lane, written by a supervisor that starts workers.

use serde_json::json;

use crate::kit::{Lab, Sleeper, all_at_once, listing, poll};
use crate::{SOON, Supervised, granted_soon, leases, records, run};

const API: [&str; 3] = ["api", "--tree", "src/api/**"];

#[test]
fn a_locked_lane_shows_its_processes_and_every_label() {
    let lab = Lab::new();
    let labels = ["--run-id", "run-7", "--why", "a new endpoint", "--label", "team=core", "--label", "pr=12"];
    let running = Supervised::start(&lab, "ann", &[&API[..], &labels[..]].concat());
    let lease = &leases(&lab)[0];
    for (key, value) in [
        ("lane", json!("api")),
        ("owner", json!("ann")),
        ("tree", json!(["src/api/**"])),
        ("run_id", json!("run-7")),
        ("why", json!("a new endpoint")),
        ("labels", json!({"pr": "12", "team": "core"})),
        ("alive", json!("yes")),
    ] {
        assert_eq!(lease[key], value, "{key}");
    }
    let processes = lease["processes"].as_array().unwrap();
    let shown: Vec<_> = processes.iter().map(|one| (&one["role"], &one["pid"])).collect();
    let (supervisor, worker) = (json!(running.supervisor.id()), json!(running.worker.as_raw_nonzero().get()));
    assert_eq!(shown, [(&json!("supervisor"), &supervisor), (&json!("worker"), &worker)]);
    assert!(processes.iter().all(|one| one["host"].is_string() && one["start"].is_u64()), "{lease}");
}

#[test]
fn the_second_is_told_who_has_it_and_changes_nothing_and_the_other_lane_is_free() {
    let lab = Lab::new();
    let _running = Supervised::start(&lab, "ann", &[&API[..], &["--run-id", "run-7"]].concat());
    let before = leases(&lab);
    for args in [&API[..], &["other name", "--tree", "src/api/x.rs"], &["api", "--tree", "elsewhere"]] {
        let refused = lab.json_as("bob", &[&["acquire"], args].concat()).expect(1, "refuse");
        let holder = &refused["conflicts"][0];
        assert_eq!((&holder["owner"], &holder["run_id"]), (&json!("ann"), &json!("run-7")), "{refused}");
        assert_eq!((&holder["alive"], &holder["lease"]), (&json!("yes"), &before[0]["lease"]), "{refused}");
        assert_eq!(leases(&lab), before, "{args:?}");
    }
    lab.grant("bob", "web", "src/web/**");
    assert_eq!(leases(&lab)[0], before[0]);
    lab.assert_sound();
}

/// A supervisor that takes the lane before it starts a worker, and dies in between.
#[test]
fn a_dead_supervisor_without_a_worker_is_in_nobodys_way_and_its_late_worker_does_not_bring_it_back() {
    let lab = Lab::new();
    let mut supervisor = Sleeper::new();
    let pid = supervisor.pid();
    let ask = [&["acquire"], &API[..], &["--bind", &pid]].concat();
    let first = lab.json_as("ann", &ask).expect(0, "acquire");
    supervisor.kill_without_reaping();
    let next = lab.json_as("bob", &["acquire", "api", "--tree", "src/api/**"]).expect(0, "acquire");
    assert_eq!(next["evicted"][0]["lease"], first["lease"]);
    assert_eq!(next["evicted"][0]["why"], "dead");
    // What the supervisor had started after all says who it is too late.
    let worker = Sleeper::new();
    let before = (leases(&lab), listing(lab.store()));
    let (lease, fence) = (first["lease"].to_string(), first["fence"].to_string());
    let attach = ["heartbeat", "--lease", &lease, "--fence", &fence, "--bind", &worker.pid()];
    lab.json_as("ann", &attach).expect(3, "expired");
    assert_eq!((leases(&lab), listing(lab.store())), before);
    lab.assert_sound();
}

#[test]
fn a_reap_keeps_every_lane_of_which_any_process_lives() {
    let lab = Lab::new();
    let lanes = ["both", "worker", "neither"];
    let mut all = lanes.map(|lane| Supervised::start(&lab, "ann", &[lane, "--tree", lane]));
    all[1].kill_supervisor();
    all[2].kill_supervisor();
    all[2].kill_worker();
    poll("the dead one is reaped", SOON, || {
        let swept = lab.json_as("reaper", &["sweep"]).expect(0, "ok");
        let reclaimed = swept["reclaimed"].as_array().unwrap();
        assert!(reclaimed.iter().all(|one| one["lane"] == "neither"), "{swept}");
        (!reclaimed.is_empty()).then_some(())
    });
    let left: Vec<_> = leases(&lab).iter().map(|lease| lease["lane"].clone()).collect();
    assert_eq!(left, ["both", "worker"]);
    lab.json_as("bob", &["acquire", "--tree", "worker"]).expect(1, "refuse");
    // The last process of it goes, and with it the lease.
    all[1].kill_worker();
    assert_eq!(granted_soon(&lab, "bob", &["acquire", "--tree", "worker"])["evicted"][0]["lane"], "worker");
    lab.assert_sound();
}

#[test]
fn an_unlock_by_hand_ends_the_stale_and_by_force_the_living_whose_worker_is_made_to_stop() {
    let lab = Lab::new();
    let unlock = |args: &[&str]| lab.json_as("eve", &[&["unlock", "api"], args].concat());
    unlock(&[]).expect(1, "not_held");
    let mut running = Supervised::start(&lab, "ann", &[&API[..], &["--kill-after", "1s"]].concat());
    unlock(&[]).expect(1, "refuse");
    unlock(&["--force", "--why", "stuck"]).expect(2, "error");
    assert_eq!(leases(&lab).len(), 1, "neither has changed anything");
    let forced = unlock(&["--force", "--why", "stuck", "--yes"]).expect(0, "unlocked");
    assert_eq!((&forced["owner"], &forced["forced"]), (&json!("ann"), &json!(true)));
    assert_eq!(running.code(), Some(123), "its supervisor hears of it and ends the worker");

    let mut stale = Supervised::start(&lab, "ann", &API);
    stale.kill_supervisor();
    unlock(&[]).expect(1, "refuse");
    stale.kill_worker();
    let unlocked = poll("the worker is dead", SOON, || {
        let answer = unlock(&[]);
        (answer.code == Some(0)).then(|| answer.expect(0, "unlocked"))
    });
    assert_eq!((&unlocked["standing"], &unlocked["forced"]), (&json!("dead"), &json!(false)));
    unlock(&[]).expect(1, "not_held");
    lab.assert_sound();
}

/// The loser's worker never runs, not even for a moment.
#[test]
fn of_two_supervisors_at_once_one_starts_its_worker() {
    for round in 0..6 {
        let lab = Lab::new();
        let marker = lab.path().join("started");
        // Who has started stays until the other one was told no, or has started as well.
        let script = format!(
            "echo x >> {0}; while [ \"$(cat {0})\" = x ] && ! grep -rqs '\"op\":\"REFUSE\"' {1}; do sleep 0.01; done",
            marker.display(),
            lab.store().join("journal").display()
        );
        let both = ["ann", "bob"].map(|owner| run(&lab, owner, &API, &script)).into();
        let mut codes: Vec<_> = all_at_once(both).iter().map(|answer| answer.code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(1)], "round {round}");
        assert_eq!(std::fs::read_to_string(&marker).unwrap(), "x\n");
        assert_eq!(records(&lab, "ACQUIRE").len(), 1);
        lab.assert_sound();
    }
}
