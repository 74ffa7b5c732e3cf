//! The metadata of a GGUF file: values by key.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A whole number, 0 or more.
    Unsigned(u64),
    /// A whole number.
    Signed(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text, in UTF-8.
    Text(&'a [u8]),
    /// Texts.
    Texts(Vec<&'a [u8]>),
    /// Numbers of the type `kind`, little-endian.
    Numbers {
        /// The file's number of the type.
        kind: u32,
        /// The bytes of all numbers.
        bytes: &'a [u8],
    },
    /// An array of arrays, whose contents are not kept.
    Nested,
}

/// Values by key, and which keys were read.
pub struct Metadata<'a> {
    values: HashMap<&'a str, Value<'a>>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Metadata<'a> {
    pub(super) fn new(values: HashMap<&'a str, Value<'a>>) -> Self {
        Self { values, asked: RefCell::default() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.values.get(key)
    }

    /// A text; bytes that are not UTF-8 become replacement characters.
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        match self.get(key)? {
            Value::Text(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    /// A whole number, 0 or more.
    pub fn size(&self, key: &str) -> Option<usize> {
        match self.get(key)? {
            Value::Unsigned(number) => usize::try_from(*number).ok(),
            Value::Signed(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// Texts; bytes that are not UTF-8 become replacement characters.
    pub fn texts(&self, key: &str) -> Option<Vec<Cow<'a, str>>> {
        match self.get(key)? {
            Value::Texts(texts) => Some(texts.iter().map(|text| String::from_utf8_lossy(text)).collect()),
            _ => None,
        }
    }

    /// Numbers of an array.
    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        let Value::Numbers { kind, bytes } = *self.get(key)? else { return None };
        fn all<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> f64) -> Vec<f64> {
            bytes.as_chunks().0.iter().map(|number| read(*number)).collect()
        }
        Some(match kind {
            0 | 7 => bytes.iter().map(|&byte| byte.into()).collect(),
            1 => bytes.iter().map(|&byte| (byte as i8).into()).collect(),
            2 => all(bytes, |b| u16::from_le_bytes(b).into()),
            3 => all(bytes, |b| i16::from_le_bytes(b).into()),
            4 => all(bytes, |b| u32::from_le_bytes(b).into()),
            5 => all(bytes, |b| i32::from_le_bytes(b).into()),
            6 => all(bytes, |b| f32::from_le_bytes(b).into()),
            10 => all(bytes, |b| u64::from_le_bytes(b) as f64),
            11 => all(bytes, |b| i64::from_le_bytes(b) as f64),
            _ => all(bytes, f64::from_le_bytes),
        })
    }

    /// The first key in alphabetical order that starts with `start` and was not read.
    pub fn not_asked(&self, start: &str) -> Option<&str> {
        let asked = self.asked.borrow();
        self.values.keys().copied().filter(|key| key.starts_with(start) && !asked.contains(*key)).min()
    }
}
