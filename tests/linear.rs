//! Real runs are linearizable: whatever many processes at once were answered, somebody who does one thing after the
//! other could have been answered the same, in an order that respects who came after whom.
//!
//! The search is `linear/checker.rs`, the sequential program `linear/model.rs`, the runs `linear/run.rs`. More or
//! other runs: `LEASE_LANE_LINEAR_HISTORIES`, `LEASE_LANE_LINEAR_CALLS`, `LEASE_LANE_LINEAR_CLIENTS`, `LEASE_LANE_SEED`.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers as well")]

mod kit;

#[path = "linear/checker.rs"]
mod checker;
#[path = "linear/hand_made.rs"]
mod hand_made;
#[path = "linear/model.rs"]
mod model;
#[path = "linear/run.rs"]
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arbiter::policy::Policy;
use serde_json::Value;

use checker::{HistoryOf, Outcome, Specification, check, shortest_impossible};
use kit::{knob, seed};
use model::{Answer, Call, LeaseEvent, Program, World, in_words, number_of};
use run::{Place, Weather};

#[test]
fn every_history_of_the_real_program_could_have_been_one_call_after_the_other() {
    let n_histories = knob("LEASE_LANE_LINEAR_HISTORIES", 100);
    let n_calls = usize::try_from(knob("LEASE_LANE_LINEAR_CALLS", 200)).unwrap();
    let (seed, began) = (seed(), Instant::now());
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        // Two at once: while one is searched, the other runs.
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n_histories <= n {
                        break;
                    }
                    let history = one_history(seed.wrapping_add(n), n_calls).unwrap_or_else(|wrong| {
                        next.store(n_histories, Ordering::Relaxed);
                        panic!("{wrong}");
                    });
                    tally.lock().unwrap().take(&history);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    eprintln!("{n_histories} histories in {:.1} s: {tally:?}", began.elapsed().as_secs_f32());
    tally.assert_worth_it(n_histories * n_calls as u64);
}

/// Runs a history; an error in words, and how to have it again, if there is anything wrong with it.
fn one_history(seed: u64, n_calls: usize) -> Result<Vec<LeaseEvent>, String> {
    let weather = Weather {
        stormy: seed.is_multiple_of(2),
        policy: seed.is_multiple_of(3),
        keep: if seed.is_multiple_of(5) { "none" } else { "all" },
    };
    let n_clients = knob("LEASE_LANE_LINEAR_CLIENTS", 4 + seed % 5);
    let place = Place::new(weather);
    let history = run::history(&place, seed, usize::try_from(n_clients).unwrap(), n_calls);
    if let Some(wrong) = wrong_with(&place, &history) {
        let text: Vec<String> = history.iter().map(in_words).collect();
        let kept = place.keep();
        std::fs::write(kept.join("history.txt"), text.join("\n")).unwrap();
        return Err(format!(
            "{weather:?}, {n_clients} clients: {wrong}\nall of it and its store: {}\n\
             the same choices again, at other moments: LEASE_LANE_SEED={seed} LEASE_LANE_LINEAR_HISTORIES=1 \
             LEASE_LANE_LINEAR_CALLS={n_calls} LEASE_LANE_LINEAR_CLIENTS={n_clients} cargo test --test linear every_history",
            kept.display()
        ));
    }
    Ok(history)
}

/// What is wrong with a history, in words; nothing, if all is well.
fn wrong_with(place: &Place, history: &[LeaseEvent]) -> Option<String> {
    unexplained(&place.policy, history)
        .or_else(|| numbers_against_time(history))
        .or_else(|| seen_alive_wrongly(history))
        .or_else(|| behind_nobody(history))
        .or_else(|| against_the_journal(place, history))
        .or_else(|| journal_order_against_time(&place.policy, history))
}

/// Why no order of one call after the other explains the answers.
fn unexplained(policy: &Arc<Policy>, history: &[LeaseEvent]) -> Option<String> {
    let spec_for = |history: &HistoryOf<Program>| Program::seen_in(policy, history);
    let history = history.to_vec();
    match check(&spec_for(&history), &history) {
        Outcome::Explained(_) => None,
        Outcome::Undecided => Some("there are too many orders to try".into()),
        Outcome::Impossible { .. } => {
            let begun = shortest_impossible(&history, spec_for);
            let Outcome::Impossible { order, state } = check(&spec_for(&begun), &begun) else { return None };
            Some(explain_failure(&begun, &order, &state))
        }
    }
}

fn explain_failure(history: &[LeaseEvent], order: &[usize], world: &World) -> String {
    const SHOWN: usize = 12;
    let mut text =
        String::from("no order of one call after the other explains the answers.\nA longest try ends with\n");
    for &i in &order[order.len().saturating_sub(SHOWN)..] {
        let _ = writeln!(text, "    {}", in_words(&history[i]));
    }
    let live: Vec<u64> = world.live().collect();
    let _ =
        writeln!(text, "Then {live:?} live, and none of these can be next with all the others behind it:");
    let mut left: Vec<&LeaseEvent> =
        (0..history.len()).filter(|i| !order.contains(i)).map(|i| &history[i]).collect();
    left.sort_by_key(|event| event.from);
    for event in left {
        let _ = writeln!(text, "    {}", in_words(event));
    }
    text
}

