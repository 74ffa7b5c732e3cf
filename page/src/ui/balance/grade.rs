//! Which figures of balance are good. The limits are a judgement, made from what models trained with a balancing
//! loss reach over texts of some hundred tokens; the page says so in its help.

use crate::routing::Balance;

/// How good a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As a well-balanced model has it.
    Good,
    /// Uneven, but every expert works.
    Fair,
    /// A few experts do most of the work.
    Poor,
    /// The text is too short to tell.
    TooShort,
}

impl Grade {
    /// The key of its name among the messages; also its class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
            Self::TooShort => "short",
        }
    }
}

/// A figure of balance, ready to be shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Names its messages.
    pub name: &'static str,
    /// The figure.
    pub value: f32,
    /// How good it is.
    pub grade: Grade,
    /// Where it stands from even (0) to one expert that does everything (1).
    pub unevenness: f32,
}

/// Assignments an expert should have on average before chance stops ruling the figures.
const ENOUGH: usize = 8;

/// The four figures of a layer with `assignments` assignments and `top_k` choices a token.
pub fn figures(balance: &Balance, assignments: usize, top_k: usize) -> [Figure; 4] {
    let experts = balance.load.len() as f32;
    // The most uneven a layer can be: every token picks the same k experts.
    let worst = (experts / top_k.max(1) as f32).max(1.0);
    let worst_entropy = if experts > 1.0 { (top_k.max(1) as f32).ln() / experts.ln() } else { 1.0 };
    let short = assignments < ENOUGH * balance.load.len();
    let figure = |name, value: f32, good: bool, fair: bool, unevenness: f32| {
        let grade = match () {
            () if short => Grade::TooShort,
            () if good => Grade::Good,
            () if fair => Grade::Fair,
            () => Grade::Poor,
        };
        Figure { name, value, grade, unevenness: if unevenness.is_finite() { unevenness.clamp(0.0, 1.0) } else { 0.0 } }
    };
    let Balance { cv, entropy, max_over_mean, aux_loss, .. } = *balance;
    [
        figure("max", max_over_mean, max_over_mean <= 1.6, max_over_mean <= 2.5, (max_over_mean - 1.0) / (worst - 1.0)),
        figure("entropy", entropy, entropy >= 0.95, entropy >= 0.85, (1.0 - entropy) / (1.0 - worst_entropy)),
        figure("cv", cv, cv <= 0.35, cv <= 0.75, cv / (worst - 1.0).max(f32::MIN_POSITIVE).sqrt()),
        figure("aux", aux_loss, aux_loss <= 1.1, aux_loss <= 1.4, (aux_loss - 1.0) / (worst - 1.0)),
    ]
}
