//! What the curves of trained models say: the loss over the computation spent.

use crate::goal::Measures;
use serde::Deserialize;

/// `models/NAME/curves.json`, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Curves {
    /// The training, by rising step.
    pub training: Vec<Point>,
}

/// A moment of a training.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Point {
    /// Tokens seen.
    pub tokens: f64,
    /// Training loss in nats per token.
    pub loss: f64,
}

/// `models/NAME/results.json`, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Results {
    /// The shape.
    pub model: Shape,
    /// All parameters.
    pub parameters: f64,
    /// Those that a token uses.
    pub active: f64,
    /// Seconds of the training.
    pub seconds: f64,
    /// Held-out text.
    pub domains: Vec<Domain>,
    /// The layers; none of a dense model.
    #[serde(default)]
    pub layers: Vec<Layer>,
}

/// The shape of a model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Shape {
    /// The width.
    pub width: f64,
    /// The layers.
    pub layers: f64,
    /// The longest text in tokens.
    pub context: f64,
}

/// A kind of held-out text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Domain {
    /// Bits per byte.
    pub bits_per_byte: f64,
}

/// A layer on held-out text.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Layer {
    /// The part of the tokens that is dropped, where there is a capacity.
    #[serde(default)]
    pub dropped: Option<f64>,
}

impl Results {
    /// Training FLOPs for a token: a multiply and an add for each weight of a matrix that it uses and for each number
    /// that attention reads, of half a sequence on the average, and twice that for the backward pass. The same count as
    /// docs/models.md has (train/src/results.rs).
    pub fn flops(&self) -> f64 {
        let Shape { width, layers, context } = self.model;
        let gains = width * (2.0 * layers + 1.0);
        6.0 * (self.active - gains + layers * width * context)
    }

    /// Bits per byte of held-out text, the mean over its kinds.
    pub fn bits_per_byte(&self) -> f64 {
        self.domains.iter().map(|domain| domain.bits_per_byte).sum::<f64>() / self.domains.len().max(1) as f64
    }
}

/// Points of a curve that are joined to one.
const JOINED: usize = 5;

/// A curve as (FLOPs spent, loss), means over neighbouring points.
pub fn line(curves: &Curves, results: &Results) -> Vec<(f64, f64)> {
    let mean = |points: &[Point], of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let flops = results.flops();
    curves.training.chunks(JOINED).map(|p| (mean(p, |p| p.tokens) * flops, mean(p, |p| p.loss))).collect()
}

/// FLOPs at which a line first falls to `level`, between its points; none where it does not.
pub fn reached(line: &[(f64, f64)], level: f64) -> Option<f64> {
    let at = line.iter().position(|(_, loss)| *loss <= level)?;
    let (x1, y1) = line[at];
    let Some((x0, y0)) = at.checked_sub(1).map(|before| line[before]) else { return Some(x1) };
    Some(x0 + (x1 - x0) * (y0 - level) / (y0 - y1).max(1e-12))
}

/// A model's name, its curve as pairs of FLOPs and loss, and its results.
pub type Trained = (String, Vec<(f64, f64)>, Results);

/// The figures of the picture: the first two models compared at `level`.
pub fn measures(models: &[Trained], level: f64) -> Measures {
    let mut all = Measures::new();
    all.insert("level".into(), level);
    for (name, line, results) in models {
        if let Some(flops) = reached(line, level) {
            all.insert(format!("{name}-pflop"), flops / 1e15);
        }
        all.insert(format!("{name}-mflop"), results.flops() / 1e6);
        all.insert(format!("{name}-seconds"), results.seconds);
    }
    if let [(_, main, first), (_, dense, second), rest @ ..] = models {
        if let (Some(one), Some(other)) = (reached(main, level), reached(dense, level)) {
            all.insert("ratio".into(), other / one);
        }
        all.insert("parameter-ratio".into(), first.parameters / second.parameters);
        if let Some((_, _, wide)) = rest.first() {
            all.insert("wide-ratio".into(), wide.flops() / first.flops());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn read(name: &str) -> (String, Vec<(f64, f64)>, Results) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../www/models").join(name);
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let results: Results = serde_json::from_str(&text("results.json")).unwrap();
        (name.to_owned(), line(&serde_json::from_str(&text("curves.json")).unwrap(), &results), results)
    }

    #[test]
    fn the_count_of_flops_is_that_of_the_models_table() {
        let flops = ["main", "dense", "dense-wide"].map(|name| (read(name).2.flops() / 1e5).round() / 10.0);
        assert_eq!(flops, [42.1, 42.1, 95.2]);
    }

    #[test]
    fn the_sparse_model_needs_less_computation_at_a_lower_loss() {
        let models = ["main", "dense"].map(read);
        let ratio = |level: f64| measures(&models, level)["ratio"];
        assert!(ratio(3.1) > 1.3 && ratio(3.05) > 1.5, "{} {}", ratio(3.1), ratio(3.05));
    }

    #[test]
    fn a_level_is_found_between_points() {
        let line = [(0.0, 4.0), (10.0, 3.0), (20.0, 2.0)];
        assert_eq!(reached(&line, 2.5), Some(15.0));
        assert_eq!((reached(&line, 5.0), reached(&line, 1.0)), (Some(0.0), None));
    }
}
