//! Which records count.
//!
//! A record names its predecessor by `(seq - 1, prev)`. If that is the head, the record is valid and becomes
//! the head. If it is another record known in this segment, the record is void: a late writer's, ignored. If
//! it is unknown, something is missing: damage.

use std::collections::BTreeSet;

use arbiter::seq::Seq;
use arbiter::time::Timestamp;

use crate::line::{Crc, Frame};
use crate::scan::{is_closed_off, one, split};
use crate::{Damage, DamageClass};

/// The end of a chain: what the next record has to extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last valid record.
    pub seq: Seq,
    /// Its checksum.
    pub crc: Crc,
    /// Its time.
    pub ts: Timestamp,
}

/// A valid record and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Valid<'a> {
    /// Byte of the segment at which it begins.
    pub offset: u64,
    /// Its text.
    pub text: &'a [u8],
    /// Its frame.
    pub frame: Frame<'a>,
    /// Records of late writers before it.
    pub void: u64,
    /// Unfinished writes on the lines before it.
    pub torn: u64,
}

/// Reads one segment's bytes as a chain, from its root on. Feed it once, or again with what came later.
#[derive(Clone, Debug)]
pub struct Chain {
    file: String,
    root: Seq,
    head: Option<Head>,
    /// Checksum and nonce of each valid record from `known_from` on, without a gap.
    valid: Vec<(Crc, u64)>,
    /// The first record in `valid`: mostly the root.
    known_from: Seq,
    /// The void records. This is no hash set: each process would have to ask the kernel for a seed, and most processes meet
    /// no void record.
    late: BTreeSet<(u64, Crc)>,
    sealed: bool,
    void: u64,
    torn: u64,
    fed: u64,
    open_tail: bool,
}

impl Chain {
    /// A chain of the segment `file` (its name in messages) whose root is record `root`.
    pub fn new(file: impl Into<String>, root: Seq) -> Chain {
        Chain {
            file: file.into(),
            root,
            head: None,
            valid: Vec::new(),
            known_from: root,
            late: BTreeSet::new(),
            sealed: false,
            void: 0,
            torn: 0,
            fed: 0,
            open_tail: false,
        }
    }

    /// A chain whose first `bytes` bytes somebody else has read. Their last record, `head`, is known with its nonce; nothing
    /// is known of the records before it.
    pub(crate) fn behind(file: impl Into<String>, root: Seq, head: Head, nonce: u64, bytes: u64) -> Chain {
        let mut chain = Chain::new(file, root);
        (chain.head, chain.known_from, chain.fed) = (Some(head), head.seq, bytes);
        chain.valid.push((head.crc, nonce));
        chain
    }

    /// The nonce of the last valid record.
    pub(crate) fn nonce(&self) -> Option<u64> {
        self.valid.last().map(|&(_, nonce)| nonce)
    }

