// The router and its gate, a workgroup a token: router_logits = x W^T, then the TOP_K largest (ties by
// lower id) and the softmax over them. Twin: kernels/gate.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                   // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;                // [E, D] in panels
@group(0) @binding(3) var<storage, read_write> router_logits: array<f32>;       // [T, E]
@group(0) @binding(4) var<storage, read_write> selected: array<u32>;            // [T, TOP_K]
@group(0) @binding(5) var<storage, read_write> route_weights: array<f32>;       // [T, TOP_K]

override GROUPS: u32;         // D / 4, rounded up
override EXPERTS: u32;
override TOP_K: u32;

var<workgroup> scores: array<f32, EXPERTS>;

fn x_row(first: u32, i: u32) -> u32 {
    return first * GROUPS;
}

@compute @workgroup_size(16, HEIGHT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let t = group.x;
    for (var panel = 0u; panel * ROWS < EXPERTS; panel++) {
        let sum = product(panel * GROUPS * ROWS, GROUPS, local.x, local.y, t);
        let expert = panel * ROWS + local.x;
        if (expert < EXPERTS && writes(local.y)) {
            scores[expert] = sum;
            router_logits[t * EXPERTS + expert] = sum;
        }
    }
    workgroupBarrier();
    if (local.x == 0u && local.y == 0u) {
        choose(t * TOP_K);
    }
}

// The choices follow each other in the order of (falling score, rising id).
fn choose(at: u32) {
    var last = 3.4e38;
    var last_expert = 0u;
    var total = 0.0;
    var largest = 0.0;
    for (var choice = 0u; choice < TOP_K; choice++) {
        var best = -3.4e38;
        var best_expert = 0u;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            let score = scores[expert];
            let after = choice == 0u || score < last || (score == last && expert > last_expert);
            if (after && score > best) {
                best = score;
                best_expert = expert;
            }
        }
        if (choice == 0u) {
            largest = best;
        }
        last = best;
        last_expert = best_expert;
        let weight = exp(best - largest);
        total += weight;
        selected[at + choice] = best_expert;
        route_weights[at + choice] = weight;
    }
    for (var choice = 0u; choice < TOP_K; choice++) {
        route_weights[at + choice] /= total;
    }
}
