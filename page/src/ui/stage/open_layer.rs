//! The open layer of the stage: attention, the router's bars, the experts and their lines, the sum.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::ExpertOf;
use crate::state::anatomy::{Anatomy, Chosen};
use crate::ui::stage::places::{Grid, LINE_Y, OPEN_WIDTH};
use crate::ui::stage::small_layer::plus;
use yew::prelude::*;

/// The least height of boxes with a line of text below the number.
const TWO_LINES: f32 = 38.0;

/// The least width of boxes with a number.
const FOR_NUMBER: f32 = 17.0;

/// The points where the lines leave the router and reach the sum, relative to the left end of the layer.
const ROUTER: (f32, f32) = (104.0, 190.0);
const SUM: (f32, f32) = (368.0, 146.0);

#[derive(Properties, PartialEq)]
pub struct OpenLayerProps {
    /// Its left end.
    pub x: f32,
    pub layer: usize,
    /// What the layer did to the token; `None` in a layer without experts.
    pub anatomy: Option<Anatomy>,
    /// The position of the token; its lines are drawn again when it changes.
    pub position: usize,
    /// Number of shared experts.
    pub shared: usize,
    /// The token that attention looks at most, and how much on average.
    pub looks_at: Option<(String, String)>,
    /// Draw one large network.
    pub dense: bool,
    /// The expert that is chosen or under the pointer.
    pub expert: Option<u32>,
    pub on_expert: Callback<Option<ExpertOf>>,
    pub on_point: Callback<Option<ExpertOf>>,
}

/// The layer.
#[component]
pub fn OpenLayer(props: &OpenLayerProps) -> Html {
    let content = match &props.anatomy {
        Some(anatomy) if !props.dense && !anatomy.probabilities.is_empty() => experts(props, anatomy),
        _ => network(),
    };
    html! {
        <g key={props.layer} transform={format!("translate({:.1} 0)", props.x)}>
            <rect class="stage-block open" x="0" y="60" width={OPEN_WIDTH.to_string()} height="184" rx="12" />
            <path class="stage-wire" d={format!("M22 {LINE_Y}V72")} />
            { attention(props.looks_at.as_ref()) }
            { content }
            <g>
                <title>{ t!("stage.sum.about") }</title>
                <path class="stage-wire" d={format!("M{} {}V{}", SUM.0, SUM.1 - 13.0, LINE_Y + 7.0)} />
                <circle class="stage-plus" cx={SUM.0.to_string()} cy={SUM.1.to_string()} r="13" />
                <text x={SUM.0.to_string()} y={(SUM.1 + 5.0).to_string()} text-anchor="middle">{ "\u{3a3}" }</text>
                { plus(SUM.0) }
            </g>
        </g>
    }
}

/// Attention: the name, and the token that it looks at most.
fn attention(looks_at: Option<&(String, String)>) -> Html {
    let title =
        looks_at.map_or_else(String::new, |(text, weight)| t!("stage.looks-at.about", text = text, weight = weight));
    html! {
        <g>
            <title>{ t!("stage.attention.about") }{ " " }{ title }</title>
            <rect class="stage-part" x="12" y="72" width="92" height="42" rx="8" />
            if let Some((text, _)) = looks_at {
                <text x="58" y="89" text-anchor="middle">{ t!("stage.attention") }</text>
                <text class="looked" x="58" y="107" text-anchor="middle" data-testid="stage-looks-at">
                    { "\u{2192} " }{ text }</text>
            } else {
                <text x="58" y="98" text-anchor="middle">{ t!("stage.attention") }</text>
            }
        </g>
    }
}

/// What a layer without experts has: one large network, all of it working.
fn network() -> Html {
    html! {
        <g>
            <title>{ t!("stage.network.about") }</title>
            <path class="stage-wire" d={format!("M58 114V150H136M340 150H{}", SUM.0 - 13.0)} />
            <rect class="stage-network" x="136" y="76" width="204" height="154" rx="12" />
            <text class="strong" x="238" y="148" text-anchor="middle">{ t!("stage.network") }</text>
            <text x="238" y="170" text-anchor="middle">{ t!("stage.network.works") }</text>
        </g>
    }
}

