//! What one thread of this machine can do at most in this browser, by loops that do nothing else, compiled as the engine is:
//! the limits that the race's figures are held against.

#[path = "../../../src/kernels/madd.rs"]
mod madd;

use madd::madd;
use std::hint::black_box;
use wide::f32x8;

/// Numbers read at once: enough additions under way that none waits for another.
const STREAMS: usize = 4;

/// Independent sums: as many registers as a tile of the engine's has, enough to hide the latency of an addition.
const SUMS: usize = 4;

/// Other factors, one a round, in the nearest cache: a product that is the same in every round would be made once, before the loop.
const COLUMNS: usize = 64;

/// Multiply-adds of a round of [`multiply_add`].
const A_ROUND: usize = SUMS * 8;

/// A block of memory that is too large for any cache.
pub struct Block(Vec<f32x8>);

/// Makes a block of so many MiB.
#[unsafe(no_mangle)]
pub extern "C" fn make_block(mebibytes: usize) -> *mut Block {
    let numbers = (mebibytes << 20) / size_of::<f32x8>();
    Box::into_raw(Box::new(Block((0..numbers).map(|n| f32x8::splat((n % 7) as f32)).collect())))
}

/// Reads a block from end to end once, in order, and gives the sum, so that nothing is left out.
///
/// # Safety
/// `block` is what [`make_block`] gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read_block(block: *const Block) -> f32 {
    // SAFETY: the caller's promise; a block is never freed.
    let block = unsafe { &*block };
    let mut sums = [f32x8::ZERO; STREAMS];
    for numbers in block.0.as_chunks::<STREAMS>().0 {
        for (sum, &number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    sums.into_iter().map(|sum| sum.reduce_add()).sum()
}

/// Does `rounds` rounds of multiply-adds, 32 each, and gives their sum.
#[unsafe(no_mangle)]
pub extern "C" fn multiply_add(rounds: usize) -> f32 {
    let factors = black_box([0.999; SUMS]).map(f32x8::splat);
    let (columns, mut sums) = (black_box([f32x8::splat(0.001); COLUMNS]), black_box([f32x8::ONE; SUMS]));
    for round in 0..rounds {
        for (sum, factor) in sums.iter_mut().zip(factors) {
            *sum = madd(factor, columns[round % COLUMNS], *sum);
        }
    }
    sums.into_iter().map(|sum| sum.reduce_add()).sum()
}

/// Multiply-adds of a round.
#[unsafe(no_mangle)]
pub extern "C" fn multiply_adds_of_a_round() -> usize {
    A_ROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_counted_is_done() {
        // A MiB is 2^15 times eight numbers n % 7.
        let expected: f64 = (0..1 << 15).map(|n| f64::from(n % 7) * 8.0).sum();
        // SAFETY: the block was just made.
        let sum = unsafe { read_block(make_block(1)) };
        assert!((f64::from(sum) / expected - 1.0).abs() < 1e-3, "{sum} {expected}");
        let rounds = 1000;
        let expected = multiply_adds_of_a_round() as f32 * (1.0 + rounds as f32 * 0.000_999);
        assert!((multiply_add(rounds) / expected - 1.0).abs() < 1e-3);
    }
}
