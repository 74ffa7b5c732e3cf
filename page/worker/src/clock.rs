//! The time, and letting other tasks of the worker run.

use futures::channel::oneshot;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::WorkerGlobalScope;

/// Milliseconds since the worker started.
pub fn now() -> f64 {
    js_sys::global().unchecked_into::<WorkerGlobalScope>().performance().map_or(0.0, |clock| clock.now())
}

/// Yields to the event loop once, so that messages are delivered. It uses a message channel, because browsers delay
/// nested timers by 4 ms.
pub async fn breathe() {
    let Ok(channel) = web_sys::MessageChannel::new() else { return };
    let (sender, receiver) = oneshot::channel::<()>();
    let mut sender = Some(sender);
    let wake = Closure::<dyn FnMut()>::new(move || {
        let _ = sender.take().map(|sender| sender.send(()));
    });
    channel.port1().set_onmessage(Some(wake.as_ref().unchecked_ref()));
    let channel = Breath { channel, _wake: wake };
    if channel.channel.port2().post_message(&wasm_bindgen::JsValue::NULL).is_ok() {
        let _ = receiver.await;
    }
}

/// A message to the worker itself. The future that waits for it may be dropped (a newer load drops an older one); then
/// the channel is closed, so that its handler is not called.
struct Breath {
    channel: web_sys::MessageChannel,
    _wake: Closure<dyn FnMut()>,
}

impl Drop for Breath {
    fn drop(&mut self) {
        self.channel.port1().set_onmessage(None);
        self.channel.port1().close();
    }
}