fn experts(props: &OpenLayerProps, anatomy: &Anatomy) -> Html {
    let grid = Grid::new(anatomy.probabilities.len(), props.shared > 0);
    let boxes = |on: bool| {
        let these =
            (0..anatomy.probabilities.len() as u32).filter(move |expert| anatomy.choice(*expert).is_some() == on);
        these.map(|expert| expert_box(props, anatomy, &grid, expert)).collect::<Html>()
    };
    // The lines of another token are drawn again, starting at the router.
    let lines = anatomy.chosen.iter().map(|chosen| line(&grid, chosen));
    html! {
        <>
            <path class="stage-wire" d="M58 114V132" />
            { router(anatomy) }
            // Behind the boxes: with many experts the lines cross those that rest.
            <g key={format!("lines-{}-{}", props.layer, props.position)} class="stage-lines">{ for lines }</g>
            { boxes(false) }
            { boxes(true) }
            if props.shared > 0 { { shared(props.shared) } }
        </>
    }
}

/// The router's probabilities as bars; for a gate over groups, first those of the groups.
fn router(anatomy: &Anatomy) -> Html {
    let bars = |shares: &[f32], left: f32, width: f32, of_experts: bool| -> Html {
        let pitch = width / shares.len().max(1) as f32;
        let bar = |(number, share): (usize, &f32)| {
            let height = (share * 62.0).max(2.0);
            let on = of_experts && anatomy.choice(number as u32).is_some();
            let x = left + pitch * number as f32;
            let class = match (of_experts, on) {
                (false, _) => "stage-group",
                (true, true) => "stage-on",
                (true, false) => "stage-rest",
            };
            html! {
                <g key={number}>
                    <rect {class} data-e={of_experts.then(|| number.to_string())} rx="1.5" x={format!("{x:.1}")}
                        width={format!("{:.1}", pitch * 0.8)} style={format!("y:{:.1}px;height:{height:.1}px", 220.0 -
                        height)} />
                </g>
            }
        };
        shares.iter().enumerate().map(bar).collect()
    };
    let grouped = !anatomy.groups.is_empty();
    let title = if grouped { t!("stage.router.groups.about") } else { t!("stage.router.about") };
    html! {
        <g>
            <title>{ title }</title>
            <text class="strong" x="14" y="148">{ t!("stage.router") }</text>
            if grouped {
                { bars(&anatomy.groups, 12.0, 28.0, false) }
                <text class="digit" x="26" y="236" text-anchor="middle">{ t!("stage.groups") }</text>
                { bars(&anatomy.probabilities, 48.0, 54.0, true) }
            } else {
                { bars(&anatomy.probabilities, 12.0, 90.0, true) }
            }
        </g>
    }
}

fn expert_box(props: &OpenLayerProps, anatomy: &Anatomy, grid: &Grid, expert: u32) -> Html {
    let ((x, y), (width, height)) = (grid.at(expert as usize), grid.size);
    let choice = anatomy.choice(expert);
    let off = anatomy.off.get(expert as usize) == Some(&true);
    let forced = anatomy.forced.contains(&expert);
    let works = choice.is_some_and(|chosen| !chosen.dropped);
    let here = ExpertOf { layer: props.layer, expert };
    let choose = {
        let (on_expert, chosen) = (props.on_expert.clone(), (props.expert != Some(expert)).then_some(here));
        Callback::from(move |_: MouseEvent| on_expert.emit(chosen.or(Some(here))))
    };
    let point = |to: Option<ExpertOf>| {
        let on_point = props.on_point.clone();
        Callback::from(move |_: MouseEvent| on_point.emit(to))
    };
    let state = match choice {
        Some(chosen) if chosen.dropped => t!("stage.full"),
        Some(chosen) => format::percent(f64::from(chosen.weight)),
        None if off => t!("stage.off"),
        None => String::new(),
    };
    let title = match choice {
        Some(chosen) if chosen.dropped => t!("stage.expert.full", expert = expert),
        Some(_) if forced => t!("stage.expert.forced", expert = expert, weight = state),
        Some(_) => t!("stage.expert.on", expert = expert, weight = state),
        None if off => t!("stage.expert.off", expert = expert),
        None => t!("stage.expert.rests", expert = expert),
    };
    let class = classes!(
        "stage-expert",
        works.then_some("on"),
        choice.is_some_and(|chosen| chosen.dropped).then_some("full"),
        off.then_some("off"),
        forced.then_some("forced"),
        (props.expert == Some(expert)).then_some("marked")
    );
    let two = height >= TWO_LINES && !state.is_empty();
    let middle = y + height / 2.0;
    html! {
        <g key={expert} {class} data-testid="stage-expert" data-expert={expert.to_string()} data-on={works.to_string()}
            data-e={expert.to_string()}
            onclick={choose} onmouseenter={point(Some(here))} onmouseleave={point(None)}>
            <title>{ title }</title>
            <rect x={format!("{x:.1}")} y={format!("{y:.1}")} width={format!("{width:.1}")}
                height={format!("{height:.1}")}
                rx={format!("{:.1}", (width.min(height) * 0.22).min(9.0))} />
            if width >= FOR_NUMBER && height >= 13.0 {
                <text class="strong" x={format!("{:.1}", x + width / 2.0)} text-anchor="middle"
                    y={format!("{:.1}", if two { middle - 3.0 } else { middle + 5.0 })}>{ expert }</text>
            }
            if two {
                <text x={format!("{:.1}", x + width / 2.0)} y={format!("{:.1}", middle + 15.0)} text-anchor="middle">
                    { state }</text>
            }
        </g>
    }
}

