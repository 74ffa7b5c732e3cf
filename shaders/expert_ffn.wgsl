// The experts' SwiGLU, w2(silu(w1 x) * w3 x), or a variant of it, a tile of one expert's assignments at a time, in two
// passes: up to the expert's inner width, down again. Only experts that have a tile are read.
// Twin: kernels/expert_ffn.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // up: [T, D]; down: [T * CHOICES, F]
// Bindings 2 and 3 define the tiles: shared/tiles_one.wgsl, shared/tiles_many.wgsl.
// up: [E, panels of w1 and w3 in turn]; down: [E, w2]
@group(0) @binding(4) var<storage, read> weights: array<Packed>;
// up: [E, 2 F], those of w1, then those of w3; down: [E, D]; where BIAS is set
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;           // up: [T * CHOICES, F]; down: [T * CHOICES, D]

override UP: bool;            // which pass it is
override GROUPS: u32;         // inputs / 4, rounded up
override OUTPUTS: u32;
override STRIDE: u32;         // numbers from one assignment's row of y to the next
override BIAS: bool;
override CLAMPED: bool;       // the variant of gpt-oss
override ALPHA: f32;          // gain of its sigmoid
override LIMIT: f32;          // bound of its gate and up
override SHARE: u32;          // assignments that share a row of x: up: the choices of a token; down: 1

var<private> tile: vec3<u32>;

fn x_row(first: u32, i: u32) -> u32 {
    return assignment_at(first + min(i, tile.z - 1u)) / SHARE * GROUPS;
}

fn put(panel: u32, lane: u32, first: u32, a: Sums, b: Sums) {
    if (UP) {
        put_activation(panel / 2u * ROWS + lane, a, b);
    } else {
        put_row(panel * ROWS + lane, a);
        put_row((panel + 1u) * ROWS + lane, b);
    }
}

fn put_activation(row: u32, gates: Sums, ups: Sums) {
    if (row >= OUTPUTS) {
        return;
    }
    for (var i = 0u; i < tile.z; i++) {
        var gate = sum_of(gates, i);
        var up = sum_of(ups, i);
        if (BIAS) {
            gate += bias[tile.x * 2u * OUTPUTS + row];
            up += bias[(tile.x * 2u + 1u) * OUTPUTS + row];
        }
        var activation = gate / (1.0 + exp(-gate)) * up;
        if (CLAMPED) {
            gate = min(gate, LIMIT);
            activation = gate / (1.0 + exp(-ALPHA * gate)) * (clamp(up, -LIMIT, LIMIT) + 1.0);
        }
        y[assignment_at(tile.y + i) * STRIDE + row] = activation;
    }
}

fn put_row(row: u32, sums: Sums) {
    if (row >= OUTPUTS) {
        return;
    }
    for (var i = 0u; i < tile.z; i++) {
        var sum = sum_of(sums, i);
        if (BIAS) {
            sum += bias[tile.x * OUTPUTS + row];
        }
        y[assignment_at(tile.y + i) * STRIDE + row] = sum;
    }
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let found = tile_at(group.y);
    if (found.z == 0u) {
        return;
    }
    tile = found;
    let panels = panels_of(OUTPUTS) * select(1u, 2u, UP);
    product(found.x * panels * GROUPS * ROWS, panels, GROUPS, group.x, local, found.y, found.z);
}
