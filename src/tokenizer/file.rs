//! Checks `tokenizer.json` before the `tokenizers` crate reads it. On some files the crate panics, uses all memory or
//! never ends. Settings of an earlier use (`truncation`, `padding`) are ignored, as in `AutoTokenizer`, and so is
//! `dropout`, which is for training.

use super::charsmap;
use super::parts::{Normalise, Parts, Split};
use super::pattern::{Translated, translate};
use fancy_regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, ModelWrapper, PostProcessorWrapper};

/// Sequences nested deeper are rejected.
const MOST_DEPTH: usize = 8;

/// Longest word in characters: WordPiece's time grows with the cube of a word's length.
const LONGEST_WORD: u64 = 1000;

/// The most ids that a template adds to a text.
const MOST_AROUND: usize = 256;

/// The most characters that normalizers may make of one character.
const MOST_GROWTH: usize = 4096;

/// GPT-2's word pattern, by which `ByteLevel` splits.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Normalizers that need no check. A type that the crate does not know is rejected: the crate would guess another type
/// from the fields.
const NORMALIZERS: [&str; 13] = [
    "Bert",
    "BertNormalizer",
    "Strip",
    "StripAccents",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "Nmt",
    "ByteLevel",
    "Prepend",
    "Precompiled",
];

/// As [`NORMALIZERS`], of pre-tokenizers.
const PRE_TOKENIZERS: [&str; 11] = [
    "BertPreTokenizer",
    "ByteLevel",
    "Delimiter",
    "CharDelimiterSplit",
    "Metaspace",
    "Whitespace",
    "Punctuation",
    "WhitespaceSplit",
    "Digits",
    "UnicodeScripts",
    "FixedLength",
];

/// As [`NORMALIZERS`], of post-processors.
const POST_PROCESSORS: [&str; 3] = ["BertProcessing", "RobertaProcessing", "ByteLevel"];

type Result<T> = std::result::Result<T, String>;

/// Builds the tokenizer that `json` describes. `failed` is set where a pattern takes too long in a normalizer.
pub fn build(mut json: Value, failed: &Arc<AtomicBool>) -> Result<Parts> {
    let file = json.as_object_mut().ok_or("it is not a JSON object")?;
    if let Some(version) = file.get("version").filter(|version| **version != "1.0") {
        return Err(format!("its version is {version}; only \"1.0\" is supported"));
    }
    let mut take = |key: &str| file.remove(key).unwrap_or_default();
    let mut tokenizer = Parts::new(model(take("model"))?);
    let mut growth = 1;
    if let Some(part) = normalise(take("normalizer"), failed, &mut growth, 0)? {
        tokenizer.with_normalizer(Some(part));
    }
    if let Some(part) = split(take("pre_tokenizer"), 0)? {
        tokenizer.with_pre_tokenizer(Some(part));
    }
    let post_processor = take("post_processor");
    check_post_processor(&post_processor, 0)?;
    if !post_processor.is_null() {
        tokenizer.with_post_processor(Some(read::<PostProcessorWrapper>("post_processor", post_processor)?));
    }
    let added = take("added_tokens");
    if !added.is_null() {
        tokenizer.add_tokens(&read::<Vec<AddedToken>>("added_tokens", added)?);
    }
    Ok(tokenizer)
}

fn read<T: DeserializeOwned>(part: &str, json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|e| format!("{part}: {e}"))
}

fn model(mut model: Value) -> Result<ModelWrapper> {
    let fields = model.as_object_mut().ok_or("it has no model")?;
    fields.remove("dropout");
    let longest = fields.get("max_input_chars_per_word").and_then(Value::as_u64);
    if let Some(longest) = longest.filter(|longest| *longest > LONGEST_WORD) {
        return Err(format!("max_input_chars_per_word is {longest}; at most {LONGEST_WORD} is allowed"));
    }
    if let Some(prefix) = fields.get("continuing_subword_prefix").and_then(Value::as_str)
        && let Some(merges) = fields.get("merges").and_then(Value::as_array)
    {
        for merge in merges {
            let second = match merge {
                Value::Array(pair) => pair.get(1).and_then(Value::as_str),
                merge => merge.as_str().and_then(|pair| pair.split(' ').nth(1)),
            };
            if second.is_some_and(|second| !second.is_char_boundary(prefix.len())) {
                return Err(format!("continuing_subword_prefix is \"{prefix}\", but the merge {merge} lacks it"));
            }
        }
    }
    read("model", model)
}

