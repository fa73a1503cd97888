//! Stores with a long history, and with many live leases.

use super::{Roster, reading};
use crate::Answer;
use crate::lane::Lane;
use crate::store;
use crate::tools::peak;

pub(super) fn add(roster: &mut Roster<'_>) -> Answer<()> {
    for (name, records) in [("history-1e4", 10_000), ("history-1e6", 1_000_000)] {
        let long = records == 1_000_000;
        let others: &[&str] = if long { &["scan", "replay", "verify", "memory-1e6"] } else { &[] };
        if !roster.wants(name) && !roster.wants_any(others) {
            continue;
        }
        let lane = roster.lane(name)?;
        store::with_history(&lane, records)?;
        roster.add(name, acquires(&lane));
        if long {
            roster.add("memory-1e6", remembers(roster, &lane));
            reading::add(roster, &lane);
        }
    }
    for (name, leases) in [("among-100", 100), ("among-1e4", 10_000), ("among-1e5", 100_000)] {
        let most = leases == 100_000;
        let others: &[&str] = if most { &["memory-1e5"] } else { &[] };
        if !roster.wants(name) && !roster.wants_any(others) {
            continue;
        }
        let lane = roster.lane(name)?;
        store::with_leases(&lane, leases)?;
        roster.add(name, acquires(&lane));
        if most {
            roster.add("memory-1e5", remembers(roster, &lane));
        }
    }
    Ok(())
}

fn acquires<'a>(lane: &Lane<'a>) -> impl FnMut(usize) -> Answer<f64> + use<'a> {
    let lane = lane.clone();
    move |round| lane.acquire_timed(round)
}

fn remembers<'a>(roster: &Roster<'a>, lane: &Lane<'a>) -> impl FnMut(usize) -> Answer<f64> + use<'a> {
    let (tools, work, lane) = (roster.tools, roster.work, lane.clone());
    move |_| {
        let bytes = peak(tools, work, &lane.command(["acquire", "wanted", "--tree", "wanted/**"])?)?;
        lane.release("wanted")?;
        Ok(bytes)
    }
}
