//! Panics of the `tokenizers` crate, as errors. In the browser a panic ends the worker: what is known to panic is
//! refused before ([`super::file`]), and this is for what is not known.

/// Does `work`; a panic's message where it panics (natively).
#[cfg(not(target_arch = "wasm32"))]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::Once;

    thread_local!(static GUARDED: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    // What is caught is not printed too.
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(false);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no known reason");
        text.replace('\n', " ")
    })
}

/// Does `work`.
#[cfg(target_arch = "wasm32")]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    Ok(work())
}
