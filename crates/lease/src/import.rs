//! Readers of other tools' journals, for `lease-lane import`.
//!
//! A reader turns foreign bytes into the leases they leave live, and stops there: it knows nothing of our
//! records, asks no clock and writes nothing. What becomes of those leases (new owners, regions, lifetimes) is
//! decided by the importer, so that a strange file can never grant anything by itself.

pub mod dos;
