//! The rules, one function each, in the order in which they are asked.
//!
//! A rule looks at a claim and its surroundings. It refuses, or it lets the next one speak and names the leases that
//! have to end for it: those that no longer stand. It cannot grant (feature A12). A new rule is a new line in
//! [`RULES`] and in the table of docs/decisions.md.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::lease::Standing;
use crate::region::{Case, Entry, Region, Witness};
use crate::seq::LeaseId;
use crate::verdict::RefusalCode;

use super::Claim;
use super::meeting::{Hit, Meeting, Surroundings, pools};
use super::words::{self, Refused};

/// What ends if the claim is granted.
type Evictions<'a> = BTreeMap<LeaseId, Hit<'a>>;

/// A rule: `Err` refuses.
type Rule = for<'a, 'b> fn(&'b Surroundings<'a>, &mut Evictions<'a>) -> Result<(), Refused>;

/// The first that refuses is the one reported. What waiting cannot help comes first.
const RULES: [Rule; 8] = [
    parent_stands,
    nothing_protected,
    lane_is_free,
    nothing_runs_alone,
    idle_if_alone,
    region_is_free,
    pools_have_room,
    class_has_room,
];

/// Asks every rule; what has to end for the grant, by number.
pub(super) fn ask<'a>(around: &Surroundings<'a>) -> Result<Vec<Hit<'a>>, Refused> {
    let mut evictions = Evictions::new();
    for rule in RULES {
        rule(around, &mut evictions)?;
    }
    Ok(evictions.into_values().collect())
}

/// The protected path that is written because the request insists, if there is one.
pub(super) fn forced(around: &Surroundings<'_>) -> Option<String> {
    let force = around.question.request.force;
    protected(around).filter(|_| force).map(|witness| witness.to_string())
}

/// `PARENT_GONE`: the lease named as the parent lives and stands.
fn parent_stands<'a>(around: &Surroundings<'a>, _: &mut Evictions<'a>) -> Result<(), Refused> {
    let Some(parent) = around.question.request.parent else { return Ok(()) };
    let seen = around.question.live.get(parent).map(|lease| around.seen(lease, Meeting::default()));
    match seen {
        Some(hit) if hit.standing == Standing::Held => Ok(()),
        gone => Err(words::parent_gone(around, parent, gone.as_ref())),
    }
}

/// `PROTECTED`: nothing protected is written, unless the request insists.
fn nothing_protected<'a>(around: &Surroundings<'a>, _: &mut Evictions<'a>) -> Result<(), Refused> {
    match protected(around) {
        Some(witness) if !around.question.request.force => Err(words::protected(around, &witness)),
        _ => Ok(()),
    }
}

fn protected(around: &Surroundings<'_>) -> Option<Witness> {
    let written = &around.claim.tree;
    let policy = around.question.policy;
    // What the shell found aimed at is recorded as evidence; a lane of the ladder need not be the one that aims.
    let own = &around.question.evidence.protected;
    let aims = |path| written.entries().iter().any(|entry| super::aims_at(entry, path, policy.case));
    let aimed = own.entries().iter().filter(|path| aims(path));
    let aimed = aimed.filter_map(|path| {
        written.entries().iter().filter_map(|entry| entry.overlap(path, policy.case)).min()
    });
    let listed = &policy.protect.paths;
    written
        .overlap(listed, policy.case)
        .into_iter()
        .chain(taken_from(around.claim, listed, policy.case))
        .chain(aimed)
        .min()
}

/// The least of these pools of which the claim takes one. Two who name one pool do not overlap, since there are several
/// of it; and whoever reads it takes one as well.
fn taken_from(claim: &Claim, listed: &Region, case: Case) -> Option<Witness> {
    let taken = pools(claim);
    let is_taken = |entry: &&Entry| entry.pool_name().is_some_and(|pool| taken.contains(pool));
    let named = |entry: &Entry| Entry::every_lock().overlap(entry, case);
    listed.entries().iter().filter(is_taken).filter_map(named).min()
}

