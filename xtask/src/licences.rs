//! The licences of the dependencies: a check that all of them may be used, and the list that the site ships.

use crate::{setup, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The file name of the list in the site.
pub const FILE: &str = "licences.html";

/// Licences under which a dependency may be used. All of them allow the page to ship under MIT or Apache 2.0, as long
/// as their texts ship with it.
const ALLOWED: [&str; 10] =
    ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "MIT", "Unicode-3.0", "Unlicense", "Zlib"];

/// The first letters of the names of licence files in a package.
const TEXT_FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// The text of Apache 2.0, for packages that offer this licence and contain no text.
const STANDARD: &str = "LICENSE-APACHE";

/// A package that is not a member of this workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// The SPDX expression in the package's manifest.
    licence: Option<String>,
    /// Where its code is developed.
    repository: Option<String>,
    /// The directory of its files.
    directory: PathBuf,
}

impl Package {
    /// Reads an entry of `cargo metadata`; `None` for a member of the workspace.
    fn read(entry: &Value) -> Option<Self> {
        entry["source"].as_str()?;
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("name")?,
            version: text("version")?,
            licence: text("license"),
            repository: text("repository"),
            directory: Path::new(entry["manifest_path"].as_str()?).parent()?.to_owned(),
        })
    }

    /// Why the licence is not allowed; `None` where it is.
    fn problem(&self) -> Option<String> {
        let name = format!("{} {}", self.name, self.version);
        let Some(licence) = &self.licence else {
            return Some(format!("{name} names no licence"));
        };
        match Expression::parse_mode(licence, ParseMode::LAX) {
            Err(error) => Some(format!("{name} has a licence that cannot be read, {licence:?}: {}", error.reason)),
            Ok(expression) if expression.evaluate(is_allowed) => None,
            Ok(_) => Some(format!("{name} has the licence {licence}")),
        }
    }

    /// The texts of its licence; where it has none, those of another package of the same repository and licence.
    fn texts_or_those_beside(&self, packages: &BTreeSet<Self>) -> Result<Vec<String>> {
        let own = self.texts()?;
        let is_beside = |other: &&Self| {
            self.repository.is_some() && other.repository == self.repository && other.licence == self.licence
        };
        match packages.iter().filter(is_beside).find(|other| other.texts().is_ok_and(|texts| !texts.is_empty())) {
            Some(other) if own.is_empty() => other.texts(),
            _ => Ok(own),
        }
    }

    /// The texts of its licence. Where MIT is one of the choices, only the MIT text, because it names the authors.
    fn texts(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.directory)
            .with_context(|| format!("cannot read the files of {} in {}", self.name, self.directory.display()))?;
        let mut names: Vec<String> = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<String>>>()?;
        names.retain(|name| TEXT_FILES.iter().any(|start| name.to_uppercase().starts_with(start)));
        names.retain(|name| self.directory.join(name).is_file());
        names.sort();
        let is_choice = self.licence.as_deref().is_some_and(|text| text.contains(" OR ") || text.contains('/'));
        let is_mit = |name: &String| name.to_uppercase().contains("MIT");
        if is_choice && names.iter().any(is_mit) {
            names.retain(is_mit);
        }
        let read = |name: String| Ok(String::from_utf8_lossy(&fs::read(self.directory.join(name))?).into_owned());
        names.into_iter().map(read).collect()
    }
}

/// Whether a single licence of an expression is allowed. An exception such as LLVM's only adds permissions.
fn is_allowed(requirement: &LicenseReq) -> bool {
    requirement.license.id().is_some_and(|id| ALLOWED.contains(&id.name))
}

/// Checks every dependency of the workspace, for this machine and for the page. Returns how many there are.
///
/// # Errors
/// A dependency has a licence that is not allowed, or cargo cannot list them.
pub fn check() -> Result<usize> {
    let mut packages = packages(setup::WASM_TARGET)?;
    packages.extend(self::packages(&host()?)?);
    let problems: Vec<String> = packages.iter().filter_map(Package::problem).collect();
    if !problems.is_empty() {
        bail!(
            "{}. Allowed are {}: use another package, or add the licence in xtask/src/licences.rs if its terms let \
             the page ship under MIT or Apache 2.0",
            problems.join("; "),
            ALLOWED.join(", ")
        );
    }
    Ok(packages.len())
}

/// The HTML page with the licence of every package that is compiled into the program.
///
/// # Errors
/// Cargo cannot list the packages, or a package's files cannot be read.
pub fn page() -> Result<String> {
    let shipped = shipped()?;
    let mut packages = packages(setup::WASM_TARGET)?;
    packages.retain(|package| shipped.contains(&(package.name.clone(), package.version.clone())));
    if packages.is_empty() {
        bail!("cargo lists no package of the program: was the package moescope-entry renamed?");
    }
    let standard =
        fs::read_to_string(workspace::root().join(STANDARD)).with_context(|| format!("cannot read {STANDARD}"))?;
    let mut texts = Vec::new();
    for package in &packages {
        let own = package.texts_or_those_beside(&packages)?;
        let has_standard = package.licence.as_deref().is_some_and(|licence| licence.contains("Apache-2.0"));
        if own.is_empty() && !has_standard {
            bail!("{} {} comes without the text of its licence", package.name, package.version);
        }
        let own = if own.is_empty() { vec![standard.clone()] } else { own };
        texts.extend(own.into_iter().map(|text| (package, text)));
    }
    Ok(html(&packages, &texts))
}

