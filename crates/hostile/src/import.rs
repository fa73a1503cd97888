//! The journal of another tool.

use lease::import::dos;

/// Any bytes as a journal of dos-kernel: read or refused, never a panic. What is read accounts for every lease once.
///
/// # Panics
///
/// When the importer breaks its word.
pub fn import(bytes: &[u8]) {
    match dos::read(bytes) {
        Ok(journal) => {
            let lines = bytes.split(|&byte| byte == b'\n').count() as u64;
            assert!(journal.records <= lines, "a line is one record at most");
            for lease in &journal.live {
                assert!(!lease.lane.is_empty() && !lease.region().is_empty());
                assert_eq!(lease.to_json()["lane"], lease.lane.as_str());
            }
            if let Some(torn) = journal.torn {
                assert_eq!(torn.at + torn.bytes, bytes.len() as u64, "only the end is torn");
            }
        }
        Err(error) => {
            assert!(error.to_string().len() < 1000, "{error}");
            let _hinted = error.hint();
        }
    }
}
