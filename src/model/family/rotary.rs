//! Reads the rotary positions of a config from the same keys as `transformers`.

use super::defaults::Defaults;
use crate::error::Result;
use crate::model::keys::{Keys, number, short, wrong};
use crate::shape::{Rope, Scaling};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

const THETA: RangeInclusive<f32> = 1e-3..=1e30;
const FACTOR: RangeInclusive<f32> = 1e-3..=1e6;

/// The keys of a config for rotary positions: `rope_scaling` (the older name) where that is not empty, otherwise
/// `rope_parameters`.
pub struct RopeKeys<'a> {
    at: &'static str,
    values: Option<&'a Map<String, Value>>,
}

impl<'a> RopeKeys<'a> {
    /// Finds them in a config.
    pub fn of(keys: &Keys<'a>) -> Result<Self> {
        for at in ["rope_scaling", "rope_parameters"] {
            let Some(value) = keys.get(at) else { continue };
            let values =
                value.as_object().ok_or_else(|| wrong(format!("{at} is {}; it must be an object", short(value))))?;
            if !values.is_empty() {
                return Ok(Self { at, values: Some(values) });
            }
        }
        Ok(Self { at: "rope_parameters", values: None })
    }

    /// The value of `key`; none where it is missing or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.values?.get(key).filter(|value| !value.is_null())
    }

    /// A number in `range`; none where it is missing or null.
    pub fn number(&self, key: &str, range: RangeInclusive<f32>) -> Result<Option<f32>> {
        self.get(key).map(|value| number(&format!("{}.{key}", self.at), value, range)).transpose()
    }

    /// Like [`Self::number`], for a required key.
    fn needed(&self, key: &str) -> Result<f32> {
        let missing = || wrong(format!("{}.{key} is missing; this type of rotary positions needs it", self.at));
        self.number(key, FACTOR)?.ok_or_else(missing)
    }

    /// The type: "default", "linear", "yarn"... `rope_type` is the newer name of `type` and takes precedence.
    pub fn kind(&self) -> Result<&'a str> {
        match self.get("rope_type").or(self.get("type")) {
            None => Ok("default"),
            Some(kind) => kind.as_str().ok_or_else(|| self.unknown(kind)),
        }
    }

    fn unknown(&self, kind: &Value) -> crate::error::Error {
        wrong(format!(
            "{} asks for scaled rotary positions (rope_scaling) of the type {}, which are not known; known types: \
             default, linear, llama3, yarn",
            self.at,
            short(kind)
        ))
    }
}

/// The rotary positions of heads of this width.
pub fn rope(keys: &Keys, defaults: &Defaults, head_dim: usize) -> Result<Rope> {
    let given = RopeKeys::of(keys)?;
    let top = keys.number("rope_theta", THETA)?;
    let theta = given.number("rope_theta", THETA)?.or(top).unwrap_or(defaults.rope_theta);
    let dim = (head_dim as f32 * part(keys, &given, defaults)?) as usize;
    // Hunyuan's: only the base is larger.
    let alpha = given.number("alpha", 1e-3..=1e9)?.filter(|_| given.kind() == Ok("dynamic"));
    let theta = alpha.map_or(theta, |alpha| theta * alpha.powf(dim as f32 / (dim as f32 - 2.0)));
    let scaling = match given.kind()? {
        _ if alpha.is_some() => Scaling::None,
        // The name is this project's own, for GGUF files.
        "factors" => Scaling::Factors { factors: factors(&given)?, attention: 1.0 },
        _ => scaling(keys, &given)?,
    };
    Ok(Rope { scaling, ..Rope::new(theta, dim) })
}

/// The factors that divide the frequencies.
fn factors(given: &RopeKeys) -> Result<Vec<f32>> {
    let at = format!("{}.factors", given.at);
    let list = given.get("factors").and_then(Value::as_array);
    let list = list.ok_or_else(|| wrong(format!("{at} must be a list of numbers")))?;
    list.iter().map(|value| number(&at, value, FACTOR)).collect()
}

/// The fraction of a head that is rotated.
fn part(keys: &Keys, given: &RopeKeys, defaults: &Defaults) -> Result<f32> {
    let inside = given.number("partial_rotary_factor", 0.0..=1.0)?;
    let part = inside.or(keys.number("partial_rotary_factor", 0.0..=1.0)?).or(defaults.partial).unwrap_or(1.0);
    if part != 1.0 && defaults.partial.is_none() {
        return Err(wrong(format!("{}.partial_rotary_factor is {part}; only 1 is known in this family", given.at)));
    }
    Ok(part)
}

fn scaling(keys: &Keys, given: &RopeKeys) -> Result<Scaling> {
    let kind = given.kind()?;
    let original = || -> Result<f32> {
        let tokens = 1.0..=1e9;
        let inside = given.number("original_max_position_embeddings", tokens.clone())?;
        let top = keys.number("original_max_position_embeddings", tokens.clone())?;
        let longest = keys.number("max_position_embeddings", tokens)?;
        inside.or(top).or(longest).ok_or_else(|| wrong("original_max_position_embeddings is missing".into()))
    };
    Ok(match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear(given.needed("factor")?),
        "llama3" => Scaling::Llama3 {
            factor: given.needed("factor")?,
            low: given.needed("low_freq_factor")?,
            high: given.needed("high_freq_factor")?,
            original: original()?,
        },
        "yarn" => {
            let factor = given.needed("factor")?;
            let truncate = given.get("truncate").is_none_or(|truncate| *truncate != Value::Bool(false));
            Scaling::Yarn {
                factor,
                fast: given.number("beta_fast", FACTOR)?.unwrap_or(32.0),
                slow: given.number("beta_slow", FACTOR)?.unwrap_or(1.0),
                original: original()?,
                truncate,
                attention: yarn_attention(given, factor)?,
            }
        }
        // A family that supports this type reads it in its own file.
        "longrope" if keys.get("model_type").is_some_and(|name| *name == "phimoe") => Scaling::None,
        _ => return Err(given.unknown(&Value::from(kind))),
    })
}

/// The factor of queries and keys.
fn yarn_attention(given: &RopeKeys, factor: f32) -> Result<f32> {
    if let Some(attention) = given.number("attention_factor", FACTOR)? {
        return Ok(attention);
    }
    let of = |key| given.number(key, 0.0..=1e3);
    Ok(match (of("mscale")?, of("mscale_all_dim")?) {
        (Some(one), Some(all)) if one != 0.0 && all != 0.0 => yarn_scale(factor, one) / yarn_scale(factor, all),
        _ => yarn_scale(factor, 1.0),
    })
}

/// `0.1 * mscale * ln(factor) + 1`
pub fn yarn_scale(factor: f32, mscale: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}
