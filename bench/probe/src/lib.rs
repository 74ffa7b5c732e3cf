//! The most reads and multiply-adds a second of one thread in a browser, by loops that do nothing else.
//! They are compiled as the engine is, and the race compares its figures with them.

#[path = "../../../src/kernels/madd.rs"]
mod madd;

use madd::madd;
use std::hint::black_box;
use wide::f32x8;

/// Independent sums while reading, so that no addition waits for the one before it.
const STREAMS: usize = 4;

/// Independent sums of [`multiply_add`]: as many as a tile of the engine has, enough to hide the latency of an
/// addition.
const SUMS: usize = 4;

/// Different factors, one for each round, in the nearest cache. A compiler would compute a product that is the same in
/// every round once, before the loop.
const COLUMNS: usize = 64;

/// Multiply-adds of a round of [`multiply_add`].
const A_ROUND: usize = SUMS * 8;

/// A block of memory that is too large for any cache.
pub struct Block(Vec<f32x8>);

/// Allocates and fills a block of `mebibytes` MiB, which is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn make_block(mebibytes: usize) -> *mut Block {
    let numbers = (mebibytes << 20) / size_of::<f32x8>();
    Box::into_raw(Box::new(Block((0..numbers).map(|n| f32x8::splat((n % 7) as f32)).collect())))
}

/// Reads a block once, in order, and returns the sum of its numbers, so that no read can be optimised away.
///
/// # Safety
/// `block` must come from [`make_block`].
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

/// Does `rounds` rounds of 32 multiply-adds and returns their sum.
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
