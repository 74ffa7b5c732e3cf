//! The open layer of the stage: attention, the router's bars, the experts and their lines, the sum.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::ExpertOf;
use crate::state::anatomy::{Anatomy, Chosen};
use crate::ui::stage::places::{Grid, LINE_Y, OPEN_WIDTH};
use crate::ui::stage::small_layer::plus;
use std::collections::BTreeSet;
use yew::prelude::*;

/// The least height of boxes with a line of text below the number.
const TWO_LINES: f32 = 38.0;

/// With more experts than this, those that rest have no number.
const MOST_NUMBERS: usize = 32;

/// The height of the router's bars, and where they stand.
const BARS: f32 = 56.0;
const BARS_Y: f32 = 220.0;

/// What the router's axis can show at its top.
const TOPS: [f32; 5] = [0.05, 0.1, 0.25, 0.5, 1.0];

/// The points where the lines leave the router and reach the sum, relative to the left end of the layer.
const ROUTER: (f32, f32) = (104.0, 190.0);
const SUM: (f32, f32) = (368.0, 146.0);

/// Upper left corner and size of a box.
type Place = ((f32, f32), (f32, f32));

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
    let chosen: Vec<u32> = anatomy.chosen.iter().map(|chosen| chosen.expert).collect();
    let places = grid.chosen(&chosen);
    let place = |expert: u32| places.get(&expert).copied();
    let all = 0..anatomy.probabilities.len() as u32;
    let resting = || all.clone().filter(|expert| anatomy.choice(*expert).is_none());
    let rest = resting().map(|expert| expert_box(props, anatomy, expert, (grid.at(expert as usize), grid.size)));
    let work = chosen.iter().filter_map(|&expert| Some(expert_box(props, anatomy, expert, place(expert)?)));
    // The lines of another token are drawn again, starting at the router.
    let lines = anatomy.chosen.iter().filter_map(|chosen| Some(line(&grid, chosen, place(chosen.expert)?)));
    let numbered = anatomy.probabilities.len() <= MOST_NUMBERS;
    let numbers = resting().filter(|_| numbered).map(|expert| number(anatomy, &grid, expert));
    html! {
        <>
            <path class="stage-wire" d="M58 114V132" />
            { router(anatomy) }
            { groups(anatomy, &grid) }
            { for rest }
            // Over the boxes that rest, so that each line can be followed; the numbers are over the lines.
            <g key={format!("lines-{}-{}", props.layer, props.position)} class="stage-lines">{ for lines }</g>
            <g class="stage-numbers">{ for numbers }</g>
            { for work }
            if props.shared > 0 { { shared(props.shared) } }
        </>
    }
}

/// Frames around the groups in which the second gate chose, where a row of the grid is a group.
fn groups(anatomy: &Anatomy, grid: &Grid) -> Html {
    let size = anatomy.probabilities.len() / anatomy.groups.len().max(1);
    if anatomy.groups.is_empty() || size != grid.columns() {
        return html! {};
    }
    let chosen: BTreeSet<usize> = anatomy.chosen.iter().map(|chosen| chosen.expert as usize / size).collect();
    let frames = chosen.into_iter().map(|group| {
        let ((x, y), (right, _)) = (grid.at(group * size), grid.at(group * size + size - 1));
        html! {
            <rect key={group} class="stage-chosen-group" x={format!("{:.1}", x - 4.0)} y={format!("{:.1}", y - 3.0)}
                width={format!("{:.1}", right + grid.size.0 - x + 8.0)} height={format!("{:.1}", grid.size.1 + 6.0)}
                rx="7" />
        }
    });
    html! { <g>{ for frames }</g> }
}

/// The number of an expert that rests.
fn number(anatomy: &Anatomy, grid: &Grid, expert: u32) -> Html {
    let ((x, y), (width, height)) = (grid.at(expert as usize), grid.size);
    let (middle, off) = (y + height / 2.0, anatomy.off.get(expert as usize) == Some(&true));
    let y = if off && height >= TWO_LINES { middle - 3.0 } else { middle + 5.0 };
    html! {
        <text key={expert} class="strong" x={format!("{:.1}", x + width / 2.0)} y={format!("{y:.1}")}
            text-anchor="middle">{ expert }</text>
    }
}

