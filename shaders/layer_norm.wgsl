// y = (x - mean(x)) / sqrt(variance(x) + eps) * scale + bias, one workgroup per token. Twin: kernels/layer_norm.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;       // [D]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [D]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;     // [T, D]

override GROUPS: u32;     // D / 4, rounded up; the padding is zero
override WIDTH: u32;      // D
override EPS: f32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = token.x * GROUPS;
    var total = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        total += dot(x[row + g], vec4<f32>(1.0));
    }
    let mean = workgroup_sum(total, lane) / f32(WIDTH);
    var squares = 0.0;
    for (var g = lane; g < GROUPS; g += LANES) {
        for (var i = 0u; i < 4u && 4u * g + i < WIDTH; i++) {
            let apart = x[row + g][i] - mean;
            squares += apart * apart;
        }
    }
    if (LANES > 1u) {
        workgroupBarrier(); // The first sums have been read.
    }
    let factor = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
    for (var g = lane; g < GROUPS; g += LANES) {
        // Padding stays zero, because scale and bias are zero there.
        y[row + g] = (x[row + g] - mean) * factor * scale[g] + bias[g];
    }
}
