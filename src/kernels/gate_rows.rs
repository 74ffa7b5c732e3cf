//! Multiplies rows by the sigmoids or the SiLUs of gates (attention with a gated output; state-space mixers).

/// `y *= sigmoid(gate)`, or `y *= gate * sigmoid(gate)` with `silu`. The gates are the first numbers of each row of
/// `gates`, `[T, row]`; `y` is `[T, width]`.
pub fn gate_rows(gates: &[f32], y: &mut [f32], row: usize, width: usize, silu: bool) {
    for (gates, y) in gates.chunks_exact(row).zip(y.chunks_exact_mut(width)) {
        for (y, gate) in y.iter_mut().zip(gates) {
            *y *= if silu { *gate } else { 1.0 } / (1.0 + (-gate).exp());
        }
    }
}
