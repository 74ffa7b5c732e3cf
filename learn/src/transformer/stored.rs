//! Models as files hold them: `config.json` and `model.safetensors` to the trainer's flat vector, and back.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::gate::GateKind;
use super::model::{Kind, Layout, ModelShape};
use crate::error::{Error, Result};

/// A model's sizes and parameters, laid out as [`Layout`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The sizes.
    pub shape: ModelShape,
    /// The parameters.
    pub values: Vec<f32>,
}

/// The keys of a configuration that count here.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    rope_theta: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: bool,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    router: Option<Router>,
}

#[derive(Deserialize)]
struct Router {
    kind: String,
    #[serde(default)]
    shared_experts: usize,
    capacity_factor: Option<f64>,
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    groups_per_token: usize,
}

/// The factors that a configuration does not keep: what the shipped models were trained with.
const BIAS_RATE: f32 = 0.002;
const NOISE_LOSS: f32 = 0.02;

impl Router {
    fn kind(&self) -> Result<GateKind> {
        Ok(match self.kind.as_str() {
            "softmax-top-k" => GateKind::SoftmaxTopK,
            "top-k-of-softmax" => GateKind::TopKOfSoftmax { capacity_factor: self.capacity_factor },
            "noisy-top-k" => GateKind::NoisyTopK { importance_loss: NOISE_LOSS, load_loss: NOISE_LOSS },
            "sigmoid-bias" => GateKind::SigmoidBias { bias_rate: BIAS_RATE },
            "hierarchical" => GateKind::Hierarchical { groups: self.groups, groups_per_token: self.groups_per_token },
            other => return refuse(format!("has a router of the kind {other}, which training does not know")),
        })
    }
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::Input(format!("the model {why}")))
}

/// The sizes that a `config.json` describes.
///
/// # Errors
/// Text that is no such configuration, and what the trainer's network does not have: other types of model, a head of
/// another width, an output head of its own.
pub fn shape(config: &str) -> Result<ModelShape> {
    // By way of a value: the pages have one parser for all of JSON.
    let c: Config = match serde_json::from_str(config).and_then(serde_json::from_value) {
        Ok(config) => config,
        Err(error) => return refuse(format!("has a config.json that cannot be read: {error}")),
    };
    let experts = match c.model_type.as_str() {
        "mixtral" | "moescope" => c.num_local_experts.unwrap_or(8),
        "llama" => 1,
        other => return refuse(format!("is of the type {other}; only mixtral, llama and moescope can be trained")),
    };
    if !c.tie_word_embeddings {
        return refuse("has an output head of its own; only tied embeddings can be trained".into());
    }
    let width = c.hidden_size.checked_div(c.num_attention_heads).unwrap_or(0);
    if c.head_dim.is_some_and(|d| d != width) {
        return refuse(format!("has a head_dim that is not hidden_size / num_attention_heads, {width}"));
    }
    let router = c.router.filter(|_| experts > 1);
    let shape = ModelShape {
        vocabulary: c.vocab_size,
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        heads: c.num_attention_heads,
        kv_heads: c.num_key_value_heads,
        ff: c.intermediate_size,
        experts,
        top_k: if experts == 1 { 1 } else { c.num_experts_per_tok.unwrap_or(2) },
        shared_experts: router.as_ref().map_or(0, |r| r.shared_experts),
        context: c.max_position_embeddings,
        rope_theta: c.rope_theta.unwrap_or(10_000.0),
        norm_eps: c.rms_norm_eps,
        router: router.map_or(Ok(GateKind::default()), |r| r.kind())?,
    };
    shape.check().or_else(|why| refuse(format!("cannot be trained: {why}")))?;
    Ok(shape)
}

impl Stored {
    /// Reads `config.json` and `model.safetensors`. What only training has, as the noise's size, begins at 0.
    ///
    /// # Errors
    /// As [`shape`]; a file that is damaged, tensors that are missing, of another size, or of a format that is not F32,
    /// F16, BF16 or F8_E4M3.
    pub fn read(config: &str, weights: &[u8]) -> Result<Self> {
        let shape = shape(config)?;
        let file = match SafeTensors::deserialize(weights) {
            Ok(file) => file,
            Err(error) => return refuse(format!("has a model.safetensors that cannot be read: {error}")),
        };
        let layout = Layout::new(&shape);
        let mut values = vec![0.0; layout.total];
        for p in &layout.parameters {
            let Some(name) = file_name(&shape, &p.name) else { continue };
            let Ok(tensor) = file.tensor(&name) else {
                if name.contains("noise") {
                    continue;
                }
                return refuse(format!("has no tensor {name}"));
            };
            let size: usize = tensor.shape().iter().product();
            if size != p.range.len() {
                return refuse(format!("has {size} numbers in the tensor {name}, not {}", p.range.len()));
            }
            if widen(tensor.dtype(), tensor.data(), &mut values[p.range.clone()]).is_none() {
                let format = tensor.dtype();
                return refuse(format!("has the tensor {name} as {format}; take F32, F16, BF16 or F8_E4M3"));
            }
        }
        Ok(Self { shape, values })
    }
}

