//! Text for people.

use std::fmt::Write;

use arbiter::lease::{Halted, Lease};
use arbiter::phase::Phase;
use arbiter::region::Region;
use arbiter::request::Labels;
use arbiter::text::{Text, shown};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::{Conflict, Mode, RefusalCode};
use arbiter::worktree::WorktreeName;

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

/// `expires in 3m 20s` or `expired 3m 20s ago`.
pub(crate) fn expiry(at: Timestamp, now: Timestamp) -> String {
    format!("{} {}", if at >= now { "expires" } else { "expired" }, from_now(at, now))
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

/// What a holder is at the end of.
pub(crate) fn phase(phase: &Phase, now: Timestamp) -> String {
    let budget = phase.budget.map_or_else(String::new, |budget| format!(", budget {}", span(budget)));
    let deferred = phase.deferred_at.map_or("", |_| ", a sweep waits for it");
    format!("{} since {}{budget}{deferred}", phase.name, from_now(phase.since, now))
}

/// One live lease, on two lines and one for each thing that is said of it.
pub(crate) fn lease(lease: &Lease, alive: &str, now: Timestamp) -> String {
    let mut text = format!("lease {} · lane {} · owner {}", lease.lease, lease.lane, lease.owner);
    if lease.fence.get() != lease.lease.get() {
        let _ = write!(text, " · fence {}", lease.fence);
    }
    if lease.exclusive {
        text.push_str(" · alone");
    }
    text.push_str(&worktree(lease.worktree.as_ref()));
    if let Some(parent) = lease.parent {
        let _ = write!(text, " · beneath lease {parent}");
    }
    if let Some(run_id) = &lease.run_id {
        let _ = write!(text, " · run {run_id}");
    }
    let _ = write!(
        text,
        "\n  {}\n  since {}, {}, processes alive: {alive}\n",
        claims(&lease.tree, &lease.read),
        from_now(lease.acquired_at, now),
        expiry(lease.expires_at(), now),
    );
    if let Some(phase) = &lease.phase {
        let _ = writeln!(text, "  {}", self::phase(phase, now));
    }
    if let Some(why) = &lease.why {
        let _ = writeln!(text, "  why: {why}");
    }
    text.push_str(&labels("  ", &lease.labels));
    if let Some(halted) = &lease.halted {
        let _ = write!(text, "  {}", self::halted(halted));
    }
    text
}

/// The worktree of a lease that is of one alone, as a part of a line.
pub(crate) fn worktree(worktree: Option<&WorktreeName>) -> String {
    worktree.map_or_else(String::new, |worktree| format!(" · worktree {worktree}"))
}

/// Labels on one line; none, if there are none.
fn labels(indent: &str, labels: &Labels) -> String {
    const LABELS_SHOWN_MAX: usize = 8;
    if labels.is_empty() {
        return String::new();
    }
    let one = |(key, value): (&Text<64>, &Text<1024>)| {
        format!("{}={}", shown(key.as_str(), 64), shown(value.as_str(), 100))
    };
    let mut all: Vec<String> = labels.iter().take(LABELS_SHOWN_MAX).map(one).collect();
    if labels.len() > LABELS_SHOWN_MAX {
        all.push(format!("and {} more", labels.len() - LABELS_SHOWN_MAX));
    }
    format!("{indent}labels: {}\n", all.join(", "))
}

/// A stop decision on one line.
pub(crate) fn halted(halted: &Halted) -> String {
    let mut text = format!("HALTED: {}", shown(&halted.handle, 200));
    if let Some(by) = &halted.by {
        let _ = write!(text, " by {by}");
    }
    let _ = write!(text, " at {}", halted.at);
    for (what, note) in [("why", &halted.why), ("command", &halted.command)] {
        if let Some(note) = note {
            let _ = write!(text, " · {what}: {}", shown(note.as_str(), 300));
        }
    }
    text.push('\n');
    text
}

/// One lease in the way, on two lines and one for each thing that is said of it.
pub(crate) fn conflict(conflict: &Conflict, code: RefusalCode, now: Timestamp) -> String {
    let verb = match conflict.mode {
        Mode::Write => "writes",
        Mode::Read => "reads",
    };
    let what = match (&conflict.overlap, code) {
        (Some(overlap), RefusalCode::PoolFull) => format!("holds one of {}", shown(overlap, 300)),
        (Some(overlap), _) => format!("{verb} {}", shown(overlap, 300)),
        (None, RefusalCode::ExclusiveLive) => "runs alone".to_owned(),
        (None, RefusalCode::NeedsIdle) => "is live".to_owned(),
        (None, RefusalCode::ClassFull) => "is of the class".to_owned(),
        (None, RefusalCode::NoFreeLane) => "is in the way".to_owned(),
        (None, _) => "the lane's name".to_owned(),
    };
    let worktree = worktree(conflict.worktree.as_ref());
    let run = conflict.run_id.as_ref().map(|run| format!(" · run {run}")).unwrap_or_default();
    let why = conflict.why.as_ref().map(|why| format!("    why: {why}\n")).unwrap_or_default();
    let labels = labels("    ", &conflict.labels);
    format!(
        "  held by {} · lease {} · lane {}{worktree}{run} · {what}\n    since {}, {}, processes alive: {}\n{why}{labels}",
        conflict.owner,
        conflict.lease,
        conflict.lane,
        from_now(conflict.since, now),
        expiry(conflict.expires_at, now),
        conflict.alive.as_str(),
    )
}
