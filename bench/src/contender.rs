//! The rows: what is timed, what is prepared outside of the timed part, and how each answer is checked.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::verdict::Verdict;
use journal::disk::RealDisk;
use lease::clock::SystemClock;
use lease::mutex::Patience;
use lease::session::{Ask, Session, Which};
use serde_json::Value;

use crate::Answer;
use crate::args::Args;
use crate::tools::{self, Tools, Work};

/// How many processes the contention rows start at once.
const CROWD: usize = 64;

/// How many stand in the line of the `hand-over` row.
const LINE: usize = 8;

/// The journal the floor reads is made new when it has grown to this.
const FLOOR_JOURNAL_BYTES: std::ops::Range<u64> = 16 * 1024..24 * 1024;

/// How many processes make history at once: with fewer the disk idles, with more the processors are the limit.
const HISTORIANS: u64 = 8;

/// One row.
pub(crate) trait Contender {
    /// Its name on the command line and in the table.
    fn name(&self) -> &'static str;
    /// What it does, in a few words.
    fn what(&self) -> &'static str;
    /// The row it is divided by.
    fn base(&self) -> &'static str {
        "floor"
    }
    /// It takes part in every n-th round.
    fn every(&self) -> usize {
        1
    }
    /// Prepares, times and checks one go.
    fn once(&mut self, round: usize) -> Answer<Duration>;
}

/// Makes the rows that were asked for, and those they are compared with.
pub(crate) fn chosen<'a>(
    args: &Args,
    tools: &'a Tools,
    work: &'a Work,
) -> Answer<Vec<Box<dyn Contender + 'a>>> {
    let lane = |store| LeaseLane { program: &tools.lease_lane, store, work };
    let needed_by =
        |names: &[&str]| args.only.is_empty() || args.only.iter().any(|only| names.contains(&only.as_str()));
    let mut chosen: Vec<Box<dyn Contender + 'a>> = Vec::new();
    if needed_by(&["floor", "hello", "flock", "acquire", "run", "acquire-history", "hand-over"]) {
        chosen.push(Box::new(Floor { program: &tools.floor, dir: work.sub("floor-dir")?, work }));
    }
    if needed_by(&["hello"]) {
        chosen.push(Box::new(Hello { program: &tools.hello, work }));
    }
    if needed_by(&["flock"]) {
        if tools::is_installed("flock") {
            chosen.push(Box::new(Flock { file: work.dir.join("flock"), work }));
        } else {
            eprintln!("bench: SKIPPED the row flock: flock(1) is missing");
        }
    }
    if needed_by(&["acquire", "run", "acquire-history", "hand-over"]) {
        chosen.push(Box::new(Acquire { work, program: &tools.lease_lane }));
    }
    if needed_by(&["run"]) {
        chosen.push(Box::new(Run { work, program: &tools.lease_lane }));
    }
    if needed_by(&["acquire-history"]) {
        let lane = lane(work.sub("history")?);
        make_history(&lane, args.history)?;
        chosen.push(Box::new(AcquireHistory { lane }));
    }
    if needed_by(&["hand-over"]) {
        chosen.push(Box::new(HandOver { work, program: &tools.lease_lane }));
    }
    if needed_by(&["floor-64", "disjoint-64", "one-64"]) {
        chosen.push(Box::new(FloorCrowd { program: &tools.floor, dirs: Vec::new(), work }));
    }
    if needed_by(&["disjoint-64"]) {
        chosen.push(Box::new(Disjoint { work, program: &tools.lease_lane }));
    }
    if needed_by(&["one-64"]) {
        chosen.push(Box::new(One { work, program: &tools.lease_lane }));
    }
    Ok(chosen)
}

