//! What the shell saw, written down, so that a decision can be made again without looking.
//!
//! Liveness and clocks never enter a decision directly: the shell observes, these types record, the arbiter
//! reads the record (promise S4).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::lease::Lease;
use crate::region::Region;
use crate::seq::{LeaseId, Ticket};

/// Which process, beyond doubt: a pid alone is reused within milliseconds (feature C3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id inside `pidns`, 1 to 2^31 - 1.
    pub pid: u32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`. A tick is 10 ms: a number that comes again
    /// within the tick of its first start is not told apart, and its lease then ends with its time.
    pub start: u64,
    /// Clock domain of the kernel the process runs under, as in [`ClockReading::boot`]: start times count in it.
    pub boot: String,
    /// Inode of the pid namespace in which `pid` counts.
    pub pidns: u64,
    /// Host on which the process runs.
    pub host: String,
    /// What it is to its lease; none for a process that the lease is simply bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// What a process is to a lease that was taken to run a command (feature C4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It watches over the worker: `lease-lane run`.
    Supervisor,
    /// It leads a process group, and lives as long as any process of that group does.
    Worker,
}

/// A reading of the boot-time clock, comparable only with readings of the same `boot`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockReading {
    /// Clock domain: the boot id, with `/time:[INODE]` behind it inside a time namespace of its own.
    pub boot: String,
    /// Milliseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    pub up_ms: u64,
}

/// Whether somebody lives. Unknown is never dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Seen alive.
    Yes,
    /// Provably gone.
    No,
    /// Could not be told.
    #[default]
    Unknown,
}

impl Liveness {
    /// Joins what is known of several processes of one lease: alive when any lives, gone when all are gone.
    ///
    /// No process at all says nothing: unknown.
    pub fn of_all(each: impl IntoIterator<Item = Liveness>) -> Liveness {
        let mut joined = None;
        for liveness in each {
            joined = Some(match (joined, liveness) {
                (Some(Liveness::Yes), _) | (_, Liveness::Yes) => Liveness::Yes,
                (Some(Liveness::Unknown), _) | (_, Liveness::Unknown) => Liveness::Unknown,
                (None | Some(Liveness::No), Liveness::No) => Liveness::No,
            });
        }
        joined.unwrap_or(Liveness::Unknown)
    }

    /// Spells the liveness as the command line prints it: `yes`, `no`, `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Liveness::Yes => "yes",
            Liveness::No => "no",
            Liveness::Unknown => "unknown",
        }
    }
}

/// What a probe of one process said, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// The process that was probed.
    pub process: ProcessIdentity,
    /// What the probe concluded.
    pub alive: Liveness,
    /// The fact behind the conclusion: `gone`, `another start time`, `zombie`, `another boot` and so on.
    pub why: String,
}

/// Why a probe could not tell: the process runs on another host.
pub const ANOTHER_HOST: &str = "another host";

/// What was seen of the processes of one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The lease.
    pub lease: LeaseId,
    /// The conclusion over all its processes.
    pub alive: Liveness,
    /// Each process with its own conclusion; empty when the lease is bound to none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessReport>,
}

impl Observation {
    /// Whether one of the processes is on another host, where nobody here can look.
    pub fn is_elsewhere(&self) -> bool {
        self.processes.iter().any(|report| report.why == ANOTHER_HOST)
    }
}

/// What was seen of the process that waits with a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketObservation {
    /// The ticket.
    pub ticket: Ticket,
    /// The conclusion.
    pub alive: Liveness,
    /// The fact behind it, as in [`ProcessReport::why`].
    pub why: String,
}

/// Everything beside the request, the live set and the policy that a decision may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The boot-time clock of the one who asked.
    pub clock: ClockReading,
    /// What was seen of the holders in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observation>,
    /// What was seen of those who wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<TicketObservation>,
    /// Leases kept elsewhere that count as live for this decision (feature C15).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_leases: Vec<Lease>,
    /// Of the paths the program itself rests on (the policy file, the store), those that the request aims at
    /// (feature A11).
    #[serde(default, skip_serializing_if = "Region::is_empty")]
    pub protected: Region,
}

impl Evidence {
    /// Starts with a clock and nothing seen.
    pub fn at(clock: ClockReading) -> Evidence {
        Evidence {
            clock,
            observed: Vec::new(),
            tickets: Vec::new(),
            with_leases: Vec::new(),
            protected: Region::default(),
        }
    }

    /// What was seen of the one who waits with `ticket`: unknown when nobody looked.
    pub fn waits(&self, ticket: Ticket) -> Liveness {
        self.tickets.iter().find(|seen| seen.ticket == ticket).map_or(Liveness::Unknown, |seen| seen.alive)
    }

    /// What was seen of `lease`: unknown when nobody looked.
    pub fn liveness(&self, lease: LeaseId) -> Liveness {
        self.observation(lease).map_or(Liveness::Unknown, |seen| seen.alive)
    }

    /// What was seen of the processes of `lease`, if anybody looked.
    pub fn observation(&self, lease: LeaseId) -> Option<&Observation> {
        self.observed.iter().find(|seen| seen.lease == lease)
    }
}
