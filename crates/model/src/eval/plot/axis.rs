//! Axes of a plot: their spans, ticks and number format.

use std::ops::Range;

use plotters::coord::{
    ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    types::RangedCoordf64,
};

use crate::eval::plot::{PlotError, Series};

/// Maximum number of labels on the x axis.
const X_LABELS: f64 = 16.0;

/// Returns the span from the lowest to the highest coordinate, including `with`, extended by a
/// twentieth on both sides.
pub(crate) fn span(
    series: &[Series],
    of: fn(&(f64, f64)) -> f64,
    with: Option<f64>,
) -> Result<Range<f64>, PlotError> {
    let mut least = with.unwrap_or(f64::INFINITY);
    let mut greatest = with.unwrap_or(f64::NEG_INFINITY);
    for Series { name, points } in series {
        if points.is_empty() {
            return Err(PlotError::Empty { name: name.clone() });
        }
        for point in points {
            if !of(point).is_finite() {
                return Err(PlotError::NotFinite {
                    name: name.clone(),
                    x: point.0,
                    y: point.1,
                });
            }
            least = least.min(of(point));
            greatest = greatest.max(of(point));
        }
    }
    if series.is_empty() {
        return Err(PlotError::Nothing);
    }
    let wide = match greatest - least {
        0.0 => greatest.abs().max(0.1),
        wide => wide,
    };
    Ok(least - wide / 20.0..greatest + wide / 20.0)
}

/// An x axis. If all points are at whole numbers well apart, such as code lengths, its ticks are at
/// these numbers.
pub(crate) struct XAxis {
    span: RangedCoordf64,
    ticks: Option<Vec<f64>>,
}

impl XAxis {
    pub fn new(series: &[Series], span: Range<f64>) -> Self {
        let points = series.iter().flat_map(|series| &series.points);
        let mut places: Vec<f64> = points.map(|point| point.0).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let room = (span.end - span.start) / X_LABELS;
        let fit = places.iter().all(|place| place.fract() == 0.0)
            && places.windows(2).all(|pair| pair[1] - pair[0] > room);
        XAxis {
            span: span.into(),
            ticks: fit.then_some(places),
        }
    }
}

impl Ranged for XAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.span.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let ticks = self.ticks.clone();
        ticks.unwrap_or_else(|| self.span.key_points(hint))
    }

    fn range(&self) -> Range<f64> {
        self.span.range()
    }
}

/// Formats a number with at most four decimals.
pub(crate) fn number(value: &f64) -> String {
    ((value * 1e4).round() / 1e4).to_string()
}
