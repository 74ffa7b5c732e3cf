//! The paths of the site and the programs.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The paths that `cargo xtask test` sets in the environment.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The built site.
    pub site: PathBuf,
    /// The native `moescope`.
    pub cli: PathBuf,
    /// Chromium or Chrome.
    pub browser: PathBuf,
    /// ChromeDriver.
    pub driver: PathBuf,
    /// axe-core's script.
    pub axe: PathBuf,
}

impl Tools {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is not set, or its file does not exist.
    pub fn from_environment() -> Result<Self> {
        Ok(Self {
            site: existing("MOESCOPE_SITE")?,
            cli: existing("MOESCOPE_CLI")?,
            browser: existing("MOESCOPE_BROWSER")?,
            driver: existing("MOESCOPE_DRIVER")?,
            axe: existing("MOESCOPE_AXE")?,
        })
    }

    /// The directory of this version's files, relative to the site: `build/HASH`.
    ///
    /// # Errors
    /// The site was not built.
    pub fn build(&self) -> Result<String> {
        Ok(xtask::dist::build_of(&self.site)?.to_string_lossy().trim_end_matches('/').to_owned())
    }

    /// The path of a file of this version.
    ///
    /// # Errors
    /// The site was not built.
    pub fn versioned(&self, name: &str) -> Result<PathBuf> {
        Ok(self.site.join(self.build()?).join(name))
    }

    /// The source directory of a model that the site ships. It includes the tokenizer, which the site has only once.
    pub fn model(&self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www/models").join(name)
    }
}

fn existing(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: start the browser tests by `cargo xtask test`"))?;
    let path = PathBuf::from(path);
    if !path.exists() {
        bail!(
            "{variable} names {}, which does not exist: start the browser tests by `cargo xtask test`",
            path.display()
        );
    }
    Ok(path)
}
