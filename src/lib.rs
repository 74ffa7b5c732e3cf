//! Moescope.
