//! What can go wrong with a journal, split by what the reader would do next.

use std::fmt;
use std::path::PathBuf;

use crate::disk::DiskError;

/// Why a journal could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An acknowledged record is not what it was; nothing is granted until an operator repairs (promise S5).
    #[error("the journal is damaged: {0}")]
    Damaged(Damage),
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A sync failed: what was written may or may not survive a crash, so it was not reported as done.
    #[error("what was written to `{}` could not be made durable", path.display())]
    NotDurable {
        /// The segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// Records were written and could not be read back: they may count or not.
    #[error("what was written to `{}` could not be read back, so whether it counts is unknown", path.display())]
    Unknown {
        /// The segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The store was written by a newer program with another major format version.
    #[error("the store has format {found}; this program writes {ours}")]
    Newer {
        /// The store's version.
        found: String,
        /// This program's version.
        ours: String,
    },
    /// The number space of the journal is used up.
    #[error("the journal has used up its numbers")]
    Full,
    /// A record would be longer than any reader takes.
    #[error("a record of {bytes} bytes would be longer than the {most} a journal takes")]
    TooLong {
        /// Bytes it would have.
        bytes: usize,
        /// Bytes it may have.
        most: usize,
    },
    /// The part of the history that was asked for has been pruned.
    #[error("the journal begins at record {first}; what was before has been pruned")]
    Pruned {
        /// The first record that is still there.
        first: u64,
    },
}

impl JournalError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged(Damage { class: DamageClass::BadSuccessor, file, .. }) => {
                Some(format!("move `{file}` away from the store, then: lease-lane repair --yes"))
            }
            Self::Damaged(_) => {
                Some("lease-lane repair   (shows what would be lost; changes nothing without --yes)".into())
            }
            Self::Disk(error) => error.hint(),
            Self::NotDurable { .. } => Some(
                "check the disk, then run the command again: the next writer starts a new segment".into(),
            ),
            Self::Unknown { .. } => {
                Some("see what is there: lease-lane live; a request with --request-id can be repeated".into())
            }
            Self::Newer { .. } => {
                Some("use a lease-lane at least as new as the one that wrote the store".into())
            }
            Self::Full => Some(
                "see who named such a number: lease-lane verify, and the files in `marks` of the store"
                    .into(),
            ),
            Self::TooLong { .. } => Some("ask for less at once".into()),
            Self::Pruned { first } => Some(format!("lease-lane replay --at {first}")),
        }
    }
}

/// Where and how a journal is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the store.
    pub file: String,
    /// The byte at which the damaged piece begins.
    pub offset: u64,
    /// The record, where its number can be told.
    pub seq: Option<u64>,
    /// Which class of damage it is.
    pub class: DamageClass,
    /// What is wrong with it, in words.
    pub what: String,
}

/// The classes of damage. `tests/snapshots.rs` has specimens of each, and shows what is said of them and what a
/// repair does about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamageClass {
    /// A segment does not begin with its root.
    RootMissing,
    /// A whole line holds no record and was not closed off as unfinished.
    NotARecord,
    /// A whole record is followed by what no writer leaves there.
    Followed,
    /// A record extends one that is not there.
    PredecessorMissing,
    /// The journal ends before a record that was acknowledged.
    EndMissing,
    /// Another record stands where one was acknowledged.
    OtherRecord,
    /// A record whose checksum holds says what cannot be said there.
    Impossible,
    /// A segment is longer than any writer makes it.
    TooLong,
    /// The segment of the present is not there.
    SegmentMissing,
    /// A segment of the history is not there.
    HistoryMissing,
    /// A segment of the history does not end with what the next one begins with.
    HistoryCut,
    /// What another repair left to go on with is no segment.
    BadSuccessor,
}

impl DamageClass {
    /// Each class once. A new one does not compile until it has its place here.
    pub fn all() -> impl Iterator<Item = DamageClass> {
        std::iter::successors(Some(DamageClass::RootMissing), |class| class.next())
    }

    fn next(self) -> Option<DamageClass> {
        Some(match self {
            DamageClass::RootMissing => DamageClass::NotARecord,
            DamageClass::NotARecord => DamageClass::Followed,
            DamageClass::Followed => DamageClass::PredecessorMissing,
            DamageClass::PredecessorMissing => DamageClass::EndMissing,
            DamageClass::EndMissing => DamageClass::OtherRecord,
            DamageClass::OtherRecord => DamageClass::Impossible,
            DamageClass::Impossible => DamageClass::TooLong,
            DamageClass::TooLong => DamageClass::SegmentMissing,
            DamageClass::SegmentMissing => DamageClass::HistoryMissing,
            DamageClass::HistoryMissing => DamageClass::HistoryCut,
            DamageClass::HistoryCut => DamageClass::BadSuccessor,
            DamageClass::BadSuccessor => return None,
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at byte {}", self.file, self.offset)?;
        if let Some(seq) = self.seq {
            write!(f, " (record {seq})")?;
        }
        write!(f, ": {}", self.what)
    }
}
