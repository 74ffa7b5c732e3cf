// Settles what a gate cannot decide token by token: expert choice, and the capacities of experts (docs/gates.md). One
// workgroup. Twin: kernels/settle.rs
@group(0) @binding(1) var<storage, read> router_logits: array<f32>;             // [T, ROUTER_ROWS]
@group(0) @binding(2) var<storage, read> vectors: array<f32>;                   // [3 E], see shared/choose.wgsl
@group(0) @binding(3) var<storage, read> policy: array<u32>;                    // see shared/choose.wgsl
@group(0) @binding(4) var<storage, read> ids: array<u32>;                       // [T]
@group(0) @binding(5) var<storage, read_write> history: array<u32>;             // [context, TOP_K]
@group(0) @binding(6) var<storage, read_write> dropped: array<u32>;             // [T, TOP_K + SHARED]
@group(0) @binding(7) var<storage, read_write> selected: array<u32>;            // [T, TOP_K + SHARED]
@group(0) @binding(8) var<storage, read_write> route_weights: array<f32>;       // [T, TOP_K + SHARED]

// The model's own capacity, where there is no policy; 0 for none.
override CAPACITY: u32;
override CONTEXT: u32;

const LANES = 64u;                    // and the most tokens of a step
const GROUP = 64u;                    // tokens in which experts choose

// The assignments of each expert in the current token's window, and the capacity there.
var<workgroup> counts: array<u32, EXPERTS>;
var<private> most: u32;
// The affinity of every token with one expert; below 0 where the token does not have the expert as a candidate.
var<workgroup> offers: array<f32, LANES>;

fn is_full(expert: u32) -> bool {
    return counts[expert] >= most;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < step.count * (TOP_K + SHARED); i += LANES) {
        dropped[i] = 0u;
    }
    if (POLICY == 1u) {
        experts_choose(lane);
    }
    storageBarrier();
    workgroupBarrier();
    if (lane == 0u) {
        keep_limits();
    }
}

// Each expert in turn takes the tokens with the largest affinity, which the gate wrote as weights. Lane t has token t.
fn experts_choose(lane: u32) {
    let choices = TOP_K + SHARED;
    let present = lane < step.count;
    var chooses = false;
    if (present) {
        find_setting(lane);
        chooses = kind() == EXPERTS_CHOOSE;
    }
    let factor = bitcast<f32>(policy[setting + 11u]);
    for (var expert = 0u; expert < EXPERTS; expert++) {
        var place = TOP_K;
        if (chooses) {
            for (var choice = 0u; choice < TOP_K; choice++) {
                if (selected[lane * choices + choice] == expert) {
                    place = choice;
                }
            }
        }
        var offer = -1.0;
        if (chooses) {
            offer = 0.0;
        }
        if (place < TOP_K) {
            offer = route_weights[lane * choices + place];
        }
        offers[lane] = offer;
        workgroupBarrier();
        if (place < TOP_K) {
            var others = 0u;
            var before = 0u;
            for (var other = 0u; other < step.count; other++) {
                if (offers[other] >= 0.0 && (step.start + other) / GROUP == position / GROUP) {
                    others++;
                    before += u32(offers[other] > offer || (offers[other] == offer && other < lane));
                }
            }
            if (before >= u32(ceil(factor * (f32(others * top_k()) / f32(EXPERTS))))) {
                // Only marked here; removed from the row below, when all experts have chosen.
                dropped[lane * choices + place] = 1u;
            }
        }
        workgroupBarrier();
    }
    if (chooses) {
        settle_row(lane * choices);
    }
}

// Removes the choices of a row that no expert took. Divides the weights of the others by their sum where they are
// renormalised, and renames the experts.
fn settle_row(at: u32) {
    var total = 0.0;
    for (var choice = at; choice < at + TOP_K; choice++) {
        if (dropped[choice] == 1u || selected[choice] == NONE) {
            dropped[choice] = 0u;
            selected[choice] = NONE;
            route_weights[choice] = 0.0;
        }
        total += route_weights[choice];
    }
    total = select(1.0, max(total, least_sum()), renormalises());
    for (var choice = at; choice < at + TOP_K; choice++) {
        let expert = selected[choice];
        if (expert != NONE) {
            route_weights[choice] *= own_scale(expert) / total;
            selected[choice] = renamed(expert);
        }
    }
    sort_by_weight(at, TOP_K);
}

// Goes through the tokens in the order of the text; an expert that is full takes no more tokens.
fn keep_limits() {
    var counted = NONE;
    for (var t = 0u; t < step.count; t++) {
        find_setting(t);
        most = CAPACITY;
        var group = CONTEXT;
        var next_best = false;
        if (POLICY == 1u) {
            most = policy[setting + 7u];
            group = policy[setting + 8u] & 0x7fffffffu;
            next_best = policy[setting + 8u] >> 31u == 1u;
        }
        let at = t * (TOP_K + SHARED);
        if (most > 0u) {
            let first = position / group * group;
            if (counted != first) {
                count_before(first);
                counted = first;
            }
            if (next_best) {
                for (var row = 0u; row < ROUTER_ROWS; row++) {
                    scores[row] = router_logits[t * ROUTER_ROWS + row];
                }
                choose(t);
            } else {
                drop_overflow(at);
            }
        }
        for (var choice = 0u; choice < TOP_K; choice++) {
            var expert = selected[at + choice];
            if (dropped[at + choice] == 1u) {
                expert = NONE;
            }
            history[position * TOP_K + choice] = expert;
            if (expert != NONE) {
                counts[expert]++;
            }
        }
    }
}

fn count_before(first: u32) {
    for (var expert = 0u; expert < EXPERTS; expert++) {
        counts[expert] = 0u;
    }
    for (var i = first * TOP_K; i < position * TOP_K; i++) {
        if (history[i] != NONE) {
            counts[history[i]]++;
        }
    }
}

fn drop_overflow(at: u32) {
    for (var choice = 0u; choice < TOP_K; choice++) {
        let expert = selected[at + choice];
        if (expert != NONE && is_full(expert)) {
            dropped[at + choice] = 1u;
            route_weights[at + choice] = 0.0;
        }
    }
}
