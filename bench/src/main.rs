//! Benchmarks of lease-lane as ratios.
//!
//! Milliseconds of one machine say nothing about another, so every row is divided by a floor measured in the same
//! run, in the same directory, a moment earlier: `floor.c`, a static C program that does what any durable grant has
//! to do and nothing else. Rows take turns (the first of a round changes every round), each ratio is formed within
//! one round, and the table shows medians with quartiles. Every answer is checked: a wrong exit code, a missing
//! grant or a second one ends the run with an error, because a benchmark of failures is worth nothing.
//!
//! `cargo run --release -p bench -- --help` lists the options.

mod args;
mod contender;
mod machine;
mod report;
mod stats;
mod tools;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command};
use report::{Report, Row};
use tools::{Tools, Work};

/// A result whose error is only ever shown to a person.
type Answer<T> = Result<T, Box<dyn Error>>;

/// Rounds that warm the caches and are not counted.
const WARM_UP_ROUNDS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Answer<()> {
    let args = match args::parse(std::env::args().skip(1))? {
        Command::Help => return Ok(io::stdout().lock().write_all(args::HELP.as_bytes())?),
        Command::Measure(args) => args,
    };
    if !tools::is_installed("gcc") {
        eprintln!(
            "bench: SKIPPED, NOTHING WAS MEASURED: gcc is missing, so there is no floor to compare with"
        );
        return Ok(());
    }
    let work = Work::new(args.dir.as_deref())?;
    let answer = measure(&args, &work);
    match &answer {
        Ok(()) => work.remove()?,
        Err(_) => eprintln!("bench: failed; see what is left in `{}`", work.dir.display()),
    }
    answer
}

fn measure(args: &Args, work: &Work) -> Answer<()> {
    let tools = Tools::build(work)?;
    let mut contenders = contender::chosen(args, &tools, work)?;
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..WARM_UP_ROUNDS + args.rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let contender = &mut contenders[which];
            let counted = round.checked_sub(WARM_UP_ROUNDS);
            if counted.is_some_and(|counted| !counted.is_multiple_of(contender.every())) {
                continue;
            }
            let time = contender
                .once(round)
                .map_err(|error| format!("{}, round {round}: {error}", contender.name()))?;
            if counted.is_some() {
                times[which].push((round, time.as_secs_f64() * 1e3));
            }
        }
    }
    let of = |name: &str| {
        let which = contenders.iter().position(|contender| contender.name() == name);
        which.map(|which| times[which].as_slice()).unwrap_or_default()
    };
    let mut rows: Vec<Row> = Vec::new();
    for (contender, times) in contenders.iter().zip(&times) {
        rows.extend(Row::new(
            contender.name(),
            contender.what(),
            times,
            contender.base(),
            of(contender.base()),
        ));
    }
    // What a long history costs, formed within the rounds like every other ratio.
    rows.extend(Row::new(
        "history",
        "acquire-history against acquire",
        of("acquire-history"),
        "acquire",
        of("acquire"),
    ));
    let report = Report { machine: machine::facts(&work.dir), binary: tools.describe(), rows };
    let mut out = io::stdout().lock();
    out.write_all(if args.json { report.json() } else { report.table() }.as_bytes())?;
    Ok(out.flush()?)
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
