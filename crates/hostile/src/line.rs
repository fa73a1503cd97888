//! One line of the journal.

use arbiter::seq::Seq;
use arbiter::time::Timestamp;
use journal::line::{Crc, Frame, Stamp, TOKEN, decode, encode};
use journal::scan::split;

use crate::choices::Choices;

/// Any bytes as a line: read or not read, never a panic; what is read is written the same way again. The bytes are
/// tried as they are, with their checksum made right, and as the parts of a record.
///
/// # Panics
///
/// When the codec breaks its word.
pub fn line(bytes: &[u8]) {
    as_found(bytes);
    as_found(&with_right_checksum(bytes));
    as_parts(bytes);
}

fn as_found(bytes: &[u8]) {
    if let Some(frame) = decode(bytes) {
        again(bytes, frame);
    }
    let Ok(found) = split(bytes) else { return };
    let mut end = 0;
    for piece in &found.records {
        assert!(end <= piece.at, "records on a line follow each other");
        end = piece.at + piece.text.len();
        assert_eq!(&bytes[piece.at..end], piece.text);
        assert_eq!(decode(piece.text), Some(piece.frame), "what the line holds is a record by itself");
    }
    assert!(found.records.len() + found.torn > 0 || bytes.is_empty(), "no byte goes without a word");
}

/// What was read is what would be written.
fn again(bytes: &[u8], frame: Frame<'_>) {
    let Frame { seq, ts, op, nonce, prev, crc } = frame;
    let begin = format!("{{\"seq\":{seq},\"ts\":\"{ts}\",\"op\":\"{op}\"");
    let end = format!(",\"nonce\":\"{nonce:016x}\",\"prev\":\"{prev}\",\"crc\":\"{crc}\"}}");
    let body = bytes.strip_prefix(begin.as_bytes()).and_then(|rest| rest.strip_suffix(end.as_bytes()));
    let body = body.expect("a frame is spelled in one way only");
    let Ok(body) = std::str::from_utf8(body) else { return };
    if body.as_bytes().windows(TOKEN.len()).any(|window| window == TOKEN) {
        // No writer makes such a line; it is read as two.
        return;
    }
    let body = format!("{{{}}}", body.strip_prefix(',').unwrap_or(body));
    let (text, checksum) = encode(Stamp { seq, ts, nonce, prev }, op, &body);
    // A lone comma is a body of nothing, which is written as nothing.
    assert!(body == "{}" || (text.as_bytes() == bytes && checksum == crc), "{text}");
}

/// The same bytes, ended as a record ends: otherwise the checksum stops nearly every input at the door.
fn with_right_checksum(bytes: &[u8]) -> Vec<u8> {
    const CRC_PART: usize = ",\"crc\":\"01234567\"}".len();
    let is_ended = bytes.ends_with(b"\"}") && bytes.len() >= CRC_PART;
    let covered = if is_ended { &bytes[..bytes.len() - CRC_PART] } else { bytes };
    let crc = crc32fast::hash(covered);
    [covered, format!(",\"crc\":\"{crc:08x}\"}}").as_bytes()].concat()
}

fn as_parts(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut number = || (0..8).fold(0u64, |number, _| number << 8 | u64::from(choices.byte()));
    let stamp = Stamp {
        seq: Seq::new(number()).unwrap_or(Seq::FIRST),
        ts: Timestamp::from_unix_ms(number().cast_signed()),
        nonce: number(),
        prev: Crc(u32::try_from(number() >> 32).unwrap_or_default()),
    };
    let op = choices.one_of(&["A", "ACQUIRE", "NEW_ER"]);
    let text = String::from_utf8_lossy(choices.bytes()).into_owned();
    let body = format!("{{\"x\":{}}}", serde_json::Value::from(text));
    let (line, crc) = encode(stamp, op, &body);
    let frame = decode(line.as_bytes()).expect("what is written is read");
    let Stamp { seq, ts, nonce, prev } = stamp;
    assert_eq!(frame, Frame { seq, ts, op, nonce, prev, crc });
    assert_eq!(split(line.as_bytes()).map(|found| found.records.len()).unwrap_or_default(), 1, "{line}");
}
