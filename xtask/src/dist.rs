//! Assembles the static site: the page's shell, its assets, the models and the WebAssembly in one directory.
//!
//! All links in the site are relative, so any static host can serve it, also under a sub-path. A build writes only
//! files whose contents changed, so file times, and the server's ETags with them, change only with the contents.
//!
//! The program, its styles, messages and examples are in one directory, `build/HASH/`, named after the hash of all of
//! them. Files of two versions therefore never share an address, and caches may keep them for ever. Only index.html
//! names the version.

use crate::wasm::{self, LAB, MODULE, Profile, RELAXED_LAB, RELAXED_PROGRAM};
use crate::{licences, workspace};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files that a model directory may have besides the model: dossiers, training curves, training configuration,
/// recording.
const EXTRAS: [&str; 4] = ["experts.json", "curves.json", "training.json", "recording.json"];

/// Placeholder in index.html for the size of the program in bytes, for its progress bar.
const PROGRAM_BYTES: &str = "{{program-bytes}}";

/// Placeholder for the size in bytes of the program of Learn and Lab.
const LAB_BYTES: &str = "{{lab-bytes}}";

/// Placeholder for the opening example, which is in the text box while the program loads.
const OPENING_TEXT: &str = "{{opening-text}}";

/// Placeholder for the names of the models, separated by slashes.
const MODELS: &str = "{{models}}";

/// Placeholder for the directory of this version's files, with a slash at its end.
const BUILD: &str = "{{build}}";

/// The file that lists the files of that directory, for the service worker.
const FILE_LIST: &str = "files.json";

/// The service worker. Browsers require that its address is the same in every version.
const KEEPER: &str = "keeper.js";

/// The parts of `www/` whose address is the same in every version.
const UNVERSIONED: [&str; 2] = [KEEPER, "models"];

/// A site that was built.
#[derive(Debug)]
pub struct Site {
    /// Its directory.
    pub directory: PathBuf,
    /// The program's directory in the site: `build/HASH`.
    pub build: PathBuf,
    /// Number of files, without the compressed copies.
    pub files: usize,
    /// Bytes of the program (WebAssembly and JavaScript), uncompressed.
    pub program: u64,
    /// Bytes of the program compressed with brotli; `None` in a development build.
    pub program_brotli: Option<u64>,
    /// The program of Learn and Lab (WebAssembly and JavaScript) as it is, in bytes.
    pub lab: u64,
    /// That program compressed with brotli, in bytes; `None` in a development build.
    pub lab_brotli: Option<u64>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} files; the program is {} KB", self.directory.display(), self.files, kilobytes(self.program))?;
        if let Some(bytes) = self.program_brotli {
            write!(f, ", {} KB compressed with brotli", kilobytes(bytes))?;
        }
        write!(f, "; that of Learn and Lab is {} KB", kilobytes(self.lab))?;
        match self.lab_brotli {
            Some(bytes) => write!(f, ", {} KB compressed with brotli", kilobytes(bytes)),
            None => Ok(()),
        }
    }
}

fn kilobytes(bytes: u64) -> u64 {
    bytes.div_ceil(1000)
}

/// One file of the site.
struct Asset {
    /// Its path in the site.
    path: PathBuf,
    /// What it holds.
    contents: Contents,
}

enum Contents {
    CopyOf(PathBuf),
    Bytes(Vec<u8>),
}

impl Contents {
    fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::CopyOf(source) => fs::read(source).with_context(|| format!("cannot read {}", source.display())),
        }
    }
}

/// Builds the whole site in `out`, a path relative to the repository's root.
///
/// # Errors
/// The code does not compile, a source is missing, or `out` contains files of something else.
pub fn build(profile: Profile, out: &Path) -> Result<Site> {
    let out = workspace::root().join(out);
    refuse_foreign_directory(&out)?;
    let bindgen = workspace::target_directory().join("chores").join(match profile {
        Profile::Release => "bindgen-release",
        Profile::Dev => "bindgen-dev",
    });
    wasm::build(profile, &bindgen)?;
    let list = bindgen.join(licences::FILE);
    fs::write(&list, licences::page()?).with_context(|| format!("cannot write {}", list.display()))?;
    assemble(workspace::root(), &bindgen, profile, &out)
}

