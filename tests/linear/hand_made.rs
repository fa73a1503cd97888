//! The checker itself: histories that cannot have been are found out, those that can are not accused.

use std::sync::Arc;

use arbiter::policy::Policy;
use arbiter::time::Timestamp;
use serde_json::json;

use super::checker::{Event, History, Outcome, Specification, check, known_at, shortest_impossible};
use super::kit::{Dice, knob, seed};
use super::model::{Answer, Ask, Call, Chance, Held, LeaseEvent, Program, Which, World, in_words};

/// A history whose answers are those of the sequential program, in the order they are told here. When each call
/// began and ended is told with it, and may contradict that order.
struct Story {
    program: Program,
    world: World,
    events: Vec<LeaseEvent>,
}

impl Story {
    fn new() -> Story {
        let program = Program::under(&Arc::new(Policy::default()));
        Story { program, world: World::default(), events: Vec::new() }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_790_000_000_000 + i64::try_from(self.events.len()).unwrap())
    }

    /// The call happens next, and took from `from` to `until`. The number of the lease, if one was given.
    fn tell(&mut self, from: u64, until: u64, call: Call) -> u64 {
        let number = 100 + self.events.len() as u64;
        let chance = Chance { number, now: self.time() };
        let (answer, next) = self.program.perform(&self.world, &call, chance).remove(0);
        self.world = next;
        let event = Event { client: self.events.len(), call, answer: Some(answer), from, until: Some(until) };
        self.events.push(event);
        number
    }

    /// The call happens next, and its caller is dead at `until` without an answer.
    fn killed(&mut self, from: u64, until: u64, call: Call) -> u64 {
        let number = self.tell(from, until, call);
        self.events.last_mut().unwrap().answer = None;
        number
    }

    /// The caller is killed before the call does anything.
    fn killed_before(&mut self, from: u64, until: u64, call: Call) {
        let world = self.world.clone();
        self.killed(from, until, call);
        self.world = world;
    }

    #[track_caller]
    fn is_possible(&self, whether: bool) {
        let program = Program::seen_in(&Arc::new(Policy::default()), &self.events);
        let found = check(&program, &self.events);
        let text: Vec<String> = self.events.iter().map(in_words).collect();
        assert_eq!(found.is_explained(), whether, "{found:?}\n{}", text.join("\n"));
        assert_eq!(found.is_impossible(), !whether);
    }
}

fn ask(owner: &str, lane: &str, tree: &str) -> Ask {
    Ask { owner: owner.into(), lane: Some(lane.into()), tree: vec![tree.into()], ..Ask::default() }
}

fn acquire(owner: &str, lane: &str, tree: &str) -> Call {
    Call::Acquire(ask(owner, lane, tree))
}

fn held(owner: &str, lane: &str) -> Held {
    Held { owner: owner.into(), which: Which::Lane(lane.into()), fence: None }
}

fn release(owner: &str, lane: &str) -> Call {
    Call::Release(held(owner, lane))
}

fn beat(owner: &str, lane: &str) -> Call {
    Call::Beat { held: held(owner, lane), coalesce: false }
}

#[test]
fn two_grants_of_one_region_are_impossible_at_once_and_one_after_the_other() {
    for (from, until) in [(5, 15), (20, 30)] {
        let mut story = Story::new();
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        let with_ann = story.world.clone();
        story.world = World::default();
        story.tell(from, until, acquire("ben", "b", "src/x"));
        story.is_possible(false);
        // With a release that may have come between them they are not.
        story.world = with_ann;
        story.killed(4, 31, release("ann", "a"));
        story.is_possible(true);
    }
}

