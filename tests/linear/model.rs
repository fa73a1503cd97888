//! What the program promises, for one call after the other.
//!
//! Grants and refusals are those of the shipped arbiter on a live set that is kept here; what release, heartbeat,
//! live, check and compact do is written down here a second time, from the contract, without the journal's fold.
//! What nobody can foretell is learned from the answers: the number of a lease, and the times.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{ClockReading, Evidence, Liveness, Observation, ProcessIdentity};
use arbiter::lease::{Lease, LiveSet};
use arbiter::name::{LaneKey, LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::{ProjectPath, Region};
use arbiter::request::Request;
use arbiter::seq::{LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::Verdict;
use serde_json::{Value, json};

use super::checker::{Event, Specification};

/// Every lease lives for the default time, which is longer than any test.
pub(crate) const TTL: Span = Policy::TTL_DEFAULT;
/// How many ended leases a store remembers at least.
const ENDED_REMEMBERED: usize = 64;
/// Numbers from here on are those of leases that nobody ever saw.
const UNSEEN: u64 = 1 << 60;

/// What is asked of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Acquire(Ask),
    Release(Held),
    /// A beat; one that may be left out because the last one is recent, if `coalesce`.
    Beat {
        held: Held,
        coalesce: bool,
    },
    Live,
    Check {
        owner: String,
        path: String,
    },
    Compact {
        keep: &'static str,
    },
    /// A process that leases are bound to is killed.
    Die(u32),
}

/// A request for a lease. What begins with `lock://` stands behind the patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) owner: String,
    pub(crate) lane: Option<String>,
    pub(crate) tree: Vec<String>,
    pub(crate) read: Vec<String>,
    pub(crate) bind: Option<u32>,
    pub(crate) request_id: Option<String>,
    /// Whether it stands in the line for a while.
    pub(crate) waits: bool,
}

/// What a holder names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) owner: String,
    pub(crate) which: Which,
    pub(crate) fence: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Lane(String),
    Lease(u64),
}

/// Exit code and JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) json: Value,
}

pub(crate) type LeaseEvent = Event<Call, Answer>;

/// The world between two calls. Two orders that come to the same make equal worlds. What seldom changes is shared
/// between worlds: a search makes many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    live: BTreeMap<u64, Living>,
    ended: Arc<BTreeMap<u64, Gone>>,
    /// The lease of each lane and owner that ended last.
    last_of: Arc<BTreeMap<(LaneWord, String), u64>>,
    /// The first answer to each named request, and the request.
    answers: Arc<BTreeMap<String, (Value, Value)>>,
    dead: BTreeSet<u32>,
}

impl Hash for World {
    /// Worlds that differ mostly differ in this.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (id, living) in &self.live {
            hasher.write_u64(*id);
            living.beat.hash(hasher);
        }
        hasher.write_usize(self.ended.len());
        hasher.write_usize(self.answers.len());
    }
}

/// A lane's name as it is compared: all lanes of these tests are ASCII.
type LaneWord = String;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Living {
    grant: Arc<Granted>,
    beat: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    lane: LaneName,
    owner: OwnerName,
    tree: Region,
    read: Region,
    since: Timestamp,
    bound: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Gone {
    grant: Arc<Granted>,
    evicted: bool,
}

/// What a call cannot know beforehand: the number its lease gets, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) number: u64,
    pub(crate) now: Timestamp,
}

impl World {
    /// The numbers of the live leases.
    pub(crate) fn live(&self) -> impl Iterator<Item = u64> {
        self.live.keys().copied()
    }

    fn in_lane(&self, lane: &str) -> Option<u64> {
        let key = key_of(lane);
        self.live.iter().find(|(_, living)| living.grant.lane.key() == key).map(|(&id, _)| id)
    }

    fn end(&mut self, id: u64, evicted: bool) {
        let Some(Living { grant, .. }) = self.live.remove(&id) else { return };
        let whose = (word(&grant.lane), grant.owner.as_str().to_owned());
        Arc::make_mut(&mut self.last_of).insert(whose, id);
        Arc::make_mut(&mut self.ended).insert(id, Gone { grant, evicted });
    }

    fn alive(&self, bound: Option<u32>) -> Liveness {
        match bound {
            None => Liveness::Unknown,
            Some(process) if self.dead.contains(&process) => Liveness::No,
            Some(_) => Liveness::Yes,
        }
    }

