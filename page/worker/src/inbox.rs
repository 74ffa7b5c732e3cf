//! Commands that wait for the worker's loop. The newest text wins: it takes the place of older texts.

use super::protocol::Command;
use futures::channel::oneshot;
use moescope::engine::Engine;
use moescope::error::Result;
use std::cell::RefCell;
use std::collections::VecDeque;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;

/// Tells one load of a model from another.
pub type Load = u64;

/// What the loop does next.
pub enum Work {
    /// What the page asked for.
    Command(Command),
    /// Take the GPU engine that was made for this load.
    TakeOver(Load, Result<Engine>),
}

/// The queue between the worker's message handler and its loop.
#[derive(Default)]
pub struct Inbox {
    queue: RefCell<VecDeque<Command>>,
    engine: RefCell<Option<(Load, Result<Engine>)>>,
    waiting: RefCell<Option<oneshot::Sender<()>>>,
}

impl Inbox {
    /// Takes a command in.
    pub fn push(&self, command: Command) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|older| !supersedes(&command, older));
        queue.push_back(command);
        drop(queue);
        self.wake();
    }

    /// Takes in an engine that was made on the side.
    pub fn hand_over(&self, load: Load, engine: Result<Engine>) {
        *self.engine.borrow_mut() = Some((load, engine));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            let _ = waiting.send(());
        }
    }

    /// What to do next, when there is something; the page's commands come first.
    pub async fn next(&self) -> Work {
        loop {
            if let Some(command) = self.queue.borrow_mut().pop_front() {
                return Work::Command(command);
            }
            if let Some((load, engine)) = self.engine.borrow_mut().take() {
                return Work::TakeOver(load, engine);
            }
            let (sender, receiver) = oneshot::channel();
            *self.waiting.borrow_mut() = Some(sender);
            let _ = receiver.await;
        }
    }

    /// Whether no command waits.
    pub fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Lets new commands in, then says whether one of them ends the run in progress.
    pub async fn interrupts_run(&self) -> bool {
        breathe().await;
        let ends = |command: &Command| {
            use Command::{Load, Route, SetPolicy, Stop};
            matches!(command, Route { .. } | SetPolicy { .. } | Stop | Load { .. })
        };
        self.queue.borrow().iter().any(ends)
    }

    /// Whether a newer model is wanted than the one being loaded.
    pub fn interrupts_load(&self) -> bool {
        self.queue.borrow().iter().any(|command| matches!(command, Command::Load { .. }))
    }
}

/// Whether `newer` makes an `older` command that has not been started pointless.
fn supersedes(newer: &Command, older: &Command) -> bool {
    use Command::{Generate, Inspect, Load, Route, SetPolicy, Stop, Sweep};
    match newer {
        Load { .. } => matches!(older, Load { .. } | Generate { .. } | Stop),
        Route { .. } => matches!(older, Route { .. } | Generate { .. } | Stop),
        Stop | Generate { .. } => matches!(older, Generate { .. }),
        Inspect { .. } => matches!(older, Inspect { .. }),
        SetPolicy { .. } => matches!(older, SetPolicy { .. } | Generate { .. } | Sweep { .. }),
        Sweep { .. } => matches!(older, Sweep { .. }),
        _ => false,
    }
}

/// Goes once around the event loop, so that messages are delivered. A message channel, because browsers
/// hold nested timers back by 4 ms.
async fn breathe() {
    let Ok(channel) = web_sys::MessageChannel::new() else { return };
    let (sender, receiver) = oneshot::channel::<()>();
    let mut sender = Some(sender);
    let wake = Closure::<dyn FnMut()>::new(move || {
        let _ = sender.take().map(|sender| sender.send(()));
    });
    channel.port1().set_onmessage(Some(wake.as_ref().unchecked_ref()));
    if channel.port2().post_message(&wasm_bindgen::JsValue::NULL).is_ok() {
        let _ = receiver.await;
    }
    channel.port1().close();
}
