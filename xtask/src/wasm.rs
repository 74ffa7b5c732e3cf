//! Compiles Rust to WebAssembly, and makes the JavaScript that loads it.

use crate::{relaxed, setup, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use wasm_bindgen_cli_support::Bindgen;

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimised, without debug checks and function names; assets are compressed.
    Release,
    /// Faster to build, with debug checks, and with function names in stack traces.
    Dev,
}

impl Profile {
    /// The name of the profile in Cargo.toml.
    fn cargo_name(self) -> &'static str {
        match self {
            Self::Release => "release-wasm",
            Self::Dev => "dev",
        }
    }
}

/// The name of the JavaScript module: `moescope.js`.
pub const MODULE: &str = "moescope";

/// The program for browsers without relaxed SIMD.
pub const PROGRAM: &str = "moescope_bg.wasm";

/// The program for browsers with relaxed SIMD.
pub const RELAXED_PROGRAM: &str = "moescope_relaxed.wasm";

/// The directory and the name of the program of Learn and Lab: `lab/lab.js`, `lab/lab_bg.wasm`.
pub const LAB: &str = "lab";

/// Compiles the page's code. Empties `out` and writes `moescope.js`, both programs and the JavaScript snippets of the
/// dependencies to it, and the program of Learn and Lab to its directory `lab`.
///
/// # Errors
/// The target is missing and cannot be added, or the code does not compile.
pub fn build(profile: Profile, out: &Path) -> Result<()> {
    setup::wasm_target()?;
    let [explore, lab] = compile(["moescope-entry", "moescope-lab"], profile)?;
    if out.exists() {
        std::fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let mut output = bind(&explore, MODULE, profile)?;
    output.emit(out)?;
    let [plain, with_relaxed] = [PROGRAM, RELAXED_PROGRAM].map(|name| out.join(name));
    std::fs::rename(&plain, with_relaxed)?;
    let bytes = relaxed::without(output.wasm_mut())?;
    std::fs::write(&plain, bytes).with_context(|| format!("cannot write {}", plain.display()))?;
    emit_lab(&lab, profile, &out.join(LAB))
}

/// The name of the program of Learn and Lab for browsers with relaxed SIMD; that for others ends in `_bg.wasm`.
pub const RELAXED_LAB: &str = "lab_relaxed.wasm";

/// Writes both programs of Learn and Lab: with relaxed SIMD and without.
fn emit_lab(compiled: &Path, profile: Profile, out: &Path) -> Result<()> {
    let mut output = bind(compiled, LAB, profile)?;
    output.emit(out)?;
    let program = out.join(format!("{LAB}_bg.wasm"));
    std::fs::rename(&program, out.join(RELAXED_LAB))?;
    let bytes = relaxed::without(output.wasm_mut())?;
    std::fs::write(&program, bytes).with_context(|| format!("cannot write {}", program.display()))
}

/// What wasm-bindgen makes of a compiled module.
fn bind(compiled: &Path, name: &str, profile: Profile) -> Result<wasm_bindgen_cli_support::Output> {
    // Function names are removed here, because rustc's own `strip` removes sections that wasm-bindgen reads.
    let release = profile == Profile::Release;
    Bindgen::new()
        .input_path(compiled)
        .out_name(name)
        .web(true)?
        .typescript(false)
        .remove_name_section(release)
        .remove_producers_section(release)
        .generate_output()
        .with_context(|| format!("wasm-bindgen cannot read {}", compiled.display()))
}

/// Compiles bench/probe with the page's flags; returns the path of the `.wasm` file.
///
/// # Errors
/// The target is missing and cannot be added, or the code does not compile.
pub fn probe() -> Result<PathBuf> {
    setup::wasm_target()?;
    compile(["moescope-probe"], Profile::Release).map(|[probe]| probe)
}

/// Compiles the libraries of these packages to WebAssembly; returns the paths of their `.wasm` files. One command
/// compiles what they share once, and links them side by side: each takes a minute on one core.
fn compile<const N: usize>(packages: [&str; N], profile: Profile) -> Result<[PathBuf; N]> {
    let mut command = workspace::cargo();
    // Only these packages, because features that other members enable would be enabled in the page too.
    command
        .arg("build")
        .args(packages.map(|package| ["--package", package]).as_flattened())
        .args(["--lib", "--target", setup::WASM_TARGET])
        .args(["--profile", profile.cargo_name(), "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{} does not compile to WebAssembly; cargo's message is above", packages.join(" or "));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let paths = packages.iter().map(|package| {
        let path = program(&messages, &package.replace('-', "_"));
        path.with_context(|| format!("cargo built no .wasm file of {package}: is `cdylib` among its crate types?"))
    });
    let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    Ok(paths.try_into().expect("one for each package"))
}

/// The path of the `.wasm` file of a library in cargo's messages.
fn program(messages: &[Value], library: &str) -> Option<PathBuf> {
    messages
        .iter()
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == library)
        .filter_map(|message| message["filenames"].as_array())
        .flatten()
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}
