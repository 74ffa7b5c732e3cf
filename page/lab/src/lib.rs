//! The program of Learn and Lab, on the page and in the worker that trains. www/boot.js loads it for the addresses
//! `#/learn`, `#/learn/NAME` and `#/lab/NAME`; Explore is another program.
//!
//! - `address`, `goal`, `controls`, `chapter`, `markup`, `curves`, `mixtral`: plain data and pure functions, tested
//!   natively.
//! - `protocol`: the messages between page and worker; `runs`: one interface to all labs of `moescope-learn`.
//! - `assets`: the files that labs read; `tokens`: the shipped models' tokenizer; `archive`: a directory to save.
//! - `host`: the worker, `keep`: models in the browser's storage; `client`: the page's side; `api`: `window.moescope`.
//! - `ui`: the views.

pub mod address;
pub mod archive;
pub mod assets;
pub mod chapter;
pub mod controls;
pub mod curves;
pub mod goal;
pub mod history;
pub mod json;
pub mod markup;
pub mod mixtral;
pub mod protocol;
pub mod runs;
pub mod tokens;

#[cfg(target_arch = "wasm32")]
mod api;
#[cfg(target_arch = "wasm32")]
mod client;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod keep;
#[cfg(target_arch = "wasm32")]
mod site;
#[cfg(target_arch = "wasm32")]
mod ui;

/// Starts the page, or the worker: the same module serves both.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn start() {
    use wasm_bindgen::JsCast;
    console_error_panic_hook::set_once();
    if js_sys::global().is_instance_of::<web_sys::Window>() {
        api::install();
        ui::app::start();
    } else {
        host::start();
    }
}
