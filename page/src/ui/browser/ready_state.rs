//! `body[data-state]`: the page's status, which is `ready` only when all results are drawn.

use crate::state::Status;
use gloo::utils::body;
use std::cell::Cell;
use std::rc::Rc;

/// The state of the body, set by the page and by views that are drawn later.
#[derive(Clone, Debug, Default)]
pub struct ReadyState(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    status: Cell<Option<Status>>,
    pending: Cell<usize>,
    /// The current attribute; it is written only when it changes.
    shown: Cell<Option<Status>>,
}

/// A drawing that is not complete: as long as this value exists, the page is not ready.
///
/// It is dropped when the drawing is in the document, in an effect or in `rendered`, because the framework lets other
/// tasks run between the rendering of a component and that of its children.
#[derive(Debug)]
pub struct Pending(ReadyState);

impl ReadyState {
    /// Sets the page's status.
    pub fn status(&self, status: Status) {
        self.0.status.set(Some(status));
        self.show();
    }

    /// Announces a drawing that is not complete yet.
    pub fn pending(&self) -> Pending {
        self.0.pending.set(self.0.pending.get() + 1);
        self.show();
        Pending(self.clone())
    }

    /// Something that came is not drawn yet.
    pub fn has_pending(&self) -> bool {
        self.0.pending.get() > 0
    }

    fn show(&self) {
        let Some(status) = self.0.status.get() else { return };
        let shown = match status {
            Status::Ready if self.0.pending.get() > 0 => Status::Running,
            status => status,
        };
        if self.0.shown.replace(Some(shown)) == Some(shown) {
            return;
        }
        // Setting an attribute with a legal name cannot fail.
        let _ = body().set_attribute("data-state", shown.name());
        if matches!(shown, Status::Ready | Status::Error) {
            // From now on the height of cards follows their contents (see style.css).
            let _ = body().set_attribute("data-opened", "");
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.0.pending.set(self.0.0.pending.get() - 1);
        self.0.show();
    }
}

impl PartialEq for ReadyState {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
