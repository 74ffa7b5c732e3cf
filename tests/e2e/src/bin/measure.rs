//! Measures the built page in a browser and prints the figures, all or the named ones: `cargo xtask measure`. It
//! checks no limits.

use anyhow::{Context, Result, bail};
use moescope_e2e::browser::{self, Driver, Visitor};
use moescope_e2e::first_view::{clicks_to_read_without_german, first_view};
use moescope_e2e::frames::{self, Moved};
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use moescope_e2e::tools::Tools;
use moescope_e2e::typing::{self, Where};
use moescope_e2e::{deep, learning, median, synthetic};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Number of visits of each kind; the median of their times is printed.
const VISITS: usize = 5;

/// Tokens generated for the decoding speed.
const DECODED: usize = 96;

/// Records when the first routed token is drawn, in milliseconds after the start of the navigation.
const WATCH: &str = r#"
new MutationObserver((_, observer) => {
  const token = document.querySelector("[data-testid=token]");
  if (token?.dataset.experts) {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.firstRouted = performance.now(); }));
  }
}).observe(document, { childList: true, subtree: true, attributes: true });
"#;

/// The figures that can be measured.
const FIGURES: [&str; 14] = [
    "sizes",
    "view",
    "start",
    "slow-line",
    "speed",
    "policy",
    "typing",
    "key",
    "map",
    "pointer",
    "written",
    "clicks",
    "learn",
    "lighthouse",
];

/// The lines of `slow-line` in megabits per second.
const LINES: [f64; 2] = [10.0, 50.0];

/// Lengths of the texts after which the page's time for a token is measured.
const LENGTHS: [usize; 5] = [50, 100, 200, 400, 500];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !FIGURES.contains(&name.as_str())) {
        bail!("there is no figure {unknown:?} to measure: choose from {}", FIGURES.join(", "));
    }
    let wants = |figure: &str| wanted.is_empty() || wanted.iter().any(|name| name == figure);
    let tools = Tools::from_environment()?;
    if wants("sizes") {
        sizes(&tools.site)?;
    }
    tokio::runtime::Runtime::new()?.block_on(async {
        let site = Server::start(server::site(&tools)?).await?;
        let driver = Driver::start(&tools)?;
        for (name, visitor, path) in
            [("WebGPU", Visitor::WEBGPU, "/?backend=webgpu"), ("CPU", Visitor::WEBGPU, "/?backend=cpu")]
        {
            let url = site.url(path);
            if wants("start") {
                first_routed_token(&tools, &driver, name, &url, name).await?;
            }
            if wants("speed") {
                speed(&tools, &driver, visitor, name, &url).await?;
            }
            if wants("policy") {
                policy(&tools, &driver, visitor, name, &url).await?;
            }
        }
        if wants("start") {
            // The default: a software adapter does not take over.
            first_routed_token(&tools, &driver, "the engine left open", &site.url("/"), "CPU").await?;
        }
        if wants("slow-line") {
            slow_line(&tools, &driver).await?;
        }
        if wants("typing") {
            responsiveness(&tools, &driver, &site.url("/?backend=cpu")).await?;
        }
        if wants("map") {
            map(&tools, &driver).await?;
        }
        if wants("learn") {
            learning::measure(&tools, &driver, &site.url("/#/learn")).await?;
        }
        if wants("view") {
            view(&tools, &driver, &site.url("/")).await?;
        }
        if wants("key") {
            key(&tools, &driver, &site.url("/?backend=cpu")).await?;
        }
        if wants("clicks") {
            clicks(&tools, &driver, &site.url("/?backend=cpu")).await?;
        }
        if wants("pointer") {
            pointer(&tools, &driver).await?;
        }
        if wants("written") {
            written(&tools, &driver, &site.url("/?backend=cpu")).await?;
        }
        if wants("lighthouse") { lighthouse(&tools, &site.url("/")) } else { Ok(()) }
    })
}

fn sizes(site: &Path) -> Result<()> {
    let build = xtask::dist::build_of(site)?;
    let program = ["moescope_relaxed.wasm", "moescope_bg.wasm", "moescope.js", "lab/lab_relaxed.wasm", "lab/lab.js"]
        .map(|name| build.join(name));
    let model = ["main/model.safetensors", "tokenizer/tokenizer.json"].map(|name| Path::new("models").join(name));
    for name in program.iter().chain(&model).map(|path| path.display()) {
        let bytes = |suffix: &str| std::fs::metadata(site.join(format!("{name}{suffix}"))).map(|file| file.len());
        let raw = bytes("").with_context(|| format!("the site has no {name}"))?;
        match bytes(".br") {
            Ok(brotli) => println!("{name}: {raw} bytes, {brotli} with brotli"),
            Err(_) => println!("{name}: {raw} bytes"),
        }
    }
    Ok(())
}

