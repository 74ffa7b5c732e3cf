//! Opened files: finds the model among them, and decodes text files. One directory is one model; files of two
//! directories are never mixed.

use super::address::is_shard;
use moescope::model::gguf;
use std::collections::{BTreeMap, BTreeSet};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const GGUF: &str = ".gguf";

/// The files of one model among those that were opened.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedModel {
    /// The name of its directory; without a directory, the name of the weights file.
    pub name: String,
    /// The model's files, as indices into the list of paths.
    pub files: Vec<usize>,
    /// The name of the weights file; `None` where the index names several shards.
    pub weights: Option<String>,
}

/// Finds the model among opened files. `paths` has relative paths where a directory was opened
/// (`dir/sub/config.json`), and names otherwise.
///
/// # Errors
/// An error message, where there is no model or more than one.
pub fn find_model(paths: &[String]) -> Result<OpenedModel, String> {
    let mut directories = BTreeMap::<&str, Vec<(usize, &str)>>::new();
    for (place, path) in paths.iter().enumerate().filter(|(_, path)| !is_hidden(path)) {
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        directories.entry(directory).or_default().push((place, file));
    }
    let is_model = |files: &[(usize, &str)]| files.iter().any(|(_, file)| *file == CONFIG || file.ends_with(GGUF));
    let models: Vec<_> = directories.iter().filter(|(_, files)| is_model(files)).collect();
    match models.as_slice() {
        [] => Err(no_config(paths)),
        [(directory, files)] => model_in(directory, files),
        several => {
            let names = several.iter().map(|(directory, _)| if directory.is_empty() { "(the top)" } else { directory });
            Err(format!("there are several models here: {}; open the directory of one of them", listed(names)))
        }
    }
}

fn model_in(directory: &str, files: &[(usize, &str)]) -> Result<OpenedModel, String> {
    let names = names(files);
    if names.len() < files.len() {
        let twice = names.iter().find(|name| files.iter().filter(|(_, file)| file == *name).count() > 1);
        return Err(format!(
            "there are two files named {}, of two models perhaps; open the files of one model",
            twice.unwrap_or(&"")
        ));
    }
    if !names.contains(CONFIG) || !names.iter().any(|name| name.ends_with(".safetensors")) {
        let files: Vec<_> = files.iter().copied().filter(|(_, file)| file.ends_with(GGUF)).collect();
        if !files.is_empty() {
            return gguf_in(&files);
        }
    }
    let weights = weights_in(&names)?;
    let stem = weights.as_deref().and_then(|file| file.strip_suffix(".safetensors"));
    let name = directory.rsplit('/').next().filter(|name| !name.is_empty()).or(stem).unwrap_or("model").to_owned();
    let is_read = |file: &str| file.ends_with(".json") || file.ends_with(".safetensors");
    let files = files.iter().filter(|(_, file)| is_read(file)).map(|(place, _)| *place).collect();
    Ok(OpenedModel { name, files, weights })
}

/// The model among GGUF files: one file, or all parts of one.
fn gguf_in(files: &[(usize, &str)]) -> Result<OpenedModel, String> {
    let models: BTreeSet<String> = files.iter().map(|(_, file)| gguf::model_name(file)).collect();
    if models.len() > 1 {
        let models = listed(models.iter().map(String::as_str));
        return Err(format!("there are several GGUF models here: {models}; open the files of one of them"));
    }
    let parts = gguf::all_parts(files[0].1);
    let place = |part: &String| files.iter().find(|(_, file)| file == part).map(|(place, _)| *place);
    let missing: Vec<&str> = parts.iter().filter(|part| place(part).is_none()).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!("parts of the model are missing: {}; open all of its files together", listed(missing)));
    }
    let name = gguf::model_name(files[0].1);
    Ok(OpenedModel { name, files: parts.iter().filter_map(place).collect(), weights: parts.into_iter().next() })
}

