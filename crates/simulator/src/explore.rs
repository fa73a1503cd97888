//! Every order of every call of a few short processes, with deaths in between: the protocol of appending, sealing,
//! rotating and stealing, exhaustively.
//!
//! A stack cannot be copied, so a state is reached again by playing its choices from the start. States are the same
//! when the disk is, the queue is, and every process has been told the same: from there on nothing can differ.
//! A pause needs no choice of its own: a process that is not chosen is paused, for as long as the others take.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::request::{Note, Request};
use arbiter::seq::LeaseId;
use arbiter::verdict::Verdict;
use lease::mutex::Patience;
use lease::session::{Ask, Released, Which};
use testkit::disk::{Fault, Keep, MemDisk, What};

use crate::errand::{Errand, Outcome};
use crate::machine::{Asks, Told};
use crate::process::{Caller, Process, Progress, Stacks};
use crate::truth::{Broken, Claim, HOME, Moment, Seen, Tag, Truth, moment};
use crate::world::World;

/// Some processes at one store, and how many of them may die.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What they do.
    pub actors: Vec<Actor>,
    /// How many deaths there may be, each before any call or inside any append.
    pub deaths: u32,
    /// What has happened before.
    pub before: Before,
}

/// One process of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Acquires without the mutex: a directory to write.
    Writes(&'static str),
    /// Seals without the mutex.
    Seals,
    /// Seals and prunes without the mutex.
    SealsAndPrunes,
    /// Acquires as the command line does, mutex and all.
    Acquires(&'static str),
    /// The same, and waits in the line.
    Waits(&'static str),
    /// Releases the lease that was there before, as the command line does.
    Releases,
}

/// What a store has gone through before a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// There is none.
    Nothing,
    /// One lease on `a` of somebody else.
    OneLease,
    /// The same, and a seal whose successor was never made.
    HalfRotated,
    /// The same, and a write that was cut.
    Torn,
    /// The same, and somebody died inside the mutex.
    DeadInside,
}

/// What an exploration came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: u64,
    /// Choices made from them.
    pub transitions: u64,
    /// States in which every process has ended.
    pub ends: u64,
    /// The longest way to one of them.
    pub depth: usize,
    /// Ends in which so many grants were reported.
    pub granted: [u64; 4],
    /// Choices that nobody has followed, because time was up.
    pub left: usize,
}

/// How much of the protocol an exploration goes through; each size has the scenarios of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Seconds: appending and the store's beginning.
    Quick,
    /// Some minutes: also sealing, rotating, stealing, releasing and waiting.
    Small,
    /// Many minutes: also with deaths at every call, with pruning, and with three.
    Large,
}

/// The protocol's small worlds.
pub fn scenarios(size: Size) -> Vec<Scenario> {
    use Actor::{Acquires, Releases, Seals, SealsAndPrunes, Waits, Writes};
    let of =
        |name, actors: &[Actor], deaths, before| Scenario { name, actors: actors.to_vec(), deaths, before };
    let mut all = vec![
        of("two begin a store", &[Writes("a"), Writes("a/b")], 0, Before::Nothing),
        of("two append, both may die", &[Writes("b"), Writes("b/c")], 2, Before::OneLease),
        of("two append behind a torn write", &[Writes("b"), Writes("b/c")], 1, Before::Torn),
    ];
    if size >= Size::Small {
        all.extend([
            of("one appends, one seals", &[Writes("b"), Seals], 0, Before::OneLease),
            of("two finish a rotation", &[Writes("b"), Writes("b/c")], 0, Before::HalfRotated),
            of("two acquire through the mutex", &[Acquires("b"), Acquires("b/c")], 0, Before::OneLease),
            of("two steal from the dead", &[Acquires("b"), Acquires("b/c")], 0, Before::DeadInside),
            of("a release meets an acquire", &[Releases, Acquires("a")], 0, Before::OneLease),
            of("one waits for a release", &[Waits("a"), Releases], 0, Before::OneLease),
        ]);
    }
    if size >= Size::Large {
        all.extend([
            of("three append", &[Writes("b"), Writes("b/c"), Writes("b/c/d")], 0, Before::OneLease),
            of("two begin a store, one may die", &[Writes("a"), Writes("a/b")], 1, Before::Nothing),
            of("one appends, one seals, one may die", &[Writes("b"), Seals], 1, Before::OneLease),
            of("two seal, one prunes", &[Seals, SealsAndPrunes], 0, Before::OneLease),
            of("two finish a rotation, one may die", &[Writes("b"), Writes("b/c")], 1, Before::HalfRotated),
            of("one appends, one seals and prunes", &[Writes("a"), SealsAndPrunes], 0, Before::HalfRotated),
            of("two acquire, one may die", &[Acquires("b"), Acquires("b/c")], 1, Before::OneLease),
            of("two steal, one may die", &[Acquires("b"), Acquires("b/c")], 1, Before::DeadInside),
            of("a release meets an acquire, one may die", &[Releases, Acquires("a")], 1, Before::OneLease),
        ]);
    }
    all
}

