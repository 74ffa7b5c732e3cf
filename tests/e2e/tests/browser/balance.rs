//! The load card: bars, even share, figures, history, small multiples.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli::Layer;
use moescope_e2e::page::Page;
use serde::Deserialize;

tests![bars_figures_and_history_follow_from_the_trace, all_layers_are_small_multiples];

#[derive(Deserialize)]
struct Card {
    /// The height of each bar, in CSS pixels.
    heights: Vec<f64>,
    loads: Vec<f64>,
    /// The lower edge of each bar.
    feet: Vec<f64>,
    /// The distance of the even line from the lower edge of the bars.
    even: f64,
    /// The figures by name, as they are shown.
    max: String,
    entropy: String,
    cv: String,
    aux: String,
    /// The curve's points, as shares of its height.
    curve: Vec<(f64, f64)>,
    text: String,
}

const CARD: &str = "
    const bars = [...document.querySelectorAll('.bars:not(.small) [data-testid=load-bar]')];
    const feet = bars.map(b => b.querySelector('s').getBoundingClientRect().bottom);
    const figure = name => document.querySelector(`[data-testid=figure-${name}]`).textContent;
    const card = bars[0].closest('.pane-card');
    return {
      heights: bars.map(b => b.querySelector('s').getBoundingClientRect().height),
      loads: bars.map(b => +b.dataset.load),
      feet, even: feet[0] - card.querySelector('.even').getBoundingClientRect().bottom,
      max: figure('max'), entropy: figure('entropy'), cv: figure('cv'), aux: figure('aux'),
      curve: card.querySelector('.curve-line').getAttribute('points').split(' ').map(p => p.split(',').map(Number)),
      text: card.innerText,
    };";

async fn bars_figures_and_history_follow_from_the_trace(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    // Models with 8 and with 32 experts; with 32, only some bars have a number.
    for model in ["main", "fine-grained"] {
        page.goto(&stage.url(&format!("/?tab=balance&model={model}"))).await?;
        page.routed().await?;
        follow_from_the_trace(&page).await?;
    }
    Ok(())
}

async fn follow_from_the_trace(page: &Page) -> Result<()> {
    let trace = page.trace("none").await?;
    for layer in &trace.layers {
        page.choose_layer(layer.layer).await?;
        page.wait("that layer", |view| view.is_settled() && view.layer == Some(layer.layer)).await?;
        let card: Card = page.script(CARD, Vec::new()).await?;
        let balance = &layer.balance;
        let busiest = card.loads.iter().copied().fold(0.0, f64::max);
        let tallest = card.heights.iter().copied().fold(0.0, f64::max);
        for (expert, load) in balance.load.iter().enumerate() {
            assert!((card.loads[expert] - load).abs() < 1e-4, "expert {expert}: {} for {load}", card.loads[expert]);
            // The bar of an idle expert has two pixels, so that it can be pointed at.
            let height = (tallest * load / busiest).max(2.0);
            assert!(
                (card.heights[expert] - height).abs() < 1.0,
                "bar {expert}: {} px for {height}",
                card.heights[expert]
            );
        }
        assert!(card.feet.iter().all(|foot| (foot - card.feet[0]).abs() < 0.5), "{:?}", card.feet);
        let even = tallest / balance.load.len() as f64 / busiest;
        assert!((card.even - even).abs() < 2.0, "the even line stands at {} px for {even}", card.even);
        for (shown, figure) in [
            (&card.max, balance.max_over_mean),
            (&card.entropy, balance.entropy),
            (&card.cv, balance.cv),
            (&card.aux, balance.aux_loss),
        ] {
            assert_eq!(*shown, format!("{figure:.2}"), "layer {}", layer.layer);
        }
        let idle = balance.load.contains(&0.0);
        assert_eq!(card.text.contains("No token has gone to"), idle, "{}", card.text);
        history(layer, &card);
    }
    Ok(())
}

/// The height of the curve is the busiest expert's load over the mean, over the text so far.
fn history(layer: &Layer, card: &Card) {
    let tokens = layer.selected.len();
    let step = tokens.div_ceil(60).max(1);
    let mut counts = vec![0.0; layer.balance.load.len()];
    let mut wanted = Vec::new();
    for (position, experts) in layer.selected.iter().enumerate() {
        experts.iter().for_each(|&expert| counts[expert] += 1.0);
        if (position + 1) % step == 0 || position + 1 == tokens {
            let most = counts.iter().copied().fold(0.0, f64::max);
            wanted.push(most * counts.len() as f64 / counts.iter().sum::<f64>());
        }
    }
    assert_eq!(card.curve.len(), wanted.len());
    // The value 1 is drawn at 28, the maximum at 2.
    let most = wanted.iter().copied().fold(1.0, f64::max);
    for ((_, y), value) in card.curve.iter().zip(&wanted) {
        let height = 28.0 - (value - 1.0) / (most - 1.0).max(0.1) * 26.0;
        assert!((y - height).abs() < 0.02, "{y} for {height}");
    }
}

async fn all_layers_are_small_multiples(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?tab=balance&layer=all").await?;
    page.wait("the routing", |view| view.state == "ready" && !view.bars.is_empty()).await?;
    let trace = page.trace("none").await?;
    let bars: Vec<(usize, usize, f64)> = page
        .script(
            "const bars = [...document.querySelectorAll('[data-testid=load-bar]')];
             return bars.map(b => [+b.dataset.layer, +b.dataset.expert, +b.dataset.load]);",
            Vec::new(),
        )
        .await?;
    let wanted = trace
        .layers
        .iter()
        .flat_map(|layer| layer.balance.load.iter().enumerate().map(|(expert, load)| (layer.layer, expert, *load)));
    for (bar, wanted) in bars.iter().zip(wanted.clone()) {
        assert_eq!((bar.0, bar.1), (wanted.0, wanted.1));
        assert!((bar.2 - wanted.2).abs() < 1e-4, "{bar:?} for {wanted:?}");
    }
    assert_eq!(bars.len(), wanted.count());
    Ok(())
}
