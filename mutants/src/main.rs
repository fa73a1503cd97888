//! `scripts/mutants`: builds in one deliberate bug after the other and shows who finds it.

#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use mutants::mutant::{self, Killer, Mutant, Seeds};
use mutants::tree::Tree;
use mutants::trial::{self, Found};

/// Build in each deliberate bug of mutants/bugs and show that the simulator or a named test finds it.
///
/// First the same killers look at the code as it is and must find nothing. Exit: 0 all found, 1 a mutant survived,
/// 2 a mutant is stale, does not build, or names no such test.
#[derive(Debug, Parser)]
struct Args {
    /// Only these
    names: Vec<String>,
    /// Most seeds that the simulator plays for a mutant
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// Most seconds that one killer runs
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Ask every killer of a mutant, not only until one finds it; each must
    #[arg(long)]
    all: bool,
    /// Print the table of docs/safety.md, mutants and who is expected to find them, and do nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match root.canonicalize().map_err(|error| error.to_string()).and_then(|root| run(&args, &root)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

/// `false`: one survived.
fn run(args: &Args, root: &Path) -> Result<bool, String> {
    let mutants = chosen(args, root)?;
    if args.list {
        println!("| mutant | what it does, and what that breaks | killed by |\n|---|---|---|");
        for mutant in &mutants {
            println!("{}", mutant.row());
        }
        return Ok(true);
    }
    let began = Instant::now();
    let most = Duration::from_secs(args.limit);
    let tree = Tree::of(root).map_err(|error| format!("the private copy: {error}"))?;
    for killer in killers(&mutants) {
        match trial::ask(&tree, &killer, most)? {
            Found::Nothing => {}
            Found::Bug(what) => return Err(format!("{killer} finds a bug in the code as it is: {what}")),
            Found::NoEnd => return Err(format!("{killer} does not end within {} s", args.limit)),
        }
    }
    println!("the code as it is: nothing found in {:.0} s\n", began.elapsed().as_secs_f64());
    println!("| mutant | what it does | killed by | s |\n|---|---|---|---|");
    let mut survivors = 0;
    for mutant in &mutants {
        let began = Instant::now();
        let tried = attack(&tree, mutant, args, most)?;
        let by = match &tried.killed[..] {
            [] => "**nobody**".to_owned(),
            killed => killed.join("; "),
        };
        println!("| `{}` | {} | {by} | {:.0} |", mutant.name, mutant.breaks, began.elapsed().as_secs_f64());
        for missed in &tried.missed {
            eprintln!("mutants: {}: {missed}", mutant.name);
        }
        survivors += usize::from(tried.killed.is_empty() || args.all && !tried.missed.is_empty());
    }
    let s = began.elapsed().as_secs_f64();
    println!("\n{} mutants, {survivors} survived, {s:.0} s", mutants.len());
    Ok(survivors == 0)
}

fn chosen(args: &Args, root: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = mutant::all(root)?;
    if let Some(name) = args.names.iter().find(|name| mutants.iter().all(|mutant| mutant.name != **name)) {
        return Err(format!("there is no mutant `{name}`; see scripts/mutants --list"));
    }
    mutants.retain(|mutant| args.names.is_empty() || args.names.contains(&mutant.name));
    for mutant in &mut mutants {
        mutant.applied(root)?;
        for killer in &mut mutant.killer {
            if let Killer::Simulator(Seeds { seeds, .. }) = killer {
                *seeds = args.seeds.min(*seeds);
            }
        }
    }
    Ok(mutants)
}

/// Everybody who will be asked, each once; the simulator with the most seeds that it is asked for.
fn killers(mutants: &[Mutant]) -> Vec<Killer> {
    let mut all: Vec<Killer> = Vec::new();
    for killer in mutants.iter().flat_map(|mutant| &mutant.killer) {
        let same = all.iter_mut().find(|other| match (killer, &other) {
            (Killer::Simulator(one), Killer::Simulator(two)) => one.steps == two.steps,
            _ => killer == *other,
        });
        match (killer, same) {
            (_, None) => all.push(killer.clone()),
            (Killer::Simulator(one), Some(Killer::Simulator(two))) => two.seeds = two.seeds.max(one.seeds),
            _ => {}
        }
    }
    all
}

/// Who found a mutant, and who did not.
#[derive(Default)]
struct Tried {
    killed: Vec<String>,
    missed: Vec<String>,
}

fn attack(tree: &Tree, mutant: &Mutant, args: &Args, most: Duration) -> Result<Tried, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("mutant {}: {error}", mutant.name);
    let files = mutant.applied(&tree.top)?;
    let mut tried = Tried::default();
    let asked = files
        .iter()
        .try_for_each(|(file, text)| tree.write(file.as_ref(), text.as_bytes()))
        .map_err(|error| wrong(&error))
        .and_then(|()| ask_all(tree, mutant, args, most, &mut tried).map_err(|error| wrong(&error)));
    for (file, _) in &files {
        tree.restore(file.as_ref()).map_err(|error| wrong(&error))?;
    }
    asked.map(|()| tried)
}

fn ask_all(
    tree: &Tree,
    mutant: &Mutant,
    args: &Args,
    most: Duration,
    tried: &mut Tried,
) -> Result<(), String> {
    for killer in &mutant.killer {
        match trial::ask(tree, killer, most)? {
            Found::Bug(what) => {
                let what: String = what.chars().take(120).collect();
                tried.killed.push(match killer {
                    Killer::Simulator(_) => format!("{killer}: {what}"),
                    Killer::Test(_) => format!("`{killer}`"),
                });
                if !args.all {
                    return Ok(());
                }
            }
            Found::Nothing => tried.missed.push(format!("not found by {killer}")),
            Found::NoEnd => tried.missed.push(format!("no answer from {killer} in {} s", args.limit)),
        }
    }
    Ok(())
}
