//! How many tokens a GPU step has, how many steps are in flight, and how many experts a layer may have.

use crate::error::{Error, Result};
use crate::shape::{Architecture, MoeShape};

/// The most decode steps in flight.
pub const AHEAD: usize = 8;

/// The most tokens of a step that returns the logits of each; every model can run such a step.
pub const TOKENS_WITH_LOGITS: usize = 64;

/// The most tokens of a step that does not return the logits of each.
const MOST_TOKENS: usize = 256;

/// The most multiply-adds of a step of more than [`TOKENS_WITH_LOGITS`] tokens: about 0.1 s on a small GPU. Operating
/// systems reset a GPU that does not answer for two seconds.
const MOST_MULTIPLY_ADDS: u64 = 1 << 33;

/// The most tokens of a step of this architecture. In a longer step, more tokens share each read of an expert's
/// weights.
pub fn most_tokens(a: &Architecture) -> usize {
    let of_a_token = a.cost().flops_per_token() / 2;
    usize::try_from(MOST_MULTIPLY_ADDS / of_a_token.max(1))
        .unwrap_or(MOST_TOKENS)
        .clamp(TOKENS_WITH_LOGITS, MOST_TOKENS)
}

/// Returns an error for a layer with more experts than a workgroup of `bytes` bytes has room for.
pub fn check_experts(a: &Architecture, bytes: usize) -> Result<()> {
    match a.layers.iter().position(|layer| workgroup_bytes(&layer.moe) > bytes) {
        None => Ok(()),
        Some(n) => Err(Error::Device(format!(
            "layer {n} has {} experts, and a workgroup of this GPU has {bytes} bytes of memory, room for about {}; \
             use the CPU",
            a.layers[n].moe.all_experts(),
            (bytes - REST) / (3 * WORD)
        ))),
    }
}

/// Bytes of a number in a workgroup's memory.
const WORD: usize = 4;
/// Bytes that the kernels need besides those of each expert.
const REST: usize = 512;

/// The largest workgroup memory of the kernels that route: `dispatch` has three numbers for each expert, `settle` a
/// score, a key and a count.
fn workgroup_bytes(moe: &MoeShape) -> usize {
    let groups = moe.gate.map_or(0, |gate| gate.groups.max(gate.group_limit.map_or(0, |limit| limit.groups)));
    let settle = moe.router_rows() + 2 * moe.experts + groups;
    REST + WORD * settle.max(3 * moe.all_experts())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{AttentionShape, LayerShape};

    #[test]
    fn too_many_experts_are_an_error_that_says_how_many_fit() {
        let with = |experts| {
            let layer = LayerShape::new(AttentionShape::new(1, 1, 2, 1e4), MoeShape::mixtral(experts, 1, 1));
            Architecture { vocabulary: 1, hidden: 1, context: 1, layers: vec![layer], ..Architecture::default() }
        };
        assert!(check_experts(&with(1322), 16384).is_ok());
        let message = check_experts(&with(1400), 16384).unwrap_err().to_string();
        assert!(message.contains("1400 experts") && message.contains("about 1322"), "{message}");
    }
}
