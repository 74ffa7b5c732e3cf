//! Rotary position embedding (Su et al. 2021) in the half-split form that Hugging Face uses: element `i` of a head is
//! rotated together with element `i + head_dim / 2` by the angle `position * theta^(-2 i / head_dim)`.

/// Cosines and sines for every position, each positions x head_dim / 2.
pub struct Rope {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// The table for positions `0..positions`.
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let angle = |p: usize, i: usize| p as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
        let table =
            |f: fn(f64) -> f64| (0..positions).flat_map(|p| (0..half).map(move |i| f(angle(p, i)) as f32)).collect();
        Self { half, cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates one token's heads, `x` being heads x head_dim, to its `position`.
    pub fn forward(&self, x: &mut [f32], position: usize) {
        self.rotate(x, position, 1.0);
    }

    /// Rotates a gradient back: a rotation's transpose is the rotation by the opposite angle.
    pub fn backward(&self, dx: &mut [f32], position: usize) {
        self.rotate(dx, position, -1.0);
    }

    fn rotate(&self, x: &mut [f32], position: usize, direction: f32) {
        let at = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[at.clone()], &self.sin[at]);
        for head in x.chunks_exact_mut(2 * self.half) {
            let (low, high) = head.split_at_mut(self.half);
            for i in 0..self.half {
                let (a, b, s) = (low[i], high[i], direction * sin[i]);
                low[i] = a * cos[i] - b * s;
                high[i] = b * cos[i] + a * s;
            }
        }
    }
}
