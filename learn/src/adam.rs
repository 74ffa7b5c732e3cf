//! Adam (Kingma and Ba 2015) over one flat vector, with a step that can be taken back.

/// Decay rates of the two moments.
const BETAS: [f32; 2] = [0.9, 0.999];

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

    /// One step down the gradient of `loss`, or none: returns false and leaves everything as it was where the loss or a
    /// parameter after the step is not finite.
    pub fn try_step(&mut self, rate: f32, parameters: &mut Vec<f32>, gradient: &[f32], loss: f32) -> bool {
        let before = (parameters.clone(), self.clone());
        self.step(rate, parameters, gradient);
        let is_finite = loss.is_finite() && parameters.iter().all(|p| p.is_finite());
        if !is_finite {
            (*parameters, *self) = before;
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
