//! The high-water mark: how far the journal is known to reach.
//!
//! The chain alone cannot see a tail that was cut at a line's edge, an old copy put in place of a newer one,
//! or a last record damaged before a void one. So each writer, after its sync and before it reports, adds a
//! line to the mark file of its segment; the largest line is the mark. A reader reads the mark before the
//! segment and so never accuses a writer who was faster.
//!
//! The file only grows and is never replaced: no raise can be lost to another. One entry is
//! `<seq, 20 digits> <crc, 8 hex> <check, 8 hex>\n`, where `check` is the CRC-32 of what stands before its
//! space. An entry may stand behind the beginning of another one, cut off by a death. Lines that do not end in an
//! entry are ignored: the mark is a second witness, not the first. It is the only one while a repair has moved the
//! segment aside, so none that was written whole is passed over.

use std::fmt::Write as _;

use arbiter::seq::Seq;

use crate::checksum::crc32;
use crate::digits::twenty_digits;
use crate::line::Crc;

/// Bytes of one entry, the newline included.
pub const ENTRY_BYTES: usize = 20 + 1 + 8 + 1 + 8 + 1;

/// A record that is known to have been durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Its position.
    pub seq: Seq,
    /// Its checksum.
    pub crc: Crc,
}

impl Mark {
    /// Writes the mark as an entry, newline included.
    pub fn encode(self) -> String {
        let mut entry = String::with_capacity(ENTRY_BYTES);
        let _ = write!(entry, "{} {}", twenty_digits(self.seq.get()), self.crc);
        let check = crc32(entry.as_bytes());
        let _ = writeln!(entry, " {check:08x}");
        entry
    }

    fn decode(entry: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(entry).ok()?;
        let seq = Seq::new(text.get(..20)?.parse().ok()?)?;
        let crc = Crc(u32::from_str_radix(text.get(21..29)?, 16).ok()?);
        let mark = Mark { seq, crc };
        (mark.encode().as_bytes()[..entry.len()] == *entry).then_some(mark)
    }

    /// The highest mark in a mark file.
    ///
    /// Of two entries the higher one is also the greater text, and entries mostly rise: read from the end, few have to
    /// be checked.
    pub fn highest(bytes: &[u8]) -> Option<Mark> {
        let mut highest: Option<(&[u8], Mark)> = None;
        for entry in bytes.rsplit(|&b| b == b'\n').filter_map(end_of) {
            if highest.is_none_or(|(text, _)| entry > text)
                && let Some(mark) = Mark::decode(entry)
            {
                highest = Some((entry, mark));
            }
        }
        highest.map(|(_, mark)| mark)
    }
}

/// As much of the end of a line as an entry has. What stands before it is the beginning of another one, whose writer or
/// machine died.
fn end_of(line: &[u8]) -> Option<&[u8]> {
    line.get((line.len() + 1).checked_sub(ENTRY_BYTES)?..)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn mark(seq: u64) -> Mark {
        Mark { seq: Seq::new(seq).unwrap(), crc: Crc(0xab) }
    }

    #[test]
    fn the_highest_entry_counts_in_any_order_and_between_fragments() {
        let text =
            format!("{}{}\0\0garbage\n{}{}", mark(3).encode(), mark(9).encode(), mark(4).encode(), "0000");
        assert_eq!(Mark::highest(text.as_bytes()), Some(mark(9)));
        assert_eq!(Mark::highest(b""), None);
        assert_eq!(mark(1).encode().len(), ENTRY_BYTES);
    }

    proptest! {
        #[test]
        fn the_highest_is_the_greatest_of_all_entries(
            entries in vec((1u64..20, 0u32..4), 0..12), broken in vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        ) {
            let marks = entries.iter().map(|&(seq, crc)| Mark { seq: Seq::new(seq).unwrap(), crc: Crc(crc) });
            let mut bytes = marks.map(Mark::encode).collect::<String>().into_bytes();
            for (at, bit) in broken.iter().filter(|_| !entries.is_empty()) {
                bytes[at.index(entries.len() * ENTRY_BYTES)] ^= 1 << bit;
            }
            let greatest = bytes.split(|&b| b == b'\n').filter_map(end_of).filter_map(Mark::decode).max();
            prop_assert_eq!(Mark::highest(&bytes), greatest);
        }
    }

    #[test]
    fn an_entry_behind_half_an_entry_counts() {
        let whole = mark(12).encode();
        for cut in 0..ENTRY_BYTES {
            let text = format!("{}{}", &mark(11).encode()[..cut], whole);
            assert_eq!(Mark::highest(text.as_bytes()), Some(mark(12)), "behind {cut} bytes");
            // What is cut off counts in front of nothing.
            let text = format!("{}{}", mark(11).encode(), &whole[..cut]);
            let wanted = if cut + 1 < ENTRY_BYTES { 11 } else { 12 };
            assert_eq!(Mark::highest(text.as_bytes()), Some(mark(wanted)), "{cut} bytes behind it");
        }
    }

    #[test]
    fn no_changed_entry_is_believed() {
        let good = mark(12).encode().into_bytes();
        for at in 0..good.len() - 1 {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                assert_eq!(Mark::highest(&bytes), None, "byte {at} bit {bit}");
            }
        }
    }
}
