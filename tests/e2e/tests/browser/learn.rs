//! Learn: every chapter opens with its claim, and what a chapter promises to who tries is seen.

use crate::harness::{Stage, tests};
use crate::layout::assert_no_barriers;
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::Value;

tests![
    every_chapter_opens_with_its_claim,
    places_lead_to_one_another,
    what_is_tried_is_seen_in_pictures,
    what_is_tried_is_seen_in_labs,
    a_text_of_one_word_loses_most_of_its_tokens,
    fine_tuning_is_tried_and_seen,
    the_picture_changes_as_one_reads,
    learn_has_no_barriers,
    a_chapter_that_is_not_there_is_named,
];

const READY: &str = "return document.body.dataset.state === 'ready' && !!document.querySelector('main')";

fn chapters(stage: &Stage) -> Result<Vec<Value>> {
    let list = std::fs::read_to_string(stage.tools().versioned("chapters/index.json")?)?;
    Ok(serde_json::from_str(&list)?)
}

async fn chapter(stage: &Stage, page: &Page, name: &str) -> Result<()> {
    page.goto(&stage.url(&format!("/#/learn/{name}"))).await?;
    let there = "return document.querySelector('[data-testid=chapter]')?.dataset.chapter === arguments[0]";
    page.until::<bool>(&format!("the chapter {name}"), there, vec![name.into()]).await?;
    Ok(())
}

/// The places in braces of every text are filled once the picture's data are there.
async fn every_chapter_opens_with_its_claim(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/learn").await?;
    page.until::<bool>("the list", READY, Vec::new()).await?;
    let links: Vec<String> = page
        .script("return [...document.querySelectorAll('[data-testid=chapter-link]')].map(a => a.hash)", Vec::new())
        .await?;
    let chapters = chapters(stage)?;
    assert_eq!(chapters.len(), 14);
    assert_eq!(links.len(), chapters.len());
    for (link, card) in links.iter().zip(&chapters) {
        let name = card["name"].as_str().context("a name")?;
        assert_eq!(link, &format!("#/learn/{name}"));
        chapter(stage, &page, name).await?;
        let claim = page.find("claim").await?.text().await?;
        assert_eq!(claim, card["claim"]["en"].as_str().context("a claim")?);
        for hook in ["try", "question", "explore-link"] {
            page.find(hook).await.with_context(|| format!("{name} has no {hook}"))?;
        }
        let is_lab = "return !!document.querySelector('[data-testid=lab]')";
        if !page.script::<bool>(is_lab, Vec::new()).await? {
            let filled = "return !document.querySelector('[data-testid=picture]') ||
                !/[\u{2026}{}]/.test(document.querySelector('.paragraph.is-read').innerText)";
            page.until::<bool>(&format!("figures in the text of {name}"), filled, Vec::new()).await?;
        }
    }
    Ok(())
}

/// Links go from Explore to Learn and Lab and back; the text of Explore is there again.
async fn places_lead_to_one_another(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello%20there&backend=cpu").await?;
    page.routed().await?;
    page.click("place-learn").await?;
    page.until::<bool>("Learn", "return !!document.querySelector('[data-testid=chapter-link]')", Vec::new()).await?;
    page.click("place-lab").await?;
    page.until::<bool>("Lab", "return !!document.querySelector('[data-testid=lab-run]')", Vec::new()).await?;
    page.browser().back().await?;
    page.until::<bool>("Learn", "return !!document.querySelector('[data-testid=chapter-link]')", Vec::new()).await?;
    page.click("place-explore").await?;
    assert_eq!(page.routed().await?.text, "hello there");
    Ok(())
}

async fn set(page: &Page, testid: &str, value: &str) -> Result<()> {
    let set = "const input = document.querySelector(`[data-testid=${arguments[0]}]`);
        input.value = arguments[1];
        input.dispatchEvent(new Event(input.tagName === 'SELECT' ? 'change' : 'input', { bubbles: true }))";
    page.script::<Value>(set, vec![testid.into(), value.into()]).await?;
    Ok(())
}

