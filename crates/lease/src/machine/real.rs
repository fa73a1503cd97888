//! The machine this process runs on.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbiter::evidence::{ProcessIdentity, ProcessReport};
use journal::disk::{DiskError, Name, RealDisk};
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

use super::bell::{self, Before};
use super::{FlockQueue, Interrupt, Machine, Ringing, Sign, Wake};
use crate::clock::{Clock, SystemClock};
use crate::process::{self, Here};

/// The real one: a store on a real disk, this kernel's processes and random numbers, and a clock.
#[derive(Clone, Copy, Debug)]
pub struct RealMachine<'d> {
    disk: &'d RealDisk,
    clock: &'d dyn Clock,
    interrupt: Option<&'d Interrupt>,
}

impl<'d> RealMachine<'d> {
    /// This machine, with the store on `disk`.
    pub fn new(disk: &'d RealDisk) -> RealMachine<'d> {
        RealMachine { disk, clock: &SystemClock, interrupt: None }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: &'d dyn Clock) -> RealMachine<'d> {
        RealMachine { clock, ..self }
    }

    /// The same for a caller that may be told to stop while it waits.
    #[must_use]
    pub fn with_interrupt(self, interrupt: &'d Interrupt) -> RealMachine<'d> {
        RealMachine { interrupt: Some(interrupt), ..self }
    }
}

impl<'d> Machine for RealMachine<'d> {
    type Disk = &'d RealDisk;
    type Queue = FlockQueue;
    type Sign = Sign;
    type Ringing = Ringing;
    type Watch = Wake<'d>;

    fn disk(&self) -> &'d RealDisk {
        self.disk
    }

    fn store_path(&self) -> PathBuf {
        self.disk.path().to_owned()
    }

    fn clock(&self) -> &dyn Clock {
        self.clock
    }

    fn uptime(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0u8; 8];
        retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn this_process(&self) -> Option<ProcessIdentity> {
        process::current().ok()
    }

    fn probe(&self, process: &ProcessIdentity) -> ProcessReport {
        process::probe(process, Here::this())
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn queue(&self) -> Result<FlockQueue, DiskError> {
        FlockQueue::open(self.disk)
    }

    fn watch(&self) -> Wake<'d> {
        Wake::new(self.disk, self.interrupt)
    }

    fn put_up(&self, ticket: &Name) -> Option<Sign> {
        Sign::put_up(self.disk, ticket)
    }

    fn take_down(&self, ticket: &Name) {
        bell::take_down(self.disk, ticket);
    }

    fn is_left(&self, ticket: &Name) -> bool {
        matches!(Before::look(self.disk, ticket), Before::Left)
    }

    fn ring(&self) -> Ringing {
        Ringing::begin(self.disk)
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_some_and(Interrupt::is_asked)
    }
}