/// The weights file in a directory; `None` where an index names several shards. The order of preference is that of
/// `transformers`.
fn weights_in(names: &BTreeSet<&str>) -> Result<Option<String>, String> {
    if names.contains(WEIGHTS) {
        return Ok(Some(WEIGHTS.to_owned()));
    }
    if names.contains(INDEX) {
        return Ok(None);
    }
    let tensors: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".safetensors")).collect();
    let (adapters, whole): (Vec<&str>, Vec<&str>) = tensors.into_iter().partition(|name| name.starts_with("adapter"));
    match whole.as_slice() {
        [] if !adapters.is_empty() => Err(format!(
            "{} holds an adapter, which is only a change to a model; \
             open a whole model with the adapter merged into it",
            listed(adapters)
        )),
        [] => Err(format!(
            "there is a config.json, but no file with weights ({WEIGHTS}, or shards and their index); open them \
             together"
        )),
        shards if shards.iter().any(|name| is_shard(name)) => Err(format!(
            "the weights are in shards ({}), but their index, {INDEX}, is not here; open it together with them",
            listed(shards.iter().copied())
        )),
        [one] => Ok(Some((*one).to_owned())),
        several => Err(format!(
            "there are several files with weights here: {}; open config.json, tokenizer.json and one of them",
            listed(several.iter().copied())
        )),
    }
}

fn no_config(paths: &[String]) -> String {
    let seen: Vec<&str> = paths.iter().map(String::as_str).filter(|path| !is_hidden(path)).collect();
    let what = "a model has config.json, model.safetensors (or shards and their index) and tokenizer.json, all in one \
                directory, or is one .gguf file; open that directory, or these files together";
    if seen.is_empty() {
        format!("no file was opened; {what}")
    } else {
        format!("there is no config.json among {}; {what}", listed(seen))
    }
}

/// Files that operating systems and programs add: `._model.safetensors`, `.git/`, `__MACOSX/`.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.') || part == "__MACOSX")
}

fn names<'a>(files: &[(usize, &'a str)]) -> BTreeSet<&'a str> {
    files.iter().map(|(_, file)| *file).collect()
}

/// Up to eight of `names`, separated by commas, and how many more there are.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST {
        text += &format!(" and {} more", names.len() - MOST);
    }
    text
}

/// Why a file holds no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoText {
    /// The file is empty.
    Empty,
    /// The file is not text (a picture or a program, for example).
    Binary,
    /// The file is text in an encoding that cannot be recognised with certainty, such as Latin-1.
    OtherEncoding,
}

