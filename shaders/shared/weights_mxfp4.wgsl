// Weights in the format MXFP4: 32 floats of 4 bits and a power of two (shape/blocks.rs).
// Sixteen rows by 32 columns are 72 words, which kernels/blocks.rs describes.
// Four numbers by the index of their group (panels.wgsl).
alias Packed = u32;
fn weight4(at: u32) -> vec4<f32> {
    let chunk = (at >> 7u) * 72u;
    let row = at & 15u;
    let g = (at >> 4u) & 7u;
    let word = weights[chunk + 8u + (g >> 1u) * 16u + row] >> ((g & 1u) * 16u);
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    // Twice the numbers: 0, 1, 2, 3, 4, 6, 8, 12.
    let sizes = vec4<i32>(codes & vec4<u32>(7u));
    let twice = max(sizes, max(2 * sizes - 4, 4 * sizes - 16));
    let signed = select(twice, -twice, codes > vec4<u32>(7u));
    let both = weights[chunk + (row & 7u)];
    let scale = bitcast<f32>(select(both << 16u, both & 0xffff0000u, row > 7u));
    return scale * vec4<f32>(signed);
}
