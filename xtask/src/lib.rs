//! The project's chores: `cargo xtask --help`.
//!
//! - [`workspace`]: where the repository is, and how other programs are run.
//! - [`setup`]: what the chores need of the machine: found, installed or named.
//! - [`wasm`]: Rust to WebAssembly and its JavaScript.
//! - [`licences`]: the licences of the dependencies: a check, and the list that the site ships.
//! - [`relaxed`]: one program with relaxed SIMD, one without.
//! - [`dist`]: the static site, put together from the page, its assets and the WebAssembly.
//! - [`serve`]: the site over HTTP on this machine.
//! - [`mod@test`]: every check and test there is.

pub mod dist;
pub mod licences;
pub mod relaxed;
pub mod serve;
pub mod setup;
pub mod test;
pub mod wasm;
pub mod workspace;
