//! One entry of a region: a path pattern, or a named resource.

use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::automaton::Automaton;
use super::branch::{Branch, Component, write_escaped};
use super::error::{Fault, PatternError, PatternErrorKind};
use super::fold::{Case, fold_case};
use super::normal;
use super::path::ProjectPath;
use super::product;
use super::syntax::{self, Piece};
use super::witness::Witness;

const LOCK: &str = "lock://";
const POOL: &str = "pool://";
/// The entry that names every resource.
const EVERY_LOCK: &str = "lock://*";

/// One entry of a region: a glob over project-relative paths, `lock://NAME`, or `pool://NAME`.
///
/// * `*` any run of characters, `?` one character, `[a-z]` and `[!a-z]` one of a class; none of them ever `/`;
/// * `**` as a whole component: zero or more components;
/// * `{a,b}` alternatives, which may nest, be empty, and hold `/`; the entry means the union of what it spells;
/// * `\` takes the meaning from the next character.
///
/// An entry whose last component has no wildcard, or which ends in `/` (or `/.`, or `/..`), names that path and
/// everything beneath it; any other names exactly the paths it spells. `.` is the root and therefore everything.
///
/// A lock is a point: equal to the same name in any case, disjoint from everything else, `**` included. Only
/// `lock://*` is more than a point: it names every resource, pools included.
///
/// Of a pool there are several: two entries of one pool do not overlap. How many may have one at a time is for the
/// policy to say and for [`arbitrate`](crate::decide::arbitrate) to count.
///
/// Limits: [`Entry::BYTES_MAX`], [`Entry::WILDCARDS_MAX`] and [`Entry::ALTERNATIVES_MAX`]. Equality, order and hash are
/// those of the normal form, so `a` and `a/**`, which mean the same, are two entries.
///
/// ```
/// use arbiter::region::{Case, Entry, ProjectPath};
///
/// let entry = Entry::parse("src//{api,web}/./**/*.rs")?;
/// assert_eq!(entry.as_str(), "src/{api,web}/**/*.rs");
/// assert!(entry.covers(&ProjectPath::parse("src/api/v1/main.rs")?, Case::Fold));
///
/// let other = Entry::parse("src/*/main.*")?;
/// assert_eq!(entry.overlap(&other, Case::Fold).expect("they meet").as_str(), "src/api/main.rs");
/// assert!(entry.overlap(&Entry::parse("src/**/*.md")?, Case::Fold).is_none());
/// # Ok::<(), arbiter::region::PatternError>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Entry {
    text: String,
    scope: Scope,
}

/// What an entry names.
#[derive(Clone)]
enum Scope {
    Paths {
        /// What the entry spells, at least one, none twice.
        branches: Vec<Branch>,
        /// How many components at the start are literal in the text and in every branch.
        n_literal: usize,
    },
    Lock {
        /// `lock://NAME`, case-folded.
        folded: String,
    },
    Pool {
        /// `pool://NAME`, case-folded.
        folded: String,
    },
}

impl Entry {
    /// Most bytes an entry may have, before and after normalisation.
    pub const BYTES_MAX: usize = 4096;
    /// Most wildcards an entry may have: `*`, `?`, `[…]`, `{…}` and `**` count one each.
    ///
    /// A trailing `/` behind a wildcard stands for `/**` and counts as that.
    pub const WILDCARDS_MAX: usize = 64;
    /// Most alternatives an entry may spell.
    pub const ALTERNATIVES_MAX: usize = 1024;
    /// Most bytes the name of a lock or a pool may have.
    pub const LOCK_NAME_BYTES_MAX: usize = 256;

