//! Plays every story to its end, and checks what its text claims.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::Value;

tests![
    every_story_plays_to_its_end,
    german_goes_with_its_expert,
    an_expert_is_full,
    the_collapsed_router_leaves_experts_idle,
];

async fn tell(stage: &Stage, name: &str) -> Result<Page> {
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/?story={name}&backend=cpu")).await?;
    step(&page, 0).await?;
    Ok(page)
}

/// Waits until a step has been reached and its view is complete.
async fn step(page: &Page, number: usize) -> Result<()> {
    let stands = "const told = document.querySelector('[data-testid=story-step]');
        return told?.dataset.step === String(arguments[0]) && told.dataset.waiting === 'false' &&
            document.body.dataset.state === 'ready' && !!document.querySelector('[data-testid=token]');";
    page.until::<bool>(&format!("step {number}"), stands, vec![number.into()]).await?;
    Ok(())
}

async fn every_story_plays_to_its_end(stage: &Stage) -> Result<()> {
    let read = |name: &str| -> Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(stage.tools().versioned(&format!("stories/{name}"))?)?)?)
    };
    let cards = read("index.json")?;
    let cards = cards.as_array().context("a list of stories")?;
    assert!(cards.len() >= 4);
    for card in cards {
        let name = card["name"].as_str().context("a name")?;
        let story = read(&format!("{name}.json"))?;
        let steps = story["steps"].as_array().context("steps")?;
        let page = tell(stage, name).await?;
        for (number, told) in steps.iter().enumerate() {
            if number > 0 {
                page.click("story-next").await?;
            }
            step(&page, number).await?;
            let said = page.find("story-step").await?.text().await?;
            assert!(!said.contains('{'), "{name}, step {number}: a place is not filled: {said}");
            let frame = told["frame"].as_str();
            if let Some(frame) = frame {
                let place = "const place = document.querySelector(`[data-place='${arguments[0]}']`);
                    return !!place && place.getBoundingClientRect().height > 0;";
                page.until::<bool>(&format!("{name}, step {number}: the place {frame}"), place, vec![frame.into()])
                    .await?;
            }
        }
        page.click("story-close").await?;
        page.wait_for_address(|address| !address.contains("story=")).await?;
    }
    Ok(())
}

/// Without the expert that the page finds, the loss is higher, and the model writes another text.
async fn german_goes_with_its_expert(stage: &Stage) -> Result<()> {
    let page = tell(stage, "take-german-away").await?;
    page.click("story-next").await?;
    step(&page, 1).await?;
    let done = "return document.querySelectorAll('[data-testid=writes][data-done=true]').length === 2";
    page.until::<bool>("both sides", done, Vec::new()).await?;
    let said = page.find("change-bar").await?.text().await?;
    assert!(said.contains("bits per byte more"), "{said}");
    let off: Vec<usize> = page
        .script(
            "return [...document.querySelectorAll('[data-testid=stage-expert].off')].map(e => +e.dataset.expert)",
            Vec::new(),
        )
        .await?;
    let [off] = off[..] else { panic!("one expert is off, not {off:?}") };
    let told = page.find("story-step").await?.text().await?;
    assert!(told.contains(&format!("without expert {off} of layer")), "{told}");
    let sides: Vec<String> = page
        .script("return [...document.querySelectorAll('[data-testid=writes] u')].map(u => u.textContent)", Vec::new())
        .await?;
    assert_ne!(sides[0], sides[1]);
    Ok(())
}

async fn an_expert_is_full(stage: &Stage) -> Result<()> {
    let page = tell(stage, "expert-is-full").await?;
    let dropped = "return document.querySelectorAll('.token.dropped').length > 0";
    page.until::<bool>("tokens turned away by the model's own limit", dropped, Vec::new()).await?;
    page.click("story-next").await?;
    step(&page, 1).await?;
    page.until::<bool>("tokens turned away by the change", dropped, Vec::new()).await?;
    Ok(())
}

/// Fewer experts work than in the model that was trained with a balancing loss.
async fn the_collapsed_router_leaves_experts_idle(stage: &Stage) -> Result<()> {
    let page = tell(stage, "router-collapses").await?;
    let working =
        "return [...document.querySelectorAll('[data-testid=load-bar]')].filter(b => +b.dataset.load > 0.02).length";
    let collapsed: usize = page.script(working, Vec::new()).await?;
    for number in [1, 2] {
        page.click("story-next").await?;
        step(&page, number).await?;
    }
    let balanced: usize = page.script(working, Vec::new()).await?;
    assert!(collapsed < balanced, "{collapsed} experts work in the collapsed model, {balanced} in the other");
    Ok(())
}
