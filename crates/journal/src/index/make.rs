//! Making an index, and bringing one up to date.

use std::collections::BTreeSet;

use arbiter::interest::{Interest, words_of};
use arbiter::seq::{LeaseId, Seq};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PIECE_BYTES;
use super::file::{File, Header, Place, Table};
use super::look::{Opened, Seen};
use crate::chain::{Chain, Flow};
use crate::checksum::crc32;
use crate::disk::Disk;
use crate::record::{self, KeptLease, Op};
use crate::segment;

/// Bytes that a stamp may have. Behind the last record there may be what late and dead writers left.
const STAMP_BYTES_MAX: usize = 16 << 10;

/// The texts of the leases in a root.
#[derive(Deserialize)]
struct Leases<'a> {
    #[serde(borrow)]
    leases: Vec<&'a RawValue>,
}

/// The index of the segment `file` of this root, which is read whole; `None` when it has none.
pub(crate) fn build<D: Disk>(disk: &D, file: &D::File, root: Seq) -> Option<Vec<u8>> {
    let bytes = segment::read_bytes(disk, file, &segment::name(root)).ok()?;
    let segment = segment::fold_known(root, &bytes, None, |_| {}).ok()?;
    let head = segment.chain.head().filter(|_| segment.seal.is_none() && !segment.chain.has_open_tail())?;

    let line = bytes.get(..segment.root_bytes)?;
    let Leases { leases } = serde_json::from_slice(line).ok()?;
    let mut table = Table::default();
    let mut unchanged = BTreeSet::new();
    let mut in_root = Vec::with_capacity(leases.len());
    for text in leases {
        let text = text.get().as_bytes();
        let kept: KeptLease = serde_json::from_slice(text).ok()?;
        if segment.state.kept(kept.lease.lease).as_ref() == Some(&kept) {
            unchanged.insert(kept.lease.lease);
            in_root.push(text);
        }
    }
    let mut in_root = in_root.into_iter();
    for lease in segment.state.live.iter() {
        if unchanged.contains(&lease.lease) {
            let text = in_root.next()?;
            let at = text.as_ptr().addr() - line.as_ptr().addr();
            let place = Place {
                lease: lease.lease,
                file: File::Segment,
                at: u32::try_from(at).ok()?,
                bytes: u32::try_from(text.len()).ok()?,
                crc: crc32(text),
            };
            table.add(place, &words_of(lease))?;
        } else {
            table.add_own(&segment.state.kept(lease.lease)?)?;
        }
    }
    let nonce = segment.chain.nonce()?;
    let header = Header {
        stamp: stamp_of(&bytes, nonce)?,
        root_bytes: segment.root_bytes as u64,
        format: segment.format.clone(),
        repaired_after: segment.repaired_after,
        covers: bytes.len() as u64,
        seq: head.seq,
        ts: head.ts,
        crc: head.crc.0,
        nonce,
        pieces: bytes.chunks(PIECE_BYTES).map(crc32).collect(),
        leases: 0,
        blocks: Vec::new(),
    };
    table.index(header, segment.state.rest())
}

/// An index that covers the segment to its end, made of the present index and the records behind what that one covers;
/// `None` when only a reading of the whole segment can make it.
pub(crate) fn advance<D: Disk>(disk: &D, file: &D::File, root: Seq) -> Option<Vec<u8>> {
    let (old, rest) = Opened::of(disk, file, root)?;
    let (touched, interest) = touched(old.covered().chain(), old.behind())?;
    let found = old.find(&interest, &rest)?;
    let Seen::Enough(segment) = old.seen(rest, found, &interest) else { return None };
    let head = segment.chain.head().filter(|_| !segment.chain.has_open_tail())?;

    let own = old.own_text()?;
    let mut table = Table::default();
    let add = |table: &mut Table, lease: LeaseId| table.add_own(&segment.state.kept(lease)?);
    old.each(|entry| {
        let place = entry.place;
        if segment.state.live.get(place.lease).is_some() {
            return add(&mut table, place.lease);
        }
        if touched.contains(&place.lease) {
            return Some(());
        }
        let text = match place.file {
            File::Segment => None,
            File::Index => Some(Opened::<D>::text_in(&own, &place)?),
        };
        table.copy(&entry, text)
    })?;
    let is_new = |lease: &LeaseId| lease.get() > old.header.seq.get();
    for lease in segment.state.live.iter().map(|lease| lease.lease).filter(is_new) {
        add(&mut table, lease)?;
    }

    let covers = segment.chain.bytes();
    let behind = old.behind();
    let whole_pieces = usize::try_from(old.header.covers).ok()? / PIECE_BYTES;
    let begun = (whole_pieces * PIECE_BYTES) as u64;
    let mut last = old.segment_part(begun, usize::try_from(old.header.covers - begun).ok()?)?;
    last.extend(behind);
    let mut pieces = old.header.pieces.get(..whole_pieces)?.to_vec();
    pieces.extend(last.chunks(PIECE_BYTES).map(crc32));
    let nonce = segment.chain.nonce()?;
    let stamp = stamp_of(&last, nonce)?;
    let Opened { header, .. } = old;
    let header =
        Header { stamp, covers, seq: head.seq, ts: head.ts, crc: head.crc.0, nonce, pieces, ..header };
    table.index(header, segment.state.rest())
}

/// The stamp of these bytes of a segment, which no other bytes have: their end, from the nonce of their last record on.
fn stamp_of(bytes: &[u8], nonce: u64) -> Option<Vec<u8>> {
    let from = bytes.len().saturating_sub(STAMP_BYTES_MAX);
    let nonce = format!(",\"nonce\":\"{nonce:016x}\"");
    let at = memchr::memmem::rfind(&bytes[from..], nonce.as_bytes())?;
    Some(bytes[from + at..].to_vec())
}

/// The leases that these records name, and the interest in every lease that they may change.
fn touched(mut chain: Chain, bytes: &[u8]) -> Option<(BTreeSet<LeaseId>, Interest)> {
    let mut leases = BTreeSet::new();
    let mut interest = Interest::default();
    let mut is_plain = true;
    let fed = chain.feed(bytes, |valid| {
        match record::decode(&valid.frame, valid.text) {
            Ok(Op::Release(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Heartbeat(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Adopt(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Attach(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Scavenge(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Phase(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Defer(body)) => drop(leases.insert(body.lease)),
            Ok(Op::Halt(body)) => {
                leases.extend(body.lease);
                if let Some(lane) = &body.lane {
                    interest = std::mem::take(&mut interest).in_lane(lane);
                }
            }
            Ok(Op::Checkpoint(_)) | Err(_) => is_plain = false,
            Ok(
                Op::Acquire(_)
                | Op::Refuse(_)
                | Op::Wait(_)
                | Op::Cancel(_)
                | Op::Spawn(_)
                | Op::Policy(_)
                | Op::Repair(_)
                | Op::Unknown(_),
            ) => {}
        }
        Ok(Flow::Goes)
    });
    fed.ok().filter(|()| is_plain)?;
    for &lease in &leases {
        interest = interest.in_lease(lease);
    }
    Some((leases, interest))
}
