//! What every simulated process was told, and whether it is true: the promises S1, S2, S3, S5 and L2 as one check.
//!
//! The truth is kept apart from the code that is tested: grants are what processes *reported*, held until their
//! holder asks to let go of them or somebody may take them away, by the simulator's own knowledge of clocks and
//! deaths. The journal is read by the shipped reader, and what it says is compared.

use std::collections::{BTreeMap, BTreeSet};

use arbiter::evidence::ProcessIdentity;
use arbiter::lease::Lease;
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::queue::{Waiter, Wake};
use arbiter::region::Region;
use arbiter::request::Request;
use arbiter::seq::{Fence, LeaseId, Ticket};
use arbiter::time::Span;
use arbiter::verdict::Verdict;
use journal::JournalError;
use journal::disk::Access;
use journal::history::{self, Redecider};
use journal::repair::REPAIR_OWNER;
use journal::state::State;
use journal::store::{FileStore, Store};
use lease::mutex::MutexError;
use lease::session::{Acquired, Adopted, LeaseError, Miss, View};

use testkit::disk::MemDisk;

use crate::bells::Sleeper;
use crate::tenure::{Tenure, Title};
use crate::world::{Namespace, World};

/// A request's own number, written into its reason, by which its lease is known again.
pub type Tag = u64;

/// What a request claims: whole directories, so that whether two of them meet can be told without the code that is
/// tested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Directories it writes; the empty one is everything.
    pub writes: Vec<&'static str>,
    /// Directories it reads.
    pub reads: Vec<&'static str>,
}

impl Claim {
    /// What the request says for it.
    ///
    /// # Panics
    ///
    /// When a directory is no pattern.
    pub fn regions(&self) -> (Region, Region) {
        let parse = |dirs: &[&str]| Region::parse(dirs.iter().copied()).expect("directories are patterns");
        (parse(&self.writes), parse(&self.reads))
    }

    fn meets(&self, other: &Claim) -> bool {
        let meet = |ours: &[&str], theirs: &[&str]| {
            ours.iter().any(|one| theirs.iter().any(|two| is_within(one, two) || is_within(two, one)))
        };
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }
}

fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| dir.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// When something happened, by all clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    boot: String,
    up_ms: u64,
    wall_ms: i64,
}

impl Moment {
    /// The wall clock was set back since: what was stamped meanwhile may look as old as that.
    pub fn may_look_like(&mut self, wall_ms: i64) {
        self.wall_ms = self.wall_ms.min(wall_ms);
    }
}

/// What somebody was granted.
#[expect(clippy::struct_excessive_bools, reason = "each may become true whatever the others are")]
#[derive(Clone, Debug)]
struct Grant {
    tenure: Tenure,
    lane: LaneName,
    claim: Claim,
    ttl: Span,
    processes: Vec<ProcessIdentity>,
    beat: Moment,
    /// Its time is over or its holder dead: whoever needs its place may have it.
    evictable: bool,
    /// Who has asked to give it back, and may have succeeded.
    leaving: BTreeSet<OwnerName>,
    /// An operator has asked to end it by force, and may have succeeded.
    doomed: bool,
    /// It was given back or ended, or lost to damage that a person accepted: it must not come back.
    gone: bool,
    /// It was not there at the last look. Only what a power cut takes back can bring it back.
    absent: bool,
}

/// What became of a request.
#[derive(Clone, Debug, Default)]
struct Asked {
    owner: Option<OwnerName>,
    claim: Claim,
    refused: bool,
    /// It was told that the store is busy: no record of its counts. One that lost a race may count after a power cut that
    /// takes the winner's, when the sync of that has failed (docs/safety.md, known limits).
    busy: bool,
    /// How often it was asked; an earlier process may have succeeded and died.
    times: u32,
    /// When it was asked first: a grant that is told again may be as old as that.
    first: Option<Moment>,
}

/// Everything that was told.
#[derive(Clone, Debug)]
pub struct Truth {
    grants: BTreeMap<LeaseId, Grant>,
    asked: BTreeMap<Tag, Asked>,
    highest_fence: u64,
    highest_wall_ms: i64,
    /// Whether all processes can see one another.
    one_namespace: bool,
    /// Whether anything happened after which the journal may say that it is damaged.
    may_be_damaged: bool,
    looked_at: Option<u64>,
    /// The leases that were seen to live while no repair held anything.
    seen: BTreeMap<LeaseId, Tag>,
    line: Line,
    /// The live set since each version of the disk.
    lives: BTreeMap<u64, BTreeSet<LeaseId>>,
}

/// The line as it was at the last look, and the leases beside it.
#[derive(Clone, Debug, Default)]
struct Line {
    waits: BTreeMap<Ticket, Waits>,
    leases: BTreeSet<LeaseId>,
}

