//! Names of lanes and owners.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::region::fold_case;
use crate::text::{Text, TextError, shown};

/// Bytes that a name of any kind may have.
pub const NAME_BYTES_MAX: usize = 256;

/// The name of a lane: any text of 1 to 256 bytes, never used as a file name (feature A1).
///
/// Two spellings that differ only in case name the same lane; the spelling that was given is the one shown.
///
/// ```
/// use arbiter::name::LaneName;
/// assert!(LaneName::new("../../x").unwrap().same_as(&LaneName::new("../../X").unwrap()));
/// assert!(LaneName::new("").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneName(Text<NAME_BYTES_MAX>);

/// Who asks and who holds: any text of 1 to 256 bytes. A label, not a secret: two sessions may share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnerName(Text<NAME_BYTES_MAX>);

impl LaneName {
    /// Accepts a name.
    ///
    /// # Errors
    ///
    /// [`TextError`] when it is empty or longer than [`NAME_BYTES_MAX`].
    pub fn new(name: impl Into<String>) -> Result<LaneName, TextError> {
        Text::new(name).map(LaneName)
    }

    /// A name made of `text`, shortened to what a name may have; `unnamed` where nothing of it can be one.
    pub(crate) fn within_limit(text: &str) -> LaneName {
        let text = &text[..text.floor_char_boundary(NAME_BYTES_MAX)];
        LaneName(Text::or_default(text, "unnamed"))
    }

    /// The name with a number behind it, shortened in front of it to what a name may have.
    pub(crate) fn numbered(&self, n: usize) -> LaneName {
        let number = alloc::format!("#{n}");
        let name = self.as_str();
        let most = name.floor_char_boundary(NAME_BYTES_MAX.saturating_sub(number.len()));
        LaneName(Text::or_default(&(String::from(&name[..most]) + &number), "unnamed"))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What two spellings of one lane have in common: its NFC form with case folded.
    pub fn key(&self) -> LaneKey {
        let name = self.as_str();
        LaneKey(if name.is_ascii() { fold_case(name) } else { fold_case(&name.nfc().collect::<String>()) })
    }

    /// Whether both name the same lane.
    pub fn same_as(&self, other: &LaneName) -> bool {
        self.key() == other.key()
    }
}

/// A lane's name with its case folded: equal exactly for the spellings of one lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(String);

impl LaneKey {
    /// Its letters.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwnerName {
    /// Accepts a name.
    ///
    /// # Errors
    ///
    /// [`TextError`] when it is empty or longer than [`NAME_BYTES_MAX`].
    pub fn new(name: impl Into<String>) -> Result<OwnerName, TextError> {
        Text::new(name).map(OwnerName)
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(self.as_str(), 100).fmt(f)
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(self.as_str(), 100).fmt(f)
    }
}
