//! Whether a checkpoint says what a state is, without reading it: what would be written is held against what stands there.

use std::collections::VecDeque;
use std::io::{self, Write as _};

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
        let mut rest = Rest { body, begun: false, ended: false };
        // JSON is written in very small pieces.
        let mut pieces = io::BufWriter::with_capacity(PIECE_BYTES, &mut rest);
        let is_same = serde_json::to_writer(&mut pieces, &said).is_ok() && pieces.flush().is_ok();
        drop(pieces.into_parts());
        is_same && rest.body.is_empty() && rest.ended
    }
}

/// How much is written before it is compared.
const PIECE_BYTES: usize = 16 << 10;

/// The part of a body that has not been written again yet. Where the object begins there is a comma in the record, and
/// where it ends there is nothing.
struct Rest<'a> {
    body: &'a [u8],
    begun: bool,
    ended: bool,
}

impl io::Write for Rest<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let differs = || io::Error::other("it says something else");
        if self.ended {
            return Err(differs());
        }
        let (mut expected, mut rest) = (self.body, written);
        if !self.begun {
            rest = rest.strip_prefix(b"{").ok_or_else(differs)?;
            expected = expected.strip_prefix(b",").ok_or_else(differs)?;
            self.begun = true;
        }
        match expected.strip_prefix(rest) {
            Some(behind) => self.body = behind,
            None if rest.strip_suffix(b"}") == Some(expected) => (self.body, self.ended) = (b"", true),
            None => return Err(differs()),
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
