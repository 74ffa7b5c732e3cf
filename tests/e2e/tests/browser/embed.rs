//! In a frame of another site, and on a projector.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use axum::Router;
use axum::response::Html;
use axum::routing::any;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use moescope_e2e::server::Server;
use serde_json::{Value, json};
use std::path::Path;

tests![a_page_of_another_site_drives_the_frame, on_a_projector_arrows_lead_through_a_story];

/// The example of docs/embed.md, from another origin than the site's.
async fn example(stage: &Stage) -> Result<(Server, Page)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/embed-example.html");
    let html = std::fs::read_to_string(file)?;
    let server = Server::start(Router::new().route("/", any(move || async move { Html(html.clone()) }))).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url(&format!("/?host={}", stage.url("/")))).await?;
    Ok((server, page))
}

async fn a_page_of_another_site_drives_the_frame(stage: &Stage) -> Result<()> {
    // The other site has no icon.
    stage.expect_in_console("favicon.ico");
    let (_server, page) = example(stage).await?;
    let busiest = "const said = document.getElementById('busiest').textContent;
        return said !== '' && said !== arguments[0] && said;";
    let said: String = page.until("the answer", busiest, vec![json!("")]).await?;
    let expected = |text: &str| -> Result<String> {
        let load = cli::trace(stage.tools(), "main", text, "cpu")?.layer(2).balance.load.clone();
        let most = (0..load.len()).rev().max_by(|&a, &b| load[a].total_cmp(&load[b])).context("experts")?;
        Ok(format!("expert {most} does the most, {:.0} % of the work", (load[most] * 100.0).round()))
    };
    let wanted = expected("The river was wide and slow")?;
    assert!(said.contains(&wanted), "{said}: {wanted}");

    let text = "let mut river = Vec::new(); river.push(1);";
    let ask = "const field = document.getElementById('text'); field.value = arguments[0];
        field.dispatchEvent(new Event('change'));";
    page.script::<()>(ask, vec![json!(text)]).await?;
    let said: String = page.until("the other text", busiest, vec![json!(said)]).await?;
    let wanted = expected(text)?;
    assert!(said.contains(&wanted), "{said}: {wanted}");

    // A policy, a mistake, and what the frame says of both.
    let send = "const told = ask(arguments[0]);
        return await told.then(value => ({ value: value ?? null }), error => ({ error: error.message }));";
    let policy = json!({ "do": "policy", "policy": { "layers": [2], "off": [3] } });
    let answer: Value = page.promise(send, vec![policy]).await?;
    assert!(answer.get("error").is_none(), "{answer}");
    let traced: Value = page.promise(send, vec![json!({ "do": "trace", "prompt": text })]).await?;
    assert_eq!(traced["value"]["layers"][2]["balance"]["load"][3].as_f64(), Some(0.0));
    for (message, part) in [
        (json!({ "do": "dance" }), "dance: there are hello, text"),
        (json!({ "do": "layer", "layer": 99 }), "layers 0 to 5"),
        (json!({ "do": "policy", "policy": { "off": [99] } }), "99"),
        (json!({ "do": "text" }), "give a text"),
    ] {
        let answer: Value = page.promise(send, vec![message]).await?;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(part)), "{part}: {answer}");
    }
    let log: String = page.script("return document.getElementById('log').textContent", Vec::new()).await?;
    for event in ["\"event\":\"ready\"", "\"event\":\"routed\"", "\"event\":\"layer\""] {
        assert!(log.contains(event), "{event} is not in {log}");
    }
    // The frame shows the parts asked for, and nothing else.
    page.browser().enter_frame(0).await?;
    let shown: Vec<bool> = page
        .script(
            "return ['[data-testid=stage]', '[data-place=strip]', '.map', 'header', '[data-testid=drawer]', 'textarea']
               .map(place => (document.querySelector(place)?.getClientRects().length ?? 0) > 0);",
            Vec::new(),
        )
        .await?;
    assert_eq!(shown, [true, true, true, false, false, false]);
    let kept: bool = page.script("return !!localStorage.getItem('moescope.text')", Vec::new()).await?;
    assert!(!kept, "a frame keeps no text");
    Ok(())
}

async fn on_a_projector_arrows_lead_through_a_story(stage: &Stage) -> Result<()> {
    let room = Visitor { width: 1920, height: 1080, ..Visitor::NO_WEBGPU };
    let page = stage.open(room, "/#/?present&story=one-word&backend=cpu").await?;
    let step = "const told = document.querySelector('[data-testid=story-step]');
        return told?.dataset.step === String(arguments[0]) && document.body.dataset.state === 'ready';";
    page.until::<bool>("the story", step, vec![json!(0)]).await?;
    let (type_size, hidden, link): (f64, bool, String) = page
        .script(
            "return [parseFloat(getComputedStyle(document.documentElement).fontSize),
               !document.querySelector('header, .drawer, textarea'),
               document.querySelector('[data-testid=qr]').dataset.link];",
            Vec::new(),
        )
        .await?;
    assert!(type_size >= 1.7 * 16.0, "{type_size} px");
    assert!(hidden, "only stage, strip, one picture and the sentence are shown");
    assert_eq!(link, stage.url("/#/?story=one-word&present=1"), "the code leads here, on any engine");
    page.press("\u{e014}").await?;
    page.until::<bool>("the next step", step, vec![json!(1)]).await?;
    page.press("\u{e012}").await?;
    page.until::<bool>("the step before", step, vec![json!(0)]).await?;
    page.click("present-leave").await?;
    page.until::<bool>("the whole page", "return !!document.querySelector('header')", Vec::new()).await?;
    page.wait_for_address(|address| !address.contains("present")).await?;
    Ok(())
}
