//! A file beside a segment that says where in its root each lease stands, and what there is to know of it in order to
//! leave it alone: so that who has many leases in its way need read few of them.
//!
//! It is a cache and nothing else. Whoever reads the whole segment makes it anew from what was read, and whatever is wrong
//! with it sends the reader to the whole segment. No lease is told by it: those that concern the reader are read where they
//! stand, each by its checksum. See `docs/format.md`, section 5, and ADR 0019.

use std::collections::BTreeSet;

use arbiter::interest::{Interest, Kind, words_of};
use arbiter::seq::{LeaseId, Seq};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::checksum::crc32;
use crate::disk::{Access, Dir, Disk, Name};
use crate::line;
use crate::record::{Checkpoint, KeptLease};
use crate::segment::{self, Root, SEGMENT_BYTES_MAX, Segment};
use crate::state::State;

/// Segments with fewer bytes are read whole: that is as fast.
pub const INDEX_FROM_BYTES: u64 = 128 << 10;

/// How the names of indexes begin.
pub const INDEX: &str = "index-";

/// What the file begins with; the number is that of its format.
const MAGIC: &[u8; 16] = b"lease-lane idx 1";
/// Magic, length of the header, checksum of the header.
const FRONT_BYTES: usize = MAGIC.len() + 4 + 4;
/// Bytes that a header may have. One with a policy and some answers has a few thousand.
const HEADER_BYTES_MAX: u32 = 16 << 20;
/// Bytes that are read at first: mostly the whole header.
const FIRST_BYTES: usize = 16 << 10;
/// Bytes of a block of the table, the last entry apart.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of the root that each reader checks besides those that it needs.
const PIECE_BYTES: usize = 64 << 10;
/// A reader whom more leases concern reads the whole segment.
const FOUND_MAX: usize = 4096;
/// How many leases stand for whoever lives at all.
const ANYBODY: u64 = 16;

/// The index of the segment whose root is record `root`.
pub fn name(root: Seq) -> Name {
    Name::new(Dir::Top, format!("{INDEX}{:020}", root.get()))
}

/// What there is before the table.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Bytes of the root, without its newline.
    bytes: u64,
    /// What the root begins and ends with, around its body: position, time, nonce, checksums.
    begins: String,
    ends: String,
    /// The checksum of each [`PIECE_BYTES`] of the root.
    pieces: Vec<u32>,
    /// How many leases the table tells of.
    leases: u64,
    /// The blocks of the table.
    blocks: Vec<Block>,
    /// All that the root says beside its leases.
    rest: Checkpoint,
}

#[derive(Serialize, Deserialize)]
struct Block {
    bytes: u32,
    crc: u32,
}

/// Where a lease stands in the root.
struct Place {
    lease: LeaseId,
    at: u32,
    bytes: u32,
    crc: u32,
}

/// What became of an attempt to read a segment by its index.
pub(crate) enum Looked {
    /// The segment, with the leases that are of interest.
    Seen(Box<Segment>),
    /// There is no index that fits.
    NoIndex,
    /// This time the whole segment has to be read.
    ReadAll,
}

/// The index of a root, from its line without newline; `None` when that is not a whole checkpoint.
pub(crate) fn build(root: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Leases<'a> {
        #[serde(borrow)]
        leases: Vec<&'a RawValue>,
    }
    let frame = line::decode(root).filter(|frame| frame.op == "CHECKPOINT")?;
    let (begins, ends) = line::around_body(&frame, root)?;
    let text = str::from_utf8(root).ok()?;
    let Leases { leases } = serde_json::from_slice(root).ok()?;
    let offset = |part: &str| part.as_ptr().addr() - text.as_ptr().addr();
    let (first, last) = (leases.first()?.get(), leases.last()?.get());
    let rest = [&text[..offset(first)], &text[offset(last) + last.len()..]].concat();
    let rest: Checkpoint = serde_json::from_slice(rest.as_bytes()).ok()?;

    let mut table = Vec::new();
    let mut blocks = Vec::new();
    let mut begin = 0;
    let mut close = |table: &[u8], begin: &mut usize| {
        let block = &table[*begin..];
        blocks.push(Block { bytes: u32::try_from(block.len()).ok()?, crc: crc32(block) });
        *begin = table.len();
        Some(())
    };
    for kept in &leases {
        let kept = kept.get();
        let KeptLease { lease, .. } = serde_json::from_slice(kept.as_bytes()).ok()?;
        let place = Place {
            lease: lease.lease,
            at: u32::try_from(offset(kept)).ok()?,
            bytes: u32::try_from(kept.len()).ok()?,
            crc: crc32(kept.as_bytes()),
        };
        place.write(&words_of(&lease), &mut table)?;
        if table.len() - begin >= BLOCK_BYTES {
            close(&table, &mut begin)?;
        }
    }
    close(&table, &mut begin)?;
    let header = Header {
        bytes: root.len() as u64,
        begins: str::from_utf8(begins).ok()?.into(),
        ends: str::from_utf8(ends).ok()?.into(),
        pieces: root.chunks(PIECE_BYTES).map(crc32).collect(),
        leases: leases.len() as u64,
        blocks,
        rest,
    };
    let header = serde_json::to_vec(&header).ok()?;
    let len = u32::try_from(header.len()).ok().filter(|&len| len <= HEADER_BYTES_MAX)?;
    Some([MAGIC, &len.to_le_bytes()[..], &crc32(&header).to_le_bytes(), &header, &table].concat())
}

