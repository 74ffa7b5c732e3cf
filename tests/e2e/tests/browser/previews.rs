//! Large models: what they are and need is shown before their weights are fetched, and a part of them opens.

use crate::harness::{Stage, tests};
use crate::links::encoded;
use crate::opening::in_use;
use anyhow::{Context, Result};
use axum::Router;
use base64::prelude::{BASE64_STANDARD, Engine};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::large::{PADDING, large, padded};
use moescope_e2e::page::{Page, View};
use moescope_e2e::server::{self, Instead, Server};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use thirtyfour::prelude::*;

tests![
    a_large_model_is_shown_before_it_is_fetched_and_its_first_layers_open,
    experts_on_demand_route_as_all_in_memory,
    a_model_kept_in_the_browser_opens_without_its_server,
    a_cancelled_load_leaves_the_model_before,
    a_server_without_ranges_and_a_file_that_changes_are_explained,
    a_gated_model_opens_with_a_token_that_is_kept_nowhere,
    a_file_of_more_than_4_gb_opens_from_the_disk,
    the_faster_engine_is_kept,
];

/// Loads an address through the dialog.
async fn open_address(page: &Page, address: &str, token: &str) -> Result<()> {
    page.click("model-select").await?;
    page.click("open-model").await?;
    let input = page.browser().find(By::Id("model-address")).await?;
    input.send_keys(address).await?;
    page.find("model-token").await?.send_keys(token).await?;
    input.send_keys("" + Key::Enter).await?;
    Ok(())
}

/// Opens a page at `path` of a server with [`large`] models; returns what was routed first.
async fn visit(stage: &Stage, router: Router, path: &str) -> Result<(Server, Page, View)> {
    let server = Server::start(router).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url(path)).await?;
    let view = page.routed().await?;
    Ok((server, page, view))
}

async fn text_of(page: &Page, testid: &str) -> Result<String> {
    Ok(page.find(testid).await?.text().await?)
}

/// Waits until the page shows an element, and returns its text.
async fn shown(page: &Page, testid: &str) -> Result<String> {
    let body = "return document.querySelector(`[data-testid=${arguments[0]}]`)?.innerText || null;";
    page.until(testid, body, vec![json!(testid)]).await
}

async fn a_large_model_is_shown_before_it_is_fetched_and_its_first_layers_open(stage: &Stage) -> Result<()> {
    let (router, asked) = large(stage.tools())?;
    let (server, page, _) = visit(stage, router, "/?text=hello").await?;
    let whole = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    open_address(&page, &server.url("/large/"), "").await?;
    let about = shown(&page, "preview-about").await?;
    let begun = asked.begun.lock().expect("no panic holds it").context("the file was requested")?;
    let took = begun.elapsed();
    eprintln!("a first preview: {} ms after the header's bytes", took.as_millis());
    assert!(took < Duration::from_secs(1), "the preview came {took:?} after the header's bytes");
    assert!(about.contains("mixtral") && about.contains("8 experts a layer, 2 per token"), "{about}");
    let needs = shown(&page, "preview-needs").await?;
    assert!(needs.contains("fits"), "{needs}");
    assert!(asked.ranges.lock().expect("no panic holds it").is_empty(), "nothing of the weights was fetched");
    // The model in use answers meanwhile.
    page.paste("hello there").await?;
    let meanwhile = cli::trace(stage.tools(), "main", "hello there", "cpu")?;
    page.wait("an answer", |view| view.ids() == meanwhile.ids()).await?;
    page.paste("hello").await?;
    let count = "const input = document.querySelector('[data-testid=preview-layer-count]');
        input.value = '2'; input.dispatchEvent(new Event('change', { bubbles: true }));";
    page.script::<()>(count, Vec::new()).await?;
    page.until::<bool>(
        "the choice",
        "return /2/.test(document.querySelector('[data-testid=preview-layers]').innerText)",
        vec![],
    )
    .await?;
    page.click("preview-layers").await?;
    let all = whole.layers.len();
    let marked = format!("only the first 2 of {all} layers");
    let is_marked = "return document.querySelector('[data-testid=part]')?.innerText.includes(arguments[0]);";
    page.until::<bool>("the mark", is_marked, vec![json!(marked)]).await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    assert_eq!(trace.layers.len(), 2);
    assert_eq!(trace.layers[0].selected, whole.layers[0].selected);
    assert_eq!(trace.layers[1].selected, whole.layers[1].selected);
    let model: Value = page.promise("return (await moescope.trace('x')).model", Vec::new()).await?;
    assert_eq!((&model["layers"], &model["of_layers"]), (&json!(2), &json!(all)));
    let sent: u64 = asked.ranges.lock().expect("no panic holds it").iter().map(|(_, bytes)| bytes).sum();
    assert!(sent < 64 << 20, "{sent} bytes were sent for two layers");
    Ok(())
}

