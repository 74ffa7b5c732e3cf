//! A step of a story: its text, its question, and the button to the next step.

use crate::i18n::format;
use crate::i18n::messages::{fill, of_languages, t};
use crate::routing::Policy;
use crate::routing::effect::Effect;
use crate::state::Action;
use crate::state::shared::Shared;
use crate::state::story::{Telling, Waiting, expert_off};
use crate::ui::parts::icon::icon;
use gloo::utils::{document, window};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StoryStepProps {
    pub telling: Telling,
    /// The policy and its effect, which fill the placeholders of the text.
    pub policy: Policy,
    pub effect: Option<Shared<Effect>>,
    pub dispatch: Callback<Action>,
}

/// The step.
#[component]
pub fn StoryStep(props: &StoryStepProps) -> Html {
    let telling = &props.telling;
    let (step, last) = (telling.step, telling.story.steps.len() - 1);
    let frame = telling.step().frame.clone();
    // Scrolls to the part of the page that the step is about.
    use_effect_with((telling.story.name.clone(), step, telling.waiting), move |_| {
        if let Some(frame) = frame {
            bring_into_view(&frame);
        }
    });
    let go = |to: usize| props.dispatch.reform(move |_: MouseEvent| Action::StoryStep(to));
    let close = props.dispatch.reform(|_: MouseEvent| Action::Story(None));
    let places = places(props);
    let text = |texts| fill(&of_languages(texts), &places);
    let waits = matches!(telling.waiting, Waiting::Text | Waiting::Trial(_));
    html! {
        <section class="card telling" aria-labelledby="story-title" data-testid="story-step"
            data-step={step.to_string()}
            data-waiting={(telling.waiting != Waiting::Nothing).to_string()}>
            <div class="telling-text" role="status">
                <h2 id="story-title">{ of_languages(&telling.story.title) }<small>
                    { format!(" {} / {}", step + 1, last + 1) }</small></h2>
                if waits {
                    <p>{ t!("story.trying") }</p>
                } else {
                    <p>{ text(&telling.step().say) }{ " " }<em>{ text(&telling.step().ask) }</em></p>
                }
            </div>
            <div class="row">
                <button type="button" class="icon-only" disabled={step == 0} onclick={go(step.saturating_sub(1))}
                    data-testid="story-back"
                    aria-label={t!("story.back")}>{ icon("left") }</button>
                if step < last {
                    <button type="button" class="primary" onclick={go(step + 1)} data-testid="story-next">
                        { t!("story.next") }</button>
                }
                <button type="button" class="quiet icon-only" onclick={close} data-testid="story-close"
                    aria-label={t!("story.close")}>
                    { icon("close") }
                </button>
            </div>
        </section>
    }
}

/// The placeholders of a step's text, with their values.
fn places(props: &StoryStepProps) -> Vec<(&'static str, String)> {
    let mut places = Vec::new();
    if let Some(off) = expert_off(&props.policy) {
        places.extend([("layer", off.layer.to_string()), ("expert", off.expert.to_string())]);
    }
    if let Some(effect) = &props.effect {
        places.extend([
            ("more", format::decimal(effect.after.per_byte - effect.before.per_byte)),
            ("before", format::decimal(effect.before.per_byte)),
            ("after", format::decimal(effect.after.per_byte)),
            ("moved", format::count(effect.rerouted as f64)),
            ("tokens", format::count(effect.tokens as f64)),
        ]);
    }
    // Placeholders of unknown figures are filled with a mark.
    for name in ["layer", "expert", "more", "before", "after", "moved", "tokens"] {
        if places.iter().all(|(other, _)| *other != name) {
            places.push((name, "\u{2026}".into()));
        }
    }
    places
}

/// Places that grow once their contents are there.
const GROWS: [&str; 1] = ["compare"];

/// Scrolls to a part of the page where its end is not visible.
pub fn bring_into_view(place: &str) {
    if let Ok(Some(element)) = document().query_selector(&format!("[data-place=\"{place}\"]")) {
        let box_of = element.get_bounding_client_rect();
        let height = floor();
        if box_of.top() < 0.0 || box_of.bottom() > height || GROWS.contains(&place) {
            // A part that is higher than the window, or will be, is scrolled to its top.
            element.scroll_into_view_with_bool(box_of.height() > height || GROWS.contains(&place));
        }
    }
}

/// How long a place that was revealed is marked.
const MARKED_MS: u32 = 1800;

/// The height of the window above the sheet that lies over it on a small screen.
fn floor() -> f64 {
    let height = window().inner_height().ok().and_then(|height| height.as_f64()).unwrap_or_default();
    let sheet = document().query_selector(".drawer").ok().flatten().map(|drawer| drawer.get_bounding_client_rect());
    // On a desk the drawer stands at the right.
    sheet.filter(|sheet| sheet.left() < 1.0 && sheet.height() > 0.0).map_or(height, |sheet| sheet.top().min(height))
}

/// How often a place is looked for that is not there yet, and how long between.
const LOOKS: usize = 4;
const LOOK_MS: u32 = 400;

/// Brings the place of that name into view, where it is not, and marks it for a moment.
pub fn reveal(place: &'static str) {
    look_for(place, LOOKS);
}

fn look_for(place: &'static str, looks: usize) {
    let Ok(Some(element)) = document().query_selector(&format!("[data-place=\"{place}\"]")) else {
        if looks > 1 {
            gloo::timers::callback::Timeout::new(LOOK_MS, move || look_for(place, looks - 1)).forget();
        }
        return;
    };
    let height = floor();
    let place_of = element.get_bounding_client_rect();
    // It is in view, or, where it is long, its first part: the visitor sees what has changed.
    if place_of.top() >= 0.0 && (place_of.bottom() <= height || place_of.top() < height / 2.0) {
        return;
    }
    bring_into_view(place);
    // Neither fails for a legal name.
    let _ = element.set_attribute("data-revealed", "");
    gloo::timers::callback::Timeout::new(MARKED_MS, move || {
        let _ = element.remove_attribute("data-revealed");
    })
    .forget();
}
