//! `watch`: what becomes of a lease, and of the run that goes on under it.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arbiter::lease::{Lease, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::text::shown;
use arbiter::time::{Span, Timestamp};
use journal::disk::RealDisk;
use journal::history;
use journal::watch::Watch;
use lease::clock::Clock;
use lease::session::{Miss, Stood, Which};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::holder::Expected;
use super::{Ended, holder};
use crate::args::{self, Global};
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::reply::Failure;

/// How often to look when nothing is heard: processes end without a record, and not all file systems tell of changes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of a status file; of a longer one nothing is shown.
const STATUS_BYTES_MAX: u64 = 1 << 20;

/// What a status file says when its run is over, in lower case, and whether that is good.
const OVER: [(&str, bool); 21] = [
    ("done", true),
    ("ok", true),
    ("success", true),
    ("succeeded", true),
    ("complete", true),
    ("completed", true),
    ("finished", true),
    ("passed", true),
    ("failed", false),
    ("failure", false),
    ("error", false),
    ("errored", false),
    ("crashed", false),
    ("killed", false),
    ("aborted", false),
    ("cancelled", false),
    ("canceled", false),
    ("halted", false),
    ("stopped", false),
    ("timeout", false),
    ("timed_out", false),
];

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: args::Watch,
    out: &mut dyn Write,
) -> Result<Ended, Failure> {
    let held = args::Held { lane: args.lane, lease: args.lease, fence: None };
    let (which, _) = holder::which(&held)?;
    let timeout = args.timeout.as_deref().map(Span::parse).transpose();
    let timeout = timeout.map_err(|error| Failure::flag("--timeout", error))?;
    let timeout = timeout.map(|span| Duration::from_millis(span.as_ms()));
    let owner = context.owner()?;
    let not_held =
        || Ok(Ended::Replied(holder::missed(&which, &Expected::Caller(owner.clone()), &Miss::NotHeld)));
    let Some(disk) = context.look()? else { return not_held() };
    // Before the first look: what happens in between wakes us too.
    let mut watch = Watch::new(&disk);
    let mut status = args.status.map(StatusFile::new);
    if let Some(status) = &status {
        watch.add(status.directory());
    }
    let mut session = context.session_here(&disk, owner.clone());
    let Stood { seq, held: Some((view, _)), .. } = session.stand(&which)? else { return not_held() };
    let mut printer = Printer { out, json: global.json, lease: view.lease };
    let mut last = seq;

    let began = Instant::now();
    let mut exit = printer.line("held", None)?;
    while exit.is_none() {
        exit = printer.records_after(&disk, &mut last)?;
        if exit.is_none() {
            let stood = session.stand(&Which::Lease(printer.lease.lease))?;
            // What it says may be later than the records that were read. They come first.
            exit = if stood.seq == last { printer.stand(&stood)? } else { None };
        }
        if exit.is_none()
            && let Some(status) = &mut status
        {
            exit = status.look(&mut printer)?;
        }
        let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        if exit.is_none() && left == Some(Duration::ZERO) {
            exit = Some(printer.last_line("timeout", Exit::Timeout)?);
        }
        if exit.is_none() {
            watch.wait(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN)));
        }
    }
    Ok(Ended::Streamed(exit.unwrap_or(Exit::Yes)))
}

struct Printer<'o> {
    out: &'o mut dyn Write,
    json: bool,
    lease: Lease,
}

/// One change.
#[derive(Serialize)]
struct Change<'a> {
    outcome: &'a str,
    lease: LeaseId,
    fence: Fence,
    lane: &'a LaneName,
    owner: &'a OwnerName,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

/// What can be told of any record.
#[derive(Deserialize)]
struct Gist<'a> {
    seq: Seq,
    #[serde(borrow)]
    op: &'a str,
    lane: Option<LaneName>,
    owner: Option<OwnerName>,
    lease: Option<LeaseId>,
}

