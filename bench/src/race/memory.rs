//! How much memory each engine takes with a model open: the PSS of the browser's renderer processes, from Linux.
//! The browser's own count (`measureUserAgentSpecificMemory`) leaves out WebAssembly memory in workers.

use super::{Places, Stage};
use crate::files::{Entry, RACE};
use crate::report::Cost;
use anyhow::Result;
use moescope_e2e::tools::Tools;
use std::collections::HashMap;
use std::fs;

/// The megabytes that each open model adds after a prompt has run, each in a new browser. Empty on other systems than
/// Linux.
pub(super) async fn measure(tools: &Tools, places: &Places) -> Result<Vec<Cost>> {
    if renderers().is_none() {
        eprintln!("Memory is measured only on Linux");
        return Ok(Vec::new());
    }
    let mut costs = Vec::new();
    for entry in RACE {
        eprintln!("{}: memory", entry.name());
        let stage = Stage::new(tools, places).await?;
        let measured = of_both(&stage, &entry).await;
        stage.browser.clone().quit().await?;
        let (own, peer) = measured?;
        let peer: Vec<f64> = peer.into_iter().collect();
        costs.push(Cost::new(&entry.name(), "memory, MB", &[own], &peer));
    }
    Ok(costs)
}

async fn of_both(stage: &Stage, entry: &Entry) -> Result<(f64, Option<f64>)> {
    let now = || renderers().unwrap_or_default();
    let before = now();
    stage.open(entry, entry.backend).await?;
    let with_own = now();
    let has_peer = stage.has_peer && stage.open_peer(entry).await?.is_some();
    Ok((with_own - before, has_peer.then(|| now() - with_own)))
}

/// Megabytes of all renderer processes that descend from this process; shared pages are divided among them (PSS).
fn renderers() -> Option<f64> {
    let parents: HashMap<u32, u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let is_ours = |mut process: u32| {
        while let Some(&parent) = parents.get(&process) {
            if parent == std::process::id() {
                return true;
            }
            process = parent;
        }
        false
    };
    let is_renderer = |process: &&u32| {
        let command = fs::read_to_string(format!("/proc/{process}/cmdline"));
        command.is_ok_and(|command| command.contains("--type=renderer")) && is_ours(**process)
    };
    Some(parents.keys().filter(is_renderer).filter_map(|&process| megabytes(process)).sum())
}

/// A process's parent: the fourth field of `stat`. The second, a name in brackets, may contain spaces.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn megabytes(process: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0 / 1e6)
}
