//! The commonest records as they are written here, read without making values of what they say.
//!
//! A line that this program writes has its fields in one order, no white space, and nearly always text without
//! escapes. Such a line is gone through once, byte by byte, and every field of it is checked: what is accepted here,
//! [`crate::record::decode`] accepts too, with the same meaning. Whatever is the least unusual (another order, an
//! escape, a letter beyond ASCII, a field of a newer version, a request with a name) is left to it. It is the
//! authority; this is a short cut, and `tests/short_cut.rs` holds the two against each other.

use std::collections::VecDeque;

use arbiter::evidence::ClockReading;
use arbiter::name::NAME_BYTES_MAX;
use arbiter::region::{Entry, Region};
use arbiter::request::{Note, PROCESSES_MAX, RunId};
use arbiter::seq::{Fence, LeaseId};
use arbiter::time::{Span, Timestamp};
use arbiter::verdict::RefusalCode;
use serde::Deserialize;
use serde::de::{self, value::BorrowedStrDeserializer};

use crate::line::{self, Frame};
use crate::record::Ended;

/// What an ACQUIRE says of its lease. Lists are text still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquire<'a> {
    pub(crate) lane: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) tree: Texts<'a>,
    pub(crate) read: Texts<'a>,
    pub(crate) acquired_at: Timestamp,
    pub(crate) ttl_s: u64,
    pub(crate) clock: Clock<'a>,
    pub(crate) asked: Asked<'a>,
}

/// What of a request goes on to the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// To know it by when it comes again: the region that was found sound.
    tree: &'a [u8],
    /// A list of process identities in JSON; nothing when there are none.
    pub(crate) processes: &'a [u8],
    pub(crate) parent: Option<LeaseId>,
    pub(crate) run_id: Option<&'a str>,
    pub(crate) why: Option<&'a str>,
}

/// A list of texts, as JSON, of which each stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Texts<'a>(&'a [u8]);

impl Clock<'_> {
    pub(crate) fn reading(self) -> ClockReading {
        ClockReading { boot: self.boot.into(), up_ms: self.up_ms }
    }
}

impl<'a> Texts<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        let list = self.0.strip_prefix(b"[\"").and_then(|list| list.strip_suffix(b"\"]"));
        let list = list.and_then(|list| std::str::from_utf8(list).ok());
        list.into_iter().flat_map(|list| list.split("\",\""))
    }
}

/// Which lease a RELEASE or a HEARTBEAT is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) lease: LeaseId,
    pub(crate) fence: Fence,
}

/// A reading of the boot-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock<'a> {
    pub(crate) boot: &'a str,
    pub(crate) up_ms: u64,
}

/// Reads an ACQUIRE of a request without a name, a ticket or a worktree, that ended nothing.
pub(crate) fn acquire<'a>(frame: &Frame<'a>, text: &'a [u8]) -> Option<Acquire<'a>> {
    let mut body = Cursor(line::body(frame, text)?);
    body.heading()?;
    let asked = body.request()?;
    let clock = body.evidence()?;
    body.eat(b",\"verdict\":{\"outcome\":\"acquire\",\"lane\":")?;
    let lane = body.name()?;
    body.eat(b",\"owner\":")?;
    let owner = body.name()?;
    body.eat(b",\"tree\":")?;
    let tree = Texts(body.region(asked.tree)?);
    body.eat(b",\"read\":")?;
    let read = Texts(body.region(asked.tree)?);
    body.eat(b",\"auto_picked\":")?;
    body.boolean()?;
    body.eat(b",\"acquired_at\":")?;
    let acquired_at = body.time()?;
    body.eat(b",\"ttl_s\":")?;
    let ttl_s = body.seconds()?;
    body.eat(b",\"expires_at\":")?;
    body.time()?;
    body.eat(b",\"evicted\":[],\"reason\":")?;
    body.text()?;
    body.ends_with(b"}")?;
    Some(Acquire { lane, owner, tree, read, acquired_at, ttl_s, clock, asked })
}