/// Goes through every state of a scenario.
///
/// # Errors
///
/// The first broken promise, and the choices that lead to it.
pub fn explore(scenario: &Scenario) -> Result<Explored, Broken> {
    explore_until(scenario, || false)
}

/// As [`explore`], as long as time is not up.
///
/// # Errors
///
/// The first broken promise, and the choices that lead to it.
pub fn explore_until(scenario: &Scenario, is_up: impl Fn() -> bool) -> Result<Explored, Broken> {
    let begin = prepare(scenario);
    let mut explored = Explored::default();
    let mut seen: HashSet<u64> = HashSet::new();
    let mut ahead: Vec<Vec<u8>> = vec![Vec::new()];
    let mut stacks = Stacks::default();
    while let Some(path) = ahead.pop() {
        if is_up() {
            explored.left = ahead.len() + 1;
            break;
        }
        let mut play = Play::new(scenario, &begin, stacks);
        for &choice in &path {
            play.choose(choice);
        }
        let mut path = path;
        loop {
            play.check().map_err(|what| {
                format!("{}: {what}\n  by the choices {path:?}\n  {}", scenario.name, play.story())
            })?;
            if !seen.insert(play.fingerprint()) {
                break;
            }
            explored.states += 1;
            explored.depth = explored.depth.max(path.len());
            let choices = play.choices();
            explored.transitions += u64::from(choices);
            if choices == 0 {
                explored.ends += 1;
                explored.granted[play.granted.min(3)] += 1;
                break;
            }
            for other in 1..choices {
                let mut sibling = path.clone();
                sibling.push(other);
                ahead.push(sibling);
            }
            play.choose(0);
            path.push(0);
        }
        stacks = play.leave();
    }
    Ok(explored)
}

/// The store that a scenario begins with.
struct Begin {
    disk: MemDisk,
    lease: Option<LeaseId>,
    asked: Vec<(Tag, Request, Claim)>,
}

/// Time enough for one look after a while and not for two.
const WAIT: Duration = Duration::from_secs(5);
const FIRST_OWNER: &str = "first";

fn request_of(tag: Tag, owner: &str, dir: &'static str) -> (Request, Claim) {
    let mut request = Request::of(OwnerName::new(owner).expect("a name"));
    let claim = Claim { writes: vec![dir], reads: Vec::new() };
    (request.tree, request.read) = claim.regions();
    request.lane = LaneName::new(format!("lane-{tag}")).ok();
    request.why = Note::new(tag.to_string()).ok();
    (request, claim)
}

fn ask_of(request: &Request) -> Box<Ask> {
    let policy = Policy::default();
    Box::new(Ask { request: request.clone(), policy, with_leases: Vec::new(), dry_run: false })
}

