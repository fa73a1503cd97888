//! The `lease-lane` command: arguments in, verdict out, exit code. It renders and decides nothing.

mod args;
mod commands;
mod context;
mod exit;
mod interrupt;
mod render;
mod reply;
mod typed;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind as ClapKind;
use lease::supervise;
use signal_hook::consts::signal::SIGXFSZ;

use crate::args::Cli;
use crate::commands::Ended;
use crate::exit::Exit;
use crate::reply::Failure;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == supervise::GATE) {
        return ExitCode::from(commands::pass_gate(&arguments[2..]));
    }
    let json = wants_json(&arguments);
    let is_run = names_run(&arguments);
    // A file-size limit is a full disk (exit 6), not a reason to die without a word.
    let _best_effort = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let mut out = io::stdout().lock();
    let mut talk = io::stderr().lock();
    let ended = match Cli::try_parse_from(arguments) {
        Ok(cli) => commands::run(cli, &mut out, &mut talk),
        Err(error) if matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) => {
            let _left_early = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if is_run => {
            let _unheard = print(&mut talk, &said(&usage(&error), json));
            return ExitCode::from(exit::of_run::FAILED);
        }
        Err(error) => Err(usage(&error)),
    };
    let exit = match ended {
        Ok(Ended::Streamed(exit)) => exit,
        Ok(Ended::Ran(code)) => return ExitCode::from(code),
        Ok(Ended::Replied(reply)) => {
            let text = if json { format!("{}\n", reply.json) } else { reply.text };
            match print(&mut out, &text) {
                Ok(()) => reply.exit,
                Err(error) => {
                    // What was decided stands: whoever reads the talk shall know it.
                    let _unheard = print(&mut talk, &format!("{}\n", reply.json));
                    fail(&Failure::output(&error), false, &mut out, &mut talk)
                }
            }
        }
        Err(failure) => fail(&failure, json, &mut out, &mut talk),
    };
    ExitCode::from(exit as u8)
}

/// Whether the command is `run`, also when the rest of the command line cannot be understood.
fn names_run(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--store" | "--root" | "--policy" | "--owner") => drop(words.next()),
            Some(flag) if flag.starts_with("--") => {}
            _ => return word == "run",
        }
    }
    false
}

/// Whether JSON is wanted, also when the rest of the command line cannot be understood.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

fn fail(failure: &Failure, json: bool, out: &mut dyn Write, talk: &mut dyn Write) -> Exit {
    let _unheard = print(if json { out } else { talk }, &said(failure, json));
    failure.exit
}

fn said(failure: &Failure, json: bool) -> String {
    if json { format!("{}\n", failure.json()) } else { failure.lines() }
}

/// Prints; a reader that left early has had enough, which is no failure.
fn print(to: &mut dyn Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// What clap says, as one line and a hint.
fn usage(error: &clap::Error) -> Failure {
    let kind = error.kind();
    if matches!(kind, ClapKind::DisplayHelpOnMissingArgumentOrSubcommand | ClapKind::MissingSubcommand) {
        return Failure::usage("no command is given", Some("lease-lane --help".into()));
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
    let mut details: Vec<&str> = lines.collect();
    details.retain(|line| !line.starts_with("For more information"));
    let is_list = message.ends_with(':');
    let named: Vec<&str> =
        details.iter().copied().take_while(|line| is_list && !line.starts_with("Usage")).collect();
    let message = if named.is_empty() { message } else { format!("{message} {}", named.join(" ")) };
    let tip = details.iter().find_map(|line| line.strip_prefix("tip: "));
    let usage = details.iter().find_map(|line| line.strip_prefix("Usage: "));
    let values = details.iter().find_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let hint = match (tip.or(values), usage) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(usage)) => format!("usage: {usage}"),
        (None, None) => "lease-lane --help".to_owned(),
    };
    Failure::usage(message, Some(hint))
}
