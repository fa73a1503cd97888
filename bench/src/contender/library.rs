//! The library in long-lived processes, and the decision alone.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use arbiter::decide::{Question, arbitrate, contenders};
use arbiter::evidence::Evidence;
use arbiter::lease::{Lease, LiveSet};
use arbiter::policy::Policy;
use arbiter::queue::NOBODY;
use arbiter::seq::Seq;
use arbiter::time::Timestamp;
use arbiter::verdict::Verdict;
use journal::disk::RealDisk;
use lease::clock::{Clock as _, SystemClock};

use super::{Roster, lane};
use crate::Answer;
use crate::lane::{acquire, release, request, session};
use crate::process::{at_once, command};
use crate::tools::{Tools, Work};

/// How many pairs one process makes.
const PAIRS: usize = 200;

pub(super) fn add(roster: &mut Roster<'_>) -> Answer<()> {
    let (tools, work) = (roster.tools, roster.work);
    roster.add("library-1", move |round| in_processes(tools, work, round, 1));
    roster.add("library-8", move |round| in_processes(tools, work, round, 8));
    for (name, leases, times) in
        [("decide-100", 100, 200), ("decide-1e4", 10_000, 50), ("decide-1e5", 100_000, 5)]
    {
        if roster.wants(name) {
            let live = live_set(leases)?;
            roster.add(name, move |round| decide(&live, round, times));
        }
    }
    Ok(())
}

/// What one of the long-lived processes does: so many leases, each taken and given back.
pub(crate) fn pairs(store: &Path, name: &str, pairs: usize) -> Answer<()> {
    let disk = RealDisk::open_or_create(store)?;
    let mut session = session(&disk)?;
    for turn in 0..pairs {
        acquire(&mut session, name, &format!("{name}/{turn}/**"))?;
        release(&mut session, name)?;
    }
    Ok(())
}

fn in_processes(tools: &Tools, work: &Work, round: usize, processes: usize) -> Answer<f64> {
    let lane = lane(tools, work, &format!("library-{processes}-{round}"))?;
    lane.prime()?;
    let mut commands = Vec::new();
    for n in 0..processes {
        let mut library = command(std::env::current_exe()?, work)?;
        library.arg("--library").arg(&lane.store).arg(format!("worker-{n}")).arg(PAIRS.to_string());
        commands.push(library);
    }
    let ends = at_once(commands, work)?;
    ends.expect(processes, work)?;
    let counters = lane.json(&["live"])?;
    let grants = counters["counters"]["grants"].as_u64();
    // One more made the store.
    if grants != Some(u64::try_from(processes * PAIRS + 1)?) {
        return Err(
            format!("{processes} processes took {PAIRS} leases each, and `live` says {counters}").into()
        );
    }
    Ok(ends.share()? / f64::from(u32::try_from(PAIRS)?))
}

fn live_set(leases: u32) -> Answer<LiveSet> {
    let now = now();
    let mut live = LiveSet::default();
    for n in 1..=leases {
        let request = request(&format!("branch-{n}"), &format!("src/part-{n}/**"))?;
        let seq = Seq::new(n.into()).ok_or("numbers begin with 1")?;
        let lane = request.lane_name();
        let ttl = Policy::default().ttl_of(&lane);
        let lease = Lease {
            tree: request.tree,
            clock: Some(SystemClock.reading()),
            ..Lease::bare(seq, lane, request.owner, now, ttl)
        };
        live.insert(lease).map_err(|lease| format!("{lease} cannot live"))?;
    }
    Ok(live)
}

/// What is asked of the arbiter for a grant: whom to look at, and the verdict.
fn decide(live: &LiveSet, round: usize, times: u32) -> Answer<f64> {
    let request = request("wanted", &format!("src/wanted-{round}/**"))?;
    let policy = Policy::default();
    let evidence = Evidence::at(SystemClock.reading());
    let now = now();
    let start = Instant::now();
    for _ in 0..times {
        let seen = contenders(black_box(&request), live, &policy);
        let question =
            Question { request: &request, live, waiters: &NOBODY, policy: &policy, evidence: &evidence, now };
        let verdict = arbitrate(black_box(question));
        if !matches!(black_box(&verdict), Verdict::Grant(_)) || !seen.is_empty() {
            return Err(format!("nothing is in the way, and the verdict is {verdict:?}").into());
        }
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(times))
}

fn now() -> Timestamp {
    Timestamp::from_unix_ms(SystemClock.wall_ms())
}
