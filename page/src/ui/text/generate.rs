//! The controls for generation: temperature and other settings, length, stop.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::ui::parts::icon::icon;
use crate::ui::parts::popup::Popup;
use crate::worker::protocol::Sampling;
use web_sys::HtmlInputElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct GenerateProps {
    pub sampling: Sampling,
    pub tokens: usize,
    pub generating: bool,
    /// Whether there is a model and a text.
    pub possible: bool,
    /// Whether the context is full.
    pub full: bool,
    pub dispatch: Callback<Action>,
}

/// The controls.
#[component]
pub fn Generate(props: &GenerateProps) -> Html {
    let sampling = props.sampling;
    let temperature =
        number(&props.dispatch, move |x| Action::Sampling(Sampling { temperature: x as f32, ..sampling }));
    let top_p = number(&props.dispatch, move |x| Action::Sampling(Sampling { top_p: x as f32, ..sampling }));
    let seed = number(&props.dispatch, move |x| Action::Sampling(Sampling { seed: x.max(0.0) as u64, ..sampling }));
    let tokens = number(&props.dispatch, |x| Action::Tokens((x as usize).clamp(1, 100_000)));
    let go = props.dispatch.reform(|_: MouseEvent| Action::Generate);
    let step = {
        let (dispatch, tokens) = (props.dispatch.clone(), props.tokens);
        Callback::from(move |_: MouseEvent| {
            dispatch.emit(Action::Tokens(1));
            dispatch.emit(Action::Generate);
            dispatch.emit(Action::Tokens(tokens));
        })
    };
    let stop = props.dispatch.reform(|_: MouseEvent| Action::Stop);
    let idle = !props.possible || props.full || props.generating;
    html! {
        <div class="row generate">
            <Popup label={icon("gear")} class={classes!("quiet", "icon-only")} testid="generate-settings"
                name={t!("generate.settings", temperature = shown(sampling.temperature), tokens = props.tokens)}>
                <div class="menu-body">
                    <label>
                        <span>{ t!("generate.temperature") }</span>
                        <input type="range" min="0" max="1.5" step="0.1" value={shown(sampling.temperature)}
                            oninput={temperature} />
                        <output>{ shown(sampling.temperature) }</output>
                        <small>{ t!("generate.temperature.about") }</small>
                    </label>
                    <label>
                        <span>{ t!("generate.top-p") }</span>
                        <input type="range" min="0.1" max="1" step="0.05" value={shown(sampling.top_p)}
                            oninput={top_p} />
                        <output>{ shown(sampling.top_p) }</output>
                        <small>{ t!("generate.top-p.about") }</small>
                    </label>
                    <label>
                        <span>{ t!("generate.tokens") }</span>
                        <input type="number" min="1" max="4096" step="1" value={props.tokens.to_string()}
                            onchange={tokens} />
                        <small>{ t!("generate.tokens.about") }</small>
                    </label>
                    <label>
                        <span>{ t!("generate.seed") }</span>
                        <input type="number" min="0" step="1" value={sampling.seed.to_string()} onchange={seed} />
                        <small>{ t!("generate.seed.about") }</small>
                    </label>
                </div>
            </Popup>
            <button type="button" class="quiet" data-testid="next-token" onclick={step} disabled={idle}
                title={t!("generate.step.about")}>
                { t!("generate.step") }</button>
            if props.generating {
                <button type="button" class="primary" data-testid="stop" onclick={stop}>
                    { icon("stop") }{ t!("generate.stop") }</button>
            } else {
                <button type="button" class="primary" data-testid="generate" onclick={go} disabled={idle}
                    title={if props.full { t!("generate.full") } else { t!("generate.about") }}>
                    { icon("play") }{ t!("generate.go") }
                </button>
            }
        </div>
    }
}

fn shown(x: f32) -> String {
    let text = format!("{x:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Makes an action from the number in an input, if it is one.
fn number<E: AsRef<web_sys::Event> + 'static>(
    dispatch: &Callback<Action>,
    action: impl Fn(f64) -> Action + 'static,
) -> Callback<E> {
    let dispatch = dispatch.clone();
    Callback::from(move |event: E| {
        let input =
            event.as_ref().target().and_then(|target| wasm_bindgen::JsCast::dyn_into::<HtmlInputElement>(target).ok());
        if let Some(x) = input.map(|input| input.value_as_number()).filter(|x| x.is_finite()) {
            dispatch.emit(action(x));
        }
    })
}
