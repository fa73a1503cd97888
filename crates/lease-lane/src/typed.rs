//! The command line as it was typed, for what clap does not keep.

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;

/// A flag, and what was typed behind it as its value although clap takes it for another flag.
pub(crate) struct Dashed {
    pub(crate) flag: String,
    pub(crate) value: String,
    /// What the flag takes, as its help names it.
    pub(crate) takes: String,
}

/// The innermost command that was typed, `lease-lane` itself if none was.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    let mut words = words().into_iter();
    while let Some(word) = words.next() {
        if let Some(inner) = command.find_subcommand(&word) {
            command = inner.clone();
        } else if flag(&command, &word).is_some() {
            words.next();
        } else if !word.starts_with('-') {
            break;
        }
    }
    command
}

/// How to have that command explained.
pub(crate) fn help() -> String {
    format!("{} --help", name(&command()))
}

/// The words that call a command.
pub(crate) fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(command.get_name())
}

/// The first flag of `command` with a dash right behind it where its value should be.
pub(crate) fn dashed(command: &Command) -> Option<Dashed> {
    let words = words();
    words.windows(2).find_map(|pair| {
        let [word, value] = pair else { return None };
        let arg = flag(command, word)?;
        let takes = arg.get_value_names()?.first()?.to_string();
        let is_number =
            value.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let is_meant = is_number || (value.len() > 1 && value.starts_with('-') && is_text(&takes));
        is_meant.then(|| Dashed { flag: word.clone(), value: value.clone(), takes })
    })
}

/// Whether `flag` was given with `=`, which leaves no doubt what its value is.
pub(crate) fn is_joined(flag: &str) -> bool {
    words().iter().any(|word| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
}

/// Whether what a flag takes may be any text, and so begin with a dash.
fn is_text(takes: &str) -> bool {
    matches!(takes, "PATTERN" | "NAME" | "TEXT" | "ID" | "L" | "OWNER" | "K=V" | "DIR" | "FILE")
}

/// The flag that `word` is, if the next word is its value.
fn flag<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let mut flags = command.get_arguments().filter(|arg| arg.get_action().takes_values());
    match word.strip_prefix("--") {
        Some(long) => flags.find(|arg| arg.get_long() == Some(long)),
        None => {
            let mut letters = word.strip_prefix('-')?.chars();
            let (letter, None) = (letters.next()?, letters.next()) else { return None };
            flags.find(|arg| arg.get_short() == Some(letter))
        }
    }
}

/// The words that are the program's own: up to `--`.
fn words() -> Vec<String> {
    let words = std::env::args_os().skip(1).take_while(|word| word != "--");
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}