    /// Reads one entry.
    ///
    /// # Errors
    ///
    /// [`PatternError`] names the first place that is not an entry. Positions count bytes of the NFC form of `text`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_length(text).map_err(|fault| fault.of(text))?;
        let text: Cow<'_, str> =
            if text.is_ascii() { text.into() } else { text.nfc().collect::<String>().into() };
        Self::from_nfc(&text).map_err(|fault| fault.of(&text))
    }

    /// Returns the entry that names every path, the root included: `**`.
    pub fn everything() -> Self {
        let branch = Branch::from_components(vec![Component::AnyDepth], false);
        Self { text: "**".to_owned(), scope: Scope::Paths { branches: vec![branch], n_literal: 0 } }
    }

    /// Returns the entry that names every resource: `lock://*`.
    pub fn every_lock() -> Self {
        Self { text: EVERY_LOCK.to_owned(), scope: Scope::Lock { folded: EVERY_LOCK.to_owned() } }
    }

    /// Returns the entry that names `path` and everything beneath it, as `PATH/**`, however its name looks as a pattern.
    ///
    /// # Errors
    ///
    /// The pattern is longer than [`Entry::BYTES_MAX`].
    pub fn beneath(path: &ProjectPath) -> Result<Self, PatternError> {
        let names = path.components().map(|name| Component::Literal(name.to_owned()));
        let branch = Branch::from_components(names.chain([Component::AnyDepth]).collect(), false);
        Self::checked(Self::from_branch(branch)).map_err(|fault| fault.of(path.as_str()))
    }

    /// Returns the normal form.
    ///
    /// NFC, `/` between components, no `.`, `..`, doubled separators or needless escapes; case as written. Alternatives
    /// stay as written. Reading it gives the same entry.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether this names a resource rather than paths.
    pub fn is_resource(&self) -> bool {
        matches!(self.scope, Scope::Lock { .. } | Scope::Pool { .. })
    }

    /// Returns the name of the pool, case-folded, if this names one.
    pub fn pool_name(&self) -> Option<&str> {
        match &self.scope {
            Scope::Pool { folded } => Some(&folded[POOL.len()..]),
            Scope::Paths { .. } | Scope::Lock { .. } => None,
        }
    }

    /// Returns the least path, or the lock, that both entries name; nothing if they are disjoint.
    ///
    /// Symmetric. Allocates only for a pair whose literal beginnings and endings agree; costs O(n × m) then.
    pub fn overlap(&self, other: &Self, case: Case) -> Option<Witness> {
        self.overlap_within(other, case, usize::MAX)
    }

    /// Like [`Entry::overlap`], but may miss paths of more than `n_chars_max` characters.
    pub(super) fn overlap_within(&self, other: &Self, case: Case, n_chars_max: usize) -> Option<Witness> {
        match (&self.scope, &other.scope) {
            (Scope::Paths { branches: ours, .. }, Scope::Paths { branches: theirs, .. }) => {
                least_overlap(ours, theirs, case, n_chars_max)
            }
            (Scope::Lock { folded: ours }, Scope::Lock { folded: theirs }) => {
                let common = match (ours.as_str(), theirs.as_str()) {
                    (EVERY_LOCK, common) | (common, EVERY_LOCK) => common,
                    (ours, theirs) => (ours == theirs).then_some(ours)?,
                };
                Some(Witness::resource(common.to_owned()))
            }
            (Scope::Lock { folded: lock }, Scope::Pool { folded: pool })
            | (Scope::Pool { folded: pool }, Scope::Lock { folded: lock }) => {
                (lock == EVERY_LOCK).then(|| Witness::resource(pool.clone()))
            }
            _ => None,
        }
    }

    /// Reports whether `path` is named.
    ///
    /// The same as an overlap with an entry that names exactly `path`; the root is named by `**` only.
    pub fn covers(&self, path: &ProjectPath, case: Case) -> bool {
        let Scope::Paths { branches, .. } = &self.scope else { return false };
        let fenced = path.fenced(case);
        branches.iter().any(|branch| {
            if path.is_root() {
                return branch.names_root();
            }
            agree_in_head(branch.head(case), &fenced[1..])
                && agree_in_tail(branch.tail(case), &fenced[..fenced.len() - 1])
                && Automaton::new(branch, case).names(path.inner(case))
        })
    }

    /// Reports whether who has this entry has `resource`: it is the same lock or pool, or this is all of them.
    ///
    /// Unlike an overlap this has two sides: `lock://*` holds `lock://db`, and not the other way round.
    pub fn holds(&self, resource: &Self) -> bool {
        match (self.resource_name(), resource.resource_name()) {
            (Some(ours), Some(asked)) => ours == asked || ours == EVERY_LOCK,
            _ => false,
        }
    }

    /// Returns what each alternative begins with, case-folded: every path that it names does, once a `/` is appended.
    /// None for a resource.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &str> {
        let branches: &[Branch] = match &self.scope {
            Scope::Paths { branches, .. } => branches,
            Scope::Lock { .. } | Scope::Pool { .. } => &[],
        };
        branches.iter().map(|branch| branch.head(Case::Fold))
    }

    /// Reports whether this names every resource.
    pub(crate) fn is_every_lock(&self) -> bool {
        self.resource_name() == Some(EVERY_LOCK)
    }

    /// Returns how the pool of this folded name is named as a resource.
    pub(crate) fn folded_pool(name: &str) -> String {
        format!("{POOL}{name}")
    }

    /// Returns scheme and name, case-folded, if this names a resource.
    pub(crate) fn resource_name(&self) -> Option<&str> {
        match &self.scope {
            Scope::Paths { .. } => None,
            Scope::Lock { folded } | Scope::Pool { folded } => Some(folded),
        }
    }

    /// Returns the components at the start that are plain names, unescaped, in the case written.
    ///
    /// Every named path begins with them. None for a resource, and none for `{a,b}/c`: see [`Entry::spelled_out`].
    pub fn literal_components(&self) -> impl ExactSizeIterator<Item = &str> {
        let literal: &[Component] = match &self.scope {
            Scope::Paths { branches, n_literal } => {
                branches.first().map_or(&[], |branch| &branch.components()[..*n_literal])
            }
            Scope::Lock { .. } | Scope::Pool { .. } => &[],
        };
        literal.iter().map(|component| match component {
            Component::Literal(name) => name.as_str(),
            Component::Shape(_) | Component::AnyDepth => "",
        })
    }

    /// Returns the entries without alternatives that this one is the union of; itself if it has none.
    ///
    /// For what must look at each beginning by itself, as resolving symbolic links does.
    pub fn spelled_out(&self) -> Vec<Self> {
        match &self.scope {
            Scope::Paths { branches, .. } if 1 < branches.len() => {
                branches.iter().map(|branch| Self::from_branch(branch.clone())).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// Returns this entry with its first `n_components` literal components replaced by the names in `new_prefix`.
    ///
    /// Characters of `new_prefix` have no special meaning.
    ///
    /// ```
    /// use arbiter::region::Entry;
    ///
    /// let moved = Entry::parse("link/src/*.rs")?.with_prefix_replaced(1, &["real [1]", "x"])?;
    /// assert_eq!(moved.as_str(), "real \\[1]/x/src/*.rs");
    /// # Ok::<(), arbiter::region::PatternError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fewer than `n_components` are literal (a resource has none), `new_prefix` holds something that is not the name
    /// of a file, or the result exceeds a limit of entries.
    pub fn with_prefix_replaced(
        &self,
        n_components: usize,
        new_prefix: &[&str],
    ) -> Result<Self, PatternError> {
        let n_literal = self.literal_components().len();
        if n_literal < n_components || (self.is_resource() && !new_prefix.is_empty()) {
            let kind = PatternErrorKind::NotLiteral { asked: n_components, n_literal };
            return Err(Fault::new(0, kind).of(&self.text));
        }
        if self.is_resource() || (n_components == 0 && new_prefix.is_empty()) {
            return Ok(self.clone());
        }
        let mut text = String::new();
        for name in new_prefix {
            if matches!(*name, "" | "." | "..") || name.contains(['/', '\0']) {
                return Err(Fault::new(0, PatternErrorKind::NotAName).of(name));
            }
            write_escaped(name, &mut text);
            text.push('/');
        }
        // The rest may begin with a brace and a `/` in it.
        let start = if text.is_empty() { "./" } else { "" };
        Self::parse(&format!("{start}{text}{}", self.text_behind(n_components)))
    }

    /// Returns the normal form without its first `n_components`, which are literal.
    fn text_behind(&self, n_components: usize) -> &str {
        let mut rest = self.text.as_str();
        for name in self.literal_components().take(n_components) {
            let mut written = String::new();
            write_escaped(name, &mut written);
            rest = rest.strip_prefix(&*written).unwrap_or(rest);
            rest = rest.strip_prefix('/').unwrap_or(rest);
        }
        rest
    }

    fn from_nfc(text: &str) -> Result<Self, Fault> {
        check_length(text)?;
        if text.is_empty() {
            return Err(Fault::new(0, PatternErrorKind::Empty));
        }
        if let Some(scheme) = scheme_of(text) {
            return Self::from_scheme(scheme, text);
        }
        let read = syntax::read(text)?;
        let n_alternatives = syntax::count_alternatives(&read.pieces);
        if Self::ALTERNATIVES_MAX < n_alternatives {
            let is_group = |piece: &&Piece| matches!(piece.what, syntax::What::Group(_));
            let at = read.pieces.iter().find(is_group).map_or(0, |piece| piece.at);
            return Err(Fault::new(at, PatternErrorKind::TooManyAlternatives));
        }
        let mut branches: Vec<Branch> = Vec::with_capacity(n_alternatives);
        let mut spelled = Vec::with_capacity(read.pieces.len());
        for idx in 0..n_alternatives {
            spelled.clear();
            syntax::spell(&read.pieces, idx, &mut spelled);
            branches.push(Branch::new(&spelled)?);
        }
        drop_repeated(&mut branches);
        if branches.iter().any(Branch::grows) {
            check_grown(text, read.n_wildcards)?;
        }
        if branches.len() == 1 {
            let branch = branches.swap_remove(0);
            return Self::checked(Self::from_branch(branch));
        }
        let (text, n_outside) = normal::write_with_groups(text, &read.pieces);
        let n_literal = n_common_literals(&branches).min(n_outside);
        Self::checked(Self { text, scope: Scope::Paths { branches, n_literal } })
    }

    fn from_branch(branch: Branch) -> Self {
        let (text, n_literal) = (branch.write(), branch.n_literal());
        Self { text, scope: Scope::Paths { branches: vec![branch], n_literal } }
    }

    fn checked(self) -> Result<Self, Fault> {
        check_length(&self.text).map(|()| self)
    }

    fn from_scheme(scheme: &str, text: &str) -> Result<Self, Fault> {
        match scheme {
            "lock" => Self::from_lock_name(&text[LOCK.len()..]),
            "pool" => Self::from_pool_name(&text[POOL.len()..]),
            _ => Err(Fault::new(0, PatternErrorKind::UnknownScheme { scheme: scheme.to_owned() })),
        }
    }

    fn from_lock_name(name: &str) -> Result<Self, Fault> {
        let empty = PatternErrorKind::LockNameEmpty;
        let too_long = |n_bytes| PatternErrorKind::LockNameTooLong { n_bytes };
        check_name(LOCK, name, empty, too_long, PatternErrorKind::LockNameControl)?;
        let folded = format!("{LOCK}{}", fold_case(name));
        Ok(Self { text: format!("{LOCK}{name}"), scope: Scope::Lock { folded } })
    }

    fn from_pool_name(name: &str) -> Result<Self, Fault> {
        let empty = PatternErrorKind::PoolNameEmpty;
        let too_long = |n_bytes| PatternErrorKind::PoolNameTooLong { n_bytes };
        check_name(POOL, name, empty, too_long, PatternErrorKind::PoolNameControl)?;
        if name == "*" {
            return Err(Fault::new(POOL.len(), PatternErrorKind::EveryPool));
        }
        let folded = format!("{POOL}{}", fold_case(name));
        Ok(Self { text: format!("{POOL}{name}"), scope: Scope::Pool { folded } })
    }

    /// Returns how many bytes the alternatives have together.
    pub(super) fn n_spelled_bytes(&self) -> usize {
        match &self.scope {
            Scope::Paths { branches, .. } if 1 < branches.len() => {
                branches.iter().map(|branch| branch.write().len()).sum()
            }
            _ => self.text.len(),
        }
    }
}

/// Returns the least common path of two unions.
fn least_overlap(ours: &[Branch], theirs: &[Branch], case: Case, mut n_chars_max: usize) -> Option<Witness> {
    let mut least: Option<Witness> = None;
    for our in ours {
        let mut our_automaton = None;
        for their in theirs {
            if !agree_in_head(our.head(case), their.head(case))
                || !agree_in_tail(our.tail(case), their.tail(case))
            {
                continue;
            }
            let our_automaton = our_automaton.get_or_insert_with(|| Automaton::new(our, case));
            let their_automaton = Automaton::new(their, case);
            let found = product::least_common_path(our_automaton, &their_automaton, n_chars_max);
            if let Some(witness) = found.map(Witness::path)
                && least.as_ref().is_none_or(|best| witness < *best)
            {
                n_chars_max = witness.n_chars();
                least = Some(witness);
            }
        }
    }
    least
}

/// Reports whether one text can begin with both.
fn agree_in_head(ours: &str, theirs: &str) -> bool {
    let n_bytes = ours.len().min(theirs.len());
    ours.as_bytes()[..n_bytes] == theirs.as_bytes()[..n_bytes]
}

/// Reports whether one text can end in both.
fn agree_in_tail(ours: &str, theirs: &str) -> bool {
    let n_bytes = ours.len().min(theirs.len());
    ours.as_bytes()[ours.len() - n_bytes..] == theirs.as_bytes()[theirs.len() - n_bytes..]
}

fn check_length(text: &str) -> Result<(), Fault> {
    if text.len() <= Entry::BYTES_MAX {
        Ok(())
    } else {
        Err(Fault::new(
            text.floor_char_boundary(Entry::BYTES_MAX),
            PatternErrorKind::TooLong { n_bytes: text.len() },
        ))
    }
}

/// Checks what the name of a resource must be: some bytes, not too many, none that controls a terminal.
fn check_name(
    scheme: &str,
    name: &str,
    empty: PatternErrorKind,
    too_long: impl FnOnce(usize) -> PatternErrorKind,
    control: PatternErrorKind,
) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::new(scheme.len(), empty));
    }
    if Entry::LOCK_NAME_BYTES_MAX < name.len() {
        return Err(Fault::new(scheme.len(), too_long(name.len())));
    }
    match name.find(char::is_control) {
        Some(at) => Err(Fault::new(scheme.len() + at, control)),
        None => Ok(()),
    }
}

