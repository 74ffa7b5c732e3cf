//! `body[data-state]`: the page's status, which is not `ready` before all that came is drawn.

use crate::state::Status;
use gloo::utils::body;
use std::cell::Cell;
use std::rc::Rc;

/// The state of the body, written by the page and by what is drawn later than it.
#[derive(Clone, Debug, Default)]
pub struct ReadyState(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    status: Cell<Option<Status>>,
    pending: Cell<usize>,
    /// What the body says: it is written only where that changes.
    shown: Cell<Option<Status>>,
}

/// Something is to be drawn yet: as long as this is kept, the page is not ready.
///
/// It is let go when that is in the document, so in an effect or in `rendered`: the framework lets other tasks run
/// between a component's rendering and its children's.
#[derive(Debug)]
pub struct Pending(ReadyState);

impl ReadyState {
    /// The page has this status.
    pub fn status(&self, status: Status) {
        self.0.status.set(Some(status));
        self.show();
    }

    /// Something is to be drawn yet.
    pub fn pending(&self) -> Pending {
        self.0.pending.set(self.0.pending.get() + 1);
        self.show();
        Pending(self.clone())
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
            // From here on cards are as high as what is in them (see style.css).
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