/// Rejects a directory with other files, because a build removes files that do not belong to the site.
fn refuse_foreign_directory(out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        bail!("{} is a file: name a directory for the site", out.display());
    }
    let in_use = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if in_use && !out.join(KEEPER).is_file() {
        bail!("{} holds files that are no Moescope site: name an empty or a new directory", out.display());
    }
    Ok(())
}

/// Assembles the site from the sources in `root` and wasm-bindgen's output in `bindgen`.
///
/// # Errors
/// A source cannot be read or the site cannot be written.
pub fn assemble(root: &Path, bindgen: &Path, profile: Profile, out: &Path) -> Result<Site> {
    let www = root.join("www");
    let (mut assets, mut versioned) = (Vec::new(), copies(bindgen, Path::new(""))?);
    for asset in copies(&www, Path::new(""))? {
        let is_unversioned = UNVERSIONED.iter().any(|name| asset.path.starts_with(name));
        if is_unversioned { &mut assets } else { &mut versioned }.push(asset);
    }
    share_tokenizers(&mut assets)?;
    versioned.retain(|asset| asset.path != Path::new(LAB).join("texts.json"));
    versioned.extend(lab_files(root)?);
    versioned.sort_by(|one, other| one.path.cmp(&other.path));
    versioned.push(file_list(&versioned)?);
    let template = read_to_string(&root.join("index.html"))?;
    let build = Path::new("build").join(hash(&template, &versioned)?);
    assets.push(Asset {
        path: "models/index.json".into(),
        contents: Contents::Bytes(models_index(&www.join("models"))?),
    });
    assets.extend(versioned.into_iter().map(|asset| Asset { path: build.join(asset.path), ..asset }));
    let page = index_html(&template, root, bindgen, &build)?;
    assets.push(Asset { path: "index.html".into(), contents: Contents::Bytes(page) });

    // The service worker is written first, because it marks the directory as a site. The page is written last, so that
    // it never names files that do not exist yet.
    assets.sort_by_key(|asset| (asset.path != Path::new(KEEPER), asset.path == Path::new("index.html")));
    for asset in &assets {
        write_asset(asset, out)?;
    }
    let mut expected: BTreeSet<PathBuf> = assets.iter().map(|asset| asset.path.clone()).collect();
    if profile == Profile::Release {
        expected.extend(compress(&expected, out)?);
    }
    remove_others(out, Path::new(""), &expected)?;

    // A browser loads one of the two programs.
    let program = [RELAXED_PROGRAM.to_owned(), format!("{MODULE}.js")];
    let lab = [lab_program(), format!("{LAB}/{LAB}.js")];
    let size = |names: &[String; 2], suffix: &str| -> Option<u64> {
        let file = |name| out.join(&build).join(format!("{name}{suffix}"));
        names.iter().map(|name| fs::metadata(file(name)).ok().map(|m| m.len())).sum()
    };
    Ok(Site {
        directory: out.to_owned(),
        files: assets.len(),
        program: size(&program, "").context("the program was not written")?,
        program_brotli: size(&program, ".br"),
        lab: size(&lab, "").context("the program of Learn and Lab was not written")?,
        lab_brotli: size(&lab, ".br"),
        build,
    })
}

