// The router and its gate, a workgroup a token: router_logits = x W^T + bias, then the choice of experts and their weights
// (shared/choose.wgsl); shared experts follow with weight 1. Twin: kernels/gate.rs
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

// LANES rows at a time, the columns of each in SPLITS parts, which are added up in a fixed order: 16 and 4; or 1 and
// 1, where no barrier is wanted.
override LANES: u32;
override SPLITS: u32;
var<workgroup> partial_sums: array<f32, 64>;

fn meet() {
    if (LANES > 1u) {
        workgroupBarrier();
    }
}

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let t = group.x;
    for (var first = 0u; first < ROUTER_ROWS; first += LANES) {
        let row = first + local.x;
        var sum = 0.0;
        for (var g = local.y; g < GROUPS; g += SPLITS) {
            sum += dot(unpack4(weights[panel_index(row, g, GROUPS)]), x[t * GROUPS + g]);
        }
        meet(); // The sums of the rows before have been read.
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
    if (local.x == 0u && local.y == 0u) {
        choose(t);
        let shared_choices = t * (TOP_K + SHARED) + TOP_K;
        for (var n = 0u; n < SHARED; n++) {
            selected[shared_choices + n] = EXPERTS + n;
            route_weights[shared_choices + n] = 1.0;
        }
    }
}
