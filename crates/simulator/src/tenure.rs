//! Whose a lease is, as far as anybody was told: it changes hands, and who took it over may have died before it said so.

use std::collections::BTreeSet;

use arbiter::evidence::ProcessIdentity;
use arbiter::name::OwnerName;

/// Who has a lease, who had it, and who may have it by now.
#[derive(Clone, Debug)]
pub struct Tenure {
    owner: OwnerName,
    /// The number of the record that gave it to its owner.
    fence: u64,
    /// Who has begun to take it over from whom, and was not told no.
    heirs: Vec<Heir>,
    former: BTreeSet<OwnerName>,
}

/// Somebody who takes a lease over, and may have it.
#[derive(Clone, Debug)]
struct Heir {
    from: OwnerName,
    to: OwnerName,
    /// What it becomes bound to as well.
    processes: Vec<ProcessIdentity>,
}

/// What one who is about to use a lease in somebody's name has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// It is theirs under this fence, and nobody is about to take it over or to end it.
    Sure(u64),
    /// Nobody can tell.
    Open,
    /// It is not theirs any more: they must be told no.
    Lost,
}

impl Tenure {
    /// Granted by the record of this number.
    pub fn new(owner: OwnerName, fence: u64) -> Tenure {
        Tenure { owner, fence, heirs: Vec::new(), former: BTreeSet::new() }
    }

    /// The last one who was told that it is theirs.
    pub fn owner(&self) -> &OwnerName {
        &self.owner
    }

    /// The fence of that.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether the journal may name this owner.
    pub fn may_be_of(&self, owner: &OwnerName) -> bool {
        self.owner == *owner || self.heirs.iter().any(|heir| heir.to == *owner)
    }

    /// Whether this one has ever had it.
    pub fn was_of(&self, owner: &OwnerName) -> bool {
        self.former.contains(owner)
    }

    /// Whether this one may have got it back since `fence` was the highest.
    pub fn came_back_to(&self, owner: &OwnerName, fence: u64) -> bool {
        (self.owner == *owner && self.fence > fence) || self.heirs.iter().any(|heir| heir.to == *owner)
    }

    /// What the owner of that name, who names this fence or none, has to expect.
    pub fn title(&self, owner: &OwnerName, fence: Option<u64>) -> Title {
        if fence.is_some_and(|fence| fence < self.fence) || !self.may_be_of(owner) {
            Title::Lost
        } else if self.is_settled() && self.owner == *owner {
            Title::Sure(self.fence)
        } else {
            Title::Open
        }
    }

    /// Whether the owner is the one who was told so last, for certain.
    pub fn is_settled(&self) -> bool {
        self.heirs.is_empty()
    }

    /// Somebody is about to take it over, and to bind it to these processes as well.
    pub fn is_wanted(&mut self, from: &OwnerName, to: &OwnerName, processes: &[ProcessIdentity]) {
        self.heirs.push(Heir { from: from.clone(), to: to.clone(), processes: processes.to_vec() });
    }

    /// That one was told no.
    pub fn is_not_given(&mut self, from: &OwnerName, to: &OwnerName) {
        if let Some(at) = self.heirs.iter().rposition(|heir| (&heir.from, &heir.to) == (from, to)) {
            self.heirs.remove(at);
        }
    }

    /// Whether all may be dead that it is bound to, if these are what it was bound to before.
    pub fn may_be_dead(
        &self,
        processes: &[ProcessIdentity],
        lives: impl Fn(&ProcessIdentity) -> bool,
    ) -> bool {
        let bound_to_dead =
            |processes: &[ProcessIdentity]| !processes.is_empty() && !processes.iter().any(&lives);
        bound_to_dead(processes)
            || processes.is_empty() && self.heirs.iter().any(|heir| bound_to_dead(&heir.processes))
    }

    /// That one was told yes. `false`: somebody has it since.
    pub fn is_given(&mut self, to: &OwnerName, fence: u64) -> bool {
        if fence < self.fence {
            return false;
        }
        let before = std::mem::replace(&mut self.owner, to.clone());
        self.former.insert(before);
        self.fence = fence;
        // Whoever meant to have it from another one comes too late.
        self.heirs.retain(|heir| heir.from == *to);
        true
    }
}