impl Place {
    /// Number, place, length, checksum, how many words; then each word: its kind, its length, its text.
    fn write(&self, words: &BTreeSet<(Kind, Vec<u8>)>, table: &mut Vec<u8>) -> Option<()> {
        table.extend(self.lease.get().to_le_bytes());
        for number in [self.at, self.bytes, self.crc] {
            table.extend(number.to_le_bytes());
        }
        table.extend(u16::try_from(words.len()).ok()?.to_le_bytes());
        for (kind, text) in words {
            table.extend([kind.letter(), u8::try_from(text.len()).ok()?]);
            table.extend(text);
        }
        Some(())
    }

    /// The next entry of a block, and whether `concerns` says yes to any of its words.
    fn read(block: &mut &[u8], mut concerns: impl FnMut(Kind, &[u8]) -> bool) -> Option<(Place, bool)> {
        let lease = LeaseId::new(u64::from_le_bytes(take(block)?))?;
        let [at, bytes, crc] = [take(block)?, take(block)?, take(block)?].map(u32::from_le_bytes);
        let place = Place { lease, at, bytes, crc };
        let mut found = false;
        for _ in 0..u16::from_le_bytes(take(block)?) {
            let [letter, len] = take(block)?;
            let (text, rest) = block.split_at_checked(len.into())?;
            *block = rest;
            found = found || concerns(Kind::of_letter(letter)?, text);
        }
        Some((place, found))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Reads the segment `file` of this root as far as it is of interest.
pub(crate) fn look<D: Disk>(disk: &D, file: &D::File, root: Seq, interest: &Interest) -> Looked {
    let name = name(root);
    // Whatever is wrong with it, it is only a cache.
    let Ok(Some(index)) = disk.open(&name, Access::Read) else { return Looked::NoIndex };
    let index = Part { disk, file: &index, name };
    let segment = Part { disk, file, name: segment::name(root) };
    let looked = index.header().and_then(|(header, table)| {
        let end = segment.end(&header)?;
        Some((index.find(&header, table, interest)?, header, end))
    });
    let Some((found, header, end)) = looked else { return Looked::NoIndex };
    match segment.seen(root, header, &end, &found, interest) {
        Some(seen) => Looked::Seen(Box::new(seen)),
        None => Looked::ReadAll,
    }
}

/// A file of which parts are read.
struct Part<'d, D: Disk> {
    disk: &'d D,
    file: &'d D::File,
    name: Name,
}

/// What the table said to somebody.
struct Found {
    places: Vec<Place>,
    /// Those of the answered requests whose leases are in the table.
    answered: BTreeSet<LeaseId>,
}

impl<D: Disk> Part<'_, D> {
    fn bytes(&self, from: u64, len: usize) -> Option<Vec<u8>> {
        self.disk.read_part(self.file, &self.name, from, len).ok().filter(|bytes| bytes.len() == len)
    }

    /// As [`Part::bytes`], if they have this checksum.
    fn sound(&self, from: u64, len: usize, crc: u32) -> Option<Vec<u8>> {
        self.bytes(from, len).filter(|bytes| crc32(bytes) == crc)
    }

