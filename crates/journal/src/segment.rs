//! One segment: its name, its bytes as a chain, and the state that its records amount to.

use arbiter::seq::Seq;

use crate::chain::{Chain, Flow, Head, Valid};
use crate::digits::twenty_digits;
use crate::disk::{Dir, Disk, Name};
use crate::line::{self, Crc};
use crate::mark::Mark;
use crate::record::{self, Checkpoint, Counters, FORMAT, Op, Record};
use crate::state::{State, Unread};
use crate::{Damage, DamageClass, JournalError};

/// Bytes that a segment may have. It is sealed long before, unless one record is as long.
pub const SEGMENT_BYTES_MAX: u64 = 512 << 20;

/// The file of the segment whose root is record `root`.
pub fn name(root: Seq) -> Name {
    Name::new(Dir::Journal, format!("{}.jsonl", twenty_digits(root.get())))
}

/// The mark file of that segment.
pub fn mark_name(root: Seq) -> Name {
    Name::new(Dir::Marks, twenty_digits(root.get()))
}

/// The file that says that a sync of that segment failed.
pub fn poison_name(root: Seq) -> Name {
    Name::new(Dir::Marks, format!("{}.poison", twenty_digits(root.get())))
}

/// The root that a file name of `journal/` (or, without ending, of `marks/`) names.
pub fn root_of(file: &str) -> Option<Seq> {
    let digits = file.strip_suffix(".jsonl").unwrap_or(file);
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().and_then(Seq::new))?
}

/// A segment that has been read.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The position of its root.
    pub root: Seq,
    /// Its chain.
    pub chain: Chain,
    /// What its records amount to.
    pub state: State,
    /// The format version of its root.
    pub format: String,
    /// The line of the checkpoint that closes it, without newline.
    pub seal: Option<Vec<u8>>,
    /// Bytes of its root's line.
    pub root_bytes: usize,
    /// Set when its root was made by a repair: the last record before the damage.
    pub repaired_after: Option<u64>,
    /// The counters that its seal says, if the seal is to the byte what would be written for its state.
    sealed_as: Option<Counters>,
}

/// What a segment leaves to the one that continues it: the line of its seal, and the state that this line says.
#[derive(Debug)]
pub(crate) struct Legacy {
    seal: Vec<u8>,
    state: State,
}

/// What must be known of the beginning of a segment, which somebody else has read, in order to read on behind it.
#[derive(Debug)]
pub(crate) struct Covered {
    pub(crate) root: Seq,
    /// The last record of it, with its nonce.
    pub(crate) head: Head,
    pub(crate) nonce: u64,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    pub(crate) root_bytes: u64,
    pub(crate) format: String,
    pub(crate) repaired_after: Option<u64>,
}

impl Covered {
    /// The chain that goes on behind it.
    pub(crate) fn chain(&self) -> Chain {
        Chain::behind(name(self.root).to_string(), self.root, self.head, self.nonce, self.bytes)
    }
}

/// What a reader of a segment is shown, record by record.
#[derive(Debug)]
pub struct Event<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its line.
    pub text: &'a [u8],
    /// Byte of the segment at which it begins.
    pub offset: u64,
    /// What all records before it amount to; for the root, what the root says.
    pub before: &'a State,
    /// Whether it is the root of its segment.
    pub is_root: bool,
}

impl Event<'_> {
    /// Whether it is the root that a repair made: a beginning of its own.
    pub fn repairs(&self) -> bool {
        matches!(&self.record.op, Op::Checkpoint(root) if self.is_root && root.repaired_after.is_some())
    }
}

impl Segment {
    /// Reads a segment's bytes.
    ///
    /// # Errors
    ///
    /// [`Damage`].
    pub fn read(root: Seq, bytes: &[u8]) -> Result<Segment, Damage> {
        Segment::fold(root, bytes, None, |_| {})
    }

