// Random numbers as pure functions of a key. Twin: kernels/random.rs
fn pcg(v: u32) -> u32 {
    let state = v * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

fn draw(a: u32, b: u32, c: u32, d: u32) -> u32 {
    return pcg(d + drawn_with(a, b, c));
}

// The part of `draw` that depends only on a, b and c.
fn drawn_with(a: u32, b: u32, c: u32) -> u32 {
    return pcg(c + pcg(b + pcg(a)));
}

// A uniform number in [0, 1).
fn fraction(a: u32, b: u32, c: u32, d: u32) -> f32 {
    return f32(draw(a, b, c, d) >> 8u) / 16777216.0;
}

// A standard normal number (Box and Muller 1958).
fn normal(seed: u32, layer: u32, position: u32, e: u32) -> f32 {
    let u1 = f32((draw(seed, layer, position, 2u * e) >> 8u) + 1u) / 16777216.0;
    let u2 = fraction(seed, layer, position, 2u * e + 1u);
    return sqrt(-2.0 * log(u1)) * cosine_of_turns(u2);
}

// cos(2 pi u) for u in [0, 1), from the sine's series over a quarter turn, because WGSL allows an error of 2^-11 in
// cos.
fn cosine_of_turns(u: f32) -> f32 {
    let x = 6.2831855 * (abs(u - 0.5) - 0.25);
    let x2 = x * x;
    return x * (1.0 - x2 / 6.0 * (1.0 - x2 / 20.0 * (1.0 - x2 / 42.0 * (1.0 - x2 / 72.0 * (1.0 - x2 / 110.0)))));
}
