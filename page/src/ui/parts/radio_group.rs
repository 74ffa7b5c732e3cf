//! A row of choices, one of which is selected: native radio buttons, drawn as one control.

use gloo::timers::callback::Timeout;
use yew::prelude::*;

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct RadioOption {
    /// Its value.
    pub value: AttrValue,
    /// Its text.
    pub label: AttrValue,
}

#[derive(Properties, PartialEq)]
pub struct RadioGroupProps {
    /// Name of the group in the document.
    pub name: &'static str,
    /// The accessible name of the group.
    pub label: AttrValue,
    pub segments: Vec<RadioOption>,
    /// The selected value.
    pub on: AttrValue,
    pub choose: Callback<String>,
    #[prop_or_default]
    pub testid: Option<&'static str>,
}

/// The control.
#[component]
pub fn RadioGroup(props: &RadioGroupProps) -> Html {
    let segments = props.segments.iter().map(|segment| {
        let value = segment.value.clone();
        let choose = props.choose.clone();
        // Not within the event: the browser moves the focus after it, and would first lay out all that has changed.
        let choose = move |_: Event| {
            let (choose, value) = (choose.clone(), value.to_string());
            Timeout::new(0, move || choose.emit(value)).forget();
        };
        html! {
            <label key={segment.value.to_string()}>
                <input type="radio" name={props.name} value={segment.value.clone()} onchange={choose}
                    checked={segment.value == props.on} />
                <span>{ &segment.label }</span>
            </label>
        }
    });
    html! {
        <div class="segments" role="radiogroup" aria-label={props.label.clone()} data-testid={props.testid}>
            { for segments }
        </div>
    }
}
