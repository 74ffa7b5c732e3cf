//! Rotary positions: which dimensions of a head are rotated, and by which frequencies.

use std::f32::consts::PI;

/// Rotary positions of an attention (Su et al. 2021): pair `i` of the rotated dimensions is rotated by the angle
/// `position * theta^(-2i / dim)`, with frequencies changed by `scaling`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// The number of rotated dimensions of a head; even.
    pub dim: usize,
    /// The first rotated dimension; only `first..first + dim` are rotated.
    pub first: usize,
    /// Whether the pairs are dimensions `2i` and `2i + 1`; otherwise they are `i` and `i + dim / 2`.
    pub interleaved: bool,
    /// How frequencies are scaled for texts longer than those of the training.
    pub scaling: Scaling,
}

/// How a model's frequencies are scaled for longer texts; the formulas are those of `modeling_rope_utils.py` in
/// Hugging Face transformers.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// No scaling.
    None,
    /// All frequencies are divided by this factor.
    Linear(f32),
    /// Low frequencies are divided by the factor, high ones are unchanged, those between are interpolated.
    Llama3 {
        /// Divides low frequencies.
        factor: f32,
        /// Wavelengths above `original / low` are low frequencies.
        low: f32,
        /// Wavelengths below `original / high` are high frequencies.
        high: f32,
        /// Length of the training texts in tokens.
        original: f32,
    },
    /// Like `Llama3`, but interpolated over the dimensions (Peng et al. 2023, "YaRN").
    Yarn {
        /// Divides low frequencies.
        factor: f32,
        /// A frequency with at least this many rotations over `original` tokens is high.
        fast: f32,
        /// A frequency with at most this many rotations over `original` tokens is low.
        slow: f32,
        /// Length of the training texts in tokens.
        original: f32,
        /// Whether the interpolation starts and ends at whole dimensions.
        truncate: bool,
        /// The factor of queries and keys.
        attention: f32,
    },
    /// Each frequency is divided by a factor of its own (Ding et al. 2024, "LongRoPE").
    Factors {
        /// The factors, one per pair of dimensions.
        factors: Vec<f32>,
        /// The factor of queries and keys.
        attention: f32,
    },
}

impl Rope {
    /// All `dim` dimensions of a head are rotated, by halves, without scaling.
    pub const fn new(theta: f32, dim: usize) -> Self {
        Self { theta, dim, first: 0, interleaved: false, scaling: Scaling::None }
    }

    /// The frequency of each pair, `[dim / 2]`, in radians a token.
    pub fn frequencies(&self) -> Vec<f32> {
        let half = self.dim / 2;
        let plain = |i: usize| 1.0 / self.theta.powf(2.0 * i as f32 / self.dim as f32);
        match &self.scaling {
            Scaling::None => (0..half).map(plain).collect(),
            Scaling::Linear(factor) => (0..half).map(|i| plain(i) / factor).collect(),
            &Scaling::Llama3 { factor, low, high, original } => {
                let scaled = |frequency: f32| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (0..half).map(|i| scaled(plain(i))).collect()
            }
            &Scaling::Yarn { factor, fast, slow, original, truncate, .. } => {
                let bound =
                    |turns: f32| self.dim as f32 * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (low, high) = (bound(fast), bound(slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(self.dim as f32 - 1.0));
                let high = if low == high { high + 0.001 } else { high };
                let scaled = |i: usize| {
                    let kept = 1.0 - ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
                    plain(i) / factor * (1.0 - kept) + plain(i) * kept
                };
                (0..half).map(scaled).collect()
            }
            Scaling::Factors { factors, .. } => (0..half).map(|i| plain(i) / factors[i]).collect(),
        }
    }

    /// The factor of queries and keys.
    pub fn attention(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention, .. } | Scaling::Factors { attention, .. } => attention,
            _ => 1.0,
        }
    }
}
