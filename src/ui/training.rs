//! How a model learned: loss and balance through its training, from the `curves.json` that comes with it, with a
//! cursor to slide along them.

use super::format;
use super::messages::t;
use super::shared::Shared;
use serde::Deserialize;
use wasm_bindgen::JsCast;
use web_sys::HtmlInputElement;
use yew::prelude::*;

/// The training's log, as far as it is drawn.
#[derive(Clone, Debug, Deserialize)]
pub struct Curves {
    /// In the order of the steps.
    pub training: Vec<Point>,
}

/// Means over the steps since the last point.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Point {
    /// Tokens seen.
    pub tokens: f64,
    /// Cross-entropy in nats a token.
    pub loss: f64,
    /// Load-balancing loss: 1 is even.
    pub balance: f64,
    /// Busiest expert's load over the mean, in the worst layer.
    pub max_over_mean: f64,
}

/// A curve: its messages, and how it is read off a point.
type Curve = (&'static str, fn(&Point) -> f64);

const CURVES: [Curve; 3] = [
    ("loss", |point| point.loss / std::f64::consts::LN_2),
    ("max", |point| point.max_over_mean),
    ("balance", |point| point.balance),
];

#[derive(Properties, PartialEq)]
pub struct TrainingCardProps {
    pub curves: Shared<Curves>,
}

/// The card.
#[component]
pub fn TrainingCard(props: &TrainingCardProps) -> Html {
    let points = &props.curves.training;
    let last = points.len().saturating_sub(1);
    let at = use_state_eq(|| usize::MAX);
    let index = (*at).min(last);
    let Some(point) = points.get(index) else { return html! {} };
    let slide = {
        let at = at.clone();
        Callback::from(move |event: InputEvent| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(index) = input.map(|input| input.value_as_number()).filter(|index| index.is_finite()) {
                at.set(index as usize);
            }
        })
    };
    let tokens = format::compact(point.tokens);
    let charts = CURVES.iter().map(|curve| chart(points, curve, index));
    html! {
        <section class="card" aria-labelledby="training-title" data-testid="training">
            <div class="head"><h2 id="training-title">{ t!("training.title") }</h2><p>{ t!("training.about") }</p></div>
            <div class="charts">{ for charts }</div>
            <label class="row training-slider">
                <span class="hidden">{ t!("training.slide") }</span>
                <input type="range" min="0" max={last.to_string()} value={index.to_string()} oninput={slide}
                    aria-valuetext={t!("training.at", tokens = tokens)} />
                <output>{ t!("training.at", tokens = tokens) }</output>
            </label>
        </section>
    }
}

fn chart(points: &[Point], (name, read): &Curve, index: usize) -> Html {
    let (first, last) = (points[0].tokens, points[points.len() - 1].tokens);
    let values = points.iter().map(read);
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let x = |point: &Point| (point.tokens - first) / (last - first).max(1.0) * 100.0;
    let y = |value: f64| 58.0 - (value - least) / (most - least).max(1e-6) * 54.0;
    let line =
        points.iter().map(|point| format!("{:.2},{:.2}", x(point), y(read(point)))).collect::<Vec<_>>().join(" ");
    let here = &points[index];
    let cursor = format!("{:.2}", x(here));
    let value = format::decimal(read(here));
    let label = t!(
        &format!("training.{name}.label"),
        first = format::decimal(read(&points[0])),
        last = format::decimal(read(&points[points.len() - 1]))
    );
    html! {
        <figure key={*name}>
            <figcaption>{ t!(&format!("training.{name}")) }<b>{ value }</b></figcaption>
            <svg class="curve" viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label={label}>
                <polyline class="curve-line" points={line} />
                <line class="curve-cursor" x1={cursor.clone()} x2={cursor} y1="0" y2="60" />
            </svg>
        </figure>
    }
}
