//! A small transformer, trained from scratch on this project's own texts, byte by byte: its routers collapse or not.

use super::{Run, as_map, read};
use crate::goal::Measures;
use crate::protocol::{RunReport, Settings};
use moescope_learn::router::Lab;
use moescope_learn::transformer::data::Stream;
use serde_json::Value;

/// The texts: prose, a program, Chinese and a style sheet.
const TEXTS: [(&str, &str); 4] = [
    ("english", concat!(include_str!("../../../../docs/gates.md"), include_str!("../../../../docs/engine.md"))),
    ("rust", include_str!("../../../../learn/src/local_experts/mod.rs")),
    ("chinese", include_str!("../../../../www/messages/zh.json")),
    ("css", include_str!("../../../../www/style.css")),
];

/// Bytes of each text that are read.
const MOST: usize = 20_000;

/// Ids: one for each byte.
const BYTES: usize = 256;

/// A run on texts.
pub struct Router {
    lab: Lab,
}

impl Router {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The settings are impossible.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let mut settings: moescope_learn::router::Settings = read(settings)?;
        settings.vocabulary = BYTES;
        let lab = Lab::new(settings, texts()).map_err(|error| error.to_string())?;
        Ok(Self { lab })
    }
}

fn texts() -> Vec<Stream> {
    let stream = |(name, text): &(&str, &str)| {
        let ids: Vec<u16> = text.bytes().take(MOST).map(u16::from).collect();
        Stream { name: (*name).to_owned(), bytes: ids.len(), ids }
    };
    TEXTS.iter().map(stream).collect()
}

impl Run for Router {
    fn step(&mut self, n: usize) -> Result<(), String> {
        self.lab.step(n).map_err(|error| error.to_string())
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        let mut settings: moescope_learn::router::Settings = read(settings)?;
        settings.vocabulary = BYTES;
        self.lab.set(settings).map_err(|error| error.to_string())
    }

    fn report(&self, _: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let mut measures = Measures::new();
        let most = |values: &[f32]| f64::from(values.iter().copied().fold(0.0, f32::max));
        measures.insert("busiest-over-mean".into(), most(&state.max_over_mean));
        measures.insert("specialisation".into(), most(&state.specialisation));
        measures.insert("dropped".into(), most(&state.dropped));
        measures.insert("tokens".into(), state.tokens as f64);
        // Before the first step every byte is as likely as any other.
        let loss = state.loss.map_or((BYTES as f64).ln(), f64::from);
        let report = RunReport {
            step: self.steps(),
            loss,
            shares: state.shares.iter().map(|share| f64::from(*share)).collect(),
            measures,
            drawn: Value::Object(as_map(&state)),
        };
        (report, Vec::new())
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}
