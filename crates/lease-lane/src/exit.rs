//! Exit codes: scripts rely on them.

/// What the process says to its caller by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Yes, and it is durable.
    Yes = 0,
    /// A clean no; nothing changed except the journalled refusal.
    No = 1,
    /// Usage, a bad pattern, a bad policy; nothing was written.
    Usage = 2,
    /// The lease that was named is not, or no longer, the caller's.
    NotYours = 3,
    /// The store's mutex could not be had within the budget; nothing was decided.
    Busy = 4,
    /// The journal fails its integrity check; nothing is granted until a repair.
    Damaged = 5,
    /// The disk said no; nothing was granted.
    Io = 6,
    /// The time to wait ran out.
    Timeout = 124,
}
