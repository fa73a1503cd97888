//! What is measured: one table of all rows, with what each is divided by and what it must hold.

use std::time::Duration;

/// How a row's number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds for each record.
    Ns,
    /// Mebibytes.
    Mib,
}

impl Unit {
    /// How many of it make one of what is measured: seconds, or bytes.
    fn scale(self) -> f64 {
        match self {
            Unit::Ms => 1e3,
            Unit::Us => 1e6,
            Unit::Ns => 1e9,
            Unit::Mib => 1.0 / f64::from(1 << 20),
        }
    }

    /// Seconds or bytes as a number of this unit.
    pub(crate) fn of(self, value: f64) -> f64 {
        value * self.scale()
    }

    /// Its sign.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Unit::Ms => "ms",
            Unit::Us => "µs",
            Unit::Ns => "ns",
            Unit::Mib => "MiB",
        }
    }
}

/// What a row must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Nothing: it is there to be seen.
    None,
    /// At most so many times its base.
    Times(f64),
    /// At most so many times its base, and so many seconds on top.
    TimesAnd(f64, f64),
    /// At most so many seconds or bytes, whatever its base.
    AtMost(f64),
    /// At most so many times its base, or at most so many seconds.
    TimesOr(f64, f64),
    /// No process is told that the store is busy.
    NeverBusy,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    /// The row it is divided by.
    pub(crate) base: &'static str,
    /// How its number is shown.
    pub(crate) unit: Unit,
    /// It takes part in every n-th round.
    pub(crate) every: usize,
    /// What it must hold.
    pub(crate) goal: Goal,
    /// What it does, in a few words.
    pub(crate) what: &'static str,
}

const CHEAP: usize = 1;
const DEAR: usize = 10;
const DEAREST: usize = 40;

/// A wait for a grant as long as this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const fn row(
    name: &'static str,
    base: &'static str,
    unit: Unit,
    every: usize,
    goal: Goal,
    what: &'static str,
) -> Spec {
    Spec { name, base, unit, every, goal, what }
}

/// All rows, in the order shown.
#[rustfmt::skip]
pub(crate) const ROWS: &[Spec] = {
    use Goal::{AtMost, NeverBusy, None, Times, TimesAnd, TimesOr};
    use Unit::{Mib, Ms, Ns, Us};
    const MIB: f64 = 1_048_576.0;
    const LITTLE: Goal = TimesAnd(1.2, 0.3e-3);
    &[
        row("floor",        "floor",        Ms,  CHEAP,   None,                  "static C: lock file, read 16 KiB, append 300 bytes, fdatasync, unlink"),
        row("hello",        "floor",        Ms,  CHEAP,   None,                  "fork and exec of a static C program that says hello"),
        row("hello-rust",   "floor",        Ms,  CHEAP,   None,                  "fork and exec of a Rust program that says hello, built as lease-lane is"),
        row("flock",        "floor",        Ms,  CHEAP,   None,                  "flock(1) FILE true: no identity, no regions, no history, nothing durable"),
        row("sqlite",       "floor",        Ms,  CHEAP,   None,                  "SQLite from C: open, one insert of 300 bytes, WAL, synchronous=FULL"),
        row("dos",          "floor",        Ms,  DEAREST, None,                  "dos lease-lane acquire of dos-kernel (Python)"),

        row("acquire",      "floor",        Ms,  CHEAP,   Times(1.5),            "acquire: a durable grant, store without history"),
        row("refuse",       "hello-rust",   Ms,  CHEAP,   LITTLE,                "acquire that is refused: the region is taken"),
        row("release",      "floor",        Ms,  CHEAP,   None,                  "release"),
        row("heartbeat",    "floor",        Ms,  CHEAP,   None,                  "heartbeat"),
        row("check",        "hello-rust",   Ms,  CHEAP,   LITTLE,                "check of one path that is held"),
        row("live",         "hello-rust",   Ms,  CHEAP,   LITTLE,                "live, with one lease"),
        row("run",          "acquire",      Ms,  CHEAP,   None,                  "run -- true: two durable records and three processes"),

        row("history-1e4",  "acquire",      Ms,  CHEAP,   Times(1.1),            "acquire behind a history of 10^4 records"),
        row("history-1e6",  "acquire",      Ms,  CHEAP,   Times(1.1),            "acquire behind a history of 10^6 records"),
        row("among-100",    "acquire",      Ms,  CHEAP,   None,                  "acquire among 100 live leases"),
        row("among-1e4",    "acquire",      Ms,  DEAR,    None,                  "acquire among 10^4 live leases"),
        row("among-1e5",    "acquire",      Ms,  DEAREST, Times(4.0),            "acquire among 10^5 live leases"),

        row("floor-64",     "floor",        Ms,  DEAR,    None,                  "64 floors at once, each in its own directory; each one's share"),
        row("serial-64",    "floor",        Ms,  DEAR,    None,                  "64 acquires one after another on disjoint regions; each one's share"),
        row("disjoint-8",   "serial-64",    Ms,  DEAR,    None,                  "8 acquires at once on disjoint regions: 8 grants; each one's share"),
        row("disjoint-64",  "serial-64",    Ms,  DEAR,    Times(1.2),            "64 acquires at once on disjoint regions: 64 grants; each one's share"),
        row("disjoint-256", "serial-64",    Ms,  DEAR,    NeverBusy,             "256 acquires at once on disjoint regions: 256 grants; each one's share"),
        row("one-8",        "serial-64",    Ms,  DEAR,    None,                  "8 acquires at once on one region: 1 grant, 7 refusals; each one's share"),
        row("one-64",       "serial-64",    Ms,  DEAR,    None,                  "64 acquires at once on one region: 1 grant, 63 refusals; each one's share"),
        row("one-256",      "serial-64",    Ms,  DEAR,    NeverBusy,             "256 acquires at once on one region: 1 grant, 255 refusals; each one's share"),
        row("hand-over-8",  "acquire",      Ms,  DEAR,    Times(3.0),            "8 in a line: from the start of a release to the end of the next one's acquire --wait; the median of a line"),
        row("hand-over-200", "acquire",      Ms,  DEAREST, Times(3.0),            "the same at the front of a line of 200"),

        row("library-1",    "floor",        Us,  DEAR,    None,                  "a process that acquires and releases in a loop: each pair, two durable records"),
        row("library-8",    "floor",        Us,  DEAR,    None,                  "8 such processes at once on disjoint regions: each pair's share"),
        row("decide-100",   "floor",        Us,  DEAR,    AtMost(20e-6),         "the decision alone, in memory, among 100 live leases"),
        row("decide-1e4",   "decide-100",   Us,  DEAR,    None,                  "the same among 10^4"),
        row("decide-1e5",   "decide-100",   Us,  DEAR,    None,                  "the same among 10^5"),

        row("scan",         "scan",         Ns,  DEAREST, None,                  "read the 10^6 records, find the newlines, check the checksums; each record"),
        row("replay",       "scan",         Ns,  DEAREST, TimesOr(5.0, 1.0 / 3e6), "replay of the 10^6 records in a process: the live set; each record"),
        row("verify",       "scan",         Ns,  DEAREST, None,                  "verify of the 10^6 records in a process: every rule; each record"),

        row("memory-hello", "memory-hello", Mib, DEAREST, None,                  "resident memory of hello-rust"),
        row("memory",       "memory-hello", Mib, DEAREST, AtMost(6.0 * MIB),     "resident memory of acquire, store without history"),
        row("memory-1e6",   "memory-hello", Mib, DEAREST, AtMost(6.0 * MIB),     "the same behind a history of 10^6 records"),
        row("memory-1e5",   "memory-hello", Mib, DEAREST, None,                  "the same among 10^5 live leases"),
        row("binary-hello", "binary-hello", Mib, DEAREST, None,                  "the file of hello-rust"),
        row("binary",       "binary-hello", Mib, DEAREST, AtMost(4.0 * MIB),     "the file of lease-lane"),
    ]
};

