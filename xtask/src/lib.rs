//! The project's chores: `cargo xtask --help`.
//!
//! - [`workspace`]: finds the repository and runs other programs.
//! - [`setup`]: finds or installs the programs that the chores need.
//! - [`wasm`]: compiles Rust to WebAssembly and JavaScript.
//! - [`licences`]: checks the licences of the dependencies and writes the list that the site ships.
//! - [`relaxed`]: makes one program with relaxed SIMD and one without.
//! - [`dist`]: assembles the static site.
//! - [`serve`]: serves the site on this machine.
//! - [`mod@test`]: runs every check and test.
//! - [`gpu_check`]: makes a folder that tests a real GPU on a machine without Rust.

pub mod dist;
pub mod gpu_check;
pub mod licences;
pub mod relaxed;
pub mod serve;
pub mod setup;
pub mod test;
pub mod wasm;
pub mod workspace;
