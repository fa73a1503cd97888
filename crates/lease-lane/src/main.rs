//! The `lease-lane` command: arguments in, verdict out, exit code. It renders and decides nothing.

#![cfg_attr(all(target_os = "linux", target_env = "gnu", not(test)), no_main)]

mod args;
mod commands;
mod context;
mod exit;
mod interrupt;
mod parse;
mod render;
mod reply;
mod start;
mod typed;
mod usage;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};

use clap::error::ErrorKind as ClapKind;
use lease::supervise;

use crate::commands::Ended;
use crate::exit::Exit;
use crate::reply::Failure;

/// Where Rust's library has its arguments from its own start-up only. It is at home in `start` otherwise.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(test))))]
fn main() -> std::process::ExitCode {
    start::start().into()
}

/// All of it; gives back the exit code.
fn run() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == supervise::GATE) {
        return commands::pass_gate(&arguments[2..]);
    }
    let json = wants_json(&arguments);
    let is_run = names_run(&arguments);
    let mut out = io::stdout().lock();
    let mut talk = io::stderr().lock();
    let ended = match parse::parse(&arguments) {
        Ok(cli) => commands::run(cli, &mut out, &mut talk),
        Err(error) if matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) => {
            let _left_early = error.print();
            return Exit::Yes as u8;
        }
        Err(error) if is_run => {
            let _unheard = print(&mut talk, &said(&usage::failure(&error), json));
            return exit::of_run::FAILED;
        }
        Err(error) => Err(usage::failure(&error)),
    };
    let exit = match ended {
        Ok(Ended::Streamed(exit)) => exit,
        Ok(Ended::Ran(code)) => return code,
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
    exit as u8
}

/// Whether the command is `run`, also when the rest of the command line cannot be understood.
fn names_run(arguments: &[OsString]) -> bool {
    parse::command(arguments).is_some_and(|at| arguments[at] == "run")
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