/// Fills a store with at least `records` records and leaves nothing live.
///
/// Goes through the library, which writes what the command writes without a process for each record; several
/// threads share their syncs.
fn make_history(lane: &LeaseLane<'_>, records: u64) -> Answer<()> {
    if records == 0 {
        return lane.prime();
    }
    eprintln!("bench: making a history of {records} records");
    let start = Instant::now();
    let pairs = records.div_ceil(2).div_ceil(HISTORIANS);
    thread::scope(|scope| -> Answer<()> {
        let threads: Vec<_> = (0..HISTORIANS)
            .map(|historian| {
                scope.spawn(move || -> Result<(), String> {
                    write_history(&lane.store, historian, pairs).map_err(|error| error.to_string())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a historian panicked")??;
        }
        Ok(())
    })?;
    let live = lane.live()?;
    let seq = live["seq"].as_u64().ok_or("`live` gives no seq")?;
    if seq < records || !leases(&live)?.is_empty() {
        return Err(format!(
            "the history has {seq} records instead of {records}, or a lease is left: {live}"
        )
        .into());
    }
    eprintln!("bench: {seq} records in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// One historian: so many leases, each taken and given back.
fn write_history(store: &Path, historian: u64, pairs: u64) -> Answer<()> {
    let disk = RealDisk::open_or_create(store)?;
    let owner = OwnerName::new("bench")?;
    let mut session = Session::new(&disk, &SystemClock, owner.clone(), Patience::default());
    let name = LaneName::new(format!("historian-{historian}"))?;
    for turn in 0..pairs {
        let mut request = Request::of(owner.clone());
        request.lane = Some(name.clone());
        request.tree =
            Region::parse([format!("historian-{historian}/{turn}/**")]).map_err(|e| e.to_string())?;
        let ask = Ask { request, policy: Policy::default(), with_leases: Vec::new(), dry_run: false };
        let granted = session.acquire(&ask)?;
        if !matches!(granted.verdict, Verdict::Grant(_)) {
            return Err(format!("refused: {granted:?}").into());
        }
        if session.release(&Which::Lane(name.clone()), None)?.is_err() {
            return Err(format!("`{name}` could not be given back").into());
        }
    }
    Ok(())
}

struct Hello<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for Hello<'_> {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn what(&self) -> &'static str {
        "fork and exec of a static program that says hello"
    }

    fn once(&mut self, _: usize) -> Answer<Duration> {
        self.work.settle()?;
        timed(&mut command(self.program, self.work)?, 0, self.work)
    }
}

struct Floor<'a> {
    program: &'a Path,
    dir: PathBuf,
    work: &'a Work,
}

impl Contender for Floor<'_> {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn what(&self) -> &'static str {
        "static C: lock file, read 16 KiB, append 300 bytes, fdatasync, unlink"
    }

    fn once(&mut self, _: usize) -> Answer<Duration> {
        let before = floor_journal(&self.dir)?;
        self.work.settle()?;
        let time = timed(command(self.program, self.work)?.arg(&self.dir), 0, self.work)?;
        check_floor(&self.dir, before)?;
        Ok(time)
    }
}

/// Makes the floor's journal new if it is missing or has grown, and gives its length.
fn floor_journal(dir: &Path) -> Answer<u64> {
    let path = dir.join("journal");
    let bytes = fs::metadata(&path).map_or(0, |data| data.len());
    if FLOOR_JOURNAL_BYTES.contains(&bytes) {
        return Ok(bytes);
    }
    let text = format!("{}\n", "x".repeat(255)).repeat(64);
    fs::write(&path, &text)?;
    Ok(text.len() as u64)
}

fn check_floor(dir: &Path, before: u64) -> Answer<()> {
    let after = fs::metadata(dir.join("journal"))?.len();
    if after != before + 300 || dir.join("lock").exists() {
        return Err(format!("the floor's journal grew from {before} to {after} bytes").into());
    }
    Ok(())
}

struct Flock<'a> {
    file: PathBuf,
    work: &'a Work,
}

impl Contender for Flock<'_> {
    fn name(&self) -> &'static str {
        "flock"
    }

    fn what(&self) -> &'static str {
        "flock(1) FILE true: no identity, no regions, no history, nothing durable"
    }

    fn once(&mut self, _: usize) -> Answer<Duration> {
        self.work.settle()?;
        timed(command("flock", self.work)?.arg(&self.file).arg("true"), 0, self.work)
    }
}

/// A durable grant by a fresh process in a store that exists and holds nothing.
struct Acquire<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for Acquire<'_> {
    fn name(&self) -> &'static str {
        "acquire"
    }

    fn what(&self) -> &'static str {
        "lease-lane acquire, store without history"
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        let store = self.work.sub(&format!("acquire-{round}"))?;
        let lane = LeaseLane { program: self.program, store, work: self.work };
        lane.prime()?;
        lane.acquire_timed(round)
    }
}

/// A command under a lease: two durable records and three processes.
struct Run<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for Run<'_> {
    fn name(&self) -> &'static str {
        "run"
    }

    fn what(&self) -> &'static str {
        "lease-lane run -- true, store without history"
    }

    fn base(&self) -> &'static str {
        "acquire"
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        let store = self.work.sub(&format!("run-{round}"))?;
        let lane = LeaseLane { program: self.program, store, work: self.work };
        lane.prime()?;
        let mut run = lane.command(["run", "bench", "--tree", "src/**", "--", "true"])?;
        self.work.settle()?;
        timed(&mut run, 0, self.work)
    }
}

