//! Reads `lease-lane.toml`.
//!
//! A policy is used whole or not at all: a key that nobody knows, a name that leads nowhere and a limit that lets
//! nobody in are errors, each with its place in the file.

mod check;
mod example;

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use arbiter::policy::Policy;
use arbiter::text::{nearest, shown};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use toml::de::DeTable;

pub use example::example;

/// Bytes that a policy file may have.
const POLICY_BYTES_MAX: usize = 1 << 20;
/// Characters that a message about it may have.
const MESSAGE_CHARS_MAX: usize = 300;

/// The keys there are, for those who wrote another one.
const KEYS: &str = "keys are: case, ttl, grace, ceiling, history, ladder, worktrees, foreign_host; tree, read, exclusive, \
                    class, ttl under [lanes.NAME]; max under [classes.NAME]; capacity under [pools.NAME]; paths \
                    under [protect]";

/// Why a policy file cannot be used. Nothing is decided under it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read.
    #[error("could not read the policy `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Nobody named it, and it is no file: a pipe would hold the reader up, and none of them stays as it is.
    #[error("the policy `{}` is not a plain file", path.display())]
    NotPlain {
        /// What is there.
        path: PathBuf,
    },
    /// It is not what a policy says.
    #[error("the policy `{}` is not usable: {first}{}", path.display(), and_more(.more))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        first: Problem,
        /// What else is wrong, in the order of the file.
        more: Vec<Problem>,
    },
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column in the file, from 1; none when it is about the file as a whole.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub what: String,
    /// What the reader can do now.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.what)
    }
}

fn and_more(more: &[Problem]) -> String {
    match more.len() {
        0 => String::new(),
        1 => " (and one more problem)".into(),
        n => format!(" (and {n} more problems)"),
    }
}

impl PolicyError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } | Self::NotPlain { .. } => Some("name another one: --policy FILE".into()),
            Self::Unusable { first, more, .. } => {
                let all = || "lease-lane policy check".to_owned();
                if more.is_empty() { first.hint.clone().or_else(|| Some(all())) } else { Some(all()) }
            }
        }
    }

    /// Everything that is wrong with the text, in the order of the file; empty when it could not be read.
    pub fn problems(&self) -> Vec<&Problem> {
        match self {
            Self::Unreadable { .. } | Self::NotPlain { .. } => Vec::new(),
            Self::Unusable { first, more, .. } => std::iter::once(first).chain(more).collect(),
        }
    }
}

/// Reads the bytes of a policy file that somebody named; it may be a pipe.
///
/// # Errors
///
/// [`PolicyError::Unreadable`].
pub fn bytes_of_named(path: &Path) -> Result<Vec<u8>, PolicyError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    bytes_of(path, file, 0)
}

/// Reads the bytes of the policy file that has its usual name; `None` where there is none. A link that leads nowhere is
/// there: whoever made it wanted a policy.
///
/// # Errors
///
/// [`PolicyError::Unreadable`], [`PolicyError::NotPlain`].
pub fn bytes_of_found(path: &Path) -> Result<Option<Vec<u8>>, PolicyError> {
    // Not to be held up by a pipe that somebody put there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match retry_on_intr(|| openat(CWD, path, flags, Mode::empty())) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT)
            if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) =>
        {
            return Ok(None);
        }
        // Its directory went away, and it with it.
        Err(Errno::NOTDIR) if path.symlink_metadata().is_err() => return Ok(None),
        // What a socket says.
        Err(Errno::NXIO) => return Err(PolicyError::NotPlain { path: path.to_owned() }),
        Err(error) => return Err(unreadable(path, error.into())),
    };
    let meta = file.metadata().map_err(|source| unreadable(path, source))?;
    let kind = meta.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(PolicyError::NotPlain { path: path.to_owned() });
    }
    bytes_of(path, file, meta.len()).map(Some)
}