    fn leases(&self) -> (LiveSet, Vec<Observation>) {
        let mut set = LiveSet::default();
        let mut observed = Vec::new();
        for (&id, Living { grant, beat }) in &self.live {
            let lease = LeaseId::new(id).expect("numbers begin at 1");
            if grant.bound.is_some() {
                let alive = self.alive(grant.bound);
                observed.push(Observation { lease, alive, processes: Vec::new() });
            }
            let (lane, owner) = (grant.lane.clone(), grant.owner.clone());
            let granted = Seq::new(id).expect("numbers begin at 1");
            let lives = Lease {
                tree: grant.tree.clone(),
                read: grant.read.clone(),
                heartbeat_at: *beat,
                processes: grant.bound.map(process).into_iter().collect(),
                ..Lease::bare(granted, lane, owner, grant.since, TTL)
            };
            set.insert(lives).expect("no two live leases share a lane");
        }
        (set, observed)
    }

    /// A lease as `live` and `check` show it. Whether the process of a bound one lives is looked at after the
    /// journal was read, so it is no part of this picture.
    fn shown(&self, id: u64) -> Value {
        let Living { grant, beat } = &self.live[&id];
        let mut shown = json!({
            "lease": id, "fence": id, "lane": grant.lane, "owner": grant.owner, "tree": grant.tree, "read": grant.read,
            "acquired_at": grant.since, "heartbeat_at": beat, "expires_at": beat.plus(TTL),
        });
        if grant.bound.is_none() {
            shown["alive"] = json!("unknown");
        }
        shown
    }
}

/// The sequential program under one policy, with what a history lets know of calls that were never answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    policy: Arc<Policy>,
    /// Leases that are spoken of although no answer gave them.
    unclaimed: BTreeMap<u64, Mentioned>,
    /// Beats that are seen although no answer told of them.
    unclaimed_beats: BTreeMap<u64, BTreeSet<Timestamp>>,
}

#[derive(Clone, Debug)]
struct Mentioned {
    lane: LaneKey,
    owner: String,
    since: Option<Timestamp>,
}

impl Program {
    pub(crate) fn under(policy: &Arc<Policy>) -> Program {
        Program { policy: Arc::clone(policy), ..Program::default() }
    }

    /// The program as far as one history shows it.
    pub(crate) fn seen_in(policy: &Arc<Policy>, history: &[LeaseEvent]) -> Program {
        let mut program = Program::under(policy);
        for (event, answer) in history.iter().filter_map(|e| Some((e, e.answer.as_ref()?))) {
            program.hear(&answer.json, event.call.owner());
        }
        for (event, answer) in history.iter().filter_map(|e| Some((e, e.answer.as_ref()?))) {
            let id = answer.json["lease"].as_u64().unwrap_or_default();
            match (&event.call, answer.json["outcome"].as_str()) {
                (Call::Acquire(_), Some("acquire")) if answer.json["repeated"] != true => {
                    program.unclaimed.remove(&id);
                }
                (Call::Beat { .. }, Some("beat")) if answer.json["coalesced"] == false => {}
                _ => continue,
            }
            if let (Some(beat), Some(seen)) = (beat_of(&answer.json), program.unclaimed_beats.get_mut(&id)) {
                seen.remove(&beat);
            }
        }
        program
    }

    fn hear(&mut self, json: &Value, asked_by: Option<&str>) {
        match json {
            Value::Array(all) => all.iter().for_each(|one| self.hear(one, asked_by)),
            Value::Object(fields) => {
                fields.values().for_each(|one| self.hear(one, asked_by));
                let (Some(id), Some(lane)) = (json["lease"].as_u64(), json["lane"].as_str()) else { return };
                let Some(owner) = json["owner"].as_str().or(asked_by) else { return };
                let since = ["since", "acquired_at"].into_iter().find_map(|key| time_at(json, key));
                let heard = Mentioned { lane: key_of(lane), owner: owner.to_owned(), since };
                let known = self.unclaimed.entry(id).or_insert(heard);
                known.since = known.since.or(since);
                if let Some(beat) = beat_of(json) {
                    self.unclaimed_beats.entry(id).or_default().insert(beat);
                }
            }
            _ => {}
        }
    }

