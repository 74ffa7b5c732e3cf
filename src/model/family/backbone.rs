//! The parts that the families share: a decoder with norms, rotary positions and grouped-query attention, with the
//! config keys and tensor names of Hugging Face. A family adds its defaults, changes what differs, and names its FFN's
//! tensors.

pub use super::defaults::Defaults;
use super::rotary;
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::{Tensor, Tensors};
use crate::model::weights::{ExpertWeights, FfnWeights, LayerWeights, MatrixWeights, NormWeights, Weights};
use crate::shape::{
    Architecture, AttentionShape, ConvolutionShape, HeadNorm, LatentShape, LayerShape, MatrixName, Mixer, MoeShape,
    StateSpaceShape, VectorName,
};
use std::ops::RangeInclusive;

/// The longest context; a larger value in a config is reduced to it. See [`Architecture::within_memory`].
const MOST_CONTEXT: usize = 8192;

/// The keys that all families have.
const KNOWN: [&str; 18] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "partial_rotary_factor",
    "tie_word_embeddings",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
];

/// Limits of the sizes in a config, above those of published models. Products of a few of them fit 32 bits.
pub mod sizes {
    use super::RangeInclusive;

    pub const VOCABULARY: RangeInclusive<usize> = 1..=1 << 24;
    pub const HIDDEN: RangeInclusive<usize> = 1..=1 << 16;
    pub const INNER: RangeInclusive<usize> = 1..=1 << 20;
    pub const LAYERS: RangeInclusive<usize> = 1..=1024;
    pub const HEADS: RangeInclusive<usize> = 1..=1024;
    pub const HEAD_DIM: RangeInclusive<usize> = 1..=4096;
    pub const EXPERTS: RangeInclusive<usize> = 0..=4096;
}

/// Width inside an expert, or inside the FFN.
pub fn intermediate(keys: &Keys) -> Result<usize> {
    keys.needed("intermediate_size", sizes::INNER)
}

/// The experts that a config asks for by these keys: how many, how many a token uses, and their width.
pub fn experts(keys: &Keys, [all, used, width]: [&str; 3]) -> Result<MoeShape> {
    let all = keys.needed(all, sizes::EXPERTS)?;
    Ok(MoeShape::mixtral(all, keys.needed(used, sizes::EXPERTS)?, keys.needed(width, sizes::INNER)?))
}

/// The architecture of a config; `moe` returns the experts of each layer, `known` are the family's own keys.
pub fn architecture(
    keys: &Keys,
    defaults: &Defaults,
    moe: impl Fn(usize) -> MoeShape,
    known: &[&str],
) -> Result<Architecture> {
    let bias = refuse_extras(keys, defaults)?;
    let window: &[&str] = if defaults.has_window { &["sliding_window"] } else { &[] };
    keys.refuse_others(&[&KNOWN, known, window, &[defaults.eps_key]].concat())?;
    let (hidden, heads) =
        (keys.needed("hidden_size", sizes::HIDDEN)?, keys.needed("num_attention_heads", sizes::HEADS)?);
    let head_dim = keys.size("head_dim", sizes::HEAD_DIM)?.or(defaults.head_dim);
    if head_dim.is_none() && !hidden.is_multiple_of(heads) {
        return Err(wrong(format!(
            "num_attention_heads ({heads}) must divide hidden_size ({hidden}) where head_dim is not given"
        )));
    }
    let head_dim = head_dim.unwrap_or(hidden / heads);
    // Null means one key/value head per head; a missing key means the family's default.
    let kv_heads = match keys.has("num_key_value_heads") {
        true => keys.size("num_key_value_heads", sizes::HEADS)?,
        false => defaults.kv_heads,
    };
    let context = keys.size("max_position_embeddings", 1..=usize::MAX)?.unwrap_or(defaults.context).min(MOST_CONTEXT);
    // A window at least as long as the context limits nothing.
    let window = if defaults.has_window { keys.size("sliding_window", 0..=usize::MAX)? } else { None };
    let attention = AttentionShape {
        rope: Some(rotary::rope(keys, defaults, head_dim)?),
        window: window.filter(|window| *window < context),
        bias,
        output_bias: bias,
        ..AttentionShape::new(heads, kv_heads.unwrap_or(heads), head_dim, defaults.rope_theta)
    };
    let layers = keys.needed("num_hidden_layers", sizes::LAYERS)?;
    Architecture {
        vocabulary: keys.needed("vocab_size", sizes::VOCABULARY)?,
        hidden,
        context,
        norm_eps: keys.number(defaults.eps_key, 0.0..=1e6)?.unwrap_or(defaults.norm_eps),
        tied: if keys.has("tie_word_embeddings") { keys.flag("tie_word_embeddings")? } else { defaults.tied },
        layers: (0..layers).map(|n| LayerShape::new(attention.clone(), moe(n))).collect(),
        ..Architecture::default()
    }
    .checked()
}

