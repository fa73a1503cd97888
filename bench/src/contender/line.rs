//! A line of waiters for one region.

use std::time::Instant;

use super::{Roster, lane};
use crate::Answer;
use crate::process::{Crowd, expect, said};
use crate::roster::PATIENCE;
use crate::stats::Spread;
use crate::tools::{Tools, Work};

/// How many hand-overs of a line are timed: at its front it is as long as the row says.
const TIMED: usize = 8;

pub(super) fn add(roster: &mut Roster<'_>) {
    let (tools, work) = (roster.tools, roster.work);
    roster.add("hand-over-8", move |round| hand_over(tools, work, round, 8));
    roster.add("hand-over-200", move |round| hand_over(tools, work, round, 200));
}

/// The median of some hand-overs: from the start of a release to the end of the process that it lets in.
fn hand_over(tools: &Tools, work: &Work, round: usize, length: usize) -> Answer<f64> {
    let lane = lane(tools, work, &format!("hand-over-{length}-{round}"))?;
    lane.prime()?;
    lane.acquire("held", "src/**")?;
    let mut line = Crowd::default();
    for n in 0..length {
        let next = format!("next-{n}");
        line.0.push(lane.command(["acquire", &next, "--tree", "src/**", "--wait", "5m"])?.spawn()?);
        let start = Instant::now();
        while lane.population()?.1 <= n {
            if start.elapsed() > PATIENCE {
                return Err(format!("waiter {n} does not stand in the line{}", said(work)).into());
            }
            std::thread::yield_now();
        }
    }
    work.settle()?;
    let mut times = Vec::new();
    let mut holder = "held".to_owned();
    for (n, next) in line.0.iter_mut().enumerate().take(TIMED) {
        let mut release = lane.command(["release", &holder])?;
        let start = Instant::now();
        let released = release.status()?;
        let granted = next.wait()?;
        times.push(start.elapsed().as_secs_f64());
        expect(released, 0, work)?;
        expect(granted, 0, work)?;
        holder = format!("next-{n}");
    }
    let (live, waiting) = lane.population()?;
    if (live, waiting) != (1, length - TIMED) {
        return Err(format!("{live} leases live and {waiting} wait after {TIMED} hand-overs").into());
    }
    // Those who still wait are ended with the line.
    Ok(Spread::of(times).ok_or("a line has a front")?.median)
}
