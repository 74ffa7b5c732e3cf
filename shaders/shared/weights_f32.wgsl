// Weights as f32: four numbers are four words.
alias Packed = vec4<f32>;
fn weight4(at: u32) -> vec4<f32> {
    let packed = weights[at];
    return packed;
}
