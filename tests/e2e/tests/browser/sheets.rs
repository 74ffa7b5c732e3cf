//! The help sheet, the languages, and the printed page.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::json;

tests![
    the_help_sheet_opens_by_a_key_and_closes,
    another_language_changes_every_view_and_comes_back,
    on_paper_the_page_is_whole_and_without_controls,
    on_a_phone_the_drawer_is_a_sheet,
    one_pop_up_is_open_at_most,
];

async fn the_help_sheet_opens_by_a_key_and_closes(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    page.press("?").await?;
    page.until::<bool>("the sheet", "return !!document.querySelector('dialog#help[open]')", Vec::new()).await?;
    let text: String = page.script("return document.querySelector('dialog#help').innerText", Vec::new()).await?;
    assert!(text.contains("router") && text.contains("Ctrl"), "{text}");
    page.press("\u{e00c}").await?;
    page.until::<bool>("it closed", "return !document.querySelector('dialog#help')", Vec::new()).await?;
    Ok(())
}

async fn another_language_changes_every_view_and_comes_back(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let before = page.routed().await?;
    let heads = "return [...document.querySelectorAll('main h2')].map(h => h.textContent)";
    let english: Vec<String> = page.script(heads, Vec::new()).await?;
    page.choose("language-select", "zh").await?;
    page.until::<bool>("Chinese", "return document.documentElement.lang === 'zh'", Vec::new()).await?;
    let after = page.routed().await?;
    let chinese: Vec<String> = page.script(heads, Vec::new()).await?;
    assert_eq!(english.len(), chinese.len());
    for (english, chinese) in english.iter().zip(&chinese) {
        assert!(english.is_ascii() || english.contains('\u{201c}'), "{english}");
        assert!(chinese.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{chinese}");
    }
    assert_eq!((before.text, before.tokens), (after.text, after.tokens));
    page.choose("language-select", "en").await?;
    page.until::<bool>("English", "return document.documentElement.lang === 'en'", Vec::new()).await?;
    page.routed().await?;
    let again: Vec<String> = page.script(heads, Vec::new()).await?;
    assert_eq!(again, english);
    Ok(())
}

async fn on_paper_the_page_is_whole_and_without_controls(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    page.browser().cdp().send_raw("Emulation.setEmulatedMedia", json!({ "media": "print" })).await?;
    let (hidden, cut): (bool, Vec<String>) = page
        .script(
            "const shown = e => e.getClientRects().length > 0;
             const controls = document.querySelectorAll(
               'header button, .examples, .generate, .playback, .save, [data-testid=undo-view]');
             const boxes = [...document.querySelectorAll('.strip, .map, .card')];
             const cut = boxes.filter(b => b.scrollHeight > b.clientHeight + 2);
             return [![...controls].some(shown), cut.map(b => b.className)];",
            Vec::new(),
        )
        .await?;
    assert!(hidden, "controls are printed");
    assert!(cut.is_empty(), "cut off on paper: {cut:?}");
    Ok(())
}

async fn on_a_phone_the_drawer_is_a_sheet(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::PHONE, "/?text=hello").await?;
    page.routed().await?;
    let shown = "return document.querySelector('[data-testid=token-inspector]').getClientRects().length > 0";
    assert!(!page.script::<bool>(shown, Vec::new()).await?, "the sheet is closed at first");
    page.click_token().await?;
    page.until::<bool>("the sheet with the token", shown, Vec::new()).await?;
    page.press("\u{e00c}").await?;
    page.until::<bool>("the sheet closed", &shown.replace("return ", "return !"), Vec::new()).await?;
    Ok(())
}

/// Pop-ups close on Escape, on a click outside, and when another one opens.
async fn one_pop_up_is_open_at_most(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let open = "return [...document.querySelectorAll('.popup-panel')].filter(p => p.getClientRects().length).length;";
    let count = |page: &Page| {
        let page = page.clone();
        async move { page.script::<usize>(open, Vec::new()).await }
    };
    let buttons = ["model-select", "backend", "more", "examples-menu", "strip-more", "generate-settings"];
    for button in buttons {
        page.click(button).await?;
        assert_eq!(count(&page).await?, 1, "{button}");
    }
    page.press("\u{e00c}").await?;
    assert_eq!(count(&page).await?, 0, "Escape closes it");
    page.click("generate-settings").await?;
    page.find("headline").await?.click().await?;
    assert_eq!(count(&page).await?, 0, "a click elsewhere closes it");
    Ok(())
}
