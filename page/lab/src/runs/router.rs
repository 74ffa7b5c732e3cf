//! The routers of a transformer in training, on this project's own texts: of a small one from scratch, byte by byte, or
//! of a shipped model, of which all else is frozen. They collapse or not.

use super::{Run, as_map, read};
use crate::assets::{Assets, TEXTS, TOKENIZER, of_model};
use crate::goal::Measures;
use crate::json::parse_bytes;
use crate::protocol::{RunReport, Settings};
use crate::tokens::Tokenizer;
use moescope_learn::router::Lab;
use moescope_learn::transformer::data::Stream;
use moescope_learn::transformer::stored::Stored;
use moescope_learn::transformer::trainee::Routed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The model that begins from scratch, and the shipped ones.
pub const MODELS: [&str; 3] = ["scratch", "main", "tiny"];

/// Bytes of each text that are read.
const MOST: usize = 20_000;

/// Ids of the model from scratch: one for each byte.
const BYTES: usize = 256;

/// Signs of each of two texts of which the first tokens are shown with their experts, and tokens in all.
const SHOWN_SIGNS: usize = 200;
const SHOWN: usize = 56;

/// The experts of the shown text are looked at after so many steps.
const LOOK_EVERY: usize = 10;

/// A run on texts.
pub struct Router {
    lab: Lab,
    model: &'static str,
    shown: Vec<u16>,
    tokens: Vec<String>,
    now: Option<Routed>,
}

/// The usual settings.
pub fn defaults() -> Settings {
    let mut all = as_map(&moescope_learn::router::Settings::default());
    all.insert("model".into(), json!(MODELS[0]));
    all
}

/// The files that a run reads.
pub fn needed(settings: &Settings) -> Vec<String> {
    let mut names = vec![TEXTS.to_owned()];
    if let Ok(model) = model(settings)
        && model != MODELS[0]
    {
        names.push(TOKENIZER.to_owned());
        names.extend(["config.json", "model.safetensors"].map(|file| of_model(model, file)));
    }
    names
}

fn model(settings: &Settings) -> Result<&'static str, String> {
    let name = settings.get("model").map_or(Some(MODELS[0]), Value::as_str).unwrap_or_default();
    let found = MODELS.into_iter().find(|model| *model == name);
    found.ok_or_else(|| format!("there is no model {name} to train; there are: {}", MODELS.join(", ")))
}

/// The lab's own settings: of a shipped model only the routers are trained, unless the settings say otherwise.
fn learned(settings: &Settings, model: &str) -> Result<moescope_learn::router::Settings, String> {
    let mut settings = settings.clone();
    settings.remove("model");
    if model == MODELS[0] {
        settings.insert("vocabulary".into(), json!(BYTES));
    } else {
        settings.entry("trained").or_insert_with(|| json!("routers"));
    }
    read(&settings)
}

impl Router {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The settings are impossible, or a file is missing or damaged.
    pub fn new(settings: &Settings, tokenizer: Option<Rc<Tokenizer>>, assets: &Assets) -> Result<Self, String> {
        let model = model(settings)?;
        let learned = learned(settings, model)?;
        let texts: BTreeMap<String, String> =
            parse_bytes(&assets.get(TEXTS)?).map_err(|error| format!("{TEXTS}: {error}"))?;
        let tokenizer = tokenizer.filter(|_| model != MODELS[0]);
        let encode = |text: &str| match &tokenizer {
            None => text.bytes().map(u16::from).collect(),
            Some(tokenizer) => tokenizer.encode(text),
        };
        let stream = |(name, text): (&String, &String)| {
            let end = (0..=MOST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            Stream { name: name.clone(), bytes: end, ids: encode(&text[..end]) }
        };
        let streams = texts.iter().map(stream).collect();
        let lab = if model == MODELS[0] {
            Lab::new(learned, streams)
        } else {
            let config = assets.text(&of_model(model, "config.json"))?;
            Stored::read(&config, &assets.get(&of_model(model, "model.safetensors"))?)
                .and_then(|stored| Lab::from_model(learned, stored, streams))
        };
        let lab = lab.map_err(|error| error.to_string())?;
        let head = |name: &str| -> Vec<u16> {
            let signs = texts.get(name).map_or("", String::as_str).chars().filter(char::is_ascii).take(SHOWN_SIGNS);
            let mut ids: Vec<u16> = encode(&signs.collect::<String>());
            ids.truncate(SHOWN / 2);
            ids
        };
        let shown = [head("english"), head("rust")].concat();
        let tokens = match &tokenizer {
            None => shown.iter().map(|id| char::from(*id as u8).to_string()).collect(),
            Some(tokenizer) => tokenizer.pieces(&shown),
        };
        let mut run = Self { lab, model, shown, tokens, now: None };
        run.look()?;
        Ok(run)
    }

    fn look(&mut self) -> Result<(), String> {
        self.now = Some(self.lab.route(&self.shown).map_err(|error| error.to_string())?);
        Ok(())
    }
}

impl Run for Router {
    fn step(&mut self, n: usize) -> Result<(), String> {
        for _ in 0..n {
            self.lab.step(1).map_err(|error| error.to_string())?;
            if self.lab.steps().is_multiple_of(LOOK_EVERY) {
                self.look()?;
            }
        }
        Ok(())
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        if model(settings)? != self.model {
            return Err(moescope_learn::error::Error::NeedsRestart("model").to_string());
        }
        self.lab.set(learned(settings, self.model)?).map_err(|error| error.to_string())
    }

