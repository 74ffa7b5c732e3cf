//! Fine-tuning in the page: a model learns a text by heart, is kept, opened in Explore and saved.

use crate::harness::{Stage, tests};
use crate::layout::assert_no_barriers;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli::{self, Trace};
use moescope_e2e::page::Page;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

tests![
    a_model_learns_a_text_by_heart,
    main_overfits_two_kilobytes_within_a_minute,
    the_readers_text_is_trained_on_and_bad_texts_are_refused,
    a_tuned_model_is_kept_and_opens_in_explore,
    a_saved_model_has_the_logits_of_the_page,
    full_storage_is_said,
    a_script_fine_tunes,
    recorded_runs_are_shown,
    the_fine_tuning_lab_has_no_barriers,
];

/// A small model, so that tests are quick.
const TINY: &str = "/#/lab/fine-tune?model=tiny&learning-rate=0.006&beside=[]";

/// One call of a script takes no longer.
const PATIENCE: Duration = Duration::from_secs(100);

async fn open(stage: &Stage, path: &str) -> Result<Page> {
    let page = stage.open(Visitor::NO_WEBGPU, path).await?;
    page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
    Ok(page)
}

/// Trains for at least so many steps, and pauses.
async fn train(page: &Page, steps: u64) -> Result<()> {
    let at: u64 =
        page.script("return +document.querySelector('[data-testid=lab-step]').dataset.step", Vec::new()).await?;
    page.click("lab-run").await?;
    let there = "return +document.querySelector('[data-testid=lab-step]').dataset.step >= arguments[0]";
    page.until::<bool>(&format!("{steps} steps"), there, vec![(at + steps).into()]).await?;
    page.click("lab-run").await?;
    page.until::<bool>("the pause", "return document.body.dataset.state === 'ready'", Vec::new()).await?;
    Ok(())
}

async fn a_model_learns_a_text_by_heart(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let text = |testid: &'static str| {
        let page = &page;
        async move { page.find(testid).await?.text().await.context("a text") }
    };
    assert_eq!(text("tune-before").await?, text("tune-after").await?);
    train(&page, 40).await?;
    let differs = "const text = (name) => document.querySelector(`[data-testid=${name}]`).innerText;
        return text('tune-before') !== text('tune-after')";
    page.until::<bool>("other words than before", differs, Vec::new()).await?;
    let moved: f64 =
        page.script("return +document.querySelector('[data-testid=tune-moved]').dataset.moved", Vec::new()).await?;
    let marked: u64 =
        page.script("return document.querySelectorAll('.strip-token[data-moved]').length", vec![]).await?;
    assert!(moved > 0.0 && marked > 0, "{moved} {marked}");
    let lines: u64 = page.script("return document.querySelectorAll('.tuned .tune-line').length", Vec::new()).await?;
    assert_eq!(lines, 3);
    Ok(())
}

/// From the first step to held-out text that is worse than at its best, with a larger learning rate than the usual one;
/// `cargo xtask measure learn` prints the time with that.
async fn main_overfits_two_kilobytes_within_a_minute(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let begin = Instant::now();
    let begun = "window.lab = await moescope.lab('fine-tune', { model: 'main', 'learning-rate': 0.002, measured: 64 });
        return (await window.lab.state()).measures;";
    let first: Value = page.promise_within(PATIENCE, begun, Vec::new()).await?;
    let loaded = begin.elapsed().as_secs_f64();
    let mut now = first.clone();
    while now["step"].as_u64() < Some(60) && now["overfit"].as_f64() <= Some(0.02) {
        let on = "return (await window.lab.step(5)).measures";
        now = page.promise_within(PATIENCE, on, Vec::new()).await?;
    }
    let told = json!({ "first": first, "now": now });
    let trained = begin.elapsed().as_secs_f64() - loaded;
    println!("fine-tuning main: {loaded:.0} s until it begins, then {trained:.0} s: {told}");
    let at = |when: &str, key: &str| told[when][key].as_f64().unwrap_or(f64::NAN);
    assert!(at("now", "overfit") > 0.02 && at("now", "train") < at("now", "held-out"), "{told}");
    assert!(at("now", "general") > at("first", "general"), "{told}");
    Ok(())
}

async fn write(page: &Page, text: &str) -> Result<()> {
    let set = "const area = document.querySelector('[data-testid=tune-text]');
        area.value = arguments[0]; area.dispatchEvent(new Event('change', { bubbles: true }))";
    page.script::<Value>(set, vec![text.into()]).await?;
    Ok(())
}

