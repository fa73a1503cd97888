//! One record as one line of text, and back.
//!
//! ```text
//! {"seq":42,"ts":"2026-11-21T07:31:11.123Z","op":"RELEASE", body ,"nonce":"0123456789abcdef","prev":"89abcdef","crc":"01234567"}
//! ```
//!
//! The frame is positional: `seq`, `ts`, `op` come first and `nonce`, `prev`, `crc` last, in this order and
//! spelled exactly so, which makes the chain readable without parsing JSON. `crc` is the CRC-32 (IEEE) of all
//! bytes before `,"crc":`. It is compared as text: parsing would take `ABCD` for `abcd`. It finds damage, not
//! malice.

use std::fmt::Write as _;

use arbiter::seq::Seq;
use arbiter::time::Timestamp;

use crate::checksum::crc32;

/// Every record starts with this. Nowhere else can it occur: inside a string its quotes are escaped, and
/// [`encode`] keeps nested objects from beginning with it.
pub const TOKEN: &[u8] = b"{\"seq\":";

/// Bytes that one record may have. A checkpoint of 100 000 leases has about 42 MB.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Bytes that a record has at least.
pub(crate) const RECORD_BYTES_MIN: usize =
    TOKEN.len() + 1 + 7 + TIME_LEN + 8 + 1 + 1 + NONCE_PART + PREV_PART + CRC_PART;

const TS_KEY: &[u8] = b",\"ts\":\"";
const OP_KEY: &[u8] = b"\",\"op\":\"";
const PREV_KEY: &[u8] = b",\"prev\":\"";
const CRC_KEY: &[u8] = b",\"crc\":\"";
const NONCE_KEY: &[u8] = b",\"nonce\":\"";
/// `,"crc":"01234567"}`
const CRC_PART: usize = CRC_KEY.len() + 8 + 2;
/// `,"prev":"89abcdef"`
const PREV_PART: usize = PREV_KEY.len() + 8 + 1;
/// `,"nonce":"0123456789abcdef"`
const NONCE_PART: usize = NONCE_KEY.len() + 16 + 1;
/// Letters that the name of an operation may have.
const OP_BYTES_MAX: usize = 64;
const TIME_LEN: usize = "2026-11-21T07:31:11.123Z".len();

/// A checksum of a record, by which the next one names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Crc(pub u32);

impl Crc {
    /// What the first record of all names as its predecessor.
    pub const NONE: Crc = Crc(0);
}

impl std::fmt::Display for Crc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The frame of a record: all that the chain needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its position.
    pub seq: Seq,
    /// When it was written, by the wall clock; never before that of its predecessor.
    pub ts: Timestamp,
    /// The operation.
    pub op: &'a str,
    /// Shared by the records of one write and by nothing else, so that two writers can never have written
    /// the same bytes and both believe that a record is theirs.
    pub nonce: u64,
    /// The checksum of the record it extends.
    pub prev: Crc,
    /// Its own checksum.
    pub crc: Crc,
}

/// What a record says beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Its position.
    pub seq: Seq,
    /// When it is written.
    pub ts: Timestamp,
    /// The write it belongs to.
    pub nonce: u64,
    /// The checksum of the record it extends.
    pub prev: Crc,
}

/// Bytes that a line mostly has beside its body.
const FRAME_BYTES: usize = 160;

/// Writes a record as its line, without the newline. `body` is the JSON object of the operation.
pub fn encode(stamp: Stamp, op: &str, body: &str) -> (String, Crc) {
    let Stamp { seq, ts, nonce, prev } = stamp;
    let mut line = String::with_capacity(body.len() + FRAME_BYTES);
    let _ = write!(line, "{{\"seq\":{seq},\"ts\":\"{ts}\",\"op\":\"{op}\"");
    let inner = body.strip_prefix('{').and_then(|body| body.strip_suffix('}')).unwrap_or_default();
    if !inner.is_empty() {
        // White space is all it takes to keep a nested object from looking like the start of a record.
        for (i, part) in inner.split("{\"seq\":").enumerate() {
            line.push_str(if i == 0 { "," } else { "{ \"seq\":" });
            line.push_str(part);
        }
    }
    let _ = write!(line, ",\"nonce\":\"{nonce:016x}\",\"prev\":\"{prev}\"");
    let crc = Crc(crc32(line.as_bytes()));
    let _ = write!(line, ",\"crc\":\"{crc}\"}}");
    (line, crc)
}

/// Reads the frame of a record; `None` when the bytes are not exactly one whole, undamaged record.
pub fn decode(text: &[u8]) -> Option<Frame<'_>> {
    if text.len() > RECORD_BYTES_MAX {
        return None;
    }
    let crc = stated_crc(text)?;
    let covered = &text[..text.len() - CRC_PART];
    (crc32(covered) == crc.0).then_some(())?;
    frame(covered, crc)
}

/// The checksum that the last bytes of `text` state, if they are the end of a record.
pub(crate) fn stated_crc(text: &[u8]) -> Option<Crc> {
    let part = text.get(text.len().checked_sub(CRC_PART)?..)?;
    let hex = part.strip_prefix(CRC_KEY)?.strip_suffix(b"\"}")?;
    lower_hex(hex).and_then(|crc| u32::try_from(crc).ok()).map(Crc)
}

/// How many bytes at the end of a record its checksum does not cover.
pub(crate) const fn uncovered() -> usize {
    CRC_PART
}

