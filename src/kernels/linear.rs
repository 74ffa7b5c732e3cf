//! `y = x W^T` or `y += x W^T`, a row a token: `x` is `[T, K]`, `W` is `[N, K]`, `y` is `[T, N]`.
//!
//! Plain form: `for t, n { y[t][n] = sum_c x[t][c] * W[n][c] }`. Fast form: a tile of up to 4 tokens by
//! 8 rows (one panel), or of 1 token by 32 rows (four panels), in registers. Every number is summed in
//! the order of `c` in both, so one token at a time gives the same bits as many at once.

use super::panels::{Panels, ROWS};
use wide::f32x8;

/// Tokens of a tile.
const TOKENS: usize = 4;
/// Panels of a one-token tile: enough independent sums to hide the latency of an add.
const PANELS: usize = 4;

/// Writes `y = x W^T`.
pub fn linear(x: &[f32], weights: &Panels, y: &mut [f32]) {
    each_tile(x, weights, y, |y, sum| *y = sum);
}

/// Adds: `y += x W^T`.
pub fn linear_add(x: &[f32], weights: &Panels, y: &mut [f32]) {
    each_tile(x, weights, y, |y, sum| *y += sum);
}

fn each_tile(x: &[f32], weights: &Panels, y: &mut [f32], put: impl Fn(&mut f32, f32) + Copy) {
    let (inputs, outputs) = (weights.cols(), weights.rows());
    let tokens = x.len() / inputs;
    let whole = tokens / TOKENS * TOKENS;
    for t in (0..whole).step_by(TOKENS) {
        let x: [&[f32]; TOKENS] = std::array::from_fn(|i| &x[(t + i) * inputs..][..inputs]);
        for p in 0..outputs.div_ceil(ROWS) {
            let sums = tokens_by_panel(x, weights.panel(p));
            for (i, sums) in sums.iter().enumerate() {
                store(&mut y[(t + i) * outputs..][..outputs], p, sums, put);
            }
        }
    }
    for t in whole..tokens {
        one_token(&x[t * inputs..][..inputs], weights, &mut y[t * outputs..][..outputs], put);
    }
}

fn one_token(x: &[f32], weights: &Panels, y: &mut [f32], put: impl Fn(&mut f32, f32) + Copy) {
    let panels = weights.rows().div_ceil(ROWS);
    let whole = panels / PANELS * PANELS;
    for p in (0..whole).step_by(PANELS) {
        let sums = token_by_panels(x, std::array::from_fn::<_, PANELS, _>(|i| weights.panel(p + i)));
        for (i, sums) in sums.iter().enumerate() {
            store(y, p + i, sums, put);
        }
    }
    for p in whole..panels {
        let [sums] = token_by_panels(x, [weights.panel(p)]);
        store(y, p, &sums, put);
    }
}

/// Writes the sums of panel `p` to its rows of `y`; the last panel may be short.
fn store(y: &mut [f32], p: usize, sums: &f32x8, put: impl Fn(&mut f32, f32)) {
    for (y, &sum) in y[p * ROWS..].iter_mut().zip(sums.as_array()) {
        put(y, sum);
    }
}

#[inline(always)]
fn tokens_by_panel<const M: usize>(x: [&[f32]; M], panel: &[f32x8]) -> [f32x8; M] {
    let mut sums = [f32x8::ZERO; M];
    let x = x.map(|x| &x[..panel.len()]);
    for (c, &column) in panel.iter().enumerate() {
        for i in 0..M {
            sums[i] = f32x8::splat(x[i][c]).mul_add(column, sums[i]);
        }
    }
    sums
}

#[inline(always)]
fn token_by_panels<const M: usize>(x: &[f32], panels: [&[f32x8]; M]) -> [f32x8; M] {
    let mut sums = [f32x8::ZERO; M];
    let panels = panels.map(|panel| &panel[..x.len()]);
    for (c, &x) in x.iter().enumerate() {
        for i in 0..M {
            sums[i] = f32x8::splat(x).mul_add(panels[i][c], sums[i]);
        }
    }
    sums
}
