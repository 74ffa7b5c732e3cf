//! Why the engine's worker ended unexpectedly.

use crate::phrase::{Phrase, phrase};

/// Why the worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// The program crashed; has the browser's message.
    BrokeOff(String),
    /// The worker's script or the program could not be loaded; has the reason.
    NotLoaded(String),
}

impl Death {
    /// A message for the visitor.
    pub fn in_words(&self) -> Phrase {
        match self {
            Self::BrokeOff(reason) => phrase!("engine.died", reason = reason),
            Self::NotLoaded(reason) => phrase!("engine.unloadable", reason = reason),
        }
    }
}
