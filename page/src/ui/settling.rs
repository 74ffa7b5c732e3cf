//! `body[data-state]`: the page's status, which is not `ready` before all that came is drawn.

use super::state::Status;
use gloo::utils::body;
use std::cell::Cell;
use std::rc::Rc;

/// The state of the body, written by the page and by what draws in several frames.
#[derive(Clone, Debug, Default)]
pub struct Settling(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    status: Cell<Option<Status>>,
    drawing: Cell<bool>,
    late: Cell<usize>,
}

impl Settling {
    /// The page has this status.
    pub fn status(&self, status: Status) {
        self.0.status.set(Some(status));
        self.show();
    }

    /// The strip is still drawing, or done.
    pub fn drawing(&self, drawing: bool) {
        if self.0.drawing.replace(drawing) != drawing {
            self.show();
        }
    }

    /// Something that follows a frame later is to come, or there.
    pub fn late(&self, to_come: bool) {
        let late = self.0.late.get();
        self.0.late.set(if to_come { late + 1 } else { late - 1 });
        self.show();
    }

    fn show(&self) {
        let Some(status) = self.0.status.get() else { return };
        let shown = match status {
            Status::Ready if self.0.drawing.get() || self.0.late.get() > 0 => Status::Running,
            status => status,
        };
        // Setting an attribute with a legal name cannot fail.
        let _ = body().set_attribute("data-state", shown.name());
        if matches!(shown, Status::Ready | Status::Error) {
            // From here on cards are as high as what is in them (see style.css).
            let _ = body().set_attribute("data-opened", "");
        }
    }
}

impl PartialEq for Settling {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
