//! Faults that visitors saw, by kind: what opens out of sight, a dense model, the replay, phones, large type.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::first_view::clicks_to_read_without_german;
use moescope_e2e::page::Page;
use serde_json::json;

tests![
    what_is_opened_comes_into_view,
    links_open_at_what_they_are_about,
    two_equal_sides_are_said_to_be_equal,
    the_replay_plays_and_says_what_it_leaves_out,
    on_a_phone_the_whole_strip_is_on_the_page_and_a_tap_is_answered,
    a_phone_on_its_side_shows_stage_and_tokens,
    large_type_keeps_the_header_in_one_row,
    at_200_percent_stage_and_tokens_are_in_view,
    german_is_gone_after_three_clicks_at_most,
];

/// Waits until the element with this name of a place is in the window.
async fn comes_into_view(page: &Page, place: &str) -> Result<()> {
    let seen = "const box = document.querySelector(`[data-place=${arguments[0]}]`)?.getBoundingClientRect();
        return !!box && box.height > 0 && box.top < innerHeight - 60 && box.bottom > 60;";
    page.until::<bool>(place, seen, vec![json!(place)]).await?;
    Ok(())
}

async fn what_is_opened_comes_into_view(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu").await?;
    page.routed().await?;
    page.click("compare-toggle").await?;
    comes_into_view(&page, "compare").await?;
    page.script::<()>("window.scrollTo(0, 0)", Vec::new()).await?;
    page.promise::<()>("return await window.moescope.policy({ layers: [2], off: [4] });", Vec::new()).await?;
    // The bar that says what is changed is at the top, above all that it is about.
    page.until::<bool>(
        "the bar",
        "const box = document.querySelector('[data-testid=change-bar]')?.getBoundingClientRect();
         return !!box && box.top >= 0 && box.bottom < innerHeight;",
        Vec::new(),
    )
    .await?;
    Ok(())
}

async fn links_open_at_what_they_are_about(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor { height: 700, ..Visitor::NO_WEBGPU }).await?;
    for (query, place) in [("compare=self", "compare"), ("view=flow", "picture"), ("view=load", "picture")] {
        page.goto("about:blank").await?;
        page.goto(&stage.url(&format!("/#/?backend=cpu&text=Der%20Hund%20und%20die%20Katze&{query}"))).await?;
        page.routed().await?;
        comes_into_view(&page, place).await?;
    }
    Ok(())
}

/// *Keep beside* begins with two equal sides, which the page says.
async fn two_equal_sides_are_said_to_be_equal(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu&text=hello%20there&compare=self").await?;
    page.routed().await?;
    let said = "return !!document.querySelector('[data-testid=compare-same]')?.textContent.trim()";
    page.until::<bool>("the word", said, Vec::new()).await?;
    page.promise::<()>("return await window.moescope.policy({ top_k: 1 });", Vec::new()).await?;
    page.until::<bool>("no word", &said.replace("return ", "return !"), Vec::new()).await?;
    // The figures are those of the policy: one expert a token, and fewer parameters at work.
    let figures = "const rows = [...document.querySelectorAll('.figures-table tbody tr')].slice(0, 2)
        .map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent));
        return rows.length === 2 && rows[0][0].includes('1 per token') && rows[0][1].includes('2 per token')
            && rows[1][0] !== rows[1][1];";
    page.until::<bool>("the figures", figures, Vec::new()).await?;
    Ok(())
}

async fn the_replay_plays_and_says_what_it_leaves_out(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu&tab=training").await?;
    page.routed().await?;
    page.until::<bool>("the offer", "return !!document.querySelector('[data-testid=watch]')", Vec::new()).await?;
    page.click("watch").await?;
    // It moves on by itself.
    let at = "return +document.querySelector('[data-testid=snapshot]')?.value";
    page.until::<bool>("the third snapshot", &format!("{at} >= 2"), Vec::new()).await?;
    page.click("play-training").await?;
    // No row covers another one.
    let rows = "const rows = [...document.querySelectorAll('[data-testid=training] .row')]
        .filter(row => row.getClientRects().length && !row.querySelector('.row'))
        .map(row => row.getBoundingClientRect());
        return rows.slice(1).filter((row, n) => row.top < rows[n].bottom - 1 && row.left < rows[n].right - 1
            && row.right > rows[n].left + 1).length;";
    assert_eq!(page.script::<usize>(rows, Vec::new()).await?, 0, "rows that cover each other");
    // What a recording cannot have says why it is not there.
    page.browser().find(thirtyfour::By::Css("[data-tab=change]")).await?.click().await?;
    let said = "return document.querySelector('#pane-change')?.innerText.includes('recording')";
    page.until::<bool>("why nothing can be changed", said, Vec::new()).await?;
    Ok(())
}

