//! The three pictures of the whole text show what is in the trace.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli::Trace;
use moescope_e2e::page::Page;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

tests![
    a_cell_of_the_map_has_its_experts_colour_and_leads_to_its_token,
    the_load_map_has_each_layers_loads,
    bands_of_the_flow_are_as_wide_as_their_assignments,
];

/// The colours of pixels of the card's canvas, at points given as shares of its width and height.
const PIXELS: &str = "
    const canvas = document.querySelector('.map canvas');
    const context = canvas.getContext('2d');
    return arguments[0].map(([x, y]) => {
      const [r, g, b] = context.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data;
      return `rgb(${r}, ${g}, ${b})`;
    });";

/// Width and height of the picture, and of one `rem`, in CSS pixels.
const SIZE: &str = "
    const rect = document.querySelector('.map canvas').getBoundingClientRect();
    return [rect.width, rect.height, parseFloat(getComputedStyle(document.documentElement).fontSize)];";

/// The colour of every expert, from the load bars.
const COLOURS: &str = "
    return [...document.querySelectorAll('[data-testid=load-bar] s')].map(s => getComputedStyle(s).backgroundColor);";

async fn drawn(page: &Page) -> Result<(f64, f64, f64)> {
    page.until::<bool>(
        "the picture",
        "const c = document.querySelector('.map canvas'); return !!c && c.width > 50 && c.height > 50;",
        Vec::new(),
    )
    .await?;
    // It is drawn in a later frame.
    page.promise::<()>(
        "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));",
        Vec::new(),
    )
    .await?;
    page.script(SIZE, Vec::new()).await
}

async fn a_cell_of_the_map_has_its_experts_colour_and_leads_to_its_token(stage: &Stage) -> Result<()> {
    stage.expect_in_console("willReadFrequently");
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    let (width, height, rem) = drawn(&page).await?;
    let colours: Vec<String> = page.script(COLOURS, Vec::new()).await?;
    let (labels, layers) = (2.1 * rem, trace.layers.len() as f64);
    let column = (width - labels) / trace.tokens.len() as f64;
    let row = height / layers;
    let mut points = Vec::new();
    let mut wanted = Vec::new();
    for (index, layer) in trace.layers.iter().enumerate() {
        for (position, experts) in layer.selected.iter().enumerate() {
            // Near the lower edge of the cell, the first expert's part is filled.
            let x = labels + (position as f64 + 0.5) * column;
            let y = row * (index as f64 + 1.0) - row * 0.07 - 2.5;
            points.push([x / width, y / height]);
            wanted.push(colours[experts[0]].clone());
        }
    }
    let pixels: Vec<String> = page.script(PIXELS, vec![json!(points)]).await?;
    assert_eq!(pixels, wanted);

    // A click on a cell chooses its layer and its token.
    let (layer, position) = (trace.layers.len() - 1, trace.tokens.len() / 2);
    let point = points[layer * trace.tokens.len() + position];
    page.script::<()>(
        "const canvas = document.querySelector('.map canvas');
         const rect = canvas.getBoundingClientRect();
         const [x, y] = arguments[0];
         const at = { clientX: rect.left + x * rect.width, clientY: rect.top + y * rect.height };
         canvas.dispatchEvent(new MouseEvent('click', { bubbles: true, ...at }));",
        vec![json!(point)],
    )
    .await?;
    let number = trace.layers[layer].layer;
    let view = page.wait("that layer", |view| view.is_settled() && view.layer == Some(number)).await?;
    assert_eq!(view.experts(), trace.layers[layer].selected);
    let card = page.find("token-inspector").await?;
    assert_eq!(card.attr("data-position").await?.as_deref(), Some(position.to_string().as_str()));
    Ok(())
}

