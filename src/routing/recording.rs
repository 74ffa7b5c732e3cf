//! A recording: how the routing of a few texts changed while a model was trained. It holds snapshots of one training
//! run; each has the routing of the texts, and the balance over held-out text. docs/model-format.md describes the
//! file.

use super::balance::{Balance, balance, summarise};
use super::trace::Trace;
use crate::engine::LayerTrace;
use crate::error::{Error, Result};
use crate::tokenizer::Token;
use serde::{Deserialize, Serialize};

/// Version of the format.
const SCHEMA: u32 = 1;

/// The most experts of a layer, because one base-36 digit stands for an expert.
pub const MOST_EXPERTS: usize = 36;

/// Texts routed at the snapshots of one training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    schema: u32,
    experts: usize,
    top_k: usize,
    /// Numbers of the routed layers.
    layers: Vec<usize>,
    texts: Vec<RecordedText>,
    snapshots: Vec<Snapshot>,
}

/// A text of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedText {
    /// Its short name.
    pub id: String,
    /// Its name on the page.
    pub label: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

/// When in its training a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Training steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Training loss in nats per token.
    pub loss: f64,
}

/// The routing at one moment of the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The moment.
    #[serde(flatten)]
    pub moment: Moment,
    /// Each routed layer's balance over held-out text.
    balance: Vec<Spread>,
    /// Each text's routing.
    texts: Vec<RoutedText>,
}

/// A layer's load and importance, `[E]` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spread {
    load: Vec<f32>,
    importance: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RoutedText {
    /// Hundredths of a bit, one for each token.
    surprise: Vec<u32>,
    layers: Vec<RoutedLayer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RoutedLayer {
    /// One base-36 digit for each assignment.
    selected: String,
    /// Percent, one for each assignment.
    weights: Vec<u8>,
    /// 0 or 1 for each assignment; empty where there is no capacity.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    dropped: String,
}

impl Snapshot {
    /// The snapshot with `traces` as the routing of the recording's texts, and the balance of the `held_out` layers.
    ///
    /// # Errors
    /// The model has more experts than one digit can name.
    pub fn new(moment: Moment, held_out: &[LayerTrace], traces: &[Trace]) -> Result<Self> {
        if let Some(layer) = held_out.iter().find(|layer| layer.experts > MOST_EXPERTS) {
            let experts = layer.experts;
            return Err(Error::Input(format!(
                "the model has {experts} experts in a layer; a recording can name at most {MOST_EXPERTS}"
            )));
        }
        let spread = |layer: &LayerTrace| {
            let Balance { load, importance, .. } = balance(layer);
            Spread { load: rounded(&load), importance: rounded(&importance) }
        };
        let texts = traces.iter().map(|trace| RoutedText {
            surprise: trace.surprise.iter().map(|bits| (bits * 100.0).round() as u32).collect(),
            layers: trace.layers.iter().map(RoutedLayer::new).collect(),
        });
        Ok(Self { moment, balance: held_out.iter().map(spread).collect(), texts: texts.collect() })
    }
}

/// Rounds to four decimals, which is as precise as a picture.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| (v * 1e4).round() / 1e4).collect()
}

impl RoutedLayer {
    fn new(layer: &LayerTrace) -> Self {
        let digit = |&expert: &u32| char::from_digit(expert, 36).unwrap_or('?');
        Self {
            selected: layer.selected.iter().map(digit).collect(),
            weights: layer.weights.iter().map(|w| (w * 100.0).round().clamp(0.0, 255.0) as u8).collect(),
            dropped: layer.dropped.iter().map(|&dropped| if dropped { '1' } else { '0' }).collect(),
        }
    }

    fn trace(&self, layer: usize, experts: usize, top_k: usize) -> LayerTrace {
        LayerTrace {
            selected: self.selected.chars().filter_map(|c| c.to_digit(36)).collect(),
            weights: self.weights.iter().map(|&percent| f32::from(percent) / 100.0).collect(),
            dropped: self.dropped.chars().map(|c| c == '1').collect(),
            ..LayerTrace::new(layer, experts, top_k)
        }
    }
}

impl Recording {
    /// A recording of `snapshots`, in order of training. `layers` come from any trace of the model.
    ///
    /// # Errors
    /// The parts do not match; see [`Self::read`].
    pub fn new(layers: &[LayerTrace], texts: Vec<RecordedText>, snapshots: Vec<Snapshot>) -> Result<Self> {
        let (experts, top_k) = layers.first().map_or((0, 0), |layer| (layer.experts, layer.top_k));
        let layers = layers.iter().map(|layer| layer.layer).collect();
        let recording = Self { schema: SCHEMA, experts, top_k, layers, texts, snapshots };
        recording.check()?;
        Ok(recording)
    }

