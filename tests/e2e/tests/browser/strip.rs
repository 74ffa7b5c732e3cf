//! The token strip shows what is in the trace, in every colouring, and finds and chooses tokens.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli::{Layer, Trace};
use moescope_e2e::page::Page;
use moescope_e2e::typing;
use serde::Deserialize;
use serde_json::{Value, json};

tests![
    colours_mean_what_the_trace_says,
    all_layers_show_each_tokens_path,
    find_marks_what_is_there_and_goes_along,
    a_token_marks_those_like_it_and_shift_chooses_a_range,
    an_edit_leaves_the_tokens_around_it_as_they_are,
    ready_means_that_all_is_drawn,
];

/// A token as it is drawn in the strip.
#[derive(Deserialize)]
struct Chip {
    /// The text below it.
    below: String,
    /// `--w`: the strength of its colour.
    strength: f64,
    /// The computed colour of its line: that of the expert or of the figure.
    line: String,
    /// Whether it is marked as chosen.
    alike: bool,
}

async fn chips(page: &Page) -> Result<Vec<Chip>> {
    page.script(
        "return [...document.querySelectorAll('[data-testid=token]')].map(t => ({
           below: t.querySelector('i').textContent,
           strength: +getComputedStyle(t).getPropertyValue('--w') || 0,
           line: getComputedStyle(t.querySelector('b')).borderBottomColor,
           alike: t.classList.contains('alike'),
         }));",
        Vec::new(),
    )
    .await
}

async fn colours_mean_what_the_trace_says(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let view = page.routed().await?;
    let trace = page.trace("all").await?;
    let layer = trace.layer(view.layer.context("one layer is shown")?);
    page.until::<bool>("the dossier", "return !!document.querySelector('option[value=domain]')", Vec::new()).await?;

    let colours: Vec<String> = page
        .script(
            "const bars = [...document.querySelectorAll('[data-testid=load-bar] s')];
             return bars.map(s => getComputedStyle(s).backgroundColor);",
            Vec::new(),
        )
        .await?;
    for (position, chip) in chips(&page).await?.iter().enumerate() {
        let (experts, weights) = (&layer.selected[position], &layer.weights[position]);
        assert_eq!(chip.below, experts[0].to_string(), "token {position}");
        assert!((chip.strength - weights[0]).abs() <= 0.026, "token {position}: {} for {}", chip.strength, weights[0]);
        assert_eq!(chip.line, colours[experts[0]], "token {position} has its expert's colour");
    }
    compare(&page, "weight", |position| layer.weights[position][0]).await?;
    compare(&page, "entropy", |position| entropy(layer, position)).await?;
    compare(&page, "surprise", |position| surprise(&trace, position)).await?;
    domains(stage, &page, &trace).await
}

/// Colours the strip by a figure and compares the number below each token.
async fn compare(page: &Page, colour: &str, figure: impl Fn(usize) -> f64) -> Result<()> {
    page.choose("colour-by", colour).await?;
    page.wait(colour, |view| view.is_settled()).await?;
    let chips = chips(page).await?;
    assert!(chips.len() > 20);
    for (position, chip) in chips.iter().enumerate() {
        let shown: f64 = chip.below.parse().with_context(|| format!("{colour} of token {position}: {}", chip.below))?;
        // One decimal for bits, two for shares; the engine computes in f32.
        let last_place = if colour == "surprise" { 0.051 } else { 0.0051 };
        let figure = figure(position);
        assert!((shown - figure).abs() < last_place, "{colour} of token {position}: {shown} for {figure}");
    }
    Ok(())
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// `-sum p ln p / ln E`.
fn entropy(layer: &Layer, position: usize) -> f64 {
    let probabilities = softmax(&layer.router_logits[position]);
    -probabilities.iter().map(|p| p * p.ln()).sum::<f64>() / (probabilities.len() as f64).ln()
}

/// `-log2 p(token | those before it)`; 0 for the first.
fn surprise(trace: &Trace, position: usize) -> f64 {
    let Some(before) = position.checked_sub(1) else { return 0.0 };
    -softmax(&trace.logits[before])[trace.tokens[position].id as usize].log2()
}

/// The most probable kind of text, by the chosen experts of a token and of the three tokens on either side.
async fn domains(stage: &Stage, page: &Page, trace: &Trace) -> Result<()> {
    let dossier = std::fs::read_to_string(stage.tools().model("main").join("experts.json"))?;
    let dossier: Value = serde_json::from_str(&dossier)?;
    let names: Vec<&str> =
        dossier["domains"].as_array().context("domains")?.iter().filter_map(|d| d["name"].as_str()).collect();
    let share = |layer: usize, expert: usize, domain: usize| {
        dossier["layers"][layer]["experts"][expert]["domains"][domain].as_f64().unwrap_or_default().max(1e-4)
    };
    page.choose("colour-by", "domain").await?;
    page.wait("domains", |view| view.is_settled()).await?;
    for (position, chip) in chips(page).await?.iter().enumerate() {
        let around = position.saturating_sub(3)..(position + 4).min(trace.tokens.len());
        let mut scores = vec![0.0; names.len()];
        for (index, layer) in trace.layers.iter().enumerate() {
            for token in around.clone() {
                for (expert, weight) in layer.selected[token].iter().zip(&layer.weights[token]) {
                    scores
                        .iter_mut()
                        .enumerate()
                        .for_each(|(d, score)| *score += weight * share(index, *expert, d).ln());
                }
            }
        }
        let shares = softmax(&scores);
        let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).context("a domain")?;
        let named: String = names[best].chars().take(3).collect();
        assert_eq!(chip.below, named, "token {position}");
        assert!(
            (chip.strength - shares[best]).abs() <= 0.026,
            "token {position}: {} for {}",
            chip.strength,
            shares[best]
        );
    }
    Ok(())
}

