//! The table as a document.

use std::path::Path;

use crate::report::{HEADS, Report, Row};

const HEAD: &str = "\
# Benchmarks

Written by `scripts/bench --markdown docs/benchmarks.md --chart docs/benchmarks.svg`, which builds everything it needs, takes a few minutes, and is the way to
write this page again. `scripts/bench --quick` prints the same table in under a minute, `--only ROW` a part of it, `--help` the rows.

";

const READING: &str = "
## How to read it

- Milliseconds of one machine say nothing about another: **read the ratios.** Each is formed with the row named under *to*, measured in the same round, in the same directory, a moment
  before or after. Rows take turns, and the first of a round changes. *median* and *IQR* (the middle half) are those of `n` rounds; a wide IQR says that the machine was busy with something else.
- Every answer is checked. A wrong exit code, a missing grant or a second one, a lost row of SQLite ends the run: a benchmark of failures is worth nothing.
- `floor` is what any durable grant costs at least as a process of its own: static C, fork and exec, a lock file made with `O_EXCL`, 16 KiB read, 300 bytes appended, `fdatasync`, unlink.
  `hello-rust` is the least that a program costs which is built as lease-lane is. Before each timed call the file system is asked to settle what earlier rows left behind.
- `sqlite` leaves its WAL to the next who opens it and links the library statically: its fastest way. It has no regions, no holders and no refusals. `flock` makes nothing durable. `dos` starts Python.
- A crowd's time is divided by its size, so that 1.00 means: as fast as one after another. On more processors a crowd is faster.
- Every program is a copy of what was built, as an installation makes it: a file that a linker has written in pieces costs more page faults.
- The long history and the many live leases are made by the encoder of the journal, without a process for each, and are read by `lease-lane verify` before anything is measured.
- `replay` and `verify` run in the bench's process, on the same files as `scan`; 333 ns a record are 3 million records a second.
- *target* is what this project promises of itself. One that is not held is a fault that is known.
- Nothing here fails a build: times depend on the neighbours. What is counted instead, system calls and instructions, is guarded by `scripts/budget`.
";

/// Renders the page.
pub(crate) fn render(report: &Report, chart: Option<&Path>) -> String {
    let mut text = HEAD.to_owned();
    if let Some(name) = chart.and_then(Path::file_name).and_then(std::ffi::OsStr::to_str) {
        text.push_str(&format!("![Each row as a multiple of what it is divided by]({name})\n\n"));
    }
    for (name, value) in &report.facts {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    for (name, why) in &report.skipped {
        text.push_str(&format!("- **skipped** `{name}`: {why}\n"));
    }
    let (held, all) = report.held();
    text.push_str(&format!("- targets: {held} of {all} held\n\n"));
    line(&mut text, &HEADS.map(str::to_owned));
    text.push_str("|---|--:|--:|--:|--:|--:|---|---|---|---|\n");
    for cells in report.rows.iter().map(Row::cells) {
        let [name, count, median, iqr, ratio, ratio_iqr, base, target, held, what] = cells;
        let held = if held == "NOT HELD" { "**not held**".to_owned() } else { held };
        line(
            &mut text,
            &[
                format!("`{name}`"),
                count,
                median,
                iqr,
                format!("**{ratio}**"),
                ratio_iqr,
                format!("`{base}`"),
                target,
                held,
                what,
            ],
        );
    }
    text.push_str(READING);
    text
}

fn line(text: &mut String, cells: &[String; 10]) {
    text.push_str(&format!("| {} |\n", cells.join(" | ")));
}
