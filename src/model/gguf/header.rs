//! The header of a GGUF file: the metadata, and the place of each tensor. Every size is checked before it is used.

use super::metadata::{Metadata, Value};
use crate::error::{Error, Result};
use crate::model::content::Content;
use crate::shape::Dtype;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// The first bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The most bytes of a header; the largest vocabularies need 20 MB.
const LONGEST_HEADER: usize = 100_000_000;

/// Bytes that are read first; if the header is longer, twice as many are read, and so on.
const FIRST: u64 = 1 << 16;

/// The deepest nesting of arrays.
const MOST_DEPTH: usize = 4;

/// Alignment of tensors in bytes, unless the metadata has another one.
const ALIGNMENT: usize = 32;

/// Number formats: the file's number, GGML's name, and our format where it is supported.
pub const FORMATS: [(u32, &str, Option<Dtype>); 31] = [
    (0, "F32", Some(Dtype::F32)),
    (1, "F16", Some(Dtype::F16)),
    (2, "Q4_0", Some(Dtype::Q4_0)),
    (3, "Q4_1", Some(Dtype::Q4_1)),
    (6, "Q5_0", Some(Dtype::Q5_0)),
    (7, "Q5_1", Some(Dtype::Q5_1)),
    (8, "Q8_0", Some(Dtype::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", None),
    (11, "Q3_K", None),
    (12, "Q4_K", Some(Dtype::Q4K)),
    (13, "Q5_K", Some(Dtype::Q5K)),
    (14, "Q6_K", Some(Dtype::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (26, "I32", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Dtype::Bf16)),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (39, "MXFP4", Some(Dtype::Mxfp4)),
    (40, "NVFP4", None),
];

/// A tensor as the header describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its sizes, columns last, at most four.
    pub shape: Vec<usize>,
    /// Its number format; `None` where it is not supported.
    pub dtype: Option<Dtype>,
    /// GGML's name of that format.
    pub kind: String,
    /// Its place in the file; empty for a format that is not supported.
    pub range: Range<u64>,
}

/// The header of a file.
pub struct Header<'a> {
    /// The metadata.
    pub metadata: Metadata<'a>,
    /// All tensors.
    pub tensors: Vec<TensorInfo>,
    /// The end of the last tensor.
    pub end: u64,
}

/// Why a header could not be parsed.
enum Stop {
    /// The bytes end before the header does.
    Short,
    Wrong(String),
}

type Parsed<T> = std::result::Result<T, Stop>;

/// Waits for the header of a file. Returns its bytes, possibly with some bytes after it.
///
/// # Errors
/// The header is damaged or too long, or the file ends within it.
pub async fn header_bytes<'a>(file: &str, content: &'a dyn Content) -> Result<Cow<'a, [u8]>> {
    let mut wanted = FIRST;
    loop {
        let here = content.arrived(wanted).await;
        let bytes = content.read(0..here.min(wanted)).await?;
        match parse(&bytes) {
            Ok(_) => return Ok(bytes),
            Err(Stop::Wrong(why)) => return Err(damaged(file, &why)),
            Err(Stop::Short) if here < wanted => return Err(damaged(file, "it ends in its header")),
            Err(Stop::Short) if wanted == LONGEST_HEADER as u64 => {
                return Err(damaged(file, &format!("its header would be longer than {LONGEST_HEADER} bytes")));
            }
            Err(Stop::Short) => wanted = (2 * wanted).min(LONGEST_HEADER as u64),
        }
    }
}

fn damaged(file: &str, why: &str) -> Error {
    Error::model(file, format!("is not a whole GGUF file ({why}); fetch it again, or convert the model again"))
}

impl<'a> Header<'a> {
    /// Parses the bytes that [`header_bytes`] returned.
    ///
    /// # Errors
    /// As for [`header_bytes`].
    pub fn parse(file: &str, bytes: &'a [u8]) -> Result<Self> {
        parse(bytes).map_err(|stop| match stop {
            Stop::Short => damaged(file, "it ends in its header"),
            Stop::Wrong(why) => damaged(file, &why),
        })
    }

