//! Handwritten digits of 8 x 8 pixels, and the same on a larger canvas at a known shift (`learn/data/`).

use crate::affine::largest;
use crate::error::{Error, Result};
use crate::random::hash;

/// Pixels of a digit's side.
pub const SIDE: usize = 8;
/// Pixels of the canvas's side.
pub const CANVAS: usize = 12;
/// Pixels of the canvas.
pub const PIXELS: usize = CANVAS * CANVAS;
/// Classes.
pub const CLASSES: usize = 10;
/// Shifts in each direction; the shifts are this many pixels apart.
pub const SHIFTS: usize = 3;
const APART: usize = (CANVAS - SIDE) / (SHIFTS - 1);
/// How many places a digit can have on the canvas: `SHIFTS` columns in `SHIFTS` rows.
pub const PLACES: usize = SHIFTS * SHIFTS;
/// The brightest pixel of the file.
const BRIGHTEST: u8 = 16;

/// The digits of a file.
#[derive(Clone, Debug)]
pub struct Digits {
    classes: Vec<u8>,
    /// Pixels from 0 to 1, digits x 64.
    pixels: Vec<f32>,
}

impl Digits {
    /// Reads `digits.bin`.
    ///
    /// # Errors
    /// A file of another length, classes above 9 or pixels above 16, and fewer than 100 digits.
    pub fn read(file: &[u8]) -> Result<Self> {
        let refuse = |why: String| Err(Error::Input(format!("the file of digits {why}; take learn/data/digits.bin")));
        let row = 1 + SIDE * SIDE;
        let Some((count, rows)) = file.split_first_chunk::<4>() else {
            return refuse(format!("has {} bytes", file.len()));
        };
        let count = u32::from_le_bytes(*count) as usize;
        if count.checked_mul(row) != Some(rows.len()) {
            return refuse(format!("has {} bytes but says that it holds {count} digits", file.len()));
        }
        if count < 100 {
            return refuse(format!("holds {count} digits; a lab needs at least 100"));
        }
        let bad = |r: &[u8]| r[0] as usize >= CLASSES || r[1..].iter().any(|&p| p > BRIGHTEST);
        if let Some(i) = rows.chunks_exact(row).position(bad) {
            return refuse(format!("has a class above 9 or a pixel above {BRIGHTEST} in digit {i}"));
        }
        let pixels = rows.chunks_exact(row).flat_map(|r| &r[1..]).map(|&p| f32::from(p) / f32::from(BRIGHTEST));
        Ok(Self { classes: rows.chunks_exact(row).map(|r| r[0]).collect(), pixels: pixels.collect() })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.classes.len()
    }

    /// The class of a digit.
    pub fn class(&self, digit: usize) -> usize {
        self.classes[digit].into()
    }

    /// Draws a digit on an empty canvas (`PIXELS` numbers) at one of the `PLACES`.
    pub fn draw(&self, digit: usize, place: usize, canvas: &mut [f32]) {
        canvas.fill(0.0);
        let (left, top) = (place % SHIFTS * APART, place / SHIFTS * APART);
        for y in 0..SIDE {
            let row = &self.pixels[digit * SIDE * SIDE + y * SIDE..][..SIDE];
            canvas[(top + y) * CANVAS + left..][..SIDE].copy_from_slice(row);
        }
    }

    /// Training and held-out digits: the last fifth of the file is held out, in which the people are others for the
    /// most part.
    pub fn parts(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let cut = self.count() * 4 / 5;
        (0..cut, cut..self.count())
    }

    /// A batch of training digits on canvases, drawn by the seed and the step: canvases x `PIXELS`, and classes.
    pub fn batch(&self, seed: u64, step: usize, size: usize, canvases: &mut Vec<f32>, classes: &mut Vec<usize>) {
        canvases.resize(size * PIXELS, 0.0);
        classes.clear();
        let train = self.parts().0.len() as u64;
        for (i, canvas) in canvases.chunks_exact_mut(PIXELS).enumerate() {
            let draw = hash(seed, (step * size + i) as u64);
            let digit = (draw % train) as usize;
            self.draw(digit, (draw / train % PLACES as u64) as usize, canvas);
            classes.push(self.class(digit));
        }
    }

    /// The first `most` held-out digits, each at every place: canvases, classes and places.
    pub fn held_out(&self, most: usize) -> HeldOut {
        let digits = self.parts().1.take(most);
        let rows: Vec<(usize, usize)> = digits.flat_map(|d| (0..PLACES).map(move |p| (d, p))).collect();
        let mut canvases = vec![0.0; rows.len() * PIXELS];
        rows.iter().zip(canvases.chunks_exact_mut(PIXELS)).for_each(|(&(d, p), canvas)| self.draw(d, p, canvas));
        let classes = rows.iter().map(|&(d, _)| self.class(d)).collect();
        HeldOut { canvases, classes, places: rows.iter().map(|&(_, p)| p).collect() }
    }
}

/// Held-out digits on canvases.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// Rows of `PIXELS` numbers.
    pub canvases: Vec<f32>,
    /// The class of each row.
    pub classes: Vec<usize>,
    /// The place of each row's digit on the canvas.
    pub places: Vec<usize>,
}

impl HeldOut {
    /// The share of the rows whose largest logit is that of their class; `logits` are rows x `CLASSES`.
    pub fn accuracy(&self, logits: &[f32]) -> f32 {
        let rows = logits.chunks_exact(CLASSES).zip(&self.classes);
        rows.filter(|(row, class)| largest(row) == **class).count() as f32 / self.classes.len() as f32
    }
}
