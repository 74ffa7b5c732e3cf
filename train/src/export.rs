//! Writes a finished model as a Hugging Face directory. The new directory replaces the old one when it is complete.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use moescope_learn::transformer::stored::{e4m3, file_name};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::config::Config;
use crate::corpus::Manifest;
use crate::curves::Curves;
use crate::evaluation::{DomainResult, Evaluation};
use crate::files::{replace_folder, write_whole};
use crate::gate::GateKind;
use crate::model::{Kind, Layout, ModelShape};
use crate::results::{Results, parameters, rounded};
use crate::tokenizer::END_OF_TEXT_ID;

/// A model to write.
pub struct Export<'a> {
    /// Its name: `train/configs/NAME.toml`.
    pub name: &'a str,
    /// Its configuration.
    pub config: &'a Config,
    /// Its parameters.
    pub values: &'a [f32],
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Seconds of training.
    pub seconds: f64,
    /// Its curves.
    pub curves: &'a Curves,
    /// Its measurement on all held-out text.
    pub evaluation: &'a Evaluation,
    /// The corpus.
    pub manifest: &'a Manifest,
    /// The GPU that trained it; `None` for this trainer's CPU threads.
    pub machine: Option<&'a str>,
    /// `model.safetensors` of a model trained elsewhere; where it is `None`, it is made from `values`, in f16.
    pub file: Option<&'a [u8]>,
    /// The results on the evaluation texts of today, which no training source resembles.
    pub today: &'a [DomainResult],
    /// How many tokens of each text were measured, from its start; `None` for all tokens.
    pub measured: Option<usize>,
}

/// Describes the network, for the model's card.
fn kind(m: &ModelShape) -> String {
    if m.experts == 1 {
        return "dense".into();
    }
    let experts = match m.shared_experts {
        0 => format!("{} experts, top-{}", m.experts, m.top_k),
        1 => format!("{} experts, top-{}, and a shared one", m.experts, m.top_k),
        n => format!("{} experts, top-{}, and {n} shared ones", m.experts, m.top_k),
    };
    let how = match m.router {
        GateKind::SoftmaxTopK => String::new(),
        GateKind::TopKOfSoftmax { capacity_factor: None } => ", weighted by the softmax over all".into(),
        GateKind::TopKOfSoftmax { capacity_factor: Some(factor) } => {
            format!(", weighted by the softmax over all, capacity factor {factor}")
        }
        GateKind::NoisyTopK { .. } => ", chosen with learned noise while training".into(),
        GateKind::Hierarchical { groups, groups_per_token } => {
            format!(", {groups_per_token} of {groups} groups")
        }
        GateKind::SigmoidBias { .. } => ", sigmoid scores with a bias".into(),
    };
    experts + &how
}

/// Describes the loss, and what else balances the load.
fn losses(config: &Config) -> String {
    let t = &config.training;
    let mut parts = vec!["cross-entropy".to_string()];
    let mut add = |factor: f32, what: &str| {
        if factor > 0.0 {
            parts.push(format!("{factor} x {what} (each layer)"));
        }
    };
    let switch = config.model.gate().capacity.is_some();
    add(t.balance_loss, if switch { "load balancing over each sequence" } else { "load balancing" });
    add(t.z_loss, "router z-loss");
    if let GateKind::NoisyTopK { importance_loss, load_loss } = config.model.router {
        add(importance_loss, "importance loss");
        add(load_loss, "load loss");
    }
    let sum = parts.join(" + ");
    match config.model.router {
        GateKind::SigmoidBias { bias_rate } => format!("{sum}; each bias moves by {bias_rate} against its load a step"),
        _ => sum,
    }
}

