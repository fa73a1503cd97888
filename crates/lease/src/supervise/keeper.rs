//! Keeps a lease alive, and says when it must not be counted on any more.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::time::Duration;

use arbiter::lease::Halted;
use journal::disk::{DiskError, RealDisk};
use journal::watch::Watch;

use super::{Kept, Stop};
use crate::machine::RealMachine;
use crate::session::{Miss, Session, Which, chain_of, told_of};

/// How many times a lease beats before it would expire.
const BEATS_PER_TTL: u64 = 3;
/// How often to look at a journal that changes all the time.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long nothing is opened at first. Many a command has ended by then, and to give a watch back costs milliseconds
/// that the end of the process would wait for.
const SETTLED: Duration = Duration::from_millis(100);
/// How long to wait at most: deadlines are in time that passes while the machine sleeps, waits are not.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How soon to try again when a beat has failed.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the keeper says to the one who watches over the worker.
#[derive(Debug)]
pub(super) enum Word {
    /// Something went wrong without an end to the lease.
    Warning(String),
    /// The worker has to end.
    Stop(Stop),
}

pub(super) struct Keeper {
    pub(super) kept: Kept,
    pub(super) words: Sender<Word>,
    pub(super) waker: UnixStream,
}

impl Keeper {
    /// Beats and looks until there is nothing to keep or nobody to tell.
    pub(super) fn keep(mut self, open: impl FnOnce() -> Result<RealDisk, DiskError>) {
        let interval_ms = (self.kept.ttl.as_ms() / BEATS_PER_TTL).max(1);
        // What is decided meanwhile is on record, and read when this is over.
        std::thread::sleep(SETTLED.min(Duration::from_millis(interval_ms / 2)));
        let disk = match open() {
            Ok(disk) => disk,
            Err(error) => {
                self.tell(Word::Stop(Stop::Lost(format!(
                    "the store cannot be opened: {}",
                    chain_of(&error)
                ))));
                return;
            }
        };
        let clock = self.kept.clock;
        let machine = RealMachine::new(&disk).with_clock(clock);
        let mut session = Session::on(machine, self.kept.owner.clone(), self.kept.patience);
        let mut watch = Watch::new(&disk);
        let ttl_ms = self.kept.ttl.as_ms();
        // The first beat is counted from the grant, which may have been waited for.
        let granted = session.lease(self.kept.lease).ok().flatten().and_then(|lease| lease.clock);
        let mut beaten_ms = granted.map_or_else(|| clock.up_ms(), |granted| granted.up_ms);
        let mut next_ms = beaten_ms + interval_ms;
        let mut halted = None;
        let mut failing = false;
        loop {
            let beat = (next_ms <= clock.up_ms()).then(|| {
                let now_ms = clock.up_ms();
                (now_ms, session.heartbeat(&Which::Lease(self.kept.lease), Some(self.kept.fence), None))
            });
            for warning in session.take_warnings() {
                self.tell(Word::Warning(warning));
            }
            let seen = match beat {
                None => self.look(&mut session),
                Some((now_ms, Ok(beat))) => {
                    (beaten_ms, next_ms, failing) = (now_ms, now_ms + interval_ms, false);
                    beat.map(|beaten| beaten.halted).map_err(|miss| lost_to(&miss))
                }
                Some((_, Err(error))) => {
                    let now_ms = clock.up_ms();
                    if beaten_ms + ttl_ms < now_ms {
                        Err(format!("it could not beat for its whole time: {}", chain_of(&error)))
                    } else {
                        next_ms = now_ms + interval_ms.min(millis(RETRY_MAX));
                        if !std::mem::replace(&mut failing, true) {
                            self.tell(Word::Warning(format!("a beat failed: {}", chain_of(&error))));
                        }
                        Ok(halted.clone())
                    }
                }
            };
            match seen {
                Err(why) => {
                    self.tell(Word::Stop(Stop::Lost(why)));
                    return;
                }
                // It is beaten for as long as the worker takes to end.
                Ok(Some(decision)) if halted.as_ref() != Some(&decision) => {
                    halted = Some(decision.clone());
                    self.tell(Word::Stop(Stop::Halted(decision)));
                }
                Ok(_) => {}
            }
            let left = Duration::from_millis(next_ms.saturating_sub(clock.up_ms()));
            watch.wait(left.min(WAIT_MAX));
            // Others write too, and each of their records wakes us.
            std::thread::sleep(LOOK_AGAIN.min(left));
        }
    }

    /// The stop decision that is on record, if any; why the lease is lost, if it is.
    fn look(&self, session: &mut Session<RealMachine<'_>>) -> Result<Option<Halted>, String> {
        let Kept { lease, fence, owner, .. } = &self.kept;
        match session.lease(*lease) {
            Ok(Some(held)) if held.fence == *fence && held.owner == *owner => Ok(held.halted),
            Ok(held) => Err(match (session.miss(&Which::Lease(*lease), Some(*fence)), held) {
                (Ok(Some(miss)), _) => lost_to(&miss),
                (_, Some(held)) => lost_to(&Miss::NotYours(Box::new(held))),
                (_, None) => lost_to(&Miss::NotHeld),
            }),
            // The next beat tells more, and has its time.
            Err(_) => Ok(None),
        }
    }

    fn tell(&mut self, word: Word) {
        // Who does not listen any more has seen the worker end.
        let _unheard = self.words.send(word);
        let _woken_already = self.waker.write(&[0]);
    }
}

/// What has become of a lease that is no longer kept: who has it or has ended it, and why.
pub fn lost_to(miss: &Miss) -> String {
    match miss {
        Miss::NotHeld => "it has ended".into(),
        Miss::NotYours(held) | Miss::Fenced(held) => format!("it belongs to `{}` by now", held.owner),
        Miss::Expired(ended) => told_of(ended),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
