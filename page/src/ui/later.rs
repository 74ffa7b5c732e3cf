//! What is in it follows one frame later, so that no frame has everything to draw: the text and its tokens come first.

use super::canvas::{Frame, next_frame};
use super::settling::{Pending, Settling};
use gloo::utils::document;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct LaterProps {
    pub settling: Settling,
    pub children: Html,
}

/// Its children, as they were a frame ago.
pub struct Later {
    shown: Html,
    frame: Option<Frame>,
    pending: Option<Pending>,
}

impl Component for Later {
    type Message = ();
    type Properties = LaterProps;

    fn create(context: &Context<Self>) -> Self {
        let mut later = Self { shown: Html::default(), frame: None, pending: None };
        later.follow(context);
        later
    }

    fn changed(&mut self, context: &Context<Self>, _: &LaterProps) -> bool {
        self.follow(context)
    }

    fn update(&mut self, context: &Context<Self>, (): ()) -> bool {
        self.frame = None;
        self.shown = context.props().children.clone();
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        self.shown.clone()
    }

    fn rendered(&mut self, _: &Context<Self>, _: bool) {
        if self.frame.is_none() {
            self.pending = None;
        }
    }
}

impl Later {
    /// Waits for the next frame; true where that is now, as a page in the background has no frames.
    fn follow(&mut self, context: &Context<Self>) -> bool {
        if document().hidden() {
            return Component::update(self, context, ());
        }
        if self.frame.is_none() {
            let link = context.link().clone();
            self.frame = Some(next_frame(move || link.send_message(())));
            self.pending.get_or_insert_with(|| context.props().settling.pending());
        }
        false
    }
}
