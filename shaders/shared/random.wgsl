// Random numbers that are pure functions of where they are used. Twin: kernels/random.rs
fn pcg(v: u32) -> u32 {
    let state = v * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

fn draw(a: u32, b: u32, c: u32, d: u32) -> u32 {
    return pcg(d + drawn_with(a, b, c));
}

// What all draws with the same a, b and c have in common.
fn drawn_with(a: u32, b: u32, c: u32) -> u32 {
    return pcg(c + pcg(b + pcg(a)));
}

// Uniform in [0, 1).
fn fraction(a: u32, b: u32, c: u32, d: u32) -> f32 {
    return f32(draw(a, b, c, d) >> 8u) / 16777216.0;
}

// Standard normal (Box and Muller 1958).
fn normal(seed: u32, layer: u32, position: u32, e: u32) -> f32 {
    let u1 = f32((draw(seed, layer, position, 2u * e) >> 8u) + 1u) / 16777216.0;
    let u2 = fraction(seed, layer, position, 2u * e + 1u);
    return sqrt(-2.0 * log(u1)) * cosine_of_turns(u2);
}

// cos(2 pi u) for u in [0, 1), as the sine's series over a quarter turn either way: WGSL's own cos may be off by 2^-11.
fn cosine_of_turns(u: f32) -> f32 {
    let x = 6.2831855 * (abs(u - 0.5) - 0.25);
    let x2 = x * x;
    return x * (1.0 - x2 / 6.0 * (1.0 - x2 / 20.0 * (1.0 - x2 / 42.0 * (1.0 - x2 / 72.0 * (1.0 - x2 / 110.0)))));
}
