//! The tables and figures of a reproduction, with the paper's numbers.

use std::{collections::HashMap, fs, path::Path};

use anyhow::Context;
use serde_json::Value;

use super::{BASE, Reproduce};
use scihcgrl_index::code::Length;
use scihcgrl_model::eval::plot::{Series, lines};

/// The lengths of ablations.
pub const ABLATED: &[Length] = &[Length::L48];
const BEGIN: &str = "<!-- reproduce: from here -->";
const END: &str = "<!-- reproduce: to here -->";

type Done = HashMap<String, Value>;

/// One figure of an experiment over all seeds.
struct Figures<'a> {
    done: &'a Done,
    options: &'a Reproduce,
}

impl Figures<'_> {
    fn all(&self, kind: &str, flags: &str, length: Length, path: &str) -> Vec<f64> {
        let options = self.options;
        let seeds = options.first_seed..options.first_seed + options.seeds.max(options.joint_seeds);
        let figure = |seed| {
            let experiment = options.key(kind, flags, length, seed);
            self.done.get(&experiment)?.pointer(path)?.as_f64()
        };
        seeds.filter_map(figure).collect()
    }

    fn mean(&self, kind: &str, flags: &str, length: Length, path: &str) -> Option<f64> {
        let all = self.all(kind, flags, length, path);
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// Formats mean ± deviation, or the figure if there is only one.
    fn cell(&self, kind: &str, flags: &str, length: Length, path: &str) -> String {
        let all = self.all(kind, flags, length, path);
        let Some(mean) = self.mean(kind, flags, length, path) else {
            return "–".to_owned();
        };
        if all.len() < 2 {
            return short(mean);
        }
        let square = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        format!(
            "{} ± {}",
            short(mean),
            short((square / (all.len() - 1) as f64).sqrt())
        )
    }

    fn row(&self, kind: &str, flags: &str, path: &str) -> String {
        Length::ALL
            .map(|length| self.cell(kind, flags, length, path))
            .join(" | ")
    }
}

fn short(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.strip_prefix('0').unwrap_or(&text).to_owned()
}