/// One who stands in the line.
#[derive(Clone, Debug)]
struct Waits {
    tag: Tag,
    lane: LaneName,
    claim: Claim,
    process: Option<ProcessIdentity>,
    wake: Wake,
    since: Moment,
    budget: Option<Span>,
    /// Since when no lease has kept it back that must stay.
    free: Option<Moment>,
    /// The version of the disk in which it came.
    came: u64,
}

/// A promise that was broken, in words.
pub type Broken = String;

/// What a look at the journal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It can be read.
    Sound,
    /// It refuses every grant until a person repairs.
    Damaged,
}

impl Truth {
    /// Nothing was told yet.
    pub fn new(one_namespace: bool) -> Truth {
        Truth {
            grants: BTreeMap::new(),
            asked: BTreeMap::new(),
            highest_fence: 0,
            highest_wall_ms: i64::MIN,
            one_namespace,
            may_be_damaged: false,
            looked_at: None,
            seen: BTreeMap::new(),
            line: Line::default(),
            lives: BTreeMap::new(),
        }
    }

    /// Whether somebody stood in the line at the last look.
    pub fn somebody_waits(&self) -> bool {
        !self.line.waits.is_empty()
    }

    /// From now on the journal may be damaged, visibly.
    pub fn damage_may_show(&mut self) {
        self.may_be_damaged = true;
    }

    /// Whether the journal may say that it is damaged.
    pub fn damage_is_allowed(&self) -> bool {
        self.may_be_damaged
    }

    /// The highest fence that anybody knows of: who asks from now on must get a higher one.
    pub fn fence(&self) -> u64 {
        self.highest_fence
    }

    /// Somebody asks.
    pub fn asks(&mut self, tag: Tag, request: &Request, claim: &Claim, moment: Moment) {
        let asked = self.asked.entry(tag).or_default();
        asked.first.get_or_insert(moment);
        asked.times += 1;
        asked.owner = Some(request.owner.clone());
        asked.claim = claim.clone();
        asked.refused = false;
        asked.busy = false;
    }

    /// What was granted before anybody looked.
    pub fn was_granted(&mut self, tag: Tag, request: &Request, id: LeaseId, moment: &Moment) {
        self.highest_fence = self.highest_fence.max(id.get());
        let grant = Grant {
            tenure: Tenure::new(request.owner.clone(), id.get()),
            lane: request.lane_name(),
            claim: self.asked.get(&tag).map(|asked| asked.claim.clone()).unwrap_or_default(),
            ttl: request.ttl.unwrap_or(Policy::default().ttl_of(&request.lane_name())),
            processes: request.processes.clone(),
            beat: moment.clone(),
            evictable: false,
            leaving: BTreeSet::new(),
            doomed: false,
            gone: false,
            absent: false,
        };
        self.grants.insert(id, grant);
    }

    /// Somebody who asked at `moment`, when `fence` was the highest, has been answered.
    ///
    /// # Errors
    ///
    /// A broken promise.
    pub fn answers(
        &mut self,
        tag: Tag,
        request: &Request,
        moment: &Moment,
        fence: u64,
        answer: &Result<Acquired, LeaseError>,
        world: &World,
    ) -> Result<Option<LeaseId>, Broken> {
        match answer {
            Ok(Acquired { verdict: Verdict::Refuse(_), .. }) => {
                self.asked.entry(tag).or_default().refused = true;
                Ok(None)
            }
            Ok(Acquired { verdict: Verdict::Grant(grant), seq, repeated, .. }) => {
                let Some(seq) = *seq else {
                    return Err(format!("request {tag} was granted without a record"));
                };
                let id = LeaseId::from(seq);
                if *repeated && self.grants.contains_key(&id) {
                    return Ok(Some(id));
                }
                if !repeated && seq.get() <= fence {
                    return Err(format!(
                        "lease {id} has a fence that is not above {fence}, which was told before"
                    ));
                }
                self.highest_fence = self.highest_fence.max(seq.get());
                let asked = self.asked.get(&tag).cloned().unwrap_or_default();
                let first = asked.first.filter(|_| *repeated);
                let mut new = Grant {
                    tenure: Tenure::new(request.owner.clone(), id.get()),
                    lane: grant.lane.clone(),
                    claim: asked.claim,
                    ttl: grant.ttl,
                    processes: request.processes.clone(),
                    beat: first.unwrap_or_else(|| moment.clone()),
                    evictable: false,
                    leaving: BTreeSet::new(),
                    doomed: false,
                    gone: false,
                    absent: false,
                };
                let now = self::moment(world);
                new.evictable = new.may_be_taken(world, &now, self.highest_wall_ms, self.one_namespace);
                for (other, held) in &self.grants {
                    if new.is_held() && held.is_held() && new.meets(held) {
                        // A repair keeps what it can read, and its hold stands beside that. For what it cannot read
                        // the hold stands in, and who has not said yet that it was granted may say so.
                        let was_first =
                            if *repeated { is_live(tag, id, world) } else { self.was_seen(tag, id) };
                        if held.is_hold() && id < *other && was_first {
                            continue;
                        }
                        return Err(format!(
                            "S1: lease {id} of {} ({:?}) was granted while lease {other} of {} ({:?}) is held",
                            request.owner,
                            new.claim,
                            held.tenure.owner(),
                            held.claim
                        ));
                    }
                }
                self.grants.insert(id, new);
                Ok(Some(id))
            }
            Err(LeaseError::Mutex(MutexError::Busy { .. })) => {
                let asked = self.asked.entry(tag).or_default();
                asked.busy = asked.times == 1;
                Ok(None)
            }
            // The disk has failed: the record may be there or not.
            Err(_) => Ok(None),
        }
    }

