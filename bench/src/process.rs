//! Processes that are timed, and whose answers are checked.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Answer;
use crate::tools::Work;

/// Exit code of lease-lane that says that the store was busy.
const BUSY: i32 = 4;

/// A command with nothing of this process's environment but the search path.
pub(crate) fn command(program: impl AsRef<OsStr>, work: &Work) -> Answer<Command> {
    let mut command = Command::new(found(program.as_ref()));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(&work.dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(work.talk()?);
    Ok(command)
}

/// Where a program is that is named without its place. Left to the standard library, the search would take a `fork`, whose
/// cost grows with the memory of this process: 16 ms once it holds the leases of other rows.
fn found(program: &OsStr) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(program));
    places.find(|place| place.is_file()).unwrap_or_else(|| program.into())
}

/// Runs a command that must end with `code`, and gives the seconds it took.
pub(crate) fn timed(command: &mut Command, code: i32, work: &Work) -> Answer<f64> {
    work.settle()?;
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    expect(status, code, work)?;
    Ok(time.as_secs_f64())
}

/// Fails unless a process ended with `code`.
pub(crate) fn expect(status: ExitStatus, code: i32, work: &Work) -> Answer<()> {
    if status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("{status} instead of {code}{}", said(work)).into())
}

/// Processes that were started. Whatever happens, none of them runs on into the next row.
#[derive(Default)]
pub(crate) struct Crowd(pub(crate) Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _has_ended = child.kill();
            let _is_waited_for = child.wait();
        }
    }
}

/// What became of processes that ran at once.
pub(crate) struct Ends {
    /// From the first start to the last end.
    pub(crate) time: Duration,
    codes: Vec<Option<i32>>,
}

/// Starts all, and waits for all.
pub(crate) fn at_once(commands: Vec<Command>, work: &Work) -> Answer<Ends> {
    let mut crowd = Crowd::default();
    work.settle()?;
    let start = Instant::now();
    for mut command in commands {
        crowd.0.push(command.spawn()?);
    }
    let mut codes = Vec::with_capacity(crowd.0.len());
    for child in &mut crowd.0 {
        codes.push(child.wait()?.code());
    }
    Ok(Ends { time: start.elapsed(), codes })
}

impl Ends {
    /// How many were told that the store was busy.
    pub(crate) fn busy(&self) -> usize {
        self.with(BUSY)
    }

    /// Seconds for each of them.
    pub(crate) fn share(&self) -> Answer<f64> {
        Ok(self.time.as_secs_f64() / f64::from(u32::try_from(self.codes.len())?))
    }

    /// Fails unless `zeros` ended with 0 (or were kept from it by a busy store) and all others with 1.
    pub(crate) fn expect(&self, zeros: usize, work: &Work) -> Answer<()> {
        let (granted, refused, busy) = (self.with(0), self.with(1), self.busy());
        let other = self.codes.len() - granted - refused - busy;
        if other == 0 && granted <= zeros && granted + busy >= zeros {
            return Ok(());
        }
        Err(format!(
            "{granted} ended with 0 instead of {zeros}, {refused} with 1, {busy} busy, {other} otherwise{}",
            said(work)
        )
        .into())
    }

    /// How many ended with 0.
    pub(crate) fn granted(&self) -> usize {
        self.with(0)
    }

    fn with(&self, code: i32) -> usize {
        self.codes.iter().filter(|found| **found == Some(code)).count()
    }
}

/// The last lines of what processes said on stderr.
pub(crate) fn said(work: &Work) -> String {
    let text = fs::read(work.dir.join("stderr")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}