/// The `type` of a part.
fn kind(part: &str, json: &Value) -> Result<String> {
    let kind = json.get("type").and_then(Value::as_str);
    kind.map(str::to_owned).ok_or_else(|| format!("{part} has no \"type\""))
}

/// Rejects a part whose type is not in `known`, and one that has fields of a type that needs checks.
fn check_kind(part: &str, json: &Value, known: &[&str]) -> Result<()> {
    let kind = kind(part, json)?;
    if !known.contains(&kind.as_str()) {
        return Err(format!("{part}: the type \"{kind}\" is not known"));
    }
    let inner =
        ["normalizers", "pretokenizers", "processors", "single"].into_iter().find(|key| json.get(key).is_some());
    match inner {
        None => Ok(()),
        Some(key) => Err(format!("{part}: the type \"{kind}\" has no {key}")),
    }
}

/// The parts of a sequence.
fn several(part: &str, json: &mut Value, key: &str, depth: usize) -> Result<Vec<Value>> {
    match json.get_mut(key).map(Value::take) {
        Some(Value::Array(parts)) if depth < MOST_DEPTH => Ok(parts),
        Some(Value::Array(_)) => Err(format!("{part} has sequences in more than {MOST_DEPTH} levels")),
        _ => Err(format!("{part}: a Sequence needs a list of {key}")),
    }
}

/// The pattern of a part: literal text or a regular expression.
fn pattern(part: &str, json: &Value) -> Result<(Regex, bool)> {
    let pattern = json.get("pattern").and_then(Value::as_object).filter(|kinds| kinds.len() == 1);
    let string = |kind: &str| pattern.and_then(|kinds| kinds.get(kind)).and_then(Value::as_str);
    let (given, Translated { pattern, may_be_empty }) = match (string("String"), string("Regex")) {
        (Some(text), _) => {
            let pattern = fancy_regex::escape(text).into_owned();
            (text, Translated { pattern, may_be_empty: text.is_empty() })
        }
        (_, Some(regex)) => (
            regex,
            translate(regex).map_err(|why| {
                format!("{part}: the pattern {regex:?} has {why}, which is not supported; write it in another way")
            })?,
        ),
        _ => return Err(format!("{part}: a pattern must be {{\"String\": ...}} or {{\"Regex\": ...}}")),
    };
    let regex = Regex::new(&pattern)
        .map_err(|e| format!("{part}: the pattern {given:?} cannot be used ({})", e.to_string().replace('\n', " ")))?;
    Ok((regex, may_be_empty))
}

fn normalise(mut json: Value, failed: &Arc<AtomicBool>, growth: &mut usize, depth: usize) -> Result<Option<Normalise>> {
    let part = "normalizer";
    if json.is_null() {
        return Ok(None);
    }
    let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Some(match kind(part, &json)?.as_str() {
        "Sequence" => {
            let parts = several(part, &mut json, "normalizers", depth)?;
            let parts = parts.into_iter().filter_map(|json| normalise(json, failed, growth, depth + 1).transpose());
            Normalise::All(parts.collect::<Result<_>>()?)
        }
        "Replace" => {
            let (pattern, may_be_empty) = pattern(part, &json)?;
            if may_be_empty {
                return Err("normalizer: the pattern of a Replace may match nothing at all".into());
            }
            let content = text("content").ok_or("normalizer: a Replace needs its content")?;
            *growth = growth.saturating_mul(content.chars().count().max(1));
            if *growth > MOST_GROWTH {
                return Err(format!("normalizer makes more than {MOST_GROWTH} characters of one"));
            }
            Normalise::Replace { pattern, content, failed: failed.clone() }
        }
        kind => {
            check_kind(part, &json, &NORMALIZERS)?;
            if kind == "Prepend" && text("prepend").is_some_and(|prepend| prepend.is_empty()) {
                return Err("normalizer: a Prepend has nothing to prepend".into());
            }
            if kind == "Precompiled" {
                let map = text("precompiled_charsmap").ok_or("normalizer: a Precompiled needs its charsmap")?;
                charsmap::check(&map).map_err(|why| format!("normalizer: precompiled_charsmap is damaged ({why})"))?;
            }
            Normalise::Other(read(part, json)?)
        }
    }))
}

