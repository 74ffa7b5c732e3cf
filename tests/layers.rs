//! Reads the imports of `src/` and checks the layers: a file imports only from folders before its own in [`LAYERS`]
//! and from its own folder, and no files import each other in a circle. Prints the number of imports between folders.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src/`, from the ground up. A file imports from its own folder and from those before it.
const LAYERS: [&str; 10] =
    ["error", "shape", "model", "tokenizer", "kernels", "layer", "engine", "routing", "session", "cli"];

/// A source file by its module path: `["kernels", "softmax"]`; a folder's `mod.rs` is `["kernels"]`.
type Module = Vec<String>;

/// Imports by file: the modules that each file imports outside of its tests.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn imports_run_down_the_layers_and_form_no_circle() {
    let graph = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(graph.len() > 50 && graph.values().map(BTreeSet::len).sum::<usize>() > 100, "too little was read");
    let unknown: Vec<_> = graph.keys().filter(|module| rank(module).is_none()).collect();
    assert!(unknown.is_empty(), "name these folders in LAYERS, and in the design: {unknown:?}");
    println!("{}", between_folders(&graph));
    let upwards = upwards(&graph);
    assert!(upwards.is_empty(), "these imports run up the layers {LAYERS:?}:\n{}", upwards.join("\n"));
    if let Some(circle) = circle(&graph) {
        let files: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
        panic!("these files import each other in a circle: {}", files.join(" -> "));
    }
}

/// The crates of the page have no layers of their own, but no circles either.
#[test]
fn the_files_of_the_page_form_no_circle() {
    for (folder, least) in [("page/src", 60), ("page/state/src", 15), ("page/worker/src", 10)] {
        let graph = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(graph.len() >= least, "{folder}: only {} files were read", graph.len());
        if let Some(circle) = circle(&graph) {
            let files: Vec<String> = circle.iter().map(|module| module.join("/")).collect();
            panic!("{folder}: these files import each other in a circle: {}", files.join(" -> "));
        }
    }
}

#[test]
fn an_import_that_runs_up_and_a_circle_are_found() {
    let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let graph = |arrows: &[(&str, &str)]| -> Graph {
        let mut graph = Graph::new();
        for (from, to) in arrows {
            graph.entry(module(from)).or_default().insert(module(to));
            graph.entry(module(to)).or_default();
        }
        graph
    };
    let arrows = [("engine::step", "shape"), ("routing::effect", "routing::trace")];
    assert!(upwards(&graph(&arrows)).is_empty() && circle(&graph(&arrows)).is_none());
    assert_eq!(upwards(&graph(&[("kernels::gate", "routing")])), ["kernels/gate -> routing"]);
    let round = [("model::a", "model::b"), ("model::b", "model::c"), ("model::c", "model::a")];
    assert_eq!(circle(&graph(&round)).map(|circle| circle.len()), Some(4));
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let source = "use super::stored::{Stored, by_f16};\nuse crate::{error::Result, shape};\n// crate::session\n\
                  fn f() { super::madd::madd(); }\nmod inner {\n    use super::*;\n    use super::super::gate;\n}\n\
                  #[cfg(test)]\nmod tests {\n    use crate::session::Session;\n}\n";
    let here: Module = vec!["kernels".into(), "linear".into()];
    let found: BTreeSet<String> = paths(source, &here).into_iter().map(|path| path.join("::")).collect();
    let expected = [
        "error::Result",
        "kernels::gate",
        "kernels::linear",
        "kernels::madd::madd",
        "kernels::stored::Stored",
        "kernels::stored::by_f16",
        "shape",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

/// The index in [`LAYERS`] of a module's folder.
fn rank(module: &Module) -> Option<usize> {
    LAYERS.iter().position(|layer| module.first().is_some_and(|folder| folder == layer))
}

fn upwards(graph: &Graph) -> Vec<String> {
    let arrows = graph.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)));
    let up = arrows.filter(|(from, to)| rank(to) > rank(from));
    up.map(|(from, to)| format!("{} -> {}", from.join("/"), to.join("/"))).collect()
}

