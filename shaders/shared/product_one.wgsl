// A panel of weights times one row of x: for decoding, where reading the weights is the work.
// A workgroup has 16 lanes, a row each, times HEIGHT splits of the columns; the splits are added up in a
// fixed order. The kernel says which row of x by `x_row(first, i)`.
const TILE = 1u;
const PANELS_PER_WORKGROUP = 1u;
const HEIGHT = 4u;
alias Sums = f32;
var<workgroup> partial_sums: array<f32, ROWS * HEIGHT>;

// Sums of this lane's row over all columns; `base` is the panel's first word. All invocations must call it.
fn product(base: u32, groups: u32, lane: u32, split: u32, first: u32) -> Sums {
    let row = x_row(first, 0u);
    var four = vec4<f32>();
    for (var g = split; g < groups; g += HEIGHT) {
        four += unpack4(weights[base + g * ROWS + lane]) * x[row + g];
    }
    workgroupBarrier(); // The sums of an earlier product have been read.
    partial_sums[split * ROWS + lane] = (four.x + four.y) + (four.z + four.w);
    workgroupBarrier();
    var sum = 0.0;
    for (var s = 0u; s < HEIGHT; s++) {
        sum += partial_sums[s * ROWS + lane];
    }
    return sum;
}

fn sum_of(sums: Sums, i: u32) -> f32 {
    return sums;
}

fn panel_of(workgroup: u32, y: u32) -> u32 {
    return workgroup;
}

// Whether this invocation holds sums that no other does.
fn writes(y: u32) -> bool {
    return y == 0u;
}
