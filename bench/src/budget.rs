//! The guard that is no timed test: what the hot verbs ask of the machine is counted and compared with a committed
//! budget.
//!
//! System calls are those of any build, so a build for tests will do; instructions are those of a release build. What a
//! program that says hello needs is taken off both: the loader and the runtime are the machine's, not ours. Calls that
//! manage memory are left out, since they depend on the optimiser; instructions have them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Answer;
use crate::args::BudgetArgs;
use crate::lane::Lane;
use crate::process::{command, expect};
use crate::tools::{Work, built, compile, install, is_installed};

/// How many times each is counted; the least counts. Now and then a reader needs one call more.
const TRIES: usize = 3;

/// Calls that are not counted.
const OF_MEMORY: &[&str] = &["brk", "mmap", "munmap", "mprotect", "mremap", "madvise"];

const FILE_HEAD: &str = "\
# What the hot verbs may ask of the machine beyond what a program that says hello does.
# Written by `scripts/budget --accept`, compared by `scripts/budget`; .ci/run compares the calls.
# verb       kind              budget   slack
";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Calls,
    Instructions,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Calls => "calls",
            Kind::Instructions => "instructions",
        }
    }

    /// How far from the budget a count may be, in percent.
    fn slack(self) -> u64 {
        match self {
            Kind::Calls => 0,
            Kind::Instructions => 2,
        }
    }

    fn of(text: &str) -> Option<Kind> {
        [Kind::Calls, Kind::Instructions].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A verb as the budget has it: what is there before it, what is typed, and how that ends.
pub(crate) struct Verb {
    name: &'static str,
    is_held: bool,
    owner: &'static str,
    words: &'static [&'static str],
    code: i32,
}

pub(crate) const VERBS: &[Verb] = &[
    verb("acquire", false, "bench", &["acquire", "wanted", "--tree", "src/**"], 0),
    verb("refuse", true, "rival", &["acquire", "wanted", "--tree", "src/api/*.rs"], 1),
    verb("release", true, "bench", &["release", "held"], 0),
    verb("heartbeat", true, "bench", &["heartbeat", "held"], 0),
    verb("check", true, "bench", &["check", "src/api/login.rs"], 0),
    verb("live", true, "bench", &["live"], 0),
];

const fn verb(
    name: &'static str,
    is_held: bool,
    owner: &'static str,
    words: &'static [&'static str],
    code: i32,
) -> Verb {
    Verb { name, is_held, owner, words, code }
}

impl Verb {
    /// The command, once what has to be there before it is in `store`.
    fn typed(&self, program: &Path, store: PathBuf, work: &Work) -> Answer<Command> {
        let lane = Lane { program, store, work };
        lane.prime()?;
        if self.is_held {
            lane.acquire("held", "src/**")?;
        }
        lane.command_as(self.owner, self.words.iter().copied())
    }
}

/// What may be asked, by verb and kind.
type Budget = BTreeMap<(String, Kind), u64>;

/// What was asked: how often, and of calls also which.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Count {
    all: u64,
    by_name: BTreeMap<String, u64>,
}

