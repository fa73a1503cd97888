//! Reads `lease-lane.toml`.

use std::path::{Path, PathBuf};

use arbiter::policy::Policy;
use arbiter::time::Span;

/// Bytes that a policy file may have.
const POLICY_BYTES_MAX: usize = 1 << 20;

/// Why a policy file cannot be used. Nothing is decided under it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read.
    #[error("could not read the policy `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a policy says.
    #[error("the policy `{}` is not usable: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        what: String,
    },
}

impl PolicyError {
    /// What the reader can do now.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("name another one: --policy FILE".into()),
            Self::Unusable { .. } => {
                Some("keys are: case, ttl, grace, history, and tree, read, ttl under [lanes.NAME]".into())
            }
        }
    }
}

/// Reads and checks a policy file.
///
/// # Errors
///
/// [`PolicyError`], also for unknown keys: a rule that is silently not applied is worse than none.
pub fn load(path: &Path) -> Result<Policy, PolicyError> {
    let unusable = |what: String| PolicyError::Unusable { path: path.to_owned(), what };
    let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(unusable(format!("it has {} bytes; the limit is {POLICY_BYTES_MAX}", bytes.len())));
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8".into()))?;
    let policy: Policy =
        toml::from_str(&text).map_err(|error| unusable(error.to_string().trim_end().to_owned()))?;
    check(&policy).map_err(unusable)?;
    Ok(policy)
}

fn check(policy: &Policy) -> Result<(), String> {
    if let Some((one, other)) = policy.doubled_lane() {
        return Err(format!("lanes `{one}` and `{other}` are one lane: case does not tell lanes apart"));
    }
    for (name, lane) in &policy.lanes {
        if lane.tree.is_empty() && lane.read.is_empty() {
            return Err(format!("lane `{name}` has neither `tree` nor `read`"));
        }
        if lane.ttl == Some(Span::ZERO) {
            return Err(format!("`ttl` of lane `{name}` is zero"));
        }
    }
    if policy.ttl == Some(Span::ZERO) {
        return Err("`ttl` is zero".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease-lane.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_names_lanes_and_times() {
        let policy =
            load_text("ttl = '10m'\ngrace = '5s'\n[lanes.api]\ntree = ['src/api/**']\nttl = '1h'\n").unwrap();
        assert_eq!(policy.ttl, Some(Span::from_s(600)));
        assert_eq!(policy.lanes.len(), 1);
        assert_eq!(load_text("").unwrap(), Policy::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("tll = '10m'", "tll"),
            ("ttl = 10", "ttl"),
            ("ttl = '0s'", "zero"),
            ("ttl = 'soon'", "soon"),
            ("[lanes.api]\ntree = ['../x']", "../x"),
            ("[lanes.api]\n", "neither"),
            ("[lanes.api]\ntree=['a']\n[lanes.API]\ntree=['b']", "one lane"),
            ("[lanes.api]\ntree=['a']\nexclusive = true", "exclusive"),
            ("case = 'upper'", "upper"),
        ] {
            let error = load_text(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
