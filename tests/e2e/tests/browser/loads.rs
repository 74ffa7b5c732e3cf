//! Every request to the worker is answered, in any order of requests, and the model in use keeps working meanwhile.

use crate::harness::{Stage, tests};
use anyhow::{Context, Result, ensure};
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Instead, Server};
use serde_json::json;
use std::time::{Duration, Instant};

tests![
    models_chosen_one_after_the_other_end_at_the_last,
    many_loads_at_once_are_each_answered,
    a_small_model_answers_while_the_first_one_is_on_its_way,
    typing_while_another_model_downloads_is_routed_by_the_one_in_use,
    a_generation_stopped_before_it_begins_leaves_the_page_ready,
    a_chosen_webgpu_that_never_answers_gives_way_to_the_cpu,
    a_chosen_webgpu_that_refuses_gives_way_to_the_cpu,
];

async fn models_chosen_one_after_the_other_end_at_the_last(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let choose = "const rows = [...document.querySelectorAll('[data-testid=model-row]')].slice(1, 7);
        rows.forEach(row => row.click());
        return rows.at(-1).dataset.model";
    let name: String = page.script(choose, Vec::new()).await?;
    let chosen = "return arguments[0] ===
        document.querySelector('[data-testid=model-row][aria-pressed=true]')?.dataset.model";
    page.until::<bool>("the seventh model chosen", chosen, vec![json!(name)]).await?;
    page.wait("its routing", |view| view.is_settled() && !view.tokens.is_empty()).await?;
    // It is the model in use, and not only the one shown in the list.
    let traced: String = page.promise("return (await moescope.trace('hello')).model.name", Vec::new()).await?;
    assert_eq!(traced, name);
    Ok(())
}

async fn many_loads_at_once_are_each_answered(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let loads = "const names = ['dense', 'switch', 'hierarchical'];
        const wanted = Array.from({ length: arguments[0] }, (_, n) => names[n % 3]);
        const answers = await Promise.allSettled(wanted.map(name => moescope.load(name, { backend: 'cpu' })));
        return answers.map(({ value, reason }) => value?.name ?? reason.message);";
    for count in [3, 30] {
        let answers: Vec<String> = page.promise(loads, vec![json!(count)]).await?;
        assert_eq!(answers.len(), count);
        let (last, others) = answers.split_last().expect("there are some");
        assert_eq!(last, "hierarchical");
        for answer in others {
            assert!(answer.contains("another model was asked for"), "{answer}");
        }
        page.wait("the last model", |view| view.is_settled() && view.error.is_empty()).await?;
    }
    Ok(())
}

