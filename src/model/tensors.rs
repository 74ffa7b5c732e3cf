//! The tensors of one or several safetensors files.

use super::files::{Bytes, Content};
use crate::error::{Error, Result};
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use std::borrow::Cow;
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

/// A tensor as it lies in its file, a row-major matrix `[rows, cols]`. `y = W x` maps `cols` to `rows`.
#[derive(Clone)]
pub struct Tensor<'a> {
    name: String,
    rows: usize,
    cols: usize,
    /// Width of a number.
    pub dtype: Dtype,
    file: &'a str,
    content: &'a dyn Content,
    range: Range<usize>,
    /// Nobody will read it again.
    once: bool,
}

/// A tensor's numbers in memory.
#[derive(Clone)]
pub struct Matrix<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Width of a number.
    pub dtype: Dtype,
    /// Little-endian numbers, `rows * cols` of them, all finite.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    /// Bytes of it in the file.
    pub fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Where it ends in its file.
    pub fn end(&self) -> usize {
        self.range.end
    }

    /// Waits until the file is here as far as this tensor, and reads it. Refuses a NaN or an infinite number.
    pub async fn arrive(&self) -> Result<Matrix<'a>> {
        let &Self { ref name, rows, cols, dtype, file, content, ref range, once } = self;
        if content.arrived(range.end).await < range.end {
            return Err(cut_off(file));
        }
        let bytes = if once { content.take(range.clone()) } else { content.read(range.clone()) };
        match dtype.first_not_finite(&bytes) {
            None => Ok(Matrix { rows, cols, dtype, bytes }),
            Some(at) => Err(Error::model(
                format!("{file}, tensor {name}"),
                format!("number {at} is not finite (NaN or infinite); the file is damaged or its training diverged"),
            )),
        }
    }
}

/// Waits for several tensors, and reads them.
pub async fn arrive<'a>(tensors: &[&Tensor<'a>]) -> Result<Vec<Matrix<'a>>> {
    let mut matrices = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        matrices.push(tensor.arrive().await?);
    }
    Ok(matrices)
}

impl Matrix<'_> {
    /// The numbers as f32, row by row.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.dtype.widen(&self.bytes, &mut values);
        values
    }

    /// Gives `take` the numbers of each row as f32, `[cols]`, in order.
    pub fn each_row(&self, mut take: impl FnMut(&[f32])) {
        let mut numbers = vec![0.0; self.cols];
        for row in self.bytes.chunks_exact(self.cols * self.dtype.size()) {
            self.dtype.widen(row, &mut numbers);
            take(&numbers);
        }
    }
}

struct File {
    name: String,
    /// Bytes that its header speaks of, with the header's.
    size: usize,
    /// None once nobody needs it.
    content: Option<Bytes>,
}

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a checkpoint by name; the files stay as they are.
pub struct Tensors {
    files: Vec<File>,
    /// Each tensor is read once at most.
    once: bool,
    entries: HashMap<String, Entry>,
}

impl Tensors {
    /// Reads the headers of `files` (name, content), once they have arrived. With `once` a tensor may be gone when it has been read.
    pub async fn new(files: &[(String, Bytes)], once: bool) -> Result<Self> {
        let mut tensors = Self { files: Vec::new(), once, entries: HashMap::new() };
        for (name, content) in files {
            tensors.add(name, content).await?;
        }
        Ok(tensors)
    }

    async fn add(&mut self, name: &str, content: &Bytes) -> Result<()> {
        let (start, header) = read_header(name, &**content).await?;
        let size = start.checked_add(header.data_len()).ok_or_else(|| cut_off(name))?;
        for (tensor, info) in header.tensors() {
            // Tensors of other types (buffers of integers) are none of ours; one that is asked for is missing.
            let Some(dtype) = Dtype::of(info.dtype) else { continue };
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            self.entries.insert(tensor, Entry { file: self.files.len(), dtype, shape: info.shape.clone(), range });
        }
        self.files.push(File { name: name.to_owned(), size, content: Some(content.clone()) });
        Ok(())
    }

    /// Waits for the ends of the files, and checks that they are where the headers say.
    pub async fn whole(&self) -> Result<()> {
        for File { name, size, content } in &self.files {
            if let Some(content) = content
                && content.arrived(usize::MAX).await != *size
            {
                return Err(cut_off(name));
            }
        }
        Ok(())
    }

    /// Lets go of the files' content: what a tensor holds cannot be asked for any more.
    pub fn let_go(&mut self) {
        self.files.iter_mut().for_each(|file| file.content = None);
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
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor<'_>> {
        self.get(name, &[len])
    }

    /// The matrix `name`, `[rows, cols]`.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Tensor<'_>> {
        self.get(name, &[rows, cols])
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>> {
        let entry = self.entries.get(name).ok_or_else(|| {
            let files = self.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::model(
                files,
                format!(
                    "tensor {name} is missing; the checkpoint is incomplete or of another family than config.json says"
                ),
            )
        })?;
        let File { name: file, content, .. } = &self.files[entry.file];
        if entry.shape != shape {
            let why = format!(
                "has shape {:?}, but config.json asks for {shape:?}; the two do not belong together",
                entry.shape
            );
            return Err(Error::model(format!("{file}, tensor {name}"), why));
        }
        let content = content.as_deref();
        let content = content.ok_or_else(|| Error::model(file, "is no longer in memory; load the model again"))?;
        let (rows, cols) = (shape[0], shape.get(1).copied().unwrap_or(1));
        Ok(Tensor {
            name: name.to_owned(),
            rows,
            cols,
            dtype: entry.dtype,
            file,
            content,
            range: entry.range.clone(),
            once: self.once,
        })
    }
}

fn cut_off(file: &str) -> Error {
    Error::model(file, "is cut off or has bytes too many; fetch it again")
}

/// Bytes that say how long the header is.
const LENGTH: usize = 8;

/// The most bytes of a header, as the format's own library has it.
const LONGEST_HEADER: u64 = 100_000_000;

/// The header of a file, and where it ends.
async fn read_header(file: &str, content: &dyn Content) -> Result<(usize, Metadata)> {
    let damaged = |why: String| {
        Error::model(
            file,
            format!(
                "is not a whole safetensors file ({why}); fetch it again, or convert the checkpoint to safetensors"
            ),
        )
    };
    let size = content.arrived(LENGTH).await;
    let length = content.read(0..LENGTH.min(size));
    let length = length.first_chunk().ok_or_else(|| damaged(format!("it has {size} bytes")))?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(damaged(format!("its header would have {length} bytes")));
    }
    let start = LENGTH + length as usize;
    if content.arrived(start).await < start {
        return Err(damaged("its header would be longer than the file".into()));
    }
    // Reading it checks that offsets are contiguous and fit the shapes.
    let header = serde_json::from_slice(&content.read(LENGTH..start)).map_err(|e| damaged(e.to_string()))?;
    Ok((start, header))
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
