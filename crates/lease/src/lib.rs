//! The imperative shell of `lease-lane`: the only crate that knows processes, clocks and paths.
//!
//! [`place`] finds the store, [`paths`] and [`owner`] turn what a caller says into what the arbiter sees,
//! [`mutex`] makes writers fast, [`session`] is read-arbitrate-append; both run on a [`machine`]. There is no admission rule here.

#![forbid(unsafe_code)]

pub mod clock;
pub mod import;
pub mod machine;
pub mod mutex;
pub mod owner;
pub mod paths;
pub mod place;
pub mod policy_file;
pub mod process;
pub mod regions;
pub mod session;
pub mod supervise;
