// logits[i] = SCALE * x[from + i] W^T + bias: the output projection of the tokens whose logits are returned.
// Twin: kernels/lm_head.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [V, D] in panels
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [V], where BIAS is set
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;      // [T - from, V]

override GROUPS: u32;         // D / 4, rounded up
override OUTPUTS: u32;        // V
override SCALE: f32;
override BIAS: bool;

fn x_row(first: u32, i: u32) -> u32 {
    return min(step.logits_from + first + i, step.count - 1u) * GROUPS;
}

fn put(panel: u32, lane: u32, first: u32, a: Sums, b: Sums) {
    put_row(panel * ROWS + lane, first, a);
    put_row((panel + 1u) * ROWS + lane, first, b);
}

fn put_row(row: u32, first: u32, sums: Sums) {
    if (row >= OUTPUTS) {
        return;
    }
    for (var i = 0u; i < TILE && step.logits_from + first + i < step.count; i++) {
        var logit = SCALE * sum_of(sums, i);
        if (BIAS) {
            logit += bias[row];
        }
        logits[(first + i) * OUTPUTS + row] = logit;
    }
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let first = group.y * TILE;
    product(0u, panels_of(OUTPUTS), GROUPS, group.x, local, first, step.count - step.logits_from - first);
}
