//! Why a session could not give an answer.

use arbiter::seq::LeaseId;
use journal::JournalError;

use crate::mutex::MutexError;

/// Why there is no answer. A refusal is not among these: it is an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(JournalError),
    /// The mutex could not be had.
    #[error(transparent)]
    Mutex(#[from] MutexError),
    /// The system gave no random number.
    #[error("the system gave no random number")]
    Chance {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The caller gave two different requests one name.
    #[error("the request id `{id}` already names another request, answered by record {at}")]
    RequestIdTaken {
        /// The name.
        id: String,
        /// The record that answered it.
        at: u64,
    },
    /// While it waited, the policy became one that cannot be used.
    #[error("the policy can no longer be used")]
    NoPolicy,
    /// Another process cannot be attached to the lease.
    #[error("lease {lease} is bound to {most} processes already, which is the limit")]
    TooManyProcesses {
        /// The lease.
        lease: LeaseId,
        /// How many it may have.
        most: usize,
    },
}

impl LeaseError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Journal(error) => error.hint(),
            Self::Mutex(error) => error.hint(),
            Self::Chance { .. } => None,
            Self::NoPolicy => Some("lease-lane policy check".into()),
            Self::RequestIdTaken { .. } => {
                Some("give each new request an id of its own: --request-id ID".into())
            }
            Self::TooManyProcesses { lease, .. } => {
                Some(format!("take it over without --bind: lease-lane adopt --lease {lease} --from OWNER"))
            }
        }
    }
}
