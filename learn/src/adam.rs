//! Adam (Kingma and Ba 2015) over one flat vector, which takes no step that is not finite.

/// Decay rates of the two moments.
const BETAS: [f32; 2] = [0.9, 0.999];

/// A number of a gradient whose square is still finite.
const LARGEST: f32 = 1e18;

/// The moments of all parameters.
#[derive(Clone, Debug)]
pub struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Adam {
    /// All moments zero.
    pub fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }

    /// One step down the gradient of `loss`, or none: returns false and leaves everything as it was where the loss is
    /// not finite or the gradient is too large. Of other gradients every step is finite: a moment is at most as large
    /// as the largest gradient or its square, and a step hardly longer than the rate.
    pub fn try_step(&mut self, rate: f32, parameters: &mut [f32], gradient: &[f32], loss: f32) -> bool {
        let is_finite = loss.is_finite() && gradient.iter().all(|g| g.abs() < LARGEST);
        if is_finite {
            self.step(rate, parameters, gradient);
        }
        is_finite
    }

    /// One step down the gradient.
    fn step(&mut self, rate: f32, parameters: &mut [f32], gradient: &[f32]) {
        let [b1, b2] = BETAS;
        self.steps += 1;
        let (c1, c2) = (1.0 - b1.powi(self.steps), 1.0 - b2.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((w, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *w -= rate * *m / c1 / ((*v / c2).sqrt() + 1e-8);
        }
    }
}
