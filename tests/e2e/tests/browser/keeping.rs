//! Keeping things: exports, the text kept in the browser, links, and the history.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result, ensure};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::{PATIENCE, Page};
use moescope_e2e::server::{self, Server};
use serde_json::Value;
use std::time::Instant;

tests![
    exports_hold_what_is_shown,
    the_text_is_kept_until_it_is_forgotten,
    nonsense_of_every_kind_in_a_link_is_ignored_and_said,
    a_link_brings_back_every_choice,
    undo_goes_back_and_forth,
    the_next_visit_needs_no_network,
    storage_that_is_full_is_told,
    a_clipboard_that_is_refused_or_missing_is_told,
];

/// The file that a button saves: its name, and width and height for pictures, otherwise the text.
async fn saved(page: &Page, button: &str) -> Result<(String, Value)> {
    page.promise(
        "const click = HTMLAnchorElement.prototype.click;
         const link = new Promise(done => { HTMLAnchorElement.prototype.click = function () { done(this); }; });
         document.querySelector(`[data-testid=${arguments[0]}]`).click();
         const { href, download } = await link;
         HTMLAnchorElement.prototype.click = click;
         const blob = await (await fetch(href)).blob();
         if (blob.type !== 'image/png') return [download, await blob.text()];
         const { width, height } = await createImageBitmap(blob);
         const canvas = document.querySelector('.map canvas');
         return [download, { width, height, canvas: [canvas.width, canvas.height] }];",
        vec![button.into()],
    )
    .await
}

async fn the_next_visit_needs_no_network(stage: &Stage) -> Result<()> {
    let server = Server::start(server::leaving(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=A%20first%20visit.")).await?;
    page.routed().await?;
    are_kept(&page, &["models/main/model.safetensors", "moescope.js", "worker.js"]).await?;
    // Files that the visit loads later are kept too.
    page.promise::<Value>("return await moescope.load('switch');", Vec::new()).await?;
    are_kept(&page, &["models/switch/model.safetensors"]).await?;
    let next = server.url("/?text=The%20server%20is%20gone.");
    server.stop();

    page.goto(&next).await?;
    let view = page.routed().await?;
    assert_eq!(view.text, "The server is gone.");
    let elsewhere = stage.open(Visitor::NO_WEBGPU, "/?text=The%20server%20is%20gone.").await?.routed().await?;
    assert_eq!(view.tokens, elsewhere.tokens);
    page.goto(&format!("{next}&model=switch")).await?;
    page.routed().await?;
    Ok(())
}

async fn storage_that_is_full_is_told(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };";
    page.script::<()>(full, Vec::new()).await?;
    page.paste("Words of my own").await?;
    let said = "return document.querySelector('.notices').innerText.includes('refuses to keep the text')";
    page.until::<bool>("a note on the storage", said, Vec::new()).await?;
    assert_eq!(page.wait("the text", |view| view.is_settled()).await?.text, "Words of my own");
    Ok(())
}

async fn a_clipboard_that_is_refused_or_missing_is_told(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let refuse = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('no', 'NotAllowedError'));";
    // As at an address without https.
    let missing = "Object.defineProperty(navigator, 'clipboard', { value: undefined });";
    for (case, path) in [(refuse, "/?text=hello&layer=1"), (missing, "/?text=hello&layer=2")] {
        page.goto(&stage.url(path)).await?;
        page.routed().await?;
        page.script::<()>(case, Vec::new()).await?;
        page.click("share").await?;
        let said = "return document.querySelector('.notices').innerText.includes(location.href)";
        page.until::<bool>("the link, to be copied by hand", said, Vec::new()).await?;
    }
    Ok(())
}

/// Waits until files of the site are in the cache.
async fn are_kept(page: &Page, files: &[&str]) -> Result<()> {
    let missing = "const names = (await caches.keys()).filter(name => name.startsWith('moescope'));
        const kept = (await Promise.all(names.map(async name => (await caches.open(name)).keys()))).flat()
          .map(request => request.url);
        return arguments[0].filter(file => !kept.some(url => url.endsWith(`/${file}`)));";
    let start = Instant::now();
    loop {
        let missing: Vec<String> = page.promise(missing, vec![serde_json::json!(files)]).await?;
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "not kept: {missing:?}");
    }
}

