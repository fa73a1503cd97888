//! What lease-lane is compared with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::Roster;
use crate::Answer;
use crate::process::{at_once, command, expect, timed};
use crate::tools;

/// The journal the floor reads is made new when it has grown to this.
const JOURNAL_BYTES: std::ops::Range<u64> = 16 * 1024..24 * 1024;

/// How many floors run at once.
const CROWD: usize = 64;

pub(super) fn add(roster: &mut Roster<'_>) -> Answer<()> {
    let (tools, work) = (roster.tools, roster.work);
    if roster.wants("floor") {
        let dir = work.sub("floor-dir")?;
        roster.add("floor", move |_| {
            let before = journal(&dir)?;
            let time = timed(command(&tools.floor, work)?.arg(&dir), 0, work)?;
            check(&dir, before)?;
            Ok(time)
        });
    }
    roster.add("hello", move |_| timed(&mut command(&tools.hello, work)?, 0, work));
    roster.add("hello-rust", move |_| timed(&mut command(&tools.hello_rust, work)?, 0, work));
    if roster.wants("flock") {
        if tools::is_installed("flock") {
            let file = work.dir.join("flock");
            roster.add("flock", move |_| timed(command("flock", work)?.arg(&file).arg("true"), 0, work));
        } else {
            roster.skip("flock", "flock(1) is missing".to_owned());
        }
    }
    if roster.wants("sqlite") {
        match tools::sqlite(work) {
            Ok(program) => sqlite(roster, program)?,
            Err(error) => roster.skip("sqlite", error.to_string()),
        }
    }
    if roster.wants("dos") {
        match tools::dos() {
            Ok(program) => dos(roster, program),
            Err(error) => roster.skip("dos", error.to_string()),
        }
    }
    if roster.wants("floor-64") {
        let dirs =
            (0..CROWD).map(|n| work.sub(&format!("floor-dir-{n}"))).collect::<Answer<Vec<PathBuf>>>()?;
        roster.add("floor-64", move |_| {
            let before = dirs.iter().map(|dir| journal(dir)).collect::<Answer<Vec<u64>>>()?;
            let mut commands = Vec::new();
            for dir in &dirs {
                let mut floor = command(&tools.floor, work)?;
                floor.arg(dir);
                commands.push(floor);
            }
            let ends = at_once(commands, work)?;
            ends.expect(CROWD, work)?;
            for (dir, before) in dirs.iter().zip(before) {
                check(dir, before)?;
            }
            ends.share()
        });
    }
    Ok(())
}

/// Makes the floor's journal new if it is missing or has grown, and gives its length.
fn journal(dir: &Path) -> Answer<u64> {
    let path = dir.join("journal");
    let bytes = fs::metadata(&path).map_or(0, |data| data.len());
    if JOURNAL_BYTES.contains(&bytes) {
        return Ok(bytes);
    }
    let text = format!("{}\n", "x".repeat(255)).repeat(64);
    fs::write(&path, &text)?;
    Ok(text.len() as u64)
}

fn check(dir: &Path, before: u64) -> Answer<()> {
    let after = fs::metadata(dir.join("journal"))?.len();
    if after != before + 300 || dir.join("lock").exists() {
        return Err(format!("the floor's journal grew from {before} to {after} bytes").into());
    }
    Ok(())
}

fn sqlite(roster: &mut Roster<'_>, program: PathBuf) -> Answer<()> {
    let work = roster.work;
    let db = work.sub("sqlite-dir")?.join("db");
    expect(command(&program, work)?.arg(&db).arg("make").status()?, 0, work)?;
    let mut rows = 0;
    roster.add("sqlite", move |_| {
        let time = timed(command(&program, work)?.arg(&db).arg("insert"), 0, work)?;
        rows += 1;
        // Whoever counts also makes a checkpoint as it leaves; now and then, as an insert would.
        if rows % 50 == 1 {
            let counted = command(&program, work)?.arg(&db).arg("count").stdout(Stdio::piped()).output()?;
            let counted: usize = String::from_utf8_lossy(&counted.stdout).trim().parse()?;
            if counted != rows {
                return Err(format!("SQLite has {counted} rows after {rows} inserts").into());
            }
        }
        Ok(time)
    });
    Ok(())
}

fn dos(roster: &mut Roster<'_>, program: PathBuf) {
    let work = roster.work;
    let dir = work.dir.join("dos-dir");
    roster.add("dos", move |round| {
        fs::create_dir_all(&dir)?;
        let dos = || -> Answer<std::process::Command> {
            let mut dos = command(&program, work)?;
            // It keeps an index of its workspaces beneath the home directory.
            dos.env("HOME", &dir).current_dir(&dir).arg("--workspace").arg(&dir).arg("lease-lane");
            Ok(dos)
        };
        let (lane, tree) = (format!("lane-{round}"), format!("src/round-{round}/**"));
        let mut acquire = dos()?;
        acquire.args(["acquire", "--lane", &lane, "--kind", "keyword", "--owner", "bench", "--tree", &tree]);
        let time = timed(&mut acquire, 0, work)?;
        let live = dos()?.arg("live").stdout(Stdio::piped()).output()?;
        let live: Value = serde_json::from_slice(&live.stdout)?;
        let held =
            live.as_array().is_some_and(|live| live.iter().any(|lease| lease["lane"] == lane.as_str()));
        if !held {
            return Err(format!("dos granted `{lane}`, and it does not live: {live}").into());
        }
        expect(dos()?.args(["release", "--owner", "bench", "--lane", &lane]).status()?, 0, work)?;
        Ok(time)
    });
}
