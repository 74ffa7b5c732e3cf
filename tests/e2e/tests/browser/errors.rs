//! Bad input gives one clear message, and the page keeps working.

use crate::harness::{Stage, tests};
use crate::links::encoded;
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use moescope_e2e::{cli, deep};
use serde_json::json;

tests![
    a_program_that_broke_off_is_said,
    a_model_that_is_not_there,
    a_model_name_that_the_site_has_not,
    a_model_address_that_answers_with_a_page,
    a_model_whose_file_was_cut,
    a_model_whose_connection_breaks_off_goes_on,
    a_model_of_another_shape_is_refused_before_it_is_there,
    a_model_in_more_shards_than_connections,
    a_model_of_another_site,
    a_model_of_another_site_that_forbids_it,
    a_failed_load_keeps_the_model_in_use,
    a_model_larger_than_memory_leaves_the_page_alive,
    nonsense_in_the_address_is_ignored_and_said,
    an_empty_text,
    a_text_beyond_the_context,
    control_characters,
    emoji,
    right_to_left,
    markup_in_the_text_stays_text,
    a_paste_of_a_megabyte_leaves_the_page_alive_and_the_text_whole,
];

/// A page whose own program has broken off does not answer any more: the start script says so.
async fn a_program_that_broke_off_is_said(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello").await?;
    page.routed().await?;
    // What a browser reports when a program traps; of an error in a script of the driver it would hide the reason.
    let break_off = "const error = new WebAssembly.RuntimeError('unreachable');
        dispatchEvent(new ErrorEvent('error', { error }));";
    page.script::<()>(break_off, Vec::new()).await?;
    let view = page.wait("the message", |view| view.state == "error").await?;
    assert!(view.error.contains("broken off (unreachable)") && view.error.contains("Load the page again"));
    Ok(())
}

/// Opens the page with a model that cannot be loaded; returns the message.
async fn failed_start(stage: &Stage, model: &str) -> Result<String> {
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/?model={}", encoded(model))).await?;
    let view = page.wait("an error", |view| view.state == "error" && !view.error.is_empty()).await?;
    assert!(view.tokens.is_empty(), "tokens without a model");
    // No model is being loaded, and there is no context for which tokens could be counted.
    assert_eq!(page.find("model-select").await?.text().await?.trim(), "no model yet");
    assert_eq!(page.find("token-count").await?.text().await?, "");
    Ok(view.error)
}

async fn a_model_that_is_not_there(stage: &Stage) -> Result<()> {
    stage.expect_in_console("404");
    let error = failed_start(stage, &stage.url("/nothing/here")).await?;
    assert!(error.contains("/nothing/here") && error.contains("404"), "{error}");
    Ok(())
}

async fn a_model_name_that_the_site_has_not(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?model=no-such-model").await?;
    page.routed().await?;
    let note = page.find("notes").await?.text().await?;
    assert!(note.contains("no-such-model") && note.contains("main"), "{note}");
    Ok(())
}

async fn a_model_address_that_answers_with_a_page(stage: &Stage) -> Result<()> {
    let error = failed_start(stage, &stage.url("/broken/html")).await?;
    assert!(error.contains("/broken/html") && error.contains("web page"), "{error}");
    Ok(())
}

async fn a_model_whose_file_was_cut(stage: &Stage) -> Result<()> {
    let error = failed_start(stage, &stage.url("/broken/cut")).await?;
    assert!(error.contains("model.safetensors"), "{error}");
    Ok(())
}

async fn a_model_whose_connection_breaks_off_goes_on(stage: &Stage) -> Result<()> {
    let model = stage.url("/broken/off");
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/?text=hello&model={}", encoded(&model))).await?;
    let view = page.routed().await?;
    assert_eq!(view.ids(), cli::trace(stage.tools(), "main", "hello", "cpu")?.ids());
    Ok(())
}

async fn a_model_of_another_shape_is_refused_before_it_is_there(stage: &Stage) -> Result<()> {
    let error = failed_start(stage, &stage.url("/broken/endless")).await?;
    assert!(error.contains("has shape") && error.contains("config.json asks for"), "{error}");
    Ok(())
}

async fn a_model_in_more_shards_than_connections(stage: &Stage) -> Result<()> {
    stage.expect_in_console("404");
    let model = stage.url("/shards");
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/?text=hello&model={}", encoded(&model))).await?;
    let view = page.routed().await?;
    assert_eq!(view.ids(), cli::trace(stage.tools(), "main", "hello", "cpu")?.ids());
    Ok(())
}