    /// Reads a segment's bytes and shows each valid record.
    ///
    /// # Errors
    ///
    /// [`Damage`], also what `show` returns in words of a record that is wrong.
    pub fn read_with(
        root: Seq,
        bytes: &[u8],
        mut show: impl FnMut(Event<'_>) -> Result<(), String>,
    ) -> Result<Segment, Damage> {
        let mut reader = Reader::default();
        let chain = chained(root, bytes, |valid| reader.take(&valid, &mut show))?;
        Ok(reader.segment(chain))
    }

    /// As [`Segment::read`], and shows the line of each valid record. The root is not parsed if it is the line with which
    /// the segment before it was sealed: `before` has that line and its state.
    pub(crate) fn fold<'a>(
        root: Seq,
        bytes: &'a [u8],
        before: Option<Legacy>,
        mut glance: impl FnMut(&Valid<'a>),
    ) -> Result<Segment, Damage> {
        let mut fold = Fold { reader: Reader::default(), unread: Unread::default(), before };
        let chain = chained(root, bytes, |valid| {
            glance(&valid);
            fold.take(&valid)
        })?;
        fold.finish(chain)
    }

    /// Reads the records behind what is covered, which amounts to `state`; none of them may close the segment.
    pub(crate) fn behind(covered: Covered, state: State, bytes: &[u8]) -> Result<Segment, Damage> {
        let mut chain = covered.chain();
        let Covered { root, root_bytes, format, repaired_after, .. } = covered;
        let reader = Reader {
            state: Some(state),
            format,
            root_bytes: usize::try_from(root_bytes).unwrap_or(usize::MAX),
            repaired_after,
            ..Reader::default()
        };
        let mut fold = Fold { reader, unread: Unread::default(), before: None };
        chain.feed(bytes, |valid| {
            let Valid { offset, frame, .. } = valid;
            let taken = match frame.op {
                "CHECKPOINT" => Err("what a checkpoint says is told by all leases".into()),
                _ => fold.take(&valid),
            };
            taken.map_err(|what| impossible(root, offset, frame.seq, what))
        })?;
        fold.finish(chain)
    }

    /// What it leaves to the segment that continues it; `None` if only the root of that one can tell. The state of this
    /// segment is moved out.
    pub(crate) fn hand_over(&mut self) -> Option<Legacy> {
        let (seal, counters) = (self.seal.clone()?, self.sealed_as.clone()?);
        let mut state = std::mem::take(&mut self.state);
        state.counters = counters;
        Some(Legacy { seal, state })
    }

    /// Reads on: the bytes that were appended since. Only the chain follows; the state stays what it was.
    ///
    /// # Errors
    ///
    /// [`Damage`].
    pub fn follow(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        self.chain.feed(bytes, |valid| {
            let seals = valid.frame.op == "CHECKPOINT" && is_seal(valid.text);
            Ok(if seals { Flow::Seals } else { Flow::Goes })
        })
    }

    /// Reads on, chain and state, if what was appended since is nothing but records behind the root of this segment.
    ///
    /// # Errors
    ///
    /// [`Damage`]; then only reading it from its start tells what there is.
    pub(crate) fn fold_on(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let Segment { root, chain, state, .. } = self;
        chain.feed(bytes, |Valid { offset, text, frame, .. }| {
            let op = record::decode(&frame, text).map_err(|error| error.to_string());
            let record = op.and_then(|op| match op {
                Op::Checkpoint(_) => Err("a checkpoint is told by its segment".into()),
                op => Ok(Record { seq: frame.seq, ts: frame.ts, nonce: frame.nonce, op }),
            });
            let taken = record.and_then(|record| state.apply(&record));
            taken.map(|()| Flow::Goes).map_err(|what| impossible(*root, offset, frame.seq, what))
        })
    }

    /// Whether it has outgrown its checkpoint, so that reading it for a decision would get dear (promise C1).
    pub fn has_outgrown(&self) -> bool {
        let checkpoint = self.root_bytes as u64;
        self.chain.bytes() > (checkpoint * OUTGROWN_FACTOR).clamp(OUTGROWN_BYTES_MIN, SEGMENT_BYTES_MAX / 4)
    }

    /// Compares the segment with its high-water mark, which must have been read before it.
    ///
    /// # Errors
    ///
    /// [`Damage`] when an acknowledged record is missing or another one stands in its place.
    pub fn check_mark(&self, mark: Option<Mark>) -> Result<(), Damage> {
        let (Some(mark), Some(head)) = (mark, self.chain.head()) else { return Ok(()) };
        let (class, what) = if mark.seq > head.seq {
            let what =
                "it was acknowledged and is not there: the end was cut off, or an older copy was put here";
            (DamageClass::EndMissing, what)
        } else if mark.seq >= self.root && !self.chain.has(mark.seq, mark.crc) {
            (DamageClass::OtherRecord, "it is not the record that was acknowledged under this number")
        } else {
            return Ok(());
        };
        let file = name(self.root).to_string();
        Err(Damage { file, offset: self.chain.bytes(), seq: Some(mark.seq.get()), class, what: what.into() })
    }

    /// What has happened so far, with the lines of this segment that are void or torn.
    pub fn counters(&self) -> Counters {
        let before = &self.state.counters;
        let (void, torn) = (before.void + self.chain.void(), before.torn + self.chain.torn());
        Counters { void, torn, ..before.clone() }
    }

    /// The checkpoint that closes it where it ends now.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { counters: self.counters(), ..self.state.checkpoint(true) }
    }

    /// Whether it holds nothing but what it was published with: its root, and behind the root of a repair
    /// the record of that repair.
    pub fn is_as_published(&self) -> bool {
        let published = self.root.get() + u64::from(self.repaired_after.is_some());
        self.chain.head().is_none_or(|head| head.seq.get() <= published)
    }