/// Counts, compares, prints.
pub(crate) fn run(args: &BudgetArgs) -> Answer<ExitCode> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("budget.txt");
    let budget = parse(&fs::read_to_string(&file).unwrap_or_default())?;
    // Paths are walked name by name, so the place has to have as many of them everywhere.
    let work = Work::new(Some(Path::new("/tmp")))?;
    let counted = count_all(args, &work);
    work.remove()?;
    let counted = counted?;
    let (text, is_kept) = compare(&budget, &counted);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    if args.accept {
        let mut accepted = budget;
        accepted.extend(counted.into_iter().map(|(what, count)| (what, count.all)));
        fs::write(&file, render(&accepted))?;
        eprintln!("budget: wrote bench/budget.txt");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count_all(args: &BudgetArgs, work: &Work) -> Answer<BTreeMap<(String, Kind), Count>> {
    let mut counted = BTreeMap::new();
    let mut kinds = vec![(Kind::Calls, "strace", &[][..])];
    if !args.calls_only {
        kinds.push((Kind::Instructions, "valgrind", &["--release"][..]));
    }
    for (kind, tool, how) in kinds {
        if let Err(why) = find(kind, tool, work) {
            eprintln!("budget: SKIPPED, NO {} WERE COUNTED: {why}", kind.as_str().to_uppercase());
            continue;
        }
        let hello = built("bench", "bench-hello", how)?;
        let lease_lane = built("lease-lane", "lease-lane", how)?;
        let hello = least(|_| count(kind, &command(&hello, work)?, 0, work))?;
        for verb in VERBS {
            let count = least(|turn| {
                let store = work.sub(&format!("{}-{}-{turn}", verb.name, kind.as_str()))?;
                count(kind, &verb.typed(&lease_lane, store, work)?, verb.code, work)
            })?;
            counted.insert((verb.name.to_owned(), kind), count.beyond(&hello));
        }
    }
    Ok(counted)
}

/// Has the tool ready, or says why not.
fn find(kind: Kind, tool: &str, work: &Work) -> Answer<()> {
    if !is_installed(tool) {
        install(tool);
    }
    if !is_installed(tool) {
        return Err(format!("{tool} is missing and `apt-get install {tool}` brought none").into());
    }
    if kind == Kind::Instructions {
        compile("noauxv", work, &["-static"], &[])?;
    }
    let tried = count(kind, &command("true", work)?, 0, work);
    tried.map_err(|error| format!("{tool} does not work here: {error}"))?;
    Ok(())
}

/// Has valgrind ready, or says why not.
pub(crate) fn find_valgrind(work: &Work) -> Answer<()> {
    find(Kind::Instructions, "valgrind", work)
}

/// The profile that callgrind writes of a verb.
pub(crate) fn profile(verb: &Verb, program: &Path, work: &Work) -> Answer<String> {
    profile_of(&verb.typed(program, work.sub(&format!("{}-profile", verb.name))?, work)?, verb.code, work)
}

/// The same of any command.
pub(crate) fn profile_of(typed: &Command, code: i32, work: &Work) -> Answer<String> {
    let out = work.dir.join("profile");
    let mut profiled = command(work.dir.join("noauxv"), work)?;
    profiled.args(["valgrind", "--tool=callgrind", "--demangle=no", "-q"]);
    profiled.arg(format!("--callgrind-out-file={}", out.display()));
    profiled.arg(typed.get_program()).args(typed.get_args());
    profiled.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?))));
    profiled.current_dir(typed.get_current_dir().unwrap_or(&work.dir));
    expect(profiled.status()?, code, work)?;
    Ok(fs::read_to_string(&out)?)
}

fn least(mut count: impl FnMut(usize) -> Answer<Count>) -> Answer<Count> {
    let counts = (0..TRIES).map(&mut count).collect::<Answer<Vec<Count>>>()?;
    Ok(counts.into_iter().min().ok_or("it is counted at least once")?)
}

/// Runs a command under a tool that counts.
fn count(kind: Kind, typed: &Command, code: i32, work: &Work) -> Answer<Count> {
    let log = work.dir.join("log");
    let mut counted = match kind {
        Kind::Calls => command("strace", work)?,
        Kind::Instructions => command(work.dir.join("noauxv"), work)?,
    };
    match kind {
        Kind::Calls => counted.args(["-f", "-qq", "-o"]).arg(&log),
        Kind::Instructions => counted
            .args(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--log-file={}", log.display())),
    };
    counted.arg(typed.get_program()).args(typed.get_args());
    expect(counted.status()?, code, work)?;
    let log = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    match kind {
        Kind::Calls => Ok(calls_in(&log)),
        Kind::Instructions => {
            let number = log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
            Ok(Count { all: number.ok_or("callgrind collected nothing")?, by_name: BTreeMap::new() })
        }
    }
}

/// The calls that a log of `strace -f` tells of.
fn calls_in(log: &str) -> Count {
    let mut count = Count::default();
    for line in log.lines() {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let Some((name, _)) = line.split_once('(') else { continue };
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || !name.bytes().all(is_name) || OF_MEMORY.contains(&name) {
            continue;
        }
        // A build for tests asks before every close whether the descriptor is open.
        if name == "fcntl" && line.contains(", F_GETFD)") {
            continue;
        }
        count.all += 1;
        *count.by_name.entry(name.to_owned()).or_default() += 1;
    }
    count
}

impl Count {
    /// What is left without what `other` needs as well.
    fn beyond(&self, other: &Count) -> Count {
        let mut by_name = self.by_name.clone();
        for (name, count) in &mut by_name {
            *count = count.saturating_sub(other.by_name.get(name).copied().unwrap_or_default());
        }
        by_name.retain(|_, count| *count > 0);
        Count { all: self.all.saturating_sub(other.all), by_name }
    }
}

/// The table, and whether every count is within its budget.
fn compare(budget: &Budget, counted: &BTreeMap<(String, Kind), Count>) -> (String, bool) {
    let mut text = format!("{:<12} {:<12} {:>10} {:>10} {:>8}\n", "verb", "kind", "counted", "budget", "");
    let mut is_kept = true;
    for ((verb, kind), count) in counted {
        let allowed = budget.get(&(verb.clone(), *kind)).copied();
        let slack = allowed.unwrap_or_default() * kind.slack() / 100;
        let (verdict, is_fine) = match allowed {
            None => ("no budget: `scripts/budget --accept`".to_owned(), false),
            Some(allowed) if count.all > allowed + slack => {
                let which: Vec<String> =
                    count.by_name.iter().map(|(name, n)| format!("{name} {n}")).collect();
                let which = if which.is_empty() { String::new() } else { format!(": {}", which.join(", ")) };
                (format!("ABOVE by {}{which}", count.all - allowed), false)
            }
            Some(allowed) if count.all + slack < allowed => {
                let what = format!("below by {}: tighten it, `scripts/budget --accept`", allowed - count.all);
                (what, true)
            }
            Some(_) => ("kept".to_owned(), true),
        };
        is_kept &= is_fine;
        let allowed = allowed.map_or_else(String::new, |allowed| allowed.to_string());
        writeln!(text, "{verb:<12} {:<12} {:>10} {allowed:>10}  {verdict}", kind.as_str(), count.all)
            .expect("a String takes everything");
    }
    (text, is_kept)
}

fn parse(text: &str) -> Answer<Budget> {
    let mut budget = Budget::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(verb), Some(kind), Some(number)) =
            (words.next(), words.next().and_then(Kind::of), words.next().and_then(|word| word.parse().ok()))
        else {
            return Err(format!("bench/budget.txt has a line that is none: {line}").into());
        };
        budget.insert((verb.to_owned(), kind), number);
    }
    Ok(budget)
}