/// Measures from the navigation to the first token with its experts on the screen, in new browsers and with a warm
/// cache. Then waits until the badge shows `backend`: a GPU that still compiled for a closed page would slow down the
/// next one.
async fn first_routed_token(tools: &Tools, driver: &Driver, name: &str, url: &str, backend: &str) -> Result<()> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..VISITS {
        let browser = browser::open(tools, driver, Visitor::WEBGPU).await?;
        browser.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH })).await?;
        let page = Page::new(browser.clone());
        for times in [&mut first, &mut again] {
            page.goto(url).await?;
            page.routed().await?;
            times.push(page.script("return window.firstRouted;", Vec::new()).await?);
            page.wait("the engine that stays", |view| view.backend.contains(backend)).await?;
        }
        browser.quit().await?;
    }
    println!(
        "{name}: navigation to the first routed token {:.0} ms, {:.0} ms with a warm cache",
        median(first),
        median(again)
    );
    Ok(())
}

/// Measures from the navigation to the first token with its experts on the screen, in new browsers on slow lines: with
/// the small model that stands in, and without it, by a link to the main model.
async fn slow_line(tools: &Tools, driver: &Driver) -> Result<()> {
    for megabits in LINES {
        let site = Server::start(server::slow_line(tools, megabits * 1e6 / 8.0)?).await?;
        let mut times = Vec::new();
        for path in ["/", "/?model=main"] {
            let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
            browser.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH })).await?;
            let page = Page::new(browser.clone());
            page.goto(&site.url(path)).await?;
            page.routed().await?;
            times.push(page.script::<f64>("return window.firstRouted / 1000;", Vec::new()).await?);
            browser.quit().await?;
        }
        println!(
            "a line of {megabits} Mbit/s: navigation to the first routed token {:.1} s; {:.1} s without the small \
             model",
            times[0], times[1]
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct Generated {
    ids: Vec<u32>,
    prefill_ms: f64,
    decode_ms: f64,
}

/// Measures prefill, with the opening example repeated until it fills half of the context, and decoding after it.
async fn speed(tools: &Tools, driver: &Driver, visitor: Visitor, name: &str, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, visitor).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    let ids = page.routed().await?.ids();
    let prompt: Vec<Value> = ids.iter().cycle().take(128).map(|&id| json!(id)).collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..VISITS {
        let generated: Generated = page
            .promise(
                "const options = { tokens: arguments[1], temperature: 0, seed: 1 };
                 return await window.moescope.generate(arguments[0], options);",
                vec![json!(prompt), json!(DECODED)],
            )
            .await?;
        prefill.push(prompt.len() as f64 / generated.prefill_ms * 1e3);
        decode.push(generated.ids.len() as f64 / generated.decode_ms * 1e3);
    }
    browser.quit().await?;
    println!(
        "{name}: prefill of {} tokens {:.0} tokens/s, decode of {DECODED} tokens {:.0} tokens/s",
        prompt.len(),
        median(prefill),
        median(decode)
    );
    Ok(())
}