    /// The position and checksum of the record that closes it.
    pub fn seal_seq(&self) -> Option<(Seq, Crc)> {
        self.seal.as_ref()?;
        self.chain.head().map(|head| (head.seq, head.crc))
    }
}

/// As [`Segment::read_with`], but a segment that a newer major version wrote is that, not damage.
pub(crate) fn read_known(
    root: Seq,
    bytes: &[u8],
    show: impl FnMut(Event<'_>) -> Result<(), String>,
) -> Result<Segment, JournalError> {
    Segment::read_with(root, bytes, show).map_err(|damage| newer_or(damage, bytes))
}

/// As [`Segment::fold`], but a segment that a newer major version wrote is that, not damage.
pub(crate) fn fold_known<'a>(
    root: Seq,
    bytes: &'a [u8],
    before: Option<Legacy>,
    glance: impl FnMut(&Valid<'a>),
) -> Result<Segment, JournalError> {
    Segment::fold(root, bytes, before, glance).map_err(|damage| newer_or(damage, bytes))
}

#[cold]
fn newer_or(damage: Damage, bytes: &[u8]) -> JournalError {
    match newer_format(bytes) {
        Some(found) => JournalError::Newer { found, ours: FORMAT.into() },
        None => JournalError::Damaged(damage),
    }
}

/// The format of a segment whose root is whole and was written by a newer major version.
fn newer_format(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Root {
        format: String,
    }
    let first = bytes.split(|&b| b == b'\n').next()?;
    line::decode(first).filter(|frame| frame.op == "CHECKPOINT")?;
    let Root { format } = serde_json::from_slice(first).ok()?;
    is_newer(&format).then_some(format)
}

/// Whether a format version is of a newer major than ours; what cannot be read counts as newer.
pub fn is_newer(format: &str) -> bool {
    let major = |format: &str| format.split('.').next().and_then(|major| major.parse::<u64>().ok());
    match (major(format), major(FORMAT)) {
        (Some(theirs), Some(ours)) => theirs > ours,
        _ => true,
    }
}

/// Reads the whole file of a segment. One that is longer than any writer makes it is damaged.
pub(crate) fn read_bytes<D: Disk>(disk: &D, file: &D::File, name: &Name) -> Result<Vec<u8>, JournalError> {
    disk.read(file, name, 0, SEGMENT_BYTES_MAX).map_err(|error| {
        if error.source.kind() != std::io::ErrorKind::FileTooLarge {
            return error.into();
        }
        let what = format!("it is longer than {SEGMENT_BYTES_MAX} bytes, which no writer makes it");
        JournalError::Damaged(Damage {
            file: name.to_string(),
            offset: SEGMENT_BYTES_MAX,
            seq: None,
            class: DamageClass::TooLong,
            what,
        })
    })
}

/// The damage of a segment that is not there although records of it were acknowledged.
pub(crate) fn missing(root: Seq) -> Damage {
    let what = "the segment was in use and is missing".into();
    let class = DamageClass::SegmentMissing;
    Damage { file: name(root).to_string(), offset: 0, seq: Some(root.get()), class, what }
}

/// A segment is sealed when it has this many times the bytes of its checkpoint, ...
pub const OUTGROWN_FACTOR: u64 = 2;
/// ... but never with fewer bytes than this.
pub const OUTGROWN_BYTES_MIN: u64 = 32 << 10;

fn is_seal(text: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Seal {
        seal: bool,
    }
    serde_json::from_slice::<Seal>(text).is_ok_and(|checkpoint| checkpoint.seal)
}

/// Reads bytes as the chain of a segment; what `take` says in words of a record is damage.
fn chained<'a>(
    root: Seq,
    bytes: &'a [u8],
    mut take: impl FnMut(Valid<'a>) -> Result<Flow, String>,
) -> Result<Chain, Damage> {
    let mut chain = Chain::new(name(root).to_string(), root);
    chain.feed(bytes, |valid| {
        let Valid { offset, frame, .. } = valid;
        take(valid).map_err(|what| impossible(root, offset, frame.seq, what))
    })?;
    Ok(chain)
}

/// The damage of a record that is whole and cannot have happened.
fn impossible(root: Seq, offset: u64, seq: Seq, what: String) -> Damage {
    let class = DamageClass::Impossible;
    Damage { file: name(root).to_string(), offset, seq: Some(seq.get()), class, what }
}

/// Reads every record whole, and shows it.
#[derive(Default)]
struct Reader {
    state: Option<State>,
    format: String,
    seal: Option<Vec<u8>>,
    root_bytes: usize,
    repaired_after: Option<u64>,
    sealed_as: Option<Counters>,
}

impl Reader {
    fn take(
        &mut self,
        valid: &Valid<'_>,
        show: &mut impl FnMut(Event<'_>) -> Result<(), String>,
    ) -> Result<Flow, String> {
        let &Valid { offset, text, frame, .. } = valid;
        let op = record::decode(&frame, text).map_err(|error| error.to_string())?;
        let record = Record { seq: frame.seq, ts: frame.ts, nonce: frame.nonce, op };
        let Some(state) = &mut self.state else {
            let before = State::restore(self.root_of(valid, &record.op)?.clone())?;
            show(Event { record: &record, text, offset, before: &before, is_root: true })?;
            self.state = Some(before);
            return Ok(Flow::Goes);
        };
        show(Event { record: &record, text, offset, before: state, is_root: false })?;
        if let Op::Checkpoint(said) = &record.op {
            contradiction(state, said)?;
            if said.seal {
                self.seal = Some(text.to_vec());
                return Ok(Flow::Seals);
            }
            return Ok(Flow::Goes);
        }
        state.apply(&record)?;
        Ok(Flow::Goes)
    }

    /// The checkpoint that the segment begins with.
    fn root_of<'r>(&mut self, valid: &Valid<'_>, op: &'r Op) -> Result<&'r Checkpoint, String> {
        let Op::Checkpoint(root) = op else {
            return Err("the root of the segment is not a checkpoint".into());
        };
        if !root.seal && valid.frame.prev != Crc::NONE {
            return Err("the root of the segment is neither the first record of all nor a seal".into());
        }
        self.root_bytes = valid.text.len();
        self.format.clone_from(&root.format);
        self.repaired_after = root.repaired_after;
        Ok(root)
    }

    fn segment(self, chain: Chain) -> Segment {
        let Reader { state, format, seal, root_bytes, repaired_after, sealed_as } = self;
        let (root, state) = (chain.root(), state.unwrap_or_default());
        Segment { root, chain, state, format, seal, root_bytes, repaired_after, sealed_as }
    }
}

/// Folds the records, and parses no more of each than the fold needs.
struct Fold<'a> {
    reader: Reader,
    unread: Unread<'a>,
    before: Option<Legacy>,
}

impl<'a> Fold<'a> {
    fn finish(self, chain: Chain) -> Result<Segment, Damage> {
        let Fold { mut reader, mut unread, .. } = self;
        let root = chain.root();
        if let Some(state) = &mut reader.state {
            state.settle(&mut unread).map_err(|what| impossible(root, 0, root, what))?;
        }
        Ok(reader.segment(chain))
    }

    fn take(&mut self, valid: &Valid<'a>) -> Result<Flow, String> {
        let Fold { reader, unread, before } = self;
        let &Valid { text, frame, .. } = valid;
        let Some(state) = &mut reader.state else {
            reader.state = Some(match before.take() {
                Some(Legacy { seal, state }) if seal == text => {
                    reader.root_bytes = text.len();
                    reader.format = FORMAT.into();
                    state
                }
                _ => {
                    let op = record::decode(&frame, text).map_err(|error| error.to_string())?;
                    reader.root_of(valid, &op)?;
                    let Op::Checkpoint(root) = op else { return Err("the root is no checkpoint".into()) };
                    State::restore(*root)?
                }
            });
            return Ok(Flow::Goes);
        };
        if state.glance(valid, unread) {
            return Ok(Flow::Goes);
        }
        state.settle(unread)?;
        if frame.op == "CHECKPOINT" {
            let Counters { void, torn, .. } = state.counters;
            let (void, torn) = (void + valid.void, torn + valid.torn);
            let counters = Counters { void, torn, ..state.counters.clone() };
            if line::body(&frame, text).is_some_and(|body| state.is_sealed_by(body, &counters)) {
                reader.seal = Some(text.to_vec());
                reader.sealed_as = Some(counters);
                return Ok(Flow::Seals);
            }
        }
        reader.take(valid, &mut |_| Ok(()))
    }
}

/// A checkpoint must say what the records before it say, or a lease could be lost in it without a word.
///
/// One of another minor version may know more than can be read here, so it is taken at its word.
fn contradiction(state: &State, said: &Checkpoint) -> Result<(), String> {
    if said.repaired_after.is_some() {
        return Err("only the root of a segment can say that it was made by a repair".into());
    }
    if said.format != FORMAT {
        return Ok(());
    }
    let ours = state.checkpoint(said.seal);
    // Void and torn lines are no records: some may have come between the sealer's look and its seal.
    let Counters { void, torn, .. } = said.counters;
    let counters = Counters { void, torn, ..ours.counters };
    let same_line = ours.waiters == said.waiters;
    if ours.leases != said.leases || !same_line || ours.policy != said.policy || counters != said.counters {
        return Err("the checkpoint does not say what the records before it amount to".into());
    }
    Ok(())
}