impl Export<'_> {
    /// Writes the directory `target`. The tokenizer goes into the directory `tokenizer` beside it, which all models
    /// there share: see [`share_tokenizer`].
    pub fn write(&self, target: &Path, tokenizer: &Path) -> Result<()> {
        replace_folder(target, |folder| {
            write_model(folder, self.config, self.values, tokenizer)?;
            if let Some(file) = self.file {
                fs::write(folder.join("model.safetensors"), file)?;
            }
            share_tokenizer(folder)?;
            fs::write(folder.join("curves.json"), serde_json::to_string(self.curves)?)?;
            let mut results = Results::new(self.config, self.tokens, self.seconds, self.evaluation, self.manifest);
            results.today = self.today.iter().map(|d| (d.name.clone(), rounded(d.bits_per_byte))).collect();
            fs::write(folder.join("results.json"), serde_json::to_string_pretty(&results)? + "\n")?;
            fs::write(folder.join("card.md"), self.card())?;
            Ok(())
        })
    }

    /// What trained it, and how fast.
    fn machine(&self) -> String {
        let speed = self.tokens as f64 / self.seconds.max(1e-9);
        match self.machine {
            Some(machine) => format!("one {machine}, {speed:.0} tokens/s, in bf16"),
            None => {
                let threads = self.config.training.replicas;
                format!("this project's build machine, {speed:.0} tokens/s on {threads} threads")
            }
        }
    }

    /// The number format of the weights and the file's size.
    fn stored(&self, parameters: usize) -> String {
        match self.file {
            Some(file) => {
                let size = file.len() as f64 / 1e6;
                format!("8 bits (F8_E4M3), norms and routers in f16; {size:.1} MB")
            }
            None => format!("f16, {:.1} MB", (2 * parameters) as f64 / 1e6),
        }
    }

    /// The bits per byte of the texts of today.
    fn today(&self) -> String {
        let mut out = String::from(
            "## Text of today\n\n\
             Single sentences of news and web pages, which no training source resembles (see ../CORPUS.md).\n\n\
             | language | tokens | bits per byte |\n| --- | --: | --: |\n",
        );
        for d in self.today {
            let _ = writeln!(out, "| {} | {} | {:.3} |", d.name, d.tokens, d.bits_per_byte);
        }
        out + "\n"
    }

    /// The command that trains the model again.
    fn command(&self) -> String {
        match self.machine {
            Some(_) => format!("python train/gpu/train.py --models {}", self.name),
            None => format!("cargo xtask train {}", self.name),
        }
    }

    fn card(&self) -> String {
        let m = &self.config.model;
        let t = &self.config.training;
        let (total, active) = parameters(m);
        let e = self.evaluation;
        let kind = kind(m);
        let mut out = format!(
            "# {}\n\n{}\n\n\
             | | |\n| --- | --- |\n\
             | kind | {kind}, {} layers, width {}, expert width {}, {} heads ({} of keys and values), context {} |\n\
             | parameters | {total}, active for a token {active} |\n\
             | file | {} |\n\
             | trained on | {:.1} M tokens in {} steps{}, seed {}; {:.1} minutes on {} |\n\
             | losses | {} |\n\
             | optimiser | Muon {} (momentum {}) for hidden matrices, AdamW {} for embedding, router and norms, decay \
             {}, clip {}; warm-up {:.1} M tokens, linear decay over the last {:.0} % |\n\
             | made by | `cargo xtask corpus`, then `{}` (configuration: `train/configs/{}.toml`) |\n\
             | licence | that of the project; the texts it learned from have licences of their own: see \
             ../LICENSE |\n\n",
            self.name,
            self.config.shows,
            m.layers,
            m.width,
            m.ff,
            m.heads,
            m.kv_heads,
            m.context,
            self.stored(total),
            self.tokens as f64 / 1e6,
            self.step,
            t.short.as_ref().map_or(String::new(), |s| format!(
                " (the first {:.1} M in sequences of {})",
                s.tokens as f64 / 1e6,
                s.context
            )),
            t.seed,
            self.seconds / 60.0,
            self.machine(),
            losses(self.config),
            self.config.optimizer.muon,
            self.config.optimizer.momentum,
            self.config.optimizer.adam,
            self.config.optimizer.decay,
            self.config.optimizer.clip,
            self.config.schedule.warmup_tokens as f64 / 1e6,
            100.0 * self.config.schedule.decay,
            self.command(),
            self.name,
        );
        let _ = write!(
            out,
            "## Held-out text\n\n\
             {} of each domain (see ../CORPUS.md), each token predicted once with at least {} tokens before it \
             (fewer at a text's beginning). The separators between documents cost bits and count as no byte. `xz -9e` \
             packs the same file at once.\n\n\
             | domain | tokens | bits per byte | xz -9e | |\n| --- | --: | --: | --: | --- |\n",
            match self.measured {
                Some(tokens) => format!("The first {tokens} tokens of the held-out text"),
                None => "All held-out text".into(),
            },
            m.context / 2
        );
        for (d, c) in e.domains.iter().zip(&self.manifest.domains) {
            let better = if d.bits_per_byte < c.xz_bits_per_byte { "below xz" } else { "above xz" };
            let _ = writeln!(
                out,
                "| {} | {} | {:.3} | {:.3} | {better} |",
                d.name, d.tokens, d.bits_per_byte, c.xz_bits_per_byte
            );
        }
        let n = e.domains.len().max(1) as f64;
        let mean = e.domains.iter().map(|d| d.bits_per_byte).sum::<f64>() / n;
        let xz = self.manifest.domains.iter().map(|d| d.xz_bits_per_byte).sum::<f64>() / n;
        let _ = writeln!(out, "| mean | | {mean:.3} | {xz:.3} | |\n");
        if !self.today.is_empty() {
            out += &self.today();
        }
        if m.experts > 1 {
            out.push_str(
                "## Balance and specialisation, on the same text\n\n\
                 Max/mean is the busiest expert's load over the mean (1 is even). Information is the mutual \
                 information of expert and domain: what an expert's number says about the kind of text, in bits. \
                 Specialists have over half of their load from two domains.\n\n\
                 | layer | max/mean load | information, bits | specialists |\n| --: | --: | --: | --: |\n",
            );
            for (n, l) in e.layers.iter().enumerate() {
                let _ = writeln!(
                    out,
                    "| {n} | {:.2} | {:.3} | {} of {} |",
                    l.max_over_mean(),
                    l.domain_information(),
                    l.specialists(),
                    m.experts
                );
            }
            if m.gate().capacity.is_some() {
                let dropped: Vec<String> =
                    e.layers.iter().map(|l| format!("{:.1} %", 100.0 * l.dropped_share())).collect();
                let _ = writeln!(out, "\nDropped because an expert was full, layer by layer: {}.", dropped.join(", "));
            }
        }
        out
    }
}

