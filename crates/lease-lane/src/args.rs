//! The command line as clap reads it: flat, and no more than text, numbers and switches.
#![allow(clippy::doc_markdown, reason = "these comments are the help text that people read in a terminal")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Leases over regions of a project, for branches, jobs and agents that work in it at the same time.
#[derive(Debug, Parser)]
#[command(name = "lease-lane", version, about, max_term_width = 100, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// Keep the store in DIR [env: LEASE_LANE_STORE] [default: lease-lane in the common git directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global")]
    pub(crate) store: Option<PathBuf>,
    /// Take paths relative to DIR [env: LEASE_LANE_ROOT] [default: the top of the worktree]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global")]
    pub(crate) root: Option<PathBuf>,
    /// Read the policy from FILE [env: LEASE_LANE_POLICY] [default: lease-lane.toml at the root]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global")]
    pub(crate) policy: Option<PathBuf>,
    /// Ask as NAME [env: LEASE_LANE_OWNER] [default: the session, else the calling process]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global")]
    pub(crate) owner: Option<String>,
    /// Write to a store on a file system that may lose grants, such as NFS or FUSE [env: LEASE_LANE_ALLOW_FS=1]
    #[arg(long, global = true, help_heading = "Global")]
    pub(crate) allow_fs: bool,
    /// Print one JSON object
    #[arg(long, global = true, help_heading = "Global")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for a lease
    Acquire(Box<Acquire>),
    /// Run a command while holding a lease
    Run(Box<Run>),
    /// Give a lease back
    Release(Held),
    /// Say that the holder is still there
    Heartbeat(Heartbeat),
    /// Take a live lease over from its holder
    Adopt(Adopt),
    /// End somebody's lease that no longer stands, or any by force
    Unlock(Unlock),
    /// Put on record that a run shall stop; nothing is signalled
    Halt(Halt),
    /// Put on record that a run is coming; nothing is granted or blocked
    Spawn(Spawn),
    /// End leases whose holders are gone, and wait for those that are winding up
    Sweep(Sweep),
    /// List the live leases
    Live,
    /// List those who wait
    Waiters,
    /// End a wait of the owner
    Cancel(Cancel),
    /// Show what becomes of a lease until it ends
    Watch(Watch),
    /// Tell whether paths or resources lie in a live lease of the owner
    Check(Check),
    /// Rebuild the live set from the journal, now or as it was
    Replay(Replay),
    /// Show records, oldest first
    Tail(Tail),
    /// Seal the journal with a checkpoint and drop old history
    Compact(Compact),
    /// Check every byte of the journal
    Verify,
    /// Show what damage has cost, and go on after it
    Repair(Repair),
    /// Decide requests from stdin without a store
    Arbitrate,
    /// Ask about patterns without a store
    Region(Region),
    /// Check or show the policy
    Policy(Policy),
    /// Make the store, and an example of a policy where there is none
    Init,
    /// Say where the store is and how it is
    Doctor,
    /// Bring the live leases of another tool over
    Import(Import),
    /// Print what a shell needs to complete commands and flags
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Print a manual page (roff), or write them all
    Man(Man),
}