/// The path of a token through an expert: from the router to the expert and on to the sum. If the expert is full, the
/// path goes around it, because the sum lacks that expert's output.
fn line(grid: &Grid, chosen: &Chosen) -> Html {
    let expert = chosen.expert as usize;
    let ((x, y), (width, height)) = (grid.at(expert), grid.size);
    let middle = x + width / 2.0;
    let thick = format!("stroke-width:{:.1}", 1.5 + 7.5 * chosen.weight.clamp(0.0, 1.0));
    let (rx, ry) = ROUTER;
    let (sx, sy) = SUM;
    let into = match () {
        () if grid.has_corridor() => {
            let (corridor, edge) = (grid.corridor(), if grid.is_above(expert) { y + height } else { y });
            format!("M{rx} {ry}C{} {corridor} {} {corridor} {middle:.1} {edge:.1}", rx + 24.0, middle - 26.0)
        }
        () => {
            let level = y + height / 2.0;
            format!("M{rx} {ry}C{} {ry} {} {level:.1} {x:.1} {level:.1}", rx + 20.0, x - 24.0)
        }
    };
    let out = match () {
        () if grid.has_corridor() => {
            let above = grid.is_above(expert);
            let (edge, outer) = if above { (y, y - 20.0) } else { (y + height, y + height + 20.0) };
            let to = if above { sy - 13.0 } else { sy + 13.0 };
            format!("M{middle:.1} {edge:.1}C{} {outer:.1} {} {outer:.1} {sx} {to}", middle + 18.0, sx - 8.0)
        }
        () => {
            let level = y + height / 2.0;
            format!(
                "M{:.1} {level:.1}C{} {level:.1} {} {sy} {} {sy}",
                x + width,
                x + width + 24.0,
                sx - 40.0,
                sx - 13.0
            )
        }
    };
    if chosen.dropped {
        let around = format!("M{rx} {ry}C{} 250 {} 250 {sx} {}", rx + 40.0, sx - 20.0, sy + 13.0);
        return html! {
            <g key={chosen.expert}>
                <title>{ t!("stage.expert.full", expert = chosen.expert) }</title>
                <path class="stage-flow turned" data-e={chosen.expert.to_string()} d={into} />
                <path class="stage-flow around" d={around} />
            </g>
        };
    }
    html! {
        <g key={chosen.expert} data-e={chosen.expert.to_string()}>
            <path class="stage-flow" pathLength="1" style={thick.clone()} d={into} />
            <path class="stage-flow" pathLength="1" style={thick} d={out} />
        </g>
    }
}

/// The shared experts.
fn shared(count: usize) -> Html {
    html! {
        <g>
            <title>{ t!("stage.shared.about") }</title>
            <path class="stage-wire" d={format!("M{} 218H136M340 218C356 218 366 200 {} {}", ROUTER.0, SUM.0, SUM.1
                + 13.0)} />
            <rect class="stage-network" x="136" y="202" width="204" height="32" rx="8" />
            <text x="238" y="223" text-anchor="middle">{ t!(count; "stage.shared") }</text>
        </g>
    }
}
