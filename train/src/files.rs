//! Files that are either whole or not there, and their checksums.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// The name under which something is written before it is whole.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// Writes beside, syncs, renames: whoever opens `path` sees the old file or the new one, never a part of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = beside(path);
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write()
        .map_err(|error| {
            let _ = fs::remove_file(&part);
            let full = error.kind() == io::ErrorKind::StorageFull;
            let advice = if full { "; the disk is full, make room and run the same command again" } else { "" };
            anyhow::anyhow!("{error}{advice}")
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a folder beside and renames: `target` is the old folder or the new one, whole. Where `write` fails, nothing is
/// left of what it wrote.
pub fn replace_folder(target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = beside(target);
    let _ = fs::remove_dir_all(&part);
    let replace = || -> Result<()> {
        fs::create_dir_all(&part)?;
        write(&part)?;
        if !target.exists() {
            return Ok(fs::rename(&part, target)?);
        }
        let old = target.with_extension("old");
        let _ = fs::remove_dir_all(&old);
        fs::rename(target, &old)?;
        fs::rename(&part, target)?;
        Ok(fs::remove_dir_all(&old)?)
    };
    replace()
        .inspect_err(|_| {
            let _ = fs::remove_dir_all(&part);
        })
        .with_context(|| format!("cannot write {}; what was there before is untouched", target.display()))
}
