//! Runs ChromeDriver, and opens browsers with it.

use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use thirtyfour::prelude::*;

/// A ChromeDriver process on a free port, ended when dropped.
pub struct Driver {
    process: Child,
    url: String,
}

impl Driver {
    /// Starts ChromeDriver.
    ///
    /// # Errors
    /// It does not start, or does not print the port on which it listens.
    pub fn start(tools: &Tools) -> Result<Self> {
        let mut process = Command::new(&tools.driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", tools.driver.display()))?;
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let Some(port) = port else {
            let _ = process.kill();
            bail!("{} ended without saying on which port it listens", tools.driver.display());
        };
        // Its output is read to the end, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { process, url: format!("http://localhost:{port}") })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The properties of a visitor's browser.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// Whether WebGPU has an adapter: SwiftShader, which computes on the CPU.
    pub webgpu: bool,
    /// The width of the page in CSS pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Whether the system is set to dark colours.
    pub dark: bool,
    /// The most WebAssembly memory of a program, in pages of 64 KiB; none for the browser's own limit.
    pub pages: Option<u32>,
}

impl Visitor {
    /// A desktop with WebGPU.
    pub const WEBGPU: Self = Self { webgpu: true, width: 1440, height: 900, dark: false, pages: None };
    /// A desktop without WebGPU.
    pub const NO_WEBGPU: Self = Self { webgpu: false, ..Self::WEBGPU };
    /// A phone without WebGPU.
    pub const PHONE: Self = Self { webgpu: false, width: 390, height: 844, dark: false, pages: None };
}

/// Opens a browser with a profile of its own.
///
/// # Errors
/// It does not start.
pub async fn open(tools: &Tools, driver: &Driver, visitor: Visitor) -> Result<WebDriver> {
    let mut capabilities = DesiredCapabilities::chrome();
    capabilities.set_binary(&tools.browser.to_string_lossy())?;
    let mut arguments = vec![
        "--headless=new",
        "--no-sandbox",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ];
    if visitor.webgpu {
        arguments.extend(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
    }
    for argument in arguments {
        capabilities.add_arg(argument)?;
    }
    if let Some(pages) = visitor.pages {
        capabilities.add_arg(&format!("--js-flags=--wasm-max-mem-pages={pages}"))?;
    }
    capabilities.set("goog:loggingPrefs", json!({ "browser": "ALL" }))?;
    let browser = WebDriver::new(&driver.url, capabilities).await.context("the browser did not start")?;
    // A window has borders and a smallest width, so the size of the page is set directly.
    let cdp = browser.cdp();
    cdp.send_raw(
        "Emulation.setDeviceMetricsOverride",
        json!({
            "width": visitor.width, "height": visitor.height, "deviceScaleFactor": 1,
            "mobile": visitor.width < 500,
        }),
    )
    .await?;
    let scheme = if visitor.dark { "dark" } else { "light" };
    cdp.send_raw(
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
    )
    .await?;
    Ok(browser)
}
