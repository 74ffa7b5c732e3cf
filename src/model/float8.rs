//! Weights in the 8-bit format e4m3: a sign, four bits of exponent, three of fraction (Micikevicius et al. 2022, "FP8
//! formats for deep learning"). Safetensors files call it `F8_E4M3`.
//!
//! Every e4m3 number is also a `bf16` number. They are widened to `bf16` when they are read, so the engines need only
//! that.

use half::bf16;

/// The `bf16` of each of the 256 bytes. The bytes 0x7f and 0xff are NaN; there are no infinite numbers.
static WIDE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = wide(byte as u8);
        byte += 1;
    }
    table
}

/// The bits of the `bf16` that equals an e4m3 number.
const fn wide(byte: u8) -> u16 {
    let sign = ((byte & 0x80) as u16) << 8;
    let (exponent, fraction) = ((byte >> 3) & 15, byte & 7);
    if exponent == 15 && fraction == 7 {
        return sign | bf16::NAN.to_bits();
    }
    if exponent > 0 {
        // The exponent biases are 7 and 127; the fractions have 3 and 7 bits.
        return sign | ((exponent as u16 + 120) << 7) | ((fraction as u16) << 4);
    }
    if fraction == 0 {
        return sign;
    }
    // Subnormal numbers: fraction / 8 * 2^-6. The first set bit of the fraction becomes the implicit bit of the bf16.
    let place = 7 - (fraction.leading_zeros() as u16); // 2, 1 or 0
    let rest = (fraction as u16) << (7 - place) & 0x7f;
    sign | ((place + 118) << 7) | rest
}

/// The little-endian `bf16` numbers that equal the e4m3 numbers in `bytes`.
pub fn to_bf16(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|&byte| WIDE[usize::from(byte)].to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_the_value_that_its_bits_say() {
        for byte in 0..=255u8 {
            let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
            let size = match exponent {
                0 => fraction * 2f32.powi(-6),
                _ => (1.0 + fraction) * 2f32.powi(exponent - 7),
            };
            let sign = if byte < 0x80 { 1.0 } else { -1.0 };
            let found = bf16::from_bits(WIDE[usize::from(byte)]).to_f32();
            if byte & 0x7f == 0x7f {
                assert!(found.is_nan());
            } else {
                assert_eq!(found, sign * size, "{byte:#04x}");
            }
        }
        assert_eq!(to_bf16(&[0x38, 0xb8, 0x7e]), [0x80, 0x3f, 0x80, 0xbf, 0xe0, 0x43], "1, -1, 448");
    }
}
