//! Fine-tuning: the text, the losses as they part, what the model writes and which tokens go elsewhere than before,
//! the models that are saved and kept, and the recorded runs.

use crate::goal::Measures;
use crate::keep;
use crate::site::{self, fetch_json};
use crate::ui::strip::Strip;
use gloo::utils::window;
use moescope_common::format;
use moescope_common::t;
use serde::Deserialize;
use serde_json::Value;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::HtmlTextAreaElement;
use yew::prelude::*;

/// The losses, and their colours as experts' numbers.
const KINDS: [(&str, &str, u32); 3] =
    [("train", "tune.train", 0), ("same-kind", "tune.held", 5), ("all-kinds", "tune.general", 2)];

/// Widths of a chart in a run and among the recorded ones, in units of its picture.
const WIDE: f64 = 520.0;
const NARROW: f64 = 260.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 32.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;

/// A line: its colour, and steps with losses.
type Line = (u32, Vec<(f64, f64)>);

/// Losses over steps, with a mark where held-out text had the least.
fn chart(width: f64, lines: &[Line], most: f64, best: Option<f64>, label: String) -> Html {
    let last = lines.iter().flat_map(|(_, line)| line).map(|(step, _)| *step).fold(1.0, f64::max);
    let x = |step: f64| LEFT + step / last * (width - LEFT - 8.0);
    let y = |loss: f64| TOP + (1.0 - loss / most.max(1e-6)) * (HEIGHT - TOP - BOTTOM);
    let ticks = (0..=most.floor() as u32).filter(|tick| most < 5.0 || tick.is_multiple_of(2));
    let ticks = ticks.map(|tick| {
        let at = y(f64::from(tick));
        html! {
            <g key={tick}>
                <line x1={LEFT.to_string()} x2={(width - 8.0).to_string()} y1={at.to_string()} y2={at.to_string()}
                    class="tune-grid" />
                <text x={(LEFT - 6.0).to_string()} y={(at + 4.0).to_string()} text-anchor="end">{ tick }</text>
            </g>
        }
    });
    let paths = lines.iter().map(|(colour, line)| {
        let points = line.iter().map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss)));
        let points = points.collect::<Vec<_>>().join(" ");
        let end = line.last().map(|(step, loss)| (format!("{:.1}", x(*step)), format!("{:.1}", y(*loss))));
        html! {
            <g key={*colour} data-e={colour.to_string()} class="tune-line">
                <polyline {points} />
                if let Some((cx, cy)) = end { <circle {cx} {cy} r="3" /> }
            </g>
        }
    });
    let best = best.map(|step| {
        let at = format!("{:.1}", x(step));
        html! {
            <line x1={at.clone()} x2={at} y1={TOP.to_string()} y2={(HEIGHT - BOTTOM).to_string()} class="tune-best" />
        }
    });
    html! {
        <svg class="tune-chart" viewBox={format!("0 0 {width} {HEIGHT}")} role="img" aria-label={label}>
            { for ticks }
            { for best }
            { for paths }
            <text x={LEFT.to_string()} y={(HEIGHT - 6.0).to_string()}>{ "0" }</text>
            <text x={(width - 8.0).to_string()} y={(HEIGHT - 6.0).to_string()} text-anchor="end">
                { t!("curves.steps", n = format::count(last)) }</text>
        </svg>
    }
}

/// What the lines are.
fn legend() -> Html {
    let names = KINDS.iter().map(|(_, key, colour)| {
        html! { <span key={*colour} class="in-colour" data-e={colour.to_string()}>{ t!(key) }</span> }
    });
    html! { <p class="tune-legend">{ for names }</p> }
}

fn lines(curve: &Value) -> Vec<Line> {
    let line = |(key, _, colour): &(&str, &str, u32)| {
        let moments = curve.as_array().into_iter().flatten();
        let points = moments.filter_map(|moment| Some((moment["step"].as_f64()?, moment[*key].as_f64()?)));
        (*colour, points.collect())
    };
    KINDS.iter().map(line).collect()
}

/// The largest loss of some runs.
pub fn most(runs: &[&Value]) -> f64 {
    let all = runs.iter().flat_map(|drawn| lines(&drawn["curve"]));
    all.flat_map(|(_, line)| line).map(|(_, loss)| loss).fold(1.0, f64::max)
}

#[derive(Properties, PartialEq)]
pub struct TunedProps {
    /// The run's state.
    pub drawn: Value,
    /// The top of the chart.
    pub most: f64,
    pub layer: usize,
}

