//! The series of a plot, and the reasons why one cannot be drawn.

/// A line: its name and its points (x, y), joined in the given order.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// The points: at least one, all finite.
    pub points: Vec<(f64, f64)>,
}

/// The reason why a plot cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// There are no series.
    #[error("there is nothing to plot; at least one series is needed")]
    Nothing,
    /// A series has no points.
    #[error("series '{name}' has no points; at least one is needed")]
    Empty {
        /// Name of the series.
        name: String,
    },
    /// A point is not finite.
    #[error("series '{name}' has a point ({x}, {y}); coordinates must be finite")]
    NotFinite {
        /// Name of the series.
        name: String,
        /// The point's x.
        x: f64,
        /// The point's y.
        y: f64,
    },
    /// Drawing failed.
    #[error("cannot draw the plot: {reason}")]
    Draw {
        /// The error of the drawing library.
        reason: String,
    },
}
