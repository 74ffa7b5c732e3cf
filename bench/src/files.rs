//! The models of the race as files, made once.

use crate::shape::{self, Shape};
use crate::{checkpoint, gguf};
use anyhow::{Context, Result};
use safetensors::Dtype;
use std::path::{Path, PathBuf};

/// A model of the race in one width of its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its shape.
    pub shape: Shape,
    /// Width of the numbers in its checkpoint.
    pub width: &'static str,
    /// Width in the peer's file; `None` where the peer does not run.
    pub gguf: Option<&'static str>,
}

impl Entry {
    /// What it is called.
    pub fn name(&self) -> String {
        format!("{} {}", self.shape.name, self.width)
    }

    /// Its directory below that of the models.
    pub fn directory(&self) -> String {
        format!("{}.{}", self.shape.name, self.width)
    }

    /// The peer's file.
    pub fn peer_file(&self) -> Option<String> {
        self.gguf.map(|width| format!("{}.{width}.gguf", self.shape.name))
    }
}

/// The models against which engines run.
pub const RACE: [Entry; 4] = [
    Entry { shape: shape::S, width: "f32", gguf: Some("f32") },
    Entry { shape: shape::M, width: "f32", gguf: Some("f32") },
    Entry { shape: shape::M, width: "f16", gguf: Some("f16") },
    Entry { shape: shape::M, width: "bf16", gguf: Some("f16") },
];

/// The same work a token with eight experts and with 64.
pub const EXPERTS: [Entry; 2] =
    [Entry { shape: shape::FEW, width: "f32", gguf: None }, Entry { shape: shape::MANY, width: "f32", gguf: None }];

/// Makes what is missing below `directory`; a file counts as made when it is whole.
///
/// # Errors
/// A file cannot be written: the disk is full, say.
pub fn make(directory: &Path) -> Result<()> {
    for entry in RACE.iter().chain(&EXPERTS) {
        let dtype = match entry.width {
            "f16" => Dtype::F16,
            "bf16" => Dtype::BF16,
            _ => Dtype::F32,
        };
        whole(directory.join(entry.directory()), |to| checkpoint::write(&entry.shape, dtype, to))?;
        if let Some(file) = entry.peer_file() {
            let width = if entry.gguf == Some("f16") { gguf::Width::F16 } else { gguf::Width::F32 };
            whole(directory.join(file), |to| gguf::write(&entry.shape, width, to))?;
        }
    }
    Ok(())
}

/// Makes `path` under another name, and gives it its own when it is whole.
fn whole(path: PathBuf, make: impl Fn(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    eprintln!("Making {}", path.display());
    let unfinished = path.with_extension("unfinished");
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir_all(path.parent().expect("it is in a directory"))?;
    make(&unfinished)?;
    std::fs::rename(&unfinished, &path).with_context(|| format!("cannot make {}", path.display()))
}
