//! A region: entries in the order given.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::error::{Fault, PatternError, PatternErrorKind};
use super::fold::Case;
use super::path::ProjectPath;
use super::witness::Witness;

/// A set of paths and resources: the union of its entries.
///
/// Keeps the order and repetitions of what it was given, so that a record read comes back equal. At most
/// [`Region::ENTRIES_MAX`] entries; as JSON an array of strings. The default is empty and overlaps nothing.
///
/// ```
/// use arbiter::region::{Case, Region};
///
/// let region: Region = serde_json::from_str(r#"["src//api/","lock://Db"]"#)?;
/// assert_eq!(serde_json::to_string(&region)?, r#"["src/api","lock://Db"]"#);
///
/// let other = Region::parse(["docs/**", "lock://db"]).expect("two good entries");
/// assert_eq!(region.overlap(&other, Case::Exact).expect("one lock").as_str(), "lock://db");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Region {
    entries: Vec<Entry>,
}

impl Region {
    /// Most entries a region may have.
    pub const ENTRIES_MAX: usize = 1024;
    /// Most bytes the entries may have together once alternatives are spelled out.
    ///
    /// What the other limits allow without alternatives; a few braces cannot claim more memory than that.
    pub const SPELLED_BYTES_MAX: usize = Self::ENTRIES_MAX * Entry::BYTES_MAX;

    /// Reads every entry.
    ///
    /// # Errors
    ///
    /// The first text that is not an entry, or the one that makes the region too large.
    pub fn parse<I>(texts: I) -> Result<Self, PatternError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        Self::of(texts.into_iter().map(|text| Entry::parse(text.as_ref())))
    }

    /// Collects entries that were read before.
    ///
    /// # Errors
    ///
    /// The first that could not be read, or the one that makes the region too large.
    pub fn of<E>(read: impl IntoIterator<Item = Result<Entry, E>>) -> Result<Self, E>
    where
        E: From<PatternError>,
    {
        let mut entries = Vec::new();
        let mut n_spelled_bytes = 0;
        for entry in read {
            let entry = entry?;
            let too_large = |kind| E::from(Fault::new(0, kind).of(entry.as_str()));
            if entries.len() == Self::ENTRIES_MAX {
                return Err(too_large(PatternErrorKind::TooManyEntries));
            }
            n_spelled_bytes += entry.n_spelled_bytes();
            if Self::SPELLED_BYTES_MAX < n_spelled_bytes {
                return Err(too_large(PatternErrorKind::RegionTooLarge));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// Reads every entry; one that cannot be read counts as everything, because an unknown scope must not be read as
    /// none: the whole region is then [`Region::everything`], as is one that is too large.
    pub fn parse_or_everything<I>(texts: I) -> Self
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        Self::parse(texts).unwrap_or_else(|_| Self::everything())
    }

    /// Returns the region that holds every path and every resource: `**` and `lock://*`.
    pub fn everything() -> Self {
        Self { entries: vec![Entry::everything(), Entry::every_lock()] }
    }

    /// Returns the region that holds every path and no resource: `**`.
    pub fn every_path() -> Self {
        Self { entries: vec![Entry::everything()] }
    }

    /// Returns the entries in the order given.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entries that are named resources, without those that are paths.
    #[must_use]
    pub fn resources(&self) -> Self {
        Self { entries: self.entries.iter().filter(|entry| entry.is_resource()).cloned().collect() }
    }

    /// Reports whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the least of what any pair of entries shares; nothing if the regions are disjoint.
    ///
    /// Symmetric, and independent of the order of entries. Costs one [`Entry::overlap`] a pair.
    pub fn overlap(&self, other: &Self, case: Case) -> Option<Witness> {
        let mut least: Option<Witness> = None;
        let mut n_chars_max = usize::MAX;
        for our in &self.entries {
            for their in &other.entries {
                if let Some(witness) = our.overlap_within(their, case, n_chars_max)
                    && least.as_ref().is_none_or(|best| witness < *best)
                {
                    if !witness.is_resource() {
                        n_chars_max = witness.n_chars();
                    }
                    least = Some(witness);
                }
            }
        }
        least
    }

    /// Reports whether any entry names `path`.
    pub fn covers(&self, path: &ProjectPath, case: Case) -> bool {
        self.entries.iter().any(|entry| entry.covers(path, case))
    }

    /// Reports whether any entry is the lock or pool `resource`, or all of them.
    pub fn holds(&self, resource: &Entry) -> bool {
        self.entries.iter().any(|entry| entry.holds(resource))
    }
}

impl TryFrom<Vec<String>> for Region {
    type Error = PatternError;

    fn try_from(texts: Vec<String>) -> Result<Self, PatternError> {
        Self::parse(texts)
    }
}

impl From<Region> for Vec<String> {
    fn from(region: Region) -> Self {
        region.entries.into_iter().map(String::from).collect()
    }
}
