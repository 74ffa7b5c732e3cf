//! The repository's own files: no line is longer than 120 columns, and what a document links or names is there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use xtask::workspace;

/// The most columns of a line.
const COLUMNS: usize = 120;

/// What is written by hand, by the end of its name.
const BY_HAND: [&str; 10] = ["css", "html", "js", "md", "py", "rs", "sh", "toml", "wgsl", "yml"];

/// What programs write: the models' cards, and the table of the models.
const GENERATED: [&str; 2] = ["www/models/", "docs/models.md"];

/// Files whose long lines are still to be broken. No file is added to this list.
const STILL_LONG: [&str; 55] = [
    "index.html",
    "page/Cargo.toml",
    "page/src/api.rs",
    "page/src/app.rs",
    "page/src/ui/balance/filling_view.rs",
    "page/src/ui/balance/load_balance.rs",
    "page/src/ui/browser/canvas.rs",
    "page/src/ui/browser/deferred.rs",
    "page/src/ui/browser/frame_budget.rs",
    "page/src/ui/browser/palette.rs",
    "page/src/ui/change/change_bar.rs",
    "page/src/ui/change/effect_view.rs",
    "page/src/ui/change/policy_card.rs",
    "page/src/ui/change/sweeps.rs",
    "page/src/ui/change/writes_view.rs",
    "page/src/ui/charts/flow.rs",
    "page/src/ui/charts/picture.rs",
    "page/src/ui/charts/routing_map.rs",
    "page/src/ui/charts/save.rs",
    "page/src/ui/compare/compare_card.rs",
    "page/src/ui/compare/compare_snapshots.rs",
    "page/src/ui/cost/cost_card.rs",
    "page/src/ui/cost/mixtral_card.rs",
    "page/src/ui/inspect/dossier.rs",
    "page/src/ui/inspect/expert_inspector.rs",
    "page/src/ui/inspect/token_inspector.rs",
    "page/src/ui/parts/dialog.rs",
    "page/src/ui/parts/icon.rs",
    "page/src/ui/parts/popup.rs",
    "page/src/ui/shell/backend_badge.rs",
    "page/src/ui/shell/drawer.rs",
    "page/src/ui/shell/header.rs",
    "page/src/ui/shell/model_select.rs",
    "page/src/ui/shell/notices.rs",
    "page/src/ui/shell/share.rs",
    "page/src/ui/stage/open_layer.rs",
    "page/src/ui/stage/small_layer.rs",
    "page/src/ui/stage/stage_card.rs",
    "page/src/ui/story/story_cards.rs",
    "page/src/ui/story/story_step.rs",
    "page/src/ui/strip/playback.rs",
    "page/src/ui/strip/strip_part.rs",
    "page/src/ui/strip/strip_tools.rs",
    "page/src/ui/strip/strip_view.rs",
    "page/src/ui/strip/token_strip.rs",
    "page/src/ui/text/examples.rs",
    "page/src/ui/text/generate.rs",
    "page/src/ui/text/text_field.rs",
    "page/src/ui/training/training_card.rs",
    "page/state/src/phrase.rs",
    "page/state/src/story.rs",
    "page/state/src/view.rs",
    "page/state/tests/address.rs",
    "www/keeper.js",
    "www/style.css",
];

/// Folders whose files a document may name in backticks.
const FOLDERS: [&str; 13] = [
    ".github/", "bench/", "benches/", "docs/", "page/", "shaders/", "src/", "tests/", "train/", "www/", "xtask/",
    ".cargo/", ".ci/",
];

/// The files of the repository, as git lists them: tracked, or new and not ignored.
fn files() -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(workspace::root());
    let output = git.output().expect("this test needs git");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git cannot list the files: {message}");
    let list = String::from_utf8(output.stdout).expect("names are Unicode");
    let there = |path: &&str| !path.is_empty() && workspace::root().join(path).is_file();
    let files: Vec<String> = list.split('\0').filter(there).map(str::to_owned).collect();
    assert!(files.len() > 200, "git lists only {} files", files.len());
    files
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn ends_in(path: &str, ends: &[&str]) -> bool {
    Path::new(path).extension().is_some_and(|end| ends.iter().any(|one| end == *one))
}

fn documents() -> Vec<String> {
    files().into_iter().filter(|path| ends_in(path, &["md"])).collect()
}

