//! The recording of a training run: the page shows what is in it.

use crate::harness::{Stage, tests};
use crate::panels::SET;
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use serde_json::{Value, json};

tests![
    snapshots_are_shown_as_recorded_and_said_to_be,
    a_link_brings_back_a_moment_of_the_training,
    two_moments_stand_side_by_side,
    a_damaged_recording_is_told_and_changes_nothing,
];

/// A page of a site whose model has the tests' recording.
async fn open(stage: &Stage, query: &str) -> Result<(Server, Page, Value)> {
    let (router, recording) = server::recorded(stage.tools())?;
    let server = Server::start(router).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url(&format!("/{query}"))).await?;
    Ok((server, page, recording))
}

/// Each token's experts in a layer of a snapshot, decoded from the file's base-36 digits.
fn experts(recording: &Value, snapshot: usize, text: usize, layer: usize) -> Result<Vec<Vec<usize>>> {
    let top_k = recording["top_k"].as_u64().context("top_k")? as usize;
    let digits = recording["snapshots"][snapshot]["texts"][text]["layers"][layer]["selected"].as_str();
    let digits: Vec<usize> =
        digits.context("digits")?.chars().filter_map(|digit| digit.to_digit(36)).map(|digit| digit as usize).collect();
    Ok(digits.chunks(top_k).map(<[usize]>::to_vec).collect())
}

fn last(recording: &Value) -> Result<usize> {
    Ok(recording["snapshots"].as_array().context("snapshots")?.len() - 1)
}

async fn snapshots_are_shown_as_recorded_and_said_to_be(stage: &Stage) -> Result<()> {
    let (_server, page, recording) = open(stage, "?text=hello&layer=1").await?;
    let own = page.routed().await?;
    page.until::<bool>("the offer", "return !!document.querySelector('[data-testid=watch]')", Vec::new()).await?;
    page.click("watch").await?;
    for snapshot in [0, last(&recording)? / 2, last(&recording)?] {
        page.until::<bool>("the slider", "return !!document.querySelector('[data-testid=snapshot]')", Vec::new())
            .await?;
        page.script::<()>(SET, vec![json!("[data-testid=snapshot]"), json!(snapshot.to_string())]).await?;
        let wanted = experts(&recording, snapshot, 0, 1)?;
        page.wait("the recorded experts", |view| view.is_settled() && view.experts() == wanted).await?;
        assert!(page.find("recorded").await?.text().await?.contains("Recorded"));
        let view = page.view().await?;
        for bar in &view.bars {
            let count = wanted.iter().flatten().filter(|&&expert| expert == bar.expert).count();
            let load = count as f64 / wanted.iter().flatten().count() as f64;
            assert!((bar.load - load).abs() < 1e-4, "expert {}: {} for {load}", bar.expert, bar.load);
        }
    }
    // Typing leaves the recording: the page shows the visitor's own text again.
    page.click("leave-past").await?;
    page.wait("the own text", |view| view.is_settled() && view.tokens == own.tokens).await?;
    page.click("watch").await?;
    page.until::<bool>("the past", "return !!document.querySelector('[data-testid=recorded]')", Vec::new()).await?;
    page.type_keys(" you").await?;
    page.wait("the longer text", |view| view.is_settled() && view.text == "hello you").await?;
    let past: bool = page.script("return !!document.querySelector('[data-testid=recorded]')", Vec::new()).await?;
    assert!(!past);
    Ok(())
}

async fn a_link_brings_back_a_moment_of_the_training(stage: &Stage) -> Result<()> {
    let (_, recording) = server::recorded(stage.tools())?;
    let (step, text) = (&recording["snapshots"][1]["step"], &recording["texts"][0]["id"]);
    let query = format!("?layer=0&step={step}&recorded={}", text.as_str().context("an id")?);
    let (_server, page, recording) = open(stage, &query).await?;
    let wanted = experts(&recording, 1, 0, 0)?;
    page.wait("the recorded experts", |view| view.state == "ready" && view.experts() == wanted).await?;
    page.wait_for_address(|address| address.contains(&format!("step={step}"))).await?;
    Ok(())
}

async fn two_moments_stand_side_by_side(stage: &Stage) -> Result<()> {
    let (_server, page, recording) = open(stage, "?text=hello&layer=1").await?;
    page.routed().await?;
    page.until::<bool>("the offer", "return !!document.querySelector('[data-testid=watch]')", Vec::new()).await?;
    page.click("watch").await?;
    page.until::<bool>("the list", "return !!document.querySelector('[data-testid=beside]')", Vec::new()).await?;
    // The replay runs by itself: it is paused, and put back to its beginning.
    page.click("play-training").await?;
    page.script::<()>(SET, vec![json!("[data-testid=snapshot]"), json!("0")]).await?;
    let other = last(&recording)?;
    page.choose("beside", &other.to_string()).await?;
    let rows: Vec<[String; 2]> = page
        .until(
            "the two strips",
            "const rows = [...document.querySelectorAll('[data-testid=compare-snapshots] .stretch')].map(s =>
               [...s.querySelectorAll('.row')].map(row =>
                 [...row.querySelectorAll('.token i')].map(i => i.textContent).join(' ')));
             return rows.length > 0 && rows;",
            Vec::new(),
        )
        .await?;
    let numbers = |experts: &Vec<usize>| experts.iter().map(usize::to_string).collect::<String>();
    let (here, there) = (experts(&recording, 0, 0, 1)?, experts(&recording, other, 0, 1)?);
    let wanted: Vec<[String; 2]> =
        here.iter().zip(&there).map(|(here, there)| [numbers(here), numbers(there)]).collect();
    assert_eq!(rows, wanted);
    Ok(())
}

async fn a_damaged_recording_is_told_and_changes_nothing(stage: &Stage) -> Result<()> {
    let server = Server::start(server::damaged_recording(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=hello")).await?;
    let before = page.routed().await?;
    page.until::<bool>("the offer", "return !!document.querySelector('[data-testid=watch]')", Vec::new()).await?;
    page.click("watch").await?;
    page.until::<bool>("a word about it", "return document.body.innerText.includes('recording.json')", Vec::new())
        .await?;
    assert_eq!(page.view().await?.tokens, before.tokens);
    Ok(())
}