async fn exports_hold_what_is_shown(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;

    let (name, json) = saved(&page, "save-json").await?;
    let json: moescope_e2e::cli::Trace = serde_json::from_str(json.as_str().context("text")?)?;
    assert_eq!(name, "trace.json");
    assert_eq!(json.ids(), trace.ids());
    assert_eq!(json.layer(1).selected, trace.layer(1).selected);

    let (name, csv) = saved(&page, "save-csv").await?;
    let csv = csv.as_str().context("text")?.to_owned();
    assert_eq!(name, "trace.csv");
    assert!(csv.starts_with("position,token_id,token,layer,rank,expert,weight,probability,surprise_bits\r\n"));
    let assignments: usize = trace.layers.iter().map(|layer| layer.selected.iter().map(Vec::len).sum::<usize>()).sum();
    assert_eq!(csv.matches("\r\n").count(), assignments + 1);
    let first = format!("0,{},{},0,0,{},", trace.tokens[0].id, trace.tokens[0].text, trace.layer(0).selected[0][0]);
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with(&first)), "{first}: {csv:.200}");

    // Twice the pixels of the screen, and room for the title and the words under it.
    let (name, picture) = saved(&page, "save-png][data-picture=routing-map").await?;
    assert_eq!(name, "routing-map.png");
    let side = |of: &Value| of.as_u64().unwrap_or_default();
    assert!(side(&picture["width"]) >= 2 * side(&picture["canvas"][0]), "{picture}");
    assert!(side(&picture["height"]) > 2 * side(&picture["canvas"][1]) + 100, "{picture}");

    // Every picture has title, legend, model and date.
    for (file, opens, part) in [
        ("stage", "strip-more", "router"),
        ("strip", "token-count", "people"),
        ("balance", "drawer-tab][data-tab=balance", "<rect"),
        ("training", "drawer-tab][data-tab=training", "<polyline"),
    ] {
        page.click(opens).await?;
        let (name, svg) = saved(&page, &format!("save-svg][data-picture={file}")).await?;
        let svg = svg.as_str().context("text")?.to_owned();
        assert_eq!(name, format!("{file}.svg"));
        let date: String = page.script("return new Date().toISOString().slice(0, 10)", Vec::new()).await?;
        for part in ["<svg xmlns=", "<title>", "main, Moescope", &date, part] {
            assert!(svg.contains(part), "{part} is not in {file}: {svg:.300}");
        }
        let parses =
            "return !new DOMParser().parseFromString(arguments[0], 'image/svg+xml').querySelector('parsererror')";
        assert!(page.script::<bool>(parses, vec![svg.into()]).await?, "{file} is no XML");
    }

    page.turn("picture-select", "flow").await?;
    page.until::<bool>("the flow", "return !!document.querySelector('.band')", Vec::new()).await?;
    let bands: usize = page.script("return document.querySelectorAll('.band').length", Vec::new()).await?;
    let (name, svg) = saved(&page, "save-svg][data-picture=flow").await?;
    let svg = svg.as_str().context("text")?.to_owned();
    assert_eq!(name, "flow.svg");
    assert!(svg.starts_with("<svg") && svg.contains("xmlns="), "{svg:.200}");
    assert_eq!(svg.matches("<path").count(), bands);
    assert!(svg.contains("stroke=\"rgb") && svg.contains("main, Moescope"), "its colours and its model go with it");
    Ok(())
}

async fn the_text_is_kept_until_it_is_forgotten(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let example = page.routed().await?.text;
    page.paste("Words of my own").await?;
    page.wait("them routed", |view| view.is_settled() && view.text == "Words of my own").await?;
    page.until::<bool>("the text kept", "return !!localStorage.getItem('moescope.text')", Vec::new()).await?;
    page.goto(&stage.url("/")).await?;
    let view = page.routed().await?;
    assert_eq!(view.text, example, "the page opens as ever");
    let kept = "return [...document.querySelectorAll('.examples .joined button')].length === 2";
    page.until::<bool>("the offer of the text left here", kept, Vec::new()).await?;
    page.script::<()>("document.querySelector('.examples .joined button').click()", Vec::new()).await?;
    page.wait("the text left here", |view| view.is_settled() && view.text == "Words of my own").await?;
    page.wait_for_address(|address| address.contains("text=Words")).await?;
    page.browser().refresh().await?;
    assert_eq!(page.routed().await?.text, "Words of my own", "after loading the page again");
    page.goto(&stage.url("/")).await?;
    page.routed().await?;
    page.until::<bool>("the offer", kept, Vec::new()).await?;
    page.script::<()>("document.querySelectorAll('.examples .joined button')[1].click()", Vec::new()).await?;
    let gone = "return !localStorage.getItem('moescope.text') && !document.querySelector('.examples .joined')";
    page.until::<bool>("the text forgotten", gone, Vec::new()).await?;
    Ok(())
}

