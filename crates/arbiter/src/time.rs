//! Points and spans of time, as data.

use alloc::string::{String, ToString};
use core::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time to the millisecond; RFC 3339 UTC in text.
///
/// ```
/// use arbiter::time::Timestamp;
/// let at = Timestamp::parse("2026-11-21T07:31:11.123Z").unwrap();
/// assert_eq!(at.to_string(), "2026-11-21T07:31:11.123Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest point that has a text of four-digit years.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);
    /// The earliest point: the Unix epoch.
    pub const MIN: Timestamp = Timestamp(0);

    /// Milliseconds since the Unix epoch, held within [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub fn from_unix_ms(ms: i64) -> Timestamp {
        Timestamp(ms.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Reads RFC 3339 text with any offset; `None` when it is not that or lies outside the range.
    pub fn parse(text: &str) -> Option<Timestamp> {
        if let Some(written) = Self::parse_as_written(text.as_bytes()) {
            return Some(written);
        }
        let ms = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
        (Self::MIN.0..=Self::MAX.0).contains(&ms).then_some(Timestamp(ms))
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS.mmmZ`, the one way in which times are written, and nothing else. Many times faster than
    /// [`Timestamp::parse`], and never at odds with it.
    ///
    /// ```
    /// use arbiter::time::Timestamp;
    /// let at = Timestamp::parse_as_written(b"2026-11-21T07:31:11.123Z");
    /// assert_eq!(at, Timestamp::parse("2026-11-21T08:31:11.123+01:00"));
    /// assert_eq!(Timestamp::parse_as_written(b"2026-11-21T08:31:11.123+01:00"), None);
    /// ```
    pub fn parse_as_written(text: &[u8]) -> Option<Timestamp> {
        let text: &[u8; 24] = text.try_into().ok()?;
        // All bytes at once: a digit where there is a 0, and elsewhere what stands here.
        let is_written =
            text.iter().zip(b"0000-00-00T00:00:00.000Z").fold(true, |is_written, (&byte, &like)| {
                is_written & (byte.wrapping_sub(like) <= if like == b'0' { 9 } else { 0 })
            });
        if !is_written {
            return None;
        }
        let number =
            |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit & 0xf));
        let (year, month, day) = (number(&text[..4]), number(&text[5..7]), number(&text[8..10]));
        let (hour, minute) = (number(&text[11..13]), number(&text[14..16]));
        let (second, ms) = (number(&text[17..19]), number(&text[20..23]));
        let is_time = hour < 24 && minute < 60 && second < 60;
        let is_day = 1970 <= year && (1..=12).contains(&month) && 1 <= day && day <= days_of(month, year);
        if !is_time || !is_day {
            return None;
        }
        let hours = days_before(year, month, day) * 24 + hour;
        Some(Timestamp(((hours * 60 + minute) * 60 + second) * 1000 + ms))
    }

    /// This point and `span` more, no later than [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, span: Span) -> Timestamp {
        Self::from_unix_ms(self.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; nothing when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn days_of(month: i64, year: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first of January 1970 to a day of the Gregorian calendar that is not before it.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // Counted in years that begin in March, so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: DateTime<Utc> = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A length of time in whole milliseconds, at most [`Span::MAX`].
///
/// Text has a number and a unit (`500ms`, `30s`, `5m`, `2h`, `1d`); JSON has a number of seconds.
///
/// ```
/// use arbiter::time::Span;
/// assert_eq!(Span::parse("5m").unwrap().as_ms(), 300_000);
/// assert!(Span::parse("5 minutes").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: write a whole number and a unit, such as `500ms`, `30s`, `5m`, `2h` or `1d`"
)]
pub struct SpanError {
    text: String,
}

impl Span {
    /// The longest span: ten years of 365 days.
    pub const MAX: Span = Span(10 * 365 * 24 * 3600 * 1000);
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of `ms` milliseconds, at most [`Span::MAX`].
    pub const fn from_ms(ms: u64) -> Span {
        if ms < Self::MAX.0 { Span(ms) } else { Self::MAX }
    }

    /// A span of `s` seconds, at most [`Span::MAX`].
    pub const fn from_s(s: u64) -> Span {
        Self::from_ms(s.saturating_mul(1000))
    }

    /// The span in milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Both spans together, at most [`Span::MAX`].
    #[must_use]
    pub const fn plus(self, other: Span) -> Span {
        Self::from_ms(self.0.saturating_add(other.0))
    }

    /// Reads a number and a unit.
    ///
    /// # Errors
    ///
    /// [`SpanError`] when there is no unit, an unknown one, a fraction, or more than [`Span::MAX`].
    pub fn parse(text: &str) -> Result<Span, SpanError> {
        let error = || SpanError { text: crate::text::shown(text, 40).to_string() };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        let number: u64 = number.parse().map_err(|_| error())?;
        let ms = number.checked_mul(unit_ms).filter(|&ms| ms <= Self::MAX.0).ok_or_else(error)?;
        Ok(Span(ms))
    }
}

