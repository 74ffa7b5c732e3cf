//! The domains of code and other notations.

use super::Package::{Deb, DebSource};
use super::{Domain, source};
use crate::corpus::read::code as read;

/// Code and other notations.
pub const DOMAINS: &[Domain] = &[
    Domain {
        name: "rust",
        title: "Rust: its compiler and standard library",
        bytes: 8_000_000,
        sources: &[source(Deb("rust-src"), "MIT or Apache-2.0", 1.0, read::rust)],
    },
    Domain {
        name: "python",
        title: "Python: its standard library and Django",
        bytes: 8_000_000,
        sources: &[
            source(Deb("libpython3.11-stdlib"), "PSF-2", 0.6, read::python),
            source(Deb("python3-django"), "BSD-3-Clause", 0.4, read::python),
        ],
    },
    Domain {
        name: "c",
        title: "C: the version control system git",
        bytes: 8_000_000,
        sources: &[source(DebSource("git"), "GPL-2", 1.0, read::c)],
    },
    Domain {
        name: "mathematics",
        title: "Mathematics: statements of the Metamath library",
        bytes: 8_000_000,
        sources: &[source(Deb("metamath-databases"), "CC0-1.0", 1.0, read::metamath)],
    },
    Domain {
        name: "chess",
        title: "Chess games in PGN",
        bytes: 8_000_000,
        sources: &[source(DebSource("gnuchess-book"), "public domain", 1.0, read::chess)],
    },
];
