//! The tokenizer of the shipped models: byte-level BPE with splits by patterns, as their `tokenizer.json` describes it.
//! The engine's tokenizer reads every kind of file, and is as large as this program; a test compares the two.

use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

/// A tokenizer.
pub struct Tokenizer {
    patterns: Vec<Pattern>,
    ids: HashMap<String, u16>,
    /// The rank of a pair, and what it becomes.
    merges: HashMap<(u16, u16), (u32, u16)>,
    /// The bytes of every id.
    bytes: Vec<Vec<u8>>,
    /// Tokens that are found as a whole in the text.
    added: Vec<(String, u16)>,
    /// Pieces that were encoded before.
    known: RefCell<HashMap<String, Vec<u16>>>,
}

/// Pieces that are remembered.
const KNOWN: usize = 20_000;

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// It is of another kind than the shipped models' file.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let file: Value = serde_json::from_slice(json).map_err(|error| format!("tokenizer.json: {error}"))?;
        let wrong = |what: &str| format!("tokenizer.json has {what}, which the labs cannot read");
        let model = &file["model"];
        if model["type"] != "BPE" || !file["normalizer"].is_null() {
            return Err(wrong("another kind of model, or a normalizer"));
        }
        let vocabulary = model["vocab"].as_object().ok_or_else(|| wrong("no vocabulary"))?;
        let id = |value: &Value| value.as_u64().and_then(|id| u16::try_from(id).ok());
        let ids: Option<HashMap<String, u16>> =
            vocabulary.iter().map(|(token, value)| Some((token.clone(), id(value)?))).collect();
        let ids = ids.ok_or_else(|| wrong("more than 65,536 tokens"))?;
        let merges = model["merges"].as_array().ok_or_else(|| wrong("no merges"))?.iter().enumerate();
        let merge = |(rank, pair): (usize, &Value)| {
            let (left, right) = (pair[0].as_str()?, pair[1].as_str()?);
            let joined = format!("{left}{right}");
            Some(((*ids.get(left)?, *ids.get(right)?), (rank as u32, *ids.get(&joined)?)))
        };
        let merges = merges.map(merge).collect::<Option<_>>().ok_or_else(|| wrong("merges of another form"))?;
        let mut bytes = vec![Vec::new(); ids.values().copied().max().map_or(0, |id| usize::from(id) + 1)];
        let letters: HashMap<char, u8> = (0..=255).map(|byte| (letter(byte), byte)).collect();
        for (token, id) in &ids {
            let known: Option<Vec<u8>> = token.chars().map(|c| letters.get(&c).copied()).collect();
            bytes[usize::from(*id)] = known.unwrap_or_else(|| token.clone().into_bytes());
        }
        let added = file["added_tokens"].as_array().into_iter().flatten();
        let added: Vec<_> =
            added.filter_map(|token| Some((token["content"].as_str()?.to_owned(), id(&token["id"])?))).collect();
        for (token, id) in &added {
            if let Some(own) = bytes.get_mut(usize::from(*id)) {
                *own = token.clone().into_bytes();
            }
        }
        let splits = file["pre_tokenizer"]["pretokenizers"].as_array().into_iter().flatten();
        let splits = splits.filter(|split| split["type"] == "Split");
        let pattern = |split: &Value| Pattern::new(split["pattern"]["Regex"].as_str().unwrap_or_default());
        let patterns = splits.map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { patterns, ids, merges, bytes, added, known: RefCell::default() })
    }

    /// The ids of a text.
    pub fn encode(&self, text: &str) -> Vec<u16> {
        let first = self.added.iter().filter_map(|(token, id)| Some((text.find(token.as_str())?, token, *id)));
        if let Some((at, token, id)) = first.min_by_key(|(at, ..)| *at) {
            let (before, after) = (&text[..at], &text[at + token.len()..]);
            return [self.encode(before), vec![id], self.encode(after)].concat();
        }
        let mut pieces = vec![text.to_owned()];
        for pattern in &self.patterns {
            pieces = pieces.iter().flat_map(|piece| pattern.split(piece)).collect();
        }
        pieces.iter().flat_map(|piece| self.encode_piece(piece)).collect()
    }

    fn encode_piece(&self, piece: &str) -> Vec<u16> {
        if let Some(ids) = self.known.borrow().get(piece) {
            return ids.clone();
        }
        let letters = piece.bytes().filter_map(|byte| self.ids.get(letter(byte).encode_utf8(&mut [0; 4])).copied());
        let mut ids: Vec<u16> = letters.collect();
        loop {
            let ranks = ids.windows(2).enumerate();
            let ranks = ranks.filter_map(|(at, pair)| Some((*self.merges.get(&(pair[0], pair[1]))?, at)));
            let Some(((_, joined), at)) = ranks.min_by_key(|((rank, _), at)| (*rank, *at)) else { break };
            ids[at] = joined;
            ids.remove(at + 1);
        }
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(piece.to_owned(), ids.clone());
        ids
    }

    /// The text of ids; bytes that are no text are shown as one sign.
    pub fn decode(&self, ids: &[u16]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|id| self.bytes.get(usize::from(*id))).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of each id on its own. A sign of several tokens is shown at its last.
    pub fn pieces(&self, ids: &[u16]) -> Vec<String> {
        let mut open: Vec<u8> = Vec::new();
        let piece = |id: &u16| {
            open.extend(self.bytes.get(usize::from(*id)).into_iter().flatten());
            match std::str::from_utf8(&open) {
                Ok(text) => {
                    let text = text.to_owned();
                    open.clear();
                    text
                }
                // More bytes are needed, or these are none.
                Err(error) if error.error_len().is_none() => String::new(),
                Err(_) => String::from_utf8_lossy(&std::mem::take(&mut open)).into_owned(),
            }
        };
        ids.iter().map(piece).collect()
    }
}

