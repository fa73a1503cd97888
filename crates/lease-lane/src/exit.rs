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
    /// Its terminal hung up while it waited.
    HungUp = 129,
    /// It was interrupted (Ctrl-C) while it waited.
    Interrupted = 130,
    /// It was told to end while it waited.
    Terminated = 143,
}

/// Codes of `run`, whose other codes are those of the command that it runs.
pub(crate) mod of_run {
    /// The command was made to end: its lease was lost, or somebody decided to stop it.
    pub(crate) const LEASE_LOST: u8 = 123;
    /// `lease-lane` itself failed, and the command has not run.
    pub(crate) const FAILED: u8 = 125;
    /// The command is there and cannot be executed.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// There is no such command.
    pub(crate) const NOT_FOUND: u8 = 127;
    /// Added to the number of the signal that killed the command.
    pub(crate) const KILLED: i32 = 128;
}
