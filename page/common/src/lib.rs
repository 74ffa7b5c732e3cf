//! What the programs of the page have in common: texts and numbers in the visitor's language, canvas, storage, theme,
//! experts' colours and icons.
#![cfg(target_arch = "wasm32")]

pub mod canvas;
pub mod format;
pub mod icon;
pub mod messages;
pub mod palette;
pub mod storage;
pub mod theme;