    /// Returns an error if this is the first file of a split model and another number of files is here.
    pub(super) fn check_split(&self, file: &str, files: usize) -> Result<()> {
        match (self.metadata.size("split.no"), self.metadata.size("split.count")) {
            (None | Some(0), None | Some(0 | 1)) if files == 1 => Ok(()),
            (Some(0), Some(count)) if count == files => Ok(()),
            (Some(0), Some(count)) => {
                Err(Error::model(file, format!("is the first of {count} files, and {files} are here; open them all")))
            }
            (Some(n), _) if n > 0 => Err(Error::model(
                file,
                format!("is file {} of a model in several; open the one that ends with -00001-of-...gguf", n + 1),
            )),
            _ => Err(Error::model(file, format!("is a whole model, and {files} files are here; open one of them"))),
        }
    }
}

fn parse(bytes: &[u8]) -> Parsed<Header<'_>> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != MAGIC {
        return Err(Stop::Wrong("it does not begin with GGUF".into()));
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err(Stop::Wrong("its numbers are big-endian; only little-endian files are known".into()));
        }
        version => return Err(Stop::Wrong(format!("its version is {version}; 2 and 3 are known"))),
    }
    let (tensors, pairs) = (cursor.count("tensors")?, cursor.count("keys")?);
    let mut metadata = HashMap::new();
    for _ in 0..pairs {
        let key = cursor.string()?;
        let key = std::str::from_utf8(key).map_err(|_| Stop::Wrong("a key is not UTF-8".into()))?;
        let kind = cursor.u32()?;
        let value = cursor.value(key, kind, 0)?;
        if metadata.insert(key, value).is_some() {
            return Err(Stop::Wrong(format!("the key {key} is there twice")));
        }
    }
    let metadata = Metadata::new(metadata);
    for key in ["general.alignment", "split.no", "split.count"] {
        if metadata.get(key).is_some() && metadata.size(key).is_none() {
            return Err(Stop::Wrong(format!("{key} must be one whole number, 0 or more")));
        }
    }
    let alignment = metadata.size("general.alignment").unwrap_or(ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > 1 << 20 {
        return Err(Stop::Wrong(format!("general.alignment is {alignment}; it must be a power of two")));
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(cursor.tensor(alignment)?);
    }
    let start = cursor.at.next_multiple_of(alignment);
    let end = place(&mut infos, start as u64)?;
    Ok(Header { metadata, tensors: infos, end })
}

