// Where HOLD is set: held = x, x = 0; otherwise x = held + rms_norm(x). One workgroup per token.
// Twin: kernels/post_norm.rs
@group(0) @binding(1) var<storage, read> scale: array<vec4<f32>>;               // [D]
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;             // [T, D]
@group(0) @binding(3) var<storage, read_write> held: array<vec4<f32>>;          // [T, D]

override GROUPS: u32;     // D / 4, rounded up; the padding is zero
override WIDTH: u32;      // D
override EPS: f32;
override HOLD: bool;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = token.x * GROUPS;
    if (HOLD) {
        for (var g = lane; g < GROUPS; g += LANES) {
            held[row + g] = x[row + g];
            x[row + g] = vec4<f32>();
        }
        return;
    }
    var squares = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        squares += dot(x[row + g], x[row + g]);
    }
    let factor = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
    for (var g = lane; g < GROUPS; g += LANES) {
        x[row + g] = held[row + g] + x[row + g] * factor * scale[g];
    }
}
