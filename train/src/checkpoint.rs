//! Checkpoints: the complete state of a run, from which it continues exactly as it would have without a stop. A
//! checkpoint is written as a whole or not at all, with a checksum. The previous one is kept in case the newest is
//! damaged.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::curves::Curves;
use crate::files::write_whole;

/// The state of a run after `step` steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its metadata.
    pub about: About,
    /// The parameters.
    pub values: Vec<f32>,
    /// The optimiser's first moments.
    pub first: Vec<f32>,
    /// The optimiser's second moments.
    pub second: Vec<f32>,
}

/// The metadata of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The configuration of the run.
    pub config: Config,
    /// Checksums of the text and the tokenizer it was trained on.
    pub corpus: String,
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Seconds spent in steps so far.
    pub seconds: f64,
    /// The curves so far.
    pub curves: Curves,
}

const NEWEST: &str = "newest.ckpt";
const BEFORE: &str = "before.ckpt";
/// The name of a complete checkpoint that has not replaced the newest one yet.
const NEXT: &str = "next.ckpt";

/// Writes a checkpoint into `folder`; the newest one so far becomes the previous one.
pub fn write(folder: &Path, checkpoint: &Checkpoint) -> Result<()> {
    fn tensor(values: &[f32]) -> Result<TensorView<'_>> {
        Ok(TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?)
    }
    let tensors = [
        ("values", tensor(&checkpoint.values)?),
        ("first", tensor(&checkpoint.first)?),
        ("second", tensor(&checkpoint.second)?),
    ];
    let about = HashMap::from([("about".to_string(), serde_json::to_string(&checkpoint.about)?)]);
    let mut bytes = safetensors::serialize(tensors, Some(about))?;
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    let (newest, next) = (folder.join(NEWEST), folder.join(NEXT));
    write_whole(&next, &bytes)?;
    if newest.exists() {
        fs::rename(&newest, folder.join(BEFORE)).context("cannot keep the checkpoint before")?;
    }
    fs::rename(&next, &newest).with_context(|| format!("cannot write {}", newest.display()))
}

/// The newest undamaged checkpoint in `folder`, if there is any. Prints a warning if the newest one was damaged.
pub fn read(folder: &Path) -> Result<Option<Checkpoint>> {
    let mut damaged = Vec::new();
    for name in [NEWEST, BEFORE] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        match parse(&path) {
            Ok(checkpoint) => {
                for message in damaged {
                    eprintln!("warning: {message}; continuing from the one before, step {}", checkpoint.about.step);
                }
                return Ok(Some(checkpoint));
            }
            Err(error) => damaged.push(format!("{error:#}")),
        }
    }
    if damaged.is_empty() {
        return Ok(None);
    }
    bail!("{}; delete {} to start again", damaged.join(" and "), folder.display())
}

fn parse(path: &Path) -> Result<Checkpoint> {
    let damaged = || format!("the checkpoint {} is damaged", path.display());
    let bytes = fs::read(path).with_context(damaged)?;
    ensure!(bytes.len() > 32, damaged());
    let (body, sum) = bytes.split_at(bytes.len() - 32);
    ensure!(Sha256::digest(body).as_slice() == sum, damaged());
    let (_, header) = SafeTensors::read_metadata(body).with_context(damaged)?;
    let about = header.metadata().as_ref().and_then(|m| m.get("about")).with_context(damaged)?;
    let about: About = serde_json::from_str(about).with_context(damaged)?;
    let tensors = SafeTensors::deserialize(body).with_context(damaged)?;
    let values = |name: &str| -> Result<Vec<f32>> {
        let data = tensors.tensor(name).with_context(damaged)?.data();
        Ok(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    Ok(Checkpoint { values: values("values")?, first: values("first")?, second: values("second")?, about })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;

    fn checkpoint(step: usize) -> Checkpoint {
        let about = About {
            config: tiny(),
            corpus: "sum".into(),
            step,
            tokens: 10 * step,
            seconds: 1.5,
            curves: Curves::default(),
        };
        Checkpoint { about, values: vec![1.5, -2.0, step as f32], first: vec![0.1; 3], second: vec![0.2; 3] }
    }

    /// Writing to a link to /dev/full fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_the_checkpoints_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &checkpoint(1)).unwrap();
        write(folder.path(), &checkpoint(2)).unwrap();
        let part = crate::files::beside(&folder.path().join(NEXT));
        std::os::unix::fs::symlink("/dev/full", &part).unwrap();
        let error = format!("{:#}", write(folder.path(), &checkpoint(3)).unwrap_err());
        assert!(error.contains("the disk is full, make room"), "{error}");
        assert_eq!(read(folder.path()).unwrap(), Some(checkpoint(2)));
        assert!(folder.path().join(BEFORE).exists() && !part.is_symlink());
        write(folder.path(), &checkpoint(3)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(checkpoint(3)));
    }

    #[test]
    fn a_damaged_checkpoint_gives_way_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        write(folder.path(), &checkpoint(1)).unwrap();
        write(folder.path(), &checkpoint(2)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(checkpoint(2)));
        let newest = folder.path().join(NEWEST);
        let mut bytes = fs::read(&newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&newest, &bytes).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(checkpoint(1)));
        fs::write(folder.path().join(BEFORE), b"short").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("newest.ckpt is damaged") && error.contains("before.ckpt is damaged"), "{error}");
    }
}