/// Calls `change` with the attention of every layer that has one, and the layer's number.
pub fn each_attention(a: &mut Architecture, mut change: impl FnMut(usize, &mut AttentionShape)) {
    for (n, layer) in a.layers.iter_mut().enumerate() {
        if let Some(attention) = layer.attention_mut() {
            change(n, attention);
        }
    }
}

/// Options that would change the numbers and are not implemented are errors, never ignored. Gives whether the
/// attention's products have biases.
fn refuse_extras(keys: &Keys, defaults: &Defaults) -> Result<bool> {
    // "swish" is another name of "silu".
    if let Some(act) = keys.get("hidden_act").filter(|act| **act != "silu" && **act != "swish") {
        return Err(wrong(format!("hidden_act is {}; only \"silu\" (\"swish\") is known", short(act))));
    }
    if keys.flag("mlp_bias")? || (keys.flag("attention_bias")? && defaults.bias.is_none()) {
        let why = "attention_bias and mlp_bias are not known in this family; only projections without a bias are";
        return Err(wrong(why.into()));
    }
    match defaults.bias {
        Some(default) if !keys.has("attention_bias") => Ok(default),
        _ => keys.flag("attention_bias"),
    }
}

/// The names of a layer's tensors, after the layer's own ("model.layers.0.").
pub struct Names {
    /// The norm before the mixer.
    pub mixer_norm: &'static str,
    /// The norm before the experts.
    pub ffn_norm: &'static str,
    /// The attention's output projection.
    pub output: &'static str,
    /// Norms of queries and keys.
    pub head_norms: [&'static str; 2],
    /// Norms of the outputs of mixer and experts, where layers have them.
    pub post_norms: [&'static str; 2],
    /// The last norm, as a full name.
    pub last_norm: &'static str,
}

impl Names {
    /// The names in most families.
    pub const PLAIN: Self = Self {
        mixer_norm: "input_layernorm",
        ffn_norm: "post_attention_layernorm",
        output: "self_attn.o_proj",
        head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
        post_norms: ["post_attention_layernorm", "post_feedforward_layernorm"],
        last_norm: "model.norm",
    };
}

/// Views of all tensors, with their shapes checked; `ffn` gives those of the FFN of a layer, from the layer's
/// name ("model.layers.0") and its experts.
pub fn weights<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    names: &Names,
    ffn: impl Fn(&str, &MoeShape) -> Result<FfnWeights<'a>>,
) -> Result<Weights<'a>> {
    let norm = |name: &str| norm(tensors, a, name);
    let layer = |(n, shape): (usize, &LayerShape)| {
        let at = format!("model.layers.{n}");
        let (matrices, mut vectors) = mixer(tensors, a, &at, &shape.mixer, names)?;
        if shape.post_norms {
            for (of, name) in [VectorName::MixerPostNorm, VectorName::ExpertsPostNorm].into_iter().zip(names.post_norms)
            {
                vectors.push((of, tensors.vector(&format!("{at}.{name}.weight"), a.hidden)?));
            }
        }
        Ok(LayerWeights {
            mixer_norm: norm(&format!("{at}.{}", names.mixer_norm))?,
            matrices,
            vectors,
            moe_norm: norm(&format!("{at}.{}", names.ffn_norm))?,
            ffn: ffn(&at, &shape.moe)?,
        })
    };
    let embed = tensors.matrix("model.embed_tokens.weight", a.vocabulary, a.hidden)?;
    Ok(Weights {
        // Untied, a row of a token that no text uses may hold anything; tied, every product uses each row.
        embed: if a.tied { embed } else { embed.of_single_rows() },
        layers: a.layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
        norm: norm(names.last_norm)?,
        lm_head: if a.tied { None } else { Some(tensors.matrix("lm_head.weight", a.vocabulary, a.hidden)?) },
        head_bias: if a.head_bias { Some(tensors.vector("lm_head.bias", a.vocabulary)?) } else { None },
    })
}

