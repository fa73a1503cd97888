//! Whether anything still runs in a process group.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use rustix::io::Errno;
use rustix::process::Pid;

use super::here::{Here, ProcView};
use super::judge::GroupSeen;
use super::stat::Stat;

/// How many walks are made at most before we say that we cannot tell.
const WALKS_MAX: u32 = 8;

/// Looks at the process group `number`, in our pid namespace.
///
/// One system call when it has no member; a walk through `/proc` (three for each process) while it has, because the
/// kernel counts those that have ended and wait to be reaped.
pub fn group(number: u32) -> GroupSeen {
    // Group 1 would be asked about by `kill(-1)`, which means everybody.
    let Some(pid) = i32::try_from(number).ok().filter(|&pid| 1 < pid).and_then(Pid::from_raw) else {
        return GroupSeen::Unclear;
    };
    let mut before = None;
    for _ in 0..WALKS_MAX {
        match rustix::process::test_kill_process_group(pid) {
            Err(Errno::SRCH) => return GroupSeen::Empty,
            Ok(()) | Err(Errno::PERM) => {}
            Err(_) => return GroupSeen::Unclear,
        }
        if Here::this().proc_view() != ProcView::Ours {
            return GroupSeen::Unclear;
        }
        match walk(number) {
            Members::Runs => return GroupSeen::Runs,
            Members::Unclear => return GroupSeen::Unclear,
            // One that runs may have forked behind our back and ended before we came by. Nothing that has ended
            // forks, so two walks that find the same ended ones, and at least one, have missed nobody.
            Members::Ended(found) => {
                if !found.is_empty() && before.as_ref() == Some(&found) {
                    return if hides_processes() { GroupSeen::Unclear } else { GroupSeen::Ended };
                }
                before = Some(found);
            }
        }
    }
    GroupSeen::Unclear
}

enum Members {
    /// One of them runs.
    Runs,
    /// These have all ended.
    Ended(BTreeSet<(u32, u64)>),
    /// `/proc` does not tell.
    Unclear,
}

fn walk(number: u32) -> Members {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Members::Unclear };
    let mut ended = BTreeSet::new();
    let mut hidden = false;
    for entry in entries {
        let Ok(entry) = entry else { return Members::Unclear };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        match Stat::read(pid) {
            Ok(stat) if stat.group != number => {}
            Ok(stat) if stat.has_ended() => {
                ended.insert((pid, stat.start));
            }
            Ok(_) => return Members::Runs,
            // It was reaped meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound || is(&error, Errno::SRCH) => {}
            Err(_) => hidden = true,
        }
    }
    if hidden { Members::Unclear } else { Members::Ended(ended) }
}

fn is(error: &std::io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether this `/proc` may be without the processes of others (`hidepid`), or we cannot tell.
fn hides_processes() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").map_or(true, |mounts| hides(&mounts))
}

/// The mount that covers `/proc` is the last one of that name.
fn hides(mounts: &str) -> bool {
    let of_proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let Some((_, options)) = of_proc.and_then(|line| line.rsplit_once(' ')) else { return true };
    let hidden =
        |option: &str| option.strip_prefix("hidepid=").is_some_and(|how| !matches!(how, "0" | "off"));
    options.split(',').any(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_proc_hides_somebody() {
        let line = |options: &str| format!("22 28 0:20 / /proc rw,nosuid - proc proc {options}\n");
        for (mounts, hidden) in [
            (line("rw"), false),
            (line("rw,hidepid=0"), false),
            (line("rw,hidepid=off"), false),
            (line("rw,hidepid=invisible"), true),
            (line("rw,gid=4,hidepid=2"), true),
            (line("rw,hidepid=2") + &line("rw"), false),
            (line("rw") + &line("rw,hidepid=ptraceable"), true),
            (line("rw") + "30 28 0:20 / /mnt/proc rw - proc proc rw,hidepid=2\n", false),
            (String::new(), true),
        ] {
            assert_eq!(hides(&mounts), hidden, "{mounts}");
        }
    }

    #[test]
    fn groups_that_are_never_asked_about() {
        for number in [0, 1, 1 << 31, u32::MAX] {
            assert_eq!(group(number), GroupSeen::Unclear, "{number}");
        }
    }
}
