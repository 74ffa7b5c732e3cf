//! Defers its children: they render after the next animation frame that has budget left (frame_budget.rs), so that the
//! text and its tokens are drawn first. Children that cost more than one frame wait until their properties stop
//! changing, for example while a crosshair moves.

use crate::ui::browser::canvas::{AfterPainting, after_painting};
use crate::ui::browser::frame_budget;
use crate::ui::browser::ready_state::{Pending, ReadyState};
use gloo::utils::document;
use yew::prelude::*;

/// After this many paints (a fifth of a second) children are rendered even if their properties still change.
const LONGEST: usize = 12;

#[derive(Properties, PartialEq)]
pub struct DeferredProps {
    /// Cost of drawing the children, in the work units of frame_budget.rs.
    pub work: usize,
    /// Number of paints after which the children are rendered even without budget.
    pub patience: usize,
    pub ready_state: ReadyState,
    pub children: Html,
}

/// Its children, as they were some paints ago.
pub struct Deferred {
    shown: Html,
    painting: Option<AfterPainting>,
    /// Number of paints since the first change that is not shown, and since the last change.
    waited: usize,
    rested: usize,
    pending: Option<Pending>,
}

impl Component for Deferred {
    type Message = ();
    type Properties = DeferredProps;

    fn create(context: &Context<Self>) -> Self {
        let mut later = Self { shown: Html::default(), painting: None, waited: 0, rested: 0, pending: None };
        later.follow(context);
        later
    }

    fn changed(&mut self, context: &Context<Self>, _: &DeferredProps) -> bool {
        self.follow(context)
    }

    fn update(&mut self, context: &Context<Self>, (): ()) -> bool {
        self.painting = None;
        self.waited += 1;
        self.rested += 1;
        let DeferredProps { work, patience, .. } = *context.props();
        let moves = self.waited < LONGEST && self.rested < frame_budget::paintings_for(work).min(patience);
        if moves || self.waited < patience && !frame_budget::has_time() {
            self.wait(context);
            return false;
        }
        frame_budget::spend(work);
        self.waited = 0;
        self.shown = context.props().children.clone();
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        self.shown.clone()
    }

    fn rendered(&mut self, _: &Context<Self>, _: bool) {
        if self.painting.is_none() {
            self.pending = None;
        }
    }
}

impl Deferred {
    /// Waits for the next paint; returns true where the children render now, because a page in the background has no
    /// paints.
    fn follow(&mut self, context: &Context<Self>) -> bool {
        if document().hidden() {
            return Component::update(self, context, ());
        }
        self.rested = 0;
        if self.painting.is_none() {
            self.wait(context);
        }
        false
    }

    fn wait(&mut self, context: &Context<Self>) {
        let link = context.link().clone();
        self.painting = Some(after_painting(move || link.send_message(())));
        self.pending.get_or_insert_with(|| context.props().ready_state.pending());
    }
}