    /// What a call does to the world and what it is answered; the arbiter, or the rules of the contract, say it.
    /// More than one pair where the contract leaves it open.
    pub(crate) fn perform(&self, world: &World, call: &Call, chance: Chance) -> Vec<(Answer, World)> {
        match call {
            Call::Acquire(ask) => self.acquire_in_turn(world, ask, chance),
            Call::Release(held) => match find(world, held) {
                Err(misses) => misses.into_iter().map(|miss| (miss, world.clone())).collect(),
                Ok(id) => {
                    let grant = &world.live[&id].grant;
                    let json = json!({
                        "outcome": "released", "lease": id, "fence": id, "lane": grant.lane, "owner": grant.owner,
                    });
                    let mut next = world.clone();
                    next.end(id, false);
                    vec![(Answer { code: 0, json }, next)]
                }
            },
            Call::Beat { held, coalesce } => match find(world, held) {
                Err(misses) => misses.into_iter().map(|miss| (miss, world.clone())).collect(),
                Ok(id) => {
                    let mut next = world.clone();
                    let Some(living) = next.live.get_mut(&id) else { return Vec::new() };
                    if !coalesce {
                        living.beat = living.beat.max(chance.now);
                    }
                    let json = json!({
                        "outcome": "beat", "lease": id, "fence": id, "lane": living.grant.lane,
                        "coalesced": coalesce, "expires_at": living.beat.plus(TTL), "halted": null,
                    });
                    vec![(Answer { code: 0, json }, next)]
                }
            },
            Call::Live => {
                let leases: Vec<Value> = world.live().map(|id| world.shown(id)).collect();
                let json = json!({ "outcome": "ok", "leases": leases });
                vec![(Answer { code: 0, json }, world.clone())]
            }
            Call::Check { owner, path } => vec![(self.check(world, owner, path), world.clone())],
            Call::Compact { .. } => {
                let json = json!({ "outcome": "ok", "live": world.live.len() });
                vec![(Answer { code: 0, json }, world.clone())]
            }
            Call::Die(process) => {
                let mut next = world.clone();
                next.dead.insert(*process);
                vec![(Answer { code: 0, json: json!({}) }, next)]
            }
        }
    }

    fn verdict(&self, world: &World, ask: &Ask, now: Timestamp) -> Verdict {
        let (live, observed) = world.leases();
        let evidence = Evidence { observed, ..Evidence::at(ClockReading { boot: String::new(), up_ms: 0 }) };
        let request = request_of(ask);
        arbitrate(Question {
            request: &request,
            live: &live,
            waiters: &arbiter::queue::NOBODY,
            policy: &self.policy,
            evidence: &evidence,
            now,
        })
    }

    /// Every answer that the line leaves open: it may refuse what the leases would grant, and end a wait. Who stands in
    /// the line is no part of this world; that there was somebody is looked at elsewhere.
    fn acquire_in_turn(&self, world: &World, ask: &Ask, chance: Chance) -> Vec<(Answer, World)> {
        let (answer, next) = self.acquire(world, ask, chance);
        let is_new = answer.json["repeated"] == false;
        let may_pass = !matches!(answer.json["code"].as_str(), Some("UNKNOWN_LANE"));
        if !is_new || !may_pass {
            return vec![(answer, next)];
        }
        let refused = |code: &str, conflicts: &Value| json!({ "outcome": "refuse", "code": code, "conflicts": conflicts, "journaled": true, "repeated": false });
        let mut told = Vec::new();
        let mut refusals = vec![];
        if answer.json["outcome"] == "acquire" {
            refusals.push(refused("QUEUED_BEHIND", &json!([])));
            told.push((answer, next));
        } else if ask.waits {
            refusals.push(answer.json);
        } else {
            told.push((answer, next));
        }
        for mut json in refusals {
            if !ask.waits {
                told.push((Answer { code: 1, json: json.clone() }, named(world, ask, &json)));
                continue;
            }
            let deadlock = refused("DEADLOCK", &json["conflicts"]);
            told.push((Answer { code: 1, json: deadlock.clone() }, named(world, ask, &deadlock)));
            json["outcome"] = json!("timeout");
            told.push((Answer { code: 124, json }, world.clone()));
        }
        told
    }

