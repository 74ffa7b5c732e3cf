//! The core of the page in Firefox and in WebKitGTK: it opens, routes as the command line does, follows the typing,
//! changes the routing, changes the model and plays a story.

use crate::harness::{Stage, Test};
use anyhow::Result;
use moescope_e2e::cli;
use moescope_e2e::other_browsers::Other;
use moescope_e2e::page::{Page, View};

/// Each of these tests in each of the browsers.
macro_rules! in_each {
    ($($test:ident),* $(,)?) => {
        /// The tests of this module.
        pub fn tests() -> Vec<Test> {
            vec![$(
                Test {
                    name: concat!("others::firefox::", stringify!($test)),
                    body: |stage| Box::pin($test(stage, Other::Firefox)),
                    in_other: true,
                },
                Test {
                    name: concat!("others::webkit::", stringify!($test)),
                    body: |stage| Box::pin($test(stage, Other::WebKit)),
                    in_other: true,
                },
            )*
            Test {
                name: "others::firefox::webgpu_says_what_the_command_line_says",
                body: |stage| Box::pin(webgpu_says_what_the_command_line_says(stage)),
                in_other: true,
            }]
        }
    };
}

in_each![
    opens_and_says_what_the_command_line_says,
    webgpu_that_is_missing_gives_way_to_the_cpu_and_the_page_says_so,
    typing_routes_what_is_new,
    scripts_trace_and_generate,
    an_expert_is_switched_off_and_on,
    another_model_opens,
    a_story_opens_by_its_link,
];

async fn open(stage: &Stage, other: Other, path: &str) -> Result<Page> {
    let page = stage.other_browser(other).await?;
    page.goto(&stage.url(path)).await?;
    Ok(page)
}

/// The experts that the page shows in its layer are those of the command line.
async fn agrees_with_the_command_line(stage: &Stage, page: &Page) -> Result<()> {
    let view = page.routed().await?;
    let trace = cli::trace(stage.tools(), "main", &view.text, "cpu")?;
    assert_eq!(view.ids(), trace.tokens.iter().map(|token| token.id).collect::<Vec<_>>());
    let layer = view.layer.expect("one layer is shown");
    assert_eq!(view.experts(), trace.layers[layer].selected, "layer {layer}");
    Ok(())
}

async fn opens_and_says_what_the_command_line_says(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/").await?;
    agrees_with_the_command_line(stage, &page).await?;
    let view = page.view().await?;
    assert!(view.backend.contains("CPU"), "{}", view.backend);
    assert_eq!(view.error, "");
    Ok(())
}

async fn webgpu_says_what_the_command_line_says(stage: &Stage) -> Result<()> {
    let page = open(stage, Other::FirefoxWebGpu, "/?backend=webgpu").await?;
    let view = page.routed().await?;
    assert!(view.backend.contains("WebGPU"), "{}: {}", view.backend, view.error);
    agrees_with_the_command_line(stage, &page).await
}

async fn webgpu_that_is_missing_gives_way_to_the_cpu_and_the_page_says_so(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/?backend=webgpu").await?;
    page.routed().await?;
    let notes = page.find("notes").await?.text().await?;
    assert!(notes.contains("Running on the CPU") && notes.contains("WebGPU"), "{notes}");
    agrees_with_the_command_line(stage, &page).await
}

async fn typing_routes_what_is_new(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/").await?;
    let before = page.routed().await?;
    page.type_keys(" let x = 2;").await?;
    let grown = |view: &View| view.is_settled() && view.text.ends_with("2;") && view.tokens.len() > before.tokens.len();
    page.wait("the typed tokens", grown).await?;
    agrees_with_the_command_line(stage, &page).await?;
    page.choose_layer(0).await?;
    page.wait("layer 0", |view| view.layer == Some(0) && view.is_settled()).await?;
    agrees_with_the_command_line(stage, &page).await
}

async fn scripts_trace_and_generate(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/").await?;
    page.routed().await?;
    let call = "await moescope.ready;
                const trace = await moescope.trace('The river was wide');
                const more = await moescope.generate('The river', { tokens: 5, temperature: 0 });
                return [trace.tokens.map(token => token.id), more.ids.length];";
    let (ids, generated): (Vec<u32>, usize) = page.promise(call, Vec::new()).await?;
    let trace = cli::trace(stage.tools(), "main", "The river was wide", "cpu")?;
    assert_eq!(ids, trace.tokens.iter().map(|token| token.id).collect::<Vec<_>>());
    assert!(generated >= 5, "{generated} ids");
    Ok(())
}

async fn an_expert_is_switched_off_and_on(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/").await?;
    let before = page.routed().await?;
    let layer = before.layer.expect("one layer is shown");
    let expert = before.tokens[0].experts[0];
    page.promise::<()>(
        "await moescope.policy({ layers: [arguments[0]], off: [arguments[1]] })",
        vec![layer.into(), expert.into()],
    )
    .await?;
    let off = |view: &View| view.is_settled() && view.tokens.iter().all(|token| !token.experts.contains(&expert));
    page.wait("no token at the expert that is off", off).await?;
    page.until::<bool>("the change bar", "return !!document.querySelector('[data-testid=change-bar]')", Vec::new())
        .await?;
    page.click("policy-back").await?;
    page.wait("the model's own routing", |view| view.is_settled() && view.experts() == before.experts()).await?;
    Ok(())
}

async fn another_model_opens(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/?model=switch").await?;
    let view = page.routed().await?;
    assert!(view.tokens.iter().all(|token| token.experts.len() <= 1), "a switch sends a token to one expert");
    let trace = cli::trace(stage.tools(), "switch", &view.text, "cpu")?;
    assert_eq!(view.ids(), trace.tokens.iter().map(|token| token.id).collect::<Vec<_>>());
    Ok(())
}

async fn a_story_opens_by_its_link(stage: &Stage, other: Other) -> Result<()> {
    let page = open(stage, other, "/?story=one-word").await?;
    page.routed().await?;
    let next = "return !!document.querySelector('[data-testid=story-next]')";
    page.until::<bool>("the story's first step", next, Vec::new()).await?;
    page.click("story-next").await?;
    page.routed().await?;
    Ok(())
}
