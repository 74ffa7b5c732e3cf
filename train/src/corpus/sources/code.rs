//! The domains of code and other notations.

use super::Package::{Deb, DebSource, Npm};
use super::{Domain, source};
use crate::corpus::read::code as read;

const RUST_CRATE: &str = "MIT or Apache-2.0";

/// Code and other notations.
pub const DOMAINS: &[Domain] = &[
    Domain {
        name: "rust",
        title: "Rust: its compiler, its standard library and crates",
        bytes: 10_000_000,
        sources: &[
            source(Deb("rust-src"), "MIT or Apache-2.0", 0.3, read::rust),
            source(Deb("librust-cargo-dev"), RUST_CRATE, 0.14, read::rust),
            source(Deb("librust-tokio-dev"), "MIT", 0.14, read::rust),
            source(Deb("librust-sequoia-openpgp-dev"), "LGPL-2+", 0.09, read::rust),
            source(Deb("librust-rustls-dev"), "MIT or Apache-2.0 or ISC", 0.06, read::rust),
            source(Deb("librust-image-dev"), "MIT", 0.06, read::rust),
            source(Deb("librust-hyper-dev"), "MIT", 0.05, read::rust),
            source(Deb("librust-clap-dev"), RUST_CRATE, 0.05, read::rust),
            source(Deb("librust-gimli-dev"), RUST_CRATE, 0.05, read::rust),
            source(Deb("librust-rayon-dev"), RUST_CRATE, 0.04, read::rust),
            source(Deb("librust-git2-dev"), RUST_CRATE, 0.02, read::rust),
        ],
    },
    Domain {
        name: "python",
        title: "Python: its standard library, Django and other packages",
        bytes: 10_000_000,
        sources: &[
            source(Deb("libpython3.11-stdlib"), "PSF-2", 0.3, read::python),
            source(Deb("python3-django"), "BSD-3-Clause", 0.2, read::python),
            source(Deb("python3-twisted"), "MIT", 0.14, read::python),
            source(Deb("python3-sqlalchemy"), "MIT", 0.12, read::python),
            source(Deb("python3-networkx"), "BSD-3-Clause", 0.12, read::python),
            source(Deb("ansible-core"), "GPL-3+", 0.12, read::python),
        ],
    },
    Domain {
        name: "c",
        title: "C: git, curl, Redis, nginx, tmux and Lua",
        bytes: 10_000_000,
        sources: &[
            source(DebSource("git"), "GPL-2", 0.3, read::c),
            source(DebSource("curl"), "curl (MIT style)", 0.2, read::c),
            source(DebSource("redis"), "BSD-3-Clause", 0.2, read::c),
            source(DebSource("nginx"), "BSD-2-Clause", 0.14, read::c),
            source(DebSource("tmux"), "ISC", 0.1, read::c),
            source(DebSource("lua5.4"), "MIT", 0.06, read::c),
        ],
    },
    Domain {
        name: "javascript",
        title: "JavaScript: three.js, webpack, npm, ESLint and other packages",
        bytes: 10_000_000,
        sources: &[
            source(Npm("three"), "MIT", 0.3, read::javascript),
            source(Npm("webpack"), "MIT", 0.17, read::javascript),
            source(Npm("npm"), "Artistic-2.0 and the licences of the packages in it", 0.14, read::javascript),
            source(Npm("eslint"), "MIT", 0.14, read::javascript),
            source(Npm("svelte"), "MIT", 0.09, read::javascript),
            source(Npm("mathjs"), "Apache-2.0", 0.07, read::javascript),
            source(Npm("codemirror@5"), "MIT", 0.05, read::javascript),
            source(Npm("lodash"), "MIT", 0.03, read::javascript),
            source(Npm("moment"), "MIT", 0.01, read::javascript),
        ],
    },
    Domain {
        name: "markup",
        title: "HTML pages and JSON data",
        bytes: 10_000_000,
        sources: &[
            source(Deb("python3.11-doc"), "PSF-2", 0.16, read::html_source),
            source(Deb("postgresql-doc-15"), "PostgreSQL", 0.12, read::html_source),
            source(Deb("sqlite3-doc"), "public domain", 0.12, read::html_source),
            source(Deb("git-doc"), "GPL-2", 0.1, read::html_source),
            source(Npm("@mdn/browser-compat-data"), "CC0-1.0", 0.18, read::json),
            source(Npm("@octokit/openapi"), "MIT", 0.14, read::github_api),
            source(Npm("vega-datasets"), "BSD-3-Clause", 0.06, read::json),
            source(Npm("simple-icons"), "CC0-1.0", 0.04, read::json),
            source(Npm("mdn-data"), "CC0-1.0", 0.04, read::json),
            source(Npm("npm"), "Artistic-2.0 and the licences of the packages in it", 0.04, read::json),
        ],
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
