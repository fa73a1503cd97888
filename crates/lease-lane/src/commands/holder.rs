//! `release` and `heartbeat`.

use std::io::Write;
use std::mem::ManuallyDrop;

use arbiter::lease::{Halted, Lease};
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::PhaseName;
use arbiter::request::Note;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use lease::clock::Clock;
use lease::machine::RealMachine;
use lease::session::{Beaten, LeaseError, Miss, PhaseWish, Session, Which, told_of};
use serde::Serialize;

use super::acquire::lane_name;
use super::live::PhaseJson;
use super::warn;
use crate::args::{self, PhaseArg};
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

pub(super) fn release(context: &Context, args: &args::Held, talk: &mut dyn Write) -> Result<Reply, Failure> {
    let (which, fence) = which(args)?;
    Ok(match ask(context, &which, talk, |session| session.release(&which, fence))? {
        Err(missed) => missed,
        Ok(released) => {
            #[derive(Serialize)]
            struct Json<'a> {
                outcome: &'a str,
                lease: LeaseId,
                fence: Fence,
                lane: &'a LaneName,
                owner: &'a OwnerName,
                seq: Option<Seq>,
            }
            let Lease { lease, fence, lane, owner, .. } = &released.lease;
            let json =
                Json { outcome: "released", lease: *lease, fence: *fence, lane, owner, seq: released.seq };
            Reply::in_form(context.form, Exit::Yes, &json, || {
                format!("released: lease {lease} · lane {lane}\n")
            })
        }
    })
}

pub(super) fn heartbeat(
    context: &Context,
    args: &args::Heartbeat,
    talk: &mut dyn Write,
) -> Result<Reply, Failure> {
    let (which, fence) = which(&args.held)?;
    let coalesce = args.coalesce.as_deref().map(Span::parse).transpose();
    let coalesce = coalesce.map_err(|error| Failure::flag("--coalesce", error))?;
    let wish = phase_wish(args)?;
    let more = super::acquire::bound_to(&args.bind)?;
    let beat = |session: &mut Session<RealMachine<'_>>| {
        if more.is_empty() {
            session.beat(&which, fence, coalesce, wish.as_ref())
        } else {
            session.attach(&which, fence, &more)
        }
    };
    Ok(match ask(context, &which, talk, beat)? {
        Err(missed) => missed,
        Ok(beaten) => {
            #[derive(Serialize)]
            struct Json<'a> {
                outcome: &'a str,
                lease: LeaseId,
                fence: Fence,
                lane: &'a LaneName,
                coalesced: bool,
                expires_at: Timestamp,
                halted: Option<&'a Halted>,
                phase: Option<PhaseJson<'a>>,
                seq: Option<Seq>,
            }
            let json = Json {
                outcome: "beat",
                lease: beaten.lease,
                fence: beaten.fence,
                lane: &beaten.lane,
                coalesced: beaten.coalesced,
                expires_at: beaten.expires_at,
                halted: beaten.halted.as_ref(),
                phase: beaten.phase.as_deref().map(PhaseJson::new),
                seq: beaten.seq,
            };
            Reply::in_form(context.form, Exit::Yes, &json, || beaten_text(&beaten))
        }
    })
}

fn beaten_text(beaten: &Beaten) -> String {
    let now = Timestamp::from_unix_ms(CLOCK.wall_ms());
    let how = if beaten.coalesced { "beat (recent enough, nothing written)" } else { "beat" };
    let expires = render::from_now(beaten.expires_at, now);
    let mut text = format!("{how}: lease {} · lane {} · expires {expires}\n", beaten.lease, beaten.lane);
    if let Some(phase) = &beaten.phase {
        text.push_str(&format!("{}\n", render::phase(phase, now)));
    }
    text.extend(beaten.halted.as_ref().map(render::halted));
    text
}

/// What the caller says of its phase, if anything.
fn phase_wish(args: &args::Heartbeat) -> Result<Option<PhaseWish>, Failure> {
    let budget = args.budget.as_deref().map(Span::parse).transpose();
    let budget = budget.map_err(|error| Failure::flag("--budget", error))?;
    if budget == Some(Span::ZERO) {
        let error = "no time at all is no phase; to be in none, say --phase none";
        return Err(Failure::flag("--budget", error));
    }
    Ok(match (args.phase, budget) {
        (None, _) => None,
        (Some(PhaseArg::Finalizing), budget) => {
            Some(PhaseWish::Enter(PhaseName::new("finalizing").expect("a short name"), budget))
        }
        (Some(PhaseArg::None), None) => Some(PhaseWish::Clear),
        (Some(PhaseArg::None), Some(_)) => {
            return Err(Failure::usage(
                "--budget goes with --phase finalizing",
                Some("lease-lane heartbeat LANE --phase finalizing --budget 5m".into()),
            ));
        }
    })
}

