//! One table, or one JSON object.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::stats::Spread;

/// Everything a run found out.
pub(crate) struct Report {
    /// Facts about the machine.
    pub(crate) machine: Vec<(&'static str, String)>,
    /// What was measured.
    pub(crate) binary: String,
    /// The rows, in the order shown.
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
pub(crate) struct Row {
    name: &'static str,
    what: &'static str,
    count: usize,
    ms: Spread,
    base: &'static str,
    ratio: Spread,
}

impl Row {
    /// Compares times with those of the same rounds of a base; nothing if there are none in common.
    pub(crate) fn new(
        name: &'static str,
        what: &'static str,
        times: &[(usize, f64)],
        base: &'static str,
        base_times: &[(usize, f64)],
    ) -> Option<Self> {
        let ratios = times.iter().filter_map(|(round, ms)| {
            let (_, base_ms) = base_times.iter().find(|(base_round, _)| base_round == round)?;
            Some(ms / base_ms)
        });
        let ratio = Spread::of(ratios.collect())?;
        let ms = Spread::of(times.iter().map(|(_, ms)| *ms).collect())?;
        Some(Self { name, what, count: times.len(), ms, base, ratio })
    }
}

impl Report {
    /// Renders for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            writeln!(text, "{name:<12} {value}").expect("a String takes everything");
        }
        writeln!(text, "{:<12} {}\n", "binary", self.binary).expect("a String takes everything");
        let line = ["row", "n", "median ms", "IQR", "ratio", "IQR", "to", "what"];
        row(&mut text, line.map(str::to_owned));
        for Row { name, what, count, ms, base, ratio } in &self.rows {
            let line = [
                (*name).to_owned(),
                count.to_string(),
                format!("{:.2}", ms.median),
                format!("{:.2}-{:.2}", ms.low, ms.high),
                format!("{:.2}", ratio.median),
                format!("{:.2}-{:.2}", ratio.low, ratio.high),
                (*base).to_owned(),
                (*what).to_owned(),
            ];
            row(&mut text, line);
        }
        text
    }

    /// Renders for programs.
    pub(crate) fn json(&self) -> String {
        let machine: serde_json::Map<String, Value> =
            self.machine.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        format!("{}\n", json!({"outcome": "ok", "machine": machine, "binary": self.binary, "rows": rows}))
    }
}

impl Row {
    fn json(&self) -> Value {
        let spread = |Spread { low, median, high }: Spread| json!({"median": median, "q1": low, "q3": high});
        json!({"row": self.name, "what": self.what, "n": self.count, "ms": spread(self.ms), "base": self.base,
            "ratio": spread(self.ratio)})
    }
}

fn row(text: &mut String, [name, count, ms, ms_iqr, ratio, ratio_iqr, base, what]: [String; 8]) {
    let line =
        format!("{name:<16} {count:>4} {ms:>10} {ms_iqr:>15} {ratio:>7} {ratio_iqr:>13}  {base:<9} {what}");
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_formed_within_a_round() {
        let base = [(0, 1.0), (1, 100.0), (2, 1.0)];
        let row = Row::new("x", "", &[(0, 2.0), (1, 200.0)], "floor", &base).unwrap();
        assert_eq!(row.ratio, Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert!(Row::new("x", "", &[(7, 2.0)], "floor", &base).is_none());
    }
}
