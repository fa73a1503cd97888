//! Sets of characters: what one step of a pattern may consume.
//!
//! The alphabet is every character but NUL; under [`Case::Fold`] only those that are their own fold, because both
//! patterns and paths are folded before they meet. No set of a pattern holds `/`: only separators consume it.

use alloc::vec::Vec;

use super::fold::{Case, fold_runs};
use super::syntax::Class;

/// First and last code point, both inside.
type Span = (u32, u32);

const DOT: u32 = '.' as u32;
const SLASH: u32 = '/' as u32;
const LAST: u32 = char::MAX as u32;

/// What is left of the alphabet without `/` before folding; surrogates are not characters.
const NAME_SPANS: [Span; 3] = [(1, SLASH - 1), (SLASH + 1, 0xD7FF), (0xE000, LAST)];

/// Spans in the order in which a witness prefers their characters, `.` and `/` aside.
const PREFERRED: [Span; 6] = [
    ('a' as u32, 'z' as u32),
    ('0' as u32, '9' as u32),
    ('_' as u32, '_' as u32),
    ('-' as u32, '-' as u32),
    (1, DOT - 1),
    (SLASH + 1, LAST),
];

/// The kinds of character the shape of a path distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any character but `.` and `/`.
    Plain,
    /// `.`, of which a component may not consist alone, once or twice.
    Dot,
    /// `/`, which may not stand first, last or doubled.
    Slash,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Dot, Self::Slash];

    pub(super) fn of(letter: char) -> Self {
        match letter {
            '.' => Self::Dot,
            '/' => Self::Slash,
            _ => Self::Plain,
        }
    }
}

/// What one edge of an automaton consumes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chars<'a> {
    /// This character.
    One(char),
    /// Any character but `/`.
    Name,
    /// Any character.
    All,
    /// A member of this set.
    Set(&'a CharSet),
}

impl Chars<'_> {
    /// Reports whether `letter`, which is in the alphabet, is consumed.
    pub(super) fn contains(self, letter: char) -> bool {
        match self {
            Self::One(own) => own == letter,
            Self::Name => letter != '/',
            Self::All => true,
            Self::Set(set) => set.contains(letter),
        }
    }

    /// Returns the character of `kind` that both consume and a witness prefers.
    pub(super) fn least_common(self, other: Self, kind: Kind) -> Option<char> {
        match (self, other) {
            (Self::One(letter), rest) | (rest, Self::One(letter)) => {
                (Kind::of(letter) == kind && rest.contains(letter)).then_some(letter)
            }
            _ => match kind {
                Kind::Slash => (self.contains('/') && other.contains('/')).then_some('/'),
                Kind::Dot => (self.contains('.') && other.contains('.')).then_some('.'),
                Kind::Plain => match (self, other) {
                    (Self::Set(ours), Self::Set(theirs)) => least_plain(&ours.spans, &theirs.spans),
                    (Self::Set(set), _) | (_, Self::Set(set)) => set.least_plain,
                    _ => Some('a'),
                },
            },
        }
    }
}

/// An explicit set: the members of one class under one way to compare.
#[derive(Debug)]
pub(super) struct CharSet {
    /// Ascending, disjoint, inside the alphabet, without `/`.
    spans: Vec<Span>,
    least_plain: Option<char>,
}

impl CharSet {
    /// Builds the set of `class`.
    ///
    /// Under [`Case::Fold`] a class holds the folds of its members, a negated one everything but the folds of those.
    /// Costs O(m log m) for m spans and foldable characters inside them (1 510 exist), however wide the spans are.
    pub(super) fn new(class: &Class, case: Case) -> Self {
        let spans = class.ranges().map(|(first, last)| (u32::from(first), u32::from(last)));
        let mut members: Vec<Span> = match case {
            Case::Exact => spans.collect(),
            Case::Fold => spans.flat_map(folds).collect(),
        };
        sort_and_merge(&mut members);
        let mut spans = if class.is_negated() {
            subtract(&NAME_SPANS, members.iter().copied())
        } else {
            intersect(&NAME_SPANS, &members).collect()
        };
        if case == Case::Fold {
            spans =
                subtract(&spans, fold_runs(0, LAST).flat_map(|run| strides(run.first, run.last, run.step)));
        }
        let least_plain = least_plain(&spans, &[(1, LAST)]);
        Self { spans, least_plain }
    }

    fn contains(&self, letter: char) -> bool {
        let code = u32::from(letter);
        let idx = self.spans.partition_point(|span| span.1 < code);
        self.spans.get(idx).is_some_and(|span| span.0 <= code)
    }
}

fn least_plain(ours: &[Span], theirs: &[Span]) -> Option<char> {
    let least = PREFERRED.into_iter().find_map(|span| first_common(ours, theirs, span));
    least.and_then(char::from_u32)
}

/// Returns the first code point of `within` that both lists hold.
fn first_common(ours: &[Span], theirs: &[Span], within: Span) -> Option<u32> {
    let skip = |spans: &[Span]| spans.partition_point(|span| span.1 < within.0);
    let common = intersect(&ours[skip(ours)..], &theirs[skip(theirs)..]).next()?;
    let first = common.0.max(within.0);
    (first <= within.1 && first <= common.1).then_some(first)
}

/// Returns `span` itself and the fold of each of its members.
fn folds(span: Span) -> impl Iterator<Item = Span> {
    let (lowest, highest) = span;
    let images = fold_runs(lowest, highest).flat_map(move |run| {
        let first = run.first + lowest.saturating_sub(run.first).next_multiple_of(run.step);
        let last = run.last.min(highest);
        let shift = |code: u32| code.wrapping_add_signed(run.delta);
        strides(first, last, run.step).map(move |(first, last)| (shift(first), shift(last)))
    });
    core::iter::once(span).chain(images)
}

