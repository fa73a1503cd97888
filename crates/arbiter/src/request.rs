//! What somebody asks for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::evidence::ProcessIdentity;
use crate::name::{LaneName, OwnerName};
use crate::policy::Policy;
use crate::region::Region;
use crate::seq::{LeaseId, Ticket};
use crate::text::Text;
use crate::time::{Span, Timestamp};
use crate::worktree::WorktreeName;

/// A run's name, as the caller made it: 1 to 256 bytes.
pub type RunId = Text<256>;
/// A caller's name for one request, by which its first verdict is found again: 1 to 256 bytes.
pub type RequestId = Text<256>;
/// A reason in somebody's words: 1 to 4 096 bytes.
pub type Note = Text<4096>;
/// Labels of the caller's making: names of 1 to 64 bytes, values of 1 to 1 024.
pub type Labels = BTreeMap<Text<64>, Text<1024>>;
/// How many labels a request may have.
pub const LABELS_MAX: usize = 64;
/// How many processes a lease may be bound to.
pub const PROCESSES_MAX: usize = 64;

/// A request for a lease, as it was asked. Every entry is granted together with the others or none is
/// (feature A5).
///
/// Reading one from JSON runs the same checks as [`Request::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Request {
    /// The lane, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneName>,
    /// Who asks.
    pub owner: OwnerName,
    /// What shall be written.
    #[serde(default, skip_serializing_if = "Region::is_empty")]
    pub tree: Region,
    /// What shall be read undisturbed.
    #[serde(default, skip_serializing_if = "Region::is_empty")]
    pub read: Region,
    /// How long the lease shall live after a beat.
    #[serde(rename = "ttl_s", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The processes the lease shall be bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessIdentity>,
    /// The live lease beneath which this one shall be: it and its ancestors are not in the way (feature A14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<LeaseId>,
    /// The worktree that its paths are in. Counts where the policy tells worktrees apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeName>,
    /// Whether rules that may be overridden shall be: protected paths. A live lease never is.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub force: bool,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
    /// Labels of the caller's making.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The caller's name for this request (feature C16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Set when the lease already lived in another tool's journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// Whether the one who asks waits while it is refused.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub waits: bool,
    /// The place in the line of one who has waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
}

/// The times of a lease that is brought over from another tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The tool it comes from.
    pub from: Text<64>,
    /// When it was granted there.
    pub acquired_at: Timestamp,
    /// When its holder was last heard of there.
    pub heartbeat_at: Timestamp,
}

/// Why a request is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing was asked for, and there is no ladder to pick from (feature A6).
    #[error(
        "the request names neither a lane nor a region, and the policy has no ladder to pick a lane from"
    )]
    NothingAsked,
    /// A lease must live for some time.
    #[error("the time to live is zero")]
    NoTtl,
    /// There are more labels than [`LABELS_MAX`].
    #[error("there are {0} labels; the limit is {LABELS_MAX}")]
    TooManyLabels(usize),
    /// There are more processes than [`PROCESSES_MAX`].
    #[error("there are {0} processes; the limit is {PROCESSES_MAX}")]
    TooManyProcesses(usize),
}

impl Request {
    /// A request of `owner` that asks for nothing yet.
    pub fn of(owner: OwnerName) -> Request {
        Request {
            lane: None,
            owner,
            tree: Region::default(),
            read: Region::default(),
            ttl: None,
            processes: Vec::new(),
            parent: None,
            worktree: None,
            force: false,
            run_id: None,
            why: None,
            labels: Labels::new(),
            request_id: None,
            imported: None,
            waits: false,
            ticket: None,
        }
    }

    /// Whether the request says itself what it wants to touch.
    pub fn has_region(&self) -> bool {
        !self.tree.is_empty() || !self.read.is_empty()
    }

    /// Checks what its types alone do not.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing is decided about such a request.
    pub fn check(self) -> Result<Request, RequestError> {
        if self.ttl == Some(Span::ZERO) {
            return Err(RequestError::NoTtl);
        }
        if self.labels.len() > LABELS_MAX {
            return Err(RequestError::TooManyLabels(self.labels.len()));
        }
        if self.processes.len() > PROCESSES_MAX {
            return Err(RequestError::TooManyProcesses(self.processes.len()));
        }
        Ok(self)
    }

    /// Whether a lane of the policy's ladder shall be picked (feature A9).
    pub fn is_bare(&self) -> bool {
        self.lane.is_none() && !self.has_region()
    }

    /// Checks that something is asked for: by the request itself, or by the ladder of the policy.
    ///
    /// # Errors
    ///
    /// [`RequestError::NothingAsked`].
    pub fn check_under(self, policy: &Policy) -> Result<Request, RequestError> {
        if self.is_bare() && policy.ladder.is_empty() {
            return Err(RequestError::NothingAsked);
        }
        Ok(self)
    }

    /// The lane that is asked for: the one named, else one named after the first entry of the region.
    pub fn lane_name(&self) -> LaneName {
        if let Some(lane) = &self.lane {
            return lane.clone();
        }
        let first = self.tree.entries().iter().chain(self.read.entries()).next();
        let name = first.map_or("", |entry| entry.as_str());
        LaneName::within_limit(name)
    }
}

// With `remote`, what is derived is functions and not yet the traits: so whatever is read as a request is checked.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Request::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Request, D::Error> {
        Request::deserialize(deserializer)?.check().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_checked_as_what_is_made() {
        assert!(serde_json::from_str::<Request>(r#"{"owner":"ann","lane":"api","ttl_s":60}"#).is_ok());
        let never = r#"{"owner":"ann","lane":"api","ttl_s":0}"#;
        assert!(serde_json::from_str::<Request>(never).is_err());
        // Also within something else, as in a record.
        assert!(serde_json::from_str::<Option<Request>>(never).is_err());
    }
}
