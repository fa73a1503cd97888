//! Where this process is: host, boot and namespaces, each read at most once.

use std::sync::OnceLock;

use super::procfs::{namespace_inode, read_small};
use super::stat::Stat;

/// Inode of the time namespace every kernel starts with (`PROC_TIME_INIT_INO`).
const INITIAL_TIME_NAMESPACE: u64 = 4_026_531_834;

/// How many hex digits of the machine id go into a host name: 48 random bits tell machines apart, and the whole
/// id is not to be spread (`machine-id(5)`).
const MACHINE_ID_DIGITS: usize = 12;

/// The place a process id counts in, read lazily and kept: none of it changes while a process runs.
///
/// [`Here::this`] is the one of this process. [`Here::fixed`] makes one up for tests and simulators.
///
/// ```
/// use lease::process::Here;
///
/// let here = Here::this();
/// assert!(here.host().starts_with(here.nodename()));
/// ```
#[derive(Debug, Default)]
pub struct Here {
    nodename: OnceLock<String>,
    host: OnceLock<String>,
    domain: OnceLock<Option<String>>,
    pidns: OnceLock<Option<u64>>,
    proc_view: OnceLock<ProcView>,
}

/// Whose pids `/proc` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcView {
    /// Those of our own pid namespace: `/proc/PID` and `kill(PID)` mean the same process.
    Ours,
    /// Those of another one (`unshare -pf` without `--mount-proc`): `/proc/PID` is somebody else.
    Foreign,
    /// None that we can read.
    Unreadable,
}

impl Here {
    /// The place of this process.
    pub fn this() -> &'static Here {
        static HERE: OnceLock<Here> = OnceLock::new();
        HERE.get_or_init(Here::default)
    }

    /// A made-up place: `domain` is a clock domain as [`Here::domain`] describes it.
    pub fn fixed(host: &str, domain: &str, pidns: u64) -> Here {
        Here {
            nodename: OnceLock::from(host.split('/').next().unwrap_or(host).to_owned()),
            host: OnceLock::from(host.to_owned()),
            domain: OnceLock::from(Some(domain.to_owned())),
            pidns: OnceLock::from(Some(pidns)),
            proc_view: OnceLock::from(ProcView::Ours),
        }
    }

    /// The machine's name as `uname -n` prints it. One system call, once.
    pub fn nodename(&self) -> &str {
        self.nodename.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    /// The host: nodename, then `/` and the first 12 hex digits of `/etc/machine-id` where there is one, such as
    /// `vm/3d1219c7c4c5`. Four system calls, once.
    ///
    /// Two containers may share a nodename, two clones of one image a machine id; both together are rare, and
    /// nothing in the journal's safety rests on it. Without the second half two places of equal nodename cannot
    /// be told apart: [`judge`](super::judge()) then trusts the boot id only as far as it goes.
    pub fn host(&self) -> &str {
        self.host.get_or_init(|| {
            let mut buffer = [0_u8; 64];
            let machine_id = read_small("/etc/machine-id", &mut buffer).ok().and_then(short_machine_id);
            match machine_id {
                Some(id) => format!("{}/{id}", self.nodename()),
                None => self.nodename().to_owned(),
            }
        })
    }

    /// The clock domain: the kernel's boot id, with `/time:[INODE]` behind it inside a time namespace of its own,
    /// where boot-time clock and start times are shifted. Four system calls, once.
    ///
    /// `None` when `/proc` does not give a boot id.
    pub fn domain(&self) -> Option<&str> {
        self.domain
            .get_or_init(|| {
                let mut buffer = [0_u8; 64];
                let boot = read_small("/proc/sys/kernel/random/boot_id", &mut buffer).ok()?;
                let boot = std::str::from_utf8(boot).ok()?.trim();
                clock_domain(boot, namespace_inode("/proc/self/ns/time"))
            })
            .as_deref()
    }

    /// Inode of our pid namespace; `None` when `/proc` does not show it. One system call, once.
    pub fn pidns(&self) -> Option<u64> {
        *self.pidns.get_or_init(|| namespace_inode("/proc/self/ns/pid"))
    }

    /// Whose pids `/proc` shows. Three system calls, once, and only for those who ask about other processes.
    pub(crate) fn proc_view(&self) -> ProcView {
        *self.proc_view.get_or_init(|| {
            let mut buffer = [0_u8; 4_096];
            match read_small("/proc/self/status", &mut buffer) {
                Ok(status) => view_of_status(status).unwrap_or_else(view_by_parents),
                Err(_) => ProcView::Unreadable,
            }
        })
    }
}

