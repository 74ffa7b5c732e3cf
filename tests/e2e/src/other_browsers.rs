//! Firefox and WebKitGTK. Their drivers hold one session each, so every browser gets a driver of its own.
//!
//! Both are driven by plain WebDriver: neither console messages nor emulated devices are to be read or set.

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thirtyfour::common::capabilities::firefox::FirefoxPreferences;
use thirtyfour::prelude::*;

/// How long a driver may take to listen.
const START: Duration = Duration::from_secs(30);

/// Firefox's preferences for WebGPU, also on software adapters, which it does not use otherwise.
const WEBGPU: [&str; 4] =
    ["dom.webgpu.enabled", "dom.webgpu.workers.enabled", "gfx.webgpu.ignore-blocklist", "gfx.webgpu.force-enabled"];

/// The size of the window in CSS pixels.
const WINDOW: (u32, u32) = (1440, 900);

/// A browser other than Chromium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Firefox, without WebGPU.
    Firefox,
    /// Firefox, with WebGPU switched on.
    FirefoxWebGpu,
    /// WebKitGTK's MiniBrowser, which has no WebGPU.
    WebKit,
}

impl Other {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Firefox, Self::FirefoxWebGpu, Self::WebKit];

    /// Its name in a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firefox => "firefox",
            Self::FirefoxWebGpu => "firefox_webgpu",
            Self::WebKit => "webkit",
        }
    }
}

/// Where the programs are, as `cargo xtask test` names them in the environment; none where the system has no packages
/// of them.
#[derive(Clone, Debug)]
pub struct OtherTools {
    firefox: PathBuf,
    geckodriver: PathBuf,
    webkit: PathBuf,
    webkit_driver: PathBuf,
    xvfb: PathBuf,
}

impl OtherTools {
    /// Reads the environment: none where no variable is set.
    ///
    /// # Errors
    /// Only some are set.
    pub fn from_environment() -> Result<Option<Self>> {
        let names = ["FIREFOX", "GECKODRIVER", "WEBKIT", "WEBKIT_DRIVER", "XVFB"];
        let paths = names.map(|name| std::env::var_os(format!("MOESCOPE_{name}")).map(PathBuf::from));
        match paths {
            [Some(firefox), Some(geckodriver), Some(webkit), Some(webkit_driver), Some(xvfb)] => {
                Ok(Some(Self { firefox, geckodriver, webkit, webkit_driver, xvfb }))
            }
            paths if paths.iter().all(Option::is_none) => Ok(None),
            _ => bail!("of MOESCOPE_{} only some are set: set all or none", names.join(", MOESCOPE_")),
        }
    }
}

/// A browser with the processes that it needs, which end when this is dropped.
pub struct OpenBrowser {
    /// The session.
    pub browser: WebDriver,
    /// The driver, and what it needs.
    _processes: Vec<Process>,
}

/// A process that ends when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens a browser with a profile of its own.
///
/// # Errors
/// It does not start.
pub async fn open(tools: &OtherTools, other: Other) -> Result<OpenBrowser> {
    let mut processes = Vec::new();
    let mut capabilities = Capabilities::new();
    let mut driver = match other {
        Other::Firefox | Other::FirefoxWebGpu => {
            let mut firefox = DesiredCapabilities::firefox();
            firefox.set_headless()?;
            firefox.set_firefox_binary(&tools.firefox.to_string_lossy())?;
            let mut preferences = FirefoxPreferences::new();
            for preference in WEBGPU {
                preferences.set(preference, other == Other::FirefoxWebGpu)?;
            }
            firefox.set_preferences(preferences)?;
            capabilities = firefox.into();
            Command::new(&tools.geckodriver)
        }
        Other::WebKit => {
            let (process, display) = virtual_display(&tools.xvfb)?;
            processes.push(process);
            let options = json!({ "binary": tools.webkit, "args": ["--automation"] });
            capabilities.set("browserName", "MiniBrowser")?;
            capabilities.set("webkitgtk:browserOptions", options)?;
            let mut driver = Command::new(&tools.webkit_driver);
            driver.env("DISPLAY", display);
            driver
        }
    };
    let port = free_port()?;
    let process = driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    processes.push(Process(process.with_context(|| format!("cannot start {driver:?}"))?));
    listens(port)?;
    let browser = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities);
    let browser = browser.await.with_context(|| format!("{} did not start", other.name()))?;
    browser.set_window_rect(0, 0, WINDOW.0, WINDOW.1).await?;
    Ok(OpenBrowser { browser, _processes: processes })
}

/// An X server without a screen, and its name.
fn virtual_display(xvfb: &Path) -> Result<(Process, String)> {
    let screen = format!("{}x{}x24", WINDOW.0, WINDOW.1);
    let mut child = Command::new(xvfb)
        .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", &screen])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", xvfb.display()))?;
    let output = child.stdout.take().expect("it is piped");
    let process = Process(child);
    let mut number = String::new();
    BufReader::new(output).read_line(&mut number)?;
    match number.trim() {
        "" => bail!("{} ended without saying which display it has", xvfb.display()),
        number => Ok((process, format!(":{number}"))),
    }
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until someone listens on a port.
fn listens(port: u16) -> Result<()> {
    let start = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while TcpStream::connect_timeout(&address, START).is_err() {
        if start.elapsed() > START {
            bail!("no driver listens on port {port} after {} s", START.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
