//! From what was seen of a process to whether it lives: a pure function over every row of feature C3.

use arbiter::evidence::{ANOTHER_HOST, Liveness, ProcessIdentity, ProcessReport, Role};
use arbiter::policy::ForeignHost;

use super::PID_MAX;

/// What a look at a process found, before anything is concluded from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<'here> {
    /// The prober's host, as [`Here::host`](super::Here::host) spells it.
    pub host: &'here str,
    /// The prober's clock domain; `None` when it could not be read.
    pub domain: Option<&'here str>,
    /// The prober's pid namespace; `None` when it could not be read.
    pub pidns: Option<u64>,
    /// What `kill(pid, 0)` said.
    pub signal: Signal,
    /// What `/proc/PID/stat` said.
    pub stat: StatSeen,
    /// What was found of the process group that a worker leads.
    pub group: GroupSeen,
}

/// What `kill(pid, 0)` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Nobody asked: the place alone decides, or `pid` is not one that may be asked about.
    NotAsked,
    /// There is no such process (`ESRCH`).
    Gone,
    /// There is one.
    There,
    /// There is one, of somebody else (`EPERM`).
    NotOurs,
    /// Any other answer.
    Unclear,
}

/// What `/proc/PID/stat` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatSeen {
    /// Nobody looked.
    NotAsked,
    /// It was read.
    Read {
        /// Start time in clock ticks, in the prober's clock domain.
        start: u64,
        /// Whether nothing of the process runs any more ([`Stat::has_ended`](super::Stat::has_ended)).
        ended: bool,
    },
    /// It could not be read: `hidepid`, no `/proc`, a line we do not understand.
    Unreadable,
    /// This `/proc` shows the pids of another namespace, so its `PID` is another process.
    Foreign,
}

/// What was found of a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSeen {
    /// Nobody looked: the process leads none that counts, or is there itself.
    NotAsked,
    /// It has no member.
    Empty,
    /// All its members have ended and only wait to be reaped.
    Ended,
    /// A member of it runs.
    Runs,
    /// It could not be told.
    Unclear,
}

/// Concludes whether `process` lives from what was `seen` of it. Unknown is never dead.
///
/// The first row that fits decides:
///
/// | seen | alive | `why` |
/// |---|---|---|
/// | pid 0 or beyond 2^31 - 1 | unknown | `not a process id` |
/// | another host, or none recorded | unknown | `another host` |
/// | a boot id is missing on either side | unknown | `no boot id` |
/// | another boot, host proven by a machine id | no | `another boot` |
/// | another boot, host without a machine id | unknown | `another boot, perhaps of another host` |
/// | another pid namespace, or none known | unknown | `another pid namespace` |
/// | `kill`: no such process | no | `gone` |
/// | `kill`: an answer we do not know | unknown | `cannot be probed` |
/// | `/proc` of another pid namespace | unknown | `/proc shows another pid namespace` |
/// | `stat` unreadable, process of somebody else | unknown | `no permission to see it` |
/// | `stat` unreadable | unknown | `its start time cannot be read` |
/// | the pid's process has ended | no | `zombie` |
/// | another time namespace: start times differ by an offset | unknown | `another time namespace` |
/// | another start time | no | `another start time` |
/// | otherwise | yes | `running` |
///
/// A worker also lives in the group it leads. Where the rows above say `gone` or `zombie` of it, its group decides:
///
/// | seen | alive | `why` |
/// |---|---|---|
/// | the zombie has another start time | no | `another start time` |
/// | no member | no | `gone, with its group` |
/// | all members have ended | no | `zombie, with its group` |
/// | a member runs, no time namespace is between us | yes | `its group is running` |
/// | otherwise | unknown | `its group cannot be seen`, `another time namespace` |
///
/// The kernel gives nobody a pid that is still the number of a process group, so another process with the worker's
/// pid proves that the group is no more. The other way round there is a gap on the safe side: once the group is gone
/// and its number belongs to a later group whose leader is dead too, that one is taken for it.
///
/// Another boot proves a death only on the same machine. Two machines may both be called `localhost`, and without
/// a machine id there is nothing but that name.
pub fn judge(process: &ProcessIdentity, seen: &Seen<'_>) -> ProcessReport {
    let (alive, why) = judge_place(process, seen).unwrap_or_else(|| match judge_process(process, seen) {
        (Liveness::No, "gone" | "zombie") if process.role == Some(Role::Worker) => judge_group(process, seen),
        conclusion => conclusion,
    });
    ProcessReport { process: process.clone(), alive, why: why.to_owned() }
}