fn render(budget: &Budget) -> String {
    let mut text = FILE_HEAD.to_owned();
    for ((verb, kind), number) in budget {
        writeln!(text, "{verb:<12} {:<12} {number:>12} {:>6}%", kind.as_str(), kind.slack())
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(verb: &str, kind: Kind, all: u64) -> BTreeMap<(String, Kind), Count> {
        BTreeMap::from([((verb.to_owned(), kind), Count { all, by_name: BTreeMap::new() })])
    }

    #[test]
    fn each_call_counts_once_and_memory_does_not() {
        let log = "\
            17  execve(\"/x\", [\"x(1)\"], 0x7 /* 2 vars */) = 0\n\
            17  brk(NULL) = 0x5\n\
            17  futex(0x7, FUTEX_WAIT, 0 <unfinished ...>\n\
            18  openat2(3, \"a\", {}, 24) = 4\n\
            17  <... futex resumed>) = 0\n\
            17  --- SIGCHLD {si_signo=SIGCHLD} ---\n\
            17  fcntl(3, F_GETFD) = 0x1 (flags FD_CLOEXEC)\n\
            close(3) = 0\n\
            17  exit_group(0) = ?\n\
            17  +++ exited with 0 +++\n";
        let count = calls_in(log);
        let names: Vec<&str> = count.by_name.keys().map(String::as_str).collect();
        assert_eq!((count.all, names), (5, vec!["close", "execve", "exit_group", "futex", "openat2"]));
        let hello = calls_in("execve(\"/h\") = 0\nexit_group(0) = ?\n");
        assert_eq!((count.beyond(&hello).all, count.beyond(&hello).by_name.len()), (3, 3));
    }

    #[test]
    fn one_call_more_breaks_the_budget_and_one_less_tightens_it() {
        let budget = parse("# a comment\nacquire calls 100 0%\n").unwrap();
        let check = |all| compare(&budget, &counted("acquire", Kind::Calls, all));
        assert!(check(100).1 && check(100).0.contains("kept"));
        assert!(!check(101).1 && check(101).0.contains("ABOVE by 1"));
        assert!(check(99).1 && check(99).0.contains("tighten"));
    }

    #[test]
    fn instructions_may_differ_by_their_slack() {
        let budget = parse("acquire instructions 1000 2%\n").unwrap();
        let check = |all| compare(&budget, &counted("acquire", Kind::Instructions, all));
        assert!(check(1020).0.contains("kept") && check(980).0.contains("kept"));
        assert!(!check(1021).1 && check(979).0.contains("tighten"));
    }

    #[test]
    fn a_verb_without_a_budget_breaks_it() {
        assert!(!compare(&Budget::new(), &counted("acquire", Kind::Calls, 1)).1);
    }

    #[test]
    fn a_budget_reads_as_it_was_written() {
        let budget = parse("live calls 7 0%\nacquire instructions 12 2%\n").unwrap();
        assert_eq!(parse(&render(&budget)).unwrap(), budget);
        assert!(parse("acquire wishes 7\n").is_err() && parse("acquire calls many\n").is_err());
    }

    #[test]
    fn the_committed_budget_has_every_verb_and_kind() {
        let budget = parse(include_str!("../budget.txt")).unwrap();
        for verb in VERBS {
            for kind in [Kind::Calls, Kind::Instructions] {
                let what = (verb.name.to_owned(), kind);
                assert!(budget.contains_key(&what), "{what:?}");
            }
        }
        assert_eq!(budget.len(), 2 * VERBS.len());
    }
}