#[test]
fn a_stale_look_is_impossible_and_one_during_the_change_is_not() {
    for (from, until, whether) in [(11, 20, false), (10, 20, true), (0, 5, true)] {
        let mut story = Story::new();
        story.tell(from, until, Call::Live);
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        story.is_possible(whether);
    }
    for (from, until, whether) in [(11, 20, false), (10, 20, true)] {
        let mut story = Story::new();
        story.tell(from, until, Call::Check { owner: "ben".into(), path: "src/x".into() });
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        story.is_possible(whether);
    }
}

#[test]
fn who_saw_the_new_does_not_see_the_old_again() {
    for (old, new, whether) in
        [((30, 40), (10, 20), false), ((10, 20), (30, 40), true), ((15, 25), (10, 20), true)]
    {
        let mut story = Story::new();
        story.tell(old.0, old.1, Call::Live);
        story.tell(0, 100, acquire("ann", "a", "src/**"));
        story.tell(new.0, new.1, Call::Live);
        story.is_possible(whether);
    }
}

#[test]
fn a_lost_release_is_impossible() {
    let lost: [(Call, bool); 4] = [
        (Call::Live, false),
        (acquire("ben", "b", "src/x"), false),
        (release("ann", "a"), false),
        (acquire("ben", "b", "docs"), true),
    ];
    for (later, whether) in lost {
        let mut story = Story::new();
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        // Answered out of the world in which the lease still lives, long after it was given back.
        let before = story.world.clone();
        story.tell(40, 50, later);
        story.world = before;
        story.tell(20, 30, release("ann", "a"));
        story.is_possible(whether);
    }
}

#[test]
fn a_lost_beat_is_impossible() {
    for (from, whether) in [(31, false), (30, true)] {
        let mut story = Story::new();
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        story.tell(from, 50, Call::Live);
        story.tell(20, 30, beat("ann", "a"));
        story.is_possible(whether);
    }
}

#[test]
fn a_killed_acquire_happens_before_its_death_or_never() {
    // Seen after its death, and not seen between: it came too late.
    for (until, whether) in [(10, false), (25, true), (35, true)] {
        let mut story = Story::new();
        story.tell(20, 30, Call::Live);
        story.killed(0, until, acquire("ann", "a", "src/**"));
        story.tell(40, 50, Call::Live);
        story.is_possible(whether);
    }
    let mut story = Story::new();
    story.killed_before(0, 10, acquire("ann", "a", "src/**"));
    story.tell(20, 30, Call::Live);
    story.tell(40, 50, acquire("ben", "b", "src/x"));
    story.is_possible(true);
    // Nobody was killed who asked for that.
    let mut story = Story::new();
    story.tell(0, 10, acquire("ann", "a", "src/**"));
    story.tell(20, 30, Call::Live);
    story.events.remove(0);
    story.is_possible(false);
    story.events.push(Event { answer: None, ..Story::one(acquire("ben", "a", "src/**")) });
    story.is_possible(false);
    story.events.push(Event { answer: None, ..Story::one(acquire("ann", "a", "src/**")) });
    story.is_possible(true);
}

impl Story {
    fn one(call: Call) -> LeaseEvent {
        let mut story = Story::new();
        story.tell(0, 10, call);
        story.events.remove(0)
    }
}

#[test]
fn a_killed_release_may_have_done_its_work_or_not_but_not_both() {
    let mut gone = Story::new();
    gone.tell(0, 10, acquire("ann", "a", "src/**"));
    gone.killed(20, 30, release("ann", "a"));
    gone.tell(40, 50, acquire("ben", "b", "src/x"));
    gone.is_possible(true);
    let mut there = Story::new();
    there.tell(0, 10, acquire("ann", "a", "src/**"));
    there.killed_before(20, 30, release("ann", "a"));
    there.tell(40, 50, acquire("ben", "b", "src/x"));
    there.is_possible(true);
    let mut both = Story::new();
    both.tell(0, 10, acquire("ann", "a", "src/**"));
    both.tell(60, 70, Call::Live);
    both.killed(20, 30, release("ann", "a"));
    both.tell(40, 50, acquire("ben", "b", "src/x"));
    both.is_possible(false);
}

