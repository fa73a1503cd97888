//! Reading a segment by its index.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use arbiter::interest::Interest;
use arbiter::seq::{LeaseId, Seq};

use super::file::{BEGIN_BYTES, Entry, File, Front, Header, Place, begin};
use super::{LAG_TURNS, PIECE_BYTES, name};
use crate::chain::{Flow, Head};
use crate::checksum::crc32;
use crate::disk::{Access, Disk, Name};
use crate::line::Crc;
use crate::mark::Mark;
use crate::record::{Checkpoint, KeptLease};
use crate::segment::{self, Covered, SEGMENT_BYTES_MAX, Segment};
use crate::state::State;

/// Bytes that are read at first: mostly the whole front.
const FIRST_BYTES: usize = 32 << 10;
/// How many leases a reader reads by the index. If more concern it, it reads the whole segment.
const FOUND_MAX: usize = 4096;
/// How many leases are read for one who asks whether any lease lives at all.
const ANYBODY: u64 = 16;

/// What became of an attempt to read a segment by its index.
pub(crate) enum Looked {
    /// The segment, with the leases that are of interest; whether it is this reader's turn to bring the index up to date.
    Seen(Box<Segment>, bool),
    /// There is no index that fits.
    NoIndex,
    /// This time the whole segment has to be read.
    ReadAll,
}

/// Reads the segment `file` of this root, whose mark was read before, as far as it is of interest.
// Apart: few stores have an index, and it needs more stack than all the rest of a look.
#[inline(never)]
pub(crate) fn look<D: Disk>(
    disk: &D,
    file: &D::File,
    root: Seq,
    mark: Option<Mark>,
    interest: &Interest,
    lag_bytes: u64,
) -> Looked {
    // Whatever is wrong with it, it is only a cache.
    let opened = Opened::of(disk, file, root);
    let found = opened.as_ref().and_then(|(opened, rest)| opened.find(interest, rest));
    let (Some((opened, rest)), Some(found)) = (opened, found) else { return Looked::NoIndex };
    // What was acknowledged within what is covered is not known one by one.
    if mark.is_some_and(|mark| mark.seq < opened.header.seq) {
        return Looked::ReadAll;
    }
    match opened.seen(rest, found, interest) {
        Seen::Enough(segment) => {
            // Not by its number: where every call writes two records, one parity never has its turn.
            let turn = segment.chain.head().map_or(0, |head| head.crc.0);
            let lags = opened.behind().len() as u64 > lag_bytes && turn.is_multiple_of(LAG_TURNS);
            Looked::Seen(segment, lags)
        }
        Seen::TooLittle => Looked::ReadAll,
        Seen::Odd => Looked::NoIndex,
    }
}

/// Whether the segment has an index that serves whoever asks. One that fits and is not sound, or behind which a late writer
/// extends what is covered, serves nobody: it has to be made anew.
pub(crate) fn is_there<D: Disk>(disk: &D, file: &D::File, root: Seq) -> bool {
    Opened::of(disk, file, root).is_some_and(|(opened, _)| opened.is_of_use().is_some())
}

/// What a segment amounts to for the one who is interested.
pub(super) enum Seen {
    Enough(Box<Segment>),
    /// The question cannot be answered without a look at every lease.
    TooLittle,
    /// There is something that only reading all can judge: rot, or a late writer who extends what is covered.
    Odd,
}

/// What was found in a table.
pub(super) struct Found {
    places: Vec<Place>,
    /// Those of the answered requests whose leases are in the table.
    answered: BTreeSet<LeaseId>,
}

/// A file of which parts are read.
struct Part<'d, D: Disk, F> {
    disk: &'d D,
    file: F,
    name: Name,
}

