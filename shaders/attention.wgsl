// Causal attention over the cache: out = softmax(SCALE * q K^T) V. A workgroup computes one head of one token,
// and its lanes share the work; or of TOKENS tokens, four per lane, without barriers. Blocks of 64 positions with a
// running maximum and sum (online softmax: Milakov, Gimelshein 2018). Twin: kernels/attention.rs
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;           // [T, HEADS, DIM_GROUPS]
@group(0) @binding(2) var<storage, read> keys: array<vec4<f32>>;        // [context, KV_HEADS, DIM_GROUPS]
@group(0) @binding(3) var<storage, read> values: array<vec4<f32>>;      // [context, KV_HEADS, VALUE_GROUPS]
@group(0) @binding(4) var<storage, read> sinks: array<f32>;             // [HEADS], where SINKS is set
@group(0) @binding(5) var<storage, read_write> out: array<f32>;         // [T, STRIDE]

override HEADS: u32;
override KV_HEADS: u32;
override DIM_GROUPS: u32;     // width of a query / 4, rounded up
override VALUE_DIM: u32;      // width of a value
override VALUE_GROUPS: u32;   // VALUE_DIM / 4, rounded up
override SCALE: f32;
override SINKS: bool;         // each head has a logit that belongs to no position
override STRIDE: u32;
override WINDOW: u32;         // a token attends to itself and at most WINDOW - 1 before it
override TOKENS: u32;         // of a workgroup: 1, or 256

const LANES = 64u;
const BLOCK = 64u;            // positions at a time, one per lane
var<workgroup> block: array<f32, BLOCK>;

fn put(row: u32, group: u32, four: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        let d = group * 4u + i;
        if (d < VALUE_DIM) {
            out[row + d] = four[i];
        }
    }
}

fn got(row: u32, group: u32) -> vec4<f32> {
    var four = vec4<f32>();
    for (var i = 0u; i < 4u && group * 4u + i < VALUE_DIM; i++) {
        four[i] = out[row + group * 4u + i];
    }
    return four;
}

// One lane computes four tokens from t on, which share its loads. Each column of a matrix belongs to one token.
fn four(head: u32, t: u32) {
    let kv_head = head / (HEADS / KV_HEADS);
    let token = min(vec4<u32>(t, t + 1u, t + 2u, t + 3u), vec4<u32>(step.count - 1u));
    let query = (token * HEADS + head) * DIM_GROUPS;
    let end = step.start + token + 1u;
    let begin = end - min(end, vec4<u32>(WINDOW));
    var largest = vec4<f32>(NONE);
    var total = vec4<f32>();
    if (SINKS) {
        largest = vec4<f32>(sinks[head]);
        total = vec4<f32>(1.0);
    }
    var weights: array<mat4x4<f32>, BLOCK / 4u>;
    for (var first = begin.x; first < end.w; first += BLOCK) {
        let seen = min(BLOCK, end.w - first);
        let before = largest;
        for (var j = 0u; j < seen; j += 4u) {
            let at = four_rows(first + j, end.w - 1u, kv_head, DIM_GROUPS);
            var scores = mat4x4<f32>();
            for (var g = 0u; g < DIM_GROUPS; g++) {
                let of_keys = mat4x4<f32>(keys[at.x + g], keys[at.y + g], keys[at.z + g], keys[at.w + g]);
                let of_q = mat4x4<f32>(q[query.x + g], q[query.y + g], q[query.z + g], q[query.w + g]);
                scores += transpose(of_keys) * of_q;
            }
            let a = score(scores[0], first + j, begin.x, end.x);
            let b = score(scores[1], first + j, begin.y, end.y);
            let c = score(scores[2], first + j, begin.z, end.z);
            let d = score(scores[3], first + j, begin.w, end.w);
            largest = max(largest, vec4<f32>(most(a), most(b), most(c), most(d)));
            weights[j / 4u] = mat4x4<f32>(a, b, c, d);
        }
        let shrink = exp(before - largest);
        total *= shrink;
        for (var j = 0u; j < seen; j += 4u) {
            let scores = weights[j / 4u];
            let now = mat4x4<f32>(
                exp(scores[0] - largest.x),
                exp(scores[1] - largest.y),
                exp(scores[2] - largest.z),
                exp(scores[3] - largest.w),
            );
            total += vec4<f32>(1.0) * now;
            weights[j / 4u] = now;
        }
        for (var g = 0u; g < VALUE_GROUPS; g++) {
            var sum = mat4x4<f32>();
            for (var j = 0u; j < seen; j += 4u) {
                let at = four_rows(first + j, end.w - 1u, kv_head, VALUE_GROUPS);
                let of_values = mat4x4<f32>(values[at.x + g], values[at.y + g], values[at.z + g], values[at.w + g]);
                sum += of_values * weights[j / 4u];
            }
            // The output holds the sum so far.
            for (var i = 0u; i < 4u && t + i < step.count; i++) {
                let row = (t + i) * STRIDE + head * VALUE_DIM;
                var four = sum[i];
                if (first > begin.x) {
                    four += shrink[i] * got(row, g);
                }
                if (first + BLOCK >= end.w) {
                    four /= total[i];
                }
                put(row, g, four);
            }
        }
    }
}