/// All packages outside of the workspace that `target` needs.
fn packages(target: &str) -> Result<BTreeSet<Package>> {
    let arguments = ["metadata", "--format-version", "1", "--filter-platform", target];
    let metadata: Value = serde_json::from_str(&cargo_prints(&arguments)?).context("cargo printed no JSON")?;
    let entries = metadata["packages"].as_array().context("cargo listed no packages")?;
    Ok(entries.iter().filter_map(Package::read).collect())
}

/// Name and version of every package in the program; build dependencies and procedural macros are left out.
fn shipped() -> Result<BTreeSet<(String, String)>> {
    let packages = ["--package", "moescope-entry", "--package", "moescope-lab"];
    let arguments = [&["tree"][..], &packages, &["--target", setup::WASM_TARGET]].concat();
    let edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let tree = cargo_prints(&[&arguments[..], &edges].concat())?;
    let package = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    Ok(tree.lines().filter_map(package).collect())
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let mut rustc = std::process::Command::new("rustc");
    let output = rustc.args(["--print", "host-tuple"]).current_dir(workspace::root()).output();
    let output = output.context("cannot run `rustc`: install Rust from https://rustup.rs")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The output of `cargo` with these arguments.
fn cargo_prints(arguments: &[&str]) -> Result<String> {
    let mut command = workspace::cargo();
    command.args(arguments).stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`{}` failed; its own message is above", workspace::words(&command));
    }
    String::from_utf8(output.stdout).context("the output of cargo is not Unicode")
}

/// The page: a table of the packages, then each licence text once, with the packages that use it.
fn html(packages: &BTreeSet<Package>, texts: &[(&Package, String)]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Licences of what Moescope is made of</title>\n</head>\n<body>\n<main>\n\
         <h1>Licences of what Moescope is made of</h1>\n\
         <p>Moescope itself is under MIT or Apache 2.0, at your option. Its program contains the packages below, \
         and the Rust standard library (MIT or Apache 2.0).</p>\n\
         <table>\n<thead><tr><th>Package</th><th>Version</th><th>Licence</th></tr></thead>\n<tbody>\n",
    );
    for package in packages {
        let name = escape(&package.name);
        let name = match &package.repository {
            Some(address) => format!("<a href=\"{}\" rel=\"noreferrer\">{name}</a>", escape(address)),
            None => name,
        };
        let licence = escape(package.licence.as_deref().unwrap_or("none named"));
        let version = escape(&package.version);
        writeln!(page, "<tr><td>{name}</td><td>{version}</td><td>{licence}</td></tr>").expect("a String takes all");
    }
    page.push_str("</tbody>\n</table>\n<h2>Texts</h2>\n");
    for (text, names) in by_text(texts) {
        let names: Vec<String> = names.into_iter().map(escape).collect();
        let (names, text) = (names.join(", "), escape(text));
        writeln!(page, "<h3>{names}</h3>\n<pre>{text}</pre>").expect("a String takes all");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Each text once (line breaks are ignored) with the names of its packages, in the order of the names.
fn by_text<'a>(texts: &'a [(&Package, String)]) -> Vec<(&'a str, BTreeSet<&'a str>)> {
    let mut groups: BTreeMap<String, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for (package, text) in texts {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        groups.entry(words).or_insert_with(|| (text.trim_end(), BTreeSet::new())).1.insert(&package.name);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|one, other| one.1.cmp(&other.1));
    groups
}

/// Escapes a text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, licence: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            licence: licence.map(str::to_owned),
            repository: None,
            directory: PathBuf::new(),
        }
    }

    #[test]
    fn a_licence_that_is_allowed_by_choice_or_whole_passes() {
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MPL-2.0",
        ] {
            assert_eq!(package("a", Some(licence)).problem(), None, "{licence}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_named() {
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "LicenseRef-mine"] {
            let problem = package("a", Some(licence)).problem().expect(licence);
            assert_eq!(problem, format!("a 1.0.0 has the licence {licence}"));
        }
        assert!(package("a", Some("no licence at all")).problem().is_some_and(|why| why.contains("cannot be read")));
        assert_eq!(package("a", None).problem().as_deref(), Some("a 1.0.0 names no licence"));
    }

    #[test]
    fn a_text_that_several_packages_have_is_there_once() {
        let (one, two) = (package("one", Some("MIT")), package("two", Some("MIT")));
        let texts = [(&one, "Permission is\ngranted\n".to_owned()), (&two, "Permission  is granted".to_owned())];
        let page = html(&BTreeSet::from([one.clone(), two.clone()]), &texts);
        assert_eq!(page.matches("granted").count(), 1);
        assert!(page.contains("<h3>one, two</h3>"), "{page}");
    }

    #[test]
    fn what_a_package_says_is_text_not_html() {
        let page = html(&BTreeSet::from([package("<script>", Some("\"MIT\" & more"))]), &[]);
        assert!(page.contains("<td>&lt;script></td>") && page.contains("&quot;MIT&quot; &amp; more"), "{page}");
    }
}
