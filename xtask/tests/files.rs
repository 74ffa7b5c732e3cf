//! The repository's own files: no line is longer than 120 columns, and all links and paths in documents exist.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use xtask::workspace;

/// The most columns of a line.
const COLUMNS: usize = 120;

/// Endings of files that are written by hand.
const BY_HAND: [&str; 10] = ["css", "html", "js", "md", "py", "rs", "sh", "toml", "wgsl", "yml"];

/// Files that programs write: the models' cards, and the table of the models.
const GENERATED: [&str; 2] = ["www/models/", "docs/models.md"];

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
    let is_ours = |path: &String| ends_in(path, &BY_HAND) && !GENERATED.iter().any(|start| path.starts_with(start));
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
        // List items have an indentation of their own, so only an indentation after an empty line marks code.
        indented = line.starts_with("    ") && (empty || indented);
        empty = line.trim().is_empty();
        if !fenced && !is_fence && !indented {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The texts between each `start` and the next `end`.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.split_once(end).map(|(inside, _)| inside))
}

/// The addresses of links and pictures, without those of other sites.
fn links(document: &str) -> Vec<String> {
    let text = prose(document);
    let all = between(&text, "](", ")").chain(between(&text, "src=\"", "\"")).chain(between(&text, "href=\"", "\""));
    all.filter(|address| !address.contains(':')).map(str::to_owned).collect()
}

/// The anchor of a heading, in GitHub's form.
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

/// Resolves the `..` in a path.
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

/// The paths that a document names in backticks. A word in capitals, such as NAME, stands for any name.
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
    // The changelog names old files; the models' cards name files of the training run.
    let is_checked = |path: &String| path != "CHANGELOG.md" && !GENERATED.iter().any(|start| path.starts_with(start));
    let mut missing = Vec::new();
    let mut count = 0;
    for path in documents().into_iter().filter(is_checked) {
        for named in named_paths(&read(&path)) {
            count += 1;
            // The path is relative to the document (as in the trainer's README) or to the root.
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

/// A browser runs the script in index.html only if the page's policy has its hash.
#[test]
fn the_policy_has_the_hash_of_the_script_in_the_page() {
    use base64::Engine;
    use sha2::Digest;
    let page = read("index.html");
    let script =
        page.split_once("<script data-build=\"{{build}}\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let script = script.expect("a script").0;
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(script));
    assert!(page.contains(&format!("'sha256-{hash}'")), "the policy in index.html must have 'sha256-{hash}'");
    assert_eq!(page.matches("<script").count(), 2, "each script without a file needs a hash");
}
