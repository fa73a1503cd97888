//! `sweep`.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use arbiter::name::{LaneName, OwnerName};
use arbiter::reap::Tier;
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::text::shown;
use arbiter::time::{Span, Timestamp};
use lease::clock::Clock;
use lease::session::{LeaseError, Sweeping, Swept, SweptLease};
use serde::Serialize;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::acquire::{lane_name, policy_of};
use super::{Ended, warn};
use crate::args::{self, Global};
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &args::Sweep,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<Ended, Failure> {
    let every = args.every.as_deref().map(Span::parse).transpose();
    let every = every.map_err(|error| Failure::flag("--every", error))?;
    // Without a policy of its own, a sweep (of a timer, say) goes by the one on record.
    let policy = match &context.place.policy {
        Some(_) => Some(policy_of(context, &context.root()?)?),
        None => None,
    };
    let lane = args.lane.as_deref().map(lane_name).transpose()?;
    let owner = context.owner()?;
    let sweeping = Sweeping { lane, dry_run: args.dry_run, policy };
    match every {
        None => once(context, &owner, &sweeping, talk).map(Ended::Replied),
        Some(Span::ZERO) => Err(Failure::flag("--every", "no time at all would never rest")),
        Some(every) => {
            let mut until = Signalled::new()?;
            loop {
                let text = match once(context, &owner, &sweeping, talk) {
                    Ok(reply) if global.json => reply.json + "\n",
                    Ok(reply) => reply.text,
                    Err(failure) if global.json => failure.json() + "\n",
                    Err(failure) => failure.lines(),
                };
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                    written => written.map_err(|error| Failure::output(&error))?,
                }
                if until.within(every)? {
                    break;
                }
            }
            Ok(Ended::Streamed(Exit::Yes))
        }
    }
}

fn once(
    context: &Context,
    owner: &OwnerName,
    sweeping: &Sweeping,
    talk: &mut dyn Write,
) -> Result<Reply, Failure> {
    let swept = match context.look()? {
        None => Swept::default(),
        Some(disk) => {
            let mut session = context.session(&disk, owner.clone());
            let swept = session.sweep(sweeping);
            warn(talk, session.take_warnings());
            swept?
        }
    };
    Ok(reply(swept, sweeping))
}

/// The end of a loop: a signal that asks to stop.
struct Signalled(UnixStream);

impl Signalled {
    fn new() -> Result<Signalled, Failure> {
        let failed = |error: std::io::Error| {
            Failure::because(&error, "io", format!("could not listen for signals: {error}"), None)
        };
        let (heard, told) = UnixStream::pair().map_err(failed)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            pipe::register(signal, told.try_clone().map_err(failed)?).map_err(failed)?;
        }
        Ok(Signalled(heard))
    }

    /// Waits for a signal, at most for `most`.
    fn within(&mut self, most: Span) -> Result<bool, Failure> {
        let failed = |error: std::io::Error| {
            Failure::because(&error, "io", format!("could not wait for signals: {error}"), None)
        };
        self.0.set_read_timeout(Some(Duration::from_millis(most.as_ms()))).map_err(failed)?;
        match self.0.read(&mut [0]) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            // The byte of the signal that interrupted us comes with the next look.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.within(most),
            Err(error) => Err(failed(error)),
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    dry_run: bool,
    reclaimed: Vec<LeaseJson<'a>>,
    deferred: Vec<LeaseJson<'a>>,
    kept: Vec<LeaseJson<'a>>,
    gone: Vec<LeaseJson<'a>>,
    failed: Vec<FailedJson>,
    /// What went wrong with the first of those that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct LeaseJson<'a> {
    lease: LeaseId,
    fence: Fence,
    lane: &'a LaneName,
    owner: &'a OwnerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    seq: Option<Seq>,
}

#[derive(Serialize)]
struct FailedJson {
    lease: LeaseId,
    error: serde_json::Value,
}

impl<'a> LeaseJson<'a> {
    fn new(swept: &'a SweptLease) -> LeaseJson<'a> {
        let SweptLease { lease, reason, seq } = swept;
        let (lane, owner) = (&lease.lane, &lease.owner);
        LeaseJson {
            lease: lease.lease,
            fence: lease.fence,
            lane,
            owner,
            tier: None,
            reason,
            until: None,
            seq: *seq,
        }
    }
}

fn reply(swept: Swept, sweeping: &Sweeping) -> Reply {
    let dry_run = sweeping.dry_run;
    let Swept { reclaimed, deferred, kept, gone, failed } = swept;
    let failed: Vec<(LeaseId, Failure)> =
        failed.into_iter().map(|(id, error): (LeaseId, LeaseError)| (id, error.into())).collect();
    let text = text(&reclaimed, &deferred, [&kept, &gone], &failed, sweeping);
    let (exit, outcome) = failed.first().map_or((Exit::Yes, "ok"), |(_, failure)| (failure.exit, "io"));
    let error_of = |failure: &Failure| serde_json::json!(failure)["error"].take();
    let json = Json {
        outcome,
        dry_run,
        reclaimed: reclaimed
            .iter()
            .map(|(lease, tier)| LeaseJson { tier: Some(*tier), ..LeaseJson::new(lease) })
            .collect(),
        deferred: deferred
            .iter()
            .map(|(lease, until)| LeaseJson { until: Some(*until), ..LeaseJson::new(lease) })
            .collect(),
        kept: kept.iter().map(LeaseJson::new).collect(),
        gone: gone.iter().map(LeaseJson::new).collect(),
        failed: failed
            .iter()
            .map(|(lease, failure)| FailedJson { lease: *lease, error: error_of(failure) })
            .collect(),
        error: failed.first().map(|(_, failure)| error_of(failure)),
    };
    Reply::new(exit, &json, text)
}

fn text(
    reclaimed: &[(SweptLease, Tier)],
    deferred: &[(SweptLease, Timestamp)],
    [kept, gone]: [&[SweptLease]; 2],
    failed: &[(LeaseId, Failure)],
    sweeping: &Sweeping,
) -> String {
    let line = |what: &str, SweptLease { lease, reason, .. }: &SweptLease, more: &str| {
        let (id, lane, owner) = (lease.lease, &lease.lane, &lease.owner);
        format!("{what} lease {id} · lane {lane} · owner {owner}{more}\n  {}\n", shown(reason, 500))
    };
    let now = Timestamp::from_unix_ms(CLOCK.wall_ms());
    let mut text = String::new();
    let ended = if sweeping.dry_run { "would end" } else { "ended" };
    for (lease, tier) in reclaimed {
        text.push_str(&line(ended, lease, &format!(" ({})", tier.as_str())));
    }
    for (lease, until) in deferred {
        text.push_str(&line("waits for", lease, &format!(" ({})", render::from_now(*until, now))));
    }
    for lease in kept {
        text.push_str(&line("kept", lease, ""));
    }
    for lease in gone {
        text.push_str(&line("left alone", lease, ""));
    }
    for (lease, failure) in failed {
        text.push_str(&format!("lease {lease} could not be swept\n{}", failure.lines()));
    }
    if text.is_empty() {
        text = match &sweeping.lane {
            Some(lane) => format!("lane `{lane}` holds no live lease\n"),
            None => "no lease is live\n".to_owned(),
        };
    }
    text
}
