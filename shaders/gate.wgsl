// The router and its gate, a workgroup a token: router_logits = x W^T, then the choice of TOP_K experts and their
// weights; shared experts follow with weight 1. Kinds, maths, sources: docs/model-format.md.
// Twin: kernels/gate.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                   // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;                // [E + G, D] in panels
@group(0) @binding(3) var<storage, read> bias: array<f32>;                      // [E]
@group(0) @binding(4) var<storage, read_write> router_logits: array<f32>;       // [T, E + G]
@group(0) @binding(5) var<storage, read_write> selected: array<u32>;            // [T, TOP_K + SHARED]
@group(0) @binding(6) var<storage, read_write> route_weights: array<f32>;       // [T, TOP_K + SHARED]

override GROUPS: u32;                 // D / 4, rounded up
override EXPERTS: u32;                // E
override EXPERT_GROUPS: u32;          // G; 0 where the gate is not hierarchical
override GROUPS_PER_TOKEN: u32;
override TOP_K: u32;
override SHARED: u32;
override KIND: u32;
override SCALE: f32;

const SOFTMAX_TOP_K = 0u;
const TOP_K_OF_SOFTMAX = 1u;
const HIERARCHICAL = 2u;
const SIGMOID_BIAS = 3u;

const LOWEST = -3.4e38;

// Rows of the router: those of the experts, then those of the groups.
override ROUTER_ROWS: u32;
var<workgroup> scores: array<f32, ROUTER_ROWS>;

fn x_row(first: u32, i: u32) -> u32 {
    return first * GROUPS;
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let t = group.x;
    for (var panel = 0u; panel * ROWS < ROUTER_ROWS; panel++) {
        let sum = product(panel * GROUPS * ROWS, GROUPS, local.x, local.y, t);
        let row = panel * ROWS + local.x;
        if (row < ROUTER_ROWS && writes(local.y)) {
            scores[row] = sum;
            router_logits[t * ROUTER_ROWS + row] = sum;
        }
    }
    workgroupBarrier();
    if (local.x == 0u && local.y == 0u) {
        choose(t * (TOP_K + SHARED));
    }
}

fn choose(at: u32) {
    if (KIND == HIERARCHICAL) {
        choose_by_group(at);
        sort_by_weight(at, TOP_K);
    } else {
        choose_largest(0u, EXPERTS, at, TOP_K);
        if (KIND == SIGMOID_BIAS) {
            share_of_sigmoids(at);
            sort_by_weight(at, TOP_K);
        } else {
            softmax(at, TOP_K, KIND == TOP_K_OF_SOFTMAX);
        }
    }
    for (var n = 0u; n < SHARED; n++) {
        selected[at + TOP_K + n] = EXPERTS + n;
        route_weights[at + TOP_K + n] = 1.0;
    }
}

// What experts (and, from EXPERTS on, groups) are ranked by.
fn key(candidate: u32) -> f32 {
    if (KIND == SIGMOID_BIAS) {
        return sigmoid(scores[candidate]) + bias[candidate];
    }
    return scores[candidate];
}

// Writes the `count` candidates of first .. end with the largest keys to `selected` from `at` on, in the order of
// (falling key, rising id).
fn choose_largest(first: u32, end: u32, at: u32, count: u32) {
    var last = 3.4e38;
    var last_id = 0u;
    for (var choice = 0u; choice < count; choice++) {
        var best = LOWEST;
        var best_id = first;
        for (var candidate = first; candidate < end; candidate++) {
            let its = key(candidate);
            let after = choice == 0u || its < last || (its == last && candidate > last_id);
            if (after && its > best) {
                best = its;
                best_id = candidate;
            }
        }
        last = best;
        last_id = best_id;
        selected[at + choice] = best_id;
    }
}

// Weights of the `count` candidates selected from `at` on, the largest first: softmax over them, or their share
// of the softmax over all experts.
fn softmax(at: u32, count: u32, over_all: bool) {
    let largest = scores[selected[at]];
    var total = 0.0;
    if (over_all) {
        for (var expert = 0u; expert < EXPERTS; expert++) {
            total += exp(scores[expert] - largest);
        }
    }
    for (var choice = 0u; choice < count; choice++) {
        let weight = exp(scores[selected[at + choice]] - largest);
        route_weights[at + choice] = weight;
        if (!over_all) {
            total += weight;
        }
    }
    for (var choice = 0u; choice < count; choice++) {
        route_weights[at + choice] /= total;
    }
}

fn share_of_sigmoids(at: u32) {
    var total = 0.0;
    for (var choice = 0u; choice < TOP_K; choice++) {
        total += sigmoid(scores[selected[at + choice]]);
    }
    for (var choice = 0u; choice < TOP_K; choice++) {
        route_weights[at + choice] = sigmoid(scores[selected[at + choice]]) / total * SCALE;
    }
}

// The largest groups, and in each its largest experts. The groups stand at the end of the room for the experts
// until their place is needed.
fn choose_by_group(at: u32) {
    let size = EXPERTS / max(EXPERT_GROUPS, 1u);
    let each = TOP_K / GROUPS_PER_TOKEN;
    let first_group = at + TOP_K - GROUPS_PER_TOKEN;
    choose_largest(EXPERTS, EXPERTS + EXPERT_GROUPS, first_group, GROUPS_PER_TOKEN);
    softmax(first_group, GROUPS_PER_TOKEN, false);
    for (var n = 0u; n < GROUPS_PER_TOKEN; n++) {
        let group = selected[first_group + n] - EXPERTS;
        let group_weight = route_weights[first_group + n];
        choose_largest(group * size, (group + 1u) * size, at + n * each, each);
        softmax(at + n * each, each, false);
        for (var i = 0u; i < each; i++) {
            route_weights[at + n * each + i] *= group_weight;
        }
    }
}

// By falling weight, ties by lower id (insertion sort: few choices).
fn sort_by_weight(at: u32, count: u32) {
    for (var end = 1u; end < count; end++) {
        let id = selected[at + end];
        let weight = route_weights[at + end];
        var place = end;
        while (place > 0u) {
            let other = route_weights[at + place - 1u];
            if (weight < other || (weight == other && id > selected[at + place - 1u])) {
                break;
            }
            selected[at + place] = selected[at + place - 1u];
            route_weights[at + place] = other;
            place--;
        }
        selected[at + place] = id;
        route_weights[at + place] = weight;
    }
}

fn sigmoid(value: f32) -> f32 {
    return 1.0 / (1.0 + exp(-value));
}
