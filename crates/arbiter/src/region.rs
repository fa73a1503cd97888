//! Regions: sets of project paths and named resources, and the algebra on them.
//!
//! Path entries are globs, globs are regular languages, so two questions have exact answers: *can these two name the
//! same file?* ([`Entry::overlap`], which returns the canonical shortest such path as a [`Witness`]) and *does this one
//! name that file?* ([`Entry::covers`]). Both run the same automaton, so admission and enforcement cannot disagree.
//!
//! Nothing here looks at a disk. Symbolic links, absolute paths and the file system's own idea of case are settled by
//! the caller before text arrives; [`Entry::literal_components`] and [`Entry::with_prefix_replaced`] exist for that.
//!
//! # Meaning
//!
//! A path is one or more components joined by `/`; a component is not empty, not `.` and not `..`, and no pattern
//! names a path with such a component. Text is NFC-normalised once, when it is parsed; after that the unit of
//! comparison is one code point, folded by [`Case`]. Every `{…}` is spelled out before any rule about components
//! applies, so an entry with alternatives means the union of what it spells.
//!
//! # Cost
//!
//! | question | time |
//! | --- | --- |
//! | pair with different literal beginnings or endings | two `memcmp`, no allocation |
//! | pair that needs the product | O(n × m) of the two lengths in characters, usually far less |
//! | entry and concrete path | O(n × p) |
//!
//! With alternatives each spelled-out pair counts. See [`Entry`] for the limits on lengths.

mod automaton;
mod branch;
mod chars;
mod entry;
mod error;
mod fold;
mod fold_table;
mod list;
mod normal;
mod path;
mod product;
mod spelling;
mod syntax;
mod witness;

pub use entry::Entry;
pub use error::{PatternError, PatternErrorKind};
pub use fold::{Case, fold_case};
pub use list::Region;
pub use path::ProjectPath;
pub use witness::Witness;