/// A run: its losses, and the model before and after.
#[component]
pub fn Tuned(props: &TunedProps) -> Html {
    let drawn = &props.drawn;
    let text = |key: &str| drawn[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| drawn[key].as_f64().unwrap_or_default();
    let trained =
        t!("tune.trained", trained = format::count(number("trained")), all = format::count(number("parameters")));
    let moved = drawn["moved"][props.layer].as_f64();
    let is_sparse = drawn["experts"][0].as_array().zip(drawn["experts-before"][0].as_array()).is_some()
        && drawn["experts"].to_string().contains(|c: char| ('1'..='9').contains(&c));
    let best = drawn["best-step"].as_f64().filter(|step| *step > 0.0);
    html! {
        <div class="tuned">
            { legend() }
            { chart(WIDE, &lines(&drawn["curve"]), props.most, best, t!("tune.chart")) }
            <p class="soft">{ trained }
                if let Some(best) = best { { " " }{ t!("tune.best", step = format::count(best)) } }</p>
            <dl class="tune-written">
                <dt>{ t!("tune.before") }</dt>
                <dd data-testid="tune-before">
                    <span class="soft">{ text("prompt") }</span>{ text("written-before") }</dd>
                <dt>{ t!("tune.after", step = format::count(number("written-at"))) }</dt>
                <dd data-testid="tune-after">
                    <span class="soft">{ text("prompt") }</span>{ text("written") }</dd>
            </dl>
            if is_sparse {
                <Strip tokens={drawn["tokens"].clone()} experts={drawn["experts"].clone()}
                    other={Rc::new(drawn["experts-before"].clone())} top_k={number("top-k") as usize}
                    layer={props.layer} label={t!("tune.strip")} />
                <p class="soft" data-testid="tune-moved" data-moved={moved.unwrap_or_default().to_string()}>
                    { t!("tune.moved", share = format::percent(moved.unwrap_or_default()),
                        step = format::count(number("routed-at"))) }</p>
            } else {
                <p class="soft">{ t!("tune.dense") }</p>
            }
        </div>
    }
}

#[derive(Properties, PartialEq)]
pub struct TextProps {
    /// The reader's text; empty for the given one.
    pub text: String,
    pub trained: u64,
    pub held_out: u64,
    pub set: Callback<String>,
}

/// The text to train on.
#[component]
pub fn TuneText(props: &TextProps) -> Html {
    let given = use_state(String::new);
    {
        let given = given.clone();
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move {
                given.set(site::fetch_text(&site::file("lab/given.txt")).await.unwrap_or_default());
            });
        });
    }
    let shown = if props.text.is_empty() { (*given).clone() } else { props.text.clone() };
    let change = {
        let (set, given) = (props.set.clone(), given.clone());
        Callback::from(move |event: Event| {
            let area = event.target().and_then(|target| target.dyn_into::<HtmlTextAreaElement>().ok());
            if let Some(text) = area.map(|area| area.value()) {
                set.emit(if text == *given {
                    String::new()
                } else if text.is_empty() {
                    " ".into()
                } else {
                    text
                });
            }
        })
    };
    let back = props.set.reform(|_: MouseEvent| String::new());
    html! {
        <div class="tune-text">
            <label for="tune-text">{ t!("tune.text") }</label>
            <textarea id="tune-text" data-testid="tune-text" rows="7" spellcheck="false" value={shown}
                onchange={change} />
            if props.trained > 0 {
                <p class="soft">{ t!("tune.tokens", trained = format::count(props.trained as f64),
                    held_out = format::count(props.held_out as f64)) }</p>
            }
            if !props.text.is_empty() {
                <button type="button" class="small" data-testid="tune-given" onclick={back}>
                    { t!("tune.given") }</button>
            }
        </div>
    }
}

/// The site's address, from which kept models are named.
pub fn site_address() -> String {
    window().location().href().unwrap_or_default().split(['#', '?']).next().map_or_else(String::new, |page| {
        page.rsplit_once('/').map_or_else(String::new, |(directory, _)| format!("{directory}/"))
    })
}

#[derive(Properties, PartialEq)]
pub struct KeptProps {
    /// Changes where a model was kept.
    pub count: usize,
}

/// The kept models.
#[component]
pub fn Kept(props: &KeptProps) -> Html {
    let names = use_state(Vec::new);
    let forgotten = use_state(|| 0);
    {
        let names = names.clone();
        use_effect_with((props.count, *forgotten), move |_| {
            wasm_bindgen_futures::spawn_local(async move { names.set(keep::names(&site_address()).await) });
        });
    }
    if names.is_empty() {
        return html! {};
    }
    let rows = names.iter().map(|name| {
        let forget = {
            let (name, forgotten) = (name.clone(), forgotten.clone());
            Callback::from(move |_: MouseEvent| {
                let (name, forgotten) = (name.clone(), forgotten.clone());
                wasm_bindgen_futures::spawn_local(async move {
                    keep::forget(&site_address(), &name).await;
                    forgotten.set(*forgotten + 1);
                });
            })
        };
        html! {
            <li key={name.clone()} data-testid="tune-kept" data-name={name.clone()}>
                <span>{ name }</span>
                <a class="button small" data-testid="tune-explore" href={explore(name)}>{ t!("tune.explore") }</a>
                <button type="button" class="small" data-testid="tune-forget" onclick={forget}>
                    { t!("tune.forget") }</button>
            </li>
        }
    });
    html! {
        <section class="card tune-kept">
            <h2>{ t!("tune.kept") }</h2>
            <ul>{ for rows }</ul>
        </section>
    }
}