    fn acquire(&self, world: &World, ask: &Ask, chance: Chance) -> (Answer, World) {
        let asked = asked(ask);
        if let Some(before) = ask.request_id.as_ref().and_then(|id| world.answers.get(id)) {
            let (first, for_what) = before;
            if *for_what != asked {
                let json = json!({ "outcome": "error", "error": { "kind": "request_id" } });
                return (Answer { code: 2, json }, world.clone());
            }
            let mut json = first.clone();
            json["repeated"] = json!(true);
            return (Answer { code: i32::from(json["outcome"] != "acquire"), json }, world.clone());
        }
        let mut next = world.clone();
        let verdict = self.verdict(world, ask, chance.now);
        let mut json = serde_json::to_value(&verdict).expect("verdicts have JSON");
        json["repeated"] = json!(false);
        json["journaled"] = json!(true);
        if let Verdict::Grant(grant) = &verdict {
            json["lease"] = json!(chance.number);
            json["fence"] = json!(chance.number);
            for gone in &grant.evicted {
                next.end(gone.lease.get(), true);
            }
            let granted = Granted {
                lane: grant.lane.clone(),
                owner: grant.owner.clone(),
                tree: grant.tree.clone(),
                read: grant.read.clone(),
                since: chance.now,
                bound: ask.bind,
            };
            next.live.insert(chance.number, Living { grant: Arc::new(granted), beat: chance.now });
        }
        next = named(&next, ask, &json);
        (Answer { code: i32::from(matches!(verdict, Verdict::Refuse(_))), json }, next)
    }

    fn check(&self, world: &World, owner: &str, path: &str) -> Answer {
        let at = ProjectPath::parse(path).expect("the paths of these tests are paths");
        let case = self.policy.case;
        let living = || world.live.iter();
        let by =
            living().find(|(_, one)| one.grant.owner.as_str() == owner && one.grant.tree.covers(&at, case));
        let others = living().filter(|(_, one)| one.grant.owner.as_str() != owner);
        let holders: Vec<Value> = others
            .filter(|(_, one)| one.grant.tree.covers(&at, case) || one.grant.read.covers(&at, case))
            .map(|(&id, _)| world.shown(id))
            .collect();
        let (id, lane) = (by.map(|(id, _)| id), by.map(|(_, one)| &one.grant.lane));
        let told = json!({
            "path": path, "covered": by.is_some(), "lease": id, "fence": id, "lane": lane, "holders": holders,
        });
        let outcome = if by.is_some() { "ok" } else { "not_held" };
        Answer { code: i32::from(by.is_none()), json: json!({ "outcome": outcome, "paths": [told] }) }
    }

    /// What a call may have done whose caller was killed.
    fn unheard(&self, world: &World, call: &Call) -> Vec<World> {
        let mut worlds = Vec::new();
        match call {
            Call::Acquire(ask) => {
                let unseen = Chance {
                    number: UNSEEN + (world.live.len() + world.ended.len()) as u64,
                    now: Timestamp::MIN,
                };
                let (answer, done) = self.acquire(world, ask, unseen);
                // What makes sense of the most comes first: a lease that was seen, then nothing, then one unseen.
                if answer.json["outcome"] == "acquire" && answer.json["repeated"] == false {
                    let lane = key_of(answer.json["lane"].as_str().unwrap_or_default());
                    let fits = |(_, one): &(_, &Mentioned)| one.lane == lane && one.owner == ask.owner;
                    for (&number, one) in self.unclaimed.iter().filter(fits) {
                        if world.live.contains_key(&number) || world.ended.contains_key(&number) {
                            continue;
                        }
                        // Since when it lives may show in nothing but a beat that was left out as too early.
                        let beats = self.unclaimed_beats.get(&number).into_iter().flatten().copied();
                        let guesses = beats.filter(|_| one.since.is_none()).chain([Timestamp::MIN]);
                        for now in one.since.into_iter().chain(guesses) {
                            worlds.push(self.acquire(world, ask, Chance { number, now }).1);
                        }
                    }
                    worlds.push(world.clone());
                    // Its write may have been cut behind any eviction.
                    let mut cut = world.clone();
                    for gone in answer.json["evicted"].as_array().into_iter().flatten() {
                        cut.end(gone["lease"].as_u64().unwrap_or_default(), true);
                        worlds.push(cut.clone());
                    }
                }
                worlds.push(world.clone());
                worlds.push(done);
                // What the line may have told it instead shows only where it is told again.
                if ask.request_id.is_some() {
                    let told = self.acquire_in_turn(world, ask, unseen).into_iter();
                    worlds.extend(told.filter(|(told, _)| told.code == 1).map(|(_, next)| next));
                }
            }
            Call::Beat { held, coalesce: false } => {
                worlds.push(world.clone());
                if let Ok(id) = find(world, held) {
                    // A beat that nobody saw makes no difference to anybody.
                    for &beat in self.unclaimed_beats.get(&id).into_iter().flatten() {
                        let now = Chance { number: 0, now: beat };
                        worlds.extend(self.perform(world, call, now).into_iter().map(|(_, next)| next));
                    }
                }
            }
            Call::Release(_) => {
                worlds.push(world.clone());
                let chance = Chance { number: 0, now: Timestamp::MIN };
                worlds.extend(self.perform(world, call, chance).into_iter().map(|(_, next)| next));
            }
            Call::Die(_) => {
                let chance = Chance { number: 0, now: Timestamp::MIN };
                worlds = self.perform(world, call, chance).into_iter().map(|(_, next)| next).collect();
            }
            Call::Beat { .. } | Call::Live | Call::Check { .. } | Call::Compact { .. } => {
                worlds.push(world.clone());
            }
        }
        let mut distinct: Vec<World> = Vec::new();
        for one in worlds {
            if !distinct.contains(&one) {
                distinct.push(one);
            }
        }
        distinct
    }
}