async fn the_readers_text_is_trained_on_and_bad_texts_are_refused(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let said = |word: &'static str| {
        let page = &page;
        async move {
            let said = "return document.querySelector('[data-testid=lab-note]')?.innerText.includes(arguments[0])";
            page.until::<bool>(word, said, vec![word.into()]).await.map(|_| ())
        }
    };
    write(&page, "").await?;
    said("fine-tuning needs 25").await?;
    write(&page, &"word ".repeat(60_000)).await?;
    said("300 kB").await?;
    write(&page, &"Twelve small birds sat on a wall, and one of them sang. ".repeat(6)).await?;
    let is_absent = "return !document.querySelector('[data-testid=lab-note]') &&
        document.querySelector('[data-testid=tune-before]')?.innerText.length > 0";
    page.until::<bool>("a run on the reader's text", is_absent, Vec::new()).await?;
    page.wait_for_address(|address| address.contains("text=Twelve")).await?;
    train(&page, 25).await?;
    let after = page.find("tune-after").await?.text().await?;
    assert!(after.contains("birds") || after.contains("wall") || after.contains("sang"), "{after}");
    page.click("tune-given").await?;
    let given = "return document.querySelector('[data-testid=tune-text]').value.startsWith('Onion soup') &&
        document.querySelector('[data-testid=lab-step]').dataset.step === '0'";
    page.until::<bool>("the given text", given, Vec::new()).await?;
    Ok(())
}

async fn a_tuned_model_is_kept_and_opens_in_explore(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    train(&page, 25).await?;
    page.click("tune-keep").await?;
    let kept = "return document.querySelector('[data-testid=tune-kept]')?.dataset.name";
    let name: String = page.until("the kept model", kept, Vec::new()).await?;
    assert!(name.starts_with("tiny-all-step-"), "{name}");
    let door: String = page.script("return document.querySelector('[data-testid=tune-explore]').hash", vec![]).await?;
    page.goto("about:blank").await?;
    page.goto(&stage.url(&format!("/{door}&text=Onion%20soup,%20for&backend=cpu"))).await?;
    let tuned = page.routed().await?;
    assert!(!tuned.experts().is_empty());
    // Another model than the one of the site.
    let (here, there) = (page.trace("none").await?, cli::trace(stage.tools(), "tiny", "Onion soup, for", "cpu")?);
    assert!(farthest(&here, &there) > 1e-2);
    // It is forgotten where the reader says so.
    page.goto("about:blank").await?;
    page.goto(&stage.url(TINY)).await?;
    page.until::<bool>("the kept model", "return !!document.querySelector('[data-testid=tune-forget]')", vec![])
        .await?;
    page.click("tune-forget").await?;
    page.until::<bool>("no kept model", "return !document.querySelector('[data-testid=tune-kept]')", vec![]).await?;
    Ok(())
}

/// The files of an archive without compression.
fn files(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let number = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap_or_default()) as usize;
    let (mut at, mut files) = (0, Vec::new());
    while archive[at..].starts_with(b"PK\x03\x04") {
        let (size, name) = (number(at + 18), u16::from_le_bytes([archive[at + 26], archive[at + 27]]) as usize);
        let name_of = String::from_utf8(archive[at + 30..at + 30 + name].to_vec())?;
        let start = at + 30 + name;
        files.push((name_of, archive[start..start + size].to_vec()));
        at = start + size;
    }
    ensure!(!files.is_empty(), "the archive is empty");
    Ok(files)
}

/// The saved directory has the logits that the page has for the kept model; tests/golden/saved.py compares it with
/// `transformers`.
async fn a_saved_model_has_the_logits_of_the_page(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    train(&page, 25).await?;
    page.click("tune-save").await?;
    let link = "return document.querySelector('[data-testid=tune-saved] a')?.href";
    let link: String = page.until("the file", link, Vec::new()).await?;
    let read = "const blob = await (await fetch(arguments[0])).blob();
        return await new Promise((done) => {
          const reader = new FileReader();
          reader.onload = () => done(reader.result.split(',')[1]);
          reader.readAsDataURL(blob);
        });";
    let bytes: String = page.promise(read, vec![link.into()]).await?;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tuned");
    let _ = std::fs::remove_dir_all(&folder);
    for (name, bytes) in files(&base64::engine::general_purpose::STANDARD.decode(bytes)?)? {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, bytes)?;
    }
    let name: String =
        page.script("return document.querySelector('[data-testid=tune-saved] a').download", vec![]).await?;
    let name = name.trim_end_matches(".zip").to_owned();
    let model = folder.join(&name);
    println!("saved: {}", model.display());
    page.click("tune-keep").await?;
    page.until::<bool>("kept", "return !!document.querySelector('[data-testid=tune-kept]')", vec![]).await?;
    page.goto("about:blank").await?;
    page.goto(&stage.url(&format!("/#/?model=.%2Fkept%2F{name}%2F&text=Take%20two%20eggs&backend=cpu"))).await?;
    page.routed().await?;
    let here = page.trace("none").await?;
    let there = cli::trace(stage.tools(), model.to_str().context("a path")?, "Take two eggs", "cpu")?;
    assert_eq!(here.ids(), there.ids());
    let most = farthest(&here, &there);
    assert!(most < 1e-3, "{most}");
    Ok(())
}

