// Copies heads of a product's rows to where attention reads them, one number per invocation; numbers FIRST to
// FIRST + 2 PAIRS of a head are rotated by their position. Twin: kernels/copy_heads.rs
@group(0) @binding(1) var<storage, read> x: array<f32>;                 // [T, ROW]
@group(0) @binding(2) var<storage, read> angles: array<vec2<f32>>;      // [context, PAIRS]: (cos, sin)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;           // [T or context, TO_ROW]: heads of TO_STRIDE

override ROW: u32;            // numbers from one token's row of x to the next
override OFFSET: u32;         // where the first head begins in a row
override HEAD_STRIDE: u32;    // numbers from one head to the next; 0 where all heads get the same
override HEADS: u32;
override DIM: u32;            // numbers of a head that are copied
override FIRST: u32;
override PAIRS: u32;
override INTERLEAVED: bool;   // the pairs are 2i and 2i + 1; otherwise i and i + PAIRS
override AT: u32;             // first number within a head of y
override TO_STRIDE: u32;      // numbers from one head of y to the next
override TO_ROW: u32;         // numbers from one row of y to the next
override CACHE: bool;         // rows of y are positions of the text; otherwise tokens of the step

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x / (HEADS * DIM);
    if (t >= step.count) {
        return;
    }
    let head = id.x / DIM % HEADS;
    let i = id.x % DIM;
    let first_number = t * ROW + OFFSET + head * HEAD_STRIDE;
    var number = x[first_number + i];
    if (i >= FIRST && i < FIRST + 2u * PAIRS) {
        var pair = (i - FIRST) / 2u;
        var is_low = (i - FIRST) % 2u == 0u;
        var other = select(i - 1u, i + 1u, is_low);
        if (!INTERLEAVED) {
            is_low = i - FIRST < PAIRS;
            pair = (i - FIRST) % max(PAIRS, 1u);
            other = select(i - PAIRS, i + PAIRS, is_low);
        }
        let turn = angles[(step.start + t) * PAIRS + pair];
        number = number * turn.x + select(turn.y, -turn.y, is_low) * x[first_number + other];
    }
    let row = t + select(0u, step.start, CACHE);
    y[row * TO_ROW + head * TO_STRIDE + AT + i] = number;
}
