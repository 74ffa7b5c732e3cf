//! The tensors of one or several files of safetensors or GGUF.

use super::content::Bytes;
use super::float8;
use super::gguf::{self, Names};
use super::safetensors_header::{self, LENGTH, TensorInfo};
use crate::error::{Error, Result};
use crate::shape::{Dtype, Matrix};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// A tensor as stored in its file: a row-major matrix `[rows, cols]`. `y = W x` maps `cols` to `rows`.
#[derive(Clone)]
pub struct Tensor<'a> {
    name: String,
    rows: usize,
    cols: usize,
    /// The format of its numbers after reading.
    pub dtype: Dtype,
    /// Their format before they are widened for `view` or `map`.
    stored: Dtype,
    /// The number of heads whose rotated pairs are neighbouring rows; 0 for rows in Hugging Face's order.
    neighbours: usize,
    /// Whether the file has 8-bit numbers, which are widened when they are read.
    float8: bool,
    file: &'a str,
    content: &'a Bytes,
    range: Range<u64>,
    /// Whether it is read at most once.
    once: bool,
    /// The positions of its numbers in the range; none where they are stored row by row.
    view: Option<View>,
    /// Whether rows may hold NaN or infinite numbers, because rows are used one by one.
    single_rows: bool,
    /// What each number becomes.
    map: Option<fn(f32) -> f32>,
    /// The scales of MXFP4 blocks, where a tensor of their own has them.
    scales: Option<Scales<'a>>,
}

/// The scales of MXFP4 blocks, a byte for each, and the rows that are read: every `step`-th from `first` on.
#[derive(Clone)]
struct Scales<'a> {
    content: &'a Bytes,
    range: Range<u64>,
    first: usize,
    step: usize,
}

/// The positions of a matrix's numbers in a range: number (row, col) is number
/// `first + row * row_step + col * col_step`.
#[derive(Clone, Copy)]
struct View {
    first: usize,
    row_step: usize,
    col_step: usize,
}

impl View {
    /// The numbers of `[rows, cols]`, row by row, of `size` bytes each.
    fn gather(self, bytes: &[u8], rows: usize, cols: usize, size: usize) -> Vec<u8> {
        let mut gathered = Vec::with_capacity(rows * cols * size);
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let at = (self.first + row * self.row_step + col * self.col_step) * size;
            gathered.extend_from_slice(&bytes[at..at + size]);
        }
        gathered
    }
}

impl<'a> Tensor<'a> {
    /// The same tensor, but with rows that may hold NaN or infinite numbers, because no computation uses all rows.
    pub fn of_single_rows(self) -> Self {
        Self { single_rows: true, ..self }
    }

    /// The same tensor, widened to f32 when it is read where its numbers share scales: single numbers cannot be read
    /// from such formats.
    fn single(self) -> Self {
        if self.dtype.is_block() { Self { dtype: Dtype::F32, ..self } } else { self }
    }

    /// Its transpose, row by row.
    pub fn transposed(self) -> Self {
        let view = Some(View { first: 0, row_step: 1, col_step: self.cols });
        Self { rows: self.cols, cols: self.rows, view, ..self.single() }
    }

    /// The same tensor with each number changed by `map`, in f32.
    pub fn mapped(self, map: fn(f32) -> f32) -> Self {
        Self { dtype: Dtype::F32, map: Some(map), ..self }
    }

    /// The same tensor, with its file.
    pub fn kept(&self) -> KeptTensor {
        KeptTensor {
            file: self.file.to_owned(),
            content: self.content.clone(),
            name: self.name.clone(),
            size: (self.rows, self.cols),
            dtype: self.dtype,
            stored: self.stored,
            neighbours: self.neighbours,
            float8: self.float8,
            range: self.range.clone(),
            view: self.view,
            map: self.map,
            scales: self.scales.as_ref().map(|s| (s.content.clone(), s.range.clone(), s.first, s.step)),
        }
    }

    /// Bytes of its numbers, once they are read.
    pub fn bytes(&self) -> usize {
        self.dtype.bytes_of(self.rows * self.cols)
    }

    /// The offset of its end in its file.
    pub fn end(&self) -> u64 {
        self.range.end
    }