fn split(mut json: Value, depth: usize) -> Result<Option<Split>> {
    let part = "pre_tokenizer";
    if json.is_null() {
        return Ok(None);
    }
    Ok(Some(match kind(part, &json)?.as_str() {
        "Sequence" => {
            let parts = several(part, &mut json, "pretokenizers", depth)?;
            let parts = parts.into_iter().filter_map(|json| split(json, depth + 1).transpose());
            Split::All(parts.collect::<Result<_>>()?)
        }
        "Split" => {
            let (pattern, _) = pattern(part, &json)?;
            let behavior = json.get_mut("behavior").map(Value::take).unwrap_or_default();
            let invert = json.get_mut("invert").map(Value::take).unwrap_or_default();
            Split::By { pattern, behavior: read(part, behavior)?, invert: read(part, invert)?, space: false }
        }
        "ByteLevel" if json.get("use_regex").is_none_or(|uses| *uses == true) => {
            let space = json.get("add_prefix_space").is_some_and(|adds| *adds == true);
            let words = translate(WORDS).ok().and_then(|words| Regex::new(&words.pattern).ok());
            let pattern = words.ok_or("the pattern of words is known")?;
            json["use_regex"] = false.into();
            let bytes = {
                let mut bytes = json;
                let given = bytes.get("add_prefix_space").cloned().unwrap_or_default();
                // The crate rejects a value of another type.
                if given.is_boolean() {
                    bytes["add_prefix_space"] = false.into();
                }
                Split::Other(read(part, bytes)?)
            };
            let behavior = SplitDelimiterBehavior::Isolated;
            Split::All(vec![Split::By { pattern, behavior, invert: false, space }, bytes])
        }
        kind => {
            check_kind(part, &json, &PRE_TOKENIZERS)?;
            if kind == "FixedLength" && json.get("length").and_then(Value::as_u64) == Some(0) {
                return Err("pre_tokenizer: a FixedLength has the length 0; it must be at least 1".into());
            }
            Split::Other(read(part, json)?)
        }
    }))
}

/// Rejects a template that names a token without describing it, or that does not contain the text exactly once.
fn check_post_processor(json: &Value, depth: usize) -> Result<()> {
    let wrong = |why: String| Err(format!("post_processor: {why}"));
    let list = |key: &str| json.get(key).and_then(Value::as_array);
    match json.get("type").and_then(Value::as_str) {
        None if !json.is_null() => wrong("it has no \"type\"".into()),
        Some("Sequence") if depth >= MOST_DEPTH => wrong(format!("it has sequences in more than {MOST_DEPTH} levels")),
        Some("Sequence") => {
            list("processors").into_iter().flatten().try_for_each(|one| check_post_processor(one, depth + 1))
        }
        Some("TemplateProcessing") => {
            let (mut texts, mut around) = (0, 0);
            for piece in list("single").into_iter().flatten() {
                if let Some(sequence) = piece.get("Sequence") {
                    if sequence.get("id").and_then(Value::as_str) != Some("A") {
                        return wrong("the template for one text asks for a second one".into());
                    }
                    texts += 1;
                }
                let Some(token) = piece.pointer("/SpecialToken/id").and_then(Value::as_str) else { continue };
                let special = json.get("special_tokens").and_then(|tokens| tokens.get(token));
                let length = |key: &str| special.and_then(|special| special.get(key)?.as_array()).map(Vec::len);
                match (length("ids"), length("tokens")) {
                    (Some(ids), Some(tokens)) if ids == tokens => around += ids,
                    _ => return wrong(format!("the template names the token \"{token}\", which it does not describe")),
                }
            }
            match (texts, around) {
                (1, 0..=MOST_AROUND) => Ok(()),
                (1, _) => wrong(format!("the template adds {around} ids to a text; at most {MOST_AROUND} are allowed")),
                _ => wrong(format!("the template takes the text {texts} times; it must take it once")),
            }
        }
        Some(_) => check_kind("post_processor", json, &POST_PROCESSORS),
        None => Ok(()),
    }
}
