// Weights in the format Q5_K: 256 numbers of 5 bits; 32 share a scale and an offset (shape/blocks.rs).
// Sixteen rows by 256 columns are 720 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 10u) * 720u;
    let row = at & 15u;
    let g = (at >> 4u) & 7u;
    let part = chunk + 16u + ((at >> 7u) & 7u) * 88u;
    let small = weights[part + (row & 7u)] >> (row / 8u * 16u);
    let word = weights[part + 24u + (g >> 1u) * 16u + row] >> ((g & 1u) * 16u);
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let above = weights[part + 8u + row] >> (4u * g);
    let fifths = (vec4<u32>(above) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
    let scale = half_of(chunk, row) * f32(small & 255u);
    let min = half_of(chunk + 8u, row) * f32((small >> 8u) & 255u);
    return scale * vec4<f32>(codes + 16u * fifths) - min;
}

// The half of `row` among the eight words from `at` on, which each have two rows.
fn half_of(at: u32, row: u32) -> f32 {
    let both = unpack2x16float(weights[at + (row & 7u)]);
    return select(both.x, both.y, row > 7u);
}
