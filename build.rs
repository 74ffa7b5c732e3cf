//! Copies the shaders to the build directory without comments and indentation, to make the download smaller.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=shaders");
    let to = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("shaders");
    for directory in ["", "shared"] {
        fs::create_dir_all(to.join(directory))?;
        for entry in fs::read_dir(Path::new("shaders").join(directory))? {
            let path = entry?.path();
            if path.is_file() {
                let name = path.file_name().expect("it is a file");
                fs::write(to.join(directory).join(name), bare(&fs::read_to_string(&path)?))?;
            }
        }
    }
    Ok(())
}

/// Removes comments, indentation and empty lines. WGSL has no strings, so `//` always starts a comment.
fn bare(wgsl: &str) -> String {
    let lines = wgsl.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}
