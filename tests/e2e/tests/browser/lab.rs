//! Lab: training in the page, by its hooks and by a script.

use crate::harness::{Stage, tests};
use crate::layout::assert_no_barriers;
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use serde_json::{Value, json};

tests![
    a_run_starts_pauses_and_begins_anew,
    every_lab_trains,
    a_seed_gives_the_same_run_again,
    settings_act_while_it_trains,
    a_script_trains_a_lab,
    divergence_is_said_and_the_step_before_is_kept,
    impossible_settings_are_refused_in_words,
    a_worker_that_dies_is_replaced,
    the_reader_draws_and_erases_points,
    a_task_says_when_it_is_reached_and_proves_it,
    points_on_one_spot_and_no_points_are_survived,
    every_slider_survives_both_ends,
    a_hidden_tab_pauses,
    a_router_collapses_and_comes_back,
    a_shipped_models_routers_train,
    the_page_stays_quick_while_it_trains,
    labs_have_no_barriers,
];

const LAB: &str = "/#/lab/local-experts";

async fn open(stage: &Stage, path: &str) -> Result<Page> {
    let page = stage.open(Visitor::NO_WEBGPU, path).await?;
    page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
    Ok(page)
}

async fn step(page: &Page) -> Result<u64> {
    page.script("return +document.querySelector('[data-testid=lab-step]').dataset.step", Vec::new()).await
}

async fn loss(page: &Page) -> Result<f64> {
    page.script("return +document.querySelector('[data-testid=lab-loss]').dataset.loss", Vec::new()).await
}

async fn until_step(page: &Page, at: u64) -> Result<()> {
    let reached = "return +document.querySelector('[data-testid=lab-step]').dataset.step >= arguments[0]";
    page.until::<bool>(&format!("step {at}"), reached, vec![at.into()]).await?;
    Ok(())
}

async fn a_run_starts_pauses_and_begins_anew(stage: &Stage) -> Result<()> {
    let page = open(stage, LAB).await?;
    let (first, begun) = (loss(&page).await?, step(&page).await?);
    assert_eq!(begun, 0);
    page.click("lab-run").await?;
    until_step(&page, 200).await?;
    page.click("lab-run").await?;
    let paused = "return document.querySelector('[data-testid=lab-run]').getAttribute('aria-pressed') === 'false' &&
        document.body.dataset.state === 'ready'";
    page.until::<bool>("the pause", paused, Vec::new()).await?;
    assert!(loss(&page).await? < first);
    let shares: Vec<f64> = page
        .script("return [...document.querySelectorAll('[data-testid=lab-share]')].map(s => +s.dataset.share)", vec![])
        .await?;
    assert_eq!(shares.len(), 4);
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{shares:?}");
    page.click("lab-reset").await?;
    page.until::<bool>(
        "step 0",
        "return document.querySelector('[data-testid=lab-step]').dataset.step === '0'",
        vec![],
    )
    .await?;
    assert_eq!(loss(&page).await?, first);
    Ok(())
}

async fn every_lab_trains(stage: &Stage) -> Result<()> {
    for (name, runs) in [("local-experts", 1), ("deep-mixture", 1), ("conditional", 3), ("router", 2)] {
        let page = open(stage, &format!("/#/lab/{name}")).await?;
        let first = loss(&page).await?;
        page.click("lab-ten").await?;
        until_step(&page, 100).await?;
        assert!(loss(&page).await? < first, "{name}");
        let figures: usize =
            page.script("return document.querySelectorAll('.lab-figure:not(.is-empty)').length", Vec::new()).await?;
        assert_eq!(figures, runs, "{name}");
        assert_no_barriers(stage, &page, name).await?;
    }
    Ok(())
}

async fn a_seed_gives_the_same_run_again(stage: &Stage) -> Result<()> {
    let mut losses = Vec::new();
    for path in ["?seed=7&at=150", "?seed=7&at=150", "?seed=8&at=150"] {
        let page = open(stage, &format!("{LAB}{path}")).await?;
        until_step(&page, 150).await?;
        assert_eq!(step(&page).await?, 150);
        losses.push(loss(&page).await?);
    }
    assert_eq!(losses[0], losses[1]);
    assert_ne!(losses[0], losses[2]);
    Ok(())
}

