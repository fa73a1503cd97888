//! A file beside a segment that says where in it each live lease stands, and what there is to know of a lease in order to
//! leave it alone: so that who has many leases around its way need read few of them.
//!
//! It is a cache and nothing else. Whoever reads the whole segment can make it anew, and whatever is wrong with it sends
//! the reader to the whole segment. Every byte of it that is used is under a checksum, and so is every lease where it
//! stands. What it covers of the segment is not read again but for a piece at a time; what came after is read as ever. See
//! `docs/format.md`, section 6, and ADR 0019.

mod file;
mod look;
mod make;

use arbiter::seq::Seq;

use crate::digits::twenty_digits;
use crate::disk::{Dir, Name};

pub(crate) use look::{Looked, is_there, look};
pub(crate) use make::{advance, build};

/// Segments with fewer bytes are read whole: that is as fast.
pub const INDEX_FROM_BYTES: u64 = 40 << 10;

/// How the names of indexes begin.
pub const INDEX: &str = "index-";

/// An index is brought up to date when so many bytes of records are behind what it covers ...
pub(crate) const LAG_BYTES: u64 = 256 << 10;
/// ... by one reader in so many, so that of many at once not all do it.
const LAG_TURNS: u32 = 4;

/// Bytes of the segment that each reader checks beside those that it needs.
const PIECE_BYTES: usize = 64 << 10;

/// The index of the segment whose root is record `root`.
pub fn name(root: Seq) -> Name {
    Name::new(Dir::Top, format!("{INDEX}{}", twenty_digits(root.get())))
}
