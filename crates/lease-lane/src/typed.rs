//! The command line as it was typed, for what clap does not keep.

use std::ffi::OsString;

/// Whether `flag` was given with `=`, which leaves no doubt what its value is.
pub(crate) fn is_joined(flag: &str) -> bool {
    let is_it = |word: OsString| {
        word.to_str().and_then(|word| word.strip_prefix(flag)).is_some_and(|rest| rest.starts_with('='))
    };
    std::env::args_os().skip(1).take_while(|word| word != "--").any(is_it)
}
