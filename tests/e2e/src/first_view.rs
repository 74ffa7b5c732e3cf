//! What a visitor sees first, counted: words, controls, small text.

use crate::page::Page;
use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use std::time::Instant;
use thirtyfour::By;

/// The first view of a desk of 1440 x 900.
#[derive(Debug, Deserialize)]
pub struct FirstView {
    /// Words and numbers.
    pub words: usize,
    /// What Tab reaches; a group of radio buttons counts once.
    pub controls: usize,
    /// Texts under 13 px.
    pub small: Vec<String>,
    /// Whether the last token of the strip is in view.
    pub strip: bool,
}

/// Counts.
///
/// # Errors
/// The page does not answer.
pub async fn first_view(page: &Page) -> Result<FirstView> {
    let size = json!({ "width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    page.browser().cdp().send_raw("Emulation.setDeviceMetricsOverride", size).await?;
    let read = "const seen = e => { const b = e.getBoundingClientRect();
            return b.width > 1 && b.height > 1 && b.top < 900 && b.bottom > 0; };
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let words = 0, small = [];
        while (texts.nextNode()) {
            const node = texts.currentNode, parent = node.parentElement;
            if (!node.textContent.trim() || !parent.checkVisibility() || !seen(parent)) continue;
            if (parent.closest('title, .hidden, textarea')) continue;
            words += node.textContent.trim().split(/\\s+/).length;
            const scale = parent.closest('svg') ? parent.getCTM?.().a ?? 1 : 1;
            const size = parseFloat(getComputedStyle(parent).fontSize) * scale;
            if (size < 12.99) small.push(`${node.textContent.trim().slice(0, 20)}: ${size}`);
        }
        const stops = [...document.querySelectorAll('button, a, select, input, textarea, summary, [tabindex]')]
            .filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility() && seen(e));
        const groups = new Set(stops.map(e => e.type === 'radio' ? e.name : e));
        return { words, controls: groups.size, small,
            strip: seen(document.querySelector('[data-testid=token]:last-of-type')) };";
    page.script(read, Vec::new()).await
}

/// From the opened page to what the model writes without the expert that German needs most: the number of clicks, and
/// how many seconds it takes until both sides are written and in view.
///
/// # Errors
/// It does not come to that.
pub async fn clicks_to_read_without_german(page: &Page) -> Result<(usize, f64)> {
    let begun = Instant::now();
    let mut clicks = 0;
    for selector in ["[data-testid=story][data-story='take-german-away']", "[data-testid=story-next]"] {
        page.until::<bool>("a button", &format!("return !!document.querySelector(\"{selector}\")"), Vec::new()).await?;
        page.wait("the text", |view| view.is_settled() && !view.tokens.is_empty()).await?;
        page.browser().find(By::Css(selector)).await?.click().await?;
        clicks += 1;
    }
    let read = "const sides = [...document.querySelectorAll('[data-testid=writes][data-done=true]')];
        const seen = e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight; };
        return sides.length === 2 && sides.every(side => seen(side.querySelector('u')));";
    page.until::<bool>("both texts, in view", read, Vec::new()).await?;
    Ok((clicks, begun.elapsed().as_secs_f64()))
}