/// The same in a store with a long history.
struct AcquireHistory<'a> {
    lane: LeaseLane<'a>,
}

impl Contender for AcquireHistory<'_> {
    fn name(&self) -> &'static str {
        "acquire-history"
    }

    fn what(&self) -> &'static str {
        "lease-lane acquire, store with --history records"
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        self.lane.acquire_timed(round)
    }
}

/// A line of waiters for one region: from the start of a release to the end of the process that it lets in.
struct HandOver<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for HandOver<'_> {
    fn name(&self) -> &'static str {
        "hand-over"
    }

    fn what(&self) -> &'static str {
        "one of 8 hand-overs along a line: lease-lane release, and the first waiter's answer"
    }

    fn base(&self) -> &'static str {
        "acquire"
    }

    fn every(&self) -> usize {
        10
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        let store = self.work.sub(&format!("hand-over-{round}"))?;
        let lane = LeaseLane { program: self.program, store, work: self.work };
        lane.prime()?;
        lane.acquire("held", "src/**")?;
        let mut line = Vec::new();
        for n in 0..LINE {
            line.push(
                lane.command(["acquire", &format!("next-{n}"), "--tree", "src/**", "--wait", "1m"])?
                    .spawn()?,
            );
            while lane.live()?["waiters"].as_array().map_or(0, Vec::len) <= n {}
        }
        self.work.settle()?;
        let mut time = Duration::ZERO;
        let mut holder = "held".to_owned();
        for (n, next) in line.into_iter().enumerate() {
            let start = Instant::now();
            lane.release(&holder)?;
            let code = wait(next)?;
            time += start.elapsed();
            if code != Some(0) {
                return Err(format!("waiter {n} ended with {code:?}{}", said(self.work)).into());
            }
            holder = format!("next-{n}");
        }
        lane.release(&holder)?;
        Ok(time / u32::try_from(LINE)?)
    }
}

/// Many floors at once, each in a directory of its own: the machine without any contention for a lock.
struct FloorCrowd<'a> {
    program: &'a Path,
    dirs: Vec<PathBuf>,
    work: &'a Work,
}

impl Contender for FloorCrowd<'_> {
    fn name(&self) -> &'static str {
        "floor-64"
    }

    fn what(&self) -> &'static str {
        "64 floors at once, each in its own directory"
    }

    fn base(&self) -> &'static str {
        "floor-64"
    }

    fn every(&self) -> usize {
        10
    }

    fn once(&mut self, _: usize) -> Answer<Duration> {
        while self.dirs.len() < CROWD {
            self.dirs.push(self.work.sub(&format!("floor-dir-{}", self.dirs.len()))?);
        }
        let before = self.dirs.iter().map(|dir| floor_journal(dir)).collect::<Answer<Vec<u64>>>()?;
        let mut commands = Vec::new();
        for dir in &self.dirs {
            let mut floor = command(self.program, self.work)?;
            floor.arg(dir);
            commands.push(floor);
        }
        self.work.settle()?;
        let (time, codes) = crowd(commands)?;
        expect_codes(&codes, CROWD, self.work)?;
        for (dir, before) in self.dirs.iter().zip(before) {
            check_floor(dir, before)?;
        }
        Ok(time)
    }
}

/// Many processes at once, each wants a region of its own: all must get it.
struct Disjoint<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for Disjoint<'_> {
    fn name(&self) -> &'static str {
        "disjoint-64"
    }

    fn what(&self) -> &'static str {
        "64 lease-lane acquire at once on disjoint regions: 64 grants"
    }

    fn base(&self) -> &'static str {
        "floor-64"
    }

    fn every(&self) -> usize {
        10
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        let store = self.work.sub(&format!("disjoint-{round}"))?;
        let lane = LeaseLane { program: self.program, store, work: self.work };
        lane.contend(CROWD, |n| (format!("branch-{n}"), format!("src/part-{n}/**")))
    }
}

/// Many processes at once, all want the same region: exactly one must get it.
struct One<'a> {
    program: &'a Path,
    work: &'a Work,
}

impl Contender for One<'_> {
    fn name(&self) -> &'static str {
        "one-64"
    }

    fn what(&self) -> &'static str {
        "64 lease-lane acquire at once on one region: 1 grant, 63 refusals"
    }

    fn base(&self) -> &'static str {
        "floor-64"
    }

    fn every(&self) -> usize {
        10
    }

    fn once(&mut self, round: usize) -> Answer<Duration> {
        let store = self.work.sub(&format!("one-{round}"))?;
        let lane = LeaseLane { program: self.program, store, work: self.work };
        lane.contend(1, |n| (format!("branch-{n}"), "src/**".to_owned()))
    }
}

