//! SmolLM3: `SmolLM3ForCausalLM` of Hugging Face transformers, dense. Some layers have no rotary positions.

use super::backbone::{self, Defaults};
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::shape::{Architecture, MoeShape};
use serde_json::Value;

pub use super::qwen2::weights;

/// The defaults of transformers' `SmolLM3Config`.
const DEFAULTS: Defaults =
    Defaults { context: 32768, rope_theta: 2e6, kv_heads: Some(4), bias: Some(false), tied: true, ..Defaults::PLAIN };

/// The architecture of a config. Options for windows are known only where they are switched off.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let inner = backbone::intermediate(&keys)?;
    let known = ["no_rope_layers", "no_rope_layer_interval", "layer_types"];
    let mut a = backbone::architecture(&keys, &DEFAULTS, |_| MoeShape::dense(inner), &known)?;
    let every = keys.size("no_rope_layer_interval", 1..=usize::MAX)?.unwrap_or(4);
    let layers = a.layers.len();
    let turns = match keys.get("no_rope_layers") {
        None => Some((0..layers).map(|n| !(n + 1).is_multiple_of(every)).collect()),
        Some(list) => list.as_array().filter(|list| list.len() == layers).and_then(|list| {
            list.iter().map(|n| n.as_u64().filter(|n| *n <= 1).map(|n| n == 1)).collect::<Option<Vec<bool>>>()
        }),
    };
    let turns = turns.ok_or_else(|| {
        let list = keys.get("no_rope_layers").map_or("missing".into(), short);
        wrong(format!("no_rope_layers is {list}; it must be a list with 0 or 1 for each of {layers} layers"))
    })?;
    backbone::each_attention(&mut a, |n, attention| attention.rope = attention.rope.take().filter(|_| turns[n]));
    a.checked()
}
