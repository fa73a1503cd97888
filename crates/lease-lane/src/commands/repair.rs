//! `repair`.

use arbiter::lease::Lease;
use arbiter::seq::LeaseId;
use journal::repair::{Plan, REPAIR_OWNER};
use journal::{Damage, DamageClass};
use serde::Serialize;

use super::verify::DamageJson;
use crate::args;
use crate::context::Context;
use crate::exit::Exit;
use crate::reply::{Failure, Reply};

#[derive(Serialize)]
struct Json<'a> {
    outcome: &'a str,
    repaired: bool,
    damage: Vec<DamageJson<'a>>,
    /// The last record before the damage of the active segment.
    last_good: Option<u64>,
    /// The highest number that may have been given out.
    highest: Option<u64>,
    kept: Vec<LeaseId>,
    found: Vec<LeaseId>,
    moved_aside: Vec<&'a str>,
    hint: Option<String>,
}

pub(super) fn run(context: &Context, args: &args::Repair) -> Result<Reply, Failure> {
    let nothing = || {
        let json = Json {
            outcome: "ok",
            repaired: false,
            damage: Vec::new(),
            last_good: None,
            highest: None,
            kept: Vec::new(),
            found: Vec::new(),
            moved_aside: Vec::new(),
            hint: None,
        };
        Reply::new(Exit::Yes, &json, "nothing is damaged\n")
    };
    let Some(disk) = context.look()? else { return Ok(nothing()) };
    let mut session = context.session(&disk, context.owner()?);
    let plan = if args.yes { session.repair()? } else { session.plan_repair()? };
    Ok(plan.map_or_else(nothing, |plan| reply(&plan, args.yes)))
}

fn reply(plan: &Plan, done: bool) -> Reply {
    let active = plan.active.as_ref();
    let ids = |leases: &[Lease]| leases.iter().map(|lease| lease.lease).collect::<Vec<_>>();
    let mut moved_aside: Vec<&str> = plan.history.iter().map(String::as_str).collect();
    moved_aside.extend(active.map(|active| active.damage.file.as_str()));
    let hint = if !done {
        "lease-lane repair --yes"
    } else if active.is_none() {
        "lease-lane verify"
    } else {
        "lease-lane live; when nobody works on what was lost: lease-lane release --lease N --owner 'lease-lane repair'"
    };
    let json = Json {
        outcome: if done { "ok" } else { "damaged" },
        repaired: done,
        damage: plan.damage.iter().map(DamageJson::from).collect(),
        last_good: active.map(|active| active.last_good),
        highest: active.map(|active| active.highest),
        kept: active.map_or_else(Vec::new, |active| ids(&active.kept)),
        found: active.map_or_else(Vec::new, |active| ids(&active.found)),
        moved_aside: moved_aside.clone(),
        hint: Some(hint.into()),
    };
    let (would, verb) = if done { ("", "repaired") } else { ("would be ", "damaged") };
    let mut text = format!("{verb}:\n");
    for damage in &plan.damage {
        text.push_str(&format!("  {damage}\n"));
    }
    for file in moved_aside {
        let is_gone = |damage: &Damage| {
            damage.file == file
                && matches!(damage.class, DamageClass::SegmentMissing | DamageClass::HistoryMissing)
        };
        let done = if plan.damage.iter().any(is_gone) { "put on record as lost" } else { "moved aside" };
        text.push_str(&format!("{would}{done}: {file}\n"));
    }
    if let Some(active) = active {
        // Where not even the root can be read, what came before it is in the segment before.
        let first = (active.last_good + 1).max(active.root.get());
        let last = active.highest.max(first);
        let which =
            if first == last { format!("record {first}") } else { format!("records {first} to {last}") };
        text.push_str(&format!("{which} {would}lost, as far as they cannot be read\n"));
        for (leases, what) in [(&active.kept, "kept"), (&active.found, "kept, found behind the damage")] {
            for lease in leases {
                text.push_str(&format!("{would}{what}: {lease}\n"));
            }
        }
        text.push_str(&format!(
            "everything {would}held by `{REPAIR_OWNER}` until released or expired, in place of what cannot be read\n"
        ));
    }
    text.push_str(&format!("hint: {hint}\n"));
    Reply::new(if done { Exit::Yes } else { Exit::Damaged }, &json, text)
}