/// Writes the tables between the marks of the page, and the figures next to the page.
///
/// # Errors
/// An error if the page has no marks, or cannot be read or written.
pub fn write(page: &Path, options: &Reproduce, done: &Done) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let marks = text.find(BEGIN).zip(text.find(END));
    let (begin, end) = marks
        .filter(|(begin, end)| begin < end)
        .with_context(|| format!("{} has no lines '{BEGIN}' and '{END}'", page.display()))?;
    let figures = Figures { done, options };
    let stem = page.file_stem().unwrap_or_default().to_string_lossy();
    let tables = tables(options, &figures, &stem);
    let text = format!("{}{BEGIN}\n{tables}{}", &text[..begin], &text[end..]);
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))?;
    let folder = page.with_file_name("figures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, svg) in plots(&figures)? {
        let path = folder.join(format!("{stem}-{name}"));
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn tables(options: &Reproduce, figures: &Figures, stem: &str) -> String {
    let seeds = options.seeds;
    let mut text = format!(
        "\n### Method against method\n\n\
         Policies on frozen ImageNet features at {} pixels, {} training images, {} queries, {seeds} seed(s), with the standard deviation of several; \
         all with `{BASE}` and the flags named. MAP is tie-aware over the whole ranking. These are figures to compare methods by, not the \
         best that any of them reaches.\n\n\
         | method | MAP 24 | 32 | 48 | with training images 24 | 32 | 48 | precision within radius 2: 24 | 32 | 48 | the paper's MAP, CIFAR-10 | flags |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        options.input_size, options.training, options.queries
    );
    for row in options.methods() {
        text += &format!(
            "| {} | {} | {} | {} | {} | `{}` |\n",
            row.name,
            figures.row("frozen", &row.flags, "/without/map"),
            figures.row("frozen", &row.flags, "/with/map"),
            figures.row("frozen", &row.flags, "/without/precision_radius_2"),
            row.paper
                .map_or("–".to_owned(), |paper| paper.map(short).join(" ")),
            row.flags
        );
    }
    text += &format!(
        "\n![Precision within Hamming radius 2 by code length](figures/{stem}-precision.svg)\n\
         ![Precision and recall at 48 bits, by Hamming radius](figures/{stem}-pr.svg)\n"
    );
    if !options.ablations().is_empty() {
        text += "\n### One change at a time\n\n\
             | change | MAP 48 | precision within radius 2 | distinct codes | flags |\n|---|---|---|---|---|\n";
    }
    for row in options.ablations() {
        let cells = |path| {
            ABLATED
                .iter()
                .map(move |&length| figures.cell("frozen", &row.flags, length, path))
        };
        let cells: Vec<String> = cells("/without/map")
            .chain(cells("/without/precision_radius_2"))
            .collect();
        let distinct = figures.mean("frozen", &row.flags, Length::L48, "/without/distinct_codes");
        text += &format!(
            "| {} | {} | {} | `{}` |\n",
            row.name,
            cells.join(" | "),
            distinct.map_or("–".to_owned(), |distinct| format!("{distinct:.0}")),
            row.flags
        );
    }
    if options.joint_seeds > 0 {
        text += &joint(options, figures);
    }
    text + "\n"
}

/// The tables of both networks, and of the student.
fn joint(options: &Reproduce, figures: &Figures) -> String {
    let mut text = format!(
        "\n### Both networks, the paper's protocol\n\n\
         {} seed(s); `train --seed 0` with the flags\n\n    {}\n",
        options.joint_seeds, options.joint
    );
    let mut trained = vec![("joint", options.joint.clone(), "")];
    if let Some(flags) = &options.student {
        text += &format!(
            "\nand its student, of the training images and the database, whose labels it does not see, with\n\n    {flags}\n"
        );
        trained.push(("student", options.taught(flags), "the student, "));
    }
    text += "\n| database | MAP 24 | 32 | 48 | precision within radius 2: 24 | 32 | 48 |\n|---|---|---|---|---|---|---|\n";
    for (kind, flags, who) in &trained {
        for (name, part) in [
            ("without the training images", "/without"),
            ("with them", "/with"),
        ] {
            let row = |figure: &str| figures.row(kind, flags, &format!("{part}/{figure}"));
            text += &format!(
                "| {who}{name} | {} | {} |\n",
                row("map"),
                row("precision_radius_2")
            );
        }
    }
    text + "| the paper (not said which) | .857 | .868 | .865 | | | |\n"
}

fn plots(figures: &Figures) -> anyhow::Result<[(&'static str, String); 2]> {
    let precision = figures.options.methods().iter().map(|row| Series {
        name: row.name.to_string(),
        points: Length::ALL
            .iter()
            .filter_map(|&length| {
                let path = "/without/precision_radius_2";
                Some((
                    length.bits() as f64,
                    figures.mean("frozen", &row.flags, length, path)?,
                ))
            })
            .collect(),
    });
    let curves = figures.options.methods().iter().map(|row| {
        let options = figures.options;
        let first = options.key("frozen", &row.flags, Length::L48, options.first_seed);
        let curve = figures.done.get(&first);
        let curve = curve.and_then(|quality| quality.pointer("/without/curve")?.as_array());
        let point = |at: &Value| Some((at["recall"].as_f64()?, at["precision"].as_f64()?));
        Series {
            name: row.name.to_string(),
            points: curve.into_iter().flatten().filter_map(point).collect(),
        }
    });
    let title = "Precision within Hamming radius 2";
    let by_length: Vec<Series> = precision.collect();
    let curves: Vec<Series> = curves.collect();
    Ok([
        (
            "precision.svg",
            lines(title, "code length, bits", "precision", &by_length)?,
        ),
        (
            "pr.svg",
            lines(
                "Precision and recall at 48 bits",
                "recall",
                "precision",
                &curves,
            )?,
        ),
    ])
}
