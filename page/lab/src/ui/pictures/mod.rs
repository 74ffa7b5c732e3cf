//! Pictures that are drawn from data of the site: what trained models do, and how they were trained.

mod curves;
mod domains;
mod dropped;
mod load;
mod mixtral;
mod sentence;

use crate::chapter::Picture;
use crate::curves::Results;
use crate::goal::Measures;
use crate::site::fetch_json;
use crate::ui::words::Names;
use wasm_bindgen::JsCast;
use web_sys::HtmlInputElement;
use yew::prelude::*;

/// What a picture gives to the text: figures, and names that stand in the text.
pub type Figures = (Measures, Names);

/// The picture; `figures` gets its figures. Labs are not drawn here.
pub fn draw(picture: &Picture, dark: bool, figures: Callback<Figures>) -> Html {
    match picture.clone() {
        Picture::Lab { .. } => html! {},
        Picture::Sentence { layer, token } => html! { <sentence::Sentence {layer} {token} {figures} /> },
        Picture::Curves { models, level } => html! { <curves::CurvesPicture {models} {level} {figures} /> },
        Picture::Load { models, layer, snapshot } => html! {
            <load::LoadPicture {models} {layer} {snapshot} {figures} />
        },
        Picture::Domains { model, layer } => html! { <domains::Domains {model} {layer} {dark} {figures} /> },
        Picture::Dropped { model } => html! { <dropped::Dropped {model} {figures} /> },
        Picture::Mixtral { experts, top_k } => html! { <mixtral::MixtralPicture {experts} {top_k} {figures} /> },
    }
}

/// The models whose loss on held-out text chapters name.
const NAMED: [&str; 5] = ["switch", "noisy-top-k", "hierarchical", "fine-grained", "collapse"];

/// Bits per byte of held-out text of those models, as `loss-NAME`.
async fn losses() -> Measures {
    let mut all = Measures::new();
    for name in NAMED {
        if let Some(results) = fetch_json::<Results>(&format!("models/{name}/results.json")).await {
            all.insert(format!("loss-{name}"), results.bits_per_byte());
        }
    }
    all
}

/// A slider of whole numbers.
fn slider(testid: &'static str, label: String, shown: String, value: usize, most: usize, set: Callback<usize>) -> Html {
    let change = Callback::from(move |event: InputEvent| {
        let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
        if let Some(input) = input {
            set.emit(input.value_as_number() as usize);
        }
    });
    html! {
        <label class="control"><span>{ label }</span>
            <input type="range" min="0" max={most.to_string()} step="1" value={value.to_string()}
                aria-valuetext={shown.clone()} data-testid={testid} oninput={change} />
            <output>{ shown }</output></label>
    }
}

/// A state that follows what the chapter shows, until the reader changes it.
#[hook]
fn use_option<T: Clone + PartialEq + 'static>(shown: T) -> UseStateHandle<T> {
    let state = use_state_eq(|| shown.clone());
    {
        let state = state.clone();
        use_effect_with(shown, move |shown| state.set(shown.clone()));
    }
    state
}
