//! The queue of work for the worker's main loop. A newer text replaces older ones.

use super::clock::breathe;
use super::desk::Desk;
use super::protocol::Command;
use futures::channel::oneshot;
use moescope::engine::Engine;
use moescope::error::Result;
use std::cell::RefCell;
use std::collections::VecDeque;

/// The number of a load: models are counted as they are loaded.
pub type Load = u64;

/// What the main loop does next.
pub enum Work {
    /// Use this model from now on.
    Install(Box<Desk>),
    /// Run this command of the page.
    Command(Command),
    /// A newer command made this one pointless before it started. The page still waits for its last answer.
    Superseded(Command),
    /// Use the GPU engine that was made for the model of this load.
    TakeOver(Load, Result<Engine>),
}

/// The queue between the sources of work (the worker's message handler, the loader, the GPU) and the main loop.
#[derive(Default)]
pub struct Inbox {
    queue: RefCell<VecDeque<Queued>>,
    loaded: RefCell<Option<Box<Desk>>>,
    engine: RefCell<Option<(Load, Result<Engine>)>>,
    waiting: RefCell<Option<oneshot::Sender<()>>>,
}

struct Queued {
    command: Command,
    is_superseded: bool,
}

impl Inbox {
    /// Adds a command, and removes those that it supersedes.
    pub fn push(&self, command: Command) {
        let mut queue = self.queue.borrow_mut();
        for older in queue.iter_mut() {
            older.is_superseded |= supersedes(&command, &older.command);
        }
        queue.retain(|older| !older.is_superseded || must_be_answered(&older.command));
        queue.push_back(Queued { command, is_superseded: false });
        drop(queue);
        self.wake();
    }

    /// Adds a model that was loaded.
    pub fn install(&self, desk: Desk) {
        *self.loaded.borrow_mut() = Some(Box::new(desk));
        self.wake();
    }

    /// Removes a loaded model that is not in use yet; returns whether it was the answer to a load.
    pub fn discard_loaded(&self) -> bool {
        self.loaded.borrow_mut().take().is_some_and(|desk| !desk.stands_in)
    }

    /// Adds a GPU engine that was made in the background for `load`.
    pub fn hand_over(&self, load: Load, engine: Result<Engine>) {
        *self.engine.borrow_mut() = Some((load, engine));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            let _ = waiting.send(());
        }
    }

    /// Waits for the next piece of work: a new model first, then the page's commands in order.
    pub async fn next(&self) -> Work {
        loop {
            if let Some(desk) = self.loaded.borrow_mut().take() {
                return Work::Install(desk);
            }
            if let Some(Queued { command, is_superseded }) = self.queue.borrow_mut().pop_front() {
                return if is_superseded { Work::Superseded(command) } else { Work::Command(command) };
            }
            if let Some((load, engine)) = self.engine.borrow_mut().take() {
                return Work::TakeOver(load, engine);
            }
            let (sender, receiver) = oneshot::channel();
            *self.waiting.borrow_mut() = Some(sender);
            let _ = receiver.await;
        }
    }

    /// Whether the queue has neither a command nor a model.
    pub fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty() && self.loaded.borrow().is_none()
    }

    /// Lets messages of the page arrive, then returns whether one of them, or a new model, ends the run in progress.
    pub async fn interrupts_run(&self) -> bool {
        breathe().await;
        let ends = |queued: &Queued| {
            use Command::{Route, SetPolicy, Stop};
            matches!(queued.command, Route { .. } | SetPolicy { .. } | Stop)
        };
        self.loaded.borrow().is_some() || self.queue.borrow().iter().any(ends)
    }
}

/// Whether `newer` makes the `older` command, which has not started, pointless.
fn supersedes(newer: &Command, older: &Command) -> bool {
    use Command::{Generate, Inspect, Route, SetPolicy, Stop, Sweep};
    match newer {
        Route { .. } => matches!(older, Route { .. } | Generate { .. } | Stop),
        Stop | Generate { .. } => matches!(older, Generate { .. }),
        Inspect { .. } => matches!(older, Inspect { .. }),
        SetPolicy { .. } => matches!(older, SetPolicy { .. } | Generate { .. } | Sweep { .. }),
        Sweep { .. } => matches!(older, Sweep { .. }),
        _ => false,
    }
}

/// Whether the page needs an answer to a superseded `command`. The answer to a newer command of the same kind serves
/// for the older one, but after a stopped generation there is no such command.
fn must_be_answered(command: &Command) -> bool {
    matches!(command, Command::Generate { .. })
}
