//! The first view: headline, stage, drawer, and switching an expert off.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::first_view::first_view;
use moescope_e2e::page::Page;
use serde_json::json;
use thirtyfour::By;

tests![
    the_stage_shows_the_token_that_is_looked_at,
    a_click_on_a_small_layer_opens_it,
    an_expert_that_is_off_is_off_on_the_stage,
    pointing_at_an_expert_marks_its_tokens,
    the_headline_is_true_for_the_model,
    the_first_view_is_calm,
    attention_is_shown_from_the_chosen_token,
    every_view_shows_the_same_token_while_it_plays,
];

/// The token on the stage, its open layer, and the experts that it uses there.
async fn on_stage(page: &Page) -> Result<(usize, usize, Vec<usize>)> {
    let read = "const stage = document.querySelector('[data-testid=stage]');
        const on = [...stage.querySelectorAll('[data-testid=stage-expert][data-on=true]')];
        return [+stage.dataset.token, +stage.dataset.layer, on.map(e => +e.dataset.expert).sort((a, b) => a - b)];";
    page.script(read, Vec::new()).await
}

async fn the_stage_shows_the_token_that_is_looked_at(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=Der%20Hund%20schl%C3%A4ft.&layer=1&backend=cpu").await?;
    let view = page.routed().await?;
    let sorted = |position: usize| {
        let mut experts = view.tokens[position].experts.clone();
        experts.sort_unstable();
        experts
    };
    // First the newest token, then the chosen one.
    let last = view.tokens.len() - 1;
    assert_eq!(on_stage(&page).await?, (last, 1, sorted(last)));
    page.browser().find(By::Css("[data-testid=token][data-position='0']")).await?.click().await?;
    let chosen = "return document.querySelector('[data-testid=stage]').dataset.token === '0'";
    page.until::<bool>("the first token", chosen, Vec::new()).await?;
    assert_eq!(on_stage(&page).await?, (0, 1, sorted(0)));
    // The text says the same as the picture.
    let words: String =
        page.script("return document.querySelector('[data-testid=stage] svg').ariaLabel", Vec::new()).await?;
    for expert in sorted(0) {
        assert!(words.contains(&format!("expert {expert} (weight")), "{words}");
    }
    Ok(())
}

async fn a_click_on_a_small_layer_opens_it(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&layer=1").await?;
    page.routed().await?;
    let small = By::Css("[data-testid=stage-small][data-layer='3']");
    page.browser().find(small).await?.click().await?;
    page.wait("the layer", |view| view.is_settled() && view.layer == Some(3)).await?;
    assert_eq!(on_stage(&page).await?.1, 3);
    Ok(())
}

async fn an_expert_that_is_off_is_off_on_the_stage(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&layer=1&backend=cpu").await?;
    page.routed().await?;
    let (_, _, working) = on_stage(&page).await?;
    let off = *working.first().context("an expert works")?;
    let policy = json!([{"layers": [1], "off": [off]}]);
    page.promise::<()>("return await window.moescope.policy(arguments[0]);", vec![policy]).await?;
    let rests = "const off = document.querySelector(`[data-testid=stage-expert][data-expert='${arguments[0]}'].off`);
        return off?.dataset.on === 'false'";
    page.until::<bool>("the expert off", rests, vec![json!(off)]).await?;
    assert_eq!(on_stage(&page).await?.2.len(), working.len(), "another one works in its place");
    Ok(())
}

async fn pointing_at_an_expert_marks_its_tokens(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?layer=1&backend=cpu").await?;
    let view = page.routed().await?;
    let (_, _, working) = on_stage(&page).await?;
    let expert = *working.first().context("an expert works")?;
    let point = "document.querySelector(`[data-testid=stage-expert][data-expert='${arguments[0]}']`)
        .dispatchEvent(new MouseEvent('mouseover', { bubbles: true }));
        document.querySelector(`[data-testid=stage-expert][data-expert='${arguments[0]}']`)
        .dispatchEvent(new MouseEvent('mouseenter', { bubbles: false }));";
    page.script::<()>(point, vec![json!(expert)]).await?;
    let marked = "const strip = document.querySelector('.strip');
        return strip.dataset.fading === String(arguments[0]) &&
            [...strip.querySelectorAll('.token')].map(t => t.classList.contains(`x${arguments[0]}`));";
    let marked: Vec<bool> = page.until("the marks", marked, vec![json!(expert)]).await?;
    let wanted: Vec<bool> = view.tokens.iter().map(|token| token.experts.contains(&expert)).collect();
    assert_eq!(marked, wanted);
    // A click opens the expert's page in the drawer.
    page.browser().find(By::Css(format!("[data-testid=stage-expert][data-expert='{expert}']"))).await?.click().await?;
    let shown = "return document.querySelector('[data-testid=expert-inspector]').getClientRects().length > 0";
    page.until::<bool>("its page", shown, Vec::new()).await?;
    page.press("\u{e00c}").await?;
    page.wait_for_address(|address| !address.contains("expert=")).await?;
    Ok(())
}

