//! How much of a text a GPU takes at once.

use crate::shape::Architecture;

/// Most steps in flight.
pub const AHEAD: usize = 8;

/// Tokens that every step may have, and the most whose logits come back.
pub const FEW: usize = 64;

/// Most tokens of a step, where there are no logits of each.
const MANY: usize = 256;

/// Multiply-adds of a step of more than [`FEW`] tokens: a tenth of a second or so for a small GPU. Systems take a GPU away that gives
/// no answer for two.
const WORK: u64 = 1 << 33;

/// Most tokens of a step of this architecture. More of them share what an expert's weights take to read.
pub fn most_tokens(a: &Architecture) -> usize {
    let of_a_token = a.cost().flops_per_token() / 2;
    usize::try_from(WORK / of_a_token.max(1)).unwrap_or(MANY).clamp(FEW, MANY)
}
