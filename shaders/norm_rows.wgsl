// RMSNorm of parts of rows, in place; one workgroup for each part of a token's row. Twin: kernels/norm_rows.rs
@group(0) @binding(1) var<storage, read> scale: array<f32>;         // [WIDTH]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;       // [T, ROW]

override ROW: u32;        // numbers from one token's row to the next
override OFFSET: u32;     // where the first part begins in a row
override WIDTH: u32;      // numbers of a part
override EPS: f32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = group.y * ROW + OFFSET + group.x * WIDTH;
    var squares = 0.0;
    for (var i = lane; i < WIDTH; i += LANES) {
        squares += x[part + i] * x[part + i];
    }
    let factor = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
    for (var i = lane; i < WIDTH; i += LANES) {
        x[part + i] *= factor * scale[i];
    }
}
