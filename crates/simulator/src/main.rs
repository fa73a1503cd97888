//! `cargo run -p simulator -- --seed N --steps M`: plays one seed, or many, and says what broke.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use arbiter::time::Span;
use clap::Parser;
use simulator::explore::{self, Size};
use simulator::run::{Tally, play};

/// Play seeds of the simulated world against the shipped code and check every promise after every step.
///
/// The same seed and number of steps give the same run, call for call. A failure prints the command that repeats it.
#[derive(Debug, Parser)]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each seed
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Go on with further seeds for this long (90s, 10m, 2h) instead
    #[arg(long, value_name = "DURATION", conflicts_with = "seeds", value_parser = duration)]
    soak: Option<Duration>,
    /// Instead of seeds, go through every order of the calls of two or three processes: in seconds, minutes, or many
    /// minutes
    #[arg(long, value_name = "quick|small|large", num_args = 0..=1, default_missing_value = "small")]
    #[arg(value_parser = size)]
    exhaustive: Option<Size>,
    /// Only the worlds with these words in their name
    #[arg(long, value_name = "WORDS", requires = "exhaustive", default_value = "")]
    only: String,
    /// Leave each world after this long (90s, 10m, 2h), and say how far it came
    #[arg(long, value_name = "DURATION", requires = "exhaustive", value_parser = duration)]
    most: Option<Duration>,
    /// Print every call
    #[arg(long)]
    trace: bool,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
}

fn size(text: &str) -> Result<Size, String> {
    match text {
        "quick" => Ok(Size::Quick),
        "small" => Ok(Size::Small),
        "large" => Ok(Size::Large),
        _ => Err("say quick, small or large".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(|span| Duration::from_millis(span.as_ms())).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(size) = args.exhaustive {
        return explore_all(size, &args.only, args.most);
    }
    let began = Instant::now();
    let (mut total, mut played, mut failures) = (Tally::default(), 0, 0);
    for seed in args.seed.. {
        let enough = args.soak.map_or(played >= args.seeds, |soak| began.elapsed() >= soak);
        if enough || failures > 0 && !args.keep_going {
            break;
        }
        match play(seed, args.steps, args.trace) {
            Ok(tally) => total.add(tally),
            Err(failure) => {
                failures += 1;
                println!("BROKEN: {failure}");
                println!("  again: cargo run -p simulator -- --seed {seed} --steps {} --trace", args.steps);
            }
        }
        played += 1;
    }
    println!(
        "{played} seeds, {} steps: {failures} violations in {:.1} s",
        total.steps,
        began.elapsed().as_secs_f64()
    );
    println!(
        "  {} processes ended, {} killed; {} grants, {} refusals; {} leases taken over, {} ended by force, {} swept; {} failed calls, {} power cuts, {} damaged journals; {} \
         decisions made again",
        total.ended,
        total.killed,
        total.granted,
        total.refused,
        total.adopted,
        total.forced,
        total.swept,
        total.faults,
        total.power_cuts,
        total.damaged,
        total.decided_again
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore_all(size: Size, only: &str, most: Option<Duration>) -> ExitCode {
    let began = Instant::now();
    let (mut states, mut broken) = (0, 0);
    for scenario in explore::scenarios(size).into_iter().filter(|scenario| scenario.name.contains(only)) {
        let started = Instant::now();
        match explore::explore_until(&scenario, || most.is_some_and(|most| started.elapsed() >= most)) {
            Ok(explored) => {
                states += explored.states;
                println!(
                    "{:40} {:8} states, {:9} transitions, {:6} ends (granted 0/1/2/3: {:?}), depth {:3}, {:.1} s",
                    scenario.name,
                    explored.states,
                    explored.transitions,
                    explored.ends,
                    explored.granted,
                    explored.depth,
                    started.elapsed().as_secs_f64()
                );
                if explored.left > 0 {
                    println!("  time is up: {} choices were not followed", explored.left);
                }
            }
            Err(what) => {
                broken += 1;
                println!("BROKEN: {what}");
            }
        }
    }
    println!("{states} states: {broken} violations in {:.1} s", began.elapsed().as_secs_f64());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
