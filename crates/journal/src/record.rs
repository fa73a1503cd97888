//! What records say.
//!
//! One struct an operation; its JSON object is what stands between `op` and `nonce` on the line. Read each as
//! "this happened", never as "please do this". Unknown fields are ignored here and stay on the line; those
//! of an ACQUIRE also stay with the lease. An unknown operation of a newer minor version is kept and ignored.

use std::borrow::Cow;

use arbiter::evidence::{ClockReading, Evidence, Observation, ProcessIdentity, TicketObservation};
use arbiter::lease::{Lease, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::phase::PhaseName;
use arbiter::policy::Policy;
use arbiter::queue::{Fallen, Waiter, Wake};
use arbiter::reap::{Look, Tier};
use arbiter::request::{Note, Request, RequestId, RunId};
use arbiter::seq::{Fence, LeaseId, Seq, Ticket};
use arbiter::text::shown;
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Grant, Refusal, Verdict, VerdictRef};
use arbiter::worktree::WorktreeName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::line::Frame;

/// Format of the journals this program writes: `major.minor`.
///
/// A newer minor may add fields and operations, which are kept and ignored here. A newer major is read as far
/// as it can be and never written to. 1.0 (November 2026): the first. 1.1: ATTACH, PHASE, DEFER, WAIT and CANCEL; forced
/// ends, phases, parents, worktrees and the line in the state.
pub const FORMAT: &str = "1.1";

/// One operation with what it says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The live set as of here; closes a segment and opens the next.
    Checkpoint(Box<Checkpoint>),
    /// A lease was granted.
    Acquire(Box<Acquire>),
    /// A request was refused.
    Refuse(Box<Refuse>),
    /// A request was refused and waits.
    Wait(Box<Wait>),
    /// A wait ended without a grant.
    Cancel(Box<Cancel>),
    /// A lease was given back.
    Release(Release),
    /// A holder was heard of.
    Heartbeat(Heartbeat),
    /// A lease went to another holder.
    Adopt(Box<Adopt>),
    /// A lease was bound to more processes.
    Attach(Box<Attach>),
    /// Somebody decided that a run shall stop.
    Halt(Box<Halt>),
    /// Somebody said that a run is coming.
    Spawn(Box<Spawn>),
    /// A lease was ended by somebody else: it no longer stood, or an operator insisted.
    Scavenge(Box<Scavenge>),
    /// A holder said what it is at the end of, or that it no longer is.
    Phase(Box<PhaseChange>),
    /// A sweep found a lease past its time and waits for its holder.
    Defer(Box<Defer>),
    /// The policy changed.
    Policy(Box<PolicyChange>),
    /// An operator accepted a loss.
    Repair(Box<Repair>),
    /// An operation of a newer version.
    Unknown(String),
}

impl Op {
    /// The names of all operations that are known here, as records have them.
    pub const NAMES: &[&str] = &[
        "CHECKPOINT",
        "ACQUIRE",
        "REFUSE",
        "WAIT",
        "CANCEL",
        "RELEASE",
        "HEARTBEAT",
        "ADOPT",
        "ATTACH",
        "HALT",
        "SPAWN",
        "SCAVENGE",
        "PHASE",
        "DEFER",
        "POLICY",
        "REPAIR",
    ];
}

/// CHECKPOINT: everything that the records before it amount to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The format version of what follows.
    pub format: String,
    /// Whether it closes the segment in which it stands last.
    pub seal: bool,
    /// Set when it was made by a repair: the last record that could be read before the damage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired_after: Option<u64>,
    /// The live leases, in order of first acquisition.
    pub leases: Vec<KeptLease>,
    /// Those who wait, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiters: Vec<Waiter>,
    /// The policy of the day.
    #[serde(default)]
    pub policy: Policy,
    /// What has happened so far.
    pub counters: Counters,
    /// Verdicts that may be asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<Answer>,
    /// Leases that ended lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
}

