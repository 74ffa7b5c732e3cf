//! Blocks of numbers that share scales: the quantised formats of GGML and GGUF files. A number is `scale * value +
//! offset`; `value` is a small whole number, coded in 4 to 8 bits. The reference is `ggml-quants.c` of
//! <https://github.com/ggml-org/ggml> and the Python package `gguf`.

use half::f16;

/// The scale and the offset of a part of a block: a number is `scale * value + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shared {
    /// The scale.
    pub scale: f32,
    /// The offset; 0 where the format has none.
    pub offset: f32,
}

/// A block format.
pub trait Block {
    /// Numbers of a block.
    const NUMBERS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Numbers of a part; the numbers of a part share a scale.
    const PART: usize;

    /// The codes of all numbers of `block`, in order.
    fn codes(block: &[u8], codes: &mut [u8]);

    /// The value of a code, before scale and offset.
    fn value(code: u8) -> f32;

    /// Whether a block begins with a second half, the offset, after the scale.
    const HAS_OFFSET: bool = false;

    /// The scale and offset of a part. Unless a format says otherwise, a block has one part and begins with them.
    fn shared(block: &[u8], _part: usize) -> Shared {
        Shared { scale: half(block, 0), offset: if Self::HAS_OFFSET { half(block, 2) } else { 0.0 } }
    }

    /// Whether all numbers of the block are finite.
    fn is_finite(block: &[u8]) -> bool {
        is_half_finite(block, 0) && (!Self::HAS_OFFSET || is_half_finite(block, 2))
    }

    /// Converts `block` to f32.
    fn widen(block: &[u8], numbers: &mut [f32]) {
        let mut codes = [0; MOST_NUMBERS];
        let codes = &mut codes[..Self::NUMBERS];
        Self::codes(block, codes);
        for (part, (numbers, codes)) in numbers.chunks_mut(Self::PART).zip(codes.chunks(Self::PART)).enumerate() {
            let Shared { scale, offset } = Self::shared(block, part);
            for (number, &code) in numbers.iter_mut().zip(codes) {
                *number = scale * Self::value(code) + offset;
            }
        }
    }
}

/// The most numbers of a block.
pub const MOST_NUMBERS: usize = 256;

/// The f16 number at byte `at`.
pub fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn is_half_finite(block: &[u8], at: usize) -> bool {
    f16::from_le_bytes([block[at], block[at + 1]]).is_finite()
}

/// Reads codes of 4 bits: first the lower halves of all `bytes`, then the upper halves.
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// Adds the fifth bit of 32 codes, which are the bits of a 32-bit word.
fn fifth_bits(bytes: &[u8], codes: &mut [u8]) {
    for (n, code) in codes.iter_mut().enumerate() {
        *code |= (bytes[n / 8] >> (n % 8) & 1) << 4;
    }
}

/// Codes of 8 bits with a scale.
pub struct Q8_0;

impl Block for Q8_0 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 34;
    const PART: usize = 32;

    fn codes(block: &[u8], codes: &mut [u8]) {
        codes.copy_from_slice(&block[2..]);
    }

    fn value(code: u8) -> f32 {
        f32::from(code as i8)
    }
}

/// Codes of 4 bits with a scale.
pub struct Q4_0;

impl Block for Q4_0 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 18;
    const PART: usize = 32;

    fn codes(block: &[u8], codes: &mut [u8]) {
        nibbles(&block[2..], codes);
    }

    fn value(code: u8) -> f32 {
        f32::from(code) - 8.0
    }
}

/// Codes of 4 bits with a scale and an offset.
pub struct Q4_1;

impl Block for Q4_1 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 20;
    const PART: usize = 32;
    const HAS_OFFSET: bool = true;

    fn codes(block: &[u8], codes: &mut [u8]) {
        nibbles(&block[4..], codes);
    }

    fn value(code: u8) -> f32 {
        f32::from(code)
    }
}

/// Codes of 5 bits with a scale.
pub struct Q5_0;

impl Block for Q5_0 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 22;
    const PART: usize = 32;

    fn codes(block: &[u8], codes: &mut [u8]) {
        nibbles(&block[6..], codes);
        fifth_bits(&block[2..6], codes);
    }

    fn value(code: u8) -> f32 {
        f32::from(code) - 16.0
    }
}

/// Codes of 5 bits with a scale and an offset.
pub struct Q5_1;

impl Block for Q5_1 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 24;
    const PART: usize = 32;
    const HAS_OFFSET: bool = true;

    fn codes(block: &[u8], codes: &mut [u8]) {
        nibbles(&block[8..], codes);
        fifth_bits(&block[4..8], codes);
    }

    fn value(code: u8) -> f32 {
        f32::from(code)
    }
}

/// Scale and offset of part `part` in a block with eight parts; the twelve `bytes` have six bits for each of them.
pub fn scale_and_min(bytes: &[u8], part: usize) -> [u8; 2] {
    match part {
        0..4 => [bytes[part] & 63, bytes[part + 4] & 63],
        _ => {
            let (both, low, high) = (bytes[part + 4], bytes[part - 4], bytes[part]);
            [both & 15 | low >> 6 << 4, both >> 4 | high >> 6 << 4]
        }
    }
}

