//! A finalizer: jobs that end, and a reaper that must not come too early. `tests/sweep.rs` plays each scenario with leases of
//! one process; here the job is one of `run`, says itself how far it is, and has lost its supervisor.

use serde_json::{Value, json};

use crate::kit::{DEADLINE, Lab, all_at_once, listing, poll};
use crate::{SOON, Supervised, leases, records};

/// A job with a lease of one second that nobody beats for any more, and the fence it was given.
fn orphaned(lab: &Lab) -> (Supervised, String) {
    let mut job = Supervised::start(lab, "ann", &["api", "--tree", "src/**", "--ttl", "1s"]);
    job.kill_supervisor();
    let fence = leases(lab)[0]["fence"].to_string();
    (job, fence)
}

fn finalizing(lab: &Lab, fence: &str, budget: &str) {
    let said = ["heartbeat", "api", "--fence", fence, "--phase", "finalizing", "--budget", budget];
    lab.json_as("ann", &said).expect(0, "beat");
}

/// The list of a sweep in which the one lease is, and what is said of it there.
#[track_caller]
fn sweep(lab: &Lab) -> (String, Value) {
    let swept = lab.json_as("reaper", &["sweep"]).expect(0, "ok");
    for list in ["reclaimed", "deferred", "kept"] {
        if let Some(one) = swept[list].get(0) {
            return (list.to_owned(), one.clone());
        }
    }
    panic!("no lease was looked at: {swept}");
}

#[track_caller]
fn sweep_until(lab: &Lab, list: &str) -> Value {
    poll(list, DEADLINE, || {
        let (seen, said) = sweep(lab);
        (seen == list).then_some(said)
    })
}

#[test]
fn a_job_without_a_supervisor_is_put_off_once_while_it_finalizes_and_reaped_when_it_is_killed() {
    let lab = Lab::new();
    let (job, fence) = orphaned(&lab);
    finalizing(&lab, &fence, "1h");
    sweep_until(&lab, "deferred");
    let before = listing(lab.store());
    assert_eq!(sweep(&lab).0, "deferred");
    assert_eq!(listing(lab.store()), before, "no second action");
    let counted = |of: &str| lab.json(&["doctor"]).value()["counters"][of].clone();
    assert_eq!(counted("deferrals"), 1);
    lab.json_as("bob", &["acquire", "--tree", "src/x"]).expect(1, "refuse");
    job.kill_worker();
    // While a group is being reaped it may be unclear for a moment whether anybody in it lives.
    poll("the job is dead", SOON, || (leases(&lab)[0]["alive"] == "no").then_some(()));
    let reaped = poll("the job is reaped", SOON, || {
        let (list, said) = sweep(&lab);
        (list == "reclaimed").then_some(said)
    });
    assert_eq!(reaped["tier"], "dead");
    assert_eq!(counted("reclaims"), json!({"dead": 1, "exited": 0, "ceiling": 0}));
    lab.assert_sound();
}

#[test]
fn a_job_that_finalizes_for_too_long_is_reaped_while_it_lives() {
    let lab = Lab::new();
    let (job, fence) = orphaned(&lab);
    finalizing(&lab, &fence, "1s");
    let reaped = sweep_until(&lab, "reclaimed");
    assert_eq!(reaped["tier"], "ceiling");
    let beat = lab.json_as("ann", &["heartbeat", "api", "--fence", &fence]);
    beat.expect(3, "expired");
    assert!(job.worker_runs(), "a sweep signals nobody");
    lab.assert_sound();
}

/// The lane is the same, the lease is the same, and yet the word of the one from before does not count.
#[test]
fn a_late_clear_from_before_an_adoption_changes_nothing() {
    let lab = Lab::new();
    let (_job, old) = orphaned(&lab);
    finalizing(&lab, &old, "1h");
    lab.json_as("bob", &["adopt", "api", "--from", "ann"]).expect(0, "adopted");
    let before = (leases(&lab), listing(lab.store()));
    assert_eq!(before.0[0]["phase"]["name"], "finalizing");
    for owner in ["ann", "bob"] {
        let late = ["heartbeat", "api", "--fence", &old, "--phase", "none"];
        lab.json_as(owner, &late).expect(3, "fenced");
    }
    assert_eq!((leases(&lab), listing(lab.store())), before);
    lab.assert_sound();
}

#[test]
fn of_sweeps_unlocks_and_takers_at_once_one_ends_the_lease() {
    for round in 0..6 {
        let lab = Lab::new();
        let (job, _) = orphaned(&lab);
        job.kill_worker();
        poll("the job is dead", SOON, || (leases(&lab)[0]["alive"] == "no").then_some(()));
        let calls: [&[&str]; 6] = [
            &["sweep"],
            &["unlock", "api"],
            &["acquire", "next", "--tree", "src/**"],
            &["sweep"],
            &["unlock", "api"],
            &["acquire", "mine", "--tree", "src/x"],
        ];
        let numbered = calls.iter().enumerate();
        let answers =
            all_at_once(numbered.map(|(n, args)| lab.command_as(&format!("caller{n}"), args)).collect());
        let claims = |answer: &Value| {
            usize::from(answer["outcome"] == "unlocked")
                + ["reclaimed", "evicted"]
                    .map(|list| answer[list].as_array().map_or(0, Vec::len))
                    .iter()
                    .sum::<usize>()
        };
        let claimed: usize = answers.iter().map(|answer| claims(&answer.value())).sum();
        assert_eq!((claimed, records(&lab, "SCAVENGE").len()), (1, 1), "round {round}");
        assert_eq!(leases(&lab).len(), 1, "one of the takers has the place");
        lab.assert_sound();
    }
}
