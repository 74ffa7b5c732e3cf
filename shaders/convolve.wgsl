// A gated causal convolution, one invocation per dimension: of the parts b, c, x of a row
// y = c * (bias + sum_j kernel_j * (b * x at the position j before)). Twin: kernels/convolve.rs
@group(0) @binding(1) var<storage, read> parts: array<f32>;             // [T, ROW]: b, c, x of D numbers each
@group(0) @binding(2) var<storage, read> kernel: array<f32>;            // [D, POSITIONS]; the token's own last
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [D], where BIAS is set
@group(0) @binding(4) var<storage, read_write> inputs: array<f32>;      // [context, STRIDE]: b * x of the text
@group(0) @binding(5) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override WIDTH: u32;          // D
override ROW: u32;            // 3 D, rounded up to a multiple of 4
override STRIDE: u32;         // D, rounded up to a multiple of 4
override POSITIONS: u32;
override BIAS: bool;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / WIDTH;
    if (t >= step.count) {
        return;
    }
    let d = id.x % WIDTH;
    let position = step.start + t;
    var sum = 0.0;
    for (var before = min(POSITIONS - 1u, position) + 1u; before > 0u; before--) {
        let back = before - 1u;
        var input = 0.0;
        if (back <= t) {
            // From this step: computed here, because other invocations may not have written it yet.
            let row = (t - back) * ROW;
            input = parts[row + d] * parts[row + 2u * WIDTH + d];
        } else {
            input = inputs[(position - back) * STRIDE + d];
        }
        sum += kernel[(d + 1u) * POSITIONS - 1u - back] * input;
    }
    if (BIAS) {
        sum += bias[d];
    }
    let row = t * ROW;
    inputs[position * STRIDE + d] = parts[row + d] * parts[row + 2u * WIDTH + d];
    y[t * STRIDE + d] = parts[row + WIDTH + d] * sum;
}
