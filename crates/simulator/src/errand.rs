//! What one process is started for, done by the shipped session, and what came of it.

use std::time::Duration;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::Evidence;
use arbiter::name::OwnerName;
use arbiter::seq::Fence;
use arbiter::time::Timestamp;
use journal::JournalError;
use journal::decision::records;
use journal::disk::Access;
use journal::history::{self, Keep};
use journal::repair::Plan;
use journal::state::State;
use journal::store::{Appended, FileStore, Store, Writing};
use lease::machine::Machine;
use lease::mutex::Patience;
use lease::session::{
    Acquired, Adopted, Adoption, Ask, Beaten, Compacted, LeaseError, Miss, Released, Session, Sweeping,
    Swept, Unlocked, Unlocking, View, Which,
};

/// What a process is to do: one command line.
#[derive(Clone, Debug)]
pub enum Errand {
    /// `lease-lane acquire`, with `--wait` if there is a time.
    Acquire(Box<Ask>, Option<Duration>),
    /// `lease-lane release`.
    Release(Which, Option<Fence>),
    /// `lease-lane heartbeat`.
    Beat(Which, Option<Fence>),
    /// `lease-lane adopt`.
    Adopt(Box<Adoption>),
    /// `lease-lane unlock`.
    Unlock(Box<Unlocking>),
    /// `lease-lane sweep`.
    Sweep,
    /// `lease-lane live`.
    Live,
    /// `lease-lane compact`.
    Compact(Option<Keep>),
    /// `lease-lane verify`.
    Verify,
    /// `lease-lane repair --yes`.
    Repair,
    /// Asks for a lease without the mutex: what an acquire does whose mutex does not work.
    BareAcquire(Box<Ask>),
    /// Seals without the mutex, and prunes all history if so told.
    BareSeal {
        /// Whether history goes as well.
        prunes: bool,
    },
}

/// What the process said when it ended.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one lives at a time")]
pub enum Outcome {
    /// A verdict, or why there is none.
    Acquired(Result<Acquired, LeaseError>),
    /// Of a release.
    Released(Result<Result<Released, Miss>, LeaseError>),
    /// Of a heartbeat.
    Beaten(Result<Result<Beaten, Miss>, LeaseError>),
    /// Of taking a lease over.
    Adopted(Result<Result<Box<Adopted>, Miss>, LeaseError>),
    /// Of ending somebody's lease.
    Unlocked(Result<Result<Box<Unlocked>, Miss>, LeaseError>),
    /// Of a sweep.
    Swept(Result<Swept, LeaseError>),
    /// The live set.
    Live(Result<View, LeaseError>),
    /// Of a compaction.
    Compacted(Result<Compacted, LeaseError>),
    /// How many pieces are damaged.
    Verified(Result<usize, LeaseError>),
    /// What was repaired.
    Repaired(Result<Option<Box<Plan>>, LeaseError>),
    /// Whether it was this one who sealed.
    Sealed(Result<bool, LeaseError>),
}

impl Errand {
    /// Does it, as the command line would.
    pub fn run<M: Machine>(self, machine: &M, owner: OwnerName, patience: Patience) -> Outcome {
        let disk = machine.disk();
        let mut session = Session::on(machine.clone(), owner, patience);
        match self {
            Errand::Acquire(ask, None) => Outcome::Acquired(session.acquire(&ask)),
            Errand::Acquire(ask, Some(most)) => {
                Outcome::Acquired(session.acquire_waiting(&ask, most, |_| {}))
            }
            Errand::Release(which, fence) => Outcome::Released(session.release(&which, fence)),
            Errand::Beat(which, fence) => Outcome::Beaten(session.heartbeat(&which, fence, None)),
            Errand::Adopt(adoption) => {
                Outcome::Adopted(session.adopt(&adoption).map(|answer| answer.map(Box::new)))
            }
            Errand::Unlock(unlocking) => {
                Outcome::Unlocked(session.unlock(&unlocking).map(|answer| answer.map(Box::new)))
            }
            Errand::Sweep => Outcome::Swept(session.sweep(&Sweeping::default())),
            Errand::Live => Outcome::Live(session.live()),
            Errand::Compact(keep) => Outcome::Compacted(session.compact(keep)),
            Errand::Verify => {
                let survey = history::survey(&disk).map_err(LeaseError::from);
                Outcome::Verified(survey.map(|survey| survey.damage.len()))
            }
            Errand::Repair => Outcome::Repaired(session.repair().map(|plan| plan.map(Box::new))),
            Errand::BareAcquire(ask) => {
                Outcome::Acquired(bare_acquire(machine, &ask).map_err(LeaseError::from))
            }
            Errand::BareSeal { prunes } => {
                Outcome::Sealed(bare_seal(machine, prunes).map_err(LeaseError::from))
            }
        }
    }
}

fn writing<M: Machine>(machine: &M) -> Writing {
    let ts = Timestamp::from_unix_ms(machine.clock().wall_ms());
    // The dead are the only ones here without chance, and nothing they write is there.
    Writing { ts, nonce: machine.random().unwrap_or_default() }
}

/// Load, decide, append if nobody was faster, sync: the store's own protocol with nothing around it.
fn bare_acquire<M: Machine>(machine: &M, ask: &Ask) -> Result<Acquired, JournalError> {
    let Ask { request, policy, .. } = ask;
    let mut store = FileStore::new(machine.disk(), Access::Append);
    loop {
        let mut writing = writing(machine);
        let State { live, waiters, .. } = store.prepare(writing)?.clone();
        writing.ts = store.head().map_or(writing.ts, |head| head.ts.max(writing.ts));
        let evidence = Evidence::at(machine.clock().reading());
        let question = Question {
            request,
            live: &live,
            waiters: &waiters,
            policy,
            evidence: &evidence,
            now: writing.ts,
        };
        let verdict = arbitrate(question);
        let ops = records(&verdict, request, evidence, &live);
        if let Appended::Valid { head, .. } = store.append_if(writing, &ops)? {
            store.commit()?;
            return Ok(Acquired {
                verdict,
                seq: Some(head.seq),
                repeated: false,
                timed_out: false,
                cancelled: false,
            });
        }
    }
}

fn bare_seal<M: Machine>(machine: &M, prunes: bool) -> Result<bool, JournalError> {
    let disk = machine.disk();
    let mut store = FileStore::new(disk.clone(), Access::Append);
    let writing = writing(machine);
    let sealed = store.seal(writing)?;
    if prunes {
        history::prune(&disk, Keep::None, writing.ts)?;
    }
    Ok(sealed)
}
