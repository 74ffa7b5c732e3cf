//! A shipped model, fine-tuned on the reader's text or on a given one.

use super::{Run, as_map, read};
use crate::assets::{Assets, GIVEN, TEXTS, TOKENIZER, TOKENIZER_CONFIG, of_model};
use crate::goal::Measures;
use crate::json::{parse, parse_bytes};
use crate::protocol::{RunReport, Settings};
use crate::tokens::Tokenizer;
use moescope_learn::fine_tune::{Lab, Texts};
use moescope_learn::transformer::data::Stream;
use moescope_learn::transformer::stored::Stored;
use moescope_learn::transformer::trainee::Routed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The models that can be fine-tuned here.
pub const MODELS: [&str; 3] = ["main", "dense", "tiny"];

/// Bytes of the longest text that is taken.
pub const MOST_BYTES: usize = 200_000;

/// Tokens of the text whose experts are shown.
const SHOWN: usize = 48;

/// Tokens that the model goes on from, and that it writes.
const PROMPT: usize = 8;
const WRITTEN: usize = 24;

/// The settings that are the page's own.
const OWN: [&str; 2] = ["model", "text"];

/// A run on a text.
pub struct FineTune {
    lab: Lab,
    tokenizer: Rc<Tokenizer>,
    own: Settings,
    /// The other files of the model's directory.
    files: Vec<(String, Vec<u8>)>,
    /// The first tokens of the held-out text, which are shown.
    shown: Vec<u16>,
    tokens: (usize, usize),
    before: Routed,
    now: Routed,
    /// The step of `now`.
    routed_at: usize,
    written_before: String,
    written: String,
    /// The step of `written`.
    written_at: usize,
}

/// The usual settings.
pub fn defaults() -> Settings {
    let mut all = as_map(&moescope_learn::fine_tune::Settings::default());
    all.insert("model".into(), json!("main"));
    all.insert("text".into(), json!(""));
    all
}

/// The files that a run reads.
pub fn needed(settings: &Settings) -> Vec<String> {
    let model = model(settings).unwrap_or(MODELS[0]);
    let mut names = vec![TEXTS.to_owned(), GIVEN.to_owned(), TOKENIZER.to_owned(), TOKENIZER_CONFIG.to_owned()];
    names.extend(["config.json", "generation_config.json", "model.safetensors"].map(|file| of_model(model, file)));
    names
}

fn model(settings: &Settings) -> Result<&'static str, String> {
    let name = settings.get("model").map_or(Some(MODELS[0]), Value::as_str).unwrap_or_default();
    let found = MODELS.into_iter().find(|model| *model == name);
    found.ok_or_else(|| format!("there is no model {name} to train; there are: {}", MODELS.join(", ")))
}

/// The settings of the page, and those of the lab.
fn parted(settings: &Settings) -> (Settings, Settings) {
    settings.clone().into_iter().partition(|(key, _)| OWN.contains(&key.as_str()))
}

/// The text to train on: the reader's, or the given one.
fn text(own: &Settings, assets: &Assets) -> Result<String, String> {
    let text = match own.get("text") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("text is no text; write it in quotation marks".into()),
    };
    if text.len() > MOST_BYTES {
        let (has, most) = (text.len().div_ceil(1000), MOST_BYTES / 1000);
        return Err(format!("the text has {has} kB; the page fine-tunes on up to {most} kB: take a part of it"));
    }
    if text.is_empty() { assets.text(GIVEN) } else { Ok(text) }
}

/// The beginning of each text of the project, as text of other kinds.
fn general(tokenizer: &Tokenizer, assets: &Assets, tokens: usize) -> Result<Vec<Stream>, String> {
    let texts: BTreeMap<String, String> =
        parse_bytes(&assets.get(TEXTS)?).map_err(|error| format!("{TEXTS}: {error}"))?;
    let stream = |(name, text): (String, String)| {
        let head: String = text.chars().take(8 * tokens).collect();
        let mut ids = tokenizer.encode(&head);
        ids.truncate(tokens);
        Stream { name, ids, bytes: 0 }
    };
    Ok(texts.into_iter().map(stream).collect())
}

