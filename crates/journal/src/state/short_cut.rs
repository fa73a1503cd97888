//! The fold's short cut: leases that come and go within one segment, without making leases of them.
//!
//! Most leases end soon after they began. Of an ACQUIRE that [`crate::canonical`] can read, the line is kept until something
//! else is asked of its lease than its end or a beat; then it is read like any other. The outcome is that of
//! [`State::apply`] on every record in turn, errors included: whatever does not fit is left to it.

use std::collections::{BTreeMap, BTreeSet};

use arbiter::lease::Lease;
use arbiter::name::{LaneKey, LaneName, OwnerName};
use arbiter::region::Region;
use arbiter::request::{Labels, Note, RunId};
use arbiter::seq::{Fence, LeaseId, Seq};
use arbiter::time::{Span, Timestamp};
use serde_json::Map;

use super::State;
use crate::canonical::{self, About};
use crate::chain::Valid;
use crate::record::Ended;

/// Leases of which only the line is known yet.
#[derive(Debug, Default)]
pub(crate) struct Unread<'a> {
    leases: BTreeMap<LeaseId, Line<'a>>,
    lanes: BTreeSet<LaneKey>,
}

/// The line that granted a lease, and what came after.
#[derive(Debug)]
struct Line<'a> {
    granted: Valid<'a>,
    lane: LaneName,
    key: LaneKey,
    owner: &'a str,
    /// The latest time of a beat, and the clock at the last one.
    beat: Option<(Timestamp, canonical::Clock<'a>)>,
}

impl State {
    /// Takes a record into account, if it is one that can be told at a glance and fits; `false`: nothing was done.
    pub(crate) fn glance<'a>(&mut self, valid: &Valid<'a>, unread: &mut Unread<'a>) -> bool {
        let &Valid { text, frame, .. } = valid;
        match frame.op {
            "ACQUIRE" => {
                canonical::acquire(&frame, text).and_then(|said| self.granted(valid, said, unread)).is_some()
            }
            "RELEASE" => canonical::release(&frame, text)
                .and_then(|about| self.released(about, frame.seq, unread))
                .is_some(),
            "HEARTBEAT" => canonical::heartbeat(&frame, text)
                .and_then(|(about, clock)| self.beaten(about, frame.ts, clock, unread))
                .is_some(),
            "REFUSE" => {
                let is_plain = canonical::refuse(&frame, text).is_some();
                self.counters.refusals += u64::from(is_plain);
                is_plain
            }
            _ => false,
        }
    }

    fn granted<'a>(
        &mut self,
        valid: &Valid<'a>,
        said: canonical::Acquire<'a>,
        unread: &mut Unread<'a>,
    ) -> Option<()> {
        let id = LeaseId::from(valid.frame.seq);
        let lane = LaneName::new(said.lane).ok()?;
        let key = lane.key();
        let is_taken = self.live.get(id).is_some() || self.live.has_lane(&key);
        if is_taken || !unread.lanes.insert(key.clone()) {
            return None;
        }
        let line = Line { granted: *valid, lane, key, owner: said.owner, beat: None };
        unread.leases.insert(id, line);
        self.counters.grants += 1;
        Some(())
    }

    fn released(&mut self, about: About, at: Seq, unread: &mut Unread<'_>) -> Option<()> {
        let About { lease, fence } = about;
        if let Some(line) = unread.find(about) {
            let owner = OwnerName::new(line.owner).ok()?;
            let Line { lane, key, .. } = unread.leases.remove(&lease)?;
            unread.lanes.remove(&key);
            let (worktree, evicted, by, forced) = (None, None, None, None);
            self.remember(Ended { lease, fence, lane, owner, worktree, evicted, by, forced, at });
        } else {
            self.end(lease, fence, at, |_| {}).ok()?;
        }
        self.counters.releases += 1;
        Some(())
    }

    fn beaten<'a>(
        &mut self,
        about: About,
        at: Timestamp,
        clock: canonical::Clock<'a>,
        unread: &mut Unread<'a>,
    ) -> Option<()> {
        if let Some(line) = unread.find(about) {
            line.beat = Some((line.beat.map_or(at, |(before, _)| before.max(at)), clock));
        } else {
            self.change(about.lease, about.fence, |lease| heard_from(lease, at, clock)).ok()?;
        }
        self.counters.heartbeats += 1;
        Some(())
    }

    /// Makes leases of all that is left.
    ///
    /// # Errors
    ///
    /// In words; only if the two ways of reading a record were at odds.
    pub(crate) fn settle(&mut self, unread: &mut Unread<'_>) -> Result<(), String> {
        unread.lanes.clear();
        while let Some((id, Line { granted, beat, .. })) = unread.leases.pop_first() {
            let Valid { text, frame, .. } = granted;
            let lease = canonical::acquire(&frame, text).and_then(|said| lease_of(frame.seq, &said));
            let lease = lease.ok_or_else(|| format!("record {} was an ACQUIRE before", frame.seq))?;
            self.admit(lease, Map::new())?;
            if let Some((at, clock)) = beat {
                self.live.update(id, |lease| heard_from(lease, at, clock));
            }
        }
        Ok(())
    }
}

/// The lease of an ACQUIRE that [`crate::canonical`] can read. What that passes over leaves the lease as it is here.
fn lease_of(seq: Seq, said: &canonical::Acquire<'_>) -> Option<Lease> {
    let &canonical::Acquire { lane, owner, tree, read, acquired_at, ttl_s, clock, asked } = said;
    let processes = match asked.processes {
        b"" => Vec::new(),
        list => serde_json::from_slice(list).ok()?,
    };
    Some(Lease {
        lease: LeaseId::from(seq),
        fence: Fence::from(seq),
        lane: LaneName::new(lane).ok()?,
        owner: OwnerName::new(owner).ok()?,
        tree: Region::parse(tree.iter()).ok()?,
        read: Region::parse(read.iter()).ok()?,
        acquired_at,
        heartbeat_at: acquired_at,
        clock: Some(clock.reading()),
        ttl: Span::from_s(ttl_s),
        processes,
        parent: asked.parent,
        exclusive: false,
        worktree: None,
        halted: None,
        phase: None,
        run_id: asked.run_id.map(RunId::new).transpose().ok()?,
        why: asked.why.map(Note::new).transpose().ok()?,
        labels: Labels::default(),
        request_id: None,
    })
}

fn heard_from(lease: &mut Lease, at: Timestamp, clock: canonical::Clock<'_>) {
    lease.heartbeat_at = lease.heartbeat_at.max(at);
    lease.clock = Some(clock.reading());
}

impl<'a> Unread<'a> {
    /// The line of a lease, if it is here. Whoever took it over has made a lease of it, so its fence is its number.
    fn find(&mut self, About { lease, fence }: About) -> Option<&mut Line<'a>> {
        if fence.get() != lease.get() {
            return None;
        }
        self.leases.get_mut(&lease)
    }
}
