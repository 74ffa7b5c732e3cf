//! The routing map: a row for each layer and a column for each token. A cell has the colour of the token's first
//! expert, up to the height of its weight; the rest of the cell has the colour of the next expert.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::{LayerTrace, Trace};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf, LayerChoice};
use crate::ui::browser::canvas::{Align, Pen, css, rem, use_drawing, use_width};
use crate::ui::browser::palette::Palette;
use crate::ui::charts::as_table::AsTable;
use crate::ui::strip::token_text::quoted;
use web_sys::Element;
use yew::prelude::*;

/// Narrowest and widest column, in rem.
const NARROWEST: f64 = 0.16;
const WIDEST: f64 = 1.9;
/// Largest width of the picture in CSS pixels: browsers refuse canvases of more than about 32,000 pixels.
const WIDEST_PICTURE: f64 = 15_000.0;
/// The factor of a zoom step, and the largest zoom.
const ZOOM_STEP: f64 = 1.5;
const MOST_ZOOM: f64 = 64.0;
/// The least width of a column, in rem, for numbers and round corners; a row must also be higher than the next value.
const FOR_NUMBERS: f64 = 0.72;
const FOR_CORNERS: f64 = 0.5;
const HIGH_ENOUGH: f64 = 1.2;

/// The positions of all elements, in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    rem: f64,
    /// Width of the labels at the left.
    labels: f64,
    column: f64,
    row: f64,
    tokens: usize,
    layers: usize,
}

impl Layout {
    fn new(room: f64, tokens: usize, layers: usize, zoom: f64) -> Self {
        let rem = rem();
        let labels = 2.1 * rem;
        let fitting = (room - labels) / tokens.max(1) as f64;
        let row = if layers <= 8 { 2.75 * rem } else { (22.0 * rem / layers as f64).max(0.8 * rem) };
        let column = (fitting * zoom).clamp(NARROWEST * rem, WIDEST * rem).min(WIDEST_PICTURE / tokens.max(1) as f64);
        Self { rem, labels, column, row, tokens, layers }
    }

    fn width(&self) -> f64 {
        (self.labels + self.column * self.tokens as f64).ceil()
    }

    fn height(&self) -> f64 {
        (self.row * self.layers as f64).ceil()
    }

    /// The token and the row at a point.
    fn at(&self, x: f64, y: f64) -> Option<(usize, usize)> {
        let (token, row) = (((x - self.labels) / self.column).floor(), (y / self.row).floor());
        let inside = token >= 0.0 && row >= 0.0 && token < self.tokens as f64 && row < self.layers as f64;
        inside.then_some((token as usize, row as usize))
    }
}

#[derive(Properties, PartialEq)]
pub struct RoutingMapProps {
    pub trace: Shared<Trace>,
    /// Number of tokens of the whole text, so that columns keep their positions during playback.
    pub length: usize,
    pub palette: Shared<Palette>,
    pub dark: bool,
    pub layer: LayerChoice,
    /// The token under the crosshair.
    pub inspected: Option<usize>,
    /// The expert whose tokens stay: all others fade.
    pub marked: Option<ExpertOf>,
    pub dispatch: Callback<Action>,
}