async fn experts_on_demand_route_as_all_in_memory(stage: &Stage) -> Result<()> {
    let (router, asked) = large(stage.tools())?;
    let (server, page, _) = visit(stage, router, "/?text=hello%20over%20there&tab=cost").await?;
    let whole = cli::trace(stage.tools(), "main", "hello over there", "cpu")?;
    let in_memory = page.trace("last").await?;
    let load = "return await moescope.load(arguments[0], { resident: 0.25 })";
    page.promise::<Value>(load, vec![json!(server.url("/large/"))]).await?;
    page.routed().await?;
    let trace = page.trace("last").await?;
    for ((of, same), expected) in trace.layers.iter().zip(&in_memory.layers).zip(&whole.layers) {
        assert_eq!((&of.selected, &of.weights), (&expected.selected, &same.weights));
        assert_eq!(of.router_logits, same.router_logits);
    }
    let pool = shown(&page, "pool").await?;
    let experts = 8 * whole.layers.len();
    assert!(pool.contains(&format!("of {experts} experts")), "{pool}");
    let hits = "const pool = document.querySelector('[data-testid=pool]').dataset;
        return [+pool.hits, +pool.requests];";
    let (hits, requests): (u64, u64) = page.script(hits, Vec::new()).await?;
    assert!(hits < requests && requests > 0, "{hits} of {requests}");
    assert!(!asked.ranges.lock().expect("no panic holds it").is_empty());
    // The simulation beside it, over the same text: an eighth of the experts is less than a token uses.
    let rates =
        "return [...document.querySelectorAll('[data-testid=residency] tr[data-hits]')].map(r => +r.dataset.hits)";
    let rates: Vec<f64> = page.script(rates, Vec::new()).await?;
    assert!(rates.len() == 4 && rates.windows(2).all(|two| two[0] <= two[1]), "{rates:?}");
    Ok(())
}

/// `/broken/off` breaks the connection off in the middle of the weights, and goes on where it is asked for a range.
async fn a_model_kept_in_the_browser_opens_without_its_server(stage: &Stage) -> Result<()> {
    stage.expect_in_console("ERR_");
    let site = Server::start(server::site(stage.tools())?).await?;
    let host = Server::start(server::other_origin(stage.tools(), true)?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&site.url("/?text=hello&model=switch")).await?;
    page.routed().await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    let address = host.url("/models/main/");
    open_address(&page, &address, "").await?;
    in_use(&page, "main").await?;
    page.click("model-select").await?;
    page.click("open-model").await?;
    page.click("keep").await?;
    let row = shown(&page, "kept-model").await?;
    assert!(row.contains("main") && row.contains("MB"), "{row}");
    host.stop();
    page.goto(&site.url("/?text=hello&model=switch")).await?;
    page.routed().await?;
    page.click("model-select").await?;
    page.click("open-model").await?;
    shown(&page, "kept-model").await?;
    page.click("kept-open").await?;
    in_use(&page, "main").await?;
    assert_eq!(page.trace("none").await?.layers[0].selected, expected.layers[0].selected);
    page.click("model-select").await?;
    page.click("open-model").await?;
    shown(&page, "kept-model").await?;
    page.click("kept-delete").await?;
    let is_absent = "return !document.querySelector('[data-testid=kept-model]');";
    page.until::<bool>("an empty list", is_absent, Vec::new()).await?;
    Ok(())
}

async fn a_cancelled_load_leaves_the_model_before(stage: &Stage) -> Result<()> {
    let (router, _) = large(stage.tools())?;
    let (server, page, before) = visit(stage, router, "/?text=hello").await?;
    open_address(&page, &server.url("/large/"), "").await?;
    shown(&page, "preview").await?;
    page.click("preview-cancel").await?;
    let view = page.wait("the page before", |view| view.is_settled()).await?;
    assert_eq!((view.ids(), view.error.as_str()), (before.ids(), ""));
    let is_absent = "return !document.querySelector('[data-testid=preview], [data-testid=progress]');";
    page.until::<bool>("no card", is_absent, Vec::new()).await?;
    // As the first model of a visit: the site's own opens instead.
    page.goto(&server.url(&format!("/?text=hello&model={}", encoded(&server.url("/large/"))))).await?;
    shown(&page, "preview").await?;
    page.click("preview-cancel").await?;
    assert_eq!(page.routed().await?.ids(), before.ids());
    Ok(())
}

