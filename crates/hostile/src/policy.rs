//! The text of a policy file.

use arbiter::policy::Policy;
use lease::policy_file;

/// Any text as a policy file: read or refused, never a panic. What is read goes into the journal and comes back the
/// same; what is refused says why in a message that fits on a screen.
///
/// # Panics
///
/// When the policy reader breaks its word.
pub fn policy(bytes: &[u8]) {
    let path = std::path::Path::new("lease-lane.toml");
    match policy_file::read(path, bytes) {
        Ok(policy) => {
            let written = serde_json::to_string(&policy).expect("a policy has JSON");
            let again: Policy =
                serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            assert_eq!(again, policy, "{written}");
            for lane in policy.lanes.keys() {
                assert!(policy.lane(lane).is_some(), "{lane:?}");
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.chars().count() <= 1000, "{} characters: {said:.200}…", said.chars().count());
            assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
            let _hinted = error.hint();
        }
    }
}
