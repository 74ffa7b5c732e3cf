// Rotary positions: turns queries into q and keys into the cache; values go to the cache as they are.
// Dimension i of the lower half of a head turns with dimension i + DIM / 2. Twin: kernels/rope.rs
@group(0) @binding(1) var<storage, read> angles: array<vec2<f32>>;      // [context, DIM / 2]: (cos, sin)
@group(0) @binding(2) var<storage, read> qkv: array<f32>;               // [T, QKV_STRIDE]
@group(0) @binding(3) var<storage, read_write> q: array<f32>;           // [T, HEADS, DIM_STRIDE]
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;        // [context, KV_HEADS, DIM_STRIDE]
@group(0) @binding(5) var<storage, read_write> values: array<f32>;      // [context, KV_HEADS, DIM_STRIDE]

override HEADS: u32;
override KV_HEADS: u32;
override DIM: u32;            // width of a head
override DIM_STRIDE: u32;     // DIM, rounded up to a multiple of 4
override QKV_STRIDE: u32;

// One invocation a token, head (queries, then keys, then values) and pair of dimensions.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let half = DIM / 2u;
    let heads = HEADS + 2u * KV_HEADS;
    let t = id.x / (heads * half);
    if (t >= step.count) {
        return;
    }
    let head = id.x / half % heads;
    let i = id.x % half;
    let position = step.start + t;
    let source = t * QKV_STRIDE + head * DIM + i;
    let low = qkv[source];
    let high = qkv[source + half];
    let turn = angles[position * half + i];
    let turned = vec2<f32>(low * turn.x - high * turn.y, high * turn.x + low * turn.y);
    if (head < HEADS) {
        let at = (t * HEADS + head) * DIM_STRIDE + i;
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
