//! The parts of the browser tests: the site on a server, a browser driven by WebDriver, and the native command line to
//! compare with.
//!
//! - [`tools`]: the site and the programs, from the environment that `cargo xtask test` sets.
//! - [`server`]: the site as a static host serves it, and faulty hosts.
//! - [`browser`]: ChromeDriver, and browsers with and without WebGPU.
//! - [`other_browsers`]: Firefox and WebKitGTK.
//! - [`page`]: the page as visitors and scripts use it, through its documented hooks.
//! - [`cli`]: runs `moescope trace`.
//! - [`large`]: a server with a file of more than 4 GB.
//! - [`deep`]: a model of many layers, and measurements of its routing map.
//! - [`learning`]: measures Learn and Lab.
//! - [`synthetic`]: models with random weights, in sizes that no shipped model has.
//! - [`first_view`]: counts what a visitor sees first.
//! - [`frames`]: measures frames under a moving pointer, and the page's time for a token.
//! - [`webp`]: writes animated pictures.
//! - [`typing`]: measures how long the page's thread is blocked while someone works with a long text.

pub mod browser;
pub mod cli;
pub mod deep;
pub mod first_view;
pub mod frames;
pub mod large;
pub mod learning;
pub mod other_browsers;
pub mod page;
pub mod server;
pub mod synthetic;
pub mod tools;
pub mod typing;
pub mod webp;

/// The median of `values`, which must not be empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
