//! `replay`.

use std::ops::ControlFlow;

use arbiter::evidence::Liveness;
use arbiter::seq::Seq;
use arbiter::text::shown;
use arbiter::time::Timestamp;
use journal::history::{self, Difference, Redecider};
use journal::state::{State, Until};
use lease::clock::Clock;
use serde::Serialize;

use super::live::{LeaseJson, LiveJson};
use super::queue::WaiterJson;
use crate::args;
use crate::context::{CLOCK, Context};
use crate::exit::Exit;
use crate::render;
use crate::reply::{Failure, Reply};

/// Characters of a verdict that are shown to people.
const VERDICT_CHARS_MAX: usize = 4000;

pub(super) fn run(context: &Context, args: &args::Replay) -> Result<Reply, Failure> {
    let until = args.at.as_deref().map(until).transpose()?.unwrap_or(Until::Now);
    let disk = context.look()?;
    if args.verdicts {
        let mut redecider = Redecider::default();
        if let Some(disk) = &disk {
            history::walk(disk, |event| {
                if until.is_past(event.record.seq, event.record.ts) {
                    return ControlFlow::Break(());
                }
                redecider.take(event);
                ControlFlow::Continue(())
            })?;
        }
        return Ok(verdicts(&redecider));
    }
    let (state, seq) = match &disk {
        Some(disk) => history::state_at(disk, until)?,
        None => (State::default(), None),
    };
    Ok(live_set(&state, seq))
}

/// A record number or a time.
fn until(text: &str) -> Result<Until, Failure> {
    let hint = || Some("lease-lane replay --at 42, or --at 2026-11-21T14:03:00Z".to_owned());
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let seq = text.parse().ok().and_then(Seq::new);
        return seq.map(Until::Seq).ok_or_else(|| Failure::usage("--at: records begin at 1", hint()));
    }
    let time = Timestamp::parse(text);
    time.map(Until::Time)
        .ok_or_else(|| Failure::usage(format!("--at: `{text}` is neither a record nor a time"), hint()))
}

fn live_set(state: &State, seq: Option<Seq>) -> Reply {
    let json = LiveJson {
        outcome: "ok",
        seq: seq.map_or(0, Seq::get),
        leases: state.live.iter().map(|lease| LeaseJson::new(lease, Liveness::Unknown)).collect(),
        waiters: state.waiters.iter().map(WaiterJson::on_record).collect(),
        counters: None,
    };
    let now = Timestamp::from_unix_ms(CLOCK.wall_ms());
    let mut text = match seq {
        Some(seq) => {
            format!("after record {seq}, {} live\n", count(state.live.len(), "lease is", "leases are"))
        }
        None => "no record\n".to_owned(),
    };
    for lease in state.live.iter() {
        text.push_str(&render::lease(lease, "not looked at", now));
    }
    Reply::new(Exit::Yes, &json, text)
}

fn verdicts(redecider: &Redecider) -> Reply {
    #[derive(Serialize)]
    struct Json<'a> {
        outcome: &'a str,
        decisions: u64,
        forced: u64,
        differences: Vec<DifferenceJson<'a>>,
    }
    #[derive(Serialize)]
    struct DifferenceJson<'a> {
        seq: Seq,
        recorded: &'a str,
        decided: &'a str,
    }
    let found = &redecider.differences;
    let mut differences = Vec::new();
    for Difference { seq, recorded, decided } in found {
        differences.push(DifferenceJson { seq: *seq, recorded, decided });
    }
    let same = found.is_empty();
    let outcome = if same { "ok" } else { "differs" };
    let &Redecider { decisions, forced, .. } = redecider;
    let mut text = format!(
        "{} decided again, ",
        count(usize::try_from(decisions).unwrap_or(usize::MAX), "decision", "decisions")
    );
    text.push_str(if same { "every one identical to the byte\n" } else { "not all identical:\n" });
    if forced > 0 {
        text.push_str(&format!(
            "  by force: {forced} (what was seen is judged again, what an operator wanted is not)\n"
        ));
    }
    for Difference { seq, recorded, decided } in found {
        let [recorded, decided] = [recorded, decided].map(|verdict| shown(verdict, VERDICT_CHARS_MAX));
        text.push_str(&format!("  record {seq}\n    on record: {recorded}\n    now:       {decided}\n"));
    }
    Reply::new(
        if same { Exit::Yes } else { Exit::No },
        &Json { outcome, decisions, forced, differences },
        text,
    )
}

pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
