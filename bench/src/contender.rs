//! The contenders: each row's way to be prepared, timed and checked once.

mod crowds;
mod floors;
mod footprint;
mod library;
mod line;
mod reading;
mod sizes;
mod verbs;

pub(crate) use library::pairs;

use crate::Answer;
use crate::lane::Lane;
use crate::roster::{self, ROWS, Spec};
use crate::tools::{Tools, Work};

/// What one go came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Seconds, or bytes.
    pub(crate) value: f64,
    /// How many processes were told that the store was busy.
    pub(crate) busy: usize,
}

impl From<f64> for Sample {
    fn from(value: f64) -> Sample {
        Sample { value, busy: 0 }
    }
}

/// One row that takes part.
pub(crate) struct Contender<'a> {
    /// What it is.
    pub(crate) spec: &'static Spec,
    /// Prepares, times and checks one go of the round of this number.
    pub(crate) once: Box<dyn FnMut(usize) -> Answer<Sample> + 'a>,
}

/// All that take part, and why others do not.
pub(crate) struct Roster<'a> {
    wanted: Vec<&'static str>,
    tools: &'a Tools,
    work: &'a Work,
    /// Those that take part.
    pub(crate) contenders: Vec<Contender<'a>>,
    /// Rows that were asked for and cannot take part, and why.
    pub(crate) skipped: Vec<(&'static str, String)>,
}

impl<'a> Roster<'a> {
    /// Prepares the rows of these names.
    pub(crate) fn new(wanted: Vec<&'static str>, tools: &'a Tools, work: &'a Work) -> Answer<Roster<'a>> {
        let mut roster = Roster { wanted, tools, work, contenders: Vec::new(), skipped: Vec::new() };
        floors::add(&mut roster)?;
        verbs::add(&mut roster);
        sizes::add(&mut roster)?;
        crowds::add(&mut roster);
        line::add(&mut roster);
        library::add(&mut roster)?;
        footprint::add(&mut roster);
        let place = |name| ROWS.iter().position(|spec| spec.name == name);
        roster.contenders.sort_by_key(|contender| place(contender.spec.name));
        Ok(roster)
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.contains(&name)
    }

    fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    fn add<S: Into<Sample>>(&mut self, name: &str, mut once: impl FnMut(usize) -> Answer<S> + 'a) {
        if self.wants(name) {
            let spec = roster::spec(name).expect("every row is in the table");
            self.contenders.push(Contender { spec, once: Box::new(move |round| Ok(once(round)?.into())) });
        }
    }

    fn skip(&mut self, name: &'static str, why: String) {
        eprintln!("bench: SKIPPED the row {name}: {why}");
        self.skipped.push((name, why));
    }

    /// lease-lane with a store of its own in a directory that is made new for `name`.
    fn lane(&self, name: &str) -> Answer<Lane<'a>> {
        lane(self.tools, self.work, name)
    }
}

fn lane<'a>(tools: &'a Tools, work: &'a Work, name: &str) -> Answer<Lane<'a>> {
    Ok(Lane { program: &tools.lease_lane, store: work.sub(name)?, work })
}
