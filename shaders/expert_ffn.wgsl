// The experts' SwiGLU, w2(silu(w1 x) * w3 x), a tile of one expert's assignments at a time: `up` to the
// expert's inner width, `down` again. Only experts that have a tile are touched. Twin: kernels/expert_ffn.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // up: [T, D]; down: [T * CHOICES, F]
// Bindings 2 and 3 say what the tiles are: shared/tiles_one.wgsl, shared/tiles_many.wgsl.
@group(0) @binding(4) var<storage, read> weights: array<Packed>;        // up: [E, w1 then w3]; down: [E, w2]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;           // up: [T * CHOICES, F]; down: [T * CHOICES, D]

override GROUPS: u32;         // inputs / 4, rounded up
override OUTPUTS: u32;
override STRIDE: u32;         // numbers from one assignment's row of y to the next
override SHARE: u32;          // assignments that share a row of x: up: the choices of a token; down: 1

var<private> tile: vec3<u32>;

fn x_row(first: u32, i: u32) -> u32 {
    return assignment_at(first + min(i, tile.z - 1u)) / SHARE * GROUPS;
}

// Words of one matrix [OUTPUTS, inputs].
fn matrix_words() -> u32 {
    return (OUTPUTS + ROWS - 1u) / ROWS * GROUPS * ROWS;
}

@compute @workgroup_size(16, HEIGHT)
fn up(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let found = tile_at(group.y);
    if (found.z == 0u) {
        return;
    }
    tile = found;
    let panel = panel_of(group.x, local.y);
    let row = panel * ROWS + local.x;
    let base = tile.x * 2u * matrix_words() + panel * GROUPS * ROWS;
    let gates = product(base, GROUPS, local.x, local.y, tile.y);
    let ups = product(base + matrix_words(), GROUPS, local.x, local.y, tile.y);
    if (row >= OUTPUTS || !writes(local.y)) {
        return;
    }
    for (var i = 0u; i < tile.z; i++) {
        let gate = sum_of(gates, i);
        y[assignment_at(tile.y + i) * STRIDE + row] = gate / (1.0 + exp(-gate)) * sum_of(ups, i);
    }
}

@compute @workgroup_size(16, HEIGHT)
fn down(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let found = tile_at(group.y);
    if (found.z == 0u) {
        return;
    }
    tile = found;
    let panel = panel_of(group.x, local.y);
    let row = panel * ROWS + local.x;
    let sums = product(tile.x * matrix_words() + panel * GROUPS * ROWS, GROUPS, local.x, local.y, tile.y);
    if (row >= OUTPUTS || !writes(local.y)) {
        return;
    }
    for (var i = 0u; i < tile.z; i++) {
        y[assignment_at(tile.y + i) * STRIDE + row] = sum_of(sums, i);
    }
}
