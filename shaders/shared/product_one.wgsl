// The product of panels of weights and one row of x, for decoding, where reading the weights takes most of the time. A
// workgroup has 16 lanes, one for each row of its four panels, times HEIGHT parts of the columns, whose sums are added
// up in a fixed order. The kernel defines `x_row(first, i)`, which row of x to use, and `put(panel, lane, first, a,
// b)`, which gets the sums of two panels at a time.
const TILE = 1u;
override HEIGHT: u32;         // at most 4
const PANELS = 4u;
alias Sums = f32;
var<workgroup> partial_sums: array<vec4<f32>, ROWS * 4u>;   // a component each panel

// Computes the products with the `panels` panels of the matrix that starts at the word `base`. All invocations must
// call it.
fn product(base: u32, panels: u32, groups: u32, workgroup: u32, local: vec3<u32>, first: u32, count: u32) {
    let row = x_row(first, 0u);
    let words = groups * ROWS;
    let start = base + workgroup * PANELS * words + local.x;
    var sums = vec4<f32>();
    for (var g = local.y; g < groups; g += HEIGHT) {
        let four = x[row + g];
        let at = start + g * ROWS;
        // Sums of panels beyond the last one are not used.
        sums += vec4<f32>(
            dot(weight4(at), four),
            dot(weight4(at + words), four),
            dot(weight4(at + 2u * words), four),
            dot(weight4(at + 3u * words), four),
        );
    }
    partial_sums[local.y * ROWS + local.x] = sums;
    workgroupBarrier();
    for (var pair = local.y; pair < PANELS / 2u; pair += HEIGHT) {
        let panel = workgroup * PANELS + 2u * pair;
        var both = vec2<f32>();
        for (var s = 0u; s < HEIGHT; s++) {
            let part = partial_sums[s * ROWS + local.x];
            both += select(part.xy, part.zw, pair == 1u);
        }
        if (panel < panels) {
            put(panel, local.x, first, both.x, both.y);
        }
    }
}

fn sum_of(sums: Sums, i: u32) -> f32 {
    return sums;
}
