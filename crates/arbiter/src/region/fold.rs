//! Case folding, one character at a time.
//!
//! The rule: the lowercase of the uppercase, where both are single characters, else the lowercase where that is one,
//! else the character itself. It never changes the number of characters, so positions stay comparable. `ß` and `ss`
//! therefore differ; `ſ`, `s` and `S` do not, nor do `ı`, `i` and `I`.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::fold_table::{FOLD_RUNS, FoldRun};

/// Whether letters of different case are the same letter.
///
/// ```
/// use arbiter::region::{Case, Entry};
///
/// let (upper, lower) = (Entry::parse("SRC")?, Entry::parse("src")?);
/// assert!(upper.overlap(&lower, Case::default()).is_some());
/// assert!(upper.overlap(&lower, Case::Exact).is_none());
/// # Ok::<(), arbiter::region::PatternError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// `README` and `readme` are the same name. The default: a journal must mean the same on every file system.
    #[default]
    Fold,
    /// `README` and `readme` are two names.
    Exact,
}

impl Case {
    /// Returns the representative of `letter` under this comparison.
    pub(super) fn apply(self, letter: char) -> char {
        match self {
            Self::Fold => fold_char(letter),
            Self::Exact => letter,
        }
    }
}

/// Folds the case of every character.
///
/// The same folding as [`Case::Fold`], for names that are not paths. Does not normalise: pass NFC.
///
/// ```
/// use arbiter::region::fold_case;
///
/// assert_eq!(fold_case("Straße-É"), "straße-é");
/// ```
pub fn fold_case(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().map(fold_char).collect() }
}

/// Folds one character; folding twice changes nothing more.
pub(super) fn fold_char(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let code = u32::from(letter);
    let after = FOLD_RUNS.partition_point(|run| run.first <= code);
    let Some(run) = after.checked_sub(1).and_then(|idx| FOLD_RUNS.get(idx)) else {
        return letter;
    };
    if code <= run.last && (code - run.first).is_multiple_of(run.step) {
        char::from_u32(code.wrapping_add_signed(run.delta)).unwrap_or(letter)
    } else {
        letter
    }
}

/// Returns the runs of the table that have a member in `lowest..=highest`, or nearly so, ascending.
pub(super) fn fold_runs(lowest: u32, highest: u32) -> impl Iterator<Item = &'static FoldRun> {
    let start = FOLD_RUNS.partition_point(|run| run.last < lowest);
    FOLD_RUNS.iter().skip(start).take_while(move |run| run.first <= highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only<I: Iterator<Item = char>>(mut letters: I) -> Option<char> {
        letters.next().filter(|_| letters.next().is_none())
    }

    fn rule(letter: char) -> char {
        only(letter.to_uppercase())
            .and_then(|upper| only(upper.to_lowercase()))
            .or_else(|| only(letter.to_lowercase()))
            .unwrap_or(letter)
    }

    #[test]
    fn folding_twice_is_folding_once_for_every_character() {
        for letter in '\0'..=char::MAX {
            let once = fold_char(letter);
            assert_eq!(fold_char(once), once, "{letter:?}");
        }
    }

    #[test]
    fn the_table_is_the_rule_for_every_character() {
        if char::UNICODE_VERSION == (17, 0, 0) {
            for letter in '\0'..=char::MAX {
                assert_eq!(fold_char(letter), rule(letter), "{letter:?}");
            }
        }
    }

    #[test]
    fn a_text_is_folded_as_its_characters_are() {
        for letter in '\0'..=char::MAX {
            assert_eq!(fold_case(letter.encode_utf8(&mut [0; 4])), String::from(fold_char(letter)));
        }
        assert_eq!((fold_case("Src/É.rs"), fold_case("Src/E.rs")), ("src/é.rs".into(), "src/e.rs".into()));
    }

    #[test]
    fn runs_ascend_without_overlap() {
        for pair in FOLD_RUNS.windows(2) {
            assert!(pair[0].last < pair[1].first, "{pair:?}");
        }
    }

    #[test]
    fn nothing_folds_to_or_from_a_character_with_a_meaning() {
        for letter in "./*?[]{}!-^,\\\0".chars() {
            assert_eq!(fold_char(letter), letter);
        }
        for letter in '\0'..=char::MAX {
            let folded = fold_char(letter);
            assert!(folded == letter || folded.is_alphabetic() || !folded.is_ascii(), "{letter:?}");
        }
    }
}
