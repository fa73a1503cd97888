//! Reads the lane journal of dos-kernel, the Python system this tool replaces.
//!
//! The file holds one JSON object a line. Its live set is a fold over the lines in file order:
//!
//! | op | effect |
//! |---|---|
//! | `ACQUIRE`, `RECONCILE` | puts the lease; the same lease again replaces it in its old place |
//! | `RELEASE`, `SCAVENGE` | takes the lease out |
//! | `HEARTBEAT` | sets `heartbeat_at` |
//! | `ADOPT` | sets `holder`, `pid`, `host_id` and `heartbeat_at`, and drops `proc_starttime` |
//! | `CHECKPOINT` | forgets everything so far and starts again from its `leases` |
//! | any other | nothing: `REFUSE`, `HALT`, `SPAWN`, `ATTEMPT` and `ENFORCE` are history; the rest is counted |
//!
//! A lease is the pair (`lane`, `loop_ts`): one loop may hold several lanes, and a late `RELEASE` of an earlier
//! loop must not end the lease of the next one. Beats, adoptions and releases of a pair that is not live change
//! nothing. `seq` is decoration; only the order of the lines counts.
//!
//! How this is known: `fixtures/dos` holds journals of releases 0.22 and 0.30 together with what those releases
//! replay them to, and `tests/import_dos.rs` compares value by value. Dropping `proc_starttime` at an adoption is
//! visible there (the adopted leases of `dos-0.30-mixed` have lost it). The fixtures never use a lane twice at
//! once, so the pair, `RECONCILE`, and lease fields written straight into the record come from the public
//! description of the format.
//!
//! This reader is stricter than that system in one direction only: where it would skip a line it cannot read,
//! this one stops, because the line may have been a grant. An unfinished last line is not such a case: it was
//! never acknowledged.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The largest journal that is read: 512 MiB, about two million records.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The longest line that is read: 4 MiB. A `CHECKPOINT` of ten thousand leases fits.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DosJournal {
    /// The live leases, in the order of first acquisition.
    pub live: Vec<DosLease>,
    /// How many whole records were read, of any operation.
    pub records: u64,
    /// How many of them have an operation this reader does not know. Not zero: a newer release, or a rotten byte
    /// (the format has no checksum); tell the operator.
    pub unknown: u64,
    /// How many beats, adoptions and releases named a lease that was not live.
    pub unmatched: u64,
    /// How many times `seq` did not grow by one: lines may be missing from the file.
    pub jumps: u64,
    /// The unfinished last line, if there is one. It was never acknowledged and is not read.
    pub torn: Option<DosTorn>,
}

/// An unfinished last line: a writer died in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DosTorn {
    /// The number of the line; the first is 1.
    pub line: u64,
    /// Where it starts, in bytes from the start of the file.
    pub at: u64,
    /// How long it is.
    pub bytes: u64,
}

/// One live lease of dos-kernel.
///
/// A field that is absent, or of a type this reader does not expect, is `None`; in the second case its value is
/// kept in [`other`](Self::other). So [`to_json`](Self::to_json) gives back exactly what the journal holds.
///
/// ```
/// let text = br#"{"op":"ACQUIRE","lane":"docs","loop_ts":"T1","lease":{"lane":"docs","loop_ts":"T1","tree":["docs/**"],"x":1}}
/// "#;
/// let journal = lease::import::dos::read(text)?;
/// assert_eq!(journal.live[0].region(), ["docs/**"]);
/// assert_eq!(journal.live[0].to_json()["x"], 1);
/// # Ok::<(), lease::import::dos::DosError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DosLease {
    /// The lane's name; never empty.
    pub lane: String,
    /// The stamp of the loop that holds it: with `lane` the identity of the lease.
    pub loop_ts: Option<String>,
    /// Who holds it: a label, after an adoption the adopter's.
    pub holder: Option<String>,
    /// The host it was taken on.
    pub host_id: Option<String>,
    /// The path patterns it claims, as written. For a decision take [`region`](Self::region).
    pub tree: Option<Vec<String>>,
    /// When it was taken, in UTC to the second.
    pub acquired_at: Option<String>,
    /// When it last showed life, if it ever did.
    pub heartbeat_at: Option<String>,
    /// The process that took or adopted it.
    pub pid: Option<u64>,
    /// When that process started, in clock ticks since boot. Unknown after an adoption.
    pub proc_starttime: Option<u64>,
    /// The run it belongs to.
    pub run_id: Option<String>,
    /// How the lane was chosen (`keyword`, …).
    pub lane_kind: Option<String>,
    /// The lock mode (`exclusive`, …); releases before 0.30 have none.
    pub mode: Option<String>,
    /// How long it lives without a beat.
    pub ttl_minutes: Option<u64>,
    /// Every other field, unchanged.
    pub other: Map<String, Value>,
}

