//! Browsers and hosts that refuse something: the page works without it, or says what is wrong.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::server::{self, Instead, Server};
use serde_json::json;

tests![
    a_browser_that_refuses_storage_is_told,
    a_sandboxed_frame_is_told,
    a_broken_deployment_is_told,
    a_translator_leaves_the_live_parts_alone,
];

async fn a_browser_that_refuses_storage_is_told(stage: &Stage) -> Result<()> {
    let throws = "() => { throw new DOMException('no', 'SecurityError'); }";
    for refusal in [
        "Object.defineProperty(window, 'localStorage', { value: null });".to_owned(),
        format!("Object.defineProperty(window, 'localStorage', {{ get: {throws} }});"),
        format!("Storage.prototype.getItem = {throws};"),
        format!("for (const name of ['getItem', 'setItem', 'removeItem']) Storage.prototype[name] = {throws};"),
    ] {
        let page = stage.browser(Visitor::NO_WEBGPU).await?;
        page.browser().cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": refusal })).await?;
        page.goto(&stage.url("/")).await?;
        page.routed().await?;
        let notes = page.find("notes").await?.text().await?;
        assert!(notes.contains("store nothing"), "{refusal}: {notes}");
        page.paste("Words of my own").await?;
        page.wait("them routed", |view| view.is_settled() && view.text == "Words of my own").await?;
        page.click("theme").await?;
        // Only the address restores them.
        page.wait_for_address(|address| address.contains("text=Words")).await?;
        page.browser().refresh().await?;
        assert_eq!(page.routed().await?.text, "Words of my own");
    }
    Ok(())
}

async fn a_sandboxed_frame_is_told(stage: &Stage) -> Result<()> {
    for part in ["favicon", "blocked", "CORS", "ERR_FAILED", "Content Security Policy", "sandboxed"] {
        stage.expect_in_console(part);
    }
    for allowed in [false, true] {
        let server = Server::start(server::sandboxed(stage.tools(), allowed)?).await?;
        let page = stage.browser(Visitor::NO_WEBGPU).await?;
        page.goto(&server.url("/frame")).await?;
        page.browser().enter_frame(0).await?;
        let told = "return [...document.querySelectorAll('.boot-problem')]
            .filter(problem => problem.checkVisibility({ visibilityProperty: true }))
            .some(problem => problem.innerText.includes('sandbox'))";
        page.until::<bool>("a word about the frame", told, Vec::new()).await?;
    }
    Ok(())
}

async fn a_broken_deployment_is_told(stage: &Stage) -> Result<()> {
    for part in ["404", "MIME type", "SyntaxError", "Unexpected token", "Failed to", "build/", "wasm", "preload"] {
        stage.expect_in_console(part);
    }
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let files = ["boot.js", "program.js", "moescope.js", "moescope_relaxed.wasm", "worker.js"];
    for file in files {
        for answer in [Instead::Nothing, Instead::Page, Instead::Garbage] {
            let server = Server::start(server::instead_of(stage.tools(), file, answer)?).await?;
            page.goto(&server.url("/")).await?;
            let told = "const problems = document.querySelectorAll('.boot-problem, [data-testid=error]');
                const seen = [...problems].filter(problem => problem.checkVisibility({ visibilityProperty: true }));
                return seen.map(problem => problem.innerText.trim()).find(text => text) ?? null;";
            let what = format!("a sentence: {file} is {answer:?}");
            let sentence: String = page.until(&what, told, Vec::new()).await.with_context(|| what.clone())?;
            assert!(sentence.contains("could not be") || sentence.contains("did not start"), "{what}: {sentence}");
        }
    }
    // Some hosts do not know the MIME type of WebAssembly.
    let site = server::instead_of(stage.tools(), "moescope_relaxed.wasm", Instead::OtherType)?;
    let server = Server::start(site).await?;
    page.goto(&server.url("/?text=hello")).await?;
    assert_eq!(page.routed().await?.ids(), cli::trace(stage.tools(), "main", "hello", "cpu")?.ids());
    Ok(())
}

/// As Chrome's translator does: puts every text node into an element of its own, unless `translate` forbids it.
async fn a_translator_leaves_the_live_parts_alone(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=The%20river%20was%20wide").await?;
    page.routed().await?;
    let translate = "const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const nodes = [];
        while (walker.nextNode()) nodes.push(walker.currentNode);
        for (const node of nodes) {
          if (node.parentElement.closest('[translate=no], script, textarea') || !node.data.trim()) continue;
          const font = document.createElement('font');
          font.textContent = node.data.toUpperCase();
          node.replaceWith(font);
        }
        return document.querySelectorAll('font').length;";
    let translated: usize = page.script(translate, Vec::new()).await?;
    assert!(translated > 20, "only {translated} texts");
    let text = "Der Hund";
    page.paste(text).await?;
    page.wait("the other text", |view| view.is_settled() && view.text == text).await?;
    let trace = cli::trace(stage.tools(), "main", text, "cpu")?;
    let (shown, count): (Vec<String>, String) = page
        .script(
            "return [[...document.querySelectorAll('[data-testid=token] b')].map(token => token.innerText),
               document.querySelector('[data-testid=token-count]').innerText];",
            Vec::new(),
        )
        .await?;
    let shown: String = shown.concat().chars().filter(|c| c.is_alphabetic()).collect();
    assert_eq!(shown, "DerHund");
    assert!(count.starts_with(&format!("{} tokens", trace.tokens.len())), "{count}");
    Ok(())
}
