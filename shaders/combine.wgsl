// x[t] += sum_c route_weights[t][c] * y[t * CHOICES + c]: gathers per token in the order of the choices, so
// that no float atomics are needed and every run gives the same bits. Twin: kernels/combine.rs
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;               // [T * CHOICES, D]
@group(0) @binding(2) var<storage, read> route_weights: array<f32>;         // [T, CHOICES]
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;         // [T, D]

override GROUPS: u32;         // D / 4, rounded up
override CHOICES: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / GROUPS;
    if (t >= step.count) {
        return;
    }
    var sum = x[id.x];
    for (var choice = 0u; choice < CHOICES; choice++) {
        let assignment = t * CHOICES + choice;
        // What was dropped has weight 0, and in y whatever was there before.
        if (route_weights[assignment] != 0.0) {
            sum += route_weights[assignment] * y[assignment * GROUPS + id.x % GROUPS];
        }
    }
    x[id.x] = sum;
}