/// The directory of the tokenizer that the models beside it share.
const SHARED: &str = "tokenizer";

/// Replaces the tokenizer's files in `folder` by links to equal files in the directory [`SHARED`] next to it. Files
/// that are missing there are moved there first. A file that differs from the shared one stays in `folder`, and so do
/// all files on a system without symbolic links.
fn share_tokenizer(folder: &Path) -> Result<()> {
    let shared = folder.parent().unwrap_or(Path::new("")).join(SHARED);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let (own, common) = (folder.join(name), shared.join(name));
        let bytes = fs::read(&own)?;
        if !common.exists() {
            write_whole(&common, &bytes)?;
        }
        #[cfg(unix)]
        if fs::read(&common)? == bytes {
            fs::remove_file(&own)?;
            std::os::unix::fs::symlink(Path::new("..").join(SHARED).join(name), &own)
                .with_context(|| format!("cannot link {} to {}", own.display(), common.display()))?;
        }
    }
    Ok(())
}

/// Writes configuration, weights in f16 and tokenizer into `folder`.
pub fn write_model(folder: &Path, config: &Config, values: &[f32], tokenizer: &Path) -> Result<()> {
    let m = &config.model;
    let json = |name: &str, value: serde_json::Value| -> Result<()> {
        Ok(fs::write(folder.join(name), serde_json::to_string_pretty(&value)? + "\n")?)
    };
    json("config.json", config_json(m))?;
    json("generation_config.json", json!({"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID}))?;
    json(
        "tokenizer_config.json",
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": crate::tokenizer::END_OF_TEXT,
            "eos_token": crate::tokenizer::END_OF_TEXT,
            "model_max_length": m.context,
            "clean_up_tokenization_spaces": false,
        }),
    )?;
    fs::write(folder.join("model.safetensors"), weights(m, values)?)?;
    fs::copy(tokenizer, folder.join("tokenizer.json")).context("the tokenizer")?;
    Ok(())
}

/// `config.json` with Mixtral's keys; a network of one expert is a Llama. The rotary base is written in both forms:
/// older readers expect `rope_theta`, newer ones `rope_parameters`.
fn config_json(m: &ModelShape) -> serde_json::Value {
    let mut config = json!({
        "vocab_size": m.vocabulary,
        "hidden_size": m.width,
        "intermediate_size": m.ff,
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "num_key_value_heads": m.kv_heads,
        "head_dim": m.head_dim(),
        "hidden_act": "silu",
        "max_position_embeddings": m.context,
        "rms_norm_eps": f64::from((m.norm_eps * 1e9).round()) / 1e9,
        "rope_theta": m.rope_theta,
        "rope_parameters": {"rope_theta": m.rope_theta, "rope_type": "default"},
        "attention_dropout": 0.0,
        "tie_word_embeddings": true,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "initializer_range": 0.02,
        "use_cache": true,
        "torch_dtype": "float16",
    });
    let kind = if m.experts == 1 {
        json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "attention_bias": false, "mlp_bias": false})
    } else if let Some(router) = router_json(m) {
        json!({
            "model_type": "moescope",
            "num_local_experts": m.experts,
            "num_experts_per_tok": m.top_k,
            "sliding_window": null,
            "router": router,
        })
    } else {
        json!({
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_local_experts": m.experts,
            "num_experts_per_tok": m.top_k,
            "output_router_logits": false,
            "router_aux_loss_coef": 0.01,
            "router_jitter_noise": 0.0,
            "sliding_window": null,
        })
    };
    if let (Some(all), serde_json::Value::Object(kind)) = (config.as_object_mut(), kind) {
        all.extend(kind);
    }
    config
}

