//! The mutex's queue on this machine: `flock` on a file that nobody ever removes.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use journal::disk::{Dir, DiskError, Name, RealDisk};

use super::Queue;

/// A place in the queue of callers that wait in the kernel.
#[derive(Debug)]
pub struct FlockQueue {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Not in the queue.
    Outside(File),
    /// Another thread of ours is in the queue.
    Queued(Receiver<io::Result<File>>),
    /// The head: the lock is ours as long as the file is open.
    Head(File),
    /// An error has ended it.
    Nowhere,
}

impl FlockQueue {
    pub(super) fn open(disk: &RealDisk) -> Result<FlockQueue, DiskError> {
        let name = Name::new(Dir::Top, "queue");
        let path = disk.path().join(&name.file);
        Ok(FlockQueue { path, place: Place::Outside(disk.open_or_make(&name)?) })
    }

    fn failed(&self, source: io::Error) -> DiskError {
        DiskError { what: "lock", path: self.path.clone(), source }
    }
}

impl Queue for FlockQueue {
    fn wait(&mut self, most: Duration) -> Result<bool, DiskError> {
        let queued = match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Outside(file) => match fs4::FileExt::try_lock(&file) {
                Ok(()) => {
                    self.place = Place::Head(file);
                    return Ok(true);
                }
                Err(fs4::TryLockError::WouldBlock) if most.is_zero() => {
                    self.place = Place::Outside(file);
                    return Ok(false);
                }
                Err(fs4::TryLockError::WouldBlock) => lock_elsewhere(file),
                Err(fs4::TryLockError::Error(source)) if source.kind() == io::ErrorKind::Interrupted => {
                    lock_elsewhere(file)
                }
                Err(fs4::TryLockError::Error(source)) => return Err(self.failed(source)),
            },
            Place::Queued(queued) => queued,
            Place::Head(file) => {
                self.place = Place::Head(file);
                return Ok(true);
            }
            Place::Nowhere => return Err(self.failed(io::Error::other("it could not be locked before"))),
        };
        match queued.recv_timeout(most) {
            Ok(Ok(file)) => {
                self.place = Place::Head(file);
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.place = Place::Queued(queued);
                Ok(false)
            }
            Ok(Err(source)) => Err(self.failed(source)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.failed(io::Error::other("the waiting thread ended")))
            }
        }
    }
}

/// `flock` knows no deadline: another thread blocks in it, this one watches the clock. If this one gives up, the lock
/// falls back to the queue as soon as the other gets it.
fn lock_elsewhere(queue: File) -> Receiver<io::Result<File>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let locked = loop {
            match fs4::FileExt::lock(&queue) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => break locked,
            }
        };
        // Nobody may be listening any more; dropping the file gives the lock back.
        let _heard = send.send(locked.map(|()| queue));
    });
    receive
}