/// Shortens a machine id; `None` unless it is 32 hex digits (systemd writes `uninitialized` on a first boot).
fn short_machine_id(text: &[u8]) -> Option<&str> {
    let id = std::str::from_utf8(text).ok()?.trim_end();
    let good = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| &id[..MACHINE_ID_DIGITS])
}

/// Joins a boot id and the inode of a time namespace. No inode: a kernel without time namespaces.
fn clock_domain(boot: &str, timens: Option<u64>) -> Option<String> {
    match timens {
        _ if boot.is_empty() => None,
        None | Some(INITIAL_TIME_NAMESPACE) => Some(boot.to_owned()),
        Some(inode) => Some(format!("{boot}/time:[{inode}]")),
    }
}

/// Tells from `/proc/self/status`: `NSpid` lists our pid in the namespace of this `/proc` and in each nested one
/// down to our own, so more than one number means that `/proc` belongs to an outer namespace.
///
/// `None` when the line is missing or lies beyond what was read (it follows the list of groups).
fn view_of_status(status: &[u8]) -> Option<ProcView> {
    let line = status.split_inclusive(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let numbers = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.split_ascii_whitespace().count();
    Some(if numbers == 1 { ProcView::Ours } else { ProcView::Foreign })
}

/// The second best way: both our pid and our parent's must be the same by `/proc` and by the kernel.
fn view_by_parents() -> ProcView {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    match Stat::read_self() {
        Ok(stat) if stat.pid == std::process::id() && stat.parent == parent => ProcView::Ours,
        Ok(_) => ProcView::Foreign,
        Err(_) => ProcView::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_ids() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        assert_eq!(short_machine_id(format!("{id}\n").as_bytes()), Some("3d1219c7c4c5"));
        assert_eq!(short_machine_id(id.as_bytes()), Some("3d1219c7c4c5"));
        for text in ["", "\n", "uninitialized\n", "3d1219c7", "zz1219c7c4c5404aaa1f6d2a48adfda4"] {
            assert_eq!(short_machine_id(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn clock_domains() {
        assert_eq!(clock_domain("b", None).as_deref(), Some("b"));
        assert_eq!(clock_domain("b", Some(4_026_531_834)).as_deref(), Some("b"));
        assert_eq!(clock_domain("b", Some(4_026_532_190)).as_deref(), Some("b/time:[4026532190]"));
        assert_eq!(clock_domain("", Some(4_026_531_834)), None);
    }

    #[test]
    fn whose_pids_proc_shows() {
        for (status, expected) in [
            ("Name:\tx\nNSpid:\t412\nNSpgid:\t1\n", Some(ProcView::Ours)),
            ("Name:\tx\nNSpid:\t412\t1\nNSpgid:\t1\n", Some(ProcView::Foreign)),
            ("NSpid:\t412", None), // cut: the rest of the line may follow
            ("Name:\tx\n", None),
            ("", None),
        ] {
            assert_eq!(view_of_status(status.as_bytes()), expected, "{status:?}");
        }
    }

    #[test]
    fn this_place_is_complete_and_read_once() {
        let here = Here::this();
        assert!(here.domain().is_some() && here.pidns().is_some());
        assert_eq!(here.proc_view(), ProcView::Ours);
        assert_eq!(view_by_parents(), ProcView::Ours);
        assert!(std::ptr::eq(here.host(), Here::this().host()));
    }
}
