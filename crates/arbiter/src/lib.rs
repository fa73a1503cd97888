//! Pure decisions of `lease-lane`.
#![no_std]

extern crate alloc;