/// Reads a REFUSE of a request without a name, that has nobody before it in the line.
pub(crate) fn refuse<'a>(frame: &Frame<'a>, text: &'a [u8]) -> Option<()> {
    let mut body = Cursor(line::body(frame, text)?);
    body.heading()?;
    body.request()?;
    body.evidence()?;
    body.eat(b",\"verdict\":{\"outcome\":\"refuse\",\"code\":")?;
    body.code()?;
    body.eat(b",\"lane\":")?;
    body.name()?;
    body.eat(b",\"reason\":")?;
    body.text()?;
    if body.eat(b",\"yours\":").is_some() {
        body.boolean()?;
    }
    body.eat(b",\"free_lanes\":")?;
    body.list(|body| body.name().map(|_| ()))?;
    body.eat(b",\"conflicts\":")?;
    body.list(Cursor::conflict)?;
    body.eat(b",\"hint\":")?;
    body.text()?;
    body.ends_with(b"}")
}

/// Reads a RELEASE that the holder wished.
pub(crate) fn release(frame: &Frame<'_>, text: &[u8]) -> Option<About> {
    let mut body = Cursor(line::body(frame, text)?);
    let about = body.about()?;
    body.ends_with(b"")?;
    Some(about)
}

/// Reads a HEARTBEAT.
pub(crate) fn heartbeat<'a>(frame: &Frame<'a>, text: &'a [u8]) -> Option<(About, Clock<'a>)> {
    let mut body = Cursor(line::body(frame, text)?);
    let about = body.about()?;
    body.eat(b",\"clock\":")?;
    let clock = body.clock()?;
    body.ends_with(b"")?;
    Some((about, clock))
}

/// Whether this is what stands of these leases at the end of a checkpoint, to the byte. Each checkpoint has dozens of them,
/// and nearly all of them say five things.
pub(crate) fn are_ended(text: &[u8], ended: &VecDeque<Ended>) -> bool {
    let mut body = Cursor(text);
    let mut are_said = || {
        if !ended.is_empty() {
            body.eat(b",\"ended\":[")?;
            for (n, ended) in ended.iter().enumerate() {
                if n > 0 {
                    body.eat(b",")?;
                }
                body.ended(ended)?;
            }
            body.eat(b"]")?;
        }
        body.ends_with(b"")
    };
    are_said().is_some()
}