async fn until_seen(page: &Page, what: &str) -> Result<()> {
    let seen = "return document.querySelector('[data-testid=try]').dataset.seen === 'true'";
    page.until::<bool>(what, seen, Vec::new()).await?;
    Ok(())
}

/// Does what each chapter with a drawn picture says, and finds what it promises.
async fn what_is_tried_is_seen_in_pictures(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let play: [(&str, &[(&str, &str)]); 9] = [
        ("one-layer", &[("picture-layer", "4")]),
        ("equal-compute", &[("picture-level", "60")]),
        ("noisy-top-k", &[("picture-model", "main"), ("picture-layer", "3")]),
        ("hierarchical", &[("picture-layer", "1")]),
        ("balance", &[("picture-snapshot", "8")]),
        ("mixtral", &[("picture-k", "7")]),
        ("specialise", &[("picture-model", "switch"), ("picture-layer", "2")]),
        ("after-mixtral", &[("picture-model", "noisy-top-k")]),
        ("equal-compute", &[("picture-level", "58")]),
    ];
    for (name, steps) in play {
        chapter(stage, &page, name).await?;
        let drawn = "return !!document.querySelector('[data-testid=picture] .picture-card')";
        page.until::<bool>(&format!("the picture of {name}"), drawn, Vec::new()).await?;
        for (testid, value) in steps {
            set(&page, testid, value).await?;
        }
        until_seen(&page, &format!("what {name} promises")).await?;
        page.goto("about:blank").await?;
    }
    Ok(())
}

/// The same for chapters whose picture is a lab.
async fn what_is_tried_is_seen_in_labs(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    chapter(stage, &page, "local-experts").await?;
    page.click("lab-run").await?;
    until_seen(&page, "regions under the competitive error").await?;
    page.click("lab-run").await?;
    let answered = "return document.querySelector('[data-testid=question]').dataset.answered === 'true'";
    page.until::<bool>("the answer", answered, Vec::new()).await?;

    page.goto("about:blank").await?;
    chapter(stage, &page, "kinds-of-experts").await?;
    let last = "const all = document.querySelectorAll('[data-testid=paragraph]');
        all[all.length - 1].scrollIntoView({ block: 'center' })";
    page.script::<Value>(last, Vec::new()).await?;
    let tree = "return document.querySelector('[data-testid=control-method]')?.value === 'em' &&
        document.querySelector('[data-testid=lab-step]').dataset.step === '0'";
    page.until::<bool>("the tree with EM", tree, Vec::new()).await?;
    for step in 1..=20 {
        page.script::<Value>("document.querySelector('[data-testid=lab-one]').click()", Vec::new()).await?;
        let done = "return document.querySelector('[data-testid=lab-step]').dataset.step === String(arguments[0])";
        page.until::<bool>("a step of EM", done, vec![step.into()]).await?;
    }
    until_seen(&page, "a loss that falls at every step").await?;

    for name in ["conditional", "deep-mixture"] {
        page.goto("about:blank").await?;
        chapter(stage, &page, name).await?;
        page.click("lab-run").await?;
        until_seen(&page, &format!("what {name} promises")).await?;
    }
    Ok(())
}

/// The chapter of Switch asks for a visit to Explore: its link, and there the card Change.
async fn a_text_of_one_word_loses_most_of_its_tokens(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    chapter(stage, &page, "switch").await?;
    let door: String =
        page.script("return document.querySelector('[data-testid=explore-link]').getAttribute('href')", vec![]).await?;
    page.goto("about:blank").await?;
    page.goto(&stage.url(&format!("/{door}&backend=cpu"))).await?;
    page.routed().await?;
    let dropped = "const trace = await moescope.trace(
          document.querySelector('[data-testid=text-input]').value, { logits: 'none' });
        const part = (layer) => layer.dropped.flat().filter(Boolean).length / trace.tokens.length;
        return Math.max(...trace.layers.map(part));";
    assert_eq!(page.promise::<f64>(dropped, Vec::new()).await?, 0.0);
    page.promise::<Value>("await moescope.policy({ capacity_factor: 1 }); return null", Vec::new()).await?;
    let share: f64 = page.promise(dropped, Vec::new()).await?;
    assert!(share > 0.5, "{share} of the tokens are dropped");
    Ok(())
}

