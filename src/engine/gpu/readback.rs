//! The layout of a step's results in the buffer that is read back.

use crate::engine::step::{Step, is_limited, record};
use crate::shape::{Architecture, MoeShape, Setting, Settings};
use bytemuck::pod_collect_to_vec;

/// Bytes of a number.
const WORD: usize = 4;

/// The sections of a step's readback: for each routed layer the router logits `[T, R]`, and selected, weights and
/// (with a capacity or a policy) dropped, each `[T, choices]`; then logits `[L, V]`; then the drawn token, if the step
/// draws one.
pub struct ReadbackLayout {
    /// Tokens of the step.
    pub tokens: usize,
    /// Number of tokens whose logits are read back, `L`.
    pub logits: usize,
    /// Whether the step draws the next token.
    pub draws: bool,
    /// Bytes of each section.
    pub sizes: Vec<u64>,
    /// Bytes of all sections.
    pub bytes: u64,
}

impl ReadbackLayout {
    /// The layout for `tokens` tokens, with the logits of the last `logits` of them.
    pub fn new(a: &Architecture, settings: &Settings, tokens: usize, logits: usize, policy: bool) -> Self {
        let layers = a.layers.iter().zip(settings);
        let routing = layers.flat_map(|(l, s)| widths(&l.moe, s, policy)).map(|numbers| numbers * tokens);
        let sizes: Vec<u64> = routing.chain([logits * a.vocabulary]).map(|numbers| (numbers * WORD) as u64).collect();
        Self { tokens, logits, draws: false, bytes: sizes.iter().sum(), sizes }
    }

    /// The same layout with one more word for the token that the step draws.
    pub fn drawing(mut self) -> Self {
        self.draws = true;
        self.sizes.push(WORD as u64);
        self.bytes += WORD as u64;
        self
    }

    /// The token that the step drew, from the last word of `bytes`.
    pub fn drawn(bytes: &[u8]) -> u32 {
        let word = bytes.last_chunk().expect("a token was drawn");
        u32::from_le_bytes(*word)
    }

    /// Decodes the step's results from `bytes`.
    pub fn step(&self, a: &Architecture, settings: &Settings, mut bytes: &[u8]) -> Step {
        let mut step = Step::new(a, settings);
        let mut sizes = self.sizes.iter();
        let mut next = || {
            let (section, rest) = bytes.split_at(*sizes.next().expect("as many sections as were made") as usize);
            bytes = rest;
            section
        };
        let mut traces = step.layers.iter_mut();
        for (moe, settings) in a.layers.iter().map(|layer| &layer.moe).zip(settings) {
            let [logits, selected, weights, dropped] = std::array::from_fn(|_| next());
            if moe.gate.is_some() {
                let (logits, weights): (Vec<f32>, Vec<f32>) = (pod_collect_to_vec(logits), pod_collect_to_vec(weights));
                let (selected, dropped): (Vec<u32>, Vec<u32>) =
                    (pod_collect_to_vec(selected), pod_collect_to_vec(dropped));
                let flags: Vec<bool> = dropped.iter().map(|&flag| flag != 0).collect();
                let flags = if is_limited(settings) { flags } else { Vec::new() };
                record(
                    moe,
                    &logits,
                    &selected,
                    &weights,
                    &flags,
                    traces.next().expect("a trace for every routed layer"),
                );
            }
        }
        step.logits = pod_collect_to_vec(next());
        step
    }
}

/// Numbers for each token in each section of a layer.
fn widths(moe: &MoeShape, settings: &[Setting], policy: bool) -> [usize; 4] {
    let routed = if moe.gate.is_some() { moe.choices() } else { 0 };
    let limited = if policy || is_limited(settings) { routed } else { 0 };
    [moe.router_rows(), routed, routed, limited]
}
