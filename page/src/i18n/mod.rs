//! Messages and numbers in the visitor's language.

pub(crate) use moescope_common::format;
pub(crate) mod messages;