/// Both things that chapter 12 says to try, on the small model: held-out text turns, and routers alone hardly learn.
async fn fine_tuning_is_tried_and_seen(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    chapter(stage, &page, "fine-tune").await?;
    page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
    page.choose("control-model", "tiny").await?;
    let rate = "const input = document.querySelector('[data-testid=control-learning-rate]');
        input.value = 140; input.dispatchEvent(new Event('input', { bubbles: true }))";
    page.script::<Value>(rate, Vec::new()).await?;
    page.click("lab-run").await?;
    let seen = "return document.querySelectorAll('[data-testid=try]')[arguments[0]].dataset.seen === 'true'";
    page.until::<bool>("held-out text that turns", seen, vec![0.into()]).await?;
    page.click("lab-run").await?;
    let answered = "return document.querySelector('[data-testid=question]').dataset.answered === 'true' &&
        !/[\u{2026}{}]/.test(document.querySelector('[data-testid=answer]').textContent)";
    page.until::<bool>("the answer", answered, Vec::new()).await?;
    let recorded = "const text = [...document.querySelectorAll('.paragraph')].map(p => p.innerText).join(' ');
        return text.includes('bits per byte') && !/[\u{2026}{}]/.test(text)";
    page.until::<bool>("the figures of the recorded runs", recorded, Vec::new()).await?;
    page.choose("control-trained", "routers").await?;
    page.until::<bool>(
        "a new run",
        "return document.querySelector('[data-testid=lab-step]').dataset.step === '0'",
        vec![],
    )
    .await?;
    page.click("lab-ten").await?;
    page.until::<bool>("routers that hardly learn", seen, vec![1.into()]).await?;
    Ok(())
}

async fn the_picture_changes_as_one_reads(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    chapter(stage, &page, "mixtral").await?;
    let billions = "return document.querySelector('[data-testid=mixtral-total]')?.dataset.billions";
    page.until::<String>("the picture", billions, Vec::new()).await?;
    page.script::<Value>("document.body.focus()", Vec::new()).await?;
    let at = "return document.querySelector('[data-testid=mixtral-total]').dataset.billions === arguments[0]";
    for _ in 0..8 {
        page.press("\u{e012}").await?;
    }
    page.until::<bool>("the first paragraph's picture", at, vec!["46.703".into()]).await?;
    page.press("\u{e014}").await?;
    page.until::<bool>("the dense model", at, vec!["7.242".into()]).await?;
    page.press("\u{e014}").await?;
    page.until::<bool>("eight experts", at, vec!["46.703".into()]).await?;
    Ok(())
}

async fn learn_has_no_barriers(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&stage.url("/#/learn")).await?;
    page.until::<bool>("the list", READY, Vec::new()).await?;
    assert_no_barriers(stage, &page, "the list of chapters").await?;
    for card in chapters(stage)? {
        let name = card["name"].as_str().context("a name")?;
        chapter(stage, &page, name).await?;
        assert_no_barriers(stage, &page, name).await?;
    }
    Ok(())
}

async fn a_chapter_that_is_not_there_is_named(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/learn/nothing").await?;
    page.until::<bool>("the error", "return !!document.querySelector('[data-testid=error]')", Vec::new()).await?;
    let said = page.find("error").await?.text().await?;
    assert!(said.contains("learn/nothing"), "{said}");
    Ok(())
}
