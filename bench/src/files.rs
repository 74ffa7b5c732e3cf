//! The models of the race as files. Each is made once.

use crate::onnx::{self, Form};
use crate::race::Devices;
use crate::shape::{self, Shape};
use crate::weights::Numbers;
use crate::{checkpoint, gguf};
use anyhow::{Context, Result};
use safetensors::Dtype;
use std::path::{Path, PathBuf};

/// A model of the race in one number format.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its shape.
    pub shape: Shape,
    /// The number format of Moescope's checkpoint.
    pub dtype: Dtype,
    /// The number format of the peer's file; `None` if the peer does not run it.
    pub gguf: Option<Dtype>,
    /// Whether it is one of the site's models.
    pub ships: bool,
    /// The engine on the page: `cpu`, or `cpu-int8`, whose peer has weights of 8 bits too.
    pub backend: &'static str,
}

impl Entry {
    /// Its name in the tables: the model and the number format.
    pub fn name(&self) -> String {
        let numbers = if self.is_rounded() { "int8" } else { name(self.dtype) };
        format!("{} {numbers}", self.shape.name)
    }

    /// Whether its weights have 8 bits, for the peer too.
    pub fn is_rounded(&self) -> bool {
        self.backend == "cpu-int8"
    }

    /// Bytes of a weight in the CPU engine's memory: models of less than 32 MB are widened to f32.
    pub fn bytes_of_a_number(&self) -> f64 {
        match self.dtype {
            _ if self.is_rounded() => 1.0,
            Dtype::F16 | Dtype::BF16 if self.shape.name == shape::M.name => 2.0,
            _ => 4.0,
        }
    }

    /// The address of its directory, relative to the site.
    pub fn address(&self) -> String {
        if self.ships { format!("models/{}", self.shape.name) } else { format!("race/{}", self.directory()) }
    }

    fn directory(&self) -> String {
        format!("{}.{}", self.shape.name, name(self.dtype))
    }

    fn numbers(&self) -> Result<Numbers> {
        if !self.ships {
            return Ok(Numbers::Seeded);
        }
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../www/models");
        Numbers::stored(&models.join(self.shape.name).join("model.safetensors"))
    }

    /// The name of the peer's file.
    pub fn peer_file(&self) -> Option<String> {
        self.gguf.map(|dtype| format!("{}.{}.gguf", self.shape.name, name(dtype)))
    }
}

fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        // llama.cpp's name for its 8-bit format.
        Dtype::I8 => "q8_0",
        _ => "f32",
    }
}

const M_F32: Entry = Entry { shape: shape::M, dtype: Dtype::F32, gguf: Some(Dtype::F32), ships: false, backend: "cpu" };

/// The models of the race on the CPU.
pub const RACE: [Entry; 6] = [
    Entry { shape: shape::S, ..M_F32 },
    Entry { shape: shape::MAIN, dtype: Dtype::F16, gguf: Some(Dtype::F16), ships: true, ..M_F32 },
    M_F32,
    Entry { dtype: Dtype::F16, gguf: Some(Dtype::F16), ..M_F32 },
    Entry { dtype: Dtype::BF16, gguf: Some(Dtype::F16), ..M_F32 },
    Entry { dtype: Dtype::F16, gguf: Some(Dtype::I8), backend: "cpu-int8", ..M_F32 },
];

/// Models with 8 and with 64 experts, whose tokens cost the same.
pub const EXPERTS: [Entry; 2] =
    [Entry { shape: shape::FEW, gguf: None, ..M_F32 }, Entry { shape: shape::MANY, gguf: None, ..M_F32 }];

/// The model of the race on WebGPU.
pub const ON_GPU: Entry = M_F32;

/// The name of the file with its ONNX graph.
pub fn graph_file(form: Form) -> String {
    format!("{}.{}.onnx", ON_GPU.shape.name, form.name())
}

/// Makes the files below `directory` that a race on these devices needs and that are not there yet.
///
/// # Errors
/// A file cannot be written, for example because the disk is full.
pub fn make(directory: &Path, devices: Devices) -> Result<()> {
    if devices != Devices::Gpu {
        for entry in RACE.iter().chain(&EXPERTS) {
            make_checkpoint(directory, entry)?;
            if let (Some(file), Some(dtype)) = (entry.peer_file(), entry.gguf) {
                whole(directory.join(file), |to| gguf::write(&entry.shape, &entry.numbers()?, dtype, to))?;
            }
        }
    }
    if devices != Devices::Cpu {
        make_checkpoint(directory, &ON_GPU)?;
        for form in [Form::Decode, Form::Prefill] {
            whole(directory.join(graph_file(form)), |to| onnx::write(&ON_GPU.shape, form, to))?;
        }
    }
    Ok(())
}

fn make_checkpoint(directory: &Path, entry: &Entry) -> Result<()> {
    if entry.ships {
        return Ok(());
    }
    whole(directory.join(entry.directory()), |to| checkpoint::write(&entry.shape, entry.dtype, to))
}

/// Makes `path` under a temporary name, and renames it when it is complete.
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
