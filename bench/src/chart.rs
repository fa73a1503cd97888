//! The ratios as a drawing: one bar a row, in groups that are divided by the same, on a logarithmic scale.

use std::fmt::Write;

use crate::report::{Report, Row, three_digits};
use crate::roster::Goal;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
const HEAD: f64 = 34.0;

const STYLE: &str = "\
  <style>
    text { font-family: system-ui, sans-serif; font-size: 12px; fill: #24292f; }
    .head { font-weight: 600; }
    .name, .value { font-family: ui-monospace, monospace; font-size: 11px; }
    .grid { stroke: #d0d7de; stroke-width: 1; }
    .one { stroke: #57606a; stroke-width: 1.5; }
    .bar { fill: #54aeff; } .held { fill: #4ac26b; } .missed { fill: #ff8182; }
    .spread { stroke: #24292f; stroke-width: 1.5; }
    .goal { stroke: #8250df; stroke-width: 2.5; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; } .grid { stroke: #30363d; } .one { stroke: #8b949e; }
      .bar { fill: #1f6feb; } .held { fill: #238636; } .missed { fill: #da3633; }
      .spread { stroke: #e6edf3; } .goal { stroke: #d2a8ff; }
    }
  </style>
";

/// Draws the rows that are compared with another one.
pub(crate) fn draw(report: &Report) -> String {
    let groups = groups(&report.rows);
    let shown = || groups.iter().flat_map(|(_, rows)| rows);
    let scale = Scale::of(shown().flat_map(|row| [row.ratio.low, row.ratio.high]));
    let height = HEAD + groups.iter().map(|(_, rows)| HEAD + STEP * size(rows.len())).sum::<f64>() + STEP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"lease-lane as multiples of floors\">\n{STYLE}"
    );
    let mut put = |line: String| {
        writeln!(svg, "  {line}").expect("a String takes everything");
    };
    put(text(
        10.0,
        20.0,
        "",
        "each row as a multiple of what it is divided by; a line shows the middle half, violet the target; green holds it, red does not",
    ));
    for power in scale.low..=scale.high {
        let tick = 10_f64.powi(power);
        let (x, class) = (scale.x(tick), if power == 0 { "one" } else { "grid" });
        put(format!(
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            height - STEP
        ));
        put(format!(
            "<text class=\"value\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}×</text>",
            height - 6.0
        ));
    }
    let mut y = HEAD;
    for (base, rows) in &groups {
        y += HEAD;
        put(text(10.0, y - 8.0, "head", &format!("divided by {base}")));
        for row in rows {
            let middle = y + BAR / 2.0;
            let (one, end) = (scale.x(1.0), scale.x(row.ratio.median));
            let class = match row.held {
                None => "bar",
                Some(true) => "held",
                Some(false) => "missed",
            };
            put(format!(
                "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 11.0,
                row.spec.name
            ));
            let (from, width) = (one.min(end), (end - one).abs().max(1.0));
            put(format!(
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"><title>{}</title></rect>",
                row.spec.what
            ));
            let (low, high) = (scale.x(row.ratio.low), scale.x(row.ratio.high));
            put(format!(
                "<line class=\"spread\" x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" y2=\"{middle:.1}\"/>"
            ));
            let mut right = high.max(one).max(end);
            if let Goal::Times(goal) | Goal::TimesOr(goal, _) = row.spec.goal {
                let x = scale.x(goal);
                right = right.max(x);
                put(format!(
                    "<line class=\"goal\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
                    y - 2.0,
                    y + BAR + 2.0
                ));
            }
            put(text(right + 6.0, y + 11.0, "value", &format!("{}×", three_digits(row.ratio.median))));
            y += STEP;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(x: f64, y: f64, class: &str, said: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{said}</text>")
}

/// The rows by what they are divided by, without those that are divided by themselves.
fn groups(rows: &[Row]) -> Vec<(&'static str, Vec<&Row>)> {
    let mut groups: Vec<(&'static str, Vec<&Row>)> = Vec::new();
    for row in rows.iter().filter(|row| row.spec.base != row.spec.name) {
        match groups.iter_mut().find(|(base, _)| *base == row.spec.base) {
            Some((_, group)) => group.push(row),
            None => groups.push((row.spec.base, vec![row])),
        }
    }
    groups
}

fn size(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// From ratios to places, equal factors to equal distances.
struct Scale {
    /// Tenth powers at the edges.
    low: i32,
    high: i32,
}

impl Scale {
    fn of(ratios: impl Iterator<Item = f64>) -> Scale {
        let (low, high) =
            ratios.fold((1.0_f64, 1.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
        let power = |ratio: f64, up: bool| {
            (-9..=9)
                .find(|power| if up { ratio <= 10_f64.powi(*power) } else { ratio < 10_f64.powi(*power + 1) })
        };
        Scale { low: power(low, false).unwrap_or(-9), high: power(high, true).unwrap_or(9).max(1) }
    }

    fn x(&self, ratio: f64) -> f64 {
        let part = (ratio.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Sample;
    use crate::roster::spec;

    fn row(name: &str, ratio: f64) -> Row {
        let of = |value| [(0, Sample::from(value))];
        Row::new(spec(name).unwrap(), &of(ratio), &of(1.0)).unwrap()
    }

    #[test]
    fn equal_factors_are_equal_distances_and_every_row_is_inside() {
        let scale = Scale::of([0.4, 250.0].into_iter());
        assert_eq!((scale.low, scale.high), (-1, 3));
        let step = scale.x(10.0) - scale.x(1.0);
        assert!((scale.x(100.0) - scale.x(10.0) - step).abs() < 1e-9);
        assert!(scale.x(0.1) >= LEFT && scale.x(1000.0) <= WIDTH - RIGHT);
    }

    #[test]
    fn rows_are_drawn_with_what_they_are_divided_by() {
        let rows = vec![row("floor", 1.0), row("acquire", 2.0), row("run", 3.0), row("flock", 1.2)];
        let svg = draw(&Report { facts: Vec::new(), rows, skipped: Vec::new() });
        assert_eq!(svg.matches("<rect").count(), 3, "the floor itself is no bar: {svg}");
        assert!(svg.contains("divided by floor") && svg.contains("divided by acquire"));
        assert!(
            svg.contains("class=\"missed\"") && svg.contains("2.00×"),
            "acquire misses its target: {svg}"
        );
    }
}
