//! The game against the router: what each choice costs is what the whole model says, and the score is its mean.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::{Value, json};
use thirtyfour::By;

tests![ten_rounds_against_the_router];

/// Bits of the token after `position`, with these experts forced in the layer; by the whole model under a policy.
async fn bits(page: &Page, layer: usize, position: usize, experts: &[u32]) -> Result<f64> {
    let call = "const [layer, position, experts] = arguments;
        const policy = experts.length ? { layers: [layer], tokens: [position, position + 1], force: experts } : null;
        await moescope.policy(policy);
        const text = document.querySelector('[data-testid=text-input]').value;
        const trace = await moescope.trace(text, { logits: 'all' });
        const row = trace.logits[position];
        const most = Math.max(...row);
        const sum = row.reduce((sum, x) => sum + Math.exp(x - most), 0);
        return (Math.log(sum) - (row[trace.tokens[position + 1].id] - most)) / Math.LN2;";
    page.promise(call, vec![json!(layer), json!(position), json!(experts)]).await
}

async fn ten_rounds_against_the_router(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?story=beat-the-router&backend=cpu").await?;
    page.until::<bool>("the story", "return !!document.querySelector('[data-testid=story-next]')", Vec::new()).await?;
    page.wait("the text", |view| view.is_settled() && view.text.starts_with("The people")).await?;
    page.click("story-next").await?;
    let round = "const game = document.querySelector('[data-testid=beat]');
        return game?.dataset.round === String(arguments[0]) && game.dataset.shown === 'false'
          && document.body.dataset.state === 'ready';";
    let mut costs: Vec<[f64; 4]> = Vec::new();
    let mut first = None;
    for number in 0..10_usize {
        page.until::<bool>(&format!("round {number}"), round, vec![json!(number)]).await?;
        // What the router chose is hidden until the visitor has chosen.
        let seen = "return ['.stage', '.strip', '.drawer'].some(place =>
            document.querySelector(place)?.getClientRects().length > 0);";
        assert!(!page.script::<bool>(seen, Vec::new()).await?, "the answer can be seen");
        let mine = [number as u32 % 8, (number as u32 + 3) % 8];
        for expert in mine {
            page.browser()
                .find(By::Css(format!("[data-testid=beat-expert][data-expert='{expert}']")))
                .await?
                .click()
                .await?;
        }
        let rows = "const rows = [...document.querySelectorAll('[data-testid=beat-row]')];
            return rows.length === 4 && rows.map(row => +row.dataset.bits);";
        let [you, router, best, mean]: [f64; 4] = page.until("the outcome", rows, Vec::new()).await?;
        assert!(best <= you && best <= router && best <= mean, "{you} {router} {best} {mean}");
        if first.is_none() {
            let place = "return document.querySelector('[data-testid=beat]').dataset.position";
            let place: String = page.script(place, Vec::new()).await?;
            first = Some((place.parse::<usize>()?, mine, you, router));
        }
        costs.push([you, router, best, mean]);
        page.click("beat-next").await?;
    }
    let said = page.find("beat-score").await?.text().await?;
    for column in 0..4 {
        let mean = costs.iter().map(|row| row[column]).sum::<f64>() / 10.0;
        assert!(said.contains(&format!("{mean:.2}")), "{mean} is not in: {said}");
    }
    // The first round again, by whole runs of the model.
    let (position, mine, you, router) = first.context("a round was played")?;
    page.click("story-close").await?;
    page.wait("the text", |view| view.is_settled()).await?;
    let by_policy = bits(&page, 4, position, &mine).await?;
    assert!((by_policy - you).abs() < 2e-3, "{by_policy} for {you}");
    let by_itself = bits(&page, 4, position, &[]).await?;
    assert!((by_itself - router).abs() < 2e-3, "{by_itself} for {router}");
    let _: Value = page.promise("await moescope.policy(null); return null;", Vec::new()).await?;
    Ok(())
}