fn granted(event: &LeaseEvent) -> Option<u64> {
    let answer = event.answer.as_ref()?;
    let is_new = answer.json["outcome"] == "acquire" && answer.json["repeated"] == false;
    is_new.then(|| number_of(&answer.json))
}

/// A grant that was asked for after another was given has a higher number, and none is given twice.
fn numbers_against_time(history: &[LeaseEvent]) -> Option<String> {
    let grants: Vec<(u64, &LeaseEvent)> =
        history.iter().filter_map(|event| Some((granted(event)?, event))).collect();
    for (one, first) in &grants {
        for (other, second) in &grants {
            let after = first.until.is_some_and(|until| until < second.from);
            let twice = one == other && !std::ptr::eq(*first, *second);
            if twice || (after && other <= one) {
                return Some(format!(
                    "a later grant has no higher number:\n    {}\n    {}",
                    in_words(first),
                    in_words(second)
                ));
            }
        }
    }
    None
}

/// Who is told that somebody comes first is told of somebody who waited then, or who died waiting.
fn behind_nobody(history: &[LeaseEvent]) -> Option<String> {
    let waited = |owner: &str, event: &LeaseEvent| {
        history.iter().any(|other| {
            let Call::Acquire(ask) = &other.call else { return false };
            let begun = other.from <= event.until.unwrap_or(u64::MAX);
            let still = other.answer.is_none() || event.from <= other.until.unwrap_or(u64::MAX);
            ask.waits && ask.owner == owner && begun && still && !std::ptr::eq(other, event)
        })
    };
    for event in history {
        let Some(answer) = event.answer.as_ref().filter(|answer| answer.json["repeated"] != true) else {
            continue;
        };
        if let Some(owner) = answer.json["behind"]["owner"].as_str()
            && !waited(owner, event)
        {
            return Some(format!("nobody comes before it: {}", in_words(event)));
        }
    }
    None
}

/// Who looks, looks at processes after it read the journal: what `live` says of a bound lease was true at some moment
/// of the call, but not of that at which the leases were these.
fn seen_alive_wrongly(history: &[LeaseEvent]) -> Option<String> {
    let mut bound: BTreeMap<u64, u32> = BTreeMap::new();
    let mut deaths: BTreeMap<u32, &LeaseEvent> = BTreeMap::new();
    for event in history {
        match &event.call {
            Call::Acquire(ask) => bound.extend(granted(event).zip(ask.bind)),
            Call::Die(process) => {
                deaths.insert(*process, event);
            }
            _ => {}
        }
    }
    for event in history.iter().filter(|event| matches!(event.call, Call::Live)) {
        let leases =
            event.answer.iter().flat_map(|answer| answer.json["leases"].as_array().into_iter().flatten());
        for lease in leases {
            let Some(process) = bound.get(&number_of(lease)) else { continue };
            let death = deaths.get(process);
            let dead_before = death.is_some_and(|death| death.until.unwrap_or(u64::MAX) < event.from);
            let alive_after = death.is_none_or(|death| event.until.unwrap_or(u64::MAX) < death.from);
            let wrong = match lease["alive"].as_str() {
                Some("yes") => dead_before,
                Some("no") => alive_after,
                _ => true,
            };
            if wrong {
                return Some(format!("lease {} is not seen as it was: {}", lease["lease"], in_words(event)));
            }
        }
    }
    None
}

/// What is on record is what was answered: each answer that names its record finds it there, and each other record
/// can be the work of somebody who was killed.
fn against_the_journal(place: &Place, history: &[LeaseEvent]) -> Option<String> {
    let verified = place.ask(&["verify"]);
    let again = place.ask(&["replay", "--verdicts"]);
    if verified.code != Some(0) || again.code != Some(0) {
        return Some(format!("the store is not sound: {verified}{again}"));
    }
    let told = place.ask(&["tail", "-n", "1000000"]);
    let mut records: BTreeMap<u64, Value> = BTreeMap::new();
    for line in told.out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        records.insert(record["seq"].as_u64().unwrap(), record);
    }
    let first = records.keys().next().copied().unwrap_or_default();
    let mut killed: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for event in history {
        let (ops, owner): (&[&str], _) = match &event.call {
            Call::Acquire(_) => (&["ACQUIRE", "REFUSE"], event.call.owner().unwrap_or_default()),
            Call::Release(_) => (&["RELEASE"], event.call.owner().unwrap_or_default()),
            Call::Beat { .. } => (&["HEARTBEAT"], event.call.owner().unwrap_or_default()),
            _ => continue,
        };
        let Some(answer) = &event.answer else {
            *killed.entry((ops[0], owner.to_owned())).or_default() += 1;
            continue;
        };
        let Some(seq) = written(answer) else { continue };
        let op = match answer.json["outcome"].as_str() {
            Some("acquire") => "ACQUIRE",
            Some("refuse") => "REFUSE",
            _ => ops[0],
        };
        match records.remove(&seq) {
            Some(record) if record["op"] == op && record["owner"] == owner => {}
            None if seq < first => {}
            other => return Some(format!("{} is record {seq}, which is {other:?}", in_words(event))),
        }
    }
    for record in records.values() {
        let op = match record["op"].as_str().unwrap_or_default() {
            // Said while it waited: no answer yet.
            "REFUSE" if !record["request"]["ticket"].is_null() => continue,
            "REFUSE" | "ACQUIRE" => "ACQUIRE",
            op @ ("RELEASE" | "HEARTBEAT") => op,
            _ => continue,
        };
        let owner = record["owner"].as_str().unwrap_or_default().to_owned();
        let left = killed.entry((op, owner)).or_default();
        let Some(fewer) = left.checked_sub(1) else {
            return Some(format!("nobody asked for this record: {record}"));
        };
        *left = fewer;
    }
    None
}

