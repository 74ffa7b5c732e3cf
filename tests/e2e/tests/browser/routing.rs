//! The page routes what is typed, with the same results as the native command line.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::{Page, View};
use moescope_e2e::server::{self, Instead, Server};
use std::collections::BTreeSet;

tests![
    opens_on_the_first_example_already_routed,
    typing_adds_tokens_and_moves_the_load_bars,
    choosing_a_layer_shows_its_experts,
    webgpu_says_what_the_command_line_says,
    the_cpu_says_what_the_command_line_says,
    weights_of_8_bits_say_what_the_command_line_says,
    the_cpu_answers_while_the_gpu_is_timed,
    a_software_adapter_is_not_taken_unasked,
    the_kernels_of_the_gpu_are_timed,
    works_without_webgpu_and_says_so,
    webgpu_asked_for_where_there_is_none_gives_way_to_the_cpu_which_says_so,
];

async fn opens_on_the_first_example_already_routed(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/").await?;
    let view = page.routed().await?;
    let examples = std::fs::read_to_string(stage.tools().versioned("examples.json")?)?;
    let examples: serde_json::Value = serde_json::from_str(&examples)?;
    assert_eq!(view.text, examples[0]["text"].as_str().expect("the first example has a text"));
    assert!(view.tokens.len() > 20, "{} tokens", view.tokens.len());
    assert!(view.tokens.iter().enumerate().all(|(position, token)| token.position == position));
    let seen: BTreeSet<usize> = view.experts().into_iter().flatten().collect();
    assert!(seen.len() > 2, "a mixed text should reach several experts, not only {seen:?}");
    assert_loads_follow_from_experts(&view);
    Ok(())
}

/// Checks that the bars are the shares of the assignments that the tokens show.
fn assert_loads_follow_from_experts(view: &View) {
    let assignments: Vec<usize> = view.experts().into_iter().flatten().collect();
    for (expert, bar) in view.bars.iter().enumerate() {
        assert_eq!(bar.expert, expert);
        let count = assignments.iter().filter(|&&assigned| assigned == expert).count();
        let load = count as f64 / assignments.len() as f64;
        assert!((bar.load - load).abs() < 1e-4, "expert {expert}: the bar says {}, the tokens {load}", bar.load);
    }
}

async fn typing_adds_tokens_and_moves_the_load_bars(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/").await?;
    let before = page.routed().await?;
    page.type_keys(" 1 + 1 = 2").await?;
    let after = page
        .wait("more tokens", |view| {
            view.is_settled() && view.text.ends_with("2") && view.ids().len() > before.ids().len()
        })
        .await?;
    // The tokenizer may join the old end with the new text; the tokens before it stay.
    let kept = before.tokens.len() - 2;
    assert_eq!(after.tokens[..kept], before.tokens[..kept]);
    assert_ne!(after.bars, before.bars);
    assert_loads_follow_from_experts(&after);
    Ok(())
}

async fn choosing_a_layer_shows_its_experts(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let view = page.routed().await?;
    let trace = cli::trace(stage.tools(), "main", &view.text, "cpu")?;
    for layer in trace.layers.iter().rev() {
        page.choose_layer(layer.layer).await?;
        page.wait(&format!("the experts of layer {}", layer.layer), |view| view.experts() == layer.selected).await?;
    }
    Ok(())
}

async fn webgpu_says_what_the_command_line_says(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?backend=webgpu").await?;
    let view = page.routed().await?;
    assert!(view.backend.contains("WebGPU"), "{}", view.backend);
    agrees_with_the_command_line(stage, &page).await
}

async fn the_cpu_says_what_the_command_line_says(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?backend=cpu").await?;
    let view = page.routed().await?;
    assert!(view.backend.contains("CPU"), "{}", view.backend);
    agrees_with_the_command_line(stage, &page).await
}

