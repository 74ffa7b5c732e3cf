//! How many tokens a GPU step has, and how many steps are in flight.

use crate::shape::Architecture;

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
