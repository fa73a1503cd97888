//! The search for the least path that two branches both name.
//!
//! The product of three automata: one for each branch, one for the shape of a path ([`Shape`]). Breadth first from the
//! start finds the length L of the shortest common path and, for each state, its distance from the start. Going back
//! from the accepting states at distance L leaves those on a shortest path; walking forward over them, always with the
//! least character any of them allows, spells the least path.
//!
//! With n and m states this costs O(n × m) time and memory at most: 4 × n × m bits for what has been seen and 4 bytes
//! for each state reached. Two ordinary patterns reach a few hundred states.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::automaton::Automaton;
use super::chars::{Chars, Kind};
use super::witness::rank;

/// Where in a component a path is; no component is empty, `.` or `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Start,
    Dot,
    DotDot,
    Name,
}

impl Shape {
    const COUNT: u32 = 4;

    fn after(self, kind: Kind) -> Option<Self> {
        match (self, kind) {
            (Self::Name, Kind::Slash) => Some(Self::Start),
            (_, Kind::Slash) => None,
            (Self::Start, Kind::Dot) => Some(Self::Dot),
            (Self::Dot, Kind::Dot) => Some(Self::DotDot),
            _ => Some(Self::Name),
        }
    }

    fn from_number(number: u32) -> Self {
        match number % Self::COUNT {
            0 => Self::Start,
            1 => Self::Dot,
            2 => Self::DotDot,
            _ => Self::Name,
        }
    }
}

/// Returns the least path of at most `n_chars_max` characters that both name.
pub(super) fn least_common_path(ours: &Automaton, theirs: &Automaton, n_chars_max: usize) -> Option<String> {
    Product { ours, theirs }.least_path(n_chars_max)
}

/// A state is one number: (our state × their states + their state) × 4 + shape.
///
/// It fits: an automaton has at most a few states more than an entry has bytes, so fewer than 2^13, and 13 + 13 + 2 bits
/// are 28.
struct Product<'a> {
    ours: &'a Automaton,
    theirs: &'a Automaton,
}

impl Product<'_> {
    fn least_path(&self, n_chars_max: usize) -> Option<String> {
        let mut levels = self.levels_to_acceptance(n_chars_max)?;
        self.keep_shortest(&mut levels);
        Some(self.walk(&levels))
    }

    /// Returns the states at each distance from the start, up to the first distance with an accepting one.
    fn levels_to_acceptance(&self, n_chars_max: usize) -> Option<Vec<Vec<u32>>> {
        let n_states = self.ours.n_states() * self.theirs.n_states() * Shape::COUNT as usize;
        let mut seen = vec![0_u64; n_states.div_ceil(64)];
        let mut levels = vec![vec![0]];
        loop {
            let here = levels.last()?;
            if here.is_empty() {
                return None;
            }
            if here.iter().any(|state| self.accepts(*state)) {
                return Some(levels);
            }
            if n_chars_max < levels.len() {
                return None;
            }
            let mut next = Vec::new();
            for state in here {
                self.each_step(*state, |target, _| {
                    let (word, bit) = (target as usize / 64, 1 << (target % 64));
                    if seen[word] & bit == 0 {
                        seen[word] |= bit;
                        next.push(target);
                    }
                });
            }
            levels.push(next);
        }
    }

    /// Drops every state from which no shortest path goes on, and sorts each level.
    ///
    /// A state on a shortest path lies on it at exactly its own distance from the start, so looking one level ahead is
    /// enough.
    fn keep_shortest(&self, levels: &mut [Vec<u32>]) {
        let Some((last, before)) = levels.split_last_mut() else { return };
        last.retain(|state| self.accepts(*state));
        last.sort_unstable();
        let mut next: &Vec<u32> = last;
        for level in before.iter_mut().rev() {
            level.retain(|state| {
                let mut goes_on = false;
                self.each_step(*state, |target, _| goes_on = goes_on || next.binary_search(&target).is_ok());
                goes_on
            });
            level.sort_unstable();
            next = level;
        }
    }

    /// Spells the least path through the levels.
    fn walk(&self, levels: &[Vec<u32>]) -> String {
        let mut path = String::with_capacity(levels.len());
        let mut here = vec![0];
        for next in &levels[1..] {
            let mut least: Option<char> = None;
            for state in &here {
                self.each_step(*state, |target, letter| {
                    let is_less = least.is_none_or(|best| rank(letter) < rank(best));
                    if is_less && next.binary_search(&target).is_ok() {
                        least = Some(letter);
                    }
                });
            }
            let letter = least.expect("every kept state has a step to a kept state");
            path.push(letter);
            let mut reached = Vec::new();
            for state in &here {
                self.each_step_on(*state, letter, |target| {
                    if next.binary_search(&target).is_ok() {
                        reached.push(target);
                    }
                });
            }
            reached.sort_unstable();
            reached.dedup();
            here = reached;
        }
        path
    }

    fn accepts(&self, state: u32) -> bool {
        let (our_state, their_state, shape) = self.parts(state);
        shape == Shape::Name && self.ours.accepts(our_state) && self.theirs.accepts(their_state)
    }

    /// Calls `visit` with each state one step ahead and the least character of one kind that leads there.
    fn each_step(&self, state: u32, mut visit: impl FnMut(u32, char)) {
        self.each_pair(state, |shape, our_chars, their_chars, our_target, their_target| {
            for kind in Kind::ALL {
                if let Some(shape) = shape.after(kind)
                    && let Some(letter) = our_chars.least_common(their_chars, kind)
                {
                    visit(self.number(our_target, their_target, shape), letter);
                }
            }
        });
    }

    /// Calls `visit` with each state that `letter` leads to.
    fn each_step_on(&self, state: u32, letter: char, mut visit: impl FnMut(u32)) {
        self.each_pair(state, |shape, our_chars, their_chars, our_target, their_target| {
            if our_chars.contains(letter)
                && their_chars.contains(letter)
                && let Some(shape) = shape.after(Kind::of(letter))
            {
                visit(self.number(our_target, their_target, shape));
            }
        });
    }

    fn each_pair(&self, state: u32, mut visit: impl FnMut(Shape, Chars<'_>, Chars<'_>, usize, usize)) {
        let (our_state, their_state, shape) = self.parts(state);
        let (our_edges, their_edges) = (self.ours.edges(our_state), self.theirs.edges(their_state));
        for (our_chars, our_target) in our_edges.as_slice() {
            for (their_chars, their_target) in their_edges.as_slice() {
                visit(shape, *our_chars, *their_chars, *our_target, *their_target);
            }
        }
    }

    fn number(&self, our_state: usize, their_state: usize, shape: Shape) -> u32 {
        let pair = our_state * self.theirs.n_states() + their_state;
        u32::try_from(pair).expect("fewer than 2^26 pairs of states") * Shape::COUNT + shape as u32
    }

    fn parts(&self, state: u32) -> (usize, usize, Shape) {
        let (pair, n_theirs) = ((state / Shape::COUNT) as usize, self.theirs.n_states());
        (pair / n_theirs, pair % n_theirs, Shape::from_number(state))
    }
}
