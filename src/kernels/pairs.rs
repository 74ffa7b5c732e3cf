//! 16-bit numbers, two in a word, and how they are widened.

use super::panels::Column;
use wide::{f32x8, i32x8};

/// A column of a panel of 16-bit numbers. Word `j` holds row `j` in its lower half and row `j + 8` in its upper half,
/// so that one shift or mask of the whole column gives eight rows.
pub type Pairs = i32x8;

/// The sixteen numbers of a column, widened.
#[inline(always)]
pub(super) fn from_bf16(pairs: Pairs) -> Column {
    [pairs << 16, pairs & i32x8::splat(0xffff_0000_u32 as i32)].map(bytemuck::cast)
}

/// The sixteen numbers of a column, widened.
#[inline(always)]
pub(super) fn from_f16(pairs: Pairs) -> Column {
    /// 2^112: the difference between the exponent biases of f32 and f16.
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    moved(pairs).map(|numbers| numbers * f32x8::splat(SCALE))
}

/// f16 numbers at the place of an f32's bits: sign, exponent and fraction, without the three additional exponent bits
/// of an f32. The result is the number times 2^-112, also for subnormal numbers.
#[inline(always)]
pub(super) fn moved(pairs: Pairs) -> Column {
    const KEPT: i32 = 0x8fff_e000_u32 as i32;
    [pairs << 16, pairs].map(|upper| bytemuck::cast((upper >> 3) & i32x8::splat(KEPT)))
}
