//! Benchmarks as ratios.
fn main() {}
