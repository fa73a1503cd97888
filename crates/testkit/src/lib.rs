//! What the tests of this workspace share. Nothing that is shipped depends on it.
//!
//! - [`disk`]: a disk in memory that fails, tears, fills up and forgets on demand; one model of what a disk may
//!   do, for the journal's tests and for the simulator.
//! - [`rng`]: random numbers that are the same every time.
#![forbid(unsafe_code)]

pub mod disk;
pub mod rng;
