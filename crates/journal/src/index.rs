//! A cache file: for each live lease, its position in the segment and a few search words, so that a reader parses only the
//! leases that may matter. A lease that came or changed since the root of the segment stands in the index itself.
//!
//! Nothing rests on it. Whoever reads the whole segment can make it anew, and a reader that finds anything wrong with it
//! reads the whole segment. Every byte of it that is used is under a checksum, and so is the text of every lease. Of the
//! part of the segment that it covers, a reader reads the leases that may matter and one piece more, to find rot. The
//! records behind that part are read as ever. See `docs/format.md`, section 6, and ADR 0019.

mod file;
mod look;
mod make;

use arbiter::seq::Seq;

use crate::digits::twenty_digits;
use crate::disk::{Dir, Name};

pub(crate) use look::{Looked, is_there, look};
pub(crate) use make::{advance, build};

/// A segment with fewer bytes is read whole, which is as fast.
pub const INDEX_FROM_BYTES: u64 = 40 << 10;

/// How the names of indexes begin.
pub const INDEX: &str = "index-";

/// An index is brought up to date when more than so many bytes of records stand behind what it covers.
pub(crate) const LAG_BYTES: u64 = 256 << 10;
/// One reader in so many brings it up to date, so that of many at once not all do it.
const LAG_TURNS: u32 = 4;

/// Bytes of a piece: each reader checks one piece of the segment beside what it needs.
const PIECE_BYTES: usize = 64 << 10;

/// The index of the segment whose root is record `root`.
pub fn name(root: Seq) -> Name {
    Name::new(Dir::Top, format!("{INDEX}{}", twenty_digits(root.get())))
}