impl Specification for Program {
    type Call = Call;
    type Answer = Answer;
    type State = World;

    fn start(&self) -> World {
        World::default()
    }

    fn after(&self, world: &World, call: &Call, answer: Option<&Answer>) -> Vec<World> {
        let Some(answer) = answer else { return self.unheard(world, call) };
        let json = &answer.json;
        let chance = match json["outcome"].as_str() {
            Some("acquire") => Chance {
                number: number_of(json),
                now: time_at(json, "acquired_at").unwrap_or(Timestamp::MIN),
            },
            _ => Chance { number: 0, now: beat_of(json).unwrap_or(Timestamp::MIN) },
        };
        let taken = |number| world.live.contains_key(&number) || world.ended.contains_key(&number);
        if matches!(call, Call::Acquire(_))
            && json["outcome"] == "acquire"
            && json["repeated"] != true
            && (chance.number == 0 || taken(chance.number))
        {
            return Vec::new();
        }
        if json["repeated"] != true && speaks_of_others(world, json) {
            return Vec::new();
        }
        // Past whom it went is no part of this world.
        let mut json = json.clone();
        if let Some((reason, _)) =
            json["reason"].as_str().and_then(|reason| reason.split_once("; went past ticket "))
        {
            json["reason"] = json!(reason);
        }
        let possible = self.perform(world, call, chance).into_iter();
        possible
            .filter(|(said, _)| said.code == answer.code && says(&said.json, &json))
            .map(|(_, next)| next)
            .collect()
    }
}

/// The world in which this is the answer to the request of that name, if it has one.
fn named(world: &World, ask: &Ask, json: &Value) -> World {
    let mut next = world.clone();
    if let Some(id) = &ask.request_id {
        Arc::make_mut(&mut next.answers).insert(id.clone(), (json.clone(), asked(ask)));
    }
    next
}

/// What makes two requests under one name the same.
fn asked(ask: &Ask) -> Value {
    json!([ask.owner, ask.lane, ask.tree, ask.read, ask.bind])
}