    /// Waits until this tensor has arrived, and reads it. Returns an error for a NaN or an infinite number.
    pub async fn arrive(&self) -> Result<Matrix<'a>> {
        let &Self {
            ref name,
            rows,
            cols,
            dtype,
            stored,
            neighbours,
            float8,
            file,
            content,
            ref range,
            once,
            view,
            single_rows,
            map,
            ref scales,
        } = self;
        if content.arrived(range.end).await < range.end {
            return Err(cut_off(file));
        }
        // Several views may share a range, whose bytes can be taken only once.
        if let Some(scales) = scales
            && scales.content.arrived(scales.range.end).await < scales.range.end
        {
            return Err(cut_off(file));
        }
        let is_last = view.is_none() && scales.as_ref().is_none_or(|scales| scales.first + 1 == scales.step);
        let reading = if once && is_last { content.take(range.clone()) } else { content.read(range.clone()) };
        let bytes = reading.await?;
        let bytes = match scales {
            Some(scales) => Cow::Owned(scales.blocks(&bytes, rows).await?),
            None => bytes,
        };
        let bytes = if float8 { Cow::Owned(float8::to_bf16(&bytes)) } else { bytes };
        let bytes = if neighbours > 0 { Cow::Owned(in_order(&bytes, rows, neighbours)) } else { bytes };
        let bytes = if dtype == stored && map.is_none() { bytes } else { Cow::Owned(widened(stored, &bytes, map)) };
        let bytes = match view {
            Some(view) => Cow::Owned(view.gather(&bytes, rows, cols, dtype.bytes_of(1))),
            None => bytes,
        };
        match dtype.first_not_finite(&bytes).filter(|_| !single_rows) {
            None => Ok(Matrix { rows, cols, dtype, bytes }),
            Some(at) => Err(Error::model(
                format!("{file}, tensor {name}"),
                format!("number {at} is not finite (NaN or infinite); the file is damaged or its training diverged"),
            )),
        }
    }
}

/// Numbers of this format as f32, changed by `map`.
fn widened(stored: Dtype, bytes: &[u8], map: Option<fn(f32) -> f32>) -> Vec<u8> {
    let mut numbers = vec![0.0; bytes.len() / stored.block_bytes() * stored.block()];
    stored.widen(bytes, &mut numbers);
    numbers.into_iter().flat_map(|number| map.map_or(number, |map| map(number)).to_le_bytes()).collect()
}

impl Scales<'_> {
    /// Blocks as GGUF has them, of `rows` rows. There, the first half of a block's numbers is in the lower four bits of
    /// its bytes; in `halves` every second number is.
    async fn blocks(&self, halves: &[u8], rows: usize) -> Result<Vec<u8>> {
        const HALF: usize = 16;
        let scales = self.content.read(self.range.clone()).await?;
        let each = scales.len() / (rows * self.step).max(1);
        let mut blocks = Vec::with_capacity(rows * each * (1 + HALF));
        for row in (self.first..rows * self.step).step_by(self.step) {
            let halves = halves[row * each * HALF..][..each * HALF].as_chunks::<HALF>().0;
            for (scale, half) in scales[row * each..][..each].iter().zip(halves) {
                let code = |n: usize| half[n / 2] >> (n % 2 * 4) & 15;
                blocks.push(*scale);
                blocks.extend((0..HALF).map(|n| code(n) | code(n + HALF) << 4));
            }
        }
        Ok(blocks)
    }
}

/// A tensor that keeps its file open, for weights that are read again and again.
pub struct KeptTensor {
    file: String,
    content: Bytes,
    name: String,
    size: (usize, usize),
    dtype: Dtype,
    stored: Dtype,
    neighbours: usize,
    float8: bool,
    range: Range<u64>,
    view: Option<View>,
    map: Option<fn(f32) -> f32>,
    /// The content and the range of the scales, and their rows: see [`Scales`].
    scales: Option<(Bytes, Range<u64>, usize, usize)>,
}

impl KeptTensor {
    /// The tensor.
    pub fn tensor(&self) -> Tensor<'_> {
        Tensor {
            name: self.name.clone(),
            rows: self.size.0,
            cols: self.size.1,
            dtype: self.dtype,
            stored: self.stored,
            neighbours: self.neighbours,
            float8: self.float8,
            file: &self.file,
            content: &self.content,
            range: self.range.clone(),
            once: false,
            view: self.view,
            single_rows: false,
            map: self.map,
            scales: self.scales.as_ref().map(|(content, range, first, step)| Scales {
                content,
                range: range.clone(),
                first: *first,
                step: *step,
            }),
        }
    }
}

/// Reorders the rows of heads to Hugging Face's order, where dimension `i` of a head rotates with `i + head_dim / 2`,
/// from llama.cpp's order, where neighbours rotate together.
fn in_order(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, dim) = (bytes.len() / rows, rows / heads);
    let mut ordered = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(row * dim) {
        for i in 0..dim {
            let from = i % (dim / 2) * 2 + i / (dim / 2);
            ordered.extend_from_slice(&head[from * row..][..row]);
        }
    }
    ordered
}

