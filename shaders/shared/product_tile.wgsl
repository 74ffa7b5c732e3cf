// The product of panels of weights and eight rows of x, for prefill: each weight that is read is used for eight
// tokens, and each number of x for eight panels. A workgroup has 16 lanes, one for each row of a panel, times HEIGHT
// sets of eight panels. The kernel defines `x_row(first, i)`, which rows of x to use, and `put(panel, lane, first, a,
// b)`, which gets the sums of two panels at a time.
const TILE = 8u;
const HEIGHT = 4u;
const SET = 8u;
struct Sums {
    low: vec4<f32>,   // rows 0 to 3 of x
    high: vec4<f32>,  // rows 4 to 7
}

// Computes the products with the `panels` panels of the matrix that starts at the word `base`.
fn product(base: u32, panels: u32, groups: u32, workgroup: u32, local: vec3<u32>, first: u32, count: u32) {
    let panel = (workgroup * HEIGHT + local.y) * SET;
    if (panel >= panels) {
        return;
    }
    let words = groups * ROWS;
    let start = base + panel * words + local.x;
    let r0 = x_row(first, 0u);
    let r1 = x_row(first, 1u);
    let r2 = x_row(first, 2u);
    let r3 = x_row(first, 3u);
    let r4 = x_row(first, 4u);
    let r5 = x_row(first, 5u);
    let r6 = x_row(first, 6u);
    let r7 = x_row(first, 7u);
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    var s4 = Sums();
    var s5 = Sums();
    var s6 = Sums();
    var s7 = Sums();
    for (var g = 0u; g < groups; g++) {
        let low = mat4x4<f32>(x[r0 + g], x[r1 + g], x[r2 + g], x[r3 + g]);
        let high = mat4x4<f32>(x[r4 + g], x[r5 + g], x[r6 + g], x[r7 + g]);
        let at = start + g * ROWS;
        // Sums of panels beyond the last one are not used.
        let w0 = weight4(at);
        let w1 = weight4(at + words);
        let w2 = weight4(at + 2u * words);
        let w3 = weight4(at + 3u * words);
        let w4 = weight4(at + 4u * words);
        let w5 = weight4(at + 5u * words);
        let w6 = weight4(at + 6u * words);
        let w7 = weight4(at + 7u * words);
        // w * matrix = the dot products of w with the matrix's columns.
        s0 = Sums(s0.low + w0 * low, s0.high + w0 * high);
        s1 = Sums(s1.low + w1 * low, s1.high + w1 * high);
        s2 = Sums(s2.low + w2 * low, s2.high + w2 * high);
        s3 = Sums(s3.low + w3 * low, s3.high + w3 * high);
        s4 = Sums(s4.low + w4 * low, s4.high + w4 * high);
        s5 = Sums(s5.low + w5 * low, s5.high + w5 * high);
        s6 = Sums(s6.low + w6 * low, s6.high + w6 * high);
        s7 = Sums(s7.low + w7 * low, s7.high + w7 * high);
    }
    put(panel, local.x, first, s0, s1);
    put(panel + 2u, local.x, first, s2, s3);
    put(panel + 4u, local.x, first, s4, s5);
    put(panel + 6u, local.x, first, s6, s7);
}

fn sum_of(sums: Sums, i: u32) -> f32 {
    if (i < 4u) {
        return sums.low[i];
    }
    return sums.high[i - 4u];
}
