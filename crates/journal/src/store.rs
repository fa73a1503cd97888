//! The present of a journal, and the one way to change it.
//!
//! [`Store`] is the seam: load, decide outside, append if the head is still the one that was loaded, make it
//! durable, report. A second store on an existing distributed engine can stand behind it. [`FileStore`] is
//! the one on a directory.
//!
//! The mutex is not here. It makes writers fast; that they are right comes from the chain alone.

use arbiter::interest::Interest;
use arbiter::seq::Seq;
use arbiter::time::Timestamp;

use crate::JournalError;
use crate::chain::Head;
use crate::digits::twenty_digits;
use crate::disk::{Access, Dir, Disk, DiskError, Durability, Name, Published, TEMPORARY};
use crate::history::{highest_marked, mark_of, roots};
use crate::index::{self, INDEX, INDEX_FROM_BYTES, LAG_BYTES, Looked};
use crate::line::{self, Crc, RECORD_BYTES_MAX, Stamp};
use crate::mark::Mark;
use crate::record::{self, FORMAT, Op};
use crate::repair;
use crate::scan::CLOSING;
use crate::segment::{self, SEGMENT_BYTES_MAX, Segment};
use crate::state::State;

/// What a write says of itself beside its records.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// When it is made. Records never get an earlier time than their predecessors.
    pub ts: Timestamp,
    /// A number that no other write has: 64 random bits.
    pub nonce: u64,
}

/// What became of an attempt to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The records are valid. They are durable once [`Store::commit`] returns.
    Valid {
        /// Position of the first of them.
        first: Seq,
        /// The last of them.
        head: Head,
    },
    /// Somebody else was first: load again and decide again.
    Conflict,
}

/// Where decisions are kept. One value serves one attempt after another of one caller.
pub trait Store {
    /// Reads the present; `None` while the store has no record yet.
    ///
    /// # Errors
    ///
    /// [`JournalError`]; on damage nothing may be granted.
    fn load(&mut self) -> Result<Option<&State>, JournalError>;

    /// Loads for writing: makes the first record where there is none, finishes a half-done rotation, leaves
    /// a segment of which a sync failed.
    ///
    /// # Errors
    ///
    /// [`JournalError`]; [`JournalError::Newer`] when the store is not ours to write to.
    fn prepare(&mut self, writing: Writing) -> Result<&State, JournalError>;

    /// As [`Store::prepare`], for one who is interested in some of the live leases: the others may be left out.
    ///
    /// # Errors
    ///
    /// As [`Store::prepare`].
    fn prepare_for(&mut self, writing: Writing, interest: &Interest) -> Result<&State, JournalError>;

    /// The head that was loaded last.
    fn head(&self) -> Option<Head>;

    /// Appends records in one write if the head is still the one that was loaded. They must be a correct
    /// history after every prefix.
    ///
    /// # Errors
    ///
    /// [`JournalError`]; then none of the records counts as reported, and the next load tells what is there.
    fn append_if(&mut self, writing: Writing, ops: &[Op]) -> Result<Appended, JournalError>;

    /// Makes what was appended durable. Call it without the mutex: one sync serves many writers.
    ///
    /// Returns what kept the high-water mark from being raised, if anything did: the records are durable all
    /// the same, only the second witness is missing.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotDurable`]; never call it again for the same records.
    fn commit(&mut self) -> Result<Option<DiskError>, JournalError>;
}

/// A store in a directory.
#[derive(Debug)]
pub struct FileStore<D: Disk> {
    disk: D,
    access: Access,
    present: Option<Present<D>>,
    /// What was appended last and not synced yet, and the root of the segment in which it stands.
    unsynced: Option<(Seq, Mark)>,
    index_from: u64,
    index: Index,
}

/// What the last who looked for the index of the active segment found.
#[derive(Debug, Default)]
enum Index {
    /// One that will do, or nobody looked.
    #[default]
    Serves,
    /// One that many records are behind of.
    Lags,
    /// None that fits.
    Missing,
}

