//! Writes files either completely or not at all, and computes checksums.

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

/// The temporary name of a file or folder that is not complete yet.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// Writes a temporary file, syncs it and renames it, so that `path` is always the old file or the complete new one.
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
            anyhow::anyhow!("{error}{}", advice(&error))
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Advice for an error that the user can mend; empty for others.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; the disk is full, make room and run the same command again",
        _ => "",
    }
}

/// Writes a temporary folder and renames it, so that `target` is always the old folder or the complete new one. Where
/// `write` fails, the temporary folder is removed.
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
    replace().map_err(|error| {
        let _ = fs::remove_dir_all(&part);
        let advice = error.root_cause().downcast_ref::<io::Error>().map_or("", advice);
        error.context(format!("cannot write {}; what was there before is untouched{advice}", target.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writing to a link to /dev/full fails as on a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_the_old_folder() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        replace_folder(&target, |part| Ok(fs::write(part.join("weights"), "old")?)).unwrap();
        let full = replace_folder(&target, |part| {
            fs::write(part.join("config"), "new")?;
            std::os::unix::fs::symlink("/dev/full", part.join("weights"))?;
            Ok(fs::write(part.join("weights"), "new")?)
        });
        let error = format!("{:#}", full.unwrap_err());
        assert!(error.contains("what was there before is untouched; the disk is full, make room"), "{error}");
        assert_eq!(fs::read_to_string(target.join("weights")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        replace_folder(&target, |part| Ok(fs::write(part.join("weights"), "new")?)).unwrap();
        assert_eq!(fs::read_to_string(target.join("weights")).unwrap(), "new");
    }
}