    /// Reads the bytes that follow those already read, and calls `each` for every valid record. `is_seal`
    /// tells whether a record closes the segment. An unterminated last record whose checksum holds counts.
    ///
    /// # Errors
    ///
    /// [`Damage`] for a whole line that is no record, a record followed by what nobody writes, a record that
    /// extends something missing, or a missing root; and whatever `each` returns.
    ///
    /// # Panics
    ///
    /// When fed again after an unterminated tail: such a segment has to be read from its start.
    pub fn feed<'a>(
        &mut self,
        bytes: &'a [u8],
        mut each: impl FnMut(Valid<'a>) -> Result<Flow, Damage>,
    ) -> Result<(), Damage> {
        assert!(!self.open_tail, "a segment with an unterminated tail is read from its start");
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, whole) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], true),
                None => (rest, false),
            };
            self.line(line, whole, &mut each)?;
            let taken = line.len() + usize::from(whole);
            self.fed += taken as u64;
            rest = &rest[taken..];
        }
        match self.head {
            Some(_) => Ok(()),
            None => Err(self.root_missing()),
        }
    }

    fn line<'a>(
        &mut self,
        line: &'a [u8],
        whole: bool,
        each: &mut impl FnMut(Valid<'a>) -> Result<Flow, Damage>,
    ) -> Result<(), Damage> {
        if let Some(frame) = one(line) {
            self.open_tail = !whole;
            return self.record(0, line, frame, each);
        }
        let found = split(line).map_err(|trailing| {
            self.damage(
                trailing.at,
                None,
                DamageClass::Followed,
                "a record is followed by bytes that no writer leaves there",
            )
        })?;
        if whole && found.ends_torn && !is_closed_off(line) {
            let at = found.records.last().map_or(0, |last| last.at + last.text.len());
            return Err(self.damage(at, None, DamageClass::NotARecord, "a whole line is not a record"));
        }
        self.torn += found.torn as u64;
        self.open_tail = !whole;
        for record in found.records {
            self.record(record.at, record.text, record.frame, each)?;
        }
        Ok(())
    }

    fn record<'a>(
        &mut self,
        at: usize,
        text: &'a [u8],
        frame: Frame<'a>,
        each: &mut impl FnMut(Valid<'a>) -> Result<Flow, Damage>,
    ) -> Result<(), Damage> {
        let offset = self.fed + at as u64;
        let extends = (frame.seq.get() - 1, frame.prev);
        let extends_head = match self.head {
            None if offset == 0 && frame.seq == self.root => true,
            None => return Err(self.root_missing()),
            Some(head) => (head.seq.get(), head.crc) == extends && !self.sealed,
        };
        if extends_head {
            let is_root = self.head.is_none();
            self.head = Some(Head { seq: frame.seq, crc: frame.crc, ts: frame.ts });
            self.valid.push((frame.crc, frame.nonce));
            let flow = each(Valid { offset, text, frame, void: self.void, torn: self.torn })?;
            self.sealed = flow == Flow::Seals && !is_root;
        } else if self.knows(extends) {
            self.void += 1;
            self.late.insert((frame.seq.get(), frame.crc));
        } else {
            let what = "it extends a record that is missing: one before it was lost, changed or moved";
            return Err(self.damage(at, Some(frame.seq.get()), DamageClass::PredecessorMissing, what));
        }
        Ok(())
    }

    /// Whether the segment has this record, valid or void.
    fn knows(&self, (seq, crc): (u64, Crc)) -> bool {
        Seq::new(seq).is_some_and(|seq| self.has(seq, crc)) || self.late.contains(&(seq, crc))
    }

    /// A root stands at the first byte or nowhere.
    fn root_missing(&self) -> Damage {
        let what = "the root of the segment is missing".into();
        let seq = Some(self.root.get());
        Damage { file: self.file.clone(), offset: 0, seq, class: DamageClass::RootMissing, what }
    }

    fn damage(&self, at: usize, seq: Option<u64>, class: DamageClass, what: &str) -> Damage {
        let next = || self.head.map_or(self.root.get(), |head| head.seq.get().saturating_add(1));
        Damage {
            file: self.file.clone(),
            offset: self.fed + at as u64,
            seq: seq.or_else(|| Some(next())),
            class,
            what: what.into(),
        }
    }

    /// The position of its root.
    pub fn root(&self) -> Seq {
        self.root
    }

    /// The last valid record; `None` before anything was read.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whether the record at `seq` is valid and has this checksum.
    pub fn has(&self, seq: Seq, crc: Crc) -> bool {
        self.valid_at(seq).is_some_and(|&(its, _)| its == crc)
    }

    /// Whether the record at `seq` is valid and was written by the write with this nonce. Two writers can have
    /// made records of one checksum, by chance one time in 2^32, but not of one nonce.
    pub fn has_of(&self, seq: Seq, crc: Crc, nonce: u64) -> bool {
        self.valid_at(seq) == Some(&(crc, nonce))
    }

    fn valid_at(&self, seq: Seq) -> Option<&(Crc, u64)> {
        let at = seq.get().checked_sub(self.known_from.get()).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.valid.get(at))
    }

    /// Whether a checkpoint has closed the segment.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Records of late writers: whole, and of no effect.
    pub fn void(&self) -> u64 {
        self.void
    }

    /// Writes that were never finished.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Whether the last line has no newline; the next writer closes it off.
    pub fn has_open_tail(&self) -> bool {
        self.open_tail
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.fed
    }
}

/// What a valid record does to its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The segment goes on.
    Goes,
    /// The segment is closed: nothing after this is valid.
    Seals,
}