#[test]
fn a_killed_acquire_may_show_in_nothing_but_a_beat_that_was_left_out() {
    let mut story = Story::new();
    story.killed(0, 10, acquire("ann", "a", "src/**"));
    story.tell(20, 30, Call::Beat { held: held("ann", "a"), coalesce: true });
    story.is_possible(true);
}

#[test]
fn an_eviction_needs_a_death_that_can_have_been_before() {
    for (from, until, whether) in [(41, 45, false), (35, 45, true), (20, 25, true)] {
        let mut story = Story::new();
        story.tell(0, 10, Call::Acquire(Ask { bind: Some(1), ..ask("ann", "a", "src/**") }));
        story.tell(from, until, Call::Die(1));
        story.tell(30, 40, acquire("ben", "b", "src/x"));
        story.tell(50, 60, release("ann", "a"));
        assert_eq!(story.events[3].answer.as_ref().unwrap().json["outcome"], "expired");
        story.is_possible(whether);
    }
    // Its holder is told, and nobody else.
    let mut story = Story::new();
    story.tell(0, 10, Call::Acquire(Ask { bind: Some(1), ..ask("ann", "a", "src/**") }));
    story.tell(11, 12, Call::Die(1));
    story.tell(20, 30, acquire("ben", "b", "src/x"));
    story.tell(40, 50, release("ben", "a"));
    story.is_possible(true);
    story.events[3].answer = Some(Answer { code: 3, json: json!({ "outcome": "expired", "lease": 100 }) });
    story.is_possible(false);
}

#[test]
fn a_request_id_has_one_answer() {
    let named =
        |owner: &str| Call::Acquire(Ask { request_id: Some("r".into()), ..ask(owner, "a", "src/**") });
    let mut story = Story::new();
    story.killed(0, 10, named("ann"));
    story.tell(20, 30, release("ann", "a"));
    story.tell(40, 50, named("ann"));
    assert_eq!(story.events[2].answer.as_ref().unwrap().json["repeated"], true);
    story.is_possible(true);
    story.tell(60, 70, named("ben"));
    assert_eq!(story.events[3].answer.as_ref().unwrap().code, 2);
    story.is_possible(true);
    // A second lease under one name.
    let mut story = Story::new();
    story.tell(0, 10, named("ann"));
    story.tell(20, 30, release("ann", "a"));
    let answers = story.world.clone();
    story.world = World::default();
    story.tell(40, 50, named("ann"));
    story.world = answers;
    story.is_possible(false);
}

/// Found on a day with much load: the line's answer to one who was killed is kept like any other.
#[test]
fn what_the_line_told_somebody_who_was_killed_is_told_again() {
    for (waits, killed_of) in [(true, "DEADLOCK"), (false, "REGION_CONFLICT")] {
        let mut story = Story::new();
        story.tell(0, 10, acquire("ann", "a", "src/**"));
        let named = Ask { request_id: Some("r".into()), waits, ..ask("ben", "b", "src/x") };
        story.killed(10, 20, Call::Acquire(named.clone()));
        story.tell(20, 30, release("ann", "a"));
        story.tell(30, 40, Call::Acquire(Ask { waits: false, ..named }));
        assert_eq!(story.events.last().unwrap().answer.as_ref().unwrap().json["code"], killed_of);
        story.is_possible(true);
    }
}

#[test]
fn an_order_against_that_of_the_beginnings_is_found() {
    // All at once, the later the earlier begun; what each look shows leaves one order.
    let mut story = Story::new();
    for n in 0..16 {
        let lane = format!("l{n}");
        let call = if n % 2 == 0 { acquire("ann", &lane, &lane) } else { Call::Live };
        story.tell(50 - n, 100, call);
    }
    story.is_possible(true);
    let found = check(&Program::seen_in(&Arc::default(), &story.events), &story.events);
    assert!(matches!(found, Outcome::Explained(order) if order.is_sorted() && order.len() == 16));
    // The look that shows all was over when the first grant that it shows was asked for, and just before.
    for (until, whether) in [(50, true), (49, false)] {
        story.events[15].until = Some(until);
        story.is_possible(whether);
    }
}

