//! Reads `lease-lane.toml`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arbiter::policy::Policy;
use arbiter::text::shown;
use arbiter::time::Span;

/// Bytes that a policy file may have.
const POLICY_BYTES_MAX: usize = 1 << 20;
/// Characters that a message about it may have.
const MESSAGE_CHARS_MAX: usize = 300;
/// Bytes that a word may have that is compared with others.
const WORD_BYTES_MAX: usize = 64;

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
    /// It is not what a policy says.
    #[error("the policy `{}` is not usable: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        what: String,
        /// The key that was probably meant.
        meant: Option<String>,
    },
}

impl PolicyError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("name another one: --policy FILE".into()),
            Self::Unusable { meant: Some(meant), .. } => Some(format!("did you mean `{meant}`?")),
            Self::Unusable { meant: None, .. } => {
                Some("keys are: case, ttl, grace, ceiling, foreign_host, history, and tree, read, ttl under [lanes.NAME]".into())
            }
        }
    }
}

/// Reads and checks a policy file.
///
/// # Errors
///
/// [`PolicyError`], also for unknown keys: a rule that is silently not applied is worse than none.
pub fn load(path: &Path) -> Result<Policy, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // The file may be a link to something without an end.
    let mut bytes = Vec::new();
    file.take(POLICY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    read(path, &bytes)
}

/// Checks the bytes of the policy file `path`.
///
/// # Errors
///
/// [`PolicyError::Unusable`].
pub fn read(path: &Path, bytes: &[u8]) -> Result<Policy, PolicyError> {
    let unusable = |what: String| PolicyError::Unusable { path: path.to_owned(), what, meant: None };
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(unusable(format!("it has more than {POLICY_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8".into()))?;
    let policy: Policy = toml::from_str(text).map_err(|error| PolicyError::Unusable {
        path: path.to_owned(),
        what: in_one_line(text, &error),
        meant: meant(error.message()),
    })?;
    check(&policy).map_err(unusable)?;
    Ok(policy)
}

/// Where it is wrong and how, without the drawing.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    // The parser repeats what it found, which may be as long as the file.
    let message = shown(error.message().trim_end(), MESSAGE_CHARS_MAX).to_string();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

/// Of the words that were expected, the one that is nearest to the word that is there, if it is near.
fn meant(message: &str) -> Option<String> {
    // What is there may be a megabyte and full of backticks, and comparing costs the product of the lengths.
    let mut words = message.split('`').skip(1).step_by(2).filter(|word| word.len() <= WORD_BYTES_MAX);
    let there = words.next()?;
    let (distance, meant) = words.map(|word| (distance(there, word), word)).min()?;
    (distance * 3 <= there.chars().count().max(3)).then(|| meant.to_owned())
}

/// How many characters must be put in, taken out or replaced to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &in_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(in_a != in_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn check(policy: &Policy) -> Result<(), String> {
    if let Some((one, other)) = policy.doubled_lane() {
        return Err(format!("lanes `{one}` and `{other}` are one lane: case does not tell lanes apart"));
    }
    for (name, lane) in &policy.lanes {
        if lane.tree.is_empty() && lane.read.is_empty() {
            return Err(format!("lane `{name}` has neither `tree` nor `read`"));
        }
        if lane.ttl == Some(Span::ZERO) {
            return Err(format!("`ttl` of lane `{name}` is zero"));
        }
    }
    for (key, span) in [("ttl", policy.ttl), ("ceiling", policy.ceiling)] {
        if span == Some(Span::ZERO) {
            return Err(format!("`{key}` is zero"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease-lane.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_names_lanes_and_times() {
        let policy =
            load_text("ttl = '10m'\ngrace = '5s'\n[lanes.api]\ntree = ['src/api/**']\nttl = '1h'\n").unwrap();
        assert_eq!(policy.ttl, Some(Span::from_s(600)));
        assert_eq!(policy.lanes.len(), 1);
        assert_eq!(load_text("").unwrap(), Policy::default());
    }

    #[test]
    fn the_nearest_key_is_offered() {
        for (there, expected, offered) in [
            ("tll", "`lanes`, `ttl`", Some("ttl")),
            ("lane", "`lanes`, `case`", Some("lanes")),
            ("histroy", "`grace`, `history`", Some("history")),
            ("zzz", "`ttl`", None),
            ("upper", "`fold` or `exact`", None),
        ] {
            let message = format!("unknown field `{there}`, expected one of {expected}");
            assert_eq!(meant(&message).as_deref(), offered, "{there}");
        }
        assert_eq!(meant("key with no value"), None);
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")), (3, 0, 3));
    }

    /// Found by the fuzz target `policy`: the parser repeats the key that it found, cursor movements and all.
    #[test]
    fn what_is_repeated_of_a_policy_is_short_and_harmless() {
        for text in
            [format!("{} = 1", "k".repeat(900_000)), "\"\\u001b[2J\" = 1".into(), "a = '\u{1b}[2J'".into()]
        {
            let said = load_text(&text).unwrap_err();
            assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said:.300}");
        }
    }

    /// Each pair of words in backticks was compared letter by letter: this took a minute and a half.
    #[test]
    fn a_key_of_a_megabyte_of_backticks_is_answered_at_once() {
        let word = "x".repeat(300_000);
        let began = std::time::Instant::now();
        load_text(&format!("\"{word}`,`{word}\" = 1")).unwrap_err();
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[test]
    fn a_policy_without_an_end_is_not_read_to_its_end() {
        let error = load(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("tll = '10m'", "tll"),
            ("ttl = 10", "expected a string"),
            ("ttl = '0s'", "zero"),
            ("ceiling = '0s'", "zero"),
            ("foreign_host = 'ignore'", "ignore"),
            ("ttl = 'soon'", "soon"),
            ("[lanes.api]\ntree = ['../x']", "../x"),
            ("[lanes.api]\n", "neither"),
            ("[lanes.api]\ntree=['a']\n[lanes.API]\ntree=['b']", "one lane"),
            ("[lanes.api]\ntree=['a']\nexclusive = true", "exclusive"),
            ("case = 'upper'", "upper"),
        ] {
            let error = load_text(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