impl fmt::Display for Span {
    /// Writes the span with the largest unit that leaves a whole number; [`Span::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.0 >= unit_ms && self.0.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", self.0 / unit_ms);
            }
        }
        if self.0 == 0 { f.write_str("0s") } else { write!(f, "{}ms", self.0) }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            #[allow(
                clippy::cast_precision_loss,
                reason = "at most ten years of milliseconds: far below 2^52"
            )]
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, at most ten years")
            }
            fn visit_u64<E: de::Error>(self, s: u64) -> Result<Span, E> {
                let ms = s.checked_mul(1000).filter(|&ms| ms <= Span::MAX.0);
                ms.map(Span).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(s), &self))
            }
            fn visit_f64<E: de::Error>(self, s: f64) -> Result<Span, E> {
                #[allow(clippy::cast_precision_loss, reason = "a limit, not a value")]
                let most = Span::MAX.0 as f64;
                let ms = s * 1000.0;
                if !(0.0..=most).contains(&ms) {
                    return Err(E::invalid_value(de::Unexpected::Float(s), &self));
                }
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "range checked above"
                )]
                Ok(Span((ms + 0.5) as u64))
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

/// A span as policy files and policy records spell it: text such as `"50m"`.
pub mod span_text {
    use super::{Deserialize, Deserializer, Serializer, Span, String, de};

    /// Writes the span as text.
    ///
    /// # Errors
    ///
    /// Only those of the serializer.
    #[allow(clippy::ref_option, reason = "the signature serde calls")]
    pub fn serialize<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(span),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the span from text.
    ///
    /// # Errors
    ///
    /// When the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Span::parse(&text).map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn spans_read_what_they_write() {
        for ms in [0, 1, 500, 999, 1000, 1500, 59_000, 60_000, 90_000, 3_600_000, 86_400_000, Span::MAX.0] {
            assert_eq!(Span::parse(&Span(ms).to_string()), Ok(Span(ms)), "{ms}");
        }
    }

    #[test]
    fn what_is_written_is_read_the_short_way_as_the_long_way() {
        const DAY_MS: i64 = 86_400_000;
        let long_way = |text: &str| {
            let ms = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
            (Timestamp::MIN.0..=Timestamp::MAX.0).contains(&ms).then_some(Timestamp(ms))
        };
        for day in 0..=Timestamp::MAX.0 / DAY_MS {
            let at = Timestamp(day * DAY_MS + day * 7919 % DAY_MS);
            let text = at.to_string();
            assert_eq!(Timestamp::parse_as_written(text.as_bytes()), Some(at), "{text}");
        }
        // Every byte of some of them changed to everything that may stand somewhere in a time.
        for text in ["2024-02-29T23:59:59.999Z", "1970-01-01T00:00:00.000Z", "2100-02-28T10:10:10.010Z"] {
            for at in 0..text.len() {
                for letter in "0123456789-+:.TtZz ".chars() {
                    let mut changed = String::from(&text[..at]);
                    changed.push(letter);
                    changed.push_str(&text[at + 1..]);
                    let short_way = Timestamp::parse_as_written(changed.as_bytes());
                    if let Some(read) = short_way {
                        assert_eq!(read.to_string(), changed);
                        assert_eq!(long_way(&changed), Some(read), "{changed}");
                    }
                    assert_eq!(Timestamp::parse(&changed), long_way(&changed), "{changed}");
                    let is_canonical = long_way(&changed).is_some_and(|read| read.to_string() == changed);
                    assert_eq!(short_way.is_some(), is_canonical, "{changed}");
                }
            }
        }
    }

    #[test]
    fn span_text_needs_a_whole_number_and_a_unit() {
        for bad in
            ["", "5", "s", "5 s", "-5s", "+5s", "1.5s", "5S", "5sec", "99999999999999999999s", "4000d", "٥s"]
        {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_neither_overflows_nor_goes_below_nothing() {
        assert_eq!(Timestamp::MAX.plus(Span::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Span::ZERO);
        assert_eq!(Timestamp::from_unix_ms(i64::MIN), Timestamp::MIN);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn seconds_in_json_keep_the_milliseconds() {
        for ms in [0u64, 1, 500, 1000, 1001, 3_000_000, Span::MAX.0] {
            let json = serde_json::to_string(&Span(ms)).unwrap();
            assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), Span(ms), "{json}");
        }
        assert!(serde_json::from_str::<Span>("-1").is_err());
        assert!(serde_json::from_str::<Span>("1e300").is_err());
    }
}