async fn a_model_of_another_site(stage: &Stage) -> Result<()> {
    let other = Server::start(server::other_origin(stage.tools(), true)?).await?;
    let address = other.url("/models/main");
    let page = stage.open(Visitor::NO_WEBGPU, &format!("/?text=hello&model={}", encoded(&address))).await?;
    let view = page.routed().await?;
    assert_eq!(view.ids(), cli::trace(stage.tools(), "main", "hello", "cpu")?.ids());
    Ok(())
}

async fn a_model_of_another_site_that_forbids_it(stage: &Stage) -> Result<()> {
    stage.expect_in_console("CORS");
    stage.expect_in_console("ERR_FAILED");
    let other = Server::start(server::other_origin(stage.tools(), false)?).await?;
    let error = failed_start(stage, &other.url("/models/main")).await?;
    assert!(error.contains(&other.url("/models/main")), "{error}");
    Ok(())
}

async fn a_failed_load_keeps_the_model_in_use(stage: &Stage) -> Result<()> {
    stage.expect_in_console("404");
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    let before = page.routed().await?;
    let (page_instead, cut) = (stage.url("/broken/html"), stage.url("/broken/cut"));
    for (source, names) in
        [("no-such-model", "no-such-model"), (&page_instead, &page_instead), (&cut, "model.safetensors")]
    {
        let reason = page
            .promise::<()>("await window.moescope.load(arguments[0])", vec![json!(source)])
            .await
            .expect_err("this model cannot be loaded")
            .to_string();
        let view = page.wait("the error", |view| !view.error.is_empty()).await?;
        assert!(reason.contains(names), "{reason}");
        assert!(view.error.contains(names), "{}", view.error);
        assert_eq!(view.tokens, before.tokens, "the old routing stays");
    }
    page.type_keys(" more").await?;
    page.wait("the old model at work", |view| view.tokens.len() > before.tokens.len() && view.is_settled()).await?;
    Ok(())
}

async fn a_model_larger_than_memory_leaves_the_page_alive(stage: &Stage) -> Result<()> {
    // Messages of a program that ran out of memory.
    stage.expect_in_console("RefCell already borrowed");
    stage.expect_in_console("unreachable");
    // 111 MB: enough for the main model, but not for five times its layers.
    let site = Server::start(server::site(stage.tools())?.merge(deep::router(stage.tools())?)).await?;
    let page = stage.browser(Visitor { pages: Some(1700), ..Visitor::NO_WEBGPU }).await?;
    page.goto(&site.url("/?text=hello")).await?;
    let before = page.routed().await?;
    let load = async |backend: &str| {
        let load = "await window.moescope.load(arguments[0], { backend: arguments[1] })";
        let loaded = page.promise::<()>(load, vec![json!(site.url(deep::PATH)), json!(backend)]).await;
        loaded.expect_err("there is no room for this model").to_string()
    };
    let refused = load("cpu").await;
    assert!(refused.contains("need 145 MB of memory, more than there is"), "{refused}");
    let view = page.wait("the error", |view| view.error.contains("MB of memory")).await?;
    assert_eq!(view.tokens, before.tokens);
    // The memory for rounded weights is not known before loading.
    let refused = load("cpu-int8").await;
    assert!(refused.contains("the engine stopped"), "{refused}");
    let view = page.wait("the model that was in use", |view| view.is_settled() && view.tokens == before.tokens).await?;
    assert_eq!((view.text.as_str(), view.error.as_str()), ("hello", ""));
    let note = page.find("notes").await?.text().await?;
    assert!(note.contains("more memory than the browser gives"), "{note}");
    page.type_keys(" there").await?;
    page.wait("more of the text", |view| view.is_settled() && view.tokens.len() > before.tokens.len()).await?;
    Ok(())
}

async fn nonsense_in_the_address_is_ignored_and_said(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&layer=seven&backend=abacus&unknown=1").await?;
    let view = page.routed().await?;
    assert_eq!(view.text, "hello");
    let shown: String = page.script("return document.body.innerText;", Vec::new()).await?;
    assert!(shown.contains("seven") && shown.contains("abacus"), "{shown}");
    let page = stage.open(Visitor::NO_WEBGPU, "/?text=hello&layer=99").await?;
    page.routed().await?;
    let shown: String = page.script("return document.body.innerText;", Vec::new()).await?;
    assert!(shown.contains("99"), "{shown}");
    Ok(())
}

async fn an_empty_text(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, "/").await?;
    let before = page.routed().await?;
    page.paste("").await?;
    let view = page.wait("no tokens", |view| view.tokens.is_empty() && view.state == "ready").await?;
    assert!(view.error.is_empty(), "{}", view.error);
    page.paste(&before.text).await?;
    let after = page.routed().await?;
    assert_eq!(after.tokens, before.tokens);
    Ok(())
}