/// `len` is how many bytes there most likely are, if that is known: with room for them, they are read at once.
fn bytes_of(path: &Path, file: File, len: u64) -> Result<Vec<u8>, PolicyError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(len.min(POLICY_BYTES_MAX) + 1);
    // The file may be a link to something without an end.
    file.take(POLICY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

fn unreadable(path: &Path, source: std::io::Error) -> PolicyError {
    PolicyError::Unreadable { path: path.to_owned(), source }
}

/// Checks the bytes of the policy file `path`.
///
/// # Errors
///
/// [`PolicyError::Unusable`], also for unknown keys: a rule that is silently not applied is worse than none.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Policy, PolicyError> {
    understood(bytes).map_err(|mut problems| {
        let more = problems.split_off(1);
        PolicyError::Unusable { path: path.to_owned(), first: problems.remove(0), more }
    })
}

/// Checks a policy that came in another way than by a file: that its parts fit together.
///
/// # Errors
///
/// Everything that does not fit.
pub fn check(policy: &Policy) -> Result<(), Vec<Problem>> {
    let faults = check::faults(policy);
    let problem = |fault: check::Fault| Problem { at: None, what: fault.what, hint: fault.hint };
    if faults.is_empty() { Ok(()) } else { Err(faults.into_iter().map(problem).collect()) }
}

/// A policy as a file would say it.
///
/// # Panics
///
/// When a policy holds what TOML has no word for, which it does not.
pub fn to_toml(policy: &Policy) -> String {
    toml::to_string(policy).expect("a policy is made of text, numbers, lists and tables, which TOML has")
}

