//! What the numbers were measured on.

use std::fs;
use std::path::Path;
use std::thread;

use arbiter::time::Timestamp;
use lease::clock::{Clock as _, SystemClock};

/// Gives facts about this machine and about the file system of `dir`, as names and values.
pub(crate) fn facts(dir: &Path) -> Vec<(&'static str, String)> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let mut facts = vec![
        ("date", Timestamp::from_unix_ms(SystemClock.wall_ms()).to_string()),
        ("load", format!("{} before the first row", load.join(" "))),
        ("cpus", cpus.to_string()),
        ("cpu", cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned())),
        ("kernel", format!("{} {}", std::env::consts::OS, kernel.trim())),
        ("file_system", file_system(dir).unwrap_or_else(|| "unknown".to_owned())),
    ];
    let running: usize = load.first().and_then(|load| load.split('.').next()?.parse().ok()).unwrap_or(0);
    if running >= cpus {
        let warning = "the machine was busy with something else: these times say little, measure again";
        eprintln!("bench: {warning}");
        facts.push(("warning", warning.to_owned()));
    }
    facts
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Finds the mount that `dir` is on: of those above it the longest, of equals the last.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut best: Option<(usize, String)> = None;
    for mount in mounts.lines() {
        let (front, back) = mount.split_once(" - ")?;
        let point = front.split(' ').nth(4)?.replace("\\040", " ");
        let mut back = back.split(' ');
        let (kind, device) = (back.next()?, back.next()?);
        if dir.starts_with(&point) && best.as_ref().is_none_or(|(len, _)| *len <= point.len()) {
            best = Some((point.len(), format!("{kind} on {device}")));
        }
    }
    best.map(|(_, text)| text)
}