async fn a_server_without_ranges_and_a_file_that_changes_are_explained(stage: &Stage) -> Result<()> {
    let (router, asked) = large(stage.tools())?;
    let (server, page, before) = visit(stage, router, "/?text=hello").await?;
    let load = "return await moescope.load(arguments[0], { layers: arguments[1] })";
    let refused = async |path: &str, layers: usize| -> Result<String> {
        let address = json!(server.url(path));
        let refused = page.promise::<Value>(load, vec![address, json!(layers)]).await;
        Ok(refused.err().with_context(|| format!("{path} opened"))?.to_string())
    };
    let why = refused("/plain/", 1).await?;
    assert!(why.contains("ranges of a file") && why.contains("open its files"), "{why}");
    let why = refused("/large/", 99).await?;
    assert!(why.contains("99 layers were asked for"), "{why}");
    // Experts are read on demand until the file is another one.
    let on_demand = "await moescope.load(arguments[0], { resident: 0.25 })";
    page.promise::<()>(on_demand, vec![json!(server.url("/large/"))]).await?;
    asked.version.store(1, Ordering::SeqCst);
    page.paste("Words that no expert has seen, 1 + 2 = 3, für die Anderen").await?;
    let view = page.wait("the reason", |view| !view.error.is_empty()).await?;
    assert!(view.error.contains("changed while it was read"), "{}", view.error);
    page.promise::<Value>("return await moescope.load('main')", Vec::new()).await?;
    page.paste("hello").await?;
    page.wait("the model before", |view| view.is_settled() && view.ids() == before.ids()).await?;
    Ok(())
}

async fn a_gated_model_opens_with_a_token_that_is_kept_nowhere(stage: &Stage) -> Result<()> {
    stage.expect_in_console("401");
    stage.expect_in_console("403");
    let (router, _) = large(stage.tools())?;
    let (server, page, _) = visit(stage, router, "/?text=hello&model=switch").await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    for (token, part) in [("", "give an access token"), ("wrong", "with the token that you gave")] {
        open_address(&page, &server.url("/gated/"), token).await?;
        let view = page.wait("the reason", |view| view.error.contains(part)).await?;
        assert!(view.error.contains("/gated/config.json"), "{}", view.error);
    }
    open_address(&page, &server.url("/gated/"), "secret").await?;
    in_use(&page, "gated").await?;
    assert_eq!(page.trace("none").await?.layers[0].selected, expected.layers[0].selected);
    let kept = "return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie]);";
    page.wait_for_address(|address| address.contains("gated")).await?;
    let kept: String = page.script(kept, Vec::new()).await?;
    assert!(kept.contains("gated") && !kept.contains("secret"), "{kept}");
    Ok(())
}

async fn a_file_of_more_than_4_gb_opens_from_the_disk(stage: &Stage) -> Result<()> {
    let (head, tail) = padded(stage.tools())?;
    let main = stage.tools().model("main");
    let text = |name: &str| std::fs::read_to_string(main.join(name));
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let expected = cli::trace(stage.tools(), "main", "hello", "cpu")?;
    // A blob that consists of other blobs refers to them: its 5 GB are in memory nowhere.
    let load = "const bytes = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0));
        let zeros = new Blob([new Uint8Array(1e6)]);
        for (let n = 0; n < 2; n++) zeros = new Blob(Array(10).fill(zeros));
        const parts = [bytes(arguments[0]), ...Array(arguments[2] / 1e8).fill(zeros), bytes(arguments[1])];
        const files = [new File(parts, 'model.safetensors'), new File([arguments[3]], 'config.json'),
            new File([arguments[4]], 'tokenizer.json')];
        if (files[0].size < 5e9) throw new Error(`${files[0].size} bytes`);
        return (await moescope.load(files, { layers: 3 })).of_layers;";
    let arguments = vec![
        json!(BASE64_STANDARD.encode(&head)),
        json!(BASE64_STANDARD.encode(&tail)),
        json!(PADDING),
        json!(text("config.json")?),
        json!(text("tokenizer.json")?),
    ];
    let of: Option<usize> = page.promise(load, arguments).await?;
    assert_eq!(of, Some(expected.layers.len()));
    page.routed().await?;
    let trace = page.trace("none").await?;
    assert_eq!(trace.layers.len(), 3);
    assert_eq!(trace.layers[2].selected, expected.layers[2].selected);
    Ok(())
}

/// A software adapter that says that it is a real GPU: the page tries it, measures, and stays on the CPU.
async fn the_faster_engine_is_kept(stage: &Stage) -> Result<()> {
    let disguise = "for (const type of [globalThis.GPUAdapterInfo, globalThis.GPUAdapter]) {
            if (type) Object.defineProperty(type.prototype, 'isFallbackAdapter', { get: () => false });
        }
        ";
    let site = server::instead_of(stage.tools(), "worker.js", Instead::After(disguise))?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::WEBGPU).await?;
    page.goto(&server.url("/?text=hello%20over%20there")).await?;
    page.routed().await?;
    let timed = "return document.querySelector('[data-testid=timed]')?.dataset.faster ?? null;";
    page.click("backend").await?;
    let faster: String = page.until("a measurement", timed, Vec::new()).await?;
    let told = text_of(&page, "timed").await?;
    assert!(told.contains("ms on the CPU") && told.contains("ms on the GPU"), "{told}");
    let view = page.routed().await?;
    let on_cpu = view.backend.starts_with("CPU");
    assert_eq!(on_cpu, faster == "cpu", "{told}: {}", view.backend);
    assert_eq!(faster, "cpu", "SwiftShader is many times slower: {told}");
    Ok(())
}
