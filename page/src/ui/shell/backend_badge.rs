//! The badge: the engine in use, its speed, the times of its kernels, and why another engine is not used.

use crate::engine::gpu::profile::KernelTime;
use crate::i18n::format;
use crate::i18n::messages::t;
use crate::model::{Backend, ModelInfo};
use crate::state::Action;
use crate::state::address::{backend, backend_name};
use crate::state::shared::Shared;
use crate::ui::parts::popup::Popup;
use crate::worker::protocol::{BackendChoice, Profile, Speed, Timed};
use wasm_bindgen::JsCast;
use web_sys::HtmlSelectElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct BackendBadgeProps {
    pub model: Option<Shared<ModelInfo>>,
    pub speed: Option<Speed>,
    pub timed: Option<Timed>,
    pub profile: Option<Shared<Profile>>,
    pub choice: BackendChoice,
    pub dispatch: Callback<Action>,
}

/// The badge; its panel explains the engine and offers a choice.
#[component]
pub fn BackendBadge(props: &BackendBadgeProps) -> Html {
    let Some(model) = &props.model else {
        return html! { <span class="badge waiting" data-testid="backend">{ t!("backend.waiting") }</span> };
    };
    let (class, name) = match &model.backend {
        Backend::Cpu => ("badge cpu", t!("backend.cpu")),
        Backend::CpuInt8 => ("badge cpu", t!("backend.cpu-int8")),
        Backend::Gpu { adapter } => ("badge gpu", t!("backend.gpu", adapter = adapter)),
    };
    let about = match &model.backend {
        Backend::Cpu => t!("backend.cpu.about"),
        Backend::CpuInt8 => t!("backend.cpu-int8.about"),
        Backend::Gpu { .. } => t!("backend.gpu.about"),
    };
    let speed = props.speed.map(|speed| format::count(speed.tokens as f64 / (speed.ms / 1000.0)));
    let choose = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(choice) = select.and_then(|select| backend(&select.value())) {
                dispatch.emit(Action::Backend(choice));
            }
        })
    };
    let options =
        [BackendChoice::Auto, BackendChoice::WebGpu, BackendChoice::Cpu, BackendChoice::CpuInt8].map(|choice| {
            let name = backend_name(choice);
            html! { <option value={name} selected={choice == props.choice}>{ t!(&format!("backend.choice.{name}")) }
            </option> }
        });
    let label = html! {
        <>
            <span class="dot" aria-hidden="true"></span><span class="adapter">{ name }</span>
            if let Some(speed) = &speed { <span class="speed">{ t!("backend.speed", speed = speed) }</span> }
        </>
    };
    html! {
        <Popup {label} {class} place={classes!("badge-menu")} testid="backend">
            <div class="menu-body">
                <p>{ about }</p>
                if let Some(note) = &model.note { <p class="why">{ note }</p> }
                if let Some(timed) = props.timed { { timed_both(timed) } }
                if let Some(speed) = props.speed {
                    <p>{ t!(speed.tokens; "backend.measured", ms = format::tenth(speed.ms)) }</p>
                }
                if matches!(model.backend, Backend::Gpu { .. }) {
                    <button type="button" class="small" onclick={props.dispatch.reform(|_: MouseEvent| Action::Profile)}
                        data-testid="time-kernels">
                        { t!("kernels.measure") }
                    </button>
                    if let Some(profile) = &props.profile { { kernels(profile) } }
                }
                <label><span>{ t!("backend.choose") }</span><select onchange={choose} data-testid="backend-choice">
                    { for options }</select></label>
            </div>
        </Popup>
    }
}

/// What both engines took for the first text.
fn timed_both(timed: Timed) -> Html {
    html! {
        <p data-testid="timed" data-faster={if timed.gpu_is_faster() { "gpu" } else { "cpu" }}>
            { t!("backend.timed", prefill = timed.prefill, ones = timed.decoded, cpu = format::tenth(timed.cpu_ms),
                gpu = format::tenth(timed.gpu_ms)) }
        </p>
    }
}

/// The time of each kernel, for a prompt and for one token.
fn kernels(profile: &Profile) -> Html {
    let ms = |times: &[KernelTime], kernel: &str| {
        let time = times.iter().find(|time| time.kernel == kernel);
        time.map_or_else(|| "–".into(), |time| format::decimal(time.ms))
    };
    let sum = |times: &[KernelTime]| format::decimal(times.iter().map(|time| time.ms).sum());
    let rows = profile.prompt.iter().map(|time| {
        let name = &time.kernel;
        html! {
            <tr key={name.clone()}><th scope="row">{ name }{ format!(" \u{d7}{}", time.dispatches) }</th>
                <td>{ format::decimal(time.ms) }</td><td>{ ms(&profile.token, name) }</td></tr>
        }
    });
    html! {
        <table class="figures-table" data-testid="kernels">
            <caption>{ t!("kernels.about") }</caption>
            <thead><tr><th scope="col">{ t!("kernels.kernel") }</th>
                <th scope="col">{ t!(profile.tokens; "kernels.prompt") }</th><th scope="col">{ t!("kernels.token") }
                    </th></tr></thead>
            <tbody>{ for rows }</tbody>
            <tfoot><tr><th scope="row">{ t!("kernels.all") }</th><td>{ sum(&profile.prompt) }</td><td>
                { sum(&profile.token) }</td></tr></tfoot>
        </table>
    }
}
