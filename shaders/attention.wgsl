// Causal attention over the cache: out = softmax(q K^T / sqrt(DIM)) V. A workgroup has a head and a token, its lanes share
// the work; or TOKENS tokens, and every lane has one for itself, so that none waits for another.
// Blocks of 64 positions with a running maximum and sum (online softmax: Milakov, Gimelshein 2018).
// Twin: kernels/attention.rs
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;           // [T, HEADS, DIM_GROUPS]
@group(0) @binding(2) var<storage, read> keys: array<vec4<f32>>;        // [context, KV_HEADS, DIM_GROUPS]
@group(0) @binding(3) var<storage, read> values: array<vec4<f32>>;      // [context, KV_HEADS, DIM_GROUPS]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;         // [T, STRIDE]

override HEADS: u32;
override KV_HEADS: u32;
override DIM: u32;
override DIM_GROUPS: u32;     // DIM / 4, rounded up; at most 64
override STRIDE: u32;
override WINDOW: u32;         // a token sees itself and at most WINDOW - 1 before it
override TOKENS: u32;         // of a workgroup: 1, or 64

const BLOCK = 64u;
var<workgroup> block: array<f32, BLOCK>;

fn put(row: u32, group: u32, four: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        let d = group * 4u + i;
        if (d < DIM) {
            out[row + d] = four[i];
        }
    }
}

// One token by one lane.
fn alone(head: u32, t: u32) {
    let kv_head = head / (HEADS / KV_HEADS);
    let query = (t * HEADS + head) * DIM_GROUPS;
    let end = step.start + t + 1u;
    var largest = -3.4e38;
    var total = 0.0;
    var sums: array<vec4<f32>, 64>;
    var weights: array<f32, BLOCK>;
    for (var first = end - min(end, WINDOW); first < end; first += BLOCK) {
        let seen = min(BLOCK, end - first);
        let before = largest;
        for (var j = 0u; j < seen; j++) {
            let key = ((first + j) * KV_HEADS + kv_head) * DIM_GROUPS;
            var score = 0.0;
            for (var g = 0u; g < DIM_GROUPS; g++) {
                score += dot(q[query + g], keys[key + g]);
            }
            weights[j] = score * inverseSqrt(f32(DIM));
            largest = max(largest, weights[j]);
        }
        let shrink = exp(before - largest);
        total *= shrink;
        for (var j = 0u; j < seen; j++) {
            weights[j] = exp(weights[j] - largest);
            total += weights[j];
        }
        for (var g = 0u; g < DIM_GROUPS; g++) {
            var sum = sums[g] * shrink;
            for (var j = 0u; j < seen; j++) {
                sum += weights[j] * values[((first + j) * KV_HEADS + kv_head) * DIM_GROUPS + g];
            }
            sums[g] = sum;
        }
    }
    for (var g = 0u; g < DIM_GROUPS; g++) {
        put(t * STRIDE + head * DIM, g, sums[g] / total);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    if (TOKENS > 1u) {
        if (group.y * TOKENS + lane < step.count) {
            alone(head, group.y * TOKENS + lane);
        }
        return;
    }
    let t = group.y;
    let kv_head = head / (HEADS / KV_HEADS);
    let query = (t * HEADS + head) * DIM_GROUPS;
    let end = step.start + t + 1u;
    let begin = end - min(end, WINDOW);
    var largest = -3.4e38;
    var total = 0.0;
    var sum = vec4<f32>();
    for (var first = begin; first < end; first += BLOCK) {
        let seen = min(BLOCK, end - first);
        if (lane < seen) {
            let key = ((first + lane) * KV_HEADS + kv_head) * DIM_GROUPS;
            var score = 0.0;
            for (var g = 0u; g < DIM_GROUPS; g++) {
                score += dot(q[query + g], keys[key + g]);
            }
            block[lane] = score * inverseSqrt(f32(DIM));
        }
        workgroupBarrier();
        // The others have no part of the values.
        if (lane < DIM_GROUPS) {
            var now_largest = largest;
            for (var j = 0u; j < seen; j++) {
                now_largest = max(now_largest, block[j]);
            }
            let shrink = exp(largest - now_largest);
            largest = now_largest;
            total *= shrink;
            sum *= shrink;
            for (var j = 0u; j < seen; j++) {
                let weight = exp(block[j] - largest);
                total += weight;
                sum += weight * values[((first + j) * KV_HEADS + kv_head) * DIM_GROUPS + lane];
            }
        }
        if (first + BLOCK < end) {
            workgroupBarrier(); // The block has been read.
        }
    }
    put(t * STRIDE + head * DIM, lane, sum / total);
}
