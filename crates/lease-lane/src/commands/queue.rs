//! `waiters` and `cancel`, and the JSON of one who waits that `live` shares.

use std::io::Write;

use arbiter::evidence::Liveness;
use arbiter::name::{LaneName, OwnerName};
use arbiter::queue::Waiter;
use arbiter::region::Region;
use arbiter::seq::{LeaseId, Seq, Ticket};
use arbiter::time::{Span, Timestamp};
use lease::session::{Unlisted, View, WaiterView};
use serde::Serialize;

use super::warn;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

/// One who waits.
#[derive(Serialize)]
pub(super) struct WaiterJson<'a> {
    ticket: Ticket,
    /// 1 is the front; null where nobody looked.
    position: Option<usize>,
    owner: &'a OwnerName,
    lane: LaneName,
    tree: &'a Region,
    read: &'a Region,
    since: Timestamp,
    budget_s: Option<Span>,
    alive: Liveness,
    pid: Option<u32>,
    waits_for: Vec<WaitsFor<'a>>,
}

/// What one waits for: a lease or a ticket.
#[derive(Serialize)]
struct WaitsFor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<Ticket>,
    lane: LaneName,
    owner: &'a OwnerName,
}

impl<'a> WaiterJson<'a> {
    pub(super) fn new(view: &'a WaiterView) -> WaiterJson<'a> {
        let leases = view.leases.iter().map(|lease| WaitsFor {
            lease: Some(lease.lease),
            ticket: None,
            lane: lease.lane.clone(),
            owner: &lease.owner,
        });
        let behind = view.behind.iter().map(|first| WaitsFor {
            lease: None,
            ticket: Some(first.ticket),
            lane: first.request.lane_name(),
            owner: &first.request.owner,
        });
        WaiterJson {
            position: Some(view.position),
            alive: view.alive,
            waits_for: leases.chain(behind).collect(),
            ..WaiterJson::on_record(&view.waiter)
        }
    }

    /// As it stands in the journal, without a look at anybody.
    pub(super) fn on_record(waiter: &'a Waiter) -> WaiterJson<'a> {
        let request = &waiter.request;
        WaiterJson {
            ticket: waiter.ticket,
            position: None,
            owner: &request.owner,
            lane: request.lane_name(),
            tree: &request.tree,
            read: &request.read,
            since: waiter.since,
            budget_s: waiter.budget,
            alive: Liveness::Unknown,
            pid: waiter.process.as_ref().map(|process| process.pid),
            waits_for: Vec::new(),
        }
    }
}

/// One who waits, on two lines.
pub(super) fn waiter_text(view: &WaiterView, now: Timestamp) -> String {
    let Waiter { ticket, request, since, process, .. } = &view.waiter;
    let pid = process.as_ref().map_or_else(String::new, |process| format!(" · pid {}", process.pid));
    let mut text = format!(
        "ticket {ticket} · place {} · lane {} · owner {}{pid} (alive: {})\n  {}, since {}",
        view.position,
        request.lane_name(),
        request.owner,
        view.alive.as_str(),
        render::claims(&request.tree, &request.read),
        render::from_now(*since, now),
    );
    let leases = view.leases.iter().map(|lease| format!("lease {} of {}", lease.lease, lease.owner));
    let behind =
        view.behind.iter().map(|first| format!("ticket {} of {}", first.ticket, first.request.owner));
    let all: Vec<String> = leases.chain(behind).collect();
    if !all.is_empty() {
        text.push_str(&format!("; waits for {}", all.join(", ")));
    }
    text.push('\n');
    text
}

pub(super) fn waiters(context: &Context) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        seq: u64,
        waiters: Vec<WaiterJson<'a>>,
    }
    let Some(disk) = context.look()? else {
        let json = Json { outcome: "ok", seq: 0, waiters: Vec::new() };
        return Ok(Reply::new(Exit::Yes, &json, "nobody waits (and nothing was ever written here)\n"));
    };
    let mut session = context.session(&disk, context.owner()?);
    let View { seq, waiters, .. } = session.live()?;
    let now = session.time();
    let json = Json {
        outcome: "ok",
        seq: seq.map_or(0, Seq::get),
        waiters: waiters.iter().map(WaiterJson::new).collect(),
    };
    let mut text: String = waiters.iter().map(|view| waiter_text(view, now)).collect();
    if waiters.is_empty() {
        text.push_str("nobody waits\n");
    }
    Ok(Reply::new(Exit::Yes, &json, text))
}

pub(super) fn cancel(context: &Context, args: &args::Cancel, talk: &mut dyn Write) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        ticket: Ticket,
        #[serde(skip_serializing_if = "Option::is_none")]
        lane: Option<LaneName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<&'a OwnerName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    let ticket = Ticket::new(args.ticket).ok_or_else(|| Failure::flag("TICKET", "0 is no ticket"))?;
    let owner = context.owner()?;
    let done = match context.look()? {
        None => Err(Unlisted::NotThere),
        Some(disk) => {
            let mut session = context.session(&disk, owner.clone());
            let done = session.cancel(ticket);
            warn(talk, session.take_warnings());
            done?
        }
    };
    let (exit, outcome, waiter, reason) = match &done {
        Ok(waiter) => (Exit::Yes, "cancelled", Some(waiter), None),
        Err(Unlisted::NotThere) => {
            (Exit::No, "not_held", None, Some(format!("nobody waits with ticket {ticket}")))
        }
        Err(Unlisted::NotYours(waiter)) => {
            let reason = format!("ticket {ticket} belongs to `{}`, not to `{owner}`", waiter.request.owner);
            (Exit::NotYours, "not_yours", Some(&**waiter), Some(reason))
        }
    };
    let lane = waiter.map(|waiter| waiter.request.lane_name());
    let text = match &reason {
        None => format!("cancelled: ticket {ticket}\n"),
        Some(reason) => format!("{outcome}: {reason}\nhint: lease-lane waiters\n"),
    };
    let owner = waiter.map(|waiter| &waiter.request.owner);
    Ok(Reply::new(exit, &Json { outcome, ticket, lane, owner, reason }, text))
}
