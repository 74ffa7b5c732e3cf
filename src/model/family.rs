//! The families that can be loaded. A family is a file here that translates a config and tensor names; this table is
//! the only place that lists them.

use super::tensors::Tensors;
use super::weights::Weights;
use super::{llama, mixtral, moescope};
use crate::error::{Error, Result};
use crate::shape::Architecture;
use serde_json::Value;

/// One family of checkpoints.
pub struct Family {
    /// Its `model_type` in config.json.
    pub name: &'static str,
    /// What a config asks to compute.
    pub architecture: fn(&Value) -> Result<Architecture>,
    /// Views of all tensors, with their shapes checked.
    pub weights: for<'a> fn(&'a Tensors, &Architecture) -> Result<Weights<'a>>,
}

/// All families.
static FAMILIES: [Family; 3] = [
    Family { name: "mixtral", architecture: mixtral::architecture, weights: mixtral::weights },
    Family { name: "llama", architecture: llama::architecture, weights: llama::weights },
    Family { name: "moescope", architecture: moescope::architecture, weights: moescope::weights },
];

/// The family that a config names.
pub fn of(config: &Value) -> Result<&'static Family> {
    let name = config.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
        Error::model("config.json", format!("model_type is \"{name}\", which is not known; known families: {known}"))
    })
}