/// What is still to be read of a body.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Goes past these bytes, which are known when this is compiled: then comparing is a matter of a few words.
    #[inline]
    fn eat<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let (begin, rest) = self.0.split_first_chunk()?;
        if begin != expected {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    fn ends_with(&self, expected: &[u8]) -> Option<()> {
        (self.0 == expected).then_some(())
    }

    /// Any text in quotes, without escapes and without letters beyond ASCII.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.eat(b"\"")?;
        let (text, rest) = self.0.split_at(plain_bytes(self.0));
        self.0 = rest;
        self.eat(b"\"")?;
        Some(text)
    }

    /// Text that is not blank and has at most so many bytes.
    fn bounded(&mut self, bytes_max: usize) -> Option<&'a str> {
        let text = self.text()?;
        let is_sound = text.len() <= bytes_max && text.iter().any(|&byte| byte != b' ');
        is_sound.then(|| std::str::from_utf8(text).ok()).flatten()
    }

    fn name(&mut self) -> Option<&'a str> {
        self.bounded(NAME_BYTES_MAX)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = line::number(self.0)?;
        self.0 = rest;
        Some(number)
    }

    fn code(&mut self) -> Option<RefusalCode> {
        let code = std::str::from_utf8(self.text()?).ok()?;
        RefusalCode::deserialize(BorrowedStrDeserializer::<de::value::Error>::new(code)).ok()
    }

    /// A number after which no fraction follows, as of whole seconds up to the longest span.
    fn seconds(&mut self) -> Option<u64> {
        let seconds = self.number()?;
        let is_whole = !matches!(self.0.first(), Some(b'.' | b'e' | b'E'));
        (is_whole && seconds <= Span::MAX.as_ms() / 1000).then_some(seconds)
    }

    fn boolean(&mut self) -> Option<()> {
        self.eat(b"true").or_else(|| self.eat(b"false"))
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::parse_as_written(self.text()?)
    }

    fn alive(&mut self) -> Option<()> {
        matches!(self.text()?, b"yes" | b"no" | b"unknown").then_some(())
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.eat(b"[")?;
        if self.eat(b"]").is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.eat(b",").is_none() {
                return self.eat(b"]");
            }
        }
    }

    /// The lane and the owner with which most records begin.
    fn heading(&mut self) -> Option<()> {
        self.eat(b",\"lane\":")?;
        self.name()?;
        self.eat(b",\"owner\":")?;
        self.name()?;
        Some(())
    }

    fn about(&mut self) -> Option<About> {
        self.heading()?;
        self.eat(b",\"lease\":")?;
        let lease = LeaseId::new(self.number()?)?;
        self.eat(b",\"fence\":")?;
        let fence = Fence::new(self.number()?)?;
        Some(About { lease, fence })
    }

    fn clock(&mut self) -> Option<Clock<'a>> {
        self.eat(b"{\"boot\":")?;
        let boot = std::str::from_utf8(self.text()?).ok()?;
        self.eat(b",\"up_ms\":")?;
        let up_ms = self.number()?;
        self.eat(b"}")?;
        Some(Clock { boot, up_ms })
    }

    fn request(&mut self) -> Option<Asked<'a>> {
        let mut asked = Asked { tree: b"", processes: b"", parent: None, run_id: None, why: None };
        self.eat(b",\"request\":{")?;
        if self.eat(b"\"lane\":").is_some() {
            self.name()?;
            self.eat(b",")?;
        }
        self.eat(b"\"owner\":")?;
        self.name()?;
        if self.eat(b",\"tree\":").is_some() {
            asked.tree = self.region(b"")?;
        }
        if self.eat(b",\"read\":").is_some() {
            self.region(b"")?;
        }
        if self.eat(b",\"ttl_s\":").is_some() && self.seconds()? == 0 {
            return None;
        }
        if self.eat(b",\"processes\":").is_some() {
            let mut processes = 0;
            let from = self.0;
            self.list(|body| {
                processes += 1;
                body.process()
            })?;
            (processes <= PROCESSES_MAX).then_some(())?;
            asked.processes = self.since(from);
        }
        if self.eat(b",\"parent\":").is_some() {
            asked.parent = Some(LeaseId::new(self.number()?)?);
        }
        if self.eat(b",\"run_id\":").is_some() {
            asked.run_id = Some(self.bounded(RunId::BYTES_MAX)?);
        }
        if self.eat(b",\"why\":").is_some() {
            asked.why = Some(self.bounded(Note::BYTES_MAX)?);
        }
        if self.eat(b",\"waits\":").is_some() {
            self.boolean()?;
        }
        self.eat(b"}")?;
        Some(asked)
    }

    fn evidence(&mut self) -> Option<Clock<'a>> {
        self.eat(b",\"evidence\":{\"clock\":")?;
        let clock = self.clock()?;
        if self.eat(b",\"observed\":").is_some() {
            self.list(Self::observation)?;
        }
        self.eat(b"}")?;
        Some(clock)
    }

    fn observation(&mut self) -> Option<()> {
        self.eat(b"{\"lease\":")?;
        LeaseId::new(self.number()?)?;
        self.eat(b",\"alive\":")?;
        self.alive()?;
        if self.eat(b",\"processes\":").is_some() {
            self.list(|body| {
                body.eat(b"{\"process\":")?;
                body.process()?;
                body.eat(b",\"alive\":")?;
                body.alive()?;
                body.eat(b",\"why\":")?;
                body.text()?;
                body.eat(b"}")
            })?;
        }
        self.eat(b"}")
    }

    fn process(&mut self) -> Option<()> {
        self.eat(b"{\"pid\":")?;
        u32::try_from(self.number()?).ok()?;
        self.eat(b",\"start\":")?;
        self.number()?;
        self.eat(b",\"boot\":")?;
        self.text()?;
        self.eat(b",\"pidns\":")?;
        self.number()?;
        self.eat(b",\"host\":")?;
        self.text()?;
        if self.eat(b",\"role\":").is_some() {
            matches!(self.text()?, b"supervisor" | b"worker").then_some(())?;
        }
        self.eat(b"}")
    }

    fn conflict(&mut self) -> Option<()> {
        self.eat(b"{\"lease\":")?;
        LeaseId::new(self.number()?)?;
        self.heading()?;
        self.eat(b",\"mode\":")?;
        matches!(self.text()?, b"write" | b"read").then_some(())?;
        self.eat(b",\"overlap\":")?;
        self.eat(b"null").or_else(|| self.text().map(|_| ()))?;
        self.eat(b",\"since\":")?;
        self.time()?;
        self.eat(b",\"expires_at\":")?;
        self.time()?;
        self.eat(b",\"alive\":")?;
        self.alive()?;
        if self.eat(b",\"run_id\":").is_some() {
            self.bounded(RunId::BYTES_MAX)?;
        }
        if self.eat(b",\"why\":").is_some() {
            self.bounded(Note::BYTES_MAX)?;
        }
        self.eat(b"}")
    }

    /// What is written of an ended lease.
    fn ended(&mut self, ended: &Ended) -> Option<()> {
        let begin = self.0;
        if self.ended_plainly(ended).is_none() {
            let json = serde_json::to_vec(ended).ok()?;
            self.0 = begin.strip_prefix(&json[..])?;
        }
        Some(())
    }

    /// The same of one that was given back, whose names are plain.
    fn ended_plainly(&mut self, ended: &Ended) -> Option<()> {
        let Ended { lease, fence, lane, owner, worktree: None, evicted: None, by: None, forced: None, at } =
            ended
        else {
            return None;
        };
        self.eat(b"{\"lease\":")?;
        (self.number()? == lease.get()).then_some(())?;
        self.eat(b",\"fence\":")?;
        (self.number()? == fence.get()).then_some(())?;
        self.eat(b",\"lane\":")?;
        (self.text()? == lane.as_str().as_bytes()).then_some(())?;
        self.eat(b",\"owner\":")?;
        (self.text()? == owner.as_str().as_bytes()).then_some(())?;
        self.eat(b",\"at\":")?;
        (self.number()? == at.get()).then_some(())?;
        self.eat(b"}")
    }

    /// The text of a region; one that is written like `known`, which is sound, is not looked at again.
    fn region(&mut self, known: &[u8]) -> Option<&'a [u8]> {
        let from = self.0;
        if !known.is_empty()
            && let Some(rest) = self.0.strip_prefix(known)
        {
            self.0 = rest;
            return Some(self.since(from));
        }
        let mut entries = 0;
        self.list(|body| {
            entries += 1;
            is_plain_entry(body.text()?).then_some(())
        })?;
        (entries <= Region::ENTRIES_MAX).then(|| self.since(from))
    }

    /// What was gone past since `from` was still to be read.
    fn since(&self, from: &'a [u8]) -> &'a [u8] {
        &from[..from.len() - self.0.len()]
    }
}