async fn the_load_map_has_each_layers_loads(stage: &Stage) -> Result<()> {
    stage.expect_in_console("willReadFrequently");
    let page = stage.open(Visitor::NO_WEBGPU, "/?view=load").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    let (width, height, rem) = drawn(&page).await?;
    let colours: Vec<String> = page.script(COLOURS, Vec::new()).await?;
    let empty: String = page
        .script(
            "const c = document.createElement('i'); c.style.color = 'var(--hair)'; document.body.append(c);
                 const colour = getComputedStyle(c).color; c.remove(); return colour;",
            Vec::new(),
        )
        .await?;
    let experts = colours.len();
    let (labels, heads) = (2.1 * rem, 1.6 * rem);
    let (column, row) = ((width - labels) / experts as f64, (height - heads) / trace.layers.len() as f64);
    for (index, layer) in trace.layers.iter().enumerate() {
        // A point near the lower left corner of a cell, where there is no number.
        let place = |expert: usize| {
            [(labels + (expert as f64 + 0.12) * column) / width, (heads + (index as f64 + 0.88) * row) / height]
        };
        let points: Vec<[f64; 2]> = (0..experts).map(place).collect();
        let pixels: Vec<String> = page.script(PIXELS, vec![json!(points)]).await?;
        for (expert, pixel) in pixels.iter().enumerate() {
            let strength = (layer.balance.load[expert] * experts as f64 / 2.0).min(1.0);
            let opacity = 0.7 * strength * strength;
            for ((pixel, full), empty) in rgb(pixel).into_iter().zip(rgb(&colours[expert])).zip(rgb(&empty)) {
                let wanted = empty + (full - empty) * opacity;
                assert!((pixel - wanted).abs() < 3.0, "layer {index}, expert {expert}: {pixel} for {wanted}");
            }
        }
    }
    // The table of the picture has the loads too.
    page.script::<()>("document.querySelector('.as-table').open = true;", Vec::new()).await?;
    let cells: Vec<String> = page
        .until(
            "the table",
            "const cells = [...document.querySelectorAll('.as-table tbody td')];
             return cells.length && cells.map(c => c.innerText);",
            Vec::new(),
        )
        .await?;
    let loads = trace.layers.iter().flat_map(|layer| layer.balance.load.iter());
    let loads: Vec<String> = loads.map(|load| format!("{:.0}%", (load * 100.0).round())).collect();
    assert_eq!(cells, loads);
    Ok(())
}

fn rgb(colour: &str) -> Vec<f64> {
    colour
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .trim_end_matches(')')
        .split(',')
        .filter_map(|part| part.trim().parse().ok())
        .collect()
}

#[derive(Deserialize)]
struct Band {
    gap: usize,
    from: usize,
    to: usize,
    width: f64,
}

async fn bands_of_the_flow_are_as_wide_as_their_assignments(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?view=flow").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    page.until::<bool>("the flow", "return !!document.querySelector('.band')", Vec::new()).await?;
    let bands: Vec<Band> = page
        .script(
            "return [...document.querySelectorAll('.flow svg > g[aria-hidden]')].flatMap((g, gap) =>
               [...g.querySelectorAll('.band')].map(b => ({
                 gap, from: +b.dataset.e, to: +b.dataset.to, width: +b.getAttribute('stroke-width') })));",
            Vec::new(),
        )
        .await?;
    let mut wanted = BTreeMap::<(usize, usize, usize), f64>::new();
    for gap in 0..trace.layers.len() - 1 {
        flows(&trace, gap, &mut wanted);
    }
    let drawn: BTreeMap<_, _> = bands.iter().map(|band| ((band.gap, band.from, band.to), band.width)).collect();
    assert_eq!(drawn.len(), bands.len(), "a band twice");
    assert!(drawn.keys().eq(wanted.keys()), "bands {:?} for {:?}", drawn.keys(), wanted.keys());
    // All bands have the scale of the widest one; the thinnest are drawn wider, so that they are visible.
    let (widest, most) = wanted.iter().max_by(|a, b| a.1.total_cmp(b.1)).context("a band")?;
    let unit = drawn[widest] / most;
    for (place, assignments) in &wanted {
        let width = (assignments * unit).max(0.6);
        assert!((drawn[place] - width).abs() < 0.02, "{place:?}: {} for {width}", drawn[place]);
    }
    Ok(())
}

/// Each assignment of a token is split evenly over its assignments of the next layer.
fn flows(trace: &Trace, gap: usize, sums: &mut BTreeMap<(usize, usize, usize), f64>) {
    let (here, next) = (&trace.layers[gap], &trace.layers[gap + 1]);
    for (from, to) in here.selected.iter().zip(&next.selected) {
        for &a in from {
            for &b in to {
                *sums.entry((gap, a, b)).or_default() += 1.0 / to.len() as f64;
            }
        }
    }
}
