//! What those say who ask for a lease, and what they were told: ACQUIRE, REFUSE, WAIT, CANCEL.

use arbiter::evidence::{ClockReading, Evidence, ProcessIdentity, TicketObservation};
use arbiter::name::{LaneName, OwnerName};
use arbiter::queue::{Fallen, Wake};
use arbiter::request::Request;
use arbiter::seq::Ticket;
use arbiter::time::Span;
use arbiter::verdict::{Grant, Refusal, VerdictRef};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::checkpoint::KeptLease;
use super::field::FieldName;

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
