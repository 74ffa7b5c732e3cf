//! The pictures below the strip, and saving them.

pub(crate) mod as_table;
mod drawn;
pub(crate) mod flow;
pub(crate) mod load_map;
pub(crate) mod picture;
pub(crate) mod routing_map;
pub(crate) mod save;
