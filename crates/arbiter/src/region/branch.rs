//! One alternative of an entry: components, after every rule about components has been applied.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use unicode_normalization::UnicodeNormalization;

use super::error::{Fault, PatternErrorKind};
use super::fold::Case;
use super::spelling::Spelling;
use super::syntax::{Class, Piece, What};

/// A sequence of components without alternatives.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    components: Vec<Component>,
    /// The last component is an [`Component::AnyDepth`] that was not written but follows from the rules.
    has_implied_depth: bool,
    head: Spelling,
    tail: Spelling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Component {
    /// Exactly this name.
    Literal(String),
    /// One name of this shape.
    Shape(Vec<Atom>),
    /// `**`: zero or more names. Never beside another.
    AnyDepth,
}

/// What a [`Component::Shape`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Atom {
    /// These characters, NFC, at least one.
    Text(String),
    /// `?`.
    Any,
    /// `*`. Never beside another.
    Star,
    /// `[…]`.
    Class(Arc<Class>),
}

impl Branch {
    /// Applies the rules about components to one spelled-out alternative.
    ///
    /// # Errors
    ///
    /// The alternative is empty, absolute, or leaves the root.
    pub(super) fn new(spelled: &[&Piece]) -> Result<Self, Fault> {
        let first = spelled.first().ok_or(Fault::new(0, PatternErrorKind::Empty))?;
        if matches!(first.what, What::Separator) {
            return Err(Fault::new(first.at, PatternErrorKind::Absolute));
        }
        let mut components: Vec<Component> = Vec::new();
        let mut names_directory = false;
        for written in spelled.split(|piece| matches!(piece.what, What::Separator)) {
            let step = Step::new(written);
            names_directory = !matches!(step, Step::Into(_));
            match step {
                Step::Stay => {}
                Step::Out { at } => match components.pop() {
                    Some(Component::AnyDepth) => {
                        return Err(Fault::new(at, PatternErrorKind::DotDotAfterAnyDepth));
                    }
                    Some(_) => {}
                    None => return Err(Fault::new(at, PatternErrorKind::LeavesRoot)),
                },
                Step::Into(Component::AnyDepth) if matches!(components.last(), Some(Component::AnyDepth)) => {
                }
                Step::Into(component) => components.push(component),
            }
        }
        let has_implied_depth = match components.last() {
            Some(Component::AnyDepth) => false,
            Some(Component::Shape(_)) => names_directory,
            Some(Component::Literal(_)) | None => true,
        };
        if has_implied_depth {
            components.push(Component::AnyDepth);
        }
        Ok(Self::from_components(components, has_implied_depth))
    }

    /// Names exactly one path and nothing beneath it.
    #[cfg(test)]
    pub(super) fn exactly(path: &str) -> Self {
        Self::from_components(path.split('/').map(|name| Component::Literal(name.into())).collect(), false)
    }

    pub(super) fn from_components(components: Vec<Component>, has_implied_depth: bool) -> Self {
        let head = Spelling::new(head(&components));
        let tail = Spelling::new(tail(&components));
        Self { components, has_implied_depth, head, tail }
    }

    pub(super) fn components(&self) -> &[Component] {
        &self.components
    }

    /// Returns what every named path starts with, once a `/` is appended to it.
    ///
    /// With that `/`, `ap/**` and `api/**` differ in their heads, though `ap` is the beginning of `api`.
    pub(super) fn head(&self, case: Case) -> &str {
        self.head.get(case)
    }

    /// Returns what every named path ends in, once a `/` is put before it.
    pub(super) fn tail(&self, case: Case) -> &str {
        self.tail.get(case)
    }

    /// Reports whether the root itself is named: only `**` does.
    pub(super) fn names_root(&self) -> bool {
        self.components == [Component::AnyDepth]
    }

    /// Reports whether the normal form ends in a `/**` that may not have been written.
    pub(super) fn grows(&self) -> bool {
        self.has_implied_depth && matches!(self.components.iter().rev().nth(1), Some(Component::Shape(_)))
    }

    /// Returns how many components at the start are literal.
    pub(super) fn n_literal(&self) -> usize {
        self.components.iter().take_while(|component| matches!(component, Component::Literal(_))).count()
    }

    /// Writes the normal form, without a `**` at the end that goes without saying.
    pub(super) fn write(&self) -> String {
        write(&self.components[..self.components.len() - usize::from(self.hides_depth())])
    }

