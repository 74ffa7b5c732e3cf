//! Leave-one-expert-out: how a text's loss changes when one expert of one layer is off. Each case reuses the base
//! run: the layers below the ablated one, the tokens that the expert did not serve, and the text before the first
//! token that it served are not computed again.

use super::{CHUNK, CpuEngine, Stage};
use crate::engine::logits::Logits;
use crate::error::{Error, Result};
use crate::shape::{GateKind, Noise, Setting, Settings, experts_choose};
use serde::{Deserialize, Serialize};

/// The effect of switching one expert of one layer off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablated {
    /// The layer's number.
    pub layer: usize,
    /// The expert.
    pub expert: u32,
    /// Number of tokens that it served.
    pub tokens: usize,
    /// The text's loss without the expert minus the loss with it, in bits per token. Above 0 the expert helps.
    pub bits_per_token: f64,
    /// The same in bits per byte.
    pub bits_per_byte: f64,
}

/// The base run of a text, and what each case reuses of it.
pub struct Ablation {
    ids: Vec<u32>,
    /// Bytes of the text without its first token.
    bytes: usize,
    /// The engine of the base run; its KV cache holds the text.
    base: CpuEngine,
    /// The engine that runs the cases.
    case: CpuEngine,
    /// The residual stream before and after the experts of each layer, `[T, D]`.
    attended: Vec<Vec<f32>>,
    mixed: Vec<Vec<f32>>,
    /// Which tokens each expert of each layer served, `[E][..]`.
    served: Vec<Vec<Vec<usize>>>,
    /// Loss of each token but the first, in nats.
    nats: Vec<f64>,
}

impl Ablation {
    /// Rejects settings under which one expert cannot be switched off alone.
    pub fn check(settings: &Settings) -> Result<()> {
        let why = if settings.iter().all(Vec::is_empty) {
            "the model has no experts to switch off"
        } else if experts_choose(settings) {
            "where the experts choose their tokens, no expert can be switched off alone; choose another gate first"
        } else if settings.iter().flatten().any(|setting| !setting.renamed.is_empty()) {
            "take swap out of the policy first: which of two swapped experts is off would not be clear"
        } else {
            return Ok(());
        };
        Err(Error::Input(why.into()))
    }

    /// The base run: runs `ids` with gates that use `settings` (without expert choice). `bytes` is the length of the
    /// text without its first token.
    pub fn new(engine: &CpuEngine, settings: Settings, ids: &[u32], bytes: usize) -> Self {
        let mut base = engine.fork(settings.clone());
        let (layers, width) = (base.architecture.layers.len(), base.architecture.hidden);
        let experts = |n: usize| base.architecture.layers[n].moe.experts;
        let mut served: Vec<Vec<Vec<usize>>> = (0..layers).map(|n| vec![Vec::new(); experts(n)]).collect();
        let (mut attended, mut mixed) = (vec![Vec::new(); layers], vec![Vec::new(); layers]);
        let mut nats = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let start = base.len;
            let step = base.run(chunk, |n, stage, a| {
                let rows = &a.x[..chunk.len() * width];
                match stage {
                    Stage::Attended => attended[n].extend_from_slice(rows),
                    Stage::Mixed(_) => mixed[n].extend_from_slice(rows),
                }
            });
            for layer in &step.layers {
                for t in 0..layer.tokens() {
                    layer.selected_of(t).iter().for_each(|&e| served[layer.layer][e as usize].push(start + t));
                }
            }
            nats.extend(base.losses(chunk.len(), &ids[start + 1..]));
        }
        let case = engine.fork(settings);
        Self { ids: ids.to_vec(), bytes, base, case, attended, mixed, served, nats }
    }

    /// Every (layer, expert) that can be switched off.
    pub fn cases(&self) -> Vec<(usize, u32)> {
        let layers = self.base.settings.iter().enumerate();
        let routed = layers.filter(|(_, settings)| !settings.is_empty());
        routed.flat_map(|(n, settings)| (0..settings[0].experts as u32).map(move |expert| (n, expert))).collect()
    }

    /// The text's loss in bits per token.
    pub fn bits_per_token(&self) -> f64 {
        self.nats.iter().sum::<f64>() / std::f64::consts::LN_2 / self.nats.len().max(1) as f64
    }

    /// Runs the text without `expert` of layer `n`.
    pub fn without(&mut self, n: usize, expert: u32) -> Ablated {
        let mut change = 0.0;
        let old = &self.base.settings[n];
        // The first token that misses it.
        let first = if old.iter().any(Setting::reads_all) { Some(&0) } else { self.served[n][expert as usize].first() };
        if let (Some(&first), Some(settings)) = (first, without(old, expert)) {
            // States of the layers after it cannot be cut to a shorter text.
            let first = if self.base.architecture.is_recurrent() { 0 } else { first };
            let old = std::mem::replace(&mut self.case.settings[n], settings);
            change = self.rerun(n, expert, first);
            self.case.settings[n] = old;
        }
        let bits = change / std::f64::consts::LN_2;
        Ablated {
            layer: n,
            expert,
            tokens: self.served[n][expert as usize].len(),
            bits_per_token: bits / self.nats.len().max(1) as f64,
            bits_per_byte: bits / self.bytes.max(1) as f64,
        }
    }

    /// Reruns the text from its token `first` and layer `n` on. Returns the increase of the loss, summed over the
    /// tokens, in nats.
    fn rerun(&mut self, n: usize, expert: u32, first: usize) -> f64 {
        let (layers, width) = (self.base.memory.len(), self.base.architecture.hidden);
        let alone = self.case.settings[n].iter().all(by_token_alone);
        let last = n + 1 == layers;
        for layer in n..layers {
            let top_k = self.base.architecture.layers[layer].moe.top_k;
            self.case.memory[layer].copy_from(&self.base.memory[layer], first, top_k);
        }
        let served = &self.served[n][expert as usize];
        let (mut change, mut start) = (0.0, first);
        while start < self.ids.len() {
            let end = self.ids.len().min(start + CHUNK);
            let here: Vec<usize> = served.iter().copied().filter(|t| (start..end).contains(t)).collect();
            self.case.len = start;
            if alone {
                // Only the tokens that the expert served have to run through the experts again.
                let ids: Vec<u32> = here.iter().map(|&t| self.ids[t]).collect();
                self.case.take(&self.attended[n], width, here.iter().copied());
                if !here.is_empty() {
                    self.case.mix(n, &ids);
                }
            } else {
                self.case.take(&self.attended[n], width, start..end);
                self.case.mix(n, &self.ids[start..end]);
            }
            if alone && last {
                // No later token depends on the output of the last layer.
                let next: Vec<Option<u32>> = here.iter().map(|&t| self.ids.get(t + 1).copied()).collect();
                let losses = self.case.losses_of(&next);
                change += here.iter().zip(losses).filter_map(|(&t, nats)| Some(nats? - self.nats[t])).sum::<f64>();
            } else {
                if alone {
                    self.case.spread(&self.mixed[n], width, start..end, &here);
                    self.case.norm(n + 1, end - start);
                }
                for layer in n + 1..layers {
                    self.case.attend(layer, end - start);
                    self.case.mix(layer, &self.ids[start..end]);
                }
                let losses = self.case.losses(end - start, &self.ids[start + 1..]);
                change += losses.iter().zip(&self.nats[start..]).map(|(new, old)| new - old).sum::<f64>();
            }
            start = end;
        }
        change
    }
}

