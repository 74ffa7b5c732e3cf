//! The programs that the chores need: finds them, installs them where that is safe, or names them.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of Firefox's driver.
const GECKODRIVER: &str = "0.36.0";

/// The target that the page is compiled for.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Makes sure that the Rust tool chain can compile to WebAssembly.
///
/// # Errors
/// The target is missing and cannot be added.
pub fn wasm_target() -> Result<()> {
    let has_target = || -> Result<bool> {
        let output = Command::new("rustc")
            .args(["--print", "target-libdir", "--target", WASM_TARGET])
            .current_dir(workspace::root())
            .output()
            .context("cannot run `rustc`: install Rust from https://rustup.rs")?;
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Ok(output.status.success() && directory.is_dir())
    };
    if has_target()? {
        return Ok(());
    }
    if find_program(&["rustup"]).is_none() {
        bail!(
            "this Rust cannot compile to {WASM_TARGET} and there is no `rustup` to add it: install Rust from \
             https://rustup.rs, or your system's package of that target (Debian: libstd-rust-dev-wasm32)"
        );
    }
    println!("Adding the target {WASM_TARGET}");
    workspace::run(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(workspace::root()))
        .context(format!("the target {WASM_TARGET} could not be added: is the network there?"))?;
    if !has_target()? {
        bail!("`rustup target add {WASM_TARGET}` did not help: is the `rustc` in PATH the one of rustup?");
    }
    Ok(())
}

/// The programs that the tests use: browsers, their WebDrivers, axe-core, and a Vulkan driver that needs no GPU.
#[derive(Debug)]
pub struct TestTools {
    /// Chromium or Chrome.
    pub browser: PathBuf,
    /// The ChromeDriver of the browser's version.
    pub driver: PathBuf,
    /// The script of axe-core, which checks a page for accessibility.
    pub axe: PathBuf,
    /// The manifest of Mesa's software driver for Vulkan; `None` on other systems than Linux, which have their own
    /// API.
    pub vulkan_driver: Option<PathBuf>,
    /// Firefox and WebKitGTK; `None` where the system is not Linux.
    pub others: Option<OtherBrowsers>,
}

/// Browsers other than Chromium, with what drives them.
#[derive(Debug)]
pub struct OtherBrowsers {
    /// Firefox.
    pub firefox: PathBuf,
    /// Its driver.
    pub geckodriver: PathBuf,
    /// WebKitGTK's MiniBrowser.
    pub webkit: PathBuf,
    /// Its driver.
    pub webkit_driver: PathBuf,
    /// An X server without a screen, which MiniBrowser needs.
    pub xvfb: PathBuf,
}

/// Finds what the tests need; installs what is missing on Debian and Ubuntu as root.
///
/// # Errors
/// A program is missing and cannot be installed: the error names it and its packages.
pub fn test_tools() -> Result<TestTools> {
    let missing = missing_packages();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        if !can_apt_install() {
            bail!(
                "the tests need programs that are not on this machine. Debian and Ubuntu have them as: apt-get install \
                 {packages}. Elsewhere, install what is in these: chromium (or Chrome), ChromeDriver of the same \
                 version, npm, and on Linux Mesa's lavapipe Vulkan driver with the Vulkan loader"
            );
        }
        println!("Installing {packages}");
        let apt =
            |args: &[&str]| workspace::run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
        apt(&["update"])?;
        apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    }
    let found = |what: Option<PathBuf>, name: &str| {
        what.with_context(|| format!("{name} is still missing after the installation: install it by hand"))
    };
    Ok(TestTools {
        browser: found(browser(), "Chromium")?,
        driver: found(driver(), "ChromeDriver")?,
        axe: axe_core(&found(find_program(&["npm"]), "npm")?)?,
        vulkan_driver: if cfg!(target_os = "linux") {
            Some(found(lavapipe(), "Mesa's Vulkan driver lvp_icd")?)
        } else {
            None
        },
        others: if cfg!(target_os = "linux") {
            Some(OtherBrowsers {
                firefox: found(firefox(), "Firefox")?,
                geckodriver: geckodriver()?,
                webkit: found(mini_browser(), "WebKitGTK's MiniBrowser")?,
                webkit_driver: found(find_program(&["WebKitWebDriver"]), "WebKitWebDriver")?,
                xvfb: found(find_program(&["Xvfb"]), "Xvfb")?,
            })
        } else {
            None
        },
    })
}

/// Firefox's driver: no Debian package has it, so it is compiled once from crates.io, beside the chores' other tools.
fn geckodriver() -> Result<PathBuf> {
    if let Some(installed) = find_program(&["geckodriver"]) {
        return Ok(installed);
    }
    let root = workspace::target_directory().join("chores/geckodriver").join(GECKODRIVER);
    let program = root.join("bin/geckodriver");
    if !program.is_file() {
        println!("Compiling geckodriver {GECKODRIVER}");
        let version = ["--version", GECKODRIVER];
        let mut cargo = workspace::cargo();
        cargo.args(["install", "geckodriver", "--locked", "--debug"]).args(version).arg("--root").arg(&root);
        workspace::run(&mut cargo).context("geckodriver could not be compiled: is the network there?")?;
    }
    Ok(program)
}

/// axe-core's script.
fn axe_core(npm: &Path) -> Result<PathBuf> {
    from_npm(npm, "tests/e2e", "node_modules/axe-core/axe.min.js")
}

/// The command line of Lighthouse. It is large, so only measuring installs it.
///
/// # Errors
/// There is no npm, or its registry cannot be reached.
pub fn lighthouse() -> Result<PathBuf> {
    let npm =
        find_program(&["npm"]).context("Lighthouse comes by npm, which is not on this machine: install Node.js")?;
    from_npm(&npm, "tests/e2e/lighthouse", "node_modules/lighthouse/cli/index.js")
}