/// A lease with whatever a newer version said about it beside what is known here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeptLease {
    /// What is known.
    #[serde(flatten)]
    pub lease: Lease,
    /// What is not.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl KeptLease {
    /// The names of what is known of a lease: nothing else may stand beside it under such a name.
    const KNOWN: [&str; 20] = [
        "lease",
        "fence",
        "lane",
        "owner",
        "tree",
        "read",
        "acquired_at",
        "heartbeat_at",
        "clock",
        "ttl_s",
        "processes",
        "parent",
        "exclusive",
        "worktree",
        "halted",
        "phase",
        "run_id",
        "why",
        "labels",
        "request_id",
    ];

    /// Bytes that the unknown fields of a lease may have together.
    const EXTRA_BYTES_MAX: usize = 64 << 10;
    /// How deep a kept value may nest. The parser gives up at 128, and a lease stands deeper in a checkpoint than in
    /// its ACQUIRE.
    const DEPTH_MAX: usize = 100;

    /// What is kept with a lease of the unknown fields of its ACQUIRE: all but those that have the name of what is
    /// known of a lease, and those that nest too deep. A checkpoint that said them could not be read again.
    pub(crate) fn extra_of(unknown: &Map<String, Value>) -> Map<String, Value> {
        fn is_within(value: &Value, depth: usize) -> bool {
            match value {
                Value::Array(values) => depth > 0 && values.iter().all(|value| is_within(value, depth - 1)),
                Value::Object(values) => {
                    depth > 0 && values.values().all(|value| is_within(value, depth - 1))
                }
                _ => true,
            }
        }
        let kept = unknown.iter().filter(|(name, value)| {
            !Self::KNOWN.contains(&name.as_str()) && is_within(value, Self::DEPTH_MAX)
        });
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// By hand, because the derived way of keeping unknown fields reads everything twice, and there may be 100 000 of these in
/// a checkpoint: the fields go on to [`Lease`] as they come, and those that it does not know are kept.
impl<'de> Deserialize<'de> for KeptLease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeptLease, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = KeptLease;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a lease")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeptLease, A::Error> {
                let mut extra = Map::new();
                let known = Known { map, extra: &mut extra };
                let lease = Lease::deserialize(MapAccessDeserializer::new(known))?;
                Ok(KeptLease { lease, extra })
            }
        }

        /// The fields that are known of a lease; the others are put aside as they come.
        struct Known<'e, A> {
            map: A,
            extra: &'e mut Map<String, Value>,
        }
        impl<'de, A: MapAccess<'de>> MapAccess<'de> for Known<'_, A> {
            type Error = A::Error;

            fn next_key_seed<K: DeserializeSeed<'de>>(
                &mut self,
                seed: K,
            ) -> Result<Option<K::Value>, A::Error> {
                while let Some(FieldName(name)) = self.map.next_key()? {
                    if KeptLease::KNOWN.contains(&&*name) {
                        return seed.deserialize(name.into_deserializer()).map(Some);
                    }
                    let value = self.map.next_value()?;
                    self.extra.insert(name.into_owned(), value);
                }
                Ok(None)
            }

            fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
                self.map.next_value_seed(seed)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The name of a field, not copied where it stands as it is meant.