/// Measures the time from a change of the routing to its result on the page, the engine's part of that time (which the
/// page shows; it includes the losses of all tokens), a prefill of the same text without losses, and what a policy
/// that changes nothing costs.
async fn policy(tools: &Tools, driver: &Driver, visitor: Visitor, name: &str, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, visitor).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    let text = page.routed().await?.text;
    let start = "const { tokens } = await window.moescope.trace(arguments[0]);
        return tokens.slice(0, 256).map(token => token.text).join('');";
    let start: String = page.promise(start, vec![json!([text.as_str(), text.as_str()].concat())]).await?;
    page.paste(&start).await?;
    let ids = page.routed().await?.ids();
    let prompt: Vec<Value> = ids.iter().take(256).map(|&id| json!(id)).collect();
    // The first policy makes the engine that later ones use.
    let change = "
        // A timer that is set when the last element is in the document fires after the next paint.
        const settled = () => new Promise(resolve => {
          const watcher = new MutationObserver(() => {
            if (document.body.dataset.state !== 'ready') return;
            watcher.disconnect();
            setTimeout(resolve);
          });
          watcher.observe(document.body, { attributeFilter: ['data-state'] });
        });
        const times = { shown: [], engine: [] };
        for (let n = 0; n < 8; n++) {
          const start = performance.now();
          const shown = settled();
          await window.moescope.policy({ temperature: 1.5 + n % 2 });
          await shown;
          if (!document.querySelector('[data-testid=change-bar]')) throw new Error('no policy is shown');
          times.shown.push(performance.now() - start);
          const measured = document.querySelector('.badge-menu .menu-body').textContent.match(/([\\d.,]+) ms/)[1];
          times.engine.push(+measured.replace(',', ''));
        }
        await window.moescope.policy(null);
        return [times.shown.slice(1), times.engine.slice(1)];";
    let [shown, engine]: [Vec<f64>; 2] = page.promise(change, Vec::new()).await?;
    let prefills = "
        const times = { own: [], same: [] };
        const policies = [['own', null], ['same', { temperature: 1, top_k: 2 }]];
        for (let n = 0; n < 8; n++) for (const [kind, policy] of policies) {
          await window.moescope.policy(policy);
          times[kind].push((await window.moescope.generate(arguments[0], { tokens: 1 })).prefill_ms);
        }
        return [times.own, times.same];";
    let [own, same]: [Vec<f64>; 2] = page.promise(prefills, vec![json!(prompt)]).await?;
    browser.quit().await?;
    let (own, same) = (median(own), median(same));
    println!(
        "{name}: a change of policy on {} tokens shows after {:.0} ms, of which the engine takes {:.0} ms; a prefill \
         without losses takes {own:.0} ms; under a policy that changes nothing {:.2} x that",
        ids.len(),
        median(shown),
        median(engine),
        same / own
    );
    Ok(())
}

/// Measures the longest tasks on the page's thread in different uses; browsers report no task under 50 ms.
async fn responsiveness(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    page.routed().await?;
    typing::fill(&page).await?;
    let say = |what: &str, longest: f64| println!("{what}: {}", longest_of(longest));
    let text = typing::TOKENS;
    for (place, name) in [(Where::End, "end"), (Where::Start, "start")] {
        say(
            &format!("typing 10 characters/s at the {name} of {text} tokens"),
            typing::longest_task(&page, place).await?,
        );
    }
    say(&format!("switching layers with {text} tokens"), typing::longest_task_of_layers(&page).await?);
    for characters in [2_000, 1 << 20] {
        let longest = typing::longest_task_of_paste(&page, characters).await?;
        say(&format!("pasting {characters} characters"), longest);
    }
    browser.quit().await?;
    Ok(())
}

/// Measures the routing map under the pointer, for a model of many layers with a text that fills its context.
async fn map(tools: &Tools, driver: &Driver) -> Result<()> {
    let site = Server::start(server::site(tools)?.merge(deep::router(tools)?)).await?;
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(&site.url(&format!("/?model={}", site.url(deep::PATH)))).await?;
    let text = page.routed().await?.text;
    page.paste(&text.chars().cycle().take(text.len() * 4).collect::<String>()).await?;
    let tokens =
        page.wait("the whole context", |view| view.is_settled() && view.tokens.len() == deep::CONTEXT).await?.tokens;
    for moved in deep::move_about(&page).await? {
        println!(
            "routing map of {} layers and {} tokens: {} at {:.0} frames/s, {}",
            deep::LAYERS,
            tokens.len(),
            moved.what,
            moved.frames,
            longest_of(moved.longest)
        );
    }
    browser.quit().await?;
    Ok(())
}

/// Counts words and controls of the first view.
async fn view(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    page.routed().await?;
    let view = first_view(&page).await?;
    println!(
        "first view of 1440 x 900: {} words and numbers, {} controls, {} texts under 13 px",
        view.words,
        view.controls,
        view.small.len()
    );
    browser.quit().await?;
    Ok(())
}

/// Records when the newest message of a worker came, in milliseconds after the start of the navigation.
const ANSWERS: &str = "
const Plain = Worker;
window.Worker = class extends Plain {
  constructor(...options) {
    super(...options);
    this.addEventListener('message', () => { window.answered = performance.now(); });
  }
};";

/// Measures from the engine's answer to a key until strip and stage are drawn, in a text of about 400 tokens.
async fn key(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    browser.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": ANSWERS })).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    page.routed().await?;
    typing::fill(&page).await?;
    let watch = "window.drawn = 0;
        const watcher = new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => {
          window.drawn = performance.now();
        })));
        for (const part of ['.strip-view', '[data-testid=stage]'])
          watcher.observe(document.querySelector(part), { childList: true, subtree: true, attributes: true });
        const box = document.querySelector('[data-testid=text-input]');
        box.focus(); box.setSelectionRange(box.value.length, box.value.length);";
    page.script::<()>(watch, Vec::new()).await?;
    let mut times = Vec::new();
    for letter in "and so on, as one types".chars() {
        page.press(letter.to_string()).await?;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        times.push(page.script("return window.drawn - window.answered;", Vec::new()).await?);
    }
    browser.quit().await?;
    println!(
        "a key in {} tokens: strip and stage are drawn {:.0} ms after the engine's answer (median of {} keys; at most \
         {:.0} ms)",
        typing::TOKENS,
        median(times.clone()),
        times.len(),
        times.iter().copied().fold(0.0, f64::max)
    );
    Ok(())
}