/// The address of Explore with a kept model.
fn explore(name: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("model", &format!("./{}", keep::directory_of(name)));
    format!("#/?{}", query.finish())
}

/// The recorded runs, as docs/fine-tuning.json has them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Record {
    runs: Vec<Recorded>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Recorded {
    model: String,
    text: String,
    trained: String,
    curve: Vec<Point>,
    moved: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Point {
    step: f64,
    train: f64,
    held_out: f64,
    general: f64,
}

impl Recorded {
    fn lines(&self) -> Vec<Line> {
        let line = |loss: fn(&Point) -> f64| self.curve.iter().map(|point| (point.step, loss(point))).collect();
        vec![(KINDS[0].2, line(|p| p.train)), (KINDS[1].2, line(|p| p.held_out)), (KINDS[2].2, line(|p| p.general))]
    }

    fn best(&self) -> Option<&Point> {
        self.curve.iter().min_by(|a, b| a.held_out.total_cmp(&b.held_out))
    }
}

#[derive(Properties, PartialEq)]
struct RecordedProps {
    /// `narrow` or `tasks`.
    pub text: String,
    /// Called with figures: of each run its losses at the beginning, at its best and at the end.
    pub figures: Callback<Measures>,
}

/// The recorded runs on a text, a chart each.
#[component]
fn RecordedRuns(props: &RecordedProps) -> Html {
    let record = use_state(|| None::<Rc<Record>>);
    {
        let (record, report) = (record.clone(), props.figures.clone());
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move {
                let Some(came) = fetch_json::<Record>(&site::file("lab/fine-tuning.json")).await else { return };
                report.emit(figures(&came));
                record.set(Some(Rc::new(came)));
            });
        });
    }
    let Some(record) = (*record).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    let runs: Vec<&Recorded> = record.runs.iter().filter(|run| run.text == props.text).collect();
    let top = runs.iter().flat_map(|run| run.lines()).flat_map(|(_, line)| line).map(|(_, loss)| loss);
    let top = top.fold(1.0, f64::max);
    let charts = runs.iter().map(|run| {
        let name = format!("{}, {}", run.model, t!(&format!("choice.trained.{}", run.trained)));
        let (best, last) = (run.best(), run.curve.last());
        let figures = t!(
            "tune.recorded-figures",
            best = format::decimal(best.map_or(0.0, |p| p.held_out)),
            step = format::count(best.map_or(0.0, |p| p.step)),
            end = format::decimal(last.map_or(0.0, |p| p.held_out)),
            moved = format::percent(run.moved.iter().sum::<f64>() / run.moved.len().max(1) as f64)
        );
        html! {
            <figure key={name.clone()} class="tune-recorded" data-testid="tune-recorded"
                data-best={best.map_or(0.0, |p| p.held_out).to_string()}>
                <figcaption>{ name.clone() }</figcaption>
                { chart(NARROW, &run.lines(), top, best.map(|p| p.step).filter(|step| *step > 0.0), name) }
                <p class="soft">{ figures }</p>
            </figure>
        }
    });
    html! {
        <figure class="picture-card">
            <figcaption>{ t!(&format!("tune.recorded.{}", props.text)) }</figcaption>
            { legend() }
            <div class="tune-recordings">{ for charts }</div>
            <p class="hint">{ t!("tune.recorded.from") }</p>
        </figure>
    }
}

fn figures(record: &Record) -> Measures {
    let mut all = Measures::new();
    for run in &record.runs {
        let name = format!("{}-{}-{}", run.text, run.model, run.trained);
        if let (Some(first), Some(best), Some(last)) = (run.curve.first(), run.best(), run.curve.last()) {
            all.insert(format!("{name}-first"), first.held_out);
            all.insert(format!("{name}-best"), best.held_out);
            all.insert(format!("{name}-end"), last.held_out);
            all.insert(format!("{name}-general"), last.general);
        }
    }
    all
}

#[derive(Properties, PartialEq)]
pub struct RecordingsProps {
    /// As of [`RecordedRuns`].
    pub figures: Callback<Measures>,
}

/// The recorded runs in a lab, of the text that the reader chooses.
#[component]
pub fn Recordings(props: &RecordingsProps) -> Html {
    let tasks = use_state_eq(|| false);
    let choose = |on: bool| {
        let tasks = tasks.clone();
        Callback::from(move |_: Event| tasks.set(on))
    };
    html! {
        <section class="card tune-record" data-testid="tune-record">
            <h2>{ t!("tune.recorded") }</h2>
            <p class="soft">{ t!("tune.recorded.about") }</p>
            <div class="segments">
                <label><input type="radio" name="recorded" checked={!*tasks} onchange={choose(false)} />
                    <span>{ t!("tune.narrow") }</span></label>
                <label><input type="radio" name="recorded" checked={*tasks} data-testid="tune-tasks"
                    onchange={choose(true)} /><span>{ t!("tune.tasks") }</span></label>
            </div>
            <RecordedRuns text={if *tasks { "tasks" } else { "narrow" }} figures={props.figures.clone()} />
        </section>
    }
}
