//! `doctor`.

mod clock;

use std::path::Path;

use arbiter::evidence::Liveness;
use arbiter::lease::LiveSet;
use arbiter::time::{Span, Timestamp};
use journal::disk::{Access, FileSystem, Fitness, RealDisk};
use journal::history::{self, Survey};
use journal::record::{Counters, FORMAT};
use journal::segment::{self, Segment};
use journal::store::{FileStore, Store};
use lease::clock::Clock;
use lease::machine::{Machine as _, RealMachine};
use lease::mutex;
use lease::place::StoreFrom;
use rustix::fs::{Access as Permission, access, statvfs};
use serde::Serialize;

use self::clock::ClockJson;
use super::live::counters_json;
use super::verify::DamageJson;
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    version: &'a str,
    format: &'a str,
    journal_format: Option<String>,
    store: String,
    store_from: &'a str,
    exists: bool,
    file_system: Option<FileSystemJson>,
    root: String,
    policy: Option<String>,
    policy_problem: Option<String>,
    owner: Option<String>,
    boot: String,
    clock: ClockJson,
    seq: Option<u64>,
    live: usize,
    segments: u64,
    records: u64,
    bytes: u64,
    void: u64,
    torn: u64,
    poisoned: bool,
    counters: serde_json::Value,
    mutex: Option<MutexJson>,
    damage: Vec<DamageJson<'a>>,
    /// What else somebody should look at, by the names of these keys.
    warnings: Vec<&'a str>,
    /// Why the store cannot be written to, if it cannot.
    #[serde(skip)]
    unwritable: Option<String>,
    /// Whether the journal is of a newer program, and so only read.
    #[serde(skip)]
    is_newer: bool,
}

impl Json<'_> {
    fn odd(&self) -> Vec<&'static str> {
        let is_fit = self.file_system.as_ref().is_some_and(|found| found.verdict == Fitness::Good.as_str());
        let odd = [
            ("store", self.unwritable.is_some()),
            ("journal_format", self.is_newer),
            ("file_system", !is_fit),
            ("policy_problem", self.policy_problem.is_some()),
            ("owner", self.owner.is_none()),
            ("clock", self.clock.is_odd()),
            ("poisoned", self.poisoned),
        ];
        odd.into_iter().filter_map(|(key, is_odd)| is_odd.then_some(key)).collect()
    }
}

/// Who is inside the mutex, and how that looks from here.
#[derive(Serialize)]
struct MutexJson {
    #[serde(flatten)]
    holder: mutex::Holder,
    age_ms: Option<u64>,
    alive: Liveness,
    /// Whether the next caller takes the place at once.
    stale: bool,
}

impl MutexJson {
    fn new(machine: &RealMachine<'_>, holder: mutex::Holder, stale: bool) -> MutexJson {
        let now = Timestamp::from_unix_ms(machine.clock().wall_ms());
        let age_ms = Timestamp::parse(&holder.since).map(|since| now.since(since).as_ms());
        let alive = holder.process.as_ref().map_or(Liveness::Unknown, |process| machine.probe(process).alive);
        MutexJson { holder, age_ms, alive, stale }
    }

    fn line(&self) -> String {
        let mutex::Holder { process, owner, since, .. } = &self.holder;
        let pid = process.as_ref().map_or_else(|| "?".to_owned(), |process| process.pid.to_string());
        let owner = arbiter::text::shown(owner, 100);
        let since = arbiter::text::shown(since, 40);
        let age =
            self.age_ms.map_or_else(String::new, |ms| format!(" ({})", render::span(Span::from_ms(ms))));
        let what = if self.stale {
            "gone: the next caller takes its place at once".to_owned()
        } else {
            format!("alive: {}", self.alive.as_str())
        };
        format!("mutex    pid {pid} of {owner} since {since}{age}, {what}\n")
    }
}

