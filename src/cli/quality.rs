//! Presents retrieval quality as tables, JSON and plots, with a row or curve for each code length.

use serde_json::{Map, Value, json};

use crate::{
    code::Length,
    eval::{
        Quality,
        plot::{self, PlotError, Series},
    },
};

/// The quality at a code length.
pub(crate) type Measured = (Length, Quality);

/// Formats the figures, with a row for each length.
pub(crate) fn table(measured: &[Measured]) -> String {
    let mut table = "bits  MAP (tie-aware)  MAP (one order)  precision within radius 2  \
                     recall within radius 2  distinct codes\n"
        .to_owned();
    for (length, quality) in measured {
        table += &format!(
            "{length:>4}  {:>15.4}  {:>15.4}  {:>25.4}  {:>22.4}  {:>14}\n",
            quality.map,
            quality.map_shuffled,
            quality.precision_radius_2,
            quality.recall_radius_2,
            quality.distinct_codes
        );
    }
    table
}

/// Formats the figures of each class with queries, with a row for each length and class. `names`
/// are by class number.
pub(crate) fn by_class(measured: &[Measured], names: &[String]) -> String {
    let mut table = "bits  queries  MAP (tie-aware)  precision within radius 2  class\n".to_owned();
    for (length, quality) in measured {
        for class in &quality.classes {
            table += &format!(
                "{length:>4}  {:>7}  {:>15.4}  {:>25.4}  {}\n",
                class.queries,
                class.map,
                class.precision_radius_2,
                names.get(class.class).map_or("", String::as_str)
            );
        }
    }
    table
}

/// Returns everything measured, by length.
pub(crate) fn rows(measured: &[Measured]) -> Value {
    let row = |(length, quality): &Measured| (length.to_string(), json!(quality));
    measured.iter().map(row).collect::<Map<_, _>>().into()
}

/// Returns only the single figures, by length. They go into the card, which `/info` sends.
pub(crate) fn scalars(measured: &[Measured]) -> Value {
    let mut rows = rows(measured);
    for row in rows.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(row) = row.as_object_mut() {
            row.retain(|_, value| value.is_number());
        }
    }
    rows
}

/// Returns file names and SVG pictures: precision and recall by Hamming radius, with a curve for
/// each length; and precision within radius 2 by length, with a curve named after the model.
pub(crate) fn plots(
    measured: &[Measured],
    model: &str,
) -> Result<[(&'static str, String); 2], PlotError> {
    let curve = |(length, quality): &Measured| Series {
        name: format!("{length} bits"),
        // Precision is undefined if no query has a match.
        points: (quality.curve.iter().filter(|at| at.answered > 0.0))
            .map(|at| (at.recall, at.precision))
            .collect(),
    };
    let curves: Vec<Series> = measured.iter().map(curve).collect();
    let by_length = Series {
        name: model.to_owned(),
        points: measured
            .iter()
            .map(|(length, quality)| (length.bits() as f64, quality.precision_radius_2))
            .collect(),
    };
    let (pr, within) = (
        "Precision and recall by Hamming radius",
        "Precision within Hamming radius 2",
    );
    let pr = plot::lines(pr, "recall", "precision", &curves)?;
    let within = plot::lines(within, "code length in bits", "precision", &[by_length])?;
    Ok([("pr.svg", pr), ("precision.svg", within)])
}

/// Formats the figures of copies, with a row for each change, and of kin.
pub(crate) fn of_copies(figures: &Value) -> String {
    let share = |value: &Value| {
        value
            .as_f64()
            .map_or("-".to_owned(), |value| format!("{value:.3}"))
    };
    let columns = [
        ("first", "first"),
        ("in 10", "first_ten"),
        ("of 5", "first_of_5"),
        ("of 25", "first_of_25"),
        ("of 100", "first_of_100"),
        ("of 1000", "first_of_1000"),
        ("code", "first_by_code"),
        ("radius 2", "within_radius_2"),
        ("floats", "first_by_floats"),
        ("is copy", "is_copy"),
    ];
    let mut table = format!(
        "{} changed pictures of {} images; share with the unchanged image first (of N candidates by code)\n{:32}",
        figures["copied"], figures["images"], "change"
    );
    for (name, _) in columns {
        table += &format!(" {name:>8}");
    }
    table.push('\n');
    for (name, row) in figures["copies"].as_object().into_iter().flatten() {
        table += &format!("{name:32}");
        for (_, column) in columns {
            table += &format!(" {:>8}", share(&row[column]));
        }
        table.push('\n');
    }
    table += &format!(
        "threshold of copies: similarity {}\n",
        share(&figures["copy_threshold"])
    );
    let kin = &figures["kin"];
    if kin["map_search"].is_number() {
        table += &format!(
            "kin, {} queries: MAP in search order {}, of 1,000 candidates {}, by floats {}, by codes",
            kin["queries"],
            share(&kin["map_search"]),
            share(&kin["map_candidates"]),
            share(&kin["map_floats"])
        );
        for (name, value) in kin.as_object().into_iter().flatten() {
            if let Some(bits) = name
                .strip_prefix("map_")
                .filter(|bits| bits.parse::<u32>().is_ok())
            {
                table += &format!(" {bits}: {}", share(value));
            }
        }
        table += &format!(
            "\nthreshold of kin: similarity {}, recall {}\n",
            share(&kin["threshold"]),
            share(&kin["recall"])
        );
    }
    table += &format!(
        "of the 10 nearest by floats, a search returns {} in its first 10 and {} in its first 100; codes alone {} and {}\n",
        share(&kin["agreement_search_10"]),
        share(&kin["agreement_search_100"]),
        share(&kin["agreement_code_10"]),
        share(&kin["agreement_code_100"]),
    );
    table
}
