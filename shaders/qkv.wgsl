// Queries, keys and values of a step in one product, turned by their positions: q for this step, keys and values into
// the cache. W's rows are in the order of `pack::pairs`: rows 2i and 2i + 1 of a head are its dimensions i and i + DIM / 2, which
// turn together, so they always lie in the same panel. Twin: kernels/qkv.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [(HEADS + 2 KV_HEADS) * DIM, D] in panels
@group(0) @binding(3) var<storage, read> angles: array<vec2<f32>>;      // [context, DIM / 2]: (cos, sin)
@group(0) @binding(4) var<storage, read_write> q: array<f32>;           // [T, HEADS, DIM_STRIDE]
@group(0) @binding(5) var<storage, read_write> keys: array<f32>;        // [context, KV_HEADS, DIM_STRIDE]
@group(0) @binding(6) var<storage, read_write> values: array<f32>;      // [context, KV_HEADS, DIM_STRIDE]

override GROUPS: u32;         // D / 4, rounded up
override HEADS: u32;
override KV_HEADS: u32;
override DIM: u32;            // width of a head
override DIM_STRIDE: u32;     // DIM, rounded up to a multiple of 4

var<workgroup> rows: array<Sums, ROWS * HEIGHT>;

fn x_row(first: u32, i: u32) -> u32 {
    return min(first + i, step.count - 1u) * GROUPS;
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let panel = panel_of(group.x, local.y);
    let row = panel * ROWS + local.x;
    let first = group.y * TILE;
    let lane = local.y * ROWS + local.x;
    let own = product(panel * GROUPS * ROWS, GROUPS, local.x, local.y, first);
    rows[lane] = own;
    workgroupBarrier();
    let other = rows[lane ^ 1u];
    let head = row / DIM;
    if (head >= HEADS + 2u * KV_HEADS || !writes(local.y)) {
        return;
    }
    let i = row % DIM / 2u;
    let upper = (row & 1u) == 1u;
    let d = select(i, i + DIM / 2u, upper);
    for (var n = 0u; n < TILE && first + n < step.count; n++) {
        let position = step.start + first + n;
        let number = sum_of(own, n);
        let turn = angles[position * (DIM / 2u) + i];
        // (low, high) becomes (low cos - high sin, high cos + low sin).
        let turned = number * turn.x + select(-sum_of(other, n), sum_of(other, n), upper) * turn.y;
        if (head < HEADS) {
            q[((first + n) * HEADS + head) * DIM_STRIDE + d] = turned;
        } else if (head < HEADS + KV_HEADS) {
            keys[(position * KV_HEADS + head - HEADS) * DIM_STRIDE + d] = turned;
        } else {
            values[(position * KV_HEADS + head - HEADS - KV_HEADS) * DIM_STRIDE + d] = number;
        }
    }
}
