//! From the words of the command line to the arguments.

use std::ffi::OsString;

use clap::{Args, Error, FromArgMatches, Parser};

use crate::args::{Cli, Command, Global};

/// Reads the command line, the program's name first.
///
/// # Errors
///
/// What clap says of a mistake, or of a wish for help.
pub(crate) fn parse(words: &[OsString]) -> Result<Cli, Error> {
    match hot(words) {
        Some(cli) => Ok(cli),
        None => Cli::try_parse_from(words),
    }
}

/// The commands that hooks call on every edit, read by a parser that knows that one command: building the parsers of all
/// commands takes longer than everything else that these do. Whatever it does not take as it stands (a mistake, help,
/// flags before the command) is left to the parser of all.
fn hot(words: &[OsString]) -> Option<Cli> {
    let (command, words) = (words.get(1)?, words.get(2..)?);
    match command.to_str()? {
        "acquire" => one(words, |args| Command::Acquire(Box::new(args))),
        "release" => one(words, Command::Release),
        "heartbeat" => one(words, Command::Heartbeat),
        "check" => one(words, Command::Check),
        "live" => one(words, |NoArgs {}| Command::Live),
        _ => None,
    }
}

/// What a command without arguments of its own takes.
#[derive(Args)]
struct NoArgs {}

fn one<A: Args>(words: &[OsString], command: impl FnOnce(A) -> Command) -> Option<Cli> {
    let bare = clap::Command::new("").no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
    let mut found = A::augment_args(Global::augment_args(bare)).try_get_matches_from(words).ok()?;
    let global = Global::from_arg_matches_mut(&mut found).ok()?;
    Some(Cli { global, command: command(A::from_arg_matches_mut(&mut found).ok()?) })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const COMMANDS: [&str; 5] = ["acquire", "release", "heartbeat", "check", "live"];
    const WORDS: [&str; 40] = [
        "api",
        "src/**",
        "7",
        "-7",
        "",
        "--",
        "-",
        "help",
        "live",
        "10m",
        "--tree",
        "--tree=src",
        "--read",
        "--lock",
        "--whole",
        "--ttl",
        "--bind",
        "--wait",
        "--wait=5s",
        "--run-id",
        "--why",
        "--label",
        "k=v",
        "--request-id",
        "--parent",
        "--force",
        "--dry-run",
        "--lease",
        "--lease=9",
        "--fence",
        "--coalesce",
        "--phase",
        "finalizing",
        "--budget",
        "--store",
        "--owner",
        "--owner=ann",
        "--json",
        "--help",
        "-h",
    ];

    fn words(command: &str, rest: &[&str]) -> Vec<OsString> {
        ["lease-lane", command].iter().chain(rest).map(OsString::from).collect()
    }

    fn both_say_the_same(words: &[OsString]) {
        let Some(hot) = hot(words) else { return };
        let whole = Cli::try_parse_from(words).map_err(|error| error.to_string());
        assert_eq!(format!("{:?}", Ok::<_, String>(hot)), format!("{whole:?}"), "{words:?}");
    }

    #[test]
    fn what_hooks_say_is_read_without_the_other_commands() {
        for rest in [
            &["acquire", "api", "--tree", "src/**", "--owner", "ann", "--ttl", "10m", "--json"][..],
            &["acquire", "--whole", "--wait", "--force"],
            &["release", "--lease", "7", "--fence", "7"],
            &["heartbeat", "api", "--phase", "finalizing", "--budget", "5m"],
            &["check", "src/a.rs", "lock://db", "--json"],
            &["live", "--json", "--store", "s"],
        ] {
            let words = words(rest[0], &rest[1..]);
            assert!(hot(&words).is_some(), "{rest:?}");
            both_say_the_same(&words);
        }
    }

    #[test]
    fn the_parser_of_one_command_takes_nothing_that_the_whole_one_reads_otherwise() {
        for command in COMMANDS {
            both_say_the_same(&words(command, &[]));
            for one in WORDS {
                both_say_the_same(&words(command, &[one]));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn nor_in_longer_lines(command in select(&COMMANDS[..]), rest in vec(select(&WORDS[..]), 0..7)) {
            both_say_the_same(&words(command, &rest));
        }
    }
}