    /// What one who is about to use a lease in `owner`'s name, under this fence, has to expect.
    pub fn title(&self, id: LeaseId, owner: &OwnerName, fence: Option<Fence>) -> Title {
        let Some(grant) = self.grants.get(&id) else { return Title::Open };
        match grant.tenure.title(owner, fence.map(Fence::get)) {
            // A repair may bring back what was before.
            Title::Lost if self.may_be_damaged => Title::Open,
            _ if grant.gone && !self.may_be_damaged => Title::Lost,
            Title::Sure(_) if !grant.is_held() => Title::Open,
            title => title,
        }
    }

    /// It is about to be given back in `owner`'s name.
    pub fn leaves(&mut self, id: LeaseId, owner: &OwnerName, title: Title) {
        if let Some(grant) = self.grants.get_mut(&id)
            && title != Title::Lost
        {
            grant.leaving.insert(owner.clone());
        }
    }

    /// It was given back, or ended by somebody else: that is durable.
    pub fn ended(&mut self, id: LeaseId) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.gone = true;
        }
    }

    /// An operator is about to end it, whether it stands or not.
    pub fn is_doomed(&mut self, id: LeaseId) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.doomed = true;
        }
    }

    /// `owner`, who had this title to it, was told no: it does nothing with it any more.
    ///
    /// # Errors
    ///
    /// That it must have it.
    pub fn missed(
        &mut self,
        id: LeaseId,
        owner: &OwnerName,
        title: Title,
        miss: &Miss,
    ) -> Result<(), Broken> {
        let is_covered = self.is_covered();
        let Some(grant) = self.grants.get_mut(&id) else { return Ok(()) };
        let (Title::Sure(fence), false) = (title, is_covered) else { return Ok(()) };
        let may_have_ended = grant.evictable
            || grant.gone
            || grant.doomed
            || grant.leaving.iter().any(|leaving| leaving != owner);
        let is_the_same = grant.tenure.is_settled() && grant.tenure.fence() == fence;
        let is_wrong = match miss {
            Miss::NotYours(lease) | Miss::Fenced(lease) if lease.lease == id => is_the_same,
            // Where it is not named, another one has its lane by now.
            Miss::NotYours(_) | Miss::Fenced(_) | Miss::NotHeld | Miss::Expired(_) => !may_have_ended,
        };
        if is_wrong {
            return Err(format!("S2: {owner}, who has lease {id}, was told {miss:?}"));
        }
        Ok(())
    }

    /// An operator was told that nobody has a lease that was held when it asked.
    ///
    /// # Errors
    ///
    /// That it is held.
    pub fn not_found(&self, id: LeaseId) -> Result<(), Broken> {
        match self.grants.get(&id) {
            Some(grant) if grant.is_held() && !self.is_covered() => {
                Err(format!("S2: an operator was told that nobody has lease {id}"))
            }
            _ => Ok(()),
        }
    }

    /// Who meant to give it back, and was told that it is somebody else's, has not done so.
    pub fn stays(&mut self, id: LeaseId, owner: &OwnerName) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.leaving.remove(owner);
        }
    }

    /// A beat that was begun at `moment` with this title was recorded.
    ///
    /// # Errors
    ///
    /// That there was nothing to beat for.
    pub fn beats(&mut self, id: LeaseId, title: Title, moment: &Moment, world: &World) -> Result<(), Broken> {
        let (now, highest) = (self::moment(world), self.highest_wall_ms);
        let Some(grant) = self.grants.get_mut(&id) else { return Ok(()) };
        if title == Title::Lost {
            return Err(format!("a beat was recorded for lease {id}, which was not theirs any more"));
        }
        if !grant.gone {
            grant.beat = moment.clone();
            grant.evictable = grant.may_be_taken(world, &now, highest, self.one_namespace);
        }
        Ok(())
    }

    /// Somebody is about to take it over.
    pub fn is_wanted(
        &mut self,
        id: LeaseId,
        from: &OwnerName,
        to: &OwnerName,
        processes: &[ProcessIdentity],
    ) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.tenure.is_wanted(from, to, processes);
        }
    }

    /// That one was told no.
    pub fn is_not_given(&mut self, id: LeaseId, from: &OwnerName, to: &OwnerName) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.tenure.is_not_given(from, to);
        }
    }

    /// That one, who began when `fence` was the highest, was told that it is theirs. `from` had this title to it then.
    ///
    /// # Errors
    ///
    /// That it cannot be.
    pub fn is_given(
        &mut self,
        (id, title, from): (LeaseId, Title, &OwnerName),
        to: &OwnerName,
        fence: u64,
        adopted: &Adopted,
        moment: &Moment,
        world: &World,
    ) -> Result<(), Broken> {
        let (now, highest) = (self::moment(world), self.highest_wall_ms);
        let Some(grant) = self.grants.get_mut(&id) else { return Ok(()) };
        if title == Title::Lost && !grant.tenure.came_back_to(from, fence) {
            return Err(format!("lease {id} was taken over from {from}, whose it was not any more"));
        }
        let given = adopted.lease.fence.get();
        if given <= fence {
            return Err(format!("lease {id} was taken over under fence {given}, which is not above {fence}"));
        }
        self.highest_fence = self.highest_fence.max(given);
        grant.tenure.is_not_given(from, to);
        if grant.tenure.is_given(to, given) && !grant.gone {
            // Whoever meant to give it back comes too late.
            grant.leaving.clear();
            grant.processes.clone_from(&adopted.lease.processes);
            grant.beat = moment.clone();
            grant.evictable = grant.may_be_taken(world, &now, highest, self.one_namespace);
        }
        Ok(())
    }

    /// The wall clock was set: a grant that is told again may have been stamped by it.
    pub fn clock_is_set(&mut self, wall_ms: i64) {
        for first in self.asked.values_mut().filter_map(|asked| asked.first.as_mut()) {
            first.may_look_like(wall_ms);
        }
    }

    /// The power has failed: what was not durable may be as it was before.
    pub fn forgets(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.busy = false);
        for grant in self.grants.values_mut() {
            grant.absent = false;
        }
        self.line = Line::default();
    }

    /// Whether the lease was there, for this request, before any repair.
    fn was_seen(&self, tag: Tag, id: LeaseId) -> bool {
        self.seen.get(&id) == Some(&tag)
    }

    /// Whether a repair's hold covers what is missing.
    fn is_covered(&self) -> bool {
        self.grants.values().any(|grant| grant.is_hold() && grant.is_held())
    }

    /// Time has passed or somebody has died: some leases may now be taken away.
    pub fn time_passes(&mut self, world: &World) {
        let now = moment(world);
        self.highest_wall_ms = self.highest_wall_ms.max(now.wall_ms);
        for grant in self.grants.values_mut().filter(|grant| !grant.evictable && !grant.gone) {
            grant.evictable = grant.may_be_taken(world, &now, self.highest_wall_ms, self.one_namespace);
        }
    }

    /// Reads the journal as somebody new would, if it has changed, and compares it with what was told.
    ///
    /// # Errors
    ///
    /// A broken promise.
    pub fn look(&mut self, world: &World) -> Result<Seen, Broken> {
        let version = world.disk.version();
        if self.looked_at == Some(version) {
            return Ok(Seen::Sound);
        }
        let seen = self.look_at(&world.disk, world)?;
        if seen == Seen::Sound && !self.may_be_damaged {
            self.look_at_the_line(world)?;
        }
        if seen == Seen::Sound {
            self.looked_at = Some(version);
        }
        Ok(seen)
    }

    /// As [`Truth::look`], at another disk: one of which the power was cut, for instance.
    ///
    /// # Errors
    ///
    /// A broken promise.
    pub fn look_at(&mut self, disk: &MemDisk, world: &World) -> Result<Seen, Broken> {
        let mut store = FileStore::new(disk.process(), Access::Read);
        match store.load() {
            Ok(state) => {
                let live: Vec<Lease> =
                    state.map_or_else(Vec::new, |state| state.live.iter().cloned().collect());
                self.compare(&live, world)?;
                Ok(Seen::Sound)
            }
            Err(JournalError::Damaged(_)) if self.may_be_damaged => Ok(Seen::Damaged),
            Err(error) => Err(format!("S5: the journal cannot be read although nothing damaged it: {error}")),
        }
    }

    /// Compares the line with the one before: whoever has a lease since then has overtaken nobody who stands and wants
    /// the same.
    fn look_at_the_line(&mut self, world: &World) -> Result<(), Broken> {
        let mut store = FileStore::new(world.disk.process(), Access::Read);
        let state = store.load().map_err(|error| format!("S5: it could be read just now: {error}"))?;
        let empty = State::default();
        let state = state.unwrap_or(&empty);
        let now = moment(world);
        let before = std::mem::take(&mut self.line);
        for lease in state.live.iter().filter(|lease| !before.leases.contains(&lease.lease)) {
            let Some((tag, asked)) = tag_of(lease).and_then(|tag| Some((tag, self.asked.get(&tag)?))) else {
                continue;
            };
            let place = before.waits.iter().find(|(_, waits)| waits.tag == tag).map(|(ticket, _)| *ticket);
            let came_before =
                before.waits.iter().filter(|(ticket, _)| place.is_none_or(|place| **ticket < place));
            for (ticket, waits) in came_before {
                let wants_it = waits.lane.same_as(&lease.lane) || waits.claim.meets(&asked.claim);
                if wants_it && waits.must_stand(world, &now) {
                    return Err(format!(
                        "L2: {lease} went past ticket {ticket} of request {}, which stands",
                        waits.tag
                    ));
                }
            }
        }
        for waiter in state.waiters.iter() {
            let tag = waiter.request.why.as_ref().and_then(|why| why.as_str().parse().ok());
            let Some((tag, asked)) = tag.and_then(|tag: Tag| Some((tag, self.asked.get(&tag)?))) else {
                return Err(format!("S3: nobody waits with {waiter:?}"));
            };
            let known = before.waits.get(&waiter.ticket);
            // Who slept between looking at the clock and writing has used up its time by its own account.
            let since = Moment { up_ms: now.up_ms.min(waiter.clock.up_ms), ..now.clone() };
            let mut waits = known.cloned().unwrap_or_else(|| Waits {
                tag,
                lane: waiter.request.lane_name(),
                claim: asked.claim.clone(),
                process: waiter.process.clone(),
                wake: waiter.wake,
                since,
                budget: waiter.budget,
                free: None,
                came: world.disk.version(),
            });
            let stays = |lease: &&Lease| {
                self.grants.get(&lease.lease).is_some_and(|grant| {
                    let highest = self.highest_wall_ms;
                    let meets = waits.lane.same_as(&grant.lane) || waits.claim.meets(&grant.claim);
                    meets && !grant.evictable && !grant.may_be_taken(world, &now, highest, self.one_namespace)
                })
            };
            waits.free = match state.live.iter().find(stays) {
                Some(_) => None,
                None => waits.free.take().or_else(|| Some(now.clone())),
            };
            self.line.waits.insert(waiter.ticket, waits);
        }
        self.line.leases = state.live.iter().map(|lease| lease.lease).collect();
        self.lives.insert(world.disk.version(), self.line.leases.clone());
        Ok(())
    }

    /// Whether `process` sleeps on although it has to be woken: a lease has ended since it looked or came, and
    /// whoever has ended it does not hold the bell any more.
    ///
    /// # Errors
    ///
    /// A broken promise.
    pub fn sleeps(&self, process: &ProcessIdentity, sleeper: &Sleeper, world: &World) -> Result<(), Broken> {
        if sleeper.bell.is_none()
            || self.may_be_damaged
            || world.bells.borrow().is_held(&lease::machine::bell())
        {
            return Ok(());
        }
        let own = self.line.waits.values().find(|waits| waits.process.as_ref() == Some(process));
        let Some(own) = own else { return Ok(()) };
        let lives = self.lives.range(..=sleeper.read.max(own.came)).next_back();
        let ended = lives.and_then(|(_, lives)| lives.difference(&self.line.leases).next());
        match ended {
            Some(lease) => Err(format!("L1: {lease} has ended, and pid {} sleeps on", process.pid)),
            None => Ok(()),
        }
    }

    /// Whether `process` sleeps until a ticket ends that has ended, when everybody has done what he had to.
    ///
    /// # Errors
    ///
    /// A broken promise.
    pub fn waits_in_vain(&self, process: &ProcessIdentity, sleeper: &Sleeper) -> Result<(), Broken> {
        let Some(ticket) = &sleeper.ticket else { return Ok(()) };
        let stands = self.line.waits.values().any(|waits| ticket.file.ends_with(&waits.wake.to_string()));
        if self.may_be_damaged || stands {
            return Ok(());
        }
        Err(format!("L1: the ticket of {ticket} has ended, and pid {} sleeps on", process.pid))
    }

    fn compare(&mut self, live: &[Lease], world: &World) -> Result<(), Broken> {
        for lease in live {
            if lease.owner.as_str() == REPAIR_OWNER {
                self.meet_the_hold(lease, world)?;
                continue;
            }
            let tag = tag_of(lease);
            let Some(asked) = tag.and_then(|tag| self.asked.get(&tag)) else {
                return Err(format!("S3: nobody asked for {lease}"));
            };
            let (tree, read) = asked.claim.regions();
            let is_theirs = match self.grants.get(&lease.lease) {
                Some(grant) => grant.may_be_of(&lease.owner, self.may_be_damaged),
                None => asked.owner.as_ref() == Some(&lease.owner),
            };
            if !is_theirs || tree != lease.tree || read != lease.read {
                return Err(format!("S3: {lease} is not what was asked for"));
            }
            if asked.refused || asked.busy {
                return Err(format!("S3: {lease} lives although its owner was told no"));
            }
            // Where the record that gave it back is damaged, a repair keeps it: that refuses too much, never too little.
            let ended = self.grants.get(&lease.lease).is_some_and(|grant| grant.gone || grant.absent);
            if ended && !self.may_be_damaged {
                return Err(format!("{lease} lives again after it had ended"));
            }
        }
        let claims: Vec<(&Lease, &Claim)> =
            live.iter().filter_map(|lease| Some((lease, &self.asked.get(&tag_of(lease)?)?.claim))).collect();
        for (n, (one, ones)) in claims.iter().enumerate() {
            if let Some((two, _)) = claims[..n].iter().find(|(_, twos)| ones.meets(twos)) {
                return Err(format!("S1: {two} and {one} live at once"));
            }
        }
        let covered = live.iter().any(|lease| lease.owner.as_str() == REPAIR_OWNER);
        if !covered {
            self.seen.extend(live.iter().filter_map(|lease| Some((lease.lease, tag_of(lease)?))));
        }
        for (id, grant) in &mut self.grants {
            match live.iter().find(|lease| lease.lease == *id) {
                None if grant.is_held() && !covered => {
                    return Err(format!(
                        "S2: lease {id} of {} was reported and is not there",
                        grant.tenure.owner()
                    ));
                }
                None => grant.absent = true,
                Some(lease) if lease.fence.get() < grant.tenure.fence() && !self.may_be_damaged => {
                    return Err(format!("S2: lease {id} has fence {} again", lease.fence));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A repair's hold is a grant that nobody asked for, and it must stay like any other.
    fn meet_the_hold(&mut self, lease: &Lease, world: &World) -> Result<(), Broken> {
        if !self.may_be_damaged {
            return Err(format!("S3: {lease} holds everything although nothing was damaged"));
        }
        self.grants.entry(lease.lease).or_insert_with(|| Grant {
            tenure: Tenure::new(lease.owner.clone(), lease.fence.get()),
            lane: lease.lane.clone(),
            claim: Claim { writes: vec![""], reads: Vec::new() },
            ttl: lease.ttl,
            processes: Vec::new(),
            beat: moment(world),
            evictable: false,
            leaving: BTreeSet::new(),
            doomed: false,
            gone: false,
            absent: false,
        });
        Ok(())
    }

    /// A person gives up what a repair's hold covered: what is missing is missing for good.
    pub fn accept_the_loss(&mut self, live: &View) {
        for (id, grant) in &mut self.grants {
            if !live.leases.iter().any(|view| view.lease.lease == *id) {
                grant.gone = true;
            }
        }
    }

    /// The repair's holds that live.
    pub fn holds(live: &View) -> Vec<(LaneName, LeaseId)> {
        let holds = live.leases.iter().filter(|view| view.lease.owner.as_str() == REPAIR_OWNER);
        holds.map(|view| (view.lease.lane.clone(), view.lease.lease)).collect()
    }

    /// Compares what a process saw that looked while nobody else did anything.
    ///
    /// # Errors
    ///
    /// A lease that must be there is not.
    pub fn saw(&self, held_before: &[LeaseId], view: &View) -> Result<(), Broken> {
        let covered = !Truth::holds(view).is_empty();
        for id in held_before {
            let still = self.grants.get(id).is_some_and(Grant::is_held);
            if still && !covered && !view.leases.iter().any(|view| view.lease.lease == *id) {
                return Err(format!("S2: `live` does not show lease {id}, which was held before and after"));
            }
        }
        Ok(())
    }

    /// The leases that must be there now.
    pub fn held(&self) -> Vec<LeaseId> {
        self.grants.iter().filter(|(_, grant)| grant.is_held()).map(|(id, _)| *id).collect()
    }

    /// Decides everything that is on record again.
    ///
    /// # Errors
    ///
    /// What comes out otherwise.
    pub fn decide_again(world: &World) -> Result<u64, Broken> {
        let mut again = Redecider::default();
        let disk = world.disk.process();
        history::walk(&disk, |event| {
            again.take(event);
            std::ops::ControlFlow::Continue(())
        })
        .map_err(|error| format!("S4: the history cannot be read: {error}"))?;
        match again.differences.first() {
            None => Ok(again.decisions),
            Some(difference) => Err(format!("S4: decided again, record {difference:?}")),
        }
    }
}

impl Waits {
    /// Whether nobody may go past it who wants the same: it lives, its time is not over, and it was not seen to be too
    /// slow for as long as that takes.
    fn must_stand(&self, world: &World, now: &Moment) -> bool {
        let age = |then: &Moment| if then.boot == now.boot { now.up_ms - then.up_ms } else { u64::MAX };
        let lives = self.process.as_ref().is_some_and(|process| world.lives(process));
        let is_late = self.budget.is_some_and(|budget| age(&self.since) > budget.plus(Waiter::GRACE).as_ms());
        let is_slow = self.free.as_ref().is_some_and(|free| age(free) > Waiter::TTL.as_ms());
        lives && !is_late && !is_slow
    }
}

impl Grant {
    /// Whether it has to be there, and nobody else may have what it has.
    fn is_held(&self) -> bool {
        !self.evictable && self.leaving.is_empty() && !self.doomed && !self.gone
    }

    /// Whether the journal may say that it is this one's; after damage, as it was before some record that was lost.
    fn may_be_of(&self, owner: &OwnerName, may_be_damaged: bool) -> bool {
        self.tenure.may_be_of(owner) || may_be_damaged && self.tenure.was_of(owner)
    }

    /// Whether it is what a repair holds.
    fn is_hold(&self) -> bool {
        self.tenure.owner().as_str() == REPAIR_OWNER
    }

    fn may_be_taken(&self, world: &World, now: &Moment, highest_wall_ms: i64, one_namespace: bool) -> bool {
        let lives = self.processes.iter().any(|process| world.lives(process));
        let is_dead = self.tenure.may_be_dead(&self.processes, |process| world.lives(process));
        let grace = Span::from_ms(self.ttl.as_ms() / 10).min(Policy::GRACE_MAX_DEFAULT);
        let age = if self.beat.boot == now.boot {
            now.up_ms - self.beat.up_ms
        } else {
            u64::try_from(highest_wall_ms - self.beat.wall_ms).unwrap_or(0)
        };
        let is_seen = lives && one_namespace;
        is_dead || age > self.ttl.plus(grace).as_ms() && !is_seen
    }

    fn meets(&self, other: &Grant) -> bool {
        self.lane.same_as(&other.lane) || self.claim.meets(&other.claim)
    }
}

/// The world's clocks.
pub fn moment(world: &World) -> Moment {
    use lease::clock::Clock as _;
    let reading = world.clock.reading();
    Moment { boot: reading.boot, up_ms: reading.up_ms, wall_ms: world.clock.wall_ms() }
}

/// Whether the journal says that this lease lives, and that it is this request's.
fn is_live(tag: Tag, id: LeaseId, world: &World) -> bool {
    let mut store = FileStore::new(world.disk.process(), Access::Read);
    let state = store.load().ok().flatten();
    state.and_then(|state| state.live.get(id)).and_then(tag_of) == Some(tag)
}

fn tag_of(lease: &Lease) -> Option<Tag> {
    lease.why.as_ref()?.as_str().parse().ok()
}

/// The namespace that all processes of a world with only one are in.
pub const HOME: Namespace = Namespace(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::time::Duration;

    use arbiter::request::{Note, RequestId};
    use arbiter::seq::Seq;
    use journal::disk::{Dir, Name};
    use lease::clock::Clock as _;
    use lease::mutex::Patience;
    use lease::session::{Ask, Which};
    use testkit::disk::Keep;

    use crate::errand::{Errand, Outcome};
    use crate::machine::Told;
    use crate::process::{Caller, Process, Progress, Stacks};

    /// One process of `owner` with nobody beside it, from its start to its end.
    fn alone(world: &Rc<World>, owner: &OwnerName, errand: Errand) -> Outcome {
        let patience = Patience { ttl: Duration::ZERO, budget: Duration::from_secs(1) };
        let caller = Caller { owner: owner.clone(), patience, namespace: HOME };
        let mut stacks = Stacks::default();
        world.advance(1);
        let mut process = Process::start(world, &mut stacks, world.clock_ms(), caller, errand);
        loop {
            match process.resume(Told::Go, &mut stacks) {
                Progress::Goes(next) => process = next,
                Progress::Ended(outcome) => return *outcome,
            }
        }
    }

    fn acquire(world: &Rc<World>, request: &Request) -> Result<Acquired, LeaseError> {
        let ask = Ask {
            request: request.clone(),
            policy: Policy::default(),
            with_leases: Vec::new(),
            dry_run: false,
        };
        match alone(world, &request.owner, Errand::Acquire(Box::new(ask), None)) {
            Outcome::Acquired(answer) => answer,
            outcome => panic!("no answer to a request: {outcome:?}"),
        }
    }

    /// Found by seed 1091 of 700 steps: who was granted a lease died before it could say so, and the journal was damaged
    /// behind that record. A repair kept the lease and took its hold beside it. The request was repeated and rightly
    /// told of its lease, and this page said that it met the hold.
    #[test]
    fn a_grant_that_a_repair_kept_is_told_beside_its_hold_and_nothing_else_is() {
        let world = World::new(1);
        let mut truth = Truth::new(true);
        let (tag, claim) = (1, Claim { writes: vec!["a"], reads: Vec::new() });
        let mut request = Request::of(OwnerName::new("dan").expect("a name"));
        (request.tree, request.read) = claim.regions();
        request.why = Note::new(tag.to_string()).ok();
        request.request_id = RequestId::new("r-1").ok();
        let began = moment(&world);
        truth.asks(tag, &request, &claim, began.clone());
        let first = acquire(&world, &request).expect("nobody is in the way");
        let mut has_looked = truth.clone();
        assert_eq!(has_looked.look(&world), Ok(Seen::Sound));
        let other = Request { request_id: None, why: None, ..request.clone() };
        acquire(&world, &other).expect("a refusal");
        let segment = Name::new(Dir::Journal, world.disk.files(Dir::Journal)[0].clone());
        world.disk.flip(&segment, 8 * world.disk.bytes(&segment).expect("it is there").len() - 100);
        truth.damage_may_show();
        let repaired = alone(&world, &request.owner, Errand::Repair);
        assert!(matches!(repaired, Outcome::Repaired(Ok(Some(_)))), "{repaired:?}");
        assert_eq!(truth.look(&world), Ok(Seen::Sound));
        let [hold] = truth.held()[..] else { panic!("one hold, nothing else: {:?}", truth.held()) };

        truth.asks(tag, &request, &claim, moment(&world));
        truth.asks(tag + 1, &request, &claim, moment(&world));
        let again = acquire(&world, &request).expect("it is on record");
        assert!(again.repeated && again.seq == first.seq, "{again:?}");
        let told = |truth: &Truth, tag, answer: &Acquired| {
            truth.clone().answers(tag, &request, &began, 0, &Ok(answer.clone()), &world)
        };
        let hears = |tag, answer: &Acquired| told(&truth, tag, answer);
        assert_eq!(hears(tag, &again), Ok(first.seq.map(LeaseId::from)));
        // Who was granted it before, and slept since then, may say so (seed 31816). It was there.
        has_looked.damage_may_show();
        assert_eq!(has_looked.look(&world), Ok(Seen::Sound));
        has_looked.asks(tag + 1, &request, &claim, moment(&world));
        assert_eq!(told(&has_looked, tag, &first), Ok(first.seq.map(LeaseId::from)));
        let meets_it = |broken: Result<Option<LeaseId>, Broken>| {
            assert!(broken.as_ref().is_err_and(|what| what.starts_with("S1: ")), "{broken:?}");
        };
        meets_it(told(&has_looked, tag + 1, &first));
        meets_it(hears(tag, &first));
        let mut after_the_hold = truth.clone();
        let held = after_the_hold.grants.remove(&hold).expect("it is known");
        after_the_hold.grants.insert(LeaseId::FIRST, held);
        meets_it(told(&after_the_hold, tag, &again));
        meets_it(hears(tag + 1, &again));
        let mut with_another = truth.clone();
        let later = LeaseId::new(hold.get() + 1).expect("not zero");
        with_another.was_granted(tag + 1, &request, later, &began);
        meets_it(told(&with_another, tag, &again));
        let id = LeaseId::from(again.seq.expect("it has a record"));
        let released = alone(&world, &request.owner, Errand::Release(Which::Lease(id), None));
        assert!(matches!(released, Outcome::Released(Ok(Ok(_)))), "{released:?}");
        meets_it(hears(tag, &again));
    }

    /// Found by seed 74 of 600 steps, on a mutex that everybody takes at once: the wall clock was set back between a
    /// question and its answer. After a reboot the lease had run out by its stamp, and this page said that it was lost.
    #[test]
    fn a_lease_that_was_stamped_after_the_clock_was_set_back_may_be_as_old_as_its_stamp_in_the_next_boot() {
        let world = World::new(1);
        let mut truth = Truth::new(true);
        let request = Request::of(OwnerName::new("ann").expect("a name"));
        let (wall_ms, hours) = (world.clock.wall_ms(), 2 * 3_600_000);
        let mut began = moment(&world);
        truth.asks(1, &request, &Claim::default(), began.clone());
        world.clock.set_wall_ms(wall_ms - hours);
        truth.clock_is_set(world.clock.wall_ms());
        began.may_look_like(world.clock.wall_ms());
        let id = LeaseId::from(Seq::FIRST);
        truth.was_granted(1, &request, id, &began);
        truth.time_passes(&world);
        assert_eq!(truth.held(), [id]);
        world.reboot(Keep::All);
        world.clock.set_wall_ms(wall_ms);
        truth.time_passes(&world);
        assert_eq!(truth.held(), []);
    }
}
