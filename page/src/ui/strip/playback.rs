//! Playback: shows the text's tokens one after the other, at a speed slow enough to talk about them.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::ui::browser::ready_state::ReadyState;
use crate::ui::parts::icon::icon;
use gloo::timers::callback::Interval;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

/// Speeds, in tokens per second.
const SPEEDS: [u32; 5] = [1, 2, 5, 10, 25];

#[derive(Properties, PartialEq)]
pub struct PlaybackProps {
    /// Number of tokens of the text.
    pub length: usize,
    /// Number of tokens shown; `None` where all are.
    pub played: Option<usize>,
    /// Nothing is played on before all views show what was played.
    pub ready_state: ReadyState,
    pub dispatch: Callback<Action>,
}

/// The controls for playing, pausing, moving to a token, and the speed.
#[component]
pub fn Playback(props: &PlaybackProps) -> Html {
    let playing = use_state_eq(|| false);
    let speed = use_state_eq(|| SPEEDS[2]);
    let shown = props.played.unwrap_or(props.length);
    {
        let (playing, dispatch, length) = (playing.clone(), props.dispatch.clone(), props.length);
        let ready_state = props.ready_state.clone();
        use_effect_with((*playing, *speed, shown, length), move |&(running, speed, shown, length)| {
            let next = shown + 1;
            let timer = running.then(|| {
                Interval::new(1000 / speed, move || {
                    // Under load some views are drawn later than others.
                    if ready_state.has_pending() {
                        return;
                    }
                    dispatch.emit(Action::Play(Some(next)));
                    if next >= length {
                        playing.set(false);
                    }
                })
            });
            move || drop(timer)
        });
    }
    let toggle = {
        let (playing, dispatch, at_end) = (playing.clone(), props.dispatch.clone(), props.played.is_none());
        Callback::from(move |_: MouseEvent| {
            if !*playing && at_end {
                dispatch.emit(Action::Play(Some(1)));
            }
            playing.set(!*playing);
        })
    };
    let scrub = {
        let (playing, dispatch) = (playing.clone(), props.dispatch.clone());
        Callback::from(move |event: InputEvent| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(tokens) = input.map(|input| input.value_as_number()).filter(|tokens| tokens.is_finite()) {
                playing.set(false);
                dispatch.emit(Action::Play(Some(tokens as usize)));
            }
        })
    };
    let choose = {
        let speed = speed.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(chosen) = select.and_then(|select| select.value().parse().ok()) {
                speed.set(chosen);
            }
        })
    };
    let options = SPEEDS.map(|n| {
        html! { <option value={n.to_string()} selected={n == *speed}>{ t!("play.per-second", n = n) }</option> }
    });
    let (sign, name) = if *playing { ("pause", t!("play.pause")) } else { ("play", t!("play.play")) };
    html! {
        <div class="row wrap playback" role="group" aria-label={t!("play.label")}>
            <button type="button" class="quiet small" data-testid="play" onclick={toggle}>{ icon(sign) }{ name }
                </button>
            <input type="range" min="1" max={props.length.to_string()} value={shown.to_string()} oninput={scrub}
                aria-label={t!("play.scrub")} />
            <output>{ t!("play.shown", played = shown, length = props.length) }</output>
            <select onchange={choose} aria-label={t!("play.speed")}>{ for options }</select>
        </div>
    }
}