impl<D: Disk, F: Borrow<D::File>> Part<'_, D, F> {
    fn bytes(&self, from: u64, len: usize) -> Option<Vec<u8>> {
        self.disk.read_part(self.file.borrow(), &self.name, from, len).ok().filter(|bytes| bytes.len() == len)
    }

    /// As [`Part::bytes`], if they have this checksum.
    fn sound(&self, from: u64, len: usize, crc: u32) -> Option<Vec<u8>> {
        self.bytes(from, len).filter(|bytes| crc32(bytes) == crc)
    }

    fn rest(&self, from: u64) -> Option<Vec<u8>> {
        self.disk.read(self.file.borrow(), &self.name, from, SEGMENT_BYTES_MAX).ok()
    }
}

/// An index and the segment that it is of.
pub(super) struct Opened<'d, D: Disk> {
    segment: Part<'d, D, &'d D::File>,
    index: Part<'d, D, D::File>,
    root: Seq,
    pub(super) header: Header,
    /// Where the table begins.
    table: u64,
    /// The segment from the stamp on.
    end: Vec<u8>,
}

impl<'d, D: Disk> Opened<'d, D> {
    /// The index of this segment, and what the records that it covers amount to, but for the leases. `None` when there is no
    /// index, or it is of another segment.
    pub(super) fn of(disk: &'d D, file: &'d D::File, root: Seq) -> Option<(Opened<'d, D>, Checkpoint)> {
        let name = name(root);
        let index = Part { disk, file: disk.open(&name, Access::Read).ok()??, name };
        let segment = Part { disk, file, name: segment::name(root) };
        let (Front { header, rest }, table) = front(&index)?;
        let from = header.covers.checked_sub(header.stamp.len() as u64)?;
        let end = segment.rest(from).filter(|end| end.starts_with(&header.stamp))?;
        (header.seq >= root).then_some((Opened { segment, index, root, header, table, end }, rest))
    }

    /// The records behind what is covered.
    pub(super) fn behind(&self) -> &[u8] {
        &self.end[self.header.stamp.len()..]
    }

    /// What must be known of the part of the segment that is covered in order to read the records behind it.
    pub(super) fn covered(&self) -> Covered {
        let Header { seq, ts, crc, nonce, covers, root_bytes, ref format, repaired_after, .. } = self.header;
        Covered {
            root: self.root,
            head: Head { seq, crc: Crc(crc), ts },
            nonce,
            bytes: covers,
            root_bytes,
            format: format.clone(),
            repaired_after,
        }
    }

