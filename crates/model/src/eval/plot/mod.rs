//! Draws line plots as SVG. Series differ in colour and marker. A legend next to the plane names
//! them.
//!
//! - `series`: the data and errors
//! - `axis`: spans and ticks

mod axis;
mod series;

use std::ops::Range;

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use axis::{XAxis, number, span};

pub use series::{PlotError, Series};

/// Colours of Okabe and Ito (2008), distinct for colour-blind readers. Leaves out the yellow, which
/// is hardly visible on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    BLACK,
];

/// Outlines of markers, in pixels from the point. The numbers of markers and colours have no common
/// factor, so there are 35 pairs.
const MARKERS: [&[(i32, i32)]; 5] = [
    &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
    &[(0, -6), (6, 4), (-6, 4)],
    &[(0, -6), (6, 0), (0, 6), (-6, 0)],
    &[(0, 6), (6, -4), (-6, -4)],
    &[
        (-5, -2),
        (-2, -2),
        (-2, -5),
        (2, -5),
        (2, -2),
        (5, -2),
        (5, 2),
        (2, 2),
        (2, 5),
        (-2, 5),
        (-2, 2),
        (-5, 2),
    ],
];

const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Size of the picture without its legend, in pixels. The picture is higher if the legend needs
/// more room.
const SIZE: (u32, u32) = (640, 440);
const TITLE_HEIGHT: i32 = 44;
/// Height of a line in the legend, in pixels.
const LEGEND_LINE: i32 = 24;

/// Draws all series as an SVG picture. Axes span the points. The y axis also includes 0, so that
/// small differences look small.
///
/// # Errors
/// [`PlotError`] if there is nothing to draw or a point is not finite.
pub fn lines(
    title: &str,
    x_label: &str,
    y_label: &str,
    series: &[Series],
) -> Result<String, PlotError> {
    let (x, y) = (
        span(series, |point| point.0, None)?,
        span(series, |point| point.1, Some(0.0))?,
    );
    let names = series.iter().map(|series| series.name.chars().count());
    let legend = 60 + 8 * names.max().unwrap_or_default() as u32;
    let height = 2 * TITLE_HEIGHT as u32 + LEGEND_LINE as u32 * series.len() as u32;
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (SIZE.0 + legend, SIZE.1.max(height)));
    draw(root, [title, x_label, y_label], (x, y), series).map_err(|reason| PlotError::Draw {
        reason: reason.to_string(),
    })?;
    Ok(svg)
}

type Drawn = DrawingAreaErrorKind<std::io::Error>;

fn draw(
    root: SVGBackend,
    [title, x_label, y_label]: [&str; 3],
    (x, y): (Range<f64>, Range<f64>),
    series: &[Series],
) -> Result<(), Drawn> {
    let root = root.into_drawing_area();
    root.fill(&WHITE)?;
    let (plane, names) = root.split_horizontally(SIZE.0);
    let middle = (SIZE.0 as i32 / 2, TITLE_HEIGHT / 2);
    plane.draw(&Text::new(title, middle, text(19, HPos::Center)))?;
    let mut chart = ChartBuilder::on(&plane)
        .margin(12)
        .margin_top(TITLE_HEIGHT)
        .x_label_area_size(46)
        .y_label_area_size(58)
        .build_cartesian_2d(XAxis::new(series, x), y)?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 15, &INK))
        .axis_desc_style(("sans-serif", 17, &INK))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    for (i, series) in series.iter().enumerate() {
        let line = COLOURS[i % COLOURS.len()].stroke_width(2);
        let points = series.points.iter().copied();
        chart.draw_series(LineSeries::new(points.clone(), line))?;
        chart.draw_series(points.map(|point| EmptyElement::at(point) + marker(i, (0, 0))))?;
        let y = TITLE_HEIGHT + 12 + LEGEND_LINE * i as i32;
        names.draw(&PathElement::new([(4, y), (36, y)], line))?;
        names.draw(&marker(i, (20, y)))?;
        let name = series.name.as_str();
        names.draw(&Text::new(name, (46, y), text(15, HPos::Left)))?;
    }
    root.present()
}

fn marker(i: usize, (x, y): (i32, i32)) -> Polygon<(i32, i32)> {
    let corners = MARKERS[i % MARKERS.len()].iter();
    let corners: Vec<_> = corners.map(|(right, down)| (x + right, y + down)).collect();
    Polygon::new(corners, COLOURS[i % COLOURS.len()].filled())
}

fn text(size: i32, at: HPos) -> TextStyle<'static> {
    ("sans-serif", size, &INK)
        .into_text_style(&SIZE)
        .pos(Pos::new(at, VPos::Center))
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series {
            name: name.to_owned(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn every_series_is_a_line_with_markers_and_a_name() {
        let both = [
            series("a <b> & \"c\"", &[(24.0, 0.8), (32.0, 0.9), (48.0, 0.85)]),
            series("other", &[(24.0, 0.7)]),
        ];
        let svg = lines("A title", "bits", "precision", &both).unwrap();
        let document = Document::parse(&svg).unwrap();
        let count = |tag: &str, colour: &str| {
            let of_colour = |node: &roxmltree::Node| {
                node.has_tag_name(tag)
                    && [node.attribute("stroke"), node.attribute("fill")].contains(&Some(colour))
            };
            document.descendants().filter(of_colour).count()
        };
        // The legend has one of each too.
        assert_eq!(
            (count("polyline", "#0072B2"), count("polygon", "#0072B2")),
            (2, 4)
        );
        assert_eq!(
            (count("polyline", "#D55E00"), count("polygon", "#D55E00")),
            (2, 2)
        );
        let texts: Vec<&str> = document.descendants().filter_map(|n| n.text()).collect();
        for text in [
            "A title",
            "bits",
            "precision",
            "a <b> & \"c\"",
            "other",
            "24",
            "32",
            "48",
        ] {
            assert!(
                texts.iter().any(|found| found.trim() == text),
                "{text}: {texts:?}"
            );
        }
    }

    #[test]
    fn odd_points_are_refused_and_flat_series_drawn() {
        let said = |series: &[Series]| lines("", "", "", series).unwrap_err().to_string();
        assert!(said(&[]).contains("at least one series"));
        assert!(said(&[series("bare", &[])]).contains("'bare' has no points"));
        let holed = [series("holed", &[(0.0, 1.0), (1.0, f64::NAN)])];
        assert!(said(&holed).contains("'holed' has a point (1, NaN)"));
        for flat in [0.0, 1.0, -1e9, 1e-9] {
            lines("", "", "", &[series("flat", &[(flat, flat); 3])]).unwrap();
        }
    }
}
