//! Gaussian processes over few points, exact, in `f64`. The kernel is `s exp(-|a - b|^2 / 2 l^2)`; a point that an
//! expert answers for with responsibility `r` has noise `t / r` (Tresp 2001), so that one that it hardly answers for
//! hardly counts.

/// Length scale, signal and noise, as their logs, so that every number is possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// Log of the length scale `l`.
    pub log_length: f64,
    /// Log of the signal's variance `s`.
    pub log_signal: f64,
    /// Log of the noise's variance `t`.
    pub log_noise: f64,
}

impl Kernel {
    /// The covariance of the values at two places.
    pub fn covariance(&self, a: [f64; 2], b: [f64; 2]) -> f64 {
        let square = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        (self.log_signal - 0.5 * square * (-2.0 * self.log_length).exp()).exp()
    }

    /// The noise's variance.
    pub fn noise(&self) -> f64 {
        self.log_noise.exp()
    }
}

/// A process that has seen its points: `outputs` functions with one kernel.
#[derive(Clone, Debug)]
pub struct Process {
    kernel: Kernel,
    places: Vec<[f64; 2]>,
    /// Noise variance of each point.
    noise: Vec<f64>,
    /// `K^-1`, points x points.
    inverse: Vec<f64>,
    /// `K^-1 y`, outputs x points.
    alpha: Vec<f64>,
    targets: Vec<f64>,
    #[cfg(test)]
    log_determinant: f64,
}

impl Process {
    /// Fits the points; `targets` is outputs x points. `None` where the matrix is not positive definite.
    pub fn fit(kernel: Kernel, places: Vec<[f64; 2]>, responsibility: &[f64], targets: Vec<f64>) -> Option<Self> {
        let n = places.len();
        let noise: Vec<f64> = responsibility.iter().map(|r| kernel.noise() / r.max(1e-6)).collect();
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let k = kernel.covariance(places[i], places[j]);
                (matrix[i * n + j], matrix[j * n + i]) = (k, k);
            }
            matrix[i * n + i] += noise[i];
        }
        let (inverse, _log_determinant) = invert(matrix, n)?;
        let mut process = Self {
            kernel,
            places,
            noise,
            inverse,
            alpha: Vec::new(),
            targets,
            #[cfg(test)]
            log_determinant: _log_determinant,
        };
        process.alpha = process.targets.chunks_exact(n.max(1)).flat_map(|y| process.times(y)).collect();
        Some(process)
    }

    /// How many points.
    fn points(&self) -> usize {
        self.places.len()
    }

    /// `K^-1 v`.
    fn times(&self, v: &[f64]) -> Vec<f64> {
        let n = self.points();
        (0..n).map(|i| self.inverse[i * n..][..n].iter().zip(v).map(|(a, b)| a * b).sum()).collect()
    }

    /// Writes the mean of each output at a place and returns the function's variance, without noise; `room` is for one
    /// number a point.
    pub fn predict(&self, place: [f64; 2], mean: &mut [f64], room: &mut Vec<f64>) -> f64 {
        let n = self.points();
        room.clear();
        room.extend(self.places.iter().map(|&p| self.kernel.covariance(p, place)));
        for (o, mean) in mean.iter_mut().enumerate() {
            *mean = if n == 0 { 0.0 } else { self.alpha[o * n..][..n].iter().zip(&*room).map(|(a, k)| a * k).sum() };
        }
        let mut explained = 0.0;
        for i in 0..n {
            let row = &self.inverse[i * n..][..n];
            explained += room[i] * row.iter().zip(&*room).map(|(a, k)| a * k).sum::<f64>();
        }
        (self.kernel.log_signal.exp() - explained).max(0.0)
    }

    /// The prediction at its point `i` from all the others (Rasmussen and Williams 2006, equation 5.12).
    pub fn leave_out(&self, i: usize, mean: &mut [f64]) -> f64 {
        let n = self.points();
        let precision = self.inverse[i * n + i];
        for (o, mean) in mean.iter_mut().enumerate() {
            *mean = self.targets[o * n + i] - self.alpha[o * n + i] / precision;
        }
        (1.0 / precision - self.noise[i]).max(0.0)
    }

    /// The log marginal likelihood of the points.
    #[cfg(test)]
    pub fn log_likelihood(&self) -> f64 {
        let n = self.points();
        let outputs = self.targets.len().checked_div(n).unwrap_or(0);
        let data: f64 = self.targets.iter().zip(&self.alpha).map(|(y, a)| y * a).sum();
        -0.5 * data - 0.5 * outputs as f64 * (self.log_determinant + n as f64 * std::f64::consts::TAU.ln())
    }

    /// Its gradient by the logs of length, signal and noise: `tr((a a^T - K^-1) dK) / 2` (Rasmussen and Williams 2006,
    /// equation 5.9).
    pub fn log_likelihood_gradient(&self) -> [f64; 3] {
        let n = self.points();
        let outputs = self.targets.len().checked_div(n).unwrap_or(0);
        let mut gradient = [0.0; 3];
        for i in 0..n {
            for j in 0..n {
                let mut weight = -(outputs as f64) * self.inverse[i * n + j];
                for a in self.alpha.chunks_exact(n) {
                    weight += a[i] * a[j];
                }
                let (p, q) = (self.places[i], self.places[j]);
                let k = self.kernel.covariance(p, q);
                let square = (p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2);
                gradient[0] += 0.5 * weight * k * square * (-2.0 * self.kernel.log_length).exp();
                gradient[1] += 0.5 * weight * k;
                if i == j {
                    gradient[2] += 0.5 * weight * self.noise[i];
                }
            }
        }
        gradient
    }
}

/// The inverse of a symmetric positive definite matrix and the log of its determinant, by Cholesky's factors.
fn invert(mut a: Vec<f64>, n: usize) -> Option<(Vec<f64>, f64)> {
    for i in 0..n {
        for j in 0..=i {
            let (rows_i, rows_j) = (&a[i * n..i * n + j], &a[j * n..j * n + j]);
            let rest = a[i * n + j] - rows_i.iter().zip(rows_j).map(|(x, y)| x * y).sum::<f64>();
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                a[i * n + i] = rest.sqrt();
            } else {
                a[i * n + j] = rest / a[j * n + j];
            }
        }
    }
    let log_determinant = (0..n).map(|i| 2.0 * a[i * n + i].ln()).sum();
    // The factor's inverse, row by row, transposed: `column[j]` of L^-1 lies at `lower[j * n..]`.
    let mut lower = vec![0.0; n * n];
    for j in 0..n {
        lower[j * n + j] = 1.0 / a[j * n + j];
        for i in j + 1..n {
            let along: f64 = a[i * n + j..i * n + i].iter().zip(&lower[j * n + j..j * n + i]).map(|(x, y)| x * y).sum();
            lower[j * n + i] = -along / a[i * n + i];
        }
    }
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 =
                lower[i * n + i..(i + 1) * n].iter().zip(&lower[j * n + i..(j + 1) * n]).map(|(x, y)| x * y).sum();
            (inverse[i * n + j], inverse[j * n + i]) = (dot, dot);
        }
    }
    Some((inverse, log_determinant))
}
