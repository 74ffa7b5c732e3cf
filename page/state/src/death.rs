//! How the engine's worker ends without being asked to.

use crate::phrase::{Phrase, phrase};

/// Why the worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// The program broke off: the browser's message.
    BrokeOff(String),
    /// It never ran: the worker's script or the program cannot be loaded, and why.
    NotLoaded(String),
}

impl Death {
    /// A sentence for the visitor.
    pub fn in_words(&self) -> Phrase {
        match self {
            Self::BrokeOff(reason) => phrase!("engine.died", reason = reason),
            Self::NotLoaded(reason) => phrase!("engine.unloadable", reason = reason),
        }
    }
}
