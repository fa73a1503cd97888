//! What a holder is at the end of: the time in which a sweep leaves a lease alone although its own is over.

use serde::{Deserialize, Serialize};

use crate::evidence::ClockReading;
use crate::lease::age_of;
use crate::policy::Policy;
use crate::text::Text;
use crate::time::{Span, Timestamp};

/// The name of a phase. `finalizing` is the only one today; whatever it is called, it means the same to a sweep.
pub type PhaseName = Text<64>;

/// A phase that a lease is in (feature C8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: PhaseName,
    /// When it was first entered. To enter it again while in it changes nothing here.
    pub since: Timestamp,
    /// The boot-time clock then; absent for a lease that came from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReading>,
    /// How long it shall take, as its holder says.
    #[serde(default, rename = "budget_s", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// When a sweep first found that it had to wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred_at: Option<Timestamp>,
}

impl Phase {
    /// How long ago it was entered. Beats do not enter: who beats and never ends must not hold off a sweep for ever.
    pub fn age(&self, now: Timestamp, clock: &ClockReading) -> Span {
        age_of(self.since, self.clock.as_ref(), now, clock)
    }

    /// How long it holds off a sweep: its budget, and no more than the policy's ceiling.
    pub fn ceiling(&self, policy: &Policy) -> Span {
        let most = policy.ceiling.unwrap_or(Policy::CEILING_DEFAULT);
        self.budget.map_or(most, |budget| budget.min(most))
    }

    /// Until when it holds off a sweep. For people; [`Phase::age`] decides.
    pub fn until(&self, policy: &Policy) -> Timestamp {
        self.since.plus(self.ceiling(policy))
    }

    /// What a holder in `before` is in once it says that it is in the phase `name`: the first entry counts, the
    /// latest budget that was named holds.
    #[must_use]
    pub fn entered(
        before: Option<&Phase>,
        name: &PhaseName,
        budget: Option<Span>,
        since: Timestamp,
        clock: &ClockReading,
    ) -> Phase {
        match before {
            Some(phase) if phase.name == *name => Phase { budget: budget.or(phase.budget), ..phase.clone() },
            _ => Phase { name: name.clone(), since, clock: Some(clock.clone()), budget, deferred_at: None },
        }
    }
}
