//! What clap says of a command line that it does not understand, as one line and a hint that can be followed.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::reply::Failure;
use crate::typed::{self, Dashed};

pub(crate) fn failure(error: &clap::Error) -> Failure {
    let kind = error.kind();
    if matches!(kind, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return Failure::usage("no command is given", Some(typed::help()));
    }
    let said = Said::of(error);
    let command = typed::command();
    if matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidValue)
        && let Some(dashed) = typed::dashed(&command)
    {
        return taken_for_a_flag(&dashed);
    }
    let names = |kind| match error.get(kind) {
        Some(ContextValue::Strings(names)) => names.clone(),
        Some(ContextValue::String(name)) => vec![name.clone()],
        _ => Vec::new(),
    };
    let asked = names(ContextKind::InvalidArg);
    let help = || typed::help();
    let hint = match kind {
        ErrorKind::InvalidValue if !names(ContextKind::ValidValue).is_empty() => {
            format!("possible values: {}", names(ContextKind::ValidValue).join(", "))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let flag = asked.first().and_then(|arg| arg.split(' ').next()).unwrap_or("it");
            format!("see what {flag} takes: {}", help())
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict
            if said.message.contains("LANE") && has_flag(&command, "lease") =>
        {
            by_lane_or_number(&command)
        }
        _ => match (&said.tip, &said.usage) {
            (Some(tip), _) if !tip.contains("as a value") || takes_paths(&command) => tip.clone(),
            (None, Some(usage)) => format!("usage: {usage}"),
            _ => help(),
        },
    };
    Failure::usage(said.message, Some(hint))
}

/// The parts of what clap would print.
struct Said {
    message: String,
    tip: Option<String>,
    usage: Option<String>,
}

impl Said {
    fn of(error: &clap::Error) -> Said {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
        let details: Vec<&str> = lines.collect();
        let is_list = message.ends_with(':');
        let is_named = |line: &&str| is_list && !line.starts_with("Usage") && !line.starts_with("For more");
        let named: Vec<&str> = details.iter().copied().take_while(is_named).collect();
        let message = if named.is_empty() { message } else { format!("{message} {}", named.join(" ")) };
        let behind = |start| details.iter().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        Said { message, tip: behind("tip: "), usage: behind("Usage: ") }
    }
}

/// A dash where a value should be. clap knows one way only to write such a value, and not one for flags.
fn taken_for_a_flag(dashed: &Dashed) -> Failure {
    let Dashed { flag, value, takes } = dashed;
    let (what, hint) = match takes.as_str() {
        "DUR" | "DUR|all|none" => {
            ("is not a duration", "durations look like `500ms`, `30s`, `5m`, `2h` or `1d`".to_owned())
        }
        "PID|parent" => {
            ("is not a process id", "name a running process by its number, or say `parent`".to_owned())
        }
        "N" | "TICKET" => ("is not a number", format!("give a whole number: {}", typed::help())),
        _ if flag.starts_with("--") => {
            let joined = arbiter::text::shell_word(&format!("{flag}={value}"));
            ("looks like a flag", format!("if that is its value, join the two: {joined}"))
        }
        _ => ("looks like a flag", typed::help()),
    };
    Failure::usage(format!("{flag}: `{value}` {what}"), Some(hint))
}

/// Both ways to say which lease is meant.
fn by_lane_or_number(command: &Command) -> String {
    let name = typed::name(command);
    let required = command.get_arguments().filter(|arg| arg.is_required_set() && !arg.is_positional());
    let more: String = required
        .filter_map(|arg| Some(format!(" --{} {}", arg.get_long()?, arg.get_value_names()?.first()?)))
        .collect();
    format!("name it by its lane or by its number: {name} LANE{more}, or {name} --lease N{more}")
}

fn has_flag(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

/// Whether the words behind the command are paths or patterns, which may begin with a dash.
fn takes_paths(command: &Command) -> bool {
    let mut names = command.get_positionals().filter_map(|arg| arg.get_value_names()?.first());
    names.any(|name| matches!(name.as_str(), "PATH" | "PATTERN" | "A" | "B"))
}
