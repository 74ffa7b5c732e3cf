//! Runs the tests: each in browsers of its own, with one server and one ChromeDriver for all.

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use moescope_e2e::browser::{self, Driver, Visitor};
use moescope_e2e::other_browsers::{self, OpenBrowser, Other, OtherTools};
use moescope_e2e::page::Page;
use moescope_e2e::server::{self, Server};
use moescope_e2e::tools::Tools;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thirtyfour::WebDriver;
use tokio::runtime::Runtime;

/// Time limit of a test.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// A test by name.
pub struct Test {
    pub name: &'static str,
    pub body: for<'a> fn(&'a Stage) -> BoxFuture<'a, Result<()>>,
    /// Whether it runs in another browser than Chromium: ignored where the system has none.
    pub in_other: bool,
}

/// The tests of a module: `tests![name, ...]` from its async functions of those names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub fn tests() -> Vec<$crate::harness::Test> {
            vec![$($crate::harness::Test {
                name: concat!(module_path!(), "::", stringify!($name)).trim_start_matches("browser::"),
                body: |stage| Box::pin($name(stage)),
                in_other: false,
            }),*]
        }
    };
}
pub(crate) use tests;

/// What the tests share.
struct Shared {
    runtime: Runtime,
    tools: Tools,
    others: Option<OtherTools>,
    driver: Driver,
    site: Server,
}

/// The environment of one test.
pub struct Stage {
    shared: Arc<Shared>,
    /// The browsers that the test opened.
    browsers: Mutex<Vec<WebDriver>>,
    /// Those of another kind, with their drivers.
    others: Mutex<Vec<OpenBrowser>>,
    /// Parts of console messages that the test expects.
    expected: Mutex<Vec<&'static str>>,
}

impl Stage {
    /// The paths of the site and the programs.
    pub fn tools(&self) -> &Tools {
        &self.shared.tools
    }

    /// An address on the site's server; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        self.shared.site.url(path)
    }

    /// A browser with an empty page.
    pub async fn browser(&self, visitor: Visitor) -> Result<Page> {
        let browser = browser::open(&self.shared.tools, &self.shared.driver, visitor).await?;
        self.browsers.lock().expect("no panic holds it").push(browser.clone());
        Ok(Page::new(browser))
    }

    /// Firefox or WebKitGTK, with an empty page.
    pub async fn other_browser(&self, other: Other) -> Result<Page> {
        let tools = self.shared.others.as_ref().context("the environment names no other browsers")?;
        let opened = other_browsers::open(tools, other).await?;
        let page = Page::new(opened.browser.clone());
        self.others.lock().expect("no panic holds it").push(opened);
        Ok(page)
    }

    /// A browser with a page of the site.
    pub async fn open(&self, visitor: Visitor, path: &str) -> Result<Page> {
        let page = self.browser(visitor).await?;
        page.goto(&self.url(path)).await?;
        Ok(page)
    }

    /// Expects console messages with this text from now on. Any other error in the console fails the test.
    pub fn expect_in_console(&self, part: &'static str) {
        self.expected.lock().expect("no panic holds it").push(part);
    }

    fn opened(&self) -> Vec<WebDriver> {
        self.browsers.lock().expect("no panic holds it").clone()
    }

    /// Messages that the browser itself logs without a WebGPU adapter.
    const NO_ADAPTER: &'static str = "No available adapters.";

    async fn unexpected_console_errors(&self) -> Result<Vec<String>> {
        let expected = self.expected.lock().expect("no panic holds it").clone();
        let mut messages = Vec::new();
        for browser in self.opened() {
            for entry in browser.browser_log().await? {
                let expected = expected.iter().chain([&Self::NO_ADAPTER]).any(|part| entry.message.contains(part));
                if !expected {
                    messages.push(entry.message);
                }
            }
        }
        Ok(messages)
    }

    /// Saves a screenshot of every open page.
    async fn keep_pictures(&self, name: &str) -> Vec<PathBuf> {
        let mut pictures = Vec::new();
        let others: Vec<WebDriver> = {
            let others = self.others.lock().expect("no panic holds it");
            others.iter().map(|other| other.browser.clone()).collect()
        };
        for (number, browser) in self.opened().iter().chain(&others).enumerate() {
            let file = format!("{}-{number}.png", name.replace("::", "-"));
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
            if browser.screenshot(&path).await.is_ok() {
                pictures.push(path);
            }
        }
        pictures
    }

    async fn close(&self) {
        let browsers = std::mem::take(&mut *self.browsers.lock().expect("no panic holds it"));
        for browser in browsers {
            let _ = browser.quit().await;
        }
        let others = std::mem::take(&mut *self.others.lock().expect("no panic holds it"));
        for other in others {
            let _ = other.browser.clone().quit().await;
        }
    }
}

async fn run_one(test: &Test, shared: Arc<Shared>) -> Result<()> {
    let stage = Stage { shared, browsers: Mutex::default(), others: Mutex::default(), expected: Mutex::default() };
    let body = AssertUnwindSafe((test.body)(&stage)).catch_unwind();
    let mut result = match tokio::time::timeout(TIME_LIMIT, body).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow::anyhow!("{}", panic_message(&*panic))),
        Err(_) => Err(anyhow::anyhow!("it took longer than {} s", TIME_LIMIT.as_secs())),
    };
    let errors = stage.unexpected_console_errors().await.unwrap_or_default();
    if result.is_ok() && !errors.is_empty() {
        result = Err(anyhow::anyhow!("the browser's console has errors"));
    }
    if let Err(error) = result {
        let pictures = stage.keep_pictures(test.name).await;
        stage.close().await;
        bail!("{error:#}\nconsole: {errors:#?}\npictures: {pictures:#?}");
    }
    stage.close().await;
    Ok(())
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// Runs the tests that the command line selects.
pub fn run(tests: Vec<Test>) -> ExitCode {
    // The message is part of the test's result; of the stack, only the location is printed.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            eprintln!("failed at {place}");
        }
    }));
    let (options, filters): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let mut arguments = Arguments::from_iter(std::iter::once("browser".to_owned()).chain(options));
    // Two threads: while one waits for its browser, the other computes.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let wanted = |test: &Test| filters.is_empty() || filters.iter().any(|filter| test.name.contains(filter));
    let tests: Vec<_> = tests.into_iter().filter(wanted).collect();

    let shared = if arguments.list || tests.is_empty() {
        None
    } else {
        match set_up() {
            Ok(shared) => Some(Arc::new(shared)),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    };
    let trials = tests
        .into_iter()
        .map(|test| {
            let shared = shared.clone();
            let is_ignored = test.in_other && shared.as_ref().is_some_and(|shared| shared.others.is_none());
            let trial = Trial::test(test.name, move || {
                let shared = shared.expect("set up before any test runs");
                shared.runtime.block_on(run_one(&test, shared.clone())).map_err(Failed::from)
            });
            trial.with_ignored_flag(is_ignored)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(shared);
    conclusion.exit_code()
}

fn set_up() -> Result<Shared> {
    let tools = Tools::from_environment()?;
    let runtime = Runtime::new()?;
    let router = server::site(&tools).context("the site cannot be served")?;
    let site = runtime.block_on(Server::start(router))?;
    let driver = Driver::start(&tools)?;
    let others = OtherTools::from_environment()?;
    Ok(Shared { runtime, tools, others, driver, site })
}
