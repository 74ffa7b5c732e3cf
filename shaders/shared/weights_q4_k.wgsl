// Weights in the format Q4_K: 256 numbers of 4 bits; 32 share a scale and an offset (shape/blocks.rs).
// Sixteen rows by 256 columns are 592 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 10u) * 592u;
    let row = at & 15u;
    let g = (at >> 4u) & 7u;
    let part = chunk + 16u + ((at >> 7u) & 7u) * 72u;
    let small = weights[part + (row & 7u)] >> (row / 8u * 16u);
    let word = weights[part + 8u + (g >> 1u) * 16u + row] >> ((g & 1u) * 16u);
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let scale = half_of(chunk, row) * f32(small & 255u);
    let min = half_of(chunk + 8u, row) * f32((small >> 8u) & 255u);
    return scale * vec4<f32>(codes) - min;
}

// The half of `row` among the eight words from `at` on, which each have two rows.
fn half_of(at: u32, row: u32) -> f32 {
    let both = unpack2x16float(weights[at + (row & 7u)]);
    return select(both.x, both.y, row > 7u);
}