impl Printer<'_> {
    /// Prints the records after `last` that are about the lease; the end, if one of them is.
    fn records_after(&mut self, disk: &RealDisk, last: &mut Option<Seq>) -> Result<Option<Exit>, Failure> {
        let mut records: Vec<(Timestamp, String)> = Vec::new();
        let roots = history::roots(disk)?;
        let from = roots.iter().rposition(|&root| last.is_some_and(|last| root <= last)).unwrap_or(0);
        let seen = *last;
        for root in roots.into_iter().skip(from) {
            let read = history::read_segment(disk, root, |event| {
                let seq = event.record.seq;
                if seen.is_none_or(|seen| seen < seq) {
                    *last = Some(seq);
                    if let Ok(text) = std::str::from_utf8(event.text)
                        && self.is_about_it(text)
                    {
                        records.push((event.record.ts, text.to_owned()));
                    }
                }
                Ok(())
            });
            // One that was pruned since it was listed has nothing to say.
            read?;
        }
        for (ts, text) in records {
            if let Some(exit) = self.record(ts, &text)? {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }

    fn is_about_it(&self, text: &str) -> bool {
        let Ok(gist) = serde_json::from_str::<Gist<'_>>(text) else { return false };
        match gist.lease {
            Some(lease) => lease == self.lease.lease,
            // A stop decision may name the lane alone.
            None => gist.op == "HALT" && gist.lane.is_some_and(|lane| lane.same_as(&self.lease.lane)),
        }
    }

    fn record(&mut self, ts: Timestamp, text: &str) -> Result<Option<Exit>, Failure> {
        let Ok(gist) = serde_json::from_str::<Gist<'_>>(text) else { return Ok(None) };
        let (outcome, exit) = match gist.op {
            "HEARTBEAT" => ("beat", None),
            "ATTACH" => ("attached", None),
            "ADOPT" => ("adopted", None),
            "HALT" => ("halted", None),
            "RELEASE" => ("released", Some(Exit::Yes)),
            "SCAVENGE" => ("evicted", Some(Exit::No)),
            op => (op, None),
        };
        let outcome = outcome.to_lowercase();
        if let ("adopted", Some(owner)) = (outcome.as_str(), gist.owner) {
            self.lease.owner = owner;
            self.lease.fence = Fence::from(gist.seq);
        }
        let left_early = self.line(&outcome, Some((ts, text)))?;
        Ok(left_early.or(exit))
    }

    /// Prints an end that is no record, or whose record is gone.
    fn stand(&mut self, stood: &Stood) -> Result<Option<Exit>, Failure> {
        let (outcome, exit) = match (&stood.held, &stood.ended) {
            (Some((view, standing)), _) => {
                self.lease = view.lease.clone();
                match standing {
                    Standing::Held => return Ok(None),
                    Standing::Dead => ("dead", Exit::No),
                    Standing::Expired => ("expired", Exit::No),
                }
            }
            (None, Some(ended)) if ended.evicted.is_none() => ("released", Exit::Yes),
            (None, _) => ("evicted", Exit::No),
        };
        self.last_line(outcome, exit).map(Some)
    }

    fn last_line(&mut self, outcome: &str, exit: Exit) -> Result<Exit, Failure> {
        Ok(self.line(outcome, None)?.unwrap_or(exit))
    }

    /// Prints one change; an exit code when nobody reads any more.
    fn line(&mut self, outcome: &str, record: Option<(Timestamp, &str)>) -> Result<Option<Exit>, Failure> {
        let at = record.map_or_else(|| Timestamp::from_unix_ms(CLOCK.wall_ms()), |(ts, _)| ts);
        let Lease { lease, fence, lane, owner, .. } = &self.lease;
        let text = if self.json {
            let record = record.and_then(|(_, text)| serde_json::from_str(text).ok());
            json(&Change { outcome, lease: *lease, fence: *fence, lane, owner, at, record })
        } else {
            format!("{at}  {outcome:<8}  lease {lease} · lane {lane} · owner {owner}")
        };
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<Option<Exit>, Failure> {
        match self.out.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(Exit::Yes)),
            Err(error) => Err(Failure::output(&error)),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers are made of text, numbers and lists, which all have JSON")
}

/// The file in which a run says how far it is.
struct StatusFile {
    path: PathBuf,
    seen: Vec<u8>,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    outcome: &'a str,
    file: &'a Path,
    status: Option<&'a str>,
    content: &'a serde_json::Map<String, serde_json::Value>,
}

impl StatusFile {
    fn new(path: PathBuf) -> StatusFile {
        StatusFile { path, seen: Vec::new() }
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Prints it if it has changed and is whole; the end, if it says so.
    fn look(&mut self, printer: &mut Printer<'_>) -> Result<Option<Exit>, Failure> {
        let Some(bytes) = self.read() else { return Ok(None) };
        if bytes == self.seen {
            return Ok(None);
        }
        // Half of a file that is being written says nothing yet.
        let Ok(content) = serde_json::from_slice::<serde_json::Map<_, _>>(&bytes) else { return Ok(None) };
        self.seen = bytes;
        let status = content.get("status").and_then(serde_json::Value::as_str);
        let text = if printer.json {
            json(&StatusJson { outcome: "status", file: &self.path, status, content: &content })
        } else {
            let at = Timestamp::from_unix_ms(CLOCK.wall_ms());
            format!("{at}  status    {}", shown(&json(&content), 2000))
        };
        let left_early = printer.print(&text)?;
        let over = status.map(str::to_lowercase).and_then(|status| {
            let (_, is_good) = OVER.iter().find(|(word, _)| *word == status)?;
            Some(if *is_good { Exit::Yes } else { Exit::No })
        });
        Ok(left_early.or(over))
    }

    fn read(&self) -> Option<Vec<u8>> {
        let meta = std::fs::metadata(&self.path).ok()?;
        if !meta.is_file() || meta.len() > STATUS_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        std::fs::File::open(&self.path).ok()?.take(STATUS_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}
