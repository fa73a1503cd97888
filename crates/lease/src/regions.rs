//! What callers write as patterns and paths, turned into what the arbiter compares: relative to the root and
//! free of links, so that one file has one name (feature E3).

use arbiter::region::{Case, Entry, PatternError, ProjectPath, Region};

use crate::paths::{PathError, Resolved, RootDir, relative_to_root, resolve_components};

/// Why a pattern or path cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// It is not a pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It leads out of the root, or where it leads cannot be told.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl RegionError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pattern(error) => error.hint(),
            Self::Path(error) => error.hint(),
        }
    }
}

/// Reads patterns into a region.
///
/// # Errors
///
/// [`RegionError`] for the first that cannot be used.
pub fn region<'a>(
    root: &RootDir,
    patterns: impl IntoIterator<Item = &'a str>,
) -> Result<Region, RegionError> {
    let mut plain: Vec<Entry> = Vec::new();
    for pattern in patterns {
        plain.extend(without_links(root, Entry::parse(&relative_to_root(root, pattern)?)?)?);
    }
    Region::of(plain.into_iter().map(Ok))
}

/// The same region by the names that its paths have without links.
///
/// # Errors
///
/// [`RegionError`] for the first entry that leads out of the root.
pub fn canonical(root: &RootDir, region: &Region) -> Result<Region, RegionError> {
    self::region(root, region.entries().iter().map(Entry::as_str))
}

/// The entry itself, or, where a link is on its way, each of its alternatives with the links resolved.
fn without_links(root: &RootDir, entry: Entry) -> Result<Vec<Entry>, RegionError> {
    if entry.is_resource() {
        return Ok(vec![entry]);
    }
    let mut any = false;
    let mut plain = Vec::new();
    for alternative in entry.spelled_out() {
        let literal: Vec<&str> = alternative.literal_components().collect();
        let Resolved { consumed, replacement } = resolve_components(root, &literal)?;
        if consumed == 0 {
            plain.push(alternative);
            continue;
        }
        any = true;
        let replacement: Vec<&str> = replacement.iter().map(String::as_str).collect();
        plain.push(alternative.with_prefix_replaced(consumed, &replacement)?);
    }
    Ok(if any { plain } else { vec![entry] })
}

/// One thing that a lease may cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path.
    Path(ProjectPath),
    /// A lock or a pool.
    Resource(Entry),
}

impl Target {
    /// Its name, normalised.
    pub fn as_str(&self) -> &str {
        match self {
            Target::Path(path) => path.as_str(),
            Target::Resource(resource) => resource.as_str(),
        }
    }

    /// Reports whether `region` has it.
    pub fn is_in(&self, region: &Region, case: Case) -> bool {
        match self {
            Target::Path(path) => region.covers(path, case),
            Target::Resource(resource) => region.holds(resource),
        }
    }
}

/// Reads a path, or the name of a resource: `lock://NAME` or `pool://NAME`.
///
/// # Errors
///
/// [`RegionError`] when it is neither, or leaves the root.
pub fn target(root: &RootDir, text: &str) -> Result<Target, RegionError> {
    if text.starts_with("lock://") || text.starts_with("pool://") {
        return Ok(Target::Resource(Entry::parse(text)?));
    }
    path(root, text).map(Target::Path)
}

/// Reads a path.
///
/// # Errors
///
/// [`RegionError`] when it is none or leaves the root.
pub fn path(root: &RootDir, text: &str) -> Result<ProjectPath, RegionError> {
    let path = ProjectPath::parse(&relative_to_root(root, text)?)?;
    let names: Vec<&str> = path.components().collect();
    let Resolved { consumed, replacement } = resolve_components(root, &names)?;
    if consumed == 0 {
        return Ok(path);
    }
    let mut names: Vec<&str> =
        replacement.iter().map(String::as_str).chain(names[consumed..].iter().copied()).collect();
    if names.is_empty() {
        names.push(".");
    }
    Ok(ProjectPath::parse(&names.join("/"))?)
}
