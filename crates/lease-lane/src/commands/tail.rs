//! `tail`.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use arbiter::name::LaneName;
use arbiter::seq::Seq;
use arbiter::text::{escaped_json, shown};
use journal::JournalError;
use journal::disk::RealDisk;
use journal::history;
use journal::record::Op;
use journal::segment::Event;
use journal::watch::Watch;
use serde::Deserialize;

use super::acquire::lane_name;
use crate::args::{self, Global};
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::Failure;

/// How long to sleep at most when nothing is heard: the store may not be there yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &args::Tail,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let filter = Filter {
        lane: args.lane.as_deref().map(lane_name).transpose()?,
        owner: global.owner.clone(),
        op: args.op.as_deref().map(operation).transpose()?,
        json: global.json,
    };
    let mut disk = context.look()?;
    let mut watch = disk.as_ref().map(Watch::new);
    let mut last = None;
    if let Some(disk) = &disk {
        let (lines, seen) = filter.latest(disk, args.lines)?;
        last = seen;
        if print(out, &lines)?.is_some() {
            return Ok(Exit::Yes);
        }
    }
    if !args.follow {
        return Ok(Exit::Yes);
    }
    loop {
        match &mut watch {
            Some(watch) => watch.wait(LOOK_AGAIN),
            None => {
                std::thread::sleep(LOOK_AGAIN);
                disk = context.look()?;
                watch = disk.as_ref().map(Watch::new);
            }
        }
        let Some(disk) = &disk else { continue };
        let (lines, seen) = filter.after(disk, last)?;
        last = seen.or(last);
        if print(out, &lines)?.is_some() {
            return Ok(Exit::Yes);
        }
    }
}

/// The operation that is meant. What no record can be would be waited for in vain.
fn operation(given: &str) -> Result<String, Failure> {
    let name = given.to_uppercase();
    if Op::NAMES.contains(&name.as_str()) {
        return Ok(name);
    }
    let hint = format!("one of {}", Op::NAMES.join(", "));
    Err(Failure::usage(format!("--op: there is no operation `{}`", shown(given, 80)), Some(hint)))
}

/// Prints; `Some` when nobody reads any more.
fn print(out: &mut dyn Write, lines: &[String]) -> Result<Option<()>, Failure> {
    for line in lines {
        match out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Some(())),
            Err(error) => return Err(Failure::output(&error)),
        }
    }
    match out.flush() {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(())),
        Err(error) => Err(Failure::output(&error)),
        Ok(()) => Ok(None),
    }
}

struct Filter {
    lane: Option<LaneName>,
    owner: Option<String>,
    op: Option<String>,
    json: bool,
}

/// What can be told of any record.
#[derive(Deserialize)]
struct Gist {
    op: String,
    lane: Option<LaneName>,
    owner: Option<String>,
    lease: Option<u64>,
    verdict: Option<Reason>,
    request: Option<Asked>,
    /// What a HALT is about.
    handle: Option<String>,
    /// From whom an ADOPT took the lease.
    from: Option<String>,
    /// Who ended a lease by SCAVENGE, and why if it took force.
    by: Option<String>,
    forced: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    /// In which worktree, where they are told apart.
    worktree: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
    code: Option<String>,
}

impl Filter {
    /// The last `n` records that are wanted, and the last record there is. Goes back no further than it must.
    fn latest(&self, disk: &RealDisk, n: usize) -> Result<(Vec<String>, Option<Seq>), JournalError> {
        let roots = history::roots(disk)?;
        let mut lines: Vec<String> = Vec::new();
        let mut last = None;
        for (i, root) in roots.iter().enumerate().rev() {
            let mut here = Vec::new();
            let mut seen = None;
            history::read_segment(disk, *root, |event| {
                seen = Some(event.record.seq);
                here.extend(self.line(&event, i == 0));
                Ok(())
            })?;
            last = last.or(seen);
            here.append(&mut lines);
            lines = here;
            if lines.len() >= n {
                break;
            }
        }
        lines.drain(..lines.len().saturating_sub(n));
        Ok((lines, last))
    }

    /// The records after `last` that are wanted.
    fn after(&self, disk: &RealDisk, last: Option<Seq>) -> Result<(Vec<String>, Option<Seq>), JournalError> {
        let roots = history::roots(disk)?;
        let mut lines = Vec::new();
        let mut seen = last;
        // The segment with `last` in it, and all that follow.
        let from = roots.iter().rposition(|&root| last.is_some_and(|last| root <= last)).unwrap_or(0);
        for (i, root) in roots.iter().enumerate().skip(from) {
            history::read_segment(disk, *root, |event| {
                if last.is_none_or(|last| event.record.seq > last) {
                    seen = Some(event.record.seq);
                    lines.extend(self.line(&event, i == 0));
                }
                Ok(())
            })?;
        }
        Ok((lines, seen))
    }

    /// The record as a line, if it is wanted. The root of a segment is the last record of the one before.
    fn line(&self, event: &Event<'_>, is_first_segment: bool) -> Option<String> {
        if event.is_root && !is_first_segment && !event.repairs() {
            return None;
        }
        let text = std::str::from_utf8(event.text).ok()?;
        let gist: Gist = serde_json::from_str(text).ok()?;
        let wanted = self.op.as_ref().is_none_or(|op| *op == gist.op)
            && self.owner.as_ref().is_none_or(|owner| Some(owner) == gist.owner.as_ref())
            && self.lane.as_ref().is_none_or(|lane| gist.lane.as_ref().is_some_and(|its| its.same_as(lane)));
        if !wanted {
            return None;
        }
        if self.json {
            return Some(escaped_json(text).into_owned());
        }
        let mut line = format!("{:>6}  {}  {:<10}", event.record.seq, event.record.ts, gist.op);
        if let Some(lane) = &gist.lane {
            line.push_str(&format!("  lane {lane}"));
        }
        if let Some(lease) = gist.lease {
            line.push_str(&format!("  lease {lease}"));
        }
        if let Some(owner) = &gist.owner {
            line.push_str(&format!("  owner {}", shown(owner, 100)));
        }
        let worktree = gist.request.and_then(|asked| asked.worktree);
        for (what, text) in [
            ("worktree ", &worktree),
            ("", &gist.handle),
            ("from ", &gist.from),
            ("by ", &gist.by),
            ("forced: ", &gist.forced),
        ] {
            if let Some(text) = text {
                line.push_str(&format!("  {what}{}", shown(text, 200)));
            }
        }
        if let Some(Reason { reason: Some(reason), code: Some(code) }) = &gist.verdict {
            line.push_str(&format!("  {}: {}", shown(code, 40), shown(reason, 400)));
        }
        Some(line)
    }
}