/// The letter that byte-level vocabularies write for a byte (GPT-2).
fn letter(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_itself(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_itself(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap_or('?')
}

#[cfg(not(target_arch = "wasm32"))]
use native::Pattern;
#[cfg(target_arch = "wasm32")]
use wasm::Pattern;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    /// A pattern that cuts a text: its matches, and what is between them.
    pub struct Pattern(fancy_regex::Regex);

    impl Pattern {
        /// A pattern of a tokenizer file.
        ///
        /// # Errors
        /// It is no pattern.
        pub fn new(pattern: &str) -> Result<Self, String> {
            fancy_regex::Regex::new(pattern).map(Self).map_err(|error| format!("tokenizer.json: {error}"))
        }

        /// The parts of a text, none of them empty.
        pub fn split(&self, text: &str) -> Vec<String> {
            let mut parts = Vec::new();
            let mut at = 0;
            for found in self.0.find_iter(text).flatten().filter(|found| found.start() < found.end()) {
                parts.push(&text[at..found.start()]);
                parts.push(&text[found.start()..found.end()]);
                at = found.end();
            }
            parts.push(&text[at..]);
            parts.into_iter().filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use js_sys::{JsString, Reflect, RegExp};
    use wasm_bindgen::JsCast;

    /// A pattern that cuts a text: its matches, and what is between them. The browser's own expressions.
    pub struct Pattern(RegExp);

    /// The scripts that JavaScript names in another way.
    const SCRIPTS: [&str; 9] =
        ["Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Hangul", "Han", "Hiragana", "Katakana"];

    impl Pattern {
        /// A pattern of a tokenizer file.
        ///
        /// # Errors
        /// None: an expression that the browser does not know throws.
        pub fn new(pattern: &str) -> Result<Self, String> {
            let script =
                |text: String, name: &&str| text.replace(&format!("\\p{{{name}}}"), &format!("\\p{{Script={name}}}"));
            let pattern = SCRIPTS.iter().fold(pattern.to_owned(), script);
            Ok(Self(RegExp::new(&pattern.replace("\\A", "^").replace("\\z", "$"), "gu")))
        }

        /// The parts of a text, none of them empty.
        pub fn split(&self, text: &str) -> Vec<String> {
            self.0.set_last_index(0);
            let whole = JsString::from(text);
            let mut parts = Vec::new();
            let mut at = 0;
            while let Some(found) = self.0.exec(text) {
                let index = Reflect::get(&found, &"index".into()).ok().and_then(|index| index.as_f64());
                let Some(word) = found.get(0).dyn_into::<JsString>().ok().filter(|word| word.length() > 0) else {
                    break;
                };
                let index = index.unwrap_or_default() as u32;
                parts.push(whole.slice(at, index));
                at = index + word.length();
                parts.push(word);
            }
            parts.push(whole.slice(at, whole.length()));
            parts.iter().map(String::from).filter(|part| !part.is_empty()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../www/models/tokenizer/tokenizer.json")).unwrap()
    }

    #[test]
    fn texts_have_the_ids_of_the_engine_s_tokenizer() {
        let (ours, theirs) = (Tokenizer::read(&json()).unwrap(), moescope::tokenizer::Tokenizer::new(&json(), 8192));
        let theirs = theirs.unwrap();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
        let files = ["docs/gates.md", "www/messages/zh.json", "learn/src/lib.rs", "www/lab/given.txt"];
        let texts = files.map(|file| std::fs::read_to_string(format!("{root}{file}")).unwrap());
        let more = [
            "",
            "don't l'eau qu’il naïve\r\n\r\n  x_1 = 12.5;",
            "日本語のテスト 한국어 Привет",
            "a<|endoftext|>b",
            "\u{300}e 😀\t\t",
        ];
        for text in texts.iter().map(String::as_str).chain(more) {
            let expected: Vec<u16> = theirs.encode(text).unwrap().0.into_iter().map(|id| id as u16).collect();
            let ids = ours.encode(text);
            assert!(ids == expected, "{:?}", text.chars().take(40).collect::<String>());
            assert_eq!(ours.decode(&ids), text);
            assert_eq!(ours.pieces(&ids).concat(), text);
        }
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |json: &str| Tokenizer::read(json.as_bytes()).err().unwrap_or_default();
        assert!(refused("{").contains("tokenizer.json"));
        assert!(refused(r#"{"model":{"type":"WordPiece"}}"#).contains("another kind"));
        assert!(refused(r#"{"model":{"type":"BPE","vocab":{"a":0}}}"#).contains("no merges"));
    }
}
