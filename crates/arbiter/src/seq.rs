//! Positions in the journal, and the two kinds of number made from them.

use core::fmt;
use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first there can be.
            pub const FIRST: $name = $name(NonZeroU64::MIN);

            /// Makes one from a number; `None` for zero.
            pub const fn new(number: u64) -> Option<$name> {
                match NonZeroU64::new(number) {
                    Some(number) => Some($name(number)),
                    None => None,
                }
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position! {
    /// Position of a record in the journal: 1, 2, 3, growing over the life of the store.
    Seq
}
position! {
    /// Name of a lease for its whole life: the position of the record that granted it (feature C2).
    LeaseId
}
position! {
    /// Fencing token: the position of the record that last gave the lease to somebody (feature C2).
    ///
    /// A later holder has a larger one; downstream writers refuse an older one.
    Fence
}

position! {
    /// A place in the line of those who wait: the position of the record that began the wait (feature D2).
    Ticket
}

impl Seq {
    /// The next position; `None` at the end of the number space.
    pub fn next(self) -> Option<Seq> {
        self.0.checked_add(1).map(Seq)
    }
}

impl From<Seq> for LeaseId {
    fn from(seq: Seq) -> LeaseId {
        LeaseId(seq.0)
    }
}

impl From<Seq> for Ticket {
    fn from(seq: Seq) -> Ticket {
        Ticket(seq.0)
    }
}

impl From<Seq> for Fence {
    fn from(seq: Seq) -> Fence {
        Fence(seq.0)
    }
}
