//! What came out: as a table for people and as one JSON object.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::contender::Sample;
use crate::roster::{Goal, Spec, Unit};
use crate::stats::Spread;

/// Everything a run found out.
pub(crate) struct Report {
    /// Facts about the machine, the binary and the run.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The rows, in the order shown.
    pub(crate) rows: Vec<Row>,
    /// Rows that did not take part, and why.
    pub(crate) skipped: Vec<(&'static str, String)>,
}

/// One line of the table.
pub(crate) struct Row {
    /// What it is.
    pub(crate) spec: &'static Spec,
    /// How often it was measured.
    pub(crate) count: usize,
    /// What was measured: seconds, or bytes.
    pub(crate) value: Spread,
    /// The same divided by that of the base in the same round.
    pub(crate) ratio: Spread,
    /// Whether its goal is held, if it has one.
    pub(crate) held: Option<bool>,
    /// How many processes were told that the store was busy.
    pub(crate) busy: usize,
}

/// The samples of a row, each with its round.
pub(crate) type Samples = [(usize, Sample)];

impl Row {
    /// Compares samples with those of the same rounds of the base; nothing if there are none in common.
    pub(crate) fn new(spec: &'static Spec, samples: &Samples, base: &Samples) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|(round, sample)| {
                let (_, base) = base.iter().find(|(base_round, _)| base_round == round)?;
                Some((sample.value, base.value))
            })
            .collect();
        let ratio = Spread::of(pairs.iter().map(|(value, base)| value / base).collect())?;
        let value = Spread::of(samples.iter().map(|(_, sample)| sample.value).collect())?;
        let busy = samples.iter().map(|(_, sample)| sample.busy).sum();
        let held = match spec.goal {
            Goal::None => None,
            Goal::Times(times) => Some(ratio.median <= times),
            Goal::TimesAnd(times, more) => {
                let part = pairs.iter().map(|(value, base)| value / (base * times + more)).collect();
                Some(Spread::of(part)?.median <= 1.0)
            }
            Goal::AtMost(most) => Some(value.median <= most),
            Goal::TimesOr(times, most) => Some(ratio.median <= times || value.median <= most),
            Goal::NeverBusy => Some(busy == 0),
        };
        Some(Self { spec, count: samples.len(), value, ratio, held, busy })
    }

    /// The cells of its line.
    pub(crate) fn cells(&self) -> [String; 10] {
        let Row { spec, count, value, ratio, .. } = self;
        let shown = |value: f64| three_digits(spec.unit.of(value));
        let (low, high) = (shown(value.low), shown(value.high));
        let busy = if self.busy == 0 { String::new() } else { format!(" ({} told busy)", self.busy) };
        [
            spec.name.to_owned(),
            count.to_string(),
            format!("{} {}", shown(value.median), spec.unit.as_str()),
            format!("{low}–{high}"),
            three_digits(ratio.median),
            format!("{}–{}", three_digits(ratio.low), three_digits(ratio.high)),
            spec.base.to_owned(),
            target(spec),
            self.held.map_or("", |held| if held { "held" } else { "NOT HELD" }).to_owned(),
            format!("{}{busy}", spec.what),
        ]
    }

    fn json(&self) -> Value {
        let spread = |Spread { low, median, high }: Spread| json!({"median": median, "q1": low, "q3": high});
        let unit = match self.spec.unit {
            Unit::Mib => "bytes",
            Unit::Ms | Unit::Us | Unit::Ns => "seconds",
        };
        json!({"row": self.spec.name, "what": self.spec.what, "n": self.count, "unit": unit,
            "value": spread(self.value), "base": self.spec.base, "ratio": spread(self.ratio),
            "target": target(self.spec), "held": self.held, "busy": self.busy})
    }
}

/// The heads of [`Row::cells`].
pub(crate) const HEADS: [&str; 10] =
    ["row", "n", "median", "IQR", "ratio", "IQR", "to", "target", "", "what"];

