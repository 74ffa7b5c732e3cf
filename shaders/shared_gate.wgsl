// The weight of the shared expert for each token: sigmoid(x . weights), one workgroup per token.
// Twin: kernels/shared_gate.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;     // [D]
@group(0) @binding(3) var<storage, read_write> counts: array<f32>;      // [T]

override GROUPS: u32;     // D / 4, rounded up; the padding is zero

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        sum += dot(x[token.x * GROUPS + g], weights[g]);
    }
    let logit = workgroup_sum(sum, lane);
    if (lane == 0u) {
        counts[token.x] = 1.0 / (1.0 + exp(-logit));
    }
}
