//! Measures how long the page's thread is blocked while someone types in a long text, changes the layer, or pastes.

use crate::page::Page;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::time::Duration;
use thirtyfour::prelude::*;

/// Tokens of the long text.
pub const TOKENS: usize = 400;

/// Time between two keys: ten keys per second.
const KEY: Duration = Duration::from_millis(100);

/// Where in the text the typing happens.
#[derive(Clone, Copy, Debug)]
pub enum Where {
    /// At the end: only the new tokens are routed.
    End,
    /// At the beginning: the whole text is routed again with every key.
    Start,
}

/// Starts to observe the longest task of the page's thread.
pub(crate) const WATCH: &str = "
    window.longest = 0;
    window.watcher ??= new PerformanceObserver(list => {
      for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
    });
    window.watcher.observe({ type: 'longtask' });";

/// Puts a text of about [`TOKENS`] tokens into the page.
///
/// # Errors
/// It is not routed.
pub async fn fill(page: &Page) -> Result<()> {
    fill_with(page, TOKENS).await
}

/// Puts a text of about `tokens` tokens into the page.
///
/// # Errors
/// It is not routed.
pub async fn fill_with(page: &Page, tokens: usize) -> Result<()> {
    let start = page.view().await?;
    let characters = start.text.chars().count() * tokens / start.tokens.len().max(1);
    let text: String = start.text.chars().cycle().take(characters).collect();
    page.paste(&text).await?;
    let view = page.wait("the long text", |view| view.is_settled() && view.text == text).await?;
    if view.tokens.len().abs_diff(tokens) > tokens / 5 {
        bail!("the text has {} tokens, not about {tokens}", view.tokens.len());
    }
    Ok(())
}

/// Types 30 characters, ten per second. Returns the longest task on the page's thread until all is routed, in ms. A
/// task under 50 ms is not reported and counts as 0.
///
/// # Errors
/// The text is not routed.
pub async fn longest_task(page: &Page, place: Where) -> Result<f64> {
    page.script::<()>(WATCH, Vec::new()).await?;
    let at = "const box = document.querySelector('[data-testid=text-input]');
        box.focus(); const at = arguments[0] ? 0 : box.value.length; box.setSelectionRange(at, at);";
    page.script::<()>(at, vec![json!(matches!(place, Where::Start))]).await?;
    for letter in "and so on, as one types a line".chars() {
        page.press(letter.to_string()).await?;
        tokio::time::sleep(KEY).await;
    }
    watched(page).await
}

/// Shows each layer in turn, then all layers. Returns the longest task, in ms.
///
/// # Errors
/// There is no choice of layers.
pub async fn longest_task_of_layers(page: &Page) -> Result<f64> {
    page.script::<()>(WATCH, Vec::new()).await?;
    for choice in ["all", "0", "all", "1"] {
        let choice = By::Css(format!("[data-testid=layer-select] label:has(input[value='{choice}'])"));
        page.browser().find(choice).await.context("no such layer")?.click().await?;
        tokio::time::sleep(4 * KEY).await;
    }
    watched(page).await
}

/// Pastes `characters` characters. Returns the longest task, in ms, including the browser's layout of the text box.
///
/// # Errors
/// The text is not routed.
pub async fn longest_task_of_paste(page: &Page, characters: usize) -> Result<f64> {
    page.script::<()>(WATCH, Vec::new()).await?;
    let line = "The quick brown fox jumps over the lazy dog; 0123456789. ";
    page.paste(&line.chars().cycle().take(characters).collect::<String>()).await?;
    watched(page).await
}

/// The time in which the browser makes and lays out 1,000 words, in ms: the median of five times.
///
/// # Errors
/// The browser does not answer.
pub async fn layout_of_a_thousand_words(page: &Page) -> Result<f64> {
    let script = "
        const times = [];
        for (let n = 0; n < 5; n++) {
            const start = performance.now();
            const box = document.createElement('div');
            for (let word = 0; word < 1000; word++) {
                const span = document.createElement('span');
                span.textContent = 'word' + word + ' ';
                box.append(span);
            }
            document.body.append(box);
            box.getBoundingClientRect();
            times.push(performance.now() - start);
            box.remove();
        }
        return times;";
    Ok(crate::median(page.script(script, Vec::new()).await?))
}

async fn watched(page: &Page) -> Result<f64> {
    page.wait("the routing", |view| view.state == "ready" && !view.tokens.is_empty()).await?;
    tokio::time::sleep(5 * KEY).await;
    page.script("return window.longest;", Vec::new()).await
}
