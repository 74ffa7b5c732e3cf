// Weights as bf16: the upper half of an f32. Four numbers are two words, the first in the low half.
alias Packed = vec2<u32>;
fn weight4(at: u32) -> vec4<f32> {
    let packed = weights[at];
    return vec4<f32>(
        bitcast<f32>(packed.x << 16u), bitcast<f32>(packed.x & 0xffff0000u),
        bitcast<f32>(packed.y << 16u), bitcast<f32>(packed.y & 0xffff0000u),
    );
}
