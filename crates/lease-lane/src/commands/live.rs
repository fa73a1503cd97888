//! `live`, and the JSON of a lease that other commands share.

use arbiter::evidence::{Liveness, ProcessIdentity};
use arbiter::lease::{Halted, Lease};
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::{Phase, PhaseName};
use arbiter::region::Region;
use arbiter::request::{Labels, Note, RunId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use arbiter::worktree::WorktreeName;
use journal::record::Counters;
use lease::session::View;
use serde::Serialize;

use super::queue::{WaiterJson, waiter_text};
use crate::context::Context;
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

/// A lease as the contract spells it.
#[derive(Serialize)]
pub(super) struct LeaseJson<'a> {
    lease: LeaseId,
    fence: Fence,
    lane: &'a LaneName,
    owner: &'a OwnerName,
    tree: &'a Region,
    read: &'a Region,
    acquired_at: Timestamp,
    heartbeat_at: Timestamp,
    ttl_s: Span,
    expires_at: Timestamp,
    alive: Liveness,
    phase: Option<PhaseJson<'a>>,
    halted: Option<&'a Halted>,
    processes: &'a [ProcessIdentity],
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<LeaseId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exclusive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    worktree: Option<&'a WorktreeName>,
    run_id: Option<&'a RunId>,
    why: Option<&'a Note>,
    labels: &'a Labels,
}

impl<'a> LeaseJson<'a> {
    pub(super) fn new(lease: &'a Lease, alive: Liveness) -> LeaseJson<'a> {
        LeaseJson {
            lease: lease.lease,
            fence: lease.fence,
            lane: &lease.lane,
            owner: &lease.owner,
            tree: &lease.tree,
            read: &lease.read,
            acquired_at: lease.acquired_at,
            heartbeat_at: lease.heartbeat_at,
            ttl_s: lease.ttl,
            expires_at: lease.expires_at(),
            alive,
            phase: lease.phase.as_deref().map(PhaseJson::new),
            halted: lease.halted.as_ref(),
            processes: &lease.processes,
            parent: lease.parent,
            exclusive: lease.exclusive,
            worktree: lease.worktree.as_ref(),
            run_id: lease.run_id.as_ref(),
            why: lease.why.as_ref(),
            labels: &lease.labels,
        }
    }
}

/// A phase as people and scripts see it.
#[derive(Serialize)]
pub(super) struct PhaseJson<'a> {
    name: &'a PhaseName,
    since: Timestamp,
    budget_s: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deferred_at: Option<Timestamp>,
}

impl<'a> PhaseJson<'a> {
    pub(super) fn new(phase: &'a Phase) -> PhaseJson<'a> {
        let &Phase { ref name, since, budget, deferred_at, .. } = phase;
        PhaseJson { name, since, budget_s: budget, deferred_at }
    }
}

/// The counters, also those that a journal leaves out while they are zero.
pub(super) fn counters_json(counters: &Counters) -> serde_json::Value {
    let mut json = serde_json::json!(counters);
    json["reclaims"] = serde_json::json!(counters.reclaims);
    json["takeovers"] = counters.takeovers().into();
    for name in ["deferrals", "forces", "void", "torn"] {
        if json[name].is_null() {
            json[name] = 0.into();
        }
    }
    json
}

/// The live set as the contract spells it.
#[derive(Serialize)]
pub(super) struct LiveJson<'a> {
    pub(super) outcome: &'a str,
    pub(super) seq: u64,
    pub(super) leases: Vec<LeaseJson<'a>>,
    pub(super) waiters: Vec<WaiterJson<'a>>,
    /// What has happened so far; only where the question is about now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counters: Option<serde_json::Value>,
}

pub(super) fn run(context: &Context) -> Result<Reply, Failure> {
    let Some(disk) = context.look()? else {
        let json = LiveJson {
            outcome: "ok",
            seq: 0,
            leases: Vec::new(),
            waiters: Vec::new(),
            counters: Some(counters_json(&Counters::default())),
        };
        return Ok(Reply::new(Exit::Yes, &json, "no lease is live (and nothing was ever written here)\n"));
    };
    let mut session = context.session(&disk, context.owner()?);
    let View { seq, leases, counters, waiters } = session.live()?;
    let now = session.time();
    let json = LiveJson {
        outcome: "ok",
        seq: seq.map_or(0, Seq::get),
        leases: leases.iter().map(|view| LeaseJson::new(&view.lease, view.alive)).collect(),
        waiters: waiters.iter().map(WaiterJson::new).collect(),
        counters: Some(counters_json(&counters)),
    };
    Ok(Reply::in_form(context.form, Exit::Yes, &json, || {
        let mut text = String::new();
        for view in &leases {
            text.push_str(&render::lease(&view.lease, view.alive.as_str(), now));
        }
        if leases.is_empty() {
            text.push_str("no lease is live\n");
        }
        for view in &waiters {
            text.push_str(&waiter_text(view, now));
        }
        text
    }))
}