    /// Parses and checks the text of a recording file.
    ///
    /// # Errors
    /// It is not JSON of this format, or its parts do not match: an [`Error::Model`] that says where.
    pub fn read(json: &str) -> Result<Self> {
        let damaged =
            |e: serde_json::Error| Error::model("recording.json", format!("is damaged ({e}); record it again"));
        let recording: Self = serde_json::from_str(json).map_err(damaged)?;
        recording.check()?;
        Ok(recording)
    }

    /// The text of the recording file.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data") + "\n"
    }

    /// The texts.
    pub fn texts(&self) -> &[RecordedText] {
        &self.texts
    }

    /// The snapshots, in the order of their training.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// Numbers of the routed layers.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The balance of each routed layer, in the order of [`Self::layers`], over held-out text at snapshot number
    /// `snapshot`.
    ///
    /// # Panics
    /// There is no such snapshot.
    pub fn balance(&self, snapshot: usize) -> Vec<Balance> {
        let spreads = self.snapshots[snapshot].balance.iter();
        spreads.map(|spread| summarise(spread.load.clone(), spread.importance.clone())).collect()
    }

    /// The routing of text number `text` at snapshot number `snapshot`. Weights are rounded to percents.
    /// `router_logits`, `group_logits` and `guesses` are empty, because a recording does not keep them.
    ///
    /// # Panics
    /// There is no such snapshot or text.
    pub fn trace(&self, snapshot: usize, text: usize) -> Trace {
        let routed = &self.snapshots[snapshot].texts[text];
        let layers = self.layers.iter().zip(&routed.layers);
        Trace {
            tokens: self.texts[text].tokens.clone(),
            layers: layers.map(|(&n, layer)| layer.trace(n, self.experts, self.top_k)).collect(),
            guesses: Vec::new(),
            surprise: routed.surprise.iter().map(|&hundredths| hundredths as f32 / 100.0).collect(),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::model("recording.json", why + "; record it again"));
        if self.schema != SCHEMA {
            return wrong(format!("has schema {}, and this reads schema {SCHEMA}", self.schema));
        }
        if self.experts == 0 || self.experts > MOST_EXPERTS || self.top_k == 0 || self.top_k > self.experts {
            return wrong(format!("has {} experts and top_k {}", self.experts, self.top_k));
        }
        if self.snapshots.is_empty() || self.texts.is_empty() || self.layers.is_empty() {
            return wrong("has no snapshot, no text or no routed layer".into());
        }
        for (n, snapshot) in self.snapshots.iter().enumerate() {
            if let Err(why) = self.check_snapshot(snapshot) {
                return wrong(format!("snapshot {n} {why}"));
            }
        }
        Ok(())
    }

    fn check_snapshot(&self, snapshot: &Snapshot) -> std::result::Result<(), String> {
        let even = |name: &str, found: usize, needed: usize| match found == needed {
            true => Ok(()),
            false => Err(format!("has {found} {name} where there should be {needed}")),
        };
        even("balanced layers", snapshot.balance.len(), self.layers.len())?;
        for spread in &snapshot.balance {
            even("loads", spread.load.len(), self.experts)?;
            even("importances", spread.importance.len(), self.experts)?;
        }
        even("texts", snapshot.texts.len(), self.texts.len())?;
        for (text, routed) in self.texts.iter().zip(&snapshot.texts) {
            let assignments = text.tokens.len() * self.top_k;
            even("surprises", routed.surprise.len(), text.tokens.len())?;
            even("routed layers", routed.layers.len(), self.layers.len())?;
            for layer in &routed.layers {
                let known = |c: char| c.to_digit(36).is_some_and(|expert| (expert as usize) < self.experts);
                if let Some(c) = layer.selected.chars().find(|c| !known(*c)) {
                    return Err(format!("selects \"{c}\", which is none of its {} experts", self.experts));
                }
                even("selected experts", layer.selected.len(), assignments)?;
                even("weights", layer.weights.len(), assignments)?;
                if !layer.dropped.is_empty() {
                    even("marks of dropped assignments", layer.dropped.chars().count(), assignments)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens, each with two of the three experts of one layer; the second assignment of each is dropped.
    fn layer() -> LayerTrace {
        LayerTrace {
            router_logits: vec![2.0, 1.0, 0.0, 0.0, 1.0, 2.0],
            selected: vec![0, 1, 2, 1],
            weights: vec![0.731, 0.269, 0.5, 0.0],
            dropped: vec![false, false, false, true],
            ..LayerTrace::new(3, 3, 2)
        }
    }

    fn trace() -> Trace {
        let token = |id: u32, text: &str| Token { id, text: text.into(), ..Token::default() };
        Trace {
            tokens: vec![token(7, "a"), token(8, " b")],
            layers: vec![layer()],
            guesses: Vec::new(),
            surprise: vec![0.0, 3.217],
        }
    }

    fn recording() -> Recording {
        let moment = |step| Moment { step, tokens: 100 * step, loss: 7.5 };
        let snapshot = |step| Snapshot::new(moment(step), &[layer()], &[trace()]).unwrap();
        let text = RecordedText { id: "t".into(), label: "Text".into(), tokens: trace().tokens };
        Recording::new(&[layer()], vec![text], vec![snapshot(0), snapshot(4)]).unwrap()
    }

    #[test]
    fn what_was_recorded_comes_back_as_fine_as_it_was_kept() {
        let recording = Recording::read(&recording().to_json()).unwrap();
        assert_eq!(recording.snapshots()[1].moment, Moment { step: 4, tokens: 400, loss: 7.5 });
        let back = recording.trace(1, 0);
        assert_eq!(back.tokens, trace().tokens);
        assert_eq!(back.surprise, [0.0, 3.22]);
        let layer = &back.layers[0];
        assert_eq!((layer.layer, layer.experts, layer.top_k), (3, 3, 2));
        assert_eq!((&layer.selected[..], &layer.weights[..]), (&[0, 1, 2, 1][..], &[0.73, 0.27, 0.5, 0.0][..]));
        assert_eq!(layer.dropped, [false, false, false, true]);
        assert!(layer.router_logits.is_empty());
        let balance = &recording.balance(0)[0];
        assert_eq!(balance.load, [0.25, 0.5, 0.25]);
        assert_eq!(balance.max_over_mean, 1.5);
        assert!((balance.importance.iter().sum::<f32>() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_damaged_file_is_refused_in_one_sentence() {
        let whole = recording().to_json();
        let refused = |from: &str, to: &str| {
            let damaged = whole.replacen(from, to, 1);
            assert_ne!(damaged, whole);
            Recording::read(&damaged).unwrap_err().to_string()
        };
        assert!(refused("{\"schema\":1", "{\"schema\":2").contains("has schema 2"));
        assert!(refused("\"0121\"", "\"0141\"").contains("snapshot 0 selects \"4\""));
        assert!(refused("\"0121\"", "\"012\"").contains("has 3 selected experts where there should be 4"));
        assert!(refused("\"0001\"", "\"00\"").contains("2 marks of dropped"));
        assert!(refused("[73,27,", "[73,").contains("has 3 weights"));
        assert!(refused("\"load\":[0.25,", "\"load\":[").contains("has 2 loads"));
        assert!(refused("\"experts\":3", "\"experts\":37").contains("has 37 experts"));
        assert!(Recording::read(&whole[..whole.len() / 2]).unwrap_err().to_string().contains("is damaged"));
    }

    /// `moescope record` on snapshots of a tiny model (4 experts, top-1 with a capacity, 11 steps of training).
    #[test]
    fn the_command_lines_file_is_read() {
        let recording = Recording::read(include_str!("../../tests/recordings/sample.json")).unwrap();
        let steps: Vec<u64> = recording.snapshots().iter().map(|snapshot| snapshot.moment.step).collect();
        assert_eq!(steps, [0, 1, 11]);
        assert_eq!((recording.layers(), recording.texts()[0].id.as_str()), (&[0, 1][..], "chess"));
        let trace = recording.trace(2, 0);
        assert_eq!(trace.tokens.len(), trace.surprise.len());
        for layer in &trace.layers {
            assert_eq!((layer.tokens(), layer.dropped.len()), (trace.len(), trace.len()));
        }
        let load: f32 = recording.balance(2)[0].load.iter().sum();
        assert!((load - 1.0).abs() < 1e-3);
    }

    #[test]
    fn more_experts_than_digits_are_refused() {
        let layer = LayerTrace::new(0, 37, 1);
        let moment = Moment { step: 0, tokens: 0, loss: 1.0 };
        let error = Snapshot::new(moment, &[layer], &[]).unwrap_err().to_string();
        assert!(error.contains("37 experts"), "{error}");
    }
}
