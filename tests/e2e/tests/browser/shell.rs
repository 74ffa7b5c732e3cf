//! The page before its program runs, and in browsers that cannot run it.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::server::{self, Instead, Server};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

tests![
    loading_shows_before_any_script,
    what_is_typed_before_the_program_runs_is_taken_over,
    a_links_text_and_a_kept_one_show_before_the_program_runs,
    a_browser_without_simd_is_told,
    a_browser_without_module_workers_is_told,
    a_missing_program_is_told,
    the_program_without_relaxed_simd_routes_alike,
    the_first_models_weights_come_while_the_worker_loads_its_program,
    without_javascript_the_page_says_so,
    every_link_of_the_shell_leads_somewhere,
    the_policy_forbids_code_from_elsewhere,
];

async fn loading_shows_before_any_script(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let cdp = page.browser().cdp();
    cdp.send_raw("Network.enable", json!({})).await?;
    cdp.send_raw("Network.setBlockedURLs", json!({ "urls": ["*boot.js"] })).await?;
    stage.expect_in_console("boot.js");
    page.goto(&stage.url("/")).await?;
    let (state, shown, widths): (String, String, [u32; 2]) = page
        .script(
            "return [document.body.dataset.state, document.body.innerText,
               ['progress', 'textarea'].map(name => document.querySelector(name).clientWidth)];",
            Vec::new(),
        )
        .await?;
    assert_eq!(state, "loading");
    assert!(shown.contains("Moescope") && shown.contains("Loading"), "{shown}");
    assert!(widths.iter().all(|&width| width > 300), "progress bar and text box are {widths:?} wide");
    Ok(())
}

async fn what_is_typed_before_the_program_runs_is_taken_over(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let typing = "addEventListener('DOMContentLoaded', () => {
        const box = document.getElementById('boot-text');
        window.opening = box.value;
        box.focus();
        box.value = 'Typed early, and kept.';
        box.setSelectionRange(5, 5);
    });";
    page.browser().cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": typing })).await?;
    page.goto(&stage.url("/?text=from%20a%20link")).await?;
    let view = page.routed().await?;
    assert_eq!(view.text, "Typed early, and kept.");
    let (opening, focused, caret): (String, String, u32) = page
        .script(
            "return [window.opening, document.activeElement.id, document.activeElement.selectionStart];",
            Vec::new(),
        )
        .await?;
    assert_eq!((opening.as_str(), focused.as_str(), caret), ("from a link", "text", 5));
    Ok(())
}

async fn a_links_text_and_a_kept_one_show_before_the_program_runs(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let look =
        "addEventListener('DOMContentLoaded', () => { window.opening = document.getElementById('boot-text').value; });";
    page.browser().cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": look })).await?;
    let opening = async || page.script::<String>("return window.opening;", Vec::new()).await;
    page.goto(&stage.url("/")).await?;
    let view = page.routed().await?;
    assert_eq!(opening().await?, view.text, "the opening example");

    page.goto(&stage.url("/?text=a%20%3Clink%3E")).await?;
    assert_eq!(page.routed().await?.text, "a <link>");
    assert_eq!(opening().await?, "a <link>");

    page.goto(&stage.url("/")).await?;
    page.routed().await?;
    page.paste("Kept in this browser.").await?;
    page.until::<bool>("it is kept", "return localStorage['moescope.text'].includes('Kept in')", Vec::new()).await?;
    // Remove the text from the address, which would restore it too.
    page.script::<()>(
        "window.before = true; history.replaceState(null, '', location.pathname); location.reload();",
        Vec::new(),
    )
    .await?;
    page.until::<bool>(
        "the page again",
        "return !window.before && document.body.dataset.state === 'ready'",
        Vec::new(),
    )
    .await?;
    assert_eq!(page.routed().await?.text, "Kept in this browser.");
    assert_eq!(opening().await?, "Kept in this browser.");
    Ok(())
}

/// The page's message when `handicap` runs before its scripts.
async fn told(stage: &Stage, handicap: &str) -> Result<String> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.browser().cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": handicap })).await?;
    page.goto(&stage.url("/")).await?;
    Ok(page.wait("an explanation", |view| view.state == "error").await?.error)
}

async fn a_browser_without_simd_is_told(stage: &Stage) -> Result<()> {
    let error = told(stage, "WebAssembly.validate = () => false;").await?;
    assert!(error.contains("SIMD") && error.contains("Firefox"), "{error}");
    Ok(())
}

