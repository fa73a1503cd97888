//! Numbers as the names of files and the marks have them.

/// The number as twenty digits, as many as the largest has.
///
/// What `{:020}` writes, zero by zero; a call needs eight of these.
pub(crate) fn twenty_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(20);
    text.push_str(&"00000000000000000000"[digits.len()..]);
    text.push_str(&digits);
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
