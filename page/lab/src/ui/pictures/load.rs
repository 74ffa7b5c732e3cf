//! Experts' loads while models trained, from their recordings.

use super::{Figures, losses, slider, use_option};
use crate::goal::Measures;
use crate::site::fetch_json;
use crate::ui::words::{Names, colour_of};
use moescope_common::format;
use moescope_common::t;
use serde::Deserialize;
use std::rc::Rc;
use yew::prelude::*;

/// `models/NAME/recording.json`, as far as it is used here.
#[derive(Debug, PartialEq, Deserialize)]
struct Recording {
    snapshots: Vec<Snapshot>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Snapshot {
    step: u64,
    loss: f64,
    balance: Vec<Balance>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Balance {
    load: Vec<f64>,
}

#[derive(Properties, PartialEq)]
pub struct LoadProps {
    pub models: Vec<String>,
    pub layer: usize,
    pub snapshot: usize,
    pub figures: Callback<Figures>,
}

type Models = Rc<(Vec<(String, Recording)>, Measures)>;

/// The picture.
#[component]
pub fn LoadPicture(props: &LoadProps) -> Html {
    let models = use_state(|| None::<Models>);
    let (layer, snapshot) = (use_option(props.layer), use_option(props.snapshot));
    {
        let models = models.clone();
        use_effect_with(props.models.clone(), move |names| {
            let names = names.clone();
            wasm_bindgen_futures::spawn_local(async move {
                let mut all = Vec::new();
                for name in names {
                    if let Some(recording) = fetch_json(&format!("models/{name}/recording.json")).await {
                        all.push((name, recording));
                    }
                }
                models.set(Some(Rc::new((all, losses().await))));
            });
        });
    }
    {
        let figures = props.figures.clone();
        use_effect_with(((*models).clone(), *layer, *snapshot), move |(models, layer, snapshot)| {
            if let Some(models) = models {
                figures.emit((figures_of(models, *layer, *snapshot), Names::new()));
            }
        });
    }
    let Some(all) = (*models).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    let Some((_, first)) = all.0.first() else {
        return html! { <p class="problem">{ t!("learn.missing") }</p> };
    };
    let most = first.snapshots.len().saturating_sub(1);
    let at = (*snapshot).min(most);
    let step = first.snapshots[at].step;
    let layers = first.snapshots[at].balance.len();
    let rows = all.0.iter().map(|(name, recording)| bars(name, recording, at, *layer));
    html! {
        <figure class="picture-card">
            <figcaption>{ t!("load.title", layer = *layer) }</figcaption>
            { for rows }
            { slider("picture-snapshot", t!("load.step"), t!("load.at", n = format::count(step as f64)), at, most,
                Callback::from({ let snapshot = snapshot.clone(); move |n| snapshot.set(n) })) }
            { slider("picture-layer", t!("picture.layers"), t!("picture.layer", n = *layer), *layer,
                layers.saturating_sub(1), Callback::from({ let layer = layer.clone(); move |n| layer.set(n) })) }
            <p class="hint">{ t!("load.from") }</p>
        </figure>
    }
}

fn bars(name: &str, recording: &Recording, at: usize, layer: usize) -> Html {
    let snapshot = recording.snapshots.get(at).or_else(|| recording.snapshots.last());
    let Some((snapshot, balance)) = snapshot.and_then(|s| Some((s, s.balance.get(layer)?))) else { return html! {} };
    let bars = balance.load.iter().enumerate().map(|(expert, load)| {
        let label = t!("share.of", expert = expert, share = format::percent(*load));
        html! {
            <li key={expert} data-e={expert.to_string()} title={label.clone()} style={format!("--share:{load:.4}")}>
                <span class="load-bar" role="img" aria-label={label}></span><b aria-hidden="true">{ expert }</b></li>
        }
    });
    let even = format!("--even:{:.4}", 1.0 / balance.load.len().max(1) as f64);
    let colour = colour_of(name).unwrap_or(0).to_string();
    html! {
        <div class="load-row" key={name.to_owned()}>
            <p><span class="in-colour" data-e={colour}>{ t!(&format!("model.{name}")) }</span>
                <span class="soft">{ t!("load.loss", loss = format::decimal(snapshot.loss)) }</span></p>
            <ol class="load-bars" style={even}>{ for bars }</ol>
        </div>
    }
}

fn figures_of(models: &Models, layer: usize, snapshot: usize) -> Measures {
    let (recordings, losses) = &**models;
    let mut all = losses.clone();
    all.insert("layer".into(), layer as f64);
    all.insert("snapshot".into(), snapshot as f64);
    for (name, recording) in recordings {
        let shown = recording.snapshots.get(snapshot).or_else(|| recording.snapshots.last());
        let Some(balance) = shown.and_then(|shown| shown.balance.get(layer)) else { continue };
        let mut load = balance.load.clone();
        load.sort_by(|a, b| b.total_cmp(a));
        let experts = load.len() as f64;
        all.insert("experts".into(), experts);
        all.insert(format!("{name}-busiest"), load.first().copied().unwrap_or(0.0) * experts);
        let mut done = 0.0;
        let half = load.iter().take_while(|load| {
            let is_before = done < 0.5;
            done += **load;
            is_before
        });
        all.insert(format!("{name}-half"), half.count() as f64);
    }
    all
}