/// `LANE_HELD`: nobody else has the lane.
fn lane_is_free<'a>(around: &Surroundings<'a>, _: &mut Evictions<'a>) -> Result<(), Refused> {
    refuse_for(around, RefusalCode::LaneHeld, |hit| hit.meeting.same_lane)
}

/// `EXCLUSIVE_LIVE`: no lease that lives alone is there.
fn nothing_runs_alone<'a>(around: &Surroundings<'a>, _: &mut Evictions<'a>) -> Result<(), Refused> {
    refuse_for(around, RefusalCode::ExclusiveLive, |hit| hit.meeting.lease_alone)
}

/// `NEEDS_IDLE`: a lane that runs alone finds nobody.
fn idle_if_alone<'a>(around: &Surroundings<'a>, _: &mut Evictions<'a>) -> Result<(), Refused> {
    let alone = around.claim.exclusive;
    refuse_for(around, RefusalCode::NeedsIdle, |_| alone)
}

/// `REGION_CONFLICT`: no path is claimed in incompatible ways. Whatever else was met no longer stands and ends.
fn region_is_free<'a>(around: &Surroundings<'a>, evictions: &mut Evictions<'a>) -> Result<(), Refused> {
    refuse_for(around, RefusalCode::RegionConflict, |_| true)?;
    evictions.extend(around.met.iter().map(|hit| (hit.lease.lease, hit.clone())));
    Ok(())
}

/// Refuses if a lease of this kind holds; every lease that the claim meets is then named.
fn refuse_for(
    around: &Surroundings<'_>,
    code: RefusalCode,
    kind: impl Fn(&Hit<'_>) -> bool,
) -> Result<(), Refused> {
    let holds = |hit: &&Hit<'_>| hit.standing == Standing::Held && kind(hit);
    match around.met.iter().find(holds) {
        Some(hit) => Err(words::met(around, code, hit)),
        None => Ok(()),
    }
}

/// `POOL_FULL`: each pool has room for one more.
fn pools_have_room<'a>(around: &Surroundings<'a>, evictions: &mut Evictions<'a>) -> Result<(), Refused> {
    for pool in pools(around.claim) {
        let most = around.question.policy.capacity_of(&pool);
        make_room(around.in_pool(&pool), most, evictions).map_err(|full| {
            let text = format!("pool `{}` is full", crate::text::shown(&pool, 100));
            words::full(around, RefusalCode::PoolFull, &text, most, &full, Some(&format!("pool://{pool}")))
        })?;
    }
    Ok(())
}

/// `CLASS_FULL`: the class of the lane has room for one more.
fn class_has_room<'a>(around: &Surroundings<'a>, evictions: &mut Evictions<'a>) -> Result<(), Refused> {
    let Some(class) = &around.claim.class else { return Ok(()) };
    let Some(said) = around.question.policy.classes.get(class) else { return Ok(()) };
    make_room(around.in_class(class), said.max, evictions).map_err(|full| {
        let text = format!("class `{class}` is full");
        words::full(around, RefusalCode::ClassFull, &text, said.max, &full, None)
    })
}

/// Makes room for one more among at most `most`: as many as are too many and no longer stand end, oldest first.
/// `Err` with all of them when that is not enough.
fn make_room<'a>(
    members: Vec<Hit<'a>>,
    most: u32,
    evictions: &mut Evictions<'a>,
) -> Result<(), Vec<Hit<'a>>> {
    let stays = |hit: &&Hit<'a>| !hit.is_here || !evictions.contains_key(&hit.lease.lease);
    let n_staying = members.iter().filter(stays).count();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let n_too_many = n_staying.saturating_add(1).saturating_sub(most);
    let fallen = |hit: &&Hit<'a>| stays(hit) && hit.standing != Standing::Held;
    let ending: Vec<Hit<'a>> = members.iter().filter(fallen).take(n_too_many).cloned().collect();
    if ending.len() < n_too_many {
        return Err(members);
    }
    evictions.extend(ending.into_iter().map(|hit| (hit.lease.lease, hit)));
    Ok(())
}
