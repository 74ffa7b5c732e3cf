//! The page fits its window, and axe-core finds no accessibility problems.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::Value;

tests![
    fits_a_desk,
    fits_a_phone,
    no_barriers_in_light_and_dark,
    no_barriers_on_a_phone,
    no_barriers_on_any_view_in_light,
    no_barriers_on_any_view_in_dark,
    no_barriers_in_any_story,
    no_barriers_on_a_projector_and_in_a_frame,
    works_by_keyboard_alone,
];

async fn fits_a_desk(stage: &Stage) -> Result<()> {
    fits(stage, Visitor::NO_WEBGPU).await
}

async fn fits_a_phone(stage: &Stage) -> Result<()> {
    fits(stage, Visitor::PHONE).await
}

/// The page is never wider than its window, whatever the text.
async fn fits(stage: &Stage, visitor: Visitor) -> Result<()> {
    let page = stage.open(visitor, "/").await?;
    page.routed().await?;
    assert_fits(&page, "the opening example").await?;
    let text = format!("{} {}", "x".repeat(300), "Donaudampfschifffahrt".repeat(20));
    page.paste(&text).await?;
    page.wait("the long words", |view| view.is_settled() && view.text == text && !view.tokens.is_empty()).await?;
    assert_fits(&page, "very long words").await
}

async fn assert_fits(page: &Page, what: &str) -> Result<()> {
    let (content, window): (f64, f64) = page
        .script("const root = document.documentElement; return [root.scrollWidth, root.clientWidth];", Vec::new())
        .await?;
    assert!(content <= window, "{what}: {content} px in a window of {window} px");
    Ok(())
}

async fn no_barriers_in_light_and_dark(stage: &Stage) -> Result<()> {
    for dark in [false, true] {
        no_barriers(stage, Visitor { dark, ..Visitor::NO_WEBGPU }).await?;
    }
    Ok(())
}

async fn no_barriers_on_a_phone(stage: &Stage) -> Result<()> {
    for dark in [false, true] {
        no_barriers(stage, Visitor { dark, ..Visitor::PHONE }).await?;
    }
    Ok(())
}

async fn no_barriers(stage: &Stage, visitor: Visitor) -> Result<()> {
    let page = stage.open(visitor, "/").await?;
    page.routed().await?;
    assert_no_barriers(stage, &page, &format!("{} px, dark: {}", visitor.width, visitor.dark)).await?;
    // With a chosen token, more controls are shown.
    page.click_token().await?;
    assert_no_barriers(stage, &page, &format!("{} px, dark: {}, a token chosen", visitor.width, visitor.dark)).await
}

/// Addresses of views, and a script to run there first.
const VIEWS: [(&str, &str); 11] = [
    ("layer=all&compare=main", ""),
    ("view=load&expert=2.5&colour=weight", ""),
    ("view=flow&expert=1.3&colour=entropy", ""),
    ("colour=surprise&find=the&token=3&to=9", "document.querySelectorAll('details').forEach(d => d.open = true);"),
    ("colour=domain&lang=zh", ""),
    ("text=hello", "document.querySelector('[data-testid=help]').click();"),
    ("text=hello&layer=seven", ""),
    ("model=nothing/here", ""),
    // A model with as many colours as experts.
    ("model=fine-grained&backend=cpu&layer=2", ""),
    // A policy and its effect compared with the model, with all controls open.
    (
        "layer=1&policy=%7B%22capacity_factor%22%3A0.5%2C%22off%22%3A%5B3%5D%7D",
        "document.querySelectorAll('details').forEach(d => d.open = true);",
    ),
    ("layer=1&policy=%7B%22top_k%22%3A1%7D&compare=self&compare-policy=%7B%22temperature%22%3A2%7D", ""),
];

async fn no_barriers_on_any_view_in_light(stage: &Stage) -> Result<()> {
    no_barriers_on_any_view(stage, false).await
}

async fn no_barriers_on_any_view_in_dark(stage: &Stage) -> Result<()> {
    no_barriers_on_any_view(stage, true).await
}