async fn settings_act_while_it_trains(stage: &Stage) -> Result<()> {
    let page = open(stage, LAB).await?;
    page.click("lab-run").await?;
    until_step(&page, 50).await?;
    let turn = "const input = document.querySelector('[data-testid=control-learning-rate]');
        input.value = 20; input.dispatchEvent(new Event('input', { bubbles: true }))";
    page.script::<Value>(turn, Vec::new()).await?;
    let at = step(&page).await?;
    until_step(&page, at + 50).await?;
    let address = page.wait_for_address(|address| address.contains("learning-rate=")).await?;
    assert!(address.contains("#/lab/local-experts?"), "{address}");
    page.choose("control-data", "moons").await?;
    let two = "return document.querySelectorAll('[data-testid=control-data]').length === 1 &&
        document.querySelector('[data-testid=control-data]').value === 'moons' &&
        document.querySelector('[data-testid=lab-run]').getAttribute('aria-pressed') === 'true'";
    page.until::<bool>("another data set, training on", two, Vec::new()).await?;
    page.choose("lab-beside", "cooperative").await?;
    let two = "return document.querySelectorAll('.lab-figure .plane').length === 2";
    page.until::<bool>("two runs", two, vec![]).await?;
    Ok(())
}

async fn a_script_trains_a_lab(stage: &Stage) -> Result<()> {
    let page = open(stage, LAB).await?;
    let told: Value = page
        .promise(
            "const lab = await moescope.lab('local-experts', { data: 'patches', experts: 3, seed: 5 });
             const first = await lab.state();
             const later = await lab.step(100);
             const same = await lab.state();
             const anew = await lab.reset();
             const again = await lab.step(100);
             lab.close();
             let error = '';
             try { moescope.lab('nothing', {}) } catch (thrown) { error = thrown.message }
             const bad = moescope.lab('local-experts', { experts: 0 });
             let refused = '';
             try { await bad.step(1) } catch (thrown) { refused = thrown.message }
             return { first, later, same, anew, again, error, refused };",
            Vec::new(),
        )
        .await?;
    let number = |name: &str, key: &str| told[name][key].as_f64().unwrap_or(f64::NAN);
    assert_eq!((number("first", "step"), number("later", "step"), number("anew", "step")), (0.0, 100.0, 0.0));
    assert!(number("later", "loss") < number("first", "loss"), "{told}");
    assert_eq!(told["later"]["loss"], told["same"]["loss"]);
    assert_eq!(told["later"]["loss"], told["again"]["loss"]);
    assert_eq!(told["first"]["shares"].as_array().map(Vec::len), Some(3));
    assert!(told["error"].as_str().is_some_and(|error| error.contains("local-experts")), "{}", told["error"]);
    assert!(told["refused"].as_str().is_some_and(|error| error.contains("experts")), "{}", told["refused"]);
    Ok(())
}

async fn divergence_is_said_and_the_step_before_is_kept(stage: &Stage) -> Result<()> {
    let page = open(stage, &format!("{LAB}?data=patches&learning-rate=10&momentum=0.99&variance=0.1")).await?;
    page.click("lab-run").await?;
    let said = "return document.querySelector('[data-testid=lab-note]')?.innerText.includes('diverged') &&
        document.querySelector('[data-testid=lab-run]').getAttribute('aria-pressed') === 'false'";
    page.until::<bool>("the divergence", said, Vec::new()).await?;
    assert!(loss(&page).await?.is_finite());
    page.click("lab-gentler").await?;
    page.wait_for_address(|address| address.contains("learning-rate=5")).await?;
    Ok(())
}

