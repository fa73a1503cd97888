//! From the words of the command line to the arguments.

use std::ffi::OsString;
use std::slice;

use clap::{Error, Parser};

use crate::args::{Acquire, Check, Cli, Command, Global, Heartbeat, Held};

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

/// Where the command is named: the first word that is neither a flag nor the value of one.
pub(crate) fn command(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        match words.get(at)?.to_str() {
            Some("--store" | "--root" | "--policy" | "--owner") => at += 2,
            Some(flag) if flag.starts_with("--") => at += 1,
            _ => return Some(at),
        }
    }
}

/// The commands that hooks call on every edit, as they call them: to build clap's parsers takes longer than everything else
/// that these do. `None` for whatever is unusual or wrong (help, `--wait`, `--`, a value that begins
/// with a dash, a flag twice): that is clap's to read, and to explain.
fn hot(words: &[OsString]) -> Option<Cli> {
    let at = command(words)?;
    let (before, command, words) = (&words[1..at], &words[at], &words[at + 1..]);
    let mut global = Global::default();
    read(before, &mut global, |_, _| None)?;
    let command = match command.to_str()? {
        "acquire" => Command::Acquire(Box::new(acquire(words, &mut global)?)),
        "release" => Command::Release(held(words, &mut global, |_, _| None)?),
        "heartbeat" => Command::Heartbeat(heartbeat(words, &mut global)?),
        "check" => Command::Check(check(words, &mut global)?),
        "live" => {
            read(words, &mut global, |_, _| None)?;
            Command::Live
        }
        _ => return None,
    };
    Some(Cli { global, command })
}

fn acquire(words: &[OsString], global: &mut Global) -> Option<Acquire> {
    let mut args = Acquire::default();
    read(words, global, |flag, value| match flag {
        PLAIN => once(&mut args.lane, value.text()?),
        "--tree" => also(&mut args.tree, value.text()),
        "--read" => also(&mut args.read, value.text()),
        "--lock" => also(&mut args.lock, value.text()),
        "--bind" => also(&mut args.bind, value.text()),
        "--label" => also(&mut args.label, value.text()),
        "--ttl" => once(&mut args.ttl, value.text()?),
        "--run-id" => once(&mut args.run_id, value.text()?),
        "--why" => once(&mut args.why, value.text()?),
        "--request-id" => once(&mut args.request_id, value.text()?),
        "--whole" => switch(&mut args.whole, &value),
        "--force" => switch(&mut args.force, &value),
        "--dry-run" => switch(&mut args.dry_run, &value),
        _ => None,
    })?;
    Some(args)
}

fn heartbeat(words: &[OsString], global: &mut Global) -> Option<Heartbeat> {
    let mut coalesce = None;
    let held = held(words, global, |flag, value| match flag {
        "--coalesce" => once(&mut coalesce, value.text()?),
        _ => None,
    })?;
    Some(Heartbeat { held, coalesce, phase: None, budget: None, bind: Vec::new() })
}

fn held<'w>(
    words: &'w [OsString],
    global: &mut Global,
    mut more: impl FnMut(&str, Value<'w, '_>) -> Option<()>,
) -> Option<Held> {
    let mut args = Held::default();
    read(words, global, |flag, value| match flag {
        PLAIN => once(&mut args.lane, value.text()?),
        "--lease" => once(&mut args.lease, value.text()?.parse().ok()?),
        "--fence" => once(&mut args.fence, value.text()?.parse().ok()?),
        _ => more(flag, value),
    })?;
    (args.lane.is_some() != args.lease.is_some()).then_some(args)
}

fn check(words: &[OsString], global: &mut Global) -> Option<Check> {
    let mut args = Check { paths: Vec::new(), lease: None, fence: None };
    read(words, global, |flag, value| match flag {
        PLAIN => also(&mut args.paths, value.text()),
        "--lease" => once(&mut args.lease, value.text()?.parse().ok()?),
        "--fence" => once(&mut args.fence, value.text()?.parse().ok()?),
        _ => None,
    })?;
    (!args.paths.is_empty()).then_some(args)
}

/// What [`read`] calls a word that is no flag; the word is its value.
const PLAIN: &str = "";

