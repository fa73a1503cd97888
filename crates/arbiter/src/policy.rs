//! What a team decided beforehand: lanes by name, limits, and how long things last.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::lease::Lease;
use crate::name::{LaneName, NAME_BYTES_MAX};
use crate::region::{Case, Region, fold_case};
use crate::text::Text;
use crate::time::{Span, span_text};

/// The name of a class of lanes: 1 to 256 bytes, compared exactly.
pub type ClassName = Text<NAME_BYTES_MAX>;
/// The name of a pool, as behind `pool://`: compared with case folded.
pub type PoolName = Text<NAME_BYTES_MAX>;

/// The policy under which a decision is made; recorded whenever it changes (feature A7).
///
/// Unknown keys are errors: a rule that is silently not applied is worse than none. What is as it is by default is
/// not written, so that a policy of an earlier version keeps its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The lanes that have a region of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<LaneName, LanePolicy>,
    /// How paths are compared.
    #[serde(default, skip_serializing_if = "is_fold")]
    pub case: Case,
    /// How long a lease lives after a beat when the request does not say.
    #[serde(default, with = "span_text", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long a lease is left alone after its TTL.
    #[serde(default, with = "span_text", skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// How long a phase of a lease holds off a sweep at most, counted from its beginning.
    #[serde(default, with = "span_text", skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Span>,
    /// What becomes of a lease whose processes are on another host, where nobody here can look.
    #[serde(default, skip_serializing_if = "is_by_ttl")]
    pub foreign_host: ForeignHost,
    /// How long sealed segments are kept.
    #[serde(default, with = "span_text", skip_serializing_if = "Option::is_none")]
    pub history: Option<Span>,
    /// The lanes that are tried in this order for a request that names neither lane nor region (feature A9).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<LaneName>,
    /// How many lanes of a class may live at once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<ClassName, ClassPolicy>,
    /// How many may hold a pool at once (feature A4).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<PoolName, PoolPolicy>,
    /// What needs `--force` (feature A11).
    #[serde(default, skip_serializing_if = "Protect::is_empty")]
    pub protect: Protect,
    /// Whether the same relative path in two linked worktrees is one path or two.
    #[serde(default, skip_serializing_if = "is_default")]
    pub worktrees: Worktrees,
}

/// What becomes of a lease whose processes are on another host, where nobody here can look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignHost {
    /// It is held, however old it is, until it is given back or forced.
    Refuse,
    /// It ends with its time, as any lease whose processes cannot be told.
    #[default]
    Ttl,
    /// Its processes count as gone: for stores whose other hosts are former names of this one.
    Takeover,
}

/// What the policy says of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanePolicy {
    /// What it may write.
    #[serde(default)]
    pub tree: Region,
    /// What it may read undisturbed.
    #[serde(default, skip_serializing_if = "Region::is_empty")]
    pub read: Region,
    /// How long a lease of this lane lives after a beat.
    #[serde(default, with = "span_text", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Whether it runs alone (feature A8).
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// The class it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
}

/// What the policy says of one class of lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPolicy {
    /// How many of its lanes may live at once.
    pub max: u32,
}

/// What the policy says of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPolicy {
    /// How many leases may hold it at once.
    pub capacity: u32,
}

/// What may be written only by a request that insists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    /// The paths and resources.
    #[serde(default)]
    pub paths: Region,
}

/// Whether the same relative path in two linked worktrees is one path or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Worktrees {
    /// One path.
    #[default]
    Shared,
    /// Two paths, and one lane's name is two lanes. All else is shared: named resources, pools, classes, living alone.
    Separate,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
fn is_fold(case: &Case) -> bool {
    matches!(case, Case::Fold)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
fn is_by_ttl(foreign_host: &ForeignHost) -> bool {
    matches!(foreign_host, ForeignHost::Ttl)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Protect {
    fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

impl LanePolicy {
    /// What the lane writes: a lane that runs alone and says nothing writes everything.
    pub fn written(&self) -> Region {
        if self.exclusive && self.tree.is_empty() && self.read.is_empty() {
            return Region::every_path();
        }
        self.tree.clone()
    }
}

impl Policy {
    /// TTL of a lease when neither request nor policy says: 50 minutes.
    pub const TTL_DEFAULT: Span = Span::from_s(3000);
    /// The longest grace when the policy does not say: 5 minutes.
    pub const GRACE_MAX_DEFAULT: Span = Span::from_s(300);
    /// The ceiling of a phase when the policy does not say: one day. No work of winding up takes that long, and no
    /// stuck one shall block for longer than until tomorrow.
    pub const CEILING_DEFAULT: Span = Span::from_s(24 * 3600);
    /// How long history is kept when the policy does not say: 30 days.
    pub const HISTORY_DEFAULT: Span = Span::from_s(30 * 24 * 3600);
    /// How many may hold a pool that the policy does not know: a misspelled name gives less, never more.
    pub const CAPACITY_DEFAULT: u32 = 1;

    /// What the policy says of `lane`, under any spelling.
    pub fn lane(&self, lane: &LaneName) -> Option<&LanePolicy> {
        self.lanes
            .get(lane)
            .or_else(|| self.lanes.iter().find(|(name, _)| name.same_as(lane)).map(|(_, said)| said))
    }

    /// The TTL of a lease in `lane` for which the request names none.
    pub fn ttl_of(&self, lane: &LaneName) -> Span {
        self.lane(lane).and_then(|said| said.ttl).or(self.ttl).unwrap_or(Self::TTL_DEFAULT)
    }

    /// How long `lease` is left alone after its TTL: what the policy says, else a tenth of the TTL and no
    /// more than [`Policy::GRACE_MAX_DEFAULT`].
    pub fn grace_of(&self, lease: &Lease) -> Span {
        self.grace.unwrap_or_else(|| Span::from_ms(lease.ttl.as_ms() / 10).min(Self::GRACE_MAX_DEFAULT))
    }

    /// How many may hold the pool with this folded name at once.
    pub fn capacity_of(&self, pool: &str) -> u32 {
        let said = self.pools.iter().find(|(name, _)| pool_key(name) == pool);
        said.map_or(Self::CAPACITY_DEFAULT, |(_, said)| said.capacity)
    }

    /// Two lanes that are spellings of one name, if there are such.
    pub fn doubled_lane(&self) -> Option<(&LaneName, &LaneName)> {
        let mut seen = BTreeMap::new();
        self.lanes.keys().find_map(|name| seen.insert(name.key(), name).map(|first| (first, name)))
    }

    /// Two pools that are spellings of one name, if there are such.
    pub fn doubled_pool(&self) -> Option<(&PoolName, &PoolName)> {
        let mut seen = BTreeMap::new();
        self.pools.keys().find_map(|name| seen.insert(pool_key(name), name).map(|first| (first, name)))
    }
}

/// What all spellings of a pool's name have in common.
fn pool_key(name: &PoolName) -> alloc::string::String {
    fold_case(&name.as_str().nfc().collect::<alloc::string::String>())
}
