//! One seed: branches work, things go wrong, and after every step the promises are compared with the truth.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use arbiter::evidence::ProcessIdentity;
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::request::{Note, Request, RequestId};
use arbiter::seq::{Fence, LeaseId};
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use journal::JournalError;
use journal::disk::{Dir, Name};
use journal::history::Keep as History;
use journal::repair::REPAIR_OWNER;
use lease::clock::Clock as _;
use lease::mutex::Patience;
use lease::session::{Adoption, Ask, LeaseError, Miss, Unlocking, View, Which, chain_of};
use testkit::disk::{EIO, ENOSPC, Fault, Keep, What};
use testkit::rng::Rng;

use crate::errand::{Errand, Outcome};
use crate::machine::{Asks, Told};
use crate::process::{Caller, Process, Progress, Stacks};
use crate::tenure::Title;
use crate::truth::{Broken, Claim, HOME, Moment, Seen, Tag, Truth, moment};
use crate::weather::Weather;
use crate::world::{Namespace, World};

const EINTR: i32 = 4;
/// Nobody waits in the line for much longer than this.
const WAIT_MS_MAX: usize = 90_000;
/// A process that makes more calls than this does not come to an end. Whatever others write wakes who waits, so it may
/// make one in each millisecond of its wait.
const CALLS_MAX: u64 = 20_000 + WAIT_MS_MAX as u64;
/// Nobody waits for the store longer than this.
const BUDGET: Duration = Duration::from_secs(30);
/// Nested directories, so that some meet and some do not.
const DIRS: [&str; 7] = ["a", "a/b", "a/c", "d", "d/e", "f", "g"];
const LANES: [&str; 4] = ["one", "two", "three", "four"];
const OWNERS: [&str; 7] = ["ann", "bob", "cid", "dan", "eve", "fay", "gus"];

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps made.
    pub steps: u64,
    /// Processes that ended by themselves.
    pub ended: u64,
    /// Processes that were killed.
    pub killed: u64,
    /// Grants reported.
    pub granted: u64,
    /// Refusals reported.
    pub refused: u64,
    /// Calls that were made to fail.
    pub faults: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Leases that were taken over.
    pub adopted: u64,
    /// Leases that an operator ended by force.
    pub forced: u64,
    /// Leases that a sweep ended, or an operator without force.
    pub swept: u64,
    /// Runs in which a reader found damage.
    pub damaged: u64,
    /// Looks at which somebody stood in the line.
    pub lines: u64,
    /// Sleepers that were looked at.
    pub sleeps: u64,
    /// Decisions made again in the end.
    pub decided_again: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: Tally) {
        self.steps += other.steps;
        self.ended += other.ended;
        self.killed += other.killed;
        self.granted += other.granted;
        self.refused += other.refused;
        self.faults += other.faults;
        self.power_cuts += other.power_cuts;
        self.adopted += other.adopted;
        self.forced += other.forced;
        self.swept += other.swept;
        self.damaged += other.damaged;
        self.lines += other.lines;
        self.sleeps += other.sleeps;
        self.decided_again += other.decided_again;
    }
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The step at which it showed.
    pub step: u64,
    /// What.
    pub what: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)
    }
}

