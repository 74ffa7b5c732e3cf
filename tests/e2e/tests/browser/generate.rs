//! The model continues the text.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use std::time::Duration;

tests![continues_on_webgpu, continues_on_the_cpu, stop_stops];

async fn continues_on_webgpu(stage: &Stage) -> Result<()> {
    continues(stage, &stage.open(Visitor::WEBGPU, "/?text=The%20river&backend=webgpu").await?).await
}

async fn continues_on_the_cpu(stage: &Stage) -> Result<()> {
    continues(stage, &stage.open(Visitor::NO_WEBGPU, "/?text=The%20river").await?).await
}

/// Tokens come one after the other, each with its routing, and the text box has them too.
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
    // Routing while generating is what routing the same tokens in one go is.
    let layer = after.layer.expect("one layer is shown");
    let again = cli::trace_ids(stage.tools(), "main", &after.ids(), "cpu")?;
    assert_eq!(after.experts(), again.layer(layer).selected);
    Ok(())
}

async fn stop_stops(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?text=The%20river&backend=webgpu").await?;
    let before = page.routed().await?;
    page.find("generate").await?.click().await?;
    page.wait("a new token", |view| view.tokens.len() > before.tokens.len()).await?;
    page.find("stop").await?.click().await?;
    let stopped = page.wait("the stop", |view| view.state == "ready").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let later = page.view().await?;
    assert_eq!(later.tokens, stopped.tokens);
    assert_eq!(later.state, "ready");
    Ok(())
}