/// The `node_modules` directory of the engines that the race compares with.
///
/// # Errors
/// There is no npm, or its registry cannot be reached.
pub fn peers() -> Result<PathBuf> {
    let npm = find_program(&["npm"]).context("the peers come by npm, which is not on this machine: install Node.js")?;
    let wllama = from_npm(&npm, "bench/peers", "node_modules/@wllama/wllama/esm/index.js")?;
    let modules = wllama.ancestors().find(|path| path.ends_with("node_modules"));
    Ok(modules.expect("it was just looked for there").to_owned())
}

/// Installs exactly the versions of the package-lock.json in `sources`, without running install scripts. Returns the
/// path of `script` in the installed packages.
fn from_npm(npm: &Path, sources: &str, script: &str) -> Result<PathBuf> {
    let directory = workspace::target_directory().join("chores/npm").join(sources);
    let script = directory.join(script);
    let sources = workspace::root().join(sources);
    let same = |name: &str| {
        let read = |directory: &Path| fs::read(directory.join(name)).ok();
        read(&sources) == read(&directory)
    };
    if script.is_file() && same("package-lock.json") {
        return Ok(script);
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fs::copy(sources.join("package.json"), directory.join("package.json"))?;
    fs::copy(sources.join("package-lock.json"), directory.join("package-lock.json"))?;
    println!("Fetching what {} names from npm", sources.join("package.json").display());
    workspace::run(
        Command::new(npm).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&directory),
    )
    .context("it could not be fetched from npm's registry: is the network there?")?;
    Ok(script)
}

/// The source package that has llama.cpp's vocabularies, and texts with their ids for each.
const VOCABULARIES: (&str, &str) = ("llama-cpp-python", "0.3.36");

/// The folder of llama.cpp's vocabularies, which is fetched from PyPI once.
///
/// # Errors
/// There is no pip or tar, or the registry cannot be reached.
pub fn vocabularies() -> Result<PathBuf> {
    let (package, version) = VOCABULARIES;
    let directory = workspace::target_directory().join("chores/pypi").join(format!("{package}-{version}"));
    let models = directory.join("models");
    if models.join("ggml-vocab-gpt-2.gguf").is_file() {
        return Ok(models);
    }
    let python = find_program(&["python3", "python"]).context("they come by pip, and there is no Python")?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    println!("Fetching the vocabularies in {package} {version} from PyPI");
    workspace::run(
        Command::new(python)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package])
            .arg(format!("{package}=={version}"))
            .current_dir(&directory),
    )
    .context("they could not be fetched from PyPI: is pip there, and the network?")?;
    let archive = format!("{}-{version}.tar.gz", package.replace('-', "_"));
    workspace::run(
        Command::new("tar")
            .args(["--extract", "--strip-components=3", "--wildcards", "--file", &archive])
            .arg("*/vendor/llama.cpp/models/ggml-vocab-*")
            .current_dir(&directory),
    )?;
    fs::remove_file(directory.join(archive))?;
    Ok(models)
}

/// The Debian packages that the tests need and that are not installed.
fn missing_packages() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if browser().is_none() {
        missing.push("chromium");
    }
    if driver().is_none() {
        missing.push("chromium-driver");
    }
    if find_program(&["npm"]).is_none() {
        missing.push("npm");
    }
    if cfg!(target_os = "linux") {
        if lavapipe().is_none() {
            missing.push("mesa-vulkan-drivers");
        }
        if !has_vulkan_loader() {
            missing.push("libvulkan1");
        }
        if firefox().is_none() {
            missing.push("firefox-esr");
        }
        if mini_browser().is_none() || find_program(&["WebKitWebDriver"]).is_none() {
            // WebKitGTK draws with OpenGL; its package only recommends the software driver.
            missing.extend(["webkit2gtk-driver", "libgl1-mesa-dri"]);
        }
        if find_program(&["Xvfb"]).is_none() {
            missing.push("xvfb");
        }
    }
    missing
}

fn browser() -> Option<PathBuf> {
    find_program(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]).or_else(|| {
        Some("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome".into())
            .filter(|path: &PathBuf| path.is_file())
    })
}

fn firefox() -> Option<PathBuf> {
    find_program(&["firefox-esr", "firefox"])
}

/// WebKitGTK's own browser, which its driver opens. It is not in PATH.
fn mini_browser() -> Option<PathBuf> {
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let folders = fs::read_dir(libraries).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = folders
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("webkit")))
        .map(|path| path.join("MiniBrowser"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop()
}

fn driver() -> Option<PathBuf> {
    find_program(&["chromedriver"])
}

/// Mesa's software driver for Vulkan, which the tests use on every machine.
fn lavapipe() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"]
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("lvp_icd") && name.ends_with(".json")
        })
        // Systems with several architectures have a manifest for each; the names of the other ones contain the
        // architecture.
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name == "lvp_icd.json" || name.contains(std::env::consts::ARCH)
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

fn has_vulkan_loader() -> bool {
    let listed = ["ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"].iter().find_map(|program| {
        Command::new(program).arg("-p").stderr(Stdio::null()).output().ok().filter(|output| output.status.success())
    });
    listed.is_some_and(|output| String::from_utf8_lossy(&output.stdout).contains("libvulkan.so.1"))
}

fn can_apt_install() -> bool {
    let user = Command::new("id").arg("-u").output();
    let is_root = user.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "0");
    is_root && find_program(&["apt-get"]).is_some()
}

/// The path of the first of these programs that is found in PATH.
fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        directories.iter().map(|directory| directory.join(&file)).find(|path| path.is_file())
    })
}