/// The map.
#[component]
pub fn RoutingMap(props: &RoutingMapProps) -> Html {
    let (frame, canvas) = (use_node_ref(), use_node_ref());
    let zoom = use_state_eq(|| 1.0);
    let layout = Layout::new(use_width(&frame), props.length, props.trace.layers.len(), *zoom);
    let size = (layout.width(), layout.height());
    let what = (props.trace.clone(), props.palette.clone(), props.dark, props.marked);
    use_drawing(&canvas, size, what, move |(trace, palette, dark, marked), pen| {
        draw(pen, layout, trace, palette, *dark, *marked);
    });
    keep_in_sight(&frame, layout, props.inspected);

    let at = {
        let (canvas, drawn) = (canvas.clone(), props.trace.len());
        move |event: &MouseEvent| {
            let rect = canvas.cast::<Element>()?.get_bounding_client_rect();
            let (x, y) = (f64::from(event.client_x()) - rect.left(), f64::from(event.client_y()) - rect.top());
            layout.at(x, y).filter(|(token, _)| *token < drawn)
        }
    };
    let hover = {
        let (dispatch, at) = (props.dispatch.clone(), at.clone());
        Callback::from(move |event: MouseEvent| dispatch.emit(Action::Hover(at(&event).map(|(token, _)| token))))
    };
    let leave = props.dispatch.reform(|_: MouseEvent| Action::Hover(None));
    let choose = {
        let (dispatch, trace) = (props.dispatch.clone(), props.trace.clone());
        Callback::from(move |event: MouseEvent| {
            if let Some((token, row)) = at(&event) {
                dispatch.emit(Action::Layer(LayerChoice::One(trace.layers[row].layer)));
                dispatch.emit(Action::Pin(Some(token)));
            }
        })
    };
    let content = {
        let trace = props.trace.clone();
        Callback::from(move |()| table(&trace))
    };
    let inspected = props.inspected.unwrap_or_default();
    let assignments: usize = props.trace.layers.iter().map(|layer| layer.assignments().count()).sum();
    html! {
        <>
            <div class="map" ref={frame} onwheel={wheel(&zoom)} role="slider" tabindex="0" aria-label={t!("map.label")}
                aria-valuemin="0"
                aria-valuemax={props.trace.len().saturating_sub(1).to_string()} aria-valuenow={inspected.to_string()}
                aria-valuetext={spoken(props, inspected)} onkeydown={keys(props)}>
                <div class="map-canvas" style={format!("width:{}px;height:{}px", size.0, size.1)}>
                    <canvas ref={canvas} onmousemove={hover} onmouseleave={leave} onclick={choose} aria-hidden="true" />
                    { crosshair(props, layout) }
                </div>
            </div>
            <div class="axis" style={format!("max-width:{}px", size.0 - layout.labels)}>
                <span>{ t!("map.first") }</span>
                <span>{ t!(props.trace.len(); "map.size", assignments = format::count(assignments as f64)) }</span>
                <span>{ t!("map.newest") }</span>
            </div>
            { zoom_buttons(&zoom) }
            <AsTable caption={t!("table.routing")} {content} />
        </>
    }
}

fn zoomed(zoom: &UseStateHandle<f64>, factor: f64) {
    zoom.set((**zoom * factor).clamp(1.0, MOST_ZOOM));
}

/// The wheel zooms with Ctrl (browsers report a pinch in the same way); otherwise it scrolls.
fn wheel(zoom: &UseStateHandle<f64>) -> Callback<WheelEvent> {
    let zoom = zoom.clone();
    Callback::from(move |event: WheelEvent| {
        if event.ctrl_key() {
            event.prevent_default();
            zoomed(&zoom, if event.delta_y() < 0.0 { ZOOM_STEP.sqrt() } else { 1.0 / ZOOM_STEP.sqrt() });
        }
    })
}

fn zoom_buttons(zoom: &UseStateHandle<f64>) -> Html {
    let by = |factor: f64| {
        let zoom = zoom.clone();
        Callback::from(move |_: MouseEvent| zoomed(&zoom, factor))
    };
    html! {
        <div class="row zoom" role="group" aria-label={t!("map.zoom")}>
            <button type="button" class="quiet small" onclick={by(1.0 / ZOOM_STEP)} disabled={**zoom <= 1.0}
                aria-label={t!("map.zoom-out")}>{ "\u{2212}" }</button>
            <button type="button" class="quiet small" onclick={by(ZOOM_STEP)} aria-label={t!("map.zoom-in")}>{ "+" }
                </button>
            if **zoom > 1.0 {
                <button type="button" class="quiet small" onclick={by(0.0)}>{ t!("map.fit") }</button>
            }
        </div>
    }
}

/// Marks the column of the inspected token and the row of the layer shown.
fn crosshair(props: &RoutingMapProps, layout: Layout) -> Html {
    let row = match props.layer {
        LayerChoice::One(number) => props.trace.layers.iter().position(|layer| layer.layer == number),
        LayerChoice::All => None,
    };
    let row = row.map(|row| {
        let style = format!("top:{}px;height:{}px;width:{}px", row as f64 * layout.row, layout.row, layout.width());
        html! { <span class="map-row" {style}></span> }
    });
    let column = props.inspected.filter(|&token| token < props.trace.len()).map(|token| {
        let width = layout.column.max(4.0);
        let left = layout.labels + token as f64 * layout.column + (layout.column - width) / 2.0;
        html! { <span class="map-column" style={format!("left:{left}px;width:{width}px")}></span> }
    });
    html! { <>{ row }{ column }</> }
}

