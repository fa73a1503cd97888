//! `adopt`.

use std::io::Write;

use arbiter::evidence::{Liveness, ProcessIdentity, Role};
use arbiter::lease::{Halted, Lease};
use arbiter::name::{LaneName, OwnerName};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::Timestamp;
use lease::clock::Clock;
use lease::process::{Here, probe};
use lease::session::{Adopted, Adoption};
use serde::Serialize;

use super::acquire::bound_to;
use super::holder::{Expected, ask_of, which};
use super::warn;
use crate::args;
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    lease: LeaseId,
    fence: Fence,
    lane: &'a LaneName,
    owner: &'a OwnerName,
    from: &'a OwnerName,
    expires_at: Timestamp,
    alive: Liveness,
    halted: Option<&'a Halted>,
    processes: &'a [ProcessIdentity],
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

pub(super) fn run(context: &Context, args: &args::Adopt, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let (which, fence) = which(&args.held)?;
    let from = OwnerName::new(args.from.as_str()).map_err(|error| Failure::flag("--from", error))?;
    let processes = bound_to(&args.bind)?;
    let expected = Expected::From(from.clone());
    let adoption = Adoption { which, fence, from, processes };
    let asked = ask_of(context, &adoption.which, &expected, talk, |session| session.adopt(&adoption))?;
    let adopted = match asked {
        Ok(adopted) => adopted,
        Err(missed) => return Ok(missed),
    };
    if !adopted.lease.processes.is_empty() && adopted.alive == Liveness::No {
        let text = "all processes of the lease are gone, so whoever needs its place ends it: bind it to one that \
                    lives (adopt … --bind PID)";
        warn(talk, vec![text.into()]);
    }
    let warning = warning(&adopted.lease, !adoption.processes.is_empty());
    Ok(reply(&adopted, &adoption.from, warning))
}

/// What becomes of the command that runs under the lease: its `run` does not let it run under somebody else's.
fn warning(lease: &Lease, is_bound: bool) -> Option<String> {
    let is_there = |process: &&ProcessIdentity| {
        process.role == Some(Role::Supervisor) && probe(process, Here::this()).alive != Liveness::No
    };
    let supervisor = lease.processes.iter().find(is_there)?;
    let mut text = format!("`lease-lane run` (pid {}) ends its command now", supervisor.pid);
    if !is_bound {
        text.push_str(&format!(
            ", and the lease ends with it unless it is bound to another process: lease-lane heartbeat --lease {} \
             --bind PID",
            lease.lease
        ));
    }
    Some(text)
}

fn reply(adopted: &Adopted, from: &OwnerName, warning: Option<String>) -> Reply {
    let Adopted { lease, alive, halted, seq } = adopted;
    let json = Json {
        outcome: "adopted",
        lease: lease.lease,
        fence: lease.fence,
        lane: &lease.lane,
        owner: &lease.owner,
        from,
        expires_at: lease.expires_at(),
        alive: *alive,
        halted: halted.as_ref(),
        processes: &lease.processes,
        seq: *seq,
        warning,
    };
    let expires = render::from_now(lease.expires_at(), Timestamp::from_unix_ms(CLOCK.wall_ms()));
    let mut text = format!(
        "adopted: lease {} · lane {} · fence {} · from {from} to {}\n  {}\n  expires {expires}, processes alive: {}\n",
        lease.lease,
        lease.lane,
        lease.fence,
        lease.owner,
        render::claims(&lease.tree, &lease.read),
        alive.as_str(),
    );
    text.extend(halted.as_ref().map(render::halted));
    text.extend(json.warning.as_ref().map(|warning| format!("  warning: {warning}\n")));
    Reply::new(Exit::Yes, &json, text)
}
