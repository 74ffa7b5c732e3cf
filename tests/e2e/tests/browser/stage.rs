//! The stage with models of many experts and layers, shared experts, two gates, full experts, and without experts.

use crate::harness::{Stage, tests};
use crate::layout::assert_no_barriers;
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::frames;
use moescope_e2e::server::{self, Server};
use moescope_e2e::synthetic::{Gate, SHAPES, Shape, router};
use serde::Deserialize;

tests![
    every_kind_of_model_can_be_read_on_the_stage,
    many_layers_are_a_ribbon_that_opens_and_follows,
    a_dense_layer_is_one_network,
    the_time_for_a_token_does_not_grow_with_the_text,
];

/// What the stage shows.
#[derive(Debug, Deserialize)]
struct Shown {
    experts: usize,
    on: usize,
    /// Experts that work or are full and have no number.
    unnumbered: Vec<String>,
    full: usize,
    around: usize,
    small: usize,
    groups: usize,
    chosen_groups: usize,
    /// Bars that belong to chosen experts and are thinner than two pixels.
    thin: usize,
    words: Vec<String>,
    /// Texts that cover each other, or that leave the picture or their box.
    unreadable: Vec<String>,
}

const SHOWN: &str = r#"
const stage = document.querySelector("[data-testid=stage]"), svg = stage.querySelector("svg");
const all = selector => [...stage.querySelectorAll(selector)];
const box = e => e.getBoundingClientRect();
const texts = all("svg text").filter(t => t.textContent.trim()).map(t => [t.textContent, box(t), t]);
const inside = (a, b) =>
  a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const unreadable = texts.filter(([, a]) => !inside(a, box(svg))).map(([text]) => `${text} leaves the picture`);
for (const [n, [text, a, element]] of texts.entries()) {
  const container = element.parentElement.querySelector(":scope > rect");
  const has_a_box = container && element.parentElement.matches(".stage-expert, .stage-shared");
  if (has_a_box && a.right - a.left > box(container).width + 1)
    unreadable.push(`${text} is wider than its box`);
  for (const [other, b] of texts.slice(n + 1)) {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    // The lines of a text are higher than its letters.
    if (across > 2 && down > 6) unreadable.push(`${text} and ${other}`);
  }
}
const experts = all("[data-testid=stage-expert]");
return {
  experts: experts.length,
  on: experts.filter(e => e.dataset.on === "true").length,
  unnumbered: experts.filter(e => e.matches(".on, .full") && !e.querySelector("text")).map(e => e.dataset.expert),
  full: all(".stage-expert.full").length,
  around: all(".stage-flow.around").length,
  small: all("[data-testid=stage-small]").length,
  groups: all(".stage-group").length,
  chosen_groups: all(".stage-chosen-group").length,
  thin: all(".stage-block.open ~ g rect.stage-on").filter(e => box(e).width < 2).length,
  words: [svg.ariaLabel, stage.querySelector(".stage-caption").textContent],
  unreadable,
};"#;

async fn every_kind_of_model_can_be_read_on_the_stage(stage: &Stage) -> Result<()> {
    let site = Server::start(server::site(stage.tools())?.merge(router(stage.tools(), &SHAPES)?)).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    for shape in SHAPES {
        let Shape { name, layers, experts, per_token, shared, gate, .. } = shape;
        let address = site.url(&shape.path());
        let text = "The%20river%20was%20wide%20and%20slow%2C%20and%20the%20boat%20went%20with%20it.";
        page.goto(&site.url(&format!("/#/?backend=cpu&text={text}&model={address}"))).await?;
        page.routed().await?;
        // Where experts are full, one of the later tokens meets one.
        let positions = if matches!(gate, Gate::Capacity(_)) { 18 } else { 1 };
        let mut met_a_full_one = false;
        for position in 0..positions {
            if positions > 1 {
                page.press("\u{e00c}").await?;
                let choose = format!("document.querySelector('[data-position=\"{position}\"]').click()");
                page.script::<()>(&choose, Vec::new()).await?;
                let token = "return document.querySelector('[data-testid=stage]').dataset.token";
                let there = format!("{token} === '{position}'");
                page.until::<bool>("the token", &there, Vec::new()).await?;
            }
            let shown: Shown = page.script(SHOWN, Vec::new()).await?;
            assert_eq!((shown.experts, shown.small), (experts, layers - 1), "{name}");
            assert_eq!(shown.on + shown.full, per_token, "{name}: {shown:?}");
            assert!(shown.unnumbered.is_empty(), "{name}: no number on {:?}", shown.unnumbered);
            assert!(shown.unreadable.is_empty(), "{name}: {:?}", shown.unreadable);
            assert_eq!(shown.thin, 0, "{name}: the chosen experts' bars are thin");
            assert_eq!(shown.full, shown.around, "{name}: a line goes around each full expert");
            assert!(shown.words[0].contains(&format!("{experts} experts")), "{name}: {:?}", shown.words);
            met_a_full_one |= shown.full > 0;
            if let Gate::Groups(_) = gate {
                assert_eq!((shown.groups, shown.chosen_groups), (2, 2), "{name}: two groups are chosen");
            }
        }
        assert_eq!(met_a_full_one, positions > 1, "{name}: full experts are shown where there are some");
        if shared > 0 {
            let said = "return document.querySelector('[data-testid=stage]').textContent.includes('2 shared')";
            assert!(page.script::<bool>(said, Vec::new()).await?, "{name}: the shared experts are on the stage");
        }
        assert_no_barriers(stage, &page, name).await?;
    }
    Ok(())
}

