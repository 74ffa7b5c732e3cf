//! Random numbers that are pure functions of a seed and an index: the same in every run, without state that a
//! checkpoint would have to store.

/// A well mixed 64-bit number for a seed and an index (the finaliser of SplitMix64, Steele et al. 2014).
pub fn hash(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    z
}

/// Uniform in [0, 1).
pub fn uniform(seed: u64, place: u64) -> f64 {
    (hash(seed, place) >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal, by the Box-Muller transform.
pub fn normal(seed: u64, place: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, 2 * place)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, 2 * place + 1)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let n = 40_000u64;
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        assert!((mean(&|i| uniform(1, i)) - 0.5).abs() < 0.01);
        assert!(mean(&|i| normal(1, i)).abs() < 0.02);
        assert!((mean(&|i| normal(1, i).powi(2)) - 1.0).abs() < 0.03);
        assert_ne!(hash(1, 2), hash(2, 1));
    }
}