/// Waits for several tensors, and reads them.
pub async fn arrive<'a>(tensors: &[&Tensor<'a>]) -> Result<Vec<Matrix<'a>>> {
    let mut matrices = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        matrices.push(tensor.arrive().await?);
    }
    Ok(matrices)
}

struct File {
    name: String,
    /// The length of the file according to its header, in bytes.
    size: u64,
    /// Whether bytes after `size` are padding: GGUF pads the last tensor.
    is_filled: bool,
    /// None once it is freed.
    content: Option<Bytes>,
}

struct Entry {
    file: usize,
    /// None where the format of the numbers is unknown.
    dtype: Option<Dtype>,
    float8: bool,
    /// See [`Tensor`].
    neighbours: usize,
    /// The file's name for the format.
    kind: String,
    shape: Vec<usize>,
    range: Range<u64>,
}

/// All tensors of a checkpoint by name; the files stay as they are.
pub struct Tensors {
    files: Vec<File>,
    /// Whether each tensor is read at most once.
    once: bool,
    entries: HashMap<String, Entry>,
}

impl Tensors {
    /// Reads the headers of `files` (name, content), once they have arrived. With `once` each tensor can be read
    /// once, and its bytes may be freed afterwards.
    pub async fn new(files: &[(String, Bytes)], once: bool) -> Result<Self> {
        let mut tensors = Self { files: Vec::new(), once, entries: HashMap::new() };
        let mut names = None;
        for (name, content) in files {
            let here = content.arrived(LENGTH).await.min(LENGTH);
            let first = content.read(0..here).await?;
            match first.starts_with(&gguf::MAGIC) {
                true => tensors.add_gguf(name, content, &mut names).await?,
                false => tensors.add(name, content, &first).await?,
            }
        }
        Ok(tensors)
    }

    /// Adds the tensors of a GGUF file; `names` are those of the model's first file.
    async fn add_gguf(&mut self, name: &str, content: &Bytes, names: &mut Option<Names>) -> Result<()> {
        let bytes = gguf::header_bytes(name, &**content).await?;
        let header = gguf::Header::parse(name, &bytes)?;
        let names = match names {
            Some(names) => names,
            None => names.insert(Names::of(name, &header)?),
        };
        for tensor in &header.tensors {
            for place in names.places(name, tensor)? {
                let gguf::Place { name: theirs, shape, dtype, range, neighbours } = place;
                let rows = shape[0];
                if neighbours > 0 && (rows % neighbours != 0 || rows / neighbours % 2 != 0) {
                    let why = format!("has {rows} rows, which {neighbours} heads of an even width do not have");
                    return Err(Error::model(format!("{name}, tensor {}", tensor.name), why));
                }
                let (file, kind) = (self.files.len(), tensor.kind.clone());
                self.insert(name, theirs, Entry { file, dtype, float8: false, neighbours, kind, shape, range })?;
            }
        }
        let content = Some(content.clone());
        self.files.push(File { name: name.to_owned(), size: header.end, is_filled: true, content });
        Ok(())
    }

    /// Adds the tensors of a safetensors file that begins with the bytes `first`.
    async fn add(&mut self, name: &str, content: &Bytes, first: &[u8]) -> Result<()> {
        let (infos, size) = safetensors_header::read(name, &**content, first).await?;
        for (tensor, TensorInfo { dtype, shape, range }) in infos {
            let float8 = dtype == safetensors::Dtype::F8_E4M3;
            let (dtype, kind) = (width_of(dtype), dtype.to_string());
            let file = self.files.len();
            self.insert(name, tensor, Entry { file, dtype, float8, neighbours: 0, kind, shape, range })?;
        }
        let content = Some(content.clone());
        self.files.push(File { name: name.to_owned(), size, is_filled: false, content });
        Ok(())
    }

    /// Adds a tensor of the file `file`.
    fn insert(&mut self, file: &str, tensor: String, entry: Entry) -> Result<()> {
        let at = || format!("{file}, tensor {tensor}");
        if let Some(other) = self.entries.get(&tensor) {
            let why = format!(
                "is in {} too, and nothing here says which of the two holds; take one of the files away",
                self.files.get(other.file).map_or(file, |other| &other.name)
            );
            return Err(Error::model(at(), why));
        }
        if self.entries.len() >= MOST_TENSORS {
            return Err(Error::model(at(), format!("is one too many; at most {MOST_TENSORS} are read")));
        }
        self.entries.insert(tensor, entry);
        Ok(())
    }