struct FieldName<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for FieldName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldName<'de>, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = FieldName<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<FieldName<'de>, E> {
                Ok(FieldName(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<FieldName<'de>, E> {
                Ok(FieldName(Cow::Owned(name.into())))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// How often what happened, over the life of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Leases granted.
    pub grants: u64,
    /// Requests refused.
    pub refusals: u64,
    /// Leases given back.
    pub releases: u64,
    /// Beats.
    pub heartbeats: u64,
    /// Leases taken over.
    pub adopts: u64,
    /// Leases ended because they had expired.
    pub expired: u64,
    /// Leases ended because all their processes were gone.
    pub dead: u64,
    /// Stop decisions.
    pub halts: u64,
    /// Runs announced.
    pub spawns: u64,
    /// Grants to requests with `--force`.
    pub forced: u64,
    /// Losses accepted.
    pub repairs: u64,
    /// Leases that an operator ended although they may have stood. Absent while there was none, as in the first journals.
    #[serde(skip_serializing_if = "is_zero")]
    pub forces: u64,
    /// Phases that a sweep had to wait for. This and what follows is absent while it is zero, as in the first journals.
    #[serde(skip_serializing_if = "is_zero")]
    pub deferrals: u64,
    /// Leases ended by sweeps, by tier; each is counted as expired or dead as well.
    #[serde(skip_serializing_if = "Reclaims::is_none")]
    pub reclaims: Reclaims,
    /// Records of late writers in the segments that were sealed; a few that came just before or behind a seal may be
    /// missing here.
    #[serde(skip_serializing_if = "is_zero")]
    pub void: u64,
    /// Writes that were never finished, in the same way.
    #[serde(skip_serializing_if = "is_zero")]
    pub torn: u64,
}

/// Leases ended by sweeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reclaims {
    /// All their processes were gone, seen twice.
    pub dead: u64,
    /// Their time was over and nobody was seen alive or winding up.
    pub exited: u64,
    /// They were in a phase for too long.
    pub ceiling: u64,
}

impl Reclaims {
    fn is_none(&self) -> bool {
        *self == Reclaims::default()
    }
}

impl Counters {
    /// Leases ended by one who needed their place.
    pub fn takeovers(&self) -> u64 {
        let Reclaims { dead, exited, ceiling } = self.reclaims;
        (self.dead + self.expired).saturating_sub(dead + exited + ceiling)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A verdict that a caller may ask for again by the name it gave its request (feature C16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The caller's name for the request.
    pub request_id: RequestId,
    /// The record with the verdict.
    pub at: Seq,
    /// Checksum of what was asked, to tell a repeated request from another one under the same name.
    pub asked: u32,
    /// What was answered.
    pub verdict: Verdict,
}

/// A lease that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its last holder.
    pub fence: Fence,
    /// Its lane.
    pub lane: LaneName,
    /// Its last holder.
    pub owner: OwnerName,
    /// Its worktree, where it was granted for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeName>,
    /// How it stood when somebody else ended it; none when it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted: Option<Standing>,
    /// Who ended it, where that was somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OwnerName>,
    /// Why an operator ended it although it may have stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Note>,
    /// The record that ended it.
    pub at: Seq,
}

/// ACQUIRE: the full request and evidence, so that it can be decided again, and the verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acquire {
    /// The lane, for those who search.
    pub lane: LaneName,
    /// The owner, for those who search.
    pub owner: OwnerName,
    /// What was asked.
    pub request: Request,
    /// What was seen.
    pub evidence: Evidence,
    /// What was given.
    #[serde(serialize_with = "grant_as_verdict")]
    pub verdict: Grant,
    /// Fields of a newer version, kept with the lease.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// REFUSE: the full request and evidence, so that it can be decided again, and the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refuse {
    /// The lane, for those who search.
    pub lane: LaneName,
    /// The owner, for those who search.
    pub owner: OwnerName,
    /// What was asked.
    pub request: Request,
    /// What was seen.
    pub evidence: Evidence,
    /// What stood in the way.
    #[serde(serialize_with = "refusal_as_verdict")]
    pub verdict: Refusal,
}

/// WAIT: a refusal, and the place in the line of one who does not take it for an answer. The position of this record is
/// the ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The lane, for those who search.
    pub lane: LaneName,
    /// The owner, for those who search.
    pub owner: OwnerName,
    /// What was asked.
    pub request: Request,
    /// What was seen.
    pub evidence: Evidence,
    /// What stood in the way.
    #[serde(serialize_with = "refusal_as_verdict")]
    pub verdict: Refusal,
    /// How long it wants to wait from now on; none for ever.
    #[serde(default, rename = "budget_s", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// The process that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessIdentity>,
    /// What the file of the ticket is called after, which its holder closes when the ticket ends.
    pub wake: Wake,
}

/// CANCEL: a wait that ended without a grant. What ends in a grant ends with its ACQUIRE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who waited.
    pub owner: OwnerName,
    /// The ticket.
    pub ticket: Ticket,
    /// Why it ended.
    pub why: WhyCancelled,
    /// Who ended it.
    pub by: OwnerName,
    /// The boot-time clock of the one who ended it.
    pub clock: ClockReading,
    /// What was seen of the process that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<TicketObservation>,
}

