//! The model's training: loss and balance over the training from the model's `curves.json`, with a cursor. If the
//! model has a recording, the same slider selects its snapshots.

use crate::i18n::format;
use crate::i18n::messages::{name_of, t};
use crate::routing::Recording;
use crate::state::Action;
use crate::state::curves::{Curves, Point};
use crate::state::shared::Shared;
use crate::state::training_snapshot::Moment;
use crate::ui::charts::save::SavePicture;
use crate::ui::parts::bar::bar_height;
use crate::ui::parts::icon::icon;
use gloo::timers::callback::Interval;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

/// A curve: its message keys, and its value at a point.
type Curve = (&'static str, fn(&Point) -> f64);

const CURVES: [Curve; 3] = [
    ("loss", |point| point.loss / std::f64::consts::LN_2),
    ("max", |point| point.max_over_mean),
    ("balance", |point| point.balance),
];

/// How long each snapshot is shown during the replay.
const PLAY_MS: u32 = 700;

#[derive(Properties, PartialEq)]
pub struct TrainingCardProps {
    pub curves: Option<Shared<Curves>>,
    /// Whether the model has a recording.
    pub can_watch: bool,
    /// The recording, once it was fetched.
    pub recording: Option<Shared<Recording>>,
    /// The snapshot that is shown.
    pub moment: Option<Moment>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn TrainingCard(props: &TrainingCardProps) -> Html {
    let at = use_state_eq(|| usize::MAX);
    let points = props.curves.as_ref().map_or(&[][..], |curves| &curves.training);
    let shown = props.recording.as_deref().zip(props.moment);
    let index = match shown {
        Some((recording, moment)) => nearest(points, recording.snapshots()[moment.snapshot].moment.tokens as f64),
        None => (*at).min(points.len().saturating_sub(1)),
    };
    let charts = CURVES.iter().map(|curve| chart(points, curve, index));
    let content = match shown {
        Some((_, moment)) => props
            .recording
            .clone()
            .map(|recording| {
                html! { <Snapshots {recording} {moment} dispatch={props.dispatch.clone()} /> }
            })
            .unwrap_or_default(),
        None => html! {
            <>
                { slider(points, index, &at) }
                { watch(props) }
            </>
        },
    };
    html! {
        <section class="pane-card" aria-labelledby="training-title" data-testid="training">
            <div class="head"><h2 id="training-title">{ t!("training.title") }</h2><p>{ t!("training.about") }</p></div>
            if !points.is_empty() { <div class="charts">{ for charts }</div> }
            { content }
            if !points.is_empty() {
                <div class="row wrap save">
                    <SavePicture element="#pane-training .charts" file="training" title={t!("training.title")}
                        legend={t!("training.about")} label={t!("save.curves")} dispatch={props.dispatch.clone()} />
                </div>
            }
        </section>
    }
}

/// The index of the point with the number of tokens nearest to `tokens`.
fn nearest(points: &[Point], tokens: f64) -> usize {
    let distance = |index: &usize| (points[*index].tokens - tokens).abs();
    (0..points.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or_default()
}

/// A slider that moves the cursor along the curves.
fn slider(points: &[Point], index: usize, at: &UseStateHandle<usize>) -> Html {
    let Some(point) = points.get(index) else { return html! {} };
    let slide = {
        let at = at.clone();
        Callback::from(move |event: InputEvent| {
            if let Some(index) = value_of(&event) {
                at.set(index);
            }
        })
    };
    let tokens = t!("training.at", tokens = format::compact(point.tokens));
    html! {
        <label class="row training-slider">
            <span class="hidden">{ t!("training.slide") }</span>
            <input type="range" min="0" max={(points.len() - 1).to_string()} value={index.to_string()} oninput={slide}
                aria-valuetext={tokens.clone()} />
            <output>{ tokens }</output>
        </label>
    }
}

fn value_of(event: &InputEvent) -> Option<usize> {
    let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok())?;
    Some(input.value_as_number()).filter(|value| value.is_finite()).map(|value| value as usize)
}

fn watch(props: &TrainingCardProps) -> Html {
    let watch = props.dispatch.reform(|_: MouseEvent| Action::Watch);
    html! {
        if props.can_watch {
            <p class="row wrap watch">
                <button type="button" class="primary" data-testid="watch" onclick={watch}>
                    { icon("play") }{ t!("recorded.watch") }</button>
                <span class="soft">{ t!("recorded.watch.about") }</span>
            </p>
        }
    }
}

/// A snapshot in words: `after 3.2M tokens`.
pub fn moment_name(recording: &Recording, snapshot: usize) -> String {
    t!("training.at", tokens = format::compact(recording.snapshots()[snapshot].moment.tokens as f64))
}

#[derive(Properties, PartialEq)]
struct SnapshotsProps {
    recording: Shared<Recording>,
    moment: Moment,
    dispatch: Callback<Action>,
}

/// The controls of the replay: play, text, second snapshot, and the load over held-out text.
#[component]
fn Snapshots(props: &SnapshotsProps) -> Html {
    let SnapshotsProps { recording, moment, dispatch } = props;
    // The replay starts by itself from the first snapshot.
    let playing = use_state_eq(|| moment.snapshot == 0);
    let last = recording.snapshots().len() - 1;
    {
        let (playing, dispatch) = (playing.clone(), dispatch.clone());
        use_effect_with((*playing, moment.snapshot), move |&(running, snapshot)| {
            let timer = running.then(|| {
                Interval::new(PLAY_MS, move || {
                    if snapshot >= last {
                        playing.set(false);
                    } else {
                        dispatch.emit(Action::Snapshot(Some(snapshot + 1)));
                    }
                })
            });
            move || drop(timer)
        });
    }
    let toggle = {
        let (playing, dispatch, at_end) = (playing.clone(), dispatch.clone(), moment.snapshot == last);
        Callback::from(move |_: MouseEvent| {
            if !*playing && at_end {
                dispatch.emit(Action::Snapshot(Some(0)));
            }
            playing.set(!*playing);
        })
    };
    let slide = {
        let (playing, dispatch) = (playing.clone(), dispatch.clone());
        Callback::from(move |event: InputEvent| {
            if let Some(snapshot) = value_of(&event) {
                playing.set(false);
                dispatch.emit(Action::Snapshot(Some(snapshot)));
            }
        })
    };
    let back = dispatch.reform(|_: MouseEvent| Action::Snapshot(None));
    let tokens = moment_name(recording, moment.snapshot);
    let (sign, name) = if *playing { ("pause", t!("play.pause")) } else { ("play", t!("play.play")) };
    html! {
        <>
            <div class="row wrap training-slider">
                <button type="button" class="quiet small" data-testid="play-training" onclick={toggle}>
                    { icon(sign) }{ name }</button>
                <input type="range" min="0" max={last.to_string()} value={moment.snapshot.to_string()} oninput={slide}
                    data-testid="snapshot" aria-label={t!("training.slide")} aria-valuetext={tokens.clone()} />
                <output>{ tokens }</output>
            </div>
            <div class="row wrap">
                { texts(props) }
                { beside(props) }
                <span class="grow"></span>
                <button type="button" class="quiet small" data-testid="leave-past" onclick={back}>
                    { t!("recorded.back") }</button>
            </div>
            { spread(recording, moment.snapshot) }
        </>
    }
}

/// Chooses the recorded text.
fn texts(props: &SnapshotsProps) -> Html {
    let chosen = props.moment.text;
    let options = props.recording.texts().iter().enumerate().map(|(index, text)| {
        html! { <option value={index.to_string()} selected={index == chosen}>
        { name_of("example", &text.id, &text.label) }</option> }
    });
    let choose = choice(&props.dispatch, |index| index.map(Action::RecordedText));
    html! {
        <label class="row"><span class="soft">{ t!("recorded.text") }</span>
            <select data-testid="recorded-text" onchange={choose}>{ for options }</select>
        </label>
    }
}

/// Chooses the second snapshot.
fn beside(props: &SnapshotsProps) -> Html {
    let chosen = props.moment.beside;
    let options = (0..props.recording.snapshots().len()).map(|index| {
        html! {
            <option value={index.to_string()} selected={chosen == Some(index)}>{ moment_name(&props.recording, index) }
                </option>
        }
    });
    let choose = choice(&props.dispatch, |index| Some(Action::Beside(index)));
    html! {
        <label class="row"><span class="soft">{ t!("recorded.beside") }</span>
            <select data-testid="beside" onchange={choose}>
                <option value="" selected={chosen.is_none()}>{ t!("recorded.beside.none") }</option>
                { for options }
            </select>
        </label>
    }
}

/// Handles a choice by its number.
fn choice(dispatch: &Callback<Action>, action: fn(Option<usize>) -> Option<Action>) -> Callback<Event> {
    let dispatch = dispatch.clone();
    Callback::from(move |event: Event| {
        let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
        if let Some(action) = select.and_then(|select| action(select.value().parse().ok())) {
            dispatch.emit(action);
        }
    })
}

/// Every layer's load over held-out text at this snapshot.
fn spread(recording: &Recording, snapshot: usize) -> Html {
    let layers = recording.layers().iter().zip(recording.balance(snapshot)).map(|(layer, balance)| {
        let experts = balance.load.len() as f32;
        // Twice the even share has the full height, so that bars can be compared between snapshots.
        let height = |share: f32| (share * experts / 2.0).min(1.0);
        let bars = balance.load.iter().enumerate().map(|(expert, &share)| {
            let title = t!("load.bar", expert = expert, share = format::percent(f64::from(share)));
            html! { <span class={classes!("bar", (share == 0.0).then_some("idle"))} data-e={expert.to_string()} {title}>
            <s style={bar_height("height", height(share))}></s></span> }
        });
        let label = t!("load.max", value = format::decimal(f64::from(balance.max_over_mean)));
        html! {
            <figure key={*layer} class="held-out">
                <figcaption>{ t!("layer.name", layer = layer) }<span class="soft">{ label }</span></figcaption>
                <div class="bars small">{ for bars }
                    <span class="even" style={bar_height("bottom", height(1.0 / experts))}></span></div>
            </figure>
        }
    });
    html! { <><h3>{ t!("recorded.held-out") }</h3><div class="charts">{ for layers }</div></> }
}

fn chart(points: &[Point], (name, read): &Curve, index: usize) -> Html {
    let (first, last) = (points[0].tokens, points[points.len() - 1].tokens);
    let values = points.iter().map(read);
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    // As the slider and the snapshots of the replay: each step to the right is so many times the tokens.
    let log = |tokens: f64| (tokens.max(1.0)).ln();
    let x = |point: &Point| (log(point.tokens) - log(first)) / (log(last) - log(first)).max(1e-6) * 100.0;
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
            <p class="axis"><span>{ format::compact(first) }</span><span>{ t!("training.axis") }</span>
                <span>{ format::compact(last) }</span></p>
        </figure>
    }
}