#[test]
fn no_line_is_longer_than_120_columns() {
    let is_ours = |path: &String| {
        ends_in(path, &BY_HAND)
            && !GENERATED.iter().any(|start| path.starts_with(start))
            && !STILL_LONG.contains(&path.as_str())
    };
    let mut long = Vec::new();
    for path in files().into_iter().filter(is_ours) {
        for (at, line) in read(&path).lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                long.push(format!("{path}:{}: {columns} columns", at + 1));
            }
        }
    }
    assert!(long.is_empty(), "{} lines are longer than {COLUMNS} columns:\n{}", long.len(), long.join("\n"));
}

/// The text of a document without its code blocks, fenced or indented after an empty line.
fn prose(document: &str) -> String {
    let (mut fenced, mut indented, mut empty) = (false, false, true);
    let mut kept = String::new();
    for line in document.lines() {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        // A list's item goes on with an indentation of its own: only code after an empty line is code.
        indented = line.starts_with("    ") && (empty || indented);
        empty = line.trim().is_empty();
        if !fenced && !is_fence && !indented {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// What stands between each `start` and the next `end`.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.split_once(end).map(|(inside, _)| inside))
}

/// The addresses of links and pictures, those on other sites left out.
fn links(document: &str) -> Vec<String> {
    let text = prose(document);
    let all = between(&text, "](", ")").chain(between(&text, "src=\"", "\"")).chain(between(&text, "href=\"", "\""));
    all.filter(|address| !address.contains(':')).map(str::to_owned).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &str) -> BTreeSet<String> {
    let text = prose(document);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// A path with its `..` taken out.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

#[test]
fn what_a_document_links_is_there() {
    let mut broken = Vec::new();
    let mut count = 0;
    for path in documents() {
        let document = read(&path);
        for link in links(&document) {
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => PathBuf::from(&path),
                file => plain(&Path::new(&path).parent().expect("a file has a folder").join(file)),
            };
            let is_there = workspace::root().join(&target).exists();
            let has_place = || anchors(&read(&target.to_string_lossy())).contains(place);
            if !is_there || (!place.is_empty() && !has_place()) {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The paths that a document names in backticks. A word in capitals, as NAME, stands for any name.
fn named_paths(document: &str) -> Vec<String> {
    let text = prose(document);
    let code = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned);
    let is_path = |code: &String| {
        let is_plain = !code.contains([' ', '*', '{', '<', '|', ':']);
        let is_placeholder = code.split(['/', '.']).any(|part| part.len() > 1 && part.chars().all(char::is_uppercase));
        is_plain && !is_placeholder && FOLDERS.iter().any(|folder| code.starts_with(folder))
    };
    code.filter(is_path).collect()
}

#[test]
fn the_paths_that_documents_name_are_there() {
    // A changelog names what was; the models' cards name files of the run that made them.
    let is_checked = |path: &String| path != "CHANGELOG.md" && !GENERATED.iter().any(|start| path.starts_with(start));
    let mut missing = Vec::new();
    let mut count = 0;
    for path in documents().into_iter().filter(is_checked) {
        for named in named_paths(&read(&path)) {
            count += 1;
            // Beside the document, as the trainer's README names its files, or from the root.
            let beside = Path::new(&path).parent().expect("a file has a folder").join(&named);
            if !workspace::root().join(&named).exists() && !workspace::root().join(beside).exists() {
                missing.push(format!("{path}: {named}"));
            }
        }
    }
    assert!(count > 50, "only {count} paths were found");
    assert!(missing.is_empty(), "documents name files that are not there:\n{}", missing.join("\n"));
}

#[test]
fn prose_is_told_from_code_and_headings_give_anchors() {
    let document = "# A `b` (c), d\n\n[x](a.md#b) and\n  `src/x.rs`\n\n    [code](no.md)\n\n```\n[more](no.md)\n```\n\
                    ![p](q.webp) <img src=\"r.webp\"> [s](https://example.org) `shaders/NAME.wgsl`\n";
    assert_eq!(links(document), ["a.md#b", "q.webp", "r.webp"]);
    assert_eq!(anchors(document).into_iter().collect::<Vec<_>>(), ["a-b-c-d"]);
    assert_eq!(named_paths(document), ["src/x.rs"]);
    assert_eq!(plain(Path::new("docs/decisions/../../src")), Path::new("src"));
}