async fn impossible_settings_are_refused_in_words(stage: &Stage) -> Result<()> {
    let wrong = [
        ("experts=0", "experts"),
        ("data=nothing", "data=nothing"),
        ("expert=support-vector-machine&data=roof", "classes"),
    ];
    for (query, word) in wrong {
        let page = stage.open(Visitor::NO_WEBGPU, &format!("{LAB}?{query}")).await?;
        page.until::<bool>("the error", "return !!document.querySelector('[data-testid=lab-note]')", Vec::new())
            .await?;
        let said = page.find("lab-note").await?.text().await?;
        assert!(said.contains(word), "{query}: {said}");
        // A setting that is possible works at once.
        page.click("lab-reset").await?;
    }
    Ok(())
}

async fn a_worker_that_dies_is_replaced(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&stage.url("/#/learn")).await?;
    page.until::<bool>("Learn", "return !!document.querySelector('[data-testid=chapter-link]')", Vec::new()).await?;
    let watch = "window.workers = [];
        window.Worker = class extends Worker { constructor(...all) { super(...all); workers.push(this); } };
        location.hash = '#/lab/local-experts'";
    page.script::<Value>(watch, Vec::new()).await?;
    page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
    page.click("lab-ten").await?;
    until_step(&page, 100).await?;
    let before = loss(&page).await?;
    let die = "const [worker] = workers; worker.terminate(); worker.onmessage({ data: 'died: out of memory' })";
    page.script::<Value>(die, Vec::new()).await?;
    let said = "return document.querySelector('[data-testid=lab-note]')?.innerText.includes('100') &&
        workers.length === 2";
    page.until::<bool>("another worker", said, Vec::new()).await?;
    page.click("lab-one").await?;
    until_step(&page, 101).await?;
    assert!((loss(&page).await? - before).abs() < 0.1 * before.abs().max(0.1));
    Ok(())
}

async fn the_reader_draws_and_erases_points(stage: &Stage) -> Result<()> {
    let page = open(stage, &format!("{LAB}?data=moons&points=40")).await?;
    let draw = "const canvas = document.querySelector('.plane-points');
        const { left, top, width, height } = canvas.getBoundingClientRect();
        for (let n = 0; n < 6; n++) {
          const place = { clientX: left + width * (0.9 + n * 0.015), clientY: top + height * 0.05, buttons: 1 };
          canvas.dispatchEvent(new PointerEvent('pointerdown', { ...place, bubbles: true, cancelable: true }));
        }";
    page.script::<Value>(draw, Vec::new()).await?;
    let address = page.wait_for_address(|address| address.contains("own=")).await?;
    let points = |address: &str| address.split("own=").nth(1).map_or(0, |own| own.matches("%3B").count() + 1);
    assert!(points(&address) > 40, "{address}");
    // The link brings the points back.
    let again = open(
        stage,
        &format!(
            "/{}",
            address
                .split_once('/')
                .map_or("", |(_, rest)| { rest.split_once('#').map_or(rest, |(_, hash)| hash) })
                .replacen("/lab", "#/lab", 1)
        ),
    )
    .await?;
    again.click("lab-one").await?;
    until_step(&again, 1).await?;
    Ok(())
}

async fn a_task_says_when_it_is_reached_and_proves_it(stage: &Stage) -> Result<()> {
    let page = open(stage, &format!("{LAB}?data=patches&seed=3&goal=step%3E%3D120,loss%3C2&say=Learn+it")).await?;
    let reached = "return document.querySelector('[data-testid=task]').dataset.reached === arguments[0]";
    page.until::<bool>("a task that is open", reached, vec!["false".into()]).await?;
    page.click("lab-run").await?;
    page.until::<bool>("a task that is reached", reached, vec!["true".into()]).await?;
    page.click("lab-run").await?;
    let proof: String =
        page.script("return document.querySelector('[data-testid=task-proof]').hash", Vec::new()).await?;
    let other = open(stage, &format!("/{proof}")).await?;
    other.until::<bool>("the task, reached again", reached, vec!["true".into()]).await?;
    let wrong = open(stage, &format!("{LAB}?goal=nonsense")).await?;
    let said = wrong.find("task").await?.text().await?;
    assert!(said.contains("nonsense"), "{said}");
    Ok(())
}

