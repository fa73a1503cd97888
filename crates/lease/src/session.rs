//! Read, arbitrate, append: the one way in which anything is decided and written.
//!
//! A session has no admission rule of its own. It loads, lets a pure function look at the state and say which
//! records to write, appends them if the head is still the same, syncs, and only then reports. When somebody else
//! was first it enters the mutex and starts over; so does who sees somebody inside (`docs/adr/0020-direct.md`).

mod acquire;
mod adopt;
mod announce;
mod error;
mod holder;
mod operate;
mod read;
mod sweep;
mod unlock;
mod wait;

use std::sync::OnceLock;
use std::time::Duration;

use arbiter::evidence::{Liveness, TicketObservation};
use arbiter::interest::Interest;
use arbiter::lease::Lease;
use arbiter::name::OwnerName;
use arbiter::policy::Policy;
use arbiter::queue::{Waiter, Wake};
use arbiter::region::Region;
use arbiter::seq::Seq;
use arbiter::time::Timestamp;
use arbiter::worktree::WorktreeName;
use journal::JournalError;
use journal::disk::{Access, Dir, Disk, Name, RealDisk, TEMPORARY};
use journal::history::{self, Keep};
use journal::record::Op;
use journal::state::State;
use journal::store::{Appended, FileStore, Store, Writing};

use crate::clock::Clock;
use crate::machine::{Machine, RealMachine};
use crate::mutex::{self, Guard, Holder, MutexError, Patience};
use crate::process::under_policy;

pub use acquire::{Acquired, Ask};
pub use adopt::{Adopted, Adoption};
pub use announce::{StopOrder, Stopping};
pub use error::LeaseError;
pub use holder::{Beaten, Miss, PhaseWish, Released, Which, told_of};
pub use operate::{Compacted, Imported};
pub use read::{Checked, LeaseView, PathCheck, Stood, View, WaiterView};
pub use sweep::{Sweeping, Swept, SweptLease};
pub use unlock::{Unlocked, Unlocking};
pub use wait::{Blocked, Unlisted};

/// One caller's dealings with a store.
#[derive(Debug)]
pub struct Session<M: Machine> {
    machine: M,
    disk: M::Disk,
    store: FileStore<M::Disk>,
    owner: OwnerName,
    /// The paths that the program itself rests on.
    own: Region,
    /// Where the caller is, if that can be told.
    worktree: Option<WorktreeName>,
    patience: Patience,
    warnings: Vec<String>,
    undurable: Option<Seq>,
}

/// What a look at the state leads to.
enum Decision<T> {
    /// These records, and this answer once they are durable.
    Write(Vec<Op>, T),
    /// As [`Decision::Write`], but nobody rests on the records, so they wait for the next sync that somebody makes.
    WriteUnsynced(Vec<Op>, T),
    /// An answer that needs no record.
    Answer(T),
    /// An answer that is on record already and has to be durable before it is given.
    Confirm(T),
}

/// An answer, and the last of the records that were written for it.
struct Done<T> {
    answer: T,
    last: Option<Seq>,
}

/// Where and when a decision is made.
#[derive(Clone, Copy)]
struct Moment<'a> {
    state: &'a State,
    now: Timestamp,
    /// The number that the next record gets.
    next: Seq,
}

impl<'d> Session<RealMachine<'d>> {
    /// Begins a session of `owner` on an existing store of this machine.
    pub fn new(
        disk: &'d RealDisk,
        clock: &'d dyn Clock,
        owner: OwnerName,
        patience: Patience,
    ) -> Session<RealMachine<'d>> {
        Session::on(RealMachine::new(disk).with_clock(clock), owner, patience)
    }
}

impl<M: Machine> Session<M> {
    /// Begins a session of `owner` on a machine's store.
    pub fn on(machine: M, owner: OwnerName, patience: Patience) -> Session<M> {
        let disk = machine.disk();
        Session {
            store: FileStore::new(disk.clone(), Access::Append).with_index_from(machine.index_from()),
            disk,
            machine,
            owner,
            own: Region::default(),
            worktree: None,
            patience,
            warnings: Vec::new(),
            undurable: None,
        }
    }

    /// Has the paths protected that the program itself rests on: the policy file and the store (feature A11).
    #[must_use]
    pub fn resting_on(self, own: Region) -> Session<M> {
        Session { own, ..self }
    }

    /// Says in which worktree the caller is: a lane that it names is the one there, and so is a path.
    #[must_use]
    pub fn in_worktree(self, worktree: Option<WorktreeName>) -> Session<M> {
        Session { worktree, ..self }
    }