/// The lease that a holder means, or every answer it may get instead.
fn find(world: &World, held: &Held) -> Result<u64, Vec<Answer>> {
    let miss = |code, json| Answer { code, json };
    let not_held = || miss(1, json!({ "outcome": "not_held" }));
    let id = match &held.which {
        Which::Lane(lane) => world.in_lane(lane),
        Which::Lease(id) => world.live.contains_key(id).then_some(*id),
    };
    let Some(id) = id else {
        let last = match &held.which {
            Which::Lane(lane) => world.last_of.get(&(lane.to_lowercase(), held.owner.clone())),
            Which::Lease(id) => Some(id),
        };
        let gone = last.and_then(|id| Some((id, world.ended.get(id)?)));
        let evicted = gone.filter(|(_, gone)| gone.evicted && gone.grant.owner.as_str() == held.owner);
        let Some((id, gone)) = evicted else { return Err(vec![not_held()]) };
        let Granted { lane, owner, .. } = &*gone.grant;
        let expired =
            miss(3, json!({ "outcome": "expired", "lease": id, "fence": id, "lane": lane, "owner": owner }));
        // Of many that ended only the latest are remembered, and which these are is not kept here.
        let forgotten = (ENDED_REMEMBERED < world.ended.len()).then(not_held);
        return Err([expired].into_iter().chain(forgotten).collect());
    };
    let Granted { lane, owner, .. } = &*world.live[&id].grant;
    let outcome = if held.fence.is_some_and(|fence| fence != id) {
        "fenced"
    } else if owner.as_str() != held.owner {
        "not_yours"
    } else {
        return Ok(id);
    };
    Err(vec![miss(3, json!({ "outcome": outcome, "lease": id, "fence": id, "lane": lane, "owner": owner }))])
}

/// Whether an answer names leases that do not live here, or not since then. Most wrong orders are found out by this,
/// which costs less than a decision.
fn speaks_of_others(world: &World, json: &Value) -> bool {
    let all = ["conflicts", "evicted", "leases"].into_iter().filter_map(|key| json[key].as_array()).flatten();
    let mut named = all.map(|lease| (number_of(lease), beat_of(lease)));
    let is_other = |(id, beat): (u64, Option<Timestamp>)| {
        world.live.get(&id).is_none_or(|living| beat.is_some_and(|beat| beat != living.beat))
    };
    named.any(is_other) || json["leases"].as_array().is_some_and(|all| all.len() != world.live.len())
}

/// Whether an answer says all that is expected; it may say more.
fn says(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Object(expected), Value::Object(_)) => {
            expected.iter().all(|(key, value)| says(value, &got[key.as_str()]))
        }
        (Value::Array(expected), Value::Array(got)) => {
            expected.len() == got.len() && expected.iter().zip(got).all(|(a, b)| says(a, b))
        }
        _ => expected == got,
    }
}

fn request_of(ask: &Ask) -> Request {
    let mut request = Request::of(OwnerName::new(ask.owner.clone()).expect("a name"));
    request.lane = ask.lane.clone().map(|lane| LaneName::new(lane).expect("a name"));
    request.tree = Region::parse(&ask.tree).expect("patterns");
    request.read = Region::parse(&ask.read).expect("patterns");
    request.processes = ask.bind.map(process).into_iter().collect();
    request
}

fn process(n: u32) -> ProcessIdentity {
    ProcessIdentity { pid: n + 1, start: 0, boot: String::new(), pidns: 0, host: String::new(), role: None }
}

fn key_of(lane: &str) -> LaneKey {
    LaneName::new(lane).expect("a name").key()
}

fn word(lane: &LaneName) -> LaneWord {
    lane.as_str().to_lowercase()
}

pub(crate) fn number_of(json: &Value) -> u64 {
    json["lease"].as_u64().unwrap_or_default()
}

fn time_at(json: &Value, key: &str) -> Option<Timestamp> {
    Timestamp::parse(json[key].as_str()?)
}

/// When the lease in this answer was last heard of.
fn beat_of(json: &Value) -> Option<Timestamp> {
    let span = time_at(json, "expires_at")?.since(Timestamp::MIN).as_ms().checked_sub(TTL.as_ms())?;
    Some(Timestamp::from_unix_ms(i64::try_from(span).ok()?))
}

