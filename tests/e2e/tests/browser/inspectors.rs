//! The inspectors of a token and of an expert show what the trace and the model's dossier contain.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use serde::Deserialize;
use serde_json::Value;

tests![a_chosen_token_shows_its_choices_and_what_each_layer_added, an_expert_shows_what_it_reads];

#[derive(Deserialize)]
struct Inspected {
    /// Each layer's chosen experts and weights, as they are shown: `5 87%`.
    weights: Vec<Vec<String>>,
    /// Each layer's probabilities, by the widths drawn: expert and share.
    stacks: Vec<Vec<(usize, f64)>>,
    /// The most probable next tokens, by falling probability.
    guesses: Vec<String>,
    /// For each layer, the experts that added something.
    added: Vec<Vec<usize>>,
    /// The model's guess after each layer.
    lens: Vec<String>,
}

const INSPECTED: &str = "
    const card = document.querySelector('[data-testid=token-inspector]');
    const texts = (root, selector) => [...root.querySelectorAll(selector)].map(e => e.textContent);
    if (!card.querySelector('[data-testid=lens]')) return null;
    return {
      weights: [...card.querySelectorAll('.stack-row')].map(row => texts(row, '.weight')),
      stacks: [...card.querySelectorAll('.stack')].map(stack =>
        [...stack.querySelectorAll('s[data-e]')].map(s => [+s.dataset.e, +s.style.flexGrow])),
      guesses: texts(card, '.guesses li code'),
      added: [...card.querySelectorAll('.added')]
        .map(row => [...row.querySelectorAll('s[data-e]')].map(s => +s.dataset.e)),
      lens: texts(card, '.lens code'),
    };";

async fn a_chosen_token_shows_its_choices_and_what_each_layer_added(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?token=7").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    let shown: Inspected = page.until("the look inside", INSPECTED, Vec::new()).await?;
    for (index, layer) in trace.layers.iter().enumerate() {
        let (experts, weights) = (&layer.selected[7], &layer.weights[7]);
        let written: Vec<String> = experts
            .iter()
            .zip(weights)
            .map(|(expert, weight)| format!("{expert} {:.0}%", (weight * 100.0).round()))
            .collect();
        assert_eq!(shown.weights[index], written);
        let scores = &layer.router_logits[7];
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        assert_eq!(shown.stacks[index].len(), scores.len());
        for (expert, share) in &shown.stacks[index] {
            let probability = scores[*expert].exp() / sum;
            assert!((share - probability).abs() < 1e-3, "layer {index}, expert {expert}: {share} for {probability}");
        }
        assert_eq!(shown.added[index], *experts, "layer {index}");
    }
    // After the last layer, the lens shows the model's own guess.
    assert_eq!(shown.lens.len(), trace.layers.len());
    assert_eq!(shown.lens.last(), shown.guesses.first());
    Ok(())
}

async fn an_expert_shows_what_it_reads(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?expert=2.5").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    let layer = trace.layer(2);
    let dossier: Value =
        serde_json::from_str(&std::fs::read_to_string(stage.tools().model("main").join("experts.json"))?)?;
    let card: String = page
        .until(
            "the dossier",
            "const card = document.querySelector('[data-testid=expert-inspector]');
             return card.querySelector('[data-testid=dossier]') && card.innerText;",
            Vec::new(),
        )
        .await?;
    let read = layer.selected.iter().filter(|experts| experts.contains(&5)).count();
    let share = (read as f64 / layer.selected.len() as f64 * 100.0).round();
    assert!(
        card.contains("xpert 5") && card.contains(&format!("{read} ")) && card.contains(&format!("{share}%")),
        "{card}"
    );
    let expert = &dossier["layers"][2]["experts"][5];
    let largest = (0..)
        .zip(expert["domains"].as_array().context("domains")?)
        .max_by(|a, b| a.1.as_f64().unwrap_or(0.0).total_cmp(&b.1.as_f64().unwrap_or(0.0)));
    let (index, share): (usize, &Value) = largest.context("a domain")?;
    let name = dossier["domains"][index]["name"].as_str().context("a name")?;
    let share = (share.as_f64().context("a share")? * 100.0).round();
    assert!(card.contains(&format!("{name} {share}%")), "{name} {share}%: {card}");
    let token = expert["tokens"][0]["text"].as_str().context("its most specific token")?.trim();
    assert!(card.contains(token), "{token:?}: {card}");

    // A click on a bar opens its expert.
    page.reach("load-bar").await?;
    page.browser().find(thirtyfour::By::Css("[data-testid=load-bar][data-expert='3']")).await?.click().await?;
    page.until::<bool>(
        "expert 3",
        "return document.querySelector('[data-testid=expert-inspector] h2').textContent.includes('3')",
        Vec::new(),
    )
    .await?;
    page.wait_for_address(|address| address.contains("expert=3.3")).await?;
    Ok(())
}