async fn many_layers_are_a_ribbon_that_opens_and_follows(stage: &Stage) -> Result<()> {
    let shape = SHAPES[1];
    let site = Server::start(server::site(stage.tools())?.merge(router(stage.tools(), &[shape])?)).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let address = site.url(&shape.path());
    page.goto(&site.url(&format!("/#/?backend=cpu&layer=3&text=The%20boat%20went&model={address}"))).await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    // Each stripe has the colour of the first expert of its layer.
    let ribbon = "return [...document.querySelectorAll('[data-testid=stage-small]')].map(layer =>
        [+layer.dataset.layer, +layer.querySelector('.stage-on').dataset.e]);";
    let last = trace.tokens.len() - 1;
    let stripes: Vec<(usize, usize)> = page.script(ribbon, Vec::new()).await?;
    assert_eq!(stripes.len(), shape.layers - 1);
    for (layer, expert) in stripes {
        assert_eq!(Some(&expert), trace.layer(layer).selected[last].first(), "layer {layer}");
    }
    let open = "document.querySelector('[data-testid=stage-small][data-layer=\"40\"]')
        .dispatchEvent(new MouseEvent('click', { bubbles: true }));";
    page.script::<()>(open, Vec::new()).await?;
    page.wait("the layer", |view| view.is_settled() && view.layer == Some(40)).await?;
    let shown: String = page.find("stage").await?.attr("data-layer").await?.context("a layer")?;
    assert_eq!(shown, "40");
    Ok(())
}

async fn a_dense_layer_is_one_network(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu&text=hello&model=dense").await?;
    page.wait("the model", |view| view.state == "ready" && !view.tokens.is_empty()).await?;
    let shown: Shown = page.script(SHOWN, Vec::new()).await?;
    assert_eq!((shown.experts, shown.small), (0, 5));
    assert!(shown.unreadable.is_empty(), "{:?}", shown.unreadable);
    assert!(shown.words.iter().all(|words| words.contains("network")), "{:?}", shown.words);
    // The drawer says what it costs, without a word of experts.
    page.browser().find(thirtyfour::By::Css("[data-tab=cost]")).await?.click().await?;
    let card = "const card = document.querySelector('.cost-card');
        if (!card?.getClientRects().length) return false;
        const cut = [...card.querySelectorAll('.part-bar s')].filter(s => s.scrollWidth > s.clientWidth + 1);
        return [[...card.querySelectorAll('.head, .parts, .cost')].map(e => e.textContent).join(' '), cut.length];";
    let (said, cut): (String, usize) = page.until("the costs", card, Vec::new()).await?;
    assert!(!said.contains("expert") && !said.contains('\u{d7}'), "{said}");
    assert_eq!(cut, 0, "names that are cut off in the bars");
    Ok(())
}

/// A token costs the page the same work after 50 tokens and after 500: the trace is not copied, and views that show the
/// newest part are not drawn anew in full. The limit leaves room for a busy machine.
async fn the_time_for_a_token_does_not_grow_with_the_text(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    let (short, long) = (frames::written(&page, 50).await?, frames::written(&page, 490).await?);
    println!("a token after 50: {short:?}; after 490: {long:?}");
    assert!(long.script < short.script * 2.0 + 5.0, "{short:?}, {long:?}");
    Ok(())
}
