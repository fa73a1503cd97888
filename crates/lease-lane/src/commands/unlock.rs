//! `unlock`.

use std::io::{BufRead, IsTerminal, Read, Write};

use arbiter::evidence::Liveness;
use arbiter::lease::Standing;
use arbiter::name::{LaneName, OwnerName};
use arbiter::request::Note;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::text::shown;
use arbiter::time::Timestamp;
use lease::session::{LeaseView, Miss, Unlocked, Unlocking, Which};
use serde::Serialize;

use super::acquire::text;
use super::holder::{Expected, missed, which};
use super::live::LeaseJson;
use super::warn;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1024;

pub(super) fn run(context: &Context, args: &args::Unlock, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let (which, fence) = which(&args.held)?;
    let why: Option<Note> = text("--why", args.why.as_deref())?;
    let force = why.filter(|_| args.force);
    let asks = force.is_some() && !args.yes;
    if asks && !has_terminal() {
        return Err(Failure::usage(
            "--force may end a lease that is in use, and there is no terminal on which to ask whether it shall",
            Some("see who holds it: lease-lane unlock without --force; then say it beforehand: --yes".into()),
        ));
    }
    let owner = context.owner()?;
    let expected = Expected::Caller(owner.clone());
    let not_held = |which: &Which| missed(which, &expected, &Miss::NotHeld);
    let Some(disk) = context.look()? else { return Ok(not_held(&which)) };
    let mut session = context.session_here(&disk, owner.clone());
    let mut unlocking = Unlocking { which, fence, force };
    if asks {
        let Some((view, _)) = session.stand(&unlocking.which)?.held else {
            return Ok(not_held(&unlocking.which));
        };
        if !is_confirmed(&view, session.time(), talk)? {
            return Ok(left_alone(&view));
        }
        // What was shown is what ends, and nothing that came in between.
        unlocking.which = Which::Lease(view.lease.lease);
        unlocking.fence = unlocking.fence.or(Some(view.lease.fence));
    }
    let done = session.unlock(&unlocking);
    let now = session.time();
    warn(talk, session.take_warnings());
    Ok(match done? {
        Err(miss) => missed(&unlocking.which, &expected, &miss),
        Ok(unlocked) if unlocked.ended => ended(&unlocked, &owner, unlocking.force.as_ref(), now),
        Ok(unlocked) => refused(&unlocked, &owner, now),
    })
}

/// Whether there is somebody who can be shown a lease and asked about it.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn is_confirmed(view: &LeaseView, now: Timestamp, talk: &mut dyn Write) -> Result<bool, Failure> {
    let question = format!(
        "{}Its holder is not signalled and may go on writing. End the lease all the same?\nOnly `yes` does: ",
        render::lease(&view.lease, view.alive.as_str(), now)
    );
    talk.write_all(question.as_bytes())
        .and_then(|()| talk.flush())
        .map_err(|error| Failure::output(&error))?;
    let mut answer = String::new();
    let stdin = std::io::stdin().lock();
    stdin.take(ANSWER_BYTES_MAX).read_line(&mut answer).map_err(|error| {
        Failure::because(&error, "usage", format!("could not read the answer: {error}"), None)
    })?;
    Ok(answer.trim() == "yes")
}

#[derive(Serialize)]
struct RefusedJson<'a> {
    outcome: &'a str,
    code: Option<&'a str>,
    lease: LeaseId,
    fence: Fence,
    lane: &'a LaneName,
    reason: &'a str,
    holder: LeaseJson<'a>,
    seq: Option<Seq>,
    journaled: bool,
    hint: &'a str,
}

/// The one who was asked did not want it.
fn left_alone(view: &LeaseView) -> Reply {
    let lease = &view.lease;
    let (reason, hint) = ("the answer was not `yes`; nothing was ended", "lease-lane live");
    let json = RefusedJson {
        outcome: "refuse",
        code: None,
        lease: lease.lease,
        fence: lease.fence,
        lane: &lease.lane,
        reason,
        holder: LeaseJson::new(lease, view.alive),
        seq: None,
        journaled: false,
        hint,
    };
    Reply::new(Exit::No, &json, format!("refused: {reason}\nhint: {hint}\n"))
}

/// It stands, and nobody insisted.
fn refused(unlocked: &Unlocked, asked_by: &OwnerName, now: Timestamp) -> Reply {
    let Unlocked { lease, alive, .. } = unlocked;
    let until = render::from_now(unlocked.stands_until, now);
    let because = match (alive, lease.processes.len()) {
        (Liveness::Yes, 1) => "its process is alive".to_owned(),
        (Liveness::Yes, _) => "one of its processes is alive".to_owned(),
        (_, 0) => format!("it is bound to no process, and its time and grace end {until}"),
        _ => format!(
            "nobody can tell from here whether its processes live, and its time and grace end {until}"
        ),
    };
    let reason =
        format!("lease {} of lane `{}` is held by `{}`: {because}", lease.lease, lease.lane, lease.owner);
    let hint = if lease.owner == *asked_by {
        format!("lease-lane release --lease {}", lease.lease)
    } else {
        format!("lease-lane unlock --lease {} --fence {} --force --why TEXT", lease.lease, lease.fence)
    };
    let json = RefusedJson {
        outcome: "refuse",
        code: Some("LANE_HELD"),
        lease: lease.lease,
        fence: lease.fence,
        lane: &lease.lane,
        reason: &reason,
        holder: LeaseJson::new(lease, *alive),
        seq: None,
        journaled: false,
        hint: &hint,
    };
    let holder = render::lease(lease, alive.as_str(), now);
    Reply::new(Exit::No, &json, format!("refused: {reason}\n{holder}hint: {hint}\n"))
}

fn ended(unlocked: &Unlocked, by: &OwnerName, why: Option<&Note>, now: Timestamp) -> Reply {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        lease: LeaseId,
        fence: Fence,
        lane: &'a LaneName,
        owner: &'a OwnerName,
        by: &'a OwnerName,
        standing: Standing,
        forced: bool,
        why: Option<&'a Note>,
        holder: LeaseJson<'a>,
        seq: Option<Seq>,
    }
    let &Unlocked { ref lease, alive, standing, forced, seq, .. } = unlocked;
    let json = Json {
        outcome: "unlocked",
        lease: lease.lease,
        fence: lease.fence,
        lane: &lease.lane,
        owner: &lease.owner,
        by,
        standing,
        forced,
        why: why.filter(|_| forced),
        holder: LeaseJson::new(lease, alive),
        seq,
    };
    let (how, then) = match (forced, why) {
        (true, Some(why)) => (
            format!("by force: {}", shown(why.as_str(), 400)),
            "  its holder was not signalled; it is told at its next beat or release\n",
        ),
        _ => (format!("it was {}", standing.as_str()), ""),
    };
    let holder = render::lease(lease, alive.as_str(), now);
    Reply::new(Exit::Yes, &json, format!("unlocked ({how})\n{holder}{then}"))
}
