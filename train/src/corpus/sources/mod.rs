//! The sources of the corpus: every domain with its packages, their licences and the functions that read them.

mod code;
mod prose;

use std::path::Path;

use anyhow::Result;

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// A Debian binary package.
    Deb(&'static str),
    /// A Debian source package (its upstream archive).
    DebSource(&'static str),
    /// An npm package.
    Npm(&'static str),
    /// A source archive from PyPI, `name` or `name==version`.
    PyPiSource(&'static str),
    /// A crate from crates.io.
    Crate(&'static str),
}

/// A part of a domain: one package and the way its documents are read.
pub struct Source {
    /// The package.
    pub package: Package,
    /// Its licence, as its own copyright file states it.
    pub licence: &'static str,
    /// Its share of the domain where all sources have enough text.
    pub share: f64,
    /// Reads the documents from the unpacked package.
    pub read: fn(&Path) -> Result<Vec<String>>,
}

/// A kind of text.
pub struct Domain {
    /// Short name, used for files and tables.
    pub name: &'static str,
    /// Its name in tables and reports.
    pub title: &'static str,
    /// Bytes of training text, where its sources have enough.
    pub bytes: usize,
    /// Its parts.
    pub sources: &'static [Source],
}

/// A text that is measured and never trained on.
pub struct Evaluation {
    /// The domain of natural language that it belongs to.
    pub language: &'static str,
    /// Its source.
    pub source: Source,
}

const fn source(package: Package, licence: &'static str, share: f64, read: fn(&Path) -> Result<Vec<String>>) -> Source {
    Source { package, licence, share, read }
}

/// The corpus: natural language, then code and other notations. Every model sees the domains in this order.
pub fn domains() -> impl Iterator<Item = &'static Domain> {
    prose::DOMAINS.iter().chain(code::DOMAINS)
}

/// Text of today that is measured and never trained on.
pub const EVALUATIONS: &[Evaluation] = prose::EVALUATIONS;
