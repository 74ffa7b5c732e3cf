//! Layers by experts: each expert's share of its layer's assignments over the text.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::{Trace, balance};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf};
use crate::ui::browser::canvas::{Align, Pen, css, rem, use_drawing, use_width};
use crate::ui::browser::palette::Palette;
use crate::ui::charts::as_table::AsTable;
use web_sys::Element;
use yew::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    rem: f64,
    labels: f64,
    heads: f64,
    column: f64,
    row: f64,
    experts: usize,
    layers: usize,
}

impl Layout {
    fn new(room: f64, experts: usize, layers: usize) -> Self {
        let rem = rem();
        let labels = 2.1 * rem;
        let column = ((room - labels) / experts.max(1) as f64).max(0.45 * rem);
        let row = if layers <= 8 { 2.6 * rem } else { (22.0 * rem / layers as f64).max(0.9 * rem) };
        Self { rem, labels, heads: 1.6 * rem, column, row, experts, layers }
    }

    fn size(&self) -> (f64, f64) {
        (self.labels + self.column * self.experts as f64, self.heads + self.row * self.layers as f64)
    }

    fn at(&self, x: f64, y: f64) -> Option<(usize, u32)> {
        let (row, column) = (((y - self.heads) / self.row).floor(), ((x - self.labels) / self.column).floor());
        let inside = row >= 0.0 && column >= 0.0 && row < self.layers as f64 && column < self.experts as f64;
        inside.then_some((row as usize, column as u32))
    }
}

#[derive(Properties, PartialEq)]
pub struct LoadMapProps {
    pub trace: Shared<Trace>,
    pub palette: Shared<Palette>,
    pub dark: bool,
    pub expert: Option<ExpertOf>,
    pub dispatch: Callback<Action>,
}

/// The heat map.
#[component]
pub fn LoadMap(props: &LoadMapProps) -> Html {
    let (frame, canvas) = (use_node_ref(), use_node_ref());
    let loads = use_memo(props.trace.clone(), |trace| {
        trace.layers.iter().map(|layer| balance(layer).load).collect::<Vec<Vec<f32>>>()
    });
    let experts = loads.iter().map(Vec::len).max().unwrap_or(0);
    let room = use_width(&frame);
    let layout = Layout::new(room, experts, loads.len());
    let size = layout.size();
    let numbers: Vec<usize> = props.trace.layers.iter().map(|layer| layer.layer).collect();
    let what = (loads.clone(), props.palette.clone(), props.dark, numbers.clone());
    use_drawing(&canvas, size, what, move |(loads, palette, dark, numbers), pen| {
        draw(pen, layout, loads, palette, *dark, numbers);
    });
    let choose = {
        let (canvas, dispatch, numbers) = (canvas.clone(), props.dispatch.clone(), numbers.clone());
        Callback::from(move |event: MouseEvent| {
            let Some(rect) = canvas.cast::<Element>().map(|canvas| canvas.get_bounding_client_rect()) else { return };
            let (x, y) = (f64::from(event.client_x()) - rect.left(), f64::from(event.client_y()) - rect.top());
            if let Some((row, expert)) = layout.at(x, y) {
                dispatch.emit(Action::Expert(Some(ExpertOf { layer: numbers[row], expert })));
            }
        })
    };
    let content = {
        let (loads, numbers, dispatch) = (loads.clone(), numbers.clone(), props.dispatch.clone());
        Callback::from(move |()| table(&loads, &numbers, &dispatch))
    };
    let chosen = props.expert.and_then(|chosen| {
        let row = numbers.iter().position(|&number| number == chosen.layer)?;
        let (left, top) =
            (layout.labels + f64::from(chosen.expert) * layout.column, layout.heads + row as f64 * layout.row);
        let style = format!("left:{left}px;top:{top}px;width:{}px;height:{}px", layout.column, layout.row);
        Some(html! { <span class="map-cell" {style}></span> })
    });
    html! {
        <>
            <div class="map" ref={frame} tabindex={(size.0 > room + 1.0).then_some("0")} role="group"
                aria-label={t!("loadmap.label")}>
                <div class="map-canvas" style={format!("width:{}px;height:{}px", size.0, size.1)}>
                    <canvas ref={canvas} onclick={choose} role="img" aria-label={t!("loadmap.label")} />
                    { chosen }
                </div>
            </div>
            <p class="hint">{ t!("loadmap.scale", even = format::small_percent(1.0 / experts.max(1) as f64)) }</p>
            <AsTable caption={t!("loadmap.label")} {content} />
        </>
    }
}