/// The choice is made in the badge's menu, shown in the badge, and kept in the link.
async fn weights_of_8_bits_say_what_the_command_line_says(stage: &Stage) -> Result<()> {
    let text = "The river was wide and slow; let mut river = Vec::new();";
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    page.routed().await?;
    page.choose("backend-choice", "cpu-int8").await?;
    page.wait("the engine with 8 bits", |view| view.is_settled() && view.backend.contains("8 bits")).await?;
    page.paste(text).await?;
    let rounded = cli::trace(stage.tools(), "main", text, "cpu-int8")?;
    for layer in &rounded.layers {
        page.choose_layer(layer.layer).await?;
        let is_there =
            |view: &View| view.is_settled() && view.ids() == rounded.ids() && view.layer == Some(layer.layer);
        let view = page.wait("the text", is_there).await?;
        assert_same_experts(&view.experts(), layer, "the page", text);
    }
    let logits = "return (await moescope.trace(arguments[0], { logits: 'last' })).logits_last;";
    let here: Vec<f64> = page.promise(logits, vec![text.into()]).await?;
    let exact = stage.open(Visitor::NO_WEBGPU, "/?backend=cpu").await?;
    exact.routed().await?;
    let there: Vec<f64> = exact.promise(logits, vec![text.into()]).await?;
    assert_ne!(here, there, "weights of 8 bits are other weights");
    page.wait_for_address(|address| address.contains("backend=cpu-int8")).await?;
    Ok(())
}

/// Compares ids, experts and loads with the native engines, for every example and every layer.
async fn agrees_with_the_command_line(stage: &Stage, page: &Page) -> Result<()> {
    let examples = std::fs::read_to_string(stage.tools().versioned("examples.json")?)?;
    let examples: Vec<serde_json::Value> = serde_json::from_str(&examples)?;
    assert!(!examples.is_empty());
    for example in &examples {
        let text = example["text"].as_str().expect("an example has a text");
        page.paste(text).await?;
        let cpu = cli::trace(stage.tools(), "main", text, "cpu")?;
        let gpu = cli::trace(stage.tools(), "main", text, "gpu")?;
        for layer in &cpu.layers {
            assert_same_experts(&gpu.layer(layer.layer).selected, layer, "the native GPU engine", text);
            page.choose_layer(layer.layer).await?;
            let view = page
                .wait(&format!("layer {} of {text:?}", layer.layer), |view| {
                    view.is_settled() && view.text == text && view.ids() == cpu.ids() && view.layer == Some(layer.layer)
                })
                .await?;
            assert_same_experts(&view.experts(), layer, "the page", text);
            assert_eq!(view.bars.len(), layer.balance.load.len());
            for (bar, load) in view.bars.iter().zip(&layer.balance.load) {
                assert!((bar.load - load).abs() < 1e-4, "expert {}: {} here, {load} there", bar.expert, bar.load);
            }
        }
    }
    Ok(())
}

/// Checks that the experts are the same in the same order, wherever the router's scores differ by more than rounding.
fn assert_same_experts(selected: &[Vec<usize>], layer: &cli::Layer, who: &str, text: &str) {
    assert_eq!(selected.len(), layer.selected.len());
    for (position, (here, there)) in selected.iter().zip(&layer.selected).enumerate() {
        if here != there {
            let mut scores = layer.router_logits[position].clone();
            scores.sort_by(|a, b| b.total_cmp(a));
            let closest = scores.windows(2).take(there.len()).map(|pair| pair[0] - pair[1]).fold(f64::MAX, f64::min);
            assert!(
                closest < 1e-4,
                "token {position} of {text:?} in layer {}: {who} picks {here:?}, the native CPU engine {there:?}",
                layer.layer
            );
        }
    }
}

/// What makes the software adapter of these browsers look like a real GPU.
const REAL: &str = "if (self.GPUAdapterInfo) {
  Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false });
}
";