impl FineTune {
    /// A run at its beginning.
    ///
    /// # Errors
    /// Settings or a text that are impossible, and files that are damaged.
    pub fn new(settings: &Settings, tokenizer: Rc<Tokenizer>, assets: &Assets) -> Result<Self, String> {
        let (own, learned) = parted(settings);
        let learned: moescope_learn::fine_tune::Settings = read(&learned)?;
        let name = model(&own)?;
        let ids = tokenizer.encode(&text(&own, assets)?);
        let config = assets.text(&of_model(name, "config.json"))?;
        let stored = Stored::read(&config, &assets.get(&of_model(name, "model.safetensors"))?);
        let stored = stored.map_err(|error| error.to_string())?;
        let texts = Texts::split(&ids, general(&tokenizer, assets, learned.measured)?);
        let held_out = if texts.same_kind.len() > PROMPT { &texts.same_kind } else { &ids };
        let shown = shown(&tokenizer, held_out);
        let tokens = (texts.train.len(), texts.same_kind.len());
        let lab = Lab::new(learned, stored, texts).map_err(|error| error.to_string())?;
        let before = lab.route(&shown).map_err(|error| error.to_string())?;
        let mut run = Self {
            files: directory(name, &config, assets)?,
            now: before.clone(),
            lab,
            tokenizer,
            own,
            shown,
            tokens,
            before,
            routed_at: 0,
            written_before: String::new(),
            written: String::new(),
            written_at: 0,
        };
        run.written_before = run.write()?;
        run.written = run.written_before.clone();
        Ok(run)
    }

    /// What the model writes after the first tokens of the held-out text.
    fn write(&self) -> Result<String, String> {
        let prompt = &self.shown[..PROMPT.min(self.shown.len())];
        let ids = self.lab.continued(prompt, WRITTEN).map_err(|error| error.to_string())?;
        Ok(self.tokenizer.decode(&ids))
    }

    fn route(&mut self) -> Result<(), String> {
        if self.routed_at != self.lab.steps() {
            self.now = self.lab.route(&self.shown).map_err(|error| error.to_string())?;
            self.routed_at = self.lab.steps();
        }
        Ok(())
    }
}

/// The tokens that are shown: from the first line that begins in the first tokens, where one does.
fn shown(tokenizer: &Tokenizer, ids: &[u16]) -> Vec<u16> {
    let pieces = tokenizer.pieces(&ids[..ids.len().min(SHOWN)]);
    let line = pieces.iter().position(|piece| piece.ends_with('\n')).map_or(0, |at| at + 1);
    let from = if ids.len() >= line + PROMPT { line } else { 0 };
    ids[from..].iter().copied().take(SHOWN).collect()
}

/// The files of a model's directory beside its weights, as `transformers` reads them.
fn directory(model: &str, config: &str, assets: &Assets) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut config: Settings = parse(config).map_err(|error| format!("config.json: {error}"))?;
    // The tokenizer is in the directory itself, and the weights have 16 bits.
    config.remove("tokenizer_file");
    config.insert("torch_dtype".into(), json!("float16"));
    let config = serde_json::to_vec_pretty(&config).unwrap_or_default();
    let own = of_model(model, "generation_config.json");
    let beside = [
        (own.as_str(), "generation_config.json"),
        (TOKENIZER, "tokenizer.json"),
        (TOKENIZER_CONFIG, "tokenizer_config.json"),
    ];
    let mut files = vec![("config.json".to_owned(), config)];
    for (asset, name) in beside {
        files.push((name.to_owned(), assets.get(asset)?.to_vec()));
    }
    Ok(files)
}