/// What stands between the operation and the nonce of a record: nothing, or a comma and the fields of its body.
pub(crate) fn body<'a>(frame: &Frame<'_>, text: &'a [u8]) -> Option<&'a [u8]> {
    let digits = usize::try_from(frame.seq.get().ilog10()).ok()? + 1;
    let begin = TOKEN.len() + digits + TS_KEY.len() + TIME_LEN + OP_KEY.len() + frame.op.len() + 1;
    text.get(begin..text.len().checked_sub(NONCE_PART + PREV_PART + CRC_PART)?)
}

/// The frame in the bytes that a checksum covers. Costs the same however long the record is.
pub(crate) fn frame(covered: &[u8], crc: Crc) -> Option<Frame<'_>> {
    let rest = covered.strip_prefix(TOKEN)?;
    let (seq, rest) = number(rest)?;
    let seq = Seq::new(seq)?;
    let rest = rest.strip_prefix(TS_KEY)?;
    let (ts, rest) = rest.split_at_checked(TIME_LEN)?;
    let ts = Timestamp::parse_as_written(ts)?;
    let rest = rest.strip_prefix(OP_KEY)?;
    let letters =
        rest.iter().take(OP_BYTES_MAX).take_while(|b| b.is_ascii_uppercase() || **b == b'_').count();
    let (op, rest) = rest.split_at(letters);
    let op = std::str::from_utf8(op).ok().filter(|op| !op.is_empty())?;
    let rest = rest.strip_prefix(b"\"")?;
    let (rest, prev_part) = rest.split_at_checked(rest.len().checked_sub(PREV_PART)?)?;
    let prev = lower_hex(prev_part.strip_prefix(PREV_KEY)?.strip_suffix(b"\"")?)?;
    let (body, nonce_part) = rest.split_at_checked(rest.len().checked_sub(NONCE_PART)?)?;
    let nonce = lower_hex(nonce_part.strip_prefix(NONCE_KEY)?.strip_suffix(b"\"")?)?;
    if !(body.is_empty() || body.starts_with(b",")) {
        return None;
    }
    Some(Frame { seq, ts, op, nonce, prev: Crc(u32::try_from(prev).ok()?), crc })
}

/// The number that a text begins with, in its one spelling, and what stands behind it. Looks no further than a number can
/// go on.
pub(crate) fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digit = |at: usize| text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10);
    let mut number = u64::from(digit(0)?);
    let mut digits = 1;
    while let Some(digit) = digit(digits) {
        if number == 0 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        digits += 1;
    }
    Some((number, &text[digits..]))
}

fn lower_hex(text: &[u8]) -> Option<u64> {
    /// What each byte is worth as a digit; more than a digit can be where it is none.
    const DIGITS: [u8; 256] = {
        let mut digits = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            digits[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        digits
    };
    let (value, seen) = text.iter().fold((0u64, 0u8), |(value, seen), &byte| {
        let digit = DIGITS[usize::from(byte)];
        (value << 4 | u64::from(digit & 0xf), seen | digit)
    });
    (seen <= 0xf).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            seq: Seq::new(42).unwrap(),
            ts: Timestamp::parse("2026-11-21T07:31:11.123Z").unwrap(),
            nonce: 7,
            prev: Crc(0x89ab_cdef),
        }
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        for body in ["{}", "{\"lane\":\"api\"}", "{\"text\":\"{\\\"seq\\\":1\",\"n\":{\"seq\":1}}"] {
            let (line, crc) = encode(stamp(), "RELEASE", body);
            let frame = decode(line.as_bytes()).expect(&line);
            assert_eq!(
                (frame.seq.get(), frame.op, frame.prev, frame.crc, frame.nonce),
                (42, "RELEASE", Crc(0x89ab_cdef), crc, 7)
            );
            assert!(line.len() >= RECORD_BYTES_MIN);
            let inner = super::body(&frame, line.as_bytes()).expect("a record has a body");
            assert_eq!(inner.first(), (body != "{}").then_some(&b','), "{line}");
            assert_eq!(
                inner.len(),
                if body == "{}" { 0 } else { body.len() - 1 + body.matches(":{\"seq").count() }
            );
            assert_eq!(
                line.matches("{\"seq\":").count(),
                1,
                "the token starts a record and nothing else: {line}"
            );
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_shortest_record_has_the_least_bytes() {
        let stamp = Stamp { seq: Seq::FIRST, ..stamp() };
        assert_eq!(encode(stamp, "X", "{}").0.len(), RECORD_BYTES_MIN);
    }

    #[test]
    fn no_changed_byte_is_accepted() {
        let (line, _) = encode(stamp(), "RELEASE", "{\"lane\":\"api\"}");
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert_eq!(decode(&bytes), None, "byte {at} bit {bit}");
            }
        }
        for cut in 0..line.len() {
            assert_eq!(decode(&line.as_bytes()[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_right_checksum_over_a_wrong_frame_is_not_a_record() {
        let good = encode(stamp(), "RELEASE", "{\"lane\":\"api\"}").0;
        for (from, to) in [
            ("{\"seq\":42", "{\"seq\":042"),
            ("{\"seq\":42", "{\"seq\":0"),
            ("{\"seq\":42", "{\"seq\":+42"),
            ("{\"seq\":42", "{\"seq\":99999999999999999999999"),
            ("RELEASE", "Release"),
            ("RELEASE", ""),
            ("11.123Z", "11.123z"),
            ("07:31", "25:31"),
            ("07:31:11", "07:31:60"),
            ("89abcdef", "89ABCDEF"),
            ("\"prev\"", "\"next\""),
            (",\"nonce\"", ",\"Nonce\""),
        ] {
            let covered = good[..good.len() - CRC_PART].replacen(from, to, 1);
            let line = format!("{covered},\"crc\":\"{:08x}\"}}", crc32(covered.as_bytes()));
            assert_eq!(decode(line.as_bytes()), None, "{line}");
        }
    }
}
