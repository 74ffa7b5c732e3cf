//! GGUF files, llama.cpp's format (version 3): <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. A file has
//! metadata and tensors. Both are translated to the contents of a Hugging Face directory: a config, a
//! `tokenizer.json`, and tensors with Hugging Face's names. A family does not need to know GGUF.

pub mod architectures;
mod config;
pub mod encode;
mod header;
mod keys;
mod metadata;
mod names;
pub mod pre_tokenizer;
pub mod tokenizer;
pub mod writer;

pub use header::{FORMATS, Header, MAGIC, TensorInfo, header_bytes};
pub use metadata::{Metadata, Value};
pub use names::{Names, Place};

use super::content::{Bytes, Content, ModelFiles};
use crate::error::{Error, Result};
use crate::shape::Dtype;

/// A model of one or several files, of which as much has to arrive as says what it is.
///
/// # Errors
/// The header is damaged, the architecture is not known, or has an option that is not.
pub async fn model_files(name: String, weights: Vec<(String, Bytes)>) -> Result<ModelFiles> {
    let (file, content) = weights.first().ok_or_else(|| Error::read(&name, "there is no file with weights"))?;
    let bytes = header_bytes(file, &**content).await?;
    let header = Header::parse(file, &bytes)?;
    header.check_split(file, weights.len())?;
    let factors = factors(file, &header, &**content).await?;
    let config = config::translated(file, &header, factors)?;
    let tokenizer = tokenizer::translated(file, &header.metadata)?;
    let chat = tokenizer::chat(&header.metadata).map(|json| serde_json::to_vec(&json).expect("it is plain data"));
    let config = serde_json::to_vec(&config).expect("it is plain data");
    let tokenizer = tokenizer.map(|json| serde_json::to_vec(&json).expect("it is plain data"));
    Ok(ModelFiles { name, config, tokenizer, generation: None, chat, weights })
}

/// The most factors of rotary positions: one for each pair of a head's dimensions.
const MOST_FACTORS: usize = 4096;

/// Waits for the factors of the rotary positions in the tensor [`names::factors_of`], and reads them; `None` where
/// there is no such tensor.
async fn factors(file: &str, header: &Header<'_>, content: &dyn Content) -> Result<Option<Vec<f32>>> {
    let name = names::factors_of(header);
    let Some(tensor) = header.tensors.iter().find(|tensor| Some(&*tensor.name) == name) else { return Ok(None) };
    let wrong = |why: &str| Error::model(format!("{file}, tensor {}", tensor.name), why);
    if tensor.dtype != Some(Dtype::F32) || tensor.shape.iter().product::<usize>() > MOST_FACTORS {
        return Err(wrong("must hold a number in F32 for each pair of a head's dimensions"));
    }
    if content.arrived(tensor.range.end).await < tensor.range.end {
        return Err(wrong("is cut off; fetch the file again"));
    }
    let bytes = content.read(tensor.range.clone()).await?;
    Ok(Some(bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()))
}

/// The number of a file among those of a split model, and how many there are: `NAME-00001-of-00003.gguf`.
pub fn part_of_split(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    let (number, count) = (digits(number)?, digits(count)?);
    (1..=count).contains(&number).then_some((base, number, count))
}

/// The names of all files of the model that the file `name` is a part of, in order.
pub fn all_parts(name: &str) -> Vec<String> {
    match part_of_split(name) {
        None => vec![name.to_owned()],
        Some((base, _, count)) => (1..=count).map(|n| format!("{base}-{n:05}-of-{count:05}.gguf")).collect(),
    }
}

/// What a model is called whose file is `name`.
pub fn model_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let base = part_of_split(name).map(|(base, ..)| base);
    base.unwrap_or_else(|| name.strip_suffix(".gguf").unwrap_or(name)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_split_model_are_known_by_their_names() {
        assert_eq!(part_of_split("a/b-00002-of-00003.gguf"), Some(("a/b", 2, 3)));
        for other in ["b.gguf", "b-00004-of-00003.gguf", "b-0001-of-0003.gguf", "b-00000-of-00003.gguf", "b-of-.gguf"] {
            assert_eq!(part_of_split(other), None, "{other}");
        }
        assert_eq!(all_parts("m-00002-of-00002.gguf"), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(model_name("d/m-00002-of-00002.gguf"), "m");
        assert_eq!(model_name("d/tiny.Q8_0.gguf"), "tiny.Q8_0");
    }
}
