//! How many tokens a model with a capacity drops, layer by layer, on held-out text.

use super::{Figures, losses};
use crate::curves::Results;
use crate::goal::Measures;
use crate::site::fetch_json;
use crate::ui::words::{Names, figure};
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct DroppedProps {
    pub model: String,
    pub figures: Callback<Figures>,
}

/// The picture.
#[component]
pub fn Dropped(props: &DroppedProps) -> Html {
    let dropped = use_state(|| None::<Rc<Vec<f64>>>);
    {
        let (dropped, figures) = (dropped.clone(), props.figures.clone());
        use_effect_with(props.model.clone(), move |model| {
            let path = format!("models/{model}/results.json");
            wasm_bindgen_futures::spawn_local(async move {
                let Some(results) = fetch_json::<Results>(&path).await else { return };
                let parts: Vec<f64> = results.layers.iter().filter_map(|layer| layer.dropped).collect();
                figures.emit((figures_of(&parts, losses().await), Names::new()));
                dropped.set(Some(Rc::new(parts)));
            });
        });
    }
    let Some(parts) = (*dropped).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    let most = parts.iter().copied().fold(0.0, f64::max).max(1e-9);
    let rows = parts.iter().enumerate().map(|(layer, part)| {
        let shown = figure("dropped-most", *part);
        html! {
            <li key={layer} data-testid="dropped-layer">
                <span>{ t!("picture.layer", n = layer) }</span>
                <span class="dropped-bar" style={format!("--part:{:.4}", part / most)}></span>
                <span>{ shown }</span></li>
        }
    });
    html! {
        <figure class="picture-card">
            <figcaption>{ t!("dropped.title") }</figcaption>
            <ol class="dropped-list">{ for rows }</ol>
            <p class="hint">{ t!("dropped.from") }</p>
        </figure>
    }
}

fn figures_of(parts: &[f64], mut measures: Measures) -> Measures {
    let most = parts.iter().copied().fold(0.0, f64::max);
    let layer = parts.iter().position(|part| *part == most).unwrap_or(0);
    let mean = parts.iter().sum::<f64>() / parts.len().max(1) as f64;
    let figures = [("dropped-most", most), ("dropped-mean", mean), ("dropped-layer", layer as f64)];
    measures.extend(figures.map(|(name, value)| (name.to_owned(), value)));
    measures
}