/// What the store lies on, or would.
#[derive(Serialize)]
struct FileSystemJson {
    #[serde(rename = "type")]
    name: String,
    verdict: &'static str,
    note: Option<&'static str>,
    /// Whether the caller takes what is unsuitable.
    allowed: bool,
}

impl FileSystemJson {
    fn new(found: &FileSystem, allowed: bool) -> FileSystemJson {
        FileSystemJson {
            name: arbiter::text::shown(&found.name, 100).to_string(),
            verdict: found.fitness.as_str(),
            note: found.note,
            allowed,
        }
    }

    fn line(&self) -> String {
        let verdict = match self.verdict {
            verdict if verdict == Fitness::Unsuitable.as_str() && self.allowed => "UNSUITABLE, and allowed",
            verdict if verdict == Fitness::Unsuitable.as_str() => {
                "UNSUITABLE, nothing is written without --allow-fs"
            }
            verdict => verdict,
        };
        let note = self.note.map_or_else(String::new, |note| format!("; {note}"));
        format!("disk     {}: {verdict}{note}\n", self.name)
    }
}

pub(super) fn run(context: &Context) -> Result<Reply, Failure> {
    let disk = context.look()?;
    let survey = match &disk {
        Some(disk) => history::survey(disk)?,
        None => Survey::default(),
    };
    let file_system = match &disk {
        Some(disk) => disk.file_system().ok().cloned(),
        None => RealDisk::file_system_at(&context.place.store),
    };
    let store = disk.as_ref().map(|disk| look(disk, &survey)).transpose()?.unwrap_or_default();
    let wall = Timestamp::from_unix_ms(CLOCK.wall_ms());
    let sound = survey.damage.is_empty();
    let mut json = Json {
        outcome: if sound { "ok" } else { "damaged" },
        version: env!("CARGO_PKG_VERSION"),
        format: FORMAT,
        is_newer: store.format.as_deref().is_some_and(segment::is_newer),
        journal_format: store.format,
        unwritable: disk.as_ref().and_then(|_| unwritable(&context.place.store)),
        store: context.place.store.display().to_string(),
        store_from: match context.place.how {
            StoreFrom::Flag => "--store",
            StoreFrom::Environment => "LEASE_LANE_STORE",
            StoreFrom::Git => "the git repository",
            StoreFrom::Directory => "the nearest .lease-lane directory",
            StoreFrom::Fresh => "the current directory",
        },
        exists: disk.is_some(),
        file_system: file_system.map(|found| FileSystemJson::new(&found, context.allow_fs)),
        root: context.place.root.display().to_string(),
        policy: context.place.policy.as_ref().map(|path| path.display().to_string()),
        policy_problem: context.policy().err().map(|error| Failure::from(error).message()),
        owner: context.owner().ok().map(|owner| owner.as_str().to_owned()),
        boot: CLOCK.reading().boot,
        clock: ClockJson::new(wall, CLOCK.reading(), &store.live, store.head),
        seq: survey.last.map(arbiter::seq::Seq::get),
        live: store.live.len(),
        segments: survey.segments,
        records: survey.records,
        bytes: survey.bytes,
        void: survey.void,
        torn: survey.torn,
        poisoned: store.poisoned,
        counters: counters_json(&store.counters),
        mutex: store.mutex,
        damage: survey.damage.iter().map(DamageJson::from).collect(),
        warnings: Vec::new(),
    };
    json.warnings = json.odd();
    let text = text(&json, &survey);
    Ok(Reply::new(if sound { Exit::Yes } else { Exit::Damaged }, &json, text))
}

#[derive(Default)]
struct Looked {
    live: LiveSet,
    head: Option<Timestamp>,
    format: Option<String>,
    poisoned: bool,
    counters: Counters,
    mutex: Option<MutexJson>,
}

/// Why nothing can be written to the store, as far as that is seen without writing.
fn unwritable(store: &Path) -> Option<String> {
    if let Err(error) = access(store, Permission::WRITE_OK | Permission::EXEC_OK) {
        return Some(std::io::Error::from(error).to_string());
    }
    let room = statvfs(store).ok()?;
    (room.f_bavail == 0).then(|| "no room is left on the disk".into())
}