fn caller(owner: &str) -> Caller {
    let patience = Patience { ttl: Duration::from_secs(10), budget: Duration::from_secs(30) };
    Caller { owner: OwnerName::new(owner).expect("a name"), patience, namespace: HOME }
}

fn prepare(scenario: &Scenario) -> Begin {
    let world = World::new(1);
    let mut stacks = Stacks::default();
    let mut begin = Begin { disk: world.disk.clone(), lease: None, asked: Vec::new() };
    if scenario.before == Before::Nothing {
        return begin;
    }
    let (request, claim) = request_of(100, FIRST_OWNER, "a");
    let errand = Errand::BareAcquire(ask_of(&request));
    let outcome = until(&world, &mut stacks, errand, |_| false).expect("nobody stops it");
    if let Outcome::Acquired(Ok(acquired)) = &outcome {
        begin.lease = acquired.seq.map(LeaseId::from);
    }
    begin.asked.push((100, request, claim));
    let is_publish = |asks: &Asks| {
        matches!(asks, Asks::Disk { what: What::Publish, dir: journal::disk::Dir::Journal, .. })
    };
    let is_append = |asks: &Asks| matches!(asks, Asks::Disk { what: What::Append, .. });
    match scenario.before {
        Before::HalfRotated => {
            until(&world, &mut stacks, Errand::BareSeal { prunes: false }, is_publish);
        }
        Before::Torn => {
            let (request, _) = request_of(101, "torn", "b");
            until(&world, &mut stacks, Errand::BareAcquire(ask_of(&request)), is_append);
        }
        Before::DeadInside => {
            let (request, claim) = request_of(102, "dead", "c");
            until(&world, &mut stacks, Errand::Acquire(ask_of(&request), None), is_append);
            begin.asked.push((102, request, claim));
        }
        Before::Nothing | Before::OneLease => {}
    }
    begin
}

/// Runs an errand until it would make such a call, at which it dies; an append is torn by it.
fn until(
    world: &Rc<World>,
    stacks: &mut Stacks,
    errand: Errand,
    dies_at: impl Fn(&Asks) -> bool,
) -> Option<Outcome> {
    let mut process = Process::start(world, stacks, 1_000, caller(FIRST_OWNER), errand);
    loop {
        if dies_at(&process.asks) {
            let torn = matches!(process.asks, Asks::Disk { what: What::Append, .. });
            let told = if torn { Told::Meet(Fault::Torn { bytes: 40, nuls: 3 }) } else { Told::Die };
            let _dead = process.resume(told, stacks);
            return None;
        }
        match process.resume(Told::Go, stacks) {
            Progress::Goes(next) => process = next,
            Progress::Ended(outcome) => return Some(*outcome),
        }
    }
}

/// One way through a scenario.
struct Play<'s> {
    scenario: &'s Scenario,
    world: Rc<World>,
    truth: Truth,
    seats: Vec<Seat>,
    deaths: u32,
    granted: usize,
    stacks: Stacks,
    broken: Option<Broken>,
    cut_at: Option<u64>,
    story: Vec<(usize, Asks, Told)>,
}

#[expect(clippy::large_enum_variant, reason = "there are three at most")]
enum Seat {
    Runs {
        process: Process,
        began: Moment,
        fence: u64,
        tag: Tag,
        request: Request,
    },
    /// A hash of what it said.
    Ended(u64),
    Died,
}