fn norm<'a>(tensors: &'a Tensors, a: &Architecture, name: &str) -> Result<NormWeights<'a>> {
    let vector = |part: &str| tensors.vector(&format!("{name}.{part}"), a.hidden);
    Ok(NormWeights { scale: vector("weight")?, bias: if a.layer_norm { Some(vector("bias")?) } else { None } })
}

type MixerWeights<'a> = (Vec<MatrixWeights<'a>>, Vec<(VectorName, Tensor<'a>)>);

fn mixer<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    at: &str,
    mixer: &Mixer,
    names: &Names,
) -> Result<MixerWeights<'a>> {
    match mixer {
        Mixer::Attention(s) => {
            let output = format!("{at}.{}", names.output);
            let output =
                matrix(tensors, MatrixName::Output, &[(&output, a.hidden)], s.projected_width(), s.output_bias)?;
            let (mut matrices, vectors) = match &s.latent {
                None => attention(tensors, a, at, s, names)?,
                Some(latent) => latent_attention(tensors, a, at, s, latent)?,
            };
            if s.gated {
                let gate = format!("{at}.self_attn.gate_proj");
                let parts = [(gate.as_str(), s.output_width())];
                matrices.push(matrix(tensors, MatrixName::OutputGate, &parts, a.hidden, false)?);
            }
            matrices.push(output);
            Ok((matrices, vectors))
        }
        Mixer::Convolution(shape) => convolution(tensors, a, &format!("{at}.conv"), shape),
        Mixer::StateSpace(shape) => state_space(tensors, a, &format!("{at}.mamba"), shape),
    }
}

/// The tensors of a convolution, by the names of LFM2's checkpoints.
fn convolution<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    at: &str,
    shape: &ConvolutionShape,
) -> Result<MixerWeights<'a>> {
    let d = a.hidden;
    let (up, down) = (format!("{at}.in_proj"), format!("{at}.out_proj"));
    let matrices = vec![
        matrix(tensors, MatrixName::Convolution, &[(&up, 3 * d)], d, shape.bias)?,
        matrix(tensors, MatrixName::Output, &[(&down, d)], d, shape.bias)?,
    ];
    let kernel = tensors.reshaped(&format!("{at}.conv.weight"), &[d, 1, shape.positions], d)?;
    let mut vectors = vec![(VectorName::Kernel, kernel)];
    if shape.bias {
        vectors.push((VectorName::KernelBias, tensors.vector(&format!("{at}.conv.bias"), d)?));
    }
    Ok((matrices, vectors))
}

/// The tensors of a state-space mixer, by the names of Granite's checkpoints.
fn state_space<'a>(tensors: &'a Tensors, a: &Architecture, at: &str, s: &StateSpaceShape) -> Result<MixerWeights<'a>> {
    let (up, down) = (format!("{at}.in_proj"), format!("{at}.out_proj"));
    let matrices = vec![
        matrix(tensors, MatrixName::StateSpace, &[(&up, s.rows())], a.hidden, s.bias)?,
        matrix(tensors, MatrixName::Output, &[(&down, a.hidden)], s.inner(), s.bias)?,
    ];
    let channels = s.channels();
    let kernel = tensors.reshaped(&format!("{at}.conv1d.weight"), &[channels, 1, s.positions], channels)?;
    let mut vectors = vec![(VectorName::Kernel, kernel)];
    let named = [
        (VectorName::KernelBias, "conv1d.bias", channels),
        (VectorName::StepBias, "dt_bias", s.heads),
        (VectorName::Skip, "D", s.heads),
        (VectorName::GatedNorm, "norm.weight", s.inner()),
    ];
    for (of, name, len) in named.into_iter().filter(|(of, ..)| s.kernel_bias || *of != VectorName::KernelBias) {
        vectors.push((of, tensors.vector(&format!("{at}.{name}"), len)?));
    }
    let decay = match format!("{at}.A") {
        // GGUF files have `-exp(A_log)`.
        name if tensors.has(&name) => tensors.vector(&name, s.heads)?.mapped(|a| (-a).ln()),
        _ => tensors.vector(&format!("{at}.A_log"), s.heads)?,
    };
    vectors.push((VectorName::Decay, decay));
    Ok((matrices, vectors))
}

