//! One history of the real program: several clients at once, each call a process of its own, some of them killed or
//! stopped at any moment. Times are of one monotonic clock, before the process starts and after it was waited for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter::policy::Policy;
use serde_json::Value;

use super::kit::{self, Dice, Sleeper};
use super::model::{Answer, Ask, Call, Held, LeaseEvent, Which, number_of};
use rustix::process::Signal;

/// How the clients of a history are disturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Whether callers go past the mutex almost at once, and some are stopped for a while inside it.
    pub(crate) stormy: bool,
    /// Whether lanes have regions of the policy's.
    pub(crate) policy: bool,
    /// What `compact` keeps.
    pub(crate) keep: &'static str,
}

/// A store of its own, in memory where there is memory for it: that it is durable is not the question here.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) policy: Arc<Policy>,
    weather: Weather,
}

impl Place {
    pub(crate) fn new(weather: Weather) -> Place {
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("lease-lane-linear-").tempdir_in(above).unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let policy = if weather.policy {
            let lanes = "[lanes.api]\ntree = [\"src/api/**\"]\n\n[lanes.docs]\ntree = [\"docs/**\"]\nread = [\"src/*.rs\"]\n";
            std::fs::write(dir.path().join("policy.toml"), lanes).unwrap();
            serde_json::json!({ "lanes": {
                "api": { "tree": ["src/api/**"] },
                "docs": { "tree": ["docs/**"], "read": ["src/*.rs"] },
            }})
        } else {
            serde_json::json!({})
        };
        Place { dir, policy: Arc::new(serde_json::from_value(policy).unwrap()), weather }
    }

    /// The program on this store, with nothing else in its environment.
    pub(crate) fn command(&self, owner: &str, args: &[String]) -> Command {
        let mut command = Command::new(kit::BIN);
        command.args(args).arg("--json").env_clear().env("LEASE_LANE_OWNER", owner).stdin(Stdio::null());
        command.env("LEASE_LANE_STORE", self.store()).env("LEASE_LANE_ROOT", self.dir.path().join("root"));
        if self.weather.policy {
            command.env("LEASE_LANE_POLICY", self.dir.path().join("policy.toml"));
        }
        if self.weather.stormy {
            command.env("LEASE_LANE_MUTEX_TTL", "1ms");
        }
        command
    }

    /// What the program answers to an onlooker.
    pub(crate) fn ask(&self, args: &[&str]) -> kit::Answer {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        kit::finish(self.command("onlooker", &args))
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Leaves the directory where it is.
    pub(crate) fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

const OWNERS: [&str; 3] = ["ann", "ben", "cay"];
const LANES: [Option<&str>; 6] = [None, None, None, Some("api"), Some("API"), Some("docs")];
/// Few regions, so that they meet: what is written, and what is read.
const REGIONS: [(&[&str], &[&str]); 12] = [
    (&["src/**"], &[]),
    (&["src/api/**"], &[]),
    (&["src/*.rs"], &["docs"]),
    (&["docs/*.md"], &[]),
    (&["docs/a.md", "lock://db"], &[]),
    (&["**/x.rs"], &[]),
    (&["lock://db"], &[]),
    (&["lock://port"], &[]),
    (&["web/{a,b}/**"], &[]),
    (&[], &["src/**"]),
    (&[], &["docs/**", "web"]),
    (&["web/a/*"], &["src/api/x.rs"]),
];
const PATHS: [&str; 6] = ["src/x.rs", "src/api/x.rs", "docs/a.md", "web/a/b", "web", "src/api/deep/y"];
const REQUEST_IDS: u64 = 8;

/// What all clients of a history know of each other.
struct Common<'a> {
    place: &'a Place,
    began: Instant,
    begun: AtomicUsize,
    n_calls: usize,
    /// Leases that were given, and not given back as far as anybody heard.
    known: Mutex<Vec<(u64, String, String)>>,
    /// What was asked under each name.
    named: Mutex<BTreeMap<String, Ask>>,
    /// When each client's present call began; never, while it has none.
    present: Vec<AtomicU64>,
    /// When the last process that leases are bound to was dead.
    last_death: Mutex<u64>,
    /// Processes that outlive their client, because leases that are bound to them do.
    left_alive: Mutex<Vec<Sleeper>>,
    events: Mutex<Vec<LeaseEvent>>,
}

impl Common<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }
}

