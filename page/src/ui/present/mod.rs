//! The page on a projector, and in a frame of another page.

pub(crate) mod present_bar;
pub(crate) mod qr_code;