/// Tensors of these names and numbers of rows, stacked, each with a bias or none.
pub fn matrix<'a>(
    tensors: &'a Tensors,
    name: MatrixName,
    parts: &[(&str, usize)],
    inputs: usize,
    bias: bool,
) -> Result<MatrixWeights<'a>> {
    let weights = parts.iter().map(|(part, rows)| tensors.matrix(&format!("{part}.weight"), *rows, inputs));
    let biases = parts.iter().filter(|_| bias).map(|(part, rows)| tensors.vector(&format!("{part}.bias"), *rows));
    Ok(MatrixWeights { name, tensors: weights.collect::<Result<_>>()?, bias: biases.collect::<Result<_>>()? })
}

fn attention<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    at: &str,
    s: &AttentionShape,
    names: &Names,
) -> Result<MixerWeights<'a>> {
    let (queries, keys) = (s.query_width(), s.kv_heads * s.head_dim);
    let [q, k, v] = ["q", "k", "v"].map(|part| format!("{at}.self_attn.{part}_proj"));
    let parts = [(q.as_str(), queries), (k.as_str(), keys), (v.as_str(), s.kv_heads * s.value_dim)];
    let matrices = vec![matrix(tensors, MatrixName::Qkv, &parts, a.hidden, s.bias)?];
    let mut vectors = Vec::new();
    if let Some(norm) = s.norm {
        let widths = if norm == HeadNorm::Head { [s.head_dim; 2] } else { [queries, keys] };
        let scales = [VectorName::QueryNorm, VectorName::KeyNorm].into_iter().zip(names.head_norms).zip(widths);
        for ((name, tensor), width) in scales {
            vectors.push((name, tensors.vector(&format!("{at}.{tensor}.weight"), width)?));
        }
    }
    if s.sinks {
        vectors.push((VectorName::Sinks, tensors.vector(&format!("{at}.self_attn.sinks"), s.heads)?));
    }
    Ok((matrices, vectors))
}

/// The tensors of latent attention, by the names of DeepSeek's checkpoints.
fn latent_attention<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    at: &str,
    s: &AttentionShape,
    latent: &LatentShape,
) -> Result<MixerWeights<'a>> {
    let name = |part: &str| format!("{at}.self_attn.{part}");
    let queries = s.heads * (latent.own + latent.shared);
    let one = |of, part: &str, rows, inputs| matrix(tensors, of, &[(&name(part), rows)], inputs, false);
    let mut vectors = vec![(VectorName::KeyDownNorm, tensors.vector(&name("kv_a_layernorm.weight"), latent.rank)?)];
    let mut matrices = match latent.query_rank {
        None => vec![one(MatrixName::Query, "q_proj", queries, a.hidden)?],
        Some(rank) => {
            vectors.push((VectorName::QueryDownNorm, tensors.vector(&name("q_a_layernorm.weight"), rank)?));
            vec![
                one(MatrixName::QueryDown, "q_a_proj", rank, a.hidden)?,
                one(MatrixName::Query, "q_b_proj", queries, rank)?,
            ]
        }
    };
    let down = name("kv_a_proj_with_mqa.weight");
    let rows = |of, range| -> Result<MatrixWeights<'a>> {
        let tensor = tensors.rows(&down, [latent.rank + latent.shared, a.hidden], range)?;
        Ok(MatrixWeights { name: of, tensors: vec![tensor], bias: Vec::new() })
    };
    matrices.push(rows(MatrixName::KeyDown, 0..latent.rank)?);
    matrices.push(rows(MatrixName::KeyShared, latent.rank..latent.rank + latent.shared)?);
    let (up, keys, values) = (name("kv_b_proj.weight"), name("k_b_proj.weight"), name("v_b_proj.weight"));
    // GGUF files have those of keys and values apart, and those of keys transposed.
    let apart = tensors.has(&keys);
    let (of_head, heads) = (latent.own + latent.value_dim, s.heads);
    let of_keys = |head: usize| match apart {
        true => tensors.rows_of(&keys, [heads, latent.rank, latent.own], head, 0..latent.rank),
        false => {
            let rows = head * of_head..head * of_head + latent.own;
            Ok(tensors.rows(&up, [heads * of_head, latent.rank], rows)?.transposed())
        }
    };
    let of_values = |head: usize| match apart {
        true => tensors.rows_of(&values, [heads, latent.value_dim, latent.rank], head, 0..latent.value_dim),
        false => {
            let rows = head * of_head + latent.own..(head + 1) * of_head;
            tensors.rows(&up, [heads * of_head, latent.rank], rows)
        }
    };
    let by_head = |name, tensors: Result<Vec<_>>| Ok(MatrixWeights { name, tensors: tensors?, bias: Vec::new() });
    matrices.push(by_head(MatrixName::KeyUp, (0..heads).map(of_keys).collect())?);
    matrices.push(by_head(MatrixName::ValueUp, (0..heads).map(of_values).collect())?);
    Ok((matrices, vectors))
}

