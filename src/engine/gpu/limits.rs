//! How much of a text a GPU takes at once.

use crate::shape::Architecture;

/// Most steps in flight.
pub const AHEAD: usize = 8;

/// Tokens that every step may have, and the most whose logits come back.
pub const TOKENS_WITH_LOGITS: usize = 64;

/// Most tokens of a step, where there are no logits of each.
const MOST_TOKENS: usize = 256;

/// Multiply-adds of a step of more than [`TOKENS_WITH_LOGITS`] tokens: about a tenth of a second on a small GPU.
/// Operating systems reset a GPU that does not answer for two seconds.
const MOST_MULTIPLY_ADDS: u64 = 1 << 33;

/// Most tokens of a step of this architecture. More of them share what an expert's weights take to read.
pub fn most_tokens(a: &Architecture) -> usize {
    let of_a_token = a.cost().flops_per_token() / 2;
    usize::try_from(MOST_MULTIPLY_ADDS / of_a_token.max(1))
        .unwrap_or(MOST_TOKENS)
        .clamp(TOKENS_WITH_LOGITS, MOST_TOKENS)
}
