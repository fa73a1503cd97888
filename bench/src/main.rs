//! Benchmarks of lease-lane as ratios, and its budget of system calls and instructions.
//!
//! Milliseconds of one machine say nothing about another, so every row is divided by a floor measured in the same
//! run, in the same directory, a moment earlier: most by `floor.c`, a static C program that does what any durable grant
//! has to do and nothing else. Rows take turns (the first of a round changes every round), each ratio is formed within
//! one round, and the table shows medians with quartiles. Every answer is checked: a wrong exit code, a missing
//! grant or a second one ends the run with an error, because a benchmark of failures is worth nothing.
//!
//! `roster` is the table of what is measured, `contender` how. `scripts/bench --help` lists the options,
//! `scripts/budget --help` those of the budget, which counts instead of timing.

#![forbid(unsafe_code)]

mod args;
mod budget;
mod chart;
mod contender;
mod lane;
mod machine;
mod markdown;
mod order;
mod process;
mod report;
mod roster;
mod stats;
mod store;
mod tools;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, Command};
use contender::{Roster, Sample};
use report::{Report, Row};
use tools::{Tools, Work};

/// A result whose error is only ever shown to a person.
type Answer<T> = Result<T, Box<dyn Error>>;

/// Rounds that warm the caches and are not counted; dear rows take part in the first of them.
const WARM_UP_ROUNDS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Answer<ExitCode> {
    let args = match args::parse(std::env::args().skip(1))? {
        Command::Print(text) => {
            io::stdout().lock().write_all(text.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Library { store, lane, pairs } => {
            contender::pairs(&store, &lane, pairs)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Budget(args) => return budget::run(&args),
        Command::Order => return order::run(),
        Command::Measure(args) => args,
    };
    if !tools::is_installed("gcc") {
        eprintln!(
            "bench: SKIPPED, NOTHING WAS MEASURED: gcc is missing, so there is no floor to compare with"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let work = Work::new(args.dir.as_deref())?;
    let answer = measure(&args, &work);
    match &answer {
        Ok(()) => work.remove()?,
        Err(_) => eprintln!("bench: failed; see what is left in `{}`", work.dir.display()),
    }
    answer.map(|()| ExitCode::SUCCESS)
}

fn measure(args: &Args, work: &Work) -> Answer<()> {
    let start = Instant::now();
    let mut facts = machine::facts(&work.dir);
    let tools = Tools::build(work)?;
    let mut roster = Roster::new(roster::wanted(&args.only, args.quick), &tools, work)?;
    let samples = rounds(&mut roster, args.rounds)?;
    let of = |name: &str| {
        let which = roster.contenders.iter().position(|contender| contender.spec.name == name);
        which.map(|which| samples[which].as_slice()).unwrap_or_default()
    };
    let rows = roster.contenders.iter().zip(&samples);
    let rows =
        rows.filter_map(|(contender, samples)| Row::new(contender.spec, samples, of(contender.spec.base)));
    let rows = rows.collect();
    facts.push(("binary", tools.describe()));
    facts.push(("rounds", format!("{} in {:.0} s", args.rounds, start.elapsed().as_secs_f64())));
    if args.quick && args.only.is_empty() {
        facts.push(("left out", format!("{} (--quick)", roster::large())));
    }
    let report = Report { facts, rows, skipped: roster.skipped };
    let mut out = io::stdout().lock();
    out.write_all(if args.json { report.json() } else { report.table() }.as_bytes())?;
    out.flush()?;
    if let Some(file) = &args.markdown {
        fs::write(file, markdown::render(&report, args.chart.as_deref()))?;
    }
    if let Some(file) = &args.chart {
        fs::write(file, chart::draw(&report))?;
    }
    Ok(())
}

/// Lets all take turns, and gives what each came to, with the rounds it took part in.
fn rounds(roster: &mut Roster<'_>, rounds: usize) -> Answer<Vec<Vec<(usize, Sample)>>> {
    let contenders = &mut roster.contenders;
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..WARM_UP_ROUNDS + rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let contender = &mut contenders[which];
            let takes_part = match round.checked_sub(WARM_UP_ROUNDS) {
                Some(counted) => counted.is_multiple_of(contender.spec.every),
                None => round == 0 || contender.spec.every == 1,
            };
            if !takes_part {
                continue;
            }
            let sample = (contender.once)(round)
                .map_err(|error| format!("{}, round {round}: {error}", contender.spec.name))?;
            if round >= WARM_UP_ROUNDS {
                samples[which].push((round, sample));
            }
        }
    }
    Ok(samples)
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
