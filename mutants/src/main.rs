//! `scripts/mutants`: builds in one deliberate bug after the other and shows who finds it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use mutants::mutant::{self, Killer, Mutant};
use mutants::tree::Tree;
use mutants::trial::{self, Found};

/// Build in each deliberate bug of mutants/bugs and show that the simulator or a named test finds it.
///
/// First the same killers look at the code as it is and must find nothing. Then a line for each mutant: its name, killed
/// or SURVIVED, seconds, and what its killer said. Exit: 0 all found, 1 a mutant survived, 2 a mutant is stale, does not
/// build, or names no such test.
#[derive(Debug, Parser)]
struct Args {
    /// Only these
    names: Vec<String>,
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
        println!(
            "| mutant | what the code does instead | the promise that breaks | killed by |\n|---|---|---|---|"
        );
        for mutant in &mutants {
            println!("{}", mutant.row());
        }
        return Ok(true);
    }
    let began = Instant::now();
    let most = Duration::from_secs(args.limit);
    let tree = Tree::of(root).map_err(|error| format!("the private copy: {error}"))?;
    look_at_the_code_as_it_is(&tree, &mutants, most)?;
    let wide = mutants.iter().map(|mutant| mutant.name.len()).max().unwrap_or(0);
    println!("{:wide$}  sound     {:>4.0} s", "the code as it is", began.elapsed().as_secs_f64());
    let mut survivors = 0;
    for mutant in &mutants {
        let began = Instant::now();
        let tried = attack(&tree, mutant, args.all, most)?;
        let survived = tried.killed.is_empty() || !tried.missed.is_empty();
        survivors += usize::from(survived);
        let fate = if survived { "SURVIVED" } else { "killed  " };
        let told = [tried.missed, tried.killed].concat().join("; ");
        println!("{:wide$}  {fate}  {:>4.0} s  {told}", mutant.name, began.elapsed().as_secs_f64());
    }
    println!(
        "{} mutants, {survivors} survived a killer, {:.0} s",
        mutants.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(survivors == 0)
}

fn look_at_the_code_as_it_is(tree: &Tree, mutants: &[Mutant], most: Duration) -> Result<(), String> {
    for killer in killers(mutants) {
        match trial::ask(tree, &killer, most)? {
            Found::Nothing => {}
            Found::Bug(what) => return Err(format!("{killer} finds a bug in the code as it is: {what}")),
            Found::Skipped(why) => eprintln!("{killer} does not look here: {why}"),
            Found::NoEnd => return Err(format!("{killer} does not end within {} s", most.as_secs())),
        }
    }
    Ok(())
}

fn chosen(args: &Args, root: &Path) -> Result<Vec<Mutant>, String> {
    let mut mutants = mutant::all(root)?;
    if let Some(name) = args.names.iter().find(|name| mutants.iter().all(|mutant| mutant.name != **name)) {
        return Err(format!("there is no mutant `{name}`; see scripts/mutants --list"));
    }
    mutants.retain(|mutant| args.names.is_empty() || args.names.contains(&mutant.name));
    for mutant in &mutants {
        mutant.applied(root)?;
    }
    Ok(mutants)
}

/// Everybody who will be asked, each once; seeds that overlap in one go.
fn killers(mutants: &[Mutant]) -> Vec<Killer> {
    let mut all: Vec<Killer> = Vec::new();
    for killer in mutants.iter().flat_map(|mutant| &mutant.killer) {
        let known = all.iter_mut().find_map(|other| match (killer, &*other) {
            (Killer::Simulator(one), Killer::Simulator(two)) => {
                one.joined(two).map(|both| (other, Killer::Simulator(both)))
            }
            _ => (killer == other).then(|| (other, killer.clone())),
        });
        match known {
            Some((other, both)) => *other = both,
            None => all.push(killer.clone()),
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

fn attack(tree: &Tree, mutant: &Mutant, all: bool, most: Duration) -> Result<Tried, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("mutant {}: {error}", mutant.name);
    let files = mutant.applied(&tree.top)?;
    let mut tried = Tried::default();
    let asked = files
        .iter()
        .try_for_each(|(file, text)| tree.write(file.as_ref(), text.as_bytes()))
        .map_err(|error| wrong(&error))
        .and_then(|()| ask_all(tree, mutant, all, most, &mut tried).map_err(|error| wrong(&error)));
    for (file, _) in &files {
        tree.restore(file.as_ref()).map_err(|error| wrong(&error))?;
    }
    asked.map(|()| tried)
}

fn ask_all(tree: &Tree, mutant: &Mutant, all: bool, most: Duration, tried: &mut Tried) -> Result<(), String> {
    for killer in &mutant.killer {
        match trial::ask(tree, killer, most)? {
            Found::Bug(what) => {
                tried.killed.push(match killer {
                    Killer::Simulator(_) => {
                        format!("simulator: {}", what.chars().take(120).collect::<String>())
                    }
                    Killer::Test(_) => killer.to_string(),
                });
                if !all {
                    return Ok(());
                }
            }
            Found::Nothing => tried.missed.push(format!("not found by {killer}")),
            Found::NoEnd => tried.missed.push(format!("no answer from {killer} in {} s", most.as_secs())),
            // Said loudly before; it is no killer here, and the next one is asked.
            Found::Skipped(_) => {}
        }
    }
    Ok(())
}
