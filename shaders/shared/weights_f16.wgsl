// Weights as IEEE half: four numbers are two words. `unpack2x16float` needs no `shader-f16`.
alias Packed = vec2<u32>;
fn weight4(at: u32) -> vec4<f32> {
    let packed = weights[at];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
