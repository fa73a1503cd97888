//! What a sweep does about a lease: every row of `docs/reaper.md`, over every combination of what was seen of its
//! processes, how old its last beat is, which phase it is in and what the policy says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use arbiter::evidence::{ANOTHER_HOST, ClockReading, Liveness, Observation, ProcessIdentity, ProcessReport};
use arbiter::lease::{Lease, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::{Phase, PhaseName};
use arbiter::policy::{ForeignHost, Policy};
use arbiter::reap::{Fate, Kept, LOOKS_APART, Look, Tier, reap};
use arbiter::region::Region;
use arbiter::seq::{LeaseId, Seq};
use arbiter::time::{Span, Timestamp};

/// Late enough for a phase of more than a day.
const NOW_MS: u64 = 25 * 3600 * 1000;
/// Its grace is a tenth of it, as the policy has it by default.
const TTL: Span = Span::from_s(100);

/// What was seen of the processes, in the last look and in the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is bound to none.
    Unbound,
    Alive,
    Unknown,
    /// One is on another host; nothing is known of it.
    Elsewhere,
    /// Gone in the last look, and there was no look before.
    GoneOnce,
    /// Gone in the last look, alive in the one before.
    JustGone,
    GoneTwice,
    /// Gone in two looks that are too close to each other to count as two.
    GoneTwiceAtOnce,
    /// Gone in two looks of two boots, whose clocks say nothing about each other.
    GoneOverABoot,
    /// Gone in two looks, but the first is from before its second process was attached.
    GoneTwiceButAttached,
}

const SEEN: [Seen; 10] = [
    Seen::Unbound,
    Seen::Alive,
    Seen::Unknown,
    Seen::Elsewhere,
    Seen::GoneOnce,
    Seen::JustGone,
    Seen::GoneTwice,
    Seen::GoneTwiceAtOnce,
    Seen::GoneOverABoot,
    Seen::GoneTwiceButAttached,
];

/// How old the last beat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    Fresh,
    InGrace,
    Over,
}

const BEATS: [(Beat, Span); 5] = [
    (Beat::Fresh, Span::ZERO),
    (Beat::Fresh, TTL),
    (Beat::InGrace, Span::from_ms(100_001)),
    (Beat::InGrace, Span::from_s(110)),
    (Beat::Over, Span::from_ms(110_001)),
];

/// Which phase it is in: for how long, its budget and the policy's ceiling, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    None,
    Within(u64, Option<u64>, Option<u64>),
    Past(u64, Option<u64>, Option<u64>),
}

const PHASES: [In; 11] = [
    In::None,
    In::Within(0, Some(1), None),
    In::Within(60, Some(60), None),
    In::Past(61, Some(60), None),
    // Whichever is less counts.
    In::Within(30, Some(60), Some(30)),
    In::Past(31, Some(60), Some(30)),
    In::Past(31, Some(30), Some(60)),
    In::Past(31, None, Some(30)),
    In::Within(30, None, Some(30)),
    // Neither says anything: a day.
    In::Within(24 * 3600, None, None),
    In::Past(24 * 3600 + 1, Some(1_000_000), None),
];

#[derive(Clone, Copy, Debug)]
struct Case {
    seen: Seen,
    beat: Beat,
    age: Span,
    phase: In,
    foreign_host: ForeignHost,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for seen in SEEN {
        for (beat, age) in BEATS {
            for phase in PHASES {
                for foreign_host in [ForeignHost::Refuse, ForeignHost::Ttl, ForeignHost::Takeover] {
                    cases.push(Case { seen, beat, age, phase, foreign_host });
                }
            }
        }
    }
    cases
}

fn clock(up_ms: u64) -> ClockReading {
    ClockReading { boot: "boot".into(), up_ms }
}

fn wall(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + i64::try_from(ms).unwrap())
}

fn process(pid: u32) -> ProcessIdentity {
    ProcessIdentity { pid, start: 1, boot: "boot".into(), pidns: 1, host: "h".into(), role: None }
}

