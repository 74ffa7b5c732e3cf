// y = x W^T + bias, or y += MULTIPLIER * (x W^T + bias): panels of W by a tile of tokens. Twin: kernels/linear.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, K]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [N, K] in panels
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [N], where BIAS is set
@group(0) @binding(4) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override GROUPS: u32;         // K / 4, rounded up
override OUTPUTS: u32;        // N
override STRIDE: u32;         // numbers from one token's row of y to the next
override BIAS: bool;
override ADD: bool;           // whether it adds to y
override MULTIPLIER: f32;

fn x_row(first: u32, i: u32) -> u32 {
    return min(first + i, step.count - 1u) * GROUPS;
}

fn put(panel: u32, lane: u32, first: u32, a: Sums, b: Sums) {
    put_row(panel * ROWS + lane, first, a);
    put_row((panel + 1u) * ROWS + lane, first, b);
}

fn put_row(row: u32, first: u32, sums: Sums) {
    if (row >= OUTPUTS) {
        return;
    }
    for (var i = 0u; i < TILE && first + i < step.count; i++) {
        var product = sum_of(sums, i);
        if (BIAS) {
            product += bias[row];
        }
        let at = (first + i) * STRIDE + row;
        if (ADD) {
            product = y[at] + MULTIPLIER * product;
        }
        y[at] = product;
    }
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    product(0u, panels_of(OUTPUTS), GROUPS, group.x, local, group.y * TILE, step.count - group.y * TILE);
}
