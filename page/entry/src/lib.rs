//! The module that the browser loads, on the page and in the worker.
#![cfg(target_arch = "wasm32")]

/// Starts the page, or the worker: the same module serves both.
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn start() {
    use gloo_worker::Registrable;
    use wasm_bindgen::JsCast;
    console_error_panic_hook::set_once();
    if js_sys::global().is_instance_of::<web_sys::Window>() {
        moescope_page::start();
    } else {
        moescope_worker::EngineWorker::registrar().register();
    }
}