/// One line for each folder: the folders that it imports from, with the numbers of imports.
fn between_folders(graph: &Graph) -> String {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (from, all) in graph {
        for to in all {
            let (Some(from), Some(to)) = (rank(from), rank(to)) else { continue };
            *counts.entry((from, to)).or_default() += usize::from(from != to);
        }
    }
    let line = |(from, name): (usize, &&str)| {
        let to = (0..LAYERS.len()).filter_map(|to| Some((to, *counts.get(&(from, to))?))).filter(|(_, n)| *n > 0);
        let to: Vec<String> = to.map(|(to, n)| format!("{} ({n})", LAYERS[to])).collect();
        if to.is_empty() { (*name).to_owned() } else { format!("{name} -> {}", to.join(", ")) }
    };
    LAYERS.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// Files that import each other in a circle, with the first one repeated at the end.
fn circle(graph: &Graph) -> Option<Vec<Module>> {
    fn walk(graph: &Graph, at: &Module, path: &mut Vec<Module>, done: &mut BTreeSet<Module>) -> Option<Vec<Module>> {
        if let Some(start) = path.iter().position(|module| module == at) {
            return Some(path[start..].iter().chain([at]).cloned().collect());
        }
        if !done.contains(at) {
            path.push(at.clone());
            let found = graph.get(at).into_iter().flatten().find_map(|to| walk(graph, to, path, done));
            path.pop();
            done.insert(at.clone());
            return found;
        }
        None
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| walk(graph, start, &mut Vec::new(), &mut done))
}

/// The imports of every file of `src`, both of the library and of the command line.
fn imports(src: &Path) -> Graph {
    let mut files = BTreeMap::new();
    collect(src, &mut Vec::new(), &mut files);
    let named = |path: Vec<String>| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| files.contains_key(p));
    let of = |(module, file): (&Module, &PathBuf)| {
        let source = fs::read_to_string(file).expect("a source file");
        let all = paths(&source, module).into_iter().filter_map(named).filter(|to| to != module);
        (module.clone(), all.collect())
    };
    files.iter().map(of).collect()
}

fn collect(folder: &Path, at: &mut Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        // These files only list the folders.
        if at.is_empty() && (name == "lib" || name == "main") {
            continue;
        }
        at.push(name.clone());
        if path.is_dir() {
            collect(&path, at, files);
        } else if name == "mod" {
            files.insert(at[..at.len() - 1].to_vec(), path);
        } else {
            files.insert(at.clone(), path);
        }
        at.pop();
    }
}

/// Every path in a file that starts with `crate`, `super`, `self` or the library's name, resolved from the crate's
/// root. Comments and tests are ignored.
fn paths(source: &str, module: &Module) -> Vec<Module> {
    let code: Vec<&str> = source.lines().take_while(|line| *line != "#[cfg(test)]").collect();
    let mut found = Vec::new();
    // Modules within the file, which `super` counts as well.
    let mut inner = 0;
    let mut text = String::new();
    for line in code {
        inner += usize::from(line.starts_with("mod ") && line.ends_with('{'));
        let line_code = line.split("//").next().unwrap_or_default();
        text.push_str(&line_code.replace("super::", if inner > 0 { "inner::" } else { "super::" }));
        text.push('\n');
        if line == "}" {
            inner = 0;
        }
    }
    for root in ["crate::", "super::", "inner::", "self::", "moescope::"] {
        let starts = text.match_indices(root).map(|(at, _)| at);
        for at in starts.filter(|&at| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')) {
            for path in expanded(&text[at..]) {
                found.extend(resolved(&path, module));
            }
        }
    }
    found
}

/// Expands the braces of a path: `a::{b, c::{d, e}}` gives `a::b`, `a::c::d` and `a::c::e`.
fn expanded(text: &str) -> Vec<Vec<String>> {
    let name_end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let head: Vec<String> = text[..name_end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let Some(list) = text[name_end..].strip_prefix('{').filter(|_| text[..name_end].ends_with("::")) else {
        return vec![head];
    };
    let (mut depth, mut start, mut all) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                let tails = expanded(list[start..at].trim());
                all.extend(tails.into_iter().filter(|tail| !tail.is_empty()).map(|tail| [head.clone(), tail].concat()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    all
}

/// The path from the crate's root; `None` where it leaves the crate.
fn resolved(path: &[String], module: &Module) -> Option<Module> {
    let first = path.first()?.as_str();
    let supers = path.iter().take_while(|part| *part == "super" || *part == "inner").count();
    match first {
        "crate" | "moescope" => Some(path[1..].to_vec()),
        "self" => Some([module.clone(), path[1..].to_vec()].concat()),
        // In a module within a file, the first `super` is the file itself.
        "inner" => Some([module[..module.len() + 1 - supers].to_vec(), path[supers..].to_vec()].concat()),
        _ => Some([module[..module.len().checked_sub(supers)?].to_vec(), path[supers..].to_vec()].concat()),
    }
}
