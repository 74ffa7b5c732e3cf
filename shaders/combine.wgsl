// x[t] += MULTIPLIER * sum_c route_weights[t][c] * y[t * CHOICES + c]; where NORM is set, normed = rms_norm(x) follows,
// which the next layer or the output reads. One workgroup per token. Gathers in the order of the choices, so that no
// float atomics are needed and every run gives the same bits. Twin: kernels/combine.rs
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;               // [T * CHOICES, D]
@group(0) @binding(2) var<storage, read> route_weights: array<f32>;         // [T, CHOICES]
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;         // [T, D]
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>;           // [D], of the norm
@group(0) @binding(5) var<storage, read_write> normed: array<vec4<f32>>;    // [T, D]

override GROUPS: u32;         // D / 4, rounded up; the padding is zero
override WIDTH: u32;          // D
override CHOICES: u32;
override EPS: f32;
override MULTIPLIER: f32;
override NORM: bool;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = token.x * GROUPS;
    var squares = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        var sum = x[row + g];
        for (var choice = 0u; choice < CHOICES; choice++) {
            let assignment = token.x * CHOICES + choice;
            // A dropped assignment has weight 0, and its row of y is stale.
            if (route_weights[assignment] != 0.0) {
                sum += MULTIPLIER * route_weights[assignment] * y[assignment * GROUPS + g];
            }
        }
        x[row + g] = sum;
        squares += dot(sum, sum);
    }
    if (!NORM) {
        return;
    }
    let factor = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
    for (var g = lane; g < GROUPS; g += LANES) {
        normed[row + g] = x[row + g] * factor * scale[g];
    }
}
