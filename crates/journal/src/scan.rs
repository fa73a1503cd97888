//! Bytes of a segment into the records on them.
//!
//! A write may be cut anywhere and leave text, NULs, or text then NULs; the next writer closes such a tail
//! off with `~` and a newline; a late writer may glue its record straight behind a fragment. So a line is
//! split where a record can begin, and every piece is a whole record or an unfinished write. Anything else
//! is damage. These rules are argued case by case in `docs/format.md`, and tried in `tests/chain_model.rs`.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::line::{Frame, TOKEN, decode, frame, stated_crc, uncovered};

/// What a writer puts first when it finds an unterminated tail: "seen unfinished, closed off".
pub const CLOSING: &[u8] = b"~\n";

/// A whole record found on a line.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Where it begins, in bytes from the start of the line.
    pub at: usize,
    /// Its text.
    pub text: &'a [u8],
    /// Its frame.
    pub frame: Frame<'a>,
}

/// What one line holds.
#[derive(Debug, Default)]
pub struct Line<'a> {
    /// The whole records, in order.
    pub records: Vec<Piece<'a>>,
    /// How many unfinished writes there are beside them.
    pub torn: usize,
    /// Whether the line ends in one of these.
    pub ends_torn: bool,
}

/// A whole record with bytes behind it that no writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailing {
    /// Where the record begins, in bytes from the start of the line.
    pub at: usize,
}

/// Splits a line (without its newline) into records and unfinished writes.
///
/// # Errors
///
/// [`Trailing`] when a whole record is followed by what nobody writes.
pub fn split(line: &[u8]) -> Result<Line<'_>, Trailing> {
    let mut found = Line::default();
    if line.is_empty() {
        return Ok(found);
    }
    if let Some(frame) = one(line) {
        found.records.push(Piece { at: 0, text: line, frame });
        return Ok(found);
    }
    let mut next = find_token(line);
    if next != Some(0) {
        found.torn += 1;
        found.ends_torn = true;
    }
    while let Some(at) = next {
        next = find_token(&line[at + 1..]).map(|gap| at + 1 + gap);
        let text = &line[at..next.unwrap_or(line.len())];
        match piece(text).map_err(|Followed| Trailing { at })? {
            Some((text, frame)) => {
                found.records.push(Piece { at, text, frame });
                found.ends_torn = false;
            }
            None => {
                found.torn += 1;
                found.ends_torn = true;
            }
        }
    }
    Ok(found)
}

/// The record that fills a line by itself, as on nearly every line.
pub(crate) fn one(line: &[u8]) -> Option<Frame<'_>> {
    let frame = decode(line)?;
    find_token(&line[1..]).is_none().then_some(frame)
}

/// Whether a line was closed off by a later writer that saw it unfinished.
pub fn is_closed_off(line: &[u8]) -> bool {
    line.ends_with(&CLOSING[..1])
}

struct Followed;

/// The record in a text that starts with [`TOKEN`]; `None` for an unfinished write.
///
/// A record may be followed by what interrupted and closing writers leave, in any order: see [`leftovers`].
fn piece(text: &[u8]) -> Result<Option<(&[u8], Frame<'_>)>, Followed> {
    let record = &text[..text.len() - leftovers(text)];
    if let Some(frame) = decode(record) {
        return Ok(Some((record, frame)));
    }
    if leading_record(text).is_some() { Err(Followed) } else { Ok(None) }
}

/// How many bytes at the end of a text are no part of a record whose newline was lost: NULs, marks `~` of
/// closing writers, beginnings of [`TOKEN`]. Several crashes in a row leave several of them. None of these
/// bytes is the `}` in which a record ends.
fn leftovers(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        rest = match rest.last() {
            Some(0) => &rest[..rest.len() - 1],
            Some(last) if *last == CLOSING[0] => &rest[..rest.len() - 1],
            Some(_) => match (1..TOKEN.len()).rev().find_map(|begun| rest.strip_suffix(&TOKEN[..begun])) {
                Some(before) => before,
                None => break,
            },
            None => break,
        };
    }
    text.len() - rest.len()
}

/// The whole record at the beginning of a text, whatever follows it. One pass: the checksum is carried along.
pub(crate) fn leading_record(text: &[u8]) -> Option<(&[u8], Frame<'_>)> {
    let mut hasher = crc32fast::Hasher::new();
    let mut hashed = 0;
    let mut from = 0;
    while let Some(gap) = find(&text[from..], b"\"}") {
        let end = from + gap + 2;
        from = end - 1;
        let Some(stated) = stated_crc(&text[..end]) else { continue };
        let covered = end - uncovered();
        hasher.update(&text[hashed..covered]);
        hashed = covered;
        if hasher.clone().finalize() == stated.0
            && let Some(frame) = frame(&text[..covered], stated)
        {
            return Some((&text[..end], frame));
        }
    }
    None
}

/// Where a record can begin. The searcher is made once, since every line is searched.
fn find_token(text: &[u8]) -> Option<usize> {
    static TOKENS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TOKEN));
    TOKENS.find(text)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}