/// What a policy makes of a report: processes of another host may count as gone. A process of which no host is
/// recorded is not of another one.
#[must_use]
pub fn under_policy(report: ProcessReport, foreign_host: ForeignHost) -> ProcessReport {
    let is_elsewhere = report.why == ANOTHER_HOST && !report.process.host.is_empty();
    match foreign_host {
        ForeignHost::Takeover if is_elsewhere => {
            let why = "another host, which the policy gives up".to_owned();
            ProcessReport { alive: Liveness::No, why, ..report }
        }
        // With `refuse` it stays unknown; that its lease is held is a rule of the arbiter.
        ForeignHost::Takeover | ForeignHost::Ttl | ForeignHost::Refuse => report,
    }
}

type Conclusion = (Liveness, &'static str);

/// The rows that need no look at any process: `None` when the pid means something here.
pub(super) fn judge_place(process: &ProcessIdentity, seen: &Seen<'_>) -> Option<Conclusion> {
    if process.pid == 0 || PID_MAX < process.pid {
        return Some((Liveness::Unknown, "not a process id"));
    }
    if process.host.is_empty() || process.host != seen.host {
        return Some((Liveness::Unknown, ANOTHER_HOST));
    }
    let recorded = boot_of(&process.boot);
    let current = seen.domain.map(boot_of).unwrap_or_default();
    if recorded.is_empty() || current.is_empty() {
        return Some((Liveness::Unknown, "no boot id"));
    }
    if recorded != current {
        let proven = process.host.contains('/');
        return Some(if proven {
            (Liveness::No, "another boot")
        } else {
            (Liveness::Unknown, "another boot, perhaps of another host")
        });
    }
    if seen.pidns != Some(process.pidns) {
        return Some((Liveness::Unknown, "another pid namespace"));
    }
    None
}

/// The rows about the process that has the pid now.
fn judge_process(process: &ProcessIdentity, seen: &Seen<'_>) -> Conclusion {
    match (seen.signal, seen.stat) {
        (Signal::Gone, _) => (Liveness::No, "gone"),
        (Signal::NotAsked | Signal::Unclear, _) => (Liveness::Unknown, "cannot be probed"),
        (_, StatSeen::Foreign) => (Liveness::Unknown, "/proc shows another pid namespace"),
        (Signal::NotOurs, StatSeen::NotAsked | StatSeen::Unreadable) => {
            (Liveness::Unknown, "no permission to see it")
        }
        (Signal::There, StatSeen::NotAsked | StatSeen::Unreadable) => {
            (Liveness::Unknown, "its start time cannot be read")
        }
        // Whoever has the pid is dead, so ours is dead, whether or not it is the same one.
        (_, StatSeen::Read { ended: true, .. }) => (Liveness::No, "zombie"),
        _ if seen.domain != Some(process.boot.as_str()) => (Liveness::Unknown, "another time namespace"),
        (_, StatSeen::Read { start, .. }) if start != process.start => (Liveness::No, "another start time"),
        (_, StatSeen::Read { .. }) => (Liveness::Yes, "running"),
    }
}

/// Whether the group must be looked at: the worker that leads it is dead.
pub(super) fn needs_group(process: &ProcessIdentity, seen: &Seen<'_>) -> bool {
    process.role == Some(Role::Worker)
        && (seen.signal == Signal::Gone || matches!(seen.stat, StatSeen::Read { ended: true, .. }))
}

/// The rows about the group of a worker that is dead itself.
fn judge_group(process: &ProcessIdentity, seen: &Seen<'_>) -> Conclusion {
    let same_clock = seen.domain == Some(process.boot.as_str());
    match (seen.group, seen.stat) {
        (_, StatSeen::Read { start, .. }) if same_clock && start != process.start => {
            (Liveness::No, "another start time")
        }
        (GroupSeen::Empty, _) => (Liveness::No, "gone, with its group"),
        (GroupSeen::Ended, _) => (Liveness::No, "zombie, with its group"),
        (GroupSeen::Runs, _) if same_clock => (Liveness::Yes, "its group is running"),
        (GroupSeen::Runs, _) => (Liveness::Unknown, "another time namespace"),
        (GroupSeen::NotAsked | GroupSeen::Unclear, _) => (Liveness::Unknown, "its group cannot be seen"),
    }
}

/// The boot id in a clock domain.
fn boot_of(domain: &str) -> &str {
    domain.split_once('/').map_or(domain, |(boot, _)| boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "vm/3d1219c7c4c5";
    const BARE_HOST: &str = "vm";

    fn process() -> ProcessIdentity {
        ProcessIdentity {
            pid: 4_121,
            start: 303_824,
            boot: "b1".to_owned(),
            pidns: 7,
            host: HOST.to_owned(),
            role: None,
        }
    }

    fn read(start: u64, ended: bool) -> StatSeen {
        StatSeen::Read { start, ended }
    }

    /// The prober sits where the process was recorded and sees it running; rows change one thing at a time.
    fn running() -> Seen<'static> {
        Seen {
            host: HOST,
            domain: Some("b1"),
            pidns: Some(7),
            signal: Signal::There,
            stat: read(303_824, false),
            group: GroupSeen::NotAsked,
        }
    }

    fn worker() -> ProcessIdentity {
        ProcessIdentity { role: Some(Role::Worker), ..process() }
    }

    const GROUPS: [GroupSeen; 5] =
        [GroupSeen::NotAsked, GroupSeen::Empty, GroupSeen::Ended, GroupSeen::Runs, GroupSeen::Unclear];

    #[test]
    fn a_workers_group_decides_once_it_is_dead_itself() {
        let rows = [
            (GroupSeen::Empty, Liveness::No, "gone, with its group"),
            (GroupSeen::Ended, Liveness::No, "zombie, with its group"),
            (GroupSeen::Runs, Liveness::Yes, "its group is running"),
            (GroupSeen::Unclear, Liveness::Unknown, "its group cannot be seen"),
            (GroupSeen::NotAsked, Liveness::Unknown, "its group cannot be seen"),
        ];
        for (group, alive, why) in rows {
            check(&worker(), &Seen { signal: Signal::Gone, group, ..running() }, alive, why);
            check(&worker(), &Seen { stat: read(303_824, true), group, ..running() }, alive, why);
        }
    }

    #[test]
    fn a_group_counts_for_a_dead_worker_and_for_nobody_else() {
        let supervisor = ProcessIdentity { role: Some(Role::Supervisor), ..process() };
        for group in GROUPS {
            check(&worker(), &Seen { group, ..running() }, Liveness::Yes, "running");
            let reused = Seen { stat: read(1, false), group, ..running() };
            check(&worker(), &reused, Liveness::No, "another start time");
            let reused = Seen { stat: read(1, true), group, ..running() };
            check(&worker(), &reused, Liveness::No, "another start time");
            let hidden = Seen { signal: Signal::NotOurs, stat: StatSeen::Unreadable, group, ..running() };
            check(&worker(), &hidden, Liveness::Unknown, "no permission to see it");
            for other in [process(), supervisor.clone()] {
                check(&other, &Seen { signal: Signal::Gone, group, ..running() }, Liveness::No, "gone");
            }
        }
    }

    #[test]
    fn from_another_time_namespace_a_running_group_may_be_another_one() {
        let seen = Seen { domain: Some("b1/time:[9]"), signal: Signal::Gone, ..running() };
        let group = GroupSeen::Runs;
        check(&worker(), &Seen { group, ..seen.clone() }, Liveness::Unknown, "another time namespace");
        let group = GroupSeen::Empty;
        check(&worker(), &Seen { group, ..seen }, Liveness::No, "gone, with its group");
    }

    #[test]
    fn the_group_is_looked_at_only_for_a_dead_worker() {
        for (signal, stat, needed) in [
            (Signal::Gone, StatSeen::NotAsked, true),
            (Signal::There, read(303_824, true), true),
            (Signal::There, read(303_824, false), false),
            (Signal::NotOurs, StatSeen::Unreadable, false),
            (Signal::Unclear, StatSeen::NotAsked, false),
        ] {
            let seen = Seen { signal, stat, ..running() };
            assert_eq!(needs_group(&worker(), &seen), needed, "{seen:?}");
            assert!(!needs_group(&process(), &seen));
        }
    }

    #[track_caller]
    fn check(process: &ProcessIdentity, seen: &Seen<'_>, alive: Liveness, why: &str) {
        let expected = ProcessReport { process: process.clone(), alive, why: why.to_owned() };
        assert_eq!(judge(process, seen), expected, "{seen:?}");
    }

    #[test]
    fn alive() {
        check(&process(), &running(), Liveness::Yes, "running");
    }

    #[test]
    fn alive_of_another_user() {
        check(&process(), &Seen { signal: Signal::NotOurs, ..running() }, Liveness::Yes, "running");
    }

    #[test]
    fn dead() {
        for stat in [StatSeen::NotAsked, StatSeen::Unreadable, StatSeen::Foreign] {
            check(&process(), &Seen { signal: Signal::Gone, stat, ..running() }, Liveness::No, "gone");
        }
    }

    #[test]
    fn zombie() {
        check(&process(), &Seen { stat: read(303_824, true), ..running() }, Liveness::No, "zombie");
        check(&process(), &Seen { stat: read(1, true), ..running() }, Liveness::No, "zombie");
    }

    #[test]
    fn reused_pid() {
        for start in [303_823, 303_825, 0, u64::MAX] {
            for signal in [Signal::There, Signal::NotOurs] {
                let seen = Seen { signal, stat: read(start, false), ..running() };
                check(&process(), &seen, Liveness::No, "another start time");
            }
        }
    }

    #[test]
    fn another_boot() {
        for domain in ["b2", "b2/time:[9]", "b"] {
            check(&process(), &Seen { domain: Some(domain), ..running() }, Liveness::No, "another boot");
        }
        let elsewhere = Seen { domain: Some("b2"), pidns: Some(8), signal: Signal::NotAsked, ..running() };
        check(&process(), &elsewhere, Liveness::No, "another boot");
    }

    #[test]
    fn another_boot_without_a_machine_id_is_unknown() {
        let process = ProcessIdentity { host: BARE_HOST.to_owned(), ..process() };
        let seen = Seen { host: BARE_HOST, domain: Some("b2"), ..running() };
        check(&process, &seen, Liveness::Unknown, "another boot, perhaps of another host");
        check(&process, &Seen { domain: Some("b1"), ..seen }, Liveness::Yes, "running");
    }

    #[test]
    fn boot_not_known_on_either_side() {
        for domain in [None, Some(""), Some("/time:[9]")] {
            check(&process(), &Seen { domain, ..running() }, Liveness::Unknown, "no boot id");
        }
        let process = ProcessIdentity { boot: String::new(), ..process() };
        check(&process, &running(), Liveness::Unknown, "no boot id");
        check(&process, &Seen { domain: Some(""), ..running() }, Liveness::Unknown, "no boot id");
    }

    #[test]
    fn another_pid_namespace() {
        for pidns in [None, Some(8), Some(0)] {
            for signal in [Signal::There, Signal::Gone] {
                let seen = Seen { pidns, signal, ..running() };
                check(&process(), &seen, Liveness::Unknown, "another pid namespace");
            }
        }
        let nowhere = ProcessIdentity { pidns: 0, ..process() };
        check(&nowhere, &Seen { pidns: None, ..running() }, Liveness::Unknown, "another pid namespace");
    }

    #[test]
    fn another_host() {
        for host in ["other", "vm", "vm/000000000000", "VM/3d1219c7c4c5", ""] {
            for domain in [Some("b1"), Some("b2"), None] {
                let seen = Seen { host, domain, signal: Signal::Gone, ..running() };
                check(&process(), &seen, Liveness::Unknown, "another host");
            }
        }
        let nameless = ProcessIdentity { host: String::new(), ..process() };
        check(&nameless, &Seen { host: "", ..running() }, Liveness::Unknown, "another host");
    }

    #[test]
    fn another_host_under_each_policy() {
        let elsewhere = judge(&process(), &Seen { host: "other", ..running() });
        for (policy, alive) in [
            (ForeignHost::Refuse, Liveness::Unknown),
            (ForeignHost::Ttl, Liveness::Unknown),
            (ForeignHost::Takeover, Liveness::No),
        ] {
            assert_eq!(under_policy(elsewhere.clone(), policy).alive, alive, "{policy:?}");
        }
        // Only what is known to be of another host is given up; nothing else is touched.
        let nameless = ProcessIdentity { host: String::new(), ..process() };
        for report in [
            judge(&nameless, &running()),
            judge(&process(), &running()),
            judge(&process(), &Seen { pidns: Some(8), ..running() }),
            judge(&ProcessIdentity { pid: 0, ..process() }, &Seen { host: "other", ..running() }),
        ] {
            assert_eq!(under_policy(report.clone(), ForeignHost::Takeover), report);
        }
    }

    #[test]
    fn somebody_elses_with_unreadable_proc_stays_unknown() {
        let seen = Seen { signal: Signal::NotOurs, stat: StatSeen::Unreadable, ..running() };
        check(&process(), &seen, Liveness::Unknown, "no permission to see it");
    }

    #[test]
    fn unreadable_proc() {
        let seen = Seen { stat: StatSeen::Unreadable, ..running() };
        check(&process(), &seen, Liveness::Unknown, "its start time cannot be read");
    }

    #[test]
    fn proc_of_another_pid_namespace() {
        for signal in [Signal::There, Signal::NotOurs] {
            let seen = Seen { signal, stat: StatSeen::Foreign, ..running() };
            check(&process(), &seen, Liveness::Unknown, "/proc shows another pid namespace");
        }
    }

    #[test]
    fn another_time_namespace_hides_the_start_time_and_nothing_else() {
        let seen = Seen { domain: Some("b1/time:[9]"), ..running() };
        for start in [303_824, 1] {
            let seen = Seen { stat: read(start, false), ..seen.clone() };
            check(&process(), &seen, Liveness::Unknown, "another time namespace");
        }
        check(&process(), &Seen { signal: Signal::Gone, ..seen.clone() }, Liveness::No, "gone");
        check(&process(), &Seen { stat: read(1, true), ..seen.clone() }, Liveness::No, "zombie");
        let inside = ProcessIdentity { boot: "b1/time:[9]".to_owned(), ..process() };
        check(&inside, &seen, Liveness::Yes, "running");
        check(&inside, &Seen { stat: read(1, false), ..seen }, Liveness::No, "another start time");
        check(&inside, &running(), Liveness::Unknown, "another time namespace");
    }

    #[test]
    fn pids_that_never_were() {
        for pid in [0, 1 << 31, u32::MAX] {
            for signal in [Signal::NotAsked, Signal::Gone, Signal::There] {
                let process = ProcessIdentity { pid, ..process() };
                check(&process, &Seen { signal, ..running() }, Liveness::Unknown, "not a process id");
            }
        }
        let last = ProcessIdentity { pid: PID_MAX, ..process() };
        check(&last, &Seen { signal: Signal::Gone, ..running() }, Liveness::No, "gone");
    }

    #[test]
    fn answers_we_do_not_know() {
        for signal in [Signal::NotAsked, Signal::Unclear] {
            check(&process(), &Seen { signal, ..running() }, Liveness::Unknown, "cannot be probed");
        }
    }

    /// Every combination of what can be seen: dead is only ever said with one of the four proofs.
    #[test]
    fn dead_is_always_proven() {
        let signals = [Signal::NotAsked, Signal::Gone, Signal::There, Signal::NotOurs, Signal::Unclear];
        let stats = [
            StatSeen::NotAsked,
            StatSeen::Unreadable,
            StatSeen::Foreign,
            read(303_824, false),
            read(303_824, true),
            read(1, false),
            read(1, true),
        ];
        let mut n_dead = 0;
        for host in [HOST, BARE_HOST] {
            for domain in [None, Some("b1"), Some("b2"), Some("b1/time:[9]")] {
                for pidns in [None, Some(7), Some(8)] {
                    for (signal, stat) in signals.iter().flat_map(|&signal| stats.map(|stat| (signal, stat)))
                    {
                        let seen = Seen { host, domain, pidns, signal, stat, group: GroupSeen::NotAsked };
                        for group in GROUPS {
                            // With a group there is never more reason to call it dead.
                            let dead =
                                judge(&worker(), &Seen { group, ..seen.clone() }).alive == Liveness::No;
                            let alone = judge(&process(), &seen).alive == Liveness::No;
                            assert!(!dead || alone, "{seen:?}, {group:?}");
                            let over = matches!(group, GroupSeen::Empty | GroupSeen::Ended);
                            let reused = matches!(stat, StatSeen::Read { start: 1, .. });
                            assert!(!dead || over || reused || domain == Some("b2"), "{seen:?}, {group:?}");
                        }
                        if judge(&process(), &seen).alive != Liveness::No {
                            continue;
                        }
                        n_dead += 1;
                        assert_eq!(host, HOST);
                        let rebooted = domain == Some("b2");
                        let same_pids = pidns == Some(7) && domain.is_some_and(|domain| domain != "b2");
                        let looked = matches!(signal, Signal::There | Signal::NotOurs);
                        let gone = same_pids && signal == Signal::Gone;
                        let ended = same_pids && looked && matches!(stat, StatSeen::Read { ended: true, .. });
                        let reused = domain == Some("b1")
                            && same_pids
                            && looked
                            && matches!(stat, StatSeen::Read { start, .. } if start != 303_824);
                        assert!(rebooted || gone || ended || reused, "{seen:?}");
                    }
                }
            }
        }
        assert!(0 < n_dead);
    }
}
