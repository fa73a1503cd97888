//! A deterministic world in which the shipped code of `lease-lane` runs: many processes on one disk, each a stack that
//! stops before every call, under a scheduler that a seed decides.
//!
//! What runs is `lease::session`, `lease::mutex` and `journal` as they are shipped, over the seams
//! [`lease::machine::Machine`] and [`journal::disk::Disk`]. [`run`] plays a seed and checks the promises after every
//! step; [`explore`] goes through every order there is for a few short processes.

#![forbid(unsafe_code)]

pub mod bells;
pub mod errand;
pub mod explore;
pub mod machine;
pub mod process;
pub mod run;
pub mod tenure;
pub mod truth;
pub mod weather;
pub mod world;
