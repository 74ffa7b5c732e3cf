//! The library's error type. Every message says what is wrong, where, and what to do.

/// What can go wrong with a model, a text or a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file or address could not be read.
    #[error("cannot read {at}: {why}")]
    Read {
        /// The path or URL.
        at: String,
        /// The reason, with what to do about it.
        why: String,
    },
    /// A model's file is damaged, or describes something that cannot run.
    #[error("{at}: {why}")]
    Model {
        /// The file, and the place in it.
        at: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The text, the ids or an option cannot be used.
    #[error("{0}")]
    Input(String),
    /// The GPU cannot be used, or was lost.
    #[error("{0}")]
    Device(String),
}

impl Error {
    /// Makes an [`Error::Model`].
    pub fn model(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Model { at: at.into(), why: why.into() }
    }

    /// Makes an [`Error::Read`].
    pub fn read(at: impl Into<String>, why: impl ToString) -> Self {
        Self::Read { at: at.into(), why: why.to_string() }
    }
}

/// The result of a function of this crate.
pub type Result<T> = std::result::Result<T, Error>;