async fn a_browser_without_module_workers_is_told(stage: &Stage) -> Result<()> {
    let error = told(stage, "window.Worker = class { terminate() {} };").await?;
    assert!(error.contains("workers") && error.contains("Firefox"), "{error}");
    Ok(())
}

async fn a_missing_program_is_told(stage: &Stage) -> Result<()> {
    stage.expect_in_console("404");
    stage.expect_in_console("moescope_relaxed.wasm");
    let site = server::instead_of(stage.tools(), "moescope_relaxed.wasm", Instead::Nothing)?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/")).await?;
    let view = page.wait("an explanation", |view| view.state == "error").await?;
    assert!(view.error.contains("404") && view.error.contains("moescope_relaxed.wasm"), "{}", view.error);
    Ok(())
}

async fn the_first_models_weights_come_while_the_worker_loads_its_program(stage: &Stage) -> Result<()> {
    for (query, model) in [("", "main"), ("&model=switch", "switch")] {
        let (site, weights) = server::weights_before_program(stage.tools())?;
        let server = Server::start(site).await?;
        let page = stage.browser(Visitor::NO_WEBGPU).await?;
        page.goto(&server.url(&format!("/?text=hello{query}"))).await?;
        let view = page.routed().await?;
        let asked = weights.load(Ordering::SeqCst);
        assert_eq!((view.ids(), asked), (cli::trace(stage.tools(), model, "hello", "cpu")?.ids(), 1), "{model}");
    }
    Ok(())
}

/// The program for browsers without relaxed SIMD gives the same results as the other one.
async fn the_program_without_relaxed_simd_routes_alike(stage: &Stage) -> Result<()> {
    let server = Server::start(server::without_relaxed_simd(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/")).await?;
    let plain = page.routed().await?;
    let programs = "const address = name => new URL(document.body.dataset.build + name, location).href;
        const [plain, relaxed] = await Promise.all(['moescope_bg.wasm', 'moescope_relaxed.wasm'].map(async name =>
          new Uint8Array(await (await fetch(address(name))).arrayBuffer())));
        return plain.length === relaxed.length && plain.every((byte, n) => byte === relaxed[n]);";
    assert!(page.promise::<bool>(programs, Vec::new()).await?, "this server has one program only");
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let relaxed = page.routed().await?;
    assert_eq!(plain.tokens, relaxed.tokens);
    let program =
        "return performance.getEntriesByType('resource').some(entry => entry.name.includes('moescope_relaxed.wasm'));";
    assert!(page.script::<bool>(program, Vec::new()).await?, "this browser has relaxed SIMD");
    Ok(())
}

async fn without_javascript_the_page_says_so(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.browser().cdp().send_raw("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await?;
    page.goto(&stage.url("/")).await?;
    let heard = page.browser().find(thirtyfour::By::Css("main")).await?.text().await?;
    assert!(heard.contains("JavaScript"), "{heard}");
    Ok(())
}

async fn every_link_of_the_shell_leads_somewhere(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let broken: Vec<Value> = page
        .promise(
            "const links = [...document.querySelectorAll('link[href], script[src], img[src]')];
             const answers = await Promise.all(links.map(async link => {
               const url = link.href || link.src;
               return [url, (await fetch(url)).status];
             }));
             if (answers.length < 5) throw new Error('only ' + answers.length + ' links');
             return answers.filter(([_, status]) => status !== 200);",
            Vec::new(),
        )
        .await?;
    assert!(broken.is_empty(), "{broken:?}");
    Ok(())
}

async fn the_policy_forbids_code_from_elsewhere(stage: &Stage) -> Result<()> {
    stage.expect_in_console("Content Security Policy");
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let ran: bool = page
        .promise(
            "const inline = document.createElement('script');
             inline.textContent = 'window.inlineRan = true';
             document.body.append(inline);
             const foreign = document.createElement('script');
             foreign.src = arguments[0];
             const outcome = await new Promise(done => {
               foreign.onload = () => done(true);
               foreign.onerror = () => done(false);
               document.body.append(foreign);
             });
             return outcome || !!window.inlineRan;",
            vec![json!(stage.url(&format!("/{}/boot.js", stage.tools().build()?)).replace("localhost", "127.0.0.1"))],
        )
        .await?;
    assert!(!ran);
    Ok(())
}