async fn all_layers_show_each_tokens_path(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?layer=all&text=The%20dog%20sleeps.").await?;
    page.until::<bool>("a path", "return !!document.querySelector('.token .path')", Vec::new()).await?;
    page.wait("its end", |view| view.state == "ready").await?;
    let trace = page.trace("none").await?;
    let paths: Vec<(String, String)> = page
        .script(
            "return [...document.querySelectorAll('[data-testid=token]')].map(t => [
               [...t.querySelectorAll('.path s')].map(s => s.textContent).join(','), t.dataset.experts]);",
            Vec::new(),
        )
        .await?;
    assert_eq!(paths.len(), trace.tokens.len());
    for (position, (firsts, all)) in paths.iter().enumerate() {
        let experts = |rows: &dyn Fn(&Layer) -> Vec<usize>| -> Vec<String> {
            trace.layers.iter().map(|layer| joined(&rows(layer))).collect()
        };
        assert_eq!(*firsts, experts(&|layer| vec![layer.selected[position][0]]).join(","));
        assert_eq!(*all, experts(&|layer| layer.selected[position].clone()).join(";"));
    }
    Ok(())
}

fn joined(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

async fn find_marks_what_is_there_and_goes_along(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=The%20river%20and%20the%20river%20and%20the%20sea.").await?;
    page.routed().await?;
    let trace = page.trace("none").await?;
    page.reach("find").await?;
    page.find("find").await?.send_keys("River").await?;
    let wanted = inside(&trace, "river");
    assert!(wanted.iter().filter(|found| **found).count() >= 2, "the word is there twice");
    page.until::<bool>("the marks", "return !!document.querySelector('.token.alike')", Vec::new()).await?;
    page.wait("all of them", |view| view.state == "ready").await?;
    let marked: Vec<bool> = chips(&page).await?.iter().map(|chip| chip.alike).collect();
    assert_eq!(marked, wanted);
    page.find("find").await?.send_keys("\u{e007}").await?;
    let first = wanted.iter().position(|found| *found).context("found")?;
    let chosen = "const t = document.querySelector('.token.selected'); return t && +t.dataset.position;";
    let here: usize = page.until("a chosen token", chosen, Vec::new()).await?;
    assert_eq!(here, first);
    Ok(())
}

/// Which tokens contain a part of an occurrence of `word`, ignoring case.
fn inside(trace: &Trace, word: &str) -> Vec<bool> {
    let whole: String = trace.tokens.iter().map(|token| token.text.to_lowercase()).collect();
    let mut start = 0;
    let held = trace.tokens.iter().map(|token| {
        let range = start..start + token.text.len();
        start = range.end;
        whole.match_indices(word).any(|(at, _)| at < range.end && range.start < at + word.len())
    });
    held.collect()
}

async fn a_token_marks_those_like_it_and_shift_chooses_a_range(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=the%20cat%20the%20dog%20the%20cow%20the%20end").await?;
    let view = page.routed().await?;
    let ids = view.ids();
    let twice = (0..ids.len()).find(|&p| ids[p + 1..].contains(&ids[p])).context("a token that comes again")?;
    let click = "document.querySelector(`[data-position='${arguments[0]}'][data-testid=token]`)
        .dispatchEvent(new MouseEvent(
            arguments[1] ? 'mousedown' : 'click', { bubbles: true, shiftKey: arguments[1] }));";
    page.script::<()>(click, vec![twice.into(), false.into()]).await?;
    page.until::<bool>("the choice", "return !!document.querySelector('.token.selected')", Vec::new()).await?;
    let marked: Vec<bool> = chips(&page).await?.iter().map(|chip| chip.alike).collect();
    let like: Vec<bool> = (0..ids.len()).map(|p| p != twice && ids[p] == ids[twice]).collect();
    assert_eq!(marked, like);

    let end = ids.len() - 1;
    page.script::<()>(click, vec![end.into(), true.into()]).await?;
    page.wait_for_address(|address| address.contains(&format!("to={end}"))).await?;
    let marked: Vec<bool> = chips(&page).await?.iter().map(|chip| chip.alike).collect();
    let range: Vec<bool> = (0..ids.len()).map(|p| p > twice || (p < twice && ids[p] == ids[twice])).collect();
    assert_eq!(marked, range);
    Ok(())
}

/// Tokens before and after an edit keep their elements and only get new numbers, so typing in a long text is fast.
async fn an_edit_leaves_the_tokens_around_it_as_they_are(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    typing::fill(&page).await?;
    for (at, insert, remove) in
        [(0, "Well, ", 0), (600, "and so on ", 0), (400, "", 60), (0, "Another beginning. ", 300)]
    {
        let before = page.view().await?;
        page.script::<()>(
            "[...document.querySelectorAll('[data-testid=token]')].forEach((chip, index) => chip.was = index);
             const box = document.querySelector('[data-testid=text-input]');
             const [at, insert, remove] = arguments;
             box.focus(); box.setRangeText(insert, at, at + remove, 'end');
             box.dispatchEvent(new InputEvent('input', { bubbles: true }));",
            vec![at.into(), insert.into(), remove.into()],
        )
        .await?;
        let mut text: Vec<char> = before.text.chars().collect();
        text.splice(at..at + remove, insert.chars());
        let text: String = text.into_iter().collect();
        let after = page.wait("the edited text", |view| view.is_settled() && view.text == text).await?;
        // For each position, the position of the element before the edit; `null` for a new element.
        let was: Vec<Option<usize>> = page
            .script(
                "return [...document.querySelectorAll('[data-testid=token]')].map(chip => chip.was ?? null);",
                Vec::new(),
            )
            .await?;
        let (old, new) = (before.ids(), after.ids());
        let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        assert!(tail > 30, "the edit at {at} leaves only {tail} tokens at the end");
        // The parts of the strip next to the edit may be divided in another way.
        let same = (1..=tail).filter(|n| was[new.len() - n] == Some(old.len() - n)).count();
        assert!(same + 60 > tail, "{same} of {tail} tokens after the edit at {at} are the elements that they were");
        let positions: Vec<usize> = after.tokens.iter().map(|token| token.position).collect();
        assert_eq!(positions, (0..new.len()).collect::<Vec<_>>());
        let trace = page.trace("none").await?;
        let ids: Vec<u32> = trace.tokens.iter().map(|token| token.id).collect();
        assert_eq!(new, ids, "the strip shows what was routed");
    }
    Ok(())
}

/// Whenever the page is ready, all its tokens are in place, also on a slow computer, where other tasks run between the
/// parts of a rendering.
async fn ready_means_that_all_is_drawn(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    typing::fill(&page).await?;
    page.browser().cdp().send_raw("Emulation.setCPUThrottlingRate", json!({ "rate": 8 })).await?;
    page.script::<()>(
        "window.drawn = [];
         const look = () => {
           if (document.body.dataset.state !== 'ready') return;
           const text = document.querySelector('[data-testid=text-input]').value;
           const tokens = [...document.querySelectorAll('[data-testid=token]')];
           window.drawn.push([text, tokens.map(token => +token.dataset.position)]);
         };
         new MutationObserver(look).observe(document.body, { attributeFilter: ['data-state'] });",
        Vec::new(),
    )
    .await?;
    for insert in ["Well, ", "And yet again, "] {
        page.script::<()>(
            "const box = document.querySelector('[data-testid=text-input]');
             box.focus(); box.setRangeText(arguments[0], 0, 0, 'end');
             box.dispatchEvent(new InputEvent('input', { bubbles: true }));",
            vec![insert.into()],
        )
        .await?;
        page.wait("the edited text", |view| view.is_settled() && view.text.starts_with(insert)).await?;
    }
    let drawn: Vec<(String, Vec<usize>)> = page.script("return window.drawn;", Vec::new()).await?;
    assert!(drawn.len() >= 2, "the page was ready after each edit");
    for (text, positions) in drawn {
        let beginning: String = text.chars().take(20).collect();
        assert_eq!(positions, (0..positions.len()).collect::<Vec<_>>(), "of {beginning:?}...");
    }
    // Emptying the text removes the strip, even while it is being drawn.
    page.promise::<()>(
        "document.querySelector('[data-testid=layer-select] input[value=\"3\"]').click();
         await new Promise(requestAnimationFrame);
         const box = document.querySelector('[data-testid=text-input]');
         box.value = '';
         box.dispatchEvent(new InputEvent('input', { bubbles: true }));",
        Vec::new(),
    )
    .await?;
    page.wait("no tokens", |view| view.tokens.is_empty() && view.state == "ready").await?;
    Ok(())
}