/// The router's probabilities as bars; for a gate over groups, first those of the groups.
fn router(anatomy: &Anatomy) -> Html {
    let grouped = !anatomy.groups.is_empty();
    let title = if grouped { t!("stage.router.groups.about") } else { t!("stage.router.about") };
    let size = anatomy.probabilities.len() / anatomy.groups.len().max(1);
    let in_group = |group: usize| anatomy.chosen.iter().any(|chosen| chosen.expert as usize / size.max(1) == group);
    let chosen = |expert: usize| anatomy.choice(expert as u32).is_some();
    let top = top_of(&anatomy.probabilities);
    html! {
        <g>
            <title>{ title }</title>
            <text class="strong" x="14" y="148">{ t!("stage.router") }</text>
            if grouped {
                { bars(&anatomy.groups, 1.0, (12.0, 28.0), in_group, false) }
                <text class="digit" x="12" y="237">{ t!("stage.groups") }</text>
                { bars(&anatomy.probabilities, top, (48.0, 54.0), chosen, true) }
            } else {
                { bars(&anatomy.probabilities, top, (12.0, 90.0), chosen, true) }
            }
            if top < 1.0 {
                <path class="stage-axis" d={format!("M{} {:.1}H102", if grouped { 48 } else { 12 }, BARS_Y - BARS)} />
                <text class="digit" x="104" y={(BARS_Y - BARS - 3.0).to_string()} text-anchor="end">
                    { format::percent(f64::from(top)) }</text>
            }
        </g>
    }
}

/// The probability at the top of the bars: many experts share the whole, so that each has little.
fn top_of(shares: &[f32]) -> f32 {
    let most = shares.iter().copied().fold(0.0, f32::max);
    TOPS.into_iter().find(|top| *top >= most).unwrap_or(1.0)
}

/// Bars from `left` on in a place of this width, of which some belong to chosen experts or groups.
fn bars(
    shares: &[f32],
    top: f32,
    (left, width): (f32, f32),
    is_chosen: impl Fn(usize) -> bool,
    of_experts: bool,
) -> Html {
    let pitch = width / shares.len().max(1) as f32;
    let bar = |(number, share): (usize, &f32)| {
        let height = (share / top * BARS).clamp(1.5, BARS);
        let on = is_chosen(number);
        let class = match (of_experts, on) {
            (false, true) => "stage-group",
            (true, true) => "stage-on",
            (_, false) => "stage-rest",
        };
        // The chosen ones can be seen however many there are.
        let thick = if on { (pitch * 0.8).max(3.0) } else { pitch * 0.8 };
        let x = (left + pitch * number as f32).min(left + width - thick);
        html! {
            <rect key={number} {class} data-e={of_experts.then(|| number.to_string())} rx="1.5" x={format!("{x:.1}")}
                width={format!("{thick:.1}")} style={format!("y:{:.1}px;height:{height:.1}px", BARS_Y - height)} />
        }
    };
    let (on, rest): (Vec<_>, Vec<_>) = shares.iter().enumerate().partition(|(number, _)| is_chosen(*number));
    rest.into_iter().chain(on).map(bar).collect()
}

/// The box of an expert at this place, `((x, y), (width, height))`.
fn expert_box(props: &OpenLayerProps, anatomy: &Anatomy, expert: u32, place: Place) -> Html {
    let ((x, y), (width, height)) = place;
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
            if choice.is_some() {
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
fn line(grid: &Grid, chosen: &Chosen, place: Place) -> Html {
    let expert = chosen.expert as usize;
    let ((x, y), (width, height)) = place;
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
        <g class="stage-shared">
            <title>{ t!("stage.shared.about") }</title>
            <path class="stage-wire" d={format!("M{} 218H136M340 218C356 218 366 200 {} {}", ROUTER.0, SUM.0, SUM.1
                + 13.0)} />
            <rect class="stage-network" x="136" y="202" width="204" height="32" rx="8" />
            <text x="238" y="223" text-anchor="middle">{ t!(count; "stage.shared") }</text>
        </g>
    }
}
