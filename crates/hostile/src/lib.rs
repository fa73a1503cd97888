//! What must hold for any bytes.
//!
//! One function a door through which bytes come in that somebody else wrote. Each takes any bytes, and panics when a
//! promise is broken. The fuzzer (`fuzz/`, `scripts/fuzz`) calls them with bytes of its own making; `tests/corpus.rs`
//! calls them with the bytes that are kept in `fuzz/corpus`, so that what was found once stays found without a fuzzer.
//!
//! For development alone: no shipped crate depends on this one.

#![forbid(unsafe_code)]

mod choices;
#[path = "../../journal/tests/common/mod.rs"]
#[allow(clippy::too_many_lines, reason = "the journal's own test helpers, shared rather than copied")]
mod common;
mod history;
mod import;
mod line;
mod overlap;
mod pattern;
mod policy;
#[path = "../../arbiter/tests/region_oracle/mod.rs"]
#[allow(clippy::unwrap_used, reason = "the arbiter's own test oracle, shared rather than copied")]
mod region_oracle;
mod segment;

pub use history::history;
pub use import::import;
pub use line::line;
pub use overlap::overlap;
pub use pattern::pattern;
pub use policy::policy;
pub use segment::segment;

/// A door: its name, which is also that of its corpus, and what must hold there.
pub type Door = (&'static str, fn(&[u8]));

/// All doors.
pub const DOORS: [Door; 7] = [
    ("line", line),
    ("segment", segment),
    ("history", history),
    ("pattern", pattern),
    ("overlap", overlap),
    ("policy", policy),
    ("import", import),
];
