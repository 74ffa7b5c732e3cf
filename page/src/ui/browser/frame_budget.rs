//! The frame budget: how much is drawn between two paintings without a delay that the visitor notices. What exceeds it
//! waits for the next frame. The strip's parts and the cards share the budget.

use crate::ui::browser::canvas::{painting_ms, paintings};
use gloo::utils::document;
use std::cell::RefCell;

/// The budget of a frame before anything has been measured, its minimum and its maximum, in work units: 8 units are the
/// rendering of one new token in the strip.
const A_PAINTING: usize = 400;
const LEAST: usize = 100;
const MOST: usize = 600;

/// The target time of a frame: less than half of the 50 ms that a visitor notices, as the rest of the page draws too.
const PAINTING_MS: f64 = 20.0;

thread_local! {
    static PACE: RefCell<Pace> = const { RefCell::new(Pace { bearable: A_PAINTING, left: 0, painting: None }) };
}

struct Pace {
    /// Work units that a frame has time for, as measured in the last frames.
    bearable: usize,
    /// Work units left before the next paint, and the number of the paint to which they belong.
    left: usize,
    painting: Option<usize>,
}

/// Whether there is budget left before the next paint.
pub fn has_time() -> bool {
    PACE.with_borrow_mut(Pace::left) > 0
}

/// Spends `work` units of the budget of this frame.
pub fn spend(work: usize) {
    PACE.with_borrow_mut(|pace| pace.left = pace.left().saturating_sub(work));
}

/// The number of frames that have budget for `work` units.
pub fn paintings_for(work: usize) -> usize {
    PACE.with_borrow(|pace| work.div_ceil(pace.bearable))
}

impl Pace {
    fn left(&mut self) -> usize {
        let painting = Some(paintings());
        if document().hidden() {
            // A page in the background has no paints.
            (self.left, self.painting) = (usize::MAX, None);
        } else if self.painting != painting {
            if self.painting.is_some() {
                self.learn(self.bearable - self.left, painting_ms());
            }
            (self.left, self.painting) = (self.bearable, painting);
        }
        self.left
    }

    /// Adjusts the budget after a frame with `work` units that took `ms` milliseconds.
    fn learn(&mut self, work: usize, ms: f64) {
        // A frame with little work mostly measures the rest of the page.
        if work >= LEAST / 2 {
            let bearable = work as f64 * PAINTING_MS / ms.max(1.0);
            self.bearable = ((self.bearable as f64 + bearable) / 2.0).clamp(LEAST as f64, MOST as f64) as usize;
        }
    }
}