async fn the_headline_is_true_for_the_model(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    for model in ["main", "switch", "dense"] {
        page.goto(&stage.url(&format!("/?text=hello&backend=cpu&model={model}"))).await?;
        page.wait("the model", |view| view.state == "ready" && !view.tokens.is_empty()).await?;
        let config = std::fs::read_to_string(stage.tools().model(model).join("config.json"))?;
        let config: serde_json::Value = serde_json::from_str(&config)?;
        let said = page.find("headline").await?.text().await?;
        let (experts, per_token) = (&config["num_local_experts"], &config["num_experts_per_tok"]);
        match experts.as_u64() {
            Some(experts) => assert!(said.contains(&format!("wakes {per_token} of the {experts} experts")), "{said}"),
            None => assert!(said.contains("dense"), "{said}"),
        }
    }
    Ok(())
}

/// The heads' weights are those of a softmax over all tokens before; both engines are looked into in the same way.
async fn attention_is_shown_from_the_chosen_token(stage: &Stage) -> Result<()> {
    let read = "const tokens = [...document.querySelectorAll('[data-testid=token]')];
        const heads = tokens.map(token => (token.dataset.heads ?? '').split(',').filter(x => x).map(Number));
        return heads.some(h => h.length) && [heads,
          document.querySelector('[data-testid=stage-looks-at]')?.textContent ?? '',
          document.querySelector('[data-testid=attention]')?.textContent ?? ''];";
    let mut seen = Vec::new();
    for (visitor, backend) in [(Visitor::NO_WEBGPU, "cpu"), (Visitor::WEBGPU, "webgpu")] {
        let query = format!("/#/?layer=2&token=6&backend={backend}&text=The%20river%20was%20wide%20and%20slow");
        let page = stage.open(visitor, &query).await?;
        let view = page.routed().await?;
        let (heads, named, legend): (Vec<Vec<f64>>, String, String) =
            page.until("what attention looks at", read, Vec::new()).await?;
        let count = heads.iter().map(Vec::len).max().context("heads")?;
        assert!(count > 1 && legend.contains(&format!("{count} heads")), "{count} heads: {legend}");
        for head in 0..count {
            let sum: f64 = heads.iter().filter_map(|token| token.get(head)).sum();
            // Each weight is cut to whole percents.
            assert!(sum <= 100.0 && sum > 100.0 - heads.len() as f64 - 1.0, "head {head}: {sum} %");
        }
        assert!(heads[7.min(heads.len())..].iter().all(Vec::is_empty), "attention looks at no later token");
        assert!(!named.trim().is_empty(), "the stage names the token");
        assert_eq!(view.tokens.len(), heads.len());
        seen.push(heads);
    }
    for (cpu, gpu) in seen[0].iter().flatten().zip(seen[1].iter().flatten()) {
        assert!((cpu - gpu).abs() <= 1.0, "{cpu} and {gpu} percent");
    }
    Ok(())
}

/// On a machine that is busy some views are drawn later than others: what is played waits for them.
async fn every_view_shows_the_same_token_while_it_plays(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?layer=1&backend=cpu").await?;
    page.routed().await?;
    page.browser().cdp().send_raw("Emulation.setCPUThrottlingRate", json!({ "rate": 6 })).await?;
    page.reach("play").await?;
    let fastest = "const speed = document.querySelector('.playback select'); speed.value = '25';
        speed.dispatchEvent(new Event('change', { bubbles: true }));
        document.querySelector('[data-testid=play]').click();
        window.apart = []; window.seen = new Set();
        window.watching = setInterval(() => {
          const strip = document.querySelectorAll('[data-testid=token]').length;
          const map = +document.querySelector('.map').ariaValueMax + 1;
          const card = +document.querySelector('[data-testid=token-inspector]').dataset.position + 1;
          // The first step leads from the whole text to its first token.
          if (Math.max(strip, map, card) > 20 && !window.begun) return;
          window.begun = true;
          window.seen.add(strip);
          window.apart.push(Math.max(strip, map, card) - Math.min(strip, map, card));
        }, 15);";
    page.script::<()>(fastest, Vec::new()).await?;
    let (apart, seen): (Vec<usize>, usize) = page
        .until("ten tokens", "return window.seen.size > 10 && [window.apart, window.seen.size]", Vec::new())
        .await?;
    page.script::<()>("clearInterval(window.watching)", Vec::new()).await?;
    assert!(seen > 10 && apart.iter().all(|apart| *apart <= 1), "views are so many tokens apart: {apart:?}");
    Ok(())
}

/// The first view at 1440 x 900: few words and controls, and nothing small.
async fn the_first_view_is_calm(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let view = first_view(&page).await?;
    assert!(view.words < 220, "{} words and numbers", view.words);
    assert!(view.controls < 25, "{} controls", view.controls);
    assert!(view.small.is_empty(), "text under 13 px: {:?}", view.small);
    assert!(view.strip, "the strip is in view");
    Ok(())
}