    /// Goes through the table, of which every byte is checked.
    pub(super) fn each(&self, mut each: impl FnMut(Entry<'_>) -> Option<()>) -> Option<()> {
        let mut from = self.table;
        let mut left = self.header.leases;
        for block in &self.header.blocks {
            let bytes = self.index.sound(from, usize::try_from(block.bytes).ok()?, block.crc)?;
            let mut entries = &bytes[..];
            while !entries.is_empty() {
                each(Entry::take(&mut entries)?)?;
                left = left.checked_sub(1)?;
            }
            from += u64::from(block.bytes);
        }
        (left == 0).then_some(())
    }

    /// The leases that are of interest.
    pub(super) fn find(&self, interest: &Interest, rest: &Checkpoint) -> Option<Found> {
        let answered = rest.answered.iter().map(|answer| LeaseId::from(answer.at));
        let asked: BTreeSet<LeaseId> = answered.collect();
        let mut found = Found { places: Vec::new(), answered: BTreeSet::new() };
        let mut left = self.header.leases;
        self.each(|entry| {
            let lease = entry.place.lease;
            if asked.contains(&lease) {
                found.answered.insert(lease);
            }
            let is_somebody = interest.is_in_anybody() && left <= ANYBODY;
            if entry.may_concern(interest)? || is_somebody || interest.names(lease) {
                found.places.push(entry.place);
            }
            left = left.saturating_sub(1);
            Some(())
        })?;
        Some(found)
    }

    /// What stands at a place.
    pub(super) fn text_at(&self, place: &Place) -> Option<Vec<u8>> {
        let (at, bytes) = (u64::from(place.at), usize::try_from(place.bytes).ok()?);
        match place.file {
            File::Segment => self.segment.sound(at, bytes, place.crc),
            File::Index => self.index.sound(self.own() + at, bytes, place.crc),
        }
    }

    /// All leases that stand in the index.
    pub(super) fn own_text(&self) -> Option<Vec<u8>> {
        self.index.rest(self.own())
    }

    /// The lease at a place in `own`, the text of all leases that stand in the index.
    pub(super) fn text_in<'o>(own: &'o [u8], place: &Place) -> Option<&'o [u8]> {
        let at = usize::try_from(place.at).ok()?;
        let text = own.get(at..)?.get(..usize::try_from(place.bytes).ok()?)?;
        (crc32(text) == place.crc).then_some(text)
    }

    /// Whether all of the index is sound, and the records behind it go on from what is covered.
    fn is_of_use(&self) -> Option<()> {
        let own = self.own_text()?;
        self.each(|entry| match entry.place.file {
            File::Segment => Some(()),
            File::Index => Self::text_in(&own, &entry.place).map(drop),
        })?;
        self.covered().chain().feed(self.behind(), |_| Ok(Flow::Goes)).ok()
    }

    fn own(&self) -> u64 {
        self.table + self.header.blocks.iter().map(|block| u64::from(block.bytes)).sum::<u64>()
    }

    /// What the segment amounts to, without the leases that were not found.
    pub(super) fn seen(&self, rest: Checkpoint, found: Found, interest: &Interest) -> Seen {
        if found.places.len() > FOUND_MAX {
            return Seen::TooLittle;
        }
        let Some(segment) = self.read(rest, found) else { return Seen::Odd };
        let State { waiters, live, .. } = &segment.state;
        let looks_further = interest.is_in_the_line() && !waiters.is_empty();
        let knows_nobody = interest.is_in_anybody() && live.is_empty();
        if looks_further || knows_nobody { Seen::TooLittle } else { Seen::Enough(Box::new(segment)) }
    }

    fn read(&self, rest: Checkpoint, found: Found) -> Option<Segment> {
        let mut state = State::restore(rest).ok()?;
        for place in &found.places {
            let KeptLease { lease, extra } = serde_json::from_slice(&self.text_at(place)?).ok()?;
            (lease.lease == place.lease).then_some(())?;
            state.admit(lease, extra).ok()?;
        }
        state.leave_out_others(self.header.seq, found.answered);
        let segment = Segment::behind(self.covered(), state, self.behind()).ok()?;
        self.is_sound_somewhere(segment.chain.head()?.crc)?;
        Some(segment)
    }

    /// Each reader checks one piece, which the checksum of the last record chooses, so that rot where nobody looks is found
    /// before long. If the number of that record chose it, some pieces would never be checked where every call writes two
    /// records.
    fn is_sound_somewhere(&self, chance: Crc) -> Option<()> {
        let Header { pieces, covers, .. } = &self.header;
        let piece = usize::try_from(chance.0).ok()? % pieces.len().max(1);
        let from = (piece * PIECE_BYTES) as u64;
        let len = usize::try_from(covers.checked_sub(from)?).ok()?.min(PIECE_BYTES);
        self.segment.sound(from, len, *pieces.get(piece)?).map(drop)
    }

    /// Bytes of the segment, from anywhere in it.
    pub(super) fn segment_part(&self, from: u64, len: usize) -> Option<Vec<u8>> {
        self.segment.bytes(from, len)
    }
}

/// The front of an index, and the byte at which its table begins.
fn front<D: Disk>(index: &Part<'_, D, D::File>) -> Option<(Front, u64)> {
    let first = index.disk.read_part(&index.file, &index.name, 0, FIRST_BYTES).ok()?;
    let (len, crc) = begin(&first)?;
    // As text: a parser of bytes finds out for each string whether it is UTF-8, which is a tenth of its work.
    let read = |front: &[u8]| serde_json::from_str(std::str::from_utf8(front).ok()?).ok();
    let front = match first.get(BEGIN_BYTES..BEGIN_BYTES + len) {
        Some(front) => (crc32(front) == crc).then(|| read(front))?,
        None => read(&index.sound(BEGIN_BYTES as u64, len, crc)?),
    };
    Some((front?, (BEGIN_BYTES + len) as u64))
}
