//! Linear support vector machines with weights on the points, trained by dual coordinate descent (Hsieh et al. 2008):
//! minimise `|w|^2 / 2 + sum_i C_i max(0, 1 - y_i w x_i)`, `x` with a 1 appended for the bias. It is the problem of
//! scikit-learn's `LinearSVC(loss="hinge")` with sample weights.

/// One machine: `w = sum_i a_i y_i x_i` with `0 <= a_i <= C_i`.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Weights of x and y, and the bias.
    pub weights: [f64; 3],
    /// The dual variables, one a point: above 0 for support vectors.
    pub duals: Vec<f64>,
}

impl Machine {
    /// A machine without support vectors, for so many points.
    pub fn new(points: usize) -> Self {
        Self { weights: [0.0; 3], duals: vec![0.0; points] }
    }

    /// The decision value at a place.
    pub fn decide(&self, x: f32, y: f32) -> f64 {
        self.weights[0] * f64::from(x) + self.weights[1] * f64::from(y) + self.weights[2]
    }

    /// One pass over the points. `x` holds the points' columns, `sign` says which are inside of the class, and `caps`
    /// is each point's `C`. Caps may change between passes.
    pub fn pass(&mut self, x: &[f32], sign: impl Fn(usize) -> f64, caps: impl Fn(usize) -> f64) {
        let n = self.duals.len();
        let (xs, ys) = (&x[..n], &x[n..2 * n]);
        // The sum anew, so that rounding does not pile up, and with the duals inside of their caps.
        self.weights = [0.0; 3];
        for i in 0..n {
            self.duals[i] = self.duals[i].min(caps(i));
            self.add(self.duals[i] * sign(i), xs[i], ys[i]);
        }
        for i in 0..n {
            let (cap, s) = (caps(i), sign(i));
            let slope = s * self.decide(xs[i], ys[i]) - 1.0;
            let curvature = f64::from(xs[i] * xs[i] + ys[i] * ys[i]) + 1.0;
            let dual = (self.duals[i] - slope / curvature).clamp(0.0, cap);
            if dual != self.duals[i] {
                self.add((dual - self.duals[i]) * s, xs[i], ys[i]);
                self.duals[i] = dual;
            }
        }
    }

    fn add(&mut self, scale: f64, x: f32, y: f32) {
        self.weights[0] += scale * f64::from(x);
        self.weights[1] += scale * f64::from(y);
        self.weights[2] += scale;
    }
}
