//! Losses and shares over the steps, drawn.

use crate::history::{History, Moment};
use moescope_common::canvas::{Align, Pen, css, use_drawing, use_width};
use moescope_common::format;
use moescope_common::palette::Palette;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

const HEIGHT: f64 = 150.0;
const SHARES_HEIGHT: f64 = 56.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 10.0;

/// Colours of the runs, as experts' numbers.
pub const RUNS: [u32; 3] = [0, 5, 2];

#[derive(Properties, PartialEq)]
pub struct LossProps {
    pub histories: Rc<Vec<History>>,
    pub names: Rc<Vec<String>>,
    pub dark: bool,
}

/// The losses.
#[component]
pub fn LossCurves(props: &LossProps) -> Html {
    let (place, canvas) = (use_node_ref(), use_node_ref());
    let width = use_width(&place);
    let what = (props.histories.clone(), props.dark);
    use_drawing(&canvas, (width, HEIGHT), what, move |(histories, dark), pen| {
        draw_losses(pen, histories, width, *dark);
    });
    let legend = props.names.iter().zip(RUNS).map(|(name, colour)| {
        html! { <span key={name.clone()} class="in-colour" data-e={colour.to_string()}>{ name.clone() }</span> }
    });
    html! {
        <figure class="curves">
            <figcaption><span>{ t!("curves.loss") }</span>{ for legend }</figcaption>
            <div ref={place}>
                <canvas ref={canvas} role="img" aria-label={t!("curves.loss")} style={format!("height:{HEIGHT}px")}>
                </canvas>
            </div>
        </figure>
    }
}

fn draw_losses(pen: &Pen, histories: &[History], width: f64, dark: bool) {
    let all = || histories.iter().flat_map(History::moments);
    let (least, most) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), moment| {
        (least.min(moment.loss), most.max(moment.loss))
    });
    let last = all().map(|moment| moment.step).max().unwrap_or(0).max(1) as f64;
    if !least.is_finite() {
        return;
    }
    let span = (most - least).max(1e-6);
    let x = |step: u64| LEFT + (step as f64 / last) * (width - LEFT - 8.0);
    let y = |loss: f64| TOP + (most - loss) / span * (HEIGHT - TOP - BOTTOM);
    pen.colour(&css("--line"), 1.0);
    pen.rectangle(LEFT, HEIGHT - BOTTOM, width - LEFT - 8.0, 1.0);
    pen.rectangle(LEFT, TOP, 1.0, HEIGHT - TOP - BOTTOM);
    pen.font(12.0, false);
    pen.colour(&css("--soft"), 1.0);
    pen.text(&format::decimal(most), 2.0, TOP + 4.0, Align::Left);
    pen.text(&format::decimal(least), 2.0, HEIGHT - BOTTOM - 4.0, Align::Left);
    pen.text("0", LEFT, HEIGHT - 7.0, Align::Left);
    let end = t!("curves.steps", n = format::count(last));
    pen.text(&end, (width - 50.0).max(LEFT + 40.0), HEIGHT - 7.0, Align::Centre);
    let palette = Palette::new(8);
    for (history, colour) in histories.iter().zip(RUNS) {
        pen.colour(&palette.shade(colour, dark).fill, 1.0);
        line(pen, history.moments(), x, y);
    }
}

/// A line of short pieces, each a rectangle where it is steep and where it is flat.
fn line(pen: &Pen, moments: &[Moment], x: impl Fn(u64) -> f64, y: impl Fn(f64) -> f64) {
    const THICK: f64 = 2.0;
    for pair in moments.windows(2) {
        let (x0, x1) = (x(pair[0].step), x(pair[1].step));
        let (y0, y1) = (y(pair[0].loss), y(pair[1].loss));
        pen.rectangle(x0, y1 - THICK / 2.0, (x1 - x0).max(1.0), THICK);
        pen.rectangle(x0 - THICK / 2.0, y0.min(y1) - THICK / 2.0, THICK, (y1 - y0).abs() + THICK);
    }
}

#[derive(Properties, PartialEq)]
pub struct ShareProps {
    pub history: Rc<History>,
    pub dark: bool,
}

/// The shares of a run, one on another.
#[component]
pub fn ShareCurves(props: &ShareProps) -> Html {
    let (place, canvas) = (use_node_ref(), use_node_ref());
    let width = use_width(&place);
    let what = (props.history.clone(), props.dark);
    use_drawing(&canvas, (width, SHARES_HEIGHT), what, move |(history, dark), pen| {
        draw_shares(pen, history.moments(), width, *dark);
    });
    html! {
        <div ref={place} class="share-curves">
            <canvas ref={canvas} role="img" aria-label={t!("curves.shares")}
                style={format!("height:{SHARES_HEIGHT}px")}></canvas>
            <span class="soft">{ t!("curves.shares") }</span>
        </div>
    }
}

fn draw_shares(pen: &Pen, moments: &[Moment], width: f64, dark: bool) {
    let Some(last) = moments.last() else { return };
    let palette = Palette::new(last.shares.len().max(8));
    let span = last.step.max(1) as f64;
    let column = |at: usize| moments[at].step as f64 / span * width;
    // Not more columns than can be seen.
    let stride = moments.len().div_ceil((width / 2.0).max(1.0) as usize).max(1);
    for at in (0..moments.len()).step_by(stride) {
        let from = column(at);
        let to = if at + stride < moments.len() { column(at + stride) } else { width };
        let mut top = 0.0;
        for (expert, share) in moments[at].shares.iter().enumerate() {
            pen.colour(&palette.shade(expert as u32, dark).fill, 0.85);
            pen.rectangle(from, top, (to - from).max(1.0) + 0.5, share * SHARES_HEIGHT);
            top += share * SHARES_HEIGHT;
        }
    }
}