/// The row of this name.
pub(crate) fn spec(name: &str) -> Option<&'static Spec> {
    ROWS.iter().find(|spec| spec.name == name)
}

/// What takes too long to make for a quick look.
const LARGE: &[&str] = &[
    "history-1e6",
    "among-1e5",
    "hand-over-200",
    "decide-1e5",
    "scan",
    "replay",
    "verify",
    "memory-1e6",
    "memory-1e5",
];

/// The rows that a quick look leaves out.
pub(crate) fn large() -> String {
    LARGE.join(", ")
}

/// The rows asked for (all, if none is; all that are not large, if it is for a quick look) and those they are divided
/// by.
pub(crate) fn wanted(only: &[String], quick: bool) -> Vec<&'static str> {
    let is_asked_for = |name: &&str| match only {
        [] => !quick || !LARGE.contains(name),
        only => only.iter().any(|one| one == name),
    };
    let mut wanted: Vec<&'static str> = ROWS.iter().map(|spec| spec.name).filter(is_asked_for).collect();
    let mut at = 0;
    while at < wanted.len() {
        let base = spec(wanted[at]).map_or(wanted[at], |spec| spec.base);
        if !wanted.contains(&base) {
            wanted.push(base);
        }
        at += 1;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_there_once_and_so_is_what_it_is_divided_by() {
        for spec in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.name == spec.name).count(), 1, "{}", spec.name);
            let base = super::spec(spec.base).expect(spec.base);
            assert!(spec.every.is_multiple_of(base.every), "{} has rounds without {}", spec.name, base.name);
        }
    }

    #[test]
    fn a_row_brings_those_along_that_it_is_divided_by() {
        assert_eq!(wanted(&["disjoint-8".to_owned()], false), ["disjoint-8", "serial-64", "floor"]);
        assert_eq!(wanted(&["floor".to_owned()], true), ["floor"]);
        assert_eq!(wanted(&[], false).len(), ROWS.len());
        assert_eq!(wanted(&[], true).len(), ROWS.len() - LARGE.len());
        assert_eq!(wanted(&["replay".to_owned()], true), ["replay", "scan"]);
    }
}
