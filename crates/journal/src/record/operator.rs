//! What holds for everybody: POLICY and REPAIR.

use arbiter::name::OwnerName;
use arbiter::policy::Policy;
use arbiter::seq::LeaseId;
use serde::{Deserialize, Serialize};

/// POLICY: in force from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// The policy.
    pub policy: Policy,
}

/// REPAIR: what was lost, and what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Who accepted the loss.
    pub owner: OwnerName,
    /// The damaged file.
    pub file: String,
    /// The byte at which the damage begins.
    pub offset: u64,
    /// What was wrong.
    pub what: String,
    /// Where the damaged file was moved.
    pub moved_to: String,
    /// The last record before the damage.
    pub last_good: u64,
    /// The highest record number that may have been given out.
    pub highest: u64,
    /// The leases that stand in for what may have been lost.
    pub holds: Vec<LeaseId>,
}