/// The part of the tokens whose set of experts is another than before, by layer.
fn moved(before: &Routed, now: &Routed) -> Vec<f64> {
    let set = |experts: &[u16]| {
        let mut sorted = experts.to_vec();
        sorted.sort_unstable();
        sorted
    };
    let top_k = now.top_k.max(1);
    let layers = before.experts.iter().zip(&now.experts);
    let part = |(before, now): (&Vec<u16>, &Vec<u16>)| {
        let tokens = before.chunks_exact(top_k).zip(now.chunks_exact(top_k));
        let (moved, all) = tokens.fold((0, 0), |(moved, all), (a, b)| (moved + usize::from(set(a) != set(b)), all + 1));
        moved as f64 / f64::from(all.max(1))
    };
    layers.map(part).collect()
}

impl Run for FineTune {
    fn step(&mut self, n: usize) -> Result<(), String> {
        let measured = self.lab.state().curve.len();
        self.lab.step(n).map_err(|error| error.to_string())?;
        // The experts are looked at as often as the losses are measured.
        if self.lab.state().curve.len() > measured { self.route() } else { Ok(()) }
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        let (own, learned) = parted(settings);
        if let Some(key) = OWN.into_iter().find(|key| own.get(*key) != self.own.get(*key)) {
            return Err(moescope_learn::error::Error::NeedsRestart(key).to_string());
        }
        self.lab.set(read(&learned)?).map_err(|error| error.to_string())
    }

    fn rest(&mut self) -> Result<(), String> {
        self.route()?;
        if self.written_at != self.lab.steps() {
            self.written = self.write()?;
            self.written_at = self.lab.steps();
        }
        Ok(())
    }

    fn directory(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let weights = self.lab.export().map_err(|error| error.to_string())?;
        Ok(self.files.iter().cloned().chain([("model.safetensors".to_owned(), weights)]).collect())
    }

    fn report(&self, _: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let moved = moved(&self.before, &self.now);
        let mean = moved.iter().sum::<f64>() / moved.len().max(1) as f64;
        let last = state.curve.last();
        let mut measures = Measures::new();
        let mut put = |name: &str, value: Option<f32>| {
            value.into_iter().for_each(|value| {
                measures.insert(name.into(), f64::from(value));
            });
        };
        put("train", last.map(|m| m.train));
        put("held-out", last.and_then(|m| m.same_kind));
        put("general", last.and_then(|m| m.all_kinds));
        let best = state.curve.iter().filter_map(|m| m.same_kind).fold(f32::INFINITY, f32::min);
        let over = last.and_then(|m| Some(m.same_kind? - best)).unwrap_or(0.0);
        put("best", best.is_finite().then_some(best));
        put("overfit", Some(over));
        put("forgot", last.zip(state.curve.first()).and_then(|(now, then)| Some(now.all_kinds? - then.all_kinds?)));
        put("gap", last.and_then(|m| Some(m.same_kind? - m.train)));
        put("learnt", last.zip(state.curve.first()).map(|(now, then)| then.train - now.train));
        measures.insert("trained-share".into(), state.trained as f64 / state.parameters.max(1) as f64);
        measures.insert("moved-share".into(), mean);
        measures.insert("tokens".into(), state.tokens as f64);
        let drawn = json!({
            "model": model(&self.own).unwrap_or(MODELS[0]),
            "curve": state.curve, "best-step": state.best_step, "trained": state.trained,
            "parameters": state.parameters, "text-tokens": self.tokens.0, "held-out-tokens": self.tokens.1,
            "tokens": self.tokenizer.pieces(&self.shown), "top-k": self.now.top_k,
            "experts": self.now.experts, "experts-before": self.before.experts, "moved": moved,
            "routed-at": self.routed_at,
            "prompt": self.tokenizer.decode(&self.shown[..PROMPT.min(self.shown.len())]),
            "written-before": self.written_before, "written": self.written, "written-at": self.written_at,
        });
        let report = RunReport::new(self.steps(), state.loss, &state.shares, measures, drawn);
        (report, Vec::new())
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}

/// The files that are of no use once a run has begun: the weights are in memory then.
pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") && name.starts_with("models/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets;
    use crate::protocol::{LabName, Plan};
    use crate::runs::Runs;
    use moescope::engine::LogitsOf;
    use moescope::engine::cpu::CpuEngine;
    use moescope::model::{Model, ModelFiles};