#[test]
fn what_is_impossible_is_shown_up_to_the_answer_that_cannot_be() {
    let mut story = Story::new();
    story.tell(0, 10, acquire("ann", "a", "src/**"));
    let before = story.world.clone();
    story.tell(40, 50, Call::Live);
    story.world = before;
    story.tell(20, 30, release("ann", "a"));
    story.tell(45, 300, Call::Live);
    for n in 0..20 {
        story.tell(60 + n * 10, 65 + n * 10, acquire("ben", &format!("l{n}"), &format!("t{n}")));
    }
    let policy = Arc::default();
    let few =
        shortest_impossible(&story.events, |events: &Vec<LeaseEvent>| Program::seen_in(&policy, events));
    assert_eq!(few, known_at(&story.events, 50));
    assert_eq!(few.len(), 4);
    assert!(few[3].answer.is_none(), "who was answered later waits");
}

/// A cell that is written and read: the checker knows no leases.
struct Cell;

#[derive(Clone, Debug)]
enum Access {
    Write(u8),
    Read,
}

impl Specification for Cell {
    type Call = Access;
    type Answer = u8;
    type State = u8;

    fn start(&self) -> u8 {
        0
    }

    fn after(&self, state: &u8, call: &Access, answer: Option<&u8>) -> Vec<u8> {
        match (call, answer) {
            (Access::Write(value), Some(_)) => vec![*value],
            (Access::Write(value), None) => vec![*state, *value],
            (Access::Read, Some(read)) if read != state => Vec::new(),
            (Access::Read, _) => vec![*state],
        }
    }
}

#[test]
fn a_cell_that_is_written_by_two_is_read_in_one_order() {
    let event = |client, call, answer, from, until| Event { client, call, answer, from, until };
    let writes = |reads: [u8; 2]| -> History<Access, u8> {
        vec![
            event(0, Access::Write(1), Some(0), 0, Some(100)),
            event(1, Access::Write(2), Some(0), 0, Some(100)),
            event(2, Access::Read, Some(reads[0]), 10, Some(20)),
            event(2, Access::Read, Some(reads[1]), 30, Some(40)),
            event(3, Access::Read, Some(1), 50, Some(60)),
        ]
    };
    for (reads, whether) in
        [([0, 0], true), ([2, 2], true), ([2, 1], true), ([1, 2], false), ([1, 0], false), ([0, 3], false)]
    {
        assert_eq!(check(&Cell, &writes(reads)).is_explained(), whether, "{reads:?}");
    }
    // Who was killed may have written at any time, once.
    let killed = |until| {
        vec![
            event(0, Access::Write(1), None, 0, until),
            event(1, Access::Read, Some(0), 20, Some(30)),
            event(1, Access::Read, Some(1), 40, Some(50)),
            event(1, Access::Write(2), Some(0), 60, Some(70)),
            event(1, Access::Read, Some(1), 80, Some(90)),
        ]
    };
    assert!(check(&Cell, &killed(None)[..4].to_vec()).is_explained());
    assert!(check(&Cell, &killed(Some(10))[..4].to_vec()).is_impossible());
    assert!(check(&Cell, &killed(None)).is_impossible());
    assert!(matches!(check(&Cell, &Vec::new()), Outcome::Explained(order) if order.is_empty()));
}

