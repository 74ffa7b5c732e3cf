//! The flow through the layers: a column for each layer, a node for each expert, and bands from expert to expert whose
//! width is the number of assignments.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::Trace;
use crate::routing::analytics::{Flow, flows, path_count};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf};
use crate::ui::browser::canvas::{rem, use_width};
use crate::ui::charts::as_table::AsTable;
use crate::ui::strip::token_text::quoted;
use std::rc::Rc;
use yew::prelude::*;

/// The most bands between two layers; the thinnest ones are left out, which the picture says.
const MOST_BANDS: usize = 160;

#[derive(Properties, PartialEq)]
pub struct FlowPictureProps {
    pub trace: Shared<Trace>,
    /// The chosen token; all tokens with its id are highlighted.
    pub pinned: Option<usize>,
    /// Which tokens were found; they are highlighted rather than any others.
    pub found: Shared<Vec<bool>>,
    /// The chosen expert; its tokens are highlighted where no token is chosen.
    pub expert: Option<ExpertOf>,
    pub dispatch: Callback<Action>,
}

/// The picture.
#[component]
pub fn FlowPicture(props: &FlowPictureProps) -> Html {
    let frame = use_node_ref();
    let width = use_width(&frame);
    let trace = &*props.trace;
    let chosen = chosen(props);
    let any_chosen = chosen.iter().any(|&c| c);
    let layers = trace.layers.len();
    let experts = trace.layers.iter().map(|layer| layer.experts).max().unwrap_or(1);
    let layout = Layout::new(width, layers, experts, trace);
    let gaps: Vec<Vec<Flow>> =
        (0..layers.saturating_sub(1)).map(|index| flows(trace, index, |position| chosen[position])).collect();
    let left_out: usize = gaps.iter().map(|gap| gap.len().saturating_sub(MOST_BANDS)).sum();
    let gaps = Rc::new(gaps);
    let content = {
        let (gaps, trace) = (gaps.clone(), props.trace.clone());
        Callback::from(move |()| table(&gaps, &trace))
    };
    let view_box = format!("0 0 {} {}", layout.width, layout.height);
    html! {
        <>
            <div class="map flow" ref={frame}>
                <svg viewBox={view_box} width={layout.width.to_string()} height={layout.height.to_string()} role="group"
                    aria-label={t!("flow.label")}>
                    { for gaps.iter().enumerate().map(|(index, gap)| bands(&layout, index, gap, any_chosen)) }
                    { for (0..layers).map(|index| nodes(&layout, trace, index, props)) }
                </svg>
            </div>
            <p class="hint">
                { highlighted(props) }{ " " }
                { t!(path_count(trace); "flow.paths", tokens = format::count(trace.len() as f64)) }
                if left_out > 0 { { " " }{ t!(left_out; "flow.left-out") } }
            </p>
            <AsTable caption={t!("flow.table")} {content} />
        </>
    }
}

/// Which tokens are highlighted: those like the chosen token, or those that the chosen expert handled.
fn chosen(props: &FlowPictureProps) -> Vec<bool> {
    let trace = &*props.trace;
    if props.found.contains(&true) {
        return props.found.to_vec();
    }
    let id = props.pinned.and_then(|position| trace.tokens.get(position)).map(|token| token.id);
    let layer = props.expert.and_then(|chosen| Some((trace.layer(chosen.layer)?, chosen.expert)));
    (0..trace.len())
        .map(|position| match (layer, id) {
            (Some((layer, expert)), _) => layer.selected_of(position).contains(&expert),
            (None, Some(id)) => trace.tokens[position].id == id,
            (None, None) => false,
        })
        .collect()
}

fn highlighted(props: &FlowPictureProps) -> String {
    let token = props.pinned.and_then(|position| props.trace.tokens.get(position));
    if props.found.contains(&true) {
        return t!("flow.of-found");
    }
    match (props.expert, token) {
        (Some(chosen), _) => t!("flow.of-expert", expert = chosen.expert, layer = chosen.layer),
        (None, Some(token)) => t!("flow.of-token", text = quoted(&token.text, token.bytes.as_deref())),
        (None, None) => t!("flow.choose"),
    }
}

/// The positions of all elements, in CSS pixels.
struct Layout {
    rem: f64,
    width: f64,
    height: f64,
    layers: usize,
    experts: usize,
    /// Height of one assignment.
    unit: f64,
}

impl Layout {
    fn new(room: f64, layers: usize, experts: usize, trace: &Trace) -> Self {
        let rem = rem();
        let row = if experts <= 16 { 2.4 } else { 0.95 } * rem;
        let width = room.max(layers as f64 * 5.0 * rem).max(1.0);
        let most = trace.layers.iter().map(most_assignments).max().unwrap_or(1).max(1);
        let unit = (row * 0.86 / most as f64).min(0.5 * rem);
        Self { rem, width, height: row * experts as f64 + 1.8 * rem, layers, experts, unit }
    }

    /// The centre of a node.
    fn node(&self, layer: usize, expert: u32) -> (f64, f64) {
        let edge = 1.4 * self.rem;
        let step = (self.width - 2.0 * edge) / (self.layers.saturating_sub(1)).max(1) as f64;
        let head = 1.8 * self.rem;
        let row = (self.height - head) / self.experts as f64;
        (edge + step * layer as f64, head + row * (f64::from(expert) + 0.5))
    }

    fn half_node(&self) -> f64 {
        0.68 * self.rem
    }
}

fn most_assignments(layer: &crate::routing::LayerTrace) -> usize {
    let mut counts = vec![0usize; layer.experts];
    layer.assignments().for_each(|expert| counts[expert as usize] += 1);
    counts.into_iter().max().unwrap_or(0)
}