async fn a_text_beyond_the_context(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    let text = "All work and no play makes Jack a dull boy. ".repeat(400);
    page.paste(&text).await?;
    let context = context(stage)?;
    let view = page.wait("a full context", |view| view.is_settled() && view.tokens.len() == context).await?;
    assert_eq!(view.text, text, "the text stays whole");
    let shown: String = page.script("return document.body.innerText;", Vec::new()).await?;
    let plain = shown.replace([',', '\u{a0}', '\u{202f}'], "");
    assert!(plain.contains(&context.to_string()), "the page should name the context of {context} tokens: {shown}");
    Ok(())
}

/// The shipped model's context in tokens.
fn context(stage: &Stage) -> Result<usize> {
    let config = std::fs::read_to_string(stage.tools().model("main").join("config.json"))?;
    let config: serde_json::Value = serde_json::from_str(&config)?;
    Ok(usize::try_from(config["max_position_embeddings"].as_u64().expect("a context"))?)
}

async fn control_characters(stage: &Stage) -> Result<()> {
    routes_like_the_command_line(stage, "a\tb\u{1}\u{7}\u{1b}[31mred\u{7f}\r\nnext\u{200b}\u{feff}\u{fffd}end").await
}

async fn emoji(stage: &Stage) -> Result<()> {
    routes_like_the_command_line(stage, "👩🏽‍🚀 flies 🚀 to 🇩🇪 and back 👍🏿🫠").await
}

async fn right_to_left(stage: &Stage) -> Result<()> {
    routes_like_the_command_line(stage, "שלום עולם, hello, مرحبا بالعالم 123").await
}

async fn markup_in_the_text_stays_text(stage: &Stage) -> Result<()> {
    let text = "<img src=x onerror=alert(1)><script>document.title='taken'</script>&amp;";
    let page = routes(stage, text).await?;
    let title: String = page.script("return document.title;", Vec::new()).await?;
    assert_ne!(title, "taken");
    let images: usize = page.script("return document.querySelectorAll('img').length;", Vec::new()).await?;
    assert_eq!(images, 0);
    Ok(())
}

async fn routes_like_the_command_line(stage: &Stage, text: &str) -> Result<()> {
    routes(stage, text).await.map(drop)
}

/// Pastes a text and compares the page's tokens with the command line's; no token may show a `U+FFFD` that is not in
/// the text.
async fn routes(stage: &Stage, text: &str) -> Result<Page> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    page.paste(text).await?;
    // A text box changes line ends; the text that it holds counts.
    let held: String =
        page.script("return document.querySelector('[data-testid=text-input]').value;", Vec::new()).await?;
    let trace = cli::trace(stage.tools(), "main", &held, "cpu")?;
    let view = page.wait("the same ids", |view| view.is_settled() && view.ids() == trace.ids()).await?;
    let layer = view.layer.expect("one layer is shown");
    assert_eq!(view.experts(), trace.layer(layer).selected);
    let shown: String = page
        .script(
            "return [...document.querySelectorAll('[data-testid=token]')].map(t => t.innerText).join(' ');",
            Vec::new(),
        )
        .await?;
    assert!(shown.matches('\u{fffd}').count() <= text.matches('\u{fffd}').count(), "{shown}");
    Ok(page)
}

async fn a_paste_of_a_megabyte_leaves_the_page_alive_and_the_text_whole(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    // Observe frames and long tasks from before the paste to the end of its routing.
    page.script::<()>(
        r#"
        window.longest = 0;
        new PerformanceObserver(list => {
          for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
        }).observe({ entryTypes: ["longtask"] });
        "#,
        Vec::new(),
    )
    .await?;
    let line = "The quick brown fox jumps over the lazy dog; 0123456789. ";
    let text: String = line.chars().cycle().take(1 << 20).collect();
    page.paste(&text).await?;
    let context = context(stage)?;
    page.wait("a full context", |view| view.is_settled() && view.tokens.len() == context).await?;
    let same: bool = page
        .script("return document.querySelector('[data-testid=text-input]').value === arguments[0];", vec![json!(text)])
        .await?;
    assert!(same, "the text was lost or cut");
    let longest: f64 = page.script("return window.longest;", Vec::new()).await?;
    println!("longest task on the page's thread after a paste of 1 MB: {longest:.0} ms");
    assert!(longest < 2000.0, "the page stood still for {longest:.0} ms");
    // The page still answers: a short text is routed as usual.
    page.paste("hello").await?;
    page.wait("the short text routed", |view| view.is_settled() && view.text == "hello" && view.tokens.len() < 6)
        .await?;
    Ok(())
}
