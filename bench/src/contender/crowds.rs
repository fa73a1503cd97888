//! Many processes at once, and as many one after another.

use std::time::Instant;

use super::{Roster, Sample, lane};
use crate::Answer;
use crate::lane::Lane;
use crate::process::{at_once, expect};

/// How many acquires follow one another.
const SERIES: usize = 64;

pub(super) fn add(roster: &mut Roster<'_>) {
    let (tools, work) = (roster.tools, roster.work);
    roster.add("serial-64", move |round| {
        let lane = lane(tools, work, &format!("serial-{round}"))?;
        lane.prime()?;
        let mut acquires = Vec::new();
        for n in 0..SERIES {
            acquires.push(lane.command(["acquire", &format!("branch-{n}"), "--tree", &part(n)])?);
        }
        work.settle()?;
        let start = Instant::now();
        for mut acquire in acquires {
            expect(acquire.status()?, 0, work)?;
        }
        let time = start.elapsed();
        let (live, _) = lane.population()?;
        if live != SERIES {
            return Err(format!("{live} leases live after {SERIES} grants").into());
        }
        Ok(time.as_secs_f64() / f64::from(u32::try_from(SERIES)?))
    });
    for (disjoint, one, crowd) in
        [("disjoint-8", "one-8", 8), ("disjoint-64", "one-64", 64), ("disjoint-256", "one-256", 256)]
    {
        roster.add(disjoint, move |round| {
            contend(&lane(tools, work, &format!("{disjoint}-{round}"))?, crowd, crowd, part)
        });
        roster.add(one, move |round| {
            contend(&lane(tools, work, &format!("{one}-{round}"))?, crowd, 1, |_| "src/**".to_owned())
        });
    }
}

/// A region that no other number has.
fn part(n: usize) -> String {
    format!("src/part-{n}/**")
}

/// Starts a crowd of acquires at once and checks that `grants` of them were granted and are live.
fn contend(lane: &Lane<'_>, crowd: usize, grants: usize, tree: impl Fn(usize) -> String) -> Answer<Sample> {
    lane.prime()?;
    let mut commands = Vec::new();
    for n in 0..crowd {
        commands.push(lane.command(["acquire", &format!("branch-{n}"), "--tree", &tree(n)])?);
    }
    let ends = at_once(commands, lane.work)?;
    ends.expect(grants, lane.work)?;
    let (told, (live, _)) = (ends.granted(), lane.population()?);
    if live != told {
        return Err(format!("{told} processes were told that they hold a lease, {live} leases live").into());
    }
    Ok(Sample { value: ends.share()?, busy: ends.busy() })
}