/// Where there is a GPU, the CPU answers while its shaders compile; then the GPU goes on with the same trace.
async fn the_cpu_answers_while_the_gpu_is_timed(stage: &Stage) -> Result<()> {
    let site = server::instead_of(stage.tools(), "worker.js", Instead::After(REAL))?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::WEBGPU).await?;
    page.goto(&server.url("/")).await?;
    let before = page.routed().await?;
    let timed = "return !!document.querySelector('[data-testid=timed]')";
    page.until::<bool>("the measurement", timed, Vec::new()).await?;
    assert_eq!(page.routed().await?.tokens, before.tokens);
    page.type_keys(" more").await?;
    let more = page.wait("more tokens", |view| view.is_settled() && view.tokens.len() > before.tokens.len()).await?;
    let kept = before.tokens.len() - 2;
    assert_eq!(more.tokens[..kept], before.tokens[..kept]);
    Ok(())
}

/// A software adapter is slower than the CPU engine: it runs only where it is asked for.
async fn a_software_adapter_is_not_taken_unasked(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    let why = "return document.querySelector('.why')?.textContent ?? null";
    let why: String = page.until("the reason", why, Vec::new()).await?;
    assert!(why.contains("CPU") && why.contains("emulated on the CPU"), "{why}");
    assert!(page.view().await?.backend.contains("CPU"));
    let notes = "return !!document.querySelector('[data-testid=notes]')?.textContent";
    assert!(!page.script::<bool>(notes, Vec::new()).await?, "only the badge says it");
    page.choose("backend-choice", "webgpu").await?;
    page.wait("the adapter asked for", |view| view.is_settled() && view.backend.contains("WebGPU")).await?;
    Ok(())
}

async fn the_kernels_of_the_gpu_are_timed(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/?backend=webgpu&text=The%20river%20was%20wide.").await?;
    let before = page.routed().await?;
    let open = "document.querySelector('[data-testid=time-kernels]').click();";
    page.script::<()>(open, Vec::new()).await?;
    let rows = "const rows = [...document.querySelectorAll('[data-testid=kernels] tr')];
        return rows.length > 0 && rows.map(row => [...row.children].map(cell => cell.textContent));";
    let rows: Vec<[String; 3]> = page.until("the times", rows, Vec::new()).await?;
    assert!(rows[0][1].starts_with(&before.tokens.len().to_string()), "{rows:?}");
    let ms = |row: &[String; 3], column: usize| row[column].parse::<f64>().unwrap_or(0.0);
    for kernel in ["qkv", "attention", "linear", "rms_norm", "gate", "expert_ffn", "combine", "lm_head", "embed"] {
        assert_eq!(rows.iter().filter(|row| row[0].starts_with(&format!("{kernel} \u{d7}"))).count(), 1, "{rows:?}");
    }
    let (all, kernels) = rows[1..].split_last().expect("kernels and a sum");
    for column in [1, 2] {
        let sum: f64 = kernels.iter().map(|row| ms(row, column)).sum();
        assert!(sum > 0.0 && (sum - ms(all, column)).abs() < 0.1, "{rows:?}");
    }
    page.type_keys(" More").await?;
    let after = page.wait("more", |view| view.is_settled() && view.tokens.len() > before.tokens.len()).await?;
    assert_eq!(after.ids(), cli::trace(stage.tools(), "main", &after.text, "cpu")?.ids());
    Ok(())
}

async fn works_without_webgpu_and_says_so(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let view = page.routed().await?;
    let adapter: bool = page.promise("return !!(await navigator.gpu?.requestAdapter());", Vec::new()).await?;
    assert!(!adapter, "this browser should have no WebGPU adapter");
    assert!(view.backend.contains("CPU"), "{}", view.backend);
    assert_ne!(view.state, "error");
    page.type_keys(" more").await?;
    page.wait("more tokens", |later| later.is_settled() && later.tokens.len() > view.tokens.len()).await?;
    Ok(())
}

async fn webgpu_asked_for_where_there_is_none_gives_way_to_the_cpu_which_says_so(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?backend=webgpu").await?;
    let view = page.routed().await?;
    assert!(view.backend.contains("CPU") && view.error.is_empty(), "{view:?}");
    let notes = page.find("notes").await?.text().await?;
    assert!(notes.contains("Running on the CPU") && notes.contains("WebGPU"), "{notes}");
    Ok(())
}