/// Decodes a text file: UTF-8, or UTF-16 where it starts with a byte order mark. Line ends become line feeds, as in a
/// text box.
///
/// # Errors
/// The file holds no text, or its encoding is not recognised.
pub fn text(bytes: &[u8]) -> Result<String, NoText> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        bytes => {
            let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
            if bytes.contains(&0) {
                return Err(NoText::Binary);
            }
            std::str::from_utf8(bytes).map_err(|_| wrong_encoding(bytes))?.to_owned()
        }
    };
    if text.is_empty() {
        return Err(NoText::Empty);
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NoText> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text = String::from_utf16(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
    text.ok().filter(|text| rest.is_empty() && !text.contains('\0')).ok_or(NoText::Binary)
}

/// Tells binary files from text in an unknown encoding: text has few control characters.
fn wrong_encoding(bytes: &[u8]) -> NoText {
    let controls = bytes.iter().filter(|byte| byte.is_ascii_control() && !b"\t\n\r\x0c\x1b".contains(byte)).count();
    if controls * 20 > bytes.len() { NoText::Binary } else { NoText::OtherEncoding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(paths: &[&str]) -> Result<OpenedModel, String> {
        find_model(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
    }

    fn found(paths: &[&str]) -> (String, Vec<String>, Option<String>) {
        let model = find(paths).unwrap();
        (model.name, model.files.iter().map(|place| paths[*place].to_owned()).collect(), model.weights)
    }

    fn refused(paths: &[&str]) -> String {
        find(paths).unwrap_err()
    }

    #[test]
    fn files_of_a_subdirectory_are_not_mixed_in() {
        let paths = ["m/config.json", "m/model.safetensors", "m/old/tokenizer.json", "m/old/model.safetensors"];
        let (name, files, weights) = found(&paths);
        assert_eq!((name.as_str(), weights.as_deref()), ("m", Some("model.safetensors")));
        assert_eq!(files, ["m/config.json", "m/model.safetensors"]);
        // The top directory holds only a README.
        let paths = ["all/README.md", "all/one/config.json", "all/one/model.safetensors", "all/one/tokenizer.json"];
        assert_eq!(found(&paths).0, "one");
    }

    #[test]
    fn several_models_are_refused_by_name() {
        let files = ["config.json", "model.safetensors", "tokenizer.json"];
        let paths: Vec<String> =
            ["main", "dense"].iter().flat_map(|name| files.map(|file| format!("models/{name}/{file}"))).collect();
        let why = find_model(&paths).unwrap_err();
        assert!(why.contains("models/dense, models/main"), "{why}");
        let why = refused(&["config.json", "model.safetensors", "config.json"]);
        assert!(why.contains("two files named config.json"), "{why}");
    }

    #[test]
    fn the_weights_are_those_that_transformers_takes() {
        let with = |others: &[&'static str]| found(&[&["d/config.json"], others].concat()).2;
        for beside in ["d/adapter_model.safetensors", "d/._model.safetensors", "d/consolidated.safetensors"] {
            assert_eq!(with(&[beside, "d/model.safetensors"]).as_deref(), Some("model.safetensors"), "{beside}");
        }
        let index = "d/model.safetensors.index.json";
        let shard = "d/model-00001-of-00002.safetensors";
        assert_eq!(with(&[shard, index]), None);
        assert_eq!(with(&[shard, index, "d/model.safetensors"]).as_deref(), Some("model.safetensors"));
        assert_eq!(with(&["d/mine.safetensors", "d/adapter_model.safetensors"]).as_deref(), Some("mine.safetensors"));
        let without = |others: &[&'static str]| refused(&[&["d/config.json"], others].concat());
        assert!(without(&[shard]).contains("model.safetensors.index.json"));
        assert!(without(&["d/adapter_model.safetensors"]).contains("adapter"));
        assert!(without(&["d/a.safetensors", "d/b.safetensors"]).contains("a.safetensors, b.safetensors"));
        assert!(without(&["d/tokenizer.json"]).contains("no file with weights"));
    }

    #[test]
    fn gguf_files_are_a_model_of_their_own() {
        let (name, files, weights) = found(&["d/README.md", "d/tiny.Q8_0.gguf"]);
        assert_eq!((name.as_str(), weights.as_deref()), ("tiny.Q8_0", Some("tiny.Q8_0.gguf")));
        assert_eq!(files, ["d/tiny.Q8_0.gguf"]);
        let parts = ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"];
        let (name, files, weights) = found(&parts);
        assert_eq!((name.as_str(), weights.as_deref()), ("m", Some(parts[1])));
        assert_eq!(files, [parts[1], parts[0]]);
        assert!(refused(&parts[..1]).contains("missing: m-00001-of-00002.gguf"));
        assert!(refused(&["a.gguf", "b.gguf"]).contains("several GGUF models here: a, b"));
        // Beside weights of the other format they are no part of the model.
        let (_, files, _) = found(&["d/config.json", "d/model.safetensors", "d/model.gguf"]);
        assert_eq!(files, ["d/config.json", "d/model.safetensors"]);
        // A config beside them is not needed.
        assert_eq!(found(&["d/config.json", "d/m.gguf"]).2.as_deref(), Some("m.gguf"));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(refused(&[]).starts_with("no file was opened"));
        let why = refused(&["README.md"]);
        assert!(why.contains("no config.json among README.md") && why.contains("model.safetensors"), "{why}");
        assert!(refused(&["d/.git/config.json"]).starts_with("no file was opened"));
    }

    #[test]
    fn a_model_is_named_after_its_directory_or_its_file() {
        assert_eq!(found(&["config.json", "mine.safetensors"]).0, "mine");
        assert_eq!(found(&["a/b/config.json", "a/b/model.safetensors"]).0, "b");
        assert_eq!(found(&["config.json", "model.safetensors"]).0, "model");
    }

    #[test]
    fn text_files_are_read_in_the_encoding_that_they_have() {
        assert_eq!(text("größer\r\nals\rzuvor\n".as_bytes()).unwrap(), "größer\nals\nzuvor\n");
        assert_eq!(text(b"\xef\xbb\xbfa").unwrap(), "a");
        assert_eq!(text(b"\xff\xfea\0\xfc\0\r\0\n\0").unwrap(), "aü\n");
        assert_eq!(text(b"\xfe\xff\0a\xd8\x3d\xde\x80").unwrap(), "a🚀");
        assert_eq!(text(b"gr\xf6\xdfer als zuvor"), Err(NoText::OtherEncoding));
        assert_eq!(text(b"\x89PNG\r\n\x1a\n\x00\x00"), Err(NoText::Binary));
        assert_eq!(text(b"\xff\xfea"), Err(NoText::Binary));
        assert_eq!(text(b"\x7fELF\x01\x02\x03\x04\x05\xff"), Err(NoText::Binary));
        for empty in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe"] {
            assert_eq!(text(empty), Err(NoText::Empty));
        }
    }
}