impl CpuEngine {
    /// Copies the rows of `from`, `[T, D]`, for these `tokens` into the residual stream, one after the other.
    fn take(&mut self, from: &[f32], width: usize, tokens: impl Iterator<Item = usize>) {
        for (row, t) in self.activations.x.chunks_exact_mut(width).zip(tokens) {
            row.copy_from_slice(&from[t * width..][..width]);
        }
    }

    /// Moves the first rows of the residual stream, which belong to the tokens `of`, to their places among `tokens`,
    /// and fills the other places from `rest`, `[T, D]`.
    fn spread(&mut self, rest: &[f32], width: usize, tokens: std::ops::Range<usize>, of: &[usize]) {
        let x = &mut self.activations.x;
        let mut left = of.len();
        for t in tokens.clone().rev() {
            let to = (t - tokens.start) * width;
            if left > 0 && of[left - 1] == t {
                left -= 1;
                x.copy_within(left * width..(left + 1) * width, to);
            } else {
                x[to..][..width].copy_from_slice(&rest[t * width..][..width]);
            }
        }
    }

    /// Loss in nats of each token of `next`, from the `tokens` rows of the residual stream. Stops where `next` ends.
    fn losses(&mut self, tokens: usize, next: &[u32]) -> Vec<f64> {
        let next: Vec<Option<u32>> = (0..tokens).map(|t| next.get(t).copied()).collect();
        self.losses_of(&next).into_iter().flatten().collect()
    }

    /// Loss in nats of the next token, for each row of the residual stream; `None` where there is no next token.
    fn losses_of(&mut self, next: &[Option<u32>]) -> Vec<Option<f64>> {
        let (tokens, vocabulary) = (next.len(), self.architecture.vocabulary);
        if tokens == 0 {
            return Vec::new();
        }
        let mut logits = vec![0.0; tokens * vocabulary];
        self.logits(tokens, 0, &mut logits);
        let nats = |(row, id): (&[f32], &Option<u32>)| id.map(|id| Logits::new(row).nats(id));
        logits.chunks_exact(vocabulary).zip(next).map(nats).collect()
    }
}

/// Whether the routing of a token depends only on its id and the router logits of the experts that it uses.
fn by_token_alone(setting: &Setting) -> bool {
    let by_place = matches!(setting.gate.kind, GateKind::Random | GateKind::RoundRobin | GateKind::ExpertChoice);
    setting.first == 0 && setting.limit.is_none() && setting.noise == Noise::Off && !by_place && !setting.reads_all()
}

/// The settings of a layer with `expert` off as well, and with a smaller k where fewer experts are left; `None` where
/// it is the last expert.
fn without(settings: &[Setting], expert: u32) -> Option<Vec<Setting>> {
    let off = |setting: &Setting| {
        let mut setting = setting.clone();
        setting.off.resize(setting.experts, false);
        setting.off[expert as usize] = true;
        setting.forced.retain(|&forced| forced != expert);
        let left = setting.off.iter().filter(|off| !**off).count();
        setting.top_k = setting.top_k.min(left);
        (left > 0).then_some(setting)
    };
    settings.iter().map(off).collect()
}
