//! Figures of Learn and Lab: how fast chapters open, labs train and the page answers meanwhile.

use crate::browser::{self, Driver, Visitor};
use crate::page::Page;
use crate::tools::Tools;
use anyhow::Result;
use serde_json::Value;
use std::time::Duration;

/// Nothing takes longer, in seconds.
const PATIENCE: Duration = Duration::from_secs(280);

/// What each script gives is printed with its name.
const SCRIPTS: [(&str, &str); 6] = [
    (
        "1991 lab, 8 experts, 400 points, drawn",
        "location.hash = '#/lab/local-experts?experts=8';
         const find = (name) => document.querySelector(`[data-testid=${name}]`);
         const until = async (what) => { while (!what()) await new Promise(done => setTimeout(done, 50)); };
         await until(() => find('lab-share'));
         find('lab-run').click();
         await new Promise(done => setTimeout(done, 2000));
         const long = [];
         new PerformanceObserver(list => long.push(...list.getEntries().map(e => e.duration)))
           .observe({ type: 'longtask' });
         let frames = 0;
         const count = () => { frames++; requestAnimationFrame(count); };
         requestAnimationFrame(count);
         const [from, at] = [+find('lab-step').dataset.step, performance.now()];
         await new Promise(done => setTimeout(done, 8000));
         const seconds = (performance.now() - at) / 1000;
         const rate = (+find('lab-step').dataset.step - from) / seconds;
         find('lab-run').click();
         return `${rate.toFixed(0)} steps/s, ${(frames / seconds).toFixed(0)} frames/s, longest task ${
           Math.max(0, ...long).toFixed(0)} ms (0: none of 50 ms)`;",
    ),
    (
        "deep mixture, 90 % of held-out digits",
        "const lab = await moescope.lab('deep-mixture', {});
         await lab.state();
         const at = performance.now();
         let now = await lab.step(50);
         while (now.measures.accuracy < 0.9 && now.step < 5000) now = await lab.step(50);
         lab.close();
         return `${((performance.now() - at) / 1000).toFixed(1)} s, ${now.step} steps, ${
           (100 * now.measures.accuracy).toFixed(1)} %`;",
    ),
    (
        "router lab, 2 layers from scratch",
        "const lab = await moescope.lab('router', {});
         await lab.step(5);
         const at = performance.now();
         await lab.step(20);
         lab.close();
         return `${(20 * 256 / (performance.now() - at) * 1000).toFixed(0)} tokens/s`;",
    ),
    (
        "router lab on main, routers alone",
        "const lab = await moescope.lab('router', { model: 'main' });
         await lab.step(2);
         const at = performance.now();
         await lab.step(12);
         const rate = 12 / (performance.now() - at) * 1000;
         const memory = await performance.measureUserAgentSpecificMemory?.().catch(() => null);
         lab.close();
         return `${rate.toFixed(1)} steps of 256 tokens/s` +
           (memory ? `, ${(memory.bytes / 1e6).toFixed(0)} MB` : '');",
    ),
    (
        "training a model of 1.3 M parameters in use a token (learn/examples/speed.rs is the native run)",
        "const lab = await moescope.lab('router',
           { layers: 4, width: 128, heads: 4, units: 320, experts: 8, 'top-k': 2 });
         await lab.step(5);
         const at = performance.now();
         await lab.step(30);
         lab.close();
         return `${(30 * 256 / (performance.now() - at) * 1000).toFixed(0)} tokens/s`;",
    ),
    (
        "fine-tuning main on 2.4 kB until held-out text is worse than at its best",
        "const lab = await moescope.lab('fine-tune', { model: 'main' });
         const first = (await lab.state()).measures;
         const at = performance.now();
         let now = first;
         while (now.step < 100 && !(now.overfit > 0.02)) now = (await lab.step(5)).measures;
         lab.close();
         const loss = (m) => `${m.train.toFixed(2)} / ${m['held-out'].toFixed(2)} / ${m.general.toFixed(2)}`;
         return `${((performance.now() - at) / 1000).toFixed(1)} s, ${now.step} steps; losses on the text, held out, ${
           ''}other: ${loss(first)} to ${loss(now)}`;",
    ),
];

/// Prints all figures; `url` is the page of Learn.
///
/// # Errors
/// The browser fails, or a script does.
pub async fn measure(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    let list = "return !!document.querySelector('[data-testid=chapter-link]')";
    page.until::<bool>("the list of chapters", list, Vec::new()).await?;
    let open = "
        const names = [...document.querySelectorAll('[data-testid=chapter-link]')].map(a => a.dataset.chapter);
        const times = [];
        for (const name of names) {
          const at = performance.now();
          location.hash = `#/learn/${name}`;
          const there = () => document.querySelector('[data-testid=chapter]')?.dataset.chapter === name &&
            document.querySelector('[data-testid=picture] .picture-card, [data-testid=picture] [data-testid=lab-run]');
          while (!there()) await new Promise(requestAnimationFrame);
          times.push([name, performance.now() - at]);
        }
        times.sort((a, b) => b[1] - a[1]);
        location.hash = '#/learn';
        return `slowest ${times[0][0]} ${times[0][1].toFixed(0)} ms, median ${times[7][1].toFixed(0)} ms`;";
    let told: String = page.promise_within(PATIENCE, open, Vec::new()).await?;
    println!("a chapter, from the click to its picture, warm page: {told}");
    for (name, script) in SCRIPTS {
        match page.promise_within::<Value>(PATIENCE, script, Vec::new()).await {
            Ok(told) => println!("{name}: {}", told.as_str().unwrap_or_default()),
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    browser.quit().await?;
    Ok(())
}