/// Scrolls the map, if it is wider than its container, so that the inspected token is visible.
#[hook]
fn use_sight(frame: &NodeRef, layout: Layout, inspected: Option<usize>) {
    let frame = frame.clone();
    use_effect_with((layout, inspected), move |(layout, inspected)| {
        let (Some(frame), Some(token)) = (frame.cast::<Element>(), inspected) else { return };
        let room = f64::from(frame.client_width());
        if layout.width() <= room {
            return;
        }
        let x = layout.labels + *token as f64 * layout.column;
        let left = f64::from(frame.scroll_left());
        if x < left + layout.labels || x + layout.column > left + room {
            frame.set_scroll_left((x - room * 0.8).max(0.0) as i32);
        }
    });
}
use use_sight as keep_in_sight;

fn spoken(props: &RoutingMapProps, position: usize) -> String {
    let Some(token) = props.trace.tokens.get(position) else { return String::new() };
    let text = quoted(&token.text, token.bytes.as_deref());
    let shown = props.trace.layers.iter().filter(|layer| match props.layer {
        LayerChoice::One(number) => layer.layer == number,
        LayerChoice::All => true,
    });
    let reads: Vec<String> =
        shown.map(|layer| t!("map.cell", layer = layer.layer, reads = choices(layer, position))).collect();
    t!("strip.token", text = text, position = position, reads = reads.join("; "))
}

