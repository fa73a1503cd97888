//! Something two regions both claim, and which of several such things is shown.

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;

use serde::{Serialize, Serializer};

/// A concrete path, or a named resource, that two regions both claim.
///
/// Among all candidates the algebra returns the least, and `Ord` is that preference: paths before resources, then fewer
/// characters, then the first difference, where characters rank `a`…`z`, `0`…`9`, `_`, `-`, `.`, `/`, then all others
/// by code point. The choice is part of recorded verdicts and must never change.
///
/// Under [`Case::Fold`](super::Case::Fold) a witness is spelled in folded characters; a resource always is.
///
/// ```
/// use arbiter::region::{Case, Region};
///
/// let ours = Region::parse(["src/**/*.rs"])?;
/// let theirs = Region::parse(["src/?*/api/**", "src/m*"])?;
/// let witness = ours.overlap(&theirs, Case::Fold).expect("both claim it");
/// assert_eq!(witness.as_str(), "src/m.rs");
/// # Ok::<(), arbiter::region::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    is_resource: bool,
    text: String,
}

impl Witness {
    /// Returns the path, `lock://NAME` or `pool://NAME`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether this is a resource rather than a path.
    pub fn is_resource(&self) -> bool {
        self.is_resource
    }

    pub(super) fn path(text: String) -> Self {
        Self { is_resource: false, text }
    }

    pub(super) fn resource(text: String) -> Self {
        Self { is_resource: true, text }
    }

    pub(super) fn n_chars(&self) -> usize {
        self.text.chars().count()
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Witness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Ord for Witness {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.is_resource, self.n_chars())
            .cmp(&(other.is_resource, other.n_chars()))
            .then_with(|| self.text.chars().map(rank).cmp(other.text.chars().map(rank)))
    }
}

impl PartialOrd for Witness {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Returns the place of `letter` in the order of preference.
pub(super) fn rank(letter: char) -> (u8, char) {
    let class = match letter {
        'a'..='z' => 0,
        '0'..='9' => 1,
        '_' => 2,
        '-' => 3,
        '.' => 4,
        '/' => 5,
        _ => 6,
    };
    (class, letter)
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;

    use super::*;

    #[test]
    fn order_is_length_then_rank() {
        let ascending =
            ["a", "z", "0", "9", "_", "-", ".", "/", " ", "A", "é", "aa", "a0", "a!", "!a", "aaa"];
        for pair in ascending.windows(2) {
            let [less, more] = [0, 1].map(|idx| Witness::path(pair[idx].to_owned()));
            assert!(less < more, "{less} before {more}");
        }
        assert!(Witness::path("zzzz".to_owned()) < Witness::resource("a".to_owned()));
    }
}
