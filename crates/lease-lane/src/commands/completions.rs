//! `completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Cli;
use crate::exit::Exit;
use crate::reply::Reply;

pub(super) fn run(shell: Shell) -> Reply {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6.11 spells a program with a hyphen one way where it says which command it is in, and
        // another where it asks: nothing behind a command was completed.
        script = script.replace("lease__subcmd__lane", "lease__lane");
    }
    let json = json!({ "outcome": "ok", "shell": shell.to_string(), "script": script });
    Reply::new(Exit::Yes, &json, script)
}
