//! Messages and numbers in the visitor's language.

pub(crate) mod format;
pub(crate) mod messages;