impl<'s> Play<'s> {
    fn new(scenario: &'s Scenario, begin: &'s Begin, mut stacks: Stacks) -> Play<'s> {
        let world = World::with_disk(1, begin.disk.copy());
        // Whoever was there before started earlier, so nobody is mistaken for him.
        world.advance(60_000);
        let mut truth = Truth::new(true);
        let now = moment(&world);
        for (tag, request, claim) in &begin.asked {
            truth.asks(*tag, request, claim, now.clone());
        }
        if let (Some(lease), Some((tag, request, _))) = (begin.lease, begin.asked.first()) {
            truth.was_granted(*tag, request, lease, &now);
        }
        let owners = ["ann", "bob", "cid"];
        let seats = scenario
            .actors
            .iter()
            .zip(1..)
            .map(|(actor, number)| {
                let owner = owners[usize::try_from(number - 1).unwrap_or(0) % owners.len()];
                let dir = match actor {
                    Actor::Writes(dir) | Actor::Acquires(dir) | Actor::Waits(dir) => dir,
                    _ => "unused",
                };
                let (request, claim) = request_of(number, owner, dir);
                let (errand, owner) = match (actor, begin.lease) {
                    (Actor::Writes(_), _) => (Errand::BareAcquire(ask_of(&request)), owner),
                    (Actor::Acquires(_), _) => (Errand::Acquire(ask_of(&request), None), owner),
                    (Actor::Waits(_), _) => (Errand::Acquire(ask_of(&request), Some(WAIT)), owner),
                    (Actor::Seals, _) => (Errand::BareSeal { prunes: false }, owner),
                    (Actor::SealsAndPrunes, _) => (Errand::BareSeal { prunes: true }, owner),
                    (Actor::Releases, Some(lease)) => {
                        let holder = OwnerName::new(FIRST_OWNER).expect("a name");
                        let title = truth.title(lease, &holder, None);
                        truth.leaves(lease, &holder, title);
                        (Errand::Release(Which::Lease(lease), None), FIRST_OWNER)
                    }
                    (Actor::Releases, None) => (Errand::Live, owner),
                };
                if matches!(actor, Actor::Writes(_) | Actor::Acquires(_) | Actor::Waits(_)) {
                    truth.asks(number, &request, &claim, now.clone());
                }
                let process = Process::start(&world, &mut stacks, number, caller(owner), errand);
                Seat::Runs { process, began: now.clone(), fence: truth.fence(), tag: number, request }
            })
            .collect();
        let (broken, cut_at) = (None, None);
        let story = Vec::new();
        Play { scenario, world, truth, seats, deaths: 0, granted: 0, stacks, broken, cut_at, story }
    }

    /// What may happen next: each process that can go on may, and may die if a death is left; inside an append it may
    /// die after the first byte, in the middle, and before the last.
    fn options(&self) -> Vec<(usize, Told)> {
        let mut options = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let Seat::Runs { process, .. } = seat else { continue };
            match process.asks {
                Asks::Wait { .. } if process.is_ready() => options.push((at, Told::Go)),
                // Whoever waits may find its time up at any moment.
                Asks::Wait { .. } => options.push((at, Told::TimeIsUp)),
                _ => options.push((at, Told::Go)),
            }
        }
        if self.deaths < self.scenario.deaths {
            for (at, seat) in self.seats.iter().enumerate() {
                let Seat::Runs { process, .. } = seat else { continue };
                options.push((at, Told::Die));
                let torn = |bytes, nuls| (at, Told::Meet(Fault::Torn { bytes, nuls }));
                match process.asks {
                    Asks::Disk { what: What::Append, bytes, .. } => {
                        options.extend([1, bytes / 2, bytes.saturating_sub(1)].map(|bytes| torn(bytes, 0)));
                        options.push(torn(0, 7));
                    }
                    // A mark is read whole or not at all.
                    Asks::Disk { what: What::AppendOrCreate, bytes, .. } => options.push(torn(bytes / 2, 0)),
                    _ => {}
                }
            }
        }
        options
    }

    fn choices(&self) -> u8 {
        u8::try_from(self.options().len()).expect("few choices")
    }

    fn choose(&mut self, choice: u8) {
        let (at, told) = self.options().swap_remove(usize::from(choice));
        let dies = matches!(told, Told::Die | Told::Meet(_));
        self.deaths += u32::from(dies);
        let Seat::Runs { process, began, fence, tag, request } =
            std::mem::replace(&mut self.seats[at], Seat::Died)
        else {
            return;
        };
        self.story.push((at, process.asks, told.clone()));
        match process.resume(told, &mut self.stacks) {
            Progress::Goes(process) => self.seats[at] = Seat::Runs { process, began, fence, tag, request },
            Progress::Ended(_) if dies => {}
            Progress::Ended(outcome) => {
                let heard = self.hear(tag, &request, &began, fence, &outcome);
                self.broken = heard.err();
                let mut hash = DefaultHasher::new();
                format!("{outcome:?}").hash(&mut hash);
                self.seats[at] = Seat::Ended(hash.finish());
            }
        }
    }

    fn hear(
        &mut self,
        tag: Tag,
        request: &Request,
        began: &Moment,
        fence: u64,
        outcome: &Outcome,
    ) -> Result<(), Broken> {
        match outcome {
            Outcome::Acquired(answer) => {
                let granted = self.truth.answers(tag, request, began, fence, answer, &self.world)?;
                self.granted += usize::from(granted.is_some());
                match answer {
                    Ok(acquired) if granted.is_none() && matches!(acquired.verdict, Verdict::Grant(_)) => {
                        Err("a grant without a lease".into())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("nothing fails here, and yet: {error}")),
                }
            }
            Outcome::Released(Ok(Ok(Released { lease, .. }))) => {
                self.truth.ended(lease.lease);
                Ok(())
            }
            Outcome::Sealed(Ok(_)) => Ok(()),
            outcome => Err(format!("nothing fails here, and yet: {outcome:?}")),
        }
    }

    /// Compares what is on the disk with what was told, as it is and as a power cut would leave it.
    fn check(&mut self) -> Result<(), Broken> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        if self.truth.look(&self.world)? == Seen::Damaged {
            return Err("S5: damage is told where there is none".into());
        }
        for seat in &self.seats {
            if let Seat::Runs { process, .. } = seat
                && let Some(sleeper) = process.sleeper().filter(|_| !process.is_ready())
            {
                self.truth.sleeps(&process.identity, &sleeper, &self.world)?;
            }
        }
        let version = self.world.disk.version();
        if self.cut_at != Some(version) {
            self.cut_at = Some(version);
            let mut after = self.truth.clone();
            after.forgets();
            let cut = self.world.disk.power_cut(Keep::Nothing);
            after.look_at(&cut, &self.world).map_err(|what| format!("after a power cut: {what}"))?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.world.disk.fingerprint().hash(&mut hash);
        self.world.queue_fingerprint().hash(&mut hash);
        self.world.bells.borrow().hash(&mut hash);
        self.deaths.hash(&mut hash);
        for seat in &self.seats {
            match seat {
                Seat::Runs { process, .. } => (0, process.heard()).hash(&mut hash),
                Seat::Ended(said) => (1, *said).hash(&mut hash),
                Seat::Died => 2.hash(&mut hash),
            }
        }
        hash.finish()
    }

    /// What happened, call by call, for whoever has to understand a failure.
    fn story(&self) -> String {
        let line = |(at, asks, told): &(usize, Asks, Told)| {
            format!("{} ({}): {asks}: {told:?}", self.scenario.actors[*at].name(), at + 1)
        };
        self.story.iter().map(line).collect::<Vec<_>>().join("\n  ")
    }

    fn leave(mut self) -> Stacks {
        for seat in self.seats {
            if let Seat::Runs { process, .. } = seat {
                process.kill(&mut self.stacks);
            }
        }
        self.stacks
    }
}

impl Actor {
    fn name(self) -> String {
        match self {
            Actor::Writes(dir) => format!("writer of {dir}"),
            Actor::Acquires(dir) => format!("acquirer of {dir}"),
            Actor::Waits(dir) => format!("waiter for {dir}"),
            Actor::Seals | Actor::SealsAndPrunes => "sealer".into(),
            Actor::Releases => "releaser".into(),
        }
    }
}
