//! Training loss over the computation spent, of models of the site.

use super::{Figures, slider, use_option};
use crate::curves::{Results, line, measures, reached};
use crate::site::fetch_json;
use crate::ui::words::{Names, colour_of};
use moescope_common::format;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

/// All that the chapter speaks of, whichever are shown.
const MODELS: [&str; 3] = ["main", "dense", "dense-wide"];

/// The losses shown, in nats per token.
const SHOWN: [f64; 2] = [2.4, 4.2];

/// The losses that can be compared, and the step of the slider.
const LEVELS: [f64; 2] = [2.65, 3.6];
const LEVEL_STEP: f64 = 0.01;

type Model = (String, Vec<(f64, f64)>, Results);

#[derive(Properties, PartialEq)]
pub struct CurvesProps {
    pub models: Vec<String>,
    pub level: f64,
    pub figures: Callback<Figures>,
}

/// The picture.
#[component]
pub fn CurvesPicture(props: &CurvesProps) -> Html {
    let models = use_state(|| None::<Rc<Vec<Model>>>);
    let level = use_option(props.level);
    {
        let models = models.clone();
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move {
                let mut all = Vec::new();
                for name in MODELS {
                    let curves = fetch_json(&format!("models/{name}/curves.json")).await;
                    let results = fetch_json::<Results>(&format!("models/{name}/results.json")).await;
                    if let (Some(curves), Some(results)) = (curves, results) {
                        all.push((name.to_owned(), line(&curves, &results), results));
                    }
                }
                models.set(Some(Rc::new(all)));
            });
        });
    }
    {
        let figures = props.figures.clone();
        use_effect_with(((*models).clone().map(|models| models.len()), *level), {
            let models = (*models).clone();
            move |(_, level)| {
                if let Some(models) = models {
                    figures.emit((measures(&models, *level), Names::new()));
                }
            }
        });
    }
    let Some(all) = (*models).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    let shown: Vec<&Model> = all.iter().filter(|(name, ..)| props.models.contains(name)).collect();
    let most = shown.iter().filter_map(|(_, line, _)| line.last()).map(|(flops, _)| *flops).fold(1.0, f64::max);
    let frame = Frame { most };
    let steps = ((LEVELS[1] - LEVELS[0]) / LEVEL_STEP).round() as usize;
    let value = ((LEVELS[1] - *level) / LEVEL_STEP).round() as usize;
    let set = Callback::from({
        let level = level.clone();
        move |n: usize| level.set(((LEVELS[1] - n as f64 * LEVEL_STEP) * 100.0).round() / 100.0)
    });
    let legend = shown.iter().map(|(name, ..)| {
        let colour = colour_of(name).unwrap_or(0).to_string();
        html! { <span key={name.clone()} class="in-colour" data-e={colour}>{ t!(&format!("model.{name}")) }</span> }
    });
    let shown_level = t!("curves.nats", n = format::decimal(*level));
    html! {
        <figure class="picture-card">
            <figcaption><span>{ t!("curves.title") }</span>{ for legend }</figcaption>
            <svg class="loss-curves" viewBox="0 0 400 260" role="img" aria-label={t!("curves.title")}>
                { axes(&frame) }
                { for shown.iter().map(|model| curve(&frame, model)) }
                { compared(&frame, &shown, *level) }
            </svg>
            { slider("picture-level", t!("curves.level"), shown_level, value, steps, set) }
            <p class="hint">{ t!("curves.from") }</p>
        </figure>
    }
}

/// Where numbers stand.
struct Frame {
    most: f64,
}

impl Frame {
    fn x(&self, flops: f64) -> f64 {
        36.0 + flops / self.most * 354.0
    }

    fn y(&self, loss: f64) -> f64 {
        8.0 + (SHOWN[1] - loss) / (SHOWN[1] - SHOWN[0]) * 220.0
    }
}

fn axes(frame: &Frame) -> Html {
    let losses = [2.5, 3.0, 3.5, 4.0].map(|loss| {
        let y = frame.y(loss).to_string();
        html! {
            <g key={y.clone()}><path class="grid" d={format!("M36 {y}H390")} />
                <text class="chart-axis" x="4" y={y.clone()} dy="4">{ format::tenth(loss) }</text></g>
        }
    });
    let peta = frame.most / 1e15;
    let unit = if peta > 12.0 { 5.0 } else { 2.0 };
    let marks = (1..).map(|n| f64::from(n) * unit).take_while(|mark| *mark <= peta);
    let flops = marks.map(|mark| {
        let x = frame.x(mark * 1e15).to_string();
        html! { <text key={x.clone()} class="chart-axis" x={x.clone()} y="243" text-anchor="middle">{ mark }</text> }
    });
    html! {
        <>
            { for losses }{ for flops }
            <text class="chart-axis" x="390" y="257" text-anchor="end">{ t!("curves.flops") }</text>
            <text class="chart-axis" x="40" y="18">{ t!("curves.nats-axis") }</text>
        </>
    }
}

fn curve(frame: &Frame, (name, line, _): &Model) -> Html {
    let points: Vec<String> = line
        .iter()
        .filter(|(_, loss)| *loss <= SHOWN[1])
        .map(|(flops, loss)| format!("{:.1} {:.1}", frame.x(*flops), frame.y(*loss)))
        .collect();
    let colour = colour_of(name).unwrap_or(0).to_string();
    html! { <path key={name.clone()} class="loss-curve" data-e={colour} d={format!("M{}", points.join("L"))} /> }
}

/// The level, and where each model reaches it.
fn compared(frame: &Frame, shown: &[&Model], level: f64) -> Html {
    let y = frame.y(level);
    let marks = shown.iter().filter_map(|(name, line, _)| {
        let x = frame.x(reached(line, level)?);
        let colour = colour_of(name).unwrap_or(0).to_string();
        Some(html! {
            <g key={name.clone()} class="reached" data-e={colour}>
                <path d={format!("M{x} {y}V228")} /><circle cx={x.to_string()} cy={y.to_string()} r="4" /></g>
        })
    });
    html! { <><path class="level" d={format!("M36 {y}H390")} />{ for marks }</> }
}