#[derive(Debug)]
struct Present<D: Disk> {
    /// Not in place: it is a kilobyte, and goes up through half a dozen calls.
    segment: Box<Segment>,
    /// The head that the caller knows of: loaded, or appended by itself. Nothing is appended to another.
    expected: Head,
    file: D::File,
    name: Name,
    /// The bytes that the state was read from; none once the chain went on without it.
    bytes: Option<Vec<u8>>,
    poisoned: bool,
    /// Whether any record of the segment is known to be durable.
    marked: bool,
}

/// The file that tells which segment to try first. Only a hint: see [`FileStore::load`].
fn hint_name() -> Name {
    Name::new(Dir::Top, "active")
}

impl<D: Disk> FileStore<D> {
    /// A store on `disk`, for reading alone or for both.
    pub fn new(disk: D, access: Access) -> FileStore<D> {
        FileStore {
            disk,
            access,
            present: None,
            unsynced: None,
            index_from: INDEX_FROM_BYTES,
            index: Index::Serves,
        }
    }

    /// Has segments of so many bytes read by an index, where not all of their leases are of interest. For tests: what it
    /// is otherwise is [`INDEX_FROM_BYTES`].
    #[must_use]
    pub fn with_index_from(self, bytes: u64) -> FileStore<D> {
        FileStore { index_from: bytes, ..self }
    }

    /// The disk it is on.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The segment that was loaded last.
    pub fn segment(&self) -> Option<&Segment> {
        self.present.as_ref().map(|present| &*present.segment)
    }

    /// Whether a sync of the active segment has failed and no writer has left it yet.
    pub fn is_poisoned(&self) -> bool {
        self.present.as_ref().is_some_and(|present| present.poisoned)
    }

    /// Whether there is any record. Cheaper than loading where there is.
    ///
    /// # Errors
    ///
    /// [`JournalError`].
    pub fn has_begun(&mut self) -> Result<bool, JournalError> {
        // The hint is made after the first record; without it the directory must be asked.
        Ok(self.disk.len(&hint_name())?.is_some() || self.load()?.is_some())
    }

    /// Makes everything durable that was loaded: for an answer that repeats an earlier one, whose writer may have
    /// died before its sync.
    ///
    /// # Errors
    ///
    /// [`JournalError::NotDurable`].
    pub fn confirm(&mut self) -> Result<(), JournalError> {
        let Some(present) = &self.present else { return Ok(()) };
        self.disk.sync(&present.file, &present.name).map_err(|source| self.poison(present, source))?;
        if !present.marked {
            self.disk.sync_dir(Dir::Journal)?;
        }
        Ok(())
    }

    /// Whether there are bytes behind what was loaded: a record appended now is most likely void. For those whom no mutex
    /// keeps apart, so that a lost race leaves nothing behind; whether it was lost is for [`Store::append_if`] to say.
    ///
    /// # Errors
    ///
    /// [`JournalError`].
    pub fn is_overtaken(&self) -> Result<bool, JournalError> {
        let Some(present) = &self.present else { return Ok(false) };
        let behind = present.segment.chain.bytes();
        Ok(!self.disk.read_part(&present.file, &present.name, behind, 1)?.is_empty())
    }

    /// Leaves what was appended last to the next sync that somebody makes: nobody rests on it.
    pub fn leave_unsynced(&mut self) {
        self.unsynced = None;
    }