/// Files of the labs that are elsewhere in the repository: the digits, the recorded runs of fine-tuning, and the texts
/// that `www/lab/texts.json` lists, put together.
fn lab_files(root: &Path) -> Result<Vec<Asset>> {
    let asset = |name: &str, contents| Asset { path: Path::new(LAB).join(name), contents };
    let list: BTreeMap<String, Vec<String>> = serde_json::from_str(&read_to_string(&root.join("www/lab/texts.json"))?)
        .context("www/lab/texts.json is no list of files")?;
    let mut texts = BTreeMap::new();
    for (name, files) in list {
        let files = files.iter().map(|file| read_to_string(&root.join(file))).collect::<Result<Vec<_>>>()?;
        texts.insert(name, files.concat());
    }
    Ok(vec![
        asset("digits.bin", Contents::CopyOf(root.join("learn/data/digits.bin"))),
        asset("fine-tuning.json", Contents::CopyOf(root.join("docs/fine-tuning.json"))),
        asset("texts.json", Contents::Bytes(serde_json::to_vec(&texts)?)),
    ])
}

/// The path of the WebAssembly of Learn and Lab.
fn lab_program() -> String {
    format!("{LAB}/{RELAXED_LAB}")
}

/// The program's directory in the site at `directory`, as index.html names it: `build/HASH`.
///
/// # Errors
/// There is no site.
pub fn build_of(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("index.html");
    let page = read_to_string(&path)?;
    let build = page.split_once("data-build=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (build, _) = build.with_context(|| format!("{} does not say which version it is", path.display()))?;
    Ok(PathBuf::from(build))
}

/// The names of `assets` as a JSON array.
fn file_list(assets: &[Asset]) -> Result<Asset> {
    let names = assets.iter().map(|asset| asset.path.to_str().map(|path| path.replace('\\', "/")));
    let names: Option<Vec<String>> = names.collect();
    let names = names.context("a file of the site has a name that is not Unicode")?;
    Ok(Asset { path: FILE_LIST.into(), contents: Contents::Bytes(serde_json::to_vec_pretty(&names)?) })
}

/// The hash of a version, over its page and the names and contents of its files.
fn hash(template: &str, assets: &[Asset]) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(template.as_bytes());
    for asset in assets {
        part(asset.path.to_string_lossy().replace('\\', "/").as_bytes());
        part(&asset.contents.read()?);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// All files below `source`, with their paths below `target` in the site.
fn copies(source: &Path, target: &Path) -> Result<Vec<Asset>> {
    let mut assets = Vec::new();
    let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, target) = (entry.path(), target.join(entry.file_name()));
        if path.is_dir() {
            assets.extend(copies(&path, &target)?);
        } else {
            assets.push(Asset { path: target, contents: Contents::CopyOf(path) });
        }
    }
    Ok(assets)
}

/// Leaves out tokenizers that are links to a shared one, and writes the shared file's path to the model's config.json,
/// where the page looks for it (docs/model-format.md).
fn share_tokenizers(assets: &mut Vec<Asset>) -> Result<()> {
    let mut named = Vec::new();
    let mut linked = BTreeSet::new();
    for asset in assets.iter() {
        let Contents::CopyOf(source) = &asset.contents else { continue };
        let name = asset.path.file_name().unwrap_or_default();
        if !source.is_symlink() || (name != "tokenizer.json" && name != "tokenizer_config.json") {
            continue;
        }
        linked.insert(asset.path.clone());
        if name == "tokenizer.json" {
            let target = fs::read_link(source)?;
            if !source.exists() {
                bail!("{} is a link to {}, which is not there", source.display(), target.display());
            }
            let config = fs::read_to_string(source.with_file_name("config.json"));
            let config = config.with_context(|| format!("{} has no config.json beside it", source.display()))?;
            let mut config: serde_json::Value = serde_json::from_str(&config)
                .with_context(|| format!("the config.json beside {} is not JSON", source.display()))?;
            config["tokenizer_file"] = target.to_string_lossy().into();
            named.push((asset.path.with_file_name("config.json"), serde_json::to_vec_pretty(&config)?));
        }
    }
    assets.retain(|asset| !linked.contains(&asset.path));
    for (path, config) in named {
        if let Some(asset) = assets.iter_mut().find(|asset| asset.path == path) {
            asset.contents = Contents::Bytes(config);
        }
    }
    Ok(())
}

fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The page with all placeholders filled in.
fn index_html(template: &str, root: &Path, bindgen: &Path, build: &Path) -> Result<Vec<u8>> {
    for place in [PROGRAM_BYTES, LAB_BYTES, BUILD] {
        if !template.contains(place) {
            bail!("index.html has no {place}");
        }
    }
    let size = |name: &str| -> Result<String> {
        let path = bindgen.join(name);
        Ok(fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len().to_string())
    };
    let build = format!("{}/", build.display()).replace('\\', "/");
    let text = template.replace(PROGRAM_BYTES, &size(RELAXED_PROGRAM)?).replace(BUILD, &build);
    let text = text.replace(LAB_BYTES, &size(&lab_program())?);
    let models = model_names(&root.join("www/models"))?.join("/");
    Ok(text.replace(OPENING_TEXT, &html(&opening_text(root)?)).replace(MODELS, &html(&models)).into_bytes())
}

/// Escapes a text for HTML.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The text of the first example.
fn opening_text(root: &Path) -> Result<String> {
    let path = root.join("www/examples.json");
    let text = read_to_string(&path)?;
    let examples: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    let opening = examples[0]["text"].as_str();
    let opening = opening.with_context(|| format!("{} has no example with a text", path.display()))?;
    Ok(opening.to_owned())
}

/// The names of the model directories: `main` first, the others in alphabetical order.
fn model_names(models: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if models.is_dir() {
        for entry in fs::read_dir(models)? {
            let entry = entry?;
            if entry.path().join("config.json").is_file() {
                names.push(entry.file_name().into_string().map_err(|name| {
                    anyhow::anyhow!("the model directory {} has a name that is not Unicode", name.display())
                })?);
            }
        }
    }
    names.sort_by_key(|name| (name != "main", name.clone()));
    Ok(names)
}

/// The shares of the experts of a model's middle layer over held-out text, as its experts.json has them; none where
/// there is no such file, or no experts.
fn loads(model: &Path) -> Vec<f64> {
    let dossier = fs::read_to_string(model.join("experts.json")).ok();
    let dossier: Option<serde_json::Value> = dossier.and_then(|json| serde_json::from_str(&json).ok());
    let layers = dossier.as_ref().and_then(|dossier| dossier["layers"].as_array());
    let experts = layers.and_then(|layers| layers.get(layers.len() / 2)?["experts"].as_array());
    let load = |expert: &serde_json::Value| (expert["load"].as_f64().unwrap_or(0.0) * 1000.0).round() / 1000.0;
    experts.map_or_else(Vec::new, |experts| experts.iter().map(load).collect())
}

/// `[{"name", "about", "files", "bytes", "loads", "opening"}]` of [`model_names`]. `about` is the first line under the
/// title of the model's card.md, or empty; `files` are those of [`EXTRAS`] that come with it; `bytes` the size of its
/// weights; `loads` the shares of the experts of its middle layer over held-out text; `opening` a text to begin with,
/// from its opening.txt.
fn models_index(models: &Path) -> Result<Vec<u8>> {
    let list: Vec<_> = model_names(models)?
        .iter()
        .map(|name| {
            let card = fs::read_to_string(models.join(name).join("card.md")).unwrap_or_default();
            let is_text = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
            let about = card.lines().find(is_text).unwrap_or_default().trim();
            // The files that the page may request besides the model itself.
            let extras: Vec<&str> = EXTRAS.into_iter().filter(|file| models.join(name).join(file).is_file()).collect();
            let bytes = fs::metadata(models.join(name).join("model.safetensors")).map_or(0, |file| file.len());
            let opening = fs::read_to_string(models.join(name).join("opening.txt")).ok();
            serde_json::json!({
                "name": name, "about": about, "files": extras, "bytes": bytes,
                "loads": loads(&models.join(name)), "opening": opening,
            })
        })
        .collect();
    Ok(serde_json::to_vec_pretty(&list)?)
}

