//! The models of the race as files, made once.

use crate::onnx::{self, Form};
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
    /// Kind of the numbers in its checkpoint.
    pub dtype: Dtype,
    /// Kind in the peer's file; `None` where the peer does not run.
    pub gguf: Option<Dtype>,
}

impl Entry {
    /// What it is called.
    pub fn name(&self) -> String {
        format!("{} {}", self.shape.name, name(self.dtype))
    }

    /// Its directory below that of the models.
    pub fn directory(&self) -> String {
        format!("{}.{}", self.shape.name, name(self.dtype))
    }

    /// The peer's file.
    pub fn peer_file(&self) -> Option<String> {
        self.gguf.map(|dtype| format!("{}.{}.gguf", self.shape.name, name(dtype)))
    }
}

fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        _ => "f32",
    }
}

const M_F32: Entry = Entry { shape: shape::M, dtype: Dtype::F32, gguf: Some(Dtype::F32) };

/// The models against which engines run.
pub const RACE: [Entry; 4] = [
    Entry { shape: shape::S, dtype: Dtype::F32, gguf: Some(Dtype::F32) },
    M_F32,
    Entry { shape: shape::M, dtype: Dtype::F16, gguf: Some(Dtype::F16) },
    Entry { shape: shape::M, dtype: Dtype::BF16, gguf: Some(Dtype::F16) },
];

/// The same work a token with eight experts and with 64.
pub const EXPERTS: [Entry; 2] = [
    Entry { shape: shape::FEW, dtype: Dtype::F32, gguf: None },
    Entry { shape: shape::MANY, dtype: Dtype::F32, gguf: None },
];

/// The model that runs on WebGPU.
pub const ON_GPU: Entry = M_F32;

/// The other engine's graph of it.
pub fn graph_file(form: Form) -> String {
    format!("{}.{}.onnx", ON_GPU.shape.name, form.name())
}

/// Makes what is missing below `directory`; a file counts as made when it is whole.
///
/// # Errors
/// A file cannot be written: the disk is full, say.
pub fn make(directory: &Path) -> Result<()> {
    for entry in RACE.iter().chain(&EXPERTS) {
        whole(directory.join(entry.directory()), |to| checkpoint::write(&entry.shape, entry.dtype, to))?;
        if let (Some(file), Some(dtype)) = (entry.peer_file(), entry.gguf) {
            whole(directory.join(file), |to| gguf::write(&entry.shape, dtype, to))?;
        }
    }
    for form in [Form::Decode, Form::Prefill] {
        whole(directory.join(graph_file(form)), |to| onnx::write(&ON_GPU.shape, form, to))?;
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
