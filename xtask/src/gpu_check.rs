//! Makes a folder that tests a real GPU on a machine without Rust: test programs, their data, and a script.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The script that runs the tests; the comment at its top describes how to use it.
const SCRIPT: &str = include_str!("gpu-check.sh");

/// The files that the tests read, relative to the repository's root.
const FILES: [&str; 8] = [
    "tests/golden/fixtures",
    "tests/golden/gates",
    "tests/golden/policies",
    "tests/golden/shipped",
    "www/models/main",
    "www/examples.json",
    "shaders",
    "src/kernels",
];

/// The most bytes of the folder, so that it is quick to copy.
const MOST: u64 = 40 << 20;

/// Makes the folder `to`, which must not exist or must be a folder made by this function. Returns its size in bytes.
///
/// # Errors
/// The tests do not compile, `strip` is missing, or the folder becomes too large.
pub fn pack(to: &Path) -> Result<u64> {
    if to.exists() && !to.join("gpu-check.sh").exists() {
        bail!("{} exists and is no folder that this command made; name another", to.display());
    }
    let programs = programs()?;
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot empty {}", to.display()))?;
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for (name, program) in programs {
        let copy = to.join(&name);
        fs::copy(&program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
        let strip = workspace::run(Command::new("strip").arg(&copy));
        strip.context("`strip` makes the programs small enough; it is in the package binutils")?;
    }
    for file in FILES {
        copy(&workspace::root().join(file), &to.join("root").join(file))?;
    }
    let script = to.join("gpu-check.sh");
    fs::write(&script, SCRIPT)?;
    #[cfg(unix)]
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let size = size(to)?;
    if size > MOST {
        bail!("{} has {} MB, more than the {} that it may have", to.display(), size >> 20, MOST >> 20);
    }
    Ok(size)
}

/// Builds the test programs that need a GPU; returns their names and paths.
fn programs() -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--package", "moescope", "--test", "golden", "--test", "parity"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = cargo.output().with_context(|| format!("cannot run `{}`", workspace::words(&cargo)))?;
    if !output.status.success() {
        bail!("`{}` failed; its own message is above", workspace::words(&cargo));
    }
    let program = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str().filter(|name| ["golden", "parity"].contains(name))?;
        Some((name.to_owned(), message["executable"].as_str()?.into()))
    };
    let programs: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect();
    if programs.len() != 2 {
        bail!("cargo named {} programs instead of golden and parity", programs.len());
    }
    Ok(programs)
}

/// Copies a file, or a folder with its contents.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(what)?;
        for entry in fs::read_dir(from).with_context(what)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::create_dir_all(to.parent().expect("a file lies in a folder"))?;
        fs::copy(from, to).with_context(what)?;
    }
    Ok(())
}

/// Bytes of a file, or of all files in a folder.
fn size(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(path.metadata()?.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}
