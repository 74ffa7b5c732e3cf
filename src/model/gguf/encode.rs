//! Numbers rounded to blocks, as llama.cpp's reference functions do it (`ggml-quants.c`).

use crate::shape::Dtype;
use crate::shape::blocks::scale_and_min;
use half::f16;

/// The formats that can be written, besides f32 and f16.
pub const WRITTEN: [Dtype; 3] = [Dtype::Q8_0, Dtype::Q4_0, Dtype::Q4K];

/// `numbers`, which are whole blocks of `dtype`, as bytes: f32, f16 or one of [`WRITTEN`].
pub fn encode(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    let blocks = numbers.chunks_exact(dtype.block());
    match dtype {
        Dtype::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        Dtype::Q8_0 => blocks.flat_map(q8_0).collect(),
        Dtype::Q4_0 => blocks.flat_map(q4_0).collect(),
        Dtype::Q4K => blocks.flat_map(q4_k).collect(),
        _ => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// 1 over `x`, or 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn q8_0(numbers: &[f32]) -> Vec<u8> {
    let scale = numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0;
    let codes = numbers.iter().map(|x| (x * inverse(scale)).round() as i8 as u8);
    f16::from_f32(scale).to_le_bytes().into_iter().chain(codes).collect()
}

fn q4_0(numbers: &[f32]) -> Vec<u8> {
    let most = numbers.iter().fold(0.0, |most: f32, &x| if x.abs() > most.abs() { x } else { most });
    let scale = most / -8.0;
    let code = |x: f32| ((x * inverse(scale) + 8.5) as u8).min(15);
    let (low, high) = numbers.split_at(16);
    let codes = low.iter().zip(high).map(|(&low, &high)| code(low) | code(high) << 4);
    f16::from_f32(scale).to_le_bytes().into_iter().chain(codes).collect()
}

fn q4_k(numbers: &[f32]) -> Vec<u8> {
    let parts: Vec<(f32, f32)> = numbers.chunks_exact(32).map(scale_and_offset).collect();
    let most = |of: fn(&(f32, f32)) -> f32| parts.iter().map(of).fold(0.0, f32::max);
    let (most_scale, most_min) = (most(|part| part.0), most(|part| part.1));
    let six = |x: f32, most: f32| ((63.0 * inverse(most) * x).round_ties_even() as u8).min(63);
    let mut packed = [0u8; 12];
    for (n, &(scale, min)) in parts.iter().enumerate() {
        let (scale, min) = (six(scale, most_scale), six(min, most_min));
        if n < 4 {
            (packed[n], packed[n + 4]) = (scale, min);
        } else {
            packed[n + 4] = scale & 15 | min << 4;
            packed[n - 4] |= scale >> 4 << 6;
            packed[n] |= min >> 4 << 6;
        }
    }
    let (whole, whole_min) = (f16::from_f32(most_scale / 63.0), f16::from_f32(most_min / 63.0));
    let mut codes = [0u8; 256];
    for (n, (numbers, codes)) in numbers.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
        let [scale, min] = scale_and_min(&packed, n).map(f32::from);
        let (scale, min) = (whole.to_f32() * scale, whole_min.to_f32() * min);
        for (code, x) in codes.iter_mut().zip(numbers) {
            *code = ((x + min) * inverse(scale)).round_ties_even().clamp(0.0, 15.0) as u8;
        }
    }
    let mut block = [whole.to_le_bytes(), whole_min.to_le_bytes()].concat();
    block.extend(packed);
    for codes in codes.chunks_exact(64) {
        block.extend((0..32).map(|n| codes[n] | codes[n + 32] << 4));
    }
    block
}

/// The scale and what is taken away (0 or more) that suit 32 numbers best in codes of 0 to 15: llama.cpp's
/// `make_qkx2_quants`.
fn scale_and_offset(x: &[f32]) -> (f32, f32) {
    const MOST: f32 = 15.0;
    let mean = (x.iter().map(|x| x * x).sum::<f32>() / 32.0).sqrt();
    let weights: Vec<f32> = x.iter().map(|x| mean + x.abs()).collect();
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let smallest = x.iter().copied().fold(f32::INFINITY, f32::min).min(0.0);
    if largest == smallest {
        return (0.0, -smallest);
    }
    let sum = |of: &dyn Fn(usize) -> f32| (0..x.len()).map(|n| weights[n] * of(n)).sum::<f32>();
    let codes = |inverse: f32| -> Vec<f32> {
        x.iter().map(|x| (inverse * (x - smallest)).round_ties_even().clamp(0.0, MOST)).collect()
    };
    let error = |codes: &[f32], scale: f32, min: f32| sum(&|n| (scale * codes[n] + min - x[n]).powi(2));
    let (sum_w, sum_x) = (sum(&|_| 1.0), sum(&|n| x[n]));
    let first = MOST / (largest - smallest);
    let (mut scale, mut min) = (1.0 / first, smallest);
    let mut least = error(&codes(first), scale, min);
    for step in 0..=20 {
        let codes = codes((-1.0 + 0.1 * step as f32 + MOST) / (largest - smallest));
        let (sum_l, sum_l2) = (sum(&|n| codes[n]), sum(&|n| codes[n] * codes[n]));
        let sum_xl = sum(&|n| codes[n] * x[n]);
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        if this_min > 0.0 {
            (this_scale, this_min) = (sum_xl / sum_l2, 0.0);
        }
        let this_error = error(&codes, this_scale, this_min);
        if this_error < least {
            (least, scale, min) = (this_error, this_scale, this_min);
        }
    }
    (scale, -min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_numbers_are_near() {
        let numbers: Vec<f32> = (0..1024).map(|n| ((n * 7919 % 1000) as f32 / 500.0 - 1.0).powi(3)).collect();
        for (dtype, most) in [(Dtype::Q8_0, 0.01), (Dtype::Q4_0, 0.15), (Dtype::Q4K, 0.15), (Dtype::F16, 0.001)] {
            let bytes = encode(dtype, &numbers);
            assert_eq!(bytes.len(), dtype.bytes_of(numbers.len()));
            let mut found = vec![0.0; numbers.len()];
            dtype.widen(&bytes, &mut found);
            let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let off = squares(&mut found.iter().zip(&numbers).map(|(a, b)| a - b));
            let off = off / squares(&mut numbers.iter().copied());
            assert!(off < most, "{dtype:?}: {off}");
            // Zeros stay zeros, and numbers that are all the same are near.
            dtype.widen(&encode(dtype, &[0.0; 1024]), &mut found);
            assert!(found.iter().all(|x| *x == 0.0), "{dtype:?}");
            dtype.widen(&encode(dtype, &[-0.25; 1024]), &mut found);
            assert!(found.iter().all(|x| (x + 0.25).abs() < 0.01), "{dtype:?}: {:?}", &found[..4]);
        }
    }
}