    /// As [`Store::load`], for one who is interested in some of the live leases: the others may be left out.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    pub fn load_for(&mut self, interest: &Interest) -> Result<Option<&State>, JournalError> {
        self.glance(interest)?;
        Ok(self.segment().map(|segment| &segment.state))
    }

    /// Makes the index of the active segment, or brings it up to date, if somebody found that to be needed and it is worth
    /// the while. It is a cache: whatever goes wrong, the next one who finds so does it.
    pub fn tend_index(&mut self) {
        let found = std::mem::take(&mut self.index);
        let Some(Present { segment, file, .. }) = &self.present else { return };
        let (disk, root) = (&self.disk, segment.root);
        let is_worth_it = segment.root_bytes as u64 >= self.index_from / 2;
        let made = match found {
            Index::Serves => None,
            Index::Lags => index::advance(disk, file, root).or_else(|| index::build(disk, file, root)),
            Index::Missing if !is_worth_it || index::is_there(disk, file, root) => None,
            Index::Missing => index::build(disk, file, root),
        };
        if let Some(index) = made {
            let _only_a_cache = disk.replace(&index::name(root), &index);
        }
    }

    /// Whether this file of the store is an index that nobody needs any more.
    pub fn is_old_index(&self, file: &str) -> bool {
        let root = file.strip_prefix(INDEX).and_then(segment::root_of);
        root.is_some_and(|root| self.segment().is_some_and(|segment| segment.root != root))
    }

    /// Closes the active segment with a checkpoint and opens the next. `false`: somebody else was first.
    ///
    /// # Errors
    ///
    /// [`JournalError`].
    pub fn seal(&mut self, writing: Writing) -> Result<bool, JournalError> {
        self.prepare(writing)?;
        self.seal_loaded(writing)
    }

    /// As [`FileStore::seal`], if the active segment has outgrown its checkpoint.
    ///
    /// # Errors
    ///
    /// [`JournalError`].
    pub fn seal_if_outgrown(&mut self, writing: Writing) -> Result<bool, JournalError> {
        self.prepare(writing)?;
        match self.segment() {
            Some(segment) if segment.has_outgrown() => self.seal_loaded(writing),
            _ => Ok(false),
        }
    }

    /// Whether the active segment, as loaded and appended to, has outgrown its checkpoint.
    pub fn has_outgrown(&self) -> bool {
        self.segment().is_some_and(Segment::has_outgrown)
    }

    /// Seals what was just loaded. Loads again in any case: who lost the race sees what won it.
    fn seal_loaded(&mut self, writing: Writing) -> Result<bool, JournalError> {
        let Some(present) = &self.present else { return Ok(false) };
        let seal = Op::Checkpoint(Box::new(present.segment.checkpoint()));
        // A sealed segment takes no more records, not even those that would make room. So its seal is not written
        // before there is room for the successor.
        self.try_for_room(record::encode(&seal).1.len())?;
        let unsynced = self.unsynced.take();
        let appended = self.append_unguarded(writing, &[seal])?;
        // The seal becomes durable with the sync of its segment, before its successor exists, and so does what was appended
        // before. Who lost the race still owes the sync of its own.
        self.unsynced = unsynced.filter(|_| appended == Appended::Conflict);
        self.reload()?;
        if appended == Appended::Conflict {
            return Ok(false);
        }
        self.finish_rotation()?;
        // The next one who looks for it would read all that was just written.
        self.index = Index::Missing;
        Ok(true)
    }

    /// Fails when there is no room for a seal and the segment that begins with it.
    fn try_for_room(&self, seal_bytes: usize) -> Result<(), JournalError> {
        const SLACK_BYTES: usize = 16 << 10;
        let name = Name::new(Dir::Top, format!("{TEMPORARY}room"));
        self.disk.remove(&name)?;
        self.disk.publish(&name, &vec![0; 2 * seal_bytes + SLACK_BYTES], Durability::None)?;
        Ok(self.disk.remove(&name)?)
    }

    fn reload(&mut self) -> Result<(), JournalError> {
        self.present = match self.present.take() {
            Some(known) => self.read_on(known)?,
            None => None,
        };
        if self.present.is_none() {
            self.present = self.find_present(None)?;
        }
        Ok(())
    }

    /// Reads the present as far as it is of interest.
    fn glance(&mut self, interest: &Interest) -> Result<(), JournalError> {
        self.present = self.find_present(Some(interest))?;
        Ok(())
    }

    /// What was loaded before and what was appended to it since, for one who looks again and again. Every byte is held
    /// against the one that was read before. `None`: nothing is known, and all has to be read anew.
    // Apart: the first look of a call needs none of its stack.
    #[inline(never)]
    fn read_on(&self, known: Present<D>) -> Result<Option<Present<D>>, JournalError> {
        let Present { mut segment, file, name, bytes: Some(known), poisoned: false, .. } = known else {
            return Ok(None);
        };
        if segment.chain.has_open_tail() {
            return Ok(None);
        }
        let root = segment.root;
        let mark = mark_of(&self.disk, root)?;
        if !self.disk.is_at(&file, &name)? {
            return Ok(None);
        }
        let bytes = segment::read_bytes(&self.disk, &file, &name)?;
        let Some(new) = bytes.strip_prefix(&*known) else { return Ok(None) };
        if segment.fold_on(new).is_err() || segment.check_mark(mark).is_err() {
            return Ok(None);
        }
        let Some(expected) = segment.chain.head() else { return Ok(None) };
        let poisoned = self.disk.len(&segment::poison_name(root))?.is_some();
        let marked = mark.is_some();
        let present = Present { segment, expected, file, name, bytes: Some(bytes), poisoned, marked };
        Ok(present.is_surely_active().then_some(present))
    }

    /// The active segment. The hint is tried first; the directory is the authority.
    ///
    /// A segment without seal is the active one, wherever its name came from: a successor is made only after
    /// the seal is in its predecessor, and seals are for ever. So a stale hint leads forward to the right
    /// segment. Two kinds of segment have no seal although the journal may go on elsewhere, and only the
    /// directory tells. One that is as it was published: somebody who slept through the pruning of its
    /// successors may have published it again. One that is poisoned: its seal may be among what was lost.
    fn find_present(&mut self, interest: Option<&Interest>) -> Result<Option<Present<D>>, JournalError> {
        if let Some(root) = self.hint()? {
            match self.follow_from(root, interest) {
                Ok(Some(present)) if present.is_surely_active() => return Ok(Some(present)),
                Ok(_) | Err(JournalError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut vanished = None;
        loop {
            // The marks before the segments: so a rotation that was faster is not taken for a loss.
            let marked = highest_marked(&self.disk)?;
            let highest = roots(&self.disk)?.last().copied();
            let missing = match (highest, marked) {
                (None, None) => return Ok(None),
                (None, Some(marked)) => Some(marked),
                (Some(root), marked) => marked.filter(|&marked| marked > root),
            };
            let root = missing.or(highest).expect("one of them is there");
            // It may have been sealed and pruned since it was listed, so look again before reporting damage.
            if vanished == Some(root) {
                return Err(damaged_missing(root));
            }
            if missing.is_none()
                && let Some(present) = self.follow_from(root, interest)?
            {
                return Ok(Some(present));
            }
            vanished = Some(root);
        }
    }

    /// Reads the segment of `root`, or of its latest successor; `None` when it is not there.
    fn follow_from(
        &mut self,
        mut root: Seq,
        interest: Option<&Interest>,
    ) -> Result<Option<Present<D>>, JournalError> {
        let mut found = None;
        loop {
            // The mark before the segment: so a writer who was faster is never accused.
            let mark = mark_of(&self.disk, root)?;
            let name = segment::name(root);
            let Some(file) = self.disk.open(&name, self.access)? else { return Ok(found) };
            let (segment, bytes) = self.read(root, &file, &name, mark, interest)?;
            segment.check_mark(mark).map_err(JournalError::Damaged)?;
            let successor = segment.seal_seq().map(|(seq, _)| seq);
            let poisoned = self.disk.len(&segment::poison_name(root))?.is_some();
            let expected = segment.chain.head().expect("a segment that was read has a root");
            let marked = mark.is_some();
            found = Some(Present { segment, expected, file, name, bytes, poisoned, marked });
            match successor {
                Some(next) => root = next,
                None => return Ok(found),
            }
        }
    }

    /// Reads a segment: whole and with its bytes, or as far as it is of interest.
    fn read(
        &mut self,
        root: Seq,
        file: &D::File,
        name: &Name,
        mark: Option<Mark>,
        interest: Option<&Interest>,
    ) -> Result<(Box<Segment>, Option<Vec<u8>>), JournalError> {
        let bytes = match interest {
            None => segment::read_bytes(&self.disk, file, name)?,
            Some(interest) => match self.disk.read(file, name, 0, self.index_from) {
                Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => {
                    let lag_bytes = LAG_BYTES.min(self.index_from);
                    match index::look(&self.disk, file, root, mark, interest, lag_bytes) {
                        Looked::Seen(segment, lags) => {
                            self.index = if lags { Index::Lags } else { Index::Serves };
                            return Ok((segment, None));
                        }
                        Looked::NoIndex => self.index = Index::Missing,
                        Looked::ReadAll => {}
                    }
                    segment::read_bytes(&self.disk, file, name)?
                }
                read => read?,
            },
        };
        let segment = segment::fold_known(root, &bytes, None, |_| {})?;
        Ok((Box::new(segment), Some(bytes)))
    }

    fn hint(&self) -> Result<Option<Seq>, JournalError> {
        let name = hint_name();
        let Some(file) = self.disk.open(&name, Access::Read)? else { return Ok(None) };
        // Whatever cannot be read of it is not needed.
        let bytes = self.disk.read(&file, &name, 0, 64).unwrap_or_default();
        Ok(std::str::from_utf8(&bytes).ok().and_then(|text| segment::root_of(text.trim_end())))
    }

    /// Makes the successor of a sealed segment: the same bytes, whoever does it.
    fn finish_rotation(&mut self) -> Result<(), JournalError> {
        let Some(present) = &self.present else { return Ok(()) };
        let (Some(seal), Some((next, crc))) = (&present.segment.seal, present.segment.seal_seq()) else {
            return Ok(());
        };
        // A segment is synced before its successor exists. Where a sync has failed before, another one that
        // succeeds proves nothing; the synced checkpoint in the successor is what counts then.
        match self.disk.sync(&present.file, &present.name) {
            Ok(()) if !present.poisoned => {
                // A mark is taken for a proof that the segment's name survives: see `commit` and `confirm`.
                if !present.marked {
                    self.disk.sync_dir(Dir::Journal)?;
                }
                // An old copy without the seal must not pass for the active segment.
                let mark = Mark { seq: next, crc };
                let own = segment::mark_name(present.segment.root);
                self.disk.append_or_create(&own, mark.encode().as_bytes())?;
            }
            Err(source) if !present.poisoned => return Err(self.poison(present, source)),
            _ => {}
        }
        let mut line = seal.clone();
        line.push(b'\n');
        self.disk.publish(&segment::name(next), &line, Durability::Synced)?;
        self.disk.append_or_create(&segment::mark_name(next), Mark { seq: next, crc }.encode().as_bytes())?;
        self.reload()?;
        if let Some(present) = &self.present {
            self.point_at(present.segment.root);
        }
        Ok(())
    }

    /// Raises the hint. It may fail or be late: it is only a hint.
    pub(crate) fn point_at(&self, root: Seq) {
        let text = twenty_digits(root.get()) + "\n";
        let _only_a_hint = self.disk.replace(&hint_name(), text.as_bytes());
    }

    /// Leaves word that the segment's bytes may not survive, although they can be read now.
    fn poison(&self, present: &Present<D>, source: DiskError) -> JournalError {
        let path = source.path.clone();
        let name = segment::poison_name(present.segment.root);
        // If even this fails there is nobody left to tell but the caller.
        let _told = self.disk.publish(&name, b"a sync of this segment failed\n", Durability::Synced);
        JournalError::NotDurable { path, source }
    }

    fn append_unguarded(&mut self, writing: Writing, ops: &[Op]) -> Result<Appended, JournalError> {
        let Some(present) = &mut self.present else { return Ok(Appended::Conflict) };
        let chain = &present.segment.chain;
        let head = present.expected;
        if chain.head() != Some(head) || chain.is_sealed() {
            // Somebody was faster, and an earlier attempt has seen it.
            return Ok(Appended::Conflict);
        }
        let had_open_tail = chain.has_open_tail();
        let (blob, records) = encode(head, had_open_tail, writing, ops)?;
        let Some(&last) = records.last() else { return Ok(Appended::Conflict) };
        let taken = self.disk.append(&present.file, &present.name, blob.as_bytes());

        // Only what is read back counts, whatever the write said of itself: one that failed may have left its bytes.
        // A failure to read is no answer either: the records may count. One more look, from the start, decides;
        // without it nobody may say yes or no.
        let counts = match present.read_back(&self.disk, last, writing.nonce) {
            Err(JournalError::Disk(source)) => {
                let path = self.disk.path_of(&present.name);
                let looked = self.reload();
                match self.segment() {
                    // Somebody may have sealed the segment behind them. What came after cannot tell.
                    Some(segment) if looked.is_ok() && segment.root <= last.seq => {
                        segment.chain.has_of(last.seq, last.crc, writing.nonce)
                    }
                    _ => return Err(JournalError::Unknown { path, source }),
                }
            }
            read => read?,
        };
        if !counts {
            let taken = taken?;
            if taken < blob.len() {
                let what = format!("only {taken} of {} bytes were taken", blob.len());
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, what);
                let path = self.present.as_ref().map(|present| self.disk.path_of(&present.name));
                let path = path.unwrap_or_default();
                return Err(DiskError { what: "append to", path, source }.into());
            }
            return Ok(Appended::Conflict);
        }
        let Some(present) = &mut self.present else { return Ok(Appended::Conflict) };
        present.expected = last;
        self.unsynced = Some((present.segment.root, Mark { seq: last.seq, crc: last.crc }));
        let first = records.first().map_or(last.seq, |first| first.seq);
        Ok(Appended::Valid { first, head: last })
    }
}

impl<D: Disk> Present<D> {
    /// Whether the record that was just written counts: it is valid, and in the journal and not in a file that a repair
    /// has moved away.
    fn read_back(&mut self, disk: &D, last: Head, nonce: u64) -> Result<bool, JournalError> {
        self.follow(disk)?;
        if !self.segment.chain.has_of(last.seq, last.crc, nonce) {
            return Ok(false);
        }
        if disk.is_at(&self.file, &self.name)? {
            return Ok(true);
        }
        // A segment that was pruned since was sealed before, behind the record, and its successor says what it said.
        self.follow(disk)?;
        Ok(self.segment.chain.is_sealed() && disk.len(&repair::aside_name(self.segment.root, 1))?.is_none())
    }

    /// Reads the chain on from where the segment ended.
    fn follow(&mut self, disk: &D) -> Result<(), JournalError> {
        self.bytes = None;
        if !self.segment.chain.has_open_tail() {
            let bytes = disk.read(&self.file, &self.name, self.segment.chain.bytes(), SEGMENT_BYTES_MAX)?;
            match self.segment.follow(&bytes) {
                // A late writer may have extended a record that was not read: only reading all can tell.
                Err(_) if !self.segment.state.is_whole() => {}
                followed => return followed.map_err(JournalError::Damaged),
            }
        }
        let bytes = disk.read(&self.file, &self.name, 0, SEGMENT_BYTES_MAX)?;
        *self.segment = Segment::read(self.segment.root, &bytes).map_err(JournalError::Damaged)?;
        Ok(())
    }

    /// Whether this is the active segment without asking the directory.
    fn is_surely_active(&self) -> bool {
        !self.awaits_successor() && !self.poisoned && !self.segment.is_as_published()
    }

    /// Whether a rotation was begun here and its second half is missing.
    fn awaits_successor(&self) -> bool {
        self.segment.seal.is_some()
    }
}

impl<D: Disk> Store for FileStore<D> {
    fn load(&mut self) -> Result<Option<&State>, JournalError> {
        self.reload()?;
        Ok(self.segment().map(|segment| &segment.state))
    }

    fn prepare(&mut self, writing: Writing) -> Result<&State, JournalError> {
        self.reload()?;
        self.prepare_loaded(writing)
    }

    fn prepare_for(&mut self, writing: Writing, interest: &Interest) -> Result<&State, JournalError> {
        self.glance(interest)?;
        // Whoever closes the segment needs all of its leases.
        if self.present.as_ref().is_some_and(|present| present.poisoned || present.awaits_successor()) {
            self.reload()?;
        }
        self.prepare_loaded(writing)
    }

    fn head(&self) -> Option<Head> {
        self.segment().and_then(|segment| segment.chain.head())
    }

    fn append_if(&mut self, writing: Writing, ops: &[Op]) -> Result<Appended, JournalError> {
        self.append_unguarded(writing, ops)
    }

    fn commit(&mut self) -> Result<Option<DiskError>, JournalError> {
        let Some((root, mark)) = self.unsynced.take() else { return Ok(None) };
        let present = self.present.as_ref().filter(|present| present.segment.root == root);
        let Some(present) = present else {
            // Whether a seal or a repair came in between, its own sync was never made.
            let path = self.disk.path_of(&segment::name(root));
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it was left before its sync");
            let source = DiskError { what: "sync", path: path.clone(), source };
            return Err(JournalError::NotDurable { path, source });
        };
        if let Err(source) = self.disk.sync(&present.file, &present.name) {
            return Err(self.poison(present, source));
        }
        // Without a mark nobody has said yet that the segment's name would survive.
        if !present.marked {
            self.disk.sync_dir(Dir::Journal)?;
        }
        let raised =
            self.disk.append_or_create(&segment::mark_name(present.segment.root), mark.encode().as_bytes());
        // A repair that moved the segment before the mark was there may not have seen that this is acknowledged.
        // One that moves it from here on reads the mark and keeps what it proves. A segment that is gone for
        // another reason was sealed and pruned, and what it said stands in its successor.
        if !self.disk.is_at(&present.file, &present.name)?
            && self.disk.len(&repair::aside_name(present.segment.root, 1))?.is_some()
        {
            let what = "a repair moved the segment aside meanwhile";
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, what);
            let path = self.disk.path_of(&present.name);
            let source = DiskError { what: "find", path: path.clone(), source };
            return Err(JournalError::NotDurable { path, source });
        }
        Ok(raised.err())
    }
}