/// Checks the limits for an entry whose trailing `/` stands for `/**`, so that its normal form is within them too.
fn check_grown(text: &str, n_wildcards: usize) -> Result<(), Fault> {
    let n_bytes = text.len() + "**".len();
    if Entry::BYTES_MAX < n_bytes {
        Err(Fault::new(text.len(), PatternErrorKind::TooLong { n_bytes }))
    } else if Entry::WILDCARDS_MAX <= n_wildcards {
        Err(Fault::new(text.len(), PatternErrorKind::TooManyWildcards))
    } else {
        Ok(())
    }
}

/// Returns what stands before `://` at the start, if it looks like a scheme.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    if !rest.starts_with("//") {
        return None;
    }
    (scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.chars().all(is_plain))
        .then_some(scheme)
}

/// Drops every branch that means the same as an earlier one, keeping the order.
fn drop_repeated(branches: &mut Vec<Branch>) {
    if branches.len() < 2 {
        return;
    }
    let mut order: Vec<usize> = (0..branches.len()).collect();
    let text: Vec<String> = branches.iter().map(Branch::write_fully).collect();
    order.sort_by(|left, right| text[*left].cmp(&text[*right]).then(left.cmp(right)));
    let mut is_repeated = vec![false; branches.len()];
    for pair in order.windows(2) {
        is_repeated[pair[1]] = text[pair[0]] == text[pair[1]];
    }
    let mut flags = is_repeated.into_iter();
    branches.retain(|_| !flags.next().unwrap_or(false));
}

