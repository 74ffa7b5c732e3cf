// y = x / sqrt(mean(x^2) + eps) * scale, one workgroup for each token. Twin: kernels/rms_norm.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;       // [D]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;     // [T, D]

override GROUPS: u32;     // D / 4, rounded up; the padding is zero
override WIDTH: u32;      // D
override EPS: f32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = token.x * GROUPS;
    var squares = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        squares += dot(x[row + g], x[row + g]);
    }
    let factor = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
    for (var g = lane; g < GROUPS; g += LANES) {
        y[row + g] = x[row + g] * factor * scale[g];
    }
}
