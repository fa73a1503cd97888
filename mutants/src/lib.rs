//! Deliberate bugs, one file each in `mutants/bugs`, and who is expected to find them.
//!
//! A test that cannot fail proves nothing. Each file here takes one step of docs/safety.md out of the code; the
//! runner (`scripts/mutants`) shows that the simulator or a named test notices.

#![forbid(unsafe_code)]

pub mod mutant;
pub mod tree;
pub mod trial;
