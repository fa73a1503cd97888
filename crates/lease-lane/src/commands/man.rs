//! `man`: the pages, made from the same words as `--help`.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use arbiter::text::shell_word;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use crate::args::{self, Cli};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

/// What scripts go by, on every page.
const STATUS: &[(Exit, &str)] = &[
    (Exit::Yes, "Yes, and it is durable."),
    (Exit::No, "A clean no; nothing changed except the journalled refusal."),
    (Exit::Usage, "Usage, a bad pattern, a bad policy; nothing was written."),
    (Exit::NotYours, "The lease that was named is not, or no longer, yours."),
    (Exit::Busy, "The store's mutex could not be had within the budget; nothing was decided."),
    (Exit::Damaged, "The journal fails its integrity check; nothing is granted until repair."),
    (Exit::Io, "The disk said no; nothing was granted."),
    (Exit::Timeout, "--wait ran out."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LEASE_LANE_STORE, LEASE_LANE_ROOT, LEASE_LANE_POLICY, LEASE_LANE_OWNER",
        "As the flags of these names.",
    ),
    ("LEASE_LANE_ALLOW_FS", "1 is as --allow-fs."),
    (
        "LEASE_LANE_MUTEX_TTL",
        "How long others wait for one who holds the store's mutex and does not get on (10s).",
    ),
    ("LEASE_LANE_MUTEX_BUDGET", "How long to wait for the store's mutex altogether (30s)."),
    ("CLAUDE_CODE_SESSION_ID, CODEX_THREAD_ID", "Who asks, where nobody is named."),
];

/// One page.
struct Page {
    /// Its name and section: `lease-lane-acquire.1`.
    file: String,
    roff: String,
}

pub(super) fn run(args: &args::Man) -> Result<Reply, Failure> {
    let mut root = Cli::command();
    root.build();
    let of = find(&root, &args.command)?;
    let Some(dir) = &args.dir else {
        let page = page(of);
        let json = json!({ "outcome": "ok", "page": page.file, "roff": page.roff });
        return Ok(Reply::new(Exit::Yes, &json, page.roff));
    };
    let mut pages = Vec::new();
    collect(of, &mut pages);
    make(dir)?;
    let mut written = Vec::new();
    for page in &pages {
        written.push(write(dir, page)?.display().to_string());
    }
    let json = json!({ "outcome": "ok", "written": written });
    let text = format!("wrote {} pages to {}\n", written.len(), dir.display());
    Ok(Reply::new(Exit::Yes, &json, text))
}

/// The command of these words.
fn find<'c>(root: &'c Command, words: &[String]) -> Result<&'c Command, Failure> {
    words.iter().try_fold(root, |command, word| {
        let found = subcommands(command).find(|sub| sub.get_name() == word);
        found.ok_or_else(|| {
            let name = command.get_bin_name().unwrap_or(command.get_name());
            let known: Vec<&str> = subcommands(command).map(Command::get_name).collect();
            let hint = if known.is_empty() {
                format!("`{name}` has no commands of its own: lease-lane man")
            } else {
                format!("`{name}` has: {}", known.join(", "))
            };
            let word = arbiter::text::shown(word, 80);
            Failure::usage(format!("there is no command `{name} {word}`"), Some(hint))
        })
    })
}

/// `help` says what these pages say.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn collect(command: &Command, pages: &mut Vec<Page>) {
    pages.push(page(command));
    for sub in subcommands(command) {
        collect(sub, pages);
    }
}

fn page(command: &Command) -> Page {
    let is_root = command.get_name() == env!("CARGO_PKG_NAME");
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(without_help(command)).source(source).manual("lease-lane");
    let mut bytes = Vec::new();
    man.render(&mut bytes).expect("a vector takes every byte");
    let mut roff = String::from_utf8_lossy(&bytes).into_owned();
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for &(exit, meaning) in STATUS {
        more.control("TP", []).text([bold((exit as u8).to_string())]).text([roman(meaning)]);
    }
    if is_root {
        more.control("SH", ["ENVIRONMENT"]);
        for &(name, meaning) in ENVIRONMENT {
            more.control("TP", []).text([bold(name)]).text([roman(meaning)]);
        }
    } else {
        more.control("SH", ["SEE ALSO"]).text([bold("lease-lane"), roman("(1)")]);
    }
    roff.push_str(&more.to_roff());
    Page { file: man.get_filename(), roff }
}

/// Without the command `help`, which has no page.
fn without_help(command: &Command) -> Command {
    let mut command = command.clone();
    if command.find_subcommand("help").is_some() {
        command = command.mut_subcommand("help", |help| help.hide(true));
    }
    command
}

/// Makes the directory, and none above it: where there are none, the name is more likely mistyped than meant.
fn make(dir: &Path) -> Result<(), Failure> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let hint = format!("mkdir -p {}", shell_word(&dir.display().to_string()));
            let text = format!("the directory above `{}` is not there", dir.display());
            Err(Failure::because(&error, "usage", text, Some(hint)))
        }
        // What else is wrong shows when the pages are written.
        _ => Ok(()),
    }
}

fn write(dir: &Path, page: &Page) -> Result<PathBuf, Failure> {
    let path = dir.join(&page.file);
    std::fs::write(&path, &page.roff).map_err(|error: io::Error| {
        Failure::io(
            format!("could not write `{}`: {error}", path.display()),
            "name a directory that you may write",
        )
    })?;
    Ok(path)
}
