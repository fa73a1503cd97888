//! The position automaton of one branch: where in the pattern one can be, and what leads on from there.
//!
//! A state is the index of an operation. Operations that may consume nothing ([`Op::Star`], [`Op::Depth`]) are passed
//! through when edges are listed, so there are no empty moves; at most two of them stand in a row, so a state has at
//! most [`EDGES_MAX`] edges. Well-formedness of paths (no empty component, no `.`, no `..`) is not in here: whoever
//! runs the automaton does so on well-formed paths only.

use alloc::vec;
use alloc::vec::Vec;

use super::branch::{Atom, Branch, Component};
use super::chars::{CharSet, Chars};
use super::fold::Case;

/// Most edges that leave one state.
pub(super) const EDGES_MAX: usize = 4;

/// The automaton of one branch under one way to compare.
#[derive(Debug)]
pub(super) struct Automaton {
    ops: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    /// Consumes this character.
    One(char),
    /// Consumes any character but `/`.
    Any,
    /// Consumes one of these.
    Set(CharSet),
    /// Consumes characters that are not `/`, or none.
    Star,
    /// Consumes whole components, each with a `/` behind it, or none. Followed by [`Op::InDepth`].
    Depth,
    /// Consumes characters up to and with a `/`.
    InDepth,
    /// Accepts, or consumes a `/`. Followed by [`Op::Beneath`].
    Under,
    /// Accepts, and consumes anything.
    Beneath,
    /// Accepts.
    End,
}

/// The edges of one state.
pub(super) struct Edges<'a> {
    list: [(Chars<'a>, usize); EDGES_MAX],
    n_edges: usize,
}

impl<'a> Edges<'a> {
    pub(super) fn as_slice(&self) -> &[(Chars<'a>, usize)] {
        &self.list[..self.n_edges]
    }

    fn push(&mut self, chars: Chars<'a>, target: usize) {
        self.list[self.n_edges] = (chars, target);
        self.n_edges += 1;
    }
}

impl Automaton {
    /// Builds the automaton of `branch`, in time linear in its length.
    pub(super) fn new(branch: &Branch, case: Case) -> Self {
        let components = branch.components();
        let mut ops = Vec::with_capacity(branch.head(case).len() + branch.tail(case).len() + 8);
        for (idx, component) in components.iter().enumerate() {
            let rest = &components[idx + 1..];
            match component {
                Component::Literal(name) => {
                    ops.extend(name.chars().map(|letter| Op::One(case.apply(letter))));
                }
                Component::Shape(atoms) => atoms.iter().for_each(|atom| push_atom(&mut ops, atom, case)),
                Component::AnyDepth if rest.is_empty() => {
                    ops.extend((idx != 0).then_some(Op::Under));
                    ops.push(Op::Beneath);
                    break;
                }
                Component::AnyDepth => {
                    ops.extend([Op::Depth, Op::InDepth]);
                    continue;
                }
            }
            match rest {
                [] => ops.push(Op::End),
                [Component::AnyDepth] => {}
                _ => ops.push(Op::One('/')),
            }
        }
        Self { ops }
    }

    /// Returns the number of states; state 0 is where to start.
    pub(super) fn n_states(&self) -> usize {
        self.ops.len()
    }

    /// Returns the edges that leave `state`.
    pub(super) fn edges(&self, state: usize) -> Edges<'_> {
        let mut edges = Edges { list: [(Chars::Name, 0); EDGES_MAX], n_edges: 0 };
        let mut op_idx = state;
        loop {
            match &self.ops[op_idx] {
                Op::One(letter) => edges.push(Chars::One(*letter), op_idx + 1),
                Op::Any => edges.push(Chars::Name, op_idx + 1),
                Op::Set(set) => edges.push(Chars::Set(set), op_idx + 1),
                Op::Star => {
                    edges.push(Chars::Name, op_idx);
                    op_idx += 1;
                    continue;
                }
                Op::Depth => {
                    edges.push(Chars::All, op_idx + 1);
                    op_idx += 2;
                    continue;
                }
                Op::InDepth => {
                    edges.push(Chars::All, op_idx);
                    edges.push(Chars::One('/'), op_idx + 1);
                }
                Op::Under => edges.push(Chars::One('/'), op_idx + 1),
                Op::Beneath => edges.push(Chars::All, op_idx),
                Op::End => {}
            }
            return edges;
        }
    }

    /// Reports whether a path may end in `state`.
    pub(super) fn accepts(&self, state: usize) -> bool {
        let mut op_idx = state;
        loop {
            match self.ops[op_idx] {
                Op::Star => op_idx += 1,
                Op::Depth => op_idx += 2,
                Op::Under | Op::Beneath | Op::End => return true,
                Op::One(_) | Op::Any | Op::Set(_) | Op::InDepth => return false,
            }
        }
    }

    /// Reports whether `path`, well-formed and spelled for the same way to compare, is named.
    ///
    /// Costs O(states × characters).
    pub(super) fn names(&self, path: &str) -> bool {
        let mut here = vec![false; self.n_states()];
        let mut next = here.clone();
        here[0] = true;
        for letter in path.chars() {
            next.fill(false);
            for (state, _) in here.iter().enumerate().filter(|(_, is_here)| **is_here) {
                for (chars, target) in self.edges(state).as_slice() {
                    next[*target] |= chars.contains(letter);
                }
            }
            core::mem::swap(&mut here, &mut next);
        }
        here.iter().enumerate().any(|(state, is_here)| *is_here && self.accepts(state))
    }
}

fn push_atom(ops: &mut Vec<Op>, atom: &Atom, case: Case) {
    match atom {
        Atom::Text(run) => ops.extend(run.chars().map(|letter| Op::One(case.apply(letter)))),
        Atom::Any => ops.push(Op::Any),
        Atom::Star => ops.push(Op::Star),
        Atom::Class(class) => ops.push(Op::Set(CharSet::new(class, case))),
    }
}