    /// Writes all components; two branches with the same meaning by the rules above give the same text.
    pub(super) fn write_fully(&self) -> String {
        write(&self.components)
    }

    /// Reports whether the last `**` goes without saying, because a name before it means what is beneath as well.
    fn hides_depth(&self) -> bool {
        self.has_implied_depth && matches!(self.components.iter().rev().nth(1), Some(Component::Literal(_)))
    }
}

fn write(components: &[Component]) -> String {
    let mut text = String::with_capacity(components.iter().map(Component::bytes_usual).sum());
    for component in components {
        if !text.is_empty() {
            text.push('/');
        }
        component.write(&mut text);
    }
    text
}

/// Appends the name of one file as a pattern that names only it.
pub(super) fn write_escaped(name: &str, text: &mut String) {
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | '{' | '}' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
}

impl Component {
    /// How many bytes it is mostly written in, with a `/`.
    fn bytes_usual(&self) -> usize {
        match self {
            Self::Literal(name) => name.len() + 1,
            Self::Shape(_) => 16,
            Self::AnyDepth => 3,
        }
    }

    pub(super) fn write(&self, text: &mut String) {
        match self {
            Self::Literal(name) => write_escaped(name, text),
            Self::AnyDepth => text.push_str("**"),
            Self::Shape(atoms) => {
                for atom in atoms {
                    match atom {
                        Atom::Text(run) => write_escaped(run, text),
                        Atom::Any => text.push('?'),
                        Atom::Star => text.push('*'),
                        Atom::Class(class) => text.push_str(class.text()),
                    }
                }
            }
        }
    }
}

/// What the text between two separators asks for.
pub(super) enum Step {
    /// Nothing, or `.`.
    Stay,
    /// `..`.
    Out {
        /// Where it is written.
        at: usize,
    },
    /// A component.
    Into(Component),
}

impl Step {
    /// Reads `written`, which holds neither separators nor groups.
    pub(super) fn new(written: &[&Piece]) -> Self {
        let Some(first) = written.first() else { return Self::Stay };
        if written.len() == 2 && written.iter().all(|piece| matches!(piece.what, What::Star)) {
            return Self::Into(Component::AnyDepth);
        }
        let mut atoms: Vec<Atom> = Vec::new();
        for piece in written {
            match (&piece.what, atoms.last_mut()) {
                (What::Char(letter), Some(Atom::Text(run))) => run.push(*letter),
                (What::Char(letter), _) => {
                    let mut run = String::with_capacity(written.len());
                    run.push(*letter);
                    atoms.push(Atom::Text(run));
                }
                (What::Star, Some(Atom::Star)) | (What::Separator | What::Group(_), _) => {}
                (What::Star, _) => atoms.push(Atom::Star),
                (What::Any, _) => atoms.push(Atom::Any),
                (What::Class(class), _) => atoms.push(Atom::Class(Arc::clone(class))),
            }
        }
        // Escapes and spelled-out braces can bring a letter and its accent together only now.
        for atom in &mut atoms {
            if let Atom::Text(run) = atom
                && !run.is_ascii()
            {
                *run = run.nfc().collect();
            }
        }
        match atoms.as_mut_slice() {
            [Atom::Text(name)] if name == "." => Self::Stay,
            [Atom::Text(name)] if name == ".." => Self::Out { at: first.at },
            [Atom::Text(name)] => Self::Into(Component::Literal(core::mem::take(name))),
            _ => Self::Into(Component::Shape(atoms)),
        }
    }
}

fn head(components: &[Component]) -> String {
    let literal = components.iter().map_while(|component| match component {
        Component::Literal(name) => Some(name.len() + 1),
        Component::Shape(_) | Component::AnyDepth => None,
    });
    let mut head = String::with_capacity(literal.sum());
    for component in components {
        match component {
            Component::Literal(name) => {
                head.push_str(name);
                head.push('/');
            }
            Component::Shape(atoms) => {
                if let Some(Atom::Text(run)) = atoms.first() {
                    head.push_str(run);
                }
                break;
            }
            Component::AnyDepth => break,
        }
    }
    head
}

fn tail(components: &[Component]) -> String {
    let mut runs: Vec<&str> = Vec::new();
    for component in components.iter().rev() {
        match component {
            Component::Literal(name) => runs.extend([name.as_str(), "/"]),
            Component::Shape(atoms) => {
                if let Some(Atom::Text(run)) = atoms.last() {
                    runs.push(run);
                }
                break;
            }
            Component::AnyDepth => break,
        }
    }
    runs.into_iter().rev().collect()
}
