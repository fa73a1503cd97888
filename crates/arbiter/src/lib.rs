//! Pure decisions of `lease-lane`: who may have which region of a project, and why not.
//!
//! The crate is total: every input has an answer, none panics. It knows no file, no clock, no process and no
//! chance; what the shell saw comes in as [`evidence`], so the same input gives the same verdict, byte for
//! byte, for ever (promise S4). `#![no_std]` makes that a matter of the build.
//!
//! Start at [`decide::arbitrate`]. [`region`] is the algebra under it: path patterns are regular languages,
//! so whether two of them share a path is decided exactly and shown by a witness.

#![forbid(unsafe_code)]
#![no_std]

extern crate alloc;

pub mod decide;
pub mod evidence;
pub mod exclusion;
pub mod interest;
pub mod lease;
pub mod name;
pub mod phase;
pub mod policy;
pub mod queue;
pub mod reap;
pub mod region;
pub mod request;
pub mod seq;
pub mod text;
pub mod time;
pub mod verdict;
pub mod worktree;

mod near;
