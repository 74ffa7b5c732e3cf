//! The parts shared by the Qwen families: the experts' keys, the layers with experts, and those with a window.

use super::backbone::sizes;
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::shape::{Gate, MoeShape};
use serde_json::Value;

/// The keys that [`moe`] reads.
pub const EXPERT_KEYS: [&str; 4] = ["num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob"];

/// The keys that [`is_dense`] reads.
pub const LAYER_KEYS: [&str; 3] = ["moe_intermediate_size", "decoder_sparse_step", "mlp_only_layers"];

/// The keys that [`windows`] reads.
pub const WINDOW_KEYS: [&str; 3] = ["use_sliding_window", "sliding_window", "layer_types"];

/// The experts of a config, with their width under the key `width`. The gate is a softmax of all router logits,
/// renormalised where `norm_topk_prob` is set.
pub fn moe(keys: &Keys, width: &str) -> Result<MoeShape> {
    let count = |key| keys.size(key, sizes::EXPERTS);
    let missing = || wrong("num_experts is missing; it says how many experts a layer has".into());
    let experts = count("num_experts")?.or(count("num_local_experts")?).ok_or_else(missing)?;
    let used = keys.needed("num_experts_per_tok", sizes::EXPERTS)?;
    let gate = Some(Gate::softmax(keys.flag("norm_topk_prob")?));
    Ok(MoeShape { gate, ..MoeShape::mixtral(experts, used, keys.needed(width, sizes::INNER)?) })
}

/// Returns a function that says whether a layer is dense: it has one FFN and no experts.
pub fn is_dense(keys: &Keys, experts: usize) -> Result<impl Fn(usize) -> bool + use<>> {
    let every = keys.size("decoder_sparse_step", 1..=usize::MAX)?.unwrap_or(1);
    let dense = match keys.get("mlp_only_layers") {
        None => Vec::new(),
        Some(layers) => whole_numbers(layers).ok_or_else(|| {
            wrong(format!("mlp_only_layers is {}; it must be a list of layers' numbers", short(layers)))
        })?,
    };
    Ok(move |n: usize| experts == 0 || dense.contains(&n) || !(n + 1).is_multiple_of(every))
}

fn whole_numbers(list: &Value) -> Option<Vec<usize>> {
    list.as_array()?.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
}

/// The window of each layer, as `use_sliding_window`, `sliding_window` and `layer_types` say; `from` gives the first
/// layer that has one where there are no types.
pub fn windows(keys: &Keys, layers: usize, from: usize) -> Result<Vec<Option<usize>>> {
    if keys.flag("use_sliding_window")? { windows_of(keys, layers, from) } else { Ok(vec![None; layers]) }
}

/// Like [`windows`], without the key that switches them on.
pub fn windows_of(keys: &Keys, layers: usize, from: usize) -> Result<Vec<Option<usize>>> {
    let window = keys.size("sliding_window", 0..=usize::MAX)?;
    let types = layer_types(keys, layers)?;
    let slides = |n: usize| types.as_ref().map_or(n >= from, |types| types[n] == "sliding_attention");
    Ok((0..layers).map(|n| window.filter(|_| slides(n))).collect())
}

/// `layer_types`, one name per layer; none where the key is missing.
pub fn layer_types(keys: &Keys, layers: usize) -> Result<Option<Vec<String>>> {
    let Some(value) = keys.get("layer_types") else { return Ok(None) };
    let names = value.as_array().and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    match names {
        Some(names) if Vec::len(&names) == layers => Ok(Some(names)),
        _ => Err(wrong(format!("layer_types is {}; it must name a type for each of {layers} layers", short(value)))),
    }
}