    fn rest(&mut self) -> Result<(), String> {
        self.look()
    }

    fn report(&self, _: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let mut measures = Measures::new();
        let most = |values: &[f32]| f64::from(values.iter().copied().fold(0.0, f32::max));
        measures.insert("busiest-over-mean".into(), most(&state.max_over_mean));
        measures.insert("specialisation".into(), most(&state.specialisation));
        measures.insert("dropped".into(), most(&state.dropped));
        measures.insert("tokens".into(), state.tokens as f64);
        // Before the first step that of the shown text.
        let shown = self.now.as_ref().map_or(&[][..], |now| &now.losses[..]);
        let mean = shown.iter().map(|loss| f64::from(*loss)).sum::<f64>() / shown.len().max(1) as f64;
        let loss = state.loss.map_or(mean, f64::from);
        let mut drawn = as_map(&state);
        drawn.insert("strip".into(), json!(self.tokens));
        drawn.insert("experts".into(), json!(self.now.as_ref().map(|now| &now.experts)));
        drawn.insert("top-k".into(), json!(self.now.as_ref().map(|now| now.top_k)));
        let report = RunReport {
            step: self.steps(),
            loss,
            shares: state.shares.iter().map(|share| f64::from(*share)).collect(),
            measures,
            drawn: Value::Object(drawn),
        };
        (report, Vec::new())
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}

#[cfg(test)]
mod tests {
    use crate::assets;
    use crate::protocol::{LabName, Plan};
    use crate::runs::Runs;

    fn played(settings: &str, beside: &[&str], steps: u64) -> Result<Vec<crate::protocol::RunReport>, String> {
        let read = |json: &str| serde_json::from_str(json).unwrap();
        let runs = std::iter::once("{}").chain(beside.iter().copied()).map(read).collect();
        let plan = Plan { settings: read(settings), runs, ..Plan::default() };
        let assets = assets::of_repository(LabName::Router, &plan);
        let mut runs = Runs::new(LabName::Router, plan, &assets)?;
        runs.aim(steps);
        while runs.is_on_its_way() {
            runs.step(1, false)?;
        }
        runs.rest()?;
        Ok(runs.reports(None).0)
    }

    #[test]
    fn the_routers_of_a_shipped_model_train_on_its_own_tokens() {
        let [run] = &played(r#"{"model":"tiny","learning-rate":0.01}"#, &[], 30).unwrap()[..] else { panic!() };
        assert_eq!(run.drawn["loads"].as_array().unwrap().len(), 4);
        assert_eq!(run.drawn["strip"].as_array().unwrap().len(), 56);
        let experts = run.drawn["experts"][0].as_array().unwrap().len() as u64;
        assert_eq!(experts, 56 * run.drawn["top-k"].as_u64().unwrap());
        assert!(run.loss < 9.0, "{}", run.loss);
        let refused = played(r#"{"model":"dense"}"#, &[], 0).unwrap_err();
        assert!(refused.contains("there is no model dense"), "{refused}");
    }

    #[test]
    fn the_strip_of_two_runs_parts() {
        let runs = played("{}", &[r#"{"balance-loss":0}"#], 20).unwrap();
        assert_eq!(runs[0].drawn["strip"], runs[1].drawn["strip"]);
        assert_ne!(runs[0].drawn["experts"], runs[1].drawn["experts"]);
    }
}
