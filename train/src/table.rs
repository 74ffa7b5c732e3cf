//! Writes `docs/models.md` and its picture from each model's `results.json` and `curves.json`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::curves::{Curves, TrainingPoint};
use crate::files::write_whole;
use crate::gate::GateKind;
use crate::model::ModelShape;
use crate::picture::{self, Line};
use crate::results::{Results, flops};

/// The order of the models on the page.
const ORDER: [&str; 8] =
    ["main", "dense", "dense-wide", "switch", "collapse", "noisy-top-k", "hierarchical", "fine-grained"];

/// Models in the picture and their colours (Okabe and Ito 2008).
const DRAWN: [(&str, &str); 4] =
    [("main", "#0072b2"), ("dense", "#d55e00"), ("dense-wide", "#cc79a7"), ("switch", "#009e73")];

/// A model that was found.
struct Model {
    name: String,
    results: Results,
    curves: Curves,
}

/// The page and its picture.
pub struct Pages {
    /// `docs/models.md`.
    pub text: String,
    /// `docs/models.svg`.
    pub picture: String,
}

/// Writes the page and its picture into the folder `docs`.
pub fn write(models: &Path, docs: &Path) -> Result<()> {
    let pages = pages(models)?;
    write_whole(&docs.join("models.md"), pages.text.as_bytes())?;
    write_whole(&docs.join("models.svg"), pages.picture.as_bytes())
}

/// Makes the page and its picture from the models in a folder.
pub fn pages(models: &Path) -> Result<Pages> {
    let found = find(models)?;
    ensure!(!found.is_empty(), "there is no model with a results.json in {}; train one", models.display());
    Ok(Pages { text: page(&found), picture: picture(&found) })
}

/// The models of a folder in the order of [`ORDER`], then the others by name.
fn find(folder: &Path) -> Result<Vec<Model>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut models = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join("results.json").exists()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        models.push(Model {
            results: read(&path.join("results.json"))?,
            curves: read(&path.join("curves.json"))?,
            name,
        });
    }
    let place = |name: &str| ORDER.iter().position(|n| *n == name).unwrap_or(ORDER.len());
    models.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
    Ok(models)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged; export the model again", path.display()))
}

/// Describes the network in a few words.
fn kind(m: &ModelShape) -> String {
    let size = format!("{} layers of width {}", m.layers, m.width);
    if m.experts == 1 {
        return format!("{size}; dense, ff {}", m.ff);
    }
    let how = match m.router {
        GateKind::SoftmaxTopK => "softmax",
        GateKind::TopKOfSoftmax { capacity_factor: None } => "softmax of all",
        GateKind::TopKOfSoftmax { .. } => "softmax of all, capacity",
        GateKind::NoisyTopK { .. } => "noisy",
        GateKind::Hierarchical { .. } => "two levels",
        GateKind::SigmoidBias { .. } => "sigmoid, bias",
    };
    let shared = if m.shared_experts > 0 { format!(" + {} shared", m.shared_experts) } else { String::new() };
    format!("{size}; {} x ff {}, top-{}{shared}, {how}", m.experts, m.ff, m.top_k)
}

/// A figure of every layer, as `a / b / c`.
fn by_layer(results: &Results, figure: impl Fn(&crate::results::Layer) -> String) -> String {
    results.layers.iter().map(figure).collect::<Vec<_>>().join(" / ")
}

/// The table of the evaluation texts of today; empty where no model was measured on them.
fn today(models: &[Model]) -> String {
    let languages = &models[0].results.today;
    if languages.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
    let mut out = format!(
        "\n## Text of today, bits per byte\n\n\
         Single sentences of news and web pages, which no training source resembles.\n\n\
         | language | {} |\n| --- |{}\n",
        names.join(" | "),
        " --: |".repeat(models.len())
    );
    for (language, _) in languages {
        let figure = |m: &Model| {
            let found = m.results.today.iter().find(|(name, _)| name == language);
            found.map_or(String::new(), |(_, bits)| format!("{bits:.3}"))
        };
        let figures: Vec<String> = models.iter().map(figure).collect();
        let _ = writeln!(out, "| {language} | {} |", figures.join(" | "));
    }
    out
}