/// The bands between two layers, the widest first, stacked at their nodes so that they do not overlap there.
fn bands(layout: &Layout, index: usize, gap: &[Flow], any_chosen: bool) -> Html {
    let mut order: Vec<&Flow> = gap.iter().take(MOST_BANDS).collect();
    order.sort_by_key(|flow| (flow.from, flow.to));
    let total = |side: fn(&Flow) -> u32, expert: u32| -> f64 {
        gap.iter().filter(|flow| side(flow) == expert).map(|flow| f64::from(flow.all)).sum::<f64>() * layout.unit
    };
    let starts: Vec<f64> = (0..layout.experts as u32).map(|expert| -total(|flow| flow.from, expert) / 2.0).collect();
    let ends: Vec<f64> = (0..layout.experts as u32).map(|expert| -total(|flow| flow.to, expert) / 2.0).collect();
    let (mut out, mut into) = (starts, ends);
    let mut shown = Vec::with_capacity(order.len());
    for flow in order {
        let thickness = f64::from(flow.all) * layout.unit;
        let (x1, y1) = layout.node(index, flow.from);
        let (x2, y2) = layout.node(index + 1, flow.to);
        let y1 = y1 + out[flow.from as usize] + thickness / 2.0;
        let y2 = y2 + into[flow.to as usize] + thickness / 2.0;
        out[flow.from as usize] += thickness;
        into[flow.to as usize] += thickness;
        let (x1, x2) = (x1 + layout.half_node(), x2 - layout.half_node());
        let bend = (x2 - x1) * 0.5;
        let path = format!("M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}", x1 + bend, x2 - bend);
        let key = format!("{}-{}", flow.from, flow.to);
        let class = if any_chosen { "band behind" } else { "band" };
        shown.push((key, class, path.clone(), thickness, flow.from, flow.to));
        if flow.chosen > 0.0 {
            let key = format!("{}-{}-chosen", flow.from, flow.to);
            shown.push((key, "band chosen", path, f64::from(flow.chosen) * layout.unit, flow.from, flow.to));
        }
    }
    // Highlighted bands are drawn on top.
    shown.sort_by_key(|band| band.1 == "band chosen");
    let bands = shown.into_iter().map(|(key, class, path, thickness, from, to)| {
        html! {
            <path {key} {class} d={path} data-to={to.to_string()}
                stroke-width={format!("{:.2}", thickness.max(if class == "band chosen" { 2.0 } else { 0.6 }))}
                data-e={from.to_string()} />
        }
    });
    html! { <g aria-hidden="true">{ for bands }</g> }
}

fn nodes(layout: &Layout, trace: &Trace, index: usize, props: &FlowPictureProps) -> Html {
    let layer = &trace.layers[index];
    let mut counts = vec![0usize; layer.experts];
    layer.assignments().for_each(|expert| counts[expert as usize] += 1);
    let (x, _) = layout.node(index, 0);
    let nodes = counts.into_iter().enumerate().map(|(expert, count)| {
        let chosen = ExpertOf { layer: layer.layer, expert: expert as u32 };
        let (x, y) = layout.node(index, chosen.expert);
        let half = layout.half_node();
        let height = (count as f64 * layout.unit).max(if layout.experts <= 16 { 1.25 * layout.rem } else { 2.0 });
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Expert(Some(chosen)));
        let by_key = {
            let dispatch = props.dispatch.clone();
            Callback::from(move |event: KeyboardEvent| {
                if matches!(event.key().as_str(), "Enter" | " ") {
                    event.prevent_default();
                    dispatch.emit(Action::Expert(Some(chosen)));
                }
            })
        };
        let class =
            classes!("node", (count == 0).then_some("idle"), (props.expert == Some(chosen)).then_some("selected"));
        let label = t!(count; "flow.node", expert = expert, layer = layer.layer);
        html! {
            <g key={expert} {class} data-e={expert.to_string()} role="button" tabindex="0" aria-label={label.clone()}
                onclick={choose} onkeydown={by_key}>
                <title>{ label }</title>
                <rect x={px(x - half)} y={px(y - height / 2.0)} width={px(2.0 * half)} height={px(height)} rx="4" />
                if layout.experts <= 16 { <text x={px(x)} y={px(y)}>{ expert }</text> }
            </g>
        }
    });
    html! {
        <g>
            <text class="node-head" x={px(x)} y={px(0.7 * layout.rem)}>{ format!("L{}", layer.layer) }</text>
            { for nodes }
        </g>
    }
}

fn px(x: f64) -> String {
    format!("{x:.1}")
}

/// The most bands listed for two layers.
const LISTED: usize = 12;

fn table(gaps: &[Vec<Flow>], trace: &Trace) -> Html {
    let rows = gaps.iter().enumerate().flat_map(|(index, gap)| {
        let (from, to) = (trace.layers[index].layer, trace.layers[index + 1].layer);
        gap.iter().take(LISTED).map(move |flow| {
            html! {
                <tr>
                    <th scope="row">{ format!("L{from} \u{2192} L{to}") }</th>
                    <td>{ flow.from }</td><td>{ flow.to }</td><td>{ format::tenth(f64::from(flow.all)) }</td>
                </tr>
            }
        })
    });
    html! {
        <>
            <thead><tr>
                <th scope="col">{ t!("table.layers") }</th><th scope="col">{ t!("table.from") }</th>
                <th scope="col">{ t!("table.to") }</th><th scope="col">{ t!("table.assignments") }</th>
            </tr></thead>
            <tbody>{ for rows }</tbody>
        </>
    }
}
