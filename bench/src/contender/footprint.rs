//! Memory and size.

use super::{Roster, lane};
use crate::process::command;
use crate::tools::peak;

pub(super) fn add(roster: &mut Roster<'_>) {
    let (tools, work) = (roster.tools, roster.work);
    roster.add("memory-hello", move |_| peak(tools, work, &command(&tools.hello_rust, work)?));
    roster.add("memory", move |round| {
        let lane = lane(tools, work, &format!("memory-{round}"))?;
        lane.prime()?;
        let bytes = peak(tools, work, &lane.command(["acquire", "wanted", "--tree", "wanted/**"])?)?;
        lane.release("wanted")?;
        Ok(bytes)
    });
    roster.add("binary-hello", move |_| size(&tools.hello_rust));
    roster.add("binary", move |_| size(&tools.lease_lane));
}

fn size(path: &std::path::Path) -> crate::Answer<f64> {
    Ok(f64::from(u32::try_from(std::fs::metadata(path)?.len())?))
}
