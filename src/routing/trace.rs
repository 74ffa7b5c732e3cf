//! The trace: everything that the router decided over a text. It is the main data type, and append-only but for
//! [`Trace::truncate`], which edits of the text need.

use crate::engine::layer_trace::LayerTrace;
use crate::tokenizer::Token;
use serde::{Deserialize, Serialize};

/// A next-token guess.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// Id of the guessed token.
    pub id: u32,
    /// Its text as it is shown.
    pub text: String,
    /// Its probability, 0 to 1.
    pub probability: f32,
}

/// The tokens of a text, and the routing of every routed layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// `T` tokens.
    pub tokens: Vec<Token>,
    /// The layers that have experts, in order.
    pub layers: Vec<LayerTrace>,
    /// The most probable next tokens after each token, by falling probability. `[T]`, or empty where guesses were not
    /// computed.
    pub guesses: Vec<Vec<Guess>>,
    /// Surprise of each token, in bits: `-log2 p(token | tokens before it)`. `[T]` or empty. The first token has no
    /// prediction and holds 0.
    pub surprise: Vec<f32>,
}

impl Trace {
    /// Number of tokens that have been routed.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token has been routed yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The trace of layer number `layer`, if it has experts.
    pub fn layer(&self, layer: usize) -> Option<&LayerTrace> {
        self.layers.iter().find(|l| l.layer == layer)
    }

    /// Removes the tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.guesses.truncate(len);
        self.surprise.truncate(len);
        self.layers.iter_mut().for_each(|l| l.truncate(len));
    }

    /// Appends the trace of the next tokens. An empty trace takes over the layers of `more`, whose shape can differ
    /// under another policy.
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