async fn points_on_one_spot_and_no_points_are_survived(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let spot = vec!["10,10,0"; 30].join(";");
    for expert in ["linear", "network", "gaussian-process", "support-vector-machine"] {
        page.goto("about:blank").await?;
        page.goto(&stage.url(&format!("{LAB}?data=moons&expert={expert}&own={spot}"))).await?;
        page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
        page.click("lab-one").await?;
        until_step(&page, 1).await?;
        assert!(loss(&page).await?.is_finite(), "{expert}");
    }
    page.goto("about:blank").await?;
    page.goto(&stage.url(&format!("{LAB}?data=moons&own=x"))).await?;
    page.until::<bool>("the error", "return !!document.querySelector('[data-testid=lab-note]')", Vec::new()).await?;
    let said = page.find("lab-note").await?.text().await?;
    assert!(said.contains("no points"), "{said}");
    Ok(())
}

/// Every slider of every lab, at its least and at its most: three steps, or an error in words.
async fn every_slider_survives_both_ends(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let labs = ["local-experts?points=40", "deep-mixture?batch=8", "conditional?batch=8&beside=[]", "router?beside=[]"];
    for lab in labs.into_iter().chain(["fine-tune?model=tiny&beside=[]"]) {
        page.goto("about:blank").await?;
        page.goto(&stage.url(&format!("/#/lab/{lab}"))).await?;
        page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
        let told: Value = page
            .promise(
                "const wait = async (until) => {
                   for (let n = 0; n < 600; n++) {
                     if (until()) return true;
                     await new Promise(done => setTimeout(done, 50));
                   }
                   return false;
                 };
                 const find = (name) => document.querySelector(`[data-testid=${name}]`);
                 const sliders = [...document.querySelectorAll('.lab-controls input[type=range]')];
                 const bad = [];
                 for (const name of sliders.map(slider => slider.dataset.testid)) {
                   const before = find(name).value;
                   for (const value of [0, 200, before]) {
                     const slider = find(name);
                     slider.value = value;
                     slider.dispatchEvent(new Event('input', { bubbles: true }));
                     find('lab-one').click();
                     await new Promise(done => setTimeout(done, 120));
                     const is = await wait(() => document.body.dataset.state === 'ready' &&
                       (+find('lab-step').dataset.step > 0 || find('lab-note')));
                     const loss = +find('lab-loss')?.dataset.loss;
                     if (!is || !(Number.isFinite(loss) || find('lab-note'))) bad.push([name, value, is, loss]);
                   }
                 }
                 return { count: sliders.length, bad };",
                Vec::new(),
            )
            .await?;
        assert!(told["count"].as_u64().is_some_and(|count| count >= 5), "{lab}: {told}");
        assert_eq!(told["bad"], json!([]), "{lab}");
    }
    Ok(())
}

async fn a_hidden_tab_pauses(stage: &Stage) -> Result<()> {
    let page = open(stage, LAB).await?;
    page.click("lab-run").await?;
    until_step(&page, 50).await?;
    let hide = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });
        document.dispatchEvent(new Event('visibilitychange'))";
    page.script::<Value>(hide, vec![true.into()]).await?;
    page.until::<bool>("the pause", "return document.body.dataset.state === 'ready'", Vec::new()).await?;
    let at = step(&page).await?;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(step(&page).await?, at);
    page.script::<Value>(hide, vec![false.into()]).await?;
    until_step(&page, at + 50).await?;
    Ok(())
}