/// Writes a file of the site, unless it exists with the same contents.
fn write_asset(asset: &Asset, out: &Path) -> Result<()> {
    let path = out.join(&asset.path);
    let bytes = asset.contents.read()?;
    if fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    write_file(&path, &bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        fs::write(path, bytes)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Smaller files are not compressed, because they fit into one network packet anyway.
const LEAST_TO_COMPRESS: usize = 1024;

/// Writes `.br` and `.gz` copies of all files but the weights, whose bits are close to random. Returns their paths.
fn compress(paths: &BTreeSet<PathBuf>, out: &Path) -> Result<Vec<PathBuf>> {
    let compressible: Vec<&PathBuf> = paths
        .iter()
        .filter(|path| {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            ["css", "html", "js", "json", "md", "svg", "txt", "wasm"].contains(&extension.as_ref())
        })
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        while let Some(path) = compressible.get(next.fetch_add(1, Ordering::Relaxed)) {
            written.extend(compress_file(path, out)?);
        }
        Ok(written)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let written: Result<Vec<_>> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        Ok(written?.into_iter().flatten().collect())
    })
}

/// Compresses one file, unless its compressed copies are newer. Returns the copies that are smaller than the file.
fn compress_file(path: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let source = out.join(path);
    let bytes = fs::read(&source)?;
    if bytes.len() < LEAST_TO_COMPRESS {
        return Ok(Vec::new());
    }
    let changed = fs::metadata(&source)?.modified()?;
    let mut siblings = Vec::new();
    for (suffix, encode) in [("br", brotli as fn(&[u8]) -> Result<Vec<u8>>), ("gz", gzip)] {
        let sibling = PathBuf::from(format!("{}.{suffix}", path.display()));
        let target = out.join(&sibling);
        let fresh = fs::metadata(&target).and_then(|meta| meta.modified()).is_ok_and(|time| time >= changed);
        if !fresh {
            let compressed = encode(&bytes)?;
            if compressed.len() >= bytes.len() {
                continue;
            }
            write_file(&target, &compressed)?;
        }
        siblings.push(sibling);
    }
    Ok(siblings)
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let params =
        brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 24, size_hint: bytes.len(), ..Default::default() };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &params)?;
    Ok(compressed)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Removes files of an earlier build that are not in `expected`.