/// Counts the clicks from the opened page to what the model writes without the expert that German needs most, and
/// measures how long that takes.
async fn clicks(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    page.routed().await?;
    let (clicks, seconds) = clicks_to_read_without_german(&page).await?;
    browser.quit().await?;
    println!("what the model writes without its German expert: {clicks} clicks, {seconds:.1} s");
    Ok(())
}

/// Measures the frames while the pointer moves over the tokens of a model with many experts and layers, and over the
/// experts of the stage beside a long text.
async fn pointer(tools: &Tools, driver: &Driver) -> Result<()> {
    let shape = synthetic::SHAPES[0];
    let site = Server::start(server::site(tools)?.merge(synthetic::router(tools, &[shape])?)).await?;
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(&site.url(&format!("/#/?backend=cpu&model={}", site.url(&shape.path())))).await?;
    page.routed().await?;
    let say = |what: String, moved: &Moved| {
        println!(
            "{what}: {} at {:.0} frames/s, 95 of 100 frames within {:.0} ms, {}",
            moved.what,
            moved.frames,
            moved.frame,
            longest_of(moved.longest)
        );
    };
    let moved = frames::scrub(&page).await?;
    say(format!("{} experts, {} layers", shape.experts, shape.layers), &moved);
    page.goto(&site.url("/?backend=cpu")).await?;
    page.routed().await?;
    typing::fill_with(&page, 500).await?;
    say("500 tokens".into(), &frames::point_at_experts(&page).await?);
    browser.quit().await?;
    Ok(())
}

/// Measures what the page's thread does for one token that the model writes after a text of each length.
async fn written(tools: &Tools, driver: &Driver, url: &str) -> Result<()> {
    let browser = browser::open(tools, driver, Visitor::NO_WEBGPU).await?;
    let page = Page::new(browser.clone());
    page.goto(url).await?;
    page.routed().await?;
    for tokens in LENGTHS {
        let written = frames::written(&page, tokens).await?;
        println!(
            "a token written after {tokens}: {:.1} ms of the page's thread, {:.1} ms of them its program",
            written.all, written.script
        );
    }
    browser.quit().await?;
    Ok(())
}

/// The longest task in ms, as text; 0 means that none was reported.
fn longest_of(ms: f64) -> String {
    if ms == 0.0 {
        "no task of 50 ms or more on the page's thread".into()
    } else {
        format!("longest task on the page's thread {ms:.0} ms")
    }
}

/// Prints Lighthouse's scores for a desktop and for a phone, out of 100.
fn lighthouse(tools: &Tools, url: &str) -> Result<()> {
    let script =
        std::env::var_os("MOESCOPE_LIGHTHOUSE").context("MOESCOPE_LIGHTHOUSE is not set: run `cargo xtask measure`")?;
    for (name, form) in [("desk", &["--preset=desktop"][..]), ("phone", &[][..])] {
        let output = Command::new("node")
            .arg(&script)
            .args([url, "--quiet", "--output=json", "--chrome-flags=--headless=new --no-sandbox"])
            .arg("--only-categories=performance,accessibility,best-practices")
            .args(form)
            .env("CHROME_PATH", &tools.browser)
            .output()
            .context("cannot run `node`")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("Lighthouse: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
        let categories = report["categories"].as_object().context("Lighthouse's report has no categories")?;
        let score = |category: &Value| {
            category["score"].as_f64().map_or("none".into(), |score| format!("{:.0}", score * 100.0))
        };
        let scores: Vec<String> =
            categories.iter().map(|(name, category)| format!("{name} {}", score(category))).collect();
        println!("Lighthouse, {name}: {}", scores.join(", "));
        let failed = report["audits"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, audit)| audit["score"].as_f64().is_some_and(|s| s < 0.9));
        failed.for_each(|(name, audit)| {
            println!(
                "  {name}: {} {}",
                audit["title"].as_str().unwrap_or_default(),
                audit["displayValue"].as_str().unwrap_or_default()
            )
        });
    }
    Ok(())
}
