//! Rotary angles of every position, computed once on the CPU: `sin` of WGSL is not accurate enough.

use crate::shape::Rope;

/// `(cos, sin)` of every angle, `[context, dim / 2]`, multiplied by what queries and keys are multiplied by.
pub fn angles(context: usize, rope: &Rope) -> Vec<[f32; 2]> {
    let (frequencies, factor) = (rope.frequencies(), rope.attention());
    let of_position = |position: usize| {
        frequencies.iter().map(move |frequency| {
            let angle = position as f32 * frequency;
            [factor * angle.cos(), factor * angle.sin()]
        })
    };
    (0..context).flat_map(of_position).collect()
}