    fn plan(json: &str) -> Plan {
        Plan { settings: serde_json::from_str(json).unwrap(), ..Plan::default() }
    }

    fn begin(json: &str) -> Result<Runs, String> {
        let plan = plan(json);
        let assets = assets::of_repository(LabName::FineTune, &plan);
        Runs::new(LabName::FineTune, plan, &assets)
    }

    fn trained(json: &str, steps: u64) -> Runs {
        let mut runs = begin(json).unwrap();
        runs.aim(steps);
        while runs.is_on_its_way() {
            runs.step(1, false).unwrap();
        }
        runs.rest().unwrap();
        runs
    }

    #[test]
    fn a_small_model_learns_the_given_text_by_heart() {
        let runs = trained(r#"{"model":"tiny","learning-rate":0.006,"measure-every":20}"#, 160);
        let measures = runs.reports(None).0.remove(0).measures;
        println!("{measures:#?}");
        assert!(measures["train"] < measures["held-out"] && measures["forgot"] > 0.1, "{measures:?}");
        assert!(measures["moved-share"] > 0.0);
        let report = runs.reports(None).0.remove(0);
        assert_ne!(report.drawn["written"], report.drawn["written-before"]);
        assert_eq!(report.drawn["written-at"], 160);
    }

    #[test]
    fn the_saved_model_opens_in_the_engine_and_has_the_same_logits() {
        let plan = plan(r#"{"model":"tiny","learning-rate":0.006}"#);
        let assets = assets::of_repository(LabName::FineTune, &plan);
        let tokenizer = Rc::new(Tokenizer::read(&assets.get(TOKENIZER).unwrap()).unwrap());
        let mut run = FineTune::new(&plan.settings, tokenizer, &assets).unwrap();
        run.step(10).unwrap();
        let mut files: BTreeMap<String, Vec<u8>> = run.directory().unwrap().into_iter().collect();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let all =
            ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names, all);
        let mut take = |name: &str| files.remove(name).unwrap();
        let config = take("config.json");
        assert!(!String::from_utf8_lossy(&config).contains("tokenizer_file"));
        let files = ModelFiles {
            name: "tuned".into(),
            chat: None,
            config,
            tokenizer: Some(take("tokenizer.json")),
            generation: Some(take("generation_config.json")),
            weights: vec![("model.safetensors".into(), Rc::new(take("model.safetensors")))],
        };
        let mut engine = CpuEngine::new(&Model::new(&files).unwrap()).unwrap();
        let ids = &run.shown[..20];
        let all: Vec<u32> = ids.iter().map(|id| u32::from(*id)).collect();
        let step = engine.step(&all, LogitsOf::Last);
        let ours = run.lab.next_logits(ids).unwrap();
        let most = ours.iter().zip(&step.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(ours.len(), step.logits.len());
        // The file has 16 bits.
        assert!(most < 0.02, "{most}");
    }

    #[test]
    fn bad_texts_and_models_are_refused_in_words() {
        let refused = |json: &str| begin(json).err().unwrap_or_default();
        assert!(refused(r#"{"model":"tiny","text":"short"}"#).contains("fine-tuning needs 25"));
        assert!(refused(r#"{"model":"tiny","text":3}"#).contains("text is no text"));
        let huge = format!(r#"{{"model":"tiny","text":"{}"}}"#, "word ".repeat(50_000));
        assert!(refused(&huge).contains("250 kB"), "{}", refused(&huge));
        assert!(refused(r#"{"model":"gpt"}"#).contains("there is no model gpt"));
        assert!(refused(r#"{"model":"dense","trained":"routers"}"#).contains("no routers"));
        assert!(refused(r#"{"model":"tiny","learning-rate":7}"#).contains("learning-rate is 7"));
    }
}