/// Plays `steps` steps of `seed`, lets everything come to rest, and checks that the store still works.
///
/// # Errors
///
/// The first broken promise.
pub fn play(seed: u64, steps: u64, trace: bool) -> Result<Tally, Failure> {
    let mut run = Run::new(seed, trace);
    let played = run.play(steps).and_then(|()| run.come_to_rest());
    // Nothing may be left on a stack, whatever happened.
    run.kill_everybody();
    match played {
        Ok(()) => Ok(run.tally),
        Err(what) => Err(Failure { seed, step: run.tally.steps, what }),
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the run")]
struct Run {
    rng: Rng,
    weather: Weather,
    world: Rc<World>,
    truth: Truth,
    branches: Vec<Branch>,
    running: Vec<Running>,
    stacks: Stacks,
    tickets: u64,
    tags: Tag,
    full: bool,
    rotten: bool,
    damaged: bool,
    trace: bool,
    tally: Tally,
}

/// Somebody who works with short processes, one after the other.
struct Branch {
    owner: OwnerName,
    namespace: Namespace,
    /// The long-lived process that its leases are bound to, if any.
    worker: Option<ProcessIdentity>,
    leases: Vec<Known>,
    /// A request whose answer was not heard.
    unanswered: Option<(Tag, Request, Claim)>,
    busy: bool,
}

/// A lease as its holder knows it.
#[derive(Clone, Debug)]
struct Known {
    id: LeaseId,
    fence: Fence,
    lane: LaneName,
}

struct Running {
    process: Process,
    branch: usize,
    job: Job,
    /// By the lowest wall clock since: the leases of another boot age by it.
    began: Moment,
    fence: u64,
    held: Vec<LeaseId>,
    stopped_until_ms: Option<u64>,
}

#[derive(Clone)]
enum Job {
    Acquire(Tag, Box<Request>, Claim),
    /// With what the branch has to expect, as is so for those that follow.
    Release(LeaseId, Title),
    Beat(LeaseId, Title),
    /// Of the lease of another branch.
    Adopt(LeaseId, Title, OwnerName),
    /// By force, or not.
    Unlock(LeaseId, bool),
    Look,
    Operate,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Acquire(tag, _, claim) => {
                write!(f, "request {tag} to write {:?}, read {:?}", claim.writes, claim.reads)
            }
            Job::Release(id, _) => write!(f, "release of {id}"),
            Job::Beat(id, _) => write!(f, "beat of {id}"),
            Job::Adopt(id, _, from) => write!(f, "adoption of {id} from {from}"),
            Job::Unlock(id, forced) => write!(f, "unlock of {id}{}", if *forced { " by force" } else { "" }),
            Job::Look => f.write_str("look"),
            Job::Operate => f.write_str("operation"),
        }
    }
}

impl Run {
    fn new(seed: u64, trace: bool) -> Run {
        let mut rng = Rng::new(seed);
        let weather = Weather::of(seed, &mut rng);
        let world = World::new(seed);
        world.index_from.set(weather.index_from);
        let branches = (0..weather.branches)
            .map(|n| Branch {
                owner: OwnerName::new(OWNERS[n]).expect("a name"),
                namespace: if weather.two_namespaces && n % 2 == 1 { Namespace(2) } else { HOME },
                worker: None,
                leases: Vec::new(),
                unanswered: None,
                busy: false,
            })
            .collect();
        if trace {
            eprintln!("seed {seed}: {weather:?}");
        }
        Run {
            rng,
            weather,
            world,
            truth: Truth::new(!weather.two_namespaces),
            branches,
            running: Vec::new(),
            stacks: Stacks::default(),
            tickets: 0,
            tags: 0,
            full: false,
            rotten: false,
            damaged: false,
            trace,
            tally: Tally::default(),
        }
    }

    fn play(&mut self, steps: u64) -> Result<(), Broken> {
        for _ in 0..steps {
            self.tally.steps += 1;
            self.something_happens();
            self.truth.time_passes(&self.world);
            self.somebody_goes(true)?;
            self.look()?;
        }
        Ok(())
    }

    /// Compares the journal with the truth.
    fn look(&mut self) -> Result<(), Broken> {
        self.tally.lines += u64::from(self.truth.somebody_waits());
        if self.truth.look(&self.world)? == Seen::Damaged && !self.damaged {
            self.damaged = true;
            self.tally.damaged += 1;
            self.say(|| "the journal says that it is damaged".into());
        }
        for Running { process, .. } in &self.running {
            if let Some(sleeper) = process.sleeper().filter(|_| !process.is_ready()) {
                self.tally.sleeps += 1;
                self.truth.sleeps(&process.identity, &sleeper, &self.world)?;
            }
        }
        Ok(())
    }

