//! Whether a checkpoint says what a state is, without reading it: what would be written is held against what stands there.

use std::collections::VecDeque;

use arbiter::policy::Policy;
use arbiter::queue::WaitQueue;
use serde::ser::{Serialize, Serializer};

use super::State;
use crate::canonical;
use crate::record::{Answer, Counters, FORMAT, KeptLease};

/// What [`State::checkpoint`] is when it is written, without a copy of it all, up to the ended leases. Those come last.
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
        };
        let Ok(json) = serde_json::to_vec(&said) else { return false };
        // Where the object begins there is a comma in the record, and where it ends there is nothing.
        let inner = json.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        let rest = inner.and_then(|inner| body.strip_prefix(b",")?.strip_prefix(inner));
        rest.is_some_and(|rest| canonical::are_ended(rest, &self.ended))
    }
}

#[cfg(test)]
mod tests {
    use arbiter::lease::Standing;
    use arbiter::name::{LaneName, OwnerName};
    use arbiter::request::Note;
    use arbiter::seq::{Fence, LeaseId, Seq};
    use arbiter::worktree::WorktreeName;

    use super::*;
    use crate::record::Ended;

    /// Leases that ended in every way, with names of every kind.
    fn ended() -> VecDeque<Ended> {
        let ended = |name: &str, n: u64| Ended {
            lease: LeaseId::new(n).unwrap(),
            fence: Fence::new(n + 1).unwrap(),
            lane: LaneName::new(name).unwrap(),
            owner: OwnerName::new(name).unwrap(),
            worktree: None,
            evicted: None,
            by: None,
            forced: None,
            at: Seq::new(n + 10).unwrap(),
        };
        let evicted = Ended {
            worktree: WorktreeName::new("w").ok(),
            evicted: Some(Standing::Dead),
            by: OwnerName::new("o").ok(),
            forced: Note::new("it hung").ok(),
            ..ended("api", 3)
        };
        [ended("api", 1), ended("a \"b\" \\c\u{e9}\u{1}", 2), evicted, ended("web", 99)].into()
    }

    #[test]
    fn only_the_very_bytes_that_would_be_written_will_do() {
        for state in [State::default(), State { ended: ended(), ..State::default() }] {
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

    #[test]
    fn a_checkpoint_with_other_ended_leases_will_not_do() {
        let state = State { ended: ended(), ..State::default() };
        let json = serde_json::to_string(&state.checkpoint(true)).unwrap();
        let body = format!(",{}", &json[1..json.len() - 1]);
        let mut others = Vec::new();
        for n in 0..ended().len() {
            others.extend([n, n + 1].map(|twice| {
                let mut more = ended();
                more.insert(twice, ended()[n].clone());
                more
            }));
            let mut fewer = ended();
            fewer.remove(n);
            others.push(fewer);
        }
        let full = ended()[2].clone();
        let more: [fn(&mut Ended, Ended); 4] = [
            |ended, full| ended.worktree = full.worktree,
            |ended, full| ended.evicted = full.evicted,
            |ended, full| ended.by = full.by,
            |ended, full| ended.forced = full.forced,
        ];
        others.extend(more.map(|add| {
            let mut other = ended();
            add(&mut other[0], full.clone());
            other
        }));
        for other in others {
            let other = State { ended: other, ..State::default() };
            assert!(!other.is_sealed_by(body.as_bytes(), &Counters::default()), "{other:?}");
        }
        assert!(!State::default().is_sealed_by(body.as_bytes(), &Counters::default()));
    }
}