/// Why a wait ended without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhyCancelled {
    /// Somebody no longer wants it.
    Cancelled,
    /// The time to wait ran out.
    Timeout,
    /// It met a refusal that no time turns into a grant.
    Refused,
    /// Its process is provably gone.
    Dead,
    /// Its time ran out and it did not say so itself.
    Expired,
    /// It could have had what it waited for and did not take it.
    Stalled,
}

impl WhyCancelled {
    /// What others found wrong with the ticket; none when its own side ended it.
    pub fn fallen(self) -> Option<Fallen> {
        match self {
            WhyCancelled::Cancelled | WhyCancelled::Timeout | WhyCancelled::Refused => None,
            WhyCancelled::Dead => Some(Fallen::Dead),
            WhyCancelled::Expired => Some(Fallen::Expired),
            WhyCancelled::Stalled => Some(Fallen::Stalled),
        }
    }
}

impl From<Fallen> for WhyCancelled {
    fn from(fallen: Fallen) -> WhyCancelled {
        match fallen {
            Fallen::Dead => WhyCancelled::Dead,
            Fallen::Expired => WhyCancelled::Expired,
            Fallen::Stalled => WhyCancelled::Stalled,
        }
    }
}

/// By hand, because the derived way of keeping unknown fields reads everything twice.
impl<'de> Deserialize<'de> for Acquire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Acquire, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Acquire;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an ACQUIRE record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Acquire, A::Error> {
                fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
                    field: &mut Option<T>,
                    name: &'static str,
                    map: &mut A,
                ) -> Result<(), A::Error> {
                    if field.is_some() {
                        return Err(A::Error::duplicate_field(name));
                    }
                    *field = Some(map.next_value()?);
                    Ok(())
                }
                let (mut lane, mut owner, mut request, mut evidence, mut verdict) =
                    (None, None, None, None, None);
                let mut extra = Map::new();
                let mut extra_bytes = 0;
                while let Some(FieldName(key)) = map.next_key()? {
                    match &*key {
                        "lane" => once(&mut lane, "lane", &mut map)?,
                        "owner" => once(&mut owner, "owner", &mut map)?,
                        "request" => once(&mut request, "request", &mut map)?,
                        "evidence" => once(&mut evidence, "evidence", &mut map)?,
                        "verdict" => once(&mut verdict, "verdict", &mut map)?,
                        "seq" | "ts" | "op" | "nonce" | "prev" | "crc" => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        _ => {
                            // Read only where it is kept: as values it takes many times the memory of its text.
                            let raw: &'de RawValue = map.next_value()?;
                            extra_bytes += key.len() + raw.get().len();
                            if extra_bytes <= KeptLease::EXTRA_BYTES_MAX
                                && let Ok(value) = serde_json::from_str(raw.get())
                            {
                                extra.insert(key.into_owned(), value);
                            }
                        }
                    }
                }
                Ok(Acquire {
                    lane: lane.ok_or_else(|| A::Error::missing_field("lane"))?,
                    owner: owner.ok_or_else(|| A::Error::missing_field("owner"))?,
                    request: request.ok_or_else(|| A::Error::missing_field("request"))?,
                    evidence: evidence.ok_or_else(|| A::Error::missing_field("evidence"))?,
                    verdict: verdict.ok_or_else(|| A::Error::missing_field("verdict"))?,
                    extra,
                })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn grant_as_verdict<S: Serializer>(grant: &Grant, serializer: S) -> Result<S::Ok, S::Error> {
    VerdictRef::Grant(grant).serialize(serializer)
}

fn refusal_as_verdict<S: Serializer>(refusal: &Refusal, serializer: S) -> Result<S::Ok, S::Error> {
    VerdictRef::Refuse(refusal).serialize(serializer)
}

/// RELEASE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who gave it back.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why, where it was not the holder's wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
    /// Whether the grant could not be made durable and so was never reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// HEARTBEAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who beat.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The boot-time clock at the beat.
    pub clock: ClockReading,
}

/// ADOPT: id, region and TTL stay, the fence becomes the position of this record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it from now on.
    pub owner: OwnerName,
    /// Who held it until now.
    pub from: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of the earlier holder.
    pub fence: Fence,
    /// The boot-time clock of the new holder.
    pub clock: ClockReading,
    /// Processes that are attached beside those that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessIdentity>,
}