/// The largest difference of the last layer's router logits.
fn farthest(here: &Trace, there: &Trace) -> f64 {
    let logits =
        |trace: &Trace| -> Vec<f64> { trace.layers.last().map_or_else(Vec::new, |layer| layer.router_logits.concat()) };
    let both = logits(here).into_iter().zip(logits(there));
    both.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

async fn full_storage_is_said(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let origin = stage.url("");
    let quota = json!({ "origin": origin.trim_end_matches('/'), "quotaSize": 100_000 });
    page.browser().cdp().send_raw("Storage.overrideQuotaForOrigin", quota).await?;
    page.click("tune-keep").await?;
    let said = "return document.querySelector('[data-testid=lab-note]')?.innerText.includes('storage is full')";
    page.until::<bool>("the error", said, Vec::new()).await?;
    assert!(!page.script::<bool>("return !!document.querySelector('[data-testid=tune-kept]')", vec![]).await?);
    // It trains on.
    train(&page, 5).await
}

async fn a_script_fine_tunes(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let told: Value = page
        .promise_within(
            PATIENCE,
            "const lab = await moescope.lab('fine-tune', { model: 'tiny', 'learning-rate': 0.006, trained: 'routers',
               'measure-every': 10, measured: 64,
               beside: [{ trained: 'without-experts' }, { 'expert-dropout': 0.5, trained: 'all' }] });
             const first = await lab.state();
             const later = await lab.step(10);
             const again = await (await lab.reset(), lab.step(10));
             lab.close();
             let error = '';
             const bad = moescope.lab('fine-tune', { model: 'dense', trained: 'routers' });
             try { await bad.step(1) } catch (thrown) { error = thrown.message }
             return { first: first.measures, later: later.measures, again: again.measures, error };",
            Vec::new(),
        )
        .await?;
    let at = |when: &str, key: &str| told[when][key].as_f64().unwrap_or(f64::NAN);
    for run in ["", "-2", "-3"] {
        let key = format!("train{run}");
        assert!(at("later", &key) < at("first", &key), "{key}: {told}");
        assert_eq!(at("later", &key), at("again", &key));
    }
    // Fewer parameters learn a text by heart more slowly.
    assert!(at("later", "train") > at("later", "train-2").max(at("later", "train-3")), "{told}");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("no routers")), "{}", told["error"]);
    Ok(())
}

async fn recorded_runs_are_shown(stage: &Stage) -> Result<()> {
    let page = open(stage, TINY).await?;
    let count = "return document.querySelectorAll('[data-testid=tune-recorded]').length >= 4";
    page.until::<bool>("the recorded runs", count, Vec::new()).await?;
    let best = "return document.querySelector('[data-testid=tune-recorded]').dataset.best";
    let narrow: String = page.script(best, Vec::new()).await?;
    page.script::<Value>("document.querySelector('[data-testid=tune-tasks]').click()", Vec::new()).await?;
    let other = "return document.querySelector('[data-testid=tune-recorded]').dataset.best !== arguments[0]";
    page.until::<bool>("the runs on tasks", other, vec![narrow.into()]).await?;
    Ok(())
}

async fn the_fine_tuning_lab_has_no_barriers(stage: &Stage) -> Result<()> {
    for visitor in [Visitor::NO_WEBGPU, Visitor { dark: true, ..Visitor::PHONE }] {
        let page = stage.open(visitor, TINY).await?;
        page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=tune-recorded]')", vec![]).await?;
        assert_no_barriers(stage, &page, "fine-tuning").await?;
    }
    Ok(())
}
