//! The parts of the browser tests: the site on a server, a browser driven by WebDriver, and the native command line to
//! compare with.
//!
//! - [`tools`]: where the site and the programs are, from the environment that `cargo xtask test` sets.
//! - [`server`]: the site as a static host serves it, and faulty hosts.
//! - [`browser`]: ChromeDriver, and browsers with and without WebGPU.
//! - [`page`]: the page as a visitor and a script see it, through its documented hooks.
//! - [`cli`]: runs `moescope trace`.
//! - [`deep`]: a model of many layers, and how its pictures follow the pointer.
//! - [`webp`]: moving pictures.
//! - [`typing`]: how long the page's thread is busy while someone works with a long text.

pub mod browser;
pub mod cli;
pub mod deep;
pub mod page;
pub mod server;
pub mod tools;
pub mod typing;
pub mod webp;

/// The median of measured values, of which there is at least one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