fn look(up_ms: u64, processes: &[ProcessIdentity], alive: Liveness, why: &str) -> Look {
    let report =
        |process: &ProcessIdentity| ProcessReport { process: process.clone(), alive, why: why.into() };
    let observed = Observation {
        lease: LeaseId::FIRST,
        alive: Liveness::of_all(processes.iter().map(|_| alive)),
        processes: processes.iter().map(report).collect(),
    };
    Look { clock: clock(up_ms), observed }
}

impl Case {
    fn lease(&self) -> Lease {
        let entered = |age_s: u64| NOW_MS - age_s * 1000;
        let phase = |age_s: u64, budget: Option<u64>| Phase {
            name: PhaseName::new("finalizing").unwrap(),
            since: wall(entered(age_s)),
            clock: Some(clock(entered(age_s))),
            budget: budget.map(Span::from_s),
            deferred_at: None,
        };
        let beat_at = NOW_MS - self.age.as_ms();
        let (lane, owner) = (LaneName::new("l").unwrap(), OwnerName::new("holder").unwrap());
        Lease {
            tree: Region::parse(["a"]).unwrap(),
            heartbeat_at: wall(beat_at),
            clock: Some(clock(beat_at)),
            processes: match self.seen {
                Seen::Unbound => Vec::new(),
                _ => vec![process(7), process(8)],
            },
            phase: match self.phase {
                In::None => None,
                In::Within(age_s, budget, _) | In::Past(age_s, budget, _) => {
                    Some(Box::new(phase(age_s, budget)))
                }
            },
            ..Lease::bare(Seq::FIRST, lane, owner, wall(0), TTL)
        }
    }

    fn policy(&self) -> Policy {
        let ceiling = match self.phase {
            In::None => None,
            In::Within(_, _, ceiling) | In::Past(_, _, ceiling) => ceiling.map(Span::from_s),
        };
        Policy { ceiling, foreign_host: self.foreign_host, ..Policy::default() }
    }

    fn looks(&self) -> (Option<Look>, Look) {
        let both = [process(7), process(8)];
        let (last_ms, earlier_ms) = (NOW_MS, NOW_MS - LOOKS_APART.as_ms());
        let gone = |up_ms: u64| look(up_ms, &both, Liveness::No, "gone");
        match self.seen {
            Seen::Unbound => (
                Some(look(earlier_ms, &[], Liveness::Unknown, "")),
                look(last_ms, &[], Liveness::Unknown, ""),
            ),
            Seen::Alive => (Some(gone(earlier_ms)), look(last_ms, &both, Liveness::Yes, "running")),
            Seen::Unknown => {
                (Some(gone(earlier_ms)), look(last_ms, &both, Liveness::Unknown, "another pid namespace"))
            }
            Seen::Elsewhere => (None, look(last_ms, &both, Liveness::Unknown, ANOTHER_HOST)),
            Seen::GoneOnce => (None, gone(last_ms)),
            Seen::JustGone => (Some(look(earlier_ms, &both, Liveness::Yes, "running")), gone(last_ms)),
            Seen::GoneTwice => (Some(gone(earlier_ms)), gone(last_ms)),
            Seen::GoneTwiceAtOnce => (Some(gone(earlier_ms + 1)), gone(last_ms)),
            Seen::GoneOverABoot => {
                let mut earlier = gone(earlier_ms);
                earlier.clock.boot = "the boot before".into();
                (Some(earlier), gone(last_ms))
            }
            Seen::GoneTwiceButAttached => {
                (Some(look(earlier_ms, &both[..1], Liveness::No, "gone")), gone(last_ms))
            }
        }
    }

    fn fate(&self) -> Fate {
        let (earlier, last) = self.looks();
        reap(&self.lease(), earlier.as_ref(), &last, &self.policy(), wall(NOW_MS))
    }

    fn is_gone(&self) -> bool {
        !matches!(self.seen, Seen::Unbound | Seen::Alive | Seen::Unknown | Seen::Elsewhere)
    }

    fn is_refused(&self) -> bool {
        self.seen == Seen::Elsewhere && self.foreign_host == ForeignHost::Refuse
    }

    fn is_past(&self) -> bool {
        matches!(self.phase, In::Past(..))
    }

    /// None of the rows that look at nothing else.
    fn is_open(&self) -> bool {
        self.seen != Seen::GoneTwice && !self.is_refused() && !self.is_past()
    }
}