impl Call {
    /// In whose name the call is made, if that matters.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Call::Acquire(ask) => Some(&ask.owner),
            Call::Release(held) | Call::Beat { held, .. } => Some(&held.owner),
            Call::Check { owner, .. } => Some(owner),
            Call::Live | Call::Compact { .. } | Call::Die(_) => None,
        }
    }

    /// The call as arguments of the program; `pid` of a process that a lease is bound to.
    pub(crate) fn args(&self, pid: Option<u32>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
        match self {
            Call::Acquire(ask) => {
                say(&["acquire"]);
                ask.lane.iter().for_each(|lane| say(&[lane]));
                for entry in &ask.tree {
                    match entry.strip_prefix("lock://") {
                        Some(lock) => say(&["--lock", lock]),
                        None => say(&["--tree", entry]),
                    }
                }
                ask.read.iter().for_each(|entry| say(&["--read", entry]));
                ask.request_id.iter().for_each(|id| say(&["--request-id", id]));
                if ask.waits {
                    say(&["--wait=120ms"]);
                }
                if let Some(pid) = pid {
                    say(&["--bind", &pid.to_string()]);
                }
            }
            Call::Release(held) => {
                say(&["release"]);
                held.args().iter().for_each(|word| say(&[word]));
            }
            Call::Beat { held, coalesce } => {
                say(&["heartbeat"]);
                held.args().iter().for_each(|word| say(&[word]));
                if *coalesce {
                    say(&["--coalesce", "1d"]);
                }
            }
            Call::Live => say(&["live"]),
            Call::Check { path, .. } => say(&["check", path]),
            Call::Compact { keep } => say(&["compact", "--keep", keep]),
            Call::Die(process) => say(&["(kill)", &process.to_string()]),
        }
        args
    }
}

impl Held {
    fn args(&self) -> Vec<String> {
        let mut args = match &self.which {
            Which::Lane(lane) => vec![lane.clone()],
            Which::Lease(id) => vec!["--lease".into(), id.to_string()],
        };
        if let Some(fence) = self.fence {
            args.extend(["--fence".into(), fence.to_string()]);
        }
        args
    }
}

/// An answer in a few words.
fn gist(answer: &Answer) -> String {
    let Answer { code, json } = answer;
    let mut gist = format!("{code} {}", json["outcome"].as_str().unwrap_or("-"));
    let mut add = |word: &str, value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() && text != "[]" && text != "false" {
            gist.push_str(&format!(" {word}{text}"));
        }
    };
    let brief = |lease: &Value, also: &[&str]| {
        let also: Vec<String> = also.iter().map(|&key| format!(" {}", lease[key])).collect();
        format!("#{}{}", lease["lease"], also.concat().replace('"', ""))
    };
    add("#", &json["lease"]);
    add("", &json["code"]);
    add("lane=", &json["lane"]);
    add("repeated=", &json["repeated"]);
    add("coalesced=", &json["coalesced"]);
    add("live=", &json["live"]);
    add("kind=", &json["error"]["kind"]);
    add("free=", &json["free_lanes"]);
    for (name, keys) in [
        ("conflicts", &["lane", "owner", "overlap", "alive", "expires_at"][..]),
        ("evicted", &["lane", "owner", "why"]),
        ("leases", &["lane", "owner", "tree", "read", "expires_at"]),
    ] {
        if let Some(leases) = json[name].as_array().filter(|leases| !leases.is_empty() || name == "leases") {
            let leases: Vec<String> = leases.iter().map(|lease| brief(lease, keys)).collect();
            add("", &Value::from(format!("{name} [{}]", leases.join(", "))));
        }
    }
    for path in json["paths"].as_array().into_iter().flatten() {
        let holders = path["holders"].as_array().into_iter().flatten().map(|lease| brief(lease, &["owner"]));
        let holders: Vec<String> = holders.collect();
        add("", &Value::from(format!("covered by {} others [{}]", path["lease"], holders.join(", "))));
    }
    add("until ", &json["expires_at"]);
    gist
}

/// One line: when, who, what, and what came of it.
pub(crate) fn in_words(event: &LeaseEvent) -> String {
    let ms = |ns: u64| {
        let us = ns / 1000;
        format!("{}.{:03}", us / 1000, us % 1000)
    };
    let until = event.until.map_or_else(|| "…".to_owned(), ms);
    let came = match (&event.answer, event.until) {
        (Some(answer), _) => gist(answer),
        (None, Some(_)) => "(killed, no answer)".to_owned(),
        (None, None) => "(not answered yet)".to_owned(),
    };
    let bound = match &event.call {
        Call::Acquire(Ask { bind: Some(process), .. }) => format!(" --bind (process {process})"),
        _ => String::new(),
    };
    format!(
        "[{:>10} … {until:>10}] client {} as {}: {}{bound} → {came}",
        ms(event.from),
        event.client,
        event.call.owner().unwrap_or("-"),
        event.call.args(None).join(" "),
    )
}
