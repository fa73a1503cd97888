//! Medians and quartiles.

/// The middle of a sample and where its middle half lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// A quarter of the sample is below.
    pub(crate) low: f64,
    /// Half of the sample is below.
    pub(crate) median: f64,
    /// Three quarters of the sample are below.
    pub(crate) high: f64,
}

impl Spread {
    /// Gives the spread of a sample, or nothing of an empty one.
    pub(crate) fn of(mut sample: Vec<f64>) -> Option<Self> {
        if sample.is_empty() {
            return None;
        }
        sample.sort_by(f64::total_cmp);
        Some(Self { low: quantile(&sample, 1), median: quantile(&sample, 2), high: quantile(&sample, 3) })
    }
}

/// The value below which `quarters` quarters of a sorted sample lie, interpolated.
fn quantile(sorted: &[f64], quarters: usize) -> f64 {
    let steps = (sorted.len() - 1) * quarters;
    let (below, part) = (steps / 4, steps % 4);
    let above = (below + 1).min(sorted.len() - 1);
    let part = [0.0, 0.25, 0.5, 0.75][part];
    sorted[below] + (sorted[above] - sorted[below]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        let spread = Spread::of(vec![2.0, 1.0]).unwrap();
        assert_eq!(spread, Spread { low: 1.25, median: 1.5, high: 1.75 });
        assert_eq!(Spread::of(vec![7.0]).unwrap(), Spread { low: 7.0, median: 7.0, high: 7.0 });
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
