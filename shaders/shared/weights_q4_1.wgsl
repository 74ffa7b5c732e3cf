// Weights in the format Q4_1: 32 numbers of 4 bits, a scale and an offset (shape/blocks.rs).
// Sixteen rows by 32 columns are 80 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 7u) * 80u;
    let row = at & 15u;
    let g = (at >> 4u) & 7u;
    let word = weights[chunk + 16u + (g >> 1u) * 16u + row] >> ((g & 1u) * 16u);
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    return half_of(chunk, row) * vec4<f32>(codes) + half_of(chunk + 8u, row);
}

// The half of `row` among the eight words from `at` on, which each have two rows.
fn half_of(at: u32, row: u32) -> f32 {
    let both = unpack2x16float(weights[at + (row & 7u)]);
    return select(both.x, both.y, row > 7u);
}
