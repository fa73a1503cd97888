//! A fixed set of seeds, in every change; more by `LEASE_LANE_SEEDS=2000`. A longer run is a command of its own:
//! `cargo run -p simulator -- --soak 2h`.

use simulator::run::{Tally, play};

const STEPS: u64 = 600;

fn seeds() -> u64 {
    std::env::var("LEASE_LANE_SEEDS").map_or(400, |text| text.parse().expect("LEASE_LANE_SEEDS is a number"))
}

#[test]
fn whatever_goes_wrong_every_promise_is_kept_after_every_step() {
    let mut total = Tally::default();
    for seed in 1..=seeds() {
        match play(seed, STEPS, false) {
            Ok(tally) => total.add(tally),
            Err(failure) => panic!(
                "{failure}\nagain: cargo run -p simulator -- --seed {} --steps {STEPS} --trace",
                failure.seed
            ),
        }
    }
    eprintln!("{total:?}");
    // A world in which nothing goes wrong, or nobody does anything, proves nothing.
    let enough =
        [total.granted, total.refused, total.killed, total.faults, total.decided_again, total.power_cuts];
    assert!(enough.iter().all(|&many| many >= seeds()) && total.damaged > 0, "{total:?}");
    let of_others = [total.adopted, total.forced, total.swept];
    assert!(of_others.iter().all(|&many| many > 0), "nobody touches the lease of another: {total:?}");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [3, 17, 256] {
        let runs = [(); 2].map(|()| format!("{:?}", play(seed, STEPS, false)));
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}