/// ATTACH: the holder has more processes. It was heard of, so this is a beat as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The boot-time clock of the holder.
    pub clock: ClockReading,
    /// Processes that are attached beside those that are there.
    pub processes: Vec<ProcessIdentity>,
}

/// HALT: a decision that is on record and signals nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// What shall stop, as the one who decided calls it.
    pub handle: Note,
    /// Who decided.
    pub owner: OwnerName,
    /// The lane it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneName>,
    /// The lease it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// The command with which it shall be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Note>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
}

/// SPAWN: grants nothing, blocks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// The lane in which a run is coming.
    pub lane: LaneName,
    /// Who says so.
    pub owner: OwnerName,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Note>,
}

/// SCAVENGE: an eviction with its evidence, or the end that an operator forced, with what was seen of the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scavenge {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who held it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why it no longer stood; that it was held, only where it was forced.
    pub why: Standing,
    /// Who needed its place, or insisted.
    pub by: OwnerName,
    /// Why an operator insisted on its end although it may have stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Note>,
    /// The boot-time clock of the one who looked.
    pub clock: ClockReading,
    /// What was seen of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observation>,
    /// By which rule a sweep ended it; absent where somebody needed its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The look before the last one, where there were two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Look>,
}

/// PHASE: a holder said what it is at the end of. No beat: that is a record of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who said so.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// The phase; none when it is over.
    pub phase: Option<PhaseName>,
    /// How long it shall take.
    #[serde(default, rename = "budget_s", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// The boot-time clock of the holder. The phase counts from here if the lease was in no such phase before.
    pub clock: ClockReading,
}

/// DEFER: a sweep waits for a phase. Written once a phase, so that a sweep that looks every second fills no disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defer {
    /// Its lane, for those who search.
    pub lane: LaneName,
    /// Who holds it.
    pub owner: OwnerName,
    /// The lease.
    pub lease: LeaseId,
    /// The fence of its holder.
    pub fence: Fence,
    /// Why it is put off, in words.
    pub why: Note,
    /// Until when it is put off at most, by the wall clock.
    pub until: Timestamp,
    /// Who swept.
    pub by: OwnerName,
    /// The boot-time clock of the one who looked.
    pub clock: ClockReading,
    /// What was seen of its processes.
    pub observed: Observation,
}

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

/// A record that could not be read although its checksum holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its checksum holds, but it is not what a {op} record says: {why}")]
pub struct BodyError {
    op: String,
    why: String,
}

/// Writes `op` as its name and its JSON object.
pub fn encode(op: &Op) -> (&str, String) {
    fn json(body: &impl Serialize) -> String {
        serde_json::to_string(body).expect("records are made of text, numbers and lists, which all have JSON")
    }
    match op {
        Op::Checkpoint(body) => ("CHECKPOINT", json(body)),
        Op::Acquire(body) => ("ACQUIRE", json(body)),
        Op::Refuse(body) => ("REFUSE", json(body)),
        Op::Wait(body) => ("WAIT", json(body)),
        Op::Cancel(body) => ("CANCEL", json(body)),
        Op::Release(body) => ("RELEASE", json(body)),
        Op::Heartbeat(body) => ("HEARTBEAT", json(body)),
        Op::Adopt(body) => ("ADOPT", json(body)),
        Op::Attach(body) => ("ATTACH", json(body)),
        Op::Halt(body) => ("HALT", json(body)),
        Op::Spawn(body) => ("SPAWN", json(body)),
        Op::Scavenge(body) => ("SCAVENGE", json(body)),
        Op::Phase(body) => ("PHASE", json(body)),
        Op::Defer(body) => ("DEFER", json(body)),
        Op::Policy(body) => ("POLICY", json(body)),
        Op::Repair(body) => ("REPAIR", json(body)),
        Op::Unknown(name) => (name, "{}".into()),
    }
}

