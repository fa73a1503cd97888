//! Whether calls that overlap in time can be explained by a world that does one thing after another.
//!
//! The search of Wing and Gong with the memory of Lowe: of all calls that may come next, one is put next if the
//! specification allows its answer there; who gets stuck steps back, and never enters the same set of calls with the
//! same state twice. Knows nothing of leases.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A world in which one call happens after the other.
pub(crate) trait Specification {
    type Call: Clone + Debug;
    type Answer: Clone + Debug;
    type State: Clone + Debug + Eq + Hash;

    /// The world before the first call.
    fn start(&self) -> Self::State;

    /// Every state that `call` may leave behind if it happens now and is answered so; none if it cannot be.
    ///
    /// Without an answer (its caller died) the call may have done all, part or nothing: the state itself is then
    /// among the answers.
    fn after(
        &self,
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Vec<Self::State>;
}

/// One call as its caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event<C, A> {
    /// Who called.
    pub(crate) client: usize,
    /// What.
    pub(crate) call: C,
    /// What came back; `None` when the caller was killed before anything did.
    pub(crate) answer: Option<A>,
    /// When it was called, by any clock that all events share.
    pub(crate) from: u64,
    /// From when on it can have no further effect; `None`: never known.
    pub(crate) until: Option<u64>,
}

/// Calls in any order.
pub(crate) type History<C, A> = Vec<Event<C, A>>;

/// The calls of a specification.
pub(crate) type HistoryOf<S> = History<<S as Specification>::Call, <S as Specification>::Answer>;

/// What the search came to.
#[derive(Debug)]
pub(crate) enum Outcome<S> {
    /// In this order, by index into the history, it could have been.
    Explained(Vec<usize>),
    /// It cannot have been. The longest explanation of a part, and the state behind it.
    Impossible { order: Vec<usize>, state: S },
    /// There were too many possibilities to go through.
    Undecided,
}

impl<S> Outcome<S> {
    pub(crate) fn is_explained(&self) -> bool {
        matches!(self, Outcome::Explained(_))
    }

    pub(crate) fn is_impossible(&self) -> bool {
        matches!(self, Outcome::Impossible { .. })
    }
}

/// How many states a search enters before it gives up.
const STATES_MAX: usize = 500_000;

/// A set of events by their place in time: all before `all_before`, and those in `more`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    all_before: usize,
    more: Vec<usize>,
}

impl Done {
    fn has(&self, place: usize) -> bool {
        place < self.all_before || self.more.binary_search(&place).is_ok()
    }

    fn with(&self, place: usize) -> Done {
        let mut next = self.clone();
        if let Err(at) = next.more.binary_search(&place) {
            next.more.insert(at, place);
        }
        let run = (next.all_before..).zip(&next.more).take_while(|(want, there)| want == *there).count();
        next.all_before += run;
        next.more.drain(..run);
        next
    }

    fn len(&self) -> usize {
        self.all_before + self.more.len()
    }
}

/// A point of the search: what has been put in order, and what has not been tried next.
struct Point<S> {
    done: Done,
    state: S,
    /// Places that may come next, the last one to be tried first.
    untried: Vec<usize>,
    /// The place tried now, with the states it may lead to that were not entered.
    trying: Option<(usize, Vec<S>)>,
}

/// Looks for an order of all events that respects time and that the specification explains.
pub(crate) fn check<S: Specification>(spec: &S, history: &HistoryOf<S>) -> Outcome<S::State> {
    let mut by_time: Vec<usize> = (0..history.len()).collect();
    by_time.sort_by_key(|&i| (history[i].from, history[i].until.unwrap_or(u64::MAX)));
    let point = |done: Done, state: S::State| {
        let untried = may_come_next(history, &by_time, &done);
        Point { done, state, untried, trying: None }
    };

    let mut entered: HashSet<(Done, S::State)> = HashSet::new();
    let mut deepest: (Vec<usize>, S::State) = (Vec::new(), spec.start());
    let mut path = vec![point(Done::default(), spec.start())];
    while let Some(here) = path.last_mut() {
        if here.done.len() == history.len() {
            return Outcome::Explained(order_of(&path, &by_time));
        }
        let next = loop {
            if let Some((place, states)) = &mut here.trying {
                if let Some(state) = states.pop() {
                    break Some((here.done.with(*place), state));
                }
                here.trying = None;
            }
            let Some(place) = here.untried.pop() else { break None };
            let event = &history[by_time[place]];
            let mut states = spec.after(&here.state, &event.call, event.answer.as_ref());
            states.reverse();
            here.trying = Some((place, states));
        };
        let Some((done, state)) = next else {
            path.pop();
            continue;
        };
        if entered.insert((done.clone(), state.clone())) {
            if entered.len() > STATES_MAX {
                return Outcome::Undecided;
            }
            path.push(point(done, state));
            if path.len() > deepest.0.len() + 1 {
                let state = path.last().map_or_else(|| spec.start(), |last| last.state.clone());
                deepest = (order_of(&path, &by_time), state);
            }
        }
    }
    Outcome::Impossible { order: deepest.0, state: deepest.1 }
}

/// The events that no event outside of `done` came before, in time; the one that ended first is last.
fn may_come_next<C, A>(history: &History<C, A>, by_time: &[usize], done: &Done) -> Vec<usize> {
    let until = |place: usize| history[by_time[place]].until.unwrap_or(u64::MAX);
    let mut next = Vec::new();
    let mut first_end = u64::MAX;
    for place in done.all_before..by_time.len() {
        // Whatever begins later ends later as well.
        if history[by_time[place]].from > first_end {
            break;
        }
        if !done.has(place) {
            first_end = first_end.min(until(place));
            next.push(place);
        }
    }
    next.retain(|&place| history[by_time[place]].from <= first_end);
    next.sort_by_key(|&place| std::cmp::Reverse(until(place)));
    next
}

fn order_of<S>(path: &[Point<S>], by_time: &[usize]) -> Vec<usize> {
    path.iter().filter_map(|point| point.trying.as_ref()).map(|(place, _)| by_time[*place]).collect()
}

/// The history as it was known at `time`: who had not been answered by then is still waiting.
pub(crate) fn known_at<C: Clone, A: Clone>(history: &History<C, A>, time: u64) -> History<C, A> {
    let begun = history.iter().filter(|event| event.from <= time).cloned();
    begun
        .map(|event| match event.until {
            Some(until) if until <= time => event,
            _ => Event { answer: None, until: None, ..event },
        })
        .collect()
}

/// The shortest beginning of an impossible history that is impossible already: it ends with the answer that cannot be.
///
/// What a specification knows may depend on the history it is for, so it is made anew for each.
pub(crate) fn shortest_impossible<S: Specification>(
    history: &HistoryOf<S>,
    spec_for: impl Fn(&HistoryOf<S>) -> S,
) -> HistoryOf<S> {
    let mut ends: Vec<u64> = history.iter().filter_map(|event| event.until).collect();
    ends.sort_unstable();
    let possible = ends.partition_point(|&end| {
        let begun = known_at(history, end);
        !check(&spec_for(&begun), &begun).is_impossible()
    });
    ends.get(possible).map_or_else(|| history.clone(), |&end| known_at(history, end))
}
