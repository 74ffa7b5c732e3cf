// Weights in the format Q8_0: 32 numbers of 8 bits and a scale (shape/blocks.rs).
// Sixteen rows by 32 columns are 136 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 7u) * 136u;
    let word = bitcast<i32>(weights[chunk + 8u + (at & 127u)]);
    let codes = (vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
    return half_of(chunk, at & 15u) * vec4<f32>(codes);
}

// The half of `row` among the eight words from `at` on, which each have two rows.
fn half_of(at: u32, row: u32) -> f32 {
    let both = unpack2x16float(weights[at + (row & 7u)]);
    return select(both.x, both.y, row > 7u);
}