/// Asks as the owner about a lease of the owner; what is no answer of the lease's holder is a reply already.
fn ask<T>(
    context: &Context,
    which: &Which,
    talk: &mut dyn Write,
    verb: impl FnOnce(&mut Session<RealMachine<'_>>) -> Result<Result<T, Miss>, LeaseError>,
) -> Result<Result<T, Reply>, Failure> {
    let owner = context.owner()?;
    ask_of(context, which, &Expected::Caller(owner), talk, verb)
}

/// Whose lease the caller takes it to be.
pub(super) enum Expected {
    /// The caller's own.
    Caller(OwnerName),
    /// That of the one it is taken from.
    From(OwnerName),
}

/// Asks as the owner about a lease of whoever is expected to hold it.
pub(super) fn ask_of<T>(
    context: &Context,
    which: &Which,
    expected: &Expected,
    talk: &mut dyn Write,
    verb: impl FnOnce(&mut Session<RealMachine<'_>>) -> Result<Result<T, Miss>, LeaseError>,
) -> Result<Result<T, Reply>, Failure> {
    let owner = context.owner()?;
    let Some(disk) = context.look()? else { return Ok(Err(missed(which, expected, &Miss::NotHeld))) };
    // What follows is the end of the process, at which the kernel takes back files and memory at once.
    let disk = ManuallyDrop::new(disk);
    let mut session = ManuallyDrop::new(context.session_here(&disk, owner));
    let done = verb(&mut session);
    warn(talk, session.take_warnings());
    Ok(done?.map_err(|miss| missed(which, expected, &miss)))
}

pub(super) fn which(args: &args::Held) -> Result<(Which, Option<Fence>), Failure> {
    let which = named(args.lane.as_deref(), args.lease)?;
    let which = which.ok_or_else(|| Failure::usage("name a lane or a lease", Some("lease-lane live".into())));
    Ok((which?, fence(args.fence)?))
}

/// The lease that is named by lane or number, if any is.
pub(super) fn named(lane: Option<&str>, lease: Option<u64>) -> Result<Option<Which>, Failure> {
    let number = |n| LeaseId::new(n).ok_or_else(|| Failure::flag("--lease", "0 is no lease"));
    Ok(match (lane, lease) {
        (_, Some(n)) => Some(Which::Lease(number(n)?)),
        (Some(lane), None) => Some(Which::Lane(lane_name(lane)?)),
        (None, None) => None,
    })
}

pub(super) fn fence(n: Option<u64>) -> Result<Option<Fence>, Failure> {
    n.map(|n| Fence::new(n).ok_or_else(|| Failure::flag("--fence", "0 is no fence"))).transpose()
}

/// No, and why not.
pub(super) fn missed(which: &Which, expected: &Expected, miss: &Miss) -> Reply {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease: Option<LeaseId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fence: Option<Fence>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lane: Option<&'a LaneName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<&'a OwnerName>,
        /// Who ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a OwnerName>,
        /// Why somebody insisted on its end.
        #[serde(skip_serializing_if = "Option::is_none")]
        forced: Option<&'a Note>,
        hint: &'a str,
    }
    let (Expected::Caller(not) | Expected::From(not)) = expected;
    let (exit, outcome, reason) = match miss {
        Miss::NotHeld => (Exit::No, "not_held", format!("nobody holds {which}")),
        Miss::NotYours(lease) => (
            Exit::NotYours,
            "not_yours",
            match which {
                Which::Lane(_) => {
                    format!("{which} belongs to `{}` (lease {}), not to `{not}`", lease.owner, lease.lease)
                }
                Which::Lease(_) => format!("{which} belongs to `{}`, not to `{not}`", lease.owner),
            },
        ),
        Miss::Fenced(lease) => (
            Exit::NotYours,
            "fenced",
            format!("{which} has fence {} and belongs to `{}` by now", lease.fence, lease.owner),
        ),
        Miss::Expired(ended) => (Exit::NotYours, "expired", told_of(ended)),
    };
    let (lease, fence, lane, owner) = match miss {
        Miss::NotHeld => (None, None, None, None),
        Miss::NotYours(lease) | Miss::Fenced(lease) => {
            (Some(lease.lease), Some(lease.fence), Some(&lease.lane), Some(&lease.owner))
        }
        Miss::Expired(ended) => (Some(ended.lease), Some(ended.fence), Some(&ended.lane), Some(&ended.owner)),
    };
    let hint = match (miss, expected) {
        (Miss::Expired(_), _) => "lease-lane acquire (what it covered may have been changed by others since)",
        (Miss::NotYours(_), Expected::Caller(_)) => "lease-lane live; or ask as its owner: --owner NAME",
        (Miss::NotYours(_), Expected::From(_)) => {
            "lease-lane live; or name the one who holds it now: --from OWNER"
        }
        _ => "lease-lane live",
    };
    let (by, forced) = match miss {
        Miss::Expired(ended) => (ended.by.as_ref(), ended.forced.as_ref()),
        _ => (None, None),
    };
    let json = Json { outcome, reason: &reason, lease, fence, lane, owner, by, forced, hint };
    Reply::new(exit, &json, format!("{outcome}: {reason}\nhint: {hint}\n"))
}