/// Returns how many components at the start are the same literals in all branches.
fn n_common_literals(branches: &[Branch]) -> usize {
    let Some((first, rest)) = branches.split_first() else { return 0 };
    let is_common =
        |idx: &usize| rest.iter().all(|branch| branch.components().get(*idx) == first.components().get(*idx));
    (0..first.n_literal()).take_while(is_common).count()
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Entry").field(&self.text).finish()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl TryFrom<String> for Entry {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<Entry> for String {
    fn from(entry: Entry) -> Self {
        entry.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sequence of at most `n_max` tokens.
    fn texts(tokens: &[&str], n_max: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut start = 0;
        for _ in 0..n_max {
            let level = all[start..].to_vec();
            start = all.len();
            all.extend(
                level.iter().flat_map(|text| tokens.iter().map(move |token| format!("{text}{token}"))),
            );
        }
        all
    }

    #[test]
    fn beneath_a_path_is_what_its_quoted_pattern_names() {
        let paths = texts(&["a", "É", "*", "?", "[", "]", "{", "}", ",", "\\", "!", "/", ".", ":", "\n"], 4);
        for path in paths.iter().filter_map(|text| ProjectPath::parse(text).ok()) {
            let names: Vec<&str> = path.components().collect();
            let read = Entry::everything().with_prefix_replaced(0, &names).unwrap();
            let made = Entry::beneath(&path).unwrap();
            assert_eq!((&made, made.literal_components().len()), (&read, read.literal_components().len()));
            let (Scope::Paths { branches: made, .. }, Scope::Paths { branches: read, .. }) =
                (&made.scope, &read.scope)
            else {
                panic!("{path:?} is no resource")
            };
            assert_eq!(format!("{made:?}"), format!("{read:?}"));
        }
    }

    #[test]
    fn covering_a_path_is_overlapping_with_exactly_that_path() {
        let paths = texts(&["a", "B", "/", ".", "x"], 5);
        let paths: Vec<_> = paths.iter().filter_map(|text| ProjectPath::parse(text).ok()).collect();
        let entries = texts(&["a", "b", "/", "*", "?", ".", "[!a]", "**", "{a,/B}"], 3);
        for entry in entries.iter().filter_map(|text| Entry::parse(text).ok()) {
            let Scope::Paths { branches, .. } = &entry.scope else { continue };
            for path in paths.iter().step_by(23).filter(|path| !path.is_root()) {
                let exact = [Branch::exactly(path.as_str())];
                for case in [Case::Fold, Case::Exact] {
                    let witness = least_overlap(branches, &exact, case, usize::MAX);
                    assert_eq!(entry.covers(path, case), witness.is_some(), "{entry} {path} {case:?}");
                    if let Some(witness) = witness {
                        assert_eq!(witness.as_str(), path.inner(case));
                    }
                }
            }
        }
    }

    #[test]
    fn the_root_is_named_by_everything_and_nothing_else() {
        let root = ProjectPath::parse(".").unwrap();
        for text in [".", "**", "./", "**/", "a/..", "**/**", "{a,**}", "{a/..,b}"] {
            assert!(Entry::parse(text).unwrap().covers(&root, Case::Fold), "{text}");
        }
        for text in ["*", "**/*", "*/**", "a", "lock://.", "{a,b}/**", "?", "[.]"] {
            assert!(!Entry::parse(text).unwrap().covers(&root, Case::Fold), "{text}");
        }
    }

    #[test]
    fn everything_is_what_two_stars_read_as() {
        assert_eq!(Entry::everything(), Entry::parse("**").unwrap());
    }

    #[test]
    fn one_entry_names_every_lock_and_no_path() {
        let every = Entry::parse("lock://*").unwrap();
        assert_eq!(every, Entry::every_lock());
        let meets = |text: &str| {
            Entry::parse(text).unwrap().overlap(&every, Case::Fold).map(|w| w.as_str().to_owned())
        };
        assert_eq!(meets("lock://Db").as_deref(), Some("lock://db"));
        assert_eq!(
            every.overlap(&every, Case::Exact).map(|w| w.as_str().to_owned()).as_deref(),
            Some("lock://*")
        );
        assert_eq!(meets("**"), None);
        assert_eq!(meets("pool://Gpu").as_deref(), Some("pool://gpu"), "it names every resource");
        assert!(!every.covers(&ProjectPath::parse("a").unwrap(), Case::Fold));
    }

    #[test]
    fn entries_of_one_pool_do_not_overlap_and_are_counted_elsewhere() {
        let gpu = Entry::parse("pool://Gpu").unwrap();
        assert_eq!((gpu.as_str(), gpu.pool_name(), gpu.is_resource()), ("pool://Gpu", Some("gpu"), true));
        assert_eq!(Entry::parse("lock://gpu").unwrap().pool_name(), None);
        for other in ["pool://gpu", "pool://cpu", "lock://gpu", "**", "gpu"] {
            let other = Entry::parse(other).unwrap();
            assert_eq!(gpu.overlap(&other, Case::Fold), None, "{other}");
            assert_eq!(other.overlap(&gpu, Case::Fold), None, "{other}");
        }
    }

    /// The least witness needs all of one and the end of the other; the largest such pair takes 0.8 s in release.
    #[test]
    fn a_pair_with_a_million_states_finishes() {
        const N_BYTES: usize = Entry::BYTES_MAX / 4;
        let long = |start: &str, letter: &str, end: &str| {
            let n_letters = N_BYTES - start.len() - end.len();
            Entry::parse(&format!("{start}{}{end}", letter.repeat(n_letters))).unwrap()
        };
        let (ours, theirs) = (long("x/*", "a", "*"), long("x*/*", "a", "b*"));
        let least = ours.overlap(&theirs, Case::Fold).map(|witness| witness.n_chars());
        let n_letters = N_BYTES - "x/**".len();
        assert_eq!(least, Some("x/".len() + n_letters + "b".len()));
    }
}