/// Why a journal was not read. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DosError {
    /// A whole line is not JSON, or not an object.
    #[error("line {line} of the dos journal is damaged at byte {at}")]
    Damaged {
        /// The number of the line; the first is 1.
        line: u64,
        /// Where the line starts, in bytes from the start of the file.
        at: u64,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A record is sound JSON, but what it does to which lease cannot be told.
    #[error("line {line} of the dos journal at byte {at} makes no sense: {what}")]
    Senseless {
        /// The number of the line; the first is 1.
        line: u64,
        /// Where the line starts, in bytes from the start of the file.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("line {line} of the dos journal at byte {at} has more than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// The number of the line; the first is 1.
        line: u64,
        /// Where the line starts, in bytes from the start of the file.
        at: u64,
    },
    /// The journal is larger than [`FILE_BYTES_MAX`].
    #[error("the dos journal has more than {FILE_BYTES_MAX} bytes")]
    FileTooLong,
    /// The disk failed while doing `what`.
    #[error("could not {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
}

impl DosError {
    /// What the reader can do now; the CLI prints it as `hint:`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { line, .. } | Self::Senseless { line, .. } | Self::LineTooLong { line, .. } => {
                Some(format!(
                    "look at it with `sed -n {line}p FILE`: it may have been a grant; if it was not, take the line \
                     out of a copy and import the copy"
                ))
            }
            Self::FileTooLong => Some("run `dos journal compact` first".to_owned()),
            Self::Io { .. } => None,
        }
    }
}

/// Reads the journal at `path`.
///
/// Takes memory for the file and for its live leases; at most [`FILE_BYTES_MAX`] bytes are read.
///
/// # Errors
///
/// [`DosError::Io`] from the disk, and everything [`read`] says.
pub fn read_file(path: &Path) -> Result<DosJournal, DosError> {
    let io = |what| move |source| DosError::Io { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(io("open"))?;
    if file.metadata().map_err(io("read"))?.len() > FILE_BYTES_MAX {
        return Err(DosError::FileTooLong);
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(io("read"))?;
    read(&text)
}

/// Reads a journal from memory.
///
/// A byte order mark, CRLF line ends and blank lines are tolerated. A last line without its newline is a record
/// if it is whole (a cut object is never an object), and otherwise [`torn`](DosJournal::torn).
///
/// # Errors
///
/// [`DosError::Damaged`] or [`DosError::Senseless`] for a line that cannot be read, [`DosError::LineTooLong`] and
/// [`DosError::FileTooLong`] for one or a file beyond the limits. Any bytes give an answer; none panic.
pub fn read(text: &[u8]) -> Result<DosJournal, DosError> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(DosError::FileTooLong);
    }
    let mut fold = Fold::default();
    let mut torn = None;
    let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut line = 0;
    while at < text.len() {
        line += 1;
        let rest = &text[at..];
        let (bytes, whole) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        let place = Place { line, at: at as u64 };
        match fold.line(bytes) {
            Ok(()) => {}
            Err(Reason::NotJson(_)) if !whole => {
                torn = Some(DosTorn { line, at: place.at, bytes: bytes.len() as u64 });
            }
            Err(reason) => return Err(place.error(reason)),
        }
        at += bytes.len() + 1;
    }
    Ok(DosJournal {
        live: fold.leases.into_values().collect(),
        records: fold.records,
        unknown: fold.unknown,
        unmatched: fold.unmatched,
        jumps: fold.jumps,
        torn,
    })
}

impl DosLease {
    /// Gives the region this lease claims. A lease whose tree is missing, empty or unreadable claims everything.
    pub fn region(&self) -> Vec<&str> {
        match &self.tree {
            Some(tree) if !tree.is_empty() => tree.iter().map(String::as_str).collect(),
            _ => vec!["**"],
        }
    }

