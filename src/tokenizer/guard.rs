//! Turns panics of the `tokenizers` crate into errors. In the browser a panic ends the worker. Input that is known to
//! panic is rejected earlier ([`super::file`]); this catches the rest.

/// Calls `work`; where it panics (natively), returns the panic's message.
#[cfg(not(target_arch = "wasm32"))]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::Once;

    thread_local!(static GUARDED: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    // A caught panic is not printed as well.
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

/// Calls `work`; WebAssembly cannot catch a panic.
#[cfg(target_arch = "wasm32")]
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    Ok(work())
}
