//! Whether a checkpoint says what a state is, without reading it: what would be written is held against what stands there.

use std::collections::VecDeque;

use arbiter::policy::Policy;
use arbiter::queue::WaitQueue;
use serde::ser::{Serialize, Serializer};

use super::State;
use crate::record::{Answer, Counters, Ended, FORMAT, KeptLease};

/// What [`State::checkpoint`] is when it is written, without a copy of it all.
#[derive(serde::Serialize)]
struct Said<'a> {
    format: &'static str,
    seal: bool,
    leases: Leases<'a>,
    #[serde(skip_serializing_if = "Waiters::is_empty")]
    waiters: Waiters<'a>,
    policy: &'a Policy,
    counters: &'a Counters,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    answered: &'a VecDeque<Answer>,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    ended: &'a VecDeque<Ended>,
}

struct Leases<'a>(&'a State);

impl Serialize for Leases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        #[serde(untagged)]
        enum Kept<'a> {
            Known(&'a arbiter::lease::Lease),
            WithMore(Box<KeptLease>),
        }
        let Leases(state) = self;
        serializer.collect_seq(state.live.iter().map(|lease| match state.extra.get(&lease.lease) {
            None => Kept::Known(lease),
            Some(extra) => Kept::WithMore(Box::new(KeptLease { lease: lease.clone(), extra: extra.clone() })),
        }))
    }
}

struct Waiters<'a>(&'a WaitQueue);

impl Waiters<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Waiters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl State {
    /// Whether the body of a record (what stands between its operation and its nonce) is to the byte that of the seal
    /// of this state with these counters. Then reading it would give this state.
    pub(crate) fn is_sealed_by(&self, body: &[u8], counters: &Counters) -> bool {
        let said = Said {
            format: FORMAT,
            seal: true,
            leases: Leases(self),
            waiters: Waiters(&self.waiters),
            policy: &self.policy,
            counters,
            answered: &self.answered,
            ended: &self.ended,
        };
        let Ok(json) = serde_json::to_vec(&said) else { return false };
        // Where the object begins there is a comma in the record, and where it ends there is nothing.
        let inner = json.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        inner.is_some() && body.strip_prefix(b",") == inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_bytes_that_would_be_written_will_do() {
        let state = State::default();
        let json = serde_json::to_string(&state.checkpoint(true)).unwrap();
        let body = format!(",{}", &json[1..json.len() - 1]);
        let counters = Counters::default();
        assert!(state.is_sealed_by(body.as_bytes(), &counters), "{body}");
        for at in 0..body.len() {
            let mut changed = body.clone().into_bytes();
            changed[at] ^= 1;
            assert!(!state.is_sealed_by(&changed, &counters), "byte {at} of {body}");
            assert!(!state.is_sealed_by(&body.as_bytes()[..at], &counters), "cut at {at}");
        }
        for longer in [format!("{body}}}"), format!("{body},\"x\":1"), format!("{body}}}}}")] {
            assert!(!state.is_sealed_by(longer.as_bytes(), &counters), "{longer}");
        }
        assert!(!state.is_sealed_by(body.as_bytes(), &Counters { grants: 1, ..Counters::default() }));
    }
}
