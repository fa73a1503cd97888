//! The command line.

use std::path::PathBuf;

use crate::Answer;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measure lease-lane against floors of the same run

Usage: cargo run --release -p bench -- [OPTIONS]

Options:
  --rounds N    Measure N rounds (default 200; rows with many processes take part in every tenth)
  --only ROW    Measure this row and what it is compared with; may be repeated
  --history N   Give the `acquire-history` row a history of N records (default 100000)
  --dir DIR     Work in a new directory under DIR (default: the target directory)
  --json        Print one JSON object instead of the table
  --help        Print this

Rows: floor hello flock acquire run acquire-history hand-over floor-64 disjoint-64 one-64

Environment:
  LEASE_LANE_BIN   Measure this binary instead of building one
";

/// Every row that can be asked for.
pub(crate) const ROWS: [&str; 10] = [
    "floor",
    "hello",
    "flock",
    "acquire",
    "run",
    "acquire-history",
    "hand-over",
    "floor-64",
    "disjoint-64",
    "one-64",
];

/// What to do.
pub(crate) enum Command {
    /// Print [`HELP`].
    Help,
    /// Measure.
    Measure(Args),
}

/// What to measure, and how.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    /// How many rounds are counted.
    pub(crate) rounds: usize,
    /// The rows asked for; none means all.
    pub(crate) only: Vec<String>,
    /// How many records the store of `acquire-history` has.
    pub(crate) history: u64,
    /// Where to work.
    pub(crate) dir: Option<PathBuf>,
    /// Whether to print JSON.
    pub(crate) json: bool,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Answer<Command> {
    let mut args = Args { rounds: 200, only: Vec::new(), history: 100_000, dir: None, json: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value; see --help"));
        match word.as_str() {
            "--rounds" => args.rounds = value()?.parse().map_err(|_| "`--rounds` needs a number")?,
            "--only" => {
                let row = value()?;
                if !ROWS.contains(&row.as_str()) {
                    return Err(format!("there is no row `{row}`; rows: {}", ROWS.join(" ")).into());
                }
                args.only.push(row);
            }
            "--history" => args.history = value()?.parse().map_err(|_| "`--history` needs a number")?,
            "--dir" => args.dir = Some(value()?.into()),
            "--json" => args.json = true,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(format!("unknown argument `{word}`; see --help").into()),
        }
    }
    if args.rounds == 0 {
        return Err("`--rounds` must be at least 1".into());
    }
    Ok(Command::Measure(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Args, String> {
        match parse(words.iter().map(ToString::to_string)) {
            Ok(Command::Measure(args)) => Ok(args),
            Ok(Command::Help) => Err("help".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn options_are_read() {
        let args = parsed(&["--rounds", "7", "--only", "floor", "--only", "hello", "--json"]).unwrap();
        assert_eq!((args.rounds, args.json, args.history), (7, true, 100_000));
        assert_eq!(args.only, ["floor", "hello"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in
            [&["--rounds"][..], &["--rounds", "x"], &["--rounds", "0"], &["--what"], &["x"], &["--only", "x"]]
        {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
