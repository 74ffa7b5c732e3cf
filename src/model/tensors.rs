//! The tensors of one or several safetensors files.

use super::files::Bytes;
use super::weights::{Matrix, Stretch};
use crate::error::{Error, Result};
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use std::collections::HashMap;
use std::ops::Range;

/// Width of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    Bf16,
}

impl Dtype {
    fn of(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// "f32", "f16" or "bf16".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Little-endian `bytes` as f32 numbers.
    pub fn values(self, bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
        bytes.chunks_exact(self.size()).map(move |b| match self {
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Self::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        })
    }

    /// As [`Self::values`], of finite numbers alone, many at once: writes them to `to`.
    pub fn widen(self, bytes: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = f32::from_le_bytes(b)),
            Self::F16 => {
                to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &b)| *to = widened(u16::from_le_bytes(b)))
            }
            Self::Bf16 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, &[low, high])| {
                *to = f32::from_le_bytes([0, 0, low, high]);
            }),
        }
    }

    /// The place of the first NaN or infinite number: one whose exponent is all ones.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        // Branches for every number would take longer than the numbers.
        const BLOCK: usize = 1024;
        let block = match self {
            Self::F32 => bytes.as_chunks::<4>().0.chunks(BLOCK).position(|block| {
                block.iter().fold(false, |any, &b| any | (u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000))
            }),
            Self::F16 | Self::Bf16 => {
                let exponent = if self == Self::F16 { 0x7c00 } else { 0x7f80 };
                bytes.as_chunks::<2>().0.chunks(BLOCK).position(|block| {
                    block.iter().fold(false, |any, &b| any | (u16::from_le_bytes(b) & exponent == exponent))
                })
            }
        };
        let from = block? * BLOCK;
        Some(from + self.values(&bytes[from * self.size()..]).position(|x| !x.is_finite())?)
    }
}

/// A finite f16 as f32. Its exponent and mantissa, moved to their places, are the number times 2^-112, also where it is
/// subnormal: a multiplication gives the rest without a branch.
fn widened(half: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a checkpoint by name; the files stay as they are.
pub struct Tensors {
    /// (name, content); without content once nobody needs it.
    files: Vec<(String, Option<Bytes>)>,
    entries: HashMap<String, Entry>,
}

impl Tensors {
    /// Reads the headers of `files` (name, content) and checks that the files are whole.
    pub fn new(files: &[(String, Bytes)]) -> Result<Self> {
        let mut entries = HashMap::new();
        for (number, (name, bytes)) in files.iter().enumerate() {
            read_header(number, name, bytes, &mut entries)?;
        }
        let files = files.iter().map(|(name, bytes)| (name.clone(), Some(bytes.clone()))).collect();
        Ok(Self { files, entries })
    }

    /// Lets go of the files' content: what a tensor holds cannot be asked for any more.
    pub fn let_go(&mut self) {
        self.files.iter_mut().for_each(|(_, content)| *content = None);
    }

    /// The width that most tensors have (they share one in practice).
    pub fn dtype(&self) -> Dtype {
        let count = |dtype| self.entries.values().filter(|e| e.dtype == dtype).count();
        [Dtype::F32, Dtype::F16, Dtype::Bf16].into_iter().max_by_key(|&d| count(d)).expect("three widths")
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|e| e.range.len() as u64).sum()
    }

    /// The vector `name`, `[len]`, as a matrix of one column.
    pub fn vector(&self, name: &str, len: usize) -> Result<Matrix<'_>> {
        self.get(name, &[len]).map(|(dtype, bytes)| Matrix { name: name.to_owned(), rows: len, cols: 1, dtype, bytes })
    }

    /// The matrix `name`, `[rows, cols]`.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix<'_>> {
        self.get(name, &[rows, cols]).map(|(dtype, bytes)| Matrix { name: name.to_owned(), rows, cols, dtype, bytes })
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<(Dtype, Stretch<'_>)> {
        let entry = self.entries.get(name).ok_or_else(|| {
            let files = self.files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            Error::model(
                files,
                format!(
                    "tensor {name} is missing; the checkpoint is incomplete or of another family than config.json says"
                ),
            )
        })?;
        let (file, content) = &self.files[entry.file];
        if entry.shape != shape {
            let why = format!(
                "has shape {:?}, but config.json asks for {shape:?}; the two do not belong together",
                entry.shape
            );
            return Err(Error::model(format!("{file}, tensor {name}"), why));
        }
        let content = content.as_deref();
        let content = content.ok_or_else(|| Error::model(file, "is no longer in memory; load the model again"))?;
        Ok((entry.dtype, Stretch::Of(content, entry.range.clone())))
    }
}

/// Bytes that say how long the header is.
const LENGTH: usize = 8;

fn read_header(number: usize, name: &str, bytes: &Bytes, entries: &mut HashMap<String, Entry>) -> Result<()> {
    let damaged = |why: String| {
        Error::model(
            name,
            format!(
                "is not a whole safetensors file ({why}); fetch it again, or convert the checkpoint to safetensors"
            ),
        )
    };
    let size = bytes.size();
    let length = bytes.read(0..LENGTH.min(size));
    let length = length.first_chunk().ok_or_else(|| damaged(format!("it has {size} bytes")))?;
    let start = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| length.checked_add(LENGTH));
    let start = start.filter(|&start| start <= size);
    let start = start.ok_or_else(|| damaged("its header would be longer than the file".into()))?;
    // Reading it checks that offsets are contiguous and fit the shapes.
    let header: Metadata = serde_json::from_slice(&bytes.read(LENGTH..start)).map_err(|e| damaged(e.to_string()))?;
    if start.checked_add(header.data_len()) != Some(size) {
        return Err(Error::model(name, "is cut off or has bytes too many; fetch it again"));
    }
    for (tensor, info) in header.tensors() {
        // Tensors of other types (buffers of integers) are none of ours; one that is asked for is missing.
        let Some(dtype) = Dtype::of(info.dtype) else { continue };
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        entries.insert(tensor, Entry { file: number, dtype, shape: info.shape.clone(), range });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of 16 bits, and numbers of 32 around them.
    fn every_number(dtype: Dtype) -> Vec<u8> {
        let halves = 0..=u16::MAX;
        match dtype {
            Dtype::F32 => halves.flat_map(|high| (u32::from(high) << 16 | 0x1234).to_le_bytes()).collect(),
            _ => halves.flat_map(u16::to_le_bytes).collect(),
        }
    }

    #[test]
    fn all_numbers_are_widened_exactly() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let bytes = every_number(dtype);
            let mut widened = vec![0.0; bytes.len() / dtype.size()];
            dtype.widen(&bytes, &mut widened);
            for (number, wide) in dtype.values(&bytes).zip(widened).filter(|(number, _)| number.is_finite()) {
                assert_eq!(number.to_bits(), wide.to_bits(), "{} {number}", dtype.name());
            }
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_found() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let bytes = every_number(dtype);
            let first = dtype.values(&bytes).position(|x| !x.is_finite());
            assert_eq!(dtype.first_not_finite(&bytes), first);
            assert_eq!(dtype.first_not_finite(&bytes[..first.unwrap() * dtype.size()]), None);
            assert_eq!(dtype.first_not_finite(&[]), None);
        }
    }
}
