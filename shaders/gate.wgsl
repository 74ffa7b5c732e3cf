// The router and its gate, one workgroup for each token: router_logits = x W^T + bias, then the choice of experts and
// their weights (shared/choose.wgsl). Shared experts follow with weight 1. Twin: kernels/gate.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                   // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;                // [ROUTER_ROWS, D] in panels
@group(0) @binding(3) var<storage, read> vectors: array<f32>;                   // [3 E], see shared/choose.wgsl
@group(0) @binding(4) var<storage, read> policy: array<u32>;                    // see shared/choose.wgsl
@group(0) @binding(5) var<storage, read> ids: array<u32>;                       // [T]
@group(0) @binding(6) var<storage, read_write> router_logits: array<f32>;       // [T, ROUTER_ROWS]
@group(0) @binding(7) var<storage, read_write> selected: array<u32>;            // [T, TOP_K + SHARED]
@group(0) @binding(8) var<storage, read_write> route_weights: array<f32>;       // [T, TOP_K + SHARED]

override GROUPS: u32;                 // D / 4, rounded up

fn is_full(expert: u32) -> bool {
    return false;
}

// LANES rows at a time, with the columns of each row in SPLITS parts, whose sums are added in a fixed order: 16 and 4,
// or 1 and 1 for the form without barriers.
override LANES: u32;
override SPLITS: u32;
var<workgroup> partial_sums: array<f32, 64>;

fn meet() {
    if (LANES > 1u) {
        workgroupBarrier();
    }
}

const INVOCATIONS = 64u;
var<workgroup> places: array<u32, INVOCATIONS>;

// The maximum of the invocations' values, or their sum.
fn reduce(value: f32, lane: u32, is_sum: bool) -> f32 {
    meet();
    partial_sums[lane] = value;
    meet();
    for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let own = partial_sums[lane];
            let other = partial_sums[lane + half];
            partial_sums[lane] = select(max(own, other), own + other, is_sum);
        }
        meet();
    }
    return partial_sums[0];
}

// As `choose`, with all invocations: each handles every 64th expert.
fn choose_together(t: u32, lane: u32) {
    find_setting(t);
    let at = t * (TOP_K + SHARED);
    if (KIND == SOFTMAX_BIAS || (KIND == SOFTMAX && (RENORMALISE == 0u || EPSILON > 0.0 || LEAST_SUM > 1e-37))) {
        var largest = LOWEST;
        for (var expert = lane; expert < EXPERTS; expert += INVOCATIONS) {
            largest = max(largest, logit_of(expert));
        }
        largest = reduce(largest, lane, false);
        var total = 0.0;
        for (var expert = lane; expert < EXPERTS; expert += INVOCATIONS) {
            total += exp(logit_of(expert) - largest);
        }
        normaliser = vec2<f32>(largest, reduce(total, lane, true));
    }
    for (var expert = lane; expert < EXPERTS; expert += INVOCATIONS) {
        keys[expert] = max(key(expert), LOWEST);
    }
    if (GROUP_SCORE > 0u) {
        meet();
        for (var group = lane; group < LIMIT_GROUPS; group += INVOCATIONS) {
            score_group(group);
        }
        meet();
        if (lane == 0u) {
            take_groups();
        }
        meet();
        for (var expert = lane; expert < EXPERTS; expert += INVOCATIONS) {
            close_outside(expert);
        }
    }
    for (var choice = 0u; choice < TOP_K; choice++) {
        meet();
        var best = CLOSED;
        var place = NONE;
        for (var expert = lane; expert < EXPERTS; expert += INVOCATIONS) {
            if (keys[expert] > best) {
                best = keys[expert];
                place = expert;
            }
        }
        take_together(at + choice, best, place, lane);
    }
    if (lane == 0u) {
        weigh(at, TOP_K);
        scale_and_rename(at, TOP_K);
        sort_by_weight(at, TOP_K);
    }
}

// Writes the expert with the largest of the keys that the invocations found (the lowest id of several), and closes it.
fn take_together(choice: u32, best: f32, place: u32, lane: u32) {
    partial_sums[lane] = best;
    places[lane] = place;
    meet();
    for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = lane + half;
            let is_equal = partial_sums[other] == partial_sums[lane] && places[other] < places[lane];
            if (partial_sums[other] > partial_sums[lane] || is_equal) {
                partial_sums[lane] = partial_sums[other];
                places[lane] = places[other];
            }
        }
        meet();
    }
    if (lane == 0u) {
        selected[choice] = places[0];
        if (places[0] != NONE) {
            keys[places[0]] = CLOSED;
        }
    }
}

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let t = group.x;
    for (var first = 0u; first < ROUTER_ROWS; first += LANES) {
        let row = first + local.x;
        var sum = 0.0;
        for (var g = local.y; g < GROUPS; g += SPLITS) {
            sum += dot(weight4(panel_index(row, g, GROUPS)), x[t * GROUPS + g]);
        }
        meet(); // The sums of the previous rows have been read.
        partial_sums[local.y * LANES + local.x] = sum;
        meet();
        if (local.y == 0u && row < ROUTER_ROWS) {
            var logit = 0.0;
            for (var s = 0u; s < SPLITS; s++) {
                logit += partial_sums[s * LANES + local.x];
            }
            if (row < EXPERTS) {
                logit += vectors[EXPERTS + row];
            }
            scores[row] = logit;
            router_logits[t * ROUTER_ROWS + row] = logit;
        }
    }
    meet();
    let lane = local.y * LANES + local.x;
    // With the model's own gate all invocations choose together, in the form with more than one.
    if (LANES > 1u && POLICY == 0u && KIND != BY_GROUP) {
        choose_together(t, lane);
    } else if (lane == 0u) {
        choose(t);
    }
    if (lane == 0u) {
        let shared_choices = t * (TOP_K + SHARED) + TOP_K;
        for (var n = 0u; n < SHARED; n++) {
            selected[shared_choices + n] = EXPERTS + n;
            route_weights[shared_choices + n] = 1.0;
        }
    }
}