    /// Nobody can go on, and nobody has died: whoever has ended a ticket has said so.
    fn look_at_the_sleepers(&self) -> Result<(), Broken> {
        let Weather { kill, power, .. } = self.weather;
        let is_calm = kill == 0 && power == 0;
        let is_stopped = |running: &Running| running.stopped_until_ms.is_some();
        if !is_calm || self.running.iter().any(is_stopped) {
            return Ok(());
        }
        for Running { process, .. } in &self.running {
            if let Some(sleeper) = process.sleeper() {
                self.truth.waits_in_vain(&process.identity, &sleeper)?;
            }
        }
        Ok(())
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:6} {:9} ms  {}", self.tally.steps, self.world.clock_ms(), what());
        }
    }

    fn chance(&mut self, once_in: usize) -> bool {
        once_in > 0 && self.rng.one_in(once_in)
    }

    /// What nobody in the world does.
    fn something_happens(&mut self) {
        let weather = self.weather;
        self.world.advance(self.rng.below(3) as u64);
        if self.chance(weather.power) {
            self.power_fails();
        }
        if self.chance(weather.death) {
            let at = self.rng.below(self.branches.len());
            if let Some(worker) = self.branches[at].worker.take() {
                self.say(|| format!("worker {} of {} dies", worker.pid, self.branches[at].owner));
                self.world.end(&worker);
            }
        }
        if self.chance(weather.clock) {
            let jump = i64::try_from(self.rng.below(172_800_000)).unwrap_or(0) - 86_400_000;
            let wall_ms = self.world.clock.wall_ms() + jump;
            self.world.clock.set_wall_ms(wall_ms);
            self.truth.clock_is_set(wall_ms);
            self.running.iter_mut().for_each(|running| running.began.may_look_like(wall_ms));
            self.say(|| format!("the wall clock jumps by {jump} ms"));
        }
        if self.chance(weather.long) {
            let ms = 1_000 * self.rng.below(7_200) as u64;
            self.world.advance(ms);
            self.say(|| format!("{ms} ms pass"));
        }
        if self.chance(weather.full) {
            self.full = !self.full;
            let used: usize = self.world.disk.everything().values().map(Vec::len).sum();
            let room = self.rng.below(3_000);
            self.world.disk.limit(self.full.then_some((used + room) as u64));
            self.say(|| {
                if self.full { format!("the disk has {room} bytes left") } else { "there is room".into() }
            });
        }
        if !self.rotten && self.chance(weather.rot) {
            self.something_rots();
        }
    }

    fn power_fails(&mut self) {
        self.kill_everybody();
        let mut rng = self.rng.clone();
        let keep = match self.rng.below(4) {
            0 => Keep::Nothing,
            1 => Keep::All,
            _ => Keep::Some(&mut rng),
        };
        self.say(|| format!("the power fails: {keep:?}"));
        self.world.reboot(keep);
        self.truth.forgets();
        self.tally.power_cuts += 1;
        for branch in &mut self.branches {
            branch.worker = None;
        }
        self.full = false;
        self.world.disk.limit(None);
    }

    fn something_rots(&mut self) {
        let mut files: Vec<Name> = Vec::new();
        for dir in [Dir::Journal, Dir::Journal, Dir::Marks, Dir::Top] {
            files.extend(self.world.disk.files(dir).into_iter().map(|file| Name::new(dir, file)));
        }
        files.retain(|name| self.world.disk.bytes(name).is_some_and(|bytes| !bytes.is_empty()));
        if files.is_empty() {
            return;
        }
        let name = files[self.rng.below(files.len())].clone();
        let bits = self.world.disk.bytes(&name).map_or(0, |bytes| 8 * bytes.len());
        let bit = self.rng.below(bits);
        self.world.disk.flip(&name, bit);
        self.rotten = true;
        self.truth.damage_may_show();
        self.say(|| format!("bit {bit} of {name} flips"));
    }

    fn kill_everybody(&mut self) {
        for running in std::mem::take(&mut self.running) {
            self.tally.killed += 1;
            self.branches[running.branch].busy = false;
            self.forget(running.branch, &running.job);
            running.process.kill(&mut self.stacks);
        }
    }

    /// A process ended without an answer.
    fn forget(&mut self, branch: usize, job: &Job) {
        if let Job::Acquire(tag, request, claim) = job {
            let again = request.request_id.is_some() && self.rng.one_in(2);
            self.branches[branch].unanswered = again.then(|| (*tag, (**request).clone(), claim.clone()));
        }
    }

    /// One process makes one call, or a branch starts one.
    fn somebody_goes(&mut self, anything_goes: bool) -> Result<(), Broken> {
        if anything_goes {
            let idle: Vec<usize> = (0..self.branches.len()).filter(|&n| !self.branches[n].busy).collect();
            // Few processes at once let each come far; many make them meet.
            if !idle.is_empty() && (self.running.is_empty() || self.rng.one_in(8)) {
                let branch = idle[self.rng.below(idle.len())];
                self.start_something(branch);
                return Ok(());
            }
        }
        let now = self.world.clock_ms();
        let can_go = |running: &Running| {
            running.stopped_until_ms.is_none_or(|until| until <= now) && running.process.is_ready()
        };
        let ready: Vec<usize> = (0..self.running.len()).filter(|&n| can_go(&self.running[n])).collect();
        if ready.is_empty() {
            self.look_at_the_sleepers()?;
            self.wait_for_somebody();
            return Ok(());
        }
        let at = ready[self.rng.below(ready.len())];
        self.running[at].stopped_until_ms = None;
        if anything_goes && self.chance(self.weather.stop) {
            let ttl = self.weather.mutex_ttl_ms.max(50);
            let ms = self.rng.below(usize::try_from(3 * ttl).unwrap_or(0)) as u64;
            self.running[at].stopped_until_ms = Some(now + ms);
            self.say(|| format!("pid {} stops for {ms} ms", self.running[at].process.identity.pid));
            return Ok(());
        }
        let told = if anything_goes { self.what_goes_wrong(at) } else { Told::Go };
        self.go_on(at, told)
    }

    /// Lets time pass until the first of those that wait can go on.
    fn wait_for_somebody(&mut self) {
        let now = self.world.clock_ms();
        let wakes = self.running.iter().map(|running| {
            let until = match running.process.asks {
                Asks::Wait { until_ms, .. } if !running.process.is_ready() => until_ms,
                _ => now,
            };
            running.stopped_until_ms.unwrap_or(0).max(until)
        });
        let until = wakes.min().unwrap_or(now);
        self.world.advance(until.saturating_sub(now));
    }

    fn what_goes_wrong(&mut self, at: usize) -> Told {
        let weather = self.weather;
        let asks = self.running[at].process.asks;
        if self.chance(weather.kill) {
            if let Asks::Disk { what: What::Append | What::AppendOrCreate, bytes, .. } = asks {
                let torn = self.rng.below(bytes + 1);
                let nuls = if self.rng.one_in(3) { self.rng.below(300) } else { 0 };
                return Told::Meet(Fault::Torn { bytes: torn, nuls });
            }
            return Told::Die;
        }
        let Asks::Disk { what, bytes, .. } = asks else { return Told::Go };
        let is_sync = matches!(what, What::Sync);
        if is_sync && self.chance(weather.fail_sync) {
            // Should the lost bytes be seen to be missing after a power cut, the journal says so.
            self.truth.damage_may_show();
            return Told::Meet(Fault::Error(EIO));
        }
        if !is_sync && self.chance(weather.fail) {
            let errno = [EIO, ENOSPC, EINTR][self.rng.below(3)];
            return Told::Meet(match self.rng.below(4) {
                0 => Fault::Late(errno),
                1 if what == What::Append => Fault::Short(self.rng.below(bytes)),
                _ => Fault::Error(errno),
            });
        }
        Told::Go
    }

    fn go_on(&mut self, at: usize, told: Told) -> Result<(), Broken> {
        let running = self.running.swap_remove(at);
        let Running { process, branch, job, began, fence, held, .. } = running;
        self.say(|| format!("{process:?} of {}, {job:?}: {told:?}", self.branches[branch].owner));
        if let Told::Meet(_) = told {
            self.tally.faults += 1;
        }
        let dies = matches!(told, Told::Die | Told::Meet(Fault::Die | Fault::Torn { .. }));
        let pid = process.identity.pid;
        match process.resume(told, &mut self.stacks) {
            Progress::Goes(process) if process.calls > CALLS_MAX => {
                process.kill(&mut self.stacks);
                Err(format!("L1: pid {pid} does not come to an end: {job:?}"))
            }
            Progress::Goes(process) => {
                let stopped_until_ms = None;
                self.running.push(Running { process, branch, job, began, fence, held, stopped_until_ms });
                Ok(())
            }
            Progress::Ended(_nobody_hears) if dies => {
                self.tally.killed += 1;
                self.branches[branch].busy = false;
                self.forget(branch, &job);
                Ok(())
            }
            Progress::Ended(outcome) => {
                self.tally.ended += 1;
                self.say(|| format!("pid {pid} says {}", short(&outcome)));
                self.branches[branch].busy = false;
                self.hear(branch, &job, &began, fence, &held, &outcome)
            }
        }
    }

    // --- what branches do ------------------------------------------------------------------------------------

    fn start_something(&mut self, branch: usize) {
        let dice = self.rng.below(100);
        let operates = if self.weather.operators { 50 } else { 12 };
        if self.damaged && self.rng.one_in(6) {
            return self.start(branch, Job::Operate, Errand::Repair);
        }
        if dice < operates {
            let errand = match self.rng.below(8) {
                0 => Errand::Verify,
                1 => Errand::Compact(Some(History::None)),
                2 => Errand::Compact(Some(History::All)),
                3 | 4 => return self.start(branch, Job::Look, Errand::Live),
                _ => Errand::Compact(None),
            };
            return self.start(branch, Job::Operate, errand);
        }
        if self.weather.meddling && self.rng.one_in(3) && self.meddle(branch) {
            return;
        }
        let leases = self.branches[branch].leases.len();
        if leases > 0 && self.rng.one_in(if leases > 2 { 2 } else { 3 }) {
            let at = self.rng.below(leases);
            let Known { id, fence, lane } = self.branches[branch].leases[at].clone();
            let owner = self.branches[branch].owner.clone();
            if self.rng.one_in(3) {
                let fence = self.rng.one_in(2).then_some(fence);
                let job = Job::Beat(id, self.truth.title(id, &owner, fence));
                return self.start(branch, job, Errand::Beat(Which::Lease(id), fence));
            }
            // By its lane only with its fence: another lease of ours may have the lane by now.
            let which = if self.rng.one_in(2) { Which::Lane(lane) } else { Which::Lease(id) };
            let title = self.truth.title(id, &owner, Some(fence));
            self.truth.leaves(id, &owner, title);
            let errand = Errand::Release(which, Some(fence));
            return self.start(branch, Job::Release(id, title), errand);
        }
        let (tag, request, claim) = match self.branches[branch].unanswered.take() {
            Some(again) => again,
            None => self.make_a_request(branch),
        };
        self.truth.asks(tag, &request, &claim, moment(&self.world));
        let ask = Ask {
            request: request.clone(),
            policy: Policy::default(),
            with_leases: Vec::new(),
            dry_run: false,
        };
        let wait = self.rng.one_in(self.weather.waits).then(|| {
            let most_ms = if self.rng.one_in(4) { WAIT_MS_MAX } else { 2_000 };
            Duration::from_millis(100 + self.rng.below(most_ms) as u64)
        });
        self.start(branch, Job::Acquire(tag, Box::new(request), claim), Errand::Acquire(Box::new(ask), wait));
    }

    /// Does something about a lease that somebody else may have. `false`: there is none.
    fn meddle(&mut self, branch: usize) -> bool {
        if self.rng.one_in(4) {
            self.start(branch, Job::Operate, Errand::Sweep);
            return true;
        }
        let whose = |branch: &Branch| {
            let owner = branch.owner.clone();
            branch.leases.iter().map(move |known| (owner.clone(), known.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<(OwnerName, Known)> = self.branches.iter().flat_map(whose).collect();
        if all.is_empty() {
            return false;
        }
        let (from, Known { id, fence, lane }) = all.swap_remove(self.rng.below(all.len()));
        let (which, fence) = match self.rng.below(3) {
            0 => (Which::Lease(id), None),
            1 => (Which::Lease(id), Some(fence)),
            // Another lease may have the lane by now, but not with this fence.
            _ => (Which::Lane(lane), Some(fence)),
        };
        let (job, errand) = if self.rng.one_in(3) {
            let force = if self.rng.one_in(2) { Note::new("it is in the way").ok() } else { None };
            if force.is_some() {
                self.truth.is_doomed(id);
            }
            let job = Job::Unlock(id, force.is_some());
            (job, Errand::Unlock(Box::new(Unlocking { which, fence, force })))
        } else {
            let title = self.truth.title(id, &from, fence);
            let processes = if self.rng.one_in(2) { vec![self.worker_of(branch)] } else { Vec::new() };
            self.truth.is_wanted(id, &from, &self.branches[branch].owner, &processes);
            let job = Job::Adopt(id, title, from.clone());
            (job, Errand::Adopt(Box::new(Adoption { which, fence, from, processes })))
        };
        self.start(branch, job, errand);
        true
    }

    /// The long-lived process of a branch.
    fn worker_of(&mut self, branch: usize) -> ProcessIdentity {
        let namespace = self.branches[branch].namespace;
        self.branches[branch].worker.get_or_insert_with(|| self.world.fork(namespace)).clone()
    }

    fn make_a_request(&mut self, branch: usize) -> (Tag, Request, Claim) {
        self.tags += 1;
        let tag = self.tags;
        let mut request = Request::of(self.branches[branch].owner.clone());
        let mut claim = Claim::default();
        let dirs = if self.rng.one_in(2) { &DIRS[..3] } else { &DIRS[..] };
        for _ in 0..=self.rng.below(2) {
            let dir = dirs[self.rng.below(dirs.len())];
            let list = if self.rng.one_in(3) { &mut claim.reads } else { &mut claim.writes };
            if !list.contains(&dir) {
                list.push(dir);
            }
        }
        (request.tree, request.read) = claim.regions();
        request.lane = LaneName::new(if self.rng.one_in(3) {
            LANES[self.rng.below(LANES.len())].to_owned()
        } else {
            format!("lane-{tag}")
        })
        .ok();
        request.why = Note::new(tag.to_string()).ok();
        request.ttl = Some(Span::from_s([20, 600, 3_000][self.rng.below(3)]));
        if self.rng.one_in(2) {
            request.request_id = RequestId::new(format!("r-{tag}")).ok();
        }
        if self.rng.one_in(3) {
            request.processes = vec![self.worker_of(branch)];
        }
        (tag, request, claim)
    }

    fn start(&mut self, branch: usize, job: Job, errand: Errand) {
        self.tickets += 1;
        let Branch { owner, namespace, .. } = &self.branches[branch];
        let patience = Patience { ttl: Duration::from_millis(self.weather.mutex_ttl_ms), budget: BUDGET };
        let caller = Caller { owner: owner.clone(), patience, namespace: *namespace };
        let began = moment(&self.world);
        let process = Process::start(&self.world, &mut self.stacks, self.tickets, caller, errand);
        self.say(|| format!("{} starts pid {}: {job:?}", self.branches[branch].owner, process.identity.pid));
        let (fence, held) = (self.truth.fence(), self.truth.held());
        self.branches[branch].busy = true;
        self.running.push(Running { process, branch, job, began, fence, held, stopped_until_ms: None });
    }

    fn hear(
        &mut self,
        branch: usize,
        job: &Job,
        began: &Moment,
        fence: u64,
        held: &[LeaseId],
        outcome: &Outcome,
    ) -> Result<(), Broken> {
        self.truth.time_passes(&self.world);
        if is_damaged(outcome) {
            if !self.damaged && !self.truth.damage_is_allowed() {
                return Err(format!("S5: damage is told where there is none: {outcome:?}"));
            }
            self.damaged = true;
        }
        match (job, outcome) {
            (Job::Acquire(tag, request, claim), Outcome::Acquired(answer)) => {
                let granted = self.truth.answers(*tag, request, began, fence, answer, &self.world)?;
                match (granted, answer) {
                    (Some(id), Ok(acquired)) => {
                        self.tally.granted += 1;
                        if let (Verdict::Grant(grant), Some(seq)) = (&acquired.verdict, acquired.seq) {
                            let lane = grant.lane.clone();
                            self.branches[branch].leases.retain(|known| known.id != id);
                            self.branches[branch].leases.push(Known { id, fence: Fence::from(seq), lane });
                        }
                    }
                    (_, Ok(_)) => self.tally.refused += 1,
                    (_, Err(_)) if request.request_id.is_some() && self.rng.one_in(2) => {
                        self.branches[branch].unanswered = Some((*tag, (**request).clone(), claim.clone()));
                    }
                    _ => {}
                }
            }
            (Job::Release(id, title), Outcome::Released(Ok(answer))) => {
                let owner = self.branches[branch].owner.clone();
                self.branches[branch].leases.retain(|known| known.id != *id);
                match answer {
                    Ok(_) if *title == Title::Lost => {
                        return Err(format!("{owner} gave back lease {id}, which was not theirs any more"));
                    }
                    Ok(_) => self.truth.ended(*id),
                    Err(miss) => {
                        self.truth.missed(*id, &owner, *title, miss)?;
                        // Another lease in its lane tells nothing of an earlier call that was killed before its answer.
                        if let Miss::NotYours(lease) | Miss::Fenced(lease) = miss
                            && lease.lease == *id
                        {
                            self.truth.stays(*id, &owner);
                        }
                    }
                }
            }
            (Job::Beat(id, title), Outcome::Beaten(Ok(answer))) => match answer {
                Ok(_) => self.truth.beats(*id, *title, began, &self.world)?,
                Err(miss) => {
                    let owner = self.branches[branch].owner.clone();
                    self.branches[branch].leases.retain(|known| known.id != *id);
                    self.truth.missed(*id, &owner, *title, miss)?;
                }
            },
            (Job::Adopt(id, title, from), Outcome::Adopted(Ok(answer))) => {
                let to = self.branches[branch].owner.clone();
                match answer {
                    Ok(adopted) => {
                        self.tally.adopted += 1;
                        let claim = (*id, *title, from);
                        self.truth.is_given(claim, &to, fence, adopted, began, &self.world)?;
                        let leases = &mut self.branches[branch].leases;
                        // Who had it before may still have an old word of it somewhere, and use that.
                        let is_news = leases.iter().all(|known| known.id != *id) || self.rng.one_in(2);
                        if is_news {
                            leases.retain(|known| known.id != *id);
                            let lane = adopted.lease.lane.clone();
                            leases.push(Known { id: *id, fence: adopted.lease.fence, lane });
                        }
                    }
                    Err(miss) => {
                        self.truth.is_not_given(*id, from, &to);
                        self.truth.missed(*id, &to, *title, miss)?;
                    }
                }
            }
            (Job::Unlock(id, forced), Outcome::Unlocked(Ok(answer))) => match answer {
                Ok(unlocked) if unlocked.ended => {
                    let tally = if unlocked.forced { &mut self.tally.forced } else { &mut self.tally.swept };
                    *tally += 1;
                    if unlocked.forced && !forced {
                        return Err(format!("lease {id} was ended by force, which nobody asked for"));
                    }
                    self.truth.ended(*id);
                }
                Ok(_) if *forced => return Err(format!("lease {id} was not ended, force or not")),
                Err(Miss::NotHeld) if held.contains(id) => self.truth.not_found(*id)?,
                Ok(_) | Err(_) => {}
            },
            (Job::Operate, Outcome::Swept(Ok(swept))) => {
                for (swept, _) in &swept.reclaimed {
                    self.tally.swept += 1;
                    self.truth.ended(swept.lease.lease);
                }
            }
            (Job::Look, Outcome::Live(Ok(view))) => self.truth.saw(held, view)?,
            (Job::Operate, Outcome::Repaired(Ok(_))) => self.damaged = false,
            _ => {}
        }
        Ok(())
    }

    // --- rest -------------------------------------------------------------------------------------------------

    /// Lets everybody finish or kills them, and then looks whether the store works: at once after deaths, and with
    /// everything in it that must be there.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.world.disk.limit(None);
        let stopped = self.running.iter().any(|running| running.stopped_until_ms.is_some());
        if stopped || self.rng.one_in(2) {
            while !self.running.is_empty() {
                self.tally.steps += 1;
                self.somebody_goes(false)?;
                self.world.advance(1);
                self.truth.time_passes(&self.world);
                self.look()?;
            }
        } else {
            self.kill_everybody();
        }
        let before = self.world.clock_ms();
        let mut view = self.alone(Errand::Live)?;
        if matches!(&view, Outcome::Live(Err(LeaseError::Journal(JournalError::Damaged(_))))) {
            match self.alone(Errand::Repair)? {
                Outcome::Repaired(Ok(_)) => {}
                outcome => return Err(format!("S5: what is damaged cannot be repaired: {outcome:?}")),
            }
            self.look()?;
            view = self.alone(Errand::Live)?;
        }
        let Outcome::Live(Ok(view)) = view else { return Err(format!("L1: nobody can look: {view:?}")) };
        self.give_up_the_holds(&view)?;
        // Who was inside in another namespace, or under a name that has rotted, cannot be told to be dead.
        let may_be_unknown = self.weather.two_namespaces || self.rotten;
        let most = 1_000 + if may_be_unknown { self.weather.mutex_ttl_ms } else { 0 };
        let (_, mut request, mut claim) = self.make_a_request(0);
        claim = Claim { writes: vec!["nobody/ever/asks"], ..claim };
        claim.reads.clear();
        (request.tree, request.read) = claim.regions();
        request.lane = LaneName::new("last").ok();
        request.request_id = None;
        self.truth.asks(self.tags, &request, &claim, moment(&self.world));
        let ask = Ask { request, policy: Policy::default(), with_leases: Vec::new(), dry_run: false };
        match self.alone(Errand::Acquire(Box::new(ask), None))? {
            Outcome::Acquired(Ok(acquired)) if matches!(acquired.verdict, Verdict::Grant(_)) => {}
            outcome => return Err(format!("L1: what nobody holds cannot be had: {outcome:?}")),
        }
        let waited = self.world.clock_ms() - before;
        if waited > most {
            return Err(format!("L1: after all this the store was stuck for {waited} ms"));
        }
        self.look()?;
        if let Outcome::Verified(Ok(damaged)) = self.alone(Errand::Verify)?
            && damaged > 0
            && !self.truth.damage_is_allowed()
        {
            return Err(format!("S5: `verify` finds {damaged} damaged pieces where there are none"));
        }
        if !self.truth.damage_is_allowed() {
            self.tally.decided_again += Truth::decide_again(&self.world)?;
        }
        Ok(())
    }

    /// An operator releases what a repair holds.
    fn give_up_the_holds(&mut self, view: &View) -> Result<(), Broken> {
        let holds = Truth::holds(view);
        if !holds.is_empty() {
            self.truth.accept_the_loss(view);
        }
        for (_, id) in holds {
            let holder = OwnerName::new(REPAIR_OWNER).expect("a name");
            self.truth.leaves(id, &holder, Title::Open);
            match self.alone_as(REPAIR_OWNER, Errand::Release(Which::Lease(id), None))? {
                Outcome::Released(Ok(Ok(_))) => self.truth.ended(id),
                outcome => return Err(format!("a repair's hold cannot be released: {outcome:?}")),
            }
        }
        Ok(())
    }

    fn alone(&mut self, errand: Errand) -> Result<Outcome, Broken> {
        self.alone_as(OWNERS[0], errand)
    }

    /// One process with nobody beside it and nothing that goes wrong.
    fn alone_as(&mut self, owner: &str, errand: Errand) -> Result<Outcome, Broken> {
        self.tickets += 1;
        let patience = Patience { ttl: Duration::from_millis(self.weather.mutex_ttl_ms), budget: BUDGET };
        let owner = OwnerName::new(owner).expect("a name");
        let caller = Caller { owner, patience, namespace: HOME };
        let mut process = Process::start(&self.world, &mut self.stacks, self.tickets, caller, errand);
        loop {
            self.tally.steps += 1;
            if let Asks::Wait { until_ms, .. } = process.asks
                && !process.is_ready()
            {
                self.world.advance(until_ms.saturating_sub(self.world.clock_ms()));
            }
            self.say(|| format!("{process:?}, alone"));
            match process.resume(Told::Go, &mut self.stacks) {
                Progress::Goes(next) if next.calls > CALLS_MAX => {
                    next.kill(&mut self.stacks);
                    return Err("L1: a process that is alone does not come to an end".into());
                }
                Progress::Goes(next) => process = next,
                Progress::Ended(outcome) => {
                    self.say(|| format!("it says {}", short(&outcome)));
                    return Ok(*outcome);
                }
            }
        }
    }
}

/// What a process said, in few words, for a trace.
fn short(outcome: &Outcome) -> String {
    if let Outcome::Acquired(Ok(acquired)) = outcome {
        let seq = acquired.seq.map_or(0, arbiter::seq::Seq::get);
        return match &acquired.verdict {
            Verdict::Grant(_) => format!("granted: {seq}"),
            Verdict::Refuse(refusal) => format!("refused ({seq}): {}", refusal.reason),
        };
    }
    if let Some(error) = error_of(outcome) {
        return format!("error: {}", chain_of(error));
    }
    let mut text = format!("{outcome:?}");
    if let Some((at, _)) = text.char_indices().nth(200) {
        text.truncate(at);
    }
    text
}

fn error_of(outcome: &Outcome) -> Option<&LeaseError> {
    match outcome {
        Outcome::Acquired(Err(error))
        | Outcome::Released(Err(error))
        | Outcome::Beaten(Err(error))
        | Outcome::Adopted(Err(error))
        | Outcome::Unlocked(Err(error))
        | Outcome::Swept(Err(error))
        | Outcome::Live(Err(error))
        | Outcome::Compacted(Err(error))
        | Outcome::Verified(Err(error))
        | Outcome::Repaired(Err(error))
        | Outcome::Sealed(Err(error)) => Some(error),
        _ => None,
    }
}

fn is_damaged(outcome: &Outcome) -> bool {
    matches!(error_of(outcome), Some(LeaseError::Journal(JournalError::Damaged(_))))
}
