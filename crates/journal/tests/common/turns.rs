//! Several threads of which one goes at a time, in an order that a seed decides.

use std::sync::{Arc, Condvar, Mutex};

use testkit::disk::MemDisk;
use testkit::rng::Rng;

use super::script::{Process, scripted};

#[derive(Debug)]
struct Table {
    rng: Rng,
    at: usize,
    runs: bool,
    goes: Vec<bool>,
}

/// Who goes next.
#[derive(Debug)]
pub(crate) struct Turns {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Turns {
    pub(crate) fn new(seed: u64, many: usize) -> Arc<Turns> {
        let mut rng = Rng::new(seed);
        let at = rng.below(many);
        let table = Table { rng, at, runs: false, goes: vec![true; many] };
        Arc::new(Turns { table: Mutex::new(table), changed: Condvar::new() })
    }

    /// Ends the turn of `number`, if it has it, and waits for its next one.
    pub(crate) fn wait(&self, number: usize) {
        let mut table = self.table.lock().expect("no thread panics here");
        if table.at == number && table.runs {
            table.draw();
            self.changed.notify_all();
        }
        while table.at != number {
            table = self.changed.wait(table).expect("no thread panics here");
        }
        table.runs = true;
    }

    /// Leaves the game.
    pub(crate) fn leave(&self, number: usize) {
        let mut table = self.table.lock().expect("no thread panics here");
        table.goes[number] = false;
        if table.at == number {
            table.draw();
            self.changed.notify_all();
        }
    }
}

impl Table {
    fn draw(&mut self) {
        let left: Vec<usize> = (0..self.goes.len()).filter(|&n| self.goes[n]).collect();
        if !left.is_empty() {
            let pick = self.rng.below(left.len());
            self.at = left[pick];
        }
        self.runs = false;
    }
}

/// Leaves the game when its thread ends, also by a panic.
pub(crate) struct Seat(pub(crate) Arc<Turns>, pub(crate) usize);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Runs `each` in a thread of its own, one disk call at a time.
pub(crate) fn play<T: Send>(
    seed: u64,
    disk: &MemDisk,
    many: usize,
    each: impl Fn(usize, Process) -> T + Sync,
) -> Vec<T> {
    let turns = Turns::new(seed, many);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..many)
            .map(|number| {
                let mine = scripted(disk);
                mine.gate().takes_turns(&turns, number);
                let seat = Seat(Arc::clone(&turns), number);
                let each = &each;
                scope.spawn(move || {
                    let _seat = seat;
                    each(number, mine)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}
