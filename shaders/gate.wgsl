// The router and its gate, a workgroup a token: router_logits = x W^T, then the choice of experts and their weights
// (shared/choose.wgsl); shared experts follow with weight 1. Twin: kernels/gate.rs
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                   // [T, D]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;                // [ROUTER_ROWS, D] in panels
@group(0) @binding(3) var<storage, read> bias: array<f32>;                      // [E]
@group(0) @binding(4) var<storage, read> policy: array<u32>;                    // see shared/choose.wgsl
@group(0) @binding(5) var<storage, read> ids: array<u32>;                       // [T]
@group(0) @binding(6) var<storage, read_write> router_logits: array<f32>;       // [T, ROUTER_ROWS]
@group(0) @binding(7) var<storage, read_write> selected: array<u32>;            // [T, TOP_K + SHARED]
@group(0) @binding(8) var<storage, read_write> route_weights: array<f32>;       // [T, TOP_K + SHARED]

override GROUPS: u32;                 // D / 4, rounded up

fn x_row(first: u32, i: u32) -> u32 {
    return first * GROUPS;
}

fn is_full(expert: u32) -> bool {
    return false;
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
        choose(t);
        let shared_choices = t * (TOP_K + SHARED) + TOP_K;
        for (var n = 0u; n < SHARED; n++) {
            selected[shared_choices + n] = EXPERTS + n;
            route_weights[shared_choices + n] = 1.0;
        }
    }
}
