// x[t] = SCALE * weights[ids[t]]: the token embeddings. Twin: kernels/embed.rs
@group(0) @binding(1) var<storage, read> ids: array<u32>;               // [T]
@group(0) @binding(2) var<storage, read> weights: array<Packed>;        // [V, D] in panels
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;     // [T, D]

override GROUPS: u32; // D / 4, rounded up
override SCALE: f32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / GROUPS;
    if (t >= step.count) {
        return;
    }
    x[id.x] = SCALE * weight4(panel_index(ids[t], id.x % GROUPS, GROUPS));
}