/// The command line under test, with a store.
struct LeaseLane<'a> {
    program: &'a Path,
    store: PathBuf,
    work: &'a Work,
}

impl LeaseLane<'_> {
    fn command<'b>(&self, words: impl IntoIterator<Item = &'b str>) -> Answer<Command> {
        let mut lane = command(self.program, self.work)?;
        lane.arg("--json").arg("--owner").arg("bench").arg("--store").arg(&self.store);
        lane.arg("--root").arg(&self.work.dir).args(words);
        Ok(lane)
    }

    /// Makes sure that the store exists: its creation is no part of an acquire.
    fn prime(&self) -> Answer<()> {
        self.acquire("prime", "prime/**")?;
        self.release("prime")
    }

    fn acquire(&self, lane: &str, tree: &str) -> Answer<()> {
        let status = self.command(["acquire", lane, "--tree", tree])?.status()?;
        expect(status, 0, self.work)
    }

    /// Times one grant, then releases it outside of the timed part. That the release succeeds shows the grant.
    fn acquire_timed(&self, round: usize) -> Answer<Duration> {
        let tree = format!("src/round-{round}/**");
        let mut acquire = self.command(["acquire", "bench", "--tree", &tree])?;
        self.work.settle()?;
        let time = timed(&mut acquire, 0, self.work)?;
        self.release("bench")?;
        Ok(time)
    }

    fn release(&self, lane: &str) -> Answer<()> {
        let status = self.command(["release", lane])?.status()?;
        expect(status, 0, self.work)
    }

    fn live(&self) -> Answer<Value> {
        let output = self.command(["live"])?.stdout(Stdio::piped()).output()?;
        expect(output.status, 0, self.work)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts a crowd of acquires at once and checks that `grants` of them were granted and are live.
    fn contend(&self, grants: usize, wish: impl Fn(usize) -> (String, String)) -> Answer<Duration> {
        self.prime()?;
        let mut commands = Vec::new();
        for n in 0..CROWD {
            let (lane, tree) = wish(n);
            commands.push(self.command(["acquire", &lane, "--tree", &tree])?);
        }
        self.work.settle()?;
        let (time, codes) = crowd(commands)?;
        expect_codes(&codes, grants, self.work)?;
        let live = self.live()?;
        let live = leases(&live)?.len();
        if live != grants {
            return Err(format!(
                "{grants} processes were told that they hold a lease, {live} leases are live"
            )
            .into());
        }
        Ok(time)
    }
}

fn leases(live: &Value) -> Answer<&Vec<Value>> {
    Ok(live["leases"].as_array().ok_or("`live` gives no leases")?)
}

/// A command with nothing of this process's environment but the search path.
fn command(program: impl AsRef<OsStr>, work: &Work) -> Answer<Command> {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(&work.dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(work.talk()?);
    Ok(command)
}

fn timed(command: &mut Command, code: i32, work: &Work) -> Answer<Duration> {
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    expect(status, code, work)?;
    Ok(time)
}

/// Starts all, waits for all, and gives the time from the first start to the last end, and all exit codes.
fn crowd(commands: Vec<Command>) -> Answer<(Duration, Vec<Option<i32>>)> {
    let start = Instant::now();
    let children = commands.into_iter().map(|mut command| command.spawn()).collect::<Vec<_>>();
    // Wait for those that started even if one did not: nothing may run on into the next row.
    let codes = children.into_iter().map(|child| child.and_then(wait)).collect::<Vec<_>>();
    let time = start.elapsed();
    Ok((time, codes.into_iter().collect::<Result<_, _>>()?))
}

fn wait(mut child: Child) -> std::io::Result<Option<i32>> {
    Ok(child.wait()?.code())
}

fn expect(status: ExitStatus, code: i32, work: &Work) -> Answer<()> {
    if status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("{status} instead of {code}{}", said(work)).into())
}

fn expect_codes(codes: &[Option<i32>], zeros: usize, work: &Work) -> Answer<()> {
    let count = |code| codes.iter().filter(|found| **found == Some(code)).count();
    if count(0) == zeros && count(0) + count(1) == codes.len() {
        return Ok(());
    }
    let (granted, refused) = (count(0), count(1));
    let other = codes.len() - granted - refused;
    Err(format!("{granted} grants instead of {zeros}, {refused} refusals, {other} failures{}", said(work))
        .into())
}

/// The last lines of what contenders said on stderr.
fn said(work: &Work) -> String {
    let text = fs::read(work.dir.join("stderr")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}