/// How many bytes come before the first that ends a text or does not stand for itself in one: a quote, a backslash, a
/// control character, or a byte beyond ASCII.
///
/// Eight bytes are looked at in one step, as one number in which the first byte is the lowest. `below` marks each byte that
/// is less than `least` by one subtraction from all eight. A borrow only spreads upwards, so the lowest marked byte is
/// exact: it is one of these, and none of these comes before it. Higher marks may be false, and are not used.
fn plain_bytes(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST_BITS: u64 = ONES << 7;
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let ends = (is(b'"') | is(b'\\') | below(word, b' ') | word) & HIGHEST_BITS;
        if ends != 0 {
            return text.len() - rest.len() + ends.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let is_plain = |&&byte: &&u8| byte != b'"' && byte != b'\\' && (b' '..0x80).contains(&byte);
    text.len() - rest.len() + rest.iter().take_while(is_plain).count()
}

/// Whether the text is an entry beyond doubt: names of everyday letters with a `/` between two of them, few wildcards;
/// or a lock or a pool with such a name.
fn is_plain_entry(text: &[u8]) -> bool {
    /// Half of what an entry may have, so that no rule about how they are counted matters.
    const WILDCARDS_MAX: usize = Entry::WILDCARDS_MAX / 2;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if let Some(name) = text.strip_prefix(b"lock://").or_else(|| text.strip_prefix(b"pool://")) {
        let is_short = (1..=Entry::LOCK_NAME_BYTES_MAX).contains(&name.len());
        return is_short && name.iter().all(|&byte| is_letter(byte) || byte == b'/');
    }
    let mut wildcards = 0;
    let mut in_name = 0;
    let mut dots = 0;
    for byte in text.iter().copied().chain([b'/']) {
        match byte {
            // Neither nothing nor `.` nor `..` is the name of a file.
            b'/' if in_name == dots && in_name <= 2 => return false,
            b'/' => (in_name, dots) = (0, 0),
            b'*' | b'?' => (wildcards, in_name) = (wildcards + 1, in_name + 1),
            b'.' => (in_name, dots) = (in_name + 1, dots + 1),
            _ if is_letter(byte) => in_name += 1,
            _ => return false,
        }
    }
    wildcards <= WILDCARDS_MAX && text.len() < Entry::BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a store in use, written by the first program that could read them this way.
    const LINES: [&str; 6] = [
        r#"{"seq":2,"ts":"2026-11-21T19:12:36.701Z","op":"ACQUIRE","lane":"src/api/**","owner":"o1","request":{"owner":"o1","tree":["src/api/**"]},"evidence":{"clock":{"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","up_ms":33744460}},"verdict":{"outcome":"acquire","lane":"src/api/**","owner":"o1","tree":["src/api/**"],"read":[],"auto_picked":false,"acquired_at":"2026-11-21T19:12:36.701Z","ttl_s":3000,"expires_at":"2026-11-21T20:02:36.701Z","evicted":[],"reason":"nothing live is in the way"},"nonce":"cb13cf84ce5d88af","prev":"826e7e19","crc":"e3bd5e3a"}"#,
        r#"{"seq":6,"ts":"2026-11-21T19:12:36.770Z","op":"ACQUIRE","lane":"x/**","owner":"o3","request":{"owner":"o3","tree":["x/**"],"processes":[{"pid":11583,"start":3374447,"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","pidns":4026531836,"host":"vm/3d1219c7c4c5","role":"supervisor"},{"pid":11651,"start":3374452,"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","pidns":4026531836,"host":"vm/3d1219c7c4c5","role":"worker"}]},"evidence":{"clock":{"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","up_ms":33744529}},"verdict":{"outcome":"acquire","lane":"x/**","owner":"o3","tree":["x/**"],"read":[],"auto_picked":false,"acquired_at":"2026-11-21T19:12:36.770Z","ttl_s":3000,"expires_at":"2026-11-21T20:02:36.770Z","evicted":[],"reason":"nothing live is in the way"},"nonce":"aa84d9861cd5f3fb","prev":"9d1f6eb5","crc":"e56f354f"}"#,
        r#"{"seq":4,"ts":"2026-11-21T19:12:36.706Z","op":"REFUSE","lane":"src/**","owner":"o2","request":{"owner":"o2","tree":["src/**"]},"evidence":{"clock":{"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","up_ms":33744465}},"verdict":{"outcome":"refuse","code":"REGION_CONFLICT","lane":"src/**","reason":"`src/api` is written by lane `src/api/**` (lease 2, owner `o1`) since 2026-11-21T19:12:36.701Z","free_lanes":[],"conflicts":[{"lease":2,"lane":"src/api/**","owner":"o1","mode":"write","overlap":"src/api","since":"2026-11-21T19:12:36.701Z","expires_at":"2026-11-21T20:02:36.703Z","alive":"unknown"}],"hint":"lease-lane acquire --tree 'src/**' --wait 5m"},"nonce":"b9c69e6a236b986f","prev":"1a5f6d0a","crc":"ee9f5dde"}"#,
        r#"{"seq":3,"ts":"2026-11-21T19:12:36.703Z","op":"HEARTBEAT","lane":"src/api/**","owner":"o1","lease":2,"fence":2,"clock":{"boot":"c71a7aed-383f-4aec-8123-8accd5ba6f4d","up_ms":33744462},"nonce":"bd84dbf96de2d8e6","prev":"e3bd5e3a","crc":"1a5f6d0a"}"#,
        r#"{"seq":5,"ts":"2026-11-21T19:12:36.713Z","op":"RELEASE","lane":"src/api/**","owner":"o1","lease":2,"fence":2,"nonce":"c8e59acf51e288e0","prev":"ee9f5dde","crc":"9d1f6eb5"}"#,
        r#"{"seq":7,"ts":"2026-11-21T19:12:36.772Z","op":"RELEASE","lane":"x/**","owner":"o3","lease":6,"fence":6,"nonce":"a2d4b2c20f820490","prev":"e56f354f","crc":"ad3878a7"}"#,
    ];

    /// Without this the short cut could rot away, and nothing but the time it takes would tell.
    #[test]
    fn what_is_commonly_written_is_read_the_short_way() {
        for line in LINES {
            let text = line.as_bytes();
            let frame = line::decode(text).expect(line);
            let is_read = match frame.op {
                "ACQUIRE" => acquire(&frame, text).is_some(),
                "REFUSE" => refuse(&frame, text).is_some(),
                "HEARTBEAT" => heartbeat(&frame, text).is_some(),
                _ => release(&frame, text).is_some(),
            };
            assert!(is_read, "{line}");
        }
        let json = r#"{"lease":6,"fence":6,"lane":"x/**","owner":"o3","at":7}"#;
        let ended: Ended = serde_json::from_str(json).expect(json);
        assert!(Cursor(json.as_bytes()).ended_plainly(&ended).is_some());
    }

    #[test]
    fn text_ends_where_it_does_byte_by_byte() {
        let is_plain = |byte: &u8| *byte != b'"' && *byte != b'\\' && (b' '..0x80).contains(byte);
        // Each byte beside each other one, in every place of a word, and where there is no whole word.
        for at in 0..9 {
            for one in 0..=u8::MAX {
                for two in 0..=u8::MAX {
                    let mut text = *b"an everyday";
                    (text[at], text[at + 1]) = (one, two);
                    let plain = text.iter().take_while(|byte| is_plain(byte)).count();
                    assert_eq!(plain_bytes(&text), plain, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn what_passes_for_a_plain_entry_is_one() {
        let mut plain = 0;
        let letters =
            ["", "a", ".", "..", "/", "*", "**", "?", "lock://", "pool://", "-", "Z_9", "[", "{", "\\", ":"];
        for one in letters {
            for two in letters {
                for three in letters {
                    for four in letters {
                        let text = [one, two, three, four].concat();
                        if is_plain_entry(text.as_bytes()) {
                            plain += 1;
                            assert!(Entry::parse(&text).is_ok(), "{text}");
                        }
                    }
                }
            }
        }
        assert!(plain > 1000, "{plain}");
        for usual in ["src/api/**", "src/*.rs", "**", "lock://db", "pool://gpu", ".github/x", "a/...b/c..d"] {
            assert!(is_plain_entry(usual.as_bytes()), "{usual}");
        }
    }
}