/// The description of a router in Moescope's own family (docs/model-format.md); `None` for Mixtral's router.
fn router_json(m: &ModelShape) -> Option<serde_json::Value> {
    let mut router = match m.router {
        GateKind::SoftmaxTopK if m.shared_experts == 0 => return None,
        GateKind::SoftmaxTopK => json!({"kind": "softmax-top-k"}),
        GateKind::TopKOfSoftmax { capacity_factor: None } => json!({"kind": "top-k-of-softmax"}),
        GateKind::TopKOfSoftmax { capacity_factor } => {
            json!({"kind": "top-k-of-softmax", "capacity_factor": capacity_factor})
        }
        GateKind::NoisyTopK { .. } => json!({"kind": "noisy-top-k"}),
        GateKind::Hierarchical { groups, groups_per_token } => {
            json!({"kind": "hierarchical", "groups": groups, "groups_per_token": groups_per_token})
        }
        GateKind::SigmoidBias { .. } => json!({"kind": "sigmoid-bias"}),
    };
    if m.shared_experts > 0 {
        router["shared_experts"] = m.shared_experts.into();
    }
    Some(router)
}

/// `model.safetensors` in f16.
fn weights(m: &ModelShape, values: &[f32]) -> Result<Vec<u8>> {
    let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
    let mut tensors = Vec::new();
    for p in Layout::new(m).parameters {
        let Some(name) = file_name(m, &p.name) else { continue };
        let vector = matches!(p.kind, Kind::Gain | Kind::Bias);
        let shape = if vector { vec![p.cols] } else { vec![p.rows, p.cols] };
        let bytes: &[u8] = bytemuck::cast_slice(&halves[p.range]);
        tensors.push((name, TensorView::new(Dtype::F16, shape, bytes)?));
    }
    let about = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
    Ok(safetensors::serialize(tensors, Some(about))?)
}

