//! The header of a safetensors file: <https://github.com/huggingface/safetensors#format>. Offsets have 64 bits, also
//! in a browser, where the format's own library counts in 32.

use super::content::Content;
use crate::error::{Error, Result};
use safetensors::Dtype;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::ops::Range;

/// The number of bytes of the header's length field.
pub const LENGTH: u64 = 8;

/// The most bytes of a header, the same limit as in the format's own library.
const LONGEST_HEADER: u64 = 100_000_000;

/// A tensor as the header describes it.
#[derive(Debug)]
pub struct TensorInfo {
    /// The format of its numbers.
    pub dtype: Dtype,
    /// Its sizes, columns last.
    pub shape: Vec<usize>,
    /// Its place in the file.
    pub range: Range<u64>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "__metadata__")]
    _metadata: Option<IgnoredAny>,
    #[serde(flatten)]
    tensors: HashMap<String, Entry>,
}

/// Waits for the header of the file `file`, which begins with the bytes `first`. Returns its tensors in the order of
/// their places, and the file's size.
///
/// # Errors
/// The header is damaged, or longer than the file.
pub async fn read(file: &str, content: &dyn Content, first: &[u8]) -> Result<(Vec<(String, TensorInfo)>, u64)> {
    let damaged = |why: String| {
        Error::model(
            file,
            format!(
                "is not a whole safetensors file ({why}); fetch it again, or convert the checkpoint to safetensors"
            ),
        )
    };
    let length = first.first_chunk().ok_or_else(|| damaged(format!("it has {} bytes", first.len())))?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(damaged(format!("its header would have {length} bytes")));
    }
    let start = LENGTH + length;
    if content.arrived(start).await < start {
        return Err(damaged("its header would be longer than the file".into()));
    }
    parse(&content.read(LENGTH..start).await?, start).map_err(damaged)
}

/// Parses the header of a file whose numbers begin at `start`. The places must follow each other without a gap and fit
/// the shapes.
fn parse(json: &[u8], start: u64) -> std::result::Result<(Vec<(String, TensorInfo)>, u64), String> {
    let Json { tensors, .. } = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let mut entries: Vec<(String, Entry)> = tensors.into_iter().collect();
    entries.sort_unstable_by(|(a, first), (b, second)| (first.data_offsets, a).cmp(&(second.data_offsets, b)));
    let mut end = 0u64;
    let mut infos = Vec::with_capacity(entries.len());
    for (name, Entry { dtype, shape, data_offsets: (from, to) }) in entries {
        let bits = shape.iter().try_fold(dtype.bitsize() as u64, |all, size| all.checked_mul(*size as u64));
        let bytes = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
        if from != end || bytes.is_none() || to.checked_sub(from) != bytes {
            return Err(format!("the place of the tensor {name} does not follow the one before, or not fit its shape"));
        }
        end = to;
        let range = start.checked_add(from).zip(start.checked_add(to));
        let (from, to) = range.ok_or_else(|| format!("the tensor {name} ends beyond any file"))?;
        infos.push((name, TensorInfo { dtype, shape, range: from..to }));
    }
    Ok((infos, start.saturating_add(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> std::result::Result<Vec<(String, Range<u64>)>, String> {
        parse(json.as_bytes(), 100).map(|(infos, _)| infos.into_iter().map(|(name, i)| (name, i.range)).collect())
    }

    #[test]
    fn places_beyond_4_gb_are_read() {
        let json = r#"{"__metadata__": {"format": "pt"},
            "b": {"dtype": "F16", "shape": [8], "data_offsets": [8000000000, 8000000016]},
            "a": {"dtype": "BF16", "shape": [2000000, 2000], "data_offsets": [0, 8000000000]}}"#;
        let places = parsed(json).unwrap();
        assert_eq!(places[1], ("b".to_owned(), 8_000_000_100..8_000_000_116));
        assert_eq!(parse(json.as_bytes(), 100).unwrap().1, 8_000_000_116);
    }

    #[test]
    fn places_with_gaps_or_of_other_sizes_are_refused() {
        for json in [
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [4294967295, 4294967295, 9], "data_offsets": [0, 4]}}"#,
        ] {
            assert!(parsed(json).unwrap_err().contains("the tensor"), "{json}");
        }
        assert!(parsed("[]").is_err() && parsed("{}").unwrap().is_empty());
    }
}
