//! Versions of the site: each is kept as a whole, versions never mix, and the page announces a new one.

use crate::harness::{Stage, tests};
use anyhow::Result;
use moescope_e2e::browser::Visitor;
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

tests![
    a_new_version_is_told_and_disturbs_no_open_page,
    without_a_network_the_newest_whole_version_answers,
    when_the_network_is_back_another_model_loads,
    a_browser_without_cache_storage_loads_over_the_network,
];

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The version of the open page; checks that all loaded files belong to it.
async fn version(page: &Page) -> Result<String> {
    let (build, others): (String, Vec<String>) = page
        .script(
            "const { build } = document.body.dataset;
             const names = performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname);
             return [build, names.filter(name => name.includes('/build/') && !name.includes(`/${build}`))];",
            Vec::new(),
        )
        .await?;
    assert_eq!(others, Vec::<String>::new(), "files of another version than {build}");
    Ok(build)
}

/// Waits until the open version is the one that is kept for visits without a network.
async fn is_kept(page: &Page) -> Result<()> {
    let kept =
        "const newest = await (await (await caches.open('moescope.newest')).match(location.origin + '/'))?.text();
        return newest === document.body.dataset.build;";
    let start = std::time::Instant::now();
    while !page.promise::<bool>(kept, Vec::new()).await? {
        anyhow::ensure!(start.elapsed() < moescope_e2e::page::PATIENCE, "the version is not kept");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn a_new_version_is_told_and_disturbs_no_open_page(stage: &Stage) -> Result<()> {
    let (site, served) = server::two_versions(stage.tools(), &scratch("two-versions"))?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?layer=1#text=An%20open%20page")).await?;
    page.routed().await?;
    let old = version(&page).await?;
    is_kept(&page).await?;

    served.store(1, Ordering::SeqCst);
    page.script::<()>("document.dispatchEvent(new Event('visibilitychange'))", Vec::new()).await?;
    page.until::<bool>("the news", "return !!document.querySelector('[data-testid=new-version]')", Vec::new()).await?;
    // Another tab opens the new version. Both tabs work, although the server now answers with a web page for files of
    // the old version (https://github.com/StudyDrift/lextures/pull/480,
    // https://github.com/firefox-devtools/profiler/issues/2309).
    let tab = page.browser().new_tab().await?;
    let first = page.browser().window().await?;
    page.browser().switch_to_window(tab).await?;
    page.goto(&server.url("/?layer=2")).await?;
    page.routed().await?;
    let new = version(&page).await?;
    assert_ne!(old, new);
    assert!(page.browser().title().await?.starts_with("New"));
    is_kept(&page).await?;
    page.browser().switch_to_window(first).await?;
    page.choose("language-select", "zh").await?;
    page.until::<bool>("Chinese", "return document.documentElement.lang === 'zh'", Vec::new()).await?;
    page.type_keys(" goes on").await?;
    page.wait("the old page at work", |view| view.is_settled() && view.text == "An open page goes on").await?;
    assert_eq!(version(&page).await?, old);
    // The address follows the text a moment after it was typed. The button, pressed before, brings the newest text.
    page.type_keys("!").await?;
    page.script::<()>("document.querySelector('[data-testid=new-version] button').click()", Vec::new()).await?;
    let is_new = "return document.title.startsWith('New') && document.body.dataset.state === 'ready'";
    page.until::<bool>("the new version", is_new, Vec::new()).await?;
    assert_eq!(page.routed().await?.text, "An open page goes on!");
    assert_eq!(version(&page).await?, new);
    Ok(())
}

async fn without_a_network_the_newest_whole_version_answers(stage: &Stage) -> Result<()> {
    stage.expect_in_console("ERR_CONNECTION_REFUSED");
    stage.expect_in_console("ERR_FAILED");
    let (site, served) = server::two_versions(stage.tools(), &scratch("offline-versions"))?;
    let server = Server::start(site).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    // The address has a query, as older links have: the page must not be looked for under it.
    page.goto(&server.url("/?layer=1#text=one")).await?;
    page.routed().await?;
    let old = version(&page).await?;
    is_kept(&page).await?;
    served.store(1, Ordering::SeqCst);
    page.goto(&server.url("/?layer=2#text=two")).await?;
    page.routed().await?;
    let new = version(&page).await?;
    assert_ne!(old, new);
    is_kept(&page).await?;
    let again = server.url("/?layer=4#text=three");
    server.stop();
    page.goto(&again).await?;
    assert_eq!(page.routed().await?.text, "three");
    assert_eq!(version(&page).await?, new);
    Ok(())
}

/// Firefox has no cache storage in private windows: <https://github.com/swimmingbrain/texbrain/pull/21>.
async fn a_browser_without_cache_storage_loads_over_the_network(stage: &Stage) -> Result<()> {
    let refuse = "Object.defineProperty(self, 'caches', { get() { throw new DOMException('no', 'SecurityError'); } });";
    let server = Server::start(server::keeper_after(stage.tools(), refuse)?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=hello")).await?;
    page.routed().await?;
    page.until::<bool>("the keeper", "return !!navigator.serviceWorker.controller", Vec::new()).await?;
    page.browser().refresh().await?;
    page.routed().await?;
    assert!(page.script::<bool>("return !!navigator.serviceWorker.controller", Vec::new()).await?);
    let load = "return (await moescope.load('dense')).name";
    assert_eq!(page.promise::<String>(load, Vec::new()).await?, "dense");
    Ok(())
}

async fn when_the_network_is_back_another_model_loads(stage: &Stage) -> Result<()> {
    stage.expect_in_console("ERR_CONNECTION_REFUSED");
    stage.expect_in_console("ERR_FAILED");
    let server = Server::start(server::leaving(stage.tools())?).await?;
    let page = stage.browser(Visitor::NO_WEBGPU).await?;
    page.goto(&server.url("/?text=hello")).await?;
    page.routed().await?;
    is_kept(&page).await?;
    let (port, again) = (server.port(), server.url("/?text=offline"));
    server.stop();
    page.goto(&again).await?;
    page.routed().await?;
    let load = "return (await moescope.load('dense')).name";
    let refused = page.promise::<String>(load, Vec::new()).await.expect_err("there is no network").to_string();
    assert!(refused.contains("cannot be reached"), "{refused}");
    let _server = Server::start_at(port, server::leaving(stage.tools())?).await?;
    assert_eq!(page.promise::<String>(load, Vec::new()).await?, "dense");
    Ok(())
}
