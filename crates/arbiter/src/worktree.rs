//! In which worktree of a repository a path lies, where the policy tells worktrees apart.
//!
//! A claim may say which worktree it is about. Two that say different ones cannot mean one file with any path. One that
//! says none may be about any worktree: nothing sets it apart from anybody.

use crate::text::Text;

/// What tells the worktrees of one repository apart: 1 to 256 bytes.
pub type WorktreeName = Text<256>;

/// Whether two claims are about different worktrees for sure. Symmetric.
pub fn are_apart(one: Option<&WorktreeName>, other: Option<&WorktreeName>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}