fn page(models: &[Model]) -> String {
    let mut out = String::from(
        "# The models\n\n\
         All of them have a context of 512 and one tokenizer of 8,192 tokens.\n\
         They saw the same text ([CORPUS.md](../www/models/CORPUS.md)) in the same order.\n\
         The card of each (`www/models/NAME/card.md`) has its configuration and how to make it again.\n\
         `cargo xtask models` makes this page and its picture from the files beside the models.\n\n\
         | model | kind | parameters | a token uses | training tokens | MFLOPs per token | bits per byte |\n\
         | --- | --- | --: | --: | --: | --: | --: |\n",
    );
    for Model { name, results: r, .. } in models {
        let _ = writeln!(
            out,
            "| [{name}](../www/models/{name}/card.md) | {} | {:.2} M | {:.2} M | {:.1} M | {:.1} | {:.3} |",
            kind(&r.model),
            r.parameters as f64 / 1e6,
            r.active as f64 / 1e6,
            r.tokens as f64 / 1e6,
            flops(&r.model, r.model.context) / 1e6,
            r.mean(),
        );
    }
    out.push_str(
        "\nBits per byte are on held-out text: the mean over the domains.\n\
         MFLOPs are of training with full sequences, backward pass included.\n\n",
    );
    out.push_str("## Held-out bits per byte, domain by domain\n\n| domain | xz -9e |");
    models.iter().for_each(|m| out.push_str(&format!(" {} |", m.name)));
    out.push_str("\n| --- | --: |");
    models.iter().for_each(|_| out.push_str(" --: |"));
    out.push('\n');
    for (n, domain) in models[0].results.domains.iter().enumerate() {
        let _ = write!(out, "| {} | {:.3} |", domain.name, domain.xz);
        for m in models {
            let figure = m.results.domains.get(n).map_or(String::new(), |d| format!("{:.3}", d.bits_per_byte));
            let _ = write!(out, " {figure} |");
        }
        out.push('\n');
    }
    out += &today(models);
    out.push_str(
        "\n## Balance and specialisation\n\n\
         On the same text, layer by layer. Max/mean is the busiest expert's load over the mean: 1 is even.\n\
         Information is the mutual information of expert and domain, in bits:\n\
         what knowing the expert says about the kind of text.\n\
         Specialists have over half of their load from two domains.\n\n\
         | model | max/mean load | information, bits | specialists | dropped |\n| --- | --- | --- | --- | --- |\n",
    );
    for Model { name, results: r, .. } in models.iter().filter(|m| !m.results.layers.is_empty()) {
        let dropped = match r.model.gate().capacity {
            Some(_) => by_layer(r, |l| format!("{:.1} %", 100.0 * l.dropped)),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} of {} | {dropped} |",
            by_layer(r, |l| format!("{:.2}", l.max_over_mean)),
            by_layer(r, |l| format!("{:.2}", l.domain_information)),
            by_layer(r, |l| l.specialists.to_string()),
            r.model.experts,
        );
    }
    out.push_str(
        "\n## Loss against computation\n\n\
         ![Training loss against training FLOPs](models.svg)\n\n\
         Training loss in nats per token, each point the mean of some 0.5 M tokens, over the FLOPs spent so far.\n\
         All models saw the same text in the same order.\n\
         The fall in the middle is where sequences, and with them batches, become twice as long.\n\
         The fall at the end is the decay of the learning rate.\n",
    );
    out
}

/// The points of a model's line: (FLOPs so far, loss), averaged over neighbouring points of the curve.
fn line(model: &Model) -> Vec<(f64, f64)> {
    const JOINED: usize = 5;
    let r = &model.results;
    let (short, context) = r.short.unwrap_or((0, r.model.context));
    let spent = |tokens: f64| {
        let before = tokens.min(short as f64);
        before * flops(&r.model, context) + (tokens - before) * flops(&r.model, r.model.context)
    };
    let mean = |points: &[TrainingPoint], f: fn(&TrainingPoint) -> f64| {
        points.iter().map(f).sum::<f64>() / points.len() as f64
    };
    let point = |p: &[TrainingPoint]| (spent(mean(p, |p| p.tokens as f64)), mean(p, |p| p.loss));
    model.curves.training.chunks(JOINED).map(point).collect()
}

/// Draws the loss against the FLOPs of the models in [`DRAWN`].
fn picture(models: &[Model]) -> String {
    let drawn = DRAWN.iter().filter_map(|(name, colour)| Some((models.iter().find(|m| m.name == *name)?, *colour)));
    let line = |(model, colour): (&Model, &'static str)| Line { name: model.name.clone(), colour, points: line(model) };
    picture::draw(&drawn.map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_its_picture_are_those_of_the_models_that_ship() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let pages = pages(&root.join("www/models")).unwrap();
        let same = |file: &str, made: &str| {
            let kept = fs::read_to_string(root.join("docs").join(file)).unwrap_or_default();
            assert!(kept == made, "docs/{file} is out of date: run cargo xtask models");
        };
        same("models.md", &pages.text);
        same("models.svg", &pages.picture);
    }

    #[test]
    fn a_folder_without_models_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = pages(folder.path()).err().unwrap().to_string();
        assert!(error.contains("there is no model with a results.json"), "{error}");
    }
}
