//! What a sweep does about one lease: keep it, put it off, or reclaim it, and why.
//!
//! Nobody needs the place of a lease that is swept, so more is asked than of an eviction by one who does: a death is
//! seen twice, and a holder that said it is winding up is waited for. `docs/reaper.md` has the table.

use alloc::format;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::evidence::{ClockReading, Liveness, Observation, ProcessIdentity};
use crate::lease::{Lease, Standing};
use crate::phase::Phase;
use crate::policy::{ForeignHost, Policy};
use crate::time::{Span, Timestamp};

/// How far apart two looks must be so that they count as two: long enough for a supervisor that has just been
/// replaced to attach what comes after it.
pub const LOOKS_APART: Span = Span::from_ms(200);

/// One look at the processes of a lease, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The boot-time clock of the one who looked.
    pub clock: ClockReading,
    /// What was seen.
    pub observed: Observation,
}

/// By which rule a lease is reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// All its processes are provably gone, seen twice in a row.
    Dead,
    /// Its TTL and grace are over, and nobody is seen alive or winding up.
    Exited,
    /// It is in a phase for longer than that may take. The phase, its beats and its processes no longer count.
    Ceiling,
}

impl Tier {
    /// Spells the tier as records print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Dead => "dead",
            Tier::Exited => "exited",
            Tier::Ceiling => "ceiling",
        }
    }

    /// What the former holder is told of its lease.
    pub fn standing(self) -> Standing {
        match self {
            Tier::Dead => Standing::Dead,
            Tier::Exited | Tier::Ceiling => Standing::Expired,
        }
    }
}

/// Why a lease is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// A process of it is seen alive.
    Alive,
    /// Its last beat is younger than its TTL.
    WithinTtl,
    /// Its last beat is younger than TTL and grace.
    WithinGrace,
    /// All its processes are gone, but only one look says so.
    DeadOnce,
    /// A process of it is on another host, and the policy forbids to take such a lease.
    ForeignHost,
}

impl Kept {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Kept::Alive => "a process of it is alive",
            Kept::WithinTtl => "its last beat is younger than its time to live",
            Kept::WithinGrace => "its time to live is over and its grace is not",
            Kept::DeadOnce => "its processes are gone, which has been seen only once",
            Kept::ForeignHost => {
                "a process of it is on another host, and the policy says `foreign_host = \"refuse\"`"
            }
        }
    }
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep(Kept),
    /// Its time is over, but it is winding up and may do so until then.
    Defer {
        /// When its ceiling is reached, by the wall clock: for people.
        until: Timestamp,
    },
    /// It ends.
    Reclaim(Tier),
}

impl Fate {
    /// The fate in one word, as re-decisions compare it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Keep(_) => "kept",
            Fate::Defer { .. } => "deferred",
            Fate::Reclaim(tier) => tier.as_str(),
        }
    }

    /// Why, in words, for a lease in `phase`.
    pub fn reason(self, phase: Option<&Phase>) -> String {
        let name = phase.map_or("phase", |phase| phase.name.as_str());
        match self {
            Fate::Keep(kept) => kept.as_str().into(),
            Fate::Defer { until } => format!("it is {name} and may be until {until}"),
            Fate::Reclaim(Tier::Dead) => "all its processes are gone, seen twice in a row".into(),
            Fate::Reclaim(Tier::Exited) => "its time and its grace are over and nobody is seen alive".into(),
            Fate::Reclaim(Tier::Ceiling) => {
                let since = phase.map_or(Timestamp::MIN, |phase| phase.since);
                format!("it is {name} since {since}, which is longer than it may be")
            }
        }
    }
}

/// Decides about one lease by the last look and, where there was one, the look before it.
///
/// The clock of the last look is that of the decision. Unknown is never dead: what cannot be probed ends by its time
/// or by its ceiling.
pub fn reap(lease: &Lease, earlier: Option<&Look>, last: &Look, policy: &Policy, now: Timestamp) -> Fate {
    let alive = alive_in(lease, &last.observed);
    let twice = earlier.is_some_and(|earlier| {
        alive_in(lease, &earlier.observed) == Liveness::No && are_two_looks(&earlier.clock, &last.clock)
    });
    if alive == Liveness::No && twice {
        return Fate::Reclaim(Tier::Dead);
    }
    let is_elsewhere = alive == Liveness::Unknown && last.observed.is_elsewhere();
    if is_elsewhere && policy.foreign_host == ForeignHost::Refuse {
        return Fate::Keep(Kept::ForeignHost);
    }
    if let Some(phase) = &lease.phase
        && phase.age(now, &last.clock) > phase.ceiling(policy)
    {
        return Fate::Reclaim(Tier::Ceiling);
    }
    let age = lease.age(now, &last.clock);
    let is_over = age > lease.ttl.plus(policy.grace_of(lease));
    match (is_over, alive, &lease.phase) {
        (false, Liveness::No, _) => Fate::Keep(Kept::DeadOnce),
        (false, ..) if age > lease.ttl => Fate::Keep(Kept::WithinGrace),
        (false, ..) => Fate::Keep(Kept::WithinTtl),
        (true, Liveness::Yes | Liveness::Unknown, Some(phase)) => Fate::Defer { until: phase.until(policy) },
        (true, Liveness::Yes, None) => Fate::Keep(Kept::Alive),
        (true, Liveness::Unknown, None) | (true, Liveness::No, _) => Fate::Reclaim(Tier::Exited),
    }
}

/// What a look says of the processes that the lease has now. They are gone only if the look reports each of them gone: a
/// look from before one of them was attached proves nothing.
fn alive_in(lease: &Lease, seen: &Observation) -> Liveness {
    let gone = |process: &ProcessIdentity| {
        seen.processes.iter().any(|report| report.process == *process && report.alive == Liveness::No)
    };
    let all_gone = !lease.processes.is_empty() && lease.processes.iter().all(gone);
    match seen.alive {
        Liveness::No if !all_gone || seen.lease != lease.lease => Liveness::Unknown,
        alive => alive,
    }
}

fn are_two_looks(earlier: &ClockReading, last: &ClockReading) -> bool {
    earlier.boot == last.boot && last.up_ms.saturating_sub(earlier.up_ms) >= LOOKS_APART.as_ms()
}
