//! The verbs, each as a fresh process on a store that exists and has no history to speak of.

use super::{Roster, lane};
use crate::Answer;
use crate::lane::Lane;
use crate::process::timed;

/// Who comes after the holder.
const RIVAL: &str = "rival";

pub(super) fn add(roster: &mut Roster<'_>) {
    let (tools, work) = (roster.tools, roster.work);
    // A new store for each go: what the rounds before have left must not count.
    let primed = move |row: &str, round: usize| -> Answer<Lane<'_>> {
        let lane = lane(tools, work, &format!("{row}-{round}"))?;
        lane.prime()?;
        Ok(lane)
    };
    let held = move |row: &str, round: usize| -> Answer<Lane<'_>> {
        let lane = primed(row, round)?;
        lane.acquire("held", "src/**")?;
        Ok(lane)
    };
    roster.add("acquire", move |round| primed("acquire", round)?.acquire_timed(round));
    roster.add("refuse", move |round| {
        let lane = held("refuse", round)?;
        let mut refused = lane.command_as(RIVAL, ["acquire", "wanted", "--tree", "src/api/*.rs"])?;
        let time = timed(&mut refused, 1, work)?;
        expect_population(&lane, 1)?;
        Ok(time)
    });
    roster.add("release", move |round| {
        let lane = held("release", round)?;
        let time = timed(&mut lane.command(["release", "held"])?, 0, work)?;
        expect_population(&lane, 0)?;
        Ok(time)
    });
    roster.add("heartbeat", move |round| {
        let lane = held("heartbeat", round)?;
        timed(&mut lane.command(["heartbeat", "held"])?, 0, work)
    });
    roster.add("check", move |round| {
        let lane = held("check", round)?;
        // The same question by somebody else is answered with no.
        timed(&mut lane.command_as(RIVAL, ["check", "src/api/login.rs"])?, 1, work)?;
        timed(&mut lane.command(["check", "src/api/login.rs"])?, 0, work)
    });
    roster.add("live", move |round| {
        let lane = held("live", round)?;
        let said = lane.json(&["live"])?;
        if said["leases"].as_array().map(Vec::len) != Some(1) {
            return Err(format!("one lease lives, and `live` says {said}").into());
        }
        timed(&mut lane.command(["live"])?, 0, work)
    });
    roster.add("run", move |round| {
        let lane = primed("run", round)?;
        timed(&mut lane.command(["run", "wanted", "--tree", "src/**", "--", "true"])?, 0, work)
    });
}

fn expect_population(lane: &Lane<'_>, leases: usize) -> Answer<()> {
    let (live, _) = lane.population()?;
    if live == leases { Ok(()) } else { Err(format!("{live} leases live instead of {leases}").into()) }
}
