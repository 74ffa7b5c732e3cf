//! What is in it follows one frame later, so that no frame has everything to draw: the text and its tokens come first.

use super::canvas::{Frame, next_frame};
use super::settling::Settling;
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
}

impl Component for Later {
    type Message = ();
    type Properties = LaterProps;

    fn create(context: &Context<Self>) -> Self {
        let mut later = Self { shown: Html::default(), frame: None };
        later.follow(context);
        later
    }

    fn changed(&mut self, context: &Context<Self>, _: &LaterProps) -> bool {
        self.follow(context)
    }

    fn update(&mut self, context: &Context<Self>, (): ()) -> bool {
        self.call_off(context);
        self.shown = context.props().children.clone();
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        self.shown.clone()
    }

    fn destroy(&mut self, context: &Context<Self>) {
        self.call_off(context);
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
            context.props().settling.late(true);
        }
        false
    }

    fn call_off(&mut self, context: &Context<Self>) {
        if self.frame.take().is_some() {
            context.props().settling.late(false);
        }
    }
}
