//! The bytes of an index: a header in JSON, a table of leases in blocks, and the leases that stand in it themselves.

use std::collections::BTreeSet;

use arbiter::interest::{Interest, Kind, words_of};
use arbiter::seq::{LeaseId, Seq};
use arbiter::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::checksum::crc32;
use crate::record::{Checkpoint, KeptLease};

/// What the file begins with; the number is that of its format.
const MAGIC: &[u8; 16] = b"lease-lane idx 2";
/// Magic, length of the front, checksum of the front.
pub(super) const BEGIN_BYTES: usize = MAGIC.len() + 4 + 4;
/// Bytes that a front may have. One with a policy and some answers has a few thousand. The answers of live leases are kept
/// as long as these live, so where there are very many of them, the front has as many bytes as they have in the segment.
const FRONT_BYTES_MAX: u32 = 512 << 20;
/// A block of the table is closed with the entry that gives it so many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// What there is before the table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Front {
    pub(super) header: Header,
    /// What the records that are covered amount to, but for the leases.
    pub(super) rest: Checkpoint,
}

/// What is told of the index itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// The last bytes that are covered, from the nonce of the last record on. A segment that does not have them there is
    /// another one, since no other write has that nonce.
    pub(super) stamp: Vec<u8>,
    /// Bytes of the root, without its newline.
    pub(super) root_bytes: u64,
    /// The format of the root.
    pub(super) format: String,
    /// Set when the root was made by a repair: the last record before the damage.
    pub(super) repaired_after: Option<u64>,
    /// How many bytes of the segment are covered.
    pub(super) covers: u64,
    /// The last record that is covered.
    pub(super) seq: Seq,
    pub(super) ts: Timestamp,
    pub(super) crc: u32,
    pub(super) nonce: u64,
    /// The checksum of each piece of [`super::PIECE_BYTES`] that is covered.
    pub(super) pieces: Vec<u32>,
    /// How many leases the table tells of.
    pub(super) leases: u64,
    /// The blocks of the table.
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) lease: LeaseId,
    pub(super) file: File,
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

/// In which file a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// In the root of the segment, as it has been since.
    Segment,
    /// Behind the table of the index.
    Index,
}

/// An entry of the table: a place, and the words of the lease that stands there.
pub(super) struct Entry<'a> {
    pub(super) place: Place,
    words: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Takes the next entry from a block.
    pub(super) fn take(block: &mut &'a [u8]) -> Option<Entry<'a>> {
        // In one piece: with very many leases this is where the time goes.
        let (&fixed, rest) = block.split_first_chunk::<25>()?;
        let [n0, n1, n2, n3, n4, n5, n6, n7, file, places @ ..] = fixed;
        let lease = LeaseId::new(u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]))?;
        let file = match file {
            b's' => File::Segment,
            b'i' => File::Index,
            _ => return None,
        };
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, l0, l1, l2, l3] = places;
        let [at, bytes, crc, len] =
            [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [l0, l1, l2, l3]].map(u32::from_le_bytes);
        let (words, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        *block = rest;
        Some(Entry { place: Place { lease, file, at, bytes, crc }, words })
    }

    /// Whether a word of the lease is of interest.
    pub(super) fn may_concern(&self, interest: &Interest) -> Option<bool> {
        let mut words = self.words;
        while !words.is_empty() {
            let [letter, len] = take(&mut words)?;
            let (text, rest) = words.split_at_checked(len.into())?;
            if interest.may_concern(Kind::of_letter(letter)?, text) {
                return Some(true);
            }
            words = rest;
        }
        Some(false)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// The length of the front and its checksum, from the first bytes of an index.
pub(super) fn begin(first: &[u8]) -> Option<(usize, u32)> {
    let mut rest = first.strip_prefix(MAGIC)?;
    let [len, crc] = [take(&mut rest)?, take(&mut rest)?].map(u32::from_le_bytes);
    (len <= FRONT_BYTES_MAX).then_some((usize::try_from(len).ok()?, crc))
}

/// A table while it is made, in order of the leases' numbers.
#[derive(Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    closed: usize,
    blocks: Vec<Block>,
    leases: u64,
    own: Vec<u8>,
}

impl Table {
    /// A lease that stands in the segment.
    pub(super) fn add(&mut self, place: Place, words: &BTreeSet<(Kind, Vec<u8>)>) -> Option<()> {
        let mut spelt = Vec::new();
        for (kind, text) in words {
            spelt.extend([kind.letter(), u8::try_from(text.len()).ok()?]);
            spelt.extend(text);
        }
        self.keep(&Entry { place, words: &spelt })
    }

    /// A lease that is to stand in the index.
    pub(super) fn add_own(&mut self, kept: &KeptLease) -> Option<()> {
        let place = self.own(kept.lease.lease, &serde_json::to_vec(kept).ok()?)?;
        self.add(place, &words_of(&kept.lease))
    }

    /// An entry of another table; `text` is what stands there, if that was in the other index.
    pub(super) fn copy(&mut self, entry: &Entry<'_>, text: Option<&[u8]>) -> Option<()> {
        match text {
            Some(text) => {
                let place = self.own(entry.place.lease, text)?;
                self.keep(&Entry { place, words: entry.words })
            }
            None => self.keep(entry),
        }
    }

    fn own(&mut self, lease: LeaseId, text: &[u8]) -> Option<Place> {
        let at = u32::try_from(self.own.len()).ok()?;
        self.own.extend(text);
        let bytes = u32::try_from(text.len()).ok()?;
        Some(Place { lease, file: File::Index, at, bytes, crc: crc32(text) })
    }

    fn keep(&mut self, entry: &Entry<'_>) -> Option<()> {
        let Entry { place: Place { lease, file, at, bytes, crc }, words } = *entry;
        self.bytes.extend(lease.get().to_le_bytes());
        self.bytes.push(match file {
            File::Segment => b's',
            File::Index => b'i',
        });
        for number in [at, bytes, crc, u32::try_from(words.len()).ok()?] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(words);
        self.leases += 1;
        if self.bytes.len() - self.closed >= BLOCK_BYTES { self.close() } else { Some(()) }
    }

    fn close(&mut self) -> Option<()> {
        let block = &self.bytes[self.closed..];
        self.blocks.push(Block { bytes: u32::try_from(block.len()).ok()?, crc: crc32(block) });
        self.closed = self.bytes.len();
        Some(())
    }

    /// The whole index. What `header` says of the table is filled in.
    pub(super) fn index(mut self, header: Header, rest: Checkpoint) -> Option<Vec<u8>> {
        self.close()?;
        let Table { bytes, blocks, leases, own, .. } = self;
        let front = Front { header: Header { leases, blocks, ..header }, rest };
        let front = serde_json::to_vec(&front).ok()?;
        let len = u32::try_from(front.len()).ok().filter(|&len| len <= FRONT_BYTES_MAX)?;
        Some([MAGIC, &len.to_le_bytes()[..], &crc32(&front).to_le_bytes(), &front, &bytes, &own].concat())
    }
}
