// y[h] = W_h x[h], one number per invocation. Twin: kernels/head_linear.rs
@group(0) @binding(1) var<storage, read> x: array<f32>;                 // [T, ROW]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [HEADS * OUTPUTS, INPUTS] in panels
@group(0) @binding(3) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override ROW: u32;            // numbers from one token's row of x to the next
override HEAD_STRIDE: u32;    // numbers of x from one head's part to the next
override INPUTS: u32;         // numbers of a head's part that are multiplied
override GROUPS: u32;         // INPUTS / 4, rounded up
override OUTPUTS: u32;        // numbers of a head's product
override HEADS: u32;
override STRIDE: u32;         // HEADS * OUTPUTS, rounded up to a multiple of 4

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / (HEADS * OUTPUTS);
    if (t >= step.count) {
        return;
    }
    let row = id.x % (HEADS * OUTPUTS);
    let part = t * ROW + row / OUTPUTS * HEAD_STRIDE;
    var sum = 0.0;
    for (var group = 0u; group < GROUPS; group++) {
        let weight = weight4(panel_index(row, group, GROUPS));
        for (var i = 0u; i < 4u; i++) {
            // Columns beyond the matrix are zero; what lies there in x is of the next head.
            let at = 4u * group + i;
            sum += select(0.0, weight[i] * x[part + at], at < INPUTS);
        }
    }
    y[t * STRIDE + row] = sum;
}
