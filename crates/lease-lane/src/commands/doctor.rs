//! `doctor`.

use journal::disk::{Access, FileSystem, Fitness, RealDisk};
use journal::history::{self, Survey};
use journal::record::FORMAT;
use journal::store::{FileStore, Store};
use lease::clock::Clock;
use lease::mutex;
use lease::place::StoreFrom;
use serde::Serialize;

use super::verify::DamageJson;
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    version: &'a str,
    format: &'a str,
    store: String,
    store_from: &'a str,
    exists: bool,
    file_system: Option<FileSystemJson>,
    root: String,
    policy: Option<String>,
    policy_problem: Option<String>,
    owner: Option<String>,
    boot: String,
    seq: Option<u64>,
    live: usize,
    segments: u64,
    records: u64,
    bytes: u64,
    void: u64,
    torn: u64,
    poisoned: bool,
    mutex: Option<mutex::Holder>,
    damage: Vec<DamageJson<'a>>,
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
    let store = disk.as_ref().map(look).transpose()?.unwrap_or_default();
    let sound = survey.damage.is_empty();
    let json = Json {
        outcome: if sound { "ok" } else { "damaged" },
        version: env!("CARGO_PKG_VERSION"),
        format: FORMAT,
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
        policy_problem: context
            .policy()
            .err()
            .map(|failure| failure.lines().lines().next().unwrap_or_default().to_owned()),
        owner: context.owner().ok().map(|owner| owner.as_str().to_owned()),
        boot: CLOCK.reading().boot,
        seq: survey.last.map(arbiter::seq::Seq::get),
        live: store.live,
        segments: survey.segments,
        records: survey.records,
        bytes: survey.bytes,
        void: survey.void,
        torn: survey.torn,
        poisoned: store.poisoned,
        mutex: store.mutex,
        damage: survey.damage.iter().map(DamageJson::from).collect(),
    };
    let text = text(&json, &survey);
    Ok(Reply::new(if sound { Exit::Yes } else { Exit::Damaged }, &json, text))
}

#[derive(Default)]
struct Looked {
    live: usize,
    poisoned: bool,
    mutex: Option<mutex::Holder>,
}

fn look(disk: &RealDisk) -> Result<Looked, Failure> {
    let mut store = FileStore::new(disk, Access::Read);
    // Damage is the survey's to tell.
    let live = store.load().ok().flatten().map_or(0, |state| state.live.len());
    Ok(Looked { live, poisoned: store.is_poisoned(), mutex: mutex::read_holder(disk)? })
}

fn text(json: &Json<'_>, survey: &Survey) -> String {
    let mut text = format!("store    {} (from {})\n", json.store, json.store_from);
    if !json.exists {
        text.push_str("         not there yet: it is made with the first record, or by `lease-lane init`\n");
    }
    text.push_str(&json.file_system.as_ref().map_or_else(
        || "disk     the system does not tell what the store lies on\n".to_owned(),
        FileSystemJson::line,
    ));
    text.push_str(&format!("root     {}\n", json.root));
    text.push_str(&format!("policy   {}\n", json.policy.as_deref().unwrap_or("none")));
    if let Some(problem) = &json.policy_problem {
        text.push_str(&format!("         {problem}\n"));
    }
    text.push_str(&format!(
        "owner    {}\n",
        json.owner.as_deref().unwrap_or("cannot be told: name one with --owner")
    ));
    text.push_str(&format!("version  {} (format {})\n", json.version, json.format));
    text.push_str(&format!(
        "journal  {} records in {} segments, {} bytes; {} void, {} torn; live leases: {}\n",
        json.records, json.segments, json.bytes, json.void, json.torn, json.live
    ));
    if json.poisoned {
        text.push_str("         a sync failed here; the next writer starts a new segment: check the disk\n");
    }
    match &json.mutex {
        Some(holder) => {
            let pid =
                holder.process.as_ref().map_or_else(|| "?".to_owned(), |process| process.pid.to_string());
            let owner = arbiter::text::shown(&holder.owner, 100);
            let since = arbiter::text::shown(&holder.since, 40);
            text.push_str(&format!("mutex    pid {pid} of {owner} since {since}\n"));
        }
        None => text.push_str("mutex    free\n"),
    }
    for damage in &survey.damage {
        text.push_str(&format!("DAMAGED  {damage}\n"));
    }
    text.push_str(if survey.damage.is_empty() { "health   sound\n" } else { "hint: lease-lane repair\n" });
    text
}
