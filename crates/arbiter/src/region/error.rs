//! Why a text is not a region entry or a path.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use super::entry::Entry;
use super::list::Region;
use crate::text::Shown;

/// A text that is not a region entry, or not a path, and where it goes wrong.
///
/// ```
/// use arbiter::region::Entry;
///
/// let error = Entry::parse("src/[a-z").expect_err("never closed");
/// assert_eq!(error.to_string(), "`[` is never closed at byte 4 of `src/[a-z`");
/// assert_eq!(error.hint().as_deref(), Some("close it with `]`, or write `\\[` for the character itself"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at} of `{}`", shown(.entry))]
pub struct PatternError {
    /// The text, NFC-normalised unless it is too long for that.
    pub entry: String,
    /// Where in `entry`, in bytes from its start.
    pub at: usize,
    /// What is wrong there.
    pub kind: PatternErrorKind,
}

impl PatternError {
    /// Returns what the writer of the entry can do, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        use PatternErrorKind as Kind;
        let hint = match &self.kind {
            Kind::Empty => "write `**` for the whole project",
            Kind::Nul
            | Kind::ReversedRange { .. }
            | Kind::LockNameEmpty
            | Kind::LockNameControl
            | Kind::PoolNameEmpty
            | Kind::PoolNameControl => {
                return None;
            }
            Kind::TooLong { .. } | Kind::TooManyWildcards | Kind::TooManyAlternatives => {
                "split it into several entries"
            }
            Kind::TooManyEntries | Kind::RegionTooLarge => "claim a directory that holds them all",
            Kind::Absolute => "write it relative to the root of the project",
            Kind::LeavesRoot => "a region can only name paths inside the project",
            Kind::DotDotAfterAnyDepth => {
                "`**` stands for any number of components; say which one `..` leaves"
            }
            Kind::UnclosedClass => "close it with `]`, or write `\\[` for the character itself",
            Kind::SlashInClass => {
                "a class stands for one character of a name; use `{…}` for alternatives with `/`"
            }
            Kind::CaretClass => "write `[!…]` for \"none of these\", or `[\\^…]` for the character itself",
            Kind::UnclosedBrace => "close it with `}`, or write `\\{` for the character itself",
            Kind::StrayBrace => "write `\\}` for the character itself",
            Kind::TrailingEscape => "write `\\\\` for the character itself",
            Kind::UnknownScheme { scheme } => {
                return Some(format!(
                    "`lock://NAME` and `pool://NAME` name resources; a path that starts so is written `./{}:/…`",
                    shown(scheme)
                ));
            }
            Kind::EveryPool => "name the pool; all resources at once are `lock://*`",
            Kind::LockNameTooLong { .. } | Kind::PoolNameTooLong { .. } => "shorten the name",
            Kind::NotLiteral { .. } => "only leading components without wildcards can be replaced",
            Kind::NotAName => "a component is not empty, not `.` or `..`, and holds no `/`",
        };
        Some(hint.to_owned())
    }
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternErrorKind {
    /// Nothing is written, or an alternative spells nothing.
    #[error("nothing is named")]
    Empty,
    /// More than [`Entry::BYTES_MAX`] bytes.
    #[error("{n_bytes} bytes are more than {}", Entry::BYTES_MAX)]
    TooLong {
        /// How many there are.
        n_bytes: usize,
    },
    /// More than [`Entry::WILDCARDS_MAX`] of `*`, `?`, `[…]`, `{…}` and `**`.
    #[error("more than {} wildcards", Entry::WILDCARDS_MAX)]
    TooManyWildcards,
    /// More than [`Entry::ALTERNATIVES_MAX`] entries once every `{…}` is spelled out.
    #[error("more than {} alternatives spelled out", Entry::ALTERNATIVES_MAX)]
    TooManyAlternatives,
    /// More than [`Region::ENTRIES_MAX`] entries.
    #[error("more than {} entries in one region", Region::ENTRIES_MAX)]
    TooManyEntries,
    /// The alternatives of all entries together are longer than [`Region::SPELLED_BYTES_MAX`].
    #[error("more than {} bytes in one region with all alternatives spelled out", Region::SPELLED_BYTES_MAX)]
    RegionTooLarge,
    /// A NUL, which no file name can hold.
    #[error("NUL")]
    Nul,
    /// A leading `/`.
    #[error("absolute path")]
    Absolute,
    /// A `..` with nothing left to leave.
    #[error("`..` leaves the root")]
    LeavesRoot,
    /// A `..` behind a `**`.
    #[error("`..` after `**`")]
    DotDotAfterAnyDepth,
    /// A `[` without its `]`.
    #[error("`[` is never closed")]
    UnclosedClass,
    /// A `/` among the characters of a class.
    #[error("`/` inside `[…]`")]
    SlashInClass,
    /// `[^…]`, which other tools read in two ways.
    #[error("`[^`")]
    CaretClass,
    /// A range that ends before it starts.
    #[error("range `{}-{}` is reversed", shown(.first.encode_utf8(&mut [0; 4])), shown(.last.encode_utf8(&mut [0; 4])))]
    ReversedRange {
        /// As written before the `-`.
        first: char,
        /// As written behind it.
        last: char,
    },
    /// A `{` without its `}`.
    #[error("`{{` is never closed")]
    UnclosedBrace,
    /// A `}` without its `{`.
    #[error("`}}` closes nothing")]
    StrayBrace,
    /// A `\` with nothing behind it.
    #[error("`\\` escapes nothing")]
    TrailingEscape,
    /// `scheme://` with a scheme nobody knows.
    #[error("unknown scheme `{}://`", shown(.scheme))]
    UnknownScheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// `pool://` and nothing else.
    #[error("pool without a name")]
    PoolNameEmpty,
    /// A pool name of more than [`Entry::LOCK_NAME_BYTES_MAX`] bytes.
    #[error("pool name of {n_bytes} bytes, more than {}", Entry::LOCK_NAME_BYTES_MAX)]
    PoolNameTooLong {
        /// How many there are.
        n_bytes: usize,
    },
    /// A control character in a pool name.
    #[error("control character in a pool name")]
    PoolNameControl,
    /// `pool://*`, which names no pool.
    #[error("`*` names no pool")]
    EveryPool,
    /// `lock://` and nothing else.
    #[error("lock without a name")]
    LockNameEmpty,
    /// A lock name of more than [`Entry::LOCK_NAME_BYTES_MAX`] bytes.
    #[error("lock name of {n_bytes} bytes, more than {}", Entry::LOCK_NAME_BYTES_MAX)]
    LockNameTooLong {
        /// How many there are.
        n_bytes: usize,
    },
    /// A control character in a lock name.
    #[error("control character in a lock name")]
    LockNameControl,
    /// More leading components to replace than are literal.
    #[error("{asked} components to replace, but only {n_literal} are literal,")]
    NotLiteral {
        /// How many were to be replaced.
        asked: usize,
        /// How many there are.
        n_literal: usize,
    },
    /// A replacement that is not the name of a file.
    #[error("no file can have this name")]
    NotAName,
}

/// What is wrong and where, before the text it is in is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) kind: PatternErrorKind,
}

impl Fault {
    pub(super) fn new(at: usize, kind: PatternErrorKind) -> Self {
        Self { at, kind }
    }

    pub(super) fn of(self, entry: &str) -> PatternError {
        PatternError { entry: entry.to_owned(), at: self.at, kind: self.kind }
    }
}

/// Most characters of foreign text in one message.
const SHOWN_CHARS_MAX: usize = 80;

fn shown(text: &str) -> Shown<'_> {
    crate::text::shown(text, SHOWN_CHARS_MAX)
}