#[derive(Debug, Default, Args)]
pub(crate) struct Acquire {
    /// Name the lane [default: the first entry of the region]
    #[arg(value_name = "LANE")]
    pub(crate) lane: Option<String>,
    /// Write what PATTERN names
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tree: Vec<String>,
    /// Read what PATTERN names, undisturbed by writers
    #[arg(long, value_name = "PATTERN")]
    pub(crate) read: Vec<String>,
    /// Hold the named resource lock://NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) lock: Vec<String>,
    /// Write everything (the same as --tree '**')
    #[arg(long)]
    pub(crate) whole: bool,
    /// Live for DUR after each beat [default: the policy's, else 50m]
    #[arg(long, value_name = "DUR")]
    pub(crate) ttl: Option<String>,
    /// End with process PID, or with the process that calls (`parent`)
    #[arg(long, value_name = "PID|parent")]
    pub(crate) bind: Vec<String>,
    /// Wait in the line for a grant, at most DUR
    #[arg(long, value_name = "DUR", num_args = 0..=1, default_missing_value = "forever")]
    pub(crate) wait: Option<String>,
    /// Label the lease with the run it belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// Say why
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Add a label
    #[arg(long, value_name = "K=V")]
    pub(crate) label: Vec<String>,
    /// Name this request, so that asking again after a lost answer gives the first verdict
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// Count the leases in FILE (JSON as `live --json` prints it) as live
    #[arg(long, value_name = "FILE")]
    pub(crate) with_leases: Option<PathBuf>,
    /// Be granted beneath lease N: it and those above it are not in the way
    #[arg(long, value_name = "N")]
    pub(crate) parent: Option<u64>,
    /// Write protected paths too; it is recorded, and no live lease is ever overridden
    #[arg(long)]
    pub(crate) force: bool,
    /// Decide and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) acquire: Acquire,
    /// Exit with N when the lease is refused [default: 1]
    #[arg(short = 'E', long = "conflict-exit-code", value_name = "N")]
    pub(crate) refusal_code: Option<u8>,
    /// Kill what is left of the command DUR after it was asked to end
    #[arg(long, value_name = "DUR", default_value = "10s")]
    pub(crate) kill_after: String,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The lane
    #[arg(value_name = "LANE", required_unless_present = "lease", conflicts_with = "lease")]
    pub(crate) lane: Option<String>,
    /// The lease's number, instead of its lane
    #[arg(long, value_name = "N")]
    pub(crate) lease: Option<u64>,
    /// Give up after DUR
    #[arg(long, value_name = "DUR")]
    pub(crate) timeout: Option<String>,
    /// Show each change of the JSON object in FILE too, until its `status` says that the run is over
    #[arg(long, value_name = "FILE")]
    pub(crate) status: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Held {
    /// The lane
    #[arg(value_name = "LANE", required_unless_present = "lease", conflicts_with = "lease")]
    pub(crate) lane: Option<String>,
    /// The lease's number, instead of its lane
    #[arg(long, value_name = "N")]
    pub(crate) lease: Option<u64>,
    /// Only if the fence is still N
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Heartbeat {
    #[command(flatten)]
    pub(crate) held: Held,
    /// Write nothing if the last beat is younger than DUR
    #[arg(long, value_name = "DUR", conflicts_with = "bind")]
    pub(crate) coalesce: Option<String>,
    /// Say that the holder is winding up, so that a sweep waits for it; or that it no longer is
    #[arg(long, value_enum, value_name = "PHASE", conflicts_with = "bind")]
    pub(crate) phase: Option<PhaseArg>,
    /// Let a sweep wait for DUR since the phase was entered [default: as long as the policy lets it, else 1d]
    #[arg(long, value_name = "DUR", requires = "phase")]
    pub(crate) budget: Option<String>,
    /// Hold the lease as long as process PID lives, too
    #[arg(long, value_name = "PID|parent")]
    pub(crate) bind: Vec<String>,
}

/// What a holder is at the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PhaseArg {
    /// It is winding up
    Finalizing,
    /// It is not
    #[value(alias = "clear")]
    None,
}

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Decide and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only the lease in this lane
    #[arg(long, value_name = "L")]
    pub(crate) lane: Option<String>,
    /// Sweep again and again, every DUR, until a signal
    #[arg(long, value_name = "DUR")]
    pub(crate) every: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    #[command(flatten)]
    pub(crate) held: Held,
    /// Only if it is held by OWNER until now
    #[arg(long, value_name = "OWNER", required = true)]
    pub(crate) from: String,
    /// Attach process PID, or the process that calls (`parent`), beside those that are there
    #[arg(long, value_name = "PID|parent")]
    pub(crate) bind: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    #[command(flatten)]
    pub(crate) held: Held,
    /// End it although it may be in use; asks first
    #[arg(long, requires = "why")]
    pub(crate) force: bool,
    /// Say why; its holder is told
    #[arg(long, value_name = "TEXT", requires = "force")]
    pub(crate) why: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Halt {
    /// What shall stop: a run id, a lane, an owner, or any words together with --lane or --lease
    #[arg(value_name = "HANDLE")]
    pub(crate) handle: String,
    /// Show it to the holder of this lane
    #[arg(long, value_name = "L", conflicts_with = "lease")]
    pub(crate) lane: Option<String>,
    /// Show it to the holder of lease N
    #[arg(long, value_name = "N")]
    pub(crate) lease: Option<u64>,
    /// Only if the fence is still N
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
    /// Note the command that stops it
    #[arg(long, value_name = "TEXT")]
    pub(crate) command: Option<String>,
    /// Say why
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Spawn {
    /// The lane in which it is coming
    #[arg(value_name = "LANE")]
    pub(crate) lane: String,
    /// Name the run
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// Say why
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The ticket, as `waiters` shows it
    #[arg(value_name = "TICKET")]
    pub(crate) ticket: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The paths, or resources: lock://NAME, pool://NAME
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<String>,
    /// Only lease N counts
    #[arg(long, value_name = "N")]
    pub(crate) lease: Option<u64>,
    /// Only if its fence is still N
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Show the live set as it was after record SEQ, or at TIME (RFC 3339)
    #[arg(long, value_name = "SEQ|TIME")]
    pub(crate) at: Option<String>,
    /// Decide every recorded decision again and compare the bytes
    #[arg(long)]
    pub(crate) verdicts: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Show the last N records
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    pub(crate) lines: usize,
    /// Go on as records are written
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Only records of this lane (and, with --owner, of this owner)
    #[arg(long, value_name = "L")]
    pub(crate) lane: Option<String>,
    /// Only this operation
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// Keep history for DUR, all of it, or none [default: the policy's, else 30d]
    #[arg(long, value_name = "DUR|all|none")]
    pub(crate) keep: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Accept the loss and go on
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) question: PolicyQuestion,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyQuestion {
    /// Tell whether the policy file is right, and if not what is wrong where
    Check,
    /// Show the policy under which the next decision is made
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct Region {
    #[command(subcommand)]
    pub(crate) question: RegionQuestion,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegionQuestion {
    /// Tell whether two patterns can name the same path, and show one that both do
    Overlap {
        /// One pattern
        #[arg(value_name = "A")]
        a: String,
        /// The other
        #[arg(value_name = "B")]
        b: String,
        /// How paths are compared
        #[arg(long, value_enum, default_value_t)]
        case: CaseArg,
    },
    /// Tell whether a pattern names a path
    Match {
        /// The pattern
        #[arg(value_name = "PATTERN")]
        pattern: String,
        /// The path
        #[arg(value_name = "PATH")]
        path: String,
        /// How paths are compared
        #[arg(long, value_enum, default_value_t)]
        case: CaseArg,
    },
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum CaseArg {
    /// Exactly
    Exact,
    /// Without regard to case
    #[default]
    Fold,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    pub(crate) from: ImportFrom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// Read a lane journal of dos-kernel
    Dos {
        /// The journal
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Decide and write nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command, such as `acquire` or `region overlap` [default: lease-lane itself]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Write this page and those of its commands to DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
