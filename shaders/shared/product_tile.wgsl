// A panel of weights times eight rows of x: for prefill, where each weight read serves eight tokens.
// A workgroup has 16 lanes, a row each, times HEIGHT panels. The kernel says which rows of x by
// `x_row(first, i)`.
const TILE = 8u;
const HEIGHT = 4u;
struct Sums {
    low: vec4<f32>,   // rows 0 to 3 of x
    high: vec4<f32>,  // rows 4 to 7
}

// Sums of this lane's row over all columns; `base` is the panel's first word.
fn product(base: u32, groups: u32, lane: u32, y: u32, first: u32) -> Sums {
    let r0 = x_row(first, 0u);
    let r1 = x_row(first, 1u);
    let r2 = x_row(first, 2u);
    let r3 = x_row(first, 3u);
    let r4 = x_row(first, 4u);
    let r5 = x_row(first, 5u);
    let r6 = x_row(first, 6u);
    let r7 = x_row(first, 7u);
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var g = 0u; g < groups; g++) {
        let w = unpack4(weights[base + g * ROWS + lane]);
        // w * matrix = the dot products of w with its columns.
        low += w * mat4x4<f32>(x[r0 + g], x[r1 + g], x[r2 + g], x[r3 + g]);
        high += w * mat4x4<f32>(x[r4 + g], x[r5 + g], x[r6 + g], x[r7 + g]);
    }
    return Sums(low, high);
}

fn sum_of(sums: Sums, i: u32) -> f32 {
    if (i < 4u) {
        return sums.low[i];
    }
    return sums.high[i - 4u];
}

fn panel_of(workgroup: u32, y: u32) -> u32 {
    return workgroup * HEIGHT + y;
}

// Whether this invocation holds sums that no other does.
fn writes(y: u32) -> bool {
    return true;
}
