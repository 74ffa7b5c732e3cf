//! Random numbers as pure functions of a key, the same on CPU and GPU (docs/gates.md). Twin:
//! `shaders/shared/random.wgsl`.

/// A permutation of the 32-bit numbers from the PCG family (Jarzynski and Olano 2020, "Hash Functions for GPU
/// Rendering").
pub fn pcg(v: u32) -> u32 {
    let state = v.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// 32 random bits for a key of four numbers.
pub fn draw([a, b, c, d]: [u32; 4]) -> u32 {
    pcg(d.wrapping_add(drawn_with([a, b, c])))
}

/// The part of [`draw`] that depends only on the first three numbers of the key.
pub fn drawn_with([a, b, c]: [u32; 3]) -> u32 {
    pcg(c.wrapping_add(pcg(b.wrapping_add(pcg(a)))))
}

/// A uniform number in [0, 1) for a key.
pub fn uniform(key: [u32; 4]) -> f32 {
    (draw(key) >> 8) as f32 / 16_777_216.0
}

/// A standard normal number (Box and Muller 1958) for expert `e` at (seed, layer, position).
pub fn normal([seed, layer, position, e]: [u32; 4]) -> f32 {
    let draw = |n: u32| draw([seed, layer, position, n]) >> 8;
    let (u1, u2) = ((draw(2 * e) + 1) as f32 / 16_777_216.0, draw(2 * e + 1) as f32 / 16_777_216.0);
    (-2.0 * u1.ln()).sqrt() * (std::f32::consts::TAU * u2).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let numbers: Vec<f32> = (0..40_000).map(|n| normal([7, n % 3, n / 8, n % 8])).collect();
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / numbers.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
    }

    #[test]
    fn uniform_numbers_fill_the_interval() {
        let mut bins = [0; 10];
        (0..20_000).for_each(|n| bins[(uniform([0, 1, n, n % 5]) * 10.0) as usize] += 1);
        assert!(bins.iter().all(|&count| (1800..2200).contains(&count)), "{bins:?}");
    }
}