/// Reads the operation of a record from its line.
///
/// # Errors
///
/// [`BodyError`] when the body is not JSON or not what such a record says; the fields of a known operation may
/// not be repeated.
pub fn decode(frame: &Frame<'_>, text: &[u8]) -> Result<Op, BodyError> {
    // Each kind apart: together they are 70 KB of text and 8 KB of stack, and a call reads two or three kinds.
    #[inline(never)]
    fn body<'a, T: Deserialize<'a>>(frame: &Frame<'_>, text: &'a [u8]) -> Result<T, BodyError> {
        serde_json::from_slice(text)
            // The parser repeats what it found, and that may be anything.
            .map_err(|error| BodyError {
                op: frame.op.into(),
                why: shown(&error.to_string(), 300).to_string(),
            })
    }
    #[inline(never)]
    fn boxed<'a, T: Deserialize<'a>>(frame: &Frame<'_>, text: &'a [u8]) -> Result<Box<T>, BodyError> {
        body(frame, text).map(Box::new)
    }
    Ok(match frame.op {
        "CHECKPOINT" => Op::Checkpoint(boxed(frame, text)?),
        "ACQUIRE" => Op::Acquire(boxed(frame, text)?),
        "REFUSE" => Op::Refuse(boxed(frame, text)?),
        "WAIT" => Op::Wait(boxed(frame, text)?),
        "CANCEL" => Op::Cancel(boxed(frame, text)?),
        "RELEASE" => Op::Release(body(frame, text)?),
        "HEARTBEAT" => Op::Heartbeat(body(frame, text)?),
        "ADOPT" => Op::Adopt(boxed(frame, text)?),
        "ATTACH" => Op::Attach(boxed(frame, text)?),
        "HALT" => Op::Halt(boxed(frame, text)?),
        "SPAWN" => Op::Spawn(boxed(frame, text)?),
        "SCAVENGE" => Op::Scavenge(boxed(frame, text)?),
        "PHASE" => Op::Phase(boxed(frame, text)?),
        "DEFER" => Op::Defer(boxed(frame, text)?),
        "POLICY" => Op::Policy(boxed(frame, text)?),
        "REPAIR" => Op::Repair(boxed(frame, text)?),
        name => {
            body::<serde::de::IgnoredAny>(frame, text)?;
            Op::Unknown(name.into())
        }
    })
}

/// When a record was written, with what it says: what readers of the history get.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its position.
    pub seq: Seq,
    /// When it was written.
    pub ts: Timestamp,
    /// The write it belongs to.
    pub nonce: u64,
    /// What it says.
    pub op: Op,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read as the derived code would: with every field as a value first.
    #[derive(Debug, Deserialize)]
    struct Derived {
        #[serde(flatten)]
        lease: Lease,
        #[serde(flatten)]
        extra: Map<String, Value>,
    }

    #[test]
    fn a_kept_lease_is_read_as_the_derived_code_reads_it() {
        let plain = r#""lease":2,"fence":3,"lane":"api","owner":"ann","tree":["src/**"],"acquired_at":"2026-11-21T07:00:00.000Z","heartbeat_at":"2026-11-21T07:00:00.000Z","ttl_s":90.5"#;
        for more in [
            "",
            ",\"read\":[\"docs\"],\"labels\":{\"a\":\"b\"}",
            ",\"phase\":{\"name\":\"finalizing\"}",
            ",\"x\":1e3,\"y\":{\"z\":[1.10,-0.0,18446744073709551615]}",
            ",\"x\":1,\"x\":2",
            ",\"lane\":\"web\"",
            ",\"\\u0072ead\":[\"a\"]",
            ",\"\\u0078\":1",
            ",\"exclusive\":1",
            ",\"extra\":{}",
            ",\"clock\":null",
            ",\"why\":null",
            ",\"seq\":1,\"crc\":\"x\"",
            ",\"\":0",
            ",\"parent\":0",
            ",\"processes\":[{}]",
        ] {
            for json in
                [format!("{{{plain}{more}}}"), format!("{{{}{more}}}", plain.replace("\"fence\":3,", ""))]
            {
                let ours = serde_json::from_str::<KeptLease>(&json).ok();
                let derived = serde_json::from_str::<Derived>(&json).ok();
                let derived = derived.map(|Derived { lease, extra }| KeptLease { lease, extra });
                assert_eq!(ours, derived, "{json}");
            }
        }
        for json in ["[]", "null", "7", "\"x\"", "{}", "[2,3]"] {
            assert!(serde_json::from_str::<KeptLease>(json).is_err(), "{json}");
        }
    }
}