impl<D: Disk> FileStore<D> {
    fn prepare_loaded(&mut self, writing: Writing) -> Result<&State, JournalError> {
        loop {
            let Some(present) = &self.present else {
                self.begin(writing)?;
                continue;
            };
            if segment::is_newer(&present.segment.format) {
                let found = present.segment.format.clone();
                return Err(JournalError::Newer { found, ours: FORMAT.into() });
            }
            if present.awaits_successor() {
                self.finish_rotation()?;
            } else if present.poisoned {
                self.seal_loaded(writing)?;
            } else {
                break;
            }
        }
        Ok(self.segment().map(|segment| &segment.state).expect("the loop ends with a segment"))
    }

    /// Makes the first record of all. Of two who try, one makes it and both use it.
    fn begin(&mut self, writing: Writing) -> Result<(), JournalError> {
        let genesis = Op::Checkpoint(Box::new(State::default().checkpoint(false)));
        let (name, body) = record::encode(&genesis);
        let stamp = Stamp { seq: Seq::FIRST, ts: writing.ts, nonce: writing.nonce, prev: Crc::NONE };
        let (line, _) = line::encode(stamp, name, &body);
        let published = self.disk.publish(
            &segment::name(Seq::FIRST),
            format!("{line}\n").as_bytes(),
            Durability::Synced,
        )?;
        self.reload()?;
        if let Some(present) = &self.present
            && published == Published::Created
        {
            self.point_at(present.segment.root);
        }
        Ok(())
    }
}

/// The bytes of one write, and the heads after each of its records.
fn encode(
    head: Head,
    close_tail: bool,
    writing: Writing,
    ops: &[Op],
) -> Result<(String, Vec<Head>), JournalError> {
    let mut blob = String::new();
    if close_tail {
        blob.push_str(std::str::from_utf8(CLOSING).unwrap_or_default());
    }
    let mut records = Vec::with_capacity(ops.len());
    let ts = writing.ts.max(head.ts);
    let mut last = head;
    for op in ops {
        let seq = last.seq.next().ok_or(JournalError::Full)?;
        let (name, body) = record::encode(op);
        let (line, crc) = line::encode(Stamp { seq, ts, nonce: writing.nonce, prev: last.crc }, name, &body);
        if line.len() > RECORD_BYTES_MAX {
            return Err(JournalError::TooLong { bytes: line.len(), most: RECORD_BYTES_MAX });
        }
        blob.push_str(&line);
        blob.push('\n');
        last = Head { seq, crc, ts };
        records.push(last);
    }
    Ok((blob, records))
}

fn damaged_missing(root: Seq) -> JournalError {
    JournalError::Damaged(segment::missing(root))
}