fn look(disk: &RealDisk, survey: &Survey) -> Result<Looked, Failure> {
    let mut store = FileStore::new(disk, Access::Read);
    let live = match store.load() {
        Ok(state) => state.map_or_else(LiveSet::default, |state| state.live.clone()),
        // Damage is the survey's to tell.
        Err(_) if !survey.damage.is_empty() => LiveSet::default(),
        Err(error) => return Err(error.into()),
    };
    let machine = RealMachine::new(disk).with_clock(&CLOCK);
    let mutex = mutex::look(&machine)?.map(|(holder, stale)| MutexJson::new(&machine, holder, stale));
    let format = store.segment().map(|segment| segment.format.clone());
    let head = store.head().map(|head| head.ts);
    let counters = store.segment().map(Segment::counters).unwrap_or_default();
    Ok(Looked { live, head, format, counters, poisoned: store.is_poisoned(), mutex })
}

fn text(json: &Json<'_>, survey: &Survey) -> String {
    let mut text = format!("store    {} (from {})\n", json.store, json.store_from);
    if !json.exists {
        text.push_str("         not there yet: it is made with the first record, or by `lease-lane init`\n");
    }
    if let Some(why) = &json.unwritable {
        text.push_str(&format!("         nothing is granted: it cannot be written to: {why}\n"));
    }
    text.push_str(&json.file_system.as_ref().map_or_else(
        || "disk     the system does not tell what the store lies on\n".to_owned(),
        FileSystemJson::line,
    ));
    text.push_str(&format!("root     {}\n", json.root));
    text.push_str(&format!("policy   {}\n", json.policy.as_deref().unwrap_or("none")));
    if let Some(problem) = &json.policy_problem {
        text.push_str(&format!("         nothing is granted: {problem}\n"));
    }
    text.push_str(&format!(
        "owner    {}\n",
        json.owner.as_deref().unwrap_or("cannot be told: name one with --owner")
    ));
    let journal = json.journal_format.as_deref().filter(|&journal| journal != json.format);
    let journal = journal.map_or_else(String::new, |journal| format!("; the journal has format {journal}"));
    text.push_str(&format!("version  {} (format {}{journal})\n", json.version, json.format));
    if json.is_newer {
        text.push_str("         nothing is granted: the journal is for a newer lease-lane to write to\n");
    }
    text.push_str(&json.clock.lines());
    text.push_str(&format!(
        "journal  {} records in {} segments, {} bytes; {} void, {} torn; live leases: {}\n",
        json.records, json.segments, json.bytes, json.void, json.torn, json.live
    ));
    let counted = |name: &str| json.counters[name].as_u64().unwrap_or_default();
    let reclaims = &json.counters["reclaims"];
    text.push_str(&format!(
        "counted  {} grants, {} refusals, {} evicted by who needed the place, {} forced out; sweeps: {} dead, {} exited, {} over their ceiling, {} put off\n",
        counted("grants"),
        counted("refusals"),
        counted("takeovers"),
        counted("forces"),
        reclaims["dead"],
        reclaims["exited"],
        reclaims["ceiling"],
        counted("deferrals"),
    ));
    if json.poisoned {
        text.push_str("         a sync failed here; the next writer starts a new segment: check the disk\n");
    }
    text.push_str(&json.mutex.as_ref().map_or_else(|| "mutex    free\n".to_owned(), MutexJson::line));
    for damage in &survey.damage {
        text.push_str(&format!("DAMAGED  {damage}\n"));
    }
    let warnings = json.warnings.join(", ");
    text.push_str(&match (survey.damage.is_empty(), json.warnings.is_empty()) {
        (true, true) => "health   sound\n".to_owned(),
        (true, false) => format!("health   the journal is sound; look at: {warnings}\n"),
        (false, _) => "hint: lease-lane repair\n".to_owned(),
    });
    text
}
