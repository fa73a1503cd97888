//! Builds and runs one killer in the private copy.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::mutant::{Killer, Seeds, Test};
use crate::tree::Tree;

/// What a killer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The bug, in its words.
    Bug(String),
    /// It cannot look on this machine, in its words.
    Skipped(String),
    /// It was stopped: no answer.
    NoEnd,
}

/// Builds `killer` and lets it look, at most for `most` beside the build.
///
/// # Errors
///
/// In words, when it cannot be built or does not do what a killer does. That is no kill.
pub fn ask(tree: &Tree, killer: &Killer, most: Duration) -> Result<Found, String> {
    match killer {
        Killer::Simulator(seeds) => ask_simulator(tree, seeds, most),
        Killer::Test(test) => ask_test(tree, test, most),
    }
}

fn ask_simulator(
    tree: &Tree,
    &Seeds { steps, seed, seeds }: &Seeds,
    most: Duration,
) -> Result<Found, String> {
    let program = build(tree, &["build", "--package", "simulator"], "simulator")?;
    let mut command = Command::new(program);
    let [seed, steps, seeds] = [seed, steps, seeds].map(|n| n.to_string());
    command.args(["--seed", &seed, "--steps", &steps, "--seeds", &seeds]);
    let (status, said) = run(tree, &mut command, most)?;
    let Some(status) = status else { return Ok(Found::NoEnd) };
    if status.success() {
        return Ok(Found::Nothing);
    }
    let broken = said.lines().find_map(|line| line.strip_prefix("BROKEN: "));
    match broken.map(str::to_owned).or_else(|| panic_in(&said)) {
        Some(what) => Ok(Found::Bug(what)),
        None => Err(format!("the simulator ended with {status} and says nothing of it:\n{said}")),
    }
}

fn ask_test(tree: &Tree, test: &Test, most: Duration) -> Result<Found, String> {
    let Test { package, target, name } = test;
    let mut args = vec!["test", "--no-run", "--package", package];
    let program_name = if target == "lib" {
        args.push("--lib");
        package
    } else {
        args.extend(["--test", target]);
        target
    };
    let program = build(tree, &args, program_name)?;
    let dir = tree.top.join("crates").join(package);
    let mut command = Command::new(program);
    command.args([name.as_str(), "--exact", "--nocapture"]).current_dir(&dir).env("CARGO_MANIFEST_DIR", &dir);
    let (status, said) = run(tree, &mut command, most)?;
    if !said.contains("running 1 test") {
        return Err(format!("there is no test `{name}` in {package}, {target}:\n{said}"));
    }
    match status {
        None => Ok(Found::NoEnd),
        Some(status) if status.success() => Ok(match said.lines().find(|line| line.contains("SKIPPED")) {
            Some(line) => Found::Skipped(line.to_owned()),
            None => Found::Nothing,
        }),
        Some(_) => Ok(Found::Bug(panic_in(&said).unwrap_or_else(|| "it fails".into()))),
    }
}

/// The message of the first panic.
fn panic_in(said: &str) -> Option<String> {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    lines.next()?;
    lines.next().map(str::to_owned)
}

/// Builds with cargo and returns the program of that name.
fn build(tree: &Tree, args: &[&str], name: &str) -> Result<PathBuf, String> {
    let cargo = Command::new("cargo")
        .args(args)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(&tree.top)
        .env("CARGO_TARGET_DIR", &tree.target)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !cargo.status.success() {
        return Err(format!("it does not build:\n{}", String::from_utf8_lossy(&cargo.stderr)));
    }
    let said = String::from_utf8_lossy(&cargo.stdout);
    let mut programs = said.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let program = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| PathBuf::from(program))
    });
    programs.next_back().ok_or_else(|| format!("cargo built no `{name}`"))
}

/// Runs a program and everything it starts, at most for `most`; `None` when it was stopped.
fn run(tree: &Tree, command: &mut Command, most: Duration) -> Result<(Option<ExitStatus>, String), String> {
    let log = tree.target.with_file_name("said");
    let ran = run_into(&log, command, most).map_err(|error| format!("{}: {error}", log.display()))?;
    let said = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok((ran, String::from_utf8_lossy(&said).into_owned()))
}

fn run_into(log: &Path, command: &mut Command, most: Duration) -> io::Result<Option<ExitStatus>> {
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = command.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= most {
            stop(&mut child)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a program and what it has started.
fn stop(child: &mut Child) -> io::Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
    }
    child.wait()?;
    Ok(())
}
