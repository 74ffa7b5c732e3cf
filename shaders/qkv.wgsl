// Queries, keys and values of a step in one product, with a bias where BIAS is set, rotated by their positions: q for
// this step, keys and values into the cache. W's rows are in the order of `pack::pairs`: dimensions i and i + DIM / 2
// of a head, which rotate together, are in the same row of two neighbouring panels. Twin: kernels/qkv.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [(HEADS + 2 KV_HEADS) * DIM, D] in panels
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [(HEADS + 2 KV_HEADS) * DIM]
@group(0) @binding(4) var<storage, read> angles: array<vec2<f32>>;      // [context, DIM / 2]: (cos, sin)
@group(0) @binding(5) var<storage, read_write> q: array<f32>;           // [T, HEADS, DIM_STRIDE]
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;        // [context, KV_HEADS, DIM_STRIDE]
@group(0) @binding(7) var<storage, read_write> values: array<f32>;      // [context, KV_HEADS, DIM_STRIDE]

override GROUPS: u32;         // D / 4, rounded up
override HEADS: u32;
override KV_HEADS: u32;
override DIM: u32;            // width of a head
override DIM_STRIDE: u32;     // DIM, rounded up to a multiple of 4
override BIAS: bool;

fn x_row(first: u32, i: u32) -> u32 {
    return min(first + i, step.count - 1u) * GROUPS;
}

fn put(panel: u32, lane: u32, first: u32, a: Sums, b: Sums) {
    let half = DIM / 2u;
    let pair = panel / 2u * ROWS + lane;
    let head = pair / half;
    let i = pair % half;
    if (head >= HEADS + 2u * KV_HEADS) {
        return;
    }
    var low_bias = 0.0;
    var high_bias = 0.0;
    if (BIAS) {
        low_bias = bias[head * DIM + i];
        high_bias = bias[head * DIM + i + half];
    }
    for (var n = 0u; n < TILE && first + n < step.count; n++) {
        let position = step.start + first + n;
        let low = sum_of(a, n) + low_bias;
        let high = sum_of(b, n) + high_bias;
        let turn = angles[position * half + i];
        let turned = vec2<f32>(low * turn.x - high * turn.y, high * turn.x + low * turn.y);
        if (head < HEADS) {
            let at = ((first + n) * HEADS + head) * DIM_STRIDE + i;
            q[at] = turned.x;
            q[at + half] = turned.y;
        } else if (head < HEADS + KV_HEADS) {
            let at = (position * KV_HEADS + head - HEADS) * DIM_STRIDE + i;
            keys[at] = turned.x;
            keys[at + half] = turned.y;
        } else {
            let at = (position * KV_HEADS + head - HEADS - KV_HEADS) * DIM_STRIDE + i;
            values[at] = low;
            values[at + half] = high;
        }
    }
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let pairs = (HEADS + 2u * KV_HEADS) * DIM / 2u;
    product(0u, 2u * panels_of(pairs), GROUPS, group.x, local, group.y * TILE, step.count - group.y * TILE);
}
