//! Reading a long journal: what the bytes cost, and what their meaning costs.

use std::fs;
use std::path::Path;
use std::time::Instant;

use arbiter::seq::Seq;
use journal::disk::RealDisk;
use journal::history;
use journal::state::Until;

use super::Roster;
use crate::Answer;
use crate::lane::Lane;

/// `,"crc":"01234567"}`: what a checksum does not cover.
const CRC_BYTES: usize = 18;

pub(super) fn add<'a>(roster: &mut Roster<'a>, lane: &Lane<'a>) {
    let store = lane.store.clone();
    roster.add("scan", move |_| {
        let start = Instant::now();
        let (records, sound) = scan(&store.join("journal"))?;
        let time = start.elapsed();
        if records < 1_000_000 || !sound {
            return Err(format!("{records} records were scanned; sound: {sound}").into());
        }
        each(time, records)
    });
    let store = lane.store.clone();
    roster.add("replay", move |_| {
        let disk = RealDisk::open_or_create(&store)?;
        let start = Instant::now();
        let (state, last) = history::state_at(&disk, Until::Now)?;
        let time = start.elapsed();
        // Numbers have no gaps, and nothing is pruned here.
        let records = last.map_or(0, Seq::get);
        if records < 1_000_000 || !state.live.is_empty() {
            return Err(format!("{records} records were replayed, or a lease is left").into());
        }
        each(time, records)
    });
    let store = lane.store.clone();
    roster.add("verify", move |_| {
        let disk = RealDisk::open_or_create(&store)?;
        let start = Instant::now();
        let survey = history::survey(&disk)?;
        let time = start.elapsed();
        if survey.records < 1_000_000 || !survey.damage.is_empty() {
            return Err(format!("the history of a bench is sound: {survey:?}").into());
        }
        each(time, survey.records)
    });
}

fn each(time: std::time::Duration, records: u64) -> Answer<f64> {
    Ok(time.as_secs_f64() / f64::from(u32::try_from(records)?))
}

/// Counts the lines of all segments, those that stand in two of them once, and compares each line's checksum.
fn scan(journal: &Path) -> Answer<(u64, bool)> {
    let (mut lines, mut segments, mut sound) = (0, 0, true);
    for entry in fs::read_dir(journal)? {
        let bytes = fs::read(entry?.path())?;
        let mut rest = &bytes[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            let (covered, stated) = line.split_at(line.len().saturating_sub(CRC_BYTES));
            let crc = format_crc(crc32fast::hash(covered));
            sound &= stated.get(8..16) == Some(&crc[..]);
            rest = &rest[end + 1..];
            lines += 1;
        }
        segments += 1;
    }
    Ok((lines + 1 - segments, sound))
}

fn format_crc(crc: u32) -> [u8; 8] {
    let mut text = [0; 8];
    for (n, digit) in text.iter_mut().enumerate() {
        let nibble = (crc >> (28 - 4 * n)) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    text
}