/// Runs a history: `n_calls` calls of `n_clients` clients, chosen by `seed` as far as time lets it.
pub(crate) fn history(place: &Place, seed: u64, n_clients: usize, n_calls: usize) -> Vec<LeaseEvent> {
    let common = Common {
        place,
        began: Instant::now(),
        begun: AtomicUsize::new(0),
        n_calls,
        known: Mutex::default(),
        named: Mutex::default(),
        present: (0..n_clients).map(|_| AtomicU64::new(u64::MAX)).collect(),
        last_death: Mutex::default(),
        left_alive: Mutex::default(),
        events: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for number in 0..n_clients {
            let common = &common;
            let dice = Dice::new(seed.wrapping_mul(64).wrapping_add(number as u64));
            scope.spawn(move || Client { number, common, dice, bound: None, n_bound: 0 }.run());
        }
    });
    common.events.into_inner().unwrap()
}

struct Client<'a> {
    number: usize,
    common: &'a Common<'a>,
    dice: Dice,
    /// A process that leases of this client are bound to. Only this client binds to it and kills it, so that nobody
    /// names a process that may be dead.
    bound: Option<(u32, Sleeper)>,
    n_bound: u32,
}

impl Client<'_> {
    fn run(mut self) {
        while self.common.begun.fetch_add(1, Ordering::Relaxed) < self.common.n_calls {
            let call = self.choose();
            if let Call::Die(process) = call {
                if let Some(event) = self.kill_bound(process) {
                    self.common.events.lock().unwrap().push(event);
                    continue;
                }
                // Not now: look instead.
                self.call(Call::Live);
            } else {
                self.call(call);
            }
        }
        self.common.left_alive.lock().unwrap().extend(self.bound.map(|(_, sleeper)| sleeper));
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.dice.roll(all.len() as u64)).unwrap()]
    }

    fn choose(&mut self) -> Call {
        match self.dice.roll(100) {
            0..46 => Call::Acquire(self.ask()),
            46..68 => Call::Release(self.held()),
            68..80 => Call::Beat { held: self.held(), coalesce: self.dice.roll(4) == 0 },
            80..87 => Call::Live,
            87..94 => {
                Call::Check { owner: self.one_of(&OWNERS).to_owned(), path: self.one_of(&PATHS).to_owned() }
            }
            94..96 => Call::Compact { keep: self.common.place.weather.keep },
            _ => match &self.bound {
                Some((process, _)) => Call::Die(*process),
                None => Call::Acquire(self.ask()),
            },
        }
    }

    fn ask(&mut self) -> Ask {
        let (tree, read) = self.one_of(&REGIONS);
        let owned = |entries: &[&str]| entries.iter().map(|&entry| entry.to_owned()).collect();
        let mut ask = Ask {
            owner: self.one_of(&OWNERS).to_owned(),
            lane: self.one_of(&LANES).map(str::to_owned),
            tree: owned(tree),
            read: owned(read),
            bind: None,
            request_id: None,
            waits: false,
        };
        if ask.lane.is_some() && self.dice.roll(8) == 0 {
            // The policy says what is meant, if there is one.
            (ask.tree, ask.read) = (Vec::new(), Vec::new());
        }
        if self.dice.roll(6) == 0 {
            let id = format!("r{}", self.dice.roll(REQUEST_IDS));
            let mut named = self.common.named.lock().unwrap();
            let first = named.entry(id.clone()).or_insert_with(|| ask.clone());
            if self.dice.roll(6) != 0 {
                ask = first.clone();
            }
            ask.request_id = Some(id);
        }
        ask.waits = self.dice.roll(5) == 0;
        if self.dice.roll(4) == 0 {
            if self.bound.is_none() {
                let process = u32::try_from(self.number).unwrap() * 1000 + self.n_bound;
                self.n_bound += 1;
                self.bound = Some((process, Sleeper::new()));
            }
            ask.bind = self.bound.as_ref().map(|(process, _)| *process);
        }
        ask
    }

    /// Mostly a lease that somebody has, in the name of the one who has it.
    fn held(&mut self) -> Held {
        let known = self.common.known.lock().unwrap().clone();
        let latest = &known[known.len().saturating_sub(8)..];
        if latest.is_empty() || self.dice.roll(12) == 0 {
            let lane = self.one_of(&["api", "docs", "src/**", "nobody's"]).to_owned();
            return Held { owner: self.one_of(&OWNERS).to_owned(), which: Which::Lane(lane), fence: None };
        }
        let pick = usize::try_from(self.dice.roll(latest.len() as u64)).unwrap();
        let (id, lane, owner) = latest[pick].clone();
        let owner = if self.dice.roll(9) == 0 { self.one_of(&OWNERS).to_owned() } else { owner };
        let which = if self.dice.roll(2) == 0 { Which::Lane(lane) } else { Which::Lease(id) };
        let fence = match self.dice.roll(10) {
            0..3 => Some(id),
            3 => known.first().map(|first| first.0),
            _ => None,
        };
        Held { owner, which, fence }
    }

    fn call(&mut self, call: Call) {
        let common = self.common;
        let bound = match &call {
            Call::Acquire(ask) => ask.bind.and(self.bound.as_ref()).map(|(_, sleeper)| sleeper.0.id()),
            _ => None,
        };
        let mut command = common.place.command(call.owner().unwrap_or("onlooker"), &call.args(bound));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let from = common.now();
        common.present[self.number].store(from, Ordering::SeqCst);
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        self.disturb(&mut child);
        let ended = kit::wait(child, began);
        let until = common.now();
        common.present[self.number].store(u64::MAX, Ordering::SeqCst);
        let answer = answer_of(&ended).or_else(|| {
            assert!(ended.signal.is_some(), "no answer to {call:?}: {ended}");
            None
        });
        if let Some(answer) = &answer {
            self.remember(&call, answer);
        }
        let event = LeaseEvent { client: self.number, call, answer, from, until: Some(until) };
        common.events.lock().unwrap().push(event);
    }

    /// Kills some processes, and stops some for a while, at any moment of their life. Nobody has waited for the
    /// process yet, so the number cannot be another one's.
    fn disturb(&mut self, child: &mut Child) {
        let moment = Duration::from_micros(self.dice.roll(12_000));
        let a_while = Duration::from_millis(5 + self.dice.roll(20));
        let fate = self.dice.roll(100);
        if fate < 7 {
            std::thread::sleep(moment);
            child.kill().unwrap();
        } else if fate < 14 && self.common.place.weather.stormy {
            std::thread::sleep(moment);
            kit::signal(child.id(), Signal::STOP);
            std::thread::sleep(a_while);
            kit::signal(child.id(), Signal::CONT);
        }
    }

    fn remember(&mut self, call: &Call, answer: &Answer) {
        let json = &answer.json;
        let mut known = self.common.known.lock().unwrap();
        match (call, json["outcome"].as_str()) {
            (Call::Acquire(ask), Some("acquire")) => {
                let lane = json["lane"].as_str().unwrap_or_default().to_owned();
                known.push((number_of(json), lane, ask.owner.clone()));
            }
            // Some are asked for again.
            (Call::Release(_), Some("released" | "expired")) if self.dice.roll(8) != 0 => {
                known.retain(|(id, ..)| *id != number_of(json));
            }
            (Call::Release(held) | Call::Beat { held, .. }, Some("not_held")) => {
                known.retain(|(id, lane, _)| match &held.which {
                    Which::Lane(gone) => lane != gone,
                    Which::Lease(gone) => id != gone,
                });
            }
            _ => {}
        }
    }

    /// Kills the process that leases are bound to, unless somebody looks who has seen another one alive: whoever
    /// looks at two processes sees them one after the other, which is no picture of any one moment.
    fn kill_bound(&mut self, process: u32) -> Option<LeaseEvent> {
        let common = self.common;
        let mut last = common.last_death.lock().unwrap();
        if common.present.iter().any(|present| present.load(Ordering::SeqCst) <= *last) {
            return None;
        }
        let (_, sleeper) = self.bound.take()?;
        let from = common.now();
        drop(sleeper);
        let until = common.now();
        *last = until;
        let answer = Some(Answer { code: 0, json: serde_json::json!({}) });
        Some(LeaseEvent { client: self.number, call: Call::Die(process), answer, from, until: Some(until) })
    }
}

/// The answer of a process; none if it was killed before it had given one.
fn answer_of(ended: &kit::Answer) -> Option<Answer> {
    let whole = ended.out.ends_with('\n').then(|| serde_json::from_str::<Value>(&ended.out).ok())?;
    let mut json = whole?;
    if let Some("acquire" | "refuse" | "timeout") = json["outcome"].as_str()
        && json.get("repeated").is_none()
    {
        json["repeated"] = serde_json::json!(false);
    }
    // Who was killed after it had answered has answered.
    let code = ended.code.unwrap_or_else(|| match json["outcome"].as_str() {
        Some("refuse" | "not_held") => 1,
        Some("not_yours" | "fenced" | "expired") => 3,
        Some("error") => 2,
        Some("timeout") => 124,
        _ => 0,
    });
    Some(Answer { code, json })
}
