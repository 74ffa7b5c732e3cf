//! A model's configuration file, `train/configs/NAME.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::gate::{GateKind, GateLosses};
use crate::model::ModelShape;
use crate::optimizer::Rates;
use crate::schedule::Schedule;
use crate::snapshots::Recording;
use crate::tokenizer;

/// Everything that decides what a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the model shows, in a sentence or two; goes into its card.
    pub shows: String,
    /// Sizes.
    pub model: ModelShape,
    /// Length, batches, losses.
    pub training: Training,
    /// Optimiser.
    pub optimizer: Rates,
    /// Learning rate over the tokens.
    pub schedule: Schedule,
    /// Snapshots to keep during the run; none if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}

/// Length, batches, losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Tokens to see; the run ends with the first step that reaches it.
    pub tokens: usize,
    /// A phase of shorter sequences at the beginning. Its batches are smaller, so there are more steps while the model
    /// learns the most, and attention costs less (the curriculum of Li et al. 2021).
    pub short: Option<Short>,
    /// Seed of the weights and of the text's order.
    pub seed: u64,
    /// Parts of a batch, each on a thread of its own; each holds sequences of every domain.
    pub replicas: usize,
    /// Part of the sequences that are made of pieces of several domains.
    pub mixed: f64,
    /// Domains with several sequences in every part of a batch, by name; the others have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repeat: BTreeMap<String, usize>,
    /// Factor of the load-balancing loss of each layer.
    pub balance_loss: f32,
    /// Factor of the router z-loss of each layer.
    pub z_loss: f32,
}