    /// Waits for the ends of the files, and checks their lengths against the headers.
    pub async fn whole(&self) -> Result<()> {
        for File { name, size, is_filled, content } in &self.files {
            let Some(content) = content else { continue };
            let here = content.arrived(u64::MAX).await;
            if here < *size || (here > *size && !is_filled) {
                return Err(cut_off(name));
            }
        }
        Ok(())
    }

    /// Sets whether each tensor is read at most once.
    pub fn read_once(&mut self, once: bool) {
        self.once = once;
    }

    /// Whether each tensor is read at most once.
    pub fn is_read_once(&self) -> bool {
        self.once
    }

    /// Frees the files' content: tensors cannot be read any more.
    pub fn release_files(&mut self) {
        self.files.iter_mut().for_each(|file| file.content = None);
    }

    /// The name of the format with the most bytes in the files (in practice, most tensors have the same format).
    pub fn width(&self) -> String {
        let bytes = |dtype, float8| -> u64 {
            let of_it = self.entries.values().filter(|e| e.dtype == Some(dtype) && e.float8 == float8);
            of_it.map(|e| e.range.end - e.range.start).sum()
        };
        let common = Dtype::ALL.into_iter().rev().max_by_key(|&d| bytes(d, false)).expect("there are formats");
        let packed = self.entries.iter().filter(|(name, entry)| is_packed(name, entry));
        let packed: u64 = packed.map(|(_, e)| e.range.end - e.range.start).sum();
        match bytes(Dtype::Bf16, true) {
            float8 if float8 > bytes(common, false).max(packed) => "f8_e4m3".to_owned(),
            _ if packed > bytes(common, false) => Dtype::Mxfp4.name(),
            _ => common.name(),
        }
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let weights = self.entries.iter().filter(|(name, entry)| entry.dtype.is_some() || is_packed(name, entry));
        weights.map(|(_, e)| e.range.end - e.range.start).sum()
    }