/// Reads and checks the text of a policy; at least one problem if it is none.
fn understood(bytes: &[u8]) -> Result<Policy, Vec<Problem>> {
    let whole = |what: String| vec![Problem { at: None, what, hint: None }];
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(whole(format!("it has more than {POLICY_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| whole("it is not UTF-8".into()))?;
    if says_nothing(text) {
        return Ok(Policy::default());
    }
    let of_toml = |error: &toml::de::Error| {
        // The parser repeats what it found, which may be as long as the file.
        let message = shown(error.message().trim_end(), MESSAGE_CHARS_MAX).to_string();
        let hint = match meant(error.message()) {
            Some(meant) => Some(format!("did you mean `{}`?", shown(meant, 100))),
            None => message.starts_with("unknown field").then(|| KEYS.to_owned()),
        };
        vec![Problem { at: error.span().and_then(|span| place(text, &span)), what: message, hint }]
    };
    let policy: Policy = toml::from_str(text).map_err(|error| of_toml(&error))?;
    let faults = check::faults(&policy);
    if faults.is_empty() {
        return Ok(policy);
    }
    let document = DeTable::parse(text).map_err(|error| of_toml(&error))?;
    let mut problems: Vec<Problem> = faults
        .into_iter()
        .map(|fault| {
            let span = check::find(document.get_ref(), &fault.path);
            Problem { at: span.and_then(|span| place(text, &span)), what: fault.what, hint: fault.hint }
        })
        .collect();
    problems.sort_by_key(|problem| problem.at);
    Err(problems)
}

/// Whether it is nothing but comments, as `init` leaves it and most projects keep it: each call reads it anew.
fn says_nothing(text: &str) -> bool {
    let mut in_comment = false;
    text.bytes().all(|byte| {
        match byte {
            b'\n' => in_comment = false,
            b'#' => in_comment = true,
            b' ' | b'\t' => {}
            // What TOML wants of the inside of a comment.
            other => return in_comment && !other.is_ascii_control(),
        }
        true
    })
}

/// Line and column of a span's beginning, from 1.
fn place(text: &str, span: &Range<usize>) -> Option<(usize, usize)> {
    let before = text.get(..span.start)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

/// Of the words that were expected, the one that is nearest to the word that is there, if it is near.
fn meant(message: &str) -> Option<&str> {
    let mut words = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let there = words.next()?;
    nearest(there, words)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use arbiter::time::Span;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn what_says_nothing_is_nothing_to_the_parser_too(parts in vec(
            select(&["#", " ", "\t", "\n", "\r", "\r\n", "\0", "\u{7f}", "\u{85}", "é", "x", "=", "1", "[", "]", "\""][..]),
            0..12,
        )) {
            let text = parts.concat();
            if says_nothing(&text) {
                prop_assert_eq!(toml::from_str(&text), Ok(Policy::default()));
            }
        }
    }

    #[test]
    fn what_init_leaves_says_nothing() {
        let example = example(Path::new("/nowhere"));
        assert!(says_nothing(&example) && says_nothing("") && says_nothing(" # a\n\n\t# b"));
        assert!(!says_nothing("#\r") && !says_nothing("# a\nttl = '1h'") && !says_nothing("#\0"));
    }

    #[test]
    fn a_policy_names_lanes_and_times() {
        let text = b"ttl = '10m'\ngrace = '5s'\n[lanes.api]\ntree = ['src/api/**']\nttl = '1h'\n";
        let policy = understood(text).unwrap();
        assert_eq!(policy.ttl, Some(Span::from_s(600)));
        assert_eq!(policy.lanes.len(), 1);
        assert_eq!(understood(b"").unwrap(), Policy::default());
    }

    #[test]
    fn a_policy_can_say_everything_and_reads_back_from_its_record() {
        let text = "
            case = 'exact'
            ttl = '10m'
            grace = '5s'
            history = '7d'
            ladder = ['api', 'Web']
            worktrees = 'separate'
            foreign_host = 'takeover'
            [lanes.api]
            tree = ['src/api/**', 'pool://gpu']
            read = ['Cargo.toml']
            class = 'code'
            ttl = '1h'
            [lanes.web]
            tree = ['src/web/**']
            class = 'code'
            [lanes.release]
            exclusive = true
            [classes.code]
            max = 1
            [pools.GPU]
            capacity = 2
            [protect]
            paths = ['infra/**']
        ";
        let policy = understood(text.as_bytes()).unwrap();
        insta::assert_snapshot!(
            "everything_a_policy_can_say",
            serde_json::to_string_pretty(&policy).unwrap()
        );
        let back: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(back, policy);
        let toml = to_toml(&policy);
        assert_eq!(understood(toml.as_bytes()).unwrap(), policy, "{toml}");
    }

    #[test]
    fn a_policy_of_the_first_version_keeps_its_bytes() {
        let first = r#"{"lanes":{"api":{"tree":["src/api"]}},"ttl":"10m","grace":"5s"}"#;
        let policy: Policy = serde_json::from_str(first).unwrap();
        assert_eq!(serde_json::to_string(&policy).unwrap(), first);
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
    }

    #[test]
    fn the_nearest_key_is_offered() {
        for (there, expected, offered) in
            [("tll", "`lanes`, `ttl`", Some("ttl")), ("upper", "`fold` or `exact`", None)]
        {
            let message = format!("unknown field `{there}`, expected one of {expected}");
            assert_eq!(meant(&message), offered, "{there}");
        }
        assert_eq!(meant("key with no value"), None);
    }

    /// Found by the fuzz target `policy`: the parser repeats the key that it found, cursor movements and all.
    #[test]
    fn what_is_repeated_of_a_policy_is_short_and_harmless() {
        for text in
            [format!("{} = 1", "k".repeat(900_000)), "\"\\u001b[2J\" = 1".into(), "a = '\u{1b}[2J'".into()]
        {
            let said = read(Path::new("p"), text.as_bytes()).unwrap_err().to_string();
            assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said:.300}");
        }
    }

    /// Each pair of words in backticks was compared letter by letter: this took a minute and a half.
    #[test]
    fn a_key_of_a_megabyte_of_backticks_is_answered_at_once() {
        let word = "x".repeat(300_000);
        let began = std::time::Instant::now();
        understood(format!("\"{word}`,`{word}\" = 1").as_bytes()).unwrap_err();
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }

    /// As many lanes and as long a ladder of unknown ones as fit.
    #[test]
    fn a_policy_of_a_megabyte_that_fits_nowhere_is_answered_at_once() {
        let mut text = String::from("ladder = [");
        for i in 0..40_000 {
            let _ = write!(text, "'x{i}',");
        }
        text.push_str("]\n");
        for i in 0..20_000 {
            let _ = writeln!(text, "[lanes.l{i}]\ntree=['a']");
        }
        let began = std::time::Instant::now();
        let problems = understood(text.as_bytes()).unwrap_err();
        assert_eq!(problems.len(), check::FAULTS_MAX);
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn a_policy_without_an_end_is_not_read_to_its_end() {
        let path = Path::new("/dev/zero");
        let error = read(path, &bytes_of_named(path).unwrap()).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    /// Every text that a wrong policy can earn, with its place and its hint.
    #[test]
    fn what_is_wrong_is_said_and_where() {
        let mut said = String::new();
        for text in [
            "tll = '10m'",
            "ttl = 10",
            "ttl = '0s'",
            "ttl = 'soon'",
            "case = 'upper'",
            "worktrees = 'seperate'",
            "foreign_host = 'ignore'",
            "history = '1y'",
            "what is this",
            "ttl = '1h'\nttl = '2h'",
            "[lane.api]\ntree = ['a']",
            "[lanes.api]\n",
            "[lanes.api]\ntre = ['a']",
            "[lanes.api]\ntree = 'a'",
            "[lanes.api]\ntree = ['../x']",
            "[lanes.api]\ntree = ['a', 'src/[a-']",
            "[lanes.api]\ntree = ['a']\nttl = '0s'",
            "[lanes.api]\ntree = ['a']\nexclusive = 'yes'",
            "[lanes.api]\ntree = ['a']\nclass = 'haevy'\n[classes.heavy]\nmax = 1",
            "[lanes.api]\ntree = ['a']\nclass = 'x'",
            "[lanes.api]\ntree = ['a']\n[lanes.API]\ntree = ['b']",
            "[lanes.api]\ntree = ['a']\nread = ['b', 'pool://gpus']\n[pools.gpu]\ncapacity = 2",
            "[lanes.'']\ntree = ['a']",
            "ladder = ['api', 'wbe']\n[lanes.api]\ntree = ['a']\n[lanes.web]\ntree = ['b']",
            "ladder = ['api', 'API']\n[lanes.api]\ntree = ['a']",
            "ladder = 'api'\n[lanes.api]\ntree = ['a']",
            "[classes.code]\nmax = 0",
            "[classes.code]\nmax = -1",
            "[classes.code]\n",
            "[classes.code]\nmaximum = 2",
            "[pools.gpu]\ncapacity = 0",
            "[pools.gpu]\ncapacity = 'two'",
            "[pools.gpu]\nsize = 2",
            "[pools.gpu]\ncapacity = 1\n[pools.GPU]\ncapacity = 2",
            "[pools.'*']\ncapacity = 1",
            "[pools.\"a\\tb\"]\ncapacity = 1",
            "[protect]\npath = ['a']",
            "[protect]\npaths = ['/etc']",
            "ladder = ['nope']\n[classes.code]\nmax = 0\n[pools.gpu]\ncapacity = 0",
        ] {
            let problems = understood(text.as_bytes()).unwrap_err();
            let _ = writeln!(said, "{text}");
            for problem in problems {
                let _ = writeln!(said, "  {problem}\n    hint: {}", problem.hint.as_deref().unwrap_or("-"));
            }
            said.push('\n');
        }
        insta::assert_snapshot!("what_is_wrong_with_policies", said);
        let large = understood(&vec![b' '; POLICY_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(large[0].to_string(), "it has more than 1048576 bytes");
        assert_eq!(understood(b"ttl = '\xff'").unwrap_err()[0].to_string(), "it is not UTF-8");
    }
}