async fn no_barriers_on_any_view(stage: &Stage, dark: bool) -> Result<()> {
    stage.expect_in_console("404");
    let page = stage.browser(Visitor { dark, ..Visitor::NO_WEBGPU }).await?;
    for (query, first) in VIEWS {
        page.goto(&stage.url(&format!("/?{query}"))).await?;
        page.wait("the view", |view| view.state == "error" || (view.state == "ready" && !view.tokens.is_empty()))
            .await?;
        page.script::<()>(first, Vec::new()).await?;
        if query.contains("policy") {
            page.until::<bool>("the effect", "return !!document.querySelector('[data-testid=effect]')", Vec::new())
                .await?;
        }
        if query.contains("compare") {
            page.until::<bool>("the comparison", "return !!document.querySelector('.compared .stretch')", Vec::new())
                .await?;
        }
        page.until::<bool>("the files that are fetched after the model", EXTRAS, Vec::new()).await?;
        assert_no_barriers(stage, &page, &format!("{query}, dark: {dark}")).await?;
    }
    Ok(())
}

/// Whether the model's dossiers are here, which are fetched after the model; where it could not be loaded, nothing is.
const EXTRAS: &str = "return document.body.dataset.state === 'error' ||
    performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/experts.json'))";

/// Waits for the end of every animation that has one.
const STILL: &str = "const ends = ({ effect }) => effect?.getComputedTiming().endTime < Infinity;
    await Promise.allSettled(document.getAnimations().filter(ends).map(({ finished }) => finished));";

async fn no_barriers_in_any_story(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let stories: Value =
        serde_json::from_str(&std::fs::read_to_string(stage.tools().versioned("stories/index.json")?)?)?;
    for story in stories.as_array().into_iter().flatten() {
        let name = story["name"].as_str().unwrap_or_default();
        page.goto("about:blank").await?;
        page.goto(&stage.url(&format!("/#/?backend=cpu&story={name}"))).await?;
        page.until::<bool>("the story", "return !!document.querySelector('[data-testid=story-step]')", Vec::new())
            .await?;
        page.wait("its text", |view| view.state == "ready").await?;
        assert_no_barriers(stage, &page, name).await?;
    }
    Ok(())
}

async fn no_barriers_on_a_projector_and_in_a_frame(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    for query in
        ["present", "present&story=take-german-away", "embed=stage,strip,map", "embed=text,strip,drawer&lang=zh"]
    {
        page.goto("about:blank").await?;
        page.goto(&stage.url(&format!("/#/?backend=cpu&text=Der%20Hund%20und%20die%20Katze&{query}"))).await?;
        page.wait("the view", |view| view.state == "ready").await?;
        assert_no_barriers(stage, &page, query).await?;
    }
    Ok(())
}

pub async fn assert_no_barriers(stage: &Stage, page: &Page, what: &str) -> Result<()> {
    let axe = std::fs::read_to_string(&stage.tools().axe)?;
    page.promise::<Option<()>>(STILL, Vec::new()).await?;
    page.script::<()>(&axe, Vec::new()).await?;
    let found: Vec<Value> = page
        .promise(
            "const result = await axe.run(document, { resultTypes: ['violations'] });
             return result.violations.map(v => ({
               rule: v.id, help: v.help,
               nodes: v.nodes.slice(0, 5).map(n => n.html.slice(0, 160) + ' ' + n.failureSummary),
             }));",
            Vec::new(),
        )
        .await?;
    assert!(found.is_empty(), "{what}: {found:#?}");
    Ok(())
}

/// From the top of the page, Tab reaches the text box and the tokens; typing and choosing a token work by keyboard
/// alone.
async fn works_by_keyboard_alone(stage: &Stage) -> Result<()> {
    use thirtyfour::Key;
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    let before = page.routed().await?;
    let press = async |key: Key| page.browser().action_chain().send_keys(key).perform().await;
    let focused = async || -> Result<String> {
        page.script("return document.activeElement?.dataset?.testid ?? '';", Vec::new()).await
    };
    let mut reached = false;
    for _ in 0..40 {
        press(Key::Tab).await?;
        if focused().await? == "text-input" {
            reached = true;
            break;
        }
    }
    assert!(reached, "Tab never came to the text box");
    page.browser().action_chain().send_keys(" there").perform().await?;
    page.wait("the typed text", |view| view.is_settled() && view.tokens.len() > before.tokens.len()).await?;
    let mut reached = false;
    for _ in 0..40 {
        press(Key::Tab).await?;
        if focused().await? == "token" {
            reached = true;
            break;
        }
    }
    assert!(reached, "Tab never came to the tokens");
    let position = async || -> Result<String> {
        page.script("return document.activeElement.dataset.position ?? '';", Vec::new()).await
    };
    let first = position().await?;
    press(Key::Left).await?;
    let left = position().await?;
    press(Key::Right).await?;
    let right = position().await?;
    assert!(left != first || right != first, "the arrow keys do not move between tokens");
    Ok(())
}
