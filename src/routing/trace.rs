//! The trace: everything the router decided over a text. The product's main data type, append-only
//! but for [`Trace::truncate`], which an edit of the text needs.

use crate::engine::layer_trace::LayerTrace;
use crate::tokenizer::Token;
use serde::{Deserialize, Serialize};

/// A next-token guess.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// The token guessed.
    pub id: u32,
    /// What it looks like by itself.
    pub text: String,
    /// Its probability, 0 to 1.
    pub probability: f32,
}

/// Everything decided over a text: the tokens, and every routed layer's decisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// `T` tokens.
    pub tokens: Vec<Token>,
    /// The layers that have experts, in order.
    pub layers: Vec<LayerTrace>,
    /// What the model expects after each token, most probable first. `[T]`, or empty where
    /// no guesses were asked for.
    pub guesses: Vec<Vec<Guess>>,
    /// Surprise of each token, in bits: `-log2 p(token | tokens before it)`. `[T]` or empty; the
    /// first token has none (nothing came before it) and holds 0.
    pub surprise: Vec<f32>,
}

impl Trace {
    /// How many tokens have been routed.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True where nothing has been routed yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The trace of layer number `layer`, if it has experts.
    pub fn layer(&self, layer: usize) -> Option<&LayerTrace> {
        self.layers.iter().find(|l| l.layer == layer)
    }

    /// Forgets the tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.guesses.truncate(len);
        self.surprise.truncate(len);
        self.layers.iter_mut().for_each(|l| l.truncate(len));
    }

    /// Appends what was routed next. An empty trace takes the layers of `more`, which under another policy may have
    /// other rows.
    pub fn extend(&mut self, more: &Trace) {
        let empty = self.is_empty() && !more.is_empty();
        self.tokens.extend_from_slice(&more.tokens);
        self.guesses.extend_from_slice(&more.guesses);
        self.surprise.extend_from_slice(&more.surprise);
        if empty || self.layers.is_empty() {
            self.layers = more.layers.clone();
            return;
        }
        for (layer, more) in self.layers.iter_mut().zip(&more.layers) {
            layer.extend(more);
        }
    }
}
