// The states of a state-space mixer; an invocation computes one number of a head for all tokens.
// Twin: kernels/scan.rs
@group(0) @binding(1) var<storage, read> x: array<f32>;                 // [T, X_STRIDE]: x, b, c
@group(0) @binding(2) var<storage, read> projected: array<f32>;         // [T, ROW]: step sizes from OFFSET on
@group(0) @binding(3) var<storage, read> step_bias: array<f32>;         // [HEADS]
@group(0) @binding(4) var<storage, read> decay: array<f32>;             // [HEADS]
@group(0) @binding(5) var<storage, read> skip: array<f32>;              // [HEADS]
@group(0) @binding(6) var<storage, read_write> state: array<f32>;       // [STATE, INNER]
@group(0) @binding(7) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override HEAD_DIM: u32;
override INNER: u32;          // heads * HEAD_DIM
override STATE: u32;          // N, numbers of b and of c
override X_STRIDE: u32;       // numbers from one token's row of x to the next
override ROW: u32;            // numbers from one token's row of projected to the next
override OFFSET: u32;
override STRIDE: u32;         // INNER, rounded up to a multiple of 4

// ln(1 + e^x), which is x itself for large x. For small e^x, by ln(1 + u) = u ln(1 + u) / ((1 + u) - 1).
fn softplus(x: f32) -> f32 {
    if (x > 20.0) {
        return x;
    }
    let u = exp(x);
    let sum = 1.0 + u;
    return select(log(sum) * (u / (sum - 1.0)), u, sum == 1.0);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i >= INNER) {
        return;
    }
    let head = i / HEAD_DIM;
    for (var t = 0u; t < step.count; t++) {
        let size = softplus(projected[t * ROW + OFFSET + head] + step_bias[head]);
        let kept = exp(-size * exp(decay[head]));
        let input = x[t * X_STRIDE + i];
        let b = t * X_STRIDE + INNER;
        var sum = skip[head] * input;
        for (var n = 0u; n < STATE; n++) {
            let before = select(state[n * INNER + i], 0.0, step.start + t == 0u);
            let now = before * kept + size * input * x[b + n];
            state[n * INNER + i] = now;
            sum += now * x[b + STATE + n];
        }
        y[t * STRIDE + i] = sum;
    }
}