    /// What went wrong without changing the answer, in words; empties the list.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Decides on the present state, writes what the decision says, and makes it durable.
    fn transact<T>(
        &mut self,
        decide: impl FnMut(Moment<'_>) -> Result<Decision<T>, LeaseError>,
    ) -> Result<Done<T>, LeaseError> {
        self.transact_on(None, decide)
    }

    /// As [`Session::transact`], where only leases of this interest can make a difference.
    fn transact_on<T>(
        &mut self,
        interest: Option<&Interest>,
        decide: impl FnMut(Moment<'_>) -> Result<Decision<T>, LeaseError>,
    ) -> Result<Done<T>, LeaseError> {
        let began = self.machine.uptime();
        // With nobody inside, a first attempt goes without the mutex, which would cost more than most attempts and seldom
        // keeps anybody apart. Whoever sees somebody inside, or was not the first, queues up.
        let guard = if mutex::is_taken(&self.disk)? { Some(self.enter()?) } else { None };
        self.transact_from(began, guard, interest, decide)
    }

    /// As [`Session::transact`], for one who must not meet those who sweep.
    fn transact_inside<T>(
        &mut self,
        decide: impl FnMut(Moment<'_>) -> Result<Decision<T>, LeaseError>,
    ) -> Result<Done<T>, LeaseError> {
        let began = self.machine.uptime();
        let guard = self.enter()?;
        self.transact_from(began, Some(guard), None, decide)
    }

    /// As [`Session::transact_on`], by one who came then and is inside the mutex, or makes a first attempt without it.
    fn transact_from<T>(
        &mut self,
        began: Duration,
        mut guard: Option<Guard<M>>,
        interest: Option<&Interest>,
        mut decide: impl FnMut(Moment<'_>) -> Result<Decision<T>, LeaseError>,
    ) -> Result<Done<T>, LeaseError> {
        let (answer, last, is_synced, ringing) = loop {
            let mut writing = self.writing()?;
            match interest {
                Some(interest) => self.store.prepare_for(writing, interest)?,
                None => self.store.prepare(writing)?,
            };
            let moment = moment_of(&self.store, writing.ts)?;
            writing.ts = moment.now;
            let somebody_waits = !moment.state.waiters.is_empty();
            let (ops, answer, is_synced) = match decide(moment)? {
                Decision::Write(ops, answer) => (ops, answer, true),
                Decision::WriteUnsynced(ops, answer) => (ops, answer, false),
                Decision::Answer(answer) => return Ok(Done { answer, last: None }),
                Decision::Confirm(answer) => {
                    drop(guard);
                    self.store.confirm()?;
                    return Ok(Done { answer, last: None });
                }
            };
            // Of those whom no mutex keeps apart, one writes what counts. A look spares the journal most of the rest.
            let is_alone = guard.as_ref().is_some_and(|guard| !guard.is_bypass());
            let is_lost = !is_alone && self.store.is_overtaken()?;
            // Whoever waits is on record in what was just read, or comes after this record and has read it. The bell is
            // held until the mutex is free for those whom it wakes, and by nobody any more once this process is dead.
            let ringing = (somebody_waits && !is_lost).then(|| self.machine.ring());
            let appended = if is_lost { Appended::Conflict } else { self.store.append_if(writing, &ops)? };
            match appended {
                Appended::Valid { head, .. } => break (answer, head.seq, is_synced, ringing),
                Appended::Conflict if guard.is_none() => guard = Some(self.enter()?),
                Appended::Conflict if self.waited(began) < self.patience.budget => {}
                Appended::Conflict => return Err(self.never_first(began)),
            }
        };
        drop(guard);
        drop(ringing);
        if !is_synced {
            self.store.leave_unsynced();
            // An index that covers a record which is not known to be durable serves nobody. A new segment begins with a
            // root that is.
            if self.seal_where_outgrown() {
                self.store.tend_index();
            }
            return Ok(Done { answer, last: Some(last) });
        }
        let unmarked = self.store.commit().inspect_err(|_| self.undurable = Some(last))?;
        if let Some(error) = unmarked {
            self.warnings.push(format!("the high-water mark was not raised: {}", chain_of(&error)));
        }
        self.seal_where_outgrown();
        self.store.tend_index();
        Ok(Done { answer, last: Some(last) })
    }

    /// Seals a segment that has outgrown its checkpoint, and drops old history; whether there was one. The answer stands
    /// already; what fails here is done by the next writer.
    fn seal_where_outgrown(&mut self) -> bool {
        let has_outgrown = self.store.has_outgrown();
        if has_outgrown && let Err(error) = self.seal_and_prune() {
            self.warnings.push(format!("the journal could not be sealed: {}", chain_of(&error)));
        }
        has_outgrown
    }

    fn seal_and_prune(&mut self) -> Result<(), LeaseError> {
        let guard = self.enter()?;
        let writing = self.writing()?;
        if self.store.seal_if_outgrown(writing)? {
            let keep =
                self.store.segment().map_or(Keep::All, |segment| Keep::by_policy(&segment.state.policy));
            history::prune(&self.disk, keep, writing.ts)?;
            if !guard.is_bypass() {
                self.sweep_strays()?;
            }
        }
        drop(guard);
        Ok(())
    }

    /// Removes what callers left behind that were killed while they replaced a file or waited. In this directory that
    /// is the mutex, which is ours now, the hint, which may fail to be raised, and the files of tickets that have ended.
    fn sweep_strays(&self) -> Result<(), JournalError> {
        let waiters = self.store.segment().map(|segment| &segment.state.waiters);
        let waits = |wake: &str| {
            let wake = Wake::parse(wake);
            waiters.is_some_and(|all| all.iter().any(|waiter| Some(waiter.wake) == wake))
        };
        for file in self.disk.list(Dir::Top)? {
            let has_ended = file.strip_prefix(wait::TICKET).is_some_and(|wake| !waits(wake));
            if file.starts_with(TEMPORARY) || has_ended || self.store.is_old_index(&file) {
                self.disk.remove(&Name::new(Dir::Top, file))?;
            }
        }
        Ok(())
    }

    /// The store as one that only looks sees it: it may be on a disk that cannot be written to.
    fn reading(&self) -> FileStore<M::Disk> {
        FileStore::new(self.disk.clone(), Access::Read).with_index_from(self.machine.index_from())
    }

    fn enter(&self) -> Result<Guard<M>, MutexError> {
        let me = Holder {
            nonce: format!("{:016x}", self.machine.random().unwrap_or_default()),
            owner: self.owner.as_str().into(),
            process: self.machine.this_process(),
            since: self.now().to_string(),
        };
        mutex::enter(&self.machine, &me, self.patience)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.machine.clock().wall_ms())
    }

    fn writing(&self) -> Result<Writing, LeaseError> {
        let nonce = self.machine.random().map_err(|source| LeaseError::Chance { source })?;
        Ok(Writing { ts: self.now(), nonce })
    }

    fn waited(&self, began: Duration) -> Duration {
        self.machine.uptime().saturating_sub(began)
    }

    fn never_first(&self, began: Duration) -> LeaseError {
        let holder = mutex::read_holder(&self.disk).ok().flatten().map(Box::new);
        let path = self.machine.store_path();
        LeaseError::Mutex(MutexError::Busy { path, waited: self.waited(began), holder })
    }
}

/// The present as it was loaded. Records never get an earlier time than their predecessors, and a decision has the
/// time of its record.
fn moment_of<D: Disk>(store: &FileStore<D>, now: Timestamp) -> Result<Moment<'_>, LeaseError> {
    let (Some(segment), Some(head)) = (store.segment(), store.head()) else {
        return Ok(Moment { state: NOTHING.get_or_init(State::default), now, next: Seq::FIRST });
    };
    let next = head.seq.next().ok_or(JournalError::Full)?;
    Ok(Moment { state: &segment.state, now: now.max(head.ts), next })
}

/// What a store without records amounts to.
static NOTHING: OnceLock<State> = OnceLock::new();

/// An error with everything behind it, in one line.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether a process of the lease is seen alive, as far as it can be told from here.
fn observe<M: Machine>(machine: &M, lease: &Lease, policy: &Policy) -> arbiter::evidence::Observation {
    let look = |process| under_policy(machine.probe(process), policy.foreign_host);
    let processes: Vec<_> = lease.processes.iter().map(look).collect();
    let alive = arbiter::evidence::Liveness::of_all(processes.iter().map(|report| report.alive));
    arbiter::evidence::Observation { lease: lease.lease, alive, processes }
}

/// Whether the process of one who waits is seen alive. Where processes cannot be told apart, the kernel still tells who
/// has a file open: whoever waits on this machine holds the file of its ticket for as long.
fn observe_waiter<M: Machine>(machine: &M, waiter: &Waiter) -> TicketObservation {
    let ticket = waiter.ticket;
    let Some(process) = &waiter.process else {
        return TicketObservation { ticket, alive: Liveness::Unknown, why: "no process is known".into() };
    };
    let report = machine.probe(process);
    let is_left = report.alive == Liveness::Unknown
        && process.boot == machine.clock().reading().boot
        && machine.is_left(&wait::ticket_file(waiter.wake));
    if is_left {
        let why = "nobody holds the file of its ticket".into();
        return TicketObservation { ticket, alive: Liveness::No, why };
    }
    TicketObservation { ticket, alive: report.alive, why: report.why }
}

impl From<JournalError> for LeaseError {
    fn from(error: JournalError) -> LeaseError {
        LeaseError::Journal(error)
    }
}
