//! Numbers as the names of files and the marks have them.

use std::fmt::Write as _;

/// The number as twenty digits, as many as the largest has.
///
/// What `{:020}` writes, zero by zero; a call needs seven of these.
pub(crate) fn twenty_digits(number: u64) -> String {
    let mut text = String::with_capacity(20);
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    text.push_str(&"00000000000000000000"[digits..]);
    let _ = write!(text, "{number}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_digits_of_every_length() {
        for number in (0..20).map(|n| 10_u64.pow(n)).flat_map(|n| [n - 1, n]).chain([u64::MAX]) {
            assert_eq!(twenty_digits(number), format!("{number:020}"));
        }
    }
}
