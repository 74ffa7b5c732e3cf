//! Number formats of stored weights.

use super::blocks::{self, Block};
use super::gate::serde_name;
use half::{bf16, f16};
use serde::Serialize;

/// The number format of weights: single numbers, or blocks of numbers that share scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// Blocks of 32 numbers of 8 bits with a scale.
    Q8_0,
    /// Blocks of 32 numbers of 4 bits with a scale.
    Q4_0,
    /// Blocks of 32 numbers of 4 bits with a scale and an offset.
    Q4_1,
    /// Blocks of 32 numbers of 5 bits with a scale.
    Q5_0,
    /// Blocks of 32 numbers of 5 bits with a scale and an offset.
    Q5_1,
    /// Blocks of 256 numbers of 4 bits with eight scales and offsets.
    #[serde(rename = "q4_k")]
    Q4K,
    /// Blocks of 256 numbers of 5 bits with eight scales and offsets.
    #[serde(rename = "q5_k")]
    Q5K,
    /// Blocks of 256 numbers of 6 bits with sixteen scales.
    #[serde(rename = "q6_k")]
    Q6K,
    /// Blocks of 32 floating-point numbers of 4 bits, whose scale is a power of two.
    Mxfp4,
}

/// Evaluates `$then` with `$block` as the type of a format's blocks, or `$plain` for formats of single numbers.
/// `Dtype` and `blocks` must be in scope where it is used.
macro_rules! with_block {
    ($dtype:expr, $block:ident => $then:expr, $plain:expr) => {
        match $dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => $plain,
            Dtype::Q8_0 => {
                type $block = blocks::Q8_0;
                $then
            }
            Dtype::Q4_0 => {
                type $block = blocks::Q4_0;
                $then
            }
            Dtype::Q4_1 => {
                type $block = blocks::Q4_1;
                $then
            }
            Dtype::Q5_0 => {
                type $block = blocks::Q5_0;
                $then
            }
            Dtype::Q5_1 => {
                type $block = blocks::Q5_1;
                $then
            }
            Dtype::Q4K => {
                type $block = blocks::Q4K;
                $then
            }
            Dtype::Q5K => {
                type $block = blocks::Q5K;
                $then
            }
            Dtype::Q6K => {
                type $block = blocks::Q6K;
                $then
            }
            Dtype::Mxfp4 => {
                type $block = blocks::Mxfp4;
                $then
            }
        }
    };
}
pub(crate) use with_block;

impl Dtype {
    /// All formats.
    pub const ALL: [Self; 12] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Mxfp4,
    ];

    /// Numbers in a block; 1 for single numbers.
    pub fn block(self) -> usize {
        with_block!(self, B => B::NUMBERS, 1)
    }

    /// Whether the format has blocks of numbers that share scales.
    pub fn is_block(self) -> bool {
        self.block() > 1
    }

    /// Bytes of [`Self::block`] numbers.
    pub fn block_bytes(self) -> usize {
        with_block!(self, B => B::BYTES, if self == Self::F32 { 4 } else { 2 })
    }

    /// Bytes of `numbers` numbers, which must be whole blocks.
    pub fn bytes_of(self, numbers: usize) -> usize {
        numbers / self.block() * self.block_bytes()
    }

    /// "f32", "f16", "q4_k"...
    pub fn name(self) -> String {
        serde_name(self)
    }

    /// Converts little-endian `bytes` to f32 and writes the numbers to `to`. 16-bit numbers must be finite.
    pub fn widen(self, bytes: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = f32::from_le_bytes(b)),
            Self::F16 => {
                to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = widened(u16::from_le_bytes(b)))
            }
            Self::Bf16 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &[low, high])| {
                *to = f32::from_le_bytes([0, 0, low, high]);
            }),
            _ => with_block!(self, B => widen_blocks::<B>(bytes, to), ()),
        }
    }

    /// The index of the first NaN or infinite number, or of the first number of a block that contains one.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        // A branch for every number would be slower than the whole check of a block.
        const BLOCK: usize = 1024;
        let block = match self {
            Self::F32 => bytes.as_chunks::<4>().0.chunks(BLOCK).position(|block| {
                block.iter().fold(false, |any, &b| any | (u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000))
            }),
            Self::F16 | Self::Bf16 => {
                let exponent = if self == Self::F16 { 0x7c00 } else { 0x7f80 };
                bytes.as_chunks::<2>().0.chunks(BLOCK).position(|block| {
                    block.iter().fold(false, |any, &b| any | (u16::from_le_bytes(b) & exponent == exponent))
                })
            }
            _ => {
                let blocks = bytes.chunks_exact(self.block_bytes());
                let is_finite: fn(&[u8]) -> bool = with_block!(self, B => B::is_finite, |_| true);
                return { blocks }.position(|block| !is_finite(block)).map(|block| block * self.block());
            }
        };
        let from = block? * BLOCK;
        Some(from + self.values(&bytes[self.bytes_of(from)..]).position(|x| !x.is_finite())?)
    }

    /// Little-endian `bytes` as f32 numbers, for formats of single numbers.
    fn values(self, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
        bytes.chunks_exact(self.block_bytes()).map(move |b| match self {
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            _ => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        })
    }
}

fn widen_blocks<B: Block>(bytes: &[u8], to: &mut [f32]) {
    for (block, numbers) in bytes.chunks_exact(B::BYTES).zip(to.chunks_exact_mut(B::NUMBERS)) {
        B::widen(block, numbers);
    }
}

/// Converts a finite f16 to f32. Exponent and mantissa at the place of an f32's bits are the number times 2^-112, also
/// for subnormal numbers, so a multiplication completes the conversion without a branch.
fn widened(half: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit number, or 32-bit numbers around them.
    fn every_number(dtype: Dtype) -> Vec<u8> {
        let halves = 0..=u16::MAX;
        match dtype {
            Dtype::F32 => halves.flat_map(|high| (u32::from(high) << 16 | 0x1234).to_le_bytes()).collect(),
            _ => halves.flat_map(u16::to_le_bytes).collect(),
        }
    }

    #[test]
    fn all_numbers_are_widened_exactly() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let bytes = every_number(dtype);
            let mut widened = vec![0.0; bytes.len() / dtype.block_bytes()];
            dtype.widen(&bytes, &mut widened);
            for (number, wide) in dtype.values(&bytes).zip(widened).filter(|(number, _)| number.is_finite()) {
                assert_eq!(number.to_bits(), wide.to_bits(), "{} {number}", dtype.name());
            }
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_found() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let bytes = every_number(dtype);
            let first = dtype.values(&bytes).position(|x| !x.is_finite());
            assert_eq!(dtype.first_not_finite(&bytes), first);
            assert_eq!(dtype.first_not_finite(&bytes[..dtype.bytes_of(first.unwrap())]), None);
            assert_eq!(dtype.first_not_finite(&[]), None);
        }
    }
}
