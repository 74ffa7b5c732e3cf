// The convolution of a state-space mixer, and SiLU; an invocation computes one channel for all tokens.
// Twin: kernels/convolve_silu.rs
@group(0) @binding(1) var<storage, read> x: array<f32>;                 // [T, ROW]
@group(0) @binding(2) var<storage, read> kernel: array<f32>;            // [C, POSITIONS]; the token's own last
@group(0) @binding(3) var<storage, read> bias: array<f32>;              // [C], where BIAS is set
@group(0) @binding(4) var<storage, read_write> tail: array<f32>;        // [POSITIONS - 1, C]: inputs before this step
@group(0) @binding(5) var<storage, read_write> y: array<f32>;           // [T, STRIDE]

override ROW: u32;
override OFFSET: u32;         // where the channels begin in a row
override CHANNELS: u32;       // C
override STRIDE: u32;         // C, rounded up to a multiple of 4
override POSITIONS: u32;
override BIAS: bool;

// Number n of a channel's inputs: those of the tail, then those of this step.
fn input(n: u32, channel: u32) -> f32 {
    if (n < POSITIONS - 1u) {
        return select(tail[n * CHANNELS + channel], 0.0, step.start == 0u);
    }
    return x[(n + 1u - POSITIONS) * ROW + OFFSET + channel];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channel = id.x;
    if (channel >= CHANNELS) {
        return;
    }
    for (var t = 0u; t < step.count; t++) {
        var sum = 0.0;
        for (var j = 0u; j < POSITIONS; j++) {
            sum += kernel[channel * POSITIONS + j] * input(t + j, channel);
        }
        if (BIAS) {
            sum += bias[channel];
        }
        y[t * STRIDE + channel] = sum / (1.0 + exp(-sum));
    }
    for (var n = 0u; n + 1u < POSITIONS; n++) {
        tail[n * CHANNELS + channel] = input(step.count + n, channel);
    }
}