    /// Gives the lease as dos-kernel writes it.
    pub fn to_json(&self) -> Value {
        let mut map = self.other.clone();
        let texts = [
            ("loop_ts", &self.loop_ts),
            ("holder", &self.holder),
            ("host_id", &self.host_id),
            ("acquired_at", &self.acquired_at),
            ("heartbeat_at", &self.heartbeat_at),
            ("run_id", &self.run_id),
            ("lane_kind", &self.lane_kind),
            ("mode", &self.mode),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.insert(name.to_owned(), text.as_str().into());
            }
        }
        let numbers =
            [("pid", self.pid), ("proc_starttime", self.proc_starttime), ("ttl_minutes", self.ttl_minutes)];
        for (name, number) in numbers {
            if let Some(number) = number {
                map.insert(name.to_owned(), number.into());
            }
        }
        map.insert("lane".to_owned(), self.lane.as_str().into());
        if let Some(tree) = &self.tree {
            map.insert("tree".to_owned(), tree.as_slice().into());
        }
        Value::Object(map)
    }

    fn from_json(mut map: Map<String, Value>) -> Result<Self, Reason> {
        let (lane, _) = key(&map)?;
        map.remove("lane");
        Ok(Self {
            lane,
            loop_ts: text(&mut map, "loop_ts"),
            holder: text(&mut map, "holder"),
            host_id: text(&mut map, "host_id"),
            tree: tree(&mut map),
            acquired_at: text(&mut map, "acquired_at"),
            heartbeat_at: text(&mut map, "heartbeat_at"),
            pid: number(&mut map, "pid"),
            proc_starttime: number(&mut map, "proc_starttime"),
            run_id: text(&mut map, "run_id"),
            lane_kind: text(&mut map, "lane_kind"),
            mode: text(&mut map, "mode"),
            ttl_minutes: number(&mut map, "ttl_minutes"),
            other: map,
        })
    }

    fn key(&self) -> Key {
        (self.lane.clone(), self.loop_ts.clone().unwrap_or_default())
    }

    /// Gives the lease as `record`, an ADOPT, leaves it.
    fn adopted(&self, record: &Map<String, Value>) -> Result<Self, Reason> {
        let Value::Object(mut map) = self.to_json() else { unreachable!("a lease is an object") };
        // The start time belonged to the process before. Keeping it would make the adopter look dead.
        map.remove("proc_starttime");
        for name in ["holder", "pid", "proc_starttime", "host_id"] {
            if let Some(value) = record.get(name).filter(|value| !value.is_null()) {
                map.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(beat) = beat(record) {
            map.insert("heartbeat_at".to_owned(), beat.into());
        }
        Self::from_json(map)
    }
}

type Key = (String, String);

/// The state of the fold: leases by the order they came in, and where each is.
#[derive(Default)]
struct Fold {
    leases: BTreeMap<u64, DosLease>,
    places: BTreeMap<Key, u64>,
    last_place: u64,
    last_seq: Option<u64>,
    records: u64,
    unknown: u64,
    unmatched: u64,
    jumps: u64,
}

impl Fold {
    fn line(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Ok(());
        }
        // A first pass that builds nothing: an array or a deeply nested line costs no memory.
        let head: Head<'_> = serde_json::from_slice(bytes).map_err(|source| {
            if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
                Reason::Senseless("it is not an object with one `op`")
            } else {
                Reason::NotJson(source)
            }
        })?;
        match head.op.as_ref() {
            "ACQUIRE" | "RECONCILE" => self.put(object(bytes)?)?,
            "RELEASE" | "SCAVENGE" => self.remove(&key(&object(bytes)?)?),
            "HEARTBEAT" | "ADOPT" => self.change(head.op.as_ref(), &object(bytes)?)?,
            "CHECKPOINT" => self.restart(object(bytes)?)?,
            "REFUSE" | "HALT" | "SPAWN" | "ATTEMPT" | "ENFORCE" => {}
            _ => self.unknown += 1,
        }
        self.records += 1;
        if let Some(seq) = head.seq.as_ref().and_then(Value::as_u64) {
            if self.last_seq.is_some_and(|last| last.checked_add(1) != Some(seq)) {
                self.jumps += 1;
            }
            self.last_seq = Some(seq);
        }
        Ok(())
    }

    fn put(&mut self, mut record: Map<String, Value>) -> Result<(), Reason> {
        let key = key(&record)?;
        let lease = match record.remove("lease") {
            Some(Value::Object(lease)) => lease,
            // Without a nested lease the record itself carries the fields.
            None | Some(Value::Null) => {
                record.into_iter().filter(|(name, _)| INLINE.contains(&name.as_str())).collect()
            }
            Some(_) => return Err(Reason::Senseless("its lease is not an object")),
        };
        let lease = DosLease::from_json(lease)?;
        if lease.key() != key {
            return Err(Reason::Senseless("the record and its lease name different leases"));
        }
        self.insert(key, lease);
        Ok(())
    }

    fn insert(&mut self, key: Key, lease: DosLease) {
        let place = match self.places.entry(key) {
            btree_map::Entry::Occupied(held) => *held.get(),
            btree_map::Entry::Vacant(free) => {
                self.last_place += 1;
                *free.insert(self.last_place)
            }
        };
        self.leases.insert(place, lease);
    }

    fn remove(&mut self, key: &Key) {
        match self.places.remove(key) {
            Some(place) => drop(self.leases.remove(&place)),
            None => self.unmatched += 1,
        }
    }

    fn change(&mut self, op: &str, record: &Map<String, Value>) -> Result<(), Reason> {
        let place = self.places.get(&key(record)?);
        let Some(lease) = place.and_then(|place| self.leases.get_mut(place)) else {
            self.unmatched += 1;
            return Ok(());
        };
        if op == "ADOPT" {
            *lease = lease.adopted(record)?;
        } else if let Some(beat) = beat(record) {
            lease.heartbeat_at = Some(beat.to_owned());
            lease.other.remove("heartbeat_at");
        }
        Ok(())
    }

    fn restart(&mut self, mut checkpoint: Map<String, Value>) -> Result<(), Reason> {
        // Without its leases a checkpoint would be read as "no lease".
        let Some(Value::Array(leases)) = checkpoint.remove("leases") else {
            return Err(Reason::Senseless("it is a checkpoint without `leases`"));
        };
        self.leases.clear();
        self.places.clear();
        for lease in leases {
            let Value::Object(lease) = lease else {
                return Err(Reason::Senseless("a lease of the checkpoint is not an object"));
            };
            let lease = DosLease::from_json(lease)?;
            self.insert(lease.key(), lease);
        }
        self.last_seq = checkpoint.get("seq_watermark").and_then(Value::as_u64);
        Ok(())
    }
}