fn remove_others(out: &Path, directory: &Path, expected: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(out.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.path().is_dir() {
            remove_others(out, &path, expected)?;
            // Fails where the directory is not empty.
            let _ = fs::remove_dir(entry.path());
        } else if !expected.contains(&path) {
            fs::remove_file(entry.path())
                .with_context(|| format!("cannot remove {}, a file of an earlier build", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary directory for a test, removed when it is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("moescope-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, path: &str, contents: &str) {
            write_file(&self.0.join(path), contents.as_bytes()).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn sources(name: &str) -> Scratch {
        let scratch = Scratch::new(name);
        let shell = format!(
            "<body data-build=\"{BUILD}\" data-models=\"{MODELS}\" data-lab-bytes=\"{LAB_BYTES}\">\
             <progress max=\"{PROGRAM_BYTES}\">\
             <textarea>{OPENING_TEXT}</textarea>"
        );
        scratch.write("index.html", &shell);
        scratch.write("www/examples.json", r#"[{"id": "one", "label": "One", "text": "a < b && c"}]"#);
        scratch.write("www/style.css", &"body { color: red }\n".repeat(200));
        scratch.write("www/keeper.js", "// keeps");
        scratch.write("www/models/second/config.json", "{}");
        scratch.write("www/models/main/config.json", "{}");
        scratch.write("www/models/main/card.md", "\n# main\n\nFour layers, eight experts.\n\nMore.\n");
        scratch.write("www/models/main/experts.json", "{}");
        scratch.write("www/models/no-model/notes.txt", "");
        scratch.write("bindgen/moescope_relaxed.wasm", "12345");
        scratch.write("bindgen/moescope_bg.wasm", "1234567");
        scratch.write("bindgen/moescope.js", "export default 1;");
        scratch.write("bindgen/lab/lab_relaxed.wasm", "123");
        scratch.write("bindgen/lab/lab_bg.wasm", "1234");
        scratch.write("bindgen/lab/lab.js", "export {};");
        scratch.write("www/lab/texts.json", r#"{"one": ["docs/a.md", "docs/b.md"]}"#);
        scratch.write("docs/a.md", "a");
        scratch.write("docs/b.md", "b");
        scratch.write("docs/fine-tuning.json", "{}");
        scratch.write("learn/data/digits.bin", "0");
        scratch
    }

    fn assemble_in(scratch: &Scratch, profile: Profile) -> Site {
        assemble(&scratch.0, &scratch.0.join("bindgen"), profile, &scratch.0.join("out")).unwrap()
    }

    #[test]
    fn a_site_has_the_shell_the_assets_the_program_and_the_list_of_models() {
        let scratch = sources("assemble");
        let site = assemble_in(&scratch, Profile::Release);
        let read = |name: &Path| fs::read_to_string(scratch.0.join("out").join(name)).unwrap();
        assert_eq!(site.files, 20);
        assert_eq!(read(&site.build.join("lab/texts.json")), r#"{"one":"ab"}"#);
        assert_eq!((site.program, site.lab), (22, 13));
        assert!(site.build.starts_with("build") && site.build.to_str().unwrap().len() == "build/".len() + 16);
        assert_eq!(build_of(&site.directory).unwrap().join(""), site.build.join(""));
        let shell = format!(
            "<body data-build=\"{}/\" data-models=\"main/second\" data-lab-bytes=\"3\"><progress max=\"5\">\
             <textarea>a &lt; b &amp;&amp; c</textarea>",
            site.build.display()
        );
        assert_eq!(read("index.html".as_ref()), shell);
        assert_eq!(read("keeper.js".as_ref()), "// keeps");
        assert_eq!(read(&site.build.join("moescope_relaxed.wasm")), "12345");
        assert_eq!(read(&site.build.join("moescope_bg.wasm")), "1234567");
        let files: Vec<String> = serde_json::from_str(&read(&site.build.join("files.json"))).unwrap();
        let expected = [
            "examples.json",
            "lab/digits.bin",
            "lab/fine-tuning.json",
            "lab/lab.js",
            "lab/lab_bg.wasm",
            "lab/lab_relaxed.wasm",
            "lab/texts.json",
            "moescope.js",
            "moescope_bg.wasm",
            "moescope_relaxed.wasm",
            "style.css",
        ];
        assert_eq!(files, expected);
        let models: serde_json::Value = serde_json::from_str(&read("models/index.json".as_ref())).unwrap();
        assert_eq!(
            models,
            serde_json::json!([
                {
                    "name": "main", "about": "Four layers, eight experts.", "files": ["experts.json"],
                    "bytes": 0, "loads": [], "opening": null,
                },
                { "name": "second", "about": "", "files": [], "bytes": 0, "loads": [], "opening": null },
            ])
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_tokenizer_that_models_share_is_in_the_site_once() {
        let scratch = sources("shared");
        scratch.write("www/models/tokenizer/tokenizer.json", "{}");
        scratch.write("www/models/second/tokenizer.json", "{ }");
        let link = scratch.0.join("www/models/main/tokenizer.json");
        std::os::unix::fs::symlink("../tokenizer/tokenizer.json", link).unwrap();
        assemble_in(&scratch, Profile::Dev);
        let models = scratch.0.join("out/models");
        let read = |name: &str| fs::read_to_string(models.join(name)).unwrap();
        assert_eq!(read("tokenizer/tokenizer.json"), "{}");
        assert!(!models.join("main/tokenizer.json").exists());
        let config: serde_json::Value = serde_json::from_str(&read("main/config.json")).unwrap();
        assert_eq!(config, serde_json::json!({"tokenizer_file": "../tokenizer/tokenizer.json"}));
        assert_eq!(read("second/tokenizer.json"), "{ }");
        assert_eq!(read("second/config.json"), "{}");
        let index: serde_json::Value = serde_json::from_str(&read("index.json")).unwrap();
        assert_eq!(index.as_array().unwrap().len(), 2, "the directory of the tokenizer is no model");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_tokenizer_that_is_not_there_is_refused() {
        let scratch = sources("dangling");
        let link = scratch.0.join("www/models/main/tokenizer.json");
        std::os::unix::fs::symlink("../tokenizer/tokenizer.json", link).unwrap();
        let built = assemble(&scratch.0, &scratch.0.join("bindgen"), Profile::Dev, &scratch.0.join("out"));
        let error = built.unwrap_err().to_string();
        assert!(error.contains("is a link to ../tokenizer/tokenizer.json, which is not there"), "{error}");
    }

    #[test]
    fn a_version_has_another_directory_where_anything_of_it_differs() {
        let scratch = sources("versions");
        let mut seen = vec![assemble_in(&scratch, Profile::Dev).build];
        assert_eq!(assemble_in(&scratch, Profile::Release).build, seen[0], "what is compressed is no other version");
        for (file, contents) in [
            ("bindgen/moescope_bg.wasm", "7654321"),
            ("bindgen/moescope.js", "export default 2;"),
            ("www/messages/zh.json", "{}"),
            ("www/messages/zz.json", "{}"),
        ] {
            scratch.write(file, contents);
            let site = assemble_in(&scratch, Profile::Dev);
            assert!(!seen.contains(&site.build), "{file}");
            seen.push(site.build);
        }
        // The addresses of models do not depend on the version.
        scratch.write("www/models/main/config.json", "{ }");
        assert_eq!(Some(&assemble_in(&scratch, Profile::Dev).build), seen.last());
    }

    #[test]
    fn compressed_siblings_hold_the_same_and_go_with_a_development_build() {
        use std::io::Read;
        let scratch = sources("compress");
        let build = scratch.0.join("out").join(assemble_in(&scratch, Profile::Release).build);
        let style = fs::read(build.join("style.css")).unwrap();
        let mut plain = Vec::new();
        brotli::BrotliDecompress(&mut fs::File::open(build.join("style.css.br")).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, style);
        plain.clear();
        let gzipped = fs::File::open(build.join("style.css.gz")).unwrap();
        flate2::read::GzDecoder::new(gzipped).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, style);
        assert!(!build.join("moescope.js.br").exists(), "too small to gain");

        assemble_in(&scratch, Profile::Dev);
        assert!(!build.join("style.css.br").exists(), "a server would prefer the stale sibling");
    }

    #[test]
    fn a_second_build_writes_only_what_changed_and_removes_what_is_gone() {
        let scratch = sources("again");
        let out = scratch.0.join("out");
        let build = out.join(assemble_in(&scratch, Profile::Release).build);
        let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        let list = out.join("models/index.json");
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&list).unwrap().set_modified(long_ago).unwrap();
        let kept = || [build.join("style.css"), build.join("style.css.br"), out.join("keeper.js")].map(time);
        let before = kept();
        fs::remove_dir_all(scratch.0.join("www/models/second")).unwrap();
        assemble_in(&scratch, Profile::Release);
        assert_eq!(before, kept());
        assert!(time(list) > long_ago);
        assert!(!out.join("models/second").exists());

        scratch.write("bindgen/moescope_bg.wasm", "123456");
        let next = out.join(assemble_in(&scratch, Profile::Release).build);
        assert!(next.join("style.css.br").exists() && !build.exists());
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_left_alone() {
        let scratch = Scratch::new("foreign");
        scratch.write("thesis.txt", "dear");
        let error = build(Profile::Release, &scratch.0).unwrap_err().to_string();
        assert!(error.contains("no Moescope site"), "{error}");
        assert!(scratch.0.join("thesis.txt").exists());
    }
}
