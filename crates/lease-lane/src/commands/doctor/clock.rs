//! What `doctor` says of the clocks: whether the wall clock agrees with itself, as far as the journal can tell.

use arbiter::evidence::ClockReading;
use arbiter::lease::LiveSet;
use arbiter::time::{Span, Timestamp};
use serde::Serialize;

use crate::render;

/// Clocks drift apart by this much without anybody having set one.
const DRIFT_MS_MAX: u64 = 2_000;

/// The clocks, and what the journal says against them.
#[derive(Debug, Serialize)]
pub(super) struct ClockJson {
    boot: String,
    wall: Timestamp,
    up_ms: u64,
    /// How far the wall clock was set since the last beat of this boot that is still on record; below zero: back.
    jumped_ms: Option<i64>,
    /// How far it is behind the journal's last record.
    behind_ms: u64,
}

impl ClockJson {
    pub(super) fn new(
        wall: Timestamp,
        clock: ClockReading,
        live: &LiveSet,
        head: Option<Timestamp>,
    ) -> ClockJson {
        let beats = live.iter().filter_map(|lease| Some((lease.heartbeat_at, lease.clock.as_ref()?)));
        let latest = beats.filter(|(_, beat)| beat.boot == clock.boot).max_by_key(|(_, beat)| beat.up_ms);
        let jumped_ms = latest.map(|(at, beat)| {
            let up = i64::try_from(clock.up_ms).unwrap_or(i64::MAX);
            let up_then = i64::try_from(beat.up_ms).unwrap_or(i64::MAX);
            signed_since(wall, at).saturating_sub(up.saturating_sub(up_then))
        });
        let behind_ms = head.map_or(0, |head| head.since(wall).as_ms());
        ClockJson { boot: clock.boot, wall, up_ms: clock.up_ms, jumped_ms, behind_ms }
    }

    /// Whether a wall clock was set, here or where others write.
    pub(super) fn is_odd(&self) -> bool {
        self.behind_ms > DRIFT_MS_MAX
            || self.jumped_ms.is_some_and(|jumped| jumped.unsigned_abs() > DRIFT_MS_MAX)
    }

    pub(super) fn lines(&self) -> String {
        let up = render::span(Span::from_ms(self.up_ms));
        let mut text = format!("clock    {}, {up} after boot {}\n", self.wall, self.boot);
        if let Some(jumped) = self.jumped_ms.filter(|jumped| jumped.unsigned_abs() > DRIFT_MS_MAX) {
            let way = if jumped < 0 { "back" } else { "forward" };
            text.push_str(&format!(
                "         the wall clock was set {way} by {} since the last beat; within a boot nothing ages by it\n",
                render::span(Span::from_ms(jumped.unsigned_abs()))
            ));
        }
        if self.behind_ms > DRIFT_MS_MAX {
            text.push_str(&format!(
                "         the last record is {} ahead of it: one of the clocks that write here is or was wrong\n",
                render::span(Span::from_ms(self.behind_ms))
            ));
        }
        text
    }
}

fn signed_since(at: Timestamp, earlier: Timestamp) -> i64 {
    let ms = |span: Span| i64::try_from(span.as_ms()).unwrap_or(i64::MAX);
    if at >= earlier { ms(at.since(earlier)) } else { -ms(earlier.since(at)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: i64 = 3_600_000;

    /// The clocks at wall time `now` and boot time 100 s; one lease has beaten at noon, 40 s after the boot.
    #[track_caller]
    fn seen(boot: &str, now: &str) -> ClockJson {
        let lease = json!({
            "lease": 2, "fence": 2, "lane": "a", "owner": "o", "tree": ["a"], "ttl_s": 60,
            "acquired_at": "2026-01-01T12:00:00.000Z", "heartbeat_at": "2026-01-01T12:00:00.000Z",
            "clock": { "boot": "boot-1", "up_ms": 40_000 },
        });
        let mut live = LiveSet::default();
        live.insert(serde_json::from_value(lease).unwrap()).unwrap();
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let clock = ClockReading { boot: boot.into(), up_ms: 100_000 };
        ClockJson::new(at(now), clock, &live, Some(at("2026-01-01T12:00:30.000Z")))
    }

    #[test]
    fn a_clock_that_nobody_set_has_not_jumped() {
        let clock = seen("boot-1", "2026-01-01T12:01:00.000Z");
        assert_eq!((clock.jumped_ms, clock.behind_ms), (Some(0), 0));
        assert_eq!((clock.lines().lines().count(), clock.is_odd()), (1, false), "{}", clock.lines());
        let drifted = seen("boot-1", "2026-01-01T12:01:02.000Z");
        assert_eq!((drifted.jumped_ms, drifted.lines().lines().count()), (Some(2_000), 1));
    }

    #[test]
    fn a_clock_that_was_set_has_jumped_by_what_it_was_set() {
        let forward = seen("boot-1", "2026-01-01T13:01:00.000Z");
        assert_eq!((forward.jumped_ms, forward.behind_ms), (Some(HOUR), 0));
        assert!(forward.is_odd());
        assert!(forward.lines().contains("set forward by 1h since"), "{}", forward.lines());
        let back = seen("boot-1", "2026-01-01T11:01:00.000Z");
        assert_eq!((back.jumped_ms, back.behind_ms), (Some(-HOUR), 3_570_000));
        assert!(back.is_odd());
        assert!(back.lines().contains("set back by 1h since"), "{}", back.lines());
        assert!(back.lines().contains("last record is 59m 30s ahead"), "{}", back.lines());
    }

    #[test]
    fn beats_of_another_boot_say_nothing_of_a_jump() {
        let clock = seen("boot-2", "2026-01-01T18:00:00.000Z");
        assert_eq!((clock.jumped_ms, clock.behind_ms), (None, 0));
        assert_eq!(clock.lines().lines().count(), 1, "{}", clock.lines());
    }
}