/// Returns `first`, `first + step`, … up to `last` as spans: one for step 1, one for each code point otherwise.
fn strides(first: u32, last: u32, step: u32) -> impl Iterator<Item = Span> {
    let (width, n_spans) = match (first <= last, step) {
        (false, _) => (0, 0),
        (true, 1) => (last - first, 1),
        (true, _) => (0, (last - first) / step + 1),
    };
    (0..n_spans).map(move |idx| (first + idx * step, first + idx * step + width))
}

fn sort_and_merge(spans: &mut Vec<Span>) {
    spans.sort_unstable();
    spans.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1.saturating_add(1);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

fn intersect<'a>(ours: &'a [Span], theirs: &'a [Span]) -> impl Iterator<Item = Span> + 'a {
    let (mut ours_idx, mut theirs_idx) = (0, 0);
    core::iter::from_fn(move || {
        loop {
            let (our, their) = (ours.get(ours_idx)?, theirs.get(theirs_idx)?);
            if our.1 < their.1 {
                ours_idx += 1;
            } else {
                theirs_idx += 1;
            }
            let common = (our.0.max(their.0), our.1.min(their.1));
            if common.0 <= common.1 {
                return Some(common);
            }
        }
    })
}

/// Returns `from` without what `holes` holds; both ascend.
fn subtract(from: &[Span], holes: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut holes = holes.peekable();
    let mut left = Vec::with_capacity(from.len());
    for &(mut first, last) in from {
        while let Some(&(hole_first, hole_last)) = holes.peek() {
            if last < hole_first {
                break;
            }
            if first < hole_first {
                left.push((first, hole_first - 1));
            }
            first = first.max(hole_last + 1);
            if last < first {
                break;
            }
            holes.next();
        }
        if first <= last {
            left.push((first, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::super::fold::fold_char;
    use super::super::witness::rank;
    use super::*;

    fn class(negated: bool, ranges: &[(char, char)]) -> Class {
        Class::new(negated, ranges.to_vec(), "")
    }

    /// The characters up to CJK, and those around every edge beyond.
    fn sample() -> impl Iterator<Item = char> + Clone {
        let edges = ['\u{A600}'..='\u{AC00}', '\u{CFF0}'..='\u{E020}', '\u{FF00}'..='\u{10020}'];
        let far = ['\u{10400}'..='\u{10600}', '\u{1E900}'..='\u{1E950}', '\u{10FFF0}'..=char::MAX];
        ('\0'..='\u{3000}').chain(edges.into_iter().flatten()).chain(far.into_iter().flatten())
    }

    /// Tries every character: the definition, slowly.
    fn slowly(negated: bool, ranges: &[(char, char)], case: Case) -> BTreeSet<char> {
        let listed = |letter: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&letter));
        let members: BTreeSet<char> = sample().filter(listed).map(|letter| case.apply(letter)).collect();
        let own = |letter: &char| case.apply(*letter) == *letter && *letter != '/' && *letter != '\0';
        sample().filter(|letter| own(letter) && members.contains(letter) != negated).collect()
    }

    const CLASSES: &[&[(char, char)]] = &[
        &[('a', 'c')],
        &[('A', 'C'), ('x', 'x')],
        &[('-', '0')],
        &[('.', '.')],
        &[('Z', 'a')],
        &[('\u{1}', char::MAX)],
        &[('\u{D000}', '\u{E010}')],
        &[('À', 'Ž'), ('Α', 'Ͽ')],
        &[('Ā', 'Ā'), ('ă', 'Ć')],
        &[('\u{1}', '`'), ('{', '\u{10000}')],
        &[('ſ', 'ſ'), ('K', 'K'), ('s', 't')],
    ];

    #[test]
    fn sets_hold_what_the_definition_says() {
        for ranges in CLASSES {
            for negated in [false, true] {
                for case in [Case::Fold, Case::Exact] {
                    let set = CharSet::new(&class(negated, ranges), case);
                    let expected = slowly(negated, ranges, case);
                    for letter in sample().filter(|letter| case.apply(*letter) == *letter) {
                        let found = set.contains(letter);
                        assert_eq!(
                            found,
                            expected.contains(&letter),
                            "{letter:?} {negated} {ranges:?} {case:?}"
                        );
                    }
                    let least =
                        expected.iter().copied().filter(|letter| *letter != '.').min_by_key(|c| rank(*c));
                    assert_eq!(set.least_plain, least, "{negated} {ranges:?} {case:?}");
                }
            }
        }
    }

    #[test]
    fn the_least_common_character_of_two_sets_is_the_least() {
        let case = Case::Exact;
        let sets = CLASSES.iter().flat_map(|ranges| [false, true].map(|negated| (negated, *ranges)));
        let sets: Vec<_> = sets
            .map(|(negated, ranges)| {
                (CharSet::new(&class(negated, ranges), case), slowly(negated, ranges, case))
            })
            .collect();
        for (ours, our_members) in &sets {
            for (theirs, their_members) in &sets {
                let least = our_members.intersection(their_members).copied().filter(|letter| *letter != '.');
                let found = Chars::Set(ours).least_common(Chars::Set(theirs), Kind::Plain);
                assert_eq!(found, least.min_by_key(|c| rank(*c)));
            }
        }
    }

    #[test]
    fn every_fold_is_its_own_fold_in_a_set() {
        let set = CharSet::new(&class(false, &[('\u{1}', char::MAX)]), Case::Fold);
        let all = ('\u{1}'..=char::MAX).filter(|letter| *letter != '/');
        assert!(all.clone().all(|letter| set.contains(fold_char(letter))));
        assert!(all.filter(|letter| fold_char(*letter) != *letter).all(|letter| !set.contains(letter)));
    }
}