/// The phase of shorter sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Short {
    /// Tokens of a sequence.
    pub context: usize,
    /// Tokens to see in this phase; it ends with the first step that reaches it.
    pub tokens: usize,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Checks a configuration file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| anyhow!("{}", e.to_string().trim()))?;
        config.check()?;
        Ok(config)
    }

    /// Rejects an impossible configuration: an error that names the first key at fault.
    pub fn check(&self) -> Result<()> {
        self.model.check().map_err(|e| anyhow!(e))?;
        let t = &self.training;
        ensure!(t.tokens > 0, "training.tokens is 0; it must be at least 1");
        if let Some(short) = &t.short {
            let (n, context) = (short.context, self.model.context);
            ensure!(
                (1..=context).contains(&n),
                "training.short.context is {n}; it must be 1 to model.context {context}"
            );
        }
        ensure!((1..=64).contains(&t.replicas), "training.replicas is {}; it must be 1 to 64", t.replicas);
        ensure!((0.0..=1.0).contains(&t.mixed), "training.mixed is {}; it must be 0 to 1", t.mixed);
        ensure!(t.balance_loss >= 0.0 && t.z_loss >= 0.0, "a loss's factor must not be negative");
        let own_balance = match self.model.router {
            GateKind::NoisyTopK { .. } => Some("noisy-top-k is balanced by its importance and load losses"),
            GateKind::SigmoidBias { .. } => Some("sigmoid-bias is balanced by its bias"),
            _ => None,
        };
        if let Some(why) = own_balance.filter(|_| t.balance_loss > 0.0 || t.z_loss > 0.0) {
            return Err(anyhow!("{why}; set training.balance_loss and training.z_loss to 0"));
        }
        let o = &self.optimizer;
        ensure!(o.muon > 0.0 && o.adam > 0.0, "a learning rate must be above 0");
        ensure!((0.0..1.0).contains(&o.momentum), "optimizer.momentum is {}; it must be 0 to below 1", o.momentum);
        ensure!(o.betas.iter().all(|b| (0.0..1.0).contains(b)), "optimizer.betas must be 0 to below 1");
        ensure!(
            o.decay >= 0.0 && o.clip > 0.0,
            "optimizer.decay must not be negative and optimizer.clip must be above 0"
        );
        if let Some(Recording { snapshots }) = self.recording {
            ensure!(
                snapshots >= 2,
                "recording.snapshots is {snapshots}; it must be at least 2 (the untrained model and the finished one), \
                 or leave [recording] out"
            );
        }
        let s = &self.schedule;
        ensure!((0.0..=1.0).contains(&s.decay), "schedule.decay is {}; it must be 0 to 1", s.decay);
        Ok(())
    }

    /// Rejects a vocabulary of another size than the shared tokenizer's.
    pub fn check_vocabulary(&self) -> Result<()> {
        let (model, tokenizer) = (self.model.vocabulary, tokenizer::VOCABULARY);
        ensure!(model == tokenizer, "model.vocabulary is {model}, but the shared tokenizer has {tokenizer} tokens");
        Ok(())
    }

    /// The factors of the gate's losses.
    pub fn gate_losses(&self) -> GateLosses {
        GateLosses { balance: self.training.balance_loss, z: self.training.z_loss }
    }

    /// Whether a run of `other` can continue with this configuration: everything that decides a step is the same.
    /// Only the length of the run and the snapshots may differ.
    pub fn continues(&self, other: &Self) -> bool {
        let mut same_length = other.clone();
        same_length.training.tokens = self.training.tokens;
        same_length.shows.clone_from(&self.shows);
        same_length.recording.clone_from(&self.recording);
        *self == same_length
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A tiny model, for tests.
    pub fn tiny() -> Config {
        Config {
            shows: "tests".into(),
            model: ModelShape {
                vocabulary: 2100,
                width: 16,
                layers: 2,
                heads: 2,
                kv_heads: 1,
                ff: 12,
                experts: 4,
                top_k: 2,
                shared_experts: 0,
                context: 24,
                rope_theta: 10000.0,
                norm_eps: 1e-5,
                router: GateKind::SoftmaxTopK,
            },
            training: Training {
                tokens: 2000,
                short: Some(Short { context: 10, tokens: 100 }),
                seed: 3,
                replicas: 2,
                mixed: 0.3,
                repeat: BTreeMap::new(),
                balance_loss: 0.01,
                z_loss: 0.001,
            },
            optimizer: Rates { muon: 0.05, momentum: 0.95, adam: 0.01, betas: [0.9, 0.95], decay: 0.1, clip: 1.0 },
            schedule: Schedule { warmup_tokens: 200, decay: 0.3 },
            recording: None,
        }
    }

    #[test]
    fn shipped_configurations_are_possible() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let config = Config::read(&entry.unwrap().path()).unwrap();
            config.check_vocabulary().unwrap();
            count += 1;
        }
        assert!(count >= 1);
    }

    const NOISY: GateKind = GateKind::NoisyTopK { importance_loss: 0.1, load_loss: 0.1 };

    fn switch(capacity_factor: Option<f64>) -> GateKind {
        GateKind::TopKOfSoftmax { capacity_factor }
    }

    fn grouped(groups: usize, groups_per_token: usize) -> GateKind {
        GateKind::Hierarchical { groups, groups_per_token }
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refuse = |change: fn(&mut Config), words: &str| {
            let mut config = tiny();
            change(&mut config);
            let error = Config::parse(&toml::to_string(&config).unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refuse(|c| c.model.top_k = 5, "top_k is 5 but there are only 4 experts");
        refuse(|c| c.model.heads = 3, "heads is 3, which does not divide model.width 16");
        refuse(|c| c.model.kv_heads = 3, "kv_heads is 3, which does not divide model.heads 2");
        refuse(|c| c.model.heads = 16, "a head is 1 wide");
        refuse(|c| c.model.layers = 0, "model.layers is 0");
        refuse(|c| c.training.replicas = 0, "replicas is 0");
        refuse(|c| c.training.short = Some(Short { context: 25, tokens: 1 }), "training.short.context is 25");
        refuse(|c| c.training.mixed = 1.5, "mixed is 1.5");
        refuse(|c| c.optimizer.muon = 0.0, "learning rate must be above 0");
        refuse(|c| c.schedule.decay = 2.0, "schedule.decay is 2");
        refuse(|c| c.model.router = switch(Some(0.0)), "capacity_factor is 0");
        refuse(|c| c.model.router = switch(Some(-1.0)), "capacity_factor is -1");
        refuse(|c| c.model.router = grouped(3, 1), "groups is 3, which does not divide 4 experts");
        refuse(|c| c.model.router = grouped(0, 1), "groups is 0");
        refuse(|c| c.model.router = grouped(2, 3), "groups_per_token is 3");
        refuse(|c| (c.model.router, c.model.top_k) = (grouped(4, 2), 4), "cannot share evenly");
        refuse(|c| c.model.router = GateKind::SigmoidBias { bias_rate: 0.0 }, "bias_rate is 0");
        refuse(|c| c.model.router = GateKind::SigmoidBias { bias_rate: 0.1 }, "balanced by its bias");
        refuse(|c| c.model.router = NOISY, "balanced by its importance and load losses");
        refuse(|c| (c.model.router, c.model.top_k) = (NOISY, 4), "noisy-top-k needs at least one");
        refuse(|c| (c.model.experts, c.model.top_k, c.model.shared_experts) = (1, 1, 1), "no shared experts");
        refuse(|c| c.recording = Some(Recording { snapshots: 0 }), "recording.snapshots is 0");
        assert!(Config::parse("shows = 1").is_err());
        let misspelt = toml::to_string(&tiny()).unwrap().replace("seed", "sead");
        assert!(Config::parse(&misspelt).unwrap_err().to_string().contains("sead"));
    }
}
