//! The normal form of an entry with alternatives.
//!
//! Braces stay as they were written; only components outside them are normalised. A component without braces between
//! two separators without braces is a whole component in every alternative, so dropping a `.` or letting `..` take it
//! away means the same in all of them. What touches a brace is left alone.

use alloc::string::String;
use alloc::vec::Vec;

use super::branch::{Component, Step};
use super::syntax::{Piece, What};

/// One component of the normal form.
enum Part<'a> {
    /// Without braces.
    Plain(Component),
    /// With braces, as written.
    Braced(&'a [Piece]),
    /// A `..` that leaves something with braces.
    Out,
}

/// Writes the normal form of `text`, whose elements are `pieces`; at least one of them is a group.
///
/// Returns it and how many components at its start are literal and touch no group.
pub(super) fn write_with_groups(text: &str, pieces: &[Piece]) -> (String, usize) {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut names_directory = false;
    let mut starts_here = false;
    for written in pieces.split(|piece| piece.what == What::Separator) {
        if written.iter().any(|piece| matches!(piece.what, What::Group(_))) {
            names_directory = false;
            parts.push(Part::Braced(written));
            continue;
        }
        let step = Step::new(&written.iter().collect::<Vec<_>>());
        names_directory = !matches!(step, Step::Into(_));
        match step {
            Step::Stay => {}
            Step::Out { .. } => match parts.last() {
                Some(Part::Plain(_)) => drop(parts.pop()),
                _ => parts.push(Part::Out),
            },
            Step::Into(Component::AnyDepth)
                if matches!(parts.last(), Some(Part::Plain(Component::AnyDepth))) => {}
            Step::Into(component) => parts.push(Part::Plain(component)),
        }
        starts_here |= parts.is_empty();
    }
    let ends_in_slash = match parts.last() {
        Some(Part::Plain(Component::Shape(_))) if names_directory => {
            parts.push(Part::Plain(Component::AnyDepth));
            false
        }
        Some(Part::Braced(_)) => names_directory,
        _ => false,
    };
    let mut normal = String::with_capacity(text.len());
    if starts_here && parts.first().is_some_and(begins_with_group) {
        // Without it an alternative that begins with `/` would be absolute and an empty one nothing.
        normal.push_str("./");
    }
    for (idx, part) in parts.iter().enumerate() {
        if idx != 0 {
            normal.push('/');
        }
        match part {
            Part::Plain(component) => component.write(&mut normal),
            Part::Braced(written) => {
                let span =
                    written.first().zip(written.last()).map_or(0..0, |(first, last)| first.at..last.end);
                normal.push_str(&text[span]);
            }
            Part::Out => normal.push_str(".."),
        }
    }
    if ends_in_slash {
        normal.push('/');
    }
    let is_literal = |part: &&Part<'_>| matches!(part, Part::Plain(Component::Literal(_)));
    (normal, parts.iter().take_while(is_literal).count())
}

fn begins_with_group(part: &Part<'_>) -> bool {
    match part {
        Part::Braced(written) => matches!(written.first(), Some(Piece { what: What::Group(_), .. })),
        Part::Plain(_) | Part::Out => false,
    }
}