/// The bytes of a `model.safetensors` with these parameters as F16, two bytes a number. What only training has, as the
/// size of the noise, is in it too.
///
/// # Errors
/// A number is not finite, or too large for F16.
pub fn file(shape: &ModelShape, values: &[f32]) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    for p in Layout::new(shape).parameters {
        let Some(name) = file_name(shape, &p.name) else { continue };
        let mut bytes = Vec::with_capacity(2 * p.range.len());
        for value in &values[p.range.clone()] {
            let short = half::f16::from_f32(*value);
            if !short.is_finite() {
                return Err(Error::Input(format!("{name} has the number {value}, which 16 bits cannot hold")));
            }
            bytes.extend(short.to_le_bytes());
        }
        let vector = matches!(p.kind, Kind::Gain | Kind::Bias);
        parts.push((name, if vector { vec![p.cols] } else { vec![p.rows, p.cols] }, bytes));
    }
    let views = parts.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F16, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<std::result::Result<Vec<_>, _>>();
    // As transformers writes it; it reads no file without this.
    let format = Some(std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]));
    let written = views.and_then(|views| safetensors::serialize(views, format));
    written.or_else(|error| refuse(format!("cannot be written as a model.safetensors: {error}")))
}

/// The name of a parameter in Hugging Face's class; `None` for the router of a network of one expert.
pub fn file_name(m: &ModelShape, name: &str) -> Option<String> {
    if m.experts > 1 {
        return Some(name.to_string());
    }
    if name.contains("block_sparse_moe.gate") {
        return None;
    }
    let parts = [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")];
    let renamed = parts.iter().fold(name.to_string(), |name, (old, new)| {
        name.replace(&format!("block_sparse_moe.experts.0.{old}."), &format!("mlp.{new}."))
    });
    Some(renamed)
}

/// Widens little-endian numbers; `None` for a format that is not known.
fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Option<()> {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        out.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(out, b)| *out = read(*b));
    }
    match dtype {
        Dtype::F32 => each(bytes, out, f32::from_le_bytes),
        Dtype::F16 => each(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::F8_E4M3 => each(bytes, out, |[b]| e4m3(b)),
        _ => return None,
    }
    Some(())
}

/// A number of 8 bits: a sign, four bits of exponent with a bias of 7, three of fraction; 0x7f and 0xff are NaN.
pub fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
    let size = match exponent {
        0 => fraction * 2f32.powi(-6),
        15 if byte & 7 == 7 => f32::NAN,
        _ => (1.0 + fraction) * 2f32.powi(exponent - 7),
    };
    if byte < 0x80 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> (&'static str, Vec<u8>) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../www/models/tiny/");
        let config = include_str!("../../../www/models/tiny/config.json");
        (config, std::fs::read(format!("{folder}model.safetensors")).unwrap())
    }

    #[test]
    fn a_shipped_model_is_read() {
        let (config, weights) = tiny();
        let stored = Stored::read(config, &weights).unwrap();
        assert_eq!((stored.shape.layers, stored.shape.experts, stored.shape.top_k), (4, 8, 2));
        assert!(stored.values.iter().all(|v| v.is_finite()) && stored.values.iter().any(|v| *v != 0.0));
    }

    #[test]
    fn a_written_file_is_read_again() {
        let (config, weights) = tiny();
        let stored = Stored::read(config, &weights).unwrap();
        let written = file(&stored.shape, &stored.values).unwrap();
        let again = Stored::read(config, &written).unwrap();
        // Numbers of 8 bits fit into 16.
        assert_eq!(again, stored);
        let (old, new) = (SafeTensors::deserialize(&weights).unwrap(), SafeTensors::deserialize(&written).unwrap());
        assert_eq!(old.len(), new.len());
        for (name, tensor) in old.tensors() {
            assert_eq!(tensor.shape(), new.tensor(&name).unwrap().shape(), "{name}");
        }
        let mut large = stored.clone();
        large.values[0] = 1e6;
        assert!(file(&large.shape, &large.values).unwrap_err().to_string().contains("16 bits"));
    }

    #[test]
    fn damaged_files_are_errors() {
        let (config, weights) = tiny();
        let error = |config: &str, weights: &[u8]| Stored::read(config, weights).unwrap_err().to_string();
        assert!(error("{", &weights).contains("config.json that cannot be read"));
        assert!(error(config, &weights[..100]).contains("model.safetensors that cannot be read"));
        assert!(error(&config.replace("\"mixtral\"", "\"gpt2\""), &weights).contains("of the type gpt2"));
        assert!(error(&config.replace("\"hidden_size\": 64", "\"hidden_size\": 0"), &weights).contains("head_dim"));
        let wider = config.replace("\"intermediate_size\": 48", "\"intermediate_size\": 49");
        assert!(error(&wider, &weights).contains("not 3136"));
        let more = config.replace("\"num_local_experts\": 8", "\"num_local_experts\": 9");
        assert!(error(&more, &weights).contains("the model has"));
    }

    #[test]
    fn eight_bits_are_read_as_the_format_says() {
        let some =
            [(0x38, 1.0), (0xb8, -1.0), (0x7e, 448.0), (0x01, 2f32.powi(-9)), (0x00, 0.0), (0x08, 2f32.powi(-6))];
        some.iter().for_each(|&(byte, value)| assert_eq!(e4m3(byte), value));
        assert!(e4m3(0x7f).is_nan());
    }
}
