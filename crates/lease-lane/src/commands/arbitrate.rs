//! `arbitrate`: the pure decision, one question a line.

use std::io::{BufRead, ErrorKind, Write};

use arbiter::decide::{Question, arbitrate};
use arbiter::evidence::{ClockReading, Evidence, Liveness, Observation};
use arbiter::lease::{Lease, LiveSet};
use arbiter::name::{LaneName, OwnerName};
use arbiter::policy::Policy;
use arbiter::region::Region;
use arbiter::request::{Labels, Note, Request, RunId};
use arbiter::seq::{Fence, LeaseId};
use arbiter::text::{escaped_json, nearest, shown};
use arbiter::time::{Span, Timestamp};
use arbiter::worktree::WorktreeName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::reply::Failure;

/// Bytes that one question may have.
const QUESTION_BYTES_MAX: u64 = 64 << 20;

/// The keys of a request.
const REQUEST_KEYS: [&str; 16] = [
    "lane",
    "owner",
    "tree",
    "read",
    "worktree",
    "ttl_s",
    "processes",
    "parent",
    "force",
    "run_id",
    "why",
    "labels",
    "request_id",
    "imported",
    "waits",
    "ticket",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A misspelled wish is not passed over in silence.
    #[serde(deserialize_with = "known_keys_only")]
    request: Request,
    #[serde(default)]
    live: Vec<Live>,
    #[serde(default)]
    policy: Option<Policy>,
    now: Timestamp,
}

/// A lease as `live` prints it, with what a caller may well leave out.
#[derive(Deserialize)]
struct Live {
    lease: LeaseId,
    fence: Option<Fence>,
    lane: LaneName,
    owner: OwnerName,
    #[serde(default)]
    tree: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
    acquired_at: Option<Timestamp>,
    heartbeat_at: Option<Timestamp>,
    #[serde(rename = "ttl_s")]
    ttl: Option<Span>,
    alive: Option<Liveness>,
    processes: Option<Vec<arbiter::evidence::ProcessIdentity>>,
    run_id: Option<RunId>,
    why: Option<Note>,
    #[serde(default)]
    labels: Labels,
    parent: Option<LeaseId>,
    #[serde(default)]
    exclusive: bool,
    worktree: Option<WorktreeName>,
}

pub(super) fn run(out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut stdin = std::io::stdin().lock();
    let mut exit = Exit::Yes;
    for number in 1u64.. {
        let mut line = Vec::new();
        let read = std::io::Read::take(&mut stdin, QUESTION_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| {
            Failure::because(&error, "usage", format!("could not read stdin: {error}"), None)
        })?;
        if line.is_empty() {
            break;
        }
        let is_cut = line.len() as u64 == QUESTION_BYTES_MAX && !line.ends_with(b"\n");
        if is_cut {
            stdin
                .skip_until(b'\n')
                .map_err(|error| Failure::usage(format!("could not read stdin: {error}"), None))?;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = match question_of(&line) {
            _ if is_cut => {
                exit = Exit::Usage;
                let what = format!("line {number} has more than {QUESTION_BYTES_MAX} bytes");
                Failure::usage(what, Some("ask about fewer leases at once".into())).json()
            }
            Ok(asked) => serde_json::to_string(&decide(asked)).unwrap_or_default(),
            Err(error) => {
                exit = Exit::Usage;
                let hint = "one object a line: {\"request\":…,\"live\":[…],\"policy\":{…},\"now\":\"…\"}";
                Failure::usage(format!("line {number} is not a question: {error}"), Some(hint.into())).json()
            }
        };
        match writeln!(out, "{}", escaped_json(answer)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| Failure::output(&error))?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::output(&error)),
        _ => Ok(exit),
    }
}

/// A request of nothing but keys that a request has. Those of records may have more: they are of other versions too.
fn known_keys_only<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Request, D::Error> {
    let keys = Map::deserialize(deserializer)?;
    if let Some(key) = keys.keys().find(|key| !REQUEST_KEYS.contains(&key.as_str())) {
        let meant = nearest(key, REQUEST_KEYS);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        return Err(D::Error::custom(format!("a request has no key `{}`{meant}", shown(key, 100))));
    }
    serde_json::from_value(Value::Object(keys)).map_err(D::Error::custom)
}

fn question_of(line: &[u8]) -> Result<Asked, String> {
    let asked: Asked = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let nothing = Policy::default();
    let policy = asked.policy.as_ref().unwrap_or(&nothing);
    lease::policy_file::check(policy).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("the policy is not usable: {}", problems.join("; "))
    })?;
    let request = asked.request.check_under(policy).map_err(|error| error.to_string())?;
    Ok(Asked { request, ..asked })
}

fn decide(asked: Asked) -> arbiter::verdict::Verdict {
    let Asked { request, live: listed, policy, now } = asked;
    let policy = policy.unwrap_or_default();
    // No process is looked at here and no clock read: what the question says is the evidence.
    let mut evidence = Evidence::at(ClockReading { boot: String::new(), up_ms: 0 });
    let mut live = LiveSet::default();
    for one in listed {
        let alive = one.alive.unwrap_or_default();
        let lease = lease_of(one, &policy, now);
        evidence.observed.push(Observation { lease: lease.lease, alive, processes: Vec::new() });
        if let Err(twice) = live.insert(lease) {
            // A set that contradicts itself is no reason to forget a claim.
            evidence.with_leases.push(*twice);
        }
    }
    arbitrate(Question {
        request: &request,
        live: &live,
        waiters: &arbiter::queue::NOBODY,
        policy: &policy,
        evidence: &evidence,
        now,
    })
}

fn lease_of(one: Live, policy: &Policy, now: Timestamp) -> Lease {
    let acquired_at = one.acquired_at.or(one.heartbeat_at).unwrap_or(now);
    let ttl = one.ttl.unwrap_or_else(|| policy.ttl_of(&one.lane));
    Lease {
        lease: one.lease,
        fence: one.fence.or(Fence::new(one.lease.get())).unwrap_or(Fence::FIRST),
        lane: one.lane,
        owner: one.owner,
        // A scope that cannot be read counts as everything.
        tree: Region::parse_or_everything(one.tree),
        read: Region::parse_or_everything(one.read),
        acquired_at,
        heartbeat_at: one.heartbeat_at.unwrap_or(acquired_at),
        clock: None,
        ttl,
        processes: one.processes.unwrap_or_default(),
        parent: one.parent,
        exclusive: one.exclusive,
        worktree: one.worktree,
        halted: None,
        phase: None,
        run_id: one.run_id,
        why: one.why,
        labels: one.labels,
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_keys_of_a_request_are_those_that_it_is_written_with() {
        let all = json!({
            "lane": "l", "owner": "o", "tree": ["t"], "read": ["r"], "worktree": "main", "ttl_s": 1,
            "processes": [{"pid": 7, "start": 1, "boot": "b", "pidns": 1, "host": "h"}],
            "parent": 1, "force": true, "run_id": "r", "why": "w", "labels": {"k": "v"}, "request_id": "r",
            "imported": {
                "from": "x", "acquired_at": "2026-11-21T07:00:00Z", "heartbeat_at": "2026-11-21T07:00:00Z",
            },
            "waits": true, "ticket": 1,
        });
        let request: Request = serde_json::from_value(all).unwrap();
        let written = serde_json::to_value(request).unwrap();
        let mut keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = REQUEST_KEYS;
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }
}