/// Without a balancing loss a router collapses; with one it comes back, in the same run.
async fn a_router_collapses_and_comes_back(stage: &Stage) -> Result<()> {
    let page = open(stage, "/#/lab/router?balance-loss=0&learning-rate=0.03&beside=[]&top-k=1&seed=1").await?;
    let told: Value = page
        .promise_within(
            std::time::Duration::from_secs(120),
            "const lab = await moescope.lab('router',
               { 'balance-loss': 0, 'learning-rate': 0.03, 'top-k': 1, seed: 1, beside: [{ 'balance-loss': 0.1 }] });
             const after = await lab.step(160);
             lab.close();
             return after.measures;",
            Vec::new(),
        )
        .await?;
    let most = |key: &str| told[key].as_f64().unwrap_or(f64::NAN);
    // The shares of the layer shown; the greatest of all layers and steps varies from step to step.
    assert!(most("busiest") > 1.2 * most("busiest-2"), "{told}");
    page.click("lab-ten").await?;
    until_step(&page, 100).await?;
    let worst =
        "return Math.max(...[...document.querySelectorAll('[data-testid=lab-share]')].map(s => s.dataset.share))";
    let collapsed: f64 = page.script(worst, Vec::new()).await?;
    let turn = "const input = document.querySelector('[data-testid=control-balance-loss]');
        input.value = 200; input.dispatchEvent(new Event('input', { bubbles: true }))";
    page.script::<Value>(turn, Vec::new()).await?;
    page.click("lab-ten").await?;
    until_step(&page, 200).await?;
    let back: f64 = page.script(worst, Vec::new()).await?;
    println!("the busiest expert's share without balancing {collapsed:.3}, with it {back:.3}");
    assert!(back < collapsed, "{back} {collapsed}");
    Ok(())
}

/// The open model's routers, with all else frozen, and the strip of a text in the colours of both runs.
async fn a_shipped_models_routers_train(stage: &Stage) -> Result<()> {
    let page = open(stage, "/#/lab/router?model=tiny&learning-rate=0.02").await?;
    let strips = "return document.querySelectorAll('[data-testid=lab-strip] .strip-token').length";
    assert_eq!(page.script::<u64>(strips, Vec::new()).await?, 2 * 56);
    let first = loss(&page).await?;
    for step in 1..=3 {
        page.click("lab-one").await?;
        until_step(&page, step).await?;
    }
    assert!(loss(&page).await? < first);
    page.click("lab-run").await?;
    until_step(&page, 20).await?;
    let moved = "return document.querySelectorAll('[data-testid=lab-strip] [data-moved]').length > 0";
    page.until::<bool>("tokens whose experts differ in the two runs", moved, Vec::new()).await?;
    Ok(())
}

/// No task of the page takes long while a lab of 8 experts and 400 points trains.
async fn the_page_stays_quick_while_it_trains(stage: &Stage) -> Result<()> {
    let page = open(stage, &format!("{LAB}?experts=8")).await?;
    let told: Value = page
        .promise(
            "const long = [];
             const observer = new PerformanceObserver(list => long.push(...list.getEntries().map(e => e.duration)));
             document.querySelector('[data-testid=lab-run]').click();
             await new Promise(done => setTimeout(done, 1500));
             observer.observe({ type: 'longtask' });
             const step = () => +document.querySelector('[data-testid=lab-step]').dataset.step;
             const [from, at] = [step(), performance.now()];
             let frames = 0;
             const count = () => { frames++; requestAnimationFrame(count); };
             requestAnimationFrame(count);
             await new Promise(done => setTimeout(done, 4000));
             const seconds = (performance.now() - at) / 1000;
             return { long, rate: (step() - from) / seconds, frames: frames / seconds };",
            Vec::new(),
        )
        .await?;
    println!("8 experts, 400 points: {told}");
    let long: Vec<f64> = serde_json::from_value(told["long"].clone())?;
    // A busy machine stops any task now and then.
    let often = long.iter().filter(|ms| **ms > 100.0).count();
    assert!(often <= 2, "{told}");
    assert!(told["rate"].as_f64().is_some_and(|rate| rate > 20.0), "{told}");
    Ok(())
}

async fn labs_have_no_barriers(stage: &Stage) -> Result<()> {
    for visitor in [Visitor::NO_WEBGPU, Visitor { dark: true, ..Visitor::PHONE }] {
        let page = stage.open(visitor, &format!("{LAB}?beside={}", json!({"objective": "cooperative"}))).await?;
        page.until::<bool>("the lab", "return !!document.querySelector('[data-testid=lab-share]')", Vec::new()).await?;
        assert_no_barriers(stage, &page, "the lab").await?;
    }
    Ok(())
}