// The score of a position that a token does not attend to: its weight becomes 0.
const NONE = -3.4e38;

// Where the rows of four positions from `first` on start; positions after `last`, which no token sees, are replaced
// by it.
fn four_rows(first: u32, last: u32, kv_head: u32, groups: u32) -> vec4<u32> {
    let position = min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(last));
    return (position * KV_HEADS + kv_head) * groups;
}

// The scores of four positions from `first` on for a token that sees those from `begin` to before `end`.
fn score(products: vec4<f32>, first: u32, begin: u32, end: u32) -> vec4<f32> {
    let position = vec4<u32>(first, first + 1u, first + 2u, first + 3u);
    let sees = (position >= vec4<u32>(begin)) & (position < vec4<u32>(end));
    return select(vec4<f32>(NONE), products * SCALE, sees);
}

fn most(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    if (TOKENS > 1u) {
        let t = group.y * TOKENS + 4u * lane;
        if (t < step.count) {
            four(head, t);
        }
        return;
    }
    // A lane sums one group of the values. A head wider than the lanes (VALUE_DIM > 256) is summed in several rounds.
    for (var round = 0u; round < VALUE_GROUPS; round += LANES) {
        one(head, group.y, lane, round);
    }
}

// The groups from `round` on, as many as there are lanes, of one head of the token at index t.
fn one(head: u32, t: u32, lane: u32, round: u32) {
    let sum_group = round + lane;
    let kv_head = head / (HEADS / KV_HEADS);
    let query = (t * HEADS + head) * DIM_GROUPS;
    let end = step.start + t + 1u;
    let begin = end - min(end, WINDOW);
    var largest = NONE;
    var total = 0.0;
    if (SINKS) {
        largest = sinks[head];
        total = 1.0;
    }
    var sum = vec4<f32>();
    for (var first = begin; first < end; first += BLOCK) {
        let seen = min(BLOCK, end - first);
        if (lane < seen) {
            let key = ((first + lane) * KV_HEADS + kv_head) * DIM_GROUPS;
            var score = 0.0;
            for (var g = 0u; g < DIM_GROUPS; g++) {
                score += dot(q[query + g], keys[key + g]);
            }
            block[lane] = score * SCALE;
        }
        workgroupBarrier();
        // Lanes beyond the head's width only compute scores.
        if (sum_group < VALUE_GROUPS) {
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
                sum += weight * values[((first + j) * KV_HEADS + kv_head) * VALUE_GROUPS + sum_group];
            }
        }
        if (first + BLOCK < end || round + LANES < VALUE_GROUPS) {
            workgroupBarrier(); // The block has been read.
        }
    }
    put(t * STRIDE + head * VALUE_DIM, sum_group, sum / total);
}
