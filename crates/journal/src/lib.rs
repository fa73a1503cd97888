//! The append-only journal of `lease-lane`.
//!
//! Bytes become pieces ([`scan`]), pieces become a chain ([`chain`]), the valid records of the chain fold
//! into the live set ([`state`]). The store ([`store`]) keeps segments on a [`disk`] and offers one way to
//! change anything: append a batch if the head is still the one that was read. What is on the disk is
//! described byte by byte in `docs/format.md`.
//!
//! Nothing here decides who may have what (that is `arbiter`), and nothing here relies on a mutex or a clock
//! for safety: two appenders without any mutex are slow, never wrong.

#![forbid(unsafe_code)]

pub mod chain;
pub mod decision;
pub mod disk;
pub mod history;
pub mod index;
pub mod line;
pub mod mark;
pub mod record;
pub mod repair;
pub mod scan;
pub mod segment;
pub mod state;
pub mod store;
pub mod watch;

mod canonical;
mod checksum;
mod digits;
mod error;

pub use error::{Damage, DamageClass, JournalError};
