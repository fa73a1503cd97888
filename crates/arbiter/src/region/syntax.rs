//! The grammar of a path entry: text to a tree, and the tree to the alternatives it spells.
//!
//! Knows characters, classes and braces. What a component means is [`super::branch`]'s business.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::entry::Entry;
use super::error::{Fault, PatternErrorKind};

/// Room that is made at once: most entries are shorter.
const PIECES_USUAL: usize = 64;

/// One element of an entry and the bytes of the text it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// This character, escaped or not.
    Char(char),
    /// `/`.
    Separator,
    /// `?`.
    Any,
    /// One `*`; two that fill a component mean something else.
    Star,
    /// `[…]`.
    Class(Arc<Class>),
    /// `{…,…}`.
    Group(Group),
}

/// What stands between `{` and `}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    alternatives: Vec<Vec<Piece>>,
    /// How many alternatives it spells with those of inner groups, at least 1.
    n_spelled: usize,
}

impl Group {
    fn new(alternatives: Vec<Vec<Piece>>) -> Self {
        let n_spelled = alternatives.iter().map(|inner| count_alternatives(inner));
        let n_spelled = n_spelled.fold(0, usize::saturating_add);
        Self { alternatives, n_spelled }
    }
}

/// The characters between `[` and `]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
    text: String,
}

impl Class {
    pub(super) fn new(negated: bool, ranges: Vec<(char, char)>, text: &str) -> Self {
        Self { negated, ranges, text: text.to_string() }
    }

    pub(super) fn is_negated(&self) -> bool {
        self.negated
    }

    /// Returns the listed characters as ranges, both ends inside, in the order written.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (char, char)> + '_ {
        self.ranges.iter().copied()
    }

    /// Returns the class as it was written, brackets included.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A path entry, read.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) pieces: Vec<Piece>,
    pub(super) n_wildcards: usize,
}

/// Reads `text`, which is NFC and at most [`Entry::BYTES_MAX`] long.
///
/// Groups nest at most [`Entry::WILDCARDS_MAX`] deep, so walking the tree by recursion is safe.
///
/// # Errors
///
/// The first place that is not a pattern.
pub(super) fn read(text: &str) -> Result<Syntax, Fault> {
    if let Some(at) = text.find('\0') {
        return Err(Fault::new(at, PatternErrorKind::Nul));
    }
    let mut reader = Reader { text, at: 0, n_wildcards: 0 };
    let mut open: Vec<Open> = Vec::new();
    let mut pieces = Vec::with_capacity(text.len().min(PIECES_USUAL));
    loop {
        let at = reader.at;
        let Some(letter) = reader.next() else { break };
        let what = match letter {
            '/' => What::Separator,
            '?' => reader.wildcard(at, What::Any)?,
            '*' => {
                // `**` is one wildcard, so every second star of a run counts.
                let n_before =
                    pieces.iter().rev().take_while(|piece: &&Piece| matches!(piece.what, What::Star)).count();
                if n_before.is_multiple_of(2) { reader.wildcard(at, What::Star)? } else { What::Star }
            }
            '[' => {
                let class = reader.class(at)?;
                reader.wildcard(at, What::Class(Arc::new(class)))?
            }
            '\\' => match reader.escaped(at)? {
                '/' => What::Separator,
                other => What::Char(other),
            },
            '{' => {
                reader.wildcard(at, ())?;
                open.push(Open { at, outside: core::mem::take(&mut pieces), alternatives: Vec::new() });
                continue;
            }
            '}' => {
                let mut group = open.pop().ok_or(Fault::new(at, PatternErrorKind::StrayBrace))?;
                group.alternatives.push(pieces);
                pieces = group.outside;
                pieces.push(Piece {
                    at: group.at,
                    end: reader.at,
                    what: What::Group(Group::new(group.alternatives)),
                });
                continue;
            }
            ',' => match open.last_mut() {
                Some(group) => {
                    group.alternatives.push(core::mem::take(&mut pieces));
                    continue;
                }
                None => What::Char(','),
            },
            other => What::Char(other),
        };
        pieces.push(Piece { at, end: reader.at, what });
    }
    match open.pop() {
        Some(group) => Err(Fault::new(group.at, PatternErrorKind::UnclosedBrace)),
        None => Ok(Syntax { pieces, n_wildcards: reader.n_wildcards }),
    }
}

/// A group that is still being read, and what stood before it.
struct Open {
    at: usize,
    outside: Vec<Piece>,
    alternatives: Vec<Vec<Piece>>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    n_wildcards: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn next_is(&mut self, expected: char) -> bool {
        let is_there = self.peek() == Some(expected);
        if is_there {
            self.at += expected.len_utf8();
        }
        is_there
    }

    fn escaped(&mut self, at: usize) -> Result<char, Fault> {
        self.next().ok_or(Fault::new(at, PatternErrorKind::TrailingEscape))
    }

    fn wildcard<T>(&mut self, at: usize, what: T) -> Result<T, Fault> {
        self.n_wildcards += 1;
        if self.n_wildcards <= Entry::WILDCARDS_MAX {
            Ok(what)
        } else {
            Err(Fault::new(at, PatternErrorKind::TooManyWildcards))
        }
    }

    /// Reads a class whose `[`, at `at`, has been read.
    fn class(&mut self, at: usize) -> Result<Class, Fault> {
        let negated = self.next_is('!');
        if !negated && self.peek() == Some('^') {
            return Err(Fault::new(self.at, PatternErrorKind::CaretClass));
        }
        let mut ranges = Vec::new();
        loop {
            let first_at = self.at;
            if !ranges.is_empty() && self.next_is(']') {
                return Ok(Class::new(negated, ranges, &self.text[at..self.at]));
            }
            let first = self.member(at)?;
            let is_range = self.peek() == Some('-') && !self.text[self.at + 1..].starts_with(']');
            let last = if is_range {
                self.at += 1;
                self.member(at)?
            } else {
                first
            };
            if last < first {
                return Err(Fault::new(first_at, PatternErrorKind::ReversedRange { first, last }));
            }
            ranges.push((first, last));
        }
    }

    fn member(&mut self, class_at: usize) -> Result<char, Fault> {
        let at = self.at;
        let letter = match self.next() {
            Some('\\') => self.escaped(at)?,
            Some(letter) => letter,
            None => return Err(Fault::new(class_at, PatternErrorKind::UnclosedClass)),
        };
        if letter == '/' { Err(Fault::new(at, PatternErrorKind::SlashInClass)) } else { Ok(letter) }
    }
}

/// Returns how many alternatives `pieces` spell, without spelling them.
pub(super) fn count_alternatives(pieces: &[Piece]) -> usize {
    pieces.iter().fold(1, |n_spelled: usize, piece| match &piece.what {
        What::Group(group) => n_spelled.saturating_mul(group.n_spelled),
        _ => n_spelled,
    })
}

/// Appends the alternative number `idx` of `pieces` to `spelled`, without any group.
///
/// `idx` is less than [`count_alternatives`]; the leftmost group varies fastest. Costs O(length of the entry).
pub(super) fn spell<'a>(pieces: &'a [Piece], mut idx: usize, spelled: &mut Vec<&'a Piece>) {
    for piece in pieces {
        let What::Group(group) = &piece.what else {
            spelled.push(piece);
            continue;
        };
        let mut inner_idx = idx % group.n_spelled;
        idx /= group.n_spelled;
        for inner in &group.alternatives {
            let n_spelled = count_alternatives(inner);
            if inner_idx < n_spelled {
                spell(inner, inner_idx, spelled);
                break;
            }
            inner_idx -= n_spelled;
        }
    }
}
