//! What one process is started for, done by the shipped session, and what came of it.

use std::time::Duration;

use arbiter::name::OwnerName;
use arbiter::seq::Fence;
use journal::history::{self, Keep};
use journal::repair::Plan;
use lease::machine::Machine;
use lease::mutex::Patience;
use lease::session::{Acquired, Ask, Beaten, Compacted, LeaseError, Miss, Released, Session, View, Which};

/// What a process is to do: one command line.
#[derive(Clone, Debug)]
pub enum Errand {
    /// `lease-lane acquire`, with `--wait` if there is a time.
    Acquire(Box<Ask>, Option<Duration>),
    /// `lease-lane release`.
    Release(Which, Option<Fence>),
    /// `lease-lane heartbeat`.
    Beat(Which, Option<Fence>),
    /// `lease-lane live`.
    Live,
    /// `lease-lane compact`.
    Compact(Option<Keep>),
    /// `lease-lane verify`.
    Verify,
    /// `lease-lane repair --yes`.
    Repair,
}

/// What the process said when it ended.
#[derive(Debug)]
pub enum Outcome {
    /// A verdict, or why there is none.
    Acquired(Result<Acquired, LeaseError>),
    /// Of a release.
    Released(Result<Result<Released, Miss>, LeaseError>),
    /// Of a heartbeat.
    Beaten(Result<Result<Beaten, Miss>, LeaseError>),
    /// The live set.
    Live(Result<View, LeaseError>),
    /// Of a compaction.
    Compacted(Result<Compacted, LeaseError>),
    /// How many pieces are damaged.
    Verified(Result<usize, LeaseError>),
    /// What was repaired.
    Repaired(Result<Option<Box<Plan>>, LeaseError>),
}

impl Errand {
    /// Does it, as the command line would.
    pub fn run<M: Machine>(self, machine: M, owner: OwnerName, patience: Patience) -> Outcome {
        let disk = machine.disk();
        let mut session = Session::on(machine, owner, patience);
        match self {
            Errand::Acquire(ask, None) => Outcome::Acquired(session.acquire(&ask)),
            Errand::Acquire(ask, Some(most)) => {
                Outcome::Acquired(session.acquire_waiting(&ask, most, |_| {}))
            }
            Errand::Release(which, fence) => Outcome::Released(session.release(&which, fence)),
            Errand::Beat(which, fence) => Outcome::Beaten(session.heartbeat(&which, fence, None)),
            Errand::Live => Outcome::Live(session.live()),
            Errand::Compact(keep) => Outcome::Compacted(session.compact(keep)),
            Errand::Verify => {
                let survey = history::survey(&disk).map_err(LeaseError::from);
                Outcome::Verified(survey.map(|survey| survey.damage.len()))
            }
            Errand::Repair => Outcome::Repaired(session.repair().map(|plan| plan.map(Box::new))),
        }
    }
}
