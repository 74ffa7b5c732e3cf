// y *= sigmoid(gate), or y *= gate * sigmoid(gate) where SILU is set, one number per invocation.
// Twin: kernels/gate_rows.rs
@group(0) @binding(1) var<storage, read> gates: array<f32>;             // [T, ROW], the gates first
@group(0) @binding(2) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override ROW: u32;            // numbers from one token's row of gates to the next
override WIDTH: u32;
override STRIDE: u32;         // numbers from one token's row of y to the next
override SILU: bool;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / WIDTH;
    if (t >= step.count) {
        return;
    }
    let i = id.x % WIDTH;
    let gate = gates[t * ROW + i];
    y[t * STRIDE + i] *= select(1.0, gate, SILU) / (1.0 + exp(-gate));
}