/// A row of the table: which cases it is about, and what becomes of those.
type Row = (&'static str, fn(&Case) -> bool, fn(Fate) -> bool);

/// In the order of `docs/reaper.md`. Each case falls under exactly one.
const ROWS: [Row; 9] = [
    ("dead", |case| case.seen == Seen::GoneTwice, |fate| fate == Fate::Reclaim(Tier::Dead)),
    ("refused", Case::is_refused, |fate| fate == Fate::Keep(Kept::ForeignHost)),
    (
        "ceiling",
        |case| case.seen != Seen::GoneTwice && !case.is_refused() && case.is_past(),
        |fate| fate == Fate::Reclaim(Tier::Ceiling),
    ),
    (
        "gone once",
        |case| case.is_open() && case.beat != Beat::Over && case.is_gone(),
        |fate| fate == Fate::Keep(Kept::DeadOnce),
    ),
    (
        "fresh",
        |case| case.is_open() && case.beat == Beat::Fresh && !case.is_gone(),
        |fate| fate == Fate::Keep(Kept::WithinTtl),
    ),
    (
        "grace",
        |case| case.is_open() && case.beat == Beat::InGrace && !case.is_gone(),
        |fate| fate == Fate::Keep(Kept::WithinGrace),
    ),
    (
        "winding up",
        |case| case.is_open() && case.beat == Beat::Over && !case.is_gone() && case.phase != In::None,
        |fate| matches!(fate, Fate::Defer { .. }),
    ),
    (
        "alive",
        |case| {
            case.is_open() && case.beat == Beat::Over && case.seen == Seen::Alive && case.phase == In::None
        },
        |fate| fate == Fate::Keep(Kept::Alive),
    ),
    (
        "exited",
        |case| {
            let nobody = !case.is_gone() && case.seen != Seen::Alive && case.phase == In::None;
            case.is_open() && case.beat == Beat::Over && (case.is_gone() || nobody)
        },
        |fate| fate == Fate::Reclaim(Tier::Exited),
    ),
];

#[track_caller]
fn check(row: &str) {
    let (_, applies, is_right) = ROWS.iter().find(|(name, ..)| *name == row).unwrap();
    let cases: Vec<Case> = cases().into_iter().filter(applies).collect();
    assert!(cases.len() >= 3, "{} cases of `{row}`", cases.len());
    for case in cases {
        assert!(is_right(case.fate()), "{case:?}: {:?}", case.fate());
    }
}

#[test]
fn gone_in_two_looks_it_is_dead_whatever_its_time_and_its_phase() {
    check("dead");
}

#[test]
fn on_another_host_it_is_kept_where_the_policy_refuses() {
    check("refused");
}

#[test]
fn past_its_ceiling_neither_beats_nor_processes_nor_the_phase_count() {
    check("ceiling");
}

#[test]
fn gone_in_one_look_and_within_its_time_it_is_looked_at_again() {
    check("gone once");
}

#[test]
fn within_its_ttl_it_is_kept() {
    check("fresh");
}

#[test]
fn within_its_grace_it_is_kept() {
    check("grace");
}

#[test]
fn past_its_time_and_winding_up_it_is_put_off() {
    check("winding up");
}

#[test]
fn past_its_time_and_seen_alive_it_is_kept() {
    check("alive");
}

#[test]
fn past_its_time_with_nobody_seen_alive_or_winding_up_it_is_reclaimed() {
    check("exited");
}

#[test]
fn every_case_falls_under_exactly_one_row() {
    let cases = cases();
    assert_eq!(cases.len(), SEEN.len() * BEATS.len() * PHASES.len() * 3);
    for case in cases {
        let rows: Vec<&str> =
            ROWS.iter().filter(|(_, applies, _)| applies(&case)).map(|(name, ..)| *name).collect();
        assert_eq!(rows.len(), 1, "{case:?}: {rows:?}");
    }
}

/// What holds whatever the table says.
#[test]
fn laws_that_no_row_breaks() {
    for case in cases() {
        let (fate, lease, policy) = (case.fate(), case.lease(), case.policy());
        let (_, last) = case.looks();
        let standing = lease.standing_under(&policy, Some(&last.observed), wall(NOW_MS), &last.clock);
        if let Fate::Reclaim(tier) = fate {
            // Nobody is reclaimed whom one who needs the place could not evict, but by the ceiling of its own phase.
            assert!(standing != Standing::Held || tier == Tier::Ceiling, "{case:?}");
            assert!(tier != Tier::Ceiling || lease.phase.is_some(), "{case:?}");
            // Unknown is never dead.
            assert!(tier != Tier::Dead || last.observed.alive == Liveness::No, "{case:?}");
            // Alive ends by its ceiling only.
            assert!(last.observed.alive != Liveness::Yes || tier == Tier::Ceiling, "{case:?}");
        }
        if let Fate::Defer { until } = fate {
            let phase = lease.phase.as_ref().unwrap();
            assert_eq!(until, phase.since.plus(phase.ceiling(&policy)), "{case:?}");
            assert!(until >= wall(NOW_MS), "{case:?}");
            assert_ne!(last.observed.alive, Liveness::No, "{case:?}");
        }
        // A fresh beat changes nothing about a death or a ceiling, and keeps everything else.
        let fresh = Case { beat: Beat::Fresh, age: Span::ZERO, ..case }.fate();
        match fate {
            Fate::Reclaim(Tier::Dead | Tier::Ceiling) => assert_eq!(fresh, fate, "{case:?}"),
            _ => assert!(matches!(fresh, Fate::Keep(_)), "{case:?}: {fresh:?}"),
        }
        // Without the phase it would never be put off.
        let plain = Case { phase: In::None, ..case }.fate();
        assert!(!matches!(plain, Fate::Defer { .. } | Fate::Reclaim(Tier::Ceiling)), "{case:?}: {plain:?}");
    }
}

#[test]
fn the_ceiling_goes_by_the_boot_time_clock_within_a_boot_and_by_the_wall_across() {
    let case = Case {
        seen: Seen::Alive,
        beat: Beat::Over,
        age: Span::from_s(1_000),
        phase: In::Within(60, Some(60), None),
        foreign_host: ForeignHost::Ttl,
    };
    let (lease, policy, (_, last)) = (case.lease(), case.policy(), case.looks());
    let year = 365 * 24 * 3600 * 1000;
    assert!(matches!(reap(&lease, None, &last, &policy, wall(NOW_MS + year)), Fate::Defer { .. }));
    let mut elsewhen = last;
    elsewhen.clock.boot = "another boot".into();
    assert!(matches!(reap(&lease, None, &elsewhen, &policy, wall(NOW_MS)), Fate::Defer { .. }));
    let late = reap(&lease, None, &elsewhen, &policy, wall(NOW_MS + year));
    assert_eq!(late, Fate::Reclaim(Tier::Ceiling));
}

#[test]
fn to_enter_a_phase_again_restarts_nothing_and_may_change_the_budget() {
    let name = PhaseName::new("finalizing").unwrap();
    let enter = |before: Option<&Phase>, budget: Option<u64>, at_s: u64| {
        Phase::entered(before, &name, budget.map(Span::from_s), wall(at_s * 1000), &clock(at_s * 1000))
    };
    let mut first = enter(None, Some(60), 5);
    assert_eq!((first.since, &first.clock), (wall(5_000), &Some(clock(5_000))));
    first.deferred_at = Some(wall(7_000));
    assert_eq!(enter(Some(&first), None, 50), first);
    let longer = enter(Some(&first), Some(600), 50);
    assert_eq!(longer, Phase { budget: Some(Span::from_s(600)), ..first.clone() });
    let other = Phase::entered(Some(&first), &PhaseName::new("other").unwrap(), None, wall(9), &clock(9));
    assert_eq!((other.since, other.budget, other.deferred_at), (wall(9), None, None));
}

#[test]
fn the_policy_may_keep_the_time_of_another_host_from_ending_a_lease_for_everybody() {
    for case in cases().into_iter().filter(|case| case.seen == Seen::Elsewhere && case.beat == Beat::Over) {
        let (_, last) = case.looks();
        let standing =
            case.lease().standing_under(&case.policy(), Some(&last.observed), wall(NOW_MS), &last.clock);
        let expected =
            if case.foreign_host == ForeignHost::Refuse { Standing::Held } else { Standing::Expired };
        assert_eq!(standing, expected, "{case:?}");
    }
}
