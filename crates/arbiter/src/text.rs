//! Text that comes from others: bounded when it enters, harmless when it is shown.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// `text` with control characters escaped and no more than `most` characters, for messages.
///
/// Bidirectional controls count as control characters: they would reorder the line around them.
pub fn shown(text: &str, most: usize) -> Shown<'_> {
    Shown { text, most }
}

/// What [`shown`] makes; formats itself.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    text: &'a str,
    most: usize,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nearly all text is of this kind.
        if self.text.len() <= self.most && self.text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return f.write_str(self.text);
        }
        for (count, c) in self.text.chars().enumerate() {
            if count == self.most {
                return f.write_str("…");
            }
            if is_unprintable(c) {
                fmt::Display::fmt(&c.escape_default(), f)?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

/// What moves a terminal's cursor, turns its line around, or is not seen at all (`Default_Ignorable_Code_Point` of
/// Unicode, which also hides words for a reader that is a language model).
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The same JSON with everything in its strings escaped that [`shown`] would escape, and no carriage return between them.
///
/// JSON itself insists on the first for 32 characters only. Text that has nothing of the kind is given back as it came.
pub fn escaped_json<'a>(json: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
    let json = json.into();
    // Nearly every answer ends here: three looks, each at a word or more of bytes in one step.
    let bytes = json.as_bytes();
    if bytes.is_ascii() && !bytes.contains(&0x7f) && !bytes.contains(&b'\r') {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // As it stands it can only be outside of strings, where a space says the same.
            '\r' => escaped.push(' '),
            // Outside of strings there is nothing else but ASCII, and line ends must stay there.
            '\0'..='~' => escaped.push(c),
            _ if !is_unprintable(c) => escaped.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = fmt::Write::write_fmt(&mut escaped, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    Cow::Owned(escaped)
}

/// `text` as one word of a POSIX shell, so that a printed command can be pasted.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    let mut word = String::with_capacity(text.len() + 2);
    word.push('\'');
    for c in text.chars() {
        if c == '\'' {
            word.push_str("'\\''");
        } else {
            word.push(c);
        }
    }
    word.push('\'');
    word
}

/// Of `candidates` the one nearest to `word`, if it is near: for "did you mean …?".
///
/// Near: no more than a third of the characters of `word` differ. The first of several that are equally near. Words
/// of more than 64 bytes are near nothing, and no more than 1 000 are looked at: comparing costs the product of the
/// lengths.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_BYTES_MAX: usize = 64;
    const CANDIDATES_MAX: usize = 1000;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().take(CANDIDATES_MAX).filter(|word| word.len() <= WORD_BYTES_MAX) {
        let distance = distance(word, candidate);
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    let (distance, meant) = best?;
    (distance * 3 <= word.chars().count().max(3)).then_some(meant)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour to get from one word to
/// the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut left: Option<char> = None;
    for (i, in_a) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, &in_b) in b.iter().enumerate() {
            let mut least = (row[j] + usize::from(in_a != in_b)).min(row[j + 1] + 1).min(next[j] + 1);
            if 0 < j && left == Some(in_b) && in_a == b[j - 1] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = core::mem::replace(&mut row, next);
        left = Some(in_a);
    }
    row[b.len()]
}

/// Text of at most `MAX` bytes that is not empty: reasons, run ids, labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// Why a text was turned away at the door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It has more bytes than its kind may have.
    #[error("it has {bytes} bytes; the limit is {most}")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
}

impl<const MAX: usize> Text<MAX> {
    /// Bytes that it may have.
    pub const BYTES_MAX: usize = MAX;

    /// Accepts `text` as it is.
    ///
    /// # Errors
    ///
    /// [`TextError`] when it is empty (or nothing but white space) or longer than `MAX` bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(TextError::Empty);
        }
        if text.len() > MAX {
            return Err(TextError::TooLong { bytes: text.len(), most: MAX });
        }
        Ok(Text(text))
    }

    /// `text`, or `default` where it cannot be had; the default must be a text of its own right.
    pub(crate) fn or_default(text: &str, default: &'static str) -> Self {
        Text::new(text).unwrap_or_else(|_| Text(default.into()))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&self.0, 200).fmt(f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_shown_cannot_move_the_cursor_or_flood_the_screen() {
        assert_eq!(shown("a\u{1b}[2Jb\nc", 99).to_string(), "a\\u{1b}[2Jb\\nc");
        assert_eq!(shown("abc\u{202e}def", 99).to_string(), "abc\\u{202e}def");
        assert_eq!(shown("abcdef", 3).to_string(), "abc…");
        assert_eq!(shown("abc", 3).to_string(), "abc");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for hidden in [
            '\u{ad}',
            '\u{202e}',
            '\u{2066}',
            '\u{200d}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{9b}',
            '\u{7f}',
            '\u{3164}',
        ] {
            let text = alloc::format!("a{hidden}b");
            assert!(!shown(&text, 99).to_string().contains(hidden), "{hidden:?}");
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escaped_json(json);
            assert!(!escaped.contains(hidden), "{hidden:?}");
            assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
        assert_eq!(shown("Zoë 日本 ❤ 👍🏽", 99).to_string(), "Zoë 日本 ❤ 👍🏽");
        assert_eq!(escaped_json("{\"a\":\"ë\"}\n"), "{\"a\":\"ë\"}\n");
        assert_eq!(escaped_json("{\r\"a\": 1}\r\n"), "{ \"a\": 1} \n");
    }

    /// Every answer goes through it, and nearly every one is plain.
    #[test]
    fn plain_json_is_given_back_and_not_copied() {
        for plain in ["", "{\"a\":\"~ b\",\t\"c\":\"\\n\\u001b\"}\n"] {
            assert!(
                matches!(escaped_json(plain), Cow::Borrowed(same) if core::ptr::eq(same, plain)),
                "{plain}"
            );
        }
    }

    #[test]
    fn shell_words_survive_a_shell() {
        for (text, word) in [
            ("api", "api"),
            ("src/**", "'src/**'"),
            ("", "''"),
            ("it's", "'it'\\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("~x", "'~x'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn the_nearest_word_is_offered_if_it_is_near() {
        for (there, candidates, offered) in [
            ("tll", &["lanes", "ttl"][..], Some("ttl")),
            ("lane", &["lanes", "case"], Some("lanes")),
            ("histroy", &["grace", "history"], Some("history")),
            ("wbe", &["api", "web"], Some("web")),
            ("ab", &["ac", "ad"], Some("ac")),
            ("zzz", &["ttl"], None),
            ("upper", &["fold", "exact"], None),
            ("x", &[], None),
        ] {
            assert_eq!(nearest(there, candidates.iter().copied()), offered, "{there}");
        }
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")), (3, 0, 3));
        assert_eq!((distance("ab", "ba"), distance("abcd", "bacdx"), distance("", "")), (1, 2, 0));
    }

    #[test]
    fn text_is_bounded_and_not_empty() {
        assert_eq!(Text::<3>::new(" \t"), Err(TextError::Empty));
        assert_eq!(Text::<3>::new("abcd"), Err(TextError::TooLong { bytes: 4, most: 3 }));
        assert!(Text::<3>::new("abc").is_ok());
    }
}