/// What every record has. Unknown fields are skipped without being built.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(default)]
    seq: Option<Value>,
}

/// The lease fields of a record that carries them itself.
const INLINE: [&str; 13] = [
    "lane",
    "lane_kind",
    "tree",
    "loop_ts",
    "host_id",
    "pid",
    "proc_starttime",
    "acquired_at",
    "heartbeat_at",
    "ttl_minutes",
    "holder",
    "run_id",
    "mode",
];

/// What is wrong with a line; its place is added later.
enum Reason {
    /// Not even its outline is JSON: cut text looks like this, so at the end of the file it is only torn.
    NotJson(serde_json::Error),
    /// The outline is whole, so nothing was cut; but a text, a number or the depth in it is beyond JSON.
    Unreadable(serde_json::Error),
    Senseless(&'static str),
    TooLong,
}

struct Place {
    line: u64,
    at: u64,
}

impl Place {
    fn error(self, reason: Reason) -> DosError {
        let Self { line, at } = self;
        match reason {
            Reason::NotJson(source) | Reason::Unreadable(source) => DosError::Damaged { line, at, source },
            Reason::Senseless(what) => DosError::Senseless { line, at, what },
            Reason::TooLong => DosError::LineTooLong { line, at },
        }
    }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Reason> {
    serde_json::from_slice(bytes).map_err(Reason::Unreadable)
}

/// Which lease a record is about. A missing `loop_ts` is the empty one.
fn key(record: &Map<String, Value>) -> Result<Key, Reason> {
    let lane = match record.get("lane") {
        Some(Value::String(lane)) if !lane.is_empty() => lane.clone(),
        _ => return Err(Reason::Senseless("it changes a lease and names no lane")),
    };
    match record.get("loop_ts") {
        None | Some(Value::Null) => Ok((lane, String::new())),
        Some(Value::String(loop_ts)) => Ok((lane, loop_ts.clone())),
        Some(_) => Err(Reason::Senseless("its `loop_ts` is not text")),
    }
}

/// When a record showed life: its `heartbeat_at`, else the time it was written.
fn beat(record: &Map<String, Value>) -> Option<&str> {
    let stamp = |name| record.get(name).and_then(Value::as_str).filter(|stamp| !stamp.is_empty());
    stamp("heartbeat_at").or_else(|| stamp("ts"))
}

/// Takes `name` out of `map` if it is text; anything else stays where it is.
fn text(map: &mut Map<String, Value>, name: &str) -> Option<String> {
    match map.remove(name)? {
        Value::String(text) => Some(text),
        value => keep(map, name, value),
    }
}

fn number(map: &mut Map<String, Value>, name: &str) -> Option<u64> {
    let value = map.remove(name)?;
    value.as_u64().or_else(|| keep(map, name, value))
}

fn tree(map: &mut Map<String, Value>) -> Option<Vec<String>> {
    let value = map.remove("tree")?;
    match Vec::<String>::deserialize(&value) {
        Ok(tree) => Some(tree),
        Err(_) => keep(map, "tree", value),
    }
}

fn keep<T>(map: &mut Map<String, Value>, name: &str, value: Value) -> Option<T> {
    map.insert(name.to_owned(), value);
    None
}
