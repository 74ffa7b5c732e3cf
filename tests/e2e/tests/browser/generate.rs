//! The model continues the text.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use serde_json::{Value, json};

tests![
    continues_on_webgpu,
    continues_on_the_cpu,
    every_engine_continues_in_the_same_way,
    stop_stops,
    a_gpu_that_crashes_leaves_the_rest_to_the_cpu,
];

async fn continues_on_webgpu(stage: &Stage) -> Result<()> {
    continues(stage, &stage.open(Visitor::WEBGPU, "/?text=The%20river&backend=webgpu").await?).await
}

async fn continues_on_the_cpu(stage: &Stage) -> Result<()> {
    continues(stage, &stage.open(Visitor::NO_WEBGPU, "/?text=The%20river").await?).await
}

/// Tokens appear one after the other, each with its routing, and are added to the text box.
async fn continues(stage: &Stage, page: &Page) -> Result<()> {
    let before = page.routed().await?;
    page.find("generate").await?.click().await?;
    let first = page.wait("a new token", |view| view.tokens.len() > before.tokens.len()).await?;
    assert!(first.tokens.iter().all(|token| !token.experts.is_empty()), "a token came without its routing");
    let after = page
        .wait("the end of the text", |view| view.is_settled() && view.tokens.len() > before.tokens.len() + 4)
        .await?;
    assert_eq!(after.tokens[..before.tokens.len()], before.tokens[..]);
    assert!(after.text.starts_with(&before.text) && after.text.len() > before.text.len());
    // The routing while generating equals that of the same tokens in one run.
    let layer = after.layer.expect("one layer is shown");
    let again = cli::trace_ids(stage.tools(), "main", &after.ids(), "cpu")?;
    assert_eq!(after.experts(), again.layer(layer).selected);
    Ok(())
}

/// A GPU, which draws tokens itself with several steps in flight, and the CPU give the same tokens for the same seed.
async fn every_engine_continues_in_the_same_way(stage: &Stage) -> Result<()> {
    let call = "return (await window.moescope.generate('The river', { tokens: 24, temperature: 0.8, seed: 11 })).ids;";
    let mut ids: Vec<Value> = Vec::new();
    for backend in ["webgpu", "cpu"] {
        let page = stage.open(Visitor::WEBGPU, &format!("/?text=&backend={backend}")).await?;
        page.wait("the model", |view| view.is_settled()).await?;
        let used: String = page.script("return window.moescope.backend();", Vec::new()).await?;
        assert_eq!(used, backend);
        ids.push(page.promise(call, Vec::new()).await?);
    }
    assert_eq!(ids[0].as_array().map(Vec::len), Some(24));
    assert_eq!(ids[0], ids[1]);
    Ok(())
}

/// After the crash the whole text runs again on the CPU, and the continuation has the same tokens as without the
/// crash.
async fn a_gpu_that_crashes_leaves_the_rest_to_the_cpu(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?text=The%20river&backend=webgpu").await?;
    stage.expect_in_console("external Instance reference");
    let before = page.routed().await?.tokens.len();
    let settings = "return await window.moescope.generate('The river', { tokens: 64 });";
    let expected: Value = page.promise(settings, Vec::new()).await?;
    page.find("generate").await?.click().await?;
    page.wait("new tokens", |view| view.tokens.len() > before + 3).await?;
    page.browser().cdp().send_raw("Browser.crashGpuProcess", json!({})).await?;
    let after = page.wait("the CPU", |view| view.is_settled() && view.tokens.len() == before + 64).await?;
    assert_eq!(json!(after.ids()[before..]), expected["ids"]);
    let used: String = page.script("return window.moescope.backend();", Vec::new()).await?;
    assert_eq!(used, "cpu");
    let note = page.find("notes").await?.text().await?;
    assert!(note.contains("The CPU took over"), "{note}");
    Ok(())
}

async fn stop_stops(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?text=The%20river&backend=webgpu").await?;
    let before = page.routed().await?;
    page.find("generate").await?.click().await?;
    page.wait("a new token", |view| view.tokens.len() > before.tokens.len()).await?;
    page.find("stop").await?.click().await?;
    let stopped = page.wait("the stop", |view| view.state == "ready").await?;
    // The worker answers in order: a step that was still to come would have come before this answer.
    page.promise::<()>("await moescope.trace('x')", Vec::new()).await?;
    let later = page.view().await?;
    assert_eq!(later.tokens, stopped.tokens);
    assert_eq!(later.state, "ready");
    Ok(())
}
