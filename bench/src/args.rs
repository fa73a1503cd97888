//! The command line.

use std::path::PathBuf;

use crate::Answer;
use crate::roster::{self, ROWS};

const HELP: &str = "\
Measure lease-lane against floors of the same run

Usage: scripts/bench [OPTIONS]

Options:
  --rounds N       Measure N rounds (default 200; dear rows take part in every tenth, the dearest in every fortieth)
  --quick          A table in under a minute: 20 rounds, and no row that needs a large store
  --only ROW       Measure this row and what it is compared with; may be repeated
  --dir DIR        Work in a new directory under DIR (default: the target directory)
  --json           Print one JSON object instead of the table
  --markdown FILE  Write the table as a document, too
  --chart FILE     Draw the ratios, too (SVG)
  --help           Print this

Environment:
  LEASE_LANE_BIN   Measure this binary instead of building one

scripts/budget --help tells of system calls and instructions, which are counted instead of timed.

";

/// What `scripts/order --help` prints.
pub(crate) const ORDER_HELP: &str = "\
Write down which functions the hot verbs call, into .cargo/order.txt: the linker puts them side by side

Usage: scripts/order

Builds lease-lane with symbols and runs it under valgrind. Useful after changes of what the hot verbs do, of the compiler, or
of dependencies; a list that is out of date does no harm (docs/adr/0018-order.md).
";

/// What `scripts/budget --help` prints.
pub(crate) const BUDGET_HELP: &str = "\
Count what the hot verbs ask of the machine, and compare it with bench/budget.txt

Usage: scripts/budget [OPTIONS]

Options:
  --calls          Count system calls only (of the binary of `cargo build`; they are those of a release build)
  --accept         Write what was counted into the budget
  --help           Print this

Without --calls also the instructions of a release build are counted, by valgrind.
Ends with 1 when a count is above its budget, and says when one is so far below that the budget ought to be tightened.
";

/// What `--help` prints.
pub(crate) fn help() -> String {
    let rows: Vec<String> = ROWS.iter().map(|spec| format!("  {:<14} {}", spec.name, spec.what)).collect();
    format!("{HELP}Rows:\n{}\n", rows.join("\n"))
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print a text.
    Print(String),
    /// Measure.
    Measure(Args),
    /// Count.
    Budget(BudgetArgs),
    /// Write down which functions the hot verbs call.
    Order,
    /// Be one of the long-lived processes of the `library` rows.
    Library {
        /// The store.
        store: PathBuf,
        /// The lane of this process.
        lane: String,
        /// How many leases it takes and gives back.
        pairs: usize,
    },
}

/// What to measure, and how.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    /// How many rounds are counted.
    pub(crate) rounds: usize,
    /// The rows asked for; none means all.
    pub(crate) only: Vec<String>,
    /// Whether large stores are left out.
    pub(crate) quick: bool,
    /// Where to work.
    pub(crate) dir: Option<PathBuf>,
    /// Whether to print JSON.
    pub(crate) json: bool,
    /// Where to write the document.
    pub(crate) markdown: Option<PathBuf>,
    /// Where to draw the chart.
    pub(crate) chart: Option<PathBuf>,
}

/// What to count.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct BudgetArgs {
    /// Whether system calls are enough.
    pub(crate) calls_only: bool,
    /// Whether what is counted becomes the budget.
    pub(crate) accept: bool,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Answer<Command> {
    let mut words = words.peekable();
    match words.peek().map(String::as_str) {
        Some("budget") => return parse_budget(words.skip(1)),
        Some("order") => {
            return match words.nth(1).as_deref() {
                None => Ok(Command::Order),
                Some("--help") => Ok(Command::Print(ORDER_HELP.to_owned())),
                Some(word) => Err(format!("unknown option `{word}`; see scripts/order --help").into()),
            };
        }
        Some("--library") => {
            let mut value = || words.next().ok_or("`--library` needs STORE LANE PAIRS");
            value()?;
            let (store, lane, pairs) = (value()?.into(), value()?, value()?.parse()?);
            return Ok(Command::Library { store, lane, pairs });
        }
        _ => {}
    }
    let mut args = Args {
        rounds: 200,
        only: Vec::new(),
        quick: false,
        dir: None,
        json: false,
        markdown: None,
        chart: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value; see --help"));
        match word.as_str() {
            "--rounds" => args.rounds = value()?.parse().map_err(|_| "`--rounds` needs a number")?,
            "--quick" => (args.quick, args.rounds) = (true, 20),
            "--only" => {
                let row = value()?;
                if roster::spec(&row).is_none() {
                    return Err(format!("there is no row `{row}`; see --help").into());
                }
                args.only.push(row);
            }
            "--dir" => args.dir = Some(value()?.into()),
            "--json" => args.json = true,
            "--markdown" => args.markdown = Some(value()?.into()),
            "--chart" => args.chart = Some(value()?.into()),
            "--help" | "-h" => return Ok(Command::Print(help())),
            _ => return Err(format!("unknown argument `{word}`; see --help").into()),
        }
    }
    if args.rounds == 0 {
        return Err("`--rounds` must be at least 1".into());
    }
    Ok(Command::Measure(args))
}

fn parse_budget(words: impl Iterator<Item = String>) -> Answer<Command> {
    let mut args = BudgetArgs::default();
    for word in words {
        match word.as_str() {
            "--calls" => args.calls_only = true,
            "--accept" => args.accept = true,
            "--help" | "-h" => return Ok(Command::Print(BUDGET_HELP.to_owned())),
            _ => return Err(format!("unknown argument `{word}`; see --help").into()),
        }
    }
    Ok(Command::Budget(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Answer<Command> {
        parse(words.iter().map(ToString::to_string))
    }

    #[test]
    fn options_are_read() {
        let words = ["--rounds", "7", "--only", "floor", "--only", "hello", "--json", "--chart", "x.svg"];
        let Ok(Command::Measure(args)) = parsed(&words) else { panic!("{words:?}") };
        assert_eq!((args.rounds, args.json, args.chart), (7, true, Some("x.svg".into())));
        assert_eq!(args.only, ["floor", "hello"]);
        let Ok(Command::Budget(args)) = parsed(&["budget", "--calls", "--accept"]) else { panic!("budget") };
        assert_eq!(args, BudgetArgs { calls_only: true, accept: true });
        let Ok(Command::Library { lane, pairs, .. }) = parsed(&["--library", "s", "l", "3"]) else {
            panic!("library")
        };
        assert_eq!((lane.as_str(), pairs), ("l", 3));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["--rounds"][..],
            &["--rounds", "x"],
            &["--rounds", "0"],
            &["--what"],
            &["x"],
            &["--only", "x"],
            &["budget", "x"],
            &["order", "x"],
            &["--library", "s"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
