//! JSON from bytes.

use serde::Deserialize;
use serde::de::Error as _;

/// As [`serde_json::from_slice`]. Whether all of it is UTF-8 is found out in one go: text by text that is a tenth of the
/// work.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(error) => Err(serde_json::Error::custom(error)),
    }
}
