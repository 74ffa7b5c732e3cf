//! Measures what the page's thread does while someone moves the pointer over it or while the model writes.

use crate::page::Page;
use crate::typing::WATCH;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::Duration;

/// Time between two pointer events.
const STEP: Duration = Duration::from_millis(16);

/// How many tokens are written one by one for a figure.
const WRITTEN: usize = 8;

/// Time after each of them in which the views that are drawn later are drawn.
const REST_MS: u64 = 600;

/// The result of a pointer movement.
#[derive(Debug)]
pub struct Moved {
    /// Name of the movement.
    pub what: &'static str,
    /// Frames per second.
    pub frames: f64,
    /// The time between two frames that 95 of 100 do not exceed, in ms.
    pub frame: f64,
    /// The longest task of the page's thread, in ms. A task under 50 ms is not reported and counts as 0.
    pub longest: f64,
}

/// Sends the pointer events one after the other, 60 a second, and counts frames.
///
/// # Errors
/// The browser does not answer.
pub async fn measured(page: &Page, what: &'static str, events: impl Iterator<Item = Value>) -> Result<Moved> {
    let start = "window.times = [];
        const count = time => { window.times.push(time); window.counting = requestAnimationFrame(count); };
        requestAnimationFrame(count);";
    page.script::<()>(&format!("{WATCH}{start}"), Vec::new()).await?;
    for event in events {
        page.browser().cdp().send_raw("Input.dispatchMouseEvent", event).await?;
        tokio::time::sleep(STEP).await;
    }
    let stop = "cancelAnimationFrame(window.counting);
        const times = window.times, gaps = times.slice(1).map((time, n) => time - times[n]).sort((a, b) => a - b);
        const seconds = (times.at(-1) - times[0]) / 1000;
        return [gaps.length / seconds, gaps[Math.floor(gaps.length * 0.95)], window.longest];";
    let [frames, frame, longest]: [f64; 3] = page.script(stop, Vec::new()).await?;
    Ok(Moved { what, frames, frame, longest })
}

/// Moves the pointer from one element to the next, `count` times.
async fn over(page: &Page, what: &'static str, selector: &str, count: usize) -> Result<Moved> {
    let places = "const all = [...document.querySelectorAll(arguments[0])];
        all[0]?.scrollIntoView({ block: 'center' });
        return all.map(e => e.getBoundingClientRect()).map(b => [b.x + b.width / 2, b.y + b.height / 2])
            .filter(([x, y]) => y > 0 && y < innerHeight);";
    let places: Vec<[f64; 2]> = page.script(places, vec![json!(selector)]).await?;
    places.first().with_context(|| format!("nothing is {selector}"))?;
    let event = |&[x, y]: &[f64; 2]| json!({ "type": "mouseMoved", "x": x, "y": y });
    measured(page, what, places.iter().cycle().take(count).map(event)).await
}

/// Moves the pointer over the tokens: stage and inspector follow.
///
/// # Errors
/// There is no token.
pub async fn scrub(page: &Page) -> Result<Moved> {
    over(page, "the stage follows the pointer over the tokens", "[data-testid=token]", 180).await
}

/// Moves the pointer over the experts of the stage: the tokens that did not go to them fade.
///
/// # Errors
/// There is no expert.
pub async fn point_at_experts(page: &Page) -> Result<Moved> {
    over(page, "tokens fade under the pointer over the experts", "[data-testid=stage-expert]", 120).await
}

/// What the page's thread did for a token that the model wrote, in ms: the median of several.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Number of tokens before it.
    pub tokens: usize,
    /// All tasks, until the last view is drawn.
    pub all: f64,
    /// The program's part of them.
    pub script: f64,
}

/// Makes a text of `tokens` tokens, lets the model write a few more one by one, and measures what the page's thread
/// does for each. The engine has a thread of its own, which is not counted.
///
/// # Errors
/// The text is not routed.
pub async fn written(page: &Page, tokens: usize) -> Result<Written> {
    let text = "const line = 'The river was wide and slow, and the boat went with it.\\n'.repeat(26)
            + 'The river was wide and';
        const { tokens } = await window.moescope.trace(line);
        return tokens.slice(0, arguments[0]).map(token => token.text).join('');";
    let text: String = page.promise(text, vec![json!(tokens)]).await?;
    page.paste(&text).await?;
    page.wait("the text", |view| view.is_settled() && view.tokens.len().abs_diff(tokens) < 3).await?;
    let cdp = page.browser().cdp();
    cdp.send_raw("Performance.enable", json!({})).await?;
    let read = async || -> Result<[f64; 2]> {
        let metrics = cdp.send_raw("Performance.getMetrics", json!({})).await?;
        let of = |name: &str| {
            let all = metrics["metrics"].as_array().into_iter().flatten();
            all.filter(|metric| metric["name"] == name).find_map(|metric| metric["value"].as_f64())
        };
        Ok([of("TaskDuration").context("no times of tasks")?, of("ScriptDuration").context("no times of scripts")?])
    };
    let write = "document.querySelector('[data-testid=next-token]').click();
        await new Promise(done => setTimeout(done, arguments[0]));
        if (document.body.dataset.state !== 'ready') throw new Error('the token is not there yet');";
    // What the text itself has left to do is done first.
    page.promise::<()>(write, vec![json!(2 * REST_MS)]).await?;
    let mut times = Vec::new();
    for _ in 0..WRITTEN {
        let before = read().await?;
        page.promise::<()>(write, vec![json!(REST_MS)]).await?;
        let after = read().await?;
        times.push([0, 1].map(|n| (after[n] - before[n]) * 1e3));
    }
    let median = |n: usize| crate::median(times.iter().map(|time| time[n]).collect());
    Ok(Written { tokens, all: median(0), script: median(1) })
}