    /// Of an index: its header, and where the table begins.
    fn header(&self) -> Option<(Header, u64)> {
        let first = self.disk.read_part(self.file, &self.name, 0, FIRST_BYTES).ok()?;
        let mut rest = first.strip_prefix(MAGIC)?;
        let [len, crc] = [take(&mut rest)?, take(&mut rest)?].map(u32::from_le_bytes);
        let bytes = usize::try_from(len).ok().filter(|_| len <= HEADER_BYTES_MAX)?;
        let header = match rest.get(..bytes) {
            Some(header) => (crc32(header) == crc).then(|| serde_json::from_slice(header))?,
            None => serde_json::from_slice(&self.sound(FRONT_BYTES as u64, bytes, crc)?),
        };
        Some((header.ok()?, FRONT_BYTES as u64 + u64::from(len)))
    }

    /// Of an index: the leases that are of interest, by a table in which every byte is checked.
    fn find(&self, header: &Header, table: u64, interest: &Interest) -> Option<Found> {
        let asked: BTreeSet<LeaseId> = header.rest.answered.iter().map(|answer| answer.at.into()).collect();
        let mut found = Found { places: Vec::new(), answered: BTreeSet::new() };
        let (mut from, mut left) = (table, header.leases);
        for block in &header.blocks {
            let bytes = self.sound(from, usize::try_from(block.bytes).ok()?, block.crc)?;
            let mut entries = &bytes[..];
            while !entries.is_empty() {
                let (place, concerns) =
                    Place::read(&mut entries, |kind, text| interest.may_concern(kind, text))?;
                if !asked.is_empty() && asked.contains(&place.lease) {
                    found.answered.insert(place.lease);
                }
                let is_somebody = interest.is_in_anybody() && left <= ANYBODY;
                if concerns || is_somebody || interest.names(place.lease) {
                    found.places.push(place);
                }
                left = left.checked_sub(1)?;
            }
            from += u64::from(block.bytes);
        }
        (left == 0).then_some(found)
    }

    /// Of a segment: everything from the end of its root's body on, if the root begins and ends as the index says.
    fn end(&self, header: &Header) -> Option<Vec<u8>> {
        let Header { bytes, begins, ends, .. } = header;
        let begin = self.bytes(0, begins.len())?;
        let from = bytes.checked_sub(ends.len() as u64)?;
        let end = self.disk.read(self.file, &self.name, from, SEGMENT_BYTES_MAX).ok()?;
        let is_same = begin == begins.as_bytes() && end.strip_prefix(ends.as_bytes())?.starts_with(b"\n");
        is_same.then_some(end)
    }

    /// Of a segment: what it amounts to for the one who is interested; `None` when that takes reading it whole.
    fn seen(
        &self,
        root: Seq,
        header: Header,
        end: &[u8],
        found: &Found,
        interest: &Interest,
    ) -> Option<Segment> {
        if found.places.len() > FOUND_MAX {
            return None;
        }
        let Header { bytes, begins, ends, pieces, rest, .. } = header;
        let root = Root::known(root, &begins, &ends, bytes, &rest)?;
        let mut state = State::restore(rest).ok()?;
        for place in &found.places {
            let kept = self.sound(place.at.into(), usize::try_from(place.bytes).ok()?, place.crc)?;
            let KeptLease { lease, extra } = serde_json::from_slice(&kept).ok()?;
            if lease.lease != place.lease {
                return None;
            }
            state.admit(lease, extra).ok()?;
        }
        state.leave_out_others(root.head.seq, found.answered.clone());
        let segment = Segment::behind(root, state, end.get(ends.len() + 1..)?).ok()?;
        self.is_sound_somewhere(bytes, &pieces, segment.chain.head()?.seq)?;
        let State { waiters, live, .. } = &segment.state;
        let looks_further = interest.is_in_the_line() && !waiters.is_empty();
        let knows_nobody = interest.is_in_anybody() && live.is_empty();
        (!looks_further && !knows_nobody).then_some(segment)
    }

    /// Of a segment: one piece of its root after the other is checked, by one record after the other. So what has rotted
    /// where nobody looks is found before long.
    fn is_sound_somewhere(&self, bytes: u64, pieces: &[u32], turn: Seq) -> Option<()> {
        let piece = usize::try_from(turn.get() % pieces.len().max(1) as u64).ok()?;
        let from = (piece * PIECE_BYTES) as u64;
        let len = usize::try_from(bytes.checked_sub(from)?).ok()?.min(PIECE_BYTES);
        self.sound(from, len, *pieces.get(piece)?).map(drop)
    }
}