async fn on_a_phone_the_whole_strip_is_on_the_page_and_a_tap_is_answered(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::PHONE, "/#/?backend=cpu").await?;
    page.routed().await?;
    let (whole, window): (f64, f64) = page
        .script(
            "const strip = document.querySelector('.strip'); return [strip.scrollHeight, strip.clientHeight + 1];",
            Vec::new(),
        )
        .await?;
    assert!(whole <= window, "the strip scrolls inside the page: {whole} px in {window} px");
    page.click_token().await?;
    let answered = "const card = document.querySelector('[data-testid=token-inspector]').getBoundingClientRect();
        const token = document.querySelector('.token.selected')?.getBoundingClientRect();
        return card.height > 40 && card.top < innerHeight - 40 && !!token && token.bottom < card.top;";
    page.until::<bool>("the sheet, which leaves the token in view", answered, Vec::new()).await?;
    Ok(())
}

/// How many tokens and experts are in the window, above what lies over it.
async fn in_view(page: &Page) -> Result<(usize, usize)> {
    let count = "const floor = document.querySelector('.drawer').getBoundingClientRect().top;
        const seen = e => { const b = e.getBoundingClientRect();
            return b.width > 1 && b.top >= 0 && b.bottom <= Math.min(innerHeight, floor) && b.left >= 0
                && b.right <= innerWidth; };
        const count = id => [...document.querySelectorAll(`[data-testid=${id}]`)].filter(seen).length;
        return [count('token'), count('stage-expert')];";
    page.script(count, Vec::new()).await
}

async fn a_phone_on_its_side_shows_stage_and_tokens(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor { width: 844, height: 390, ..Visitor::PHONE }, "/#/?backend=cpu").await?;
    page.routed().await?;
    let (tokens, experts) = in_view(&page).await?;
    assert!(tokens >= 10 && experts >= 4, "{tokens} tokens and {experts} experts in the first view");
    let wide = "return document.documentElement.scrollWidth - innerWidth";
    assert!(page.script::<f64>(wide, Vec::new()).await? <= 0.0);
    Ok(())
}

async fn at_200_percent_stage_and_tokens_are_in_view(stage: &Stage) -> Result<()> {
    // As a browser of 1440 x 900 does it.
    let page = stage.open(Visitor { width: 720, height: 450, ..Visitor::NO_WEBGPU }, "/#/?backend=cpu").await?;
    page.routed().await?;
    let (tokens, experts) = in_view(&page).await?;
    assert!(tokens >= 10 && experts >= 4, "{tokens} tokens and {experts} experts in the first view");
    assert_one_row(&page, "200 %").await
}

/// All that is in the header stands in one row.
async fn assert_one_row(page: &Page, what: &str) -> Result<()> {
    let rows = "const middles = [...document.querySelector('header').children]
        .filter(e => e.getClientRects().length && e.className !== 'grow')
        .map(e => e.getBoundingClientRect()).map(b => (b.top + b.bottom) / 2);
        return Math.max(...middles) - Math.min(...middles);";
    let apart: f64 = page.script(rows, Vec::new()).await?;
    assert!(apart < 12.0, "{what}: the header has a second row, {apart} px below");
    Ok(())
}

async fn large_type_keeps_the_header_in_one_row(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu").await?;
    page.routed().await?;
    for size in [16, 20, 24] {
        let type_of = format!("document.documentElement.style.fontSize = '{size}px'");
        page.script::<()>(&type_of, Vec::new()).await?;
        assert_one_row(&page, &format!("{size} px")).await?;
        let wide = "return document.documentElement.scrollWidth - innerWidth";
        assert!(page.script::<f64>(wide, Vec::new()).await? <= 0.0, "{size} px: the page scrolls to the side");
    }
    Ok(())
}

async fn german_is_gone_after_three_clicks_at_most(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?backend=cpu").await?;
    page.routed().await?;
    let (clicks, _) = clicks_to_read_without_german(&page).await?;
    assert!(clicks <= 3, "{clicks} clicks");
    Ok(())
}
