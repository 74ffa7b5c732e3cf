// Weights as f32: four numbers are four words.
alias Packed = vec4<f32>;
fn unpack4(packed: Packed) -> vec4<f32> {
    return packed;
}
