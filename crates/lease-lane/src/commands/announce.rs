//! `halt` and `spawn`: on record, and nothing else.

use std::io::Write;

use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::request::{Note, RunId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::text::{Text, shown};
use lease::session::{Miss, StopOrder, Which};
use serde::Serialize;

use super::acquire::{lane_name, text};
use super::holder::{Expected, fence, missed, named};
use super::warn;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

pub(super) fn halt(context: &Context, args: &args::Halt, talk: &mut dyn Write) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        handle: &'a Note,
        by: &'a OwnerName,
        command: Option<&'a Note>,
        why: Option<&'a Note>,
        leases: Vec<Concerned<'a>>,
        seq: Option<Seq>,
    }
    #[derive(Serialize)]
    struct Concerned<'a> {
        lease: LeaseId,
        fence: Fence,
        lane: &'a LaneName,
        owner: &'a OwnerName,
        run_id: Option<&'a RunId>,
    }
    let handle = Text::new(args.handle.as_str()).map_err(|error| {
        let hint = "name a run id, a lane or an owner: lease-lane halt HANDLE";
        Failure::usage(format!("the handle cannot be used: {error}"), Some(hint.into()))
    })?;
    let order = StopOrder {
        handle,
        which: named(args.lane.as_deref(), args.lease)?,
        fence: fence(args.fence)?,
        command: text("--command", args.command.as_deref())?,
        why: text("--why", args.why.as_deref())?,
    };
    if order.fence.is_some() && order.which.is_none() {
        return Err(Failure::usage("--fence: of which lease?", Some("add --lane L, or --lease N".into())));
    }
    let owner = context.owner()?;
    if let Some(which @ Which::Lease(_)) = &order.which
        && context.look()?.is_none()
    {
        return Ok(missed(which, &Expected::Caller(owner), &Miss::NotHeld));
    }
    let disk = context.open()?;
    let mut session = context.session_here(&disk, owner.clone());
    let done = session.halt(&order);
    warn(talk, session.take_warnings());
    let stopping = match (done?, &order.which) {
        (Ok(stopping), _) => stopping,
        (Err(miss), Some(which)) => return Ok(missed(which, &Expected::Caller(owner), &miss)),
        (Err(_), None) => unreachable!("without a lease, none can be missed"),
    };
    let leases = &stopping.leases;
    let json = Json {
        outcome: "halted",
        handle: &order.handle,
        by: &owner,
        command: order.command.as_ref(),
        why: order.why.as_ref(),
        leases: leases
            .iter()
            .map(|lease| Concerned {
                lease: lease.lease,
                fence: lease.fence,
                lane: &lease.lane,
                owner: &lease.owner,
                run_id: lease.run_id.as_ref(),
            })
            .collect(),
        seq: stopping.seq,
    };
    let mut text = format!("halted: {}\n", shown(order.handle.as_str(), 200));
    for lease in leases {
        let Lease { lease, lane, owner, .. } = lease;
        text.push_str(&format!("  lease {lease} · lane {lane} · owner {owner}\n"));
    }
    text.push_str(&match (leases.is_empty(), &order.which) {
        (false, _) => "  on record; nothing is signalled, a holder sees it at its next beat\n".to_owned(),
        (true, Some(which)) => format!("  on record; nobody holds {which}\n"),
        (true, None) => "  on record; it is no live run, lane or owner, so no lease shows it\n".to_owned(),
    });
    Ok(Reply::new(Exit::Yes, &json, text))
}

pub(super) fn spawn(context: &Context, args: &args::Spawn, talk: &mut dyn Write) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        lane: &'a LaneName,
        owner: &'a OwnerName,
        run_id: Option<&'a RunId>,
        why: Option<&'a Note>,
        seq: Option<Seq>,
    }
    let lane = lane_name(&args.lane)?;
    let run_id = text("--run-id", args.run_id.as_deref())?;
    let why = text("--why", args.why.as_deref())?;
    let owner = context.owner()?;
    let disk = context.open()?;
    let mut session = context.session(&disk, owner.clone());
    let done = session.spawn(&lane, run_id.as_ref(), why.as_ref());
    warn(talk, session.take_warnings());
    let json = Json {
        outcome: "spawned",
        lane: &lane,
        owner: &owner,
        run_id: run_id.as_ref(),
        why: why.as_ref(),
        seq: done?,
    };
    let run = run_id.as_ref().map(|run| format!(" · run {run}")).unwrap_or_default();
    let text = format!("spawned: lane {lane}{run}\n  on record; it grants nothing: lease-lane acquire\n");
    Ok(Reply::new(Exit::Yes, &json, text))
}
