//! What a CHECKPOINT says: the state that the records before it amount to.

use arbiter::lease::{Lease, Standing};
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::queue::Waiter;
use arbiter::request::{Note, RequestId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::verdict::Verdict;
use arbiter::worktree::WorktreeName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::field::FieldName;

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
    pub(super) const EXTRA_BYTES_MAX: usize = 64 << 10;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Read as the derived code would: with every field as a value first.
    #[derive(Debug, Deserialize)]
    struct Derived {
        #[serde(flatten)]
        lease: Lease,
        #[serde(flatten)]
        extra: Map<String, Value>,
    }

    /// A field that is missing in the list would be kept as one of a newer version, and its lease would lose it.
    #[test]
    fn every_field_of_a_lease_is_known() {
        let clock = r#"{"boot":"b","up_ms":1}"#;
        let at = "2026-11-21T07:00:00.000Z";
        let json = format!(
            r#"{{"lease":2,"fence":3,"lane":"api","owner":"ann","tree":["a"],"read":["b"],"acquired_at":"{at}",
            "heartbeat_at":"{at}","clock":{clock},"ttl_s":90,"processes":[{{"pid":1,"start":1,"boot":"b","pidns":1,
            "host":"h"}}],"parent":1,"exclusive":true,"worktree":"w","halted":{{"handle":"h","at":"{at}"}},
            "phase":{{"name":"finalizing","since":"{at}"}},"run_id":"r","why":"w","labels":{{"a":"b"}},"request_id":"q"}}"#
        );
        let lease: Lease = serde_json::from_str(&json).expect("a lease");
        let Ok(Value::Object(written)) = serde_json::to_value(&lease) else { panic!("no object") };
        let known: BTreeSet<&str> = KeptLease::KNOWN.into();
        assert_eq!(written.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
        // Whoever adds a field has to name it above.
        let Lease {
            lease: _,
            fence: _,
            lane: _,
            owner: _,
            tree: _,
            read: _,
            acquired_at: _,
            heartbeat_at: _,
            clock: _,
            ttl: _,
            processes: _,
            parent: _,
            exclusive: _,
            worktree: _,
            halted: _,
            phase: _,
            run_id: _,
            why: _,
            labels: _,
            request_id: _,
        } = lease;
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