/// What a row must hold, in words.
pub(crate) fn target(spec: &Spec) -> String {
    let shown = |value: f64| format!("{} {}", three_digits(spec.unit.of(value)), spec.unit.as_str());
    match spec.goal {
        Goal::None => String::new(),
        Goal::Times(times) => format!("≤ {times}"),
        Goal::TimesAnd(times, more) => format!("≤ {times} and {} more", shown(more)),
        Goal::AtMost(most) => format!("≤ {}", shown(most)),
        Goal::TimesOr(times, most) => format!("≤ {times}, or ≤ {}", shown(most)),
        Goal::NeverBusy => "none told busy".to_owned(),
    }
}

/// A number with three digits that count.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

impl Report {
    /// Renders for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            writeln!(text, "{name:<12} {value}").expect("a String takes everything");
        }
        for (name, why) in &self.skipped {
            writeln!(text, "{:<12} {name}: {why}", "SKIPPED").expect("a String takes everything");
        }
        text.push('\n');
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let widths: Vec<usize> = (0..HEADS.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for line in &lines {
            let mut shown = String::new();
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                let is_number = (1..6).contains(&column);
                let cell = if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                shown.push_str(&cell);
                shown.push_str("  ");
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        let (held, all) = self.held();
        writeln!(text, "\n{held} of {all} targets held").expect("a String takes everything");
        text
    }

    /// How many targets are held, and how many there are.
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = self.rows.iter().filter(|row| row.held == Some(true)).count();
        (held, self.rows.iter().filter(|row| row.held.is_some()).count())
    }

    /// Renders for programs.
    pub(crate) fn json(&self) -> String {
        let text = |facts: &[(&'static str, String)]| -> serde_json::Map<String, Value> {
            facts.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect()
        };
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all =
            json!({"outcome": "ok", "run": text(&self.facts), "skipped": text(&self.skipped), "rows": rows});
        format!("{all}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal, samples: &[(usize, f64)], base: &[(usize, f64)], busy: usize) -> Option<Row> {
        let spec = Spec { name: "x", base: "floor", unit: Unit::Ms, every: 1, goal, what: "" };
        let of = |samples: &[(usize, f64)]| -> Vec<(usize, Sample)> {
            samples.iter().map(|&(round, value)| (round, Sample { value, busy })).collect()
        };
        Row::new(Box::leak(Box::new(spec)), &of(samples), &of(base))
    }

    #[test]
    fn ratios_are_formed_within_a_round() {
        let base = [(0, 1.0), (1, 100.0), (2, 1.0)];
        let found = row(Goal::None, &[(0, 2.0), (1, 200.0)], &base, 0).unwrap();
        assert_eq!(found.ratio, Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!(found.held, None);
        assert!(row(Goal::None, &[(7, 2.0)], &base, 0).is_none());
    }

    #[test]
    fn a_goal_is_held_up_to_its_edge() {
        let held = |goal, value, base| row(goal, &[(0, value)], &[(0, base)], 0).unwrap().held.unwrap();
        assert!(held(Goal::Times(1.5), 3.0, 2.0) && !held(Goal::Times(1.5), 3.1, 2.0));
        assert!(held(Goal::TimesAnd(1.5, 1.0), 4.0, 2.0) && !held(Goal::TimesAnd(1.5, 1.0), 4.1, 2.0));
        assert!(held(Goal::AtMost(3.0), 3.0, 0.1) && !held(Goal::AtMost(3.0), 3.1, 9.0));
        assert!(held(Goal::TimesOr(2.0, 3.0), 3.0, 0.1) && held(Goal::TimesOr(2.0, 3.0), 8.0, 4.0));
        assert!(!held(Goal::TimesOr(2.0, 3.0), 8.1, 4.0));
        let busy = row(Goal::NeverBusy, &[(0, 1.0)], &[(0, 1.0)], 1).unwrap();
        assert_eq!((busy.held, busy.busy), (Some(false), 1));
        assert_eq!(row(Goal::NeverBusy, &[(0, 1.0)], &[(0, 1.0)], 0).unwrap().held, Some(true));
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown: Vec<String> = [0.123, 9.994, 9.996, 99.94, 99.96, 1234.5].map(three_digits).to_vec();
        assert_eq!(shown, ["0.12", "9.99", "10.0", "99.9", "100", "1234"]);
    }
}