    /// Bytes of the files, according to their headers.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Rows `rows` of matrix `n` of the tensor `name`, which is a stack of matrices, `[N, rows, cols]`.
    pub fn rows_of(&self, name: &str, shape: [usize; 3], n: usize, rows: Range<usize>) -> Result<Tensor<'_>> {
        let whole = self.get(name, &shape)?;
        let [_, all, cols] = shape;
        let row = if whole.float8 { cols } else { whole.stored.bytes_of(cols) };
        let start = whole.range.start + (n * all + rows.start) as u64 * row as u64;
        let range = start..start + rows.len() as u64 * row as u64;
        Ok(Tensor { name: format!("{name}[{n}]"), rows: rows.len(), cols, range, ..whole })
    }

    /// Rows `rows` of the matrix `name`, which is `[rows, cols]`.
    pub fn rows(&self, name: &str, shape: [usize; 2], rows: Range<usize>) -> Result<Tensor<'_>> {
        let whole = self.get(name, &shape)?;
        let row = if whole.float8 { shape[1] } else { whole.dtype.bytes_of(shape[1]) };
        let start = whole.range.start + rows.start as u64 * row as u64;
        Ok(Tensor { rows: rows.len(), range: start..start + rows.len() as u64 * row as u64, ..whole })
    }

    /// Every `step`-th column from `first` on, as rows, of matrix `n` of the tensor `name`, which is a stack of
    /// matrices, `[N, rows, cols]`.
    pub fn columns_of(&self, name: &str, shape: [usize; 3], n: usize, first: usize, step: usize) -> Result<Tensor<'_>> {
        let [_, rows, cols] = shape;
        let whole = self.rows_of(name, shape, n, 0..rows)?.single();
        let view = Some(View { first, row_step: step, col_step: cols });
        Ok(Tensor { rows: (cols - first).div_ceil(step), cols: rows, view, ..whole })
    }

    /// Every `step`-th row from `first` on of matrix `n` of a stack of matrices, `[N, rows, cols]`, in MXFP4: the
    /// tensors `NAME_blocks`, `[N, rows, cols / 32, 16]`, and `NAME_scales`, `[N, rows, cols / 32]`.
    pub fn mxfp4_rows_of(
        &self,
        name: &str,
        shape: [usize; 3],
        n: usize,
        first: usize,
        step: usize,
    ) -> Result<Tensor<'_>> {
        const NUMBERS: usize = 32;
        let [all, rows, cols] = shape;
        let (blocks, scales) = (format!("{name}_blocks"), format!("{name}_scales"));
        if !cols.is_multiple_of(NUMBERS) {
            let why = format!("would hold rows of {cols} numbers; MXFP4 needs a multiple of {NUMBERS}");
            return Err(Error::model(blocks, why));
        }
        let each = cols / NUMBERS;
        let whole = self.get_as(&blocks, &[all, rows, each, NUMBERS / 2], Some(Dtype::Mxfp4))?;
        let of_scales = self.get_as(&scales, &[all, rows, each], Some(Dtype::Mxfp4))?;
        let of_matrix = |range: &Range<u64>, bytes: usize| {
            let (n, bytes) = (n as u64, bytes as u64);
            range.start + n * bytes..range.start + (n + 1) * bytes
        };
        let range = of_matrix(&whole.range, rows * each * NUMBERS / 2);
        let (content, of_scales) = (of_scales.content, of_matrix(&of_scales.range, rows * each));
        let scales = Some(Scales { content, range: of_scales, first, step });
        Ok(Tensor { name: format!("{blocks}[{n}]"), rows: rows / step, cols, range, scales, ..whole })
    }

    /// Every `step`-th number from `first` on of row `n` of the matrix `name`, `[rows, cols]`, as a vector.
    pub fn numbers_of(&self, name: &str, shape: [usize; 2], n: usize, first: usize, step: usize) -> Result<Tensor<'_>> {
        let row = self.rows(name, shape, n..n + 1)?.single();
        let view = Some(View { first, row_step: step, col_step: 1 });
        Ok(Tensor { rows: (shape[1] - first).div_ceil(step), cols: 1, view, ..row })
    }

    /// The tensor `name`, of this shape in the file, as a matrix with this many rows.
    pub fn reshaped(&self, name: &str, shape: &[usize], rows: usize) -> Result<Tensor<'_>> {
        let whole = self.get(name, shape)?;
        Ok(Tensor { rows, cols: shape.iter().product::<usize>() / rows.max(1), ..whole })
    }

    /// The vector `name`, `[len]`, as a matrix of one column.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor<'_>> {
        self.get(name, &[len])
    }

    /// The matrix `name`, `[rows, cols]`.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Tensor<'_>> {
        self.get(name, &[rows, cols])
    }

    /// The sizes of the tensor `name`, columns last.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The vector or matrix `name`, of the sizes `shape`.
    pub fn of_shape(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>> {
        self.get(name, shape)
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>> {
        self.get_as(name, shape, None)
    }

    /// The tensor `name`; its bytes hold numbers of this format where the file calls them bytes.
    fn get_as(&self, name: &str, shape: &[usize], bytes_are: Option<Dtype>) -> Result<Tensor<'_>> {
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
        let bytes_are = bytes_are.filter(|_| entry.kind == BYTES);
        let Some(dtype) = entry.dtype.or(bytes_are) else {
            let known = match self.files[entry.file].is_filled {
                true => gguf::FORMATS.iter().filter(|(.., known)| known.is_some()).map(|(_, name, _)| *name).collect(),
                false => vec!["F32", "F16", "BF16", "F8_E4M3"],
            };
            let why = format!(
                "holds numbers of the kind {}; only {} are known; convert the checkpoint to one of them",
                entry.kind,
                known.join(", ")
            );
            return Err(Error::model(format!("{file}, tensor {name}"), why));
        };
        let content = content.as_ref();
        let content = content.ok_or_else(|| Error::model(file, "is no longer in memory; load the model again"))?;
        let (rows, cols) = (shape[0], shape.get(1).copied().unwrap_or(1));
        Ok(Tensor {
            name: name.to_owned(),
            rows,
            cols,
            dtype,
            stored: dtype,
            neighbours: entry.neighbours,
            float8: entry.float8,
            file,
            content,
            range: entry.range.clone(),
            once: self.once,
            view: None,
            single_rows: false,
            map: None,
            scales: None,
        })
    }
}

/// The kind of tensors of bytes in safetensors.
const BYTES: &str = "U8";

/// Whether a tensor of bytes holds blocks or scales of MXFP4.
fn is_packed(name: &str, entry: &Entry) -> bool {
    entry.kind == BYTES && (name.ends_with("_blocks") || name.ends_with("_scales"))
}

/// More tensors than any model has; a damaged header might list many more.
const MOST_TENSORS: usize = 1 << 19;

/// The format in which numbers of this safetensors type are kept; none for types that hold no weights.
fn width_of(dtype: safetensors::Dtype) -> Option<Dtype> {
    match dtype {
        safetensors::Dtype::F32 => Some(Dtype::F32),
        safetensors::Dtype::F16 => Some(Dtype::F16),
        safetensors::Dtype::BF16 | safetensors::Dtype::F8_E4M3 => Some(Dtype::Bf16),
        _ => None,
    }
}

fn cut_off(file: &str) -> Error {
    Error::model(file, "is cut off or has bytes too many; fetch it again")
}
