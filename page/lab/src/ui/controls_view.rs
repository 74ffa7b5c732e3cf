//! The controls of a lab.

use crate::controls::{Control, Kind, POSITIONS, besides, controls};
use crate::protocol::{LabName, Settings};
use crate::runs::defaults;
use moescope_common::format;
use moescope_common::t;
use serde_json::{Value, json};
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ControlsProps {
    pub lab: LabName,
    /// What is not as usual.
    pub settings: Rc<Settings>,
    /// The controls shown; all where there are none.
    pub chosen: Rc<Vec<String>>,
    /// What the second run is, by name.
    pub beside: Option<&'static str>,
    pub set: Callback<(&'static str, Value)>,
    pub set_beside: Callback<Vec<Settings>>,
}

/// The controls.
#[component]
pub fn Controls(props: &ControlsProps) -> Html {
    let usual = use_memo(props.lab, |lab| defaults(*lab));
    let all = props.chosen.is_empty();
    let shown = |control: &&Control| all || props.chosen.iter().any(|key| key == control.key);
    let draw = |control: &Control| {
        let value = props.settings.get(control.key).or_else(|| usual.get(control.key)).cloned().unwrap_or_default();
        setting(*control, &value, &props.set)
    };
    let (further, first): (Vec<_>, Vec<_>) =
        controls(props.lab).iter().filter(shown).partition(|control| control.is_further && all);
    html! {
        <div class="lab-controls" data-testid="lab-controls">
            { for first.into_iter().map(draw) }
            if all { { second_run(props) } }
            if !further.is_empty() {
                <details class="further"><summary>{ t!("controls.further") }</summary>
                    <div class="lab-controls">{ for further.into_iter().map(draw) }</div></details>
            }
        </div>
    }
}

fn setting(control: Control, value: &Value, set: &Callback<(&'static str, Value)>) -> Html {
    let key = control.key;
    let label = t!(&format!("control.{key}"));
    let about = t!(&format!("control.{key}.about"));
    let testid = format!("control-{key}");
    match control.kind {
        Kind::Choice(names) => {
            let is_number = value.is_number();
            let chosen = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let change = {
                let set = set.clone();
                Callback::from(move |event: Event| {
                    let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
                    if let Some(name) = select.map(|select| select.value()) {
                        let value = if is_number { json!(name.parse::<u64>().unwrap_or(1)) } else { json!(name) };
                        set.emit((key, value));
                    }
                })
            };
            let options = names.iter().map(|name| {
                let words = if is_number { (*name).to_owned() } else { t!(&format!("choice.{key}.{name}")) };
                html! { <option key={*name} value={*name} selected={chosen == *name}>{ words }</option> }
            });
            html! {
                <label key={key} class="control" title={about}><span>{ label }</span>
                    <select data-testid={testid} onchange={change}>{ for options }</select></label>
            }
        }
        Kind::Slider { .. } => {
            let kind = control.kind;
            let number = value.as_f64().unwrap_or_default();
            let change = {
                let set = set.clone();
                Callback::from(move |event: InputEvent| {
                    let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
                    if let Some(input) = input {
                        set.emit((key, kind.number(kind.value(input.value_as_number()))));
                    }
                })
            };
            let shown = if number.fract() == 0.0 { format::count(number) } else { short(number) };
            html! {
                <label key={key} class="control" title={about}><span>{ label }</span>
                    <input type="range" min="0" max={POSITIONS.to_string()} step="1" data-testid={testid}
                        value={kind.position(number).round().to_string()} aria-valuetext={shown.clone()}
                        oninput={change} />
                    <output>{ shown }</output></label>
            }
        }
        Kind::Switch => {
            let change = {
                let set = set.clone();
                Callback::from(move |event: Event| {
                    let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
                    if let Some(input) = input {
                        set.emit((key, json!(input.checked())));
                    }
                })
            };
            let checked = value.as_bool().unwrap_or_default();
            html! {
                <label key={key} class="control" title={about}><span>{ label }</span>
                    <input type="checkbox" data-testid={testid} {checked} onchange={change} /></label>
            }
        }
    }
}

/// Small numbers with the digits that count.
pub fn short(number: f64) -> String {
    if number.abs() < 0.1 { format!("{number:.4}").trim_end_matches('0').to_owned() } else { format::decimal(number) }
}

/// Whether another run goes beside, and what differs in it.
fn second_run(props: &ControlsProps) -> Html {
    let all = besides(props.lab);
    if all.is_empty() {
        return html! {};
    }
    let names: Vec<&'static str> = all.iter().map(|(name, _)| *name).collect();
    let change = {
        let set = props.set_beside.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(name) = select.map(|select| select.value()) {
                let found = all.iter().find(|(other, _)| *other == name);
                set.emit(found.map(|(_, settings)| settings.clone()).into_iter().collect());
            }
        })
    };
    let options = names.into_iter().map(|name| {
        let words = t!(&format!("beside.{name}"));
        html! { <option key={name} value={name} selected={props.beside == Some(name)}>{ words }</option> }
    });
    html! {
        <label class="control" title={t!("beside.about")}><span>{ t!("beside.label") }</span>
            <select data-testid="lab-beside" onchange={change}>
                <option value="" selected={props.beside.is_none()}>{ t!("beside.none") }</option>
                { for options }
            </select></label>
    }
}