/// On a slow line the small model of the site answers first; the model of the page takes its place. A link to a model
/// gets that model only.
async fn a_small_model_answers_while_the_first_one_is_on_its_way(stage: &Stage) -> Result<()> {
    let text = "The river was wide";
    let server = Server::start(server::weights_on_hold(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=The%20river%20was%20wide")).await?;
    let early =
        page.wait("the small model's routing", |view| view.experts().iter().any(|experts| !experts.is_empty())).await?;
    let layer = early.layer.context("one layer is shown")?;
    assert_eq!(early.experts(), cli::trace(stage.tools(), "tiny", text, "cpu")?.layer(layer).selected, "tiny");
    let notice = "return document.querySelector('[data-testid=progress]')?.textContent";
    let notice: String = page.until("the notice", notice, Vec::new()).await?;
    assert!(notice.contains("tiny") && notice.contains("MB"), "{notice}");
    page.promise::<String>("return (await fetch('/release')).text()", Vec::new()).await?;
    let view = page.routed().await?;
    assert_eq!(view.ids(), early.ids(), "one tokenizer");
    let layer = view.layer.context("one layer is shown")?;
    assert_eq!(view.experts(), cli::trace(stage.tools(), "main", text, "cpu")?.layer(layer).selected, "main");
    let model: String = page.promise("return (await moescope.trace('x')).model.name", Vec::new()).await?;
    assert_eq!(model, "main");

    page.goto(&server.url("/?model=main&text=hello")).await?;
    page.wait("the main model's beginning", |view| view.state == "loading").await?;
    let small = "return performance.getEntriesByType('resource').some(entry => entry.name.includes('/tiny/'))";
    page.promise::<String>("return (await fetch('/release')).text()", Vec::new()).await?;
    page.routed().await?;
    assert!(!page.script::<bool>(small, Vec::new()).await?, "a link names its model");
    Ok(())
}

async fn typing_while_another_model_downloads_is_routed_by_the_one_in_use(stage: &Stage) -> Result<()> {
    let server = Server::start(server::hosts(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=hello")).await?;
    page.routed().await?;
    let load = "window.answer = null;
        moescope.load(arguments[0]).then(() => window.answer = 'loaded', error => window.answer = error.message);";
    page.script::<()>(load, vec![json!(server.url("/waiting/"))]).await?;
    page.find("progress").await?;
    page.type_keys(" there").await?;
    let expected = cli::trace(stage.tools(), "main", "hello there", "cpu")?.ids();
    let view = page.wait("the text routed meanwhile", |view| view.ids() == expected).await?;
    assert_eq!(view.state, "loading", "the other model is on its way still");
    assert!(view.tokens.iter().all(|token| !token.experts.is_empty()));
    // Another load ends the one that waits for ever; both are answered.
    let name: String = page.promise("return (await moescope.load('dense')).name", Vec::new()).await?;
    assert_eq!(name, "dense");
    let answer: String = page.until("the first load's answer", "return window.answer", Vec::new()).await?;
    assert!(answer.contains("another model was asked for"), "{answer}");
    Ok(())
}

async fn a_generation_stopped_before_it_begins_leaves_the_page_ready(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    let before = page.routed().await?;
    let both = "const generate = () => dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', ctrlKey: true }));
        const traced = moescope.trace('The worker is busy with this. '.repeat(30));
        await new Promise(done => setTimeout(done));
        generate();
        await new Promise(done => setTimeout(done));
        generate();
        await traced;";
    page.promise::<()>(both, Vec::new()).await?;
    let view = page.wait("rest", |view| view.is_settled()).await?;
    assert!(view.tokens.len() <= before.tokens.len() + 2, "{} tokens", view.tokens.len());
    page.type_keys(" there").await?;
    page.wait("more", |view| view.is_settled() && view.text.ends_with(" there")).await?;
    Ok(())
}

/// A page with WebGPU chosen, whose worker runs `script` first.
async fn with_gpu(stage: &Stage, script: &'static str) -> Result<Page> {
    let site = server::instead_of(stage.tools(), "worker.js", Instead::After(script))?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::WEBGPU).await?;
    page.goto(&server.url("/?text=hello&backend=webgpu")).await?;
    Ok(page)
}

async fn on_the_cpu(stage: &Stage, page: &Page, what: &str) -> Result<()> {
    let view = page.routed().await?;
    assert!(view.backend.contains("CPU"), "{what}: {}", view.backend);
    assert_eq!(view.ids(), cli::trace(stage.tools(), "main", "hello", "cpu")?.ids(), "{what}");
    let notes = page.find("notes").await?.text().await?;
    assert!(notes.contains("Running on the CPU"), "{what}: {notes}");
    Ok(())
}

async fn a_chosen_webgpu_that_never_answers_gives_way_to_the_cpu(stage: &Stage) -> Result<()> {
    let adapter = "navigator.gpu.requestAdapter = () => new Promise(() => {});\n";
    let device = "GPUAdapter.prototype.requestDevice = () => new Promise(() => {});\n";
    for never in [adapter, device] {
        let page = with_gpu(stage, never).await?;
        on_the_cpu(stage, &page, never).await?;
        // While the page waits for the GPU, another load is answered at once.
        let start = Instant::now();
        let both = "const waiting = moescope.load('main', { backend: 'webgpu' }).catch(error => error.message);
            const { name } = await moescope.load('dense', { backend: 'cpu' });
            return [name, await waiting];";
        let (name, superseded): (String, String) = page.promise(both, Vec::new()).await?;
        assert_eq!(name, "dense");
        assert!(superseded.contains("another model"), "{superseded}");
        ensure!(start.elapsed() < Duration::from_secs(9), "it waited for the GPU");
    }
    Ok(())
}

async fn a_chosen_webgpu_that_refuses_gives_way_to_the_cpu(stage: &Stage) -> Result<()> {
    for refusal in [
        "navigator.gpu.requestAdapter = () => { throw new TypeError('no'); };\n",
        "navigator.gpu.requestAdapter = async () => { throw new DOMException('no', 'OperationError'); };\n",
        "navigator.gpu.requestAdapter = async () => null;\n",
        "navigator.gpu.requestAdapter = async () => undefined;\n",
        "GPUAdapter.prototype.requestDevice = () => { throw new TypeError('no'); };\n",
        "GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('no', 'OperationError'); };\n",
        "Object.defineProperty(navigator, 'gpu', { value: undefined });\n",
    ] {
        let page = with_gpu(stage, refusal).await?;
        on_the_cpu(stage, &page, refusal).await?;
    }
    // Browsers from before 2024 have no `info`; the GPU is used all the same.
    let page = with_gpu(stage, "delete GPUAdapter.prototype.info;\n").await?;
    let view = page.routed().await?;
    assert!(view.backend.contains("WebGPU"), "{}", view.backend);
    Ok(())
}
