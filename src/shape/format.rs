//! Number formats of stored weights.

use super::gate::serde_name;
use half::{bf16, f16};
use serde::Serialize;

/// Width of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    Bf16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// "f32", "f16" or "bf16".
    pub fn name(self) -> String {
        serde_name(self)
    }

    /// Little-endian `bytes` as f32 numbers.
    pub fn values(self, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
        bytes.chunks_exact(self.size()).map(move |b| match self {
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Self::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        })
    }

    /// As [`Self::values`], of finite numbers alone, many at once: writes them to `to`.
    pub fn widen(self, bytes: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = f32::from_le_bytes(b)),
            Self::F16 => {
                to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = widened(u16::from_le_bytes(b)))
            }
            Self::Bf16 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &[low, high])| {
                *to = f32::from_le_bytes([0, 0, low, high]);
            }),
        }
    }

    /// The place of the first NaN or infinite number: one whose exponent is all ones.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        // Branches for every number would take longer than the numbers.
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
        };
        let from = block? * BLOCK;
        Some(from + self.values(&bytes[from * self.size()..]).position(|x| !x.is_finite())?)
    }
}

/// A finite f16 as f32. Its exponent and mantissa, moved to their places, are the number times 2^-112, also where it is
/// subnormal: a multiplication gives the rest without a branch.
fn widened(half: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of 16 bits, and numbers of 32 around them.
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
            let mut widened = vec![0.0; bytes.len() / dtype.size()];
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
            assert_eq!(dtype.first_not_finite(&bytes[..first.unwrap() * dtype.size()]), None);
            assert_eq!(dtype.first_not_finite(&[]), None);
        }
    }
}