/// The strength of a cell's colour: proportional to the load, and full at twice the even share.
fn strength(load: f32, experts: usize) -> f64 {
    f64::from(load * experts as f32 / 2.0).clamp(0.0, 1.0)
}

/// The opacity of a full cell, at which its text is still readable.
fn full(dark: bool) -> f64 {
    if dark { 0.5 } else { 0.7 }
}

fn draw(pen: &Pen, layout: Layout, loads: &[Vec<f32>], palette: &Palette, dark: bool, numbers: &[usize]) {
    let Layout { rem, labels, heads, column, row, experts, .. } = layout;
    let (ink, soft, empty) = (css("--ink"), css("--soft"), css("--hair"));
    let every = (1.5 * rem / column).ceil().max(1.0) as usize;
    pen.font(0.79 * rem, true);
    for expert in (0..experts).step_by(every) {
        pen.colour(&palette.shade(expert as u32, dark).number, 1.0);
        let x = labels + (expert as f64 + 0.5) * column;
        pen.text(&expert.to_string(), x, heads * 0.42, Align::Centre);
    }
    for (index, load) in loads.iter().enumerate() {
        let y = heads + index as f64 * row;
        pen.font(0.79 * rem, false);
        pen.colour(&soft, 1.0);
        pen.text(&format!("L{}", numbers[index]), 0.0, y + row / 2.0, Align::Left);
        for (expert, &share) in load.iter().enumerate() {
            let x = labels + expert as f64 * column;
            let strength = strength(share, experts);
            let corner = if column > rem { 4.0 } else { 0.0 };
            pen.colour(&empty, 1.0);
            pen.rounded(x + 1.0, y + 1.0, column - 2.0, row - 2.0, corner);
            pen.colour(&palette.shade(expert as u32, dark).fill, full(dark) * strength * strength);
            pen.rounded(x + 1.0, y + 1.0, column - 2.0, row - 2.0, corner);
            if column > 2.6 * rem {
                pen.colour(&ink, 1.0);
                pen.font(0.86 * rem, false);
                pen.text(&format::percent(f64::from(share)), x + column / 2.0, y + row / 2.0, Align::Centre);
            }
        }
    }
}

fn table(loads: &[Vec<f32>], numbers: &[usize], dispatch: &Callback<Action>) -> Html {
    let experts = loads.iter().map(Vec::len).max().unwrap_or(0);
    let heads = (0..experts).map(|expert| html! { <th scope="col">{ expert }</th> });
    let rows = loads.iter().zip(numbers).map(|(load, &layer)| {
        let cells = load.iter().enumerate().map(|(expert, &share)| {
            let chosen = ExpertOf { layer, expert: expert as u32 };
            let choose = dispatch.reform(move |_: MouseEvent| Action::Expert(Some(chosen)));
            let share = format::percent(f64::from(share));
            let label = t!("load.bar", expert = expert, share = share);
            html! { <td><button type="button" class="link" onclick={choose} aria-label={label}>{ share }</button></td> }
        });
        html! { <tr><th scope="row">{ t!("layer.name", layer = layer) }</th>{ for cells }</tr> }
    });
    html! {
        <>
            <thead><tr><th scope="col">{ t!("table.layer") }</th>{ for heads }</tr></thead>
            <tbody>{ for rows }</tbody>
        </>
    }
}