fn random_call(dice: &mut Dice, numbers: &[u64]) -> Call {
    let mut pick = |words: &[&str]| words[usize::try_from(dice.roll(words.len() as u64)).unwrap()].to_owned();
    let owner = pick(&["ann", "ben"]);
    let lane = pick(&["a", "b", "c"]);
    let tree = pick(&["src/**", "src/api/**", "docs", "lock://l", "**/x"]);
    let read = pick(&["src/x", "docs/**"]);
    let path = pick(&["src/x", "docs/y"]);
    let which = match numbers.len().checked_sub(1 + usize::try_from(dice.roll(4)).unwrap()) {
        Some(n) if dice.roll(2) == 0 => Which::Lease(numbers[n]),
        _ => Which::Lane(lane.clone()),
    };
    let held = Held { owner: owner.clone(), which, fence: None };
    match dice.roll(20) {
        0..8 => Call::Acquire(Ask {
            owner,
            lane: (dice.roll(2) == 0).then_some(lane),
            tree: if dice.roll(4) == 0 { Vec::new() } else { vec![tree] },
            read: vec![read],
            bind: (dice.roll(4) == 0).then(|| u32::try_from(numbers.len() / 4).unwrap()),
            waits: false,
            request_id: (dice.roll(6) == 0).then(|| format!("r{}", dice.roll(4))),
        }),
        8..13 => Call::Release(held),
        13..16 => Call::Beat { held, coalesce: dice.roll(3) == 0 },
        16 => Call::Check { owner, path },
        17 => Call::Die(u32::try_from(numbers.len() / 4).unwrap()),
        _ => Call::Live,
    }
}

/// A life of the sequential program, each call stretched to both sides of its moment, some of them killed.
/// And the world before each call.
fn stretched(dice: &mut Dice, n_calls: u64) -> (Story, Vec<World>) {
    let (mut story, mut worlds, mut numbers) = (Story::new(), Vec::new(), Vec::new());
    for n in 0..n_calls {
        let moment = 100 + n * 10;
        let (from, until) = (moment - dice.roll(40), moment + dice.roll(40));
        worlds.push(story.world.clone());
        let call = random_call(dice, &numbers);
        let can_die = !matches!(call, Call::Die(_));
        let number = match dice.roll(20) {
            0 if can_die => story.killed(from, until, call),
            1 if can_die => {
                story.killed_before(from, until, call);
                continue;
            }
            _ => story.tell(from, until, call),
        };
        if story.world.live().any(|id| id == number) {
            numbers.push(number);
        }
    }
    (story, worlds)
}

#[test]
fn a_stretched_sequential_life_is_possible_and_with_one_answer_from_another_time_mostly_not() {
    let n_lives = knob("LEASE_LANE_LINEAR_LIVES", 20);
    let (mut dice, mut changed, mut found) = (Dice::new(seed()), 0, 0);
    for _ in 0..n_lives {
        let (mut story, worlds) = stretched(&mut dice, 80);
        story.is_possible(true);
        for _ in 0..3 {
            // Somebody is answered as somebody else would have been, long before or after.
            let at = usize::try_from(dice.roll(80)).unwrap();
            let other = &worlds[(at + 20 + usize::try_from(dice.roll(40)).unwrap()) % 80];
            let Some(true_answer) = story.events[at].answer.clone() else { continue };
            let chance = Chance {
                number: 100 + at as u64,
                now: Timestamp::from_unix_ms(1_790_000_000_000 + i64::try_from(at).unwrap()),
            };
            let (answer, _) = story.program.perform(other, &story.events[at].call, chance).remove(0);
            if answer == true_answer {
                continue;
            }
            story.events[at].answer = Some(answer);
            changed += 1;
            let program = Program::seen_in(&Arc::default(), &story.events);
            found += u64::from(check(&program, &story.events).is_impossible());
            story.events[at].answer = Some(true_answer);
        }
    }
    eprintln!("{n_lives} lives; of {changed} changed answers {found} were found out");
    // What is far away in the telling may still be the same to the one who asks.
    assert!(
        n_lives / 2 <= changed && changed * 6 <= found * 10,
        "of {changed} changed answers only {found} were found out"
    );
}