/// The record that an answer wrote.
fn written(answer: &Answer) -> Option<u64> {
    let is_old = answer.json["repeated"] == true || answer.json.get("leases").is_some();
    // What it names is where the wait began, and what it says is what was last in the way.
    let is_old = is_old || answer.json["outcome"] == "timeout";
    answer.json["seq"].as_u64().filter(|_| !is_old)
}

/// The program, and the journal's order: records count up, and who looks sees all up to the one it names.
struct InJournalOrder {
    program: Program,
    /// The records that answers tell of.
    written: BTreeSet<u64>,
}

impl Specification for InJournalOrder {
    type Call = Call;
    type Answer = Answer;
    type State = (World, u64);

    fn start(&self) -> (World, u64) {
        (self.program.start(), 0)
    }

    fn after(&self, (world, last): &(World, u64), call: &Call, answer: Option<&Answer>) -> Vec<(World, u64)> {
        let reads = answer.filter(|_| *call == Call::Live).and_then(|answer| answer.json["seq"].as_u64());
        let (next, all_before) = match (answer.and_then(written), reads) {
            (Some(seq), _) if seq <= *last => return Vec::new(),
            (_, Some(seq)) if seq < *last => return Vec::new(),
            (Some(seq), _) => (seq, seq),
            (None, Some(seq)) => (seq, seq + 1),
            (None, None) => (*last, 0),
        };
        if self.written.range(..all_before).next_back().is_some_and(|before| before > last) {
            return Vec::new();
        }
        self.program.after(world, call, answer).into_iter().map(|world| (world, next)).collect()
    }
}

/// The order of the journal is one of those that explain the answers.
fn journal_order_against_time(policy: &Arc<Policy>, history: &[LeaseEvent]) -> Option<String> {
    let history = history.to_vec();
    let written = history.iter().filter_map(|event| written(event.answer.as_ref()?)).collect();
    match check(&InJournalOrder { program: Program::seen_in(policy, &history), written }, &history) {
        Outcome::Explained(_) => None,
        Outcome::Undecided => Some("there are too many orders to try along the journal".into()),
        Outcome::Impossible { order, state } => {
            let text = explain_failure(&history, &order, &state.0);
            Some(format!("the journal's order does not explain the answers; {text}\nlast record {}", state.1))
        }
    }
}

/// What the histories were made of.
#[derive(Debug, Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    evictions: u64,
    repeats: u64,
    killed: u64,
    /// How many other calls a call overlapped with, all together.
    overlaps: u64,
}

impl Tally {
    fn take(&mut self, history: &[LeaseEvent]) {
        for (i, event) in history.iter().enumerate() {
            let overlaps = |other: &&LeaseEvent| {
                other.until.is_none_or(|until| event.from <= until)
                    && event.until.is_none_or(|until| other.from <= until)
            };
            self.overlaps += history[i + 1..].iter().filter(overlaps).count() as u64 * 2;
            let Some(answer) = &event.answer else {
                self.killed += 1;
                continue;
            };
            let outcome = answer.json["outcome"].as_str().unwrap_or("death");
            let outcome = answer.json["code"].as_str().unwrap_or(outcome);
            *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
            self.evictions += u64::from(answer.json["evicted"].as_array().is_some_and(|all| !all.is_empty()));
            self.repeats += u64::from(answer.json["repeated"] == true);
        }
    }

    /// A test of histories in which nothing meets tests nothing.
    fn assert_worth_it(&self, n_calls: u64) {
        assert!(self.overlaps > n_calls, "calls hardly overlapped: {self:?}");
        if n_calls < 20_000 {
            return;
        }
        for outcome in
            ["acquire", "LANE_HELD", "REGION_CONFLICT", "released", "beat", "not_yours", "fenced", "expired"]
        {
            assert!(self.outcomes.contains_key(outcome), "no {outcome}: {self:?}");
        }
        assert!(self.evictions > 0 && self.repeats > 0 && self.killed > 0, "{self:?}");
    }
}
