// Weights in the format Q6_K: 256 numbers of 6 bits; 16 share a scale (shape/blocks.rs).
// Sixteen rows by 256 columns are 840 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 10u) * 840u;
    let row = at & 15u;
    let g = (at >> 4u) & 7u;
    let part = chunk + 8u + ((at >> 7u) & 7u) * 104u;
    let small = weights[part + (row & 7u)] >> (row / 8u * 16u);
    let word = weights[part + 40u + (g >> 1u) * 16u + row] >> ((g & 1u) * 16u);
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let above = weights[part + 8u + (g >> 2u) * 16u + row] >> ((g & 3u) * 8u);
    let high = (vec4<u32>(above) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    // A signed byte for each 16 columns.
    let scale = (bitcast<i32>(small) << (24u - 8u * (g >> 2u))) >> 24u;
    return half_of(chunk, row) * f32(scale) * (vec4<f32>(codes + 16u * high) - 32.0);
}

// The half of `row` among the eight words from `at` on, which each have two rows.
fn half_of(at: u32, row: u32) -> f32 {
    let both = unpack2x16float(weights[at + (row & 7u)]);
    return select(both.x, both.y, row > 7u);
}
