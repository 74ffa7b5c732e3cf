//! `a * b + c` on vectors, from which all products are made.

use wide::f32x8;

/// `a * b + c` for each element. In a browser with relaxed SIMD (<https://github.com/WebAssembly/relaxed-simd>) this
/// is one instruction, with one rounding where the CPU has a fused multiply-add; elsewhere it is two instructions and
/// two roundings.
#[cfg(not(all(target_arch = "wasm32", target_feature = "relaxed-simd")))]
#[inline(always)]
pub fn madd(a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
    a.mul_add(b, c)
}

/// `a * b + c` for each element: one instruction, with one rounding where the CPU has a fused multiply-add.
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
#[inline(always)]
pub fn madd(a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
    use core::arch::wasm32::{f32x4_relaxed_madd, v128};
    let [[a0, a1], [b0, b1], [c0, c1]] = [a, b, c].map(bytemuck::cast::<f32x8, [v128; 2]>);
    bytemuck::cast([f32x4_relaxed_madd(a0, b0, c0), f32x4_relaxed_madd(a1, b1, c1)])
}
