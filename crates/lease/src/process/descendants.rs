//! Who descends from a process.

use std::collections::{HashMap, HashSet};

use super::here::{Here, ProcView};
use super::procfs::read_small;
use super::stat::Stat;

/// The children of a process that its first thread has; `None` where the kernel does not tell, or there are many.
pub(crate) fn children(pid: u32) -> Option<Vec<u32>> {
    let mut buffer = [0_u8; 1_024];
    let length = buffer.len();
    let list = read_small(&format!("/proc/{pid}/task/{pid}/children"), &mut buffer).ok()?;
    if list.len() == length {
        return None;
    }
    std::str::from_utf8(list).ok()?.split_ascii_whitespace().map(|child| child.parse().ok()).collect()
}

/// Everybody who descends from `pid` and has not ended, but for those in `except` (pid and start time) and whoever
/// descends from them. Nobody where `/proc` does not tell.
///
/// A walk through `/proc`: three system calls for each process.
pub(crate) fn descendants(pid: u32, except: &HashSet<(u32, u64)>) -> Vec<Stat> {
    if Here::this().proc_view() != ProcView::Ours {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let all = numbers.filter_map(|number| Stat::read(number).ok()).map(|stat| (stat.pid, stat)).collect();
    let mut found: Vec<Stat> = beneath(pid, &all, except).into_iter().cloned().collect();
    found.sort_by_key(|stat| stat.pid);
    found
}

fn beneath<'a>(pid: u32, all: &'a HashMap<u32, Stat>, except: &HashSet<(u32, u64)>) -> Vec<&'a Stat> {
    let descends = |stat: &&Stat| {
        let mut at = *stat;
        // They were not all read at one moment, so nothing forbids a circle.
        for _ in 0..all.len() {
            if except.contains(&(at.pid, at.start)) {
                return false;
            }
            if at.parent == pid {
                return true;
            }
            let Some(parent) = all.get(&at.parent) else { return false };
            at = parent;
        }
        false
    };
    all.values().filter(|stat| !stat.has_ended()).filter(descends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, state: char) -> (u32, Stat) {
        let line = format!("{pid} (x) {state} {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {} 0", pid * 10);
        (pid, Stat::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn who_descends_and_who_does_not() {
        let all: HashMap<u32, Stat> = [
            stat(1, 0, 'S'),
            stat(5, 1, 'S'),
            stat(6, 5, 'S'),
            stat(4, 6, 'T'),
            stat(7, 5, 'Z'),
            stat(8, 5, 'S'),
            stat(9, 8, 'S'),
            stat(10, 1, 'S'),
            stat(20, 21, 'S'),
            stat(21, 20, 'S'),
        ]
        .into();
        let found = |except: &[(u32, u64)]| {
            let except = except.iter().copied().collect();
            let mut found: Vec<u32> = beneath(5, &all, &except).iter().map(|stat| stat.pid).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found(&[]), [4, 6, 8, 9]);
        assert_eq!(found(&[(8, 80)]), [4, 6]);
        assert_eq!(found(&[(8, 81)]), [4, 6, 8, 9], "another process with its number");
    }

    #[test]
    fn a_child_of_ours_is_listed() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let found = descendants(std::process::id(), &HashSet::new());
        assert!(found.iter().any(|stat| stat.pid == child.id()), "{found:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