fn shared_of_eight(block: &[u8], part: usize) -> Shared {
    let [scale, min] = scale_and_min(&block[4..16], part).map(f32::from);
    Shared { scale: half(block, 0) * scale, offset: -(half(block, 2) * min) }
}

/// Codes of 4 bits; every 32 of the 256 numbers share a scale and an offset of 6 bits.
pub struct Q4K;

impl Block for Q4K {
    const NUMBERS: usize = 256;
    const BYTES: usize = 144;
    const PART: usize = 32;
    const HAS_OFFSET: bool = true;

    fn codes(block: &[u8], codes: &mut [u8]) {
        for (bytes, codes) in block[16..].chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
            nibbles(bytes, codes);
        }
    }

    fn value(code: u8) -> f32 {
        f32::from(code)
    }

    fn shared(block: &[u8], part: usize) -> Shared {
        shared_of_eight(block, part)
    }
}

/// Codes of 5 bits; otherwise as [`Q4K`].
pub struct Q5K;

impl Block for Q5K {
    const NUMBERS: usize = 256;
    const BYTES: usize = 176;
    const PART: usize = 32;
    const HAS_OFFSET: bool = true;

    fn codes(block: &[u8], codes: &mut [u8]) {
        let (fifths, low) = block[16..].split_at(32);
        for (bytes, codes) in low.chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
            nibbles(bytes, codes);
        }
        // Bit `p` of byte `n` belongs to number `n` of part `p`.
        for (part, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, fifths) in codes.iter_mut().zip(fifths) {
                *code |= (fifths >> part & 1) << 4;
            }
        }
    }

    fn value(code: u8) -> f32 {
        f32::from(code)
    }

    fn shared(block: &[u8], part: usize) -> Shared {
        shared_of_eight(block, part)
    }
}

/// Codes of 6 bits; every 16 of the 256 numbers share a scale of 8 bits.
pub struct Q6K;

impl Block for Q6K {
    const NUMBERS: usize = 256;
    const BYTES: usize = 210;
    const PART: usize = 16;

    fn codes(block: &[u8], codes: &mut [u8]) {
        let (low, high) = block[..192].split_at(128);
        let halves = low.chunks_exact(64).zip(high.chunks_exact(32));
        for ((low, high), codes) in halves.zip(codes.chunks_exact_mut(128)) {
            nibbles(low, codes);
            for (two, codes) in codes.chunks_exact_mut(32).enumerate() {
                for (code, high) in codes.iter_mut().zip(high) {
                    *code |= (high >> (2 * two) & 3) << 4;
                }
            }
        }
    }

    fn value(code: u8) -> f32 {
        f32::from(code) - 32.0
    }

    fn shared(block: &[u8], part: usize) -> Shared {
        Shared { scale: half(block, 208) * f32::from(block[192 + part] as i8), offset: 0.0 }
    }

    fn is_finite(block: &[u8]) -> bool {
        is_half_finite(block, 208)
    }
}

/// Codes of 4 bits for floating-point numbers (e2m1), with a power of two as their scale: the OCP microscaling format
/// MXFP4.
pub struct Mxfp4;

/// Twice the e2m1 number of each code; these are whole numbers.
const TWICE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl Block for Mxfp4 {
    const NUMBERS: usize = 32;
    const BYTES: usize = 17;
    const PART: usize = 32;

    fn codes(block: &[u8], codes: &mut [u8]) {
        nibbles(&block[1..], codes);
    }

    fn value(code: u8) -> f32 {
        f32::from(TWICE[usize::from(code & 15)])
    }

    fn shared(block: &[u8], _: usize) -> Shared {
        Shared { scale: f32::from_bits(u32::from(half_power(block[0])) << 16), offset: 0.0 }
    }

    fn is_finite(block: &[u8]) -> bool {
        // Twelve times the scale must be less than 2^128; 255 is NaN.
        block[0] <= 252
    }
}

/// The bf16 bits of half the power of two of an e8m0 number: `2^(e - 128)`.
pub fn half_power(e: u8) -> u16 {
    match e {
        0 => 0x20,
        1 => 0x40,
        e => (u16::from(e) - 1) << 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two() {
        for e in 0..=254u8 {
            let scale = Mxfp4::shared(&[e; 17], 0).scale;
            assert_eq!(f64::from(scale), 2f64.powi(i32::from(e) - 128), "{e}");
        }
        assert!(Mxfp4::is_finite(&[252; 17]) && !Mxfp4::is_finite(&[253; 17]));
        assert!((12.0 * Mxfp4::shared(&[252; 17], 0).scale).is_finite());
    }

    #[test]
    fn scales_of_six_bits() {
        // The upper two bits of parts 4 to 7 are next to the bits of parts 0 to 3.
        let mut bytes = [0u8; 12];
        bytes[1] = 5 | 0b10 << 6;
        bytes[5] = 7 | 0b01 << 6;
        bytes[9] = 0x3 | 0x9 << 4;
        assert_eq!(scale_and_min(&bytes, 1), [5, 7]);
        assert_eq!(scale_and_min(&bytes, 5), [0x23, 0x19]);
    }
}