/// The names of an FFN's gate, down and up projections in most families.
pub const PROJECTIONS: [&str; 3] = ["gate_proj", "down_proj", "up_proj"];

/// The SwiGLU matrices called `[w1, w2, w3]` under `at`.
pub fn expert<'a>(
    tensors: &'a Tensors,
    at: &str,
    names: [&str; 3],
    inner: usize,
    hidden: usize,
) -> Result<ExpertWeights<'a>> {
    let matrix = |name: &str, rows, cols| tensors.matrix(&format!("{at}.{name}.weight"), rows, cols);
    let [w1, w2, w3] = names;
    Ok(ExpertWeights {
        w1: matrix(w1, inner, hidden)?,
        w2: matrix(w2, hidden, inner)?,
        w3: matrix(w3, inner, hidden)?,
        bias: None,
    })
}

/// Expert `e` of `up`, `[E, 2 F, D]` (gate above up), and of `down`, `[E, D, F]`.
pub fn stacked_expert<'a>(
    tensors: &'a Tensors,
    [up, down]: [&str; 2],
    e: usize,
    moe: &MoeShape,
    hidden: usize,
) -> Result<ExpertWeights<'a>> {
    let inner = moe.intermediate;
    let gate_and_up = |rows| tensors.rows_of(up, [moe.experts, 2 * inner, hidden], e, rows);
    Ok(ExpertWeights {
        w1: gate_and_up(0..inner)?,
        w2: tensors.rows_of(down, [moe.experts, hidden, inner], e, 0..hidden)?,
        w3: gate_and_up(inner..2 * inner)?,
        bias: None,
    })
}

/// The router `gate` and the experts of the FFN `at` ("model.layers.0.mlp"): expert by expert with these names, or in
/// one tensor for all, as transformers 5 has them in memory (and saves them with `save_original_format=False`).
pub fn routed<'a>(
    tensors: &'a Tensors,
    at: &str,
    names: [&str; 3],
    moe: &MoeShape,
    hidden: usize,
) -> Result<FfnWeights<'a>> {
    routed_by(tensors, at, &format!("{at}.gate.weight"), names, moe, hidden)
}

/// As [`routed`], with a router of this name.
pub fn routed_by<'a>(
    tensors: &'a Tensors,
    at: &str,
    router: &str,
    names: [&str; 3],
    moe: &MoeShape,
    hidden: usize,
) -> Result<FfnWeights<'a>> {
    let fused = ["gate_up_proj", "down_proj"].map(|name| format!("{at}.experts.{name}"));
    let is_fused = tensors.has(&fused[0]);
    let expert = |e| match is_fused {
        true => stacked_expert(tensors, fused.each_ref().map(String::as_str), e, moe, hidden),
        false => expert(tensors, &format!("{at}.experts.{e}"), names, moe.intermediate, hidden),
    };
    Ok(FfnWeights {
        experts: (0..moe.experts).map(expert).collect::<Result<_>>()?,
        ..FfnWeights::routed(Some(tensors.matrix(router, moe.experts, hidden)?))
    })
}

/// The FFN `at` of a layer that has experts or is dense, and the shared expert `at.shared` where there is one.
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, shared: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    if moe.gate.is_none() {
        return Ok(FfnWeights::dense(expert(tensors, at, PROJECTIONS, moe.intermediate, hidden)?));
    }
    let mut ffn = routed(tensors, at, PROJECTIONS, moe, hidden)?;
    if let Some(shape) = moe.shared_ffn {
        ffn.shared = Some(expert(tensors, &format!("{at}.{shared}"), PROJECTIONS, shape.intermediate, hidden)?);
    }
    Ok(ffn)
}
