//! `window.moescope`, for notebooks, embedding and automation.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::page::Page;
use serde_json::{Value, json};

tests![
    ready_tells_about_the_model,
    trace_is_the_command_lines_json,
    generate_is_repeatable_by_its_seed,
    load_changes_the_model_and_the_backend,
    load_takes_files,
    bad_arguments_reject_with_a_sentence,
];

async fn ready(stage: &Stage, visitor: Visitor, path: &str) -> Result<Page> {
    let page = stage.open(visitor, path).await?;
    page.routed().await?;
    Ok(page)
}

async fn ready_tells_about_the_model(stage: &Stage) -> Result<()> {
    for (visitor, path, backend) in [
        (Visitor::WEBGPU, "/?backend=webgpu", "webgpu"),
        (Visitor::WEBGPU, "/?backend=cpu", "cpu"),
        (Visitor::NO_WEBGPU, "/", "cpu"),
    ] {
        let page = ready(stage, visitor, path).await?;
        let info: Value = page.promise("return await window.moescope.ready;", Vec::new()).await?;
        assert_eq!(info["name"], "main");
        for figure in ["layers", "experts", "top_k", "parameters", "active_parameters"] {
            assert!(info[figure].as_u64().is_some_and(|number| number > 0), "{figure}: {info}");
        }
        let used: String = page.script("return window.moescope.backend();", Vec::new()).await?;
        assert_eq!(used, backend);
    }
    Ok(())
}

async fn trace_is_the_command_lines_json(stage: &Stage) -> Result<()> {
    let text = "impl Clone for Expert { } Der Hund schläft.";
    let expected = cli::trace(stage.tools(), "main", text, "cpu")?;
    for (visitor, path) in [(Visitor::WEBGPU, "/?backend=webgpu"), (Visitor::WEBGPU, "/?backend=cpu")] {
        let page = ready(stage, visitor, path).await?;
        let before = page.view().await?;
        let by_text: Value =
            page.promise("return await window.moescope.trace(arguments[0]);", vec![json!(text)]).await?;
        let by_ids: Value = page
            .promise(
                "return await window.moescope.trace(arguments[0], { logits: 'last' });",
                vec![json!(expected.ids())],
            )
            .await?;
        let vocabulary = by_ids["logits_last"].as_array().expect("logits were asked for").len();
        assert!(vocabulary > 256, "{vocabulary}");
        assert_eq!(by_text["schema"], 1);
        assert_eq!(by_text["layers"], by_ids["layers"]);
        let here: cli::Trace = serde_json::from_value(by_text)?;
        assert_eq!(here.ids(), expected.ids());
        for (here, there) in here.layers.iter().zip(&expected.layers) {
            assert_eq!(here.selected, there.selected);
            for (here, there) in here.router_logits.iter().flatten().zip(there.router_logits.iter().flatten()) {
                assert!((here - there).abs() < 1e-3, "{here} here, {there} there");
            }
        }
        assert_eq!(page.view().await?.tokens, before.tokens, "the page's own text stays as it is");
    }
    Ok(())
}

async fn generate_is_repeatable_by_its_seed(stage: &Stage) -> Result<()> {
    let page = ready(stage, Visitor::NO_WEBGPU, "/").await?;
    let call =
        "return await window.moescope.generate('The river', { tokens: 12, temperature: 1, seed: arguments[0] });";
    let first: Value = page.promise(call, vec![json!(1)]).await?;
    let again: Value = page.promise(call, vec![json!(1)]).await?;
    let other: Value = page.promise(call, vec![json!(2)]).await?;
    assert_eq!(first["ids"].as_array().map(Vec::len), Some(12));
    assert_eq!(first["ids"], again["ids"]);
    assert_ne!(first["ids"], other["ids"]);
    assert!(first["text"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(first["decode_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{}", first["decode_ms"]);
    assert!(first["prefill_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{}", first["prefill_ms"]);
    Ok(())
}

async fn load_changes_the_model_and_the_backend(stage: &Stage) -> Result<()> {
    let page = ready(stage, Visitor::WEBGPU, "/?backend=cpu&text=hello").await?;
    let before = page.view().await?;
    let source = stage.url("/models/main");
    let info: Value = page
        .promise("return await window.moescope.load(arguments[0], { backend: 'webgpu' });", vec![json!(source)])
        .await?;
    assert!(info["experts"].as_u64().is_some());
    let used: String = page.script("return window.moescope.backend();", Vec::new()).await?;
    assert_eq!(used, "webgpu");
    let after = page.routed().await?;
    assert_eq!((after.text, after.tokens), (before.text, before.tokens));
    Ok(())
}

async fn load_takes_files(stage: &Stage) -> Result<()> {
    let page = ready(stage, Visitor::NO_WEBGPU, "/?text=hello").await?;
    let before = page.view().await?;
    let info: Value = page
        .promise(
            "const { tokenizer_file = 'tokenizer.json' } = await (await fetch('models/main/config.json')).json();
             const files = await Promise.all(['config.json', 'model.safetensors', tokenizer_file].map(async path =>
               new File([await (await fetch('models/main/' + path)).blob()], path.split('/').at(-1))));
             return await window.moescope.load(files);",
            Vec::new(),
        )
        .await?;
    assert!(info["experts"].as_u64().is_some());
    let after = page.routed().await?;
    assert_eq!((after.text, after.tokens), (before.text, before.tokens));
    Ok(())
}

async fn bad_arguments_reject_with_a_sentence(stage: &Stage) -> Result<()> {
    let page = ready(stage, Visitor::NO_WEBGPU, "/").await?;
    let before = page.view().await?;
    for (call, part) in [
        ("trace('')", "empty"),
        ("trace([])", "empty"),
        ("trace([999999])", "999999"),
        ("trace([-1])", "whole numbers"),
        ("trace(null)", "text"),
        ("generate('', { tokens: 4 })", "empty"),
        ("load('no/such/model')", "no/such/model"),
    ] {
        stage.expect_in_console("404");
        let reason = page
            .promise::<Value>(&format!("return await window.moescope.{call};"), Vec::new())
            .await
            .expect_err(call)
            .to_string();
        assert!(reason.contains(part), "{call}: {reason}");
    }
    assert_eq!(page.view().await?.tokens, before.tokens);
    Ok(())
}
