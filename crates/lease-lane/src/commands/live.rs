//! `live`, and the JSON of a lease that other commands share.

use arbiter::evidence::{Liveness, ProcessIdentity};
use arbiter::lease::{Halted, Lease};
use arbiter::name::{LaneName, OwnerName};
use arbiter::region::Region;
use arbiter::request::{Labels, Note, RunId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use lease::session::View;
use serde::Serialize;

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
    phase: Option<&'a str>,
    halted: Option<&'a Halted>,
    processes: &'a [ProcessIdentity],
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
            phase: None,
            halted: lease.halted.as_ref(),
            processes: &lease.processes,
            run_id: lease.run_id.as_ref(),
            why: lease.why.as_ref(),
            labels: &lease.labels,
        }
    }
}

/// The live set as the contract spells it.
#[derive(Serialize)]
pub(super) struct LiveJson<'a> {
    pub(super) outcome: &'a str,
    pub(super) seq: u64,
    pub(super) leases: Vec<LeaseJson<'a>>,
    pub(super) waiters: [(); 0],
}

pub(super) fn run(context: &Context) -> Result<Reply, Failure> {
    let Some(disk) = context.look()? else {
        let json = LiveJson { outcome: "ok", seq: 0, leases: Vec::new(), waiters: [] };
        return Ok(Reply::new(Exit::Yes, &json, "no lease is live (and nothing was ever written here)\n"));
    };
    let mut session = context.session(&disk, context.owner()?);
    let View { seq, leases } = session.live()?;
    let now = session.time();
    let json = LiveJson {
        outcome: "ok",
        seq: seq.map_or(0, Seq::get),
        leases: leases.iter().map(|view| LeaseJson::new(&view.lease, view.alive)).collect(),
        waiters: [],
    };
    let mut text = String::new();
    for view in &leases {
        text.push_str(&render::lease(&view.lease, view.alive.as_str(), now));
    }
    if leases.is_empty() {
        text.push_str("no lease is live\n");
    }
    Ok(Reply::new(Exit::Yes, &json, text))
}
