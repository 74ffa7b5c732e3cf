//! Notices: the progress of a load, errors, and notes.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::shared::Shared;
use crate::state::{Action, Progress};
use crate::ui::parts::icon::icon;
use crate::ui::shell::preview_card::{PreviewCard, in_words};
use crate::worker::protocol::Preview;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct NoticesProps {
    pub progress: Option<Progress>,
    pub loading: bool,
    /// The name of the model that answers until the one that is loading has arrived.
    pub stand_in: Option<String>,
    /// The model that is being opened.
    pub preview: Option<Shared<Preview>>,
    /// Which layers run, where these are not all.
    pub part: Option<String>,
    pub problem: Option<String>,
    pub notes: Vec<String>,
    pub dispatch: Callback<Action>,
}

/// The notices at the top of the page.
#[component]
pub fn Notices(props: &NoticesProps) -> Html {
    let dismiss_problem = props.dispatch.reform(|_: MouseEvent| Action::DismissProblem);
    let dismiss_notes = props.dispatch.reform(|_: MouseEvent| Action::DismissNotes);
    html! {
        <div class="notices">
            <div role="alert">
                if let Some(problem) = &props.problem {
                    <div class="notice problem" data-testid="error">
                        <p>{ problem }</p>
                        <button type="button" class="quiet icon-only" onclick={dismiss_problem}
                            aria-label={t!("dismiss")}>{ icon("close") }</button>
                    </div>
                }
            </div>
            <div role="status">
                if !props.notes.is_empty() {
                    <div class="notice" data-testid="notes">
                        <div>{ for props.notes.iter().map(|note| html! { <p>{ note }</p> }) }</div>
                        <button type="button" class="quiet icon-only" onclick={dismiss_notes}
                            aria-label={t!("dismiss")}>{ icon("close") }</button>
                    </div>
                }
            </div>
            if let Some(part) = &props.part {
                <p class="notice" data-testid="part">{ t!("model.part.about", part = part) }</p>
            }
            if let Some(preview) = props.preview.as_ref().filter(|preview| preview.asks) {
                <PreviewCard preview={preview.clone()} dispatch={props.dispatch.clone()} />
            } else {
                { progress(props) }
            }
        </div>
    }
}

fn progress(props: &NoticesProps) -> Html {
    let (what, done, total) = match (&props.progress, props.loading) {
        (Some(Progress { what, done, total }), _) => (what.clone(), *done as f64, total.map(|total| total as f64)),
        (None, true) => (t!("progress.model"), 0.0, None),
        (None, false) => return html! {},
    };
    let what = props.stand_in.as_ref().map_or(what, |name| t!("progress.stand-in", name = name));
    let bytes = match total {
        Some(total) if total > 0.0 => t!("progress.of", done = format::bytes(done), total = format::bytes(total)),
        _ if done > 0.0 => format::bytes(done),
        _ => String::new(),
    };
    let share = total.filter(|total| *total > 0.0).map(|total| (done / total).clamp(0.0, 1.0));
    html! {
        <div class="notice loading" data-testid="progress">
            <label for="load-progress">{ what }</label>
            <progress id="load-progress" max="1" value={share.map(|share| share.to_string())}></progress>
            <span>{ bytes }</span>
            <button type="button" class="quiet small" data-testid="cancel-load"
                onclick={props.dispatch.reform(|_: MouseEvent| Action::CancelLoad)}>{ t!("load.cancel") }</button>
            if let Some(preview) = &props.preview {
                <p class="preview-line" data-testid="preview-line">{ in_words(preview) }</p>
            }
        </div>
    }
}