async fn nonsense_of_every_kind_in_a_link_is_ignored_and_said(stage: &Stage) -> Result<()> {
    let nonsense = "/?text=hello&layer=-1&backend=abacus&view=film&token=many&to=x&colour=plaid&expert=9&step=soon\
                    &beside=later&lang=xx";
    let page = stage.open(Visitor::NO_WEBGPU, nonsense).await?;
    let view = page.routed().await?;
    assert_eq!(view.text, "hello");
    page.until::<bool>("a note on the language", "return document.body.innerText.includes('lang=xx')", Vec::new())
        .await?;
    let notes = page.find("notes").await?.text().await?;
    for part in [
        "layer=-1",
        "backend=abacus",
        "view=film",
        "token=many",
        "to=x",
        "colour=plaid",
        "expert=9",
        "step=soon",
        "beside=later",
    ] {
        assert!(notes.contains(part), "{part} is not in {notes}");
    }
    page.goto(&stage.url("/?text=hello&token=500&expert=2.99&layer=7&step=1")).await?;
    page.routed().await?;
    page.until::<bool>("a note on the token", "return document.body.innerText.includes('500')", Vec::new()).await?;
    let notes = page.find("notes").await?.text().await?;
    for part in ["500", "99", "Layer 7", "step"] {
        assert!(notes.contains(part), "{part} is not in {notes}");
    }
    Ok(())
}

async fn a_link_brings_back_every_choice(stage: &Stage) -> Result<()> {
    let query = "?layer=1&view=flow&token=3&to=6&colour=surprise&find=the&lang=zh&text=the+cat+and+the+dog+and+the+cow";
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/{query}")).await?;
    page.routed().await?;
    page.until::<bool>("Chinese", "return document.documentElement.lang === 'zh'", Vec::new()).await?;
    // The page writes its own address: the same keys, all of them behind `#`.
    let address = page.wait_for_address(|address| address.contains("#/?") && address.contains("layer=1")).await?;
    let sorted = |parts: &str| {
        let mut parts: Vec<String> = parts.split('&').map(str::to_owned).collect();
        parts.sort();
        parts
    };
    let (before, written) = address.split_once("#/?").context("a fragment")?;
    assert!(!before.contains('?'), "{address}");
    assert_eq!(sorted(written), sorted(query.trim_start_matches('?')));
    Ok(())
}

async fn undo_goes_back_and_forth(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?layer=1").await?;
    page.routed().await?;
    assert!(!page.find("undo-view").await?.is_enabled().await?);
    page.choose_layer(4).await?;
    page.turn("picture-select", "load").await?;
    page.choose("colour-by", "surprise").await?;
    page.wait_for_address(|address| {
        address.contains("layer=4") && address.contains("view=load") && address.contains("colour=surprise")
    })
    .await?;
    page.click("undo-view").await?;
    page.wait_for_address(|address| !address.contains("colour=") && address.contains("view=load")).await?;
    page.script::<()>("document.activeElement.blur()", Vec::new()).await?;
    page.press_with_control("z").await?;
    page.press_with_control("z").await?;
    page.wait_for_address(|address| address.contains("layer=1") && !address.contains("view=load")).await?;
    page.press_with_control("y").await?;
    page.wait_for_address(|address| address.contains("layer=4") && !address.contains("view=load")).await?;
    // In the text box, undo is the text box's own.
    let before = page.view().await?.text;
    page.type_keys(" more").await?;
    page.wait("the words", |view| view.text.ends_with(" more")).await?;
    page.press_with_control("z").await?;
    page.wait("the text before", |view| view.text == before && view.layer == Some(4)).await?;
    Ok(())
}
