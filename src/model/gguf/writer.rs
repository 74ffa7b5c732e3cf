//! Writes GGUF files: first all keys and the description of all tensors, then their numbers.

use super::header::{FORMATS, MAGIC};
use crate::shape::Dtype;

/// Tensors start at multiples of so many bytes.
const ALIGNMENT: usize = 32;

/// The header of a file that is being made.
#[derive(Default)]
pub struct Writer {
    keys: u64,
    metadata: Vec<u8>,
    tensors: u64,
    infos: Vec<u8>,
    /// Bytes of the tensors so far, with what fills them up.
    bytes: usize,
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, name: &str, kind: u32) -> &mut Vec<u8> {
        self.keys += 1;
        string(&mut self.metadata, name);
        self.metadata.extend(kind.to_le_bytes());
        &mut self.metadata
    }

    fn array(&mut self, name: &str, kind: u32, count: usize) -> &mut Vec<u8> {
        let to = self.key(name, 9);
        to.extend(kind.to_le_bytes());
        to.extend((count as u64).to_le_bytes());
        to
    }

    /// A whole number.
    pub fn size(&mut self, name: &str, value: u32) {
        self.key(name, 4).extend(value.to_le_bytes());
    }

    /// A number.
    pub fn float(&mut self, name: &str, value: f32) {
        self.key(name, 6).extend(value.to_le_bytes());
    }

    /// True or false.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.key(name, 7).push(value.into());
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        string(self.key(name, 8), value);
    }

    /// Texts.
    pub fn texts(&mut self, name: &str, values: &[String]) {
        let to = self.array(name, 8, values.len());
        values.iter().for_each(|value| string(to, value));
    }

    /// Whole numbers.
    pub fn integers(&mut self, name: &str, values: &[i32]) {
        self.array(name, 5, values.len()).extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Numbers.
    pub fn floats(&mut self, name: &str, values: &[f32]) {
        self.array(name, 6, values.len()).extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Describes the next tensor, whose sizes are `shape`, columns last.
    pub fn tensor(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        self.tensors += 1;
        string(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.infos.extend((*size as u64).to_le_bytes()));
        let kind = FORMATS.iter().find(|(.., known)| *known == Some(dtype)).expect("all formats have a number").0;
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend((self.bytes as u64).to_le_bytes());
        self.bytes += dtype.bytes_of(shape.iter().product()).next_multiple_of(ALIGNMENT);
    }

    /// The file up to the numbers.
    pub fn header(&self) -> Vec<u8> {
        let counts = [self.tensors.to_le_bytes(), self.keys.to_le_bytes()].concat();
        let mut header = [&MAGIC, &3u32.to_le_bytes(), counts.as_slice(), &self.metadata, &self.infos].concat();
        fill(&mut header);
        header
    }
}

/// Fills up the numbers of a tensor, after which the next one starts.
pub fn fill(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