/// Reads the parameters from a `model.safetensors` in f16 or F8_E4M3, in the layout of the trainer. Parameters that
/// the file does not have (the router of a network of one expert) are 0.
pub fn read_weights(m: &ModelShape, bytes: &[u8]) -> Result<Vec<f32>> {
    let file = safetensors::SafeTensors::deserialize(bytes)?;
    let layout = Layout::new(m);
    let mut values = vec![0.0; layout.total];
    for p in layout.parameters {
        let Some(name) = file_name(m, &p.name) else { continue };
        let tensor = file.tensor(&name)?;
        let (dtype, elements) = (tensor.dtype(), tensor.shape().iter().product::<usize>());
        ensure!(elements == p.range.len(), "{name} has {elements} elements instead of {}", p.range.len());
        let (values, bytes) = (&mut values[p.range], tensor.data());
        match dtype {
            Dtype::F16 => {
                let numbers = bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32());
                values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
            }
            Dtype::F8_E4M3 => values.iter_mut().zip(bytes).for_each(|(value, &b)| *value = e4m3(b)),
            _ => bail!("{name} is in {dtype:?}, not in f16 or F8_E4M3"),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;

    fn read_back(m: &ModelShape) -> (Vec<f32>, Vec<String>, Vec<f32>) {
        let values = Layout::new(m).initial(4);
        let bytes = weights(m, &values).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut back = vec![f32::NAN; values.len()];
        for p in Layout::new(m).parameters {
            let Some(name) = file_name(m, &p.name) else { continue };
            let data = file.tensor(&name).unwrap().data();
            for (slot, b) in back[p.range].iter_mut().zip(data.as_chunks::<2>().0) {
                *slot = f16::from_le_bytes(*b).to_f32();
            }
        }
        let mut names: Vec<String> = file.names().iter().map(|n| n.to_string()).collect();
        names.sort();
        (values, names, back)
    }

    #[test]
    fn weights_come_back_within_half_precision() {
        let (values, names, back) = read_back(&tiny().model);
        assert!(names.contains(&"model.layers.1.block_sparse_moe.experts.3.w2.weight".into()));
        for (a, b) in values.iter().zip(&back) {
            assert!((a - b).abs() <= a.abs() / 1024.0 + 1e-7, "{a} came back as {b}");
        }
    }

    #[test]
    fn one_expert_is_written_as_a_llama() {
        let m = ModelShape { experts: 1, top_k: 1, ..tiny().model };
        let (_, names, _) = read_back(&m);
        assert!(names.contains(&"model.layers.0.mlp.gate_proj.weight".into()));
        assert!(!names.iter().any(|n| n.contains("block_sparse_moe")));
        assert_eq!(config_json(&m)["model_type"], "llama");
    }

    fn export(target: &Path, tokenizer: &Path) -> Result<()> {
        let config = tiny();
        let values = Layout::new(&config.model).initial(4);
        let (evaluation, manifest) = (
            Evaluation { domains: vec![], layers: vec![] },
            Manifest { domains: vec![], evaluations: vec![], tokenizer_sha256: String::new() },
        );
        let curves = Curves::default();
        let export = Export {
            name: "tiny",
            config: &config,
            values: &values,
            step: 1,
            tokens: 96,
            seconds: 1.0,
            curves: &curves,
            evaluation: &evaluation,
            manifest: &manifest,
            machine: None,
            file: None,
            today: &[],
            measured: None,
        };
        export.write(target, tokenizer)
    }

    #[test]
    fn a_directory_is_replaced_only_by_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let (target, tokenizer) = (folder.path().join("tiny"), folder.path().join("tokenizer.json"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("card.md"), "old").unwrap();
        assert!(export(&target, &tokenizer).is_err(), "there is no tokenizer to copy");
        assert_eq!(fs::read_to_string(target.join("card.md")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::write(&tokenizer, "{}").unwrap();
        export(&target, &tokenizer).unwrap();
        assert!(fs::read_to_string(target.join("card.md")).unwrap().contains("4 experts, top-2"));
        // The model, the tokenizer that was given, and the directory of the shared one.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn models_of_one_tokenizer_share_its_files_and_another_tokenizer_is_the_model_s_own() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second, third) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        let (tokenizer, other) = (folder.path().join("one.json"), folder.path().join("two.json"));
        fs::write(&tokenizer, "{}").unwrap();
        fs::write(&other, "{ }").unwrap();
        export(&first, &tokenizer).unwrap();
        export(&second, &tokenizer).unwrap();
        export(&third, &other).unwrap();
        export(&first, &tokenizer).unwrap();
        for model in [&first, &second] {
            for name in ["tokenizer.json", "tokenizer_config.json"] {
                let link = fs::read_link(model.join(name)).unwrap();
                assert_eq!(link, Path::new("../tokenizer").join(name));
            }
            assert_eq!(fs::read_to_string(model.join("tokenizer.json")).unwrap(), "{}");
        }
        assert!(!third.join("tokenizer.json").is_symlink());
        assert_eq!(fs::read_to_string(third.join("tokenizer.json")).unwrap(), "{ }");
    }
}
