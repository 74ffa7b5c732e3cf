//! Reads JSON. Every type is read by way of a JSON value, so that the program has one parser and not one for each type.

use serde::de::DeserializeOwned;

/// The value of a type that a JSON text holds.
///
/// # Errors
/// The text is no JSON, or that of something else.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::from_str(text)?)
}

/// As [`parse`], of the bytes of a file.
///
/// # Errors
/// As [`parse`], and bytes that are no text.
pub fn parse_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::from_slice(bytes)?)
}
