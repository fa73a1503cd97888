//! The `lease-lane` command.
fn main() {}
