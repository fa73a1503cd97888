//! The command line under test, with a store.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::verdict::Verdict;
use journal::disk::{Access, RealDisk};
use journal::store::{FileStore, Store as _};
use lease::clock::SystemClock;
use lease::machine::RealMachine;
use lease::mutex::Patience;
use lease::session::{Ask, Session, Which};
use serde_json::Value;

use crate::Answer;
use crate::process::{command, expect, timed};
use crate::tools::Work;

/// Who asks, where it does not matter.
pub(crate) const OWNER: &str = "bench";

/// lease-lane on one store.
#[derive(Clone)]
pub(crate) struct Lane<'a> {
    pub(crate) program: &'a Path,
    pub(crate) store: PathBuf,
    pub(crate) work: &'a Work,
}

impl Lane<'_> {
    /// A command as [`OWNER`].
    pub(crate) fn command<'b>(&self, words: impl IntoIterator<Item = &'b str>) -> Answer<Command> {
        self.command_as(OWNER, words)
    }

    /// A command as somebody.
    pub(crate) fn command_as<'b>(
        &self,
        owner: &str,
        words: impl IntoIterator<Item = &'b str>,
    ) -> Answer<Command> {
        let mut lane = command(self.program, self.work)?;
        lane.arg("--json").args(["--owner", owner]).arg("--store").arg(&self.store);
        lane.arg("--root").arg(&self.work.dir).args(words);
        Ok(lane)
    }

    /// Makes sure that the store exists: its creation is no part of an acquire.
    pub(crate) fn prime(&self) -> Answer<()> {
        self.acquire("prime", "prime/**")?;
        self.release("prime")
    }

    /// Takes a lease in this process: by the library, which does what the command does.
    pub(crate) fn acquire(&self, lane: &str, tree: &str) -> Answer<()> {
        let disk = RealDisk::open_or_create(&self.store)?;
        acquire(&mut session(&disk)?, lane, tree)
    }

    /// Gives a lease back in the same way. That this succeeds shows that it was held.
    pub(crate) fn release(&self, lane: &str) -> Answer<()> {
        let disk = RealDisk::open_or_create(&self.store)?;
        release(&mut session(&disk)?, lane)
    }

    /// Times one grant, then gives it back outside of the timed part.
    pub(crate) fn acquire_timed(&self, round: usize) -> Answer<f64> {
        let tree = format!("wanted/round-{round}/**");
        let time = timed(&mut self.command(["acquire", "wanted", "--tree", &tree])?, 0, self.work)?;
        self.release("wanted")?;
        Ok(time)
    }

    /// How many live, and how many wait.
    pub(crate) fn population(&self) -> Answer<(usize, usize)> {
        let disk = RealDisk::open_or_create(&self.store)?;
        let mut store = FileStore::new(&disk, Access::Read);
        Ok(store.load()?.map_or((0, 0), |state| (state.live.len(), state.waiters.iter().count())))
    }

    /// What a verb that only reads says.
    pub(crate) fn json(&self, words: &[&str]) -> Answer<Value> {
        let output = self.command(words.iter().copied())?.stdout(Stdio::piped()).output()?;
        expect(output.status, 0, self.work)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A session of [`OWNER`].
pub(crate) fn session(disk: &RealDisk) -> Answer<Session<RealMachine<'_>>> {
    Ok(Session::new(disk, &SystemClock, OwnerName::new(OWNER)?, Patience::default()))
}

/// Takes a lease.
pub(crate) fn acquire(session: &mut Session<RealMachine<'_>>, lane: &str, tree: &str) -> Answer<()> {
    let ask = Ask {
        request: request(lane, tree)?,
        policy: Policy::default(),
        with_leases: Vec::new(),
        dry_run: false,
    };
    let acquired = session.acquire(&ask)?;
    if matches!(acquired.verdict, Verdict::Grant(_)) {
        return Ok(());
    }
    Err(format!("refused: {acquired:?}").into())
}

/// Gives a lease back.
pub(crate) fn release(session: &mut Session<RealMachine<'_>>, lane: &str) -> Answer<()> {
    match session.release(&Which::Lane(LaneName::new(lane)?), None)? {
        Ok(_) => Ok(()),
        Err(miss) => Err(format!("`{lane}` could not be given back: {miss:?}").into()),
    }
}

/// A request of [`OWNER`].
pub(crate) fn request(lane: &str, tree: &str) -> Answer<Request> {
    let mut request = Request::of(OwnerName::new(OWNER)?);
    request.lane = Some(LaneName::new(lane)?);
    request.tree = Region::parse([tree]).map_err(|error| error.to_string())?;
    Ok(request)
}
