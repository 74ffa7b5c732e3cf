// ids[0] = the token with the largest logit + temperature * Gumbel noise, a draw from softmax(logits / temperature).
// One workgroup. Twin: kernels/sample.rs
@group(0) @binding(1) var<storage, read> logits: array<f32>;            // [T - from, V]: the last row counts
@group(0) @binding(2) var<storage, read> sampling: array<u32>;          // temperature, seed's lower and upper half
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;         // [1]

override VOCABULARY: u32;     // V
override LANES: u32;          // at most 256
var<workgroup> scores: array<f32, 256>;
var<workgroup> tokens: array<u32, 256>;

// -ln(-ln(1 - v)) for v in (0, 1). Small v use a series, because WGSL allows an error of 2^-21 in their logarithm.
fn gumbel(word: u32) -> f32 {
    let v = (f32(word >> 9u) + 0.5) / 8388608.0;
    if (v < 0.03125) {
        return -log(v * (1.0 + v * (0.5 + v * (1.0 / 3.0 + v * (0.25 + v * 0.2)))));
    }
    return -log(-log(1.0 - v));
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    let row = (step.count - step.logits_from - 1u) * VOCABULARY;
    let temperature = bitcast<f32>(sampling[0]);
    let key = drawn_with(sampling[1], sampling[2], step.start + step.count);
    var best = -3.4e38;
    var token = 0u;
    for (var id = lane; id < VOCABULARY; id += LANES) {
        var score = logits[row + id];
        if (temperature > 0.0) {
            score += temperature * gumbel(pcg(id + key));
        }
        if (score > best) {
            best = score;
            token = id;
        }
    }
    scores[lane] = best;
    tokens[lane] = token;
    workgroupBarrier();
    if (lane > 0u) {
        return;
    }
    for (var i = 1u; i < LANES; i++) {
        // The first of equal ones wins.
        if (scores[i] > best || (scores[i] == best && tokens[i] < token)) {
            best = scores[i];
            token = tokens[i];
        }
    }
    ids[0] = token;
}
