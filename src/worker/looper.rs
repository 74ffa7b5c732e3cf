//! The worker's loop (browser).
