//! A link opens the same view.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::cli;
use moescope_e2e::server::{self, SUB_PATH, Server};

tests![
    a_link_brings_back_text_layer_and_model,
    the_address_follows_the_view,
    the_site_works_in_a_sub_path,
    the_host_is_never_sent_the_text,
    a_link_that_differs_in_its_text_only_is_followed,
    a_link_pasted_over_the_open_page_brings_its_view,
    a_link_for_others_leaves_the_choice_of_the_engine_to_them,
];

const TEXT: &str = "let x = 1; // größer & kleiner? 100%";

async fn a_link_brings_back_text_layer_and_model(stage: &Stage) -> Result<()> {
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    let trace = cli::trace(stage.tools(), "main", TEXT, "cpu")?;
    for layer in [0, 3] {
        page.goto(&stage.url(&format!("/?text={}&layer={layer}&model=main&backend=cpu", encoded(TEXT)))).await?;
        let view = page.routed().await?;
        assert_eq!(view.text, TEXT);
        assert_eq!(view.ids(), trace.ids());
        assert_eq!(view.experts(), trace.layer(layer).selected);
    }
    Ok(())
}

async fn the_address_follows_the_view(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/").await?;
    page.routed().await?;
    page.paste(TEXT).await?;
    page.choose_layer(0).await?;
    let before =
        page.wait("the text routed", |view| view.is_settled() && view.text == TEXT && view.layer == Some(0)).await?;
    let address = page.wait_for_address(|address| address.contains("text=") && address.contains("layer=0")).await?;
    let again = stage.browser(Visitor::NO_WEBGPU).await?;
    again.goto(&address).await?;
    let after = again.routed().await?;
    assert_eq!((after.text, after.tokens, after.layer), (before.text, before.tokens, before.layer));
    Ok(())
}

async fn the_site_works_in_a_sub_path(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::WEBGPU, &format!("{SUB_PATH}/?text=hello&backend=cpu")).await?;
    let view = page.routed().await?;
    assert_eq!(view.text, "hello");
    // No file may come from the root, which has the same files.
    let outside: Vec<String> = page
        .script(
            "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)
               .filter(path => !path.startsWith(arguments[0]));",
            vec![SUB_PATH.into()],
        )
        .await?;
    assert_eq!(outside, Vec::<String>::new());
    Ok(())
}

async fn the_host_is_never_sent_the_text(stage: &Stage) -> Result<()> {
    let (site, addresses) = server::listening(stage.tools())?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/")).await?;
    page.routed().await?;
    // In a query this text would take 8,550 bytes, which hosts reject.
    let text = "秘密".repeat(475);
    page.paste(&text).await?;
    page.wait_for_address(|address| address.contains("#/?text=%E7%A7%98")).await?;
    page.script::<()>("localStorage.clear(); window.before = true;", Vec::new()).await?;
    page.browser().refresh().await?;
    page.until::<bool>("the page again", "return !window.before", Vec::new()).await?;
    assert_eq!(page.routed().await?.text, text);
    let addresses = addresses.lock().expect("no panic holds it").clone();
    assert!(addresses.len() > 10, "{addresses:?}");
    let told: Vec<_> =
        addresses.iter().filter(|address| address.contains("%E7%A7%98") || address.len() > 500).collect();
    assert!(told.is_empty(), "{told:?}");
    Ok(())
}

async fn a_link_that_differs_in_its_text_only_is_followed(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#text=one").await?;
    assert_eq!(page.routed().await?.text, "one");
    page.goto(&stage.url("/#text=two%0D%0Alines")).await?;
    page.wait("the other text", |view| view.is_settled() && view.text == "two\nlines").await?;
    // The text box and the router both use line feeds.
    let routed = "return [...document.querySelectorAll('[data-testid=token]')].map(token => +token.dataset.tokenId);";
    let ids: Vec<u32> = page.script(routed, Vec::new()).await?;
    assert_eq!(ids, cli::trace(stage.tools(), "main", "two\nlines", "cpu")?.ids());
    Ok(())
}

/// All of a link is behind `#`: the browser loads nothing when it changes.
async fn a_link_pasted_over_the_open_page_brings_its_view(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?layer=1&text=one").await?;
    page.routed().await?;
    // What the page would write into its address in a moment must not take the link's place.
    page.type_keys(" more").await?;
    page.goto(&stage.url("/#/?layer=4&text=two&colour=surprise&model=switch")).await?;
    let view = page.wait("the other view", |view| view.is_settled() && view.text == "two").await?;
    assert_eq!(view.layer, Some(4));
    assert_eq!(view.ids(), cli::trace(stage.tools(), "switch", "two", "cpu")?.ids());
    page.wait_for_address(|address| address.contains("colour=surprise") && address.contains("model=switch")).await?;
    Ok(())
}

/// `backend=cpu` is how this visitor's computer runs the model.
async fn a_link_for_others_leaves_the_choice_of_the_engine_to_them(stage: &Stage) -> Result<()> {
    let page = stage.open(Visitor::NO_WEBGPU, "/#/?layer=1&backend=cpu&text=one").await?;
    page.routed().await?;
    let catch = "Object.defineProperty(navigator, 'clipboard',
        { value: { writeText: async text => { window.copied = text; } } });
        document.querySelector('[data-testid=share]').click();";
    page.script::<()>(catch, Vec::new()).await?;
    let copied: String = page.until("the link", "return window.copied ?? null", Vec::new()).await?;
    assert_eq!(copied, stage.url("/#/?layer=1&text=one"));
    // The visitor's own address keeps it.
    assert!(page.browser().current_url().await?.as_str().contains("backend=cpu"));
    Ok(())
}

/// A text as a query's value.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