/// What may stand behind a flag.
struct Value<'w, 'i> {
    /// Behind a `=`, or the word itself.
    joined: Option<&'w str>,
    rest: &'i mut slice::Iter<'w, OsString>,
}

impl Value<'_, '_> {
    /// The value, which has to be there.
    fn text(self) -> Option<String> {
        let text = match self.joined {
            Some(joined) => joined,
            None => self.rest.next()?.to_str().filter(|word| !word.starts_with('-'))?,
        };
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Reads words one after another: the flags that every command has, and what the command `takes`.
fn read<'w>(
    words: &'w [OsString],
    global: &mut Global,
    mut takes: impl FnMut(&str, Value<'w, '_>) -> Option<()>,
) -> Option<()> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let word = word.to_str()?;
        let (flag, joined) = match word.split_once('=') {
            _ if !word.starts_with('-') => (PLAIN, Some(word)),
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        };
        let value = Value { joined, rest: &mut rest };
        match flag {
            "--store" => once(&mut global.store, value.text()?.into())?,
            "--root" => once(&mut global.root, value.text()?.into())?,
            "--policy" => once(&mut global.policy, value.text()?.into())?,
            "--owner" => once(&mut global.owner, value.text()?)?,
            "--allow-fs" => switch(&mut global.allow_fs, &value)?,
            "--json" => switch(&mut global.json, &value)?,
            _ => takes(flag, value)?,
        }
    }
    Some(())
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn also(list: &mut Vec<String>, value: Option<String>) -> Option<()> {
    list.push(value?);
    Some(())
}

fn switch(place: &mut bool, value: &Value<'_, '_>) -> Option<()> {
    let is_new = value.joined.is_none() && !*place;
    *place = true;
    is_new.then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const COMMANDS: [&str; 5] = ["acquire", "release", "heartbeat", "check", "live"];
    const WORDS: [&str; 41] = [
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
        "--json=x",
        "--help",
        "-h",
    ];

    fn behind(before: &[&str], command: &str, rest: &[&str]) -> Vec<OsString> {
        ["lease-lane"].iter().chain(before).chain(&[command]).chain(rest).map(OsString::from).collect()
    }

    fn both_say_the_same(words: &[OsString]) {
        let Some(hot) = hot(words) else { return };
        let whole = Cli::try_parse_from(words).map_err(|error| error.to_string());
        assert_eq!(format!("{:?}", Ok::<_, String>(hot)), format!("{whole:?}"), "{words:?}");
    }

    #[test]
    fn what_hooks_say_is_read_without_clap() {
        for rest in [
            &["acquire", "api", "--tree", "src/**", "--owner", "ann", "--ttl", "10m", "--json"][..],
            &["acquire", "--whole", "--force", "--label", "k=v", "--label=k=w", "--request-id=7"],
            &["release", "--lease", "7", "--fence", "7"],
            &["heartbeat", "api", "--coalesce", "5m", "--allow-fs"],
            &["check", "src/a.rs", "lock://db", "--json"],
            &["live", "--json", "--store", "s"],
        ] {
            let words = behind(&[], rest[0], &rest[1..]);
            assert!(hot(&words).is_some(), "{rest:?}");
            both_say_the_same(&words);
            let words = behind(&["--json", "--owner", "ann", "--store=s"], rest[0], &rest[1..]);
            assert_eq!(hot(&words).is_some(), words.iter().filter(|word| *word == "--json").count() == 1);
            both_say_the_same(&words);
        }
    }

    #[test]
    fn nothing_is_read_otherwise_than_clap_reads_it() {
        for command in COMMANDS {
            both_say_the_same(&behind(&[], command, &[]));
            for one in WORDS {
                both_say_the_same(&behind(&[one], command, &["api"]));
                for two in WORDS {
                    both_say_the_same(&behind(&[one, two], command, &["api"]));
                    both_say_the_same(&behind(&[one], command, &["api", two]));
                }
                both_say_the_same(&behind(&[], command, &[one]));
                for two in WORDS {
                    both_say_the_same(&behind(&[], command, &[one, two]));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn nor_in_longer_lines(command in select(&COMMANDS[..]), rest in vec(select(&WORDS[..]), 0..7)) {
            both_say_the_same(&behind(&[], command, &rest));
        }
    }
}