/// Moves the places of the tensors to where the numbers start. Returns the end of the last tensor. Tensors must not
/// overlap.
fn place(tensors: &mut [TensorInfo], start: u64) -> Parsed<u64> {
    for tensor in tensors.iter_mut() {
        let Range { start: from, end } = tensor.range;
        let moved = from.checked_add(start).zip(end.checked_add(start));
        let moved = moved.ok_or_else(|| Stop::Wrong(format!("the tensor {} ends beyond any file", tensor.name)))?;
        tensor.range = moved.0..moved.1;
    }
    let mut places: Vec<(u64, u64, &str)> =
        tensors.iter().map(|tensor| (tensor.range.start, tensor.range.end, tensor.name.as_str())).collect();
    places.sort_unstable();
    if let Some(pair) = places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(Stop::Wrong(format!("the tensors {} and {} overlap", pair[0].2, pair[1].2)));
    }
    let mut names: Vec<&str> = places.iter().map(|place| place.2).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Stop::Wrong(format!("the tensor {} is there twice", pair[0])));
    }
    Ok(places.last().map_or(start, |place| place.1))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= LONGEST_HEADER);
        let end = end.ok_or_else(|| Stop::Wrong(format!("its header would be longer than {LONGEST_HEADER} bytes")))?;
        let bytes = self.bytes.get(self.at..end).ok_or(Stop::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        Ok(*self.take(N)?.first_chunk().expect("as long as was asked for"))
    }

    fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    /// A length, or a number of items that take at least one byte each.
    fn count(&mut self, of: &str) -> Parsed<usize> {
        let count = u64::from_le_bytes(self.fixed()?);
        let fits = usize::try_from(count).ok().filter(|count| *count <= LONGEST_HEADER);
        fits.ok_or_else(|| Stop::Wrong(format!("it would have {count} {of}")))
    }

    fn string(&mut self) -> Parsed<&'a [u8]> {
        let length = self.count("bytes of text")?;
        self.take(length)
    }

    fn value(&mut self, key: &str, kind: u32, depth: usize) -> Parsed<Value<'a>> {
        Ok(match kind {
            0 => Value::Unsigned(self.take(1)?[0].into()),
            1 => Value::Signed((self.take(1)?[0] as i8).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.fixed()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.fixed()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.fixed()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.fixed()?).into()),
            7 => Value::Bool(self.take(1)?[0] != 0),
            8 => Value::Text(self.string()?),
            9 if depth < MOST_DEPTH => self.array(key, depth)?,
            10 => Value::Unsigned(u64::from_le_bytes(self.fixed()?)),
            11 => Value::Signed(i64::from_le_bytes(self.fixed()?)),
            12 => Value::Float(f64::from_le_bytes(self.fixed()?)),
            kind => {
                return Err(Stop::Wrong(format!("the key {key} has a value of the type {kind}, which is not known")));
            }
        })
    }

    fn array(&mut self, key: &str, depth: usize) -> Parsed<Value<'a>> {
        let kind = self.u32()?;
        let count = self.count("values in an array")?;
        let width = match kind {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                return Ok(Value::Texts(texts));
            }
            9 => {
                for _ in 0..count {
                    self.value(key, 9, depth + 1)?;
                }
                return Ok(Value::Nested);
            }
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            kind => {
                let why = format!("the key {key} has an array of the type {kind}, which is not known");
                return Err(Stop::Wrong(why));
            }
        };
        Ok(Value::Numbers { kind, bytes: self.take(count.saturating_mul(width))? })
    }

    /// A tensor; its place is relative to where the numbers start.
    fn tensor(&mut self, alignment: usize) -> Parsed<TensorInfo> {
        let name = String::from_utf8_lossy(self.string()?).into_owned();
        let wrong = |why: String| Stop::Wrong(format!("the tensor {name} {why}"));
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(wrong(format!("has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = u64::from_le_bytes(self.fixed()?);
            let size = usize::try_from(size).ok().filter(|size| *size > 0);
            shape.insert(0, size.ok_or_else(|| wrong("has a size that cannot be".into()))?);
        }
        let kind = self.u32()?;
        let offset = u64::from_le_bytes(self.fixed()?);
        if !offset.is_multiple_of(alignment as u64) {
            return Err(wrong(format!("starts at {offset}, which is no multiple of {alignment}")));
        }
        let (kind, dtype) = match FORMATS.iter().find(|(number, ..)| *number == kind) {
            Some((_, kind, dtype)) => ((*kind).to_owned(), *dtype),
            None => (format!("number {kind}"), None),
        };
        let numbers = shape.iter().try_fold(1u64, |all, size| all.checked_mul(*size as u64));
        let numbers = numbers.ok_or_else(|| wrong(format!("has too many numbers: {shape:?}")))?;
        let columns = *shape.last().expect("one dimension or more");
        let bytes = match dtype {
            Some(dtype) if !columns.is_multiple_of(dtype.block()) => {
                let why = format!("has rows of {columns} numbers, but {kind} has blocks of {}", dtype.block());
                return Err(wrong(why));
            }
            Some(dtype) => (numbers / dtype.block() as u64).checked_mul(dtype.block_bytes() as u64),
            None => Some(0),
        };
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        let end = end.ok_or_else(|| wrong(format!("is larger than can be read: {shape:?}")))?;
        Ok(TensorInfo { name, shape, dtype, kind, range: offset..end })
    }
}
