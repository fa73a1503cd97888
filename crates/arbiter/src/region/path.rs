//! One concrete path inside the project.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::error::{Fault, PatternError, PatternErrorKind};
use super::fold::Case;
use super::spelling::Spelling;

/// A path relative to the root of the project; no character in it has a special meaning.
///
/// NFC, without `.`, `..`, doubled or trailing separators; at most [`ProjectPath::BYTES_MAX`] bytes. The root is `.`.
///
/// ```
/// use arbiter::region::ProjectPath;
///
/// assert_eq!(ProjectPath::parse("./src//old/../a*.rs")?.as_str(), "src/a*.rs");
/// assert_eq!(ProjectPath::parse("src/..")?.as_str(), ".");
/// assert!(ProjectPath::parse("../elsewhere").is_err());
/// # Ok::<(), arbiter::region::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectPath {
    /// `/` before, between and after the components, so that heads and tails of patterns can be compared in place.
    fenced: Spelling,
}

impl ProjectPath {
    /// Most bytes a path may have: what Linux allows.
    pub const BYTES_MAX: usize = 4096;

    /// Reads and normalises a relative path.
    ///
    /// # Errors
    ///
    /// `text` is empty, longer than [`ProjectPath::BYTES_MAX`], absolute, leaves the root, or holds a NUL.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let too_long = |text: &str| {
            let kind = PatternErrorKind::TooLong { n_bytes: text.len() };
            (Self::BYTES_MAX < text.len()).then(|| Fault::new(Self::BYTES_MAX, kind))
        };
        if let Some(fault) = too_long(text) {
            return Err(fault.of(text));
        }
        let text: Cow<'_, str> =
            if text.is_ascii() { text.into() } else { text.nfc().collect::<String>().into() };
        if let Some(fault) = too_long(&text) {
            return Err(fault.of(&text));
        }
        Self::from_nfc(&text).map_err(|fault| fault.of(&text))
    }

    /// Returns the path, `.` for the root.
    pub fn as_str(&self) -> &str {
        match self.inner(Case::Exact) {
            "" => ".",
            path => path,
        }
    }

    /// Returns the components, none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.inner(Case::Exact).split('/').filter(|name| !name.is_empty())
    }

    /// Reports whether this is the root of the project.
    pub fn is_root(&self) -> bool {
        self.inner(Case::Exact).is_empty()
    }

    /// Returns what entries that name it begin with, or what begins with that: its names, case folded, with a `/` behind
    /// each.
    pub(crate) fn head(&self) -> &str {
        &self.fenced(Case::Fold)[1..]
    }

    /// Returns the path with a `/` before and after it; a single `/` for the root.
    pub(super) fn fenced(&self, case: Case) -> &str {
        self.fenced.get(case)
    }

    /// Returns the path as compared; empty for the root.
    pub(super) fn inner(&self, case: Case) -> &str {
        self.fenced(case).trim_matches('/')
    }

    fn from_nfc(text: &str) -> Result<Self, Fault> {
        if let Some(at) = text.find('\0') {
            return Err(Fault::new(at, PatternErrorKind::Nul));
        }
        if text.is_empty() {
            return Err(Fault::new(0, PatternErrorKind::Empty));
        }
        if text.starts_with('/') {
            return Err(Fault::new(0, PatternErrorKind::Absolute));
        }
        let mut names: Vec<&str> = Vec::new();
        let mut at = 0;
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop().ok_or(Fault::new(at, PatternErrorKind::LeavesRoot))?),
                _ => names.push(name),
            }
            at += name.len() + 1;
        }
        let mut fenced = String::with_capacity(text.len() + 2);
        fenced.push('/');
        for name in names {
            fenced.push_str(name);
            fenced.push('/');
        }
        Ok(Self { fenced: Spelling::new(fenced) })
    }
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl TryFrom<String> for ProjectPath {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<ProjectPath> for String {
    fn from(path: ProjectPath) -> Self {
        path.as_str().to_owned()
    }
}
