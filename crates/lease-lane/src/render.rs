//! Text for people.

use std::fmt::Write;

use arbiter::lease::Lease;
use arbiter::region::Region;
use arbiter::text::shown;
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Conflict, Mode};

/// A span in the two largest units that matter: `3m 20s`, `2d 4h`, `450ms`.
pub(crate) fn span(span: Span) -> String {
    let ms = span.as_ms();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let Some(first) = units.iter().position(|&(unit, _)| ms >= unit) else { return format!("{ms}ms") };
    let (unit, name) = units[first];
    let mut text = format!("{}{name}", ms / unit);
    if let Some(&(smaller, name)) = units.get(first + 1)
        && ms % unit / smaller != 0
    {
        let _ = write!(text, " {}{name}", ms % unit / smaller);
    }
    text
}

/// `in 3m 20s` or `3m 20s ago`.
pub(crate) fn from_now(at: Timestamp, now: Timestamp) -> String {
    if at >= now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) }
}

/// A region on one line.
pub(crate) fn region(region: &Region) -> String {
    const ENTRIES_SHOWN_MAX: usize = 6;
    let mut text = String::new();
    for (i, entry) in region.entries().iter().take(ENTRIES_SHOWN_MAX).enumerate() {
        let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, shown(entry.as_str(), 120));
    }
    match region.entries().len() {
        n if n > ENTRIES_SHOWN_MAX => {
            let _ = write!(text, " and {} more", n - ENTRIES_SHOWN_MAX);
        }
        _ => {}
    }
    text
}

/// What a lease writes and reads, on one line.
pub(crate) fn claims(tree: &Region, read: &Region) -> String {
    match (tree.is_empty(), read.is_empty()) {
        (false, true) => format!("writes {}", region(tree)),
        (true, false) => format!("reads {}", region(read)),
        _ => format!("writes {}; reads {}", region(tree), region(read)),
    }
}

/// One live lease, on two lines.
pub(crate) fn lease(lease: &Lease, alive: &str, now: Timestamp) -> String {
    let mut text = format!("lease {} · lane {} · owner {}", lease.lease, lease.lane, lease.owner);
    if lease.fence.get() != lease.lease.get() {
        let _ = write!(text, " · fence {}", lease.fence);
    }
    if let Some(run_id) = &lease.run_id {
        let _ = write!(text, " · run {run_id}");
    }
    if let Some(halted) = &lease.halted {
        let _ = write!(text, " · HALTED ({})", shown(&halted.handle, 60));
    }
    let _ = write!(
        text,
        "\n  {}\n  since {}, {} {}, processes alive: {alive}\n",
        claims(&lease.tree, &lease.read),
        from_now(lease.acquired_at, now),
        if lease.expires_at() >= now { "expires" } else { "expired" },
        from_now(lease.expires_at(), now),
    );
    if let Some(why) = &lease.why {
        let _ = writeln!(text, "  why: {why}");
    }
    text
}

/// One lease in the way, on two lines.
pub(crate) fn conflict(conflict: &Conflict, now: Timestamp) -> String {
    let verb = match conflict.mode {
        Mode::Write => "writes",
        Mode::Read => "reads",
    };
    let what = conflict
        .overlap
        .as_ref()
        .map_or_else(|| "the lane's name".to_owned(), |overlap| format!("{verb} {}", shown(overlap, 300)));
    format!(
        "  held by {} · lease {} · lane {} · {what}\n    since {}, expires {}, processes alive: {}\n",
        conflict.owner,
        conflict.lease,
        conflict.lane,
        from_now(conflict.since, now),
        from_now(conflict.expires_at, now),
        conflict.alive.as_str(),
    )
}
