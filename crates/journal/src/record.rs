//! What records say.
//!
//! One struct an operation; its JSON object is what stands between `op` and `nonce` on the line. Read each as
//! "this happened", never as "please do this". Unknown fields are ignored here and stay on the line; those
//! of an ACQUIRE also stay with the lease. An unknown operation of a newer minor version is kept and ignored.

mod asked;
mod checkpoint;
mod field;
mod lease;
mod operator;

use arbiter::seq::Seq;
use arbiter::text::shown;
use arbiter::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::line::Frame;

pub use asked::{Acquire, Cancel, Refuse, Wait, WhyCancelled};
pub use checkpoint::{Answer, Checkpoint, Counters, Ended, KeptLease, Reclaims};
pub use lease::{Adopt, Attach, Defer, Halt, Heartbeat, PhaseChange, Release, Scavenge, Spawn};
pub use operator::{PolicyChange, Repair};

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