/// `5 (87%), 0 (13%)`
fn choices(layer: &LayerTrace, position: usize) -> String {
    let choices = layer.selected_of(position).iter().zip(layer.weights_of(position));
    choices
        .map(|(expert, weight)| format!("{expert} ({})", format::percent(f64::from(*weight))))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Left and right move through the tokens, up and down through the layers.
fn keys(props: &RoutingMapProps) -> Callback<KeyboardEvent> {
    let (dispatch, tokens) = (props.dispatch.clone(), props.trace.len());
    let numbers: Vec<usize> = props.trace.layers.iter().map(|layer| layer.layer).collect();
    let (layer, inspected) = (props.layer, props.inspected.unwrap_or_default());
    Callback::from(move |event: KeyboardEvent| {
        let row = match layer {
            LayerChoice::One(number) => numbers.iter().position(|&n| n == number),
            LayerChoice::All => None,
        };
        let show = |row: usize| numbers.get(row).map(|&number| Action::Layer(LayerChoice::One(number)));
        let action = match event.key().as_str() {
            "ArrowRight" => (inspected + 1 < tokens).then_some(Action::Pin(Some(inspected + 1))),
            "ArrowLeft" => inspected.checked_sub(1).map(|token| Action::Pin(Some(token))),
            "PageDown" => Some(Action::Pin(Some((inspected + 10).min(tokens.saturating_sub(1))))),
            "PageUp" => Some(Action::Pin(Some(inspected.saturating_sub(10)))),
            "Home" => Some(Action::Pin(Some(0))),
            "End" => tokens.checked_sub(1).map(|token| Action::Pin(Some(token))),
            "ArrowDown" => show(row.map_or(0, |row| row + 1)),
            "ArrowUp" => row.map_or_else(|| show(numbers.len().saturating_sub(1)), |row| show(row.checked_sub(1)?)),
            "Escape" => Some(Action::Pin(None)),
            _ => return,
        };
        event.prevent_default();
        if let Some(action) = action {
            dispatch.emit(Action::Hover(None));
            dispatch.emit(action);
        }
    })
}

/// How much is left of the colour of a token that fades.
const FADED: f64 = 0.13;

fn draw(pen: &Pen, layout: Layout, trace: &Trace, palette: &Palette, dark: bool, marked: Option<ExpertOf>) {
    let Layout { rem, labels, column, row, .. } = layout;
    pen.font(0.79 * rem, false);
    let (label, line) = (css("--soft"), css("--hair"));
    for (index, layer) in trace.layers.iter().enumerate() {
        pen.colour(&label, 1.0);
        if row >= 0.9 * rem || index % 4 == 0 {
            pen.text(&format!("L{}", layer.layer), 0.0, row * (index as f64 + 0.5), Align::Left);
        }
        pen.colour(&line, 1.0);
        pen.rectangle(labels, row * (index + 1) as f64 - 1.0, column * layout.tokens as f64, 1.0);
    }
    let gap = if column > FOR_CORNERS * rem { 0.5 } else { 0.0 };
    let is_high = row > HIGH_ENOUGH * rem;
    let corners = if is_high && column > FOR_CORNERS * rem { 2.0 } else { 0.0 };
    // Draws all cells of an expert one after the other, because changing the colour and the font takes most of the
    // time.
    let cells = cells_by_expert(trace, palette.colours());
    let of = marked.and_then(|marked| Some((trace.layer(marked.layer)?, marked.expert)));
    let stays = |token: usize| of.is_none_or(|(layer, expert)| layer.selected_of(token).contains(&expert));
    for (expert, cells) in cells.iter().enumerate() {
        let shade = palette.shade(expert as u32, dark);
        for (second, faded) in [(true, true), (false, true), (true, false), (false, false)] {
            if faded && of.is_none() {
                continue;
            }
            pen.colour(&shade.fill, if second { 0.3 } else { 1.0 } * if faded { FADED } else { 1.0 });
            let these = cells.iter().filter(|cell| cell.second == second && stays(cell.token) != faded);
            for cell in these {
                let (x, y, height) = cell.place(layout);
                if corners > 0.0 && !second {
                    pen.rounded(x + gap, y, column - 2.0 * gap, height, corners);
                } else {
                    pen.rectangle(x + gap, y, column - 2.0 * gap, height);
                }
            }
        }
    }
    if column < FOR_NUMBERS * rem || !is_high {
        return;
    }
    pen.font(0.72 * rem, true);
    for (expert, cells) in cells.iter().enumerate() {
        pen.colour(palette.shade(expert as u32, dark).on_fill, 1.0);
        let number = expert.to_string();
        for cell in cells.iter().filter(|cell| !cell.second && stays(cell.token)) {
            let (x, y, height) = cell.place(layout);
            if height >= 0.85 * rem {
                pen.text(&number, x + column / 2.0, y + height - 0.5 * rem, Align::Centre);
            }
        }
    }
}

/// One expert's part of a cell: `bottom` and `height` are shares of the cell's height.
struct Cell {
    token: usize,
    row: usize,
    bottom: f64,
    height: f64,
    second: bool,
    /// Whether the expert was full; a flat line marks that.
    dropped: bool,
}

impl Cell {
    /// Left, top and height.
    fn place(&self, layout: Layout) -> (f64, f64, f64) {
        let space = layout.row * 0.84;
        let floor = layout.row * (self.row + 1) as f64 - layout.row * 0.07;
        let least = if self.dropped { 2.0 } else { 0.5 };
        let height = (space * self.height - if self.second { 1.0 } else { 0.0 }).max(least);
        let x = layout.labels + self.token as f64 * layout.column;
        (x, (floor - space * (self.bottom + self.height)).min(floor - least), height)
    }
}

fn cells_by_expert(trace: &Trace, experts: usize) -> Vec<Vec<Cell>> {
    let mut cells: Vec<Vec<Cell>> = (0..experts).map(|_| Vec::new()).collect();
    for (row, layer) in trace.layers.iter().enumerate() {
        for token in 0..layer.tokens() {
            let mut bottom = 0.0;
            let choices = layer.selected_of(token).iter().zip(layer.weights_of(token));
            let all: f32 = layer.weights_of(token).iter().sum();
            for (rank, (&expert, &weight)) in choices.enumerate() {
                let height = f64::from(weight / all.max(f32::MIN_POSITIVE));
                if let Some(cells) = cells.get_mut(expert as usize) {
                    let dropped = layer.dropped_of(token).get(rank).copied().unwrap_or_default();
                    cells.push(Cell { token, row, bottom, height, second: rank > 0, dropped });
                }
                bottom += height;
            }
        }
    }
    cells
}

/// The most rows of the table; the CSV has all of them.
const MOST_ROWS: usize = 2000;

fn table(trace: &Trace) -> Html {
    let heads =
        trace.layers.iter().map(|layer| html! { <th scope="col">{ t!("layer.name", layer = layer.layer) }</th> });
    let rows = trace.tokens.iter().enumerate().take(MOST_ROWS).map(|(position, token)| {
        let cells = trace.layers.iter().map(|layer| html! { <td>{ choices(layer, position) }</td> });
        html! {
            <tr key={position}>
                <td>{ position }</td>
                <th scope="row">{ quoted(&token.text, token.bytes.as_deref()) }</th>
                { for cells }
            </tr>
        }
    });
    html! {
        <>
            <thead><tr><th scope="col">{ t!("table.position") }</th><th scope="col">{ t!("table.token") }</th>
                { for heads }</tr></thead>
            <tbody>{ for rows }</tbody>
        </>
    }
}
